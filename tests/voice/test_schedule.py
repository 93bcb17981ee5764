"""When a call is looked at next: its own deadlines (`due_at`) and its silence (`ask_at`)."""

from itertools import pairwise

import pytest
from msgspec.structs import replace

from tests.voice.stories import (
    ANSWERED,
    HUMAN,
    MACHINE,
    OUTBOUND,
    POLICY,
    RINGING,
    SID,
    T0,
    Story,
    completed,
    reported,
)
from voice.call import Call, Policy
from voice.effects import Ask
from voice.events import CarrierAsked, DialAccepted, DialNotFound, DialRefused, DialUnanswered, Event, TimePassed
from voice.schedule import DIAL_STALE_MS, FIRST_LOOKUP_MS, HANG_UP_RETRY_MS, schedule, verdict_is_overdue
from voice.vocabulary import AnsweredBy, CallStatus, DialState

SILENCE = POLICY.silence_ms


def times(call: Call) -> tuple[int | None, int | None]:
    return call.due_at, call.ask_at


def test_an_intended_dial_is_looked_at_when_its_process_must_have_died() -> None:
    assert times(Story.outbound().call) == (T0 + DIAL_STALE_MS, None)


def test_an_unknown_dial_is_looked_for_soon_then_when_its_silence_is_over_then_often() -> None:
    story = Story.outbound().after(10, DialUnanswered())
    assert times(story.call) == (None, T0 + FIRST_LOOKUP_MS)
    looks: list[int] = []
    while len(looks) < 5:
        assert story.call.ask_at is not None
        story.now = story.call.ask_at
        assert story.answer_of(TimePassed()) == (Ask(),)
        looks.append(story.now - T0)
        story.tell(DialNotFound(candidates=2))
    assert looks[:2] == [FIRST_LOOKUP_MS, SILENCE]
    assert [later - earlier for earlier, later in pairwise(looks[1:])] == [FIRST_LOOKUP_MS] * 3


def test_a_short_silence_brings_the_first_look_forward() -> None:
    story = Story.outbound()
    story.policy = Policy(silence_ms=2_000)
    story.after(1, DialUnanswered())
    assert story.call.ask_at == T0 + 2_000
    story.after(1, TimePassed(), DialNotFound())
    assert story.call.error_code == "dial_lost"


@pytest.mark.parametrize("event", [RINGING, ANSWERED, HUMAN, DialAccepted(SID)])
def test_a_live_call_is_asked_about_when_it_has_been_silent(event: Event) -> None:
    story = Story.outbound().after(1, DialAccepted(SID)).after(50, event)
    assert story.call.ask_at == story.now + SILENCE
    story.after(SILENCE / 1000 - 0.001, TimePassed())
    assert story.all(Ask) == []
    story.after(0.001, TimePassed())
    assert story.all(Ask) == [Ask()]


def test_a_silent_call_is_asked_about_once_in_each_span_however_many_look() -> None:
    story = Story.outbound().after(1, DialAccepted(SID)).after(SILENCE / 1000, TimePassed(), TimePassed(), TimePassed())
    assert story.all(Ask) == [Ask()]
    story.after(0.3, CarrierAsked(SID, CallStatus.RINGING))
    assert story.call.ask_at == story.now + SILENCE
    story.after(SILENCE / 1000, TimePassed(), TimePassed())
    assert len(story.all(Ask)) == 2


def test_a_live_call_has_no_deadline_before_it_is_answered_and_then_that_of_its_maximum() -> None:
    story = Story.outbound().after(1, DialAccepted(SID), RINGING)
    assert story.call.due_at is None
    story.after(1, ANSWERED)
    assert story.call.due_at == story.call.hang_up_at == story.now + 3_610_000


def test_an_ended_call_is_looked_at_when_its_grace_is_over_and_then_every_fifteen_seconds() -> None:
    story = Story.outbound().after(1, DialAccepted(SID)).after(60, completed(30))
    assert times(story.call) == (story.now + POLICY.amd_grace_ms, None)
    story.after(20, TimePassed())
    assert times(story.call) == (story.now + 15_000, None)


@pytest.mark.parametrize(
    "events",
    [
        (DialRefused("invalid_number", "no"),),
        (DialAccepted(SID), reported(CallStatus.BUSY)),
        (DialAccepted(SID), ANSWERED, HUMAN, completed(30)),
        (DialAccepted(SID), ANSWERED, MACHINE, completed(30)),
        (DialAccepted(SID), ANSWERED, HUMAN, completed(30), MACHINE),
    ],
    ids=["refused", "busy", "billed", "voicemail", "refunded"],
)
def test_a_call_that_is_over_is_looked_at_no_more(events: tuple[Event, ...]) -> None:
    story = Story.outbound().after(1, *events)
    assert times(story.call) == (None, None)
    assert times(story.after(10**6, TimePassed()).call) == (None, None)


def test_hang_ups_are_repeated_more_and_more_rarely() -> None:
    ringing = replace(OUTBOUND, status=CallStatus.RINGING, dial_state=DialState.BOUND, twilio_call_sid=SID)
    bound = replace(ringing, hang_up_requested_at=T0, hang_up_attempted_at=T0)
    dues = [schedule(replace(bound, hang_up_attempts=attempts), POLICY).due_at for attempts in range(1, 8)]
    assert dues == [T0 + wait for wait in (*HANG_UP_RETRY_MS, HANG_UP_RETRY_MS[-1], HANG_UP_RETRY_MS[-1])]


def test_a_verdict_is_overdue_only_when_one_was_asked_for_and_none_came() -> None:
    ended = replace(OUTBOUND, final_stored_at=T0)
    due = T0 + POLICY.amd_grace_ms
    assert verdict_is_overdue(ended, due, POLICY)
    assert not verdict_is_overdue(ended, due - 1, POLICY)
    assert not verdict_is_overdue(replace(ended, verdict=AnsweredBy.HUMAN), due, POLICY)
    assert not verdict_is_overdue(replace(ended, amd_asked=False), due, POLICY)
    assert not verdict_is_overdue(replace(ended, final_stored_at=None), due, POLICY)


def test_the_waiting_times_are_those_promised() -> None:
    assert (Policy().amd_grace_ms, Policy().silence_ms) == (15_000, 300_000)
    assert (DIAL_STALE_MS, FIRST_LOOKUP_MS) == (60_000, 30_000)
    assert HANG_UP_RETRY_MS == (5_000, 10_000, 20_000, 40_000, 60_000)


def test_a_call_of_which_nothing_was_heard_is_asked_about_from_its_creation_on() -> None:
    silent = replace(OUTBOUND, dial_state=DialState.BOUND, twilio_call_sid=SID)
    assert schedule(silent, POLICY).ask_at == T0 + SILENCE
    assert schedule(replace(silent, heard_at=T0 + 5), POLICY).ask_at == T0 + 5 + SILENCE


def test_after_its_end_a_call_that_speaks_again_was_not_heard_from() -> None:
    story = Story.outbound().after(1, DialAccepted(SID), ANSWERED, HUMAN, completed(67))
    ended = story.call
    assert ended.is_over
    assert story.after(60, RINGING).call.heard_at == ended.heard_at


def test_calls_that_a_lookup_could_not_tell_apart_have_one_name() -> None:
    other = replace(OUTBOUND, id="other")
    assert other.pair == OUTBOUND.pair == f"{OUTBOUND.org_id}:{OUTBOUND.from_number}:{OUTBOUND.to_number}"
    assert not OUTBOUND.notifies
