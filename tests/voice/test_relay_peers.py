"""Who may open a conversation's socket, and what becomes of peers that do not behave."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import httpx
import pytest

from simulator.calls import Command
from simulator.relay import RelaySession
from tests.servers import until
from tests.voice.stage import TO, Sockets, Stage, close_code, hears, stage
from voice.live.relay import FLOODED, NOT_A_RELAY, REFUSED, SUPERSEDED
from voice.live.switchboard import Switchboard

GREETING = "This is an AI assistant."


@pytest.fixture
async def on(sqlite_url: str) -> AsyncIterator[Stage]:
    async with stage(sqlite_url) as made:
        yield made


async def rings(on: Stage, sockets: Sockets, from_: str = "+14155550188") -> RelaySession:
    """Somebody calls; the session that our TwiML asks for."""
    on.network.ring_in(on.network.numbers[on.org.number], from_)
    return await sockets.session()


def hang_up(on: Stage, session: RelaySession) -> None:
    session.call.command(Command("decline", on.network.clock.now()))


def prompt(text: str) -> dict[str, Any]:
    return {"type": "prompt", "voicePrompt": text, "lang": "en-US", "last": True}


async def test_a_socket_that_is_lost_while_its_conversation_begins_leaves_none_behind(
    on: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_begun, stays = asyncio.Event(), asyncio.Event()

    async def look(switchboard: Switchboard, call_ids: list[str]) -> None:
        has_begun.set()
        await stays.wait()

    monkeypatch.setattr(Switchboard, "_look_for_verdicts", look)
    sockets = on.sockets()
    session = await rings(on, sockets)
    async with sockets.open(session):
        await has_begun.wait()
    await until(lambda: on.switchboard.count == 0, "the conversation to be put away")
    hang_up(on, session)
    sockets.end("completed")


@pytest.mark.parametrize("signature", [None, "", "nonsense", "c2hhMSBvZiBub3RoaW5nIGF0IGFsbA=="])
async def test_a_handshake_without_the_carriers_signature_is_refused(on: Stage, signature: str | None) -> None:
    sockets = on.sockets()
    session = await rings(on, sockets)
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with sockets.open(session, signature=signature):
            pass
    assert refused.value.status == 403


async def test_the_signature_is_over_the_sockets_own_address_with_or_without_a_slash(on: Stage) -> None:
    sockets = on.sockets()
    session = await rings(on, sockets)
    for wrong in (session.url.replace("ws:", "http:"), session.url + "?a=1", session.url.replace("/relay", "/other")):
        with pytest.raises(aiohttp.WSServerHandshakeError):
            async with sockets.open(session, signed=wrong):
                pass
    async with sockets.open(session, signed=session.url + "/") as socket:
        await hears(socket, GREETING)


@pytest.mark.parametrize("ticket", [None, "", "x" * 32, "\ud800", "y" * 10_000])
async def test_a_socket_without_a_good_ticket_is_closed(on: Stage, ticket: str | None) -> None:
    sockets = on.sockets()
    session = await rings(on, sockets)
    first = {**session.setup(), "customParameters": {} if ticket is None else {"ticket": ticket}}
    async with sockets.open(session, first=first) as socket:
        assert await close_code(socket) == REFUSED


async def test_a_ticket_opens_one_socket_and_the_second_does_not_disturb_the_first(on: Stage) -> None:
    sockets = on.sockets()
    session = await rings(on, sockets)
    async with sockets.open(session) as socket:
        await hears(socket, GREETING)
        async with sockets.open(session) as second:
            assert await close_code(second) == REFUSED
        await socket.send_json(prompt("Is there anything I should know?"))
        await hears(socket, "pass your question on")


async def test_a_ticket_of_another_call_is_refused(on: Stage) -> None:
    sockets = on.sockets()
    one, other = await rings(on, sockets), await rings(on, sockets, "+14155550187")
    swapped = {**one.setup(), "customParameters": other.parameters}
    async with sockets.open(one, first=swapped) as socket:
        assert await close_code(socket) == REFUSED
    async with sockets.open(other) as socket:  # the attempt has not used it up
        await hears(socket, GREETING)


async def test_a_ticket_of_a_call_that_is_over_is_refused(on: Stage) -> None:
    sockets = on.sockets()
    session = await rings(on, sockets)
    [call] = (await on.org.get("/v1/calls"))["data"]
    hang_up(on, session)
    await on.over(call)
    async with sockets.open(session) as socket:
        assert await close_code(socket) == REFUSED


async def test_the_newest_socket_has_the_conversation_and_greets_nobody_again(on: Stage) -> None:
    sockets = on.sockets()
    session = await rings(on, sockets)
    async with sockets.open(session) as older:
        await hears(older, GREETING)
        await older.send_json(prompt("I have a question about my order."))
        await hears(older, "anything else")
        sockets.end()  # the carrier has lost it, although we have not noticed
        async with sockets.open(await sockets.session()) as newer:
            assert await close_code(older) == SUPERSEDED
            await newer.send_json(prompt("What are your hours?"))
            said = await hears(newer, "anything else")
            assert "AI assistant" not in said


@pytest.mark.parametrize(
    "frames",
    [
        ["{" for _ in range(10)],
        ["[]" for _ in range(10)],
        [json.dumps({"type": "prompt", "voicePrompt": 7}) for _ in range(10)],
        [json.dumps({"type": "prompt", "voicePrompt": "x" * 70_000}) for _ in range(10)],
        ["[" * 60_000 for _ in range(10)],
        [json.dumps({"type": "setup", "callSid": "CA1"})],
    ],
)
async def test_a_peer_that_is_no_relay_is_closed(on: Stage, frames: list[str]) -> None:
    sockets = on.sockets()
    async with sockets.open(await rings(on, sockets)) as socket:
        await hears(socket, GREETING)
        for frame in frames:
            await socket.send_str(frame)
        assert await close_code(socket) == NOT_A_RELAY


async def test_frames_nobody_knows_and_single_bad_ones_are_passed_over(on: Stage) -> None:
    sockets = on.sockets()
    async with sockets.open(await rings(on, sockets)) as socket:
        await hears(socket, GREETING)
        for number in range(30):
            await socket.send_json({"type": f"new-{number}"})
            await socket.send_str("{" if number % 5 == 0 else json.dumps({"type": "info", "name": "x", "value": 1}))
        await socket.send_json({"type": "dtmf", "digit": "bogus"})
        await socket.send_json({"type": "error", "description": "a \x00 and a \ud800"})
        await socket.send_json(prompt("Half a \ud83d sign and a \x00 zero?"))
        await hears(socket, "anything else")


async def test_words_before_the_setup_are_no_conversation(on: Stage) -> None:
    sockets = on.sockets()
    async with sockets.open(await rings(on, sockets), first=prompt("Hello?")) as socket:
        assert await close_code(socket) == REFUSED


async def test_ten_thousand_frames_at_once_close_their_socket_and_delay_nobody(on: Stage) -> None:
    sockets = on.sockets()
    bad, good = await rings(on, sockets), await rings(on, sockets, "+14155550187")
    async with sockets.open(bad) as flooding, sockets.open(good) as calm, httpx.AsyncClient() as client:
        await hears(flooding, GREETING)
        await hears(calm, GREETING)
        frame = json.dumps(prompt("Hello?"))

        async def flood() -> None:
            for _ in range(10_000):
                await flooding.send_str(frame)

        begun = asyncio.create_task(flood())
        started = time.monotonic()
        await calm.send_json(prompt("Is there anything I should know?"))
        await hears(calm, "anything else")
        assert (await client.get(f"{on.server.url}/healthz")).status_code == 200
        assert time.monotonic() - started < 20
        assert await close_code(flooding) == FLOODED
        begun.cancel()
        await asyncio.gather(begun, return_exceptions=True)
    await until(lambda: on.switchboard.count == 0, "the end of both conversations")


async def test_a_call_whose_socket_keeps_breaking_is_taken_up_three_times_then_hung_up_and_billed(on: Stage) -> None:
    sockets = on.sockets()
    session = await rings(on, sockets)
    [call] = (await on.org.get("/v1/calls"))["data"]
    async with sockets.open(session) as socket:
        await hears(socket, GREETING)
        await socket.send_json({"type": "info", "name": "tokensPlayed", "value": "Hello, you've reached Example."})
        await asyncio.sleep(0.1)
    sockets.end()
    for _ in range(3):
        async with sockets.open(await sockets.session()):
            pass
        sockets.end()
    over = await on.over(call)
    assert over["billing_reason"] == "billed"
    await on.clean()


async def test_a_call_whose_agent_never_got_on_the_line_is_free(on: Stage) -> None:
    sockets = on.sockets()
    await rings(on, sockets)
    [call] = (await on.org.get("/v1/calls"))["data"]
    sockets.end()
    for _ in range(3):
        await sockets.session()
        sockets.end()
    over = await on.over(call)
    assert (over["billing_reason"], over["billing_amount_milli_cents"]) == ("free_platform_error", 0)
    assert (await on.org.get(f"/v1/calls/{call['id']}/receipt"))["confirmed"] is True
    await on.clean()


async def test_who_hangs_up_before_a_word_was_said_is_no_fault_of_ours(on: Stage) -> None:
    sockets = on.sockets()
    session = await rings(on, sockets)
    [call] = (await on.org.get("/v1/calls"))["data"]
    async with sockets.open(session):
        hang_up(on, session)
        over = await on.over(call)
    assert over["billing_reason"] == "billed"
    await on.clean()


async def test_a_call_nobody_could_be_on_is_free_even_if_the_carrier_says_nothing_of_its_session(on: Stage) -> None:
    """Five seconds without a socket, and only the final status arrives."""
    sid = "CA" + "9" * 32
    form = {"CallSid": sid, "To": on.org.number, "From": "+14155550188", "CallStatus": "ringing"}
    await on.server.callback("/webhooks/twilio/voice", form)
    on.server.clock.advance(6)
    await on.server.callback("/webhooks/twilio/status", {**form, "CallStatus": "completed", "CallDuration": "6"})
    [call] = (await on.org.get("/v1/calls"))["data"]
    assert call["billing_reason"] == "free_platform_error"
    await on.clean()


@pytest.mark.parametrize("detection_ms", ["3200", "58000"])
async def test_a_call_nobody_could_be_on_is_free_though_its_answer_was_never_told(on: Stage, detection_ms: str) -> None:
    """Only the verdict and the end arrive; the carrier says that it lasted nearly a minute, or was all detection."""
    on.script("phone")
    on.network.faults = type(on.network.faults)(callback_lost=1.0, verdict_lost=1.0)
    call = await on.org.call(TO)
    sid, path = on.far_end().sid, f"/webhooks/twilio/calls/{call['id']}"
    on.server.clock.advance(60)
    verdict = {"CallSid": sid, "AnsweredBy": "human", "MachineDetectionDuration": detection_ms}
    await on.server.callback(f"{path}/verdict", verdict)
    await on.server.callback(f"{path}/status", {"CallSid": sid, "CallStatus": "completed", "CallDuration": "50"})
    over = await on.over(call)
    assert (over["billing_reason"], over["billing_amount_milli_cents"]) == ("free_platform_error", 0)
    assert (await on.org.get(f"/v1/calls/{call['id']}/receipt"))["confirmed"] is True
    await on.clean()
