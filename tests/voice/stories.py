"""Calls as tests tell them: a call, a clock, and everything that followed."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from msgspec.structs import replace

from voice.advance import advance, create_inbound, create_outbound
from voice.call import Call, Policy
from voice.effects import Effect, Refund, Release, Settle
from voice.events import Event, StatusReported, VerdictReported
from voice.vocabulary import AnsweredBy, CallStatus, DialState, ReservationStatus

T0 = 1_800_000_000_000
SID = "CA" + "1" * 32
OTHER_SID = "CA" + "2" * 32
POLICY = Policy(amd_grace_ms=15_000, silence_ms=300_000)
RATE = 5_000
HOLD = 300_000

E = TypeVar("E")

OUTBOUND = Call(
    id="01900000-0000-7000-8000-000000000001",
    org_id="01900000-0000-7000-8000-00000000000a",
    direction="outbound",
    to_number="+14155550123",
    from_number="+14155550100",
    status=CallStatus.QUEUED,
    dial_state=DialState.INTENDED,
    rate_milli_cents_per_minute=RATE,
    max_duration_seconds=3_600,
    hold_milli_cents=HOLD,
    created_at=T0,
    updated_at=T0,
    amd_asked=True,
    hangs_up_on_machine=True,
    reservation_status=ReservationStatus.RESERVED,
    dial_began_at=T0,
)
INBOUND = replace(
    OUTBOUND,
    direction="inbound",
    to_number=OUTBOUND.from_number,
    from_number=OUTBOUND.to_number,
    status=CallStatus.IN_PROGRESS,
    dial_state=DialState.NONE,
    amd_asked=False,
    hangs_up_on_machine=False,
    twilio_call_sid=SID,
    dial_began_at=None,
    started_at=T0,
    answered_at=T0,
    heard_at=T0,
)


@dataclass
class Story:
    """`after(seconds, event)` lets time pass and tells the event; `effects` keeps all that followed."""

    call: Call
    now: int = T0
    policy: Policy = POLICY
    effects: list[Effect] = field(default_factory=list)

    @classmethod
    def outbound(cls, **changes: object) -> "Story":
        call, effects = create_outbound(replace(OUTBOUND, **changes), POLICY)
        return cls(call, effects=list(effects))

    @classmethod
    def inbound(cls, **changes: object) -> "Story":
        call, effects = create_inbound(replace(INBOUND, **changes), POLICY)
        return cls(call, effects=list(effects))

    def tell(self, *events: Event) -> "Story":
        for event in events:
            self.call, effects = advance(self.call, event, self.now, self.policy)
            self.effects += effects
        return self

    def after(self, seconds: float, *events: Event) -> "Story":
        self.now += int(seconds * 1000)
        return self.tell(*events)

    def answer_of(self, *events: Event) -> tuple[Effect, ...]:
        """The effects of these events alone."""
        before = len(self.effects)
        self.tell(*events)
        return tuple(self.effects[before:])

    def all(self, kind: type[E]) -> list[E]:
        return [effect for effect in self.effects if isinstance(effect, kind)]

    @property
    def paid(self) -> int:
        return paid(self.effects)


def paid(effects: Iterable[Effect]) -> int:
    """What the customer has paid in the end, in milli-cents; asserts that the hold ended at most once."""
    effects = list(effects)
    settled = [effect.amount_milli_cents for effect in effects if isinstance(effect, Settle)]
    released = [effect for effect in effects if isinstance(effect, Release)]
    refunds = [effect.amount_milli_cents for effect in effects if isinstance(effect, Refund)]
    assert len(settled) + len(released) <= 1
    assert all(amount > 0 for amount in settled + refunds)
    assert settled or not refunds
    return sum(settled) - sum(refunds)


def reported(status: CallStatus, duration_seconds: int | None = None, **fields: object) -> StatusReported:
    return StatusReported(SID, status, duration_seconds, **fields)  # type: ignore[arg-type]


def completed(seconds: int | None = 67) -> StatusReported:
    return reported(CallStatus.COMPLETED, seconds)


def verdict(answered_by: AnsweredBy, detection_ms: int | None = 3_200) -> VerdictReported:
    return VerdictReported(SID, answered_by, detection_ms)


RINGING = reported(CallStatus.RINGING)
ANSWERED = reported(CallStatus.IN_PROGRESS)
HUMAN = verdict(AnsweredBy.HUMAN)
MACHINE = verdict(AnsweredBy.MACHINE)
