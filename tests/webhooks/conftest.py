"""Customers' servers, and a server of ours that may send to them: they live on this machine."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.receiver import Receiver, receiving
from tests.servers import Server, running_network, running_server
from webhooks.sender import Sender


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as made:
        yield made


@pytest.fixture
async def open_server(database_url: str) -> AsyncIterator[Server]:
    """With a worker of its own beside it, as on Postgres; on the embedded database that makes two."""
    async with (
        running_network() as network,
        running_server(database_url, network=network, ALLOW_PRIVATE_URLS="true") as server,
    ):
        sender = Sender(server.database, server.door, server.app.extensions["egress"], server.clock)
        work = asyncio.create_task(sender.run(0.05))
        yield server
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        await sender.idle()
