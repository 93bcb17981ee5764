"""Reading top-ups, for the API, the Billing page, the operator and the reconciler.

Invariant: nothing here writes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from accounts.tables import organisations
from billing.auto_recharge import Recharge
from billing.posting import HOLD
from billing.tables import auto_recharges, operator_actions, reversals, stripe_customers, topups, transfers, wallets
from billing.topup_rules import Phase, ReversalKind, ReversalSeen, TopupKind, TopupStatus, later
from config.clock import iso

Row = dict[str, Any]
BATCH = 500
REFUND = "topup_refund"
"""What an operator's refund is called in the trail."""
ASKED = "asked"
"""The `outcome` in its detail while Stripe's answer has not been heard."""
HAS_PAUSED = "has_paused_recharge"
"""In its detail: the automatic recharge goes on if the refund is refused."""


@dataclass(frozen=True, slots=True)
class AskedRefund:
    """A refund whose outcome whoever asked for it has not heard. `begun_at` in ms; `amount_cents` None: of all that is
    left of a payment that gave no credit."""

    action_id: str
    org_id: str | None
    topup_id: str
    payment_intent_id: str
    amount_cents: int | None
    begun_at: int
    has_paused_recharge: bool

    def __str__(self) -> str:
        return f"{self.amount_cents or 'all remaining'} cents of top-up {self.topup_id}"


def shown_state(row: Row) -> str:
    """The status, or what has become of the credit since it was paid: `refunded`, `disputed`."""
    if row["disputed_milli_cents"] > 0:
        return "disputed"
    if row["refunded_milli_cents"] > 0 and row["refunded_milli_cents"] >= row["credit_milli_cents"]:
        return "refunded"
    return str(row["status"])


def topup_object(row: Row) -> dict[str, Any]:
    """A top-up as the API shows it."""
    return {
        "id": row["id"],
        "kind": row["kind"],
        "status": shown_state(row),
        "amount_cents": row["amount_cents"],
        "credit_milli_cents": row["credit_milli_cents"],
        "refunded_milli_cents": row["refunded_milli_cents"],
        "disputed_milli_cents": row["disputed_milli_cents"],
        "payment_intent_id": row["stripe_payment_intent_id"],
        "receipt_url": row["receipt_url"],
        "created_at": iso(row["created_at"]),
        "paid_at": iso(row["paid_at"]),
        "expires_at": iso(row["expires_at"]),
    }


