"""Creating a call twice by mistake: one key, one call."""

import asyncio
import json
from typing import Any

import httpx
from sqlalchemy import func, select

from billing.tables import transfers
from simulator.faults import FaultPlan
from tests.servers import DOLLAR, Organisation, Server, running_server
from tests.voice.test_api_calls import script
from voice.tables import calls

TO = "+14155550123"
BODY: dict[str, Any] = {"to": TO, "prompt": "Hello", "context": {"a": 1, "b": [1, 2]}}


async def create(org: Organisation, key: str = "order-7", **body: Any) -> httpx.Response:
    return await org.api.post("/v1/calls", json={**BODY, **body}, headers={"Idempotency-Key": key})


async def count(server: Server) -> tuple[int, int]:
    """(calls, holds) in the database."""
    async with server.database.read() as connection:
        made = (await connection.execute(select(func.count()).select_from(calls))).scalar_one()
        holds = (
            await connection.execute(select(func.count()).select_from(transfers).where(transfers.c.kind == "hold"))
        ).scalar_one()
    return made, holds


async def test_a_repeat_gets_the_call_as_it_stands(server: Server) -> None:
    org = await server.organisation()
    first = await create(org)
    assert first.status_code == 201
    assert "Idempotent-Replayed" not in first.headers
    await org.over(first.json())
    repeat = await create(org)
    assert (repeat.status_code, repeat.headers["Idempotent-Replayed"]) == (201, "true")
    assert repeat.json()["id"] == first.json()["id"]
    assert repeat.json()["billing_reason"] is not None
    assert len(await server.records()) == 1


async def test_bodies_are_compared_parsed(server: Server) -> None:
    org = await server.organisation()
    first = await create(org)
    shuffled = '{\n "context": {"b": [1,2], "a": 1}, "prompt": "H\\u0065llo",\t"to": "+14155550123"}'
    repeat = await org.api.post("/v1/calls", content=shuffled, headers={"Idempotency-Key": "order-7"})
    assert (repeat.status_code, repeat.json()["id"]) == (201, first.json()["id"])


async def test_another_body_under_the_same_key_is_a_conflict(server: Server) -> None:
    org = await server.organisation()
    await create(org)
    for change in ({"prompt": "Bye"}, {"context": {"a": 1, "b": [2, 1]}}, {"language": "en"}):
        conflict = await create(org, **change)
        assert (conflict.status_code, conflict.json()["code"]) == (409, "idempotency_key_reused")
    assert len(await server.records()) == 1


async def test_simultaneous_repeats_dial_once_and_all_get_the_call(server: Server) -> None:
    org = await server.organisation(credit=50 * DOLLAR)
    answers = await asyncio.gather(*(create(org) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert {answer.json()["status"] for answer in answers} != {"queued"}
    assert sum("Idempotent-Replayed" not in answer.headers for answer in answers) == 1
    assert len(await server.records()) == 1
    assert await count(server) == (1, 1)


async def test_a_repeat_waits_for_the_dial_that_is_under_way(server: Server) -> None:
    assert server.network is not None
    server.network.faults = FaultPlan(slow_answer=1.0)
    org = await server.organisation()
    first = asyncio.create_task(create(org))
    await asyncio.sleep(0.01)
    repeat = await create(org)
    assert (await first).json()["status"] != "queued"
    assert repeat.json()["status"] != "queued"


async def test_keys_belong_to_one_organisation(server: Server) -> None:
    one = await server.organisation(number="+14155550101")
    two = await server.organisation(number="+14155550102")
    assert (await create(one)).json()["id"] != (await create(two)).json()["id"]
    assert len(await server.records()) == 2


async def test_a_key_outlives_the_server(server: Server) -> None:
    org = await server.organisation()
    first = await create(org)
    network = server.network
    assert network is not None
    async with (
        running_server(server.settings.database_url, network=(server.network_url, network)) as restarted,
        httpx.AsyncClient(base_url=restarted.url, headers=org.api.headers) as api,
    ):
        repeat = await api.post("/v1/calls", json=BODY, headers={"Idempotency-Key": "order-7"})
    assert (repeat.status_code, repeat.headers["Idempotent-Replayed"]) == (201, "true")
    assert repeat.json()["id"] == first.json()["id"]
    assert len(await server.records()) == 1


async def test_the_carriers_refusal_is_kept(server: Server) -> None:
    org = await server.organisation()
    refused = await create(org, to="+14155550140")
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_number")
    repeat = await create(org, to="+14155550140")
    assert (repeat.status_code, repeat.json()) == (400, refused.json())
    assert repeat.headers["Idempotent-Replayed"] == "true"
    assert await count(server) == (1, 1)


async def test_a_refusal_for_lack_of_credit_is_not_kept(server: Server) -> None:
    org = await server.organisation(credit=DOLLAR)
    assert (await create(org)).status_code == 402
    await server.credit(org, 4 * DOLLAR)
    retried = await create(org)
    assert retried.status_code == 201
    assert "Idempotent-Replayed" not in retried.headers


async def test_a_validation_error_is_not_kept(server: Server) -> None:
    org = await server.organisation()
    assert (await create(org, prompt="")).status_code == 400
    assert (await create(org)).status_code == 201


async def test_a_carrier_without_capacity_leaves_the_key_free(server: Server) -> None:
    org = await server.organisation()
    turned_away = await create(org, to="+14155550146")
    assert (turned_away.status_code, turned_away.json()["code"]) == (503, "carrier_busy")
    assert server.network is not None
    script(server, "human", "+14155550123")
    retried = await create(org, to="+14155550123")  # another body even: the key was never used
    assert retried.status_code == 201
    assert "Idempotent-Replayed" not in retried.headers
    repeat = await create(org, to="+14155550123")
    assert repeat.json()["id"] == retried.json()["id"]


async def test_a_key_is_free_again_after_a_day(server: Server) -> None:
    org = await server.organisation(credit=50 * DOLLAR)
    first = await create(org)
    server.clock.advance(24 * 3600 - 60)
    assert (await create(org)).json()["id"] == first.json()["id"]
    server.clock.advance(120)
    later = await create(org, prompt="Another")
    assert later.status_code == 201
    assert later.json()["id"] != first.json()["id"]


async def test_without_a_key_each_request_is_a_call(server: Server) -> None:
    org = await server.organisation(credit=50 * DOLLAR)
    answers = await asyncio.gather(*(org.api.post("/v1/calls", content=json.dumps(BODY)) for _ in range(3)))
    assert len({answer.json()["id"] for answer in answers}) == 3
