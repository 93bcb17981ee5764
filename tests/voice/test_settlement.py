"""From evidence to money, decision by decision."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.voice.stories import OUTBOUND, SID, T0
from voice.call import Call
from voice.effects import Refund, Release, Settle
from voice.settlement import decide
from voice.vocabulary import AnsweredBy, BillingReason, CallStatus, DialState, ReservationStatus

BOUND = replace(
    OUTBOUND, status=CallStatus.IN_PROGRESS, dial_state=DialState.BOUND, twilio_call_sid=SID, answered_at=T0
)
PERSON = replace(
    BOUND, final_status=CallStatus.COMPLETED, carrier_duration_seconds=67, verdict=AnsweredBy.HUMAN, detection_ms=3_200
)
NOW = T0 + 100_000


def settled(call: Call) -> Call:
    return decide(call, NOW)[0]


def test_a_call_without_deciding_evidence_is_left_alone() -> None:
    for call in (OUTBOUND, BOUND, replace(BOUND, verdict=AnsweredBy.MACHINE), replace(PERSON, verdict=None)):
        assert decide(call, NOW) == (call, ())


def test_the_final_status_and_its_settlement_appear_together() -> None:
    call, money = decide(PERSON, NOW)
    assert money == (Settle(5_250),)
    assert (call.status, call.reservation_status) == (CallStatus.COMPLETED, ReservationStatus.SETTLED)
    assert (call.duration_seconds, call.billed_duration_seconds, call.billing_amount_milli_cents) == (67, 63, 5_250)
    assert (call.billing_reason, call.ended_at) == (BillingReason.BILLED, NOW)


def test_the_time_of_the_end_that_is_known_stays() -> None:
    assert settled(replace(PERSON, ended_at=T0 + 70_000)).ended_at == T0 + 70_000


@pytest.mark.parametrize("dial_state", [DialState.REFUSED, DialState.LOST])
def test_a_call_that_was_given_up_releases_its_hold_once(dial_state: DialState) -> None:
    call, money = decide(replace(OUTBOUND, dial_state=dial_state), NOW)
    assert money == (Release(),)
    assert (call.status, call.billing_reason) == (CallStatus.FAILED, BillingReason.FREE_FAILED)
    assert (call.duration_seconds, call.billed_duration_seconds, call.billing_amount_milli_cents) == (0, 0, 0)
    assert decide(call, NOW) == (call, ())


def test_the_rate_is_the_one_written_on_the_call() -> None:
    dear = replace(PERSON, rate_milli_cents_per_minute=12_345, hold_milli_cents=740_700)
    assert decide(dear, NOW)[1] == (Settle(63 * 12_345 // 60),)


def test_what_was_not_reserved_is_not_charged() -> None:
    call, money = decide(replace(PERSON, reservation_status=None), NOW)
    assert money == ()
    assert (call.reservation_status, call.billing_amount_milli_cents, call.billed_duration_seconds) == (None, 0, 0)
    assert call.billing_reason is BillingReason.FREE_PLATFORM_ERROR


def test_the_carriers_duration_is_shown_only_of_completed_calls() -> None:
    assert settled(replace(PERSON, verdict=AnsweredBy.MACHINE)).duration_seconds == 67
    assert settled(replace(PERSON, final_status=CallStatus.BUSY)).duration_seconds == 0


@pytest.mark.parametrize(
    ("later", "refund", "reason"),
    [
        ({"verdict": AnsweredBy.MACHINE}, Refund(5_250, "refund_voicemail"), BillingReason.REFUND_VOICEMAIL),
        ({"verdict": AnsweredBy.FAX}, Refund(5_250, "refund_fax"), BillingReason.REFUND_FAX),
        ({"final_status": CallStatus.BUSY}, Refund(5_250, "refund_busy"), BillingReason.REFUND_BUSY),
        ({"final_status": CallStatus.FAILED}, Refund(5_250, "refund_failed"), BillingReason.REFUND_FAILED),
        ({"final_status": CallStatus.CANCELED}, Refund(5_250, "refund_canceled"), BillingReason.REFUND_CANCELED),
        ({"final_status": CallStatus.NO_ANSWER}, Refund(5_250, "refund_no_answer"), BillingReason.REFUND_NO_ANSWER),
        ({"platform_failed": True}, Refund(5_250, "refund_platform_error"), BillingReason.REFUND_PLATFORM_ERROR),
        ({"detection_ms": 67_000}, Refund(5_250, "refund_detection"), BillingReason.REFUND_DETECTION),
        ({"detection_ms": 7_000}, Refund(250, "refund_time"), BillingReason.BILLED),
        ({"carrier_duration_seconds": 64}, Refund(250, "refund_time"), BillingReason.BILLED),
    ],
)
def test_a_charge_is_corrected_by_a_new_entry(later: dict[str, object], refund: Refund, reason: BillingReason) -> None:
    corrected, money = decide(replace(settled(PERSON), **later), NOW)
    assert money == (refund,)
    assert corrected.billing_amount_milli_cents == 5_250 - refund.amount_milli_cents
    assert (corrected.billing_reason, corrected.status) == (reason, CallStatus.COMPLETED)
    assert corrected.reservation_status is ReservationStatus.SETTLED
    assert decide(corrected, NOW) == (corrected, ())


def test_an_inbound_charge_without_time_is_refunded() -> None:
    inbound = replace(PERSON, amd_asked=False, verdict=None, detection_ms=None)
    corrected, money = decide(replace(settled(inbound), carrier_duration_seconds=0), NOW)
    assert money == (Refund(5_583, "refund_zero_duration"),)
    assert corrected.duration_seconds == 0


@given(st.integers(0, 20_000), st.integers(0, 60_000), st.sampled_from(sorted(AnsweredBy)), st.integers(0, 100_000))
def test_what_was_charged_never_exceeds_the_hold_and_a_second_look_finds_nothing(
    duration: int, detection_ms: int, verdict: AnsweredBy, rate: int
) -> None:
    hold = 3_600 * rate // 60
    call = replace(
        PERSON,
        carrier_duration_seconds=duration,
        detection_ms=detection_ms,
        verdict=verdict,
        rate_milli_cents_per_minute=rate,
        hold_milli_cents=hold,
    )
    after, money = decide(call, NOW)
    assert len(money) == 1
    assert 0 <= (after.billing_amount_milli_cents or 0) <= hold
    assert (after.reservation_status is ReservationStatus.SETTLED) == ((after.billing_amount_milli_cents or 0) > 0)
    assert isinstance(money[0], Settle) == (after.reservation_status is ReservationStatus.SETTLED)
    assert decide(after, NOW) == (after, ())
