"""The statements that a batch runs: made and compiled once, and then texts for the driver.

Invariant: the same rows are written in the same order in every process, and any number of values shares one text.
"""

from collections.abc import Iterable
from functools import cache, lru_cache
from typing import Any, NamedTuple

from sqlalchemy import (
    ARRAY,
    Column,
    Select,
    String,
    Table,
    any_,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from config.look_up import DIALECTS

KNOWN_STATEMENTS = 512


class Sought(NamedTuple):
    """What a statement finds rows by."""

    table: Table
    column: str
    locked: bool


def hot_columns(table: Table) -> list[Column[Any]]:
    """The columns decisions look at; `info={"cold": True}` marks what the door need not carry about."""
    return [column for column in table.c if not column.info.get("cold")]


@cache
def defaults(table: Table) -> dict[str, Any]:
    return {column.name: getattr(column.default, "arg", None) for column in table.c}


@cache
def write_order(table: Table) -> tuple[int, str]:
    """The same in every process, and a row comes after those it refers to."""
    names = {key.target_fullname.rpartition(".")[0] for key in table.foreign_keys} - {table.name}
    referred = [table.metadata.tables[name] for name in names if name in table.metadata.tables]
    return max((write_order(other)[0] + 1 for other in referred), default=0), table.name


@cache
def finding(sought: Sought, dialect: str) -> Select[Any]:
    """One text for any number of values, so that the server prepares it once."""
    table, column, locked = sought
    statement = select(*hot_columns(table)).order_by(table.c.id)
    if dialect == "sqlite":
        each = func.json_each(bindparam("wanted", type_=String)).table_valued("value")
        return statement.join_from(each, table, table.c[column] == each.c.value)
    statement = statement.where(table.c[column] == any_(bindparam("wanted", type_=ARRAY(String))))
    return statement.with_for_update() if locked else statement


@lru_cache(KNOWN_STATEMENTS)
def finding_together(wanted: tuple[Sought, ...]) -> str:
    """One row for Postgres to answer with: of each, the rows found, as JSON."""
    found = []
    for place, (table, column, _) in enumerate(wanted, 1):
        values = bindparam(f"wanted_{place}", type_=ARRAY(String))
        rows = select(*hot_columns(table)).where(table.c[column] == any_(values)).order_by(table.c.id).subquery()
        found.append(select(func.json_agg(rows.table_valued())).scalar_subquery().label(f"found_{place}"))
    return str(select(*found).compile(dialect=DIALECTS["postgresql"]))


class Bulk(NamedTuple):
    """A statement as the driver takes it, for many rows at once: SQLAlchemy's own way costs more than the driver."""

    text: str
    names: tuple[str, ...]
    """Whose values the rows give, in order."""
    adapters: tuple[tuple[int, Any], ...]
    """Places whose values the driver takes in another form, and what gives it."""


def _bulk(table: Table, statement: Any, dialect: str, names: Iterable[str] | None = None) -> Bulk:
    backend = DIALECTS[dialect]
    compiled = statement.compile(dialect=backend, column_keys=names)
    order = tuple(name.removeprefix("b_") for name in compiled.positiontup)
    processors = (table.c[name].type.dialect_impl(backend).bind_processor(backend) for name in order)
    adapters = tuple((place, process) for place, process in enumerate(processors) if process)
    return Bulk(str(compiled), order, adapters)


@cache
def inserting(table: Table, dialect: str) -> Bulk:
    return _bulk(table, insert(table), dialect, [column.name for column in table.c])


@cache
def updating(table: Table, names: tuple[str, ...], dialect: str) -> Bulk:
    changes = {name: bindparam(f"b_{name}", type_=table.c[name].type) for name in names}
    return _bulk(table, update(table).where(table.c.id == bindparam("b_id")).values(changes), dialect)


@cache
def deleting(table: Table, dialect: str) -> Bulk:
    return _bulk(table, delete(table).where(table.c.id == bindparam("b_id")), dialect)


@cache
def adding(table: Table, dialect: str) -> Bulk:
    """Insert, or add the numbers to the row that is there."""
    statement: Any = (postgresql.insert if dialect == "postgresql" else sqlite.insert)(table)
    counters = [column for column in table.c if column.info.get("counter")]
    upsert = statement.on_conflict_do_update(
        index_elements=[table.c.id],
        set_={column.name: column + statement.excluded[column.name] for column in counters},
    )
    return _bulk(table, upsert, dialect, [column.name for column in table.c])
