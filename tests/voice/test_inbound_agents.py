"""Who answers when a number is called, who is turned away, and what that costs (nothing)."""

from typing import Any

import httpx
import pytest

from simulator.scripts import PRESETS
from tests.servers import DOLLAR, Organisation, Server, running_network, running_server, until
from tests.voice.test_agents import TEXTS, ask, create, number_of

NUMBER, CALLER, DESK = "+14155550100", "+14155550188", "+14155550130"
VOICE, STATUS = "/webhooks/twilio/voice", "/webhooks/twilio/status"
BUSY, REJECTED = '<Reject reason="busy"', '<Reject reason="rejected"'


async def rings(server: Server, sid: int = 1, to: str = NUMBER, caller: str = CALLER) -> str:
    """What the carrier is told to do with a call."""
    form = {"CallSid": f"CA{sid:032d}", "To": to, "From": caller, "Direction": "inbound", "CallStatus": "ringing"}
    answer = await server.callback(VOICE, form)
    assert answer.status_code == 200, answer.text
    return answer.text


async def ends(server: Server, sid: int = 1, seconds: int = 30, to: str = NUMBER) -> None:
    form = {"CallSid": f"CA{sid:032d}", "To": to, "From": CALLER, "CallStatus": "completed"}
    answer = await server.callback(STATUS, {**form, "CallDuration": str(seconds)})
    assert answer.status_code == 204, answer.text


async def newest_call(org: Organisation) -> Any:
    return (await org.get("/v1/calls", direction="inbound"))["data"][0]


async def answering_agent(org: Organisation, **body: Any) -> Any:
    return await create(org, **{**body, "type": "inbound"}, number_ids=[(await number_of(org))["id"]])


async def test_the_inbound_agent_answers_and_the_call_keeps_what_it_was(server: Server) -> None:
    org = await server.organisation()
    agent = await answering_agent(org, **TEXTS, tools=[{"type": "builtin", "name": "end_call"}])
    assert "<Reject" not in await rings(server)
    await ask(org, "PATCH", f"/v1/agents/{agent['id']}", {"persona": "Rude.", "instructions": "Be rude."})
    call = await newest_call(org)
    assert call["agent_id"] == agent["id"]
    for name in ("persona", "instructions", "returns", "language", "webhook_url"):
        assert call[name] == TEXTS[name]
    assert [tool["name"] for tool in call["tools"]] == ["end_call"]
    assert call["result_status"] == "pending"


async def test_the_agents_maximum_sizes_an_inbound_hold_too(server: Server) -> None:
    org = await server.organisation()
    await answering_agent(org, max_duration_seconds=120)
    await rings(server)
    call = await newest_call(org)
    assert (call["max_duration_seconds"], call["hold_milli_cents"]) == (120, 10_000)
    assert (await org.wallet())["held_milli_cents"] == 10_000


async def test_a_number_nobody_has_set_up_is_answered_by_the_default_agent(server: Server) -> None:
    org = await server.organisation()
    assert "<Reject" not in await rings(server)
    call = await newest_call(org)
    assert (call["agent_id"], call["language"], call["result_status"]) == (None, "en", "skipped")
    assert "take a message" in call["prompt"]


async def test_a_numbers_own_set_up_answers_and_null_clears_it(server: Server) -> None:
    org = await server.organisation()
    path = f"/v1/numbers/{(await number_of(org))['id']}/inbound"
    given = {
        "enabled": True,
        "prompt": "Take a table reservation.",
        "returns": {"guests": "number"},
        "webhook_url": "https://example.com/inbound",
        "language": "es",
        "tools": [{"type": "builtin", "name": "end_call"}],
        "voicemail_action": "hangup",
    }
    shown = await ask(org, "PUT", path, given)
    assert shown["inbound_prompt"] == given["prompt"]
    assert "<Reject" not in await rings(server, 1)
    call = await newest_call(org)
    for name in ("prompt", "returns", "webhook_url", "language"):
        assert call[name] == given[name]
    cleared = await ask(org, "PUT", path, {"enabled": True})
    assert (cleared["inbound_prompt"], cleared["inbound_returns"], cleared["inbound_tools"]) == (None, None, None)
    await rings(server, 2)
    assert "take a message" in (await newest_call(org))["prompt"]


