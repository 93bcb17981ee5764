"""Reading once, folding in memory, writing in bulk, on SQLite and Postgres."""

import asyncio
import re
import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import asyncpg
import pytest
from sqlalchemy import JSON, BigInteger, Boolean, Column, ForeignKey, MetaData, String, Table, Text, insert, select

from config.database import Database
from config.look_up import compiled
from config.rows import Read, Row, Rows
from config.statements import Sought, finding
from config.writer import Transaction
from tests.databases import alter
from tests.doors import observed

T = TypeVar("T")

metadata = MetaData()
# Named so that the order of the alphabet is not the order of the references.
parents = Table(
    "z_parents",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("name", Text, nullable=False, default="nobody"),
    Column("age", BigInteger),
    Column("biography", Text, info={"cold": True}),
)
children = Table(
    "a_children",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("parent_id", String(36), ForeignKey("z_parents.id")),
)
things = Table(
    "things",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("name", Text),
    Column("amount", BigInteger),
    Column("is_light", Boolean),
    Column("facts", JSON),
)
counts = Table(
    "counts",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("colour", Text, nullable=False),
    Column("apples", BigInteger, nullable=False, info={"counter": True}),
    Column("pears", BigInteger, nullable=False, info={"counter": True}),
)


class Shelf:
    """Runs one batch at a time and remembers the statements it took."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.statements: list[str] = []

    async def batch(self, work: Callable[[Rows], Awaitable[T]]) -> T:
        """`work`, and then what it changed is written."""
        self.statements.clear()

        async def run(transaction: Transaction) -> T:
            rows = Rows(transaction)
            result = await work(rows)
            await rows.write()
            return result

        with observed(self.database, self.statements.append):
            return await self.database.write(run)

    async def all(self, table: Table) -> list[dict[str, Any]]:
        async with self.database.read() as connection:
            return [dict(row) for row in (await connection.execute(select(table).order_by(table.c.id))).mappings()]

    def writes(self) -> list[str]:
        """Verb and table of each thing written; several of them are one statement on Postgres."""
        found = [re.findall(r"(?:DELETE FROM|INSERT INTO|UPDATE) [a-z]\w+", statement) for statement in self.statements]
        return [each.replace(" INTO", "").replace(" FROM", "") for found_there in found for each in found_there]


@pytest.fixture
async def shelf(database: Database) -> Shelf:
    await alter(database.url, metadata.create_all)
    people = [{"id": letter, "name": f"Parent {letter}", "age": 40, "biography": "long"} for letter in "abc"]
    await alter(database.url, lambda connection: connection.execute(insert(parents), people))
    return Shelf(database)


def inserting(table: Table, row: Row) -> Callable[[Rows], Awaitable[None]]:
    async def work(rows: Rows) -> None:
        rows.insert(table, row)

    return work


async def read_all(rows: Rows) -> None:
    await rows.read([Read(parents, "id", ["a", "b", "c"])])


async def test_reads_of_a_batch_are_one_statement_for_each_column_or_one_for_all_of_them(shelf: Shelf) -> None:
    async def work(rows: Rows) -> list[Any]:
        reads = [Read(parents, "id", ["a"]), Read(parents, "name", ["Parent b"]), Read(parents, "id", ["c", "nobody"])]
        await rows.read(reads)
        return [rows.get(parents, letter) for letter in ("a", "b", "c", "nobody")]

    found = await shelf.batch(work)
    assert [row and row["name"] for row in found] == ["Parent a", "Parent b", "Parent c", None]
    assert len([text for text in shelf.statements if "SELECT" in text]) == (2 if shelf.database.is_sqlite else 1)


async def test_what_is_read_is_what_was_written_whatever_it_is(shelf: Shelf) -> None:
    thing = {
        "id": "a",
        "name": '"Zoë" \\ \U0001f4de\n\t</script>',
        "amount": -(2**63),
        "is_light": True,
        "facts": {"list": [1, 2.5, None, "ü"], "large": 2**60},
    }
    nothing = {"id": "b", "name": None, "amount": None, "is_light": None, "facts": None}

    async def work(rows: Rows) -> list[Any]:
        await rows.read([Read(things, "id", ["a", "b"]), Read(parents, "name", ["Parent c"])])
        return [rows.get(things, "a"), rows.get(things, "b"), rows.find(parents, "name", "Parent c")]

    for row in (thing, nothing):
        await shelf.batch(inserting(things, row))
    [found, empty, [parent]] = await shelf.batch(work)
    assert [found, empty, parent] == [thing, nothing, {"id": "c", "name": "Parent c", "age": 40}]


async def test_what_was_read_is_not_read_again(shelf: Shelf) -> None:
    async def work(rows: Rows) -> str:
        await rows.lock(parents, ["a"])
        rows.update(parents, "a", {"name": "Changed"})
        await rows.read([Read(parents, "id", ["a"]), Read(parents, "name", ["Parent a"])])
        row = rows.get(parents, "a")
        assert row is not None
        return str(row["name"])

    assert await shelf.batch(work) == "Changed"


async def test_no_values_are_no_statement(shelf: Shelf) -> None:
    async def work(rows: Rows) -> None:
        await rows.lock(parents, [])
        await rows.read([Read(parents, "id", [])])

    await shelf.batch(work)
    assert [statement for statement in shelf.statements if "SELECT" in statement] == []


async def test_what_decisions_never_look_at_is_not_carried_about(shelf: Shelf) -> None:
    async def work(rows: Rows) -> Any:
        await read_all(rows)
        return rows.get(parents, "a")

    assert await shelf.batch(work) == {"id": "a", "name": "Parent a", "age": 40}


async def test_later_commands_see_what_earlier_ones_did(shelf: Shelf) -> None:
    async def work(rows: Rows) -> None:
        await read_all(rows)
        assert [row["id"] for row in rows.find(parents, "name", "Parent a")] == ["a"]
        rows.insert(parents, {"id": "d", "name": "New"})
        rows.update(parents, "a", {"name": "New"})
        assert sorted(row["id"] for row in rows.find(parents, "name", "New")) == ["a", "d"]
        assert rows.find(parents, "name", "Parent a") == []
        rows.update(parents, "d", {"name": "Newer"})
        assert [row["id"] for row in rows.find(parents, "name", "New")] == ["a"]
        assert rows.find(parents, "name", "Newer") == [rows.get(parents, "d")]

    await shelf.batch(work)
    assert [row["name"] for row in await shelf.all(parents)] == ["New", "Parent b", "Parent c", "Newer"]


async def test_rows_read_after_a_search_are_found(shelf: Shelf) -> None:
    async def work(rows: Rows) -> None:
        await rows.read([Read(parents, "id", ["a"])])
        assert rows.find(parents, "name", "Parent b") == []
        await rows.read([Read(parents, "id", ["b"])])
        assert [row["id"] for row in rows.find(parents, "name", "Parent b")] == ["b"]

    await shelf.batch(work)


async def test_the_same_change_of_many_rows_is_one_statement(shelf: Shelf) -> None:
    async def work(rows: Rows) -> None:
        await read_all(rows)
        for letter in "cab":
            rows.update(parents, letter, {"age": ord(letter), "name": f"Parent {letter}"})

    await shelf.batch(work)
    assert shelf.writes() == ["UPDATE z_parents"]
    [statement] = [statement for statement in shelf.statements if "UPDATE" in statement]
    assert not re.search(r"\bname\b", statement)  # it already had that value
    assert [row["age"] for row in await shelf.all(parents)] == [97, 98, 99]


async def test_all_that_a_batch_writes_is_one_statement_after_what_it_deletes_where_each_takes_a_journey(
    shelf: Shelf,
) -> None:
    async def work(rows: Rows) -> None:
        await read_all(rows)
        rows.delete(parents, "a")
        rows.insert(parents, {"id": "a2", "name": "Parent a"})
        rows.insert(children, {"id": "child", "parent_id": "a2"})
        rows.update(parents, "b", {"age": 1})
        rows.update(parents, "c", {"name": "C"})
        rows.update(parents, "c", {"biography": "None was read"})
        rows.add(counts, "x", {"colour": "red"}, {"apples": 1, "pears": 0})

    await shelf.batch(work)
    assert [tuple(row.values()) for row in await shelf.all(parents)] == [
        ("a2", "Parent a", None, None),
        ("b", "Parent b", 1, "long"),
        ("c", "C", 40, "None was read"),
    ]
    assert await shelf.all(children) == [{"id": "child", "parent_id": "a2"}]
    wrote = [text for text in shelf.statements if not text.startswith("SELECT") and text != "COMMIT"]
    assert len(wrote) == (6 if shelf.database.is_sqlite else 2)


async def test_what_is_sought_is_found_by_an_index_though_the_table_is_small(shelf: Shelf) -> None:
    """Or the plan that Postgres makes while there are few rows is kept when there are many."""
    dialect = "sqlite" if shelf.database.is_sqlite else "postgresql"
    query = compiled(finding(Sought(parents, "id", locked=False), dialect), dialect)
    explain, value = ("EXPLAIN QUERY PLAN", '["a"]') if shelf.database.is_sqlite else ("EXPLAIN", ["a"])

    async def plan(transaction: Transaction) -> str:
        return str(await transaction.fetch(f"{explain} {query.text}", query.values({"wanted": value})))

    assert re.search("SEARCH z_parents USING|Index Scan", await shelf.database.write(plan))


async def test_different_changes_each_reach_their_row(shelf: Shelf) -> None:
    async def work(rows: Rows) -> None:
        await read_all(rows)
        rows.update(parents, "a", {"age": 1})
        rows.update(parents, "b", {"name": "B"})
        rows.update(parents, "b", {"age": None})

    await shelf.batch(work)
    assert [(row["name"], row["age"]) for row in await shelf.all(parents)] == [
        ("Parent a", 1),
        ("B", None),
        ("Parent c", 40),
    ]


async def test_a_change_that_changes_nothing_writes_nothing(shelf: Shelf) -> None:
    async def work(rows: Rows) -> None:
        await read_all(rows)
        rows.update(parents, "a", {"age": 40, "name": "Parent a"})

    await shelf.batch(work)
    assert shelf.writes() == []


async def test_a_row_inserted_and_then_changed_is_one_insert(shelf: Shelf) -> None:
    async def work(rows: Rows) -> None:
        rows.insert(parents, {"id": "d", "name": "New"})
        rows.update(parents, "d", {"age": 5})

    await shelf.batch(work)
    assert shelf.writes() == ["INSERT z_parents"]
    assert (await shelf.all(parents))[-1] == {"id": "d", "name": "New", "age": 5, "biography": None}


async def test_inserts_may_leave_out_different_columns(shelf: Shelf) -> None:
    """A bulk insert has one shape; nothing may be lost to it."""

    async def work(rows: Rows) -> None:
        rows.insert(parents, {"id": "e"})
        rows.insert(parents, {"id": "f", "biography": "short", "age": 3})
        rows.insert(parents, {"id": "g", "name": "G"})
        assert rows.find(parents, "name", "nobody") == [rows.get(parents, "e"), rows.get(parents, "f")]

    await shelf.batch(work)
    assert [tuple(row.values()) for row in await shelf.all(parents)][3:] == [
        ("e", "nobody", None, None),
        ("f", "nobody", 3, "short"),
        ("g", "G", None, None),
    ]


async def test_a_column_that_does_not_exist_is_refused(shelf: Shelf) -> None:
    with pytest.raises(AssertionError, match="no such column"):
        await shelf.batch(inserting(parents, {"id": "d", "nmae": "New"}))


async def test_a_row_that_is_there_is_not_inserted_again(shelf: Shelf) -> None:
    async def work(rows: Rows) -> None:
        await read_all(rows)
        rows.insert(parents, {"id": "a", "name": "Again"})

    with pytest.raises(AssertionError, match="already there"):
        await shelf.batch(work)


async def test_rows_are_written_after_those_they_refer_to(shelf: Shelf) -> None:
    async def work(rows: Rows) -> None:
        rows.insert(children, {"id": "child", "parent_id": "d"})
        rows.insert(parents, {"id": "d", "name": "New"})

    await shelf.batch(work)
    assert (await shelf.all(children)) == [{"id": "child", "parent_id": "d"}]
    with pytest.raises((sqlite3.IntegrityError, asyncpg.ForeignKeyViolationError)):
        await shelf.batch(inserting(children, {"id": "orphan", "parent_id": "nobody"}))


async def test_counters_add_up_within_a_batch_and_over_batches(shelf: Shelf) -> None:
    async def work(rows: Rows) -> None:
        rows.add(counts, "x", {"colour": "red"}, {"apples": 1, "pears": 0})
        rows.add(counts, "x", {"colour": "red"}, {"apples": 2, "pears": 10})
        rows.add(counts, "y", {"colour": "green"}, {"apples": -5, "pears": 1})

    for _ in range(3):
        await shelf.batch(work)
    assert [tuple(row.values()) for row in await shelf.all(counts)] == [("x", "red", 9, 30), ("y", "green", -15, 3)]


@pytest.mark.parametrize(
    "value", ["", "'", '"', "a,b", "{a}", "\\", "\\u0041", "NULL", "ü€😀", "a\nb", "[1]", "%s :x ?"]
)
async def test_any_text_is_found_as_it_was_written(shelf: Shelf, value: str) -> None:
    await shelf.batch(inserting(parents, {"id": "d", "name": value}))

    async def work(rows: Rows) -> list[Any]:
        await rows.read([Read(parents, "name", [value, "x"])])
        return rows.find(parents, "name", value)

    assert [row["id"] for row in await shelf.batch(work)] == ["d"]


async def test_a_locked_row_keeps_other_writers_waiting(shelf: Shelf, database_url: str) -> None:
    """On Postgres by the row's lock, on SQLite because there is one writer."""
    other = Shelf(Database(database_url))
    first_has_it, order = asyncio.Event(), []

    async def first(rows: Rows) -> None:
        await rows.lock(parents, ["a"])
        first_has_it.set()
        await rows.read([Read(parents, "id", ["b", "c"])])
        rows.update(parents, "a", {"age": 1})

    async def second(rows: Rows) -> None:
        await rows.lock(parents, ["a"])
        row = rows.get(parents, "a")
        assert row is not None
        order.append(row["age"])
        rows.update(parents, "a", {"age": row["age"] + 1})

    one = asyncio.create_task(shelf.batch(first))
    await first_has_it.wait()
    await asyncio.gather(one, other.batch(second))
    assert order == [1]
    assert (await shelf.all(parents))[0]["age"] == 2
    await other.database.close()
