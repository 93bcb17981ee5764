"""What a call must cost: the billing rules applied to the simulated carrier's own record and to what it told us.

It knows nothing of the server. Where two tellings came so close together that their order at the server cannot be
known from outside, it allows what either order gives.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

RATE_MILLI_CENTS_PER_MINUTE = 5_000
AMD_TIMEOUT_SECONDS = 30
FREE_STATUSES = ("busy", "no-answer", "failed", "canceled")
FREE_VERDICTS = ("machine_start", "machine_end_beep", "machine_end_silence", "machine_end_other", "fax")

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Reading:
    """A final answer of the REST API when it was asked for this call, or one that tells of a machine while the call is
    up. `at`: UTC epoch ms."""

    at: int
    answered_by: str | None


@dataclass(frozen=True)
class Timing:
    """Real milliseconds: how long a verdict is waited for, and how exactly moments are known from outside."""

    grace_ms: float
    slack_ms: float

    def either(self, at: float | None) -> Iterator[float]:
        """A moment as early and as late as it may have been; never, where there was none."""
        yield from (float("inf"),) if at is None else (at - self.slack_ms, at + self.slack_ms)


def allowed_charges(call: Record, readings: Sequence[Reading], max_duration_seconds: int, timing: Timing) -> set[int]:
    """Milli-cents for a call of the carrier's, `readings` in order of time."""

    def charge(free_seconds: int = 0) -> int:
        seconds = min(max(0, call["duration_seconds"] - free_seconds), max_duration_seconds)
        return int(seconds * RATE_MILLI_CENTS_PER_MINUTE // 60)

    if call["status"] in FREE_STATUSES:
        return {0}
    if call["direction"] == "inbound":
        return {charge() if _was_let_in(call) else 0}
    verdicts = list(_told(call, "verdict"))
    told_by = [*(form["AnsweredBy"] for _, form in verdicts), *(reading.answered_by for reading in readings)]
    if any(answered_by in FREE_VERDICTS for answered_by in told_by):
        return {0}
    detections = [-(-int(form["MachineDetectionDuration"]) // 1000) for _, form in verdicts]
    first_verdict_at = min((at for at, _ in verdicts), default=None)
    first_end_at = min([*(at for at, _ in _told(call, "completed")), *(reading.at for reading in readings)])
    charges = set()
    for ended_at in timing.either(first_end_at):
        for verdict_at in timing.either(first_verdict_at):
            overdue = (r for r in readings if ended_at + timing.grace_ms <= r.at < verdict_at)
            asked = next(overdue, None)  # no verdict had come by then, so the REST API's decides
            if asked is not None:
                charges.add(charge(max([AMD_TIMEOUT_SECONDS, *detections])) if asked.answered_by else 0)
            elif detections:
                charges.add(charge(max(detections)))
    return charges


def _told(call: Record, event: str) -> Iterator[tuple[int, Mapping[str, str]]]:
    """When a callback was taken, and what it said."""
    for delivery in call["deliveries"]:
        if delivery["event"] == event and delivery["delivered"]:
            yield delivery["attempts"][-1]["at"], delivery["params"]


def _was_let_in(call: Record) -> bool:
    """Whether an inbound call's voice request was answered with something else than a way out."""
    answers = [one["reply"] for one in call["deliveries"] if one["event"] == "twiml" and one["delivered"]]
    return any("<Reject" not in answer and "<Hangup" not in answer for answer in answers)