async def test_a_disabled_number_rejects_and_keeps_a_free_record(server: Server) -> None:
    org = await server.organisation()
    path = f"/v1/numbers/{(await number_of(org))['id']}/inbound"
    assert (await ask(org, "PUT", path, {"enabled": False}))["inbound_enabled"] is False
    assert REJECTED in await rings(server)
    call = await newest_call(org)
    assert (call["status"], call["error_code"], call["reservation_status"]) == ("failed", "inbound_disabled", None)
    assert call["billing_amount_milli_cents"] == 0
    assert (await org.wallet())["held_milli_cents"] == 0


async def test_an_inbound_agent_answers_even_where_the_numbers_own_set_up_is_disabled(server: Server) -> None:
    org = await server.organisation()
    number = await number_of(org)
    await ask(org, "PUT", f"/v1/numbers/{number['id']}/inbound", {"enabled": False})
    agent = await answering_agent(org)
    assert (await number_of(org))["inbound_enabled"] is True
    assert "<Reject" not in await rings(server, 1)
    refused = await ask(org, "PUT", f"/v1/numbers/{number['id']}/inbound", {"enabled": True}, expect=409)
    assert refused["code"] == "number_has_inbound_agent"
    await ask(org, "DELETE", f"/v1/agents/{agent['id']}")
    assert REJECTED in await rings(server, 2)


async def test_a_blocked_caller_is_rejected_until_taken_off_the_list(server: Server) -> None:
    org = await server.organisation(credit=50 * DOLLAR)
    await ask(org, "POST", "/v1/blocked_callers", {"e164": CALLER, "reason": "Spam"}, expect=201)
    for _ in range(2):  # the same request again gets the same answer
        assert REJECTED in await rings(server, 1)
    call = await newest_call(org)
    assert (call["status"], call["error_code"], call["reservation_status"]) == ("failed", "caller_blocked", None)
    assert (await org.wallet())["held_milli_cents"] == 0
    assert "<Reject" not in await rings(server, 2, caller="+14155550187")
    await ask(org, "DELETE", f"/v1/blocked_callers/{CALLER}")
    assert "<Reject" not in await rings(server, 3)


@pytest.mark.parametrize("entered", ["anonymous", "+266696687"])
async def test_callers_who_show_no_number_can_be_blocked_and_nobody_else_is(server: Server, entered: str) -> None:
    org = await server.organisation(credit=50 * DOLLAR)
    blocked = await ask(org, "POST", "/v1/blocked_callers", {"e164": entered}, expect=201)
    assert blocked["e164"] == "anonymous"
    for sid, shown in enumerate(("", "Restricted", "+266696687", "+86282452253")):
        assert REJECTED in await rings(server, sid, caller=shown)
    assert (await newest_call(org))["error_code"] == "caller_blocked"
    assert "<Reject" not in await rings(server, 10)
    await ask(org, "DELETE", "/v1/blocked_callers/anonymous")
    assert "<Reject" not in await rings(server, 11, caller="+266696687")


async def test_a_caller_is_answered_only_so_often_in_an_hour(sqlite_server: Server) -> None:
    server = sqlite_server
    org = await server.organisation(credit=500 * DOLLAR)
    for sid in range(60):
        assert "<Reject" not in await rings(server, sid)
    assert REJECTED in await rings(server, 60)
    assert (await newest_call(org))["error_code"] == "caller_rate_limited"
    assert (await org.wallet())["held_milli_cents"] == 60 * 3 * DOLLAR
    assert "<Reject" not in await rings(server, 61, caller="+14155550187")
    server.clock.advance(3_600)
    assert "<Reject" not in await rings(server, 62)


