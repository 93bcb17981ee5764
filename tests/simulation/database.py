"""A real SQLite database in memory behind the server's own interface, and the ways in which it fails.

Invariant: a transaction is committed whole or not at all, whatever strikes: an error at any statement, an error at the
commit, the loss of its answer, the death of the process.
"""

import asyncio
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cache, partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from unittest import mock
from uuid import UUID

from sqlalchemy import Connection, Engine, Select, StaticPool, create_engine

from accounts.commands import CreateOrganisation
from billing.ledger import Post
from billing.posting import Posting
from billing.tables import wallets
from config.clock import new_id
from config.database import Database, Unavailable, _configure_sqlite
from config.door import Door
from config.writer import Transaction, Values
from tests.databases import make_schema, sqlite_url
from tests.simulation.time import EPOCH_MS
from voice.numbers.commands import ImportNumber

if TYPE_CHECKING:
    from tests.simulation.process import Process

T = TypeVar("T")
DOLLAR = 100_000
CREDITS = (2 * DOLLAR, 6 * DOLLAR, 20 * DOLLAR, 60 * DOLLAR)
"""Of the organisations at the beginning: the first ones cannot pay for all that they want."""
NUMBERS = tuple(f"+1415555010{index}" for index in range(len(CREDITS)))
MAXIMUM_SECONDS = 600


_reading: "list[Reader]" = []


@cache
def shared_engine() -> Engine:
    """One for all worlds, so that statements are compiled once."""
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    _configure_sqlite(engine)
    return engine


def begin_anew() -> None:
    """An untouched copy of the template, over a new connection."""
    content, _ = template()
    shared_engine().dispose()
    raw_connection().deserialize(content)


def raw_connection() -> sqlite3.Connection:
    with shared_engine().connect() as connection:
        raw = connection.connection.driver_connection
    assert isinstance(raw, sqlite3.Connection)
    return raw


@cache
def template() -> tuple[bytes, tuple[str, ...]]:
    """(a database with organisations, credit and numbers; their ids)"""

    async def fill(url: str) -> tuple[str, ...]:
        database = Database(url)
        door = Door(database, wallets)
        door.open()
        ids = []
        for index, (credit, e164) in enumerate(zip(CREDITS, NUMBERS, strict=True)):
            org_id = new_id()
            names = (org_id, new_id(), new_id(), new_id(), f"Organisation {index}", f"{index}@example.com")
            await door.submit(CreateOrganisation(*names, "none", f"sk_{index}", 0))
            await door.submit(Post(Posting(new_id(), f"{org_id}:test", org_id, "adjustment", credit, reason="test")))
            assert await door.submit(ImportNumber(new_id(), org_id, e164, "US")) is None
            ids.append(org_id)
        await door.close()
        await database.close()
        return tuple(ids)

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "template.db"
        make_schema(sqlite_url(path))
        numbers = count(EPOCH_MS << 80 | 7 << 76 | 2 << 62)
        with asyncio.Runner() as runner, mock.patch("config.clock.uuid7", partial(_next_id, numbers)):
            ids = runner.run(fill(sqlite_url(path)))
        connection = sqlite3.connect(path)
        connection.execute("pragma journal_mode=delete")  # all of it in the one file
        connection.execute("update organisations set max_call_duration_seconds = ?", (MAXIMUM_SECONDS,))
        connection.commit()
        content = connection.serialize()
        connection.close()
    return content, ids


def _next_id(numbers: Iterator[int]) -> UUID:
    return UUID(int=next(numbers))


class SimulatedDatabase(Database):
    """What a process believes to be its database; one for all processes of a world, never two transactions at once."""

    def __init__(self, process: "Process") -> None:
        self.url, self.is_sqlite = "sqlite+aiosqlite:///simulated.db", True
        self._process = process

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Any]:
        self._process.step("read")
        if self._process.trouble.strikes("read_failed"):
            raise Unavailable("the database cannot be reached")
        if _reading:  # within a reading of its own: nobody else comes in between
            yield _reading[-1]
            return
        with shared_engine().connect() as connection:
            _reading.append(Reader(connection))
            try:
                yield _reading[-1]
            finally:
                _reading.clear()

    async def look_up(self, query: Select[Any], **parameters: Any) -> Sequence[Mapping[str, Any]]:
        async with self.read() as reader:
            return [dict(row) for row in (await reader.execute(query, parameters)).mappings()]

    async def write(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        trouble = self._process.trouble
        await asyncio.sleep(trouble.dice.uniform(0.001, 0.02))
        self._process.step("transaction")
        connection = raw_connection()
        connection.execute("BEGIN IMMEDIATE")
        try:
            result = await work(SimulatedTransaction(connection, self._step))
            self._step("commit")
            connection.commit()
        finally:
            connection.rollback()  # nothing is left of what was not committed
        self._process.step("committed")
        if trouble.strikes("commit_answer_lost"):
            raise _away()
        return result

    def _step(self, name: str) -> None:
        self._process.step(name)
        if self._process.trouble.strikes("database_away"):
            raise _away()
        if self._process.trouble.strikes("database_error"):
            raise RuntimeError("broken on purpose")

    async def close(self) -> None:
        pass


class SimulatedTransaction:
    """Of the one database of a world; something may go wrong after each statement."""

    backend = "sqlite"

    def __init__(self, connection: sqlite3.Connection, step: Callable[[str], None]) -> None:
        self._connection, self._step = connection, step

    async def fetch(self, text: str, values: Values) -> Sequence[Values]:
        found = self._connection.execute(text, values).fetchall()
        self._step("statement")
        return found

    async def execute_many(self, text: str, rows: Sequence[Values]) -> None:
        self._connection.executemany(text, rows)
        self._step("statement")


class Reader:
    """A connection whose answers are there at once."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def execute(self, statement: Any, parameters: Any = None) -> Any:
        return self._connection.execute(statement, parameters)

    @asynccontextmanager
    async def stream(self, statement: Any) -> AsyncIterator[Any]:
        yield _Stream(self._connection.execute(statement).mappings().all())


class _Stream:
    def __init__(self, rows: Sequence[Any]) -> None:
        self._rows = rows

    async def mappings(self) -> AsyncIterator[Any]:
        for row in self._rows:
            yield row


def _away() -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR
    return error
