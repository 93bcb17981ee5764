"""What a conversation is told before it begins, from the call's own snapshot.

Invariant: nothing here is read from an agent, which may have been edited since; only the organisation's name, time
zone and its default about announcing an AI are of now.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from voice.conversation.brief import CallBrief, tool_of

SILENCE_MS = 8_000
HOLD_CAP_MS = 600_000
_SPOKEN = {"en": "en-US", "es": "es-US"}


def brief_of(row: Mapping[str, Any], organisation: Mapping[str, Any], now: int) -> CallBrief:
    """From rows of `calls` and `organisations`."""
    silence, hold = row["silence_timeout_seconds"], row["longest_wait_seconds"]
    announces = organisation["disclose_ai"] if row["disclose_ai"] is None else row["disclose_ai"]
    return CallBrief(
        call_id=row["id"],
        direction=row["direction"],
        organisation=organisation["name"],
        from_number=row["from_number"],
        to_number=row["to_number"],
        instructions=row["instructions"] or row["prompt"] or "",
        persona=row["persona"],
        context=row["context"] or {},
        first_message=row["first_message"],
        announce_ai=bool(announces),
        language=spoken_language(row["language"]),
        tools=tuple(tool_of(config) for config in row["tools"] or ()),
        voicemail_action=row["voicemail_action"] or "hangup",
        voicemail_message=row["voicemail_message"],
        transfer_number=row["transfer_number"],
        silence_ms=silence * 1000 if silence else SILENCE_MS,
        hold_cap_ms=hold * 1000 if hold else HOLD_CAP_MS,
        deadline_ms=min(row["answered_at"] or now, now) + row["max_duration_seconds"] * 1000,
        local_time=datetime.fromtimestamp(now / 1000, ZoneInfo(organisation["timezone"])).strftime(
            "%A, %d %B %Y, %H:%M"
        ),
    )


def spoken_language(code: str | None) -> str:
    """The carrier wants a region: `en` is spoken as in the United States."""
    return _SPOKEN.get(code or "en", code or "en-US")
