"""Organisations with keys, credit and numbers, and a history of settled calls, as the door would have written them.

Invariant: every row follows from the ledger's own pure functions; a history is made once in a run and written to both
databases.
"""

import asyncio
import atexit
import os
import shutil
import sqlite3
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import asyncpg
from sqlalchemy import Table
from sqlalchemy.engine import make_url

from accounts.commands import CreateOrganisation
from accounts.keys import new_key
from accounts.passwords import hash_password
from billing.ledger import Post
from billing.posting import HOLD, RELEASE, SETTLE, Posting, Present, Refusal, Transfer, post
from billing.rating import charge_milli_cents
from billing.tables import transfers, usage, usage_days, wallets
from billing.usage import DAY_MS, QUARTER_MS
from billing.wallet import Wallet
from config.clock import new_id, now_ms, stable_id
from config.database import Database
from config.door import Door
from tests.databases import Postgres, SqliteFiles
from voice.numbers.commands import ImportNumber
from voice.tables import calls

YEAR_MS = 365 * 86_400_000
RATE, LONGEST_SECONDS, HOLD_MILLI_CENTS, CREDIT = 5_000, 3_600, 300_000, 10**12
RING_MS, DETECTION_MS, CONNECTED_SECONDS = 5_000, 3_000, 17
FREE_OF_LATE = 50
"""One fiftieth of the calls, the newest, are free: nobody answered."""
ROWS_AT_ONCE = 20_000
EMAIL, PASSWORD, AGENT = "bench@example.com", "a long sentence", "0198f3c2-0000-7000-8000-000000000000"


# -- databases and organisations --------------------------------------------------------------------------------------


@cache
def directory() -> Path:
    """Of this run, removed with its end."""
    made = Path(tempfile.mkdtemp(prefix="callingbox-bench-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


@cache
def _sqlite_files() -> SqliteFiles:
    return SqliteFiles(directory())


@cache
def postgres() -> Postgres:
    """The run's own server; commits are durable."""
    made = Postgres(durable=True)
    atexit.register(made.stop)
    return made


def fresh_sqlite() -> str:
    """The address of a new, empty database."""
    place = Path(tempfile.mkdtemp(dir=directory()))
    with _sqlite_files().database(place) as url:
        return url


def fresh_postgres() -> str:
    return postgres().database().__enter__()


@dataclass(frozen=True, slots=True)
class Organisation:
    id: str
    api_key: str


def organisations(url: str, count: int) -> list[Organisation]:
    """So many new ones, each with an API key, a number and credit."""
    made = [Organisation(new_id(), new_key()) for _ in range(count)]
    _create(url, made, CREDIT)
    return made


def _create(url: str, made: Sequence[Organisation], credit: int) -> None:
    async def create() -> None:
        database = Database(url)
        door = Door(database, wallets)
        door.open()
        await asyncio.gather(*(_make(door, number, org, credit) for number, org in enumerate(made)))
        await door.close()
        await database.close()

    asyncio.run(create())


async def _make(door: Door, number: int, org: Organisation, credit: int) -> None:
    """The first one's user can log in."""
    email, password = (f"{number}@example.com", "none") if number else (EMAIL, hash_password(PASSWORD))
    await door.submit(
        CreateOrganisation(org.id, new_id(), new_id(), new_id(), "Bench", email, password, org.api_key, 0)
    )
    if credit:
        await door.submit(Post(Posting(new_id(), f"{org.id}:bench", org.id, "adjustment", credit)))
    refusal = await door.submit(ImportNumber(new_id(), org.id, f"+1415555{100 + number:04d}", "US"))
    assert refusal is None, refusal


@dataclass(frozen=True, slots=True)
class Filled:
    """The same organisation with the same history, on both databases."""

    sqlite_url: str
    postgres_url: str
    org: Organisation


@cache
def filled(count: int) -> Filled:
    """Databases with one organisation and so many settled calls."""
    made = Filled(fresh_sqlite(), fresh_postgres(), Organisation(new_id(), new_key()))
    for url in (made.sqlite_url, made.postgres_url):
        _create(url, [made.org], credit=0)
    started, history = time.monotonic(), History(made.org.id, count)
    asyncio.run(_write(made, chain(history.rows(), history.ends())))
    print(f"  {count:,} calls written in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return made


# -- a history --------------------------------------------------------------------------------------------------------


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


async def _write(filled: Filled, written: Iterable[Rows]) -> None:
    address = make_url(filled.postgres_url)
    sqlite = sqlite3.connect(make_url(filled.sqlite_url).database or "", isolation_level=None)
    sqlite.execute("pragma synchronous=off")
    host, user, database = address.query["host"], address.username, address.database
    connection = await asyncpg.connect(host=host, user=user, database=database)
    for table, names, rows in written:
        sqlite.execute("begin immediate")
        if table is wallets:
            sqlite.execute("update wallets set balance = ?, held = ?, sequence = ? where id = ?", rows[0])
            await connection.execute(
                "update wallets set balance = $1, held = $2, sequence = $3 where id = $4", *rows[0]
            )
        else:
            places = ", ".join("?" * len(names))
            sqlite.executemany(f"insert into {table.name} ({', '.join(names)}) values ({places})", rows)
            await connection.copy_records_to_table(table.name, records=rows, columns=names)
        sqlite.execute("commit")
    await connection.execute("vacuum analyze")  # as the server does by itself in time
    await connection.close()
    sqlite.execute("pragma wal_checkpoint(truncate)")
    sqlite.close()
    os.sync()  # what is still being written to the disk would be in the way of whatever comes next