@pytest.mark.parametrize("shown", ["", "anonymous", "Restricted", "+266696687", "+7378742833", "+86282452253"])
async def test_callers_who_show_no_number_are_many(
    sqlite_server: Server, monkeypatch: pytest.MonkeyPatch, shown: str
) -> None:
    """One of them does not lock the others out; all together they have a limit, and it is theirs alone."""
    server = sqlite_server
    monkeypatch.setattr("voice.service.ANSWERS_PER_CALLER_AND_HOUR", 2)
    org = await server.organisation(credit=500 * DOLLAR)
    for sid in range(20):
        assert "<Reject" not in await rings(server, sid, caller=shown)
    assert (await newest_call(org))["from_number"] == "anonymous"
    assert REJECTED in await rings(server, 20, caller="+266696687")
    refused = await newest_call(org)
    assert refused["error_code"] == "caller_rate_limited"
    assert refused["error_message"] == "Callers without a number were answered 20 times within the hour."
    for sid in (21, 22):
        assert "<Reject" not in await rings(server, sid)
    assert REJECTED in await rings(server, 23)


async def test_the_end_of_an_anonymous_call_is_that_of_the_call(server: Server) -> None:
    org = await server.organisation()
    await rings(server, caller="+266696687")
    await server.converse(org, await newest_call(org), f"CA{1:032d}")
    await ends(server, seconds=30)
    assert (await newest_call(org))["billed_duration_seconds"] == 30


async def test_without_rate_limits_a_caller_may_call_on(sqlite_url: str) -> None:
    async with (
        running_network() as network,
        running_server(sqlite_url, network=network, RATE_LIMIT_PER_MINUTE="0") as server,
    ):
        await server.organisation(credit=500 * DOLLAR)
        for sid in range(62):
            assert "<Reject" not in await rings(server, sid)


# -- while calls are paused -------------------------------------------------------------------------------------------


async def heard_code(server: Server, to: str) -> str:
    """What somebody at that number hears the simulated carrier say."""
    assert server.network is not None
    calls = [call for call in server.network.calls.values() if call.order.to == to and "code is" in call.order.twiml]
    words = calls[-1].order.twiml.partition("code is ")[2].partition(".")[0]
    return words.replace(", ", "")


async def verify(server: Server, org: Organisation, e164: str = DESK) -> None:
    asked = await ask(org, "POST", "/v1/verified_numbers", {"e164": e164}, expect=201)
    assert asked["verified_at"] is None
    code = await heard_code(server, e164)
    confirmed = await ask(org, "POST", f"/v1/verified_numbers/{e164}/confirm", {"code": code})
    assert confirmed["verified_at"] is not None


async def set_fallback(org: Organisation, e164: str | None, expect: int = 200) -> Any:
    number = await number_of(org)
    return await ask(org, "PATCH", f"/v1/numbers/{number['id']}", {"fallback_number": e164}, expect=expect)


async def test_while_paused_callers_go_to_the_fallback_at_most_ten_times_a_day(server: Server) -> None:
    org = await server.organisation(credit=DOLLAR)
    await verify(server, org)
    assert (await set_fallback(org, DESK))["fallback_number"] == DESK
    for sid in range(10):
        for _ in range(2):  # repeated, it gets the same answer and counts once
            told = await rings(server, sid)
            assert 'timeLimit="60"' in told
            assert f"<Number>{DESK}</Number>" in told
    assert BUSY in await rings(server, 10)
    call = await newest_call(org)
    assert (call["status"], call["error_code"], call["reservation_status"]) == ("failed", "calls_paused", None)
    server.clock.advance(86_400)
    assert f"<Number>{DESK}</Number>" in await rings(server, 11)
    assert (await org.wallet())["balance_milli_cents"] == DOLLAR


async def test_a_caller_without_a_number_is_forwarded_under_the_number_that_was_called(server: Server) -> None:
    """What stands for a withheld number is no caller id that every network takes."""
    org = await server.organisation(credit=DOLLAR)
    await verify(server, org)
    await set_fallback(org, DESK)
    assert f'callerId="{NUMBER}"' in await rings(server, 1, caller="+266696687")
    assert "callerId" not in await rings(server, 2)


async def test_a_forwarded_caller_is_free_however_long_it_lasts(server: Server) -> None:
    org = await server.organisation(credit=DOLLAR)
    await verify(server, org)
    await set_fallback(org, DESK)
    await rings(server)
    await ends(server, seconds=55)
    call = await newest_call(org)
    assert (call["status"], call["error_code"], call["billing_amount_milli_cents"]) == ("failed", "calls_paused", 0)
    assert (await org.get(f"/v1/calls/{call['id']}/receipt"))["confirmed"] is True


