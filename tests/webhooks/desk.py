"""An organisation whose events are sent in virtual time: a door, a sender, and the means to make facts.

Facts here are account events, so that nothing but the desk decides when one happens.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from accounts.events import record_account_event
from accounts.tables import organisations
from billing.tables import wallets
from config.clock import new_id
from config.database import Database
from config.door import Door
from config.egress import Egress
from config.rows import Read, Rows
from tests.servers import Server, VirtualClock, create_organisation
from webhooks.deliveries import attempts_of, find_delivery, list_deliveries
from webhooks.endpoints import ChangeEndpoint, CreateEndpoint, find_endpoint, new_secret
from webhooks.redelivery import redeliver_one
from webhooks.sender import Sender


@dataclass(frozen=True)
class Happen:
    """A fact of an organisation, told to whoever listens."""

    org_id: str
    name: str
    key: str

    def locate(self) -> Sequence[Read]:
        return ()

    def organisations(self, located: Rows) -> Iterable[str]:
        return (self.org_id,)

    def reads(self, located: Rows) -> Sequence[Read]:
        return (Read(organisations, "id", (self.org_id,)),)

    def fold(self, rows: Rows, now: int) -> None:
        organisation = rows.get(organisations, self.org_id)
        assert organisation is not None
        record_account_event(rows, organisation, self.name, self.key, {"topup": {"id": self.key}}, now)


@dataclass
class Desk:
    database: Database
    door: Door
    clock: VirtualClock
    sender: Sender
    org_id: str
    numbers: "count[int]"

    async def endpoint(self, url: str, *names: str) -> dict[str, Any]:
        """Its row, its secret included."""
        command = CreateEndpoint(new_id(), self.org_id, url, None, names or ("*",), new_secret())
        row = await self.door.submit(command)
        assert row is not None
        self.clock.advance(0.002)  # what happens next is later than its creation
        return row

    async def another(self) -> "Desk":
        """Of another organisation, with the same sender."""
        organisation = await create_organisation("http://127.0.0.1", self.door, number=None)
        await organisation.api.aclose()
        return replace(self, org_id=organisation.id, numbers=count(1))

    async def shown(self, endpoint: dict[str, Any]) -> dict[str, Any]:
        async with self.database.read() as connection:
            row = await find_endpoint(connection, self.org_id, endpoint["id"])
        assert row is not None
        return row

    async def enable(self, endpoint: dict[str, Any]) -> None:
        await self.door.submit(ChangeEndpoint(endpoint["id"], self.org_id, {"status": "enabled"}))

    async def happen(self, name: str = "topup.succeeded") -> None:
        await self.door.submit(Happen(self.org_id, name, f"topup-{next(self.numbers)}"))

    async def work(self) -> None:
        """Everything that is due now, to its end."""
        await self.sender.fan_out()
        while await self.sender.start_due():
            await self.sender.idle()

    async def deliveries(self, **filters: Any) -> list[dict[str, Any]]:
        """Oldest first."""
        async with self.database.read() as connection:
            return (await list_deliveries(connection, self.org_id, limit=1_000, **filters))[::-1]

    async def delivery(self, row: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """It, with its body, and its attempts."""
        async with self.database.read() as connection:
            found = await find_delivery(connection, self.org_id, row["id"])
            assert found is not None
            return found, await attempts_of(connection, row["id"])

    async def redeliver(self, row: dict[str, Any]) -> dict[str, Any] | str:
        return await redeliver_one(self.database, self.door, self.org_id, row["id"])

    async def until_due(self, row: dict[str, Any]) -> int:
        """Let time pass until the delivery's next attempt; gives how long that was, in milliseconds."""
        due_at = (await self.delivery(row))[0]["next_attempt_at"]
        waited: int = due_at - self.clock()
        self.clock.advance((waited + 1) / 1000)
        return waited

    async def give_up(self) -> None:
        """Let all that is due or pending fail for good."""
        await self.work()
        while any(row["status"] == "pending" for row in await self.deliveries()):
            self.clock.advance(30 * 3_600)
            await self.work()


@asynccontextmanager
async def working(server: Server) -> AsyncIterator[None]:
    """A worker that sends events beside a server."""
    sender = Sender(server.database, server.door, server.app.extensions["egress"], server.clock)
    work = asyncio.create_task(sender.run(0.05))
    yield
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    await sender.idle()


@asynccontextmanager
async def opened_desk(
    database_url: str, *, allow_private: bool = True, number: str | None = None, **options: Any
) -> AsyncIterator[Desk]:
    database, clock = Database(database_url), VirtualClock()
    door = Door(database, wallets, clock)
    door.open()
    egress = Egress(allow_private)
    await egress.open()
    organisation = await create_organisation("http://127.0.0.1", door, number=number)
    await organisation.api.aclose()
    sender = Sender(database, door, egress, clock, **options)
    yield Desk(database, door, clock, sender, organisation.id, count(1))
    await sender.idle()
    await door.close()
    await egress.close()
    await database.close()
