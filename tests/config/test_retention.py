"""What is forgotten in time, and what never is."""

import asyncio
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Table, func, insert, select

import config.retention
from accounts.tables import events, mails, sessions
from config.clock import new_id, now_ms
from config.database import Database, metadata
from config.door import Door
from config.retention import RULES, Retention
from tests.billing.books import new_wallet
from tests.databases import alter
from tests.doors import several_doors
from tests.servers import Server
from voice.tables import idempotency_keys
from webhooks.tables import webhook_attempts, webhook_deliveries

DAY_MS = 86_400_000
NOW = now_ms()


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config.retention, "PAUSE_SECONDS", 0)
    monkeypatch.setattr(config.retention, "AT_ONCE", 7)


def id_of(days_ago: float) -> str:
    """Of something made so long ago."""
    tail = UUID(new_id()).int & (1 << 80) - 1
    return str(UUID(int=int(NOW - days_ago * DAY_MS) << 80 | tail))


def rows_of(org_id: str, days_ago: float, *, is_due: bool = False) -> Iterator[tuple[Table, dict[str, Any]]]:
    """One of everything that is forgotten in time."""
    at, due = int(NOW - days_ago * DAY_MS), NOW if is_due else None
    key = {"id": f"{org_id}:{new_id()}:x", "call_id": new_id(), "body_digest": "", "void": False, "created_at": at}
    yield idempotency_keys, key
    own = {"org_id": org_id, "created_at": at}
    yield sessions, {**own, "id": new_id(), "user_id": new_id(), "expires_at": at}
    mail: dict[str, Any] = {"kind": "notice", "recipient": "", "facts": {}, "due_at": due}
    yield mails, {**own, **mail, "id": id_of(days_ago)}
    yield mails, {**own, **mail, "id": id_of(days_ago), "org_id": None}
    delivery = {"event_id": "e", "event_type": "t", "url": "u", "destination": "d", "status": "pending"}
    yield webhook_deliveries, {**own, **delivery, "id": id_of(days_ago), "next_attempt_at": due, "updated_at": at}
    attempt = {"delivery_id": "d", "signature": "", "sent_at": at, "duration_ms": 1, "response_body": ""}
    yield webhook_attempts, {"id": id_of(days_ago), "org_id": org_id, **attempt}
    yield events, {**own, "id": id_of(days_ago), "type": "t", "state": {}, "due_at": due}


async def put(database: Database, rows: Iterator[tuple[Table, dict[str, Any]]]) -> None:
    made = list(rows)
    await alter(database.url, lambda connection: [connection.execute(insert(table), [row]) for table, row in made])


async def left(database: Database) -> dict[str, int]:
    async with database.read() as connection:
        return {
            name: (await connection.execute(select(func.count()).select_from(rule.table))).scalar_one()
            for name, rule in RULES.items()
        }


async def test_what_is_over_is_forgotten_by_whoever_comes_first(database_url: str, database: Database) -> None:
    orgs = [await new_wallet(database) for _ in range(3)]
    for org_id in orgs:
        for _ in range(5):
            await put(database, rows_of(org_id, 61))
    async with several_doors(database_url, 2) as doors:
        found = await asyncio.gather(*(Retention(door.database, door).forget() for door in doors))
    expected = {name: 30 if name == "mails" else 15 for name in RULES}
    assert {name: sum(each[name] for each in found) for name in RULES} == expected
    assert set((await left(database)).values()) == {0}


async def test_what_is_young_or_still_to_be_done_is_kept(database: Database, door: Door) -> None:
    org_id = await new_wallet(database)
    await put(database, rows_of(org_id, -1))
    await put(database, rows_of(org_id, 61, is_due=True))
    before = await left(database)
    await Retention(database, door).forget()
    after = await left(database)
    due_at = {name for name, rule in RULES.items() if rule.due is not None}
    assert {name for name in RULES if after[name] == before[name]} == due_at
    assert all(after.values())


async def test_what_money_was_moved_by_is_never_forgotten(server: Server) -> None:
    org = await server.organisation()
    call = await org.call("+14155550150", headers={"Idempotency-Key": "order-1"}, max_duration_seconds=600)
    await org.over(call)
    kept = (
        "calls",
        "transfers",
        "evidence",
        "topups",
        "stripe_events",
        "topup_reversals",
        "operator_actions",
        "wallets",
    )
    assert not RULES.keys() & {*kept}
    assert {*kept} <= metadata.tables.keys()
    server.clock.advance(3 * 365 * 86_400)
    before = await rows_in(server.database, kept)
    assert before["calls"] == 1
    await Retention(server.database, server.door, server.clock).forget()
    assert await rows_in(server.database, kept) == before
    assert (await left(server.database))["idempotency_keys"] == 0


async def rows_in(database: Database, names: tuple[str, ...]) -> dict[str, int]:
    async with database.read() as connection:
        return {
            name: (await connection.execute(select(func.count()).select_from(metadata.tables[name]))).scalar_one()
            for name in names
        }
