"""Reads facts out of Stripe's objects, from events and answers alike.

Invariant: pure, and nothing of an object is used before its type and form have been checked; free text never leaves
here, so what is stored are ids, amounts and words of Stripe's own vocabulary.

Shapes: https://docs.stripe.com/api (Checkout Session, PaymentIntent, Refund, Dispute).
"""

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

import msgspec

from billing.topup_rules import Payment, PaymentState, Phase, ReversalKind, ReversalSeen, TopupKind

Object = Mapping[str, Any]
Id = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_]{1,255}\Z")]
Cents = Annotated[int, msgspec.Meta(ge=0, le=10**12)]
Seconds = Annotated[int, msgspec.Meta(ge=0, le=10**11)]
_OUR_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
Shape = TypeVar("Shape", bound=msgspec.Struct)


class BadObject(ValueError):
    """The object does not have the form that Stripe documents."""


class _Charged(msgspec.Struct):
    """A PaymentIntent."""

    id: Id
    status: str
    amount: Cents
    currency: str
    livemode: bool
    metadata: dict[str, str] = {}
    last_payment_error: dict[str, Any] | None = None


class _Session(msgspec.Struct):
    id: Id
    livemode: bool
    payment_status: str
    status: str | None = None
    amount_subtotal: Cents | None = None
    amount_total: Cents | None = None
    currency: str | None = None
    payment_intent: Id | _Charged | None = None
    client_reference_id: str | None = None
    metadata: dict[str, str] | None = None


class _Refund(msgspec.Struct):
    id: Id
    amount: Cents
    created: Seconds
    status: str | None = None
    payment_intent: Id | None = None
    metadata: dict[str, str] | None = None


class _Movement(msgspec.Struct):
    amount: int


class _Dispute(msgspec.Struct):
    id: Id
    amount: Cents
    created: Seconds
    status: str
    payment_intent: Id | None = None
    balance_transactions: list[_Movement] = []


def payment_of_session(session: Object, *, failed: bool = False) -> Payment:
    """`failed`: the event says that a delayed payment failed; else an expanded PaymentIntent may. Raises BadObject."""
    shape = _as(_Session, session)
    intent = shape.payment_intent
    if isinstance(intent, _Charged):
        failed = failed or intent.status in ("requires_payment_method", "canceled")
    metadata = shape.metadata or {}
    return Payment(
        state=_session_state(shape, failed),
        session_id=shape.id,
        payment_intent_id=intent.id if isinstance(intent, _Charged) else intent,
        topup_id=_our_id(shape.client_reference_id),
        org_id=_our_id(metadata.get("org_id")),
        subtotal_cents=shape.amount_subtotal or 0,
        total_cents=shape.amount_total or 0,
        currency=(shape.currency or "")[:8],
        livemode=shape.livemode,
    )


def _session_state(session: _Session, failed: bool) -> PaymentState:
    if session.payment_status == "paid":
        return PaymentState.PAID
    if session.status == "expired":
        return PaymentState.EXPIRED
    if session.status != "complete":
        return PaymentState.OPEN
    if session.payment_status != "unpaid":
        return PaymentState.UNASKED
    return PaymentState.FAILED if failed else PaymentState.PROCESSING


_INTENT_STATES = {
    "succeeded": PaymentState.PAID,
    "processing": PaymentState.PROCESSING,
    "requires_payment_method": PaymentState.FAILED,
    "requires_action": PaymentState.FAILED,
    "canceled": PaymentState.FAILED,
}
"""Of a PaymentIntent that was confirmed off-session: whatever would need the customer has failed."""


