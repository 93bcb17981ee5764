"""Charging a saved card while its owner is away."""

from typing import Any

import pytest
import stripe

from tests.simulator.stripe.conftest import World


async def _saved_card(world: World) -> tuple[str, str]:
    """A customer and the card they let the merchant keep."""
    customer = await world.stripe.v1.customers.create_async({"email": "ana@example.com"})
    paid = await world.paid(customer=customer.id, payment_intent_data={"setup_future_usage": "off_session"})
    intent = await world.stripe.v1.payment_intents.retrieve_async(paid["payment_intent"])
    assert isinstance(intent.payment_method, str)
    return customer.id, intent.payment_method


async def _charge(world: World, customer: str, card: str | None, key: str = "auto:1", **params: Any) -> Any:
    wanted: Any = {
        "amount": 5000,
        "currency": "usd",
        "customer": customer,
        "off_session": True,
        "confirm": True,
        "error_on_requires_action": True,
        "metadata": {"topup_id": "topup_2"},
    }
    if card is not None:
        wanted["payment_method"] = card
    return await world.stripe.v1.payment_intents.create_async(wanted | params, {"idempotency_key": key})


async def test_a_saved_card_is_charged_while_its_owner_is_away(world: World) -> None:
    customer, card = await _saved_card(world)
    intent = await _charge(world, customer, card)
    assert (intent.status, intent.amount_received) == ("succeeded", 5000)
    assert intent.metadata.to_dict() == {"topup_id": "topup_2"}
    assert await world.kept() == 7500
    await world.delivered()
    told = [event for event in world.merchant.events if event.type == "payment_intent.succeeded"]
    assert {event.data.object.id for event in told} >= {intent.id}
    assert [event.request.idempotency_key for event in told if event.request] == [None, "auto:1"]


async def test_the_saved_card_is_listed_with_its_customer(world: World) -> None:
    customer, card = await _saved_card(world)
    listed = await world.stripe.v1.customers.payment_methods.list_async(customer, {"type": "card"})
    assert [method.id for method in listed.data] == [card]
    assert (await world.stripe.v1.payment_methods.retrieve_async(card)).customer == customer


@pytest.mark.parametrize(
    ("outcome", "code", "decline_code"),
    [
        ("authentication_required", "authentication_required", "authentication_required"),
        ("decline", "card_declined", "generic_decline"),
        ("insufficient_funds", "card_declined", "insufficient_funds"),
    ],
)
async def test_a_refusal_is_a_card_error_and_takes_nothing(
    world: World, outcome: str, code: str, decline_code: str
) -> None:
    customer, card = await _saved_card(world)
    await world.do("settings", off_session_outcomes=[outcome])
    with pytest.raises(stripe.CardError) as refused:
        await _charge(world, customer, card)
    error: Any = refused.value.error
    assert (refused.value.http_status, refused.value.code) == (402, code)
    assert error.decline_code == decline_code
    assert error.payment_intent.status == "requires_payment_method"
    assert await world.kept() == 2500
    failed = await world.merchant.wait_for("payment_intent.payment_failed")
    assert failed.data.object.id == error.payment_intent.id


async def test_a_refusal_stays_under_its_key_and_a_new_key_tries_again(world: World) -> None:
    customer, card = await _saved_card(world)
    await world.do("settings", off_session_outcomes=["decline", "succeed"])
    for _ in range(2):
        with pytest.raises(stripe.CardError):
            await _charge(world, customer, card)
    assert (await _charge(world, customer, card, key="auto:1:second")).status == "succeeded"
    assert len(world.bank.all("payment_intent")) == 3


async def test_a_charge_whose_answer_is_lost_is_made_once(world: World) -> None:
    customer, card = await _saved_card(world)
    await world.do("settings", answers_to_lose=1)
    assert (await _charge(world, customer, card)).status == "succeeded"
    assert await world.kept() == 7500


async def test_without_off_session_a_card_may_ask_for_its_owner(world: World) -> None:
    customer, _ = await _saved_card(world)
    intent = await _charge(
        world,
        customer,
        "pm_card_authenticationRequired",
        off_session=False,
        error_on_requires_action=False,
    )
    assert (intent.status, intent.amount_received) == ("requires_action", 0)


@pytest.mark.parametrize(
    ("card", "code"),
    [
        (None, "payment_intent_unexpected_state"),
        ("pm_none", "resource_missing"),
    ],
)
async def test_a_charge_needs_a_card(world: World, card: str | None, code: str) -> None:
    customer, _ = await _saved_card(world)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await _charge(world, customer, card)
    assert refused.value.code == code


async def test_a_card_that_was_not_saved_cannot_be_charged_again(world: World) -> None:
    customer = await world.stripe.v1.customers.create_async({})
    paid = await world.paid(customer=customer.id)
    intent = await world.stripe.v1.payment_intents.retrieve_async(paid["payment_intent"])
    assert isinstance(intent.payment_method, str)
    with pytest.raises(stripe.InvalidRequestError, match="setup_future_usage"):
        await _charge(world, customer.id, intent.payment_method)


async def test_the_card_of_another_customer_cannot_be_charged(world: World) -> None:
    _, card = await _saved_card(world)
    other = await world.stripe.v1.customers.create_async({})
    with pytest.raises(stripe.InvalidRequestError):
        await _charge(world, other.id, card)


async def test_off_session_needs_confirmation(world: World) -> None:
    customer, card = await _saved_card(world)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await _charge(world, customer, card, confirm=False)
    assert refused.value.param == "off_session"
