"""From evidence to money: settle, release, or correct.

Invariant: a reservation ends once, a final status and its settlement appear together, and after that only corrections
in the customer's favour happen, each as a new entry.
"""

from msgspec.structs import replace

from billing.rating import charge_milli_cents
from voice.call import Call
from voice.connected_time import connected_time
from voice.effects import Effect, Refund, Release, Settle
from voice.vocabulary import BillingReason, CallStatus, DialState, ReservationStatus

Settled = tuple[Call, tuple[Effect, ...]]


def decide(call: Call, now: int) -> Settled:
    """Settle, release or correct, when the evidence says so."""
    if call.dial_state in (DialState.REFUSED, DialState.LOST) and call.billing_reason is None:
        return _finish(call, CallStatus.FAILED, 0, BillingReason.FREE_FAILED, 0, now)
    outcome = connected_time(call.evidence)
    if outcome is None or call.final_status is None:
        return call, ()
    seconds, reason = outcome
    if call.billing_reason is not None:
        return _correct(call, seconds, reason)
    free_pickup = reason in (BillingReason.FREE_VOICEMAIL, BillingReason.FREE_FAX)
    status = CallStatus.NO_ANSWER if free_pickup else call.final_status
    duration = call.carrier_duration_seconds if call.final_status is CallStatus.COMPLETED else 0
    return _finish(call, status, seconds, reason, duration or 0, now)


def _finish(call: Call, status: CallStatus, seconds: int, reason: BillingReason, duration: int, now: int) -> Settled:
    """The final status and its settlement, together."""
    held = call.reservation_status is ReservationStatus.RESERVED
    if not held and seconds:
        seconds, reason = 0, BillingReason.FREE_PLATFORM_ERROR  # nothing was reserved, so nothing may be charged
    amount = charge_milli_cents(seconds, call.rate_milli_cents_per_minute)
    reservation = call.reservation_status
    money: tuple[Effect, ...] = ()
    if held:
        reservation = ReservationStatus.SETTLED if amount else ReservationStatus.RELEASED
        money = (Settle(amount),) if amount else (Release(),)
    return replace(
        call,
        status=status,
        reservation_status=reservation,
        duration_seconds=duration,
        billed_duration_seconds=seconds,
        billing_amount_milli_cents=amount,
        billing_reason=reason,
        ended_at=call.ended_at or now,
    ), money


def _correct(call: Call, seconds: int, reason: BillingReason) -> Settled:
    """After settlement only corrections in the customer's favour happen."""
    charged = call.billing_amount_milli_cents or 0
    amount = charge_milli_cents(seconds, call.rate_milli_cents_per_minute)
    if amount >= charged:
        return call, ()
    now_free = reason is not BillingReason.BILLED
    final = BillingReason(reason.replace("free_", "refund_")) if now_free else BillingReason.BILLED
    corrected = replace(
        call,
        billed_duration_seconds=seconds,
        billing_amount_milli_cents=amount,
        billing_reason=final,
        duration_seconds=min(call.duration_seconds or 0, call.carrier_duration_seconds or 0),
    )
    return corrected, (Refund(charged - amount, final if now_free else "refund_time"),)
