"""Usage by day and by month of an organisation's own time zone, from the rollup.

Invariant: every zone's midnight falls on a quarter hour of UTC, so that days are exact sums of quarter hours, and
months of whole days of UTC and the quarter hours at either end; the cost of a report depends on its span, not on how
many calls there were.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
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


_SUMS = [func.sum(usage.c[name]).label(name) for name in Usage.__slots__]


async def daily(connection: AsyncConnection, org_id: str, first: date, last: date, zone: ZoneInfo) -> dict[date, Usage]:
    """One entry for every day from `first` to `last`, both included; days without calls are zero."""
    assert (last - first).days < LONGEST_SPAN_DAYS
    found = dict.fromkeys(days_between(first, last), Usage())
    for days in _runs(list(found), zone):
        start, end = midnight_ms(days[0], zone), midnight_ms(days[-1] + timedelta(days=1), zone)
        number = ((usage.c.quarter_at - start) // DAY_MS).label("number")
        query = select(number, *_SUMS).where(
            usage.c.org_id == org_id, usage.c.quarter_at >= start, usage.c.quarter_at < end
        )
        for number_, *sums in await connection.execute(query.group_by("number")):
            found[days[min(number_, len(days) - 1)]] += Usage(*map(int, sums))
    return found


def _runs(days: Sequence[date], zone: ZoneInfo) -> Iterator[list[date]]:
    """Days that follow one another, each of 24 hours, together; a day on which the clocks change alone."""
    run: list[date] = []
    for day in days:
        if midnight_ms(day + timedelta(days=1), zone) - midnight_ms(day, zone) == DAY_MS:
            run.append(day)
            continue
        yield from filter(None, (run, [day]))
        run = []
    yield from filter(None, (run,))


async def monthly(
    connection: AsyncConnection, org_id: str, now: int, zone: ZoneInfo, months: int = 12
) -> dict[date, Usage]:
    """The last `months` months that had calls, newest first, keyed by their first day; the current one always."""
    current = day_of(now, zone).replace(day=1)
    firsts = [_next_month(current), current]
    while len(firsts) <= months:
        firsts.append((firsts[-1] - timedelta(days=1)).replace(day=1))
    starts = [midnight_ms(first, zone) for first in firsts[::-1]]
    sums = [[0] * len(Usage.__slots__) for _ in starts]
    for row in await _whole_days(connection, org_id, starts):
        number = bisect_right(starts, row[0]) - 1
        sums[number] = list(map(add, sums[number], row[1:]))
    for row in await _rests_of_days(connection, org_id, starts):
        number = starts.index(row[0])
        sums[number] = list(map(add, sums[number], row[1:]))
        if number:  # the whole day has been counted where it begins
            sums[number - 1] = list(map(sub, sums[number - 1], row[1:]))
    totals = {first: Usage(*map(int, each)) for first, each in zip(firsts[1:], sums[-2::-1], strict=True)}
    return {month: used for month, used in totals.items() if month == current or used.calls}


async def _whole_days(connection: AsyncConnection, org_id: str, starts: Sequence[int]) -> Sequence[Row[Any]]:
    """The days of UTC that begin from the first start to the last."""
    at = usage_days.c.day_at
    query = select(at, *(usage_days.c[name] for name in Usage.__slots__)).where(
        usage_days.c.org_id == org_id, at >= starts[0], at < starts[-1]
    )
    return (await connection.execute(query)).all()


async def _rests_of_days(connection: AsyncConnection, org_id: str, starts: Sequence[int]) -> Sequence[Row[Any]]:
    """What was used from each start to the end of the day of UTC in which it is."""
    spans = [(start, start - start % DAY_MS + DAY_MS) for start in starts if start % DAY_MS]
    if not spans:
        return ()
    at = usage.c.quarter_at
    each = (
        select(literal(start), *_SUMS)
        .where(usage.c.org_id == org_id, at >= start, at < end)
        .having(_SUMS[0].is_not(None))
        for start, end in spans
    )
    return (await connection.execute(union_all(*each))).all()  # with OR, SQLite would read the whole year


def _next_month(first: date) -> date:
    return (first + timedelta(days=32)).replace(day=1)
