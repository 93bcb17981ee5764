"""The life of a call: dialling, binding, hanging up, verdicts, corrections."""

from dataclasses import replace
from typing import Any

import pytest
from msgspec import structs

from tests.voice.stories import (
    ANSWERED,
    HOLD,
    HUMAN,
    INBOUND,
    MACHINE,
    OTHER_SID,
    OUTBOUND,
    POLICY,
    RINGING,
    SID,
    T0,
    Story,
    completed,
    reported,
    verdict,
)
from voice.advance import MACHINE_LIMIT_MS, OVERTIME_MS, advance, fact_of
from voice.connected_time import Fact
from voice.effects import Alert, Ask, Dial, Extract, HangUp, LimitTime, Notify, Refund, Release, Settle
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

ASKED_COMPLETED = CarrierAsked(SID, CallStatus.COMPLETED, 67)


def answered(seconds_of_ringing: float = 5, **changes: object) -> Story:
    return Story.outbound(**changes).after(1, DialAccepted(SID)).after(1, RINGING).after(seconds_of_ringing, ANSWERED)


def dial_state(story: Story) -> DialState:
    return story.call.dial_state


def hung_up(story: Story) -> list[str]:
    return [effect.twilio_call_sid for effect in story.all(HangUp)]


# -- the main road --------------------------------------------------------------------------------------------------


def test_a_person_pays_for_the_connected_time_and_the_rest_of_the_hold_returns() -> None:
    story = answered().after(3.2, HUMAN).after(63.8, completed(67))
    call = story.call
    assert story.paid == 5_250
    assert story.all(Settle) == [Settle(5_250)]
    assert (call.status, call.billing_reason) == (CallStatus.COMPLETED, BillingReason.BILLED)
    assert (call.duration_seconds, call.billed_duration_seconds, call.billing_amount_milli_cents) == (67, 63, 5_250)
    assert call.reservation_status is ReservationStatus.SETTLED
    assert (call.due_at, call.ask_at) == (None, None)


def test_a_new_call_is_dialled_and_announced() -> None:
    assert Story.outbound().effects == [Dial(), Notify("call.queued")]


def test_a_customer_is_told_each_step_once() -> None:
    story = Story.outbound().after(1, DialAccepted(SID), RINGING, RINGING).after(5, ANSWERED, ANSWERED)
    story.after(3, HUMAN, HUMAN).after(60, completed(), completed(), RINGING)
    assert [notice.type for notice in story.all(Notify)] == [
        "call.queued",
        "call.ringing",
        "call.answered",
        "call.completed",
    ]


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (CallStatus.BUSY, "free_busy"),
        (CallStatus.NO_ANSWER, "free_no_answer"),
        (CallStatus.FAILED, "free_failed"),
        (CallStatus.CANCELED, "free_canceled"),
    ],
)
def test_a_call_nobody_answered_is_free_and_lasted_no_time(status: CallStatus, reason: str) -> None:
    story = Story.outbound().after(1, DialAccepted(SID), RINGING).after(20, reported(status, 20))
    call = story.call
    assert story.all(Release) == [Release()]
    assert story.paid == 0
    assert (call.status, call.billing_reason, call.reservation_status) == (status, reason, ReservationStatus.RELEASED)
    assert (call.duration_seconds, call.billed_duration_seconds, call.billing_amount_milli_cents) == (0, 0, 0)
    assert story.all(Notify)[-1] == Notify(f"call.{status.value}")


def test_a_voicemail_is_free_and_ends_as_no_answer() -> None:
    story = answered().after(4, MACHINE).after(2, completed(6))
    assert story.paid == 0
    assert story.call.status is CallStatus.NO_ANSWER
    assert story.call.verdict is AnsweredBy.MACHINE
    assert (story.call.duration_seconds, story.call.billed_duration_seconds) == (6, 0)
    assert [notice.type for notice in story.all(Notify)][-2:] == ["call.voicemail", "call.no_answer"]


def test_a_fax_is_free_and_ends_as_no_answer() -> None:
    story = answered().after(4, verdict(AnsweredBy.FAX)).after(2, completed(6))
    assert (story.paid, story.call.status, story.call.billing_reason) == (0, CallStatus.NO_ANSWER, "free_fax")


def test_a_call_that_ended_while_detecting_is_completed_and_free() -> None:
    story = answered().after(2, completed(2)).after(1, HUMAN)
    assert (story.paid, story.call.status, story.call.billing_reason) == (0, CallStatus.COMPLETED, "free_detection")
    assert story.call.reservation_status is ReservationStatus.RELEASED


def test_an_inbound_call_pays_from_answer_to_end() -> None:
    story = Story.inbound().after(63, completed(63))
    assert story.paid == 5_250
    assert story.effects[:2] == [LimitTime(SID, 3_600), Notify("call.answered")]


def test_an_inbound_call_is_connected_from_its_answer() -> None:
    assert Story.inbound().call.connected_at == T0


@pytest.mark.parametrize("final", [completed(63), reported(CallStatus.BUSY)])
def test_a_call_without_a_hold_is_recorded_free(final: StatusReported) -> None:
    story = Story.inbound(reservation_status=None, status=CallStatus.RINGING).after(63, final)
    assert [effect for effect in story.effects if isinstance(effect, Settle | Release | Refund)] == []
    assert (story.call.reservation_status, story.call.billing_amount_milli_cents) == (None, 0)
    assert story.call.status is final.status


