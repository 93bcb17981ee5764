"""A wallet and its ledger as a test uses them, every change through the door."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, select

from accounts.tables import organisations
from billing.ledger import Post
from billing.posting import Posting, Refusal, Transfer
from billing.tables import transfers, wallets
from billing.wallet import Wallet
from config.clock import new_id
from config.database import Database
from config.door import Door
from tests.databases import alter


async def new_wallet(database: Database) -> str:
    """An organisation with nothing in its wallet; gives its id."""
    org_id = new_id()
    organisation = {"id": org_id, "name": "Example", "timezone": "UTC", "disclose_ai": True, "created_at": 0}
    wallet = {"id": org_id, "balance": 0, "held": 0, "sequence": 0}

    def create(connection: Any) -> None:
        connection.execute(insert(organisations), [organisation])
        connection.execute(insert(wallets), [wallet])

    await alter(database.url, create)
    return org_id


@dataclass
class Books:
    """One organisation's books. Every method gives the transfer, or the refusal."""

    door: Door
    database: Database
    org_id: str

    @classmethod
    async def opened(cls, door: Door, database: Database, credit: int = 0) -> "Books":
        books = cls(door, database, await new_wallet(database))
        if credit:
            await books.post("topup", credit)
        return books

    async def post(self, kind: str, amount: int = 0, **fields: Any) -> Transfer | Refusal:
        posting = {"id": new_id(), "source_key": new_id(), "org_id": self.org_id, "kind": kind, "amount": amount}
        return await self.door.submit(Post(Posting(**{**posting, **fields})))

    async def hold(self, amount: int, **fields: Any) -> Transfer:
        """A hold that must fit."""
        outcome = await self.post("hold", amount, **fields)
        assert isinstance(outcome, Transfer), outcome
        return outcome

    async def settle(self, hold: Transfer, amount: int, **fields: Any) -> Transfer | Refusal:
        return await self.post("settle", amount, pending_id=hold.id, **fields)

    async def release(self, hold: Transfer, **fields: Any) -> Transfer | Refusal:
        return await self.post("release", pending_id=hold.id, **fields)

    async def wallet(self) -> Wallet:
        async with self.database.read() as connection:
            row = (await connection.execute(select(wallets).where(wallets.c.id == self.org_id))).one()
        return Wallet(row.balance, row.held, row.sequence)

    async def transfers(self) -> list[Transfer]:
        return [transfer for transfer in await all_transfers(self.database) if transfer.org_id == self.org_id]


async def all_transfers(database: Database) -> list[Transfer]:
    query = select(transfers).order_by(transfers.c.org_id, transfers.c.sequence)
    async with database.read() as connection:
        return [Transfer(**row) for row in (await connection.execute(query)).mappings()]


async def snapshot(database: Database) -> tuple[list[Any], list[dict[str, Any]]]:
    """Everything the ledger has, to see that a refusal left it alone."""
    async with database.read() as connection:
        found = (await connection.execute(select(wallets).order_by(wallets.c.id))).all()
    return [tuple(row) for row in found], [transfer._asdict() for transfer in await all_transfers(database)]


def assert_sound(wallet: Wallet, history: list[Transfer]) -> None:
    """The ledger's invariants for one wallet and all its transfers, oldest first."""
    balance = held = 0
    open_holds: dict[str, int] = {}
    for number, transfer in enumerate(history, 1):
        assert transfer.sequence == number
        balance += transfer.balance_delta
        held += transfer.held_delta
        assert (transfer.balance_after, transfer.held_after) == (balance, held)
        assert transfer.amount >= 0
        if transfer.kind == "hold":
            assert balance - held >= 0
            assert (transfer.balance_delta, transfer.held_delta) == (0, transfer.amount)
            open_holds[transfer.id] = transfer.amount
        elif transfer.pending_id is not None:
            reserved = open_holds.pop(transfer.pending_id)  # fails on a second second phase
            assert transfer.held_delta == -reserved
            assert 0 <= -transfer.balance_delta <= reserved
    assert (wallet.balance, wallet.held, wallet.sequence) == (balance, held, len(history))
    assert held == sum(open_holds.values())
