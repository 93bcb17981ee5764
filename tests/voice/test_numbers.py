"""Numbers over HTTP and through the official SDK: found, bought, shown, changed, given back."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from callingbox import Callingbox
from callingbox.tools import tool

from config.audit import audit
from config.clock import new_id
from simulator.faults import FaultPlan
from simulator.network import Network
from tests.billing.test_limits import HOUR_HOLD, limited, second_key, spent
from tests.servers import (
    DOLLAR,
    Organisation,
    Server,
    create_organisation,
    free_port,
    installation,
    opened_door,
    running_network,
    running_server,
    until,
)
from tests.voice.test_agents import ask, create, number_of
from voice.numbers.purchase import EndPurchase

WANTED = "+14155550160"
PRICE = 100_000


async def buy(org: Organisation, e164: str = WANTED, expect: int = 200) -> Any:
    return await ask(org, "POST", "/v1/numbers/purchase", {"phone_number": e164}, expect=expect)


def network_of(server: Server) -> Network:
    assert server.network is not None
    return server.network


async def kinds(org: Organisation) -> list[str]:
    return [row["kind"] for row in (await org.get("/v1/billing/transfers"))["data"]][::-1]


async def test_numbers_for_sale_are_a_bare_list(sqlite_server: Server) -> None:
    org = await sqlite_server.organisation()
    found = await org.get("/v1/numbers/available", area_code="415", limit=3)
    assert len(found) == 3
    assert found[0] == {
        "phone_number": "+14155550150",
        "country_code": "US",
        "number_type": "local",
        "state": "CA",
        "locality": "Springfield",
        "monthly_cost_cents": 100,
        "upfront_cost_cents": 0,
        "currency": "USD",
    }
    toll_free = await org.get("/v1/numbers/available", number_type="toll_free", country_code="ca")
    assert {offer["number_type"] for offer in toll_free} == {"toll_free"}
    assert all(offer["phone_number"].startswith("+18") for offer in toll_free)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"country_code": "GB"}, "country_code"),
        ({"country_code": "USA"}, "country_code"),
        ({"area_code": "15"}, "area_code"),
        ({"area_code": "415", "number_type": "toll_free"}, "area_code"),
        ({"number_type": "mobile"}, "number_type"),
        ({"limit": 0}, "limit"),
        ({"limit": 101}, "limit"),
        ({"near": "Springfield"}, "near"),
    ],
)
async def test_a_search_that_makes_no_sense_is_refused(sqlite_server: Server, query: Any, field: str) -> None:
    org = await sqlite_server.organisation()
    response = await org.api.get("/v1/numbers/available", params=query)
    assert (response.status_code, response.json()["field"]) == (400, field)


async def test_a_bought_number_is_paid_from_credit_and_points_here(server: Server) -> None:
    org = await server.organisation()
    number = await buy(org)
    assert (number["e164"], number["status"], number["number_type"]) == (WANTED, "active", "local")
    assert (number["monthly_cost_cents"], number["country_code"]) == (100, "US")
    assert number["inbound_enabled"] is False
    wallet = await org.wallet()
    assert (wallet["balance_milli_cents"], wallet["held_milli_cents"]) == (5 * DOLLAR - PRICE, 0)
    assert await kinds(org) == ["adjustment", "hold", "settle"]
    at_carrier = network_of(server).numbers[WANTED]
    assert at_carrier.voice is not None
    assert at_carrier.status_callback is not None
    assert at_carrier.voice.url == f"{server.url}/webhooks/twilio/voice"
    assert at_carrier.status_callback.url == f"{server.url}/webhooks/twilio/status"
    assert (await org.get(f"/v1/numbers/{number['id']}")) == number
    assert (await org.call("+14155550130", from_number=WANTED))["from_number"] == WANTED


async def test_a_bought_number_rejects_callers_until_somebody_answers_it(server: Server) -> None:
    org = await server.organisation()
    number = await buy(org)
    form = {"CallSid": f"CA{1:032d}", "To": WANTED, "From": "+14155550188", "CallStatus": "ringing"}
    assert '<Reject reason="rejected"' in (await server.callback("/webhooks/twilio/voice", form)).text
    await create(org, type="inbound", number_ids=[number["id"]])
    form["CallSid"] = f"CA{2:032d}"
    assert "<Reject" not in (await server.callback("/webhooks/twilio/voice", form)).text


async def test_what_credit_does_not_cover_is_not_bought(server: Server) -> None:
    org = await server.organisation(credit=PRICE - 1)
    refused = await buy(org, expect=402)
    assert refused["code"] == "insufficient_credit"
    assert refused["error"] == (
        "+14155550160 costs $1.00 a month but your available balance is $0.99. Add $0.01 or more in credits to buy it."
    )
    assert (refused["available_milli_cents"], refused["shortfall_milli_cents"]) == (PRICE - 1, 1)
    assert refused["add_credits_url"] == f"{server.url}/billing/add-credits"
    assert WANTED not in network_of(server).numbers
    assert await kinds(org) == ["adjustment"]


# -- caps -------------------------------------------------------------------------------------------------------------


async def test_a_cap_binds_the_purchase_of_a_number_and_what_it_cost_is_spent(server: Server) -> None:
    org = await server.organisation()
    await limited(org, daily_cap_milli_cents=2 * PRICE - 1, max_concurrent_calls=0, allowed_countries=["CA"])
    await buy(org)  # is no call: what limits calls alone does not bind it
    assert await spent(org) == {**await spent(org), "day_milli_cents": PRICE, "month_milli_cents": PRICE}
    assert ((await spent(org))["held_milli_cents"], (await spent(org))["open_calls"]) == (0, 0)
    refused = await buy(org, "+14155550161", expect=402)
    assert (
        refused["code"],
        refused["cap_milli_cents"],
        refused["charged_milli_cents"],
        refused["hold_milli_cents"],
    ) == (
        "daily_cap_reached",
        2 * PRICE - 1,
        PRICE,
        PRICE,
    )
    assert "+14155550161 costs $1.00" in refused["error"]
    assert "call" not in refused["error"]
    assert "+14155550161" not in network_of(server).numbers
    assert await kinds(org) == ["adjustment", "hold", "settle"]
    await limited(org, daily_cap_milli_cents=None, monthly_cap_milli_cents=PRICE)
    assert (await buy(org, "+14155550161", expect=402))["code"] == "monthly_cap_reached"
    assert await sound(server)


async def test_calls_and_numbers_share_a_cap(server: Server) -> None:
    org = await server.organisation(credit=100 * DOLLAR)
    await limited(org, daily_cap_milli_cents=HOUR_HOLD)
    await buy(org)
    assert (await org.call("+14155550130", expect=402))["charged_milli_cents"] == PRICE
    await limited(org, daily_cap_milli_cents=HOUR_HOLD + PRICE)
    await org.call("+14155550149")  # holds all that is left
    assert (await buy(org, "+14155550161", expect=402))["held_milli_cents"] == HOUR_HOLD


async def test_a_purchase_that_the_carrier_refuses_gives_its_room_back(server: Server) -> None:
    org = await server.organisation()
    await limited(org, daily_cap_milli_cents=PRICE)
    network_of(server).add_number("+14155550161", "somebody else's")
    assert (await buy(org, "+14155550161", expect=409))["code"] == "number_unavailable"
    assert ((await spent(org))["day_milli_cents"], (await spent(org))["held_milli_cents"]) == (0, 0)
    await buy(org)
    assert (await spent(org))["day_milli_cents"] == PRICE
    assert await sound(server)


async def test_a_purchase_that_is_not_decided_keeps_its_room_until_it_is(server: Server) -> None:
    org = await server.organisation()
    await limited(org, daily_cap_milli_cents=PRICE)
    network_of(server).faults = FaultPlan(create_error_unmade=1.0)
    assert (await buy(org, expect=502))["code"] == "purchase_unresolved"
    assert ((await spent(org))["held_milli_cents"], (await spent(org))["open_calls"]) == (PRICE, 0)
    assert await sound(server)
    assert (await buy(org, "+14155550161", expect=402))["held_milli_cents"] == PRICE
    network_of(server).faults = FaultPlan()
    server.clock.advance(361)
    await look(server)
    assert (await spent(org))["held_milli_cents"] == 0
    await buy(org, "+14155550161")
    assert await sound(server)


async def test_purchases_that_race_never_exceed_a_cap(server: Server) -> None:
    org = await server.organisation(credit=100 * DOLLAR)
    await limited(org, monthly_cap_milli_cents=3 * PRICE)
    wanted = [f"+1415555016{last}" for last in range(9)]
    bodies = [{"phone_number": e164} for e164 in wanted]
    answers = await asyncio.gather(*(org.api.post("/v1/numbers/purchase", json=body) for body in bodies))
    assert sorted(answer.status_code for answer in answers) == [200] * 3 + [402] * 6
    assert {answer.json()["code"] for answer in answers if answer.status_code == 402} == {"monthly_cap_reached"}
    assert (await org.wallet())["balance_milli_cents"] == 100 * DOLLAR - 3 * PRICE


async def test_a_keys_cap_counts_the_numbers_that_it_bought(server: Server) -> None:
    org = await server.organisation()
    key = await second_key(server, org, daily_cap_milli_cents=PRICE)
    await buy(org)
    assert (await spent(key, "api_key"))["day_milli_cents"] == 0
    await buy(key, "+14155550161")
    assert (await spent(key, "api_key"))["day_milli_cents"] == PRICE
    assert (await spent(org))["day_milli_cents"] == 2 * PRICE
    refused = await buy(key, "+14155550162", expect=402)
    assert refused["code"] == "key_daily_cap_reached"
    assert refused["error"].startswith("This API key may spend $1.00 a day: $1.00 is spent and $0.00 held, and +1415")
    await buy(org, "+14155550162")
    assert await sound(server)


async def sound(server: Server) -> bool:
    violations = (await audit(server.settings, server.clock))["violations"]
    assert violations == []
    return True


async def test_a_number_that_is_gone_costs_nothing(server: Server) -> None:
    org = await server.organisation()
    network_of(server).add_number(WANTED, "somebody else's")
    refused = await buy(org, expect=409)
    assert (refused["code"], refused["field"]) == ("number_unavailable", "phone_number")
    assert (await org.wallet())["available_milli_cents"] == 5 * DOLLAR
    assert await kinds(org) == ["adjustment", "hold", "release"]
    assert [number["e164"] for number in (await org.get("/v1/numbers"))["data"]] == [org.number]


async def test_of_many_who_buy_one_number_at_once_one_gets_it(server: Server) -> None:
    buyers = [await server.organisation(number=f"+1415555010{last}") for last in range(4)]
    answers = await asyncio.gather(
        *(one.api.post("/v1/numbers/purchase", json={"phone_number": WANTED}) for one in buyers for _ in range(3))
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 11
    balances = [(await one.wallet())["available_milli_cents"] for one in buyers]
    assert sorted(balances) == [5 * DOLLAR - PRICE] + [5 * DOLLAR] * 3


@pytest.mark.parametrize("e164", ["14155550160", "+442079460123", "+19005550123", "+1", ""])
async def test_only_numbers_of_allowed_countries_are_bought(sqlite_server: Server, e164: str) -> None:
    org = await sqlite_server.organisation()
    assert (await buy(org, e164, expect=400))["field"] == "phone_number"
    assert await kinds(org) == ["adjustment"]


@pytest.mark.parametrize("fault", ["create_error_made", "create_lost"])
async def test_a_purchase_whose_answer_is_lost_is_found_again_at_once(server: Server, fault: str) -> None:
    org = await server.organisation()
    network_of(server).faults = FaultPlan(**{fault: 1.0})
    number = await buy(org)
    assert number["status"] == "active"
    assert await kinds(org) == ["adjustment", "hold", "settle"]


async def test_a_purchase_that_nobody_can_find_is_released_by_the_sweeper(server: Server) -> None:
    org = await server.organisation()
    network_of(server).faults = FaultPlan(create_error_unmade=1.0)
    refused = await buy(org, expect=502)
    assert refused["code"] == "purchase_unresolved"
    assert (await org.wallet())["held_milli_cents"] == PRICE
    assert len((await org.get("/v1/numbers"))["data"]) == 1
    assert (await buy(org, expect=409))["code"] == "number_unavailable"  # not twice meanwhile
    network_of(server).faults = FaultPlan()
    server.clock.advance(61)
    await look(server)
    assert (await org.wallet())["held_milli_cents"] == PRICE
    server.clock.advance(300)
    await look(server)
    assert (await org.wallet())["available_milli_cents"] == 5 * DOLLAR
    assert await kinds(org) == ["adjustment", "hold", "release"]
    assert (await buy(org))["status"] == "active"


async def test_a_number_that_is_sold_after_we_gave_up_goes_back(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when its process stood still between the commit and the request."""
    org, carrier = await server.organisation(), server.app.extensions["numbers"].carrier
    sell = carrier.buy_number

    async def late(e164: str, name: str) -> Any:
        await server.door.submit(EndPurchase(name.removeprefix("CallingBox "), new_id(), None))
        return await sell(e164, name)

    monkeypatch.setattr(carrier, "buy_number", late)
    assert (await buy(org, expect=503))["code"] == "carrier_busy"
    assert WANTED not in network_of(server).numbers
    assert await kinds(org) == ["adjustment", "hold", "release"]


