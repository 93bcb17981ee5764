"""Who may use the API, and how often."""

import asyncio
import sys
from typing import Any

import httpx
import pytest
from sqlalchemy import select, update

from accounts.tables import api_keys
from config.clock import now_ms
from config.errors import ApiError
from tests.databases import alter
from tests.servers import DOLLAR, ROOT, Organisation, Server, create_organisation, opened_door, running_server
from voice.call_request import CreateCallBody
from voice.service import Calls


async def test_without_a_valid_key_nothing_is_answered(server: Server) -> None:
    org = await server.organisation()
    attempts: list[dict[str, Any]] = [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": org.api_key},
        {"Authorization": f"Basic {org.api_key}"},
        {"Authorization": "Bearer sk_live_unknown"},
        {"Authorization": f"Bearer {org.api_key}x"},
        {"Authorization": f"Bearer {org.api_key[:-1]}"},
        {"Authorization": f"Bearer {org.api_key.upper()}"},
        {"Authorization": "Bearer sk_" + "a" * 5_000},
        {"Authorization": b"Bearer sk_live_\xff\xfe"},
        {"Authorization": "Bearer ' OR 1=1 --"},
        {"Cookie": f"session={org.api_key}"},
        {"X-Api-Key": org.api_key},
    ]
    async with httpx.AsyncClient(base_url=server.url) as anyone:
        for headers in attempts:
            answer = await anyone.post("/v1/calls", headers=headers, json={"to": "+14155550130"})
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized"), headers
            assert answer.headers["WWW-Authenticate"] == "Bearer"
        answer = await anyone.get(f"/v1/calls?api_key={org.api_key}")
        assert answer.status_code == 401
        lower = await anyone.get("/v1/calls", headers={"authorization": f"bearer {org.api_key}"})
        assert lower.status_code == 200
    assert (await org.get("/v1/calls"))["data"] == []


async def test_a_revoked_key_is_refused_at_once(server: Server) -> None:
    org = await server.organisation()
    await org.get("/v1/calls")
    await change_key(server, org, revoked_at=now_ms())
    assert (await org.api.get("/v1/calls")).status_code == 401


REVOKE = """
import asyncio, sys
from accounts.commands import RevokeKey
from tests.servers import opened_door

async def main(url, key_id, org_id):
    async with opened_door(url) as door:
        assert await door.submit(RevokeKey(key_id, org_id))

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_key_revoked_by_another_process_is_refused_at_once(server: Server) -> None:
    org, other = await server.organisation(number=None), await server.organisation(number=None)
    await asyncio.gather(org.wallet(), other.wallet())
    async with server.database.read() as connection:
        key_id = (await connection.execute(select(api_keys.c.id).where(api_keys.c.org_id == org.id))).scalar_one()
    arguments = (sys.executable, "-c", REVOKE, server.settings.database_url, key_id, org.id)
    process = await asyncio.create_subprocess_exec(*arguments, cwd=ROOT)
    assert await process.wait() == 0
    assert (await org.api.get("/v1/billing/wallet")).status_code == 401
    await other.wallet()


async def test_a_key_is_refused_from_the_moment_it_expires(server: Server) -> None:
    org = await server.organisation()
    await change_key(server, org, expires_at=now_ms() + 60_000)
    await org.get("/v1/calls")
    await change_key(server, org, expires_at=now_ms() - 1)
    assert (await org.api.get("/v1/calls")).status_code == 401


async def test_a_key_made_by_another_process_is_valid_at_once(server: Server) -> None:
    async with opened_door(server.settings.database_url) as door:
        org = await create_organisation(server.url, door, number="+14155550105")
    server.clients.append(org.api)
    assert (await org.get("/v1/numbers"))["data"][0]["e164"] == "+14155550105"


async def test_a_key_that_asks_too_often_is_told_when_to_come_back(sqlite_url: str) -> None:
    async with running_server(sqlite_url, RATE_LIMIT_PER_MINUTE="60") as server:
        org, other = await server.organisation(number=None), await server.organisation(number=None)
        answers = await asyncio.gather(*(org.api.get("/v1/billing/wallet") for _ in range(70)))
        refused = [answer for answer in answers if answer.status_code != 200]
        assert 8 <= len(refused) <= 10  # a minute's worth at once, and one more each second
        for answer in refused:
            assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
            assert answer.headers["Retry-After"] == str(answer.json()["retry_after_seconds"])
        await other.wallet()  # its neighbour is not disturbed
        await asyncio.sleep(int(refused[0].headers["Retry-After"]))
        await org.wallet()


async def test_guessing_keys_is_limited_by_address(sqlite_url: str) -> None:
    async with running_server(sqlite_url, RATE_LIMIT_PER_MINUTE="5") as server:
        org = await server.organisation(number=None)
        async with httpx.AsyncClient(base_url=server.url) as anyone:
            codes = []
            for number in range(8):
                guess = {"Authorization": f"Bearer sk_live_{number}"}
                codes.append((await anyone.get("/v1/calls", headers=guess)).status_code)
            codes.append((await anyone.get("/v1/calls")).status_code)
        assert codes == [401] * 5 + [429] * 4
        await org.wallet()  # who has a key is not kept out by who has none


async def test_no_limit_means_no_limit(sqlite_url: str) -> None:
    async with running_server(sqlite_url, RATE_LIMIT_PER_MINUTE="0") as server:
        org = await server.organisation(number=None)
        answers = await asyncio.gather(*(org.api.get("/v1/billing/wallet") for _ in range(40)))
        assert {answer.status_code for answer in answers} == {200}


async def test_a_key_revoked_while_its_request_is_under_way_places_no_call(server: Server) -> None:
    org = await server.organisation()
    [key] = await server.database.look_up(select(api_keys.c.id).where(api_keys.c.org_id == org.id))
    wanted = CreateCallBody(to="+14155550150").wanted(key["id"], True)
    await change_key(server, org, revoked_at=1)  # after the request has been let in
    calls: Calls = server.app.extensions["calls"]
    with pytest.raises(ApiError) as refused:
        await calls.place(org.id, wanted)
    assert (refused.value.status, refused.value.code) == (401, "unauthorized")
    await change_key(server, org, revoked_at=None)
    assert (await org.wallet())["held_milli_cents"] == 0


async def test_a_key_that_was_just_used_opens_nothing_once_another_process_has_revoked_it(server: Server) -> None:
    org = await server.organisation(credit=50 * DOLLAR)
    order = {"to": "+14155550150", "max_duration_seconds": 60}
    again = {"Idempotency-Key": "once"}
    assert (await org.api.post("/v1/calls", json=order, headers=again)).status_code == 201
    await change_key(server, org, revoked_at=1)
    for headers in ({}, again):
        assert (await org.api.post("/v1/calls", json=order, headers=headers)).status_code == 401
    assert (await org.api.get("/v1/calls")).status_code == 401
    await change_key(server, org, revoked_at=None)
    assert len((await org.get("/v1/calls"))["data"]) == 1


async def change_key(server: Server, org: Organisation, **values: int | None) -> None:
    change = update(api_keys).where(api_keys.c.org_id == org.id).values(**values)
    await alter(server.database.url, lambda connection: connection.execute(change))
