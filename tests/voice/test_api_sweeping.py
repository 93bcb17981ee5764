"""The sweeper beside the API: one sick call does not keep it from the others."""

import asyncio
from functools import partial

from sqlalchemy import Connection, text, update

from tests.databases import alter
from tests.servers import DOLLAR, Server, until
from tests.voice.test_api_calls import script
from voice.sweeper import TICK_SECONDS
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
