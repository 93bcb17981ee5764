"""When a call must be looked at next.

Owns the waiting times. Invariant: every call that is not over has a time at which somebody will look at it again, so
no hold can be forgotten.
"""

from msgspec.structs import replace

from voice.call import Call, Policy
from voice.vocabulary import DialState

DIAL_STALE_MS = 60_000
"""A dial still only intended after this long died with its process: it has become unknown."""
FIRST_LOOKUP_MS = 30_000
"""How soon a dial whose answer was lost is looked for: not before any other dial of the pair has been answered."""
LONGEST_QUEUE_MS = 24 * 3_600_000
"""How long the carrier may keep a call before it dials."""
HANG_UP_RETRY_MS = (5_000, 10_000, 20_000, 40_000, 60_000)
VERDICT_RETRY_MS = 15_000
EXTRACTION_RETRY_MS = 120_000
"""How long one attempt to read off a result may take before another process tries."""


def schedule(call: Call, policy: Policy) -> Call:
    """When this call must be looked at next: `due_at` for its own deadlines, `ask_at` for its silence."""
    due: int | None = None
    if call.dial_state is DialState.INTENDED and call.dial_began_at is not None:
        due = call.dial_began_at + DIAL_STALE_MS
    elif call.awaits_verdict and call.final_stored_at is not None:
        due = call.final_stored_at + policy.amd_grace_ms
        if call.asked_at is not None and call.asked_at >= due:
            due = call.asked_at + VERDICT_RETRY_MS
    elif call.awaits_extraction:
        due = max(call.final_stored_at or 0, call.asked_at or 0) + EXTRACTION_RETRY_MS
    elif call.may_ring:
        due = next_hang_up_at(call)
    return replace(call, due_at=due, ask_at=_next_ask_at(call, policy))


def _next_ask_at(call: Call, policy: Policy) -> int | None:
    if not call.may_ring:
        return None
    if call.dial_state is DialState.UNKNOWN and call.dial_began_at is not None:
        lost_at = call.dial_began_at + policy.silence_ms
        if call.asked_at is None:
            return min(call.dial_began_at + FIRST_LOOKUP_MS, lost_at)
        return max(lost_at, call.asked_at + min(policy.silence_ms, FIRST_LOOKUP_MS))
    last = max(call.heard_at or 0, call.asked_at or 0) or call.created_at
    return last + policy.silence_ms


def next_hang_up_at(call: Call) -> int | None:
    """When to try (again) to end the call at the carrier."""
    if call.twilio_call_sid is None or call.final_status is not None:
        return None
    if call.hang_up_attempted_at is not None:
        step = min(call.hang_up_attempts, len(HANG_UP_RETRY_MS)) - 1
        return call.hang_up_attempted_at + HANG_UP_RETRY_MS[step]
    return call.hang_up_at


def outlived_at(call: Call, policy: Policy) -> int:
    """When a call cannot be up any more, whatever was lost: its longest time after its answer or, where we know of
    none, after the longest that the carrier keeps a call before it dials."""
    began = call.created_at + LONGEST_QUEUE_MS if call.answered_at is None else call.answered_at
    return began + call.max_duration_seconds * 1000 + policy.silence_ms


def verdict_is_overdue(call: Call, now: int, policy: Policy) -> bool:
    return (
        call.amd_asked
        and call.verdict is None
        and call.final_stored_at is not None
        and now >= call.final_stored_at + policy.amd_grace_ms
    )
