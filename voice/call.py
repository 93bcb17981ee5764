"""The call: all that is known and decided about it.

Owns the state that `voice.advance` moves. Invariant: its fields are the columns of table `calls` that decisions look
at, name by name; times are UTC epoch milliseconds, money milli-cents.
"""

from dataclasses import dataclass

import msgspec

from voice.connected_time import Evidence
from voice.vocabulary import AnsweredBy, BillingReason, CallStatus, DialState, ReservationStatus


@dataclass(frozen=True, slots=True)
class Policy:
    """The waiting times of this server, in milliseconds."""

    amd_grace_ms: int = 15_000
    silence_ms: int = 300_000
    talks: bool = False
    """Whether an agent conducts the calls; it then decides how to leave a machine, within the longest time for that."""


class Call(msgspec.Struct, frozen=True):
    """Everything that decides about a call; the columns of table `calls` that the door reads, name by name.

    A `Struct`, because every move makes several changed copies, and a dataclass of this size takes 17 µs for each."""

    id: str
    org_id: str
    direction: str
    to_number: str
    from_number: str
    status: CallStatus
    dial_state: DialState
    rate_milli_cents_per_minute: int
    max_duration_seconds: int
    hold_milli_cents: int
    created_at: int
    updated_at: int
    amd_asked: bool
    hangs_up_on_machine: bool
    agent_id: str | None = None
    api_key_id: str | None = None
    twilio_call_sid: str | None = None
    unresolved_pair: str | None = None
    reservation_status: ReservationStatus | None = None
    dial_began_at: int | None = None
    started_at: int | None = None
    answered_at: int | None = None
    connected_at: int | None = None
    ended_at: int | None = None
    heard_at: int | None = None
    asked_at: int | None = None
    final_stored_at: int | None = None
    hang_up_at: int | None = None
    hang_up_requested_at: int | None = None
    hang_up_attempted_at: int | None = None
    hang_up_attempts: int = 0
    due_at: int | None = None
    ask_at: int | None = None
    final_status: CallStatus | None = None
    carrier_duration_seconds: int | None = None
    verdict: AnsweredBy | None = None
    detection_ms: int | None = None
    verdict_overdue: bool = False
    platform_failed: bool = False
    duration_seconds: int | None = None
    billed_duration_seconds: int | None = None
    billing_amount_milli_cents: int | None = None
    billing_reason: BillingReason | None = None
    error_code: str | None = None
    error_message: str | None = None
    hangup_cause: str | None = None
    notifies: bool = False
    """Somebody is told of this call's events."""
    awaits_result: bool = False
    """It is told of as completed only when its result is stored."""

    @property
    def evidence(self) -> Evidence:
        return Evidence(
            amd_asked=self.amd_asked,
            max_duration_seconds=self.max_duration_seconds,
            final_status=self.final_status,
            duration_seconds=self.carrier_duration_seconds,
            verdict=self.verdict,
            detection_ms=self.detection_ms,
            verdict_overdue=self.verdict_overdue,
            platform_failed=self.platform_failed,
        )

    @property
    def pair(self) -> str:
        """Names the calls that a lookup by numbers could not tell apart."""
        return f"{self.org_id}:{self.from_number}:{self.to_number}"

    @property
    def awaits_verdict(self) -> bool:
        return self.final_status is not None and not self.status.is_final

    @property
    def is_over(self) -> bool:
        """Ended at the carrier and decided; later facts can only correct it."""
        return self.final_status is not None and self.status.is_final

    @property
    def awaits_extraction(self) -> bool:
        """It ended well, and what it was to find out is not stored yet."""
        return self.status is CallStatus.COMPLETED and self.awaits_result

    @property
    def may_ring(self) -> bool:
        """Whether something may still be up at the carrier."""
        if self.final_status is not None or self.dial_state in (DialState.REFUSED, DialState.INTENDED):
            return False
        return not self.status.is_final or (self.twilio_call_sid is not None and self.hang_up_requested_at is not None)