async def look(server: Server) -> None:
    """What the worker does with numbers that are due; on SQLite one may have been quicker."""
    await server.app.extensions["numbers"].look()


async def test_a_purchase_under_way_survives_the_death_of_its_process(tmp_path: Path) -> None:
    async with running_network(speed=1.0, faults=FaultPlan(slow_answer=1.0)) as network:
        with installation(tmp_path, network[0]) as process:
            await asyncio.to_thread(process.start)
            async with opened_door(process.database_url) as door:
                org = await create_organisation(process.url, door)
            buying = asyncio.create_task(org.api.post("/v1/numbers/purchase", json={"phone_number": WANTED}))
            await until(lambda: WANTED in network[1].numbers, "the carrier to sell the number")
            assert process.server is not None
            process.server.kill()
            with pytest.raises(httpx.TransportError):
                await buying
            await org.api.aclose()
            async with running_server(process.database_url, network=network) as server:
                org.api = httpx.AsyncClient(base_url=server.url, headers={"Authorization": f"Bearer {org.api_key}"})
                assert (await org.wallet())["held_milli_cents"] == PRICE
                server.clock.advance(61)
                await look(server)
                assert [number["e164"] for number in (await org.get("/v1/numbers"))["data"]] == [WANTED, org.number]
                assert (await org.wallet())["balance_milli_cents"] == 5 * DOLLAR - PRICE
                await org.api.aclose()


