"""The relay's frames: JSON text in, events out; actions in, JSON objects out.

Invariant: whatever arrives is either a known fact within its limits, nothing (an unknown type, to be tolerated), or
FrameRejected. Shapes: ConversationRelay's WebSocket messages.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from voice.conversation.actions import Action, End, SendDigits, SendText, SetLanguage
from voice.conversation.events import (
    DtmfReceived,
    Event,
    InterruptReceived,
    PromptReceived,
    RelayErrorReceived,
    SpeakerChanged,
    TokensPlayed,
)

MAX_FRAME_BYTES = 65_536
MAX_TEXT_CHARACTERS = 16_000
DTMF_KEYS = frozenset("0123456789*#ABCD")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def sound(text: str) -> str:
    """The text without what no database and no model takes: NUL, and halves of characters."""
    return _UNSTORABLE.sub("", text)


class FrameRejected(Exception):
    """The frame is not one of the relay's: too large, not JSON, or a field of the wrong type."""


@dataclass(frozen=True, slots=True)
class Setup:
    """The first frame: which call the socket carries, and the parameters our TwiML gave it."""

    session_id: str
    call_sid: str
    parameters: Mapping[str, str]


def parse_frame(raw: str | bytes) -> Setup | Event | None:
    """The frame as a fact; None when its type is unknown. Raises FrameRejected."""
    if len(raw) > MAX_FRAME_BYTES:
        raise FrameRejected("the frame is too large")
    try:
        frame = json.loads(raw)
    except (ValueError, RecursionError):
        raise FrameRejected("the frame is not JSON") from None
    if not isinstance(frame, dict):
        raise FrameRejected("the frame is not an object")
    match frame.get("type"):
        case "setup":
            return _setup(frame)
        case "prompt":
            return PromptReceived(_text(frame, "voicePrompt"), _flag(frame, "last"), _language(frame))
        case "interrupt":
            return InterruptReceived(_text(frame, "utteranceUntilInterrupt"))
        case "dtmf":
            digit = _text(frame, "digit").upper()
            return DtmfReceived(digit) if digit in DTMF_KEYS else None
        case "info":
            return _info(frame)
        case "error":
            return RelayErrorReceived(_text(frame, "description"))
        case _:
            return None


def _setup(frame: dict[str, Any]) -> Setup:
    parameters = frame.get("customParameters") or {}
    if not isinstance(parameters, dict) or not all(isinstance(value, str) for value in parameters.values()):
        raise FrameRejected("customParameters must be an object of texts")
    told = {name: sound(value) for name, value in parameters.items()}
    return Setup(_text(frame, "sessionId"), _text(frame, "callSid"), told)


def _info(frame: dict[str, Any]) -> Event | None:
    value = frame.get("value")
    if not isinstance(value, str):
        return None
    match frame.get("name"):
        case "agentSpeaking":
            return SpeakerChanged(agent=True, speaking=value == "on")
        case "clientSpeaking":
            return SpeakerChanged(agent=False, speaking=value == "on")
        case "tokensPlayed":
            return TokensPlayed(value[:MAX_TEXT_CHARACTERS])
        case _:
            return None


def _text(frame: dict[str, Any], name: str) -> str:
    value = frame.get(name, "")
    if not isinstance(value, str):
        raise FrameRejected(f"{name} must be a text")
    return sound(value[:MAX_TEXT_CHARACTERS])


def _flag(frame: dict[str, Any], name: str) -> bool:
    value = frame.get(name, True)
    if not isinstance(value, bool):
        raise FrameRejected(f"{name} must be true or false")
    return value


def _language(frame: dict[str, Any]) -> str | None:
    value = frame.get("lang")
    return value if isinstance(value, str) else None


def render_frame(action: Action) -> dict[str, Any] | None:
    """The message to send for an action; None when it is not the relay's business."""
    match action:
        case SendText(token, last, interruptible, preemptible):
            return {
                "type": "text",
                "token": token,
                "last": last,
                "interruptible": interruptible,
                "preemptible": preemptible,
            }
        case SendDigits(digits):
            return {"type": "sendDigits", "digits": digits}
        case SetLanguage(language):
            return {"type": "language", "ttsLanguage": language, "transcriptionLanguage": language}
        case End(handoff):
            return {"type": "end", "handoffData": json.dumps(handoff)}
        case _:
            return None