def test_a_charge_that_rounds_to_nothing_releases_the_hold() -> None:
    story = Story.inbound(rate_milli_cents_per_minute=1, hold_milli_cents=60).after(30, completed(30))
    assert story.all(Release) == [Release()]
    assert story.call.reservation_status is ReservationStatus.RELEASED
    assert (story.call.billed_duration_seconds, story.call.billing_amount_milli_cents) == (30, 0)


@pytest.mark.parametrize("seconds", [3_600, 3_604, 3_605, 50_000])
def test_no_call_ever_costs_more_than_its_hold(seconds: int) -> None:
    story = answered().after(4, HUMAN).after(seconds, completed(seconds))
    assert story.paid <= HOLD
    assert story.call.duration_seconds == seconds
    assert (story.paid == HOLD) == (seconds >= 3_604)


def test_connected_time_begins_when_detection_has_ended() -> None:
    story = answered()
    assert story.call.connected_at is None
    answered_at = story.now
    story.after(4, verdict(AnsweredBy.HUMAN, 3_200))
    assert story.call.connected_at == answered_at + 4_000


@pytest.mark.parametrize("event", [MACHINE, verdict(AnsweredBy.FAX)])
def test_a_machine_is_never_connected_to(event: Event) -> None:
    assert answered().after(4, event).call.connected_at is None


def test_a_call_that_was_free_has_no_connected_time() -> None:
    story = answered().after(2, completed(2)).after(1, HUMAN)
    assert story.call.connected_at is None


# -- the dial -------------------------------------------------------------------------------------------------------


def test_a_refused_dial_is_free_and_says_why() -> None:
    story = Story.outbound().after(1, DialRefused("invalid_number", "`to` is not a valid number.", 21211))
    call = story.call
    assert story.all(Release) == [Release()]
    assert (call.status, call.dial_state) == (CallStatus.FAILED, DialState.REFUSED)
    assert (call.error_code, call.error_message) == ("invalid_number", "`to` is not a valid number.")
    assert (call.billing_reason, call.reservation_status) == ("free_failed", ReservationStatus.RELEASED)
    assert (call.due_at, call.ask_at, call.ended_at) == (None, None, story.now)
    assert story.all(Notify)[-1] == Notify("call.failed")


def test_an_operator_hears_of_a_carrier_that_refuses_us_and_not_of_one_that_refuses_a_number() -> None:
    refused = Story.outbound().after(1, DialRefused("carrier_refuses_us", "It does not know us.", 20404))
    assert [alert.kind for alert in refused.all(Alert)] == ["carrier_refuses_us"]
    assert Story.outbound().after(1, DialRefused("invalid_number", "No.", 21211)).all(Alert) == []


def test_a_dial_without_answer_keeps_its_hold_and_blocks_the_pair() -> None:
    story = Story.outbound().after(10, DialUnanswered())
    assert (story.call.dial_state, story.call.reservation_status) == (DialState.UNKNOWN, ReservationStatus.RESERVED)
    assert story.call.unresolved_pair == story.call.pair
    assert story.all(Dial) == [Dial()]  # never dialled again


def test_a_dial_whose_process_died_becomes_unknown_and_is_never_executed_again() -> None:
    story = Story.outbound().after(59.9, TimePassed())
    assert dial_state(story) is DialState.INTENDED
    story.after(0.1, TimePassed())
    assert dial_state(story) is DialState.UNKNOWN
    assert story.call.unresolved_pair == story.call.pair
    assert story.all(Dial) == [Dial()]


@pytest.mark.parametrize(
    "event", [RINGING, HUMAN, DialAccepted(SID), CarrierAsked(SID, CallStatus.QUEUED), completed(67)]
)
def test_an_unknown_dial_is_found_by_whatever_names_it_first(event: Event) -> None:
    story = Story.outbound().after(10, DialUnanswered()).after(5, event)
    assert (story.call.twilio_call_sid, story.call.dial_state) == (SID, DialState.BOUND)
    assert story.call.unresolved_pair is None


def test_a_callback_may_come_before_the_answer_to_the_dial() -> None:
    story = Story.outbound().after(0.5, RINGING, DialAccepted(SID))
    assert (story.call.status, story.call.twilio_call_sid) == (CallStatus.RINGING, SID)
    late = Story.outbound().after(0.5, RINGING).after(9.5, DialUnanswered())
    assert (late.call.dial_state, late.call.unresolved_pair) == (DialState.BOUND, None)


def test_a_dial_that_cannot_be_found_is_given_up_after_the_silence_and_not_before() -> None:
    story = Story.outbound().after(10, DialUnanswered()).after(289.9, DialNotFound())
    assert dial_state(story) is DialState.UNKNOWN
    assert story.paid == 0
    assert story.all(Release) == []
    story.after(0.1, DialNotFound())
    assert (story.call.dial_state, story.call.status) == (DialState.LOST, CallStatus.FAILED)
    assert story.call.error_code == "dial_lost"
    assert story.call.unresolved_pair is None
    assert story.all(Release) == [Release()]
    assert [alert.kind for alert in story.all(Alert)] == ["dial_lost"]


