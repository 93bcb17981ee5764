"""The API's manners: keys, idempotency, lists, expansion, refusals."""

import asyncio
from typing import Any

import httpx
import pytest
import stripe

from simulator.app import Options, running
from simulator.stripe import Bank
from tests.simulator.stripe.conftest import KEY, World


async def test_another_key_opens_nothing(world: World) -> None:
    with pytest.raises(stripe.AuthenticationError):
        await world.stripe.v1.customers.create_async({}, {"api_key": "sk_live_other"})
    bare = await world.sim.get("/stripe/v1/customers/cus_1")
    assert bare.status_code == 401
    assert await _customers(world) == 0


async def test_the_key_is_taken_as_the_user_name_too(world: World) -> None:
    answer = await world.sim.get("/stripe/v1/refunds", auth=(KEY, ""))
    assert answer.status_code == 200


async def _customers(world: World) -> int:
    return len(world.bank.all("customer"))


async def test_a_live_bank_knows_live_keys_and_live_sessions_alone() -> None:
    bank = Bank(secret_key="sk_live_simulated", livemode=True)
    async with running(Options(seed=1, bank=bank)) as (base, _):
        line = {"currency": "usd", "unit_amount": 500, "product_data": {"name": "Credit"}}
        params: Any = {
            "mode": "payment",
            "success_url": base,
            "line_items": [{"quantity": 1, "price_data": line}],
        }
        client = stripe.StripeClient(
            "sk_live_simulated", http_client=stripe.HTTPXClient(), base_addresses={"api": f"{base}/stripe"}
        )
        session = await client.v1.checkout.sessions.create_async(params)
        assert session.livemode
        assert session.id.startswith("cs_live_")
        with pytest.raises(stripe.AuthenticationError):
            await client.v1.checkout.sessions.create_async(params, {"api_key": KEY})


async def test_the_same_key_and_parameters_make_one_object(world: World) -> None:
    made = [
        world.stripe.v1.customers.create_async({"name": "Ana"}, {"idempotency_key": "customer:1"}) for _ in range(10)
    ]
    assert len({customer.id for customer in await asyncio.gather(*made)}) == 1
    assert await _customers(world) == 1


async def test_the_same_key_with_other_parameters_is_an_error(world: World) -> None:
    first = await world.stripe.v1.customers.create_async({"name": "Ana"}, {"idempotency_key": "customer:1"})
    with pytest.raises(stripe.IdempotencyError) as refused:
        await world.stripe.v1.customers.create_async({"name": "Ben"}, {"idempotency_key": "customer:1"})
    assert refused.value.http_status == 400
    assert (await world.stripe.v1.customers.retrieve_async(first.id)).name == "Ana"


async def test_a_refused_request_leaves_its_key_free(world: World) -> None:
    options: Any = {"idempotency_key": "customer:1"}
    wrong: Any = {"nickname": "Ana"}
    with pytest.raises(stripe.InvalidRequestError):
        await world.stripe.v1.customers.create_async(wrong, options)
    assert (await world.stripe.v1.customers.create_async({"name": "Ana"}, options)).name == "Ana"


async def test_a_key_is_forgotten_after_a_day(world: World) -> None:
    options: Any = {"idempotency_key": "customer:1"}
    first = await world.stripe.v1.customers.create_async({"name": "Ana"}, options)
    await world.do("settings", advance_seconds=86_401)
    second = await world.stripe.v1.customers.create_async({"name": "Ana"}, options)
    assert first.id != second.id


async def test_a_lost_answer_is_repeated_without_repeating_the_work(world: World) -> None:
    await world.do("settings", answers_to_lose=2)
    customer = await world.stripe.v1.customers.create_async({"name": "Ana"})
    assert [known["id"] for known in world.bank.all("customer")] == [customer.id]


async def test_answers_lost_for_good_are_a_connection_error(world: World) -> None:
    await world.do("settings", answers_to_lose=3)
    options: Any = {"idempotency_key": "customer:1"}
    with pytest.raises(stripe.APIConnectionError):
        await world.stripe.v1.customers.create_async({"name": "Ana"}, options)
    found = await world.stripe.v1.customers.create_async({"name": "Ana"}, options)
    assert [known["id"] for known in world.bank.all("customer")] == [found.id]


