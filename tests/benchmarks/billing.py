"""What an organisation's pages of money cost with few calls and with many, over HTTP, on both databases.

The same server runs twice, on a database with 10,000 and on one with 1,000,000 settled calls of twelve months, and is
asked in turns, so that whatever else the machine does falls on both. The newest calls earned nothing, and some filters
find nothing at all: whoever looks for what is not there must not read everything.
"""

import asyncio
import os
import sqlite3
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from json import loads
from pathlib import Path
from typing import Any

import asyncpg
import httpx
from sqlalchemy import Table
from sqlalchemy.engine import make_url

from billing.posting import HOLD, RELEASE, SETTLE, Posting, Present, Refusal, Transfer, post
from billing.rating import charge_milli_cents
from billing.tables import transfers, usage, usage_days, wallets
from billing.usage import DAY_MS, QUARTER_MS
from billing.wallet import Wallet
from config.clock import now_ms, stable_id
from tests.benchmarks.bare import ACCOUNT_SID, AUTH_TOKEN
from tests.benchmarks.report import Result
from tests.databases import Postgres, SqliteFiles
from tests.servers import Installation, free_port, installation
from voice.tables import calls

FEW, MANY, QUICK_FEW, QUICK_MANY = 10_000, 1_000_000, 500, 5_000
ROUNDS, QUICK_ROUNDS, WARM_UP = 60, 5, 5
YEAR_MS = 365 * 86_400_000
RATE, LONGEST_SECONDS, HOLD_MILLI_CENTS, CREDIT = 5_000, 3_600, 300_000, 10**12
RING_MS, DETECTION_MS, CONNECTED_SECONDS = 5_000, 3_000, 17
FREE_OF_LATE = 50
"""One fiftieth of the calls, the newest, are free: nobody answered."""
ROWS_AT_ONCE = 20_000
EMAIL, PASSWORD, AGENT = "bench@example.com", "a long sentence", "0198f3c2-0000-7000-8000-000000000000"

PAGES = {
    "Billing": "/billing",
    "Billing, credit changes alone": "/billing?entries=credit",
    "Calls": "/calls",
    "Calls, one direction": "/calls?direction=inbound",
    "Calls that were canceled: none": "/calls?state=canceled",
    "Calls that are live: one": "/calls?state=live",
    "Calls of an agent, busy: none": f"/calls?agent={AGENT}&state=busy",
}
API = {
    "usage by day": "/v1/billing/usage/daily",
    "usage by month": "/v1/billing/usage/monthly",
    "transfers": "/v1/billing/transfers",
}


def over_http(quick: bool) -> list[Result]:
    return [*_on_sqlite(quick), *_on_postgres(quick)]


def _on_sqlite(quick: bool) -> list[Result]:
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        files = SqliteFiles(Path(directory))
        places = [Path(directory) / name for name in ("few", "many")]
        for place in places:
            place.mkdir()
        urls = [stack.enter_context(files.database(place)) for place in places]
        return _compare("SQLite", places, urls, quick, stack)


def _on_postgres(quick: bool) -> list[Result]:
    server = Postgres()
    try:
        with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
            places = [Path(directory) / name for name in ("few", "many")]
            for place in places:
                place.mkdir()
            urls = [stack.enter_context(server.database()) for _ in places]
            return _compare("Postgres", places, urls, quick, stack)
    finally:
        server.stop()


def _compare(database: str, places: Sequence[Path], urls: Sequence[str], quick: bool, stack: ExitStack) -> list[Result]:
    sizes = (QUICK_FEW, QUICK_MANY) if quick else (FEW, MANY)
    few, many = (
        stack.enter_context(_serving(place, url, size)) for place, url, size in zip(places, urls, sizes, strict=True)
    )
    results = []
    for what, path in {**PAGES, **API}.items():
        seconds = _medians([few, many], path, QUICK_ROUNDS if quick else ROUNDS)
        rates = [1 / each for each in seconds]
        print(f"  {what}: {seconds[0] * 1000:.1f} ms, {seconds[1] * 1000:.1f} ms", file=sys.stderr, flush=True)
        results.append(Result(f"{what}, {sizes[1]:,} calls, {database}", rates[1], {f"{sizes[0]:,} calls": rates[0]}))
    return results


class _Asking(ExitStack):
    """A server with its history, and somebody logged in there."""

    http: httpx.Client


