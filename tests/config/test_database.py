"""The two ways into the database."""

import asyncio
import contextlib
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Connection,
    MetaData,
    Select,
    String,
    Table,
    bindparam,
    column,
    func,
    insert,
    literal,
    select,
    text,
)
from sqlalchemy import table as sql_table
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

import config.database
import config.writer
from config.database import Database, Unavailable
from config.writer import Transaction
from tests.databases import alter

CREATE = text("create table notes (id integer primary key)")
INSERT = text("insert into notes (id) values (1)")
LOCK = "select id from notes for update"
COUNT = text("select count(*) from notes")
NOTES: Select[Any] = select(column("id")).select_from(sql_table("notes")).order_by("id")
INSERT_TWO = ("insert into notes (id) values (2)", [()])


async def insert_one(transaction: Transaction) -> None:
    await transaction.execute_many("insert into notes (id) values (1)", [()])


async def test_what_a_reader_changes_is_not_kept(database: Database) -> None:
    await alter(database.url, lambda connection: connection.execute(CREATE))
    async with database.read() as connection:
        await connection.execute(INSERT)
    async with database.read() as connection:
        assert (await connection.execute(COUNT)).scalar() == 0


async def test_a_transaction_is_kept_whole_or_not_at_all(database: Database) -> None:
    await alter(database.url, lambda connection: connection.execute(CREATE))

    async def fails(transaction: Transaction) -> None:
        await insert_one(transaction)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await database.write(fails)
    assert await database.look_up(NOTES) == []
    await database.write(insert_one)
    assert await database.look_up(NOTES) == [{"id": 1}]


async def test_a_writer_goes_on_after_a_statement_that_failed(database: Database) -> None:
    await alter(database.url, lambda connection: connection.execute(CREATE))
    await database.write(insert_one)
    with pytest.raises((sqlite3.IntegrityError, asyncpg.UniqueViolationError)):
        await database.write(insert_one)
    with pytest.raises((sqlite3.OperationalError, asyncpg.UndefinedTableError)):
        await database.write(lambda transaction: transaction.fetch("select 1 from nowhere", ()))
    [(found,)] = await database.write(lambda transaction: transaction.fetch("select count(*) from notes", ()))
    assert found == 1