async def test_lists_come_in_pages_newest_first(world: World) -> None:
    made = [(await world.session()).id for _ in range(7)]
    pages = await world.stripe.v1.checkout.sessions.list_async({"limit": 3})
    assert [session.id for session in pages.data] == made[:-4:-1]
    assert pages.has_more
    everything = [session.id async for session in pages.auto_paging_iter()]
    assert everything == made[::-1]
    before = await world.stripe.v1.checkout.sessions.list_async({"ending_before": made[0], "limit": 2})
    assert [session.id for session in before.data] == [made[2], made[1]]


async def test_lists_are_filtered(world: World) -> None:
    customer = await world.stripe.v1.customers.create_async({})
    mine = await world.paid(customer=customer.id)
    other = await world.paid()
    await world.stripe.v1.refunds.create_async({"payment_intent": other["payment_intent"]})
    sessions, refunds = world.stripe.v1.checkout.sessions, world.stripe.v1.refunds
    assert [one.id for one in (await sessions.list_async({"customer": customer.id})).data] == [mine["id"]]
    assert (await sessions.list_async({"status": "open"})).data == []
    assert len((await refunds.list_async({"payment_intent": other["payment_intent"]})).data) == 1
    assert (await refunds.list_async({"payment_intent": mine["payment_intent"]})).data == []
    now = world.bank.now()
    assert len((await refunds.list_async({"created": {"gte": now - 60}})).data) == 1
    assert (await refunds.list_async({"created": {"gt": now + 60}})).data == []
    completed = await world.stripe.v1.events.list_async({"type": "checkout.session.completed"})
    assert len(completed.data) == 2


async def test_expansion_replaces_ids_by_objects(world: World) -> None:
    paid = await world.paid()
    listed = await world.stripe.v1.checkout.sessions.list_async(
        {"expand": ["data.payment_intent.latest_charge", "data.line_items"]}
    )
    session: Any = listed.data[0]
    assert session.payment_intent.latest_charge.payment_intent == paid["payment_intent"]
    assert session.line_items.data[0].description == "Credit"
    with pytest.raises(stripe.InvalidRequestError, match="cannot be expanded"):
        await world.stripe.v1.checkout.sessions.retrieve_async(paid["id"], {"expand": ["amount_total"]})


async def test_what_is_not_there_is_404(world: World) -> None:
    with pytest.raises(stripe.InvalidRequestError) as missing:
        await world.stripe.v1.checkout.sessions.retrieve_async("cs_test_none")
    assert (missing.value.http_status, missing.value.code) == (404, "resource_missing")
    unknown = await world.sim.get("/stripe/v1/invoices", auth=(KEY, ""))
    assert (unknown.status_code, unknown.json()["error"]["type"]) == (404, "invalid_request_error")


@pytest.mark.parametrize("body", [b"a[b=1", b"name=1&name=2", b"name[x]=1", b"\xff=1", b"&".join([b"a=1"] * 1001)])
async def test_a_malformed_body_is_400_and_makes_nothing(world: World, body: bytes) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = await world.sim.post("/stripe/v1/customers", content=body, headers=headers, auth=(KEY, ""))
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")
    assert await _customers(world) == 0


async def test_an_enormous_body_is_413(world: World) -> None:
    answer = await world.sim.post("/stripe/v1/customers", content=b"name=" + b"x" * 300_000, auth=(KEY, ""))
    assert answer.status_code == 413
    assert await _customers(world) == 0


async def test_a_web_page_elsewhere_cannot_press_the_buttons(world: World) -> None:
    session = await world.session()
    answer = await world.sim.post(f"/_sim/stripe/sessions/{session.id}/pay", data={})
    assert (answer.status_code, answer.json()["code"]) == (415, "json_needed")
    assert await world.kept() == 0


@pytest.mark.parametrize(
    "body",
    [
        {"faults": {"duplicate": 2}},
        {"faults": {"thunder": 1}},
        {"off_session_outcomes": ["perhaps"]},
        {"advance_seconds": -1},
        {"webhook_url": "https://example.com/webhook"},
        {"webhook_url": "http://10.0.0.1/webhook"},
        {"webhook_url": "file:///etc/passwd"},
    ],
)
async def test_settings_out_of_bounds_are_refused(world: World, body: dict[str, Any]) -> None:
    before = world.bank.postman.url
    answer = await world.sim.post("/_sim/stripe/settings", json=body)
    assert answer.status_code == 400
    assert answer.json()["code"] in ("invalid_body", "not_loopback")
    assert world.bank.postman.url == before


async def test_an_unknown_action_is_404(world: World) -> None:
    session = await world.session()
    answer: httpx.Response = await world.sim.post(f"/_sim/stripe/sessions/{session.id}/give", json={})
    assert answer.status_code == 404
