"""The command by which a refund or a dispute comes in, as Stripe tells of it.

Invariant: as that of `billing.hear_payment`; what was taken of a top-up is what Stripe says, whichever came first.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from accounts.tables import organisations
from billing import low_balance
from billing.ledger import wallet_in
from billing.rating import Terms
from billing.refund_commands import end_hold, reads_of_hold
from billing.stripe_rows import EventSeen, event_reads, note_event, reversal_keys
from billing.tables import auto_recharges, reversals, topups, transfers, wallets
from billing.topup_rows import Alert, Heard, ids_from, note_returned, paid_with, pause_disputed, settle_reversals
from billing.topup_rules import Phase, ReversalKind, ReversalSeen, TopupStatus, later
from config.rows import Read, Row, Rows


@dataclass(frozen=True, slots=True)
class HearReversal:
    """A refund or dispute as Stripe shows it; one that arrives before its top-up is kept and applied after it.

    What was held for a refund of ours is let go as its credit is taken, or at once if the refund has failed. With
    `terms`, the organisation's servers hear if it leaves no room for calls.
    """

    seen: ReversalSeen
    base_id: str
    event: EventSeen | None = None
    terms: Terms | None = None

    def locate(self) -> Sequence[Read]:
        return (Read(topups, "stripe_payment_intent_id", (self.seen.payment_intent_id,)),)

    def organisations(self, located: Rows) -> Iterable[str]:
        found = paid_with(located, self.seen.payment_intent_id)
        return (found["org_id"],) if found and found["org_id"] else ()

    def reads(self, located: Rows) -> Sequence[Read]:
        intent = (self.seen.payment_intent_id,)
        return (
            Read(topups, "stripe_payment_intent_id", intent),
            Read(reversals, "stripe_payment_intent_id", intent, locked=True),  # it may belong to nobody yet
            Read(transfers, "source_key", reversal_keys([self.seen.id])),
            Read(auto_recharges, "id", list(self.organisations(located))),
            *reads_of_hold(self.seen.action_id),
            *low_balance.reads_for(*self.organisations(located)),
            *event_reads(self.event),
        )

    def fold(self, rows: Rows, now: int) -> Heard:
        is_new = self._remember(rows, now)
        row = paid_with(rows, self.seen.payment_intent_id)
        if row is not None and row["status"] == TopupStatus.PAID and _is_locked(rows, row["org_id"]):
            alerts = self._settle(rows, row, now)
            heard = Heard("applied", row["org_id"], row["id"], alerts=alerts)
        elif row is not None and _is_locked(rows, row["org_id"]) and note_returned(rows, row, now):
            heard = Heard("applied", row["org_id"], row["id"])
        else:
            heard = Heard("kept", row["org_id"] if row else None, row["id"] if row else None)
        if is_new and self.seen.kind is ReversalKind.DISPUTE:
            if self.seen.phase is not Phase.UNDONE and heard.org_id and _is_locked(rows, heard.org_id):
                pause_disputed(rows, heard.org_id, now)
            alert = Alert("dispute_opened", f"{self.seen.id} about top-up {heard.topup_id or 'unknown'}")
            heard = Heard(heard.outcome, heard.org_id, heard.topup_id, alerts=(*heard.alerts, alert))
        note_event(rows, self.event, heard, now)
        return heard

    def _settle(self, rows: Rows, row: Row, now: int) -> tuple[Alert, ...]:
        organisation, before = rows.get(organisations, row["org_id"]), wallet_in(rows, row["org_id"])
        ids = ids_from(self.base_id)
        end_hold(rows, self.seen.action_id, row["org_id"], ids, now)
        alerts = settle_reversals(rows, row, ids, now)
        if self.terms is not None and organisation is not None:
            after = wallet_in(rows, row["org_id"])
            low_balance.tell_of_wallet(rows, organisation, before, after, self.terms, self.seen.id, now)
        return alerts

    def _remember(self, rows: Rows, now: int) -> bool:
        """Whether it was not known yet."""
        row = rows.get(reversals, self.seen.id)
        if row is None:
            new = {
                "id": self.seen.id,
                "kind": self.seen.kind.value,
                "phase": self.seen.phase.value,
                "stripe_payment_intent_id": self.seen.payment_intent_id,
                "amount_cents": self.seen.amount_cents,
                "is_closed": self.seen.is_closed,
                "created_at": self.seen.created_at,
                "updated_at": now,
            }
            rows.insert(reversals, new)
            return True
        phase = later(Phase(row["phase"]), self.seen.phase)
        closed = row["is_closed"] or self.seen.is_closed
        changes = {"phase": phase.value, "is_closed": closed, "updated_at": now}
        if row["phase"] == Phase.OPEN:  # what a dispute is about may change until its funds are withdrawn
            changes["amount_cents"] = self.seen.amount_cents
        rows.update(reversals, self.seen.id, changes)
        return False


def _is_locked(rows: Rows, org_id: str | None) -> bool:
    """Not if another process credited the top-up between our look for it and now: then `Topups.match` looks again."""
    return org_id is not None and rows.get(wallets, org_id) is not None
