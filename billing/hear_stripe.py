"""The commands by which facts from Stripe come in: a payment, a refund, a dispute.

Invariant: what Stripe told, the event that told it and all its effects are one transaction; told again, in whatever
order, it changes nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from accounts.tables import organisations
from billing import auto_recharge, low_balance
from billing.ledger import wallet_in
from billing.operator_commands import is_closed
from billing.rating import Terms
from billing.refund_commands import end_hold, reads_of_hold
from billing.tables import auto_recharges, operator_actions, reversals, stripe_events, topups, transfers, wallets
from billing.topup_rows import (
    Alert,
    Heard,
    ids_from,
    note_returned,
    pay_in,
    put_recharge,
    recharge_in,
    review_alert,
    settle_reversals,
    topup_row,
)
from billing.topup_rules import (
    Deed,
    Payment,
    Phase,
    ReversalKind,
    ReversalSeen,
    ReviewReason,
    Topup,
    TopupKind,
    TopupStatus,
    judge,
    later,
)
from config.rows import Read, Row, Rows


@dataclass(frozen=True, slots=True)
class EventSeen:
    """A verified event. `created_at` in ms; `said`: the facts read from it."""

    id: str
    type: str
    object_id: str
    created_at: int
    said: Mapping[str, Any]


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
            Read(transfers, "source_key", [*(f"topup:{value}" for value in intent), *_keys(kept)]),
            Read(auto_recharges, "id", list(self.organisations(located))),
            Read(organisations, "id", list(self.organisations(located))),
            Read(operator_actions, "org_id", list(self.organisations(located))),
            *_event_reads(self.event),
        )

    def fold(self, rows: Rows, now: int) -> Heard:
        row = _find_topup(rows, self.payment)
        judgement = judge(_topup(rows, row) if row else None, self.payment)
        heard = self._do(rows, row, judgement.deed, judgement.reason, now)
        _note_event(rows, self.event, heard, now)
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
        found = _paid_with(located, self.seen.payment_intent_id)
        return (found["org_id"],) if found and found["org_id"] else ()

    def reads(self, located: Rows) -> Sequence[Read]:
        intent = (self.seen.payment_intent_id,)
        return (
            Read(topups, "stripe_payment_intent_id", intent),
            Read(reversals, "stripe_payment_intent_id", intent, locked=True),  # it may belong to nobody yet
            Read(transfers, "source_key", _keys([self.seen.id])),
            Read(auto_recharges, "id", list(self.organisations(located))),
            *reads_of_hold(self.seen.action_id),
            *low_balance.reads_for(*self.organisations(located)),
            *_event_reads(self.event),
        )

    def fold(self, rows: Rows, now: int) -> Heard:
        is_new = self._remember(rows, now)
        row = _paid_with(rows, self.seen.payment_intent_id)
        if row is not None and row["status"] == TopupStatus.PAID and _is_locked(rows, row["org_id"]):
            alerts = self._settle(rows, row, now)
            heard = Heard("applied", row["org_id"], row["id"], alerts=alerts)
        elif row is not None and _is_returned(row) and _is_locked(rows, row["org_id"]):
            note_returned(rows, row, now)
            heard = Heard("applied", row["org_id"], row["id"])
        else:
            heard = Heard("kept", row["org_id"] if row else None, row["id"] if row else None)
        if is_new and self.seen.kind is ReversalKind.DISPUTE:
            alert = Alert("dispute_opened", f"{self.seen.id} about top-up {heard.topup_id or 'unknown'}")
            heard = Heard(heard.outcome, heard.org_id, heard.topup_id, alerts=(*heard.alerts, alert))
        _note_event(rows, self.event, heard, now)
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


def _is_returned(row: Row) -> bool:
    """What goes back of it was never credit."""
    return row["status"] == TopupStatus.REJECTED and bool(row["paid_cents"])


def _is_locked(rows: Rows, org_id: str | None) -> bool:
    """Not if another process credited the top-up between our look for it and now: then `Topups.match` looks again."""
    return org_id is not None and rows.get(wallets, org_id) is not None


def _count_decline(rows: Rows, row: Row, error_code: str | None, now: int) -> None:
    recharge = recharge_in(rows, row["org_id"])
    if recharge is not None and recharge.pending_topup_id == row["id"]:
        after = auto_recharge.failed(recharge, row["amount_cents"], row["created_at"], error_code, now)
        put_recharge(rows, after, now)


def _stop_recharging(rows: Rows, row: Row, now: int) -> None:
    recharge = recharge_in(rows, row["org_id"]) if row["org_id"] else None
    if recharge is not None and recharge.pending_topup_id == row["id"]:
        put_recharge(rows, auto_recharge.in_review(recharge), now)


def _find_topup(rows: Rows, payment: Payment) -> Row | None:
    """By the payment, else by the session, else by the id that the payment names."""
    if payment.payment_intent_id and (found := _paid_with(rows, payment.payment_intent_id)):
        return found
    if payment.session_id and (by_session := rows.find(topups, "stripe_session_id", payment.session_id)):
        return by_session[0]
    return rows.get(topups, payment.topup_id) if payment.topup_id else None


def _paid_with(rows: Rows, payment_intent_id: str) -> Row | None:
    """The credited one first: several can name one payment only if it went to review."""
    found = rows.find(topups, "stripe_payment_intent_id", payment_intent_id)
    return min(found, key=lambda row: (row["status"] != TopupStatus.PAID, row["id"]), default=None)


def _topup_reads(payment: Payment) -> Sequence[Read]:
    intent = [payment.payment_intent_id] if payment.payment_intent_id else []
    return (
        Read(topups, "stripe_payment_intent_id", intent),
        Read(reversals, "stripe_payment_intent_id", intent),
        Read(topups, "stripe_session_id", [payment.session_id] if payment.session_id else []),
        Read(topups, "id", [payment.topup_id] if payment.topup_id else []),
    )


def _keys(reversal_ids: Iterable[str]) -> list[str]:
    """Ledger keys of refunds and disputes; the further ones of a split take are unique by their count."""
    return [
        f"{word}:{reversal_id}"
        for reversal_id in reversal_ids
        for word in ("refund", "refund_undo", "dispute", "dispute_won")
    ]


def _event_reads(event: EventSeen | None) -> Sequence[Read]:
    return () if event is None else (Read(stripe_events, "id", (event.id,)),)


def _note_event(rows: Rows, event: EventSeen | None, heard: Heard, now: int) -> None:
    if event is not None and rows.get(stripe_events, event.id) is None:
        said = {"outcome": heard.outcome, "said": dict(event.said), "arrived_at": now}
        rows.insert(
            stripe_events,
            {
                "id": event.id,
                "type": event.type,
                "object_id": event.object_id,
                "created_at": event.created_at,
                **said,
            },
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
