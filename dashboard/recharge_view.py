"""Automatic recharge: its form, what is agreed to, and how it stands.

Pure. The one invariant: the words that are stored as consent say the very amounts that a card will be charged by.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from billing.auto_recharge import BadRecharge, PausedReason, Recharge, check
from billing.money import MILLI_CENTS_PER_CENT, dollars_up
from billing.topup_rules import credit_of
from dashboard import urls
from dashboard.format import Clock
from dashboard.views import Action, Form, Notice
from dashboard.wallet_view import typed_cents

FIELDS = {"threshold": "10", "recharge_to": "50", "monthly_cap": "200"}
"""The form's amounts in dollars, as they are first proposed."""
AGREE = "I agree that CallingBox charges my saved card by itself, by these amounts, until I turn this off."
_ADD_CREDITS = Action("Add credits", urls.ADD_CREDITS)


@dataclass(frozen=True, slots=True)
class Rule:
    """What was asked for, in milli-cents."""

    threshold: int
    recharge_to: int
    monthly_cap: int

    @property
    def consent(self) -> str:
        """What is agreed to, kept as evidence of it."""
        return (
            f"I agree that CallingBox charges my saved card by itself whenever less than {dollars_up(self.threshold)} "
            f"is available, up to {dollars_up(self.recharge_to)}, and at most {dollars_up(self.monthly_cap)} in a "
            "calendar month, until I turn this off."
        )


@dataclass(frozen=True, slots=True)
class AutoRecharge:
    """The section of the Billing page."""

    is_on: bool
    form: Form
    agree: str
    standing: Notice | None


def rule_of(values: Mapping[str, str]) -> Rule | Form:
    """The rule that a form asks for, or the form with what is wrong with it."""
    cents = {name: typed_cents(values.get(name, "")) for name in FIELDS}
    errors = {name: "Write an amount in dollars, such as 50." for name, found in cents.items() if found is None}
    if errors:
        return Form(values, errors)
    rule = Rule(**{name: credit_of(found or 0) for name, found in cents.items()})
    try:
        check(rule.threshold, rule.recharge_to, rule.monthly_cap)
    except BadRecharge as error:
        return Form(values, error=str(error))
    if values.get("agreed") != "1":
        return Form(values, {"agreed": "Tick this to agree; without it nothing is charged by itself."})
    return rule


def auto_recharge(recharge: Recharge | None, form: Form | None, clock: Clock) -> AutoRecharge:
    """`form`: as it came back with errors; else the rule as it is, or a proposal."""
    is_on = recharge is not None and recharge.is_enabled
    if form is None:
        form = Form(FIELDS if recharge is None else _amounts(recharge))
    return AutoRecharge(is_on, form, AGREE, _standing(recharge, clock) if recharge is not None and is_on else None)


def _amounts(recharge: Recharge) -> dict[str, str]:
    def shown(milli_cents: int) -> str:
        dollars, cents = divmod(milli_cents // MILLI_CENTS_PER_CENT, 100)
        return f"{dollars}.{cents:02d}" if cents else str(dollars)

    return {name: shown(getattr(recharge, f"{name}_milli_cents")) for name in FIELDS}


_PAUSED = {
    PausedReason.AUTHENTICATION_REQUIRED: "Paused: your bank asks you to confirm a payment yourself. Add credits once, "
    "and it goes on with the card you use.",
    PausedReason.DECLINED: "Paused: your card was declined four times. Add credits with a card that works, and it "
    "goes on with that one.",
    PausedReason.DISPUTED: "Paused: a payment was disputed at your bank. Agree again below to go on.",
    PausedReason.REFUNDED: "Paused: credit was paid back to you, and a recharge would charge your card for it again. "
    "Agree again below to go on.",
    PausedReason.REVIEW: "Paused: we are checking a charge by hand. Nothing is lost; we write to you when it is done.",
}
_MENDED_BY_PAYING = (PausedReason.AUTHENTICATION_REQUIRED, PausedReason.DECLINED)


def _standing(recharge: Recharge, clock: Clock) -> Notice:
    if recharge.paused_reason is not None:
        reason = PausedReason(recharge.paused_reason)
        return Notice("stop", "failed", _PAUSED[reason], _ADD_CREDITS if reason in _MENDED_BY_PAYING else None)
    if recharge.stripe_payment_method_id is None:
        text = "On, but there is no card yet: the next payment you make on Stripe’s page saves the card it uses."
        return Notice("warn", "wallet-low", text, _ADD_CREDITS)
    if recharge.retry_at is not None:
        again = clock.minute(recharge.retry_at).text
        return Notice("warn", "wallet-low", f"On. Your card was declined; we try again after {again} {clock.label}.")
    if recharge.pending_topup_id is not None:
        return Notice("plain", "wait", "On. Your card is being charged.")
    return Notice("good", "check", "On: your saved card is charged when it is needed.")
