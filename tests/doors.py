"""Doors as tests need them: several on one database, and ones whose database fails on purpose."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

from billing.tables import wallets
from config.database import Database
from config.door import Door
from config.writer import Transaction, Values, Writer


@asynccontextmanager
async def several_doors(url: str, count: int) -> AsyncIterator[list[Door]]:
    """As many doors as processes would have, each with connections of its own."""
    doors = [Door(Database(url), wallets) for _ in range(count)]
    for door in doors:
        door.open()
    yield doors
    for door in doors:
        await door.close()
        await door.database.close()


class Nowhere:
    """The transaction of a test that neither reads nor writes."""

    backend = "sqlite"

    async def fetch(self, text: str, values: Values) -> Sequence[Values]:
        raise AssertionError(text)

    async def execute_many(self, text: str, rows: Sequence[Values]) -> None:
        raise AssertionError(text)


class ObservedWriter:
    """The writer of a database, with somebody who sees each statement after it has run, and `COMMIT` before it does."""

    def __init__(self, writer: Writer, see: Callable[[str], None]) -> None:
        self._writer, self._see = writer, see

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        async with self._writer.transaction() as transaction:
            yield ObservedTransaction(transaction, self._see)
            self._see("COMMIT")

    async def close(self) -> None:
        await self._writer.close()


class ObservedTransaction:
    def __init__(self, transaction: Transaction, see: Callable[[str], None]) -> None:
        self._transaction, self._see, self.backend = transaction, see, transaction.backend

    async def fetch(self, text: str, values: Values) -> Sequence[Values]:
        found = await self._transaction.fetch(text, values)
        self._see(text)
        return found

    async def execute_many(self, text: str, rows: Sequence[Values]) -> None:
        await self._transaction.execute_many(text, rows)
        self._see(text)


@contextmanager
def observed(database: Database, see: Callable[[str], None]) -> Iterator[None]:
    writer = database._writer
    database._writer = ObservedWriter(writer, see)
    try:
        yield
    finally:
        database._writer = writer


@contextmanager
def failing_at(database: Database, number: int) -> Iterator[list[str]]:
    """Writing transactions break at their statement of this number (from 0; the commit is the last one).

    Gives the list of the statements that broke.
    """
    seen = 0
    broken: list[str] = []

    def count(statement: str) -> None:
        nonlocal seen
        if seen == number:
            broken.append(statement)
            raise RuntimeError(f"broken on purpose: {statement}")
        seen += 1

    with observed(database, count):
        yield broken