def test_several_candidates_may_still_be_talking_so_the_hold_is_kept_for_a_whole_call() -> None:
    story = Story.outbound(max_duration_seconds=600).after(10, DialUnanswered())
    story.after(300, DialNotFound(candidates=2))
    assert dial_state(story) is DialState.UNKNOWN
    story.after(589.9, DialNotFound(candidates=2))
    assert dial_state(story) is DialState.UNKNOWN
    story.after(0.1, DialNotFound(candidates=2))
    assert dial_state(story) is DialState.LOST


def test_a_lost_call_that_turns_up_is_hung_up_and_free_whatever_it_says() -> None:
    story = Story.outbound().after(10, DialUnanswered()).after(300, DialNotFound()).after(1, ANSWERED)
    assert hung_up(story) == [SID]
    story.after(3, HUMAN).after(60, completed(67))
    assert (story.paid, story.call.status) == (0, CallStatus.FAILED)
    assert (story.call.error_code, story.call.billing_amount_milli_cents) == ("dial_lost", 0)
    assert (story.call.due_at, story.call.ask_at) == (None, None)


def test_a_lost_call_that_turns_up_is_hung_up_until_it_ends() -> None:
    story = Story.outbound().after(10, DialUnanswered()).after(300, DialNotFound()).after(1, RINGING)
    assert story.call.due_at == story.now + 5_000
    story.after(5, TimePassed())
    assert hung_up(story) == [SID, SID]
    ended = story.after(1, reported(CallStatus.CANCELED)).call
    assert (ended.due_at, ended.ask_at) == (None, None)


def test_a_lost_call_is_looked_for_no_more() -> None:
    story = Story.outbound().after(10, DialUnanswered(), HangUpRequested("customer")).after(300, DialNotFound())
    assert dial_state(story) is DialState.LOST
    assert (story.call.due_at, story.call.ask_at) == (None, None)


@pytest.mark.parametrize("event", [RINGING, HUMAN, DialAccepted(SID)])
def test_a_second_call_of_the_carrier_is_hung_up_and_never_paid(event: Any) -> None:
    story = answered().after(3, HUMAN)
    before = story.call
    stray = replace(event, twilio_call_sid=OTHER_SID)
    kinds = [type(effect) for effect in story.answer_of(stray)]
    assert kinds == [HangUp, Alert]
    assert hung_up(story) == [OTHER_SID]
    assert story.call == before


def test_a_call_that_was_only_found_by_its_numbers_is_let_be_when_another_was_meant() -> None:
    story = answered()
    before = story.call
    assert story.answer_of(CarrierAsked(OTHER_SID, CallStatus.RINGING)) == ()
    assert story.call == before


def test_what_a_second_call_says_is_no_evidence() -> None:
    story = answered()
    stray = replace(completed(9), twilio_call_sid=OTHER_SID)
    assert fact_of(story.call, stray, story.now, POLICY) is None


# -- hanging up -----------------------------------------------------------------------------------------------------


def test_a_hang_up_is_done_at_once_and_its_reason_kept() -> None:
    story = answered().after(1, HangUpRequested("customer"))
    assert hung_up(story) == [SID]
    assert story.call.hangup_cause == "customer"


@pytest.mark.parametrize("event", [DialAccepted(SID), RINGING, ANSWERED, HUMAN, CarrierAsked(SID, CallStatus.RINGING)])
@pytest.mark.parametrize("dial", [(), (DialUnanswered(),)], ids=["intended", "unknown"])
def test_a_hang_up_before_the_call_is_known_is_remembered_until_it_is(
    event: Event, dial: tuple[DialUnanswered, ...]
) -> None:
    story = Story.outbound().after(1, *dial, HangUpRequested("customer"))
    assert hung_up(story) == []
    story.after(1, event)
    assert hung_up(story) == [SID]
    assert story.call.hang_up_attempts == 1


def test_a_remembered_hang_up_and_a_machine_are_one_hang_up() -> None:
    story = Story.outbound().after(1, HangUpRequested("customer")).after(5, MACHINE)
    assert hung_up(story) == [SID]
    unasked = Story.outbound().after(5, MACHINE)
    assert hung_up(unasked) == [SID]


def test_a_call_that_had_ended_when_it_was_found_is_not_hung_up() -> None:
    story = Story.outbound().after(1, HangUpRequested("customer")).after(5, completed(3))
    assert hung_up(story) == []


