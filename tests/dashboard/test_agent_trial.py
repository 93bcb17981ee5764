"""Trying an agent by typing: over a real WebSocket, with a member's own cookie, beside a real tool."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from sqlalchemy import func, select

from billing.tables import transfers
from dashboard import agent_trial
from tests.receiver import Receiver, receiving
from tests.servers import until
from tests.town import Town, Visitor, open_town
from voice.live.tables import segments
from voice.tables import calls

DAY = {"type": "object", "properties": {"day": {"type": "string"}}, "required": ["day"], "additionalProperties": False}


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
async def town(sqlite_url: str) -> AsyncIterator[Town]:
    async with open_town(sqlite_url, ALLOW_PRIVATE_URLS="true") as town:
        yield town


class Panel:
    """The panel of an agent's page without a screen: keeps what it is told."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.told: list[dict[str, Any]] = []

    async def say(self, text: str) -> None:
        await self.socket.send_json({"say": text})

    async def until(self, kind: str, words: str = "") -> dict[str, Any]:
        """The next message of a type that has these words; texts are put together until their last."""
        text = ""
        async with asyncio.timeout(20):
            while True:
                frame = await self.socket.receive()
                assert frame.type is aiohttp.WSMsgType.TEXT, (frame, self.told)
                message: dict[str, Any] = json.loads(frame.data)
                self.told.append(message)
                if message["type"] == "text":
                    text += message["text"]
                    message = {**message, "text": text}
                    text = "" if message["last"] else text
                if message["type"] == kind and words in json.dumps(message) and message.get("last", True):
                    return message


@asynccontextmanager
async def panel(
    town: Town, member: Visitor, agent_id: str, *, origin: str | None = None, token: str | None = None
) -> AsyncIterator[Panel]:
    cookies = "; ".join(f"{name}={value}" for name, value in member.http.cookies.items())
    headers = {"Cookie": cookies, "Origin": town.server.url if origin is None else origin}
    address = f"{town.server.url}/agents/{agent_id}/try"
    async with aiohttp.ClientSession() as session, session.ws_connect(address, headers=headers) as socket:
        await socket.send_json({"csrf_token": member.token if token is None else token})
        yield Panel(socket)


async def agent_of(member: Visitor, **fields: Any) -> str:
    await member.get("/agents/new")
    form = {"type": "outbound", "name": "Caller", "instructions": "Ask how it is.", "first_message": "Hi there."}
    response = await member.post("/agents", **{**form, **fields})
    assert response.status_code == 303, member.text
    agent: str = response.headers["location"].removeprefix("/agents/").partition("?")[0]
    await member.get(f"/agents/{agent}")
    return agent


async def count(town: Town, *tables: Any) -> list[int]:
    async with town.server.app.extensions["database"].read() as connection:
        return [(await connection.execute(select(func.count()).select_from(table))).scalar_one() for table in tables]


async def script(town: Town, *steps: dict[str, Any]) -> None:
    async with aiohttp.ClientSession() as session:
        url = f"{town.server.network_url}/_sim/model"
        async with session.post(url, json={"steps": steps}) as response:
            assert response.status == 201


async def test_a_trial_talks_until_the_agent_hangs_up_and_leaves_no_trace(town: Town) -> None:
    dana = await town.member("dana@example.com")
    agent = await agent_of(dana)
    before = await count(town, calls, segments, transfers)
    async with panel(town, dana, agent) as page:
        await page.until("text", "Hi there.")
        await page.say("Yes?")
        await page.until("text", "?")
        assert sum(message["type"] == "text" for message in page.told) > 5, "it came in pieces"
        await page.say("That is all, goodbye.")
        assert (await page.until("over"))["text"] == "The agent hung up."
    assert await count(town, calls, segments, transfers) == before
    assert await dana.balance() == "$5.00"


async def test_what_reads_is_called_and_what_changes_something_is_only_shown(town: Town, receiver: Receiver) -> None:
    tools: list[dict[str, Any]] = [
        {"name": "free_slots", "description": "Looks up free slots", "policy": "read"},
        {"name": "book", "description": "Books an appointment", "policy": "confirm_first_write"},
    ]
    for tool in tools:
        tool |= {"type": "http", "url": f"{receiver.url}/ok/{tool['name']}", "parameters": DAY}
    dana = await town.member("dana@example.com")
    async with panel(town, dana, await agent_of(dana, tools=json.dumps(tools))) as page:
        await page.until("text", "Hi there.")
        await page.say("Which slots are free on Monday?")
        assert (await page.until("tool", "Answered"))["text"] == 'Calls free_slots {"day": "Monday"}'
        await page.until("text", "thanks")
        await page.say("Please book Monday.")
        await page.until("text", "Shall I go ahead?")
        await page.say("Yes.")
        told = await page.until("tool", "Not called")
        assert told["text"] == 'Would call book {"day": "Monday"}'
        await page.until("text", "done")
    assert [(request.path, request.json) for request in receiver.received] == [("/ok/free_slots", {"day": "Monday"})]


