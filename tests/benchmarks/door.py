"""Reserve → settle pairs per second through the door, against the bare driver writing the same rows.

Two references: the driver with the same rows grouped in commits of the same size (what is lost to reading, checking,
folding and answering), and the driver with one commit for each row (what grouping wins). All commits are durable, and
afterwards every row is counted.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from statistics import median
from typing import Any

import asyncpg
import uvloop
from sqlalchemy import func, select
from sqlalchemy.engine import make_url

from billing.ledger import Post
from billing.posting import HOLD, SETTLE, Posting, Transfer
from billing.tables import transfers, wallets
from config.clock import new_id, now_ms
from config.database import Database
from config.door import Door
from config.machinery import leave_alone_what_is_loaded
from tests.benchmarks.history import fresh_postgres, fresh_sqlite, organisations
from tests.benchmarks.report import Aim, Result

IN_FLIGHT = 256
SPREAD = 50
PAIRS, QUICK_PAIRS = 15_000, 1_500
SINGLE_PAIRS, QUICK_SINGLE_PAIRS = 1_500, 150
WARM_UP_PAIRS = 1_000
ROUNDS = 3
AMOUNT = 300_000
CHARGE = 5_250
CREDIT = 10**12
GROUPED, ONE_EACH = "bare driver, grouped alike", "bare driver, one commit each"
AIMS = {"SQLite": Aim(0.6), "Postgres": Aim(0.5)}

COLUMNS = [column.name for column in transfers.c]
Row = tuple[Any, ...]


def on_sqlite(quick: bool) -> list[Result]:
    return _compare("SQLite", fresh_sqlite, bare_sqlite, quick)


def on_postgres(quick: bool) -> list[Result]:
    return _compare("Postgres", fresh_postgres, bare_postgres, quick)


Bare = Callable[[str, list[str], int, int], Coroutine[Any, Any, float]]


def _compare(name: str, fresh: Callable[[], str], bare: Bare, quick: bool) -> list[Result]:
    """Medians of several rounds, ours and the references in turn, each on a new database."""
    spread, grouped, one_each = _measure(fresh, SPREAD, bare, quick)
    references = {GROUPED: grouped, ONE_EACH: one_each}
    first = Result(f"{name}, {SPREAD} wallets: reserve and settle", spread, references, aims={GROUPED: AIMS[name]})
    hot, grouped, one_each = _measure(fresh, 1, bare, quick)
    references = {GROUPED: grouped, ONE_EACH: one_each, f"spread over {SPREAD} wallets": spread}
    aims = {GROUPED: AIMS[name], f"spread over {SPREAD} wallets": Aim(1)}
    return [first, Result(f"{name}, one hot wallet: reserve and settle", hot, references, aims=aims)]


def _measure(fresh: Callable[[], str], count: int, bare: Bare, quick: bool) -> tuple[float, float, float]:
    """Pairs per second of (ours, the driver grouped alike, the driver with one commit each)."""
    pairs, single, rounds = (QUICK_PAIRS, QUICK_SINGLE_PAIRS, 1) if quick else (PAIRS, SINGLE_PAIRS, ROUNDS)
    taken = []
    for _ in range(rounds):
        url, org_ids = with_wallets(fresh(), count)
        ours, batch = run(through_the_door, url, org_ids, pairs)
        grouped = run(bare, *with_wallets(fresh(), count), pairs, batch)
        taken.append((ours, grouped, run(bare, *with_wallets(fresh(), count), single, 1)))
    ours, grouped, one_each = map(median, zip(*taken, strict=True))
    return ours, grouped, one_each


def with_wallets(url: str, count: int) -> tuple[str, list[str]]:
    return url, [org.id for org in organisations(url, count)]


def run(measure: Callable[..., Coroutine[Any, Any, Any]], *arguments: Any) -> Any:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(measure(*arguments))


async def through_the_door(url: str, organisations: Sequence[str], pairs: int) -> tuple[float, int]:
    """Pairs per second with `IN_FLIGHT` requests waiting, and the mean size of a batch; garbage is looked for as the
    server does."""
    leave_alone_what_is_loaded()
    database, sizes = Database(url), list[int]()
    door = Door(database, wallets, batch_sizes=sizes.append)
    door.open()
    await _move(door, organisations, min(WARM_UP_PAIRS, pairs))
    sizes.clear()
    before = await _count_transfers(database)
    started = time.perf_counter()
    await _move(door, organisations, pairs)
    seconds = time.perf_counter() - started
    assert await _count_transfers(database) == before + 2 * pairs
    await door.close()
    await database.close()
    return pairs / seconds, max(1, round(sum(sizes) / len(sizes)))


async def _move(door: Door, organisations: Sequence[str], pairs: int) -> None:
    numbers = iter(range(pairs))

    async def client() -> None:
        for number in numbers:
            org_id, call_id = organisations[number % len(organisations)], new_id()
            hold = Posting(call_id, f"{call_id}:hold", org_id, HOLD, AMOUNT, call_id=call_id)
            held = await door.submit(Post(hold))
            end = Posting(new_id(), f"{call_id}:end", org_id, SETTLE, CHARGE, call_id, call_id)
            ended = await door.submit(Post(end))
            assert isinstance(held, Transfer) and isinstance(ended, Transfer)  # noqa: PT018

    await asyncio.gather(*[client() for _ in range(IN_FLIGHT)])


async def _count_transfers(database: Database) -> int:
    async with database.read() as connection:
        return int((await connection.execute(select(func.count()).select_from(transfers))).scalar_one())


# -- the bare driver ------------------------------------------------------------------------------------------------


@dataclass
class Balances:
    """What the bare loop keeps of a wallet while it makes the same rows."""

    balance: int = CREDIT
    held: int = 0
    sequence: int = 1
    rows: list[Row] = field(default_factory=list)

    def row(self, org_id: str, kind: str, call_id: str, delta: int, held_delta: int) -> Row:
        self.balance += delta
        self.held += held_delta
        self.sequence += 1
        is_hold = kind == HOLD
        amount = held_delta if is_hold else -delta
        return (
            call_id if is_hold else new_id(), org_id, self.sequence, kind, f"wallet:{org_id}", "revenue", amount, delta,
            held_delta, self.balance, self.held, f"{call_id}:{'hold' if is_hold else 'end'}",
            None if is_hold else call_id, call_id, None, now_ms(),
        )  # fmt: skip


def _rows(organisations: Sequence[str], wallet_of: dict[str, Balances], pairs: int) -> Iterator[Row]:
    """In the order in which the door gets them: as many holds as are in flight, then their ends."""
    numbers = iter(range(pairs))
    while group := list(islice(numbers, IN_FLIGHT)):
        calls = [(organisations[number % len(organisations)], new_id()) for number in group]
        for org_id, call_id in calls:
            yield wallet_of[org_id].row(org_id, HOLD, call_id, 0, AMOUNT)
        for org_id, call_id in calls:
            yield wallet_of[org_id].row(org_id, SETTLE, call_id, -CHARGE, -AMOUNT)


def _groups(organisations: list[str], pairs: int, batch: int) -> Iterator[tuple[list[Row], list[Row]]]:
    """(rows of transfers, rows of wallets) of each commit."""
    wallet_of = {org_id: Balances() for org_id in organisations}
    rows = _rows(organisations, wallet_of, pairs)
    while group := list(islice(rows, batch)):
        touched = sorted({row[1] for row in group})
        yield group, [(w.balance, w.held, w.sequence, org) for org in touched for w in (wallet_of[org],)]


async def bare_sqlite(url: str, organisations: list[str], pairs: int, batch: int) -> float:
    connection = sqlite3.connect(make_url(url).database or "", isolation_level=None)
    connection.execute("pragma journal_mode=wal")
    connection.execute("pragma synchronous=full")
    connection.execute("pragma foreign_keys=on")
    insert = f"insert into transfers ({', '.join(COLUMNS)}) values ({', '.join('?' * len(COLUMNS))})"
    update = "update wallets set balance = ?, held = ?, sequence = ? where id = ?"
    started = time.perf_counter()
    for rows, changes in _groups(organisations, pairs, batch):
        connection.execute("begin immediate")
        connection.executemany(insert, rows)
        connection.executemany(update, changes)
        connection.execute("commit")
    seconds = time.perf_counter() - started
    [count] = connection.execute("select count(*) from transfers where call_id is not null").fetchone()
    assert count == 2 * pairs
    connection.close()
    return pairs / seconds


async def bare_postgres(url: str, organisations: list[str], pairs: int, batch: int) -> float:
    address = make_url(url)
    connection = await asyncpg.connect(host=address.query["host"], user=address.username, database=address.database)
    places = ", ".join(f"${number}" for number in range(1, len(COLUMNS) + 1))
    insert = f"insert into transfers ({', '.join(COLUMNS)}) values ({places})"
    update = "update wallets set balance = $1, held = $2, sequence = $3 where id = $4"
    started = time.perf_counter()
    for rows, changes in _groups(organisations, pairs, batch):
        async with connection.transaction():
            await connection.executemany(insert, rows)
            await connection.executemany(update, changes)
    seconds = time.perf_counter() - started
    assert await connection.fetchval("select count(*) from transfers where call_id is not null") == 2 * pairs
    await connection.close()
    return pairs / seconds
