"""The command by which a payment comes in, as Stripe tells of it.

Invariant: what Stripe told, the event that told it and all its effects are one transaction; told again, in whatever
order, it changes nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from accounts.tables import organisations
from billing import auto_recharge
from billing.operator_commands import is_closed
from billing.stripe_rows import EventSeen, event_reads, note_event, reversal_keys
from billing.tables import auto_recharges, operator_actions, reversals, topups, transfers, wallets
from billing.topup_rows import Heard, ids_from, paid_with, pay_in, put_recharge, recharge_in, review_alert, topup_row
from billing.topup_rules import Deed, Payment, ReviewReason, Topup, TopupKind, TopupStatus, judge
from config.rows import Read, Row, Rows


@dataclass(frozen=True, slots=True)
class HearPayment:
    """`fulfil`: the webhook, the landing page and the reconciler all say what they know of a payment through this.

    `base_id` names what it may have to insert.
    """

    payment: Payment
    base_id: str
    event: EventSeen | None = None

    def locate(self) -> Sequence[Read]:
        return _topup_reads(self.payment)

    def organisations(self, located: Rows) -> Iterable[str]:
        found = _find_topup(located, self.payment)
        named = {self.payment.org_id, found["org_id"] if found else None}
        return [org_id for org_id in named if org_id is not None]

    def reads(self, located: Rows) -> Sequence[Read]:
        intent = [self.payment.payment_intent_id] if self.payment.payment_intent_id else []
        kept = [row["id"] for value in intent for row in located.find(reversals, "stripe_payment_intent_id", value)]
        return (
            *_topup_reads(self.payment),
            Read(transfers, "source_key", [*(f"topup:{value}" for value in intent), *reversal_keys(kept)]),
            Read(auto_recharges, "id", list(self.organisations(located))),
            Read(organisations, "id", list(self.organisations(located))),
            Read(operator_actions, "org_id", list(self.organisations(located))),
            *event_reads(self.event),
        )

    def fold(self, rows: Rows, now: int) -> Heard:
        row = _find_topup(rows, self.payment)
        judgement = judge(_topup(rows, row) if row else None, self.payment)
        heard = self._do(rows, row, judgement.deed, judgement.reason, now)
        note_event(rows, self.event, heard, now)
        return heard

    def _do(self, rows: Rows, row: Row | None, deed: Deed, reason: ReviewReason | None, now: int) -> Heard:
        if deed is Deed.REVIEW_APART:
            row = self._apart(rows, row, now)
        if row is None or deed is Deed.NOTHING:
            return Heard("nothing", row["org_id"] if row else None, row["id"] if row else None)
        known = {"stripe_payment_intent_id": self.payment.payment_intent_id, "updated_at": now}
        told = (row["org_id"], row["id"], self.payment.payment_intent_id)
        match deed:
            case Deed.CREDIT:
                return self._credit(rows, row, now)
            case Deed.PROCESSING | Deed.EXPIRE:
                status = TopupStatus.PROCESSING if deed is Deed.PROCESSING else TopupStatus.EXPIRED
                rows.update(topups, row["id"], {**known, "status": status.value})
                return Heard(status.value, *told)
            case Deed.FAIL:
                rows.update(topups, row["id"], {**known, "status": TopupStatus.FAILED.value})
                _count_decline(rows, row, self.payment.error_code, now)
                return Heard("failed", *told)
        assert reason is not None
        changes = {"status": TopupStatus.REVIEW.value, "review_reason": reason.value}
        rows.update(topups, row["id"], {**known, **changes, "paid_cents": self.payment.total_cents})
        _stop_recharging(rows, row, now)
        return Heard("review", *told, (review_alert(row),))

    def _credit(self, rows: Rows, row: Row, now: int) -> Heard:
        intent = self.payment.payment_intent_id
        assert intent is not None
        if rows.find(transfers, "source_key", f"topup:{intent}"):  # the ledger's word stands above that of the rows
            reason = ReviewReason.PAID_TWICE.value
            changes = {"status": TopupStatus.REVIEW.value, "review_reason": reason, "updated_at": now}
            rows.update(topups, row["id"], {**changes, "paid_cents": self.payment.total_cents})
            return Heard("review", row["org_id"], row["id"], alerts=(review_alert(row),))
        return pay_in(rows, row, intent, self.payment.total_cents, ids_from(self.base_id), now)

    def _apart(self, rows: Rows, named: Row | None, now: int) -> Row:
        """A row of its own for money that fits no top-up; whose it may be is a hint for the operator."""
        org_id = named["org_id"] if named else self.payment.org_id
        known = org_id is not None and rows.get(wallets, org_id) is not None
        session_id = self.payment.session_id
        taken = session_id is None or bool(rows.find(topups, "stripe_session_id", session_id))
        kind = TopupKind.AUTO if session_id is None else TopupKind.CHECKOUT
        row = topup_row(
            self.base_id,
            org_id if known else None,
            kind,
            self.payment.subtotal_cents,
            self.payment.livemode,
            now,
            stripe_session_id=None if taken else session_id,
        )
        rows.insert(topups, row)
        found = rows.get(topups, self.base_id)
        assert found is not None
        return found


def _find_topup(rows: Rows, payment: Payment) -> Row | None:
    """By the payment, else by the session, else by the id that the payment names."""
    if payment.payment_intent_id and (found := paid_with(rows, payment.payment_intent_id)):
        return found
    if payment.session_id and (by_session := rows.find(topups, "stripe_session_id", payment.session_id)):
        return by_session[0]
    return rows.get(topups, payment.topup_id) if payment.topup_id else None


def _topup_reads(payment: Payment) -> Sequence[Read]:
    intent = [payment.payment_intent_id] if payment.payment_intent_id else []
    return (
        Read(topups, "stripe_payment_intent_id", intent),
        Read(reversals, "stripe_payment_intent_id", intent),
        Read(topups, "stripe_session_id", [payment.session_id] if payment.session_id else []),
        Read(topups, "id", [payment.topup_id] if payment.topup_id else []),
    )


def _topup(rows: Rows, row: Row) -> Topup:
    organisation = rows.get(organisations, row["org_id"]) if row["org_id"] else None
    return Topup(
        id=row["id"],
        kind=TopupKind(row["kind"]),
        status=TopupStatus(row["status"]),
        amount_cents=row["amount_cents"],
        livemode=row["livemode"],
        session_id=row["stripe_session_id"],
        payment_intent_id=row["stripe_payment_intent_id"],
        account_is_closed=organisation is not None and is_closed(rows, organisation),
    )


def _count_decline(rows: Rows, row: Row, error_code: str | None, now: int) -> None:
    recharge = recharge_in(rows, row["org_id"])
    if recharge is not None and recharge.pending_topup_id == row["id"]:
        after = auto_recharge.failed(recharge, row["amount_cents"], row["created_at"], error_code, now)
        put_recharge(rows, after, now)


def _stop_recharging(rows: Rows, row: Row, now: int) -> None:
    recharge = recharge_in(rows, row["org_id"]) if row["org_id"] else None
    if recharge is not None and recharge.pending_topup_id == row["id"]:
        put_recharge(rows, auto_recharge.in_review(recharge), now)
