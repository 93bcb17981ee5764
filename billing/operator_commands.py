"""What an operator does with money, and the trail of it.

Invariant: nothing is decided by hand without a row that says who did what, when and why, in the same transaction.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from accounts.tables import organisations
from billing.ledger import Post
from billing.posting import Refusal, Transfer
from billing.tables import auto_recharges, operator_actions, reversals, topups, transfers, wallets
from billing.topup_rows import Heard, ids_from, note_returned, pay_in
from billing.topup_rules import TopupStatus, credit_of
from config.rows import OfOneOrganisation, Read, Row, Rows

CLOSE_ORGANISATION = "org_close"
"""What closing an account is called in the trail."""


@dataclass(frozen=True, slots=True)
class OperatorAction:
    """Who did what, and why."""

    id: str
    operator: str
    action: str
    subject_id: str
    reason: str
    org_id: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)

    def insert(self, rows: Rows, now: int) -> None:
        if rows.get(operator_actions, self.id) is None:
            rows.insert(operator_actions, {**asdict(self), "detail": dict(self.detail), "created_at": now})


def is_closed(rows: Rows, organisation: Row) -> bool:
    """Its members have closed it, and no operator has opened it again. The trail of it must have been read: only
    operators add to that, and the member who closes."""
    trail = rows.find(operator_actions, "org_id", organisation["id"])
    closed = any(action["action"] == CLOSE_ORGANISATION for action in trail)
    return closed and organisation["suspended_at"] is not None


@dataclass(frozen=True, slots=True)
class RecordAction:
    """For what happens elsewhere: the trail is written before it is done."""

    action: OperatorAction

    def locate(self) -> Sequence[Read]:
        return ()

    def organisations(self, located: Rows) -> Iterable[str]:
        return () if self.action.org_id is None else (self.action.org_id,)

    def reads(self, located: Rows) -> Sequence[Read]:
        return (Read(operator_actions, "id", (self.action.id,)),)

    def fold(self, rows: Rows, now: int) -> None:
        self.action.insert(rows, now)


@dataclass(frozen=True, slots=True)
class AdjustCredit:
    """Credit given or taken by hand."""

    post: Post
    action: OperatorAction

    def locate(self) -> Sequence[Read]:
        return ()

    def organisations(self, located: Rows) -> Iterable[str]:
        return self.post.organisations(located)

    def reads(self, located: Rows) -> Sequence[Read]:
        return (*self.post.reads(located), Read(operator_actions, "id", (self.action.id,)))

    def fold(self, rows: Rows, now: int) -> Transfer | Refusal:
        outcome = self.post.fold(rows, now)
        if isinstance(outcome, Transfer):
            self.action.insert(rows, now)
        return outcome


@dataclass(frozen=True, slots=True)
class SuspendOrganisation(OfOneOrganisation):
    """No new calls and no payments for an organisation, or (not `is_suspended`) as usual again."""

    org_id: str
    is_suspended: bool
    action: OperatorAction

    def reads(self, located: Rows) -> Sequence[Read]:
        return (Read(organisations, "id", (self.org_id,)), Read(operator_actions, "id", (self.action.id,)))

    def fold(self, rows: Rows, now: int) -> bool:
        """Whether there is such an organisation."""
        row = rows.get(organisations, self.org_id)
        if row is None:
            return False
        if (row["suspended_at"] is not None) != self.is_suspended:
            rows.update(organisations, self.org_id, {"suspended_at": now if self.is_suspended else None})
        self.action.insert(rows, now)
        return True


@dataclass(frozen=True, slots=True)
class ResolveTopup:
    """End a review: credit `amount_cents` to the organisation, or (None) give no credit."""

    topup_id: str
    org_id: str | None
    amount_cents: int | None
    action: OperatorAction
    base_id: str

    def locate(self) -> Sequence[Read]:
        return (Read(topups, "id", (self.topup_id,)),)

    def organisations(self, located: Rows) -> Iterable[str]:
        row = located.get(topups, self.topup_id)
        return [org_id for org_id in (self.org_id, row and row["org_id"]) if org_id]

    def reads(self, located: Rows) -> Sequence[Read]:
        row = located.get(topups, self.topup_id)
        intent = row and row["stripe_payment_intent_id"]
        return (
            Read(topups, "id", (self.topup_id,)),
            Read(operator_actions, "id", (self.action.id,)),
            Read(topups, "stripe_payment_intent_id", [intent] if intent else []),
            Read(reversals, "stripe_payment_intent_id", [intent] if intent else []),
            Read(transfers, "source_key", [f"topup:{intent}"]),
            Read(auto_recharges, "id", list(self.organisations(located))),
            Read(organisations, "id", list(self.organisations(located))),
        )

    def fold(self, rows: Rows, now: int) -> Heard | str:
        """What came of it, or why it cannot be done."""
        row = rows.get(topups, self.topup_id)
        if row is not None and rows.get(operator_actions, self.action.id) is not None:
            return Heard("nothing", row["org_id"], row["id"])  # our own earlier commit, whose answer was lost
        if row is None or row["status"] != TopupStatus.REVIEW:
            return f"there is no top-up {self.topup_id} in review"
        if self.amount_cents is None:
            rows.update(topups, row["id"], {"status": TopupStatus.REJECTED.value, "updated_at": now})
            note_returned(rows, row, now)
            self.action.insert(rows, now)
            return Heard("rejected", row["org_id"], row["id"])
        org_id = row["org_id"] or self.org_id
        intent = row["stripe_payment_intent_id"]
        if org_id is None or rows.get(wallets, org_id) is None:
            return "nobody knows whose payment this is; name the organisation with --org"
        if intent is None or not row["paid_cents"]:
            return "there was no payment; use: callingbox-server credit adjust"
        if rows.find(transfers, "source_key", f"topup:{intent}"):
            return f"payment {intent} has been credited already"
        rows.update(topups, row["id"], {"org_id": org_id, "credit_milli_cents": credit_of(self.amount_cents)})
        self.action.insert(rows, now)
        return pay_in(rows, row, intent, row["paid_cents"], ids_from(self.base_id), now)
