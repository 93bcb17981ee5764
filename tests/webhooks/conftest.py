"""Customers' servers, and a server of ours that may send to them: they live on this machine."""

from collections.abc import AsyncIterator

import pytest

from tests.receiver import Receiver, receiving
from tests.servers import Server, running_network, running_server
from tests.webhooks.desk import working


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
        working(server),
    ):
        yield server
