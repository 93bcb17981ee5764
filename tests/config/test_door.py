"""The one door, on SQLite and Postgres: whatever goes wrong, what was answered is committed, once, and nothing else."""

import asyncio
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

import config.database
import config.door
from billing.ledger import Post
from billing.posting import Posting, Transfer
from billing.tables import wallets
from config.clock import new_id, now_ms
from config.database import Database
from config.door import Busy, Door, Down
from config.rows import Read, Rows, Stale
from config.writer import Transaction
from tests.billing.books import Books, assert_sound, new_wallet
from tests.doors import several_doors
from tests.postgres_proxy import proxy_to

T = TypeVar("T")


class HeldDatabase(Database):
    """A database that begins to write only when told to, so that a test decides what waits together."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.may_write = asyncio.Event()

    async def write(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        await self.may_write.wait()
        return await super().write(work)


@dataclass
class Bench:
    """A door whose database is held back, one wallet, and what the door told."""

    database: HeldDatabase
    door: Door
    org_id: str
    now: int
    batches: list[int] = field(default_factory=list)
    committed: list[tuple[Any, Any]] = field(default_factory=list)
    deaths: list[BaseException] = field(default_factory=list)

    def credit(self, amount: int = 1, **fields: Any) -> Post:
        return Post(Posting(**{"id": new_id(), "source_key": new_id(), "org_id": self.org_id, "kind": "topup",
                               "amount": amount, **fields}))  # fmt: skip

    async def submitted(self, command: Any, **arguments: Any) -> "asyncio.Task[Any]":
        """The command, as far as it gets while the database is held back."""
        task = asyncio.create_task(self.door.submit(command, **arguments))
        for _ in range(3):
            await asyncio.sleep(0)
        return task

    def go(self) -> None:
        self.database.may_write.set()

    async def balance(self) -> int:
        return (await Books(self.door, self.database, self.org_id).wallet()).balance


@asynccontextmanager
async def bench_on(url: str) -> AsyncIterator[Bench]:
    database = HeldDatabase(url)
    database.may_write.set()
    org_id = await new_wallet(database)
    database.may_write.clear()
    bench = Bench(database, Door(database, wallets), org_id, now_ms())
    bench.door = Door(
        database,
        wallets,
        clock=lambda: bench.now,
        on_death=bench.deaths.append,
        committed=[lambda command, result: bench.committed.append((command, result))],
        batch_sizes=bench.batches.append,
    )
    bench.door.open()
    yield bench
    bench.go()
    await bench.door.close()
    books = Books(bench.door, database, org_id)
    assert_sound(await books.wallet(), await books.transfers())
    await database.close()


@pytest.fixture
async def bench(database_url: str) -> AsyncIterator[Bench]:
    async with bench_on(database_url) as bench:
        yield bench
    assert not bench.deaths


@pytest.fixture
async def postgres_bench(postgres_url: str) -> AsyncIterator[Bench]:
    async with bench_on(postgres_url) as bench:
        yield bench


@dataclass
class Faulty:
    """A command whose own code is broken."""

    error: BaseException

    def locate(self) -> Sequence[Read]:
        return ()

    def organisations(self, located: Rows) -> Iterable[str]:
        return ()

    def reads(self, located: Rows) -> Sequence[Read]:
        return ()

    def fold(self, rows: Rows, now: int) -> Any:
        raise self.error


@dataclass
class Overtaken(Faulty):
    """Each time it looks, somebody has been quicker. Gives how often it looked."""

    error: BaseException = field(default_factory=lambda: Stale("overtaken"))
    times: int = 0
    looked: int = 0

    def fold(self, rows: Rows, now: int) -> int:
        self.looked += 1
        if self.looked <= self.times:
            raise self.error
        return self.looked


# -- batches --------------------------------------------------------------------------------------------------------


async def test_all_that_waits_shares_one_commit(bench: Bench) -> None:
    first = await bench.submitted(bench.credit())
    rest = [await bench.submitted(bench.credit()) for _ in range(20)]
    assert bench.door.depth == 20
    bench.go()
    transfers = await asyncio.gather(first, *rest)
    assert bench.batches == [1, 20]
    assert [transfer.balance_after for transfer in transfers] == list(range(1, 22))


async def test_a_batch_is_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config.door, "BATCH_LIMIT", 8)
    waiting = [await bench.submitted(bench.credit()) for _ in range(20)]
    bench.go()
    await asyncio.gather(*waiting)
    assert bench.batches == [1, 8, 8, 3]


async def test_a_lone_request_waits_for_nobody(bench: Bench) -> None:
    bench.go()
    await bench.door.submit(bench.credit())
    took = []
    for _ in range(10):
        started = time.perf_counter()
        await bench.door.submit(bench.credit())
        took.append(time.perf_counter() - started)
    assert min(took) < 0.05


async def test_an_answer_comes_after_the_commit(bench: Bench) -> None:
    """Whoever is told sees it there, through a connection of its own."""
    bench.go()
    for expected in range(1, 6):
        await bench.door.submit(bench.credit())
        assert await bench.balance() == expected


# -- clients that leave ---------------------------------------------------------------------------------------------


async def test_a_create_whose_client_left_before_its_batch_is_not_run(bench: Bench) -> None:
    ahead = await bench.submitted(bench.credit())
    gone = await bench.submitted(bench.credit(100), droppable=True)
    gone.cancel()
    bench.go()
    await ahead
    await bench.door.submit(bench.credit())
    assert await bench.balance() == 2


async def test_a_create_whose_client_left_after_its_batch_began_is_committed_and_followed_up(bench: Bench) -> None:
    command = bench.credit(100)
    gone = await bench.submitted(command, droppable=True)
    gone.cancel()
    bench.go()
    await bench.door.submit(bench.credit())
    assert await bench.balance() == 101
    assert bench.committed[0][0] is command
    assert isinstance(bench.committed[0][1], Transfer)


async def test_a_fact_whose_messenger_left_is_still_recorded(bench: Bench) -> None:
    ahead = await bench.submitted(bench.credit())
    gone = await bench.submitted(bench.credit(100))
    gone.cancel()
    bench.go()
    await ahead
    await bench.door.submit(bench.credit())
    assert await bench.balance() == 102


async def test_clients_that_leave_do_not_harm_those_who_stay(bench: Bench) -> None:
    tasks = [await bench.submitted(bench.credit()) for _ in range(30)]
    for leaver in tasks[::3]:
        leaver.cancel()
    bench.go()
    stayed = [task for number, task in enumerate(tasks) if number % 3]
    assert all(isinstance(transfer, Transfer) for transfer in await asyncio.gather(*stayed))
    assert await bench.balance() == 30


# -- commands that are wrong ----------------------------------------------------------------------------------------


async def test_a_command_with_a_fault_fails_alone(bench: Bench) -> None:
    fault = ZeroDivisionError("mine")
    tasks = [await bench.submitted(bench.credit()) for _ in range(8)]
    tasks.insert(5, await bench.submitted(Faulty(fault)))
    tasks += [await bench.submitted(bench.credit()) for _ in range(8)]
    bench.go()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert outcomes.pop(5) is fault
    assert all(isinstance(outcome, Transfer) for outcome in outcomes)
    assert await bench.balance() == 16


@pytest.mark.parametrize(
    "poison",
    [
        {"amount": 2**63},
        {"reason": "\ud800"},
        {"source_key": "the connection is closed \udfff"},
        {"kind": "no such kind"},
        {"amount": -1},
    ],
    ids=["number too large", "lone surrogate", "lone surrogate in a key", "unknown kind", "negative"],
)
async def test_a_poisoned_command_fails_alone(bench: Bench, poison: dict[str, Any]) -> None:
    await _fails_alone(bench, poison)


@pytest.mark.parametrize("poison", [{"reason": "\0"}, {"source_key": "a\0"}, {"kind": "k" * 30}], ids=str)
async def test_text_that_postgres_refuses_fails_alone(postgres_bench: Bench, poison: dict[str, Any]) -> None:
    await _fails_alone(postgres_bench, poison)


async def _fails_alone(bench: Bench, poison: dict[str, Any]) -> None:
    tasks = [await bench.submitted(bench.credit()) for _ in range(4)]
    poisoned = await bench.submitted(bench.credit(**poison))
    tasks += [await bench.submitted(bench.credit()) for _ in range(4)]
    bench.go()
    outcomes = await asyncio.gather(*tasks, poisoned, return_exceptions=True)
    failure = outcomes.pop()
    assert isinstance(failure, Exception)
    assert not isinstance(failure, Busy | Down)
    assert all(isinstance(outcome, Transfer) for outcome in outcomes)
    assert await bench.balance() == 8


async def test_a_command_that_found_what_is_no_longer_so_looks_again(bench: Bench) -> None:
    tasks = [await bench.submitted(bench.credit()) for _ in range(3)]
    tasks.append(await bench.submitted(Overtaken(times=2)))
    bench.go()
    *credited, looked = await asyncio.gather(*tasks)
    assert looked == 3
    assert all(isinstance(outcome, Transfer) for outcome in credited)
    assert await bench.balance() == 3


async def test_a_command_that_breaks_a_constraint_fails_alone(bench: Bench) -> None:
    bench.go()
    used = new_id()
    await bench.door.submit(bench.credit(id=used))
    bench.database.may_write.clear()
    tasks = [await bench.submitted(bench.credit()) for _ in range(4)]
    clash = await bench.submitted(bench.credit(id=used))
    bench.go()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(outcome, Transfer) for outcome in outcomes)
    with pytest.raises((sqlite3.IntegrityError, asyncpg.PostgresError)):
        await clash
    assert await bench.balance() == 5


# -- a database that is in trouble ----------------------------------------------------------------------------------


class ForgetfulDatabase(Database):
    """Its commits happen, and then the connection is lost before it can say so."""

    forgets = 1

    async def write(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        result = await super().write(work)
        if self.forgets:
            self.forgets -= 1
            raise ConnectionError("lost")
        return result


async def test_a_commit_whose_outcome_is_unclear_is_repeated_and_counts_once(database_url: str) -> None:
    database = ForgetfulDatabase(database_url)
    database.forgets = 0
    org_id = await new_wallet(database)
    committed: list[Any] = []
    door = Door(database, wallets, committed=[lambda command, result: committed.append(result)])
    door.open()
    books = Books(door, database, org_id)
    database.forgets = 1
    credit = await books.post("topup", 100)
    database.forgets = 2
    hold = await books.hold(60)
    assert database.forgets == 0
    assert committed == [credit, hold] == await books.transfers()
    await door.close()
    await database.close()


async def test_a_commit_whose_answer_is_lost_on_the_wire_counts_once(postgres_url: str, tmp_path: Path) -> None:
    async with proxy_to(postgres_url, tmp_path) as proxy, bench_on(proxy.url) as bench:
        bench.go()
        await bench.door.submit(bench.credit())
        proxy.loses_next_commit_answer = True
        outcomes = await asyncio.gather(*[bench.door.submit(bench.credit()) for _ in range(10)])
        assert not proxy.loses_next_commit_answer
        assert all(isinstance(outcome, Transfer) for outcome in outcomes)
        assert await bench.balance() == 11


async def test_a_database_that_is_away_is_told_at_once_and_found_again(postgres_url: str, tmp_path: Path) -> None:
    async with proxy_to(postgres_url, tmp_path) as proxy, bench_on(proxy.url) as bench:
        bench.go()
        await bench.door.submit(bench.credit())
        await proxy.cut()
        outcomes = await asyncio.gather(*[bench.door.submit(bench.credit()) for _ in range(10)], return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [Down] * 10
        await proxy.mend()
        await bench.door.submit(bench.credit())
        assert await bench.balance() == 2


async def test_a_file_that_another_program_keeps_locked_is_told_and_used_again(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config.database, "BUSY_TIMEOUT_MS", 20)
    async with bench_on(sqlite_url) as bench:
        bench.go()
        other = sqlite3.connect(make_url(sqlite_url).database or "", isolation_level=None)
        other.execute("begin immediate")
        outcomes = await asyncio.gather(*[bench.door.submit(bench.credit()) for _ in range(10)], return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [Down] * 10
        other.execute("rollback")
        other.close()
        await bench.door.submit(bench.credit())
        assert await bench.balance() == 1


async def test_a_short_lock_of_another_program_is_waited_for(sqlite_url: str) -> None:
    async with bench_on(sqlite_url) as bench:
        bench.go()
        other = sqlite3.connect(make_url(sqlite_url).database or "", isolation_level=None)
        other.execute("begin immediate")
        task = await bench.submitted(bench.credit())
        await asyncio.sleep(0.05)
        assert not task.done()
        other.execute("commit")
        other.close()
        await task


@asynccontextmanager
async def session(url: str) -> AsyncIterator[Any]:
    """A client of its own on Postgres, in a transaction."""
    database = Database(url)
    async with database.read() as connection:
        yield lambda sql, **parameters: connection.execute(text(sql), parameters)
    await database.close()


LOCK = "select id from wallets where id = :id for update"
WAITING = """
    select pid from pg_stat_activity
    where datname = current_database() and wait_event_type = 'Lock' and query like '%FOR UPDATE%'
