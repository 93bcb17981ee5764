"""The database: its engines, its one metadata, and the two ways in.

Owns the connections. Invariant: `Database.write` is the only place where a transaction that changes anything
begins and commits, and only the door and the migrations call it; everything else reads.

On SQLite one synchronous engine writes from a thread of its own (faster than through aiosqlite, and never two
writers in a process); reads go through aiosqlite. On Postgres one pool serves both.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, MetaData, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

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
            self._writer: Engine | None = create_engine(make_url(url).set(drivername="sqlite+pysqlite"))
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="writer")
            _configure_sqlite(self._reader.sync_engine, begin="BEGIN")
            _configure_sqlite(self._writer, begin="BEGIN IMMEDIATE")
        else:
            self._reader = create_async_engine(
                url, pool_size=pool_size, max_overflow=0, pool_pre_ping=False, pool_timeout=5
            )
            self._writer = None

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection for reading; what it changes is rolled back. Raises Unavailable."""
        try:
            async with self._reader.connect() as connection:
                yield connection
        except (OSError, DBAPIError, TimeoutError) as error:
            if is_unavailable(error):
                raise Unavailable("the database cannot be reached") from error
            raise

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one transaction and commit it. Errors of the driver pass through; nothing is then kept."""
        if self._writer is None:
            async with self._reader.begin() as connection:
                return await connection.run_sync(work)
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._write_sqlite, work)

    def _write_sqlite(self, work: Callable[[Connection], T]) -> T:
        assert self._writer is not None
        with self._writer.begin() as connection:
            return work(connection)

    async def close(self) -> None:
        await self._reader.dispose()
        if self._writer is not None:
            self._writer.dispose()
            self._thread.shutdown()


def is_unavailable(error: BaseException) -> bool:
    """Whether the error means "no database there" rather than "these statements are wrong"."""
    if isinstance(error, DBAPIError):
        if error.connection_invalidated:
            return True
        state = getattr(error.orig, "sqlstate", None) or ""
        # 08 connection, 57P admin shutdown / cannot connect now, 53300 too many connections
        if state.startswith(("08", "57P", "53300")):
            return True
        text = str(error.orig).lower()
        return isinstance(error, OperationalError | InterfaceError) and (
            "connection" in text or "unable to open" in text or "closed" in text
        )
    return isinstance(error, OSError | TimeoutError)


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
