"""Usage by day and by month of an organisation's own time zone, from the quarter-hour rollup.

Invariant: every zone's midnight falls on a quarter hour of UTC, so that days are exact sums of the rollup; the cost
of a report depends on its span, not on how many calls there were.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.tables import usage

LONGEST_SPAN_DAYS = 400


@dataclass(frozen=True, slots=True)
class Usage:
    """What calls that ended in some span used. Milli-cents, seconds."""

    calls: int = 0
    billed_calls: int = 0
    connected_seconds: int = 0
    unbilled_seconds: int = 0
    charged_milli_cents: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.calls + other.calls,
            self.billed_calls + other.billed_calls,
            self.connected_seconds + other.connected_seconds,
            self.unbilled_seconds + other.unbilled_seconds,
            self.charged_milli_cents + other.charged_milli_cents,
        )


def midnight_ms(day: date, zone: ZoneInfo) -> int:
    """The first moment of a day there."""
    return int(datetime.combine(day, time(), zone).timestamp() * 1000)


def day_of(at: int, zone: ZoneInfo) -> date:
    return datetime.fromtimestamp(at / 1000, UTC).astimezone(zone).date()


def days_between(first: date, last: date) -> Iterable[date]:
    """Both included."""
    return (first + timedelta(days=n) for n in range((last - first).days + 1))


async def daily(connection: AsyncConnection, org_id: str, first: date, last: date, zone: ZoneInfo) -> dict[date, Usage]:
    """One entry for every day from `first` to `last`, both included; days without calls are zero."""
    assert (last - first).days < LONGEST_SPAN_DAYS
    query = select(usage).where(
        usage.c.org_id == org_id,
        usage.c.quarter_at >= midnight_ms(first, zone),
        usage.c.quarter_at < midnight_ms(last + timedelta(days=1), zone),
    )
    found = dict.fromkeys(days_between(first, last), Usage())
    for row in await connection.execute(query):
        day = day_of(row.quarter_at, zone)
        found[day] += Usage(
            row.calls, row.billed_calls, row.connected_seconds, row.unbilled_seconds, row.charged_milli_cents
        )
    return found


async def monthly(
    connection: AsyncConnection, org_id: str, now: int, zone: ZoneInfo, months: int = 12
) -> dict[date, Usage]:
    """The last `months` months that had calls, newest first, keyed by their first day; the current one always."""
    current = day_of(now, zone).replace(day=1)
    found: dict[date, Usage] = {}
    first = current
    for _ in range(months):
        found[first] = await _total(connection, org_id, first, _next_month(first), zone)
        first = (first - timedelta(days=1)).replace(day=1)
    return {month: used for month, used in found.items() if month == current or used.calls}


async def _total(connection: AsyncConnection, org_id: str, first: date, end: date, zone: ZoneInfo) -> Usage:
    sums = [func.coalesce(func.sum(usage.c[name]), 0) for name in Usage.__slots__]
    query = select(*sums).where(
        usage.c.org_id == org_id,
        usage.c.quarter_at >= midnight_ms(first, zone),
        usage.c.quarter_at < midnight_ms(end, zone),
    )
    return Usage(*(int(value) for value in (await connection.execute(query)).one()))


def _next_month(first: date) -> date:
    return (first + timedelta(days=32)).replace(day=1)
