"""The top-ups audited: what was paid was credited once, and what went back is in the ledger to the milli-cent.

Invariant: nothing here writes, and no more than a page of rows is in memory at once.

What must hold, by the names that violations carry:

    topup_is_credited    a paid top-up has one credit in the ledger, to its organisation and of its own amount
    reversals_are_posted what refunds and disputes took and gave back are the ledger's entries for them
    reversals_are_due    nothing that is known of a refund or dispute still waits to be taken or given back
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.audit import PAGE_ROWS, Finding, Report, Violation
from billing.tables import reversals, topups, transfers
from billing.topup_rows import reversal_of
from billing.topup_rules import TopupStatus, movements

Row = Mapping[str, Any]


def judge(topup: Row, known: Sequence[Row], moved: Mapping[str, Sequence[Row]]) -> Iterator[Finding]:
    """What is wrong with one top-up, given its refunds and disputes and the ledger entries that carry their ids."""
    if topup["status"] != TopupStatus.PAID:
        return
    credited = [(row["org_id"], row["balance_delta"]) for row in moved[topup["stripe_payment_intent_id"]]]
    if credited != [(topup["org_id"], topup["credit_milli_cents"])]:
        yield "topup_is_credited", f"{topup['credit_milli_cents']} were paid for, the ledger has {credited}"
    for reversal in known:
        kept = reversal["taken_milli_cents"] - reversal["returned_milli_cents"]
        posted = -sum(row["balance_delta"] for row in moved[reversal["id"]])
        if kept != posted:
            yield "reversals_are_posted", f"{reversal['id']} took {kept}, the ledger says {posted}"
    due = movements(topup["credit_milli_cents"], [reversal_of(topup, reversal) for reversal in known])
    if due:
        yield "reversals_are_due", f"{[(movement.source_key, movement.amount_milli_cents) for movement in due]}"


async def audit_topups(connection: AsyncConnection, report: Report) -> None:
    """Judge every top-up that has a payment, page by page."""
    last = ""
    while True:
        query = select(topups).where(topups.c.id > last, topups.c.stripe_payment_intent_id.is_not(None))
        page = await _rows(connection, query.order_by(topups.c.id).limit(PAGE_ROWS))
        if not page:
            return
        last = page[-1]["id"]
        await _audit_page(connection, page, report)


async def _audit_page(connection: AsyncConnection, page: Sequence[Row], report: Report) -> None:
    intents = [topup["stripe_payment_intent_id"] for topup in page]
    known: dict[str, list[Row]] = defaultdict(list)
    for row in await _rows(connection, select(reversals).where(reversals.c.stripe_payment_intent_id.in_(intents))):
        known[row["stripe_payment_intent_id"]].append(row)
    moved: dict[str, list[Row]] = defaultdict(list)
    keys = [f"topup:{intent}" for intent in intents]
    for row in await _rows(connection, select(transfers).where(transfers.c.source_key.in_(keys))):
        moved[row["source_key"].partition(":")[2]].append(row)
    for reversal in [reversal for found in known.values() for reversal in found]:
        keys = _keys(reversal)
        moved[reversal["id"]] += await _rows(connection, select(transfers).where(transfers.c.source_key.in_(keys)))
    for topup in page:
        for invariant, detail in judge(topup, known[topup["stripe_payment_intent_id"]], moved):
            report(Violation(invariant, topup["org_id"], None, f"top-up {topup['id']}: {detail}"))


def _keys(reversal: Row) -> list[str]:
    """All source keys that entries of a refund or dispute can have."""
    name, gone = ("refund", "refund_undo") if reversal["kind"] == "refund" else ("dispute", "dispute_won")
    again = [f"{name}:{reversal['id']}:{number}" for number in range(2, reversal["takes"] + 2)]
    return [f"{name}:{reversal['id']}", f"{gone}:{reversal['id']}", *again]


async def _rows(connection: AsyncConnection, query: Any) -> list[Row]:
    return [dict(row) for row in (await connection.execute(query)).mappings()]
