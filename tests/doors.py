"""Doors as tests need them: several on one database, and ones whose database fails on purpose."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.ext.asyncio import AsyncEngine

from billing.tables import wallets
from config.database import Database
from config.door import Door


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


def writing_engine(database: Database) -> Engine:
    writer = database._writer
    return writer.sync_engine if isinstance(writer, AsyncEngine) else writer


@contextmanager
def failing_at(database: Database, number: int) -> Iterator[list[str]]:
    """Writing transactions break at their statement of this number (from 0; the commit is the last one).

    Gives the list of the statements that broke.
    """
    engine = writing_engine(database)
    seen = 0
    broken: list[str] = []

    def count(statement: str) -> None:
        nonlocal seen
        if seen == number:
            broken.append(statement)
            raise RuntimeError(f"broken on purpose: {statement}")
        seen += 1

    def executes(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        count(statement)

    def commits(connection: Any) -> None:
        count("COMMIT")

    event.listen(engine, "after_cursor_execute", executes)
    event.listen(engine, "commit", commits)
    try:
        yield broken
    finally:
        event.remove(engine, "after_cursor_execute", executes)
        event.remove(engine, "commit", commits)
