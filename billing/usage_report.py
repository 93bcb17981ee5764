"""Usage by day and by month of an organisation's own time zone, from the rollup.

Invariant: every zone's midnight falls on a quarter hour of UTC, so that days are exact sums of quarter hours, and
months of whole days of UTC and the quarter hours at either end; the cost of a report depends on its span, not on how
many calls there were.
"""

from bisect import bisect_right
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from operator import add, sub
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Row, func, literal, select, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.tables import usage, usage_days
from billing.usage import DAY_MS

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


NAMES = Usage.__slots__
_SUMS = [func.sum(usage.c[name]).label(name) for name in NAMES]


async def daily(connection: AsyncConnection, org_id: str, first: date, last: date, zone: ZoneInfo) -> dict[date, Usage]:
    """One entry for every day from `first` to `last`, both included; days without calls are zero."""
    assert (last - first).days < LONGEST_SPAN_DAYS
    days = list(days_between(first, last))
    starts = [midnight_ms(day, zone) for day in (*days, last + timedelta(days=1))]
    return dict(zip(days, await _between(connection, org_id, starts, _rests_of_many_days), strict=True))


async def monthly(
    connection: AsyncConnection, org_id: str, now: int, zone: ZoneInfo, months: int = 12
) -> dict[date, Usage]:
    """The last `months` months that had calls, newest first, keyed by their first day; the current one always."""
    current = day_of(now, zone).replace(day=1)
    firsts = [_next_month(current), current]
    while len(firsts) <= months:
        firsts.append((firsts[-1] - timedelta(days=1)).replace(day=1))
    starts = [midnight_ms(first, zone) for first in firsts[::-1]]
    used = await _between(connection, org_id, starts, _rests_of_days)
    totals = dict(zip(firsts[1:], used[::-1], strict=True))
    return {month: each for month, each in totals.items() if month == current or each.calls}


Rests = Callable[[AsyncConnection, str, Sequence[int]], Awaitable[Iterable[Sequence[Any]]]]


async def _between(connection: AsyncConnection, org_id: str, starts: Sequence[int], rests: Rests) -> list[Usage]:
    """What was used from each start to the next: days of UTC where they begin, and the rests of those that a start
    divides taken from there to what follows."""
    sums = [[0] * len(NAMES) for _ in starts]
    for row in await _whole_days(connection, org_id, starts):
        number = bisect_right(starts, row[0]) - 1
        sums[number] = list(map(add, sums[number], row[1:]))
    for rest in await rests(connection, org_id, [start for start in starts if start % DAY_MS]):
        number = bisect_right(starts, rest[0]) - 1
        sums[number] = list(map(add, sums[number], rest[1:]))
        if number:  # the whole day has been counted where it begins
            sums[number - 1] = list(map(sub, sums[number - 1], rest[1:]))
    return [Usage(*map(int, each)) for each in sums[:-1]]


async def _whole_days(connection: AsyncConnection, org_id: str, starts: Sequence[int]) -> Sequence[Row[Any]]:
    """The days of UTC that begin from the first start to the last."""
    at = usage_days.c.day_at
    query = select(at, *(usage_days.c[name] for name in NAMES)).where(
        usage_days.c.org_id == org_id, at >= starts[0], at < starts[-1]
    )
    return (await connection.execute(query)).all()


async def _rests_of_days(connection: AsyncConnection, org_id: str, starts: Sequence[int]) -> Iterable[Sequence[Any]]:
    """What was used from each of a few starts to the end of the day of UTC in which it is."""
    if not starts:
        return ()
    at = usage.c.quarter_at
    each = (
        select(literal(start), *_SUMS)
        .where(usage.c.org_id == org_id, at >= start, at < start - start % DAY_MS + DAY_MS)
        .having(_SUMS[0].is_not(None))
        for start in starts
    )
    return (await connection.execute(union_all(*each))).all()  # with OR, SQLite would read the whole year


async def _rests_of_many_days(
    connection: AsyncConnection, org_id: str, starts: Sequence[int]
) -> Iterable[Sequence[Any]]:
    """The same of starts that follow one another: a query for each time of day (two, where clocks change)."""
    at, found = usage.c.quarter_at, list[Sequence[Any]]()
    day = (at - at % DAY_MS).label("day_at")
    for offset in sorted({start % DAY_MS for start in starts}):
        own = [start for start in starts if start % DAY_MS == offset]
        query = select(day, *_SUMS).where(
            usage.c.org_id == org_id, at >= own[0], at < own[-1] - offset + DAY_MS, at % DAY_MS >= offset
        )
        rests = {row[0] + offset: row[1:] for row in await connection.execute(query.group_by(day))}
        found += [(start, *rests[start]) for start in own if start in rests]
    return found


def _next_month(first: date) -> date:
    return (first + timedelta(days=32)).replace(day=1)
