"""The telephone in the browser, by its own line: who may do what when, and how time runs meanwhile."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from simulator.callers import GREETING
from simulator.phone import NUMBER
from tests.simulator.telephony import Customer, customer

RELAY = "<Response><Connect><ConversationRelay url='{}/relay'/></Connect></Response>"


@asynccontextmanager
async def tab(who: Customer) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{who.network_url}/phone/line") as line:
        yield line


async def told(line: aiohttp.ClientWebSocketResponse, **wanted: Any) -> dict[str, Any]:
    """The first message, or the call in it, with these fields."""
    async with asyncio.timeout(20):
        while True:
            message: dict[str, Any] = await line.receive_json()
            if all({**(message.get("call") or {}), **message}.get(name) == value for name, value in wanted.items()):
                return message


async def test_time_runs_as_for_people_while_a_tab_shows_a_call_however_fast_the_network() -> None:
    async with customer(speed=2_000) as who, tab(who) as line:
        call = await who.call(NUMBER, timeout=15)
        await told(line, status="ringing")
        before, started = who.network.clock.now(), time.monotonic()
        await asyncio.sleep(0.3)  # 600 s, were nobody looking
        assert who.network.calls[call.sid].is_live
        assert who.network.clock.now() - before < 2 * (time.monotonic() - started)
        await line.send_json({"do": "decline"})
        await told(line, status="busy")
        before = who.network.clock.now()
        await asyncio.sleep(0.01)
        assert who.network.clock.now() - before > 10


async def test_a_call_rings_out_at_once_when_its_tab_is_closed() -> None:
    async with customer(speed=2_000) as who:
        async with tab(who) as line:
            call = await who.call(NUMBER, timeout=600)
            await told(line, status="ringing")
        await who.idle()
        assert who.statuses_of(call.sid)[-1] == "no-answer"


async def test_a_second_call_waits_until_the_first_is_over() -> None:
    async with customer(speed=20) as who, tab(who) as line:
        first = await who.call(NUMBER, timeout=600)
        await told(line, sid=first.sid, status="ringing")
        second = await who.call(NUMBER, timeout=600)
        await who.until(second.sid, "ringing")
        await line.send_json({"do": "decline"})
        await told(line, sid=first.sid, status="busy")
        await told(line, sid=second.sid, status="ringing")


async def test_what_was_not_heard_before_an_interruption_is_marked() -> None:
    async with customer(speed=1) as who, tab(who) as line:
        who.twiml["/twiml"] = RELAY.format(who.url.replace("http", "ws"))
        who.relay_sends = [{"type": "text", "token": "Well. This goes on and on and on.", "last": True}]
        await who.call(NUMBER)
        await told(line, status="ringing")
        await line.send_json({"do": "answer"})
        await told(line, type="line", who="agent", heard=len("Well."))
        await line.send_json({"do": "say", "text": "Stop!"})
        cut = await told(line, type="line", who="agent", is_cut=True)
        assert cut["text"][: cut["heard"]].startswith("Well.")
        assert len(cut["text"]) > cut["heard"]
        await told(line, type="line", who="you", text="Stop!")
        assert {"type": "prompt", "voicePrompt": "Stop!", "lang": "en-US", "last": True} in who.frames


async def test_what_the_agent_goes_on_saying_under_somebody_elses_words_is_one_line() -> None:
    async with customer(speed=1) as who, tab(who) as line:
        who.twiml["/twiml"] = RELAY.format(who.url.replace("http", "ws"))
        who.relay_sends = [{"type": "text", "token": "I am", "last": False}]
        who.relay_answers = [{"type": "text", "token": " calling.", "last": True}]
        await who.call(NUMBER)
        await told(line, status="ringing")
        await line.send_json({"do": "answer"})
        await told(line, type="line", who="agent", text="I am")
        await line.send_json({"do": "say", "text": "Who?"})
        await told(line, type="line", who="agent", text="I am calling.")


async def test_a_voicemail_greets_and_beeps_before_it_records() -> None:
    async with customer(speed=20) as who:
        who.twiml["/twiml"] = RELAY.format(who.url.replace("http", "ws"))
        call = await who.call(NUMBER, timeout=600)
        await who.until(call.sid, "ringing")
        async with tab(who) as line:
            await line.send_json({"do": "voicemail"})
            await told(line, status="in-progress", is_voicemail=True)
        await who.idle()
        async with tab(who) as line:
            lines = (await told(line, type="state", ended_by="far_end"))["lines"]
        assert [(each["who"], each["text"]) for each in lines] == [("voicemail", GREETING), ("note", "Beep")]
        assert [params["AnsweredBy"] for params in who.at("/verdict")] == ["machine_start"]
