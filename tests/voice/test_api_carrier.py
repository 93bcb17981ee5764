"""What the carrier may do to a request to dial, and what the customer then sees, pays and can rely on."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from quart import request

from config.audit import audit
from config.settings import SIMULATED_ACCOUNT_SID
from simulator.faults import FaultPlan
from tests.servers import DOLLAR, Organisation, Server, free_port, running_network, running_server, until
from tests.voice.test_api_calls import script
from voice.batches.runner import MEANS
from voice.call import Call
from voice.effects import Alert
from voice.twiml import greeting
from webhooks.twilio_form import twiml_answer

TO = "+14155550123"


def faults(server: Server, **plan: float) -> None:
    assert server.network is not None
    server.network.faults = FaultPlan(**plan)


@pytest.fixture
async def dials(server: Server) -> list[str]:
    """The numbers of every POST that reached the carrier, whatever became of it."""
    seen: list[str] = []
    assert server.network is not None
    original = server.network.attempt_key

    def attempted(to: str, from_: str) -> str:
        if request.method == "POST" and request.path.endswith("/Calls.json"):
            seen.append(to)
        return original(to, from_)

    server.network.attempt_key = attempted  # type: ignore[method-assign]
    return seen


async def untouched(org: Organisation) -> bool:
    """Whether everything that was reserved has come back."""
    wallet = await org.wallet()
    return bool(wallet["held_milli_cents"] == 0 and wallet["balance_milli_cents"] == 5 * DOLLAR)


@pytest.mark.parametrize(
    ("to", "code", "field"),
    [
        ("+14155550140", "invalid_number", "to"),
        ("+14155550147", "invalid_number", "to"),
        ("+14155550148", "invalid_number", "to"),
        ("+14155550141", "country_not_allowed", "to"),
        ("+14155550142", "number_not_verified", "to"),
        ("+14155550143", "number_unreachable", "to"),
        ("+14155550144", "number_not_allowed", "to"),
    ],
)
async def test_a_refusal_of_the_number_is_a_clear_400(sqlite_server: Server, to: str, code: str, field: str) -> None:
    org = await sqlite_server.organisation()
    refusal = await org.call(to, expect=400)
    assert (refusal["code"], refusal["field"]) == (code, field)
    assert refusal["error"].endswith(".")
    shown = await org.get(f"/v1/calls/{refusal['call_id']}")
    assert (shown["status"], shown["error_code"], shown["error_message"]) == ("failed", code, refusal["error"])
    assert (shown["reservation_status"], shown["billing_reason"]) == ("released", "free_failed")
    assert (await org.get(f"/v1/calls/{refusal['call_id']}/receipt"))["confirmed"] is True
    assert await untouched(org)


async def test_a_number_the_carrier_account_lacks_cannot_call(server: Server) -> None:
    org = await server.organisation()
    assert server.network is not None
    server.network.numbers.clear()
    refusal = await org.call(TO, expect=400)
    assert (refusal["code"], refusal["field"]) == ("caller_id_not_verified", "from_number")
    assert await untouched(org)


async def test_a_carrier_that_refuses_our_credentials_is_a_502(sqlite_url: str) -> None:
    async with (
        running_network(auth_token="another") as network,
        running_server(sqlite_url, network=network) as server,
    ):
        org = await server.organisation()
        refusal = await org.call(TO, expect=502)
        assert refusal["code"] == "carrier_refuses_us"
        assert await untouched(org)


async def test_an_account_that_the_carrier_does_not_know_is_not_the_fault_of_who_calls(server: Server) -> None:
    """A 404 for the list of calls itself is about nothing else. An operator hears of it; no row of a batch fails."""
    org = await server.organisation()
    alerts: list[Alert] = []
    outbox = server.app.extensions["calls"].outbox
    outbox.alerted.append(alerts.append)
    outbox._carrier._client.account_sid = "AC" + "9" * 32
    refusal = await org.call(TO, expect=502)
    assert refusal["code"] == "carrier_refuses_us"
    assert "does not know this server's account" in refusal["error"]
    assert [alert.kind for alert in alerts] == ["carrier_refuses_us"]
    assert await untouched(org)
    assert MEANS.get(refusal["code"]) is None  # which stops a batch until somebody mends it


async def test_a_carrier_that_cannot_be_reached_is_a_502(sqlite_url: str) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    async with running_server(sqlite_url, TWILIO_API_BASE_URL=nowhere) as server:
        org = await server.organisation()
        refusal = await org.call(TO, expect=502)
        assert refusal["code"] == "carrier_unreachable"
        assert await untouched(org)


@pytest.mark.parametrize("to", ["+14155550145", "+14155550146"])
async def test_a_carrier_over_capacity_is_asked_again_and_then_503(sqlite_server: Server, to: str) -> None:
    org = await sqlite_server.organisation()
    refusal = await org.call(to, expect=503)
    assert refusal["code"] == "carrier_busy"
    assert await untouched(org)
    assert await sqlite_server.records() == []


async def test_a_carrier_that_is_busy_for_a_moment_is_not_noticed(server: Server, dials: list[str]) -> None:
    org = await server.organisation()
    faults(server, create_throttled=1.0)
    creating = asyncio.create_task(org.call(TO))
    await until(lambda: dials)
    faults(server)
    assert (await creating)["status"] == "initiated"
    assert len(await server.records()) == 1


@pytest.mark.parametrize("fault", ["create_lost", "create_error_made"])
async def test_a_lost_answer_keeps_the_hold_and_the_first_callback_binds_the_call(
    server: Server, dials: list[str], fault: str
) -> None:
    org = await server.organisation()
    faults(server, **{fault: 1.0})
    call = await org.call(TO)
    assert call["status"] in ("queued", "initiated", "ringing", "in_progress", "completed")
    over = await org.over(call)
    assert over["reservation_status"] in ("settled", "released")
    [record] = await server.records()
    assert over["duration_seconds"] == record["duration_seconds"]
    assert dials == [TO]


@pytest.fixture
def untold(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the carrier asks when somebody picks up is answered without our learning of it."""

    async def answered(call_id: str) -> Any:
        return twiml_answer(greeting(3_600))

    monkeypatch.setitem(server.app.view_functions, "twilio.call_voice", answered)


