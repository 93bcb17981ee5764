"""What calls used, by the days and months of an organisation's own time zone."""

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from billing.usage import count_call, count_correction
from billing.usage_report import Usage, daily, monthly
from config.clock import new_id
from config.database import Database
from config.door import Door
from config.rows import Read, Rows

NOW = int(datetime(2026, 11, 23, 19, 26, tzinfo=UTC).timestamp() * 1000)
DAY_MS = 86_400_000
ZONES = ["UTC", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Kiritimati", "Pacific/Marquesas"]


@dataclass(frozen=True, slots=True)
class Ended:
    """Door command: calls end; of some, half is given back later."""

    org_id: str
    calls: Sequence[tuple[int, int, bool]]

    def locate(self) -> Sequence[Read]:
        return ()

    def organisations(self, located: Rows) -> Iterable[str]:
        return ()

    def reads(self, located: Rows) -> Sequence[Read]:
        return ()

    def fold(self, rows: Rows, now: int) -> None:
        for at, seconds, is_corrected in self.calls:
            count_call(
                rows, self.org_id, at, connected_seconds=seconds, unbilled_seconds=5, charged_milli_cents=seconds * 80
            )
            if is_corrected:
                half = seconds // 2
                count_correction(rows, self.org_id, at, seconds=half, refunded_milli_cents=half * 80, all_of_it=False)


def used_by(call: tuple[int, int, bool]) -> Usage:
    _, seconds, is_corrected = call
    back = seconds // 2 if is_corrected else 0
    return Usage(1, int(seconds > 0), seconds - back, 5 + back, (seconds - back) * 80)


@pytest.mark.parametrize("zone_name", ZONES)
async def test_days_and_months_are_those_of_the_zone_to_the_millisecond(
    database: Database, door: Door, zone_name: str
) -> None:
    zone, dice, org_id = ZoneInfo(zone_name), random.Random(zone_name), new_id()
    first = date(2025, 10, 1)
    midnights = [
        int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp() * 1000)
        for day in (first + timedelta(days=n) for n in range(400))
    ]
    moments = [dice.choice(midnights) - dice.choice((0, 1)) for _ in range(300)]
    moments += [dice.randrange(midnights[0], NOW) for _ in range(600)]
    calls = [(at, dice.randrange(0, 200), dice.random() < 0.2) for at in moments if at < NOW]
    await door.submit(Ended(new_id(), calls))  # somebody else's
    for start in range(0, len(calls), 100):
        await door.submit(Ended(org_id, calls[start : start + 100]))

    days: dict[date, Usage] = defaultdict(Usage)
    months: dict[date, Usage] = defaultdict(Usage)
    for call in calls:
        day = datetime.fromtimestamp(call[0] / 1000, UTC).astimezone(zone).date()
        days[day] += used_by(call)
        months[day.replace(day=1)] += used_by(call)
    last = datetime.fromtimestamp(NOW / 1000, UTC).astimezone(zone).date()
    async with database.read() as connection:
        shown = await daily(connection, org_id, last - timedelta(days=380), last, zone)
        totals = await monthly(connection, org_id, NOW, zone)
    assert list(shown) == [last - timedelta(days=n) for n in range(380, -1, -1)]
    assert {day: used for day, used in shown.items() if used.calls} == {
        day: used for day, used in days.items() if day >= last - timedelta(days=380)
    }
    newest_first = sorted(months, reverse=True)[:12]
    assert totals == {month: months[month] for month in newest_first}
    assert list(totals) == newest_first


async def test_an_account_without_calls_has_this_month_alone(database: Database) -> None:
    async with database.read() as connection:
        assert await monthly(connection, new_id(), NOW, ZoneInfo("UTC")) == {date(2026, 11, 1): Usage()}
