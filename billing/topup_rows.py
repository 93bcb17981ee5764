"""Top-ups inside a batch of the door: credit one, take and give back what its refunds and disputes say.

Invariant: a top-up, its reversals, the ledger and the wallet change together, so they always tell the same story.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from accounts.events import record_account_event
from accounts.tables import organisations
from billing import auto_recharge, ledger
from billing.auto_recharge import Recharge
from billing.low_balance import rearm_mail
from billing.posting import Posting, Transfer
from billing.tables import auto_recharges, reversals, topups
from billing.topup_queries import topup_object
from billing.topup_rules import (
    Phase,
    Reversal,
    ReversalKind,
    ReviewReason,
    TopupKind,
    TopupStatus,
    credit_of,
    movements,
    share_milli_cents,
)
from config.rows import Row, Rows


@dataclass(frozen=True, slots=True)
class Alert:
    """Something an operator must see."""

    kind: str
    text: str


def review_alert(row: Row) -> Alert:
    """That a top-up waits for an operator, in the same words each time."""
    kind = "paid_after_closing" if row["review_reason"] == ReviewReason.ACCOUNT_CLOSED else "topup_review"
    return Alert(kind, f"top-up {row['id']}: {row['review_reason']}")


@dataclass(frozen=True, slots=True)
class Heard:
    """What came of a fact: `credited`, `processing`, `failed`, `expired`, `review`, `applied`, `kept`, `nothing`."""

    outcome: str
    org_id: str | None = None
    topup_id: str | None = None
    payment_intent_id: str | None = None
    alerts: tuple[Alert, ...] = ()


def topup_row(
    topup_id: str, org_id: str | None, kind: TopupKind, amount_cents: int, livemode: bool, now: int, **more: Any
) -> Row:
    return {
        "id": topup_id,
        "org_id": org_id,
        "kind": kind.value,
        "status": TopupStatus.PENDING.value,
        "amount_cents": amount_cents,
        "credit_milli_cents": credit_of(amount_cents),
        "livemode": livemode,
        "expires_at": now,
        "created_at": now,
        "updated_at": now,
        **more,
    }


def ids_from(base_id: str) -> Iterator[str]:
    """As many ids as a fold needs, the same each time it is tried."""
    number = UUID(base_id).int
    while True:
        yield str(UUID(int=number))
        number += 1


def pay_in(rows: Rows, row: Row, payment_intent_id: str, paid_cents: int, ids: Iterator[str], now: int) -> Heard:
    """Credit a top-up that has not been credited, and let what is known of refunds and disputes have its share.

    The organisation's row must have been read: its servers may want to know.
    """
    posting = Posting(
        next(ids),
        f"topup:{payment_intent_id}",
        row["org_id"],
        "topup",
        row["credit_milli_cents"],
        reason=f"top-up {row['id']}",
    )
    outcome = ledger.apply(rows, posting, now)
    assert isinstance(outcome, Transfer), outcome
    rows.update(
        topups,
        row["id"],
        {
            "status": TopupStatus.PAID.value,
            "stripe_payment_intent_id": payment_intent_id,
            "paid_cents": paid_cents,
            "paid_at": now,
            "updated_at": now,
        },
    )
    organisation = rows.get(organisations, row["org_id"])
    assert organisation is not None, "whoever is credited has a wallet"
    rearm_mail(rows, organisation)
    record_account_event(rows, organisation, "topup.succeeded", row["id"], {"topup": topup_object(row)}, now)
    recharge = recharge_in(rows, row["org_id"])
    if recharge is not None and recharge.pending_topup_id == row["id"]:
        put_recharge(rows, auto_recharge.credited(recharge), now)
    alerts = settle_reversals(rows, row, ids, now)
    return Heard("credited", row["org_id"], row["id"], payment_intent_id, alerts)


def settle_reversals(rows: Rows, row: Row, ids: Iterator[str], now: int) -> tuple[Alert, ...]:
    """Make the ledger entries that the refunds and disputes of a paid top-up still lack."""
    org_id = row["org_id"]
    found, paid_back = _matched(rows, row, now), False
    for movement in movements(row["credit_milli_cents"], [reversal_of(row, known) for known in found.values()]):
        reason = f"{movement.reversal_id} of top-up {row['id']}"
        posting = Posting(
            next(ids), movement.source_key, org_id, movement.kind, movement.amount_milli_cents, reason=reason
        )
        outcome = ledger.apply(rows, posting, now)
        assert isinstance(outcome, Transfer), outcome
        known = found[movement.reversal_id]
        if movement.gives_back:
            changes = {"returned_milli_cents": known["returned_milli_cents"] + movement.amount_milli_cents}
        else:
            taken = known["taken_milli_cents"] + movement.amount_milli_cents
            changes = {"taken_milli_cents": taken, "takes": known["takes"] + 1}
            paid_back = paid_back or known["kind"] == ReversalKind.REFUND
        rows.update(reversals, movement.reversal_id, changes)
    _sum_up(rows, row, list(found.values()), now)
    if paid_back:
        pause_refunded(rows, org_id, now)
    if ledger.wallet_in(rows, org_id).balance < 0:
        return (Alert("balance_below_zero", f"organisation {org_id}"),)
    return ()


def pause_refunded(rows: Rows, org_id: str, now: int) -> bool:
    """A refund does not have the card charged again for what it took. Whether nothing had paused that before."""
    recharge = recharge_in(rows, org_id)
    if recharge is None:
        return False
    after = auto_recharge.refunded(recharge, ledger.wallet_in(rows, org_id).available)
    put_recharge(rows, after, now)
    return recharge.paused_reason is None and after.paused_reason is not None


def pause_disputed(rows: Rows, org_id: str, now: int) -> None:
    """Whoever has a payment taken back does not want another."""
    recharge = recharge_in(rows, org_id)
    if recharge is not None:
        put_recharge(rows, auto_recharge.disputed(recharge), now)


def _matched(rows: Rows, row: Row, now: int) -> dict[str, Row]:
    """The top-up's refunds and disputes. A dispute met for the first time pauses the automatic recharge."""
    found = {
        known["id"]: known
        for known in rows.find(reversals, "stripe_payment_intent_id", row["stripe_payment_intent_id"])
    }
    for known in found.values():
        is_new = known["topup_id"] is None
        rows.update(reversals, known["id"], {"org_id": row["org_id"], "topup_id": row["id"]})
        if is_new and known["kind"] == ReversalKind.DISPUTE and known["phase"] != Phase.UNDONE:
            pause_disputed(rows, row["org_id"], now)
    return found