async def operator_objects(connection: AsyncConnection, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The same with what only an operator sees. `refunded_cents`: of the payment, whether it gave credit or not."""
    names = ("org_id", "review_reason", "paid_cents", "livemode", "stripe_session_id", "stripe_customer_id")
    intents = [row["stripe_payment_intent_id"] for row in rows]
    refunds = (reversals.c.kind == ReversalKind.REFUND.value) & (reversals.c.phase == Phase.TAKEN.value)
    query = select(reversals.c.stripe_payment_intent_id, func.sum(reversals.c.amount_cents)).where(
        refunds, reversals.c.stripe_payment_intent_id.in_(intents)
    )
    found = await connection.execute(query.group_by(reversals.c.stripe_payment_intent_id))
    refunded = {intent: int(cents) for intent, cents in found}
    return [
        {
            **topup_object(row),
            "status": row["status"],
            **{name: row[name] for name in names},
            "refunded_cents": refunded.get(row["stripe_payment_intent_id"], 0),
        }
        for row in rows
    ]


async def list_all(connection: AsyncConnection, *, status: str | None, org_id: str | None, limit: int) -> list[Row]:
    """Newest first, of all organisations or one."""
    query = select(topups).order_by(topups.c.id.desc()).limit(limit)
    if status is not None:
        query = query.where(topups.c.status == status)
    if org_id is not None:
        query = query.where(topups.c.org_id == org_id)
    return await _rows(connection, query)


async def list_actions(connection: AsyncConnection, *, org_id: str | None, limit: int) -> list[Row]:
    """What operators did, newest first."""
    query = select(operator_actions).order_by(operator_actions.c.id.desc()).limit(limit)
    return await _rows(connection, query if org_id is None else query.where(operator_actions.c.org_id == org_id))


async def list_topups(
    connection: AsyncConnection, org_id: str, *, limit: int, before: str | None = None, after: str | None = None
) -> list[Row]:
    """Newest first. `before` and `after` are ids; with `after`, the page nearest to it."""
    query = select(topups).where(topups.c.org_id == org_id).limit(limit)
    if before is not None:
        query = query.where(topups.c.id < before)
    if after is not None:
        found = await _rows(connection, query.where(topups.c.id > after).order_by(topups.c.id))
        return found[::-1]
    return await _rows(connection, query.order_by(topups.c.id.desc()))


async def find_topup(connection: AsyncConnection, org_id: str, topup_id: str) -> Row | None:
    query = select(topups).where(topups.c.id == topup_id, topups.c.org_id == org_id)
    return next(iter(await _rows(connection, query)), None)


async def find_any_topup(connection: AsyncConnection, topup_id: str) -> Row | None:
    """Whoever's it is; for the operator."""
    return next(iter(await _rows(connection, select(topups).where(topups.c.id == topup_id))), None)


async def find_by_session(connection: AsyncConnection, org_id: str, session_id: str) -> Row | None:
    query = select(topups).where(topups.c.stripe_session_id == session_id, topups.c.org_id == org_id)
    return next(iter(await _rows(connection, query)), None)


async def with_status(connection: AsyncConnection, *statuses: TopupStatus, after: str = "") -> list[Row]:
    """A page, oldest first. `after`: the id that the one before it ended with."""
    wanted = topups.c.status.in_([status.value for status in statuses])
    return await _rows(connection, select(topups).where(wanted, topups.c.id > after).order_by(topups.c.id).limit(BATCH))


async def without_receipt(connection: AsyncConnection, since: int) -> list[Row]:
    """Paid since then (ms), and Stripe's receipt not known yet."""
    missing = (topups.c.status == TopupStatus.PAID.value) & topups.c.receipt_url.is_(None)
    return await _rows(connection, select(topups).where(missing, topups.c.paid_at >= since).limit(BATCH))


async def customer_of(connection: AsyncConnection, row_id: str) -> str | None:
    query = select(stripe_customers.c.stripe_customer_id).where(stripe_customers.c.id == row_id)
    return (await connection.execute(query)).scalar_one_or_none()


async def open_refunds(
    connection: AsyncConnection, *, topup_id: str | None = None, begun_before: int | None = None
) -> list[AskedRefund]:
    """Those of a top-up, or all begun before then (ms), oldest first. Operators do little: their trail is short."""
    ended = transfers.alias("ended")
    unheard = operator_actions.c.detail["outcome"].as_string() == ASKED
    query = (
        select(operator_actions, topups.c.stripe_payment_intent_id)
        .join(topups, topups.c.id == operator_actions.c.subject_id)
        .outerjoin(transfers, (transfers.c.id == operator_actions.c.id) & (transfers.c.kind == HOLD))
        .outerjoin(ended, ended.c.pending_id == transfers.c.id)
        .where(operator_actions.c.action == REFUND)
        .where(unheard | (transfers.c.id.is_not(None) & ended.c.id.is_(None)))  # whatever is held must be let go
    )
    if topup_id is not None:
        query = query.where(operator_actions.c.subject_id == topup_id)
    if begun_before is not None:
        query = query.where(operator_actions.c.created_at < begun_before)
    rows = await _rows(connection, query.order_by(operator_actions.c.id))
    return [
        AskedRefund(
            action_id=row["id"],
            org_id=row["org_id"],
            topup_id=row["subject_id"],
            payment_intent_id=row["stripe_payment_intent_id"],
            amount_cents=row["detail"]["amount_cents"],
            begun_at=row["created_at"],
            has_paused_recharge=HAS_PAUSED in row["detail"],
        )
        for row in rows
    ]


async def credited_with(connection: AsyncConnection, payment_intent_id: str) -> str | None:
    """The top-up that was credited with a payment."""
    query = select(topups.c.id).where(topups.c.stripe_payment_intent_id == payment_intent_id)
    return (await connection.execute(query.where(topups.c.status == TopupStatus.PAID.value))).scalar_one_or_none()


async def open_disputes(connection: AsyncConnection) -> list[str]:
    """All of them: none waits because others are open longer."""
    query = select(reversals.c.id).where(reversals.c.kind == ReversalKind.DISPUTE.value, ~reversals.c.is_closed)
    return list((await connection.execute(query)).scalars())


async def late_matches(connection: AsyncConnection, payment_intent_id: str | None = None) -> list[ReversalSeen]:
    """Refunds and disputes on record without a top-up whose top-up has been credited meanwhile."""
    query = (
        select(reversals)
        .join(topups, topups.c.stripe_payment_intent_id == reversals.c.stripe_payment_intent_id)
        .where(reversals.c.topup_id.is_(None), topups.c.status == TopupStatus.PAID.value)
    )
    if payment_intent_id is not None:
        query = query.where(reversals.c.stripe_payment_intent_id == payment_intent_id)
    return [_seen(row) for row in await _rows(connection, query.limit(BATCH))]


async def news_of(connection: AsyncConnection, found: Sequence[ReversalSeen]) -> list[ReversalSeen]:
    """Of these, what our books do not have yet, or not so far. What is on record and belongs to nobody is no news: the
    top-up that it turns out to be of looks for it."""
    known: dict[str, Row] = {}
    for start in range(0, len(found), BATCH):  # a statement takes so many values and no more
        ids = [seen.id for seen in found[start : start + BATCH]]
        rows = await _rows(connection, select(reversals).where(reversals.c.id.in_(ids)))
        known |= {row["id"]: row for row in rows}
    return [seen for seen in found if seen.id not in known or _is_further(seen, known[seen.id])]


def _is_further(seen: ReversalSeen, row: Row) -> bool:
    return later(Phase(row["phase"]), seen.phase) != row["phase"] or (seen.is_closed and not row["is_closed"])


async def find_recharge(connection: AsyncConnection, org_id: str) -> Recharge | None:
    rows = await _rows(connection, select(auto_recharges).where(auto_recharges.c.id == org_id))
    return Recharge(**rows[0]) if rows else None


async def below_threshold(connection: AsyncConnection, after: str = "") -> list[str]:
    """A page of the organisations whose automatic recharge may be due. `after`: the id that the one before it ended
    with. The recharge of a suspended one waits until it is resumed."""
    query = (
        select(auto_recharges.c.id)
        .join(wallets, wallets.c.id == auto_recharges.c.id)
        .join(organisations, organisations.c.id == auto_recharges.c.id)
        .where(auto_recharges.c.is_enabled, auto_recharges.c.paused_reason.is_(None))
        .where(auto_recharges.c.pending_topup_id.is_(None), auto_recharges.c.stripe_payment_method_id.is_not(None))
        .where(wallets.c.balance - wallets.c.held < auto_recharges.c.threshold_milli_cents)
        .where(organisations.c.suspended_at.is_(None), auto_recharges.c.id > after)
    )
    return list((await connection.execute(query.order_by(auto_recharges.c.id).limit(BATCH))).scalars())


async def unresolved_charges(connection: AsyncConnection, before: int) -> list[Row]:
    """Automatic top-ups begun before then (ms) of which Stripe has not told the outcome.

    `is_wanted`: the rule behind it still stands, so that it may be asked for.
    """
    stands = auto_recharges.c.is_enabled & auto_recharges.c.paused_reason.is_(None)
    is_wanted = (stands & organisations.c.suspended_at.is_(None)).label("is_wanted")
    open_ones = topups.c.status.in_([TopupStatus.PENDING.value, TopupStatus.PROCESSING.value])
    query = (
        select(topups, is_wanted)
        .join(auto_recharges, auto_recharges.c.id == topups.c.org_id)
        .join(organisations, organisations.c.id == topups.c.org_id)
        .where(open_ones, topups.c.kind == TopupKind.AUTO.value, topups.c.created_at < before)
    )
    return await _rows(connection, query.limit(BATCH))


async def links_due(connection: AsyncConnection, now: int) -> list[Recharge]:
    """Those of suspended organisations wait until they are resumed."""
    query = (
        select(auto_recharges)
        .join(organisations, organisations.c.id == auto_recharges.c.id)
        .where(auto_recharges.c.link_due_at <= now, organisations.c.suspended_at.is_(None))
        .order_by(auto_recharges.c.link_due_at)
        .limit(BATCH)
    )
    return [Recharge(**row) for row in await _rows(connection, query)]


def _seen(row: Row) -> ReversalSeen:
    return ReversalSeen(
        id=row["id"],
        kind=ReversalKind(row["kind"]),
        phase=Phase(row["phase"]),
        is_closed=row["is_closed"],
        payment_intent_id=row["stripe_payment_intent_id"],
        amount_cents=row["amount_cents"],
        created_at=row["created_at"],
    )


async def _rows(connection: AsyncConnection, query: Any) -> list[Row]:
    return [dict(row) for row in (await connection.execute(query)).mappings()]
