"""Spending limits of a running server: on the API, the command line and the pages, and on calls that race."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx

from accounts.commands import CreateKey
from accounts.keys import new_key
from accounts.members import ChangeOrganisation
from config.audit import audit
from config.clock import new_id
from tests.servers import DOLLAR, Organisation, Server, free_port, installation

HUMAN, VOICEMAIL, ENDLESS, OTTAWA = "+14155550130", "+14155550131", "+14155550149", "+16135550123"
HOUR_HOLD = 3 * DOLLAR


async def limited(org: Organisation, expect: int = 200, **limits: Any) -> Any:
    answer = await org.api.patch("/v1/billing/limits", json=limits)
    assert answer.status_code == expect, answer.text
    return answer.json()


async def second_key(server: Server, org: Organisation, **limits: Any) -> Organisation:
    """The same organisation by a key with limits."""
    key, key_id = new_key(), new_id()
    await server.door.submit(CreateKey(key_id, org.id, "Agent", key))
    answer = await org.api.patch(f"/v1/api_keys/{key_id}/limits", json=limits)
    assert answer.status_code == 200, answer.text
    api = httpx.AsyncClient(base_url=server.url, headers={"Authorization": f"Bearer {key}"}, timeout=40)
    server.clients.append(api)
    return Organisation(org.id, key, org.number, api)


async def spent(org: Organisation, whose: str = "organisation") -> Any:
    return (await org.get("/v1/billing/limits"))[whose]["spent"]


async def test_racing_calls_never_exceed_a_daily_cap(server: Server) -> None:
    org = await server.organisation(credit=100 * DOLLAR)
    await limited(org, daily_cap_milli_cents=3 * HOUR_HOLD + 1)
    answers = await asyncio.gather(
        *(org.api.post("/v1/calls", json={"to": f"+141555501{n:02}"}) for n in range(50, 70))
    )
    placed = [answer for answer in answers if answer.status_code == 201]
    refused = [answer.json() for answer in answers if answer.status_code == 402]
    assert (len(placed), len(refused)) == (3, 17)
    assert {each["code"] for each in refused} == {"daily_cap_reached"}
    assert refused[0]["held_milli_cents"] == 3 * HOUR_HOLD
    assert (await org.wallet())["held_milli_cents"] <= 3 * HOUR_HOLD


async def test_what_a_call_cost_stays_spent_and_what_it_held_comes_back(server: Server) -> None:
    org = await server.organisation(credit=100 * DOLLAR)
    await limited(org, daily_cap_milli_cents=HOUR_HOLD + 1)
    free = await org.over(await org.call(VOICEMAIL))
    assert free["billing_amount_milli_cents"] == 0
    assert (await spent(org))["day_milli_cents"] == 0
    charged = (await org.over(await org.call(HUMAN)))["billing_amount_milli_cents"]
    assert charged > 1
    assert await spent(org) == {
        "day": (await spent(org))["day"],
        "day_milli_cents": charged,
        "month_milli_cents": charged,
        "held_milli_cents": 0,
        "open_calls": 0,
    }
    refused = await org.call(HUMAN, expect=402)
    assert (refused["code"], refused["charged_milli_cents"]) == ("daily_cap_reached", charged)
    await org.over(await org.call(HUMAN, max_duration_seconds=60))  # a shorter call fits
    server.clock.advance(86_400)
    await org.over(await org.call(HUMAN))  # and tomorrow all of it


async def test_a_charge_that_goes_back_makes_room_again(server: Server) -> None:
    org = await server.organisation(credit=100 * DOLLAR)
    call = await org.over(await org.call(HUMAN))
    assert (await spent(org))["day_milli_cents"] == call["billing_amount_milli_cents"] > 0
    [record] = await server.records()
    late = {"CallSid": record["sid"], "AnsweredBy": "machine_start", "MachineDetectionDuration": "4100"}
    await server.callback(f"/webhooks/twilio/calls/{call['id']}/verdict", late)
    assert (await org.call_of(call))["billing_reason"] == "refund_voicemail"
    assert (await spent(org))["day_milli_cents"] == 0
    assert (await audit(server.settings, server.clock))["violations"] == []


async def test_a_keys_limits_bind_that_key_alone(server: Server) -> None:
    org = await server.organisation(credit=100 * DOLLAR)
    key = await second_key(server, org, monthly_cap_milli_cents=HOUR_HOLD, max_concurrent_calls=1)
    live = await key.call(ENDLESS)
    again = await key.call(HUMAN, expect=429)
    assert (again["code"], again["open_calls"]) == ("key_concurrent_calls_reached", 1)
    await org.over(await org.call(HUMAN))
    await key.api.post(f"/v1/calls/{live['id']}/hangup")
    await key.over(live)
    over = await key.call(HUMAN, expect=402)
    assert over["code"] == "key_monthly_cap_reached"
    assert (await spent(key, "api_key"))["month_milli_cents"] < (await spent(org))["month_milli_cents"]
    quote = await key.api.post("/v1/calls/quote", json={"to": HUMAN})
    assert (quote.json()["would_be_placed"], quote.json()["code"]) == (False, "key_monthly_cap_reached")


async def test_a_key_with_limits_changes_no_limits(server: Server) -> None:
    org = await server.organisation()
    key = await second_key(server, org, daily_cap_milli_cents=HOUR_HOLD)
    [mine] = [each for each in (await key.get("/v1/api_keys"))["data"] if each["name"] == "Agent"]
    for path in ("/v1/billing/limits", f"/v1/api_keys/{mine['id']}/limits"):
        answer = await key.api.patch(path, json={"daily_cap_milli_cents": None})
        assert (answer.status_code, answer.json()["code"]) == (403, "key_is_limited")
    assert (await org.get("/v1/api_keys"))["data"][0]["limits"]["daily_cap_milli_cents"] == HOUR_HOLD
    assert all("key_hash" not in each for each in (await org.get("/v1/api_keys"))["data"])


async def test_only_listed_countries_are_called_and_premium_numbers_never(server: Server) -> None:
    org = await server.organisation(credit=100 * DOLLAR)
    await limited(org, allowed_countries=["US"])
    refused = await org.call(OTTAWA, expect=400)
    assert (refused["code"], refused["country"]) == ("organisation_country_not_allowed", "CA")
    assert (await org.call("+19002345678", expect=400))["code"] == "number_not_allowed"
    assert (await org.call("+447911123456", expect=400))["code"] == "country_not_allowed"  # of the server
    await org.call(HUMAN)
    wrong = await limited(org, 400, allowed_countries=["US", "GB"])
    assert wrong["field"] == "allowed_countries"


async def test_an_inbound_call_beyond_the_cap_hears_busy_as_in_a_pause(server: Server) -> None:
    org = await server.organisation(credit=100 * DOLLAR)
    await limited(org, daily_cap_milli_cents=HOUR_HOLD - 1)
    form = {"CallSid": "CA" + "1" * 32, "To": org.number, "From": "+14155550177", "CallStatus": "ringing"}
    for _ in range(2):  # asked again, answered alike
        answer = await server.callback("/webhooks/twilio/voice", form)
        assert "<Reject" in answer.text
        assert "busy" in answer.text
    [call] = (await org.get("/v1/calls"))["data"]
    assert (call["status"], call["error_code"], call["reservation_status"]) == ("failed", "daily_cap_reached", None)
    await limited(org, daily_cap_milli_cents=None)
    answer = await server.callback("/webhooks/twilio/voice", {**form, "CallSid": "CA" + "2" * 32})
    assert "<Reject" not in answer.text
    assert (await spent(org))["open_calls"] == 1
    assert (await audit(server.settings, server.clock))["violations"] == []


async def test_a_caller_who_is_blocked_is_no_usage(server: Server) -> None:
    org = await server.organisation()
    await org.api.post("/v1/blocked_callers", json={"e164": "+14155550177"})
    form = {"CallSid": "CA" + "3" * 32, "To": org.number, "From": "+14155550177", "CallStatus": "ringing"}
    await server.callback("/webhooks/twilio/voice", form)
    assert (await audit(server.settings, server.clock))["violations"] == []


async def test_limits_that_make_no_sense_are_refused(server: Server) -> None:
    org = await server.organisation(number=None)
    wrongs: list[dict[str, Any]] = [
        {"daily_cap_milli_cents": -1},
        {"daily_cap_milli_cents": 1.5},
        {"monthly_cap_milli_cents": "500"},
        {"monthly_cap_milli_cents": 10**13},
        {"max_concurrent_calls": True},
        {"allowed_countries": []},
        {"allowed_countries": ["us"]},
        {"allowed_countries": "US"},
        {"yearly_cap_milli_cents": 1},
    ]
    for wrong in wrongs:
        assert (await limited(org, 400, **wrong))["code"] == "invalid_request", wrong
    kept = await org.get("/v1/billing/limits")
    assert kept["organisation"]["daily_cap_milli_cents"] is None


async def test_the_caps_day_is_the_organisations_own(server: Server) -> None:
    org = await server.organisation(credit=100 * DOLLAR)
    await server.door.submit(ChangeOrganisation(org.id, {"timezone": "Pacific/Kiritimati"}))
    ahead = (await spent(org))["day"]
    await server.door.submit(ChangeOrganisation(org.id, {"timezone": "Pacific/Pago_Pago"}))
    assert (await spent(org))["day"] < ahead


def test_the_operator_sets_limits_and_leaves_a_trail(tmp_path: Path) -> None:
    with installation(tmp_path, f"http://127.0.0.1:{free_port()}") as place:
        made = json.loads(
            place.run("org", "create", "Example", "--email", "a@example.com", "--password", "long enough").stdout
        )
        why = ("--reason", "asked for by mail")
        shown = place.run("limits", "set", made["org_id"], "--daily-cap", "500000", "--countries", "us", *why).stdout
        assert json.loads(shown)["daily_cap_milli_cents"] == 500_000
        place.run("limits", "set", made["org_id"], "--daily-cap", "none", *why)
        kept = json.loads(place.run("limits", "show", made["org_id"]).stdout)[made["org_id"]]
        assert (kept["daily_cap_milli_cents"], kept["allowed_countries"]) == (None, ["US"])
        trail = json.loads(place.run("trail").stdout)["data"]
        assert [each["action"] for each in trail] == ["limits_set", "limits_set"]
        assert place.run("limits", "set", made["org_id"], *why, check=False).returncode == 1
        assert place.run("limits", "show", "nobody", check=False).returncode == 1
        assert place.run("limits", "set", made["org_id"], "--daily-cap", "-5", *why, check=False).returncode == 1