def payment_of_intent(intent: Object) -> Payment | None:
    """None unless it is of an automatic top-up: Checkout tells of its own by the session. Raises BadObject."""
    shape = _as(_Charged, intent)
    if shape.metadata.get("kind") != TopupKind.AUTO:
        return None
    error = shape.last_payment_error or {}
    code = str(error.get("code") or shape.status)[:64]
    state = _INTENT_STATES.get(shape.status, PaymentState.OPEN)
    return Payment(
        state=state,
        session_id=None,
        payment_intent_id=shape.id,
        topup_id=_our_id(shape.metadata.get("topup_id")),
        org_id=_our_id(shape.metadata.get("org_id")),
        subtotal_cents=shape.amount,
        total_cents=shape.amount,
        currency=shape.currency[:8],
        livemode=shape.livemode,
        error_code=code if state is PaymentState.FAILED else None,
    )


def reversal_of_refund(refund: Object) -> ReversalSeen | None:
    """None if it is of no PaymentIntent, so of nothing we sold. Raises BadObject."""
    shape = _as(_Refund, refund)
    if shape.payment_intent is None:
        return None
    undone = shape.status in ("failed", "canceled")
    return ReversalSeen(
        id=shape.id,
        kind=ReversalKind.REFUND,
        phase=Phase.UNDONE if undone else Phase.TAKEN,
        is_closed=undone,
        payment_intent_id=shape.payment_intent,
        amount_cents=shape.amount,
        created_at=shape.created * 1000,
        action_id=_our_id((shape.metadata or {}).get("action_id")),
    )


def reversal_of_dispute(dispute: Object, event_type: str | None = None) -> ReversalSeen | None:
    """`event_type` None: the object was fetched, and tells by its own balance what was withdrawn. Raises BadObject."""
    shape = _as(_Dispute, dispute)
    if shape.payment_intent is None:
        return None
    return ReversalSeen(
        id=shape.id,
        kind=ReversalKind.DISPUTE,
        phase=_dispute_phase(shape, event_type),
        is_closed=shape.status in ("won", "lost", "warning_closed", "prevented"),
        payment_intent_id=shape.payment_intent,
        amount_cents=shape.amount,
        created_at=shape.created * 1000,
    )


def _dispute_phase(dispute: _Dispute, event_type: str | None) -> Phase:
    """An inquiry takes nothing; a dispute takes when its funds are withdrawn, not when it is opened."""
    if dispute.status == "won" or event_type == "charge.dispute.funds_reinstated":
        return Phase.UNDONE
    if dispute.status.startswith("warning_") or event_type == "charge.dispute.created":
        return Phase.OPEN
    if dispute.status == "lost" or event_type == "charge.dispute.funds_withdrawn":
        return Phase.TAKEN
    withdrawn = sum(movement.amount for movement in dispute.balance_transactions) < 0
    return Phase.TAKEN if event_type is None and withdrawn else Phase.OPEN


Fact = Payment | ReversalSeen
READERS: dict[str, Callable[[Object], Fact | None]] = {
    "checkout.session.completed": payment_of_session,
    "checkout.session.async_payment_succeeded": payment_of_session,
    "checkout.session.async_payment_failed": lambda session: payment_of_session(session, failed=True),
    "checkout.session.expired": payment_of_session,
    "payment_intent.succeeded": payment_of_intent,
    "payment_intent.payment_failed": payment_of_intent,
    "refund.created": reversal_of_refund,
    "refund.updated": reversal_of_refund,
    "refund.failed": reversal_of_refund,
    **{
        event_type: lambda dispute, event_type=event_type: reversal_of_dispute(dispute, event_type)  # type: ignore[misc]
        for event_type in (
            "charge.dispute.created",
            "charge.dispute.funds_withdrawn",
            "charge.dispute.funds_reinstated",
            "charge.dispute.closed",
        )
    },
}
"""Event type → what it tells. Others are not ours to hear (`charge.refunded` counts cumulatively)."""


def _as(shape: type[Shape], given: Object) -> Shape:
    try:
        return msgspec.convert(given, shape)
    except msgspec.ValidationError as error:
        raise BadObject(f"{shape.__name__[1:]}: {error}") from None


def _our_id(text: str | None) -> str | None:
    """Only a form that our ids have can be looked up."""
    return text if text is not None and _OUR_ID.fullmatch(text) else None
