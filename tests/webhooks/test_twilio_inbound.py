"""Inbound calls: a voice request makes the call and its hold, the end settles it, in either order, each repeated."""

import asyncio
import re
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from accounts.tables import organisations
from simulator.calls import Hook
from simulator.network import Network
from simulator.scripts import PRESETS, Script
from tests.databases import alter
from tests.servers import DOLLAR, Organisation, Server, until
from voice import outbox
from voice.tables import numbers

NUMBER, CALLER = "+14155550100", "+14155550188"
SID = "CA" + "7" * 32
VOICE, STATUS = "/webhooks/twilio/voice", "/webhooks/twilio/status"


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers stop after their last try to set a time limit; the first is a second away."""
    monkeypatch.setattr(outbox, "LIMIT_RETRY_SECONDS", (0.02, 0.05, 0.1))


async def rings(server: Server, sid: str = SID, to: str = NUMBER, **changes: Any) -> httpx.Response:
    """The carrier asks what to do with a call."""
    form = {"CallSid": sid, "To": to, "From": CALLER, "Direction": "inbound", "CallStatus": "ringing"}
    return await server.callback(VOICE, form, **changes)


async def ends(server: Server, status: str = "completed", seconds: int = 30, sid: str = SID) -> httpx.Response:
    """The number's own callback, once, at the end."""
    form = {"CallSid": sid, "To": NUMBER, "From": CALLER, "CallStatus": status, "CallDuration": str(seconds)}
    return await server.callback(STATUS, form)


async def only_call(org: Organisation) -> Any:
    [call] = (await org.get("/v1/calls", direction="inbound"))["data"]
    return call


async def test_an_inbound_call_is_held_for_and_charged_from_the_answer_on(server: Server) -> None:
    org = await server.organisation()
    answer = await rings(server)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/xml")
    assert "<Reject" not in answer.text
    call = await only_call(org)
    assert (call["direction"], call["status"], call["reservation_status"]) == ("inbound", "in_progress", "reserved")
    assert (call["to_number"], call["from_number"]) == (NUMBER, CALLER)
    assert (await org.wallet())["held_milli_cents"] == 300_000

    assert (await ends(server, seconds=30)).status_code == 204
    over = await org.call_of(call)
    assert (over["status"], over["billing_reason"], over["answered_by"]) == ("completed", "billed", None)
    assert (over["billed_duration_seconds"], over["billing_amount_milli_cents"]) == (30, 2_500)
    assert (await org.get(f"/v1/calls/{call['id']}/receipt"))["confirmed"] is True
    assert (await org.wallet())["balance_milli_cents"] == 500_000 - 2_500


async def test_a_repeated_voice_request_connects_the_same_call_and_holds_once(server: Server) -> None:
    org = await server.organisation()
    answers = await asyncio.gather(*(rings(server) for _ in range(5)))
    connects = {re.search(r"<Connect action=\S+", answer.text) for answer in answers}
    assert len({found[0] for found in connects if found}) == 1
    tickets = [re.search(r'name="ticket" value="([^"]+)"', answer.text) for answer in answers]
    assert len({found[1] for found in tickets if found}) == 5
    assert (await org.wallet())["held_milli_cents"] == 300_000
    await only_call(org)


async def test_a_repeated_end_charges_once(server: Server) -> None:
    org = await server.organisation()
    await rings(server)
    answers = await asyncio.gather(*(ends(server) for _ in range(5)))
    assert {answer.status_code for answer in answers} == {204}
    assert (await org.wallet())["balance_milli_cents"] == 500_000 - 2_500
    again = await rings(server)
    assert "<Hangup" in again.text


async def test_a_paused_organisation_rejects_callers_and_keeps_a_record(server: Server) -> None:
    org = await server.organisation(credit=DOLLAR)
    for _ in range(2):
        answer = await rings(server)
        assert '<Reject reason="busy"' in answer.text
    call = await only_call(org)
    assert (call["status"], call["error_code"], call["reservation_status"]) == ("failed", "calls_paused", None)
    assert call["error_message"].startswith("Calls paused. Your balance is $1.00 but each call requires a $3.00 hold")
    await ends(server, "busy", 0)
    assert (await org.call_of(call))["status"] == "failed"
    assert (await org.wallet())["balance_milli_cents"] == DOLLAR
    await server.credit(org, 10 * DOLLAR)
    assert "<Reject" in (await rings(server)).text  # the same call stays turned away
    assert "<Reject" not in (await rings(server, "CA" + "8" * 32)).text


@pytest.mark.parametrize(("status", "reason"), [("canceled", "free_canceled"), ("completed", "free_platform_error")])
async def test_an_end_without_a_voice_request_is_recorded_and_free(server: Server, status: str, reason: str) -> None:
    org = await server.organisation()
    assert (await ends(server, status)).status_code == 204
    call = await only_call(org)
    assert (call["billing_reason"], call["billing_amount_milli_cents"]) == (reason, 0)
    assert call["reservation_status"] is None
    late = await rings(server)
    assert "<Hangup" in late.text
    assert (await only_call(org))["reservation_status"] is None
    assert (await org.wallet())["held_milli_cents"] == 0
    assert [row["kind"] for row in (await org.get("/v1/billing/transfers"))["data"]] == ["adjustment"]


