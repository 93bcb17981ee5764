"""The database: its engines, its one metadata, and the two ways in.

Owns the connections. Invariant: `Database.write` is the only place where a transaction that changes anything
begins and commits, and only the door calls it (migrations have a connection of their own); everything else reads.

Writing is the drivers' own work (`config.writer`), and so are look-ups by an index (`config.look_up`); lists and
reports go through SQLAlchemy's engine for reading.
"""

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, MetaData, Select, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from config.look_up import LookUps, PostgresLookUps, SqliteLookUps
from config.writer import PostgresWriter, SqliteWriter, Transaction, Writer

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
        address = make_url(url)
        self.is_sqlite = address.get_backend_name() == "sqlite"
        if self.is_sqlite:
            self._reader: AsyncEngine = create_async_engine(url)
            _configure_sqlite(self._reader.sync_engine)
            self._look_ups: LookUps = SqliteLookUps(address, BUSY_TIMEOUT_MS)
            self._writer: Writer = SqliteWriter(address, BUSY_TIMEOUT_MS)
        else:
            patience = {"timeout": CONNECT_TIMEOUT_SECONDS, "command_timeout": COMMAND_TIMEOUT_SECONDS}
            self._reader = create_async_engine(
                url,
                pool_size=pool_size,
                max_overflow=0,
                pool_timeout=FREE_CONNECTION_TIMEOUT_SECONDS,
                connect_args=patience,
            )
            event.listen(self._reader.sync_engine, "checkout", _leave_closed)
            self._look_ups = PostgresLookUps(address, FREE_CONNECTION_TIMEOUT_SECONDS, patience)
            self._writer = PostgresWriter(address, patience)

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

    async def write(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Run `work` in one transaction and commit it. Errors of the driver pass through; nothing is then kept."""
        async with self._writer.transaction() as transaction:
            return await work(transaction)

    async def close(self) -> None:
        await self._look_ups.close()
        await self._writer.close()
        await self._reader.dispose()


@contextmanager
def _naming_absence() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if is_unavailable(error):
            raise Unavailable("the database cannot be reached") from error
        raise


_AWAY_SQLSTATES = ("08", "25P03", "53", "57P")
"""Connection lost; ended because we stood still; out of connections, memory or disk; shutting down or starting."""
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


def _leave_closed(dbapi: Any, record: Any, proxy: Any) -> None:
    """A connection that the server has ended meanwhile is replaced before anybody is given it."""
    if record.driver_connection.is_closed():
        raise DisconnectionError


def _configure_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def connect(dbapi: Any, _: object) -> None:
        dbapi.isolation_level = None  # transactions begin where we say, not where the driver guesses
        cursor = dbapi.cursor()
        for pragma in ("journal_mode=wal", f"busy_timeout={BUSY_TIMEOUT_MS}", "foreign_keys=on"):
            cursor.execute(f"pragma {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def start(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")
