"""A server that sells credit, beside a simulated bank that takes the money: real sockets, the official SDK between."""

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import stripe
from sqlalchemy import func, select

from billing.tables import stripe_events, topups, transfers
from billing.topup_rows import Alert
from billing.topup_service import Topups
from billing.topup_upkeep import TopupUpkeep
from simulator.stripe import Bank
from tests.servers import DOLLAR, Organisation, Server, running_network, running_server, until

SECRET = "whsec_simulated"


@dataclass
class Shop:
    """`org` begins with nothing. Money in milli-cents unless the name says cents."""

    server: Server
    bank: Bank
    sim: httpx.AsyncClient
    org: Organisation
    alerts: list[Alert]

    @property
    def service(self) -> Topups:
        service: Topups = self.server.app.extensions["topups"]
        return service

    @property
    def upkeep(self) -> TopupUpkeep:
        return TopupUpkeep(self.service)

    # -- the customer -------------------------------------------------------------------------------------------------

    async def begin(self, amount_cents: int = 2_500, org: Organisation | None = None) -> dict[str, Any]:
        """A new top-up: its `id`, `url` and `session`."""
        response = await (org or self.org).api.post("/v1/billing/topups", json={"amount_cents": amount_cents})
        assert response.status_code == 201, response.text
        made: dict[str, Any] = response.json()
        return {**made, "session": made["url"].rpartition("/")[2]}

    async def pay(self, topup: dict[str, Any]) -> Any:
        """The session as paid, its events delivered unless the post is paused."""
        return await self.do(f"sessions/{topup['session']}/pay")

    async def paid(self, amount_cents: int = 2_500, org: Organisation | None = None) -> dict[str, Any]:
        """A top-up that has been paid and credited; with its `payment_intent`."""
        topup = await self.begin(amount_cents, org)
        session = await self.pay(topup)
        await self.until_status(topup, "paid", org)
        return {**topup, "payment_intent": session["payment_intent"]}

    async def come_back(self, topup: dict[str, Any], org: Organisation | None = None) -> dict[str, Any]:
        """What the landing page does."""
        return await self.service.return_from_checkout((org or self.org).id, topup["session"])

    # -- the bank -----------------------------------------------------------------------------------------------------

    async def do(self, path: str, **body: Any) -> Any:
        """Pull a string behind the scenes of the bank."""
        response = await self.sim.post(f"/_sim/stripe/{path}", json=body)
        assert response.status_code == 200, response.text
        return response.json()

    def wait(self, seconds: int) -> None:
        """Let time pass, here and at the bank."""
        self.server.clock.advance(seconds)
        self.bank.advance(seconds)

    async def refund(self, topup: dict[str, Any], cents: int | None = None, status: str = "succeeded") -> Any:
        return await self.do("refunds", payment_intent=topup["payment_intent"], amount=cents, status=status)

    async def dispute(self, topup: dict[str, Any], **more: Any) -> Any:
        return await self.do("disputes", payment_intent=topup["payment_intent"], **more)

    async def events(self, *types: str) -> list[dict[str, Any]]:
        """What the bank has told or would tell, of these types or all, oldest first."""
        found = (await self.sim.get("/_sim/stripe/events")).json()["events"]
        return [event for event in found if not types or event["type"] in types]

    async def delivered(self) -> None:
        """Until the post has nothing left to carry."""

        async def empty() -> bool:
            return not (await self.sim.get("/_sim/stripe/events")).json()["waiting"]

        await until(empty, "the post")

    async def send(self, event: dict[str, Any] | bytes, secret: str = SECRET, **more: Any) -> httpx.Response:
        """Post an event signed now, or at `at` (epoch seconds), or with the given `signature`."""
        raw = event if isinstance(event, bytes) else json.dumps(event).encode()
        signature = more.get("signature")
        if signature is None:
            at = int(more.get("at", time.time()))
            signature = stripe.WebhookSignature.generate_signature_header(raw.decode(), secret, at)
        headers = {"Stripe-Signature": signature.encode("latin-1")}
        return await self.sim.post(f"{self.server.url}/webhooks/stripe", content=raw, headers=headers)

    async def kept_cents(self) -> int:
        """What we have of all payments, by the bank's own books."""
        record = (await self.sim.get("/_sim/stripe/record")).json()
        return sum(payment["kept"] for payment in record["payments"])

    # -- our books ----------------------------------------------------------------------------------------------------

    async def balance(self, org: Organisation | None = None) -> int:
        balance: int = (await (org or self.org).wallet())["balance_milli_cents"]
        return balance

    async def until_balance(self, dollars: float, org: Organisation | None = None) -> None:
        wanted = round(dollars * DOLLAR)

        async def reached() -> bool:
            return await self.balance(org) == wanted

        await until(reached, f"a balance of ${dollars}")

    async def row(self, topup: dict[str, Any]) -> dict[str, Any]:
        async with self.server.database.read() as connection:
            found = await connection.execute(select(topups).where(topups.c.id == topup["id"]))
            return dict(found.mappings().one())

    async def rows(self, status: str) -> list[dict[str, Any]]:
        async with self.server.database.read() as connection:
            found = await connection.execute(select(topups).where(topups.c.status == status).order_by(topups.c.id))
            return [dict(row) for row in found.mappings()]

    async def shown(self, topup: dict[str, Any], org: Organisation | None = None) -> dict[str, Any]:
        listed = await (org or self.org).get("/v1/billing/topups", limit=100)
        found: dict[str, Any] = next(item for item in listed["data"] if item["id"] == topup["id"])
        return found

    async def until_status(self, topup: dict[str, Any], status: str, org: Organisation | None = None) -> dict[str, Any]:
        async def reached() -> dict[str, Any] | None:
            shown = await self.shown(topup, org)
            return shown if shown["status"] == status else None

        found: dict[str, Any] = await until(reached, f"the top-up to be {status}")
        return found

    async def keys(self, org: Organisation | None = None) -> list[str]:
        """The ledger's source keys, oldest first, without the ids in them that the bank chose."""
        query = select(transfers.c.source_key).where(transfers.c.org_id == (org or self.org).id)
        async with self.server.database.read() as connection:
            return list((await connection.execute(query.order_by(transfers.c.sequence))).scalars())

    async def kinds(self) -> list[tuple[str, int]]:
        """(kind, change of the balance) of the organisation's transfers, oldest first."""
        query = select(transfers.c.kind, transfers.c.balance_delta).where(transfers.c.org_id == self.org.id)
        async with self.server.database.read() as connection:
            return [tuple(row) for row in await connection.execute(query.order_by(transfers.c.sequence))]

    async def events_stored(self) -> int:
        async with self.server.database.read() as connection:
            return int((await connection.execute(select(func.count()).select_from(stripe_events))).scalar_one())


@asynccontextmanager
async def open_shop(database_url: str, **environment: str) -> AsyncIterator[Shop]:
    bank = Bank(retry_seconds=(0.05, 0.1, 0.2, 0.4, 0.8))
    async with (
        running_network(bank=bank) as network,
        running_server(
            database_url, network=network, STRIPE_API_BASE_URL=f"{network[0]}/stripe", **environment
        ) as server,
        httpx.AsyncClient(base_url=network[0], timeout=20) as sim,
    ):
        bank.postman.configure(f"{server.url}/webhooks/stripe", [SECRET])
        org = await server.organisation(credit=0)
        shop = Shop(server, bank, sim, org, [])
        shop.service.alerted.append(shop.alerts.append)
        yield shop
        bank.postman.set_paused(True)