async def test_an_end_and_a_voice_request_at_the_same_moment_leave_no_hold(server: Server) -> None:
    org = await server.organisation()
    for number in range(10):
        sid = f"CA{number:032d}"
        await asyncio.gather(rings(server, sid), ends(server, sid=sid))
    assert (await org.wallet())["held_milli_cents"] == 0
    calls = (await org.get("/v1/calls"))["data"]
    assert len(calls) == 10
    assert {call["billing_reason"] for call in calls} <= {"billed", "free_platform_error"}


async def test_a_number_that_is_nobodys_is_rejected(server: Server) -> None:
    await server.organisation()
    for to in ("+14155550177", "", "garbage\u2603", "+1" * 300):
        answer = await rings(server, to=to)
        assert (answer.status_code, "<Reject" in answer.text) == (200, True), to
    assert (await ends(server, sid="CA1")).status_code == 204


async def test_a_number_given_to_somebody_else_does_not_touch_the_call_under_way(server: Server) -> None:
    org = await server.organisation()
    await rings(server)
    await alter(
        server.database.url,
        lambda connection: connection.execute(update(numbers).values(status="released")),
    )
    other = await server.organisation()
    await ends(server, seconds=3)
    assert (await only_call(org))["billing_amount_milli_cents"] == 250
    assert (await org.wallet())["balance_milli_cents"] == 500_000 - 250
    assert (await other.get("/v1/calls"))["data"] == []
    assert (await other.wallet())["balance_milli_cents"] == 500_000


async def test_a_suspended_organisation_takes_no_calls(server: Server) -> None:
    org = await server.organisation()
    await alter(
        server.database.url,
        lambda connection: connection.execute(
            update(organisations).where(organisations.c.id == org.id).values(suspended_at=1)
        ),
    )
    assert "<Reject" in (await rings(server)).text
    assert (await only_call(org))["error_code"] == "organisation_suspended"
    refusal = await org.call("+14155550130", expect=403)
    assert refusal["code"] == "organisation_suspended"
    assert (await org.wallet())["held_milli_cents"] == 0


async def test_an_unsigned_voice_request_makes_no_call(server: Server) -> None:
    org = await server.organisation()
    for changes in ({"signature": None}, {"token": "x"}, {"signed_path": STATUS}):
        assert (await rings(server, **changes)).status_code == 403
    assert (await org.get("/v1/calls"))["data"] == []


async def test_a_silent_inbound_call_is_asked_about_and_settled(server: Server) -> None:
    """Its one callback was lost."""
    org = await server.organisation()
    network = answering(server)
    network.faults = type(network.faults)(callback_lost=1.0)
    await call_in(server, network, Script(outcome="human", talk_seconds=200))
    await until(lambda: not network.live_calls)
    call = await only_call(org)
    assert call["status"] == "in_progress"
    server.clock.advance(server.settings.sweep_silence_seconds + 1)
    await server.sweep()
    over = await org.call_of(call)
    assert (over["status"], over["billed_duration_seconds"]) == ("completed", 200)


async def test_calls_from_the_network_settle_whatever_happens_to_their_requests(server: Server) -> None:
    org = await server.organisation(credit=100 * DOLLAR)
    network = answering(server)
    network.faults = type(network.faults)(voice_repeated=0.5, voice_late=1.0, callback_repeated=0.5)
    scripts = [Script(outcome="human", talk_seconds=20 + n) for n in range(8)]
    for script in [*scripts, *[PRESETS["no-answer"]] * 4]:
        await call_in(server, network, script)
    await until(lambda: not network.live_calls and not network.courier.pending)
    calls = (await org.get("/v1/calls"))["data"]
    assert len(calls) == 12
    charged = {call["billed_duration_seconds"] for call in calls if call["status"] == "completed"}
    assert charged == {20 + n for n in range(8)}
    wallet = await org.wallet()
    total = sum((20 + n) * 5_000 // 60 for n in range(8))
    assert (wallet["held_milli_cents"], wallet["balance_milli_cents"]) == (0, 100 * DOLLAR - total)


async def test_the_carrier_is_told_the_longest_an_inbound_call_may_last(server: Server) -> None:
    await server.organisation()
    network = answering(server)
    await call_in(server, network, Script(outcome="endless", talk_seconds=None))
    [sid] = network.calls
    await until(lambda: network.calls[sid].time_limit_seconds == 3_600, "the limit")


def answering(server: Server) -> Network:
    """The network, its number pointing here."""
    assert server.network is not None
    number = server.network.numbers[NUMBER]
    number.voice, number.status_callback = Hook(server.url + VOICE), Hook(server.url + STATUS)
    return server.network


async def call_in(server: Server, network: Network, script: Script) -> None:
    network.ring_in(network.numbers[NUMBER], f"+1212555{len(network.calls) + 100:04d}", script)