async def test_a_writer_on_sqlite_waits_for_another_process(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    await alter(sqlite_url, lambda connection: connection.execute(CREATE))
    await database.write(insert_one)  # it is connected, and tries at once from now on
    other = sqlite3.connect(make_url(sqlite_url).database or "", isolation_level=None)
    other.execute("begin immediate")
    waiting = asyncio.create_task(database.write(lambda transaction: transaction.execute_many(*INSERT_TWO)))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    other.execute("insert into notes (id) values (3)")
    other.execute("commit")
    await waiting
    assert [row["id"] for row in await database.look_up(NOTES)] == [1, 2, 3]
    other.close()
    await database.close()


async def test_a_writer_survives_the_end_of_its_connection(postgres_url: str) -> None:
    database = Database(postgres_url)
    whoami = "select pg_backend_pid()"
    [(before,)] = await database.write(lambda transaction: transaction.fetch(whoami, ()))
    kill = text(f"select pg_terminate_backend({before})")
    await alter(postgres_url, lambda connection: connection.execute(kill))
    with contextlib.suppress(Exception):  # the first may still meet the old one
        await database.write(lambda transaction: transaction.fetch(whoami, ()))
    [(after,)] = await database.write(lambda transaction: transaction.fetch(whoami, ()))
    assert after != before
    await database.close()


async def test_a_reader_keeps_no_writer_waiting(database: Database, database_url: str) -> None:
    await alter(database.url, lambda connection: connection.execute(CREATE))
    reader = Database(database_url)
    async with reader.read() as connection:
        assert (await connection.execute(COUNT)).scalar() == 0
        await database.write(insert_one)
    async with reader.read() as connection:
        assert (await connection.execute(COUNT)).scalar() == 1
    await reader.close()


async def test_a_process_that_stands_still_keeps_the_others_waiting_for_a_while_only(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frozen, or cut off from the database, in the middle of a transaction that holds an organisation's row."""
    monkeypatch.setattr(config.writer, "STANDSTILL_SECONDS", 1)
    quick, frozen = Database(postgres_url), Database(postgres_url)
    await alter(postgres_url, lambda connection: connection.execute(CREATE))
    await quick.write(insert_one)
    has_lock, failures = threading.Event(), []

    async def stand_still(transaction: Transaction) -> None:
        await transaction.fetch(LOCK, ())
        has_lock.set()
        time.sleep(4)

    async def freeze() -> None:
        try:
            await frozen.write(stand_still)
        except Exception as error:
            failures.append(error)
        await frozen.close()

    freezing = threading.Thread(target=asyncio.run, args=(freeze(),))
    freezing.start()
    await asyncio.to_thread(has_lock.wait)
    began = time.monotonic()
    await quick.write(lambda transaction: transaction.fetch(LOCK, ()))
    assert time.monotonic() - began < 3
    await asyncio.to_thread(freezing.join)
    await quick.close()
    assert [config.database.may_pass(error) for error in failures] == [True], "what stood still begins again"


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

    async def of_writer(transaction: Transaction) -> dict[str, object]:
        return {name: (await transaction.fetch(f"pragma {name}", ()))[0][0] for name in wanted}

    assert await database.write(of_writer) == {**wanted, "busy_timeout": 0}  # who waits for others waits in a thread
    async with database.read() as connection:
        assert await connection.run_sync(pragmas) == {**wanted, "synchronous": 2}
    await database.close()


# -- look-ups ---------------------------------------------------------------------------------------------------------


async def test_a_look_up_finds_what_sqlalchemy_finds(database: Database) -> None:
    table = Table(
        "things",
        MetaData(),
        Column("id", String(36), primary_key=True),
        Column("good", Boolean),
        Column("said", JSON(none_as_null=True)),
        Column("count", BigInteger),
    )
    row = {"id": "a", "good": True, "said": {"to": ["ä", 1, None]}, "count": 2**40}
    await alter(database.url, table.create)
    rows = [row, {**row, "id": "b", "said": None}]
    await alter(database.url, lambda connection: connection.execute(insert(table), rows))
    query = select(table).where(table.c.id == bindparam("wanted"), table.c.good.is_(True), table.c.count > 1)
    for wanted in ("a", "b", "c"):
        async with database.read() as connection:
            found = (await connection.execute(query, {"wanted": wanted})).mappings().all()
        assert await database.look_up(query, wanted=wanted) == [dict(each) for each in found]


async def test_a_look_up_sees_each_commit_of_another_process_at_once(database: Database, database_url: str) -> None:
    await alter(database.url, lambda connection: connection.execute(CREATE))
    assert await database.look_up(NOTES) == []
    other = Database(database_url)
    await other.write(insert_one)
    assert await database.look_up(NOTES) == [{"id": 1}]
    await other.close()


@pytest.mark.parametrize("url", ["sqlite+aiosqlite:////nowhere/at/all.db", "postgresql+asyncpg://u@127.0.0.1:1/x"])
async def test_a_look_up_where_no_database_is_says_so(url: str) -> None:
    database = Database(url)
    with pytest.raises(Unavailable):
        await database.look_up(select(literal(1)))
    await database.close()


async def test_a_wrong_look_up_is_not_taken_for_a_database_that_is_away(database: Database) -> None:
    with pytest.raises((sqlite3.Error, asyncpg.PostgresError)):
        await database.look_up(select(column("x")).select_from(sql_table("connection_closed")))


async def test_a_look_up_survives_the_end_of_its_connection(postgres_url: str) -> None:
    database, other = Database(postgres_url), Database(postgres_url)
    query = select(func.pg_backend_pid().label("pid"))
    [before] = await database.look_up(query)
    async with other.read() as connection:
        await connection.execute(text(f"select pg_terminate_backend({before['pid']})"))
    with contextlib.suppress(Unavailable):  # the first may still meet the old one
        await database.look_up(query)
    [after] = await database.look_up(query)
    assert after["pid"] != before["pid"]
    await other.close()
    await database.close()
