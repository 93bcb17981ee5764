"""The database: its engines, its one metadata, and the two ways in.

Owns the connections. Invariant: `Database.write` is the only place where a transaction that changes anything
begins and commits, and only the door and the migrations call it; everything else reads.

On SQLite one synchronous engine writes: what may wait, for other processes or for the disk, in a thread of its own
(begin and commit), what is computed where the requests run, because a thread that computes beside them takes turns with
them and both lose. Reads go through aiosqlite, look-ups by an index to the driver itself (`config.look_up`). On
Postgres the writer has a connection of its own, so that no number of slow reads can keep it waiting.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, MetaData, Select, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from config.look_up import LookUps, PostgresLookUps, SqliteLookUps

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

BUSY_TIMEOUT_MS = 5_000
CONNECT_TIMEOUT_SECONDS = 5
FREE_CONNECTION_TIMEOUT_SECONDS = 5.0
COMMAND_TIMEOUT_SECONDS = 10
T = TypeVar("T")


class Unavailable(Exception):
    """The database cannot be reached just now; nothing was changed by this attempt that was acknowledged."""


class Database:
    """Engines for one `DATABASE_URL` (`sqlite+aiosqlite://` or `postgresql+asyncpg://`)."""

    def __init__(self, url: str, *, pool_size: int = 10) -> None:
        self.url = url
        self.is_sqlite = make_url(url).get_backend_name() == "sqlite"
        if self.is_sqlite:
            self._reader: AsyncEngine = create_async_engine(url)
            self._writer: Engine | AsyncEngine = create_engine(make_url(url).set(drivername="sqlite+pysqlite"))
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="writer")
            self._look_ups: LookUps = SqliteLookUps(self._writer.url, BUSY_TIMEOUT_MS)
            _configure_sqlite(self._reader.sync_engine, begin="BEGIN")
            _configure_sqlite(self._writer, begin="BEGIN IMMEDIATE")
        else:
            patience = {"timeout": CONNECT_TIMEOUT_SECONDS, "command_timeout": COMMAND_TIMEOUT_SECONDS}
            self._reader = create_async_engine(
                url,
                pool_size=pool_size,
                max_overflow=0,
                pool_timeout=FREE_CONNECTION_TIMEOUT_SECONDS,
                connect_args=patience,
            )
            self._look_ups = PostgresLookUps(make_url(url), FREE_CONNECTION_TIMEOUT_SECONDS, patience)
            self._writer = create_async_engine(url, pool_size=1, max_overflow=0, connect_args=patience)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection for reading; what it changes is rolled back. Raises Unavailable."""
        with _naming_absence():
            async with self._reader.connect() as connection:
                yield connection

    async def look_up(self, query: Select[Any], **parameters: Any) -> Sequence[Mapping[str, Any]]:
        """The few rows that `query` finds by an index, outside any transaction. Raises Unavailable."""
        with _naming_absence():
            return await self._look_ups.find(query, parameters)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one transaction and commit it. Errors of the driver pass through; nothing is then kept."""
        if isinstance(self._writer, AsyncEngine):
            async with self._writer.begin() as connection:
                return await connection.run_sync(work)
        in_thread = partial(asyncio.get_running_loop().run_in_executor, self._thread)
        transaction = self._writer.begin()
        begun = await in_thread(transaction.__enter__)
        try:
            done = work(begun)
        except BaseException as error:
            transaction.__exit__(type(error), error, error.__traceback__)
            raise
        await in_thread(transaction.__exit__, None, None, None)
        return done

    async def close(self) -> None:
        await self._look_ups.close()
        for engine in (self._reader, self._writer):
            if isinstance(engine, AsyncEngine):
                await engine.dispose()
            else:
                engine.dispose()
        if self.is_sqlite:
            self._thread.shutdown()


@contextmanager
def _naming_absence() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if is_unavailable(error):
            raise Unavailable("the database cannot be reached") from error
        raise


_AWAY_SQLSTATES = ("08", "53", "57P")
"""Connection lost; out of connections, memory or disk; shutting down or starting."""
_AWAY_SQLITE_CODES = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
}
_PASSING_SQLSTATES = ("23505", "40", "55P03", "0A000")
"""Unique violation (the other one has committed and will be seen), deadlock or serialisation, lock not available,
and a cached statement that a migration made stale."""


def is_unavailable(error: BaseException) -> bool:
    """Whether the error means "no database there" rather than "these statements are wrong"."""
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    said = _said_by_driver(error)
    if isinstance(said, sqlite3.Error):
        return _sqlite_code(said) & 0xFF in _AWAY_SQLITE_CODES
    return isinstance(said, OSError | TimeoutError | PoolTimeoutError) or _sqlstate(said).startswith(_AWAY_SQLSTATES)


def may_pass(error: BaseException) -> bool:
    """Whether the same work may succeed when everything is read again: the fault was in the moment, not in the work."""
    if is_unavailable(error):
        return True
    said = _said_by_driver(error)
    if isinstance(said, sqlite3.Error):
        return _sqlite_code(said) in (sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY)
    return _sqlstate(said).startswith(_PASSING_SQLSTATES)


def _said_by_driver(error: BaseException) -> BaseException | None:
    return error.orig if isinstance(error, DBAPIError) else error


def _sqlite_code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0)  # the driver's own refusals carry none


def _sqlstate(error: BaseException | None) -> str:
    return getattr(error, "sqlstate", None) or ""


def _configure_sqlite(engine: Engine, begin: str) -> None:
    @event.listens_for(engine, "connect")
    def connect(dbapi: Any, _: object) -> None:
        dbapi.isolation_level = None  # transactions begin where we say, not where the driver guesses
        cursor = dbapi.cursor()
        for pragma in (
            "journal_mode=wal",
            "synchronous=full",
            f"busy_timeout={BUSY_TIMEOUT_MS}",
            "foreign_keys=on",
        ):
            cursor.execute(f"pragma {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)
