"""How events reach the merchant, and every way they can go wrong."""

import json
import random
import time
from typing import Any

import pytest
import stripe

from simulator.stripe import Bank, Faults
from simulator.stripe.delivery import Delivery, plan
from tests.simulator.stripe.conftest import SECRET, World

COMPLETED = "checkout.session.completed"


async def _pay_with(world: World, **faults: Any) -> list[stripe.Event]:
    """Pay with these faults on `checkout.session.completed`; what of it reached the merchant."""
    await world.do("settings", faults={"types": [COMPLETED], "delay_seconds": 0.3, **faults})
    await world.paid()
    await world.delivered()
    return [event for event in world.merchant.events if event.type == COMPLETED]


async def test_an_event_is_signed_now_and_shaped_as_stripes(world: World) -> None:
    (event,) = await _pay_with(world)
    assert event.object == "event"
    assert event.id.startswith("evt_")
    assert event.api_version == stripe.api_version == "2026-10-28.endive"
    assert event.livemode is False
    assert abs(event.created - time.time()) < 5
    stamps = [int(header.split(",")[0].removeprefix("t=")) for header in world.merchant.headers]
    assert all(abs(stamp - time.time()) < 5 for stamp in stamps)
    assert world.merchant.refused == 0


async def test_a_body_that_is_written_anew_no_longer_verifies(world: World) -> None:
    await _pay_with(world)
    body, header = world.merchant.bodies[0], world.merchant.headers[0]
    anew = json.dumps(json.loads(body))
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(anew, header, SECRET)


async def test_an_event_shows_its_object_as_it_was_then(world: World) -> None:
    await world.do("settings", paused=True)
    paid = await world.paid()
    await world.do("refunds", payment_intent=paid["payment_intent"], amount=100)
    await world.do("deliver")
    assert world.merchant.one("charge.succeeded").amount_refunded == 0
    assert world.merchant.one("charge.refunded").amount_refunded == 100


async def test_a_failed_delivery_is_repeated_until_it_succeeds(world: World) -> None:
    world.merchant.answers = [500, 302, 404, 500]
    await world.paid()
    await world.delivered()
    assert sorted(world.merchant.types()) == [
        "charge.succeeded",
        COMPLETED,
        "payment_intent.created",
        "payment_intent.succeeded",
    ]


async def test_a_delivery_that_never_succeeds_is_given_up(world: World) -> None:
    world.merchant.answers = [500] * 1000
    await world.paid()
    await world.delivered()
    attempts = (await world.sim.get("/_sim/stripe/events")).json()["attempts"]
    assert len(attempts) == 4 * 4
    assert world.merchant.events == []


async def test_a_merchant_that_is_down_is_tried_again(world: World) -> None:
    url = world.bank.postman.url
    await world.do("settings", paused=True, webhook_url="http://127.0.0.1:9/webhook")
    await world.paid()
    refused = await world.do("deliver")
    assert {attempt["error"] for attempt in refused["attempts"]} == {"ConnectError"}
    await world.do("settings", webhook_url=url)
    assert (await world.do("deliver"))["waiting"] == 0
    assert COMPLETED in world.merchant.types()


async def test_a_duplicate_is_the_same_event_twice(world: World) -> None:
    first, second = await _pay_with(world, duplicate=1)
    assert first.id == second.id


async def test_twins_are_one_fact_under_two_ids(world: World) -> None:
    first, second = await _pay_with(world, twin=1)
    assert first.id != second.id
    assert first.data.object.to_dict() == second.data.object.to_dict()


async def test_a_lost_event_never_comes_but_its_payment_is_in_the_books(world: World) -> None:
    assert await _pay_with(world, lose=1) == []
    assert await world.kept() == 2500


async def test_a_delayed_event_comes_after_the_others(world: World) -> None:
    (late,) = await _pay_with(world, delay=1)
    assert world.merchant.events[-1].id == late.id


async def test_a_rotated_secret_leaves_two_signatures(world: World) -> None:
    (event,) = await _pay_with(world, two_signatures=1)
    header = world.merchant.headers[world.merchant.events.index(event)]
    assert header.count("v1=") == 2
    assert world.merchant.refused == 0