def test_a_hang_up_is_tried_until_the_carrier_reports_the_end() -> None:
    story = answered().after(1, HangUpRequested("customer"))
    began, tried = story.now, []
    for _ in range(8):
        assert story.call.due_at is not None
        story.now = story.call.due_at
        story.tell(TimePassed())
        tried.append((story.now - began) // 1000)
    assert tried == [5, 15, 35, 75, 135, 195, 255, 315]
    assert len(hung_up(story)) == 9
    story.after(1, completed(5))
    count = len(hung_up(story))
    story.after(1_000, TimePassed())
    assert len(hung_up(story)) == count


def test_a_call_that_is_over_cannot_be_hung_up() -> None:
    for story in (answered().after(60, completed()), answered().after(3, HUMAN).after(60, completed())):
        story.tell(HangUpRequested("customer"))
        assert hung_up(story) == []
        assert story.call.hang_up_requested_at is None


def test_the_first_reason_of_a_hang_up_stays() -> None:
    story = answered().after(1, HangUpRequested("agent")).after(1, HangUpRequested("customer"))
    assert story.call.hangup_cause == "agent"


def test_without_a_hang_up_the_carriers_cause_is_kept() -> None:
    story = answered().after(9, reported(CallStatus.FAILED, sip_response_code="503"))
    assert story.call.hangup_cause == "SIP 503"


def test_a_normal_end_has_no_cause() -> None:
    story = answered().after(9, reported(CallStatus.COMPLETED, duration_seconds=9, sip_response_code="200"))
    assert story.call.hangup_cause is None


def test_a_call_longer_than_its_maximum_is_hung_up_from_the_carriers_answer_on() -> None:
    story = Story.outbound(max_duration_seconds=600).after(1, DialAccepted(SID))
    story.after(7_200, RINGING)  # the carrier may keep a call in its queue for hours
    story.after(5, ANSWERED).after(3, HUMAN)
    answered_at = story.now - 3_000
    assert story.call.due_at == answered_at + 600_000 + OVERTIME_MS
    story.now = story.call.due_at - 1
    story.tell(TimePassed())
    assert hung_up(story) == []
    story.after(0.001, TimePassed())
    assert hung_up(story) == [SID]
    assert story.call.hangup_cause == "maximum_duration"


def test_an_inbound_call_longer_than_its_maximum_is_hung_up() -> None:
    story = Story.inbound(max_duration_seconds=60)
    assert story.call.due_at == T0 + 60_000 + OVERTIME_MS
    story.after(70, TimePassed())
    assert hung_up(story) == [SID]


def test_the_answer_time_that_rest_tells_counts_for_the_maximum() -> None:
    story = Story.outbound(max_duration_seconds=60).after(1, DialAccepted(SID))
    answered_at = story.now + 10_000
    story.after(300, CarrierAsked(SID, CallStatus.IN_PROGRESS, answered_at=answered_at))
    assert story.call.answered_at == answered_at
    story.tell(TimePassed())
    assert hung_up(story) == [SID]


# -- who picked up --------------------------------------------------------------------------------------------------


def test_a_machine_is_hung_up_on_at_once() -> None:
    story = answered().after(4, MACHINE)
    assert hung_up(story) == [SID]
    assert story.call.hangup_cause == "voicemail"


@pytest.mark.parametrize("event", [MACHINE, verdict(AnsweredBy.FAX)])
def test_a_free_call_that_leaves_a_message_lasts_two_minutes_at_most(event: Event) -> None:
    story = answered(hangs_up_on_machine=False).after(4, event)
    assert hung_up(story) == []
    story.after(MACHINE_LIMIT_MS / 1000 - 0.001, TimePassed())
    assert hung_up(story) == []
    story.after(0.001, TimePassed())
    assert hung_up(story) == [SID]
    assert story.call.hangup_cause == "voicemail"
    assert MACHINE_LIMIT_MS == 120_000


def test_a_screening_robot_is_talked_to_within_the_two_minutes() -> None:
    story = answered().after(2, HangUpDelayed()).after(2, MACHINE)
    assert hung_up(story) == []
    story.after(120, TimePassed())
    assert hung_up(story) == [SID]


def test_an_agent_that_conducts_the_call_decides_how_to_leave_a_machine_within_the_two_minutes() -> None:
    story = answered()
    story.policy = replace(POLICY, talks=True)
    story.after(4, MACHINE)
    assert hung_up(story) == []
    story.after(120, TimePassed())
    assert hung_up(story) == [SID]


def test_the_end_of_a_free_call_is_not_put_off_by_a_later_verdict() -> None:
    story = answered(hangs_up_on_machine=False).after(4, MACHINE)
    due = story.call.due_at
    story.after(60, verdict(AnsweredBy.FAX), MACHINE)
    assert story.call.due_at == due
    assert [notice.type for notice in story.all(Notify)].count("call.voicemail") == 1


def test_a_machine_heard_before_the_answer_still_ends_within_two_minutes() -> None:
    story = Story.outbound(hangs_up_on_machine=False).after(1, DialAccepted(SID)).after(5, MACHINE).after(1, ANSWERED)
    assert story.call.due_at == story.now - 1_000 + MACHINE_LIMIT_MS


def test_a_short_maximum_comes_before_the_two_minutes() -> None:
    story = answered(hangs_up_on_machine=False, max_duration_seconds=60).after(4, MACHINE)
    assert story.call.due_at == story.now - 4_000 + 60_000 + OVERTIME_MS


# -- verdicts that are late or never come ---------------------------------------------------------------------------


def test_a_call_waits_for_its_verdict_and_shows_in_progress_until_then() -> None:
    story = answered().after(67, completed(67))
    assert story.call.status is CallStatus.IN_PROGRESS
    assert story.call.reservation_status is ReservationStatus.RESERVED
    assert (story.call.duration_seconds, story.call.billing_amount_milli_cents) == (None, None)
    assert story.call.due_at == story.now + POLICY.amd_grace_ms
    story.after(14, HUMAN)
    assert (story.call.status, story.paid) == (CallStatus.COMPLETED, 5_250)


def test_the_grace_runs_from_the_first_final_event() -> None:
    story = answered().after(67, completed(67))
    due = story.call.due_at
    story.after(10, completed(67))
    assert story.call.due_at == due


def test_after_the_grace_the_carrier_is_asked_and_its_verdict_decides() -> None:
    story = answered().after(67, completed(67)).after(14.999, TimePassed())
    assert story.all(Ask) == []
    story.after(0.001, TimePassed())
    assert story.all(Ask) == [Ask()]
    story.after(0.2, CarrierAsked(SID, CallStatus.COMPLETED, 67, AnsweredBy.HUMAN))
    assert (story.call.billed_duration_seconds, story.call.billing_reason) == (37, BillingReason.BILLED)
    assert story.paid == 37 * 5_000 // 60


def test_within_the_grace_the_rest_apis_verdict_charges_nothing() -> None:
    story = answered().after(67, completed(67)).after(5, CarrierAsked(SID, CallStatus.COMPLETED, 67, AnsweredBy.HUMAN))
    assert (story.call.status, story.call.verdict) == (CallStatus.IN_PROGRESS, None)
    story.after(1, verdict(AnsweredBy.HUMAN, 3_200))
    assert story.call.billed_duration_seconds == 63  # the callback's detection time, not the longest possible


def test_the_rest_api_does_not_lengthen_the_detection_that_a_callback_told() -> None:
    story = answered().after(3, HUMAN).after(400, CarrierAsked(SID, CallStatus.COMPLETED, 67, AnsweredBy.HUMAN))
    assert story.call.billed_duration_seconds == 63


@pytest.mark.parametrize("answered_by", [AnsweredBy.MACHINE, AnsweredBy.FAX])
def test_a_machine_that_the_rest_api_tells_beats_the_person_of_a_callback(answered_by: AnsweredBy) -> None:
    asked = CarrierAsked(SID, CallStatus.COMPLETED, 67, answered_by)
    before = answered().after(3, HUMAN).after(400, asked)
    assert (before.paid, before.call.status) == (0, CallStatus.NO_ANSWER)
    after = answered().after(3, HUMAN).after(64, completed(67)).after(1, asked)
    assert (after.paid, after.call.status) == (0, CallStatus.COMPLETED)


def test_a_call_without_any_verdict_is_free() -> None:
    story = answered().after(67, completed(67)).after(15, TimePassed(), ASKED_COMPLETED)
    assert (story.paid, story.call.billing_reason) == (0, BillingReason.FREE_NO_VERDICT)
    assert story.call.status is CallStatus.COMPLETED
    assert story.all(Release) == [Release()]


def test_a_call_the_carrier_forgot_is_free_and_raises_an_alert() -> None:
    story = answered().after(67, completed(67)).after(15, TimePassed(), CarrierForgot())
    assert (story.paid, story.call.billing_reason) == (0, BillingReason.FREE_NO_VERDICT)
    assert [alert.kind for alert in story.all(Alert)] == ["carrier_forgot"]


def test_a_live_call_the_carrier_forgot_keeps_its_hold() -> None:
    story = answered().after(300, CarrierForgot())
    assert story.call.reservation_status is ReservationStatus.RESERVED
    assert story.call.status is CallStatus.IN_PROGRESS
    assert story.call.ask_at == story.now + POLICY.silence_ms


def test_a_call_the_carrier_forgot_is_given_up_when_it_cannot_be_up_any_more_and_not_before() -> None:
    story = answered(max_duration_seconds=600)
    assert story.call.answered_at is not None
    story.now = story.call.answered_at + 600_000 + POLICY.silence_ms - 1
    story.tell(CarrierForgot())
    assert story.call.reservation_status is ReservationStatus.RESERVED
    story.after(0.001, CarrierForgot())
    call = story.call
    assert (call.status, call.error_code, call.billing_reason) == (CallStatus.FAILED, "carrier_forgot", "free_failed")
    assert story.all(Release) == [Release()]
    assert (call.due_at, call.ask_at) == (None, None)
    story.after(1, HUMAN, completed(67))
    assert story.paid == 0


def test_a_call_the_carrier_forgot_may_have_waited_in_its_queue_for_a_day() -> None:
    story = Story.outbound(max_duration_seconds=600).after(1, DialAccepted(SID))
    story.now = T0 + 86_400_000 + 600_000 + POLICY.silence_ms - 1
    story.tell(CarrierForgot())
    assert story.call.reservation_status is ReservationStatus.RESERVED
    story.after(0.001, CarrierForgot())
    assert (story.call.error_code, story.all(Release)) == ("carrier_forgot", [Release()])


def test_a_lost_call_that_turned_up_and_was_forgotten_is_hung_up_no_more() -> None:
    story = Story.outbound().after(10, DialUnanswered()).after(300, DialNotFound()).after(1, ANSWERED)
    story.after(1_000_000, CarrierForgot())
    assert (story.call.error_code, story.call.due_at, story.call.ask_at) == ("dial_lost", None, None)


@pytest.mark.parametrize(
    "story",
    [
        Story.outbound(),
        Story.outbound().after(10, DialUnanswered()),
        answered().after(3, HUMAN),
        answered().after(67, completed(67)),
        Story.inbound(),
    ],
    ids=["intended", "unknown", "live", "without verdict", "inbound"],
)
def test_what_an_operator_ends_is_free_for_good(story: Story) -> None:
    had_ended = story.call.final_status is not None
    story.after(1, EndedByHand())
    call = story.call
    assert (call.status, call.error_code, call.billing_reason) == (CallStatus.FAILED, "ended_by_hand", "free_failed")
    assert story.all(Release) == [Release()]
    assert (call.due_at, call.ask_at, call.unresolved_pair) == (None, None, None)
    story.after(1, EndedByHand(), ANSWERED, HUMAN, completed(67))
    assert (story.paid, story.call.status) == (0, CallStatus.FAILED)
    assert hung_up(story) == ([] if had_ended else [SID])  # at once, or when it turned up


def test_what_has_ended_cannot_be_ended_by_hand() -> None:
    for story in (billed(), answered().after(4, reported(CallStatus.BUSY))):
        before = story.call
        assert story.after(1).answer_of(EndedByHand()) == ()
        assert story.call == before


def test_while_the_carrier_cannot_be_asked_the_hold_is_kept_and_it_is_asked_again() -> None:
    story = answered().after(67, completed(67)).after(15, TimePassed())
    for asks in range(2, 6):
        assert story.call.due_at == story.now + 15_000
        story.after(15, TimePassed())
        assert len(story.all(Ask)) == asks
    assert story.call.reservation_status is ReservationStatus.RESERVED


def test_an_answer_that_is_not_final_yet_is_asked_for_again() -> None:
    story = answered().after(67, completed(67)).after(15, TimePassed())
    story.after(1, CarrierAsked(SID, CallStatus.IN_PROGRESS, answered_by=AnsweredBy.HUMAN))
    assert story.call.status is CallStatus.IN_PROGRESS
    assert story.call.due_at == story.now + 15_000


def test_a_call_that_the_rest_api_never_shows_as_ended_is_free_when_it_has_been_asked_long_enough() -> None:
    story = answered().after(67, completed(67)).after(15)
    stale = CarrierAsked(SID, CallStatus.IN_PROGRESS, answered_by=AnsweredBy.HUMAN)
    story.after(299.999, stale)
    assert story.call.reservation_status is ReservationStatus.RESERVED
    story.after(0.001, stale)
    assert (story.call.status, story.call.billing_reason) == (CallStatus.COMPLETED, "free_no_verdict")
    assert story.all(Release) == [Release()]


@pytest.mark.parametrize("who", [AnsweredBy.MACHINE, AnsweredBy.FAX])
def test_a_machine_whose_verdict_was_lost_is_hung_up_on_when_the_rest_api_tells_of_it(who: AnsweredBy) -> None:
    story = answered().after(300, CarrierAsked(SID, CallStatus.IN_PROGRESS, answered_by=who))
    assert (story.call.verdict, hung_up(story)) == (who, [SID])
    person = answered().after(300, CarrierAsked(SID, CallStatus.IN_PROGRESS, answered_by=AnsweredBy.HUMAN))
    assert (person.call.verdict, hung_up(person)) == (None, [])


def test_a_verdict_before_the_grace_is_over_makes_no_question() -> None:
    story = answered().after(3, HUMAN).after(64, completed(67)).after(1_000, TimePassed())
    assert story.all(Ask) == []


# -- our own failure ------------------------------------------------------------------------------------------------


def test_a_call_in_which_our_agent_never_spoke_is_free() -> None:
    story = answered().after(3, HUMAN, PlatformFailed()).after(5, completed(8))
    assert (story.paid, story.call.billing_reason) == (0, BillingReason.FREE_PLATFORM_ERROR)
    late = answered().after(3, HUMAN).after(64, completed(67)).after(1, PlatformFailed())
    assert (late.paid, late.call.billing_reason) == (0, BillingReason.REFUND_PLATFORM_ERROR)


# -- corrections ----------------------------------------------------------------------------------------------------


def billed() -> Story:
    return answered().after(3, HUMAN).after(64, completed(67))


def test_a_machine_after_the_charge_refunds_it_and_leaves_the_status() -> None:
    story = billed().after(60, MACHINE)
    assert story.all(Refund) == [Refund(5_250, "refund_voicemail")]
    assert story.paid == 0
    assert (story.call.status, story.call.verdict) == (CallStatus.COMPLETED, AnsweredBy.MACHINE)
    assert (story.call.billing_reason, story.call.billing_amount_milli_cents) == ("refund_voicemail", 0)
    assert story.call.billed_duration_seconds == 0
    assert story.call.connected_at is None


def test_a_fax_after_the_charge_refunds_it() -> None:
    assert billed().after(60, verdict(AnsweredBy.FAX)).all(Refund) == [Refund(5_250, "refund_fax")]


@pytest.mark.parametrize("status", [CallStatus.BUSY, CallStatus.NO_ANSWER, CallStatus.FAILED, CallStatus.CANCELED])
def test_a_free_final_status_after_the_charge_refunds_it(status: CallStatus) -> None:
    story = billed().after(1, reported(status))
    assert story.all(Refund) == [Refund(5_250, f"refund_{status.value}")]
    assert (story.paid, story.call.status) == (0, CallStatus.COMPLETED)


def test_a_longer_detection_after_the_charge_refunds_the_difference() -> None:
    story = billed().after(1, verdict(AnsweredBy.HUMAN, 10_001))
    assert story.all(Refund) == [Refund(5_250 - 56 * 5_000 // 60, "refund_time")]
    assert (story.paid, story.call.billed_duration_seconds) == (56 * 5_000 // 60, 56)
    assert story.call.billing_reason is BillingReason.BILLED


def test_a_shorter_duration_after_the_charge_refunds_the_difference() -> None:
    story = billed().after(1, completed(34))
    assert (story.paid, story.call.duration_seconds, story.call.billed_duration_seconds) == (2_500, 34, 30)


def test_corrections_add_up_to_the_charge_and_no_more() -> None:
    story = billed().after(1, completed(34)).after(1, verdict(AnsweredBy.HUMAN, 14_000)).after(1, MACHINE, MACHINE)
    assert sum(refund.amount_milli_cents for refund in story.all(Refund)) == 5_250
    assert len(story.all(Refund)) == 3
    story.after(1, reported(CallStatus.BUSY), PlatformFailed())
    assert (story.paid, len(story.all(Refund))) == (0, 3)


def test_a_detection_as_long_as_the_call_refunds_all_of_it() -> None:
    story = billed().after(1, verdict(AnsweredBy.HUMAN, 67_000))
    assert (story.paid, story.call.billing_reason) == (0, BillingReason.REFUND_DETECTION)


@pytest.mark.parametrize("event", [completed(90), verdict(AnsweredBy.HUMAN, 100), verdict(AnsweredBy.UNKNOWN, 0)])
def test_nothing_is_ever_charged_after_the_settlement(event: Event) -> None:
    story = billed()
    money = story.call.billing_amount_milli_cents
    story.after(1, event)
    assert (story.paid, story.call.billing_amount_milli_cents) == (5_250, money)
    assert (story.call.duration_seconds, story.call.billed_duration_seconds) == (67, 63)


def test_a_person_after_the_release_changes_nothing() -> None:
    for story in (
        answered().after(4, MACHINE).after(2, completed(67)),
        answered().after(67, completed(67)).after(15, TimePassed(), ASKED_COMPLETED),
        answered().after(1, reported(CallStatus.BUSY)),
    ):
        before = story.call
        person = CarrierAsked(SID, CallStatus.COMPLETED, 67, AnsweredBy.HUMAN)
        assert story.answer_of(HUMAN, completed(67), person) == ()
        money = ("status", "duration_seconds", "billed_duration_seconds", "billing_amount_milli_cents",
                 "billing_reason", "reservation_status")  # fmt: skip
        assert [getattr(story.call, name) for name in money] == [getattr(before, name) for name in money]


# -- results --------------------------------------------------------------------------------------------------------


def test_a_completed_call_is_told_of_only_when_its_result_is_stored() -> None:
    story = answered(awaits_result=True).after(3, HUMAN).after(64, completed(67))
    assert (story.call.status, story.paid) == (CallStatus.COMPLETED, 5_250)
    assert Notify("call.completed") not in story.effects
    assert story.all(Extract) == [Extract()]


def test_a_result_that_nobody_stored_is_read_off_again() -> None:
    story = answered(awaits_result=True).after(3, HUMAN).after(64, completed(67))
    for attempts in range(2, 5):
        assert story.call.due_at == story.now + 120_000
        assert story.call.ask_at is None
        story.after(119.999, TimePassed())
        story.after(0.001, TimePassed(), TimePassed())
        assert len(story.all(Extract)) == attempts


@pytest.mark.parametrize("events", [(MACHINE, completed(6)), (reported(CallStatus.BUSY),)])
def test_a_call_nobody_answered_has_no_result_to_wait_for(events: tuple[Event, ...]) -> None:
    story = answered(awaits_result=True).after(4, *events)
    assert story.all(Extract) == []
    assert story.all(Notify)[-1] == Notify(f"call.{story.call.status.value}")
    assert (story.call.due_at, story.call.ask_at) == (None, None)


# -- times ----------------------------------------------------------------------------------------------------------


def test_the_carriers_own_times_are_kept() -> None:
    story = Story.outbound().after(60, DialAccepted(SID))
    story.after(1, reported(CallStatus.RINGING, at=T0 + 20_000), reported(CallStatus.IN_PROGRESS, at=T0 + 25_000))
    story.after(1, reported(CallStatus.COMPLETED, 30, at=T0 + 55_000))
    assert (story.call.started_at, story.call.answered_at) == (T0 + 20_000, T0 + 25_000)
    assert story.call.ended_at == T0 + 55_000


@pytest.mark.parametrize("at", [T0 + 10**9, T0 - 5_001, None])
def test_a_time_outside_the_calls_life_is_not_believed(at: int | None) -> None:
    story = Story.outbound().after(1, DialAccepted(SID)).after(5, reported(CallStatus.IN_PROGRESS, at=at))
    assert story.call.answered_at == story.now


def test_a_second_of_the_carriers_clock_before_the_call_is_believed() -> None:
    story = Story.outbound().after(1, reported(CallStatus.RINGING, at=T0 - 5_000))
    assert story.call.started_at == T0 - 5_000


def test_a_call_whose_answer_was_not_told_was_answered_its_duration_before_its_end() -> None:
    story = Story.outbound().after(1, DialAccepted(SID)).after(80, completed(67)).tell(HUMAN)
    assert story.call.answered_at == story.now - 67_000
    assert story.call.ended_at == story.now
    impossible = Story.outbound().after(10, completed(67))
    assert impossible.call.answered_at == T0


def test_a_change_is_stamped_and_time_never_goes_back() -> None:
    story = answered()
    assert story.call.updated_at == story.now
    story.now -= 60_000
    story.tell(HUMAN)
    assert story.call.updated_at == story.now + 60_000


def test_a_fact_is_what_the_event_says_of_connected_time() -> None:
    call = structs.replace(OUTBOUND, twilio_call_sid=SID)
    asked = CarrierAsked(SID, CallStatus.COMPLETED, 67, AnsweredBy.HUMAN)
    facts: dict[Event, Fact | None] = {
        completed(67): Fact(final_status=CallStatus.COMPLETED, duration_seconds=67),
        reported(CallStatus.BUSY, 12): Fact(final_status=CallStatus.BUSY),
        RINGING: None,
        HUMAN: Fact(verdict=AnsweredBy.HUMAN, detection_ms=3_200),
        asked: Fact(final_status=CallStatus.COMPLETED, duration_seconds=67),
        CarrierAsked(SID, CallStatus.BUSY, 12): Fact(final_status=CallStatus.BUSY),
        CarrierAsked(SID, CallStatus.RINGING): None,
        CarrierForgot(): None,
        PlatformFailed(): Fact(platform_failed=True),
        TimePassed(): None,
    }
    for event, fact in facts.items():
        assert fact_of(call, event, T0, POLICY) == fact
    overdue = structs.replace(call, final_stored_at=T0 - POLICY.amd_grace_ms)
    assert fact_of(overdue, asked, T0, POLICY) == Fact(CallStatus.COMPLETED, 67, AnsweredBy.HUMAN, verdict_overdue=True)
    assert fact_of(overdue, CarrierForgot(), T0, POLICY) == Fact(verdict_overdue=True)
    assert fact_of(overdue, CarrierForgot(), T0 - 1, POLICY) is None


def test_an_inbound_call_waits_for_no_verdict() -> None:
    call = structs.replace(INBOUND, final_stored_at=T0, final_status=CallStatus.COMPLETED)
    assert fact_of(call, CarrierForgot(), T0 + 10**9, POLICY) is None


def test_advance_keeps_the_call_it_was_given() -> None:
    story = answered()
    before = structs.replace(story.call)
    advance(story.call, HUMAN, story.now, POLICY)
    assert story.call == before


def test_the_carriers_time_is_believed_within_the_calls_life_and_not_a_millisecond_beyond() -> None:
    now, longest = T0 + 1_000, OUTBOUND.max_duration_seconds * 1000
    for said, believed in (
        (T0 - 5_000, T0 - 5_000),
        (T0 - 5_001, now),
        (now + longest, now + longest),
        (now + longest + 1, now),
    ):
        story = Story.outbound().after(1, DialAccepted(SID), reported(CallStatus.RINGING, at=said))
        assert story.call.started_at == believed


def test_a_ringing_told_after_the_answer_began_no_later_than_that() -> None:
    story = Story.outbound().after(1, DialAccepted(SID), ANSWERED).after(5, RINGING)
    assert story.call.started_at == story.call.answered_at == T0 + 1_000
    told_early = Story.outbound().after(1, DialAccepted(SID), ANSWERED).after(5, reported(CallStatus.RINGING, at=T0))
    assert told_early.call.started_at == T0


@pytest.mark.parametrize("status", [CallStatus.BUSY, CallStatus.NO_ANSWER, CallStatus.FAILED, CallStatus.CANCELED])
def test_a_call_that_nobody_answered_has_no_time_of_answer(status: CallStatus) -> None:
    story = Story.outbound().after(1, DialAccepted(SID), RINGING).after(9, reported(status))
    assert (story.call.status, story.call.answered_at) == (status, None)


@pytest.mark.parametrize(("seconds", "answered_at"), [(67, T0 + 33_000), (None, T0 + 100_000), (500, T0)])
def test_an_answer_nobody_told_of_was_so_long_before_the_end_as_the_call_lasted(
    seconds: int | None, answered_at: int
) -> None:
    story = Story.outbound().after(1, DialAccepted(SID)).after(99, completed(seconds))
    assert (story.call.status, story.call.answered_at) == (CallStatus.IN_PROGRESS, answered_at)


@pytest.mark.parametrize(("detection_ms", "after_ms"), [(0, 0), (1, 1_000), (2_001, 3_000), (3_000, 3_000)])
def test_a_person_is_on_the_line_when_the_seconds_of_detection_have_begun_and_ended(
    detection_ms: int, after_ms: int
) -> None:
    story = Story.outbound().after(1, DialAccepted(SID), ANSWERED, verdict(AnsweredBy.HUMAN, detection_ms))
    assert story.call.connected_at == T0 + 1_000 + after_ms