@pytest.mark.parametrize("fault", ["create_lost", "create_error_made"])
async def test_a_lost_call_whose_callbacks_are_lost_too_is_known_when_somebody_picks_up(
    server: Server, dials: list[str], fault: str
) -> None:
    org = await server.organisation()
    script(server, "endless")
    faults(server, **{fault: 1.0}, callback_lost=1.0, verdict_lost=1.0)
    call = await org.call(TO)
    await until(lambda: status_is(org, call, "in_progress"), "the answer")
    assert server.network is not None
    await org.api.post(f"/v1/calls/{call['id']}/hangup")
    await until(lambda: server.network and not server.network.live_calls, "the hang-up")
    assert dials == [TO]


async def status_is(org: Organisation, call: Any, status: str) -> bool:
    return bool((await org.call_of(call))["status"] == status)


@pytest.mark.usefixtures("untold")
@pytest.mark.parametrize("fault", ["create_lost", "create_error_made"])
async def test_a_lost_call_whose_callbacks_are_lost_too_is_found_by_the_sweep(
    server: Server, dials: list[str], fault: str
) -> None:
    org = await server.organisation()
    script(server, "human")
    faults(server, **{fault: 1.0}, callback_lost=1.0, verdict_lost=1.0)
    call = await org.call(TO)
    assert call["status"] == "queued"
    assert server.network is not None
    await server.converse(org, call, next(reversed(server.network.calls)))
    await until(lambda: server.network and not server.network.live_calls)
    server.clock.advance(31)
    await server.sweep()
    server.clock.advance(server.settings.amd_grace_seconds + 1)
    await server.sweep()
    over = await org.over(call)
    assert (over["status"], over["answered_by"], over["duration_seconds"]) == ("completed", "human", 67)
    assert over["billed_duration_seconds"] == 67 - 30  # detection time unknown: the time-out we asked for is free
    assert dials == [TO]


