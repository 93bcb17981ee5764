"""The stream that tells open pages what changed: at once, only its own account's news, and only so many."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.servers import DOLLAR, Organisation, opened_door
from tests.town import Town, Visitor


@asynccontextmanager
async def listening(member: Visitor, topics: str, **more: str) -> AsyncIterator["asyncio.Queue[str]"]:
    """What the stream says, an event an item, from its first ping on."""
    heard: asyncio.Queue[str] = asyncio.Queue()

    async def listen() -> None:
        async with member.http.stream("GET", "/events", params={"topics": topics, **more}, timeout=60) as stream:
            said: list[str] = []
            async for line in stream.aiter_lines():
                if line:
                    said.append(line)
                else:
                    heard.put_nowait(" ".join(said))
                    said = []

    task = asyncio.create_task(listen())
    try:
        assert await asyncio.wait_for(heard.get(), 20) == "event: ping data:"
        yield heard
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def organisation(town: Town, member: Visitor) -> Organisation:
    await member.get("/settings")
    org_id = member.page.split('id="account-id">')[1].split("<")[0]
    return Organisation(org_id, "", "", member.http)


async def test_money_that_moves_is_told_at_once(town: Town) -> None:
    dana = await town.member("dana@example.com")
    org = await organisation(town, dana)
    async with listening(dana, "wallet ledger usage topups nonsense") as heard:
        await asyncio.sleep(0.3)
        began = asyncio.get_running_loop().time()
        await town.server.credit(org, DOLLAR)
        assert await asyncio.wait_for(heard.get(), 20) == "event: changed data: wallet ledger usage"
        assert asyncio.get_running_loop().time() - began < 2.5, "it did not wait for the next look"


async def test_what_another_process_does_is_found_within_seconds(town: Town) -> None:
    dana = await town.member("dana@example.com")
    org = await organisation(town, dana)
    async with listening(dana, "wallet") as heard, opened_door(town.server.database.url) as door:
        from billing.ledger import Post
        from billing.posting import Posting
        from config.clock import new_id

        await asyncio.sleep(0.3)
        await door.submit(Post(Posting(new_id(), f"{org.id}:cli", org.id, "adjustment", DOLLAR, reason="test")))
        assert await asyncio.wait_for(heard.get(), 20) == "event: changed data: wallet"


async def test_another_accounts_news_is_not_told(town: Town) -> None:
    dana, kim = await town.member("dana@example.com"), await town.member("kim@example.com")
    org = await organisation(town, kim)
    async with listening(dana, "wallet calls") as heard:
        await asyncio.sleep(0.3)
        await town.server.credit(org, DOLLAR)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(heard.get(), 4)


async def test_an_account_has_only_so_many_streams(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dashboard.live.STREAMS_LIMIT_OF_ONE", 2)
    dana = await town.member("dana@example.com")
    async with listening(dana, "wallet"), listening(dana, "wallet"):
        response = await dana.http.get("/events")
        assert response.status_code == 503
        kim = await town.member("kim@example.com")
        async with listening(kim, "wallet"):
            pass
    async with listening(dana, "wallet"):
        pass


async def test_a_stopping_server_does_not_wait_for_open_pages(town: Town) -> None:
    dana = await town.member("dana@example.com")
    ended = asyncio.Event()

    async def listen() -> None:
        async with dana.http.stream("GET", "/events", timeout=60) as stream:
            async for _ in stream.aiter_lines():
                pass
        ended.set()

    task = asyncio.create_task(listen())
    await asyncio.sleep(0.5)
    town.server.app.extensions["bell"].stop()
    await asyncio.wait_for(ended.wait(), 5)
    await task
