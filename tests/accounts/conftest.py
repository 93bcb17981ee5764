"""A town of people with browsers."""

from collections.abc import AsyncIterator

import pytest

from tests.town import Town, open_town


@pytest.fixture
async def town(sqlite_url: str) -> AsyncIterator[Town]:
    async with open_town(sqlite_url) as town:
        yield town
