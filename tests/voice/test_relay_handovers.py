"""Calls that change hands: to a person, to another socket, to another process."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from simulator.callers import by_script
from simulator.model import Model, Step
from simulator.network import Network
from simulator.relay import Line, RelayEnd, RelaySession, converse
from simulator.scripts import parse
from tests.servers import (
    Installation,
    Organisation,
    create_organisation,
    installation,
    opened_door,
    running_network,
    running_server,
    until,
)
from tests.voice.stage import PACE, TO, Sockets, Stage, close_code, hears, stage
from voice.carrier import Carrier, CarrierUnavailable
from voice.live.relay import SUPERSEDED

PERSON = "+14155550170"
LINES = ["Hello?", "Yes.", "Go on.", "Well.", "No, that's all. Bye."]
TRANSFER = Step(when="speak to a person", text="I will connect you.", tool_calls=(("transfer_call", {}),))


@pytest.fixture
async def on(sqlite_url: str) -> AsyncIterator[Stage]:
    async with stage(sqlite_url) as made:
        yield made


# -- to a person ------------------------------------------------------------------------------------------------------


async def _says_hello(sockets: Sockets) -> None:
    async with sockets.open(await sockets.session()) as socket:
        await socket.send_json(_prompt("Hello?"))
        await hears(socket, "Is this a good moment?")


async def test_a_person_who_accepts_a_transfer_gets_the_call_until_it_ends(on: Stage) -> None:
    agent = await on.agent(transfer_number=PERSON)
    on.say(TRANSFER)
    on.script(says=["Hello?", "I want to speak to a person."])
    on.script(to=PERSON, digits="1", talk_seconds=20)
    call = await on.call_by_agent(agent)
    assert on.far_end(PERSON).direction == "outbound-dial"
    assert on.far_end(PERSON).order.from_ == on.org.number
    assert on.far_end(PERSON).time_limit_seconds <= 3_600
    assert (await on.transcript(call))[-1]["text"] == "The call was taken over by a person."
    assert (call["status"], call["billing_reason"]) == ("completed", "billed")
    assert call["duration_seconds"] > 20
    await on.clean()


@pytest.mark.parametrize("outcome", ["no-answer", "busy", "failed", "human"])
async def test_when_nobody_takes_a_transfer_the_agent_says_so_and_goes_on(on: Stage, outcome: str) -> None:
    """A person who picks up but presses nothing has not taken it either."""
    agent = await on.agent(transfer_number=PERSON)
    on.say(TRANSFER)
    on.script(says=["Hello?", "I want to speak to a person.", "No, that's all. Bye."])
    on.script(outcome, to=PERSON)
    call = await on.call_by_agent(agent)
    said = await on.spoken(call)
    assert any("nobody could take your call" in line for line in said)
    assert "person: No, that's all. Bye." in said
    assert sum("AI assistant" in line for line in said) == 1
    await on.clean()


async def test_a_transfer_goes_to_the_agents_own_number_and_allowed_countries_alone(on: Stage) -> None:
    agent = await on.agent(transfer_number=PERSON)
    sockets = on.sockets()
    on.script()
    call = await on.org.call(TO, agent_id=agent)
    session = await sockets.session()
    async with sockets.open(session):
        pass
    sockets.end("ended", '{"reason": "transfer", "number": "+14155550171"}')
    await sockets.session()  # the agent is connected again instead
    assert not [child for child in on.network.calls.values() if child.direction == "outbound-dial"]
    await on.org.api.post(f"/v1/calls/{call['id']}/hangup")
    await on.over(call)


async def test_that_nobody_took_a_transfer_is_said_though_sockets_are_lost_before_they_open(on: Stage) -> None:
    """And no more often than other lost sockets are."""
    agent = await on.agent(transfer_number=PERSON)
    sockets = on.sockets()
    on.script()
    call = await on.org.call(TO, agent_id=agent)
    await _says_hello(sockets)
    sockets.end("ended", '{"reason": "transfer", "number": "+14155550171"}')  # which is not the agent's
    for _ in range(2):
        await sockets.session()
        sockets.end()
    async with sockets.open(await sockets.session()) as socket:
        await hears(socket, "nobody could take your call")
    sockets.end()
    async with sockets.open(await sockets.session()) as socket:
        await socket.send_json(_prompt("Is there anything I should know?"))
        assert "nobody could" not in await hears(socket, "anything else")
    sockets.end()
    await on.over(call)  # taken up as often as it may be
    assert sum("nobody could take your call" in line for line in await on.spoken(call)) <= 2


async def _lost(*of: Any, **how: Any) -> None:
    raise CarrierUnavailable("the request was lost")


async def test_nobody_is_rung_for_a_call_that_is_to_be_hung_up(on: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Carrier, "hang_up", _lost)
    agent = await on.agent(transfer_number=PERSON)
    sockets = on.sockets()
    on.script()
    call = await on.org.call(TO, agent_id=agent)
    await _says_hello(sockets)
    await on.org.api.post(f"/v1/calls/{call['id']}/hangup")
    sockets.end("ended", f'{{"reason": "transfer", "number": "{PERSON}"}}')
    await on.over(call)
    assert not [child for child in on.network.calls.values() if child.direction == "outbound-dial"]


async def test_who_is_hung_up_on_while_a_transfer_rings_does_not_come_back_to_the_agent(
    on: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Carrier, "hang_up", _lost)
    agent = await on.agent(transfer_number=PERSON)
    sockets = on.sockets()
    on.script()
    on.script("no-answer", to=PERSON)
    call = await on.org.call(TO, agent_id=agent)
    await _says_hello(sockets)
    sockets.end("ended", f'{{"reason": "transfer", "number": "{PERSON}"}}')
    await until(lambda: any(each.direction == "outbound-dial" for each in on.network.calls.values()), "the transfer")
    await on.org.api.post(f"/v1/calls/{call['id']}/hangup")
    over = await on.over(call)  # which an agent connected again would keep up
    assert (over["status"], over["hangup_cause"]) == ("completed", "customer")


# -- to another socket ------------------------------------------------------------------------------------------------


async def test_a_conversation_goes_on_after_its_socket_was_lost(on: Stage) -> None:
    async def unlucky(line: Line) -> None:
        if line.lines_said == 0:
            await line.wait(0.5)
            await line.say("Hello?")
        elif line.lines_said == 3:
            await line.listen()
            await line.say("No, that's all. Bye.")
            return
        await line.listen()
        await line.say("I see. Please go on.")
        await line.break_off()

    on.network.relay = lambda network, session: converse(network, session, unlucky)
    on.script()
    call = await on.call()
    assert on.far_end().sessions == 3
    said = await on.spoken(call)
    assert sum("AI assistant" in line for line in said) == 1
    assert [line for line in said if line.startswith("person:")][-1] == "person: No, that's all. Bye."
    assert call["billing_reason"] == "billed"
    await on.clean()


async def test_a_conversation_goes_on_through_more_planned_handovers_than_sockets_may_be_lost(on: Stage) -> None:
    sockets = on.sockets()
    on.script()
    call = await on.org.call(TO)
    await _says_hello(sockets)
    for _ in range(5):
        sockets.end("ended", '{"reason": "drain"}')
        await sockets.session()
    for _ in range(3):
        sockets.end()
        session = await sockets.session()
    async with sockets.open(session) as socket:
        await socket.send_json(_prompt("Is there anything I should know?"))
        await hears(socket, "anything else")
    sockets.end()
    await on.over(call)


async def test_a_process_that_stops_waits_in_peace_for_carriers_to_close_what_has_ended(
    on: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits, wait = 0, asyncio.wait

    async def counted(*tasks: Any, **how: Any) -> Any:
        nonlocal waits
        waits += 1
        return await wait(*tasks, **how)

    sockets = on.sockets()
    on.script()
    call = await on.org.call(TO)
    async with sockets.open(await sockets.session()) as socket:
        await socket.send_json(_prompt("Hello?"))
        await hears(socket, "Is this a good moment?")
        monkeypatch.setattr(asyncio, "wait", counted)
        await on.switchboard.drain()  # nobody reads the socket, so it stays open for a while
        monkeypatch.undo()
    assert waits < 1_000
    await on.org.api.post(f"/v1/calls/{call['id']}/hangup")
    sockets.end("completed")


async def test_a_machine_verdict_that_came_before_the_socket_is_known_to_the_conversation(on: Stage) -> None:
    sockets = on.sockets()
    on.script("silent", verdict="machine_start", detection_ms=0)
    call = await on.org.call(TO)
    session = await sockets.session()
    await until(lambda: _answered_by(on.org, call, "machine"), "the verdict")
    async with sockets.open(session) as socket:
        async with asyncio.timeout(20):
            while (frame := await socket.receive_json())["type"] != "end":
                pass
    assert '"voicemail"' in frame["handoffData"]
    sockets.end("ended", frame["handoffData"])
    assert (await on.over(call))["billing_reason"] == "free_voicemail"


async def _answered_by(org: Organisation, call: Any, who: str) -> bool:
    return bool((await org.call_of(call))["answered_by"] == who)


async def test_a_verdict_told_again_does_not_put_the_hang_up_off(on: Stage) -> None:
    sockets = on.sockets()
    on.script("silent", verdict=None)
    call = await on.org.call(TO)
    session = await sockets.session()
    form = {"CallSid": session.call.sid, "AnsweredBy": "machine_start", "MachineDetectionDuration": "3000"}
    async with sockets.open(session) as socket:

        async def tell() -> None:
            for number in range(200):
                await on.server.callback(
                    f"/webhooks/twilio/calls/{call['id']}/verdict", {**form, "MachineDetectionDuration": str(number)}
                )

        telling = asyncio.create_task(tell())
        async with asyncio.timeout(20):
            while (frame := await socket.receive_json())["type"] != "end":
                pass
        assert not telling.done()
        telling.cancel()
    sockets.end("ended", frame["handoffData"])
    await on.over(call)


# -- to another process -----------------------------------------------------------------------------------------------


async def test_of_two_processes_the_one_with_the_newest_socket_has_the_conversation(postgres_url: str) -> None:
    """And a verdict that one of them is told reaches the conversation of the other."""
    async with stage(postgres_url) as on:
        sockets = on.sockets()
        on.script("silent", verdict=None)
        call = await on.org.call(TO)
        session = await sockets.session()
        elsewhere = {"PUBLIC_BASE_URL": on.server.url, "OPENAI_BASE_URL": on.server.settings.model_base_url}
        network = on.server.network_url, on.network
        async with running_server(postgres_url, network=network, **elsewhere) as other, sockets.open(session) as older:
            await older.send_json(_prompt("Hello?"))
            await hears(older, "Is this a good moment?")
            sockets.end()
            async with Sockets(other).open(await sockets.session(), at=other.url) as newer:
                await newer.send_json(_prompt("Is there anything I should know?"))
                await hears(newer, "anything else")
                await older.send_json(_prompt("This was said to nobody."))
                assert await close_code(older) == SUPERSEDED
                form = {"CallSid": session.call.sid, "AnsweredBy": "fax"}
                await on.server.callback(f"/webhooks/twilio/calls/{call['id']}/verdict", form)
                async with asyncio.timeout(20):
                    while (frame := await newer.receive_json())["type"] != "end":
                        pass
                assert "fax" in frame["handoffData"]
            sockets.end("ended", frame["handoffData"])
            over = await on.over(call)
        assert over["billing_reason"] == "free_fax"
        said = await on.spoken(call)
        assert "person: Is there anything I should know?" in said
        assert not any("said to nobody" in line for line in said)


def _prompt(text: str) -> dict[str, Any]:
    return {"type": "prompt", "voicePrompt": text, "lang": "en-US", "last": True}


class Restarts:
    """A far end whose carrier finds another process of ours when the first has gone."""

    def __init__(self) -> None:
        self.is_up = asyncio.Event()
        self.is_up.set()

    async def relay(self, network: Network, session: RelaySession) -> RelayEnd:
        await self.is_up.wait()
        end = await by_script(network, session)
        await self.is_up.wait()
        return end


@pytest.mark.parametrize(("is_polite", "by_procfile"), [(False, False), (True, False), (True, True)])
async def test_a_conversation_survives_its_process(
    sqlite_url: str, tmp_path: Path, is_polite: bool, by_procfile: bool
) -> None:
    """Killed, it is taken up from what was stored; told to stop, the process hands it on at an idle moment."""
    model, restarts = Model(first_delta_ms=0, delta_ms=0), Restarts()
    async with running_network(speed=PACE, model=model, relay=restarts.relay) as (url, network):
        network.scripts[TO] = parse({"says": LINES, "talk_seconds": None})
        environment = {"OPENAI_BASE_URL": f"{url}/openai/v1", "RATE_LIMIT_PER_MINUTE": "0"}
        with installation(tmp_path, url, database_url=sqlite_url, **environment) as installed:
            await asyncio.to_thread(installed.start, by_procfile=by_procfile)
            async with opened_door(sqlite_url) as door:
                org = await create_organisation(installed.url, door)
                network.add_number(org.number, org.number)
                over = await _through_a_restart(installed, network, restarts, org, is_polite)
                spoken = (await org.get(f"/v1/calls/{over['id']}/transcript"))["segments"]
                await org.api.aclose()
            assert installed.run("audit").returncode == 0
    assert over["billing_reason"] == "billed"
    assert sum("AI assistant" in segment["text"] for segment in spoken) == 1
    assert [segment["text"] for segment in spoken if segment["role"] == "person"][-1] == "No, that's all. Bye."
    assert spoken[-1]["role"] == "agent"


async def _through_a_restart(
    installed: Installation, network: Network, restarts: Restarts, org: Organisation, is_polite: bool
) -> Any:
    call = await org.call(TO, prompt="Ask how they are.")
    record = await until(lambda: next(iter(network.calls.values()), None))
    await until(lambda: sum(line["who"] == "far_end" for line in record.talk) == 2, "the second answer")
    restarts.is_up.clear()
    assert installed.server is not None
    if is_polite:
        assert await asyncio.to_thread(installed.server.stop) == 0
    else:
        installed.server.kill()
    await asyncio.to_thread(installed.start)
    restarts.is_up.set()
    return await org.over(call)
