"""A whole bank on loopback: Stripe's API, hosted Checkout, receipts and signed events.

    bank = Bank(webhook_url="http://127.0.0.1:8000/webhooks/stripe")
    app.register_blueprint(create_blueprint(bank))

The official SDK then speaks to it with `base_addresses={"api": "http://127.0.0.1:PORT/stripe"}`. Invariant:
no request leaves this machine and no real card is ever asked for.
"""

import asyncio
from collections.abc import AsyncGenerator

from quart import Blueprint, request

from simulator.stripe import checkout
from simulator.stripe.api import create_api
from simulator.stripe.bank import Bank
from simulator.stripe.control import create_control
from simulator.stripe.delivery import Faults
from simulator.stripe.pages import create_pages

__all__ = ["Bank", "Faults", "create_blueprint"]

_EXPIRY_CHECK_SECONDS = 1


def create_blueprint(bank: Bank) -> Blueprint:
    """Everything of one bank: `/stripe/v1`, `/stripe/checkout`, `/stripe/receipts` and `/_sim/stripe`."""
    blueprint = Blueprint("stripe", __name__)
    blueprint.register_blueprint(create_api(bank), url_prefix="/stripe")
    blueprint.register_blueprint(create_pages(bank), url_prefix="/stripe")
    blueprint.register_blueprint(create_control(bank), url_prefix="/_sim/stripe")

    @blueprint.before_request
    async def look_around() -> None:
        bank.base_url = bank.base_url or request.host_url.rstrip("/")
        checkout.expire_due(bank)

    @blueprint.while_app_serving
    async def work() -> AsyncGenerator[None, None]:
        tasks = [asyncio.create_task(bank.postman.run()), asyncio.create_task(_watch_the_clock(bank))]
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    return blueprint


async def _watch_the_clock(bank: Bank) -> None:
    while True:
        await asyncio.sleep(_EXPIRY_CHECK_SECONDS)
        checkout.expire_due(bank)
