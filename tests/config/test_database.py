"""The two ways into the database."""

from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

import config.database
from config.database import Database, Unavailable
from tests.doors import writing_engine

CREATE = text("create table notes (id integer primary key)")
INSERT = text("insert into notes (id) values (1)")
COUNT = text("select count(*) from notes")


async def test_what_a_reader_changes_is_not_kept(database: Database) -> None:
    await database.write(lambda connection: connection.execute(CREATE))
    async with database.read() as connection:
        await connection.execute(INSERT)
    async with database.read() as connection:
        assert (await connection.execute(COUNT)).scalar() == 0


async def test_a_transaction_is_kept_whole_or_not_at_all(database: Database) -> None:
    await database.write(lambda connection: connection.execute(CREATE))

    def fails(connection: Connection) -> None:
        connection.execute(INSERT)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await database.write(fails)
    await database.write(lambda connection: connection.execute(INSERT))
    async with database.read() as connection:
        assert (await connection.execute(COUNT)).scalar() == 1


async def test_a_reader_keeps_no_writer_waiting(database: Database, database_url: str) -> None:
    await database.write(lambda connection: connection.execute(CREATE))
    reader = Database(database_url)
    async with reader.read() as connection:
        assert (await connection.execute(COUNT)).scalar() == 0
        await database.write(lambda writing: writing.execute(INSERT))
    async with reader.read() as connection:
        assert (await connection.execute(COUNT)).scalar() == 1
    await reader.close()


async def test_a_wrong_statement_is_not_taken_for_a_database_that_is_away(database: Database) -> None:
    with pytest.raises(DBAPIError):
        async with database.read() as connection:
            await connection.execute(text("select * from connection_closed"))


@pytest.mark.parametrize("url", ["sqlite+aiosqlite:////nowhere/at/all.db", "postgresql+asyncpg://u@127.0.0.1:1/x"])
async def test_a_database_that_is_not_there_is_unavailable(url: str) -> None:
    database = Database(url)
    with pytest.raises(Unavailable):
        async with database.read() as connection:
            await connection.execute(text("select 1"))
    await database.close()


async def test_readers_that_find_no_free_connection_are_told(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config.database, "FREE_CONNECTION_TIMEOUT_SECONDS", 0.05)
    database = Database(postgres_url, pool_size=1)
    monkeypatch.undo()
    async with database.read() as connection:
        await connection.execute(text("select 1"))
        with pytest.raises(Unavailable):
            async with database.read():
                pass
    await database.close()


async def test_sqlite_commits_are_durable_and_references_are_kept(sqlite_url: str, tmp_path: Path) -> None:
    database = Database(sqlite_url)
    wanted = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 5_000}

    def pragmas(connection: Connection) -> dict[str, object]:
        return {name: connection.execute(text(f"pragma {name}")).scalar() for name in wanted}

    assert await database.write(pragmas) == wanted
    async with database.read() as connection:
        assert await connection.run_sync(pragmas) == wanted
    assert isinstance(writing_engine(database), Engine)
    await database.close()
