"""The numbers audited: each was paid for as often as its row says, and no purchase is forgotten.

Invariant: nothing here writes.

What must hold, by the names that violations carry:

    purchase_ends      a purchase that is over has settled its hold (bought) or released it (not bought)
    number_is_paid     a bought number is paid until as many months after its purchase as were settled
    hold_ends          an undecided purchase will be looked at again, and none is older than a day
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.audit import Finding, Report, Violation
from billing.posting import RELEASE, SETTLE
from billing.tables import transfers
from voice.numbers.purchase import month_later, price_milli_cents
from voice.tables import numbers

LONGEST_PURCHASE_MS = 86_400_000
Row = Mapping[str, Any]


def end_keys(number: Row, now: int) -> list[str]:
    """The source keys of all ends of holds that the number can have: of its purchase and of each month since."""
    keys, month = [f"{number['id']}:end"], month_later(number["purchased_at"], number["purchased_at"])
    while month <= now:
        keys.append(f"{number['id']}:{month}:end")
        month = month_later(month, number["purchased_at"])
    return keys


def judge(number: Row, moved: Sequence[Row], now: int) -> Iterator[Finding]:
    """What is wrong with one bought number, given the ends of its holds in order."""
    ends = [(row["kind"], row["amount"]) for row in moved]
    if number["status"] == "pending":
        if ends:
            yield "purchase_ends", f"the purchase is undecided, but its hold has ended: {ends}"
        if number["due_at"] is None or now > number["purchased_at"] + LONGEST_PURCHASE_MS:
            yield "hold_ends", "the purchase is undecided and forgotten"
        return
    price = price_milli_cents(dict(number))
    expected = [(RELEASE, 0)] if number["status"] == "failed" else [(SETTLE, price)] * max(1, len(ends))
    if ends != expected:
        yield "purchase_ends", f"status {number['status']} at {price} a month, but the holds ended: {ends}"
    if number["status"] != "failed":
        paid_until = number["purchased_at"]
        for _ in ends:
            paid_until = month_later(paid_until, number["purchased_at"])
        if paid_until != number["paid_until"]:
            yield "number_is_paid", f"paid until {number['paid_until']}, but {len(ends)} months were settled"


async def audit_numbers(connection: AsyncConnection, now: int, report: Report) -> None:
    """Judge every number that was bought or was to be."""
    bought = or_(numbers.c.paid_until.is_not(None), numbers.c.status.in_(("pending", "failed")))
    found = (await connection.execute(select(numbers).where(bought).order_by(numbers.c.id))).mappings().all()
    for number in found:
        query = select(transfers).where(transfers.c.source_key.in_(end_keys(dict(number), now)))
        moved = (await connection.execute(query.order_by(transfers.c.sequence))).mappings().all()
        for invariant, detail in judge(dict(number), [dict(row) for row in moved], now):
            report(Violation(invariant, number["org_id"], None, f"number {number['id']}: {detail}"))
