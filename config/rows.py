"""The rows a batch of commands has read, changed and will write.

Owns the translation between plain dicts and bulk statements. Invariant: each row is read once, later commands of
the batch see what earlier ones did, no row is written twice, and rows are given sorted by key, so that two processes
seldom wait for each other in opposite orders (the door tries again what a database gives up for that).

Every table here has one text primary key, called `id`.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from sqlalchemy import Select, Table

from config.look_up import compiled
from config.statements import (
    Sought,
    Write,
    column_names,
    defaults,
    finding,
    finding_together,
    hot_names,
    write_order,
    writing,
    writing_together,
)
from config.writer import Transaction

Row = dict[str, Any]


class Read(NamedTuple):
    """All rows of `table` whose `column` (a text) is one of `values`.

    `locked`: hold them until the commit, as is needed for what belongs to no organisation and is changed.
    """

    table: Table
    column: str
    values: Sequence[str]
    locked: bool = False


class Stale(Exception):
    """What a command found before the lock has changed since, so that it has not read what it must look at: the door
    lets it look again."""


class _Kept:
    """What a batch knows of one table: its rows by id, the same rows by the columns searched, and what to write."""

    __slots__ = ("added", "changed", "deleted", "indexes", "inserted", "rows", "width")

    def __init__(self, table: Table) -> None:
        self.width = len(table.c)
        self.rows: dict[str, Row] = {}
        self.indexes: dict[str, dict[Any, list[Row]]] = {}
        self.inserted: dict[str, Row] = {}
        self.changed: dict[str, set[str]] = defaultdict(set)
        self.added: dict[str, Row] = {}
        self.deleted: list[Row] = []

    def keep(self, row: Row) -> None:
        self.rows[row["id"]] = row
        for column, index in self.indexes.items():
            index[row[column]].append(row)

    def keep_new(self, rows: Iterable[Row]) -> None:
        for row in rows:
            if row["id"] not in self.rows:
                self.keep(row)


class _Tables(dict[Table, _Kept]):
    def __missing__(self, table: Table) -> _Kept:
        kept = self[table] = _Kept(table)
        return kept


class Rows:
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._dialect = transaction.backend
        self._tables = _Tables()

    async def lock(self, table: Table, ids: Sequence[str]) -> None:
        """Read rows by id and hold them until the commit (`ids` sorted: all processes lock in one order)."""
        if ids:
            await self._keep(table, finding(Sought(table, "id", True), self._dialect), ids)

    async def read(self, reads: Iterable[Read]) -> None:
        wanted: dict[tuple[Table, str, bool], set[str]] = defaultdict(set)
        for table, column, values, locked in reads:
            wanted[table, column, locked].update(values)
        together: dict[Sought, list[str]] = {}
        for sought, missing in ((Sought(*key), values) for key, values in wanted.items()):
            if sought.column == "id":
                missing -= self._tables[sought.table].rows.keys()
            if missing and (self._dialect == "sqlite" or sought.locked):
                await self._keep(sought.table, finding(sought, self._dialect), sorted(missing))
            elif missing:
                together[sought] = sorted(missing)
        if together:
            await self._keep_together({sought: together[sought] for sought in sorted(together, key=_place)})

    def get(self, table: Table, row_id: str) -> Row | None:
        return self._tables[table].rows.get(row_id)

    def find(self, table: Table, column: str, value: str) -> list[Row]:
        """Rows among those read or inserted; the command must have declared the read."""
        kept = self._tables[table]
        index = kept.indexes.get(column)
        if index is None:
            index = kept.indexes[column] = defaultdict(list)
            for row in kept.rows.values():
                index[row[column]].append(row)
        return list(index[value]) if value in index else []

    def insert(self, table: Table, row: Row) -> None:
        kept = self._tables[table]
        assert row["id"] not in kept.rows, f"{table.name} {row['id']} is already there"
        if len(row) != kept.width:
            row = {**defaults(table), **row}  # one shape for the bulk statement, and for the commands that follow
        assert len(row) == kept.width, f"{table.name} has no such column"
        kept.inserted[row["id"]] = row
        kept.keep(row)

    def update(self, table: Table, row_id: str, changes: Mapping[str, Any]) -> None:
        """Change a row that was read or inserted; columns that already have the value are left alone. Cold columns
        are not read, so they are always written."""
        kept = self._tables[table]
        row = kept.rows[row_id]
        for name, value in changes.items():
            if name in row and row[name] == value:
                continue
            if (index := kept.indexes.get(name)) is not None:
                index[row[name]].remove(row)
                index[value].append(row)
            row[name] = value
            kept.changed[row_id].add(name)

    def add(self, table: Table, row_id: str, constants: Row, increments: Mapping[str, int]) -> None:
        """Add to counters of a row that need not exist yet (insert or increment, no read)."""
        added = self._tables[table].added
        row = added.setdefault(row_id, {"id": row_id, **constants, **dict.fromkeys(increments, 0)})
        for name, amount in increments.items():
            row[name] += amount

    def delete(self, table: Table, row_id: str) -> None:
        """Forget a row that was read; commands that follow do not find it any more."""
        kept = self._tables[table]
        row = kept.rows.pop(row_id)
        for column, index in kept.indexes.items():
            index[row[column]].remove(row)
        kept.changed.pop(row_id, None)
        if kept.inserted.pop(row_id, None) is None:
            kept.deleted.append(row)

    async def write(self) -> None:
        tables = sorted(self._tables, key=write_order)
        write = self._write_each if self._dialect == "sqlite" else self._write_all
        deleted = {table: self._tables[table].deleted for table in reversed(tables)}
        by_id = itemgetter("id")
        if deletes := {Write("delete", table, ()): sorted(rows, key=by_id) for table, rows in deleted.items() if rows}:
            await write(deletes)
        if changes := {change: rows for table in tables for change, rows in self._changes(table)}:
            await write(changes)

    def _changes(self, table: Table) -> Iterable[tuple[Write, list[Row]]]:
        kept = self._tables[table]
        if kept.inserted:
            yield Write("insert", table, column_names(table)), [kept.inserted[key] for key in sorted(kept.inserted)]
        shapes: dict[tuple[str, ...], list[Row]] = defaultdict(list)
        ids = sorted(kept.changed.keys() - kept.inserted.keys())
        for row_id in ids:
            shapes[tuple(sorted(kept.changed[row_id]))].append(kept.rows[row_id])
        if len(shapes) > 1 and self._dialect == "postgresql":  # all that was read, or every mixture has its own text
            shapes.clear()
            for row_id in ids:
                shapes[tuple(sorted(kept.changed[row_id] | hot_names(table)))].append(kept.rows[row_id])
        for shape, changed in shapes.items():
            yield Write("update", table, shape), changed
        if kept.added:
            yield Write("add", table, column_names(table)), [kept.added[key] for key in sorted(kept.added)]

    async def _write_each(self, rows_of: Mapping[Write, list[Row]]) -> None:
        for write, rows in rows_of.items():
            bulk = writing(write)
            values: list[tuple[Any, ...]]
            if len(bulk.names) == 1:
                values = [(row[bulk.names[0]],) for row in rows]
            else:
                values = list(map(itemgetter(*bulk.names), rows))
            if bulk.adapters:
                adapted = [list(row) for row in values]
                for row in adapted:
                    for place, adapt in bulk.adapters:
                        row[place] = adapt(row[place])
                values = [tuple(row) for row in adapted]
            await self._transaction.execute_many(bulk.text, values)

    async def _write_all(self, rows_of: Mapping[Write, list[Row]]) -> None:
        """In one statement, where each takes a journey to the server."""
        values = []
        for (verb, _, names), rows in rows_of.items():
            if verb == "update":  # the others have their row whole
                rows = [{"id": row["id"], **{name: row[name] for name in names}} for row in rows]
            values.append(msgspec.json.encode(rows).decode())
        await self._transaction.fetch(writing_together(tuple(rows_of)), values)

    async def _keep(self, table: Table, statement: Select[Any], values: Sequence[str]) -> None:
        parameter: Any = list(values)
        if self._dialect == "sqlite":
            parameter = msgspec.json.encode(parameter).decode()
        kept, query = self._tables[table], compiled(statement, self._dialect)
        found = await self._transaction.fetch(query.text, query.values({"wanted": parameter}))
        kept.keep_new(query.rows(found))

    async def _keep_together(self, wanted: Mapping[Sought, Sequence[str]]) -> None:
        """All in one question, where each takes a journey to the server."""
        [found] = await self._transaction.fetch(finding_together(tuple(wanted)), tuple(wanted.values()))
        for sought, rows in zip(wanted, found, strict=True):
            self._tables[sought.table].keep_new(rows or ())


def _place(sought: Sought) -> tuple[str, str]:
    return sought.table.name, sought.column


class OfOneOrganisation:
    """A command that knows from the beginning which organisation it touches: its `org_id`."""

    __slots__ = ()
    if TYPE_CHECKING:

        @property
        def org_id(self) -> str: ...

    def locate(self) -> Sequence[Read]:
        return ()

    def organisations(self, located: Rows) -> Iterable[str]:
        return (self.org_id,)
