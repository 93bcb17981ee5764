"""What Stripe's facts do to a top-up and its credit: pure, in any order, however often they come.

Invariant: credit is given once, for our stored amount, to the top-up that asked for the payment, and what refunds and
disputes have taken of it is min(credit, the sum of their shares), whatever the order in which they became known.

Amounts at Stripe are cents, ours are milli-cents.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from billing.money import MILLI_CENTS_PER_CENT

MINIMUM_CENTS, MAXIMUM_CENTS = 500, 50_000
CURRENCY = "usd"
SESSIONS_PER_HOUR = 20


class TopupKind(StrEnum):
    CHECKOUT = "checkout"
    """Somebody pays on Stripe's page."""
    AUTO = "auto"
    """We charge a card that was saved for it."""


class TopupStatus(StrEnum):
    PENDING = "pending"
    """Nothing has been paid yet."""
    PROCESSING = "processing"
    """The customer has paid by a method that takes days."""
    PAID = "paid"
    """Credited. What went back since stands in the reversals."""
    EXPIRED = "expired"
    FAILED = "failed"
    REVIEW = "review"
    """Money came that does not match what was asked for: an operator decides."""
    REJECTED = "rejected"
    """The operator gave no credit for it."""


class PaymentState(StrEnum):
    """How a payment stands at Stripe."""

    OPEN = "open"
    PROCESSING = "processing"
    PAID = "paid"
    UNASKED = "unasked"
    """Complete without a payment (`no_payment_required`): to credit that would mint money."""
    FAILED = "failed"
    EXPIRED = "expired"


class ReviewReason(StrEnum):
    UNKNOWN_TOPUP = "unknown_topup"
    """The payment names no top-up of ours."""
    OTHER_SESSION = "other_session"
    """The top-up it names was asked for with another session."""
    OTHER_TOPUP = "other_topup"
    """The session is ours and names another top-up."""
    WRONG_MODE = "wrong_mode"
    """Live money for a test top-up, or the other way round."""
    WRONG_CURRENCY = "wrong_currency"
    WRONG_AMOUNT = "wrong_amount"
    NO_PAYMENT = "no_payment"
    PAID_TWICE = "paid_twice"
    """A further payment for a top-up that has been dealt with."""
    ACCOUNT_CLOSED = "account_closed"
    """As asked for, but nobody is left to use the credit: it is to be refunded."""


@dataclass(frozen=True, slots=True)
class Payment:
    """A Checkout Session (`session_id`) or a PaymentIntent of an automatic top-up (no session), as Stripe shows it."""

    state: PaymentState
    session_id: str | None
    payment_intent_id: str | None
    topup_id: str | None
    org_id: str | None
    subtotal_cents: int
    total_cents: int
    currency: str
    livemode: bool
    error_code: str | None = None


@dataclass(frozen=True, slots=True)
class Topup:
    """What the decision looks at."""

    id: str
    kind: TopupKind
    status: TopupStatus
    amount_cents: int
    livemode: bool
    session_id: str | None
    payment_intent_id: str | None
    account_is_closed: bool = False


class Deed(StrEnum):
    """What to do about a payment."""

    NOTHING = "nothing"
    PROCESSING = "processing"
    FAIL = "fail"
    EXPIRE = "expire"
    CREDIT = "credit"
    REVIEW = "review"
    """Put this top-up into review."""
    REVIEW_APART = "review_apart"
    """Record the payment as a top-up of its own, in review; the one it names stays as it is."""


@dataclass(frozen=True, slots=True)
class Judgement:
    deed: Deed
    reason: ReviewReason | None = None


NOTHING = Judgement(Deed.NOTHING)
_UNPAID = (TopupStatus.PENDING, TopupStatus.PROCESSING, TopupStatus.EXPIRED, TopupStatus.FAILED)
_WITHOUT_MONEY = {
    PaymentState.PROCESSING: (Deed.PROCESSING, (TopupStatus.PENDING,)),
    PaymentState.FAILED: (Deed.FAIL, (TopupStatus.PENDING, TopupStatus.PROCESSING)),
    PaymentState.EXPIRED: (Deed.EXPIRE, (TopupStatus.PENDING,)),
}


def judge(topup: Topup | None, payment: Payment) -> Judgement:
    """`topup`: the one that has this payment or session, else the one the payment names."""
    if payment.state is PaymentState.OPEN:
        return NOTHING
    if payment.state in _WITHOUT_MONEY:
        deed, allowed = _WITHOUT_MONEY[payment.state]
        if topup is None or topup.session_id != payment.session_id or topup.status not in allowed:
            return NOTHING
        return Judgement(deed)
    if topup is None:
        return Judgement(Deed.REVIEW_APART, ReviewReason.UNKNOWN_TOPUP)
    if topup.status not in _UNPAID and topup.payment_intent_id == payment.payment_intent_id:
        return NOTHING
    if topup.session_id != payment.session_id:
        return Judgement(Deed.REVIEW_APART, ReviewReason.OTHER_SESSION)
    if topup.status not in _UNPAID:
        return Judgement(Deed.REVIEW_APART, ReviewReason.PAID_TWICE)
    reason = _mismatch(topup, payment)
    return Judgement(Deed.CREDIT) if reason is None else Judgement(Deed.REVIEW, reason)


