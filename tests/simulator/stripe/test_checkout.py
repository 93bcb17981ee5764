"""Checkout Sessions as the official SDK sees them."""

import time
from typing import Any

import pytest
import stripe
from typing_extensions import Format, get_annotations

from tests.simulator.stripe.conftest import World


async def test_a_new_session_is_open_and_its_link_is_on_this_machine(world: World) -> None:
    session = await world.session()
    assert session.status == "open"
    assert session.payment_status == "unpaid"
    assert session.amount_total == 2500
    assert session.payment_intent is None
    assert session.livemode is False
    assert session.url == f"{world.base}/stripe/checkout/{session.id}"
    found = await world.stripe.v1.checkout.sessions.retrieve_async(session.id)
    assert found.to_dict() == session.to_dict()


async def test_a_paid_session_carries_its_metadata_to_the_charge(world: World) -> None:
    paid = await world.paid(payment_intent_data={"metadata": {"topup_id": "topup_9"}})
    session = await world.stripe.v1.checkout.sessions.retrieve_async(
        paid["id"], {"expand": ["payment_intent.latest_charge"]}
    )
    intent: Any = session.payment_intent
    assert (session.status, session.payment_status, session.url) == ("complete", "paid", None)
    assert (intent.status, intent.amount_received) == ("succeeded", 2500)
    assert intent.metadata.to_dict() == {"topup_id": "topup_9"}
    assert intent.latest_charge.metadata.to_dict() == {"topup_id": "topup_9"}
    receipt = await world.sim.get(intent.latest_charge.receipt_url)
    assert receipt.status_code == 200
    assert "$25.00" in receipt.text


async def test_a_payment_tells_its_story_in_events(world: World) -> None:
    paid = await world.paid()
    await world.delivered()
    assert sorted(world.merchant.types()) == [
        "charge.succeeded",
        "checkout.session.completed",
        "payment_intent.created",
        "payment_intent.succeeded",
    ]
    completed = world.merchant.one("checkout.session.completed")
    assert (completed.id, completed.payment_status) == (paid["id"], "paid")
    assert completed.client_reference_id == "topup_1"


async def test_a_declined_card_leaves_the_session_open_for_another_try(world: World) -> None:
    session = await world.session()
    declined = await world.do(f"sessions/{session.id}/decline")
    assert declined["status"] == "open"
    assert await world.kept() == 0
    paid = await world.do(f"sessions/{session.id}/pay")
    assert paid["payment_intent"] == declined["payment_intent"]
    assert await world.kept() == 2500
    failed = await world.merchant.wait_for("payment_intent.payment_failed")
    assert failed.data.object.last_payment_error.code == "card_declined"


@pytest.mark.parametrize(
    ("succeeds", "told", "status", "kept"),
    [
        (True, "checkout.session.async_payment_succeeded", "paid", 2500),
        (False, "checkout.session.async_payment_failed", "unpaid", 0),
    ],
)
async def test_a_delayed_payment_completes_unpaid_and_settles_later(
    world: World, succeeds: bool, told: str, status: str, kept: int
) -> None:
    session = await world.session()
    await world.do(f"sessions/{session.id}/pay_later")
    await world.merchant.wait_for("checkout.session.completed")
    completed = world.merchant.one("checkout.session.completed")
    assert (completed.status, completed.payment_status) == ("complete", "unpaid")
    assert await world.kept() == 0
    await world.do(f"sessions/{session.id}/settle_later", succeeds=succeeds)
    event = await world.merchant.wait_for(told)
    assert event.data.object.payment_status == status
    assert await world.kept() == kept


async def test_a_voucher_over_everything_completes_without_payment(world: World) -> None:
    session = await world.session()
    await world.do(f"sessions/{session.id}/tamper", amount_total=0)
    await world.do(f"sessions/{session.id}/pay")
    await world.merchant.wait_for("checkout.session.completed")
    completed = world.merchant.one("checkout.session.completed")
    assert (completed.payment_status, completed.payment_intent) == ("no_payment_required", None)
    assert await world.kept() == 0


async def test_a_session_for_cards_alone_cannot_be_paid_later(world: World) -> None:
    session = await world.session(allowed_payment_method_types=["card"])
    answer = await world.sim.post(f"/_sim/stripe/sessions/{session.id}/pay_later", json={})
    assert answer.status_code == 400
    assert "Pay later" not in (await world.sim.get(session.url or "")).text


@pytest.mark.parametrize("action", ["pay", "decline", "pay_later", "expire"])
@pytest.mark.parametrize("end", ["pay", "expire"])
async def test_a_session_ends_once(world: World, end: str, action: str) -> None:
    session = await world.session()
    before = await world.do(f"sessions/{session.id}/{end}")
    again = await world.sim.post(f"/_sim/stripe/sessions/{session.id}/{action}", json={})
    assert again.status_code == 400
    after = await world.stripe.v1.checkout.sessions.retrieve_async(session.id)
    assert after.to_dict() == before