async def test_a_carrier_that_is_away_sells_nothing_and_costs_nothing(sqlite_url: str) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    async with running_server(sqlite_url, TWILIO_API_BASE_URL=address) as server:
        org = await server.organisation()
        assert (await org.api.get("/v1/numbers/available")).status_code == 502
        assert (await buy(org, expect=502))["code"] == "carrier_unreachable"
        assert (await org.wallet())["available_milli_cents"] == 5 * DOLLAR


async def test_a_busy_carrier_is_not_our_customers_loss(server: Server) -> None:
    org = await server.organisation()
    network_of(server).faults = FaultPlan(create_throttled=1.0)
    assert (await buy(org, expect=503))["code"] == "carrier_busy"
    assert (await org.wallet())["available_milli_cents"] == 5 * DOLLAR


async def test_numbers_are_paged_newest_first(server: Server) -> None:
    org = await server.organisation()
    for last in range(4):
        await buy(org, f"+1415555016{last}")
    every = [number["e164"] for number in (await org.get("/v1/numbers"))["data"]]
    assert every == [*(f"+1415555016{last}" for last in (3, 2, 1, 0)), org.number]
    first = await org.get("/v1/numbers", limit=2)
    assert ([each["e164"] for each in first["data"]], first["has_more"]) == (every[:2], True)
    second = await org.get("/v1/numbers", limit=2, starting_after=first["data"][-1]["id"])
    assert [each["e164"] for each in second["data"]] == every[2:4]
    back = await org.get("/v1/numbers", limit=2, ending_before=second["data"][-1]["id"])
    assert [each["e164"] for each in back["data"]] == every[1:3]


