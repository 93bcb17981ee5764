"""When a saved card is charged, how much, and what a refusal leads to: pure.

Invariant: a card is charged only with its owner's stored consent, at most once an hour, never beyond the month's cap,
never while an earlier charge is unresolved, and no more after its bank asked for the customer or refused four times.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum

from billing.money import MILLI_CENTS_PER_CENT, dollars_up
from billing.topup_rules import MAXIMUM_CENTS, MINIMUM_CENTS, credit_of

HOUR_MS = 3_600_000
RETRY_HOURS = (1, 3, 7)
"""After the first, second and third decline in a row; the fourth pauses."""
AUTHENTICATION_REQUIRED = "authentication_required"
NEVER_MADE = "not_found"
"""Stripe has no such charge, so no bank declined it."""


class PausedReason(StrEnum):
    AUTHENTICATION_REQUIRED = "authentication_required"
    """The bank wants the customer: nothing that we repeat can succeed."""
    DECLINED = "declined"
    DISPUTED = "disputed"
    """The customer's bank was told that a payment was not wanted. Only new consent goes on."""
    REFUNDED = "refunded"
    """The customer was paid back: what is left would have the card charged again. Only new consent goes on."""
    REVIEW = "review"
    """A charge did not come out as asked for; an operator looks at it."""


class BadRecharge(ValueError):
    """The message says what to change."""


@dataclass(frozen=True, slots=True)
class Recharge:
    """The rule of one organisation and what has come of it; the columns of `auto_recharges`."""

    id: str
    is_enabled: bool
    threshold_milli_cents: int
    recharge_to_milli_cents: int
    monthly_cap_milli_cents: int
    consented_at: int | None = None
    consented_by: str | None = None
    consent_text: str | None = None
    stripe_payment_method_id: str | None = None
    paused_reason: str | None = None
    declines: int = 0
    claimed_at: int | None = None
    retry_at: int | None = None
    pending_topup_id: str | None = None
    month: str | None = None
    month_milli_cents: int = 0
    link_due_at: int | None = None
    link_amount_cents: int | None = None
    updated_at: int = 0

    @property
    def wants_card(self) -> bool:
        """Whether the next payment on Stripe's page should leave its card with us."""
        needs = self.stripe_payment_method_id is None or self.paused_reason in _MENDED_BY_CARD
        return self.is_enabled and needs


_MENDED_BY_CARD = (PausedReason.AUTHENTICATION_REQUIRED, PausedReason.DECLINED)


def check(threshold: int, recharge_to: int, monthly_cap: int) -> None:
    """Milli-cents. Raises BadRecharge."""
    least, most = credit_of(MINIMUM_CENTS), credit_of(MAXIMUM_CENTS)
    if not 0 <= threshold <= most:
        raise BadRecharge(f"The threshold must be from $0.00 to {dollars_up(most)}.")
    if not threshold + least <= recharge_to <= threshold + most:
        raise BadRecharge(
            f"The amount to recharge to must be {dollars_up(least)} to {dollars_up(most)} above the threshold."
        )
    if not recharge_to - threshold <= monthly_cap <= 100 * most:
        raise BadRecharge(
            f"The monthly cap must allow at least one recharge of {dollars_up(recharge_to - threshold)} "
            f"and be at most {dollars_up(100 * most)}."
        )


