"""The schema comes from the migrations alone, and is the one the code expects."""

import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Column, Connection, insert, select, text
from sqlalchemy.exc import DatabaseError

import config.migrate
from accounts.tables import organisations
from config.database import Database, metadata
from config.migrate import (
    EMBEDDED,
    configuration,
    is_current,
    migrate,
    migrate_embedded,
    newest_revision,
    rendered,
)
from tests.databases import alter, sqlite_url
from voice.agents.tables import agents


@pytest.fixture
def file_url(tmp_path: Path) -> str:
    """An SQLite file that does not exist yet."""
    return sqlite_url(tmp_path / "new.db")


@pytest.fixture
async def empty_postgres_url(postgres_url: str) -> str:
    def empty(connection: Connection) -> None:
        connection.execute(text("drop schema public cascade"))
        connection.execute(text("create schema public"))

    await alter(postgres_url, empty)
    return postgres_url


@pytest.fixture(params=["file_url", "empty_postgres_url"])
def empty_url(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue(request.param)
    return url


def in_a_thread(url: str) -> None:
    """The migrations have an event loop of their own."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(migrate, url).result()


async def test_the_first_schema_is_brought_to_todays_with_what_it_holds(empty_url: str) -> None:
    with ThreadPoolExecutor(1) as thread:
        thread.submit(command.upgrade, configuration(empty_url), "0001").result()
    known = {"id": "o", "name": "Example", "timezone": "UTC", "disclose_ai": True, "created_at": 0}
    await alter(empty_url, lambda connection: connection.execute(insert(organisations).values(known)))
    in_a_thread(empty_url)
    database = Database(empty_url)
    assert await database.look_up(select(organisations.c.name)) == [{"name": "Example"}]
    assert await database.look_up(select(agents.c.longest_wait_seconds)) == []
    await database.close()


async def test_the_migrations_make_the_schema_that_the_code_expects(empty_url: str) -> None:
    in_a_thread(empty_url)
    database = Database(empty_url)
    differences = await alter(empty_url, lambda c: compare_metadata(MigrationContext.configure(c), metadata))
    query = "select name from sqlite_master" if database.is_sqlite else "select indexname from pg_indexes"
    async with database.read() as connection:
        there = set((await connection.execute(text(query))).scalars())
    await database.close()
    indexes = [index for table in metadata.tables.values() for index in table.indexes]
    assert {index.name for index in indexes} - there == set(), "an index over an expression is migrated by hand"
    reworded = {index.name for index in indexes if not all(isinstance(each, Column) for each in index.expressions)}
    assert [difference for difference in differences if getattr(difference[1], "name", None) not in reworded] == []


async def test_migrating_again_changes_nothing(empty_url: str) -> None:
    in_a_thread(empty_url)
    in_a_thread(empty_url)
    database = Database(empty_url)
    async with database.read() as connection:
        revisions = (await connection.execute(text("select version_num from alembic_version"))).scalars().all()
    await database.close()
    assert list(revisions) == [newest_revision()]


def test_the_embedded_schema_is_what_the_migrations_make() -> None:
    assert EMBEDDED.read_text() == rendered(), "run: make schema"


def test_a_new_file_needs_no_migration_tools(file_url: str) -> None:
    program = (
        f"import sys; from config.migrate import *; migrate_embedded({file_url!r}); print('alembic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    assert is_current(file_url)


def test_an_outdated_embedded_schema_is_not_used(
    file_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outdated = tmp_path / "embedded.sql"
    outdated.write_text("-- Made from other migrations\nCREATE TABLE wrong (id);\n")
    monkeypatch.setattr(config.migrate, "EMBEDDED", outdated)
    migrate_embedded(file_url)
    assert is_current(file_url)
    with sqlite3.connect(tmp_path / "new.db") as connection:
        assert not connection.execute("select 1 from sqlite_master where name = 'wrong'").fetchall()


def test_a_migration_that_fails_leaves_the_file_as_it_was(file_url: str, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "new.db") as connection:
        connection.execute("create table wallets (mine)")
    with pytest.raises(DatabaseError):
        migrate_embedded(file_url)
    with sqlite3.connect(tmp_path / "new.db") as connection:
        assert connection.execute("select name from sqlite_master").fetchall() == [("wallets",)]


def test_several_processes_may_make_the_same_file(file_url: str) -> None:
    program = f"from config.migrate import *; migrate_embedded({file_url!r})"
    processes = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(4)]
    assert [process.wait(60) for process in processes] == [0, 0, 0, 0]
    assert is_current(file_url)
