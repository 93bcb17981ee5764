"""Whatever order the carrier tells things in, however often, and with what is not final lost: the end is the same."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.rating import charge_milli_cents
from tests.voice.stories import (
    ANSWERED,
    HOLD,
    HUMAN,
    MACHINE,
    OTHER_SID,
    RATE,
    RINGING,
    SID,
    Story,
    completed,
    paid,
    reported,
    verdict,
)
from voice.connected_time import connected_time
from voice.effects import Ask, Dial, HangUp, Refund, Release, Settle
from voice.events import (
    CarrierAsked,
    CarrierForgot,
    DialAccepted,
    DialNotFound,
    DialRefused,
    DialUnanswered,
    EndedByHand,
    Event,
    HangUpDelayed,
    HangUpRequested,
    PlatformFailed,
    StatusReported,
    TimePassed,
)
from voice.vocabulary import AnsweredBy, BillingReason, CallStatus, DialState, ReservationStatus


@dataclass(frozen=True)
class Outcome:
    """What the carrier tells of one call, what it tells when asked after the grace, and how it must end."""

    told: tuple[Event, ...]
    status: CallStatus
    reason: str
    seconds: int = 0
    duration: int = 67
    asked: CarrierAsked | None = None
    inbound: bool = False

    @property
    def charge(self) -> int:
        return charge_milli_cents(self.seconds, RATE)


COMPLETED, NO_ANSWER = CallStatus.COMPLETED, CallStatus.NO_ANSWER
ASKED = CarrierAsked(SID, COMPLETED, 67)
ON_THE_WAY: tuple[Event, ...] = (
    reported(CallStatus.QUEUED),
    reported(CallStatus.INITIATED),
    RINGING,
    ANSWERED,
    DialAccepted(SID),
)

OUTCOMES = {
    "human": Outcome((HUMAN, completed()), COMPLETED, "billed", 63),
    "unknown": Outcome((verdict(AnsweredBy.UNKNOWN), completed()), COMPLETED, "billed", 63),
    "verdict without detection time": Outcome((verdict(AnsweredBy.HUMAN, None), completed()), COMPLETED, "billed", 37),
    "longer than the maximum": Outcome((HUMAN, completed(5_000)), COMPLETED, "billed", 3_600, 5_000),
    "ended while detecting": Outcome((HUMAN, completed(3)), COMPLETED, "free_detection", 0, 3),
    "no duration": Outcome((HUMAN, completed(0)), COMPLETED, "free_detection", 0, 0),
    "voicemail": Outcome((MACHINE, completed()), NO_ANSWER, "free_voicemail"),
    "voicemail told twice": Outcome((MACHINE, verdict(AnsweredBy.MACHINE, 9_000), completed()), NO_ANSWER,
                                    "free_voicemail"),
    "fax": Outcome((verdict(AnsweredBy.FAX), completed()), NO_ANSWER, "free_fax"),
    "busy": Outcome((reported(CallStatus.BUSY, 9),), CallStatus.BUSY, "free_busy", 0, 0),
    "no answer": Outcome((reported(NO_ANSWER, 60),), NO_ANSWER, "free_no_answer", 0, 0),
    "failed": Outcome((reported(CallStatus.FAILED),), CallStatus.FAILED, "free_failed", 0, 0),
    "canceled": Outcome((reported(CallStatus.CANCELED, 4),), CallStatus.CANCELED, "free_canceled", 0, 0),
    "busy with a verdict": Outcome((reported(CallStatus.BUSY, 9), HUMAN), CallStatus.BUSY, "free_busy", 0, 0),
    "agent never spoke": Outcome((HUMAN, completed(), PlatformFailed()), COMPLETED, "free_platform_error"),
    "two detection times": Outcome((HUMAN, verdict(AnsweredBy.HUMAN, 9_000), completed()), COMPLETED, "billed", 58),
    "two durations": Outcome((HUMAN, completed(67), completed(64)), COMPLETED, "billed", 60, 64),
    "no verdict anywhere": Outcome((completed(),), COMPLETED, "free_no_verdict", asked=ASKED),
    "verdict only when asked": Outcome(
        (completed(),), COMPLETED, "billed", 37, asked=replace(ASKED, answered_by=AnsweredBy.HUMAN)
    ),
    "machine only when asked": Outcome(
        (completed(),), NO_ANSWER, "free_voicemail", asked=replace(ASKED, answered_by=AnsweredBy.MACHINE)
    ),
    "final event only when asked": Outcome((HUMAN,), COMPLETED, "billed", 63, asked=ASKED),
    "inbound": Outcome((completed(),), COMPLETED, "billed", 67, inbound=True),
    "inbound, zero": Outcome((completed(0),), COMPLETED, "free_zero_duration", 0, 0, inbound=True),
    "inbound, given up": Outcome((reported(NO_ANSWER, 3),), NO_ANSWER, "free_no_answer", 0, 0, inbound=True),
}  # fmt: skip


@st.composite
def tellings(draw: st.DrawFn, outcome: Outcome) -> list[tuple[int, Event]]:
    """(milliseconds since the last one, event): everything permuted and repeated, non-final statuses dropped at will,
    all of it within the grace."""
    on_the_way = () if outcome.inbound else (*ON_THE_WAY, DialUnanswered())
    kept = [event for event in on_the_way if draw(st.booleans())]
    events = draw(st.permutations([*kept, *outcome.told]))
    repeats = draw(st.lists(st.sampled_from(events), max_size=6))
    for event in repeats:
        events.insert(draw(st.integers(0, len(events))), event)
    return [(draw(st.integers(0, 700)), event) for event in events]


@pytest.mark.parametrize("name", OUTCOMES)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_every_order_of_an_outcomes_events_ends_the_same(name: str, data: st.DataObject) -> None:
    outcome = OUTCOMES[name]
    story = Story.inbound() if outcome.inbound else Story.outbound()
    for gap_ms, event in data.draw(tellings(outcome)):
        story.after(gap_ms / 1000, event)
    if outcome.asked is not None:
        story.after(400, TimePassed(), outcome.asked)
    call = story.call
    assert call.status is outcome.status
    assert (call.billing_reason or "").replace("refund_", "free_") == outcome.reason
    assert (call.billed_duration_seconds, call.billing_amount_milli_cents) == (outcome.seconds, outcome.charge)
    assert call.duration_seconds == outcome.duration
    assert story.paid == outcome.charge
    assert (call.twilio_call_sid, call.unresolved_pair, call.error_code) == (SID, None, None)
    assert call.dial_state is (DialState.NONE if outcome.inbound else DialState.BOUND)
    assert (call.due_at, call.ask_at) == (None, None)
    assert [type(effect) for effect in story.effects if isinstance(effect, Release | Settle)] == [
        Settle if call.reservation_status is ReservationStatus.SETTLED else Release
    ]


CONTRADICTIONS: dict[str, tuple[tuple[Event, ...], int]] = {
    "machine and human": ((HUMAN, MACHINE, completed()), 0),
    "fax and unknown": ((verdict(AnsweredBy.FAX), verdict(AnsweredBy.UNKNOWN), completed()), 0),
    "fax and machine": ((verdict(AnsweredBy.FAX), MACHINE, completed()), 0),
    "busy and completed": ((reported(CallStatus.BUSY), HUMAN, completed()), 0),
    "human and a longer unknown": ((HUMAN, verdict(AnsweredBy.UNKNOWN, 10_000), completed()), 57),
    "completed in two ways": ((completed(40), completed(50), HUMAN, verdict(AnsweredBy.HUMAN, 500)), 36),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_contradictions_cost_the_same_in_every_order(name: str, data: st.DataObject) -> None:
    events, seconds = CONTRADICTIONS[name]
    story = Story.outbound().after(1, DialAccepted(SID))
    for event in data.draw(st.permutations([*events, *events, RINGING, ANSWERED])):
        story.after(0.5, event)
    assert story.paid == charge_milli_cents(seconds, RATE)
    assert story.call.billed_duration_seconds == seconds


# -- anything at all ------------------------------------------------------------------------------------------------

STATUSES = st.sampled_from(sorted(CallStatus))
SECONDS = st.none() | st.integers(0, 5_000)
VERDICTS = st.sampled_from(sorted(AnsweredBy))
SIDS = st.sampled_from([SID, SID, SID, SID, OTHER_SID])
EVENTS: st.SearchStrategy[Any] = st.one_of(
    st.builds(StatusReported, SIDS, STATUSES, SECONDS),
    st.builds(StatusReported, SIDS, STATUSES, SECONDS),
    st.builds(lambda sid, who, ms: replace(verdict(who, ms), twilio_call_sid=sid), SIDS, VERDICTS,
              st.none() | st.integers(0, 60_000)),
    st.builds(CarrierAsked, SIDS, STATUSES, SECONDS, st.none() | VERDICTS),
    st.builds(DialAccepted, SIDS),
    st.sampled_from([DialRefused("invalid_number", "no"), DialUnanswered(), CarrierForgot(), HangUpDelayed(),
                     EndedByHand(), HangUpRequested("customer"), PlatformFailed(), TimePassed(), TimePassed()]),
    st.builds(DialNotFound, st.integers(0, 2)),
)  # fmt: skip
GAPS = st.sampled_from([0, 0, 0.3, 2, 10, 16, 61, 301, 3_700])
WALKS = st.lists(st.tuples(GAPS, EVENTS), max_size=14)
STARTS = st.sampled_from(["outbound", "inbound", "leaves a message", "no hold"])


def begin(start: str) -> Story:
    match start:
        case "inbound":
            return Story.inbound()
        case "no hold":
            return Story.inbound(reservation_status=None, status=CallStatus.RINGING)
        case "leaves a message":
            return Story.outbound(hangs_up_on_machine=False)
    return Story.outbound()


@given(STARTS, WALKS)
@settings(max_examples=400, deadline=None)
def test_whatever_is_told_the_books_and_the_status_stay_sound(start: str, walk: list[tuple[float, Event]]) -> None:
    story = begin(start)
    story.effects.clear()
    may_cost: int | None = None
    for gap, event in walk:
        before = story.call
        effects = story.after(gap).answer_of(event)
        call = story.call
        # The status rises, and a final one stays.
        assert call.status.rank >= before.status.rank
        assert not before.status.is_final or call.status is before.status
        # A final status and its settlement appear together.
        is_final = call.status.is_final
        assert is_final == (call.billing_reason is not None) == (call.billing_amount_milli_cents is not None)
        assert is_final == (call.duration_seconds is not None) == (call.billed_duration_seconds is not None)
        assert (call.reservation_status is ReservationStatus.RESERVED) == (not is_final and start != "no hold")
        assert (call.reservation_status is None) == (start == "no hold")
        # The charge is what the evidence said, at its lowest since the settlement.
        outcome = connected_time(call.evidence)
        if is_final:
            given_up = call.error_code is not None or start == "no hold"
            charge = 0 if given_up or outcome is None else charge_milli_cents(outcome[0], RATE)
            may_cost = charge if may_cost is None else min(may_cost, charge)
            assert call.billing_amount_milli_cents == may_cost == story.paid <= HOLD
            assert (call.billing_reason is BillingReason.BILLED) == (may_cost > 0)
        else:
            assert outcome is None or call.final_status is None
            assert not [effect for effect in effects if isinstance(effect, Settle | Release | Refund)]
            # Somebody will look at it again.
            assert call.due_at is not None or call.ask_at is not None
        # A call is dialled at its creation only, and nothing is hung up that has ended.
        assert not [effect for effect in effects if isinstance(effect, Dial)]
        hung_up = [effect.twilio_call_sid for effect in effects if isinstance(effect, HangUp)]
        assert len(hung_up) <= 1
        ended = before.final_status if isinstance(event, EndedByHand) else call.final_status
        assert ended is None or call.twilio_call_sid not in hung_up
        # A machine's call ends soon.
        if call.final_status is None and call.verdict is not None and call.verdict.is_free:
            assert call.hang_up_at is not None
            assert call.hang_up_at <= story.now + 120_000
        # The same again says nothing new.
        repeated = Story(call, story.now)
        again = repeated.answer_of(event)
        if not isinstance(event, HangUpRequested):
            assert repeated.call == call or isinstance(event, TimePassed)
            assert paid(story.effects) == paid([*story.effects, *again])


@given(STARTS.filter(lambda start: start != "no hold"), WALKS, st.booleans())
@settings(max_examples=200, deadline=None)
def test_every_hold_ends_once_the_carrier_can_be_asked(
    start: str, walk: list[tuple[float, Event]], answered: bool
) -> None:
    """Whatever went before, looking at the call when it is due leads to its end, in bounded time."""
    story = begin(start)
    for gap, event in walk:
        story.after(gap, event)
    began = story.now
    for _ in range(400):
        call = story.call
        if call.reservation_status is not ReservationStatus.RESERVED:
            break
        story.now = max(story.now, min(at for at in (call.due_at, call.ask_at) if at is not None))
        asked = any(isinstance(effect, Ask) for effect in story.answer_of(TimePassed()))
        if asked and call.twilio_call_sid is not None:
            verdict_ = AnsweredBy.HUMAN if answered else None
            story.after(0.2, CarrierAsked(call.twilio_call_sid, CallStatus.COMPLETED, 20, verdict_))
        elif asked:
            story.after(0.2, DialNotFound())
    assert story.call.reservation_status is not ReservationStatus.RESERVED
    assert story.now - began <= 700_000
