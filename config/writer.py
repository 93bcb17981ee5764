"""The one transaction that writes, as the driver itself runs it.

Invariant: what is done inside `transaction()` is committed whole when it ends well, and otherwise not at all. The
driver is asked directly: SQLAlchemy's way of running a statement costs four times what the statement does, and every
call placed passes through twenty of them. One writer serves one door, so there is never a second transaction.
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

from sqlalchemy.engine import URL

from config.look_up import closed_as_lost, connect_options, make_ready
from config.statements import KNOWN_STATEMENTS

SQLITE_PRAGMAS = (
    "journal_mode=wal",
    "synchronous=full",
    "foreign_keys=on",
    "wal_autocheckpoint=4000",  # pages of 4 KiB: the longer the log, the fewer times a busy page is written back
)
STANDSTILL_SECONDS = 10
"""How long a process may hold rows on Postgres without saying anything: then it has been frozen or cut off, the
database ends its transaction, and the others go on."""
Values = Sequence[Any]


class Transaction(Protocol):
    """What may be done inside one; texts and values are as the driver takes them."""

    @property
    def backend(self) -> str:
        """`sqlite` or `postgresql`."""
        ...

    async def fetch(self, text: str, values: Values) -> Sequence[Values]: ...

    async def execute_many(self, text: str, rows: Sequence[Values]) -> None: ...


class Writer(Protocol):
    def transaction(self) -> AbstractAsyncContextManager[Transaction]: ...

    async def close(self) -> None: ...


class SqliteWriter:
    """Statements run where the requests do; only what waits, for the disk or for other processes, has a thread."""

    backend = "sqlite"

    def __init__(self, url: URL, busy_timeout_ms: int) -> None:
        self._path, self._busy_timeout_ms = url.database or "", busy_timeout_ms
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="writer")
        self._opened: sqlite3.Connection | None = None

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        in_thread = asyncio.get_running_loop().run_in_executor
        connection = self._opened
        if connection is None or not _begins_at_once(connection):
            connection = await in_thread(self._thread, self._begin)
        try:
            yield self
            await in_thread(self._thread, connection.commit)
        except BaseException:
            self._give_up(connection)
            raise

    async def fetch(self, text: str, values: Values) -> Sequence[Values]:
        assert self._opened is not None
        return self._opened.execute(text, values).fetchall()

    async def execute_many(self, text: str, rows: Sequence[Values]) -> None:
        assert self._opened is not None
        self._opened.executemany(text, rows)

    def _begin(self) -> sqlite3.Connection:
        connection = self._opened
        if connection is None:
            connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
            for pragma in SQLITE_PRAGMAS:
                connection.execute(f"pragma {pragma}")
            self._opened = connection
        connection.execute(f"pragma busy_timeout={self._busy_timeout_ms}")
        try:
            connection.execute("BEGIN IMMEDIATE")
        finally:
            connection.execute("pragma busy_timeout=0")  # the next one is tried where nothing may wait
        return connection

    def _give_up(self, connection: sqlite3.Connection) -> None:
        try:
            connection.rollback()
        except sqlite3.Error:  # a disk that fails: begin anew, with what it says then
            self._opened = None
            connection.close()

    async def close(self) -> None:
        self._thread.shutdown()
        if self._opened is not None:
            self._opened.close()


def _begins_at_once(connection: sqlite3.Connection) -> bool:
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
            return False
        raise
    return True


class PostgresWriter:
    """A connection of its own, so that no number of slow reads can keep it waiting."""

    backend = "postgresql"

    def __init__(self, url: URL, patience: Mapping[str, float]) -> None:
        kept = {"statement_cache_size": KNOWN_STATEMENTS, "max_cacheable_statement_size": 0}  # however long
        self._options = {**connect_options(url), **patience, **kept}
        self._opened: Any = None

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        try:
            with closed_as_lost():
                if self._opened is None or self._opened.is_closed():
                    self._opened = await self._connect()
                async with self._opened.transaction():
                    yield self
        except BaseException:
            self._leave_if_broken()
            raise

    async def fetch(self, text: str, values: Values) -> Sequence[Values]:
        found: Sequence[Values] = await self._opened.fetch(text, *values)
        return found

    async def execute_many(self, text: str, rows: Sequence[Values]) -> None:
        await self._opened.executemany(text, rows)

    async def _connect(self) -> Any:
        import asyncpg

        connection = await asyncpg.connect(**self._options)
        await make_ready(connection)
        # A statement, because poolers refuse what they do not know among the options of an address.
        await connection.execute(f"set idle_in_transaction_session_timeout = '{STANDSTILL_SECONDS}s'")
        return connection

    def _leave_if_broken(self) -> None:
        """What was not rolled back in order ends with its connection."""
        if self._opened is not None and (self._opened.is_closed() or self._opened.is_in_transaction()):
            self._opened.terminate()
            self._opened = None

    async def close(self) -> None:
        if self._opened is not None:
            with contextlib.suppress(OSError, TimeoutError):
                await self._opened.close(timeout=1)
