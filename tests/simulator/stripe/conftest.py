"""A bank, a merchant's webhook and the official SDK, all over real loopback sockets."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import stripe
from quart import Quart, Response, request
from stripe.checkout import Session

from simulator.app import Options, listen, running, serve
from simulator.stripe import Bank

SECRET = "whsec_test"
KEY = "sk_test_simulated"
PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # loading certificates takes longer than a test


@dataclass
class Merchant:
    """A webhook that verifies with the SDK and remembers; `answers` are its next statuses, then 200."""

    url: str = ""
    events: list[stripe.Event] = field(default_factory=list)
    refused: int = 0
    headers: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    answer_after_seconds: float = 0

    def types(self) -> list[str]:
        return [event.type for event in self.events]

    def one(self, kind: str) -> Any:
        """The object of the only event of this type."""
        (event,) = [event for event in self.events if event.type == kind]
        return event.data.object

    async def wait_for(self, kind: str) -> Any:
        async with asyncio.timeout(5):
            while kind not in self.types():
                await asyncio.sleep(0.01)
        return next(event for event in self.events if event.type == kind)


@dataclass
class World:
    """Everything a test touches: `sim` is the control API, `stripe` the official client."""

    base: str
    bank: Bank
    merchant: Merchant
    sim: httpx.AsyncClient
    stripe: stripe.StripeClient

    async def session(self, **params: Any) -> Session:
        wanted: Any = {
            "mode": "payment",
            "success_url": f"{self.merchant.url}/return?session_id={{CHECKOUT_SESSION_ID}}",
            "cancel_url": f"{self.merchant.url}/billing",
            "client_reference_id": "topup_1",
            "metadata": {"topup_id": "topup_1"},
            "payment_intent_data": {"metadata": {"topup_id": "topup_1"}},
            "adaptive_pricing": {"enabled": False},
            "line_items": [
                {
                    "quantity": 1,
                    "price_data": {
                        "currency": "usd",
                        "unit_amount": 2500,
                        "product_data": {"name": "Credit"},
                    },
                }
            ],
        }
        return await self.stripe.v1.checkout.sessions.create_async(wanted | params)

    async def do(self, path: str, **body: Any) -> Any:
        """POST to the control API."""
        answer = await self.sim.post(f"/_sim/stripe/{path}", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def paid(self, **params: Any) -> Any:
        """A session a customer has paid."""
        session = await self.session(**params)
        return await self.do(f"sessions/{session.id}/pay")

    async def kept(self) -> int:
        """What the merchant has of all payments, in cents, by the bank's own books."""
        record = (await self.sim.get("/_sim/stripe/record")).json()
        return sum(payment["kept"] for payment in record["payments"])

    async def delivered(self) -> None:
        """Until the post has nothing left to carry."""
        async with asyncio.timeout(5):
            while (await self.sim.get("/_sim/stripe/events")).json()["waiting"]:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)


def merchant_app(merchant: Merchant) -> Quart:
    app = Quart("merchant")

    @app.post("/webhook")
    async def webhook() -> tuple[str, int]:
        body = await request.get_data(True, False, False)
        signature = request.headers["Stripe-Signature"]
        await asyncio.sleep(merchant.answer_after_seconds)
        try:
            event = stripe.Webhook.construct_event(body, signature, SECRET)
        except stripe.SignatureVerificationError:
            merchant.refused += 1
            return "", 400
        if merchant.answers and (status := merchant.answers.pop(0)) != 200:
            return "", status
        merchant.bodies.append(body)
        merchant.headers.append(signature)
        merchant.events.append(event)
        return "", 200

    @app.get("/<path:path>")
    async def landing(path: str) -> Response:
        page = "<!doctype html><title>Merchant</title><link rel=icon href=data:,><h1>Back</h1>"
        return Response(page, content_type="text/html")

    return app


@pytest.fixture
async def merchant() -> AsyncIterator[Merchant]:
    merchant, sock, stop = Merchant(), listen("127.0.0.1", 0), asyncio.Event()
    merchant.url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    server = asyncio.create_task(serve(merchant_app(merchant), sock, stop.wait))
    yield merchant
    stop.set()
    await server


@pytest.fixture
async def world(merchant: Merchant) -> AsyncIterator[World]:
    bank = Bank(
        webhook_url=f"{merchant.url}/webhook",
        webhook_secrets=[SECRET],
        retry_seconds=(0.05, 0.05, 0.05),
    )
    http_client = stripe.HTTPXClient(timeout=10)
    async with (
        running(Options(seed=1, bank=bank)) as (base, _),
        httpx.AsyncClient(base_url=base, timeout=15, verify=PLAIN) as sim,
    ):
        client = stripe.StripeClient(
            KEY, http_client=http_client, max_network_retries=2, base_addresses={"api": f"{base}/stripe"}
        )
        yield World(base, bank, merchant, sim, client)
        await http_client.close_async()  # type: ignore[no-untyped-call]
