"""Look-ups: the few rows that an index finds, of which every request does some.

Invariant: a statement is compiled once and the driver then asked directly, which costs a fifth of SQLAlchemy's own way
on both databases; values pass through SQLAlchemy's types, so that what is found is the same.
"""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import msgspec
from sqlalchemy import Select
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.postgresql import asyncpg as postgresql
from sqlalchemy.engine import URL

CONNECTIONS = 3
"""Of a process, on Postgres: each look-up takes a fraction of a millisecond."""
KNOWN_STATEMENTS = 256
DIALECTS: dict[str, Any] = {"sqlite": sqlite.dialect(), "postgresql": postgresql.dialect()}  # type: ignore[no-untyped-call]
_OF_SQLALCHEMY = ("async_fallback", "async_creator_fn", "prepared_statement_cache_size", "prepared_statement_name_func")
"""Options in an address that the driver itself does not know."""
Found = list[dict[str, Any]]


class LookUps(Protocol):
    async def find(self, query: Select[Any], parameters: Mapping[str, Any]) -> Found: ...

    async def close(self) -> None: ...


class Compiled(NamedTuple):
    """A query as the driver takes it, and how to read its answer."""

    text: str
    given: Mapping[str, Any]  # what the statement says itself
    order: Sequence[str]
    columns: Sequence[str]
    readers: Sequence[tuple[str, Any]]  # columns whose values the driver gives in another form

    def values(self, parameters: Mapping[str, Any]) -> list[Any]:
        return [parameters[name] if name in parameters else self.given[name] for name in self.order]

    def rows(self, found: Sequence[Sequence[Any]]) -> Found:
        rows = [dict(zip(self.columns, row, strict=True)) for row in found]
        for row in rows:
            for name, read in self.readers:
                row[name] = read(row[name])
        return rows


@lru_cache(KNOWN_STATEMENTS)
def compiled(query: Select[Any], backend: str) -> Compiled:
    """Once for each query. `backend`: `sqlite` or `postgresql`."""
    dialect = DIALECTS[backend]
    made = query.compile(dialect=dialect)
    assert not made.post_compile_params, "a look-up takes no lists"
    types = {column.key: column.type.dialect_impl(dialect) for column in query.selected_columns}
    processors: dict[str, Any] = {str(name): kind.result_processor(dialect, None) for name, kind in types.items()}
    readers = [(name, process) for name, process in processors.items() if process]
    return Compiled(str(made), dict(made.params), made.positiontup or (), list(processors), readers)


class SqliteLookUps:
    """A connection of its own, used where the request runs: a hop to another thread costs more than the look-up."""

    def __init__(self, url: URL, busy_timeout_ms: int) -> None:
        self._path, self._busy_timeout_ms = url.database or "", busy_timeout_ms
        self._connection: sqlite3.Connection | None = None

    async def find(self, query: Select[Any], parameters: Mapping[str, Any]) -> Found:
        if self._connection is None:
            self._connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
            self._connection.execute(f"pragma busy_timeout={self._busy_timeout_ms}")
        statement = compiled(query, "sqlite")
        return statement.rows(self._connection.execute(statement.text, statement.values(parameters)).fetchall())

    async def close(self) -> None:
        if self._connection is not None:
            self._connection.close()


class PostgresLookUps:
    """A few connections outside any transaction."""

    def __init__(self, url: URL, free_timeout_seconds: float, patience: Mapping[str, float]) -> None:
        self._options = {**connect_options(url), **patience}
        self._free_timeout_seconds = free_timeout_seconds
        self._pool: Any = None

    async def find(self, query: Select[Any], parameters: Mapping[str, Any]) -> Found:
        if self._pool is None:
            self._pool = await self._new_pool()  # connects to nothing yet, so nobody else comes in between
        statement = compiled(query, "postgresql")
        with closed_as_lost():
            async with self._pool.acquire(timeout=self._free_timeout_seconds) as connection:
                return statement.rows(await connection.fetch(statement.text, *statement.values(parameters)))

    def _new_pool(self) -> Any:
        import asyncpg

        return asyncpg.create_pool(**self._options, min_size=0, max_size=CONNECTIONS, init=make_ready, reset=_nothing)

    async def close(self) -> None:
        if self._pool is not None:
            self._pool.terminate()


def connect_options(url: URL) -> dict[str, Any]:
    """What the driver for Postgres is to be told of an address."""
    _, options = DIALECTS["postgresql"].create_connect_args(url)
    return {name: value for name, value in options.items() if name not in _OF_SQLALCHEMY}


@contextmanager
def closed_as_lost() -> Iterator[None]:
    """To use a connection that has been closed is no mistake of ours; the driver's word for it means both."""
    import asyncpg

    try:
        yield
    except (asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        if isinstance(error, ValueError):
            raise  # a value of the wrong type
        raise ConnectionError("the connection has been closed") from error


BY_INDEX = (
    "enable_seqscan = off",
    "enable_hashjoin = off",
    "enable_mergejoin = off",
    "plan_cache_mode = force_generic_plan",  # what finds one value finds any number
    "jit = off",  # a few rows are there before a plan is compiled
)


async def make_ready(connection: Any) -> None:
    """JSON arrives as what it says, as on SQLAlchemy's connections; and whatever is sought here is sought by an index.

    The planner is told, because it keeps the plan that a statement got while its tables were empty (read them whole)
    until statistics are gathered, and until then every call reads all that were made before it.
    """
    await connection.execute("; ".join(f"set {setting}" for setting in BY_INDEX))
    for name in ("json", "jsonb"):
        await connection.set_type_codec(name, encoder=str, decoder=msgspec.json.decode, schema="pg_catalog")


async def _nothing(connection: Any) -> None:
    """A look-up leaves nothing behind, so that giving a connection back takes no question to the server."""
