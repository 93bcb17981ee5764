"""The audit of a database: silent on what the server wrote, and naming each thing that somebody broke."""

import asyncio
import json
import shutil
import sqlite3
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from config.audit import audit
from tests.databases import SqliteFiles, alter, sqlite_url
from tests.servers import BIN, Organisation, Server, VirtualClock, running_network, running_server, settings_of

HUMAN, VOICEMAIL, BUSY, ENDLESS = "+14155550130", "+14155550131", "+14155550133", "+14155550149"
REFUSED = "+14155550140"


async def audit_of(url: str, ahead_seconds: float = 0) -> Any:
    clock = VirtualClock()
    clock.advance(ahead_seconds)
    return await audit(settings_of({"DATABASE_URL": url}), clock)


def broken(report: Any) -> set[str]:
    return {violation["invariant"] for violation in report["violations"]}


async def place_all_sorts(server: Server, customer: Organisation) -> None:
    """A person, a voicemail, a busy line, a refused number, a charge given back, and a call that goes on."""
    for callee in (HUMAN, VOICEMAIL, BUSY):
        await customer.over(await customer.call(callee))
    await customer.call(REFUSED, expect=400)
    refunded = await customer.over(await customer.call(HUMAN))
    [*_, record] = await server.records()
    late = {"CallSid": record["sid"], "AnsweredBy": "machine_start", "MachineDetectionDuration": "4100"}
    await server.callback(f"/webhooks/twilio/calls/{refunded['id']}/verdict", late)
    assert (await customer.call_of(refunded))["billing_reason"] == "refund_voicemail"
    await customer.call(ENDLESS)