async def test_a_call_that_was_never_made_is_given_up_and_free(server: Server, dials: list[str]) -> None:
    org = await server.organisation()
    faults(server, create_error_unmade=1.0)
    call = await org.call(TO)
    assert call["status"] == "queued"
    assert (await org.wallet())["held_milli_cents"] == 300_000

    server.clock.advance(60)
    await server.sweep()
    assert (await org.call_of(call))["status"] == "queued"  # silence alone ends nothing
    server.clock.advance(server.settings.sweep_silence_seconds)
    await server.sweep()
    over = await org.call_of(call)
    assert (over["status"], over["error_code"], over["reservation_status"]) == ("failed", "dial_lost", "released")
    assert await untouched(org)
    assert dials == [TO]


@pytest.mark.usefixtures("untold")
async def test_a_call_given_up_that_turns_out_to_exist_is_hung_up_and_free(server: Server) -> None:
    org = await server.organisation()
    script(server, "endless", ring_seconds=0)
    faults(server, create_error_made=1.0, callback_lost=1.0, verdict_lost=1.0, fetch_error=0.0)
    assert server.network is not None
    call = await org.call(TO)
    [sid] = server.network.calls
    server.network.calls[sid].deleted = True  # the carrier's list does not show it yet
    server.clock.advance(server.settings.sweep_silence_seconds + 1)
    await server.sweep()
    assert (await org.call_of(call))["error_code"] == "dial_lost"

    server.network.calls[sid].deleted = False
    path = f"/webhooks/twilio/calls/{call['id']}/status"
    answer = await server.callback(path, {"CallSid": sid, "CallStatus": "in-progress"})
    assert answer.status_code == 204
    await until(lambda: server.network and not server.network.calls[sid].is_live)
    end = {"CallSid": sid, "CallStatus": "completed", "CallDuration": "40"}
    assert (await server.callback(path, end)).status_code == 204
    verdict = {"CallSid": sid, "AnsweredBy": "human", "MachineDetectionDuration": "1000"}
    assert (await server.callback(path.replace("status", "verdict"), verdict)).status_code == 204
    over = await org.call_of(call)
    assert (over["status"], over["billing_amount_milli_cents"]) == ("failed", 0)
    assert await untouched(org)


@pytest.mark.usefixtures("untold")
async def test_a_lost_call_is_not_taken_for_the_leg_of_another(server: Server) -> None:
    org = await server.organisation()
    script(server, "endless")
    faults(server, create_error_made=1.0, callback_lost=1.0, verdict_lost=1.0)
    call = await org.call(TO)
    assert server.network is not None
    [leg] = server.network.calls.values()
    leg.parent_sid = "CA" + "9" * 32
    server.clock.advance(31)
    await server.sweep()
    assert (await org.call_of(call))["status"] == "queued"
    server.clock.advance(server.settings.sweep_silence_seconds)
    await server.sweep()
    assert (await org.call_of(call))["error_code"] == "dial_lost"


