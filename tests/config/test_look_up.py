"""What is looked for again and again is found by an index, however much has been written since."""

import ast
import importlib
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import Select, Table

from accounts.keys import _FIND
from accounts.mailer import DUE_MAILS
from config.database import Database
from config.look_up import compiled
from config.notifier import DUE_ALERTS
from config.statements import Sought, finding
from config.writer import Transaction
from tests.servers import ROOT
from voice.agents.commands import PRIMARY_NUMBER
from voice.batches.queries import DUE_BATCHES
from voice.calls import DUE, OF_ANYBODY, OF_ORGANISATION, OLDEST_ACTIVE_NUMBER, SILENT
from webhooks.fan_out import DUE_EVENTS

ROOMS = ("accounts", "billing", "voice", "webhooks")
LOOK_UPS: dict[str, Select[Any]] = {
    "the caller of an API key": _FIND,
    "calls that are due": DUE,
    "calls that are silent": SILENT,
    "a call": OF_ANYBODY,
    "an organisation's call": OF_ORGANISATION,
    "an organisation's oldest number": OLDEST_ACTIVE_NUMBER,
    "an agent's primary number": PRIMARY_NUMBER,
    "batches that are due": DUE_BATCHES,
    "events that are due": DUE_EVENTS,
    "mails that are due": DUE_MAILS,
    "alerts that are due": DUE_ALERTS,
}


def declared_reads() -> Iterator[tuple[Table, str]]:
    """Table and column of each `Read(table, "column", …)` in the rooms."""
    for path in sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py")):
        source = path.read_text()
        if "Read(" not in source:
            continue
        module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
        for call in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)):
            match call:
                case ast.Call(ast.Name("Read"), [ast.Name(table), ast.Constant(str(column)), *_]):
                    yield getattr(module, table), column


READS = sorted(set(declared_reads()), key=lambda read: (read[0].name, read[1]))


async def whole_reads(database: Database, query: Select[Any]) -> list[str]:
    """The steps of its plan that pass through a whole table. Postgres is asked without the values, as it plans once for
    all of them."""
    if database.is_sqlite:
        statement = compiled(query, "sqlite")
        text, values = f"EXPLAIN QUERY PLAN {statement.text}", [1] * statement.text.count("?")
        steps = [step[3] for step in await database.write(lambda transaction: transaction.fetch(text, values))]
        return [step for step in steps if step.startswith("SCAN") and "VIRTUAL TABLE" not in step]
    text = compiled(query, "postgresql").text
    nothing = ", ".join(["NULL"] * len(set(re.findall(r"\$\d+", text))))

    async def explain(transaction: Transaction) -> list[str]:
        await transaction.fetch(f"PREPARE sought AS {text}", ())
        return [step[0] for step in await transaction.fetch(f"EXPLAIN EXECUTE sought({nothing})", ())]

    steps = await database.write(explain)
    scans = [each for each in pairwise([*steps, ""]) if re.search("(Index|Index Only|Seq) Scan", each[0])]
    return [scan for scan, condition in scans if "Index Cond" not in condition]


@pytest.mark.parametrize("name", LOOK_UPS)
async def test_a_look_up_reads_no_table_whole(database: Database, name: str) -> None:
    assert await whole_reads(database, LOOK_UPS[name]) == []


@pytest.mark.parametrize(("table", "column"), READS, ids=[f"{table.name}.{column}" for table, column in READS])
async def test_what_commands_declare_to_read_is_found_by_an_index(
    database: Database, table: Table, column: str
) -> None:
    query = finding(Sought(table, column, locked=False), "sqlite" if database.is_sqlite else "postgresql")
    assert await whole_reads(database, query) == []


def test_the_reads_of_the_commands_are_known() -> None:
    assert ("calls", "twilio_call_sid") in {(table.name, column) for table, column in READS}