async def test_every_configured_secret_signs(world: World) -> None:
    await world.do("settings", webhook_secrets=["whsec_new", SECRET])
    await _pay_with(world)
    for secret in ("whsec_new", SECRET):
        assert stripe.Webhook.construct_event(world.merchant.bodies[0], world.merchant.headers[0], secret)


async def test_an_event_of_the_other_mode_strays_in(world: World) -> None:
    stray, real = sorted(await _pay_with(world, wrong_livemode=1), key=lambda event: not event.livemode)
    assert (stray.livemode, stray.data.object.livemode) == (True, True)
    assert (real.livemode, real.data.object.livemode) == (False, False)
    assert stray.id != real.id


async def test_a_stale_timestamp_is_followed_by_a_fresh_one(world: World) -> None:
    (event,) = await _pay_with(world, stale=1)
    attempts = (await world.sim.get("/_sim/stripe/events")).json()["attempts"]
    first, second = [attempt for attempt in attempts if attempt["event"] == event.id]
    assert (first["status"], second["status"]) == (400, 200)
    assert second["t"] - first["t"] >= 3600


async def test_paused_events_wait_and_come_in_the_order_the_seed_has_it(world: World) -> None:
    await world.do("settings", paused=True, faults={"seed": 3, "reorder": 1, "reorder_seconds": 60})
    await world.paid()
    assert world.merchant.events == []
    delivered = await world.do("deliver")
    assert delivered["waiting"] == 0
    happened = [event["id"] for event in world.bank.all("event")]
    assert [event.id for event in world.merchant.events] != happened
    assert sorted(event.id for event in world.merchant.events) == sorted(happened)


async def test_a_session_can_come_back_different_from_what_was_asked(world: World) -> None:
    session = await world.session()
    await world.do(f"sessions/{session.id}/tamper", amount_subtotal=1, currency="jpy")
    await world.do(f"sessions/{session.id}/pay")
    event = await world.merchant.wait_for(COMPLETED)
    assert (event.data.object.amount_subtotal, event.data.object.currency) == (1, "jpy")


def test_no_event_ever_leaves_this_machine() -> None:
    for url in (
        "https://example.com/webhook",
        "http://192.0.2.1/",
        "http://127.0.0.1.example.com/",
        "https://127.0.0.1/",
        "ftp://[::1]/",
    ):
        with pytest.raises(ValueError, match="loopback"):
            Bank(webhook_url=url)
    for url in ("http://127.0.0.1:8000/webhooks/stripe", "http://[::1]:8000/", "http://localhost/"):
        assert Bank(webhook_url=url).postman.url == url


EVENT: dict[str, Any] = {"id": "evt_1", "type": COMPLETED, "livemode": False, "data": {"object": {"id": "cs_1"}}}


def _plans(faults: Faults) -> list[list[Delivery]]:
    dice = random.Random(faults.seed)
    return [plan(EVENT, faults, dice, "evt_twin", "evt_stray") for _ in range(200)]


def test_the_same_seed_makes_the_same_trouble() -> None:
    faults = Faults(seed=7, duplicate=0.3, twin=0.2, lose=0.2, reorder=0.5, delay=0.1, stale=0.1)
    assert _plans(faults) == _plans(faults)
    assert _plans(faults) != _plans(faults.model_copy(update={"seed": 8}))


def test_one_fault_does_not_move_another() -> None:
    lossy = [not sent for sent in _plans(Faults(seed=7, lose=0.3))]
    both = [not sent for sent in _plans(Faults(seed=7, lose=0.3, duplicate=0.5, stale=0.5))]
    assert lossy == both
    assert 30 < sum(lossy) < 90


def test_without_faults_each_event_goes_once_at_once() -> None:
    assert all([delivery.due for delivery in sent] == [0] for sent in _plans(Faults()))


def test_faults_keep_to_their_types() -> None:
    assert all(len(sent) == 1 for sent in _plans(Faults(lose=1, types=("refund.created",))))
