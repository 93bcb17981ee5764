"""What Stripe's webhook believes, what it refuses, and that a refusal changes nothing."""

import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import stripe

from billing.hear_payment import HearPayment
from billing.stripe_facts import payment_of_session
from billing.stripe_rows import EventSeen
from config.clock import new_id
from tests.doors import failing_at
from tests.servers import DOLLAR, opened_door, settings_of
from tests.shop import SECRET, Shop, open_shop

OLD_SECRET = "whsec_old"


@pytest.fixture
async def shop(sqlite_url: str) -> AsyncIterator[Shop]:
    """A payment has been made, and nobody has told us."""
    async with open_shop(sqlite_url, STRIPE_WEBHOOK_SECRETS=f"{SECRET},{OLD_SECRET}") as shop:
        await shop.do("settings", paused=True)
        await shop.pay(await shop.begin())
        yield shop


async def completed(shop: Shop) -> dict[str, Any]:
    return (await shop.events("checkout.session.completed"))[-1]


async def refuses(shop: Shop, event: dict[str, Any] | bytes, code: str, **more: Any) -> None:
    answer = await shop.send(event, **more)
    assert (answer.status_code, answer.json()["code"]) == (400, code), answer.text
    assert await shop.balance() == 0
    assert await shop.events_stored() == 0


def signed(raw: bytes, secret: str = SECRET, at: float | None = None) -> str:
    made: str = stripe.WebhookSignature.generate_signature_header(raw.decode(), secret, int(at or time.time()))
    return made


async def test_a_signed_event_is_believed_once(shop: Shop) -> None:
    event = await completed(shop)
    assert (await shop.send(event)).json() == {"received": True, "outcome": "credited"}
    assert (await shop.send(event)).json() == {"received": True, "outcome": "nothing"}
    assert await shop.balance() == 25 * DOLLAR
    assert await shop.events_stored() == 1


async def test_one_fact_told_by_two_events_counts_once(shop: Shop) -> None:
    event = await completed(shop)
    await shop.send(event)
    assert (await shop.send({**event, "id": "evt_twin"})).json()["outcome"] == "nothing"
    assert await shop.balance() == 25 * DOLLAR
    assert await shop.events_stored() == 2


async def test_each_of_our_secrets_is_good_during_a_rotation(shop: Shop) -> None:
    event = await completed(shop)
    assert (await shop.send(event, OLD_SECRET)).status_code == 200
    assert (await shop.send(event, SECRET)).status_code == 200
    assert await shop.balance() == 25 * DOLLAR


async def test_a_signature_of_somebody_else_beside_ours_does_not_matter(shop: Shop) -> None:
    raw = json.dumps(await completed(shop)).encode()
    header = signed(raw)
    stamp, ours = header.split(",")
    theirs = signed(raw, "whsec_of_another_endpoint").split(",")[1]
    assert (await shop.send(raw, signature=f"{stamp},{theirs},v0=00,{ours}")).status_code == 200
    assert await shop.balance() == 25 * DOLLAR


async def test_forged_and_stale_signatures_are_refused(shop: Shop) -> None:
    event = await completed(shop)
    raw = json.dumps(event).encode()
    now = time.time()
    right = signed(raw)
    v1 = right.partition(",")[2]
    await refuses(shop, event, "bad_signature", secret="whsec_unknown")
    await refuses(shop, event, "bad_signature", at=now - 301)
    await refuses(shop, event, "bad_signature", at=now + 400)
    await refuses(shop, event, "bad_signature", at=now + 86_400)
    for header in (
        "",
        "t=,v1=",
        "nonsense",
        v1,
        right.partition(",")[0],
        right.replace("v1=", "v0="),
        f"t={int(now) + 1},{v1}",
        f"t={int(now)}=x,{'v1=' + '0' * 64}",
        f"t=\xb2,{v1}",
        f"{right.partition(',')[0]},v1=\xe9",
        "t=1," + "v1=0," * 1_000,
    ):
        await refuses(shop, event, "bad_signature", signature=header)


async def test_a_body_that_was_serialised_again_is_refused(shop: Shop) -> None:
    event = await completed(shop)
    as_sent, again = json.dumps(event, indent=2).encode(), json.dumps(event).encode()
    await refuses(shop, again, "bad_signature", signature=signed(as_sent))
    assert (await shop.send(as_sent)).status_code == 200


async def test_an_event_of_the_other_mode_is_refused_and_raises_an_alert(shop: Shop) -> None:
    event = await completed(shop)
    live = {**event, "livemode": True, "data": {"object": {**event["data"]["object"], "livemode": True}}}
    await refuses(shop, live, "wrong_livemode")
    assert [alert.kind for alert in shop.alerts] == ["stripe_wrong_mode"]


