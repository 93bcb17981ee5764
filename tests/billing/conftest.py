from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from config.database import Database
from config.door import Door
from tests.billing.books import Books, assert_sound

OpenBooks = Callable[..., Awaitable[Books]]


@pytest.fixture
async def open_books(door: Door, database: Database) -> AsyncIterator[OpenBooks]:
    """Opens wallets with so much credit; whatever the test does to them, their books must be sound at its end."""
    opened: list[Books] = []

    async def open_books(credit: int = 0) -> Books:
        opened.append(await Books.opened(door, database, credit))
        return opened[-1]

    yield open_books
    for books in opened:
        assert_sound(await books.wallet(), await books.transfers())