def _serving(place: Path, url: str, count: int) -> _Asking:
    asking = _Asking()
    place_ = asking.enter_context(
        installation(
            place,
            f"http://127.0.0.1:{free_port()}",
            database_url=url,
            TWILIO_ACCOUNT_SID=ACCOUNT_SID,
            TWILIO_AUTH_TOKEN=AUTH_TOKEN,
            FREE_CREDIT_MILLI_CENTS="0",
            RATE_LIMIT_PER_MINUTE="0",
            LOG_LEVEL="ERROR",
        )
    )
    key = _fill(place_, count)
    place_.start()
    asking.http = asking.enter_context(httpx.Client(base_url=place_.url, timeout=60))
    page = asking.http.get("/login").text
    token = page.partition('name="csrf_token" value="')[2].partition('"')[0]
    form = {"csrf_token": token, "email": EMAIL, "password": PASSWORD}
    assert asking.http.post("/login", data=form).status_code == 303
    asking.http.headers["Authorization"] = f"Bearer {key}"
    return asking


def _medians(servers: Sequence[_Asking], path: str, rounds: int) -> list[float]:
    """Seconds, of each server."""
    taken: list[list[float]] = [[] for _ in servers]
    for number in range(rounds + WARM_UP):
        for server, seconds in zip(servers, taken, strict=True):
            started = time.perf_counter()
            response = server.http.get(path)
            seconds.append(time.perf_counter() - started)
            assert response.status_code == 200, response.text[:500]
            if number < WARM_UP:
                seconds.clear()
    return [statistics.median(each) for each in taken]


# -- a history, as the door would have written it ---------------------------------------------------------------------