def _mismatch(topup: Topup, payment: Payment) -> ReviewReason | None:
    checks = (
        (_is_payment(payment), ReviewReason.NO_PAYMENT),
        (payment.topup_id == topup.id, ReviewReason.OTHER_TOPUP),
        (payment.livemode == topup.livemode, ReviewReason.WRONG_MODE),
        (payment.currency == CURRENCY, ReviewReason.WRONG_CURRENCY),
        (payment.subtotal_cents == topup.amount_cents, ReviewReason.WRONG_AMOUNT),
        (not topup.account_is_closed, ReviewReason.ACCOUNT_CLOSED),
    )
    return next((reason for holds, reason in checks if not holds), None)


def _is_payment(payment: Payment) -> bool:
    return payment.state is PaymentState.PAID and payment.payment_intent_id is not None and payment.total_cents > 0


# -- refunds and disputes ---------------------------------------------------------------------------------------------


class ReversalKind(StrEnum):
    REFUND = "refund"
    DISPUTE = "dispute"


class Phase(StrEnum):
    """How far a refund or dispute has come; it never goes back."""

    OPEN = "open"
    """A dispute that has taken nothing: an inquiry, or one just opened."""
    TAKEN = "taken"
    """The money has left us."""
    UNDONE = "undone"
    """It came back: the refund failed, the dispute was won. An earlier event that comes late takes nothing."""


_ORDER = tuple(Phase)


def later(known: Phase, told: Phase) -> Phase:
    return max(known, told, key=_ORDER.index)


@dataclass(frozen=True, slots=True)
class ReversalSeen:
    """A refund or dispute as Stripe shows it. `created_at` in ms; `action_id`: what an operator's refund was asked for
    under."""

    id: str
    kind: ReversalKind
    phase: Phase
    is_closed: bool
    payment_intent_id: str
    amount_cents: int
    created_at: int
    action_id: str | None = None


@dataclass(frozen=True, slots=True)
class Reversal:
    """One that concerns a top-up. `share`: what it should take; `takes`: the ledger entries that took so far."""

    id: str
    kind: ReversalKind
    phase: Phase
    created_at: int
    share_milli_cents: int
    taken_milli_cents: int
    returned_milli_cents: int
    takes: int


@dataclass(frozen=True, slots=True)
class Movement:
    """A ledger entry to make. `gives_back`: to the customer."""

    reversal_id: str
    kind: str
    source_key: str
    amount_milli_cents: int
    gives_back: bool


_TAKES = {ReversalKind.REFUND: ("topup_refund", "refund"), ReversalKind.DISPUTE: ("dispute", "dispute")}
_GIVES_BACK = {
    ReversalKind.REFUND: ("topup_refund_undo", "refund_undo"),
    ReversalKind.DISPUTE: ("dispute_won", "dispute_won"),
}


def share_milli_cents(credit: int, amount_cents: int, paid_cents: int) -> int:
    """The part of a credit that a refund or dispute of `amount_cents` concerns, rounded up."""
    return min(credit, -(-credit * amount_cents // paid_cents))


def movements(credit: int, reversals: Iterable[Reversal]) -> list[Movement]:
    """The ledger entries that are missing after something became known about a top-up of `credit` milli-cents.

    First what failed or was won gives back exactly what it took; then every other one takes its share as far as
    something is outstanding. One that found too little takes the rest, under a further key, when there is more.
    """
    found = sorted(reversals, key=lambda reversal: (reversal.created_at, reversal.id))
    missing = []
    for reversal in found:
        kept = reversal.taken_milli_cents - reversal.returned_milli_cents
        if reversal.phase is Phase.UNDONE and kept:
            kind, key = _GIVES_BACK[reversal.kind]
            missing.append(Movement(reversal.id, kind, f"{key}:{reversal.id}", kept, gives_back=True))
    taken = [reversal for reversal in found if reversal.phase is Phase.TAKEN]
    outstanding = credit - sum(reversal.taken_milli_cents for reversal in taken)
    for reversal in taken:
        amount = min(reversal.share_milli_cents - reversal.taken_milli_cents, outstanding)
        if amount > 0:
            kind, key = _TAKES[reversal.kind]
            again = f":{reversal.takes + 1}" if reversal.takes else ""
            missing.append(Movement(reversal.id, kind, f"{key}:{reversal.id}{again}", amount, gives_back=False))
            outstanding -= amount
    return missing


def retry_at(begun_at: Sequence[int], now: int) -> int | None:
    """When the next Checkout session may be begun, if not now; `begun_at`: of the organisation's recent ones."""
    recent = sorted(at for at in begun_at if at > now - 3_600_000)
    return None if len(recent) < SESSIONS_PER_HOUR else recent[-SESSIONS_PER_HOUR] + 3_600_000


def credit_of(amount_cents: int) -> int:
    return amount_cents * MILLI_CENTS_PER_CENT
