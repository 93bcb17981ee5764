"""The commands of the automatic recharge: set the rule, claim a charge, mail a link to pay by hand.

Invariant: a charge is claimed together with the top-up that it pays, so it is made at most once however many processes
look for what is due.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from accounts.mails import mail_members
from accounts.tables import organisations, users
from billing import auto_recharge
from billing.auto_recharge import PausedReason, Recharge
from billing.ledger import wallet_in
from billing.money import dollars_up
from billing.tables import auto_recharges, stripe_customers, topups
from billing.topup_rows import put_recharge, recharge_in, topup_row
from billing.topup_rules import TopupKind, credit_of
from config.rows import OfOneOrganisation, Read, Row, Rows

LINK_RETRY_MS = 15 * 60_000


@dataclass(frozen=True, slots=True)
class _OnOrganisation(OfOneOrganisation):
    org_id: str

    def reads(self, located: Rows) -> Sequence[Read]:
        return (Read(auto_recharges, "id", (self.org_id,)),)


@dataclass(frozen=True, slots=True)
class SetAutoRecharge(_OnOrganisation):
    """Turn it on, with the words that `user_id` agreed to, or off (`consent_text` None). New consent lifts a pause.

    Amounts in milli-cents, checked with `auto_recharge.check`.
    """

    user_id: str
    threshold_milli_cents: int
    recharge_to_milli_cents: int
    monthly_cap_milli_cents: int
    consent_text: str | None

    def fold(self, rows: Rows, now: int) -> Recharge:
        known = recharge_in(rows, self.org_id)
        is_enabled = self.consent_text is not None
        wanted = replace(
            known or Recharge(self.org_id, False, 0, 0, 0),
            is_enabled=is_enabled,
            threshold_milli_cents=self.threshold_milli_cents,
            recharge_to_milli_cents=self.recharge_to_milli_cents,
            monthly_cap_milli_cents=self.monthly_cap_milli_cents,
            link_due_at=None,
            link_amount_cents=None,
        )
        if is_enabled:
            wanted = replace(
                wanted,
                consented_at=now,
                consented_by=self.user_id,
                consent_text=self.consent_text,
                paused_reason=None,
                declines=0,
                retry_at=None,
            )
        if known is None:
            rows.insert(auto_recharges, {column: getattr(wanted, column) for column in auto_recharges.c.keys()})  # noqa: SIM118
        put_recharge(rows, wanted, now)
        return wanted


@dataclass(frozen=True, slots=True)
class ClaimRecharge(_OnOrganisation):
    """Take the charge that is due now, if one is: gives the top-up to be paid, or None."""

    topup_id: str
    customer_row_id: str
    livemode: bool

    def reads(self, located: Rows) -> Sequence[Read]:
        return (
            Read(auto_recharges, "id", (self.org_id,)),
            Read(organisations, "id", (self.org_id,)),
            Read(stripe_customers, "id", (self.customer_row_id,)),
            Read(topups, "id", (self.topup_id,)),
        )

    def fold(self, rows: Rows, now: int) -> Row | None:
        if (row := rows.get(topups, self.topup_id)) is not None:
            return dict(row)
        recharge, customer = recharge_in(rows, self.org_id), rows.get(stripe_customers, self.customer_row_id)
        organisation = rows.get(organisations, self.org_id)
        if recharge is None or customer is None or organisation is None or organisation["suspended_at"] is not None:
            return None
        amount_cents = auto_recharge.amount_due_cents(recharge, wallet_in(rows, self.org_id).available, now)
        if amount_cents is None:
            return None
        put_recharge(rows, auto_recharge.claim(recharge, self.topup_id, amount_cents, now), now)
        row = topup_row(
            self.topup_id,
            self.org_id,
            TopupKind.AUTO,
            amount_cents,
            self.livemode,
            now,
            stripe_customer_id=customer["stripe_customer_id"],
            stripe_payment_method_id=recharge.stripe_payment_method_id,
        )
        rows.insert(topups, row)
        return row


@dataclass(frozen=True, slots=True)
class PostponeLink(_OnOrganisation):
    """No session could be made. Each attempt counts as a payment begun, and whoever wants to pay by hand needs room."""

    def fold(self, rows: Rows, now: int) -> None:
        recharge = recharge_in(rows, self.org_id)
        if recharge is not None and recharge.link_due_at is not None:
            put_recharge(rows, replace(recharge, link_due_at=now + LINK_RETRY_MS), now)


@dataclass(frozen=True, slots=True)
class MailLink(_OnOrganisation):
    """Send the organisation's people the address of a Checkout session that pays what their card would not."""

    url: str
    base_id: str

    def reads(self, located: Rows) -> Sequence[Read]:
        return (Read(auto_recharges, "id", (self.org_id,)), Read(users, "org_id", (self.org_id,)))

    def fold(self, rows: Rows, now: int) -> int:
        """The number of mails; 0 if another process has sent them."""
        recharge = recharge_in(rows, self.org_id)
        if recharge is None or recharge.link_due_at is None:
            return 0
        amount = dollars_up(credit_of(recharge.link_amount_cents or 0))
        why = _WHY.get(recharge.paused_reason or "", "Your card could not be charged.")
        facts = {
            "subject": f"Your CallingBox recharge of {amount} did not go through",
            "text": f"{why} Automatic recharge is paused.\n\n"
            f"Pay {amount} here, and it goes on with the card you use:\n\n{self.url}\n\n"
            "The link works for 23 hours. Your calls pause when your credit is used up.\n",
        }
        put_recharge(rows, replace(recharge, link_due_at=None, link_amount_cents=None), now)
        return mail_members(rows, self.org_id, self.base_id, facts, now)


_WHY = {
    PausedReason.AUTHENTICATION_REQUIRED.value: "Your bank asks you to confirm the payment yourself.",
    PausedReason.DECLINED.value: "Your card was declined four times.",
}
