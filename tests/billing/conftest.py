from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from sqlalchemy import select

from billing.audit import Violation
from billing.tables import wallets
from billing.topup_audit import audit_topups
from billing.wallet import Wallet
from config.database import Database
from config.door import Door
from tests.billing.books import Books, all_transfers, assert_sound
from tests.shop import Shop, open_shop

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


@pytest.fixture
async def shop(sqlite_url: str) -> AsyncIterator[Shop]:
    async with open_shop(sqlite_url) as shop:
        yield shop
        await assert_books_sound(shop)


@pytest.fixture
async def any_shop(database_url: str) -> AsyncIterator[Shop]:
    """On SQLite and on Postgres."""
    async with open_shop(database_url) as shop:
        yield shop
        await assert_books_sound(shop)


async def assert_books_sound(shop: Shop) -> None:
    """Whatever a test did, every wallet is what its transfers say, and they are what its top-ups say."""
    violations: list[Violation] = []
    async with shop.server.database.read() as connection:
        found = (await connection.execute(select(wallets))).all()
        await audit_topups(connection, violations.append)
    assert violations == []
    history = await all_transfers(shop.server.database)
    for row in found:
        own = [transfer for transfer in history if transfer.org_id == row.id]
        assert_sound(Wallet(row.balance, row.held, row.sequence), own)