async def test_what_is_no_event_is_refused_though_signed(shop: Shop) -> None:
    event = await completed(shop)
    without_id = {name: value for name, value in event.items() if name != "id"}
    for body in (
        b"",
        b"{",
        b"null",
        b"[]",
        b"\xff\xfe",
        json.dumps(without_id).encode(),
        json.dumps({**event, "id": ""}).encode(),
        json.dumps({**event, "id": 7}).encode(),
        json.dumps({**event, "id": "evt_\x00"}).encode(),
        json.dumps({**event, "object": "v2.core.event"}).encode(),
        json.dumps({**event, "livemode": "false"}).encode(),
        json.dumps({**event, "data": None}).encode(),
        json.dumps({**event, "created": -1}).encode(),
        b"[" * 100_000,
    ):
        code = "bad_signature" if body == b"\xff\xfe" else "invalid_event"
        signature = {"signature": "t=1,v1=0"} if code == "bad_signature" else {}
        await refuses(shop, body, code, **signature)


async def test_an_object_that_is_not_as_documented_is_refused(shop: Shop) -> None:
    event = await completed(shop)
    session = event["data"]["object"]
    for broken in (
        {},
        {**session, "id": "cs 1"},
        {**session, "amount_subtotal": "2500"},
        {**session, "amount_subtotal": -2_500},
        {**session, "amount_total": 10**30},
        {**session, "payment_intent": "pi_\x00"},
        {**session, "metadata": {"org_id": 7}},
    ):
        await refuses(shop, {**event, "data": {"object": broken}}, "invalid_event")


async def test_events_that_are_not_ours_to_hear_are_ignored(shop: Shop) -> None:
    event = await completed(shop)
    for kind in ("charge.refunded", "customer.created", "payment_intent.created", "a.b"):
        assert (await shop.send({**event, "type": kind})).json() == {"received": True, "outcome": "ignored"}
    for intent in await shop.events("payment_intent.succeeded"):  # Checkout tells of its own by the session
        assert (await shop.send(intent)).json()["outcome"] == "ignored"
    assert await shop.balance() == 0


async def test_a_body_beyond_the_limit_is_refused(shop: Shop) -> None:
    await refuses(shop, b'{"a":"' + b"x" * 300_000 + b'"}', "body_too_large")


async def test_text_in_an_event_is_never_stored(shop: Shop) -> None:
    event = await completed(shop)
    event["data"]["object"]["customer_details"] = {"email": "payer@example.com", "name": "<script>\x00"}
    event["data"]["object"]["metadata"]["note"] = "payer@example.com"
    assert (await shop.send(event)).status_code == 200
    async with shop.server.database.read() as connection:
        stored = (await connection.exec_driver_sql("select said from stripe_events")).scalar_one()
    assert "example.com" not in str(stored)


async def test_the_event_and_its_effects_are_committed_together_or_not_at_all(shop: Shop) -> None:
    event = await completed(shop)
    payment = payment_of_session(event["data"]["object"])
    seen = EventSeen(event["id"], event["type"], event["data"]["object"]["id"], 0, {})
    async with opened_door(shop.server.database.url) as door:
        for number in range(100):
            with failing_at(door.database, number) as broken:
                try:
                    heard = await door.submit(HearPayment(payment, new_id(), seen))
                except RuntimeError:
                    assert await shop.balance() == 0
                    assert await shop.events_stored() == 0
            if not broken:
                break
    assert number > 5
    assert heard.outcome == "credited"
    assert await shop.balance() == 25 * DOLLAR


async def test_a_busy_server_asks_for_the_event_again(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    from config.door import Busy, Door

    submit = Door.submit

    async def busy(self: Door, command: Any, **more: Any) -> Any:
        if isinstance(command, HearPayment):
            raise Busy("too many requests are waiting")
        return await submit(self, command, **more)

    event = await completed(shop)
    with monkeypatch.context() as patch:
        patch.setattr(Door, "submit", busy)
        assert (await shop.send(event)).status_code == 503
    assert (await shop.send(event)).status_code == 200
    assert await shop.balance() == 25 * DOLLAR


async def test_where_no_payments_are_taken_no_event_is_believed(sqlite_url: str) -> None:
    """The simulated bank's secret is public: beside real telephones it must open nothing."""
    settings = settings_of(
        {
            "DATABASE_URL": sqlite_url,
            "TWILIO_ACCOUNT_SID": "AC" + "1" * 32,
            "TWILIO_AUTH_TOKEN": "2" * 32,
            "SECRET_KEY": "a secret of enough characters",
        }
    )
    assert not settings.takes_payments
    assert settings.bank_webhook_secrets == ()
