"""The statements that a batch runs: made and compiled once, and then texts for the driver.

Invariant: any number of values shares one text; SQLite gets one for each table and change, Postgres one for all.
"""

from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any, Literal, NamedTuple

from sqlalchemy import (
    ARRAY,
    JSON,
    BindParameter,
    Column,
    Select,
    String,
    Table,
    any_,
    bindparam,
    column,
    delete,
    func,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from config.look_up import DIALECTS

KNOWN_STATEMENTS = 512
Verb = Literal["delete", "insert", "update", "add"]
"""`add`: insert, or add the numbers to the row that is there."""


class Sought(NamedTuple):
    """What a statement finds rows by."""

    table: Table
    column: str
    locked: bool


def hot_columns(table: Table) -> list[Column[Any]]:
    """The columns decisions look at; `info={"cold": True}` marks what the door need not carry about."""
    return [column for column in table.c if not column.info.get("cold")]


@cache
def hot_names(table: Table) -> frozenset[str]:
    return frozenset(column.name for column in hot_columns(table))


@cache
def column_names(table: Table) -> tuple[str, ...]:
    return tuple(column.name for column in table.c)


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
    parts = [f"({_numbered(_finding_all(sought), place)})" for place, sought in enumerate(wanted, 1)]
    return f"SELECT {', '.join(parts)}"


@cache
def _finding_all(sought: Sought) -> str:
    values = bindparam("wanted", type_=ARRAY(String))
    found = select(*hot_columns(sought.table)).where(sought.table.c[sought.column] == any_(values))
    rows = found.order_by(sought.table.c.id).subquery()
    return str(select(func.json_agg(rows.table_valued())).compile(dialect=DIALECTS["postgresql"]))


def _numbered(part: str, place: int) -> str:
    """A part of a statement, each of which has one parameter. Putting texts together is a hundred times quicker than
    compiling them together, and there are many mixtures."""
    return part.replace("$1", f"${place}")


class Write(NamedTuple):
    """What is done to rows of a table, found by their ids; `names`: the columns whose values are given."""

    verb: Verb
    table: Table
    names: tuple[str, ...]


class Bulk(NamedTuple):
    """A statement as the driver takes it, for many rows at once: SQLAlchemy's own way costs more than the driver."""

    text: str
    names: tuple[str, ...]
    """Whose values the rows give, in order."""
    adapters: tuple[tuple[int, Any], ...]
    """Places whose values the driver takes in another form, and what gives it."""


def _change(write: Write, value: Callable[[str], Any], source: Any, inserting: Any) -> Any:
    """`value` gives a column's new value; `source`, where there is one, is a relation of all of them."""
    verb, table, names = write
    if verb == "delete":
        return delete(table).where(table.c.id == value("id"))
    if verb == "update":
        return update(table).where(table.c.id == value("id")).values({name: value(name) for name in names})
    filled = inserting(table)
    if source is None:
        filled = filled.values({name: value(name) for name in names})
    else:
        filled = filled.from_select(names, select(*(value(name) for name in names)))
    if verb == "insert":
        return filled
    counters = [column for column in table.c if column.info.get("counter")]
    return filled.on_conflict_do_update(
        index_elements=[table.c.id],
        set_={column.name: column + filled.excluded[column.name] for column in counters},
    )


@cache
def writing(write: Write) -> Bulk:
    """For SQLite, which is asked again for each row."""
    table, backend = write.table, DIALECTS["sqlite"]

    def value(name: str) -> BindParameter[Any]:
        return bindparam(f"b_{name}", type_=table.c[name].type)

    compiled = _change(write, value, None, sqlite.insert).compile(dialect=backend)
    order = tuple(name.removeprefix("b_") for name in compiled.positiontup)
    processors = (table.c[name].type.dialect_impl(backend).bind_processor(backend) for name in order)
    adapters = tuple((place, process) for place, process in enumerate(processors) if process)
    return Bulk(str(compiled), order, adapters)


@lru_cache(KNOWN_STATEMENTS)
def writing_together(writes: tuple[Write, ...]) -> str:
    """For Postgres: one statement, which takes the rows of each as JSON. References are checked when all of it is
    done. No row may be written twice, and nothing may rely on the order."""
    parts = [f"write_{place} AS ({_numbered(_writing_all(write), place)})" for place, write in enumerate(writes, 1)]
    return f"WITH {', '.join(parts)} SELECT 1"


@cache
def _writing_all(write: Write) -> str:
    names = dict.fromkeys(("id", *write.names))
    given = func.json_to_recordset(bindparam("rows", type_=JSON))
    source = given.table_valued(*(column(name, write.table.c[name].type) for name in names))
    source = source.render_derived(with_types=True)
    return str(_change(write, source.c.__getitem__, source, postgresql.insert).compile(dialect=DIALECTS["postgresql"]))