def _fill(place: Installation, count: int) -> str:
    """Gives the organisation's API key."""
    arguments = ("org", "create", "Bench", "--email", EMAIL, "--password", PASSWORD)
    made: dict[str, str] = loads(place.run(*arguments).stdout)
    started = time.monotonic()
    write = _copy_to_postgres if "postgresql" in place.database_url else _insert_into_sqlite
    history = History(made["org_id"], count)
    write(place.database_url, history.rows(), history.ends())
    print(f"  {count:,} calls written in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return made["api_key"]


Rows = tuple[Table, Sequence[str], list[tuple[Any, ...]]]


class History:
    """Calls that followed one another at an even pace; the pure functions of the ledger post what they moved."""

    def __init__(self, org_id: str, count: int) -> None:
        self.org_id, self.count = org_id, count
        self.until = now_ms() - 60_000
        self.wallet = Wallet(0, 0, 0)
        self.counted: dict[tuple[Table, int], Counter[str]] = defaultdict(Counter)

    def rows(self) -> Iterator[Rows]:
        """Calls and transfers, a batch at a time."""
        credit = self._post(Posting("credit", f"{self.org_id}:bench", self.org_id, "adjustment", CREDIT), Present(), 0)
        yield transfers, Transfer._fields, [tuple(credit)]
        for first in range(0, self.count, ROWS_AT_ONCE):
            made = [self._call(number) for number in range(first, min(first + ROWS_AT_ONCE, self.count))]
            yield calls, tuple(made[0][0]), [tuple(call.values()) for call, _ in made]
            yield transfers, Transfer._fields, [tuple(each) for _, moved in made for each in moved]
        live, hold = self._live_call()
        yield calls, tuple(live), [tuple(live.values())]
        yield transfers, Transfer._fields, [tuple(hold)]

    def ends(self) -> Iterator[Rows]:
        """Once all rows are written: the rollup and the wallet."""
        names = ("calls", "billed_calls", "connected_seconds", "unbilled_seconds", "charged_milli_cents")
        for table, start in ((usage, "quarter_at"), (usage_days, "day_at")):
            yield (
                table,
                ("id", "org_id", start, *names),
                [
                    (f"{self.org_id}:{at}", self.org_id, at, *(counted[name] for name in names))
                    for (of, at), counted in self.counted.items()
                    if of is table
                ],
            )
        yield wallets, ("balance", "held", "sequence", "id"), [(*self.wallet, self.org_id)]

    def _call(self, number: int) -> tuple[dict[str, Any], list[Transfer]]:
        began = self.until - YEAR_MS + YEAR_MS * number // self.count
        call_id = stable_id(began, 0, f"call {number}")
        answered = number % 3 != 0 and number < self.count - self.count // FREE_OF_LATE
        talked = CONNECTED_SECONDS if answered else 0
        charge = charge_milli_cents(talked, RATE)
        ended = began + RING_MS + (DETECTION_MS + talked * 1000 if answered else 10_000)
        hold = self._post(self._hold(call_id), Present(), began)
        end_id = stable_id(ended, 1, call_id)
        posting = Posting(
            end_id, f"{call_id}:end", self.org_id, SETTLE if charge else RELEASE, charge, call_id, call_id
        )
        end = self._post(posting, Present(hold=hold), ended)
        for table, length in ((usage, QUARTER_MS), (usage_days, DAY_MS)):
            counted = self.counted[table, ended - ended % length]
            counted.update(calls=1, billed_calls=int(answered), connected_seconds=talked, charged_milli_cents=charge)
            counted.update(unbilled_seconds=(ended - began) // 1000 - talked)
        return self._call_row(number, call_id, began, ended, talked, charge), [hold, end]

    def _live_call(self) -> tuple[dict[str, Any], Transfer]:
        """One that goes on, so that there is something held."""
        call_id, ended = stable_id(self.until, 4_000, "live"), ("ended_at", "final_stored_at", "final_status")
        hold = self._post(self._hold(call_id), Present(), self.until)
        row = self._call_row(1, call_id, self.until, self.until, CONNECTED_SECONDS, 0)
        going = {"status": "in_progress", "reservation_status": "reserved", "agent_id": None}
        unknown = ("carrier_duration_seconds", "duration_seconds", "billed_duration_seconds")
        billed = ("billing_amount_milli_cents", "billing_reason")
        return {**row, **going, **dict.fromkeys((*ended, *unknown, *billed))}, hold

    def _hold(self, call_id: str) -> Posting:
        return Posting(call_id, f"{call_id}:hold", self.org_id, HOLD, HOLD_MILLI_CENTS, call_id=call_id)

    def _call_row(self, number: int, call_id: str, began: int, ended: int, talked: int, charge: int) -> dict[str, Any]:
        answered = talked > 0
        status = "completed" if answered else "busy" if number % 2 else "no_answer"
        return {
            "id": call_id,
            "org_id": self.org_id,
            "direction": "inbound" if number % 7 == 1 else "outbound",
            "to_number": f"+1415555{number % 100:04d}",
            "from_number": "+14155550100",
            "status": status,
            "dial_state": "accepted",
            "rate_milli_cents_per_minute": RATE,
            "max_duration_seconds": LONGEST_SECONDS,
            "hold_milli_cents": HOLD_MILLI_CENTS,
            "created_at": began,
            "updated_at": ended,
            "amd_asked": True,
            "hangs_up_on_machine": True,
            "agent_id": AGENT if answered and number % 2 else None,
            "twilio_call_sid": f"CA{call_id.replace('-', '')}",
            "reservation_status": "settled" if answered else "released",
            "dial_began_at": began,
            "started_at": began,
            "answered_at": began + RING_MS if answered else None,
            "connected_at": began + RING_MS + DETECTION_MS if answered else None,
            "ended_at": ended,
            "heard_at": ended,
            "final_stored_at": ended,
            "hang_up_attempts": 0,
            "final_status": status,
            "carrier_duration_seconds": talked + DETECTION_MS // 1000 if answered else 0,
            "verdict": "human" if answered else None,
            "detection_ms": DETECTION_MS if answered else None,
            "verdict_overdue": False,
            "platform_failed": False,
            "duration_seconds": talked + DETECTION_MS // 1000 if answered else 0,
            "billed_duration_seconds": talked,
            "billing_amount_milli_cents": charge,
            "billing_reason": "billed" if answered else f"free_{status}",
            "notifies": False,
            "awaits_result": False,
            "prompt": "Ask how their day was, and whether the appointment on Thursday still suits them.",
            "metadata": '{"order": "4711"}',
        }

    def _post(self, posting: Posting, present: Present, at: int) -> Transfer:
        made = post(self.wallet, posting, present, at)
        assert not isinstance(made, Refusal)
        self.wallet = Wallet(made.balance_after, made.held_after, made.sequence)
        return made


def _insert_into_sqlite(url: str, grown: Iterable[Rows], ends: Iterable[Rows]) -> None:
    connection = sqlite3.connect(make_url(url).database or "", isolation_level=None)
    connection.execute("pragma synchronous=off")
    for table, names, rows in chain(grown, ends):
        if table is wallets:
            statement = "update wallets set balance = ?, held = ?, sequence = ? where id = ?"
        else:
            statement = f"insert into {table.name} ({', '.join(names)}) values ({', '.join('?' * len(names))})"
        connection.execute("begin immediate")
        connection.executemany(statement, rows)
        connection.execute("commit")
    connection.execute("pragma wal_checkpoint(truncate)")
    connection.close()
    os.sync()  # what is still being written to the disk would be in the way of this database alone


def _copy_to_postgres(url: str, grown: Iterable[Rows], ends: Iterable[Rows]) -> None:
    async def copy() -> None:
        address = make_url(url)
        connection = await asyncpg.connect(host=address.query["host"], user=address.username, database=address.database)
        for table, names, rows in chain(grown, ends):
            if table is wallets:
                await connection.execute(
                    "update wallets set balance = $1, held = $2, sequence = $3 where id = $4", *rows[0]
                )
            else:
                await connection.copy_records_to_table(table.name, records=rows, columns=names)
        await connection.execute("vacuum analyze")  # as the server does by itself in time
        await connection.close()

    asyncio.run(copy())
