"""The commands that reserve credit which is to be paid back, and let it go again.

Invariant: what Stripe is asked to pay back is held from before it is asked until its answer is known, so no call uses
it meanwhile; the hold ends in the transaction that takes the credit (`billing.hear_reversal`), or when none is paid.
The trail says `asked` until the answer has been heard by whoever asked.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from accounts.tables import organisations
from billing import auto_recharge, ledger, low_balance
from billing.ledger import wallet_in
from billing.money import dollars_down
from billing.operator_commands import OperatorAction
from billing.posting import HOLD, RELEASE, Posting, Transfer
from billing.rating import Terms
from billing.tables import auto_recharges, operator_actions, topups, transfers
from billing.topup_queries import HAS_PAUSED, AskedRefund
from billing.topup_rows import pause_refunded, put_recharge, recharge_in, unspent_cents
from billing.topup_rules import TopupStatus, credit_of, share_milli_cents
from config.rows import OfOneOrganisation, Read, Rows

WHAT_FOR = "A refund to your card"


@dataclass(frozen=True, slots=True)
class ReserveRefund(OfOneOrganisation):
    """Hold the credit that `amount_cents` of a top-up's payment gave; `action` is the trail of it, and names the hold.

    Stripe is asked only after the commit.
    """

    topup_id: str
    org_id: str
    amount_cents: int
    action: OperatorAction
    terms: Terms

    def reads(self, located: Rows) -> Sequence[Read]:
        return (
            Read(topups, "id", (self.topup_id,)),
            Read(operator_actions, "id", (self.action.id,)),
            Read(auto_recharges, "id", (self.org_id,)),
            *ledger.reads_for(self._hold(0)),
            *low_balance.reads_for(self.org_id),
        )

    def _hold(self, amount: int) -> Posting:
        return Posting(self.action.id, _hold_key(self.action.id), self.org_id, HOLD, amount, reason=WHAT_FOR)

    def fold(self, rows: Rows, now: int) -> str | None:
        """None, or why it cannot be done."""
        if rows.get(transfers, self.action.id) is not None:  # our own earlier commit, whose answer was lost
            return None
        row, before = rows.get(topups, self.topup_id), wallet_in(rows, self.org_id)
        if row is None or row["status"] != TopupStatus.PAID:
            return f"top-up {self.topup_id} is not paid"
        largest = unspent_cents(row, before.available)
        if not 1 <= self.amount_cents <= largest:
            unspent = dollars_down(credit_of(largest))
            return f"{unspent} of top-up {self.topup_id} is unspent; no more can be refunded"
        share = share_milli_cents(row["credit_milli_cents"], self.amount_cents, row["paid_cents"])
        held = ledger.apply(rows, self._hold(share), now)
        assert isinstance(held, Transfer), held
        has_paused = {HAS_PAUSED: True} if pause_refunded(rows, self.org_id, now) else {}
        replace(self.action, detail={**self.action.detail, **has_paused}).insert(rows, now)
        organisation = rows.get(organisations, self.org_id)
        assert organisation is not None, "whoever has paid has a wallet"
        after = wallet_in(rows, self.org_id)
        low_balance.tell_of_wallet(rows, organisation, before, after, self.terms, self.action.id, now)
        return None


@dataclass(frozen=True, slots=True)
class EndRefund:
    """Stripe's answer has been heard. If it will not pay, what was held for it is available again."""

    refund: AskedRefund
    is_made: bool
    transfer_id: str

    def locate(self) -> Sequence[Read]:
        return ()

    def organisations(self, located: Rows) -> Iterable[str]:
        return () if self.refund.org_id is None else (self.refund.org_id,)

    def reads(self, located: Rows) -> Sequence[Read]:
        action_id = self.refund.action_id
        return (
            Read(operator_actions, "id", (action_id,)),
            Read(auto_recharges, "id", list(self.organisations(located))),
            *reads_of_hold(action_id),
        )

    def fold(self, rows: Rows, now: int) -> None:
        refund = self.refund
        if not self.is_made and refund.org_id is not None:
            end_hold(rows, refund.action_id, refund.org_id, iter((self.transfer_id,)), now)
            recharge = recharge_in(rows, refund.org_id)
            if recharge is not None and refund.has_paused_recharge:
                available = wallet_in(rows, refund.org_id).available
                put_recharge(rows, auto_recharge.refund_refused(recharge, available), now)
        detail = {"amount_cents": refund.amount_cents, "outcome": "made" if self.is_made else "refused"}
        rows.update(operator_actions, refund.action_id, {"detail": detail})


def reads_of_hold(action_id: str | None) -> Sequence[Read]:
    """What `end_hold` looks at."""
    return () if action_id is None else ledger.reads_for(_release(action_id, "", ""))


def end_hold(rows: Rows, action_id: str | None, org_id: str, ids: Iterator[str], now: int) -> None:
    """Let go what was held for this refund, once. The id came back from Stripe, where anybody with a log-in can write
    one: only what was held for a refund, by this very organisation, answers to it."""
    hold = rows.get(transfers, action_id) if action_id is not None else None
    if hold is None or (hold["source_key"], hold["org_id"]) != (_hold_key(hold["id"]), org_id):
        return
    if not rows.find(transfers, "pending_id", hold["id"]):
        ledger.apply(rows, _release(hold["id"], org_id, next(ids)), now)


def _hold_key(action_id: str) -> str:
    return f"{action_id}:refund_hold"


def _release(action_id: str, org_id: str, transfer_id: str) -> Posting:
    key = f"{action_id}:refund_release"
    return Posting(transfer_id, key, org_id, RELEASE, pending_id=action_id, reason=WHAT_FOR)
