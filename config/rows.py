"""The rows a batch of commands has read, changed and will write.

Owns the translation between plain dicts and bulk statements. Invariant: each row is read once, later commands of
the batch see what earlier ones did, and every table is written with at most one statement per shape of change,
inserts sorted by key so that two processes cannot wait for each other in opposite orders.

Every table here has one text primary key, called `id`.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import (
    ARRAY,
    Column,
    Connection,
    Select,
    String,
    Table,
    any_,
    bindparam,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

Row = dict[str, Any]


class Read(NamedTuple):
    """All rows of `table` whose `column` (a text) is one of `values`."""

    table: Table
    column: str
    values: Sequence[str]


class Rows:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._tables: dict[Table, dict[str, Row]] = defaultdict(dict)
        self._indexes: dict[tuple[Table, str], dict[Any, list[Row]]] = {}
        self._inserted: dict[Table, dict[str, Row]] = defaultdict(dict)
        self._changed: dict[Table, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        self._added: dict[Table, dict[str, Row]] = defaultdict(dict)

    def lock(self, table: Table, ids: Sequence[str]) -> None:
        """Read rows by id and hold them until the commit (`ids` sorted: all processes lock in one order)."""
        if ids:
            self._keep(table, _statement(table, "id", self._dialect, lock=True), ids)

    def read(self, reads: Iterable[Read]) -> None:
        wanted: dict[tuple[Table, str], set[str]] = defaultdict(set)
        for table, column, values in reads:
            wanted[table, column].update(values)
        for (table, column), missing in wanted.items():
            if column == "id":
                missing -= self._tables[table].keys()
            if missing:
                self._keep(table, _statement(table, column, self._dialect), sorted(missing))

    def get(self, table: Table, row_id: str) -> Row | None:
        return self._tables[table].get(row_id)

    def find(self, table: Table, column: str, value: str) -> list[Row]:
        """Rows among those read or inserted; the command must have declared the read."""
        index = self._indexes.get((table, column))
        if index is None:
            index = self._indexes[table, column] = defaultdict(list)
            for row in self._tables[table].values():
                index[row[column]].append(row)
        return list(index[value]) if value in index else []

    def insert(self, table: Table, row: Row) -> None:
        row_id = row["id"]
        assert row_id not in self._tables[table], f"{table.name} {row_id} is already there"
        if len(row) != len(table.c):
            row = {**_defaults(table), **row}  # one shape for the bulk statement, and for the commands that follow
        assert len(row) == len(table.c), f"{table.name} has no such column"
        self._tables[table][row_id] = self._inserted[table][row_id] = row
        for (indexed, column), index in self._indexes.items():
            if indexed is table:
                index[row[column]].append(row)

    def update(self, table: Table, row_id: str, changes: Mapping[str, Any]) -> None:
        """Change a row that was read or inserted; columns that already have the value are left alone. Cold columns
        are not read, so they are always written."""
        row = self._tables[table][row_id]
        changed = [name for name, value in changes.items() if name not in row or row[name] != value]
        for name in changed:
            index = self._indexes.get((table, name))
            if index is not None:
                index[row[name]].remove(row)
                index[changes[name]].append(row)
            row[name] = changes[name]
        if changed and row_id not in self._inserted[table]:
            self._changed[table][row_id].update(changed)

    def add(self, table: Table, row_id: str, constants: Row, increments: Mapping[str, int]) -> None:
        """Add to counters of a row that need not exist yet (insert or increment, no read)."""
        row = self._added[table].setdefault(row_id, {"id": row_id, **constants, **dict.fromkeys(increments, 0)})
        for name, amount in increments.items():
            row[name] += amount

    def write(self) -> None:
        for table in sorted({*self._inserted, *self._changed, *self._added}, key=_write_order):
            if inserted := self._inserted[table]:
                self._connection.execute(insert(table), [inserted[key] for key in sorted(inserted)])
            shapes: dict[tuple[str, ...], list[Row]] = defaultdict(list)
            for row_id, names in sorted(self._changed[table].items()):
                row = self._tables[table][row_id]
                shape = tuple(sorted(names))
                shapes[shape].append({"b_id": row_id, **{f"b_{name}": row[name] for name in shape}})
            for shape, values in shapes.items():
                self._connection.execute(_update(table, shape), values)
            if added := self._added[table]:
                self._connection.execute(_upsert(table, self._dialect), [added[key] for key in sorted(added)])

    @property
    def _dialect(self) -> str:
        return self._connection.dialect.name

    def _keep(self, table: Table, statement: Select[Any], values: Sequence[str]) -> None:
        parameter: Any = list(values)
        if self._dialect == "sqlite":
            parameter = msgspec.json.encode(parameter).decode()
        known = self._tables[table]
        indexes = [(column, index) for (indexed, column), index in self._indexes.items() if indexed is table]
        for found in self._connection.execute(statement, {"wanted": parameter}).mappings():
            if found["id"] not in known:
                row = known[found["id"]] = dict(found)
                for column, index in indexes:
                    index[row[column]].append(row)


def hot_columns(table: Table) -> list[Column[Any]]:
    """The columns decisions look at; `info={"cold": True}` marks what the door need not carry about."""
    return [column for column in table.c if not column.info.get("cold")]


@cache
def _defaults(table: Table) -> Row:
    return {column.name: getattr(column.default, "arg", None) for column in table.c}


@cache
def _write_order(table: Table) -> tuple[int, str]:
    """The same in every process, and a row comes after those it refers to."""
    names = {key.target_fullname.rpartition(".")[0] for key in table.foreign_keys} - {table.name}
    referred = [table.metadata.tables[name] for name in names if name in table.metadata.tables]
    return max((_write_order(other)[0] + 1 for other in referred), default=0), table.name


@cache
def _statement(table: Table, column: str, dialect: str, lock: bool = False) -> Select[Any]:
    """One text for any number of values, so that the server prepares it once."""
    statement = select(*hot_columns(table)).order_by(table.c.id)
    if dialect == "sqlite":
        each = func.json_each(bindparam("wanted", type_=String)).table_valued("value")
        return statement.where(table.c[column].in_(select(each.c.value)))
    statement = statement.where(table.c[column] == any_(bindparam("wanted", type_=ARRAY(String))))
    return statement.with_for_update() if lock else statement


@cache
def _update(table: Table, names: tuple[str, ...]) -> Any:
    return update(table).where(table.c.id == bindparam("b_id")).values({name: bindparam(f"b_{name}") for name in names})


@cache
def _upsert(table: Table, dialect: str) -> Any:
    """Insert, or add the numbers to the row that is there."""
    statement: Any = (postgresql.insert if dialect == "postgresql" else sqlite.insert)(table)
    counters = [column for column in table.c if column.info.get("counter")]
    return statement.on_conflict_do_update(
        index_elements=[table.c.id],
        set_={column.name: column + statement.excluded[column.name] for column in counters},
    )