async def test_a_session_expires_when_its_time_is_over(world: World) -> None:
    session = await world.session(expires_at=int(time.time()) + 1860)
    await world.do("settings", advance_seconds=1861)
    expired = await world.stripe.v1.checkout.sessions.retrieve_async(session.id)
    assert (expired.status, expired.url) == ("expired", None)
    event = await world.merchant.wait_for("checkout.session.expired")
    assert event.data.object.id == session.id


async def test_the_merchant_can_expire_a_session(world: World) -> None:
    session = await world.session()
    assert (await world.stripe.v1.checkout.sessions.expire_async(session.id)).status == "expired"
    with pytest.raises(stripe.InvalidRequestError, match="status of expired"):
        await world.stripe.v1.checkout.sessions.expire_async(session.id)


@pytest.mark.parametrize(("seconds", "allowed"), [(1700, False), (1860, True), (86_300, True), (86_500, False)])
async def test_a_session_lives_from_half_an_hour_to_a_day(world: World, seconds: int, allowed: bool) -> None:
    expires_at = int(time.time()) + seconds
    if allowed:
        assert (await world.session(expires_at=expires_at)).expires_at == expires_at
    else:
        with pytest.raises(stripe.InvalidRequestError) as refused:
            await world.session(expires_at=expires_at)
        assert refused.value.param == "expires_at"


def _priced(**price: Any) -> list[Any]:
    usual = {"currency": "usd", "unit_amount": 2500, "product_data": {"name": "Credit"}}
    return [{"quantity": 1, "price_data": {**usual, **price}}]


@pytest.mark.parametrize(
    ("params", "param", "code"),
    [
        ({"payment_method_types": ["card"]}, "payment_method_types", "parameter_unknown"),
        ({"adaptive_pricing": {"on": True}}, "adaptive_pricing[on]", "parameter_unknown"),
        ({"mode": "gift"}, "mode", None),
        ({"mode": "subscription"}, "mode", None),
        ({"success_url": "javascript:alert(1)"}, "success_url", "url_invalid"),
        ({"cancel_url": "/billing"}, "cancel_url", "url_invalid"),
        ({"success_url": ""}, "success_url", "parameter_invalid_empty"),
        ({"customer": "cus_nobody"}, "customer", "resource_missing"),
        ({"client_reference_id": "x" * 201}, "client_reference_id", None),
        ({"metadata": {"k" * 41: "v"}}, "metadata", None),
        ({"metadata": {str(number): "v" for number in range(51)}}, "metadata", None),
        ({"line_items": []}, "line_items", "parameter_missing"),
        ({"line_items": _priced(unit_amount=49)}, "line_items", "amount_too_small"),
        ({"line_items": _priced(unit_amount=100_000_000)}, "line_items", "amount_too_large"),
        (
            {"line_items": _priced(unit_amount="25.00")},
            "line_items[0][price_data][unit_amount]",
            "parameter_invalid_integer",
        ),
        ({"line_items": _priced(unit_amount=-1)}, "line_items[0][quantity]", None),
        ({"line_items": _priced(currency="eur")}, "currency", None),
        (
            {"line_items": [{"quantity": 1, "price_data": {"unit_amount": 1}}]},
            "line_items[0][price_data][currency]",
            "parameter_missing",
        ),
    ],
)
async def test_what_stripe_refuses_is_refused(
    world: World, params: dict[str, Any], param: str, code: str | None
) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await world.session(**params)
    assert (refused.value.http_status, refused.value.param, refused.value.code) == (400, param, code)
    listed = await world.stripe.v1.checkout.sessions.list_async()
    assert listed.data == []


async def test_every_object_has_the_fields_the_sdk_promises(world: World) -> None:
    customer = await world.stripe.v1.customers.create_async({"name": "Ana", "email": "ana@example.com"})
    paid = await world.paid(customer=customer.id)
    intent = await world.stripe.v1.payment_intents.retrieve_async(paid["payment_intent"], {"expand": ["latest_charge"]})
    refund = await world.stripe.v1.refunds.create_async({"payment_intent": intent.id, "amount": 100})
    dispute = await world.do("disputes", payment_intent=intent.id)
    session = await world.stripe.v1.checkout.sessions.retrieve_async(paid["id"])
    found = await world.stripe.v1.disputes.retrieve_async(dispute["id"])
    (event, *_) = (await world.stripe.v1.events.list_async()).data
    things: list[Any] = [customer, session, intent, intent.latest_charge, refund, found, event]
    for thing in things:
        for name, hint in get_annotations(type(thing), format=Format.FORWARDREF).items():
            promised = name.islower() and not name.startswith("_")
            if promised and "Optional" not in str(hint) and "None" not in str(hint):
                assert thing.to_dict().get(name) is not None, (type(thing), name)