async def test_a_word_in_between_cuts_off_the_answer(town: Town) -> None:
    dana = await town.member("dana@example.com")
    async with panel(town, dana, await agent_of(dana)) as page:
        await page.until("text", "Hi there.")
        await script(town, {"text": "One two three four five six seven eight nine ten.", "delta_ms": 400})
        await page.say("Count for me.")
        while "two" not in "".join(message.get("text", "") for message in page.told):
            page.told.append(await page.socket.receive_json())
        await page.say("Stop, how long will it take?")
        await page.until("cut")
        await page.until("text", "I don't have that at hand")
        assert "ten" not in "".join(message.get("text", "") for message in page.told)


async def test_a_model_that_fails_is_told_with_what_to_do(town: Town) -> None:
    dana = await town.member("dana@example.com")
    async with panel(town, dana, await agent_of(dana)) as page:
        await page.until("text", "Hi there.")
        await script(town, {"fault": "status", "status": 429, "times": 2})
        await page.say("How are you?")
        assert (await page.until("fault"))["text"] == "The language model is busy. Wait a minute, then say it again."
        await page.say("How are you now?")
        await page.until("text", "I don't have that at hand")


async def test_when_the_page_goes_the_model_is_no_longer_asked(town: Town) -> None:
    dana = await town.member("dana@example.com")
    agent = await agent_of(dana)
    await script(town, {"text": "word " * 2_000, "delta_ms": 50})
    async with panel(town, dana, agent) as page:
        await page.until("text", "Hi there.")
        await page.say("Talk to me.")
        while not any("word" in message.get("text", "") for message in page.told):
            page.told.append(await page.socket.receive_json())
    trials = town.server.app.extensions["trials"]
    await until(lambda: not trials.open, "the trial's end")
    assert not [task for task in asyncio.all_tasks() if "_ask_model" in repr(task.get_coro())]


async def test_strangers_other_pages_and_other_accounts_open_no_trial(town: Town) -> None:
    dana, kim = await town.member("dana@example.com"), await town.member("kim@example.com")
    agent = await agent_of(dana)
    await kim.get("/settings")
    for who, origin in ((town.visitor(), None), (dana, "https://evil.example.com"), (dana, "null"), (dana, "")):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with panel(town, who, agent, origin=origin, token="x"):
                pass
        assert refused.value.status == 403
    async with panel(town, dana, agent, token=kim.token) as page:
        assert "This page is too old." in (await page.until("over"))["text"]
    async with panel(town, kim, agent) as page:
        assert (await page.until("over"))["text"] == "This agent is not there any more."
    unverified = town.visitor()
    await unverified.sign_up("lee@example.com")
    async with panel(town, unverified, await agent_of(unverified)) as page:
        assert (await page.until("over"))["text"].startswith("Confirm your email first")


async def test_a_trial_is_bounded_in_speed_length_number_and_size(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    dana = await town.member("dana@example.com")
    agent = await agent_of(dana)
    async with panel(town, dana, agent) as first, panel(town, dana, agent) as second, panel(town, dana, agent) as third:
        for page in (first, second, third):
            await page.until("text", "Hi there.")
        async with panel(town, dana, agent) as fourth:
            assert "Close one" in (await fourth.until("over"))["text"]
        for _ in range(agent_trial.TURNS_PER_MINUTE * 2):
            await first.say("Hello?")
        assert re.search(r"Wait [1-3] s", (await first.until("fault", "That was a lot"))["text"])
        await second.socket.send_str("x" * 5_000)
        assert "500 characters" in (await second.until("over"))["text"]
        town.server.app.extensions["trials"].turns.per_minute = 0
        monkeypatch.setattr(agent_trial, "MOST_TURNS", 2)
        for _ in range(3):
            await third.say("And then?")
        assert "turns at most" in (await third.until("over"))["text"]


async def test_a_trial_ends_with_its_session(town: Town) -> None:
    dana = await town.member("dana@example.com")
    async with panel(town, dana, await agent_of(dana)) as page:
        await page.until("text", "Hi there.")
        await dana.post("/logout")
        await page.say("Still there?")
        assert "Log in again" in (await page.until("over"))["text"]