@pytest.fixture(scope="module")
def healthy(sqlite_files: SqliteFiles, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database in which calls of all sorts have happened; to be copied."""
    directory = tmp_path_factory.mktemp("audit")

    async def fill(url: str) -> None:
        async with running_network() as network, running_server(url, network=network) as server:
            customer = await server.organisation()
            await place_all_sorts(server, customer)

    with sqlite_files.database(directory) as url, ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, fill(url)).result()
        with sqlite3.connect(directory / "callingbox.db") as connection:
            connection.execute("pragma wal_checkpoint(truncate)")
    return directory / "callingbox.db"


@pytest.fixture
def copy(healthy: Path, tmp_path: Path) -> Path:
    shutil.copyfile(healthy, tmp_path / "copy.db")
    return tmp_path / "copy.db"


def corrupt(path: Path, *statements: str) -> None:
    """As somebody with the file and no scruples: the database's own guards are taken away first."""
    with sqlite3.connect(path) as connection:
        for name in ("transfers_refuse_update", "transfers_refuse_delete"):
            connection.execute(f"drop trigger {name}")
        connection.execute("pragma ignore_check_constraints = on")
        for statement in statements:
            assert connection.execute(statement).rowcount != 0, statement


async def test_nothing_is_wrong_with_what_the_server_wrote(server: Server) -> None:
    customer = await server.organisation()
    await place_all_sorts(server, customer)
    report = await audit_of(server.settings.database_url)
    # a credit; holds of six calls, five of which ended; a refund
    assert report == {"wallets": 1, "calls": 6, "transfers": 1 + 6 + 5 + 1, "violations": []}


async def test_the_audit_of_a_busy_server_is_one_snapshot(server: Server) -> None:
    customer = await server.organisation(credit=100 * 100_000)
    placing = [asyncio.create_task(customer.call(HUMAN)) for _ in range(20)]
    while not all(task.done() for task in placing):
        assert (await audit_of(server.settings.database_url))["violations"] == []
    for task in placing:
        await customer.over(await task)
        assert (await audit_of(server.settings.database_url))["violations"] == []


async def test_on_postgres_too_a_changed_charge_is_found(server: Server) -> None:
    customer = await server.organisation()
    call = await customer.over(await customer.call(HUMAN))
    forge = text("update calls set billing_amount_milli_cents = 1 where id = :id")
    await alter(server.settings.database_url, lambda connection: connection.execute(forge, {"id": call["id"]}))
    report = await audit_of(server.settings.database_url)
    assert broken(report) == {"charge_matches", "charge_from_evidence", "usage_adds_up"}
    assert {(each["org_id"], each["call_id"]) for each in report["violations"]} == {
        (customer.id, call["id"]),
        (customer.id, None),
    }


CALL = "(select id from calls where billing_reason = 'billed')"
SETTLED = f"kind = 'settle' and call_id = {CALL}"
LATER = f"sequence >= (select sequence from transfers where {SETTLED})"
ENDED_AT = f"(select ended_at from calls where id = {CALL})"
ITS_QUARTER_HOUR = f"quarter_at = {ENDED_AT} - {ENDED_AT} % 900000"
ITS_DAY = f"day_at = {ENDED_AT} - {ENDED_AT} % 86400000"
CORRUPTIONS: dict[str, tuple[tuple[str, ...], set[str]]] = {
    "a wallet has more than its transfers": (
        ("update wallets set balance = balance + 1",),
        {"balance_is_sum"},
    ),
    "a wallet holds more than its holds": (
        ("update wallets set held = held + 1",),
        {"held_is_sum", "held_is_open_holds"},
    ),
    "a wallet has lost count": (
        ("update wallets set sequence = sequence + 1",),
        {"sequence_gapless"},
    ),
    "what a cap is measured by is off": (
        ("update spending set held_milli_cents = held_milli_cents + 1 where scope = 'api_key'",),
        {"spending_adds_up"},
    ),
    "a call under way is forgotten by its caps": (
        ("update spending set open_calls = open_calls - 1",),
        {"spending_adds_up"},
    ),
    "a transfer is gone": (
        ("delete from transfers where kind = 'adjustment'",),
        {"sequence_gapless", "running_totals", "hold_is_covered", "balance_is_sum"},
    ),
    "a transfer does not go on from the one before": (
        (f"update transfers set balance_after = balance_after + 1 where {SETTLED}",),
        {"running_totals"},
    ),
    "a transfer moved more than its amount": (
        (f"update transfers set balance_delta = balance_delta - 1 where {SETTLED}",),
        {"transfer_amounts", "running_totals", "balance_is_sum"},
    ),
    "a transfer is of no known kind": (
        ("update transfers set kind = 'gift' where kind = 'adjustment'",),
        {"transfer_amounts"},
    ),
    "a transfer went to another account of the house": (
        (f"update transfers set credit_account = 'payments' where {SETTLED}",),
        {"house_accounts"},
    ),
    "a hold was larger than what was available": (
        ("update transfers set amount = 900000, held_delta = 900000 where sequence = 2",),
        {"hold_is_covered", "running_totals", "transfer_amounts", "held_is_sum", "reservation_matches"},
    ),
    "a charge exceeds its hold": (
        (f"update transfers set amount = 300001 where {SETTLED}",),
        {"charge_within_hold", "charge_matches", "charge_from_evidence"},
    ),
    "a hold ended that never was": (
        (f"update transfers set pending_id = 'nothing' where {SETTLED}",),
        {"one_second_phase", "held_is_open_holds"},
    ),
    "a hold ended twice": (
        (
            "create table copies as select * from transfers",
            "drop table transfers",
            "alter table copies rename to transfers",
            f"""insert into transfers select 'again', org_id, (select max(sequence) + 1 from transfers), 'release',
            debit_account, credit_account, 0, 0, 0, (select balance from wallets), (select held from wallets), 'again',
            pending_id, null, null, created_at from transfers where {SETTLED}""",
            "update wallets set sequence = sequence + 1",
        ),
        {"one_second_phase"},
    ),
    "a transfer belongs to nobody": (
        ("update transfers set org_id = 'nobody' where sequence = (select max(sequence) from transfers)",),
        {"wallet_exists", "sequence_gapless", "held_is_sum", "held_is_open_holds", "reservation_matches"},
    ),
    "a call says it cost less than was charged": (
        (f"update calls set billing_amount_milli_cents = 5000 where id = {CALL}",),
        {"charge_matches", "charge_from_evidence", "usage_adds_up"},
    ),
    "a charge adds up everywhere but follows from nothing": (
        (
            f"update transfers set balance_after = balance_after - 1000 where {LATER}",
            f"update transfers set amount = amount + 1000, balance_delta = balance_delta - 1000 where {SETTLED}",
            "update wallets set balance = balance - 1000",
            f"update calls set billing_amount_milli_cents = billing_amount_milli_cents + 1000 where id = {CALL}",
            f"update usage_quarter_hours set charged_milli_cents = charged_milli_cents + 1000 where {ITS_QUARTER_HOUR}",
            f"update usage_days set charged_milli_cents = charged_milli_cents + 1000 where {ITS_DAY}",
        ),
        {"charge_from_evidence"},
    ),
    "a call was charged for more seconds than it was connected": (
        (f"update calls set billed_duration_seconds = 64 where id = {CALL}",),
        {"charge_from_evidence", "usage_adds_up"},
    ),
    "the evidence for a charge is gone": (
        (f"delete from evidence where verdict = 'human' and call_id = {CALL}",),
        {"charge_from_evidence"},
    ),
    "the evidence came after the charge": (
        (f"update evidence set arrived_at = arrived_at + 60000 where verdict = 'human' and call_id = {CALL}",),
        {"charge_from_evidence"},
    ),
    "a correction was not made": (
        (
            f"""insert into evidence (id, org_id, call_id, source_key, source, kind, said, arrived_at, verdict,
            detection_ms, verdict_overdue, platform_failed) select 'late', org_id, call_id, 'late', source, kind, said,
            arrived_at + 60000, 'machine', 4100, 0, 0 from evidence where verdict = 'human' and call_id = {CALL}""",
        ),
        {"correction_made"},
    ),
    "a charge is called a release": (
        (f"update calls set reservation_status = 'released' where id = {CALL}",),
        {"reservation_matches"},
    ),
    "a reservation is forgotten": (
        (f"update calls set reservation_status = null where id = {CALL}",),
        {"reservation_matches", "charge_from_evidence"},
    ),
    "a call says it held something else": (
        (f"update calls set hold_milli_cents = 1 where id = {CALL}",),
        {"reservation_matches"},
    ),
    "a settled call is still going on": (
        (f"update calls set status = 'in_progress' where id = {CALL}",),
        {"status_and_money"},
    ),
    "nobody will look at a live call again": (
        ("update calls set due_at = null, ask_at = null where reservation_status = 'reserved'",),
        {"hold_ends"},
    ),
    "a hold is older than any call": (
        ("update calls set created_at = created_at - 100000000 where reservation_status = 'reserved'",),
        {"hold_ends"},
    ),
    "a call is over and its hold still open": (
        (
            """insert into evidence (id, org_id, call_id, source_key, source, kind, said, arrived_at, final_status,
            verdict_overdue, platform_failed) select 'end', org_id, id, 'end', 'callback', 'status', '{}', created_at,
            'busy', 0, 0 from calls where reservation_status = 'reserved'""",
        ),
        {"hold_ends"},
    ),
    "the rollup shows more usage than there was": (
        ("update usage_quarter_hours set connected_seconds = connected_seconds + 1",),
        {"usage_adds_up"},
    ),
    "a day of the rollup is not the sum of its hours": (
        ("update usage_days set unbilled_seconds = unbilled_seconds + 1",),
        {"usage_adds_up"},
    ),
    "the rollup has lost a quarter of an hour": (
        ("delete from usage_quarter_hours",),
        {"usage_adds_up"},
    ),
    "a call is gone": (
        (f"delete from calls where id = {CALL}",),
        {"call_exists", "usage_adds_up"},
    ),
}


@pytest.mark.parametrize("what", CORRUPTIONS)
async def test_the_audit_names_what_was_broken(copy: Path, what: str) -> None:
    statements, expected = CORRUPTIONS[what]
    corrupt(copy, *statements)
    report = await audit_of(sqlite_url(copy))
    assert broken(report) == expected
    assert all(violation["org_id"] and violation["detail"] for violation in report["violations"])


async def test_a_call_in_progress_is_no_violation_until_its_hold_is_too_old(copy: Path) -> None:
    assert broken(await audit_of(sqlite_url(copy))) == set()
    assert broken(await audit_of(sqlite_url(copy), ahead_seconds=26 * 3600)) == {"hold_ends"}


async def test_the_list_of_violations_has_an_end(copy: Path) -> None:
    columns = "id, org_id, call_id, source_key, source, kind, said, arrived_at, verdict_overdue, platform_failed"
    many = f"""with recursive n(i) as (select 1 union all select i + 1 from n where i < 2000)
        insert into evidence ({columns}) select i, 'x', 'x' || i, i, 'callback', 'status', '{{}}', 0, 0, 0 from n"""
    corrupt(copy, many, "update wallets set balance = balance + 1")
    report = await audit_of(sqlite_url(copy))
    assert 500 <= len(report["violations"]) <= 1_000


def run_audit(path: Path) -> "subprocess.CompletedProcess[str]":
    environment = {"DATABASE_URL": sqlite_url(path)}
    command = [str(BIN / "callingbox-server"), "audit"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_the_command_says_json_and_ends_with_0_when_all_is_well(copy: Path) -> None:
    done = run_audit(copy)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["violations"] == []


def test_the_command_ends_with_1_and_names_the_call(copy: Path) -> None:
    corrupt(copy, f"update calls set billing_amount_milli_cents = 5000 where id = {CALL}")
    done = run_audit(copy)
    assert done.returncode == 1
    with sqlite3.connect(copy) as connection:
        [(call_id,)] = connection.execute(CALL[1:-1]).fetchall()
    assert call_id in {violation["call_id"] for violation in json.loads(done.stdout)["violations"]}
