"""What follows a relay session: the decision behind the TwiML of its action URL.

Invariant: a call whose agent is gone is either resumed, transferred or hung up; it is never left silent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from voice.conversation.events import ResumeReason

MAX_RESUMES = {
    ResumeReason.LOST: 3,
    # Nothing went wrong in these, and a release may move a call from process to process; yet no loop goes on for ever.
    ResumeReason.DRAIN: 20,
}
SHORTEST_TRANSFER_SECONDS = 30


@dataclass(frozen=True, slots=True)
class HangUp:
    reason: str


@dataclass(frozen=True, slots=True)
class Transfer:
    number: str


@dataclass(frozen=True, slots=True)
class Resume:
    """Connect a relay again; its first event is `SetupReceived(resumed=reason)`."""

    reason: ResumeReason


def after_session(
    session_status: str, handoff_data: str, resumes: Mapping[ResumeReason, int]
) -> HangUp | Transfer | Resume:
    """`session_status`: ended (by us), failed (the socket was lost) or completed (the caller hung up).

    `resumes` is how often this call has been resumed before, by reason.
    """
    if session_status == "completed":
        return HangUp("completed")
    handoff = _parse(handoff_data)
    reason = handoff.get("reason", "")
    if session_status == "ended" and reason == "transfer" and handoff.get("number"):
        return Transfer(handoff["number"])
    if session_status == "ended" and reason != "drain":
        return HangUp(reason or "ended")
    why = ResumeReason.DRAIN if session_status == "ended" else ResumeReason.LOST
    return Resume(why) if resumes.get(why, 0) < MAX_RESUMES[why] else HangUp("too_many_resumes")


def transfer_seconds(max_duration_seconds: int, answered_at: int | None, now: int) -> int | None:
    """How long a transfer may last: what is left of the call's maximum. None when that is hardly anything.

    Times are epoch milliseconds; the carrier's clock, which gives `answered_at`, may run ahead of ours.
    """
    lasted_ms = 0 if answered_at is None else max(0, now - answered_at)
    left = max_duration_seconds - -(-lasted_ms // 1000)
    return left if left >= SHORTEST_TRANSFER_SECONDS else None


def _parse(handoff_data: str) -> dict[str, str]:
    try:
        handoff = json.loads(handoff_data or "{}")
    except (ValueError, RecursionError):
        return {}
    if not isinstance(handoff, dict):
        return {}
    return {name: value for name, value in handoff.items() if isinstance(value, str)}
