"""The sweeper beside the API: one sick call does not keep it from the others."""

import asyncio
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection, select, text, update

from simulator.faults import FaultPlan
from tests.databases import alter
from tests.servers import DOLLAR, Server, until
from tests.voice.test_api_calls import script
from voice.call import Policy
from voice.sweeper import TICK_SECONDS, Sweeper
from voice.tables import calls


async def test_a_call_that_cannot_be_read_does_not_stop_the_sweep(server: Server) -> None:
    org = await server.organisation(credit=50 * DOLLAR)
    script(server, "no-verdict")
    sick, sound = await org.call("+14155550151"), await org.call("+14155550152")
    network = server.network
    assert network is not None
    await until(lambda: not network.live_calls and not network.courier.pending)
    spoil = update(calls).where(calls.c.id == sick["id"]).values(dial_state="haunted")
    await alter(server.database.url, lambda connection: connection.execute(spoil))
    server.clock.advance(server.settings.amd_grace_seconds + 60)
    await server.sweep()
    assert (await org.call_of(sound))["billing_reason"] == "free_no_verdict"
    assert (await org.call_of(sick))["billing_reason"] is None


async def test_the_server_sweeps_by_itself_and_outlives_a_sick_call(sqlite_server: Server) -> None:
    server = sqlite_server
    org = await server.organisation(credit=50 * DOLLAR)
    script(server, "no-verdict")
    sick = await org.call("+14155550151")
    network = server.network
    assert network is not None
    await until(lambda: not network.live_calls and not network.courier.pending)
    spoil = update(calls).where(calls.c.id == sick["id"]).values(dial_state="haunted")
    await alter(server.database.url, lambda connection: connection.execute(spoil))
    server.clock.advance(server.settings.amd_grace_seconds + 60)
    for to in ("+14155550152", "+14155550153"):
        call = await org.call(to)
        await until(lambda: not network.live_calls and not network.courier.pending)
        server.clock.advance(server.settings.amd_grace_seconds + 60)
        assert (await org.over(call))["billing_reason"] == "free_no_verdict"


async def test_more_silent_calls_than_one_look_takes_are_all_asked_about_at_once(
    sqlite_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest first; sick ones, however many, keep nobody waiting; and the carrier is asked a few at a time."""
    server, silent = sqlite_server, 11
    monkeypatch.setattr("voice.sweeper.LOOKED_AT_ONCE", 3)
    outbox = sqlite_server.app.extensions["calls"].outbox
    monkeypatch.setattr(outbox, "_questions", asyncio.Semaphore(2))
    org = await server.organisation(credit=50 * DOLLAR)
    script(server, "phone")
    assert server.network is not None
    server.network.faults = FaultPlan(callback_lost=1.0, verdict_lost=1.0)
    made = [(await org.call(f"+141555501{20 + number}"))["id"] for number in range(silent)]
    spoil = update(calls).where(calls.c.id.in_(made[:4])).values(dial_state="haunted")
    await alter(server.database.url, lambda connection: connection.execute(spoil))
    carrier = outbox._carrier
    fetch, asked, at_once = carrier.fetch, [], []

    async def slow_fetch(sid: str) -> Any:
        asked.append(sid)
        at_once.append(len(asked) - len(answered))
        await asyncio.sleep(0.1)
        answered.append(sid)
        return await fetch(sid)

    answered: list[str] = []
    monkeypatch.setattr(carrier, "fetch", slow_fetch)
    server.clock.advance(server.settings.sweep_silence_seconds + 1)
    sweeper = Sweeper(server.database, server.door, outbox, Policy(), server.clock)
    sweeping = asyncio.create_task(sweeper.run(3_600))
    await until(lambda: len(answered) == silent - 4, "every sound call")
    sweeping.cancel()
    assert max(at_once) == 2
    async with server.database.read() as connection:
        sids = dict((await connection.execute(select(calls.c.id, calls.c.twilio_call_sid))).all())
    assert [sids[call_id] for call_id in made[4:]] == asked


async def test_the_sweep_goes_on_after_a_database_that_was_wrong_for_a_moment(sqlite_server: Server) -> None:
    server = sqlite_server
    org = await server.organisation(credit=50 * DOLLAR)
    script(server, "no-verdict")
    call = await org.call("+14155550151")
    network = server.network
    assert network is not None
    await until(lambda: not network.live_calls and not network.courier.pending)
    for names in (("calls", "calls_away"), ("calls_away", "calls")):
        rename = text("ALTER TABLE {} RENAME TO {}".format(*names))
        await alter(server.database.url, partial(Connection.execute, statement=rename))
        await asyncio.sleep(TICK_SECONDS + 0.3)
    server.clock.advance(server.settings.amd_grace_seconds + 60)
    assert (await org.over(call))["billing_reason"] == "free_no_verdict"