def month_of(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m")


def amount_due_cents(recharge: Recharge, available: int, now: int) -> int | None:
    """What to charge now, if anything. `available` in milli-cents."""
    ready = recharge.is_enabled and recharge.consented_at is not None and recharge.stripe_payment_method_id is not None
    if not ready or recharge.paused_reason is not None or recharge.pending_topup_id is not None:
        return None
    if available >= recharge.threshold_milli_cents:
        return None
    if recharge.claimed_at is not None and now < recharge.claimed_at + HOUR_MS:
        return None
    if recharge.retry_at is not None and now < recharge.retry_at:
        return None
    wanted_cents = -(-(recharge.recharge_to_milli_cents - available) // MILLI_CENTS_PER_CENT)
    charged = recharge.month_milli_cents if recharge.month == month_of(now) else 0
    left_cents = (recharge.monthly_cap_milli_cents - charged) // MILLI_CENTS_PER_CENT
    cents = min(max(wanted_cents, MINIMUM_CENTS), MAXIMUM_CENTS, left_cents)
    return cents if cents >= MINIMUM_CENTS else None


def claim(recharge: Recharge, topup_id: str, amount_cents: int, now: int) -> Recharge:
    """This charge is ours to make; it counts against the month until it fails."""
    charged = recharge.month_milli_cents if recharge.month == month_of(now) else 0
    return replace(
        recharge,
        claimed_at=now,
        retry_at=None,
        pending_topup_id=topup_id,
        month=month_of(now),
        month_milli_cents=charged + credit_of(amount_cents),
    )


def credited(recharge: Recharge) -> Recharge:
    return replace(recharge, declines=0, retry_at=None, pending_topup_id=None)


def failed(recharge: Recharge, amount_cents: int, begun_at: int, error_code: str | None, now: int) -> Recharge:
    """The charge begun at `begun_at` was refused, or never made."""
    same_month = recharge.month == month_of(begun_at)
    kept = recharge.month_milli_cents - (credit_of(amount_cents) if same_month else 0)
    after = replace(recharge, pending_topup_id=None, month_milli_cents=kept)
    if error_code == NEVER_MADE:
        return after
    after = replace(after, declines=recharge.declines + 1)
    if not recharge.is_enabled or recharge.paused_reason is not None:  # no card mends that
        return after
    if error_code == AUTHENTICATION_REQUIRED:
        return _paused(after, PausedReason.AUTHENTICATION_REQUIRED, amount_cents, now)
    if after.declines > len(RETRY_HOURS):
        return _paused(after, PausedReason.DECLINED, amount_cents, now)
    return replace(after, retry_at=now + RETRY_HOURS[recharge.declines] * HOUR_MS)


def _paused(recharge: Recharge, reason: PausedReason, amount_cents: int, now: int) -> Recharge:
    """And the customer is to be mailed a link to pay this amount by hand."""
    return replace(recharge, paused_reason=reason, retry_at=None, link_due_at=now, link_amount_cents=amount_cents)


def in_review(recharge: Recharge) -> Recharge:
    return replace(recharge, paused_reason=PausedReason.REVIEW, pending_topup_id=None)


def disputed(recharge: Recharge) -> Recharge:
    return replace(recharge, paused_reason=PausedReason.DISPUTED, link_due_at=None, link_amount_cents=None)


def refunded(recharge: Recharge, available: int) -> Recharge:
    """A top-up was paid back, and so much is `available` now (milli-cents)."""
    graver = recharge.paused_reason in (PausedReason.DISPUTED, PausedReason.REVIEW)
    if graver or not recharge.is_enabled or available >= recharge.threshold_milli_cents:
        return recharge
    return replace(recharge, paused_reason=PausedReason.REFUNDED, link_due_at=None, link_amount_cents=None)


def refund_refused(recharge: Recharge, available: int) -> Recharge:
    """The bank will not make the refund that paused it; `available` with what was held for that."""
    if recharge.paused_reason != PausedReason.REFUNDED or available < recharge.threshold_milli_cents:
        return recharge
    return replace(recharge, paused_reason=None)


def card_saved(recharge: Recharge, payment_method_id: str) -> Recharge:
    """A payment with the customer present left this card: what only the card had stopped goes on."""
    paused = None if recharge.paused_reason in _MENDED_BY_CARD else recharge.paused_reason
    return replace(
        recharge,
        stripe_payment_method_id=payment_method_id,
        paused_reason=paused,
        declines=0,
        retry_at=None,
        link_due_at=None,
        link_amount_cents=None,
    )