async def test_the_simulated_carrier_connects_a_paused_caller(sqlite_url: str) -> None:
    async with running_network(speed=50.0) as network, running_server(sqlite_url, network=network) as server:
        org = await server.organisation(credit=DOLLAR)
        await verify(server, org)
        await set_fallback(org, DESK)
        assert server.network is not None
        number = server.network.numbers[NUMBER]
        number.voice, number.status_callback = _hooks(server)
        call = server.network.ring_in(number, CALLER, PRESETS["human"])
        await until(lambda: call.ended.is_set())
        legs = [leg for leg in server.network.calls.values() if leg.parent_sid == call.sid]
        assert [(leg.order.to, leg.order.time_limit_seconds) for leg in legs] == [(DESK, 60)]
        assert legs[0].duration_seconds <= 60


def _hooks(server: Server) -> tuple[Any, Any]:
    from simulator.calls import Hook

    return Hook(f"{server.url}{VOICE}"), Hook(f"{server.url}{STATUS}")


async def test_only_a_verified_number_of_ones_own_can_be_the_fallback(server: Server) -> None:
    org, other = await server.organisation(), await server.organisation(number="+14155550101")
    assert (await set_fallback(org, DESK, expect=400))["code"] == "number_not_verified"
    await verify(server, org)
    assert (await set_fallback(other, DESK, expect=400))["code"] == "number_not_verified"
    assert (await set_fallback(org, "+18765550123", expect=400))["code"] == "country_not_allowed"
    await set_fallback(org, DESK)
    await ask(org, "DELETE", f"/v1/verified_numbers/{DESK}")
    assert (await number_of(org))["fallback_number"] is None
    assert (await set_fallback(org, DESK, expect=400))["code"] == "number_not_verified"


async def test_a_code_bears_few_guesses_and_grows_old(server: Server) -> None:
    org = await server.organisation()
    path = f"/v1/verified_numbers/{DESK}/confirm"
    assert (await ask(org, "POST", path, {"code": "000000"}, expect=404))["code"] == "not_found"
    await ask(org, "POST", "/v1/verified_numbers", {"e164": DESK}, expect=201)
    code = await heard_code(server, DESK)
    wrong = f"{(int(code) + 1) % 1_000_000:06d}"
    for _ in range(5):
        assert (await ask(org, "POST", path, {"code": wrong}, expect=400))["code"] == "wrong_code"
    assert (await ask(org, "POST", path, {"code": code}, expect=400))["code"] == "code_expired"
    await ask(org, "POST", "/v1/verified_numbers", {"e164": DESK}, expect=201)
    server.clock.advance(601)
    code = await heard_code(server, DESK)
    assert (await ask(org, "POST", path, {"code": code}, expect=400))["code"] == "code_expired"
    assert [row["verified_at"] for row in (await org.get("/v1/verified_numbers"))["data"]] == [None]


async def test_codes_are_told_only_a_few_times_a_day(server: Server) -> None:
    org = await server.organisation()
    for last in range(5):
        await ask(org, "POST", "/v1/verified_numbers", {"e164": f"+1415555013{last}"}, expect=201)
    refused = await ask(org, "POST", "/v1/verified_numbers", {"e164": DESK}, expect=429)
    assert refused["code"] == "too_many_codes"
    assert (await org.wallet())["balance_milli_cents"] == 5 * DOLLAR
    server.clock.advance(86_400)
    await ask(org, "POST", "/v1/verified_numbers", {"e164": DESK}, expect=201)


@pytest.mark.parametrize("wrong", [{"enabled": "yes"}, {"prompt": "x"}, {"enabled": True, "tools": [{"name": "t"}]}])
async def test_a_wrong_inbound_set_up_changes_nothing(sqlite_server: Server, wrong: Any) -> None:
    org = await sqlite_server.organisation()
    before = await number_of(org)
    response: httpx.Response = await org.api.put(f"/v1/numbers/{before['id']}/inbound", json=wrong)
    assert response.status_code == 400, response.text
    assert await number_of(org) == before
