"""Connected time: one pure function from what is known about a call to (seconds, reason).

Invariant: where evidence is missing or contradictory, the customer gets the benefit, and the result is never more
than the call's maximum, so that no charge exceeds its hold.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from voice.vocabulary import VERDICT_STRENGTH, AnsweredBy, BillingReason, CallStatus

AMD_TIMEOUT_SECONDS = 30
"""`MachineDetectionTimeout` of every outbound call; the detection time where the carrier did not tell it."""

_FREE_STATUSES = {
    CallStatus.BUSY: BillingReason.FREE_BUSY,
    CallStatus.NO_ANSWER: BillingReason.FREE_NO_ANSWER,
    CallStatus.FAILED: BillingReason.FREE_FAILED,
    CallStatus.CANCELED: BillingReason.FREE_CANCELED,
}
_FREE_VERDICTS = {
    AnsweredBy.MACHINE: BillingReason.FREE_VOICEMAIL,
    AnsweredBy.FAX: BillingReason.FREE_FAX,
}


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known, folded. Durations: seconds as the carrier counts, from answer to hang-up; detection in ms."""

    amd_asked: bool
    max_duration_seconds: int
    final_status: CallStatus | None = None
    duration_seconds: int | None = None
    verdict: AnsweredBy | None = None
    detection_ms: int | None = None
    verdict_overdue: bool = False
    platform_failed: bool = False


@dataclass(frozen=True, slots=True)
class Fact:
    """What one piece of evidence says; None where it says nothing."""

    final_status: CallStatus | None = None
    duration_seconds: int | None = None
    verdict: AnsweredBy | None = None
    detection_ms: int | None = None
    verdict_overdue: bool = False
    platform_failed: bool = False


def add(evidence: Evidence, fact: Fact) -> Evidence:
    """Fold one fact in. Idempotent, and commutative but for one thing: of two different free final statuses (a carrier
    that contradicts itself) the first stays, as it is what the customer was told. Both cost nothing, so no charge
    depends on the order of facts."""
    status = evidence.final_status
    if fact.final_status is not None and (status is None or status is CallStatus.COMPLETED):
        status = fact.final_status  # a free final status beats `completed`; between two free ones the first stays
    verdict, detection = evidence.verdict, evidence.detection_ms
    if fact.verdict is not None:
        told = AMD_TIMEOUT_SECONDS * 1000 if fact.detection_ms is None else fact.detection_ms
        detection = told if detection is None else max(detection, told)
        if verdict is None or VERDICT_STRENGTH[fact.verdict] > VERDICT_STRENGTH[verdict]:
            verdict = fact.verdict
    durations = [d for d in (evidence.duration_seconds, fact.duration_seconds) if d is not None]
    return replace(
        evidence,
        final_status=status,
        duration_seconds=min(durations) if durations else None,
        verdict=verdict,
        detection_ms=detection,
        verdict_overdue=evidence.verdict_overdue or fact.verdict_overdue,
        platform_failed=evidence.platform_failed or fact.platform_failed,
    )


def add_all(evidence: Evidence, facts: Iterable[Fact]) -> Evidence:
    for fact in facts:
        evidence = add(evidence, fact)
    return evidence


def connected_time(evidence: Evidence) -> tuple[int, BillingReason] | None:
    """(connected seconds, reason), or None while the call lives or its deciding verdict may still come."""
    if evidence.final_status is None:
        return None
    if reason := _FREE_STATUSES.get(evidence.final_status):
        return 0, reason
    if evidence.verdict in _FREE_VERDICTS:
        return 0, _FREE_VERDICTS[evidence.verdict]
    if evidence.amd_asked and evidence.verdict is None and not evidence.verdict_overdue:
        return None
    if evidence.platform_failed:
        return 0, BillingReason.FREE_PLATFORM_ERROR
    if evidence.amd_asked and evidence.verdict is None:
        return 0, BillingReason.FREE_NO_VERDICT
    return _billed(evidence)


def _billed(evidence: Evidence) -> tuple[int, BillingReason]:
    detection = -(-(evidence.detection_ms or 0) // 1000) if evidence.amd_asked else 0
    seconds = min(max(0, (evidence.duration_seconds or 0) - detection), evidence.max_duration_seconds)
    if seconds:
        return seconds, BillingReason.BILLED
    return 0, BillingReason.FREE_DETECTION if evidence.amd_asked else BillingReason.FREE_ZERO_DURATION