def note_returned(rows: Rows, row: Row, now: int) -> bool:
    """What went back of a rejected payment: its customer sees it, though there was no credit to take. Whether it is
    one, and of somebody."""
    intent = row["stripe_payment_intent_id"]
    is_one = row["status"] == TopupStatus.REJECTED and row["org_id"] is not None and row["paid_cents"]
    if not is_one or intent is None or paid_with(rows, intent) is not row:
        return False
    returned = 0
    for known in rows.find(reversals, "stripe_payment_intent_id", intent):
        rows.update(reversals, known["id"], {"org_id": row["org_id"], "topup_id": row["id"]})
        if (known["kind"], known["phase"]) == (ReversalKind.REFUND, Phase.TAKEN):
            returned += reversal_of(row, known).share_milli_cents
    changes = {"refunded_milli_cents": min(returned, row["credit_milli_cents"]), "updated_at": now}
    rows.update(topups, row["id"], changes)
    return True


def paid_with(rows: Rows, payment_intent_id: str) -> Row | None:
    """The credited one first: several can name one payment only if it went to review."""
    found = rows.find(topups, "stripe_payment_intent_id", payment_intent_id)
    return min(found, key=lambda row: (row["status"] != TopupStatus.PAID, row["id"]), default=None)


def _sum_up(rows: Rows, row: Row, found: Sequence[Row], now: int) -> None:
    def kept(kind: ReversalKind) -> int:
        same = [known for known in found if known["kind"] == kind]
        return sum(known["taken_milli_cents"] - known["returned_milli_cents"] for known in same)

    changes = {
        "refunded_milli_cents": kept(ReversalKind.REFUND),
        "disputed_milli_cents": kept(ReversalKind.DISPUTE),
        "updated_at": now,
    }
    rows.update(topups, row["id"], changes)


def reversal_of(topup: Mapping[str, Any], row: Mapping[str, Any]) -> Reversal:
    """A row of `topup_reversals` as the pure functions see it."""
    return Reversal(
        id=row["id"],
        kind=ReversalKind(row["kind"]),
        phase=Phase(row["phase"]),
        created_at=row["created_at"],
        share_milli_cents=share_milli_cents(topup["credit_milli_cents"], row["amount_cents"], topup["paid_cents"]),
        taken_milli_cents=row["taken_milli_cents"],
        returned_milli_cents=row["returned_milli_cents"],
        takes=row["takes"],
    )


def unspent_cents(topup: Mapping[str, Any], available: int) -> int:
    """What of a payment can be paid back, rounded down: what its credit is worth as far as that is left.

    `available`: of the wallet, in milli-cents.
    """
    credit = topup["credit_milli_cents"]
    unspent = min(available, credit - topup["refunded_milli_cents"] - topup["disputed_milli_cents"])
    return int(max(0, unspent) * topup["paid_cents"] // credit)


def recharge_in(rows: Rows, org_id: str) -> Recharge | None:
    row = rows.get(auto_recharges, org_id)
    return None if row is None else Recharge(**row)


def put_recharge(rows: Rows, recharge: Recharge, now: int) -> None:
    rows.update(auto_recharges, recharge.id, {**asdict(recharge), "updated_at": now})