@pytest.mark.usefixtures("untold")
async def test_a_lost_call_is_not_taken_for_another_whose_dial_is_under_way(
    server: Server, dials: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process died before it dialled; the customer asks again, and the lookup comes before the answer to that."""
    org = await server.organisation(credit=50 * DOLLAR)
    script(server, "human")
    outbox = server.app.extensions["calls"].outbox
    with monkeypatch.context() as dying:
        dying.setattr(outbox, "_start", lambda *effect: None)
        asking = asyncio.create_task(org.api.post("/v1/calls", json={"to": TO}))
        dead = await until(lambda: newest(org), "the call")
        asking.cancel()
    server.clock.advance(59)
    faults(server, callback_lost=1.0, verdict_lost=1.0)
    answered, asked = asyncio.Event(), asyncio.Event()
    dial, carrier_says = outbox._carrier.dial, outbox._carrier_says

    async def dial_slowly(call: Call, **wanted: Any) -> Any:
        outcome = await dial(call, **wanted)
        await answered.wait()
        return outcome

    async def asking_is_noticed(call: Call) -> Any:
        said = await carrier_says(call)
        asked.set()
        return said

    monkeypatch.setattr(outbox._carrier, "dial", dial_slowly)
    monkeypatch.setattr(outbox, "_carrier_says", asking_is_noticed)
    creating = asyncio.create_task(org.call(TO))
    await until(lambda: server.network and server.network.calls, "the second call")
    server.clock.advance(2)
    sweeping = asyncio.create_task(server.sweep())
    await asked.wait()
    answered.set()
    await sweeping
    assert (await org.call_of(dead))["status"] == "queued"
    assert (await creating)["status"] == "initiated"
    server.clock.advance(server.settings.sweep_silence_seconds)
    await server.sweep()
    assert (await org.call_of(dead))["error_code"] == "dial_lost"
    assert dials == [TO]


@dataclass
class Pair:
    """Two calls between the same numbers of which nobody knows more than that one rings. `dead` was never dialled."""

    org: Organisation
    dead: Any
    lost: Any
    sid: str

    async def shown(self) -> list[tuple[str, str | None]]:
        """(status, error code) of both."""
        both = [await self.org.call_of(each) for each in (self.dead, self.lost)]
        return [(each["status"], each["error_code"]) for each in both]


@pytest.fixture
async def pair(server: Server, untold: None, monkeypatch: pytest.MonkeyPatch) -> Pair:
    org = await server.organisation(credit=50 * DOLLAR)
    script(server, "endless")
    with monkeypatch.context() as dying:
        dying.setattr(server.app.extensions["calls"].outbox, "_start", lambda *effect: None)
        asking = asyncio.create_task(org.api.post("/v1/calls", json={"to": TO}))
        dead = await until(lambda: newest(org), "the call")
        asking.cancel()
    faults(server, create_error_made=1.0, callback_lost=1.0, verdict_lost=1.0)
    lost = await org.call(TO)
    assert server.network is not None
    [sid] = server.network.calls
    return Pair(org, dead, lost, sid)


async def test_of_two_lost_calls_neither_is_taken_for_the_one_that_was_made(server: Server, pair: Pair) -> None:
    for seconds in (31, 31, server.settings.sweep_silence_seconds):
        server.clock.advance(seconds)
        await server.sweep()
        assert await pair.shown() == [("queued", None), ("queued", None)]
    assert (await pair.org.wallet())["held_milli_cents"] == 600_000

    path = f"/webhooks/twilio/calls/{pair.lost['id']}/status"
    await server.callback(path, {"CallSid": pair.sid, "CallStatus": "in-progress"})
    server.clock.advance(31)
    await server.sweep()
    assert await pair.shown() == [("failed", "dial_lost"), ("in_progress", None)]


async def test_when_the_one_that_was_made_has_ended_untold_both_are_given_up_and_free(
    server: Server, pair: Pair
) -> None:
    server.clock.advance(server.settings.sweep_silence_seconds + 1)
    await server.sweep()
    await server.app.extensions["calls"].outbox._carrier.hang_up(pair.sid, answered=True)
    await until(lambda: server.network and not server.network.live_calls)
    server.clock.advance(31)
    await server.sweep()
    assert await pair.shown() == [("failed", "dial_lost"), ("failed", "dial_lost")]
    end = {"CallSid": pair.sid, "CallStatus": "completed", "CallDuration": "40"}
    await server.callback(f"/webhooks/twilio/calls/{pair.lost['id']}/status", end)
    wallet = await pair.org.wallet()
    assert (wallet["held_milli_cents"], wallet["balance_milli_cents"]) == (0, 50 * DOLLAR)
    assert (await audit(server.settings))["violations"] == []


async def newest(org: Organisation) -> Any:
    found = (await org.get("/v1/calls"))["data"]
    return found[0] if found else None


async def test_while_a_call_is_unresolved_the_same_pair_must_wait(server: Server, dials: list[str]) -> None:
    org = await server.organisation(credit=50 * DOLLAR)
    await server.number(org, "+14155550101")
    faults(server, create_error_unmade=1.0)
    await org.call(TO)
    faults(server)
    refusal = await org.call(TO, expect=409)
    assert refusal["code"] == "call_unresolved"
    quote = (await org.api.post("/v1/calls/quote", json={"to": TO})).json()
    assert (quote["would_be_placed"], quote["code"]) == (False, "call_unresolved")
    await org.call("+14155550124")
    await org.call(TO, from_number="+14155550101")
    assert dials == [TO, "+14155550124", TO]

    server.clock.advance(server.settings.sweep_silence_seconds + 1)
    await server.sweep()
    assert (await org.call(TO))["status"] == "initiated"


async def test_a_carrier_that_cannot_be_asked_ends_nothing(server: Server) -> None:
    org = await server.organisation()
    script(server, "human")
    faults(server, callback_lost=1.0, verdict_lost=1.0)
    call = await org.call(TO)
    assert server.network is not None
    await server.converse(org, call, next(reversed(server.network.calls)))
    await until(lambda: server.network and not server.network.live_calls)
    faults(server, fetch_error=1.0)
    for _ in range(3):
        server.clock.advance(server.settings.sweep_silence_seconds + 1)
        await server.sweep()
        assert (await org.call_of(call))["status"] == "initiated"
    faults(server)
    server.clock.advance(server.settings.sweep_silence_seconds + 1)
    await server.sweep()
    server.clock.advance(server.settings.amd_grace_seconds + 1)
    await server.sweep()
    assert (await org.call_of(call))["billed_duration_seconds"] == 67 - 30


async def test_a_call_the_carrier_knows_nothing_of_keeps_its_hold_until_it_cannot_be_up_any_more(
    server: Server,
) -> None:
    org = await server.organisation()
    script(server, "phone")
    faults(server, callback_lost=1.0, verdict_lost=1.0)
    call = await org.call(TO, max_duration_seconds=60)
    assert server.network is not None
    [there] = server.network.calls.values()
    there.deleted = True
    for hours in (1, 12):
        server.clock.advance(hours * 3_600)
        await server.sweep()
        assert (await org.call_of(call))["reservation_status"] == "reserved"
    server.clock.advance(12 * 3_600)
    await server.sweep()
    over = await org.call_of(call)
    assert (over["status"], over["error_code"], over["reservation_status"]) == ("failed", "carrier_forgot", "released")
    assert await untouched(org)
    assert (await org.get(f"/v1/calls/{call['id']}/receipt"))["confirmed"] is True
    assert (await audit(server.settings))["violations"] == []


async def test_the_carrier_is_asked_for_what_a_call_needs(server: Server) -> None:
    org = await server.organisation()
    call = await org.call(TO, max_duration_seconds=600)
    [record] = await server.records()
    assert record["time_limit_seconds"] == 600
    assert record["detection_asked"] is True
    assert all(call["id"] in url and url.startswith(server.url) for url in record["urls"].values())
    assert "#" in record["urls"]["status"]
    assert "#" in record["urls"]["verdict"]
    [stored] = list(server.network.calls.values()) if server.network else []
    assert stored.order.status_events == {"initiated", "ringing", "answered", "completed"}
    assert (stored.order.detection_mode, stored.order.detection_timeout_seconds) == ("Enable", 30)
    assert stored.account_sid == SIMULATED_ACCOUNT_SID


async def test_a_message_for_the_mailbox_waits_for_the_beep(server: Server) -> None:
    org = await server.organisation()
    await org.call("+14155550131", voicemail_action="leave_message")
    [stored] = list(server.network.calls.values()) if server.network else []
    assert stored.order.detection_mode == "DetectMessageEnd"


async def test_a_client_that_leaves_while_the_carrier_thinks_neither_loses_nor_doubles_the_call(
    server: Server, dials: list[str]
) -> None:
    org = await server.organisation()
    faults(server, slow_answer=1.0, create_lost=0.0)
    server.network.clock.speed = 2.0  # type: ignore[union-attr]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.25):
            await org.api.post("/v1/calls", json={"to": TO}, headers={"Idempotency-Key": "k"})
    server.network.clock.speed = 100.0  # type: ignore[union-attr]
    repeat = await org.api.post("/v1/calls", json={"to": TO}, headers={"Idempotency-Key": "k"})
    assert (repeat.status_code, repeat.headers["Idempotent-Replayed"]) == (201, "true")
    await org.over(repeat.json())
    assert dials == [TO]
    assert len(await server.records()) == 1