async def test_a_number_given_back_leaves_agents_and_the_carrier(server: Server) -> None:
    org = await server.organisation()
    number = await buy(org)
    inbound, outbound = [await create(org, type=kind, number_ids=[number["id"]]) for kind in ("inbound", "outbound")]
    assert await ask(org, "DELETE", f"/v1/numbers/{number['id']}") == {}
    assert WANTED not in network_of(server).numbers
    for agent in (inbound, outbound):
        assert (await org.get(f"/v1/agents/{agent['id']}"))["numbers"] == []
    assert (await org.api.get(f"/v1/numbers/{number['id']}")).status_code == 404
    assert (await org.call("+14155550130", expect=400, from_number=WANTED))["code"] == "invalid_from_number"
    assert (await org.wallet())["balance_milli_cents"] == 5 * DOLLAR - PRICE
    assert (await buy(org))["id"] != number["id"]


async def test_an_imported_number_stays_in_the_carrier_account(server: Server) -> None:
    org = await server.organisation()
    number = await number_of(org)
    assert (number["monthly_cost_cents"], number["paid_until"], number["inbound_enabled"]) == (0, None, True)
    await ask(org, "DELETE", f"/v1/numbers/{number['id']}")
    assert org.number in network_of(server).numbers
    assert (await org.get("/v1/numbers"))["data"] == []