"""


async def _waiting_pid(url: str) -> int:
    """The server process of the door, once it waits for a row that is locked."""
    async with asyncio.timeout(10):
        while True:
            async with session(url) as execute:
                pid = (await execute(WAITING)).scalar()
            if pid is not None:
                return int(pid)
            await asyncio.sleep(0.01)


async def test_a_connection_lost_midway_is_made_again_and_everything_counts_once(
    postgres_bench: Bench, postgres_url: str
) -> None:
    bench = postgres_bench
    tasks = [await bench.submitted(bench.credit()) for _ in range(5)]
    async with session(postgres_url) as execute:
        await execute(LOCK, id=bench.org_id)
        bench.go()
        pid = await _waiting_pid(postgres_url)
        await execute("select pg_terminate_backend(:pid)", pid=pid)
    outcomes = await asyncio.gather(*tasks)
    assert all(isinstance(outcome, Transfer) for outcome in outcomes)
    assert await bench.balance() == 5


async def test_connections_that_died_while_idle_are_made_again(postgres_bench: Bench, postgres_url: str) -> None:
    bench = postgres_bench
    bench.go()
    await bench.door.submit(bench.credit())
    await bench.balance()
    async with session(postgres_url) as execute:
        await execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )
    await bench.door.submit(bench.credit())
    assert await bench.balance() == 2


async def test_a_deadlock_is_tried_again(postgres_bench: Bench, postgres_url: str) -> None:
    bench = postgres_bench
    bench.go()
    other_org = await new_wallet(bench.database)
    first, second = sorted([bench.org_id, other_org])
    async with session(postgres_url) as execute:
        await execute("set deadlock_timeout = '60s'")  # so that the door's is the transaction that gives up
        await execute(LOCK, id=second)
        bench.database.may_write.clear()
        tasks = [await bench.submitted(bench.credit(org_id=org_id)) for org_id in (first, first, second)]
        bench.go()
        await _waiting_pid(postgres_url)  # it holds the first wallet and waits for the second
        await execute(LOCK, id=first)  # only the deadlock's end lets this through
    assert all(isinstance(outcome, Transfer) for outcome in await asyncio.gather(*tasks))
    assert await bench.balance() == (2 if bench.org_id == first else 1)


async def test_slow_readers_do_not_keep_the_writer_waiting(postgres_bench: Bench) -> None:
    bench = postgres_bench
    bench.go()
    readers = [bench.database.read() for _ in range(10)]
    for reader in readers:
        await reader.__aenter__()
    async with asyncio.timeout(2):
        await bench.door.submit(bench.credit())
    for reader in readers:
        await reader.__aexit__(None, None, None)


# -- too much, too late, the end ------------------------------------------------------------------------------------


async def test_more_than_the_queue_takes_is_refused_and_never_run(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config.door, "QUEUE_LIMIT", 3)
    door = Door(bench.database, wallets)
    door.open()
    tasks = []
    for _ in range(4):
        tasks.append(asyncio.create_task(door.submit(bench.credit())))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    with pytest.raises(Busy):
        await door.submit(bench.credit(100))
    bench.go()
    await asyncio.gather(*tasks)
    await door.submit(bench.credit())
    await door.close()
    assert await bench.balance() == 5


async def test_what_waited_over_five_seconds_is_refused_and_never_run(bench: Bench) -> None:
    ahead = await bench.submitted(bench.credit())
    late = await bench.submitted(bench.credit(100))
    bench.now += 1
    in_time = await bench.submitted(bench.credit())
    bench.now += 5_000
    bench.go()
    await ahead
    with pytest.raises(Busy):
        await late
    assert isinstance(await in_time, Transfer)
    assert await bench.balance() == 2


async def test_closing_finishes_what_waits_and_takes_no_more(bench: Bench) -> None:
    tasks = [await bench.submitted(bench.credit()) for _ in range(5)]
    closing = asyncio.create_task(bench.door.close())
    await asyncio.sleep(0)
    with pytest.raises(Busy):
        await bench.door.submit(bench.credit(100))
    bench.go()
    await closing
    assert all(isinstance(outcome, Transfer) for outcome in await asyncio.gather(*tasks))
    assert await bench.balance() == 5


async def test_a_writer_that_dies_is_reported_and_nothing_waits_for_it(database_url: str) -> None:
    async with bench_on(database_url) as bench:
        bench.go()
        fault = ZeroDivisionError("in a listener")

        def faulty(command: Any, result: Any) -> None:
            raise fault

        bench.door.committed.append(faulty)
        unanswered = await bench.submitted(bench.credit())
        async with asyncio.timeout(5):
            while not bench.deaths:
                await asyncio.sleep(0.001)
        assert bench.deaths == [fault]
        with pytest.raises(Busy):
            await bench.door.submit(bench.credit())
        unanswered.cancel()
        async with asyncio.timeout(5):
            await bench.door.close()


DYING = """
import asyncio, sys
from billing.tables import wallets
from config.database import Database, Unavailable
from config.door import Door

async def main():
    door = Door(Database(sys.argv[1]), wallets, batch_sizes=lambda size: 1 / 0)
    door.open()
    await door.submit(None)

asyncio.run(main())
"""


def test_a_dead_writer_ends_the_process(sqlite_url: str) -> None:
    ended = subprocess.run([sys.executable, "-c", DYING, sqlite_url], capture_output=True, timeout=30, check=False)
    assert ended.returncode == 70
    assert b"door_died" in ended.stdout + ended.stderr


async def test_doors_of_several_processes_do_not_interleave(bench: Bench, database_url: str) -> None:
    bench.go()
    async with several_doors(database_url, 3) as doors:
        await asyncio.gather(*[doors[i % 3].submit(bench.credit()) for i in range(60)])
    assert await bench.balance() == 60
