"""Batches over HTTP and through the real telephone network: made whole, called within their limits, and brought to an
end whatever happens in between."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from accounts.commands import CreateKey, RevokeKey
from accounts.keys import new_key
from config.clock import new_id
from config.door import Down
from tests.servers import DOLLAR, Organisation, Server, running_network, running_server, until
from tests.voice.test_agents import ask
from voice.batches.commands import LookAtBatch, key_of
from voice.batches.plan import LEASE_MS, TROUBLE_WAIT_MS
from voice.batches.queries import Outlook, due_rows
from voice.batches.queries import look_out as outlook_of
from voice.batches.runner import BatchRunner
from voice.service import Wanted

ANY_HOUR: dict[str, Any] = {"window": None, "max_duration_seconds": 60, "calls_per_second": 10}
HUMAN, VOICEMAIL, FAX, BUSY, NO_ANSWER, FAILED = (f"+14155550{last}" for last in (130, 131, 132, 133, 134, 135))
UNREACHABLE, NEVER_ENDS = "+14155550143", "+14155550149"
LONG = {"max_duration_seconds": 3_600}


@asynccontextmanager
async def working(server: Server) -> AsyncIterator[BatchRunner]:
    """One more process that brings batches on."""
    runner = BatchRunner(server.database, server.door, server.app.extensions["calls"], server.clock)
    task = asyncio.create_task(runner.run())
    yield runner
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await runner.idle()


@pytest.fixture
async def server(server: Server) -> AsyncIterator[Server]:
    """On Postgres with a worker; the embedded database has one within."""
    if server.database.is_sqlite:
        yield server
    else:
        async with working(server):
            yield server


def calls_to(*numbers: str) -> list[dict[str, Any]]:
    return [{"to": number, "context": {"place": place}} for place, number in enumerate(numbers)]


def humans(count: int) -> list[str]:
    """Numbers of people who talk for a while, in different places."""
    return [f"+1{area}5550130" for area in (415, 212, 312, 303, 404, 512, 602, 617, 702, 206, 503, 216)[:count]]


async def make(org: Organisation, numbers: list[str], expect: int = 201, **terms: Any) -> Any:
    what = {} if "agent_id" in terms else {"prompt": "Say hello."}
    body = {**ANY_HOUR, **what, **terms, "calls": calls_to(*numbers)}
    return await ask(org, "POST", "/v1/batches", body, expect=expect)


async def ended(org: Organisation, batch: Mapping[str, Any]) -> Any:
    return await becomes(org, batch, "completed")


async def becomes(org: Organisation, batch: Mapping[str, Any], state: str) -> Any:
    async def found() -> Any:
        shown = await org.get(f"/v1/batches/{batch['id']}")
        return shown if shown["state"] == state else None

    return await until(found, f"the batch to be {state}")


async def rows_of(org: Organisation, batch: Mapping[str, Any], **query: Any) -> Any:
    return (await org.get(f"/v1/batches/{batch['id']}/calls", **query))["data"]


# -- from the first call to the last ----------------------------------------------------------------------------------


async def test_everybody_is_called_once_and_the_batch_says_how_it_went_and_what_it_cost(server: Server) -> None:
    org = await server.organisation(credit=20 * DOLLAR)
    numbers = [HUMAN, VOICEMAIL, FAX, BUSY, NO_ANSWER, FAILED, UNREACHABLE]
    made = await make(org, numbers, name="Reminders", max_concurrent=10, metadata={"campaign": 7})
    assert (made["name"], made["progress"]["total"], made["worst_case_milli_cents"]) == ("Reminders", 7, 7 * 5_000)
    done = await ended(org, made)
    assert done["progress"] == {"total": 7, "waiting": 0, "calling": 0, "done": 7, "skipped": 0, "canceled": 0}
    counts = {"completed": 1, "voicemail": 1, "fax": 1, "busy": 1, "no_answer": 1, "failed": 2, "canceled": 0}
    assert done["outcomes"] == counts
    assert done["completed_at"] is not None
    rows = {row["to"]: row for row in await rows_of(org, made)}
    assert [row["line"] for row in rows.values()] == list(range(1, 8))
    assert rows[UNREACHABLE]["code"] == "number_unreachable"
    assert {row["attempts"] for row in rows.values()} == {1}
    call = await org.get(f"/v1/calls/{rows[HUMAN]['call_id']}")
    assert call["context"] == {"place": 0}
    assert call["metadata"] == {"language": "en", "campaign": 7, "batch_id": made["id"], "batch_line": 1}
    assert done["charged_milli_cents"] == call["billing_amount_milli_cents"] > 0
    assert rows[VOICEMAIL]["charged_milli_cents"] == 0
    assert (await org.wallet())["held_milli_cents"] == 0
    assert Counter(record["to"] for record in await server.records()) == Counter(numbers[:-1])


async def test_never_more_calls_at_once_than_were_asked_for(sqlite_server: Server) -> None:
    org = await sqlite_server.organisation(credit=20 * DOLLAR)
    made = await make(org, humans(6), max_concurrent=2)
    most = 0

    async def over() -> bool:
        nonlocal most
        shown = await org.get(f"/v1/batches/{made['id']}")
        live = [call for call in (await org.get("/v1/calls"))["data"] if call["billing_reason"] is None]
        most = max(most, len(live), shown["progress"]["calling"])
        return bool(shown["state"] == "completed")

    await until(over)
    assert most == 2


async def test_who_was_not_reached_is_called_again_after_the_wait_and_only_so_often(sqlite_server: Server) -> None:
    org = await sqlite_server.organisation()
    retry = {"outcomes": ["busy", "voicemail"], "attempts": 3, "wait_seconds": 600}
    made = await make(org, [BUSY, VOICEMAIL, NO_ANSWER], retry=retry)

    async def waiting_again(attempts: int) -> Any:
        rows = await rows_of(org, made)
        waits = [row for row in rows if row["state"] == "waiting" and row["attempts"] == attempts]
        return waits if len(waits) == 2 else None

    for attempts in (1, 2):
        rows = await until(partial(waiting_again, attempts))
        assert [row["outcome"] for row in rows] == ["busy", "voicemail"]
        assert all(row["next_attempt_at"] > row["updated_at"] for row in rows)
        sqlite_server.clock.advance(600)
    done = await ended(org, made)
    assert [row["attempts"] for row in await rows_of(org, made)] == [3, 3, 1]
    assert done["charged_milli_cents"] == 0
    assert Counter(record["to"] for record in await sqlite_server.records()) == {BUSY: 3, VOICEMAIL: 3, NO_ANSWER: 1}


async def test_who_does_not_want_calls_gets_none_even_if_they_said_so_after_it_began(sqlite_server: Server) -> None:
    org = await sqlite_server.organisation()
    made = await make(org, [NEVER_ENDS, HUMAN], max_concurrent=1, **LONG)
    await until(sqlite_server.records)
    await ask(org, "POST", "/v1/do_not_call", {"e164": HUMAN}, expect=201)
    [first, _] = await rows_of(org, made)
    await org.api.post(f"/v1/calls/{first['call_id']}/hangup")
    await ended(org, made)
    [_, skipped] = await rows_of(org, made)
    assert (skipped["state"], skipped["code"], skipped["call_id"]) == ("skipped", "number_not_allowed", None)
    assert [record["to"] for record in await sqlite_server.records()] == [NEVER_ENDS]


# -- money ------------------------------------------------------------------------------------------------------------


async def test_it_pauses_with_the_wallet_and_goes_on_after_a_top_up(server: Server) -> None:
    org = await server.organisation(credit=3 * DOLLAR + 1)
    made = await make(org, [NEVER_ENDS, HUMAN], max_concurrent=5, **LONG)
    paused = await becomes(org, made, "waiting_for_room")
    assert paused["code"] == "calls_paused"
    assert "Add $3.00 or more in credits to keep calling." in paused["message"]
    assert (paused["progress"]["waiting"], paused["progress"]["calling"]) == (1, 1)
    before = len((await org.get("/v1/calls"))["data"])
    await server.credit(org, 3 * DOLLAR)
    [*_, first] = await until(lambda: _has_calls(org, before + 1))
    await org.api.post(f"/v1/calls/{first['id']}/hangup")
    done = await ended(org, made)
    assert (done["code"], done["message"]) == (None, None)
    assert [row["attempts"] for row in await rows_of(org, made)] == [1, 1]


async def _has_calls(org: Organisation, count: int) -> Any:
    found = (await org.get("/v1/calls"))["data"]
    return found if len(found) >= count else None


async def test_a_cap_holds_it_up_and_lifting_it_lets_it_go_on(sqlite_server: Server) -> None:
    org = await sqlite_server.organisation()
    await ask(org, "PATCH", "/v1/billing/limits", {"daily_cap_milli_cents": 0})
    made = await make(org, [HUMAN])
    held_up = await becomes(org, made, "waiting_for_room")
    assert held_up["code"] == "daily_cap_reached"
    assert held_up["progress"]["waiting"] == 1
    await ask(org, "PATCH", "/v1/billing/limits", {"daily_cap_milli_cents": None})
    await ended(org, made)


async def test_a_revoked_key_calls_nobody_more(sqlite_server: Server) -> None:
    org, key_id, key = await sqlite_server.organisation(), new_id(), new_key()
    await sqlite_server.door.submit(CreateKey(key_id, org.id, "Other", key))
    headers = {"Authorization": f"Bearer {key}"}
    answer = await org.api.post(
        "/v1/batches",
        json={**ANY_HOUR, **LONG, "prompt": "Hi.", "max_concurrent": 1, "calls": calls_to(NEVER_ENDS, HUMAN)},
        headers=headers,
    )
    await until(sqlite_server.records)
    await sqlite_server.door.submit(RevokeKey(key_id, org.id))
    paused = await becomes(org, answer.json(), "paused")
    assert paused["code"] == "key_revoked"


# -- hours ------------------------------------------------------------------------------------------------------------


async def test_people_are_called_in_their_own_hours(sqlite_url: str) -> None:
    async with running_network() as network, running_server(sqlite_url, network=network) as server:
        org = await server.organisation(credit=20 * DOLLAR)
        here = datetime.now(ZoneInfo("America/New_York"))
        night = here.replace(hour=3, minute=0)
        server.clock.advance((night - here).total_seconds() + 86_400)
        made = await make(org, ["+12125550130", "+14155550130"], window={"start": "09:00", "end": "11:30"})
        await becomes(org, made, "waiting_for_window")
        assert await server.records() == []
        server.clock.advance(6 * 3_600 + 60)  # nine in New York, six in San Francisco
        await until(server.records)
        await becomes(org, made, "waiting_for_window")
        assert [record["to"] for record in await server.records()] == ["+12125550130"]
        server.clock.advance(3 * 3_600)
        await ended(org, made)
        assert [record["to"] for record in await server.records()] == ["+12125550130", "+14155550130"]


# -- pause, resume, cancel --------------------------------------------------------------------------------------------


async def test_it_is_paused_resumed_and_canceled(sqlite_server: Server) -> None:
    org = await sqlite_server.organisation(credit=20 * DOLLAR)
    made = await make(org, [NEVER_ENDS, *humans(3)], max_concurrent=1, **LONG)
    base = f"/v1/batches/{made['id']}"
    await until(sqlite_server.records)
    assert (await ask(org, "POST", f"{base}/pause"))["state"] == "paused"
    [first, *_] = await rows_of(org, made)
    await org.api.post(f"/v1/calls/{first['call_id']}/hangup")
    await until(lambda: _nobody_is_called(org, made))
    assert (await org.get(base))["progress"]["waiting"] == 3
    assert (await ask(org, "POST", f"{base}/resume"))["state"] == "running"
    await until(lambda: _has_calls(org, 2))
    canceled = await ask(org, "POST", f"{base}/cancel")
    assert canceled["state"] == "canceled"
    assert await ask(org, "POST", f"{base}/cancel") == await org.get(base)
    assert (await ask(org, "POST", f"{base}/resume", expect=409))["code"] == "batch_over"
    await until(lambda: _nobody_is_called(org, made))
    progress = (await org.get(base))["progress"]
    assert progress["canceled"] >= 1
    assert progress["canceled"] + progress["done"] == 4
    assert {row["state"] for row in await rows_of(org, made, state="canceled")} == {"canceled"}
    assert await rows_of(org, made, state="waiting") == []


async def _nobody_is_called(org: Organisation, batch: Mapping[str, Any]) -> bool:
    shown = await org.get(f"/v1/batches/{batch['id']}")
    return bool(shown["progress"]["calling"] == 0)


async def test_what_no_call_of_it_can_do_without_pauses_it_with_the_reason(sqlite_server: Server) -> None:
    org = await sqlite_server.organisation()
    numbers = [number["id"] for number in (await org.get("/v1/numbers"))["data"]]
    body = {"name": "Bookings", "type": "outbound", "number_ids": numbers}
    agent = await ask(org, "POST", "/v1/agents", body, expect=201)
    made = await make(org, [NEVER_ENDS, HUMAN], max_concurrent=1, agent_id=agent["id"], **LONG)
    await until(sqlite_server.records)
    await ask(org, "DELETE", f"/v1/agents/{agent['id']}")
    [first, _] = await rows_of(org, made)
    await org.api.post(f"/v1/calls/{first['call_id']}/hangup")
    paused = await becomes(org, made, "paused")
    assert paused["code"] in ("no_number", "not_found")
    assert paused["progress"]["waiting"] == 1


# -- death ------------------------------------------------------------------------------------------------------------


async def step(server: Server, made: Mapping[str, Any], org: Organisation) -> Any:
    """What a process does before it places a call: read, and take up a row. Gives the row."""
    async with server.database.read() as connection:
        found = await outlook_of(connection, made["id"])
        assert found is not None
        zones = [group.id for group in found.groups]
        candidates = await due_rows(connection, made["id"], zones, server.clock())
    ids = tuple(row["id"] for row in candidates)
    look = LookAtBatch(made["id"], org.id, found.batch["sequence"], "UTC", found.groups, ids, {}, {})
    [row] = await server.door.submit(look)
    return row


@pytest.mark.parametrize("placed", [False, True])
async def test_a_death_between_taking_up_and_placing_neither_loses_nor_repeats_a_call(
    database_url: str, placed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_network() as network:
        with monkeypatch.context() as nobody_works:
            nobody_works.setattr(BatchRunner, "run", _nothing)
            async with running_server(database_url, network=network) as server:
                org = await server.organisation()
                made = await make(org, [HUMAN])
                row = await step(server, made, org)
                if placed:  # and died before it could tell
                    calls, key = server.app.extensions["calls"], key_of(row["id"], row["claims"])
                    wanted = Wanted(HUMAN, None, 60, {"prompt": "Hello", "result_status": "skipped"})
                    await calls.place(org.id, wanted, key, {"batch_call": key})
                nobody_works.undo()
                async with working(server):
                    await asyncio.sleep(1.5)
                    shown = await org.get(f"/v1/batches/{made['id']}")
                    assert (shown["progress"]["calling"], shown["state"]) == (1, "running")
                    server.clock.advance(LEASE_MS / 1000)
                    await ended(org, made)
                assert [record["to"] for record in await server.records()] == [HUMAN]
                [found] = await rows_of(org, made)
                assert (found["attempts"], found["outcome"]) == (1, "completed")
                assert len((await org.get("/v1/calls"))["data"]) == 1


async def _nothing(self: BatchRunner) -> None: ...


async def test_two_workers_share_a_batch_and_call_nobody_twice(server: Server) -> None:
    org = await server.organisation(credit=20 * DOLLAR)
    async with working(server):
        made = await make(org, humans(12), max_concurrent=6)
        done = await ended(org, made)
    assert done["outcomes"]["completed"] == 12
    assert Counter(record["to"] for record in await server.records()) == Counter(humans(12))


async def test_a_carrier_that_is_away_is_not_asked_for_everybody_in_turn(sqlite_url: str) -> None:
    async with running_server(sqlite_url) as server:
        org = await server.organisation()
        made = await make(org, humans(3), max_concurrent=1)
        await until(lambda: _has_calls(org, 1))
        await asyncio.sleep(1.5)
        assert await _has_calls(org, 2) is None
        assert {row["attempts"] for row in await rows_of(org, made)} == {0}
        [told] = [row for row in await rows_of(org, made) if row["code"]]
        assert (told["code"], told["state"]) == ("carrier_unreachable", "waiting")
        server.clock.advance(TROUBLE_WAIT_MS / 1000)
        [_, first] = await until(lambda: _has_calls(org, 2))
        assert first["status"] == "failed"


async def test_a_sick_batch_keeps_no_other_waiting(sqlite_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    org = await sqlite_server.organisation()
    sick = await make(org, [HUMAN], window={"start": "00:00", "end": "00:01"})

    async def look_out(connection: AsyncConnection, batch_id: str) -> Outlook | None:
        if batch_id == sick["id"]:
            raise RuntimeError("this batch is sick")
        return await outlook_of(connection, batch_id)

    monkeypatch.setattr("voice.batches.runner.look_out", look_out)
    await ask(org, "POST", f"/v1/batches/{sick['id']}/pause")
    await ask(org, "POST", f"/v1/batches/{sick['id']}/resume")
    await ended(org, await make(org, [HUMAN]))


async def test_a_database_that_is_away_for_a_moment_costs_nobody_a_call(
    sqlite_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    org = await sqlite_server.organisation()
    real, failures = BatchRunner.look, iter([Down("away"), RuntimeError("a fault"), Down("away")])

    async def look(self: BatchRunner) -> int:
        for failure in failures:
            raise failure
        return await real(self)

    monkeypatch.setattr(BatchRunner, "look", look)
    await ended(org, await make(org, [HUMAN]))
