"""Reserve → settle pairs per second through the door, against the bare driver writing the same rows.

Two references: the driver with the same rows grouped in commits of the same size (what is lost to reading, checking,
folding and SQLAlchemy), and the driver with one commit for each row (what grouping wins). All commits are durable.
"""

import asyncio
import sqlite3
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import asyncpg
import uvloop
from sqlalchemy.engine import make_url

from billing.ledger import Post
from billing.posting import HOLD, SETTLE, Posting, Transfer
from billing.tables import transfers, wallets
from config.clock import new_id, now_ms
from config.database import Database
from config.door import Door
from tests.benchmarks.report import Result
from tests.billing.books import new_wallet
from tests.databases import Postgres, SqliteFiles

IN_FLIGHT = 256
WALLETS = (50, 1)
PAIRS = 15_000
SINGLE_PAIRS = 1_500
ROUNDS = 3
AMOUNT = 300_000
CHARGE = 5_250
CREDIT = 10**12

COLUMNS = [column.name for column in transfers.c]
Row = tuple[Any, ...]


def on_sqlite(quick: bool) -> list[Result]:
    with tempfile.TemporaryDirectory() as directory:
        files = SqliteFiles(Path(directory))
        numbers = iter(range(10**6))

        def fresh() -> str:
            place = Path(directory) / str(next(numbers))
            place.mkdir()
            with files.database(place) as url:
                return url

        return _compare("SQLite", fresh, bare_sqlite, quick)


def on_postgres(quick: bool) -> list[Result]:
    server = Postgres(durable=True)
    try:
        return _compare("Postgres", lambda: server.database().__enter__(), bare_postgres, quick)
    finally:
        server.stop()


Bare = Callable[[str, list[str], int, int], Coroutine[Any, Any, float]]


def _compare(name: str, fresh: Callable[[], str], bare: Bare, quick: bool) -> list[Result]:
    """Best of several rounds, ours and the references in turn, each on a new database."""
    pairs, single, rounds = (PAIRS // 10, SINGLE_PAIRS // 10, 1) if quick else (PAIRS, SINGLE_PAIRS, ROUNDS)
    results = []
    for count in WALLETS:
        ours, grouped, one_each = [], [], []
        for _ in range(rounds):
            speed, batch = _run(through_the_door, fresh(), count, pairs)
            ours.append(speed)
            grouped.append(_run(_bare, fresh(), count, bare, pairs, batch))
            one_each.append(_run(_bare, fresh(), count, bare, single, 1))
        what = f"{name}, {'one hot wallet' if count == 1 else f'{count} wallets'}: reserve and settle"
        references = {"bare driver, grouped alike": max(grouped), "bare driver, one commit each": max(one_each)}
        results.append(Result(what, max(ours), references))
    return results


def _run(measure: Callable[..., Coroutine[Any, Any, Any]], *arguments: Any) -> Any:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(measure(*arguments))


async def _organisations(url: str, count: int) -> list[str]:
    """Wallets with more credit than any measurement uses."""
    database = Database(url)
    door = Door(database, wallets)
    door.open()
    ids = [await new_wallet(database) for _ in range(count)]
    await asyncio.gather(*[door.submit(Post(Posting(new_id(), new_id(), org, "topup", CREDIT))) for org in ids])
    await door.close()
    await database.close()
    return ids


async def through_the_door(url: str, wallet_count: int, pairs: int) -> tuple[float, int]:
    """Pairs per second with `IN_FLIGHT` requests waiting, and the mean size of a batch."""
    organisations = await _organisations(url, wallet_count)
    database, sizes = Database(url), list[int]()
    door = Door(database, wallets, batch_sizes=sizes.append)
    door.open()
    numbers = iter(range(pairs))

    async def client() -> None:
        for number in numbers:
            org_id, call_id = organisations[number % wallet_count], new_id()
            hold = Posting(call_id, f"{call_id}:hold", org_id, HOLD, AMOUNT, call_id=call_id)
            held = await door.submit(Post(hold))
            end = Posting(new_id(), f"{call_id}:end", org_id, SETTLE, CHARGE, call_id, call_id)
            ended = await door.submit(Post(end))
            assert isinstance(held, Transfer) and isinstance(ended, Transfer)  # noqa: PT018

    started = time.perf_counter()
    await asyncio.gather(*[client() for _ in range(IN_FLIGHT)])
    seconds = time.perf_counter() - started
    await door.close()
    await database.close()
    return pairs / seconds, max(1, round(sum(sizes) / len(sizes)))


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


async def _bare(url: str, wallet_count: int, bare: Bare, pairs: int, batch: int) -> float:
    organisations = await _organisations(url, wallet_count)
    return await bare(url, organisations, pairs, batch)


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
    await connection.close()
    return pairs / seconds