async def test_a_number_can_be_named_and_given_to_an_inbound_agent(server: Server) -> None:
    org = await server.organisation()
    path = f"/v1/numbers/{(await number_of(org))['id']}"
    first, second = await create(org, type="inbound"), await create(org, type="inbound")
    caller = await create(org)
    shown = await ask(org, "PATCH", path, {"friendly_name": "Main line", "inbound_agent_id": first["id"]})
    assert (shown["friendly_name"], shown["inbound_agent_id"]) == ("Main line", first["id"])
    shown = await ask(org, "PATCH", path, {"inbound_agent_id": second["id"]})
    assert (shown["friendly_name"], shown["inbound_agent_id"]) == ("Main line", second["id"])
    assert (await ask(org, "PATCH", path, {"inbound_agent_id": caller["id"]}, expect=400))["field"]
    assert (await ask(org, "PATCH", path, {"inbound_agent_id": "unknown"}, expect=404))["code"] == "not_found"
    assert (await ask(org, "PATCH", path, {"inbound_agent_id": None}))["inbound_agent_id"] is None


async def test_numbers_of_others_are_not_found(server: Server) -> None:
    mine, theirs = await server.organisation(), await server.organisation(number="+14155550101")
    number, agent = await number_of(theirs), await create(theirs, type="inbound")
    path, own = f"/v1/numbers/{number['id']}", f"/v1/numbers/{(await number_of(mine))['id']}"
    for method, address, body in (
        ("GET", path, None),
        ("PATCH", path, {"friendly_name": "Mine"}),
        ("PUT", f"{path}/inbound", {"enabled": False}),
        ("DELETE", path, None),
        ("PATCH", own, {"inbound_agent_id": agent["id"]}),
        ("GET", f"/v1/numbers?starting_after={number['id']}", None),
    ):
        assert (await ask(mine, method, address, body, expect=404))["code"] == "not_found"
    assert await number_of(theirs) == number


async def test_the_official_sdk_finds_buys_lists_and_sets_up_numbers(sqlite_server: Server) -> None:
    org = await sqlite_server.organisation()

    def customer() -> None:
        client = Callingbox(api_key=org.api_key, base_url=sqlite_server.url)
        offers = client.numbers.search_available(area_code="415", limit=2)
        number = client.numbers.purchase(offers[0].phone_number)
        assert (number.e164, number.status, number.monthly_cost_cents) == (offers[0].phone_number, "active", 100)
        assert [each.e164 for each in client.numbers.list(limit=1)] == [number.e164]
        assert [each.e164 for each in client.numbers.iter_numbers(limit=1)] == [number.e164, org.number]
        shown = client.numbers.update_inbound_config(
            number.id,
            enabled=True,
            prompt="Take a message.",
            returns={"name": "string"},
            webhook_url=None,
            language="en",
            tools=[tool.builtin(name="end_call", description="Hang up").to_wire()],
            voicemail_action=None,
        )
        assert (shown.inbound_enabled, shown.inbound_prompt, shown.inbound_voicemail_action) == (
            True,
            "Take a message.",
            "hangup",
        )
        assert shown.inbound_returns == {"name": "string"}
        assert shown.inbound_tools == [tool.builtin(name="end_call", description="Hang up").to_wire()]

    await asyncio.to_thread(customer)


async def test_a_purchase_that_leaves_room_for_one_call_only_is_told(sqlite_url: str) -> None:
    async with (
        running_network() as network,
        running_server(sqlite_url, network=network, ALLOW_PRIVATE_URLS="true") as server,
    ):
        org = await server.organisation(credit=6 * DOLLAR)
        hook = {"url": f"http://127.0.0.1:{free_port()}/hook"}
        await ask(org, "POST", "/v1/webhook_endpoints", hook, expect=201)
        await buy(org)
        await until(lambda: _told(org, "balance.low"), "the event")


async def _told(org: Organisation, event: str) -> bool:
    return any(row["event_type"] == event for row in (await org.get("/v1/webhook_deliveries"))["data"])
