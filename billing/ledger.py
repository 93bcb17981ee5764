"""The ledger in the database: posting inside a batch of the door, and reading it.

Invariant: a transfer and the wallet it changes are written in the same transaction, and nothing else writes either.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from sqlalchemy import func, select, text, true
from sqlalchemy.ext.asyncio import AsyncConnection

from accounts.tables import organisations
from billing import low_balance
from billing.posting import Posting, Present, Refusal, Transfer, post
from billing.rating import Terms
from billing.tables import CHANGES_CREDIT, IS_CREDIT_CHANGE, transfers, wallets
from billing.wallet import Wallet
from config.rows import Read, Row, Rows

_transfer_values = itemgetter(*Transfer._fields)
_wallet_values = itemgetter(*Wallet._fields)


def transfer_of(row: Row) -> Transfer:
    return Transfer._make(_transfer_values(row))


def wallet_in(rows: Rows, org_id: str) -> Wallet:
    """The wallet as the commands before this one in the batch left it."""
    row = rows.get(wallets, org_id)
    assert row is not None, "an organisation is created together with its wallet"
    return Wallet._make(_wallet_values(row))


def reads_for(posting: Posting) -> tuple[Read, ...]:
    """What must be read before `apply`."""
    same_key = Read(transfers, "source_key", (posting.source_key,))
    if posting.pending_id is None:
        return (same_key,)
    hold = (posting.pending_id,)
    return same_key, Read(transfers, "id", hold), Read(transfers, "pending_id", hold)


def apply(rows: Rows, posting: Posting, now: int) -> Transfer | Refusal:
    """Post to the wallet inside the current batch. A repeat under the same key gives the transfer that is there."""
    wallet = wallet_in(rows, posting.org_id)
    outcome = post(wallet, posting, _present(rows, posting), now)
    if isinstance(outcome, Transfer) and outcome.sequence == wallet.sequence + 1:
        rows.insert(transfers, outcome._asdict())
        after = {"balance": outcome.balance_after, "held": outcome.held_after, "sequence": outcome.sequence}
        rows.update(wallets, posting.org_id, after)
    return outcome


def _present(rows: Rows, posting: Posting) -> Present:
    same_key = rows.find(transfers, "source_key", posting.source_key)
    found = transfer_of(same_key[0]) if same_key else None
    if posting.pending_id is None:
        return Present(found)
    hold = rows.get(transfers, posting.pending_id)
    second = rows.find(transfers, "pending_id", posting.pending_id)
    return Present(
        same_key=found,
        hold=transfer_of(hold) if hold and hold["org_id"] == posting.org_id else None,
        second_phase=transfer_of(second[0]) if second else None,
    )


@dataclass(frozen=True, slots=True)
class Post:
    """Door command: one posting that no call decides. With `terms`, its organisation hears if the wallet runs low."""

    posting: Posting
    terms: Terms | None = None

    def locate(self) -> Sequence[Read]:
        return ()

    def organisations(self, located: Rows) -> Iterable[str]:
        return (self.posting.org_id,)

    def reads(self, located: Rows) -> Sequence[Read]:
        reads = reads_for(self.posting)
        return reads if self.terms is None else (*reads, *low_balance.reads_for(self.posting.org_id))

    def fold(self, rows: Rows, now: int) -> Transfer | Refusal:
        if self.terms is None:
            return apply(rows, self.posting, now)
        before, organisation = wallet_in(rows, self.posting.org_id), rows.get(organisations, self.posting.org_id)
        outcome = apply(rows, self.posting, now)
        if organisation is not None:
            after = wallet_in(rows, self.posting.org_id)
            low_balance.tell_of_wallet(rows, organisation, before, after, self.terms, self.posting.id, now)
        return outcome


async def read_wallet(connection: AsyncConnection, org_id: str) -> Wallet | None:
    row = (await connection.execute(select(wallets).where(wallets.c.id == org_id))).first()
    return None if row is None else Wallet(row.balance, row.held, row.sequence)


async def list_transfers(
    connection: AsyncConnection,
    org_id: str,
    *,
    limit: int,
    before: int | None = None,
    after: int | None = None,
    without_holds: bool = False,
    call_id: str | None = None,
) -> list[dict[str, Any]]:
    """Newest first. `before` and `after` are sequence numbers; with `after`, the page nearest to it."""
    query = select(transfers)
    if call_id is None:
        query = query.where(transfers.c.org_id == org_id)
    else:  # few: by the call's index, and not through all that the organisation has
        query = query.where(transfers.c.call_id == call_id, transfers.c.org_id.concat("") == org_id)
    if without_holds:
        query = query.where(text(CHANGES_CREDIT), true() == IS_CREDIT_CHANGE)
    if after is not None:
        query = query.where(transfers.c.sequence > after).order_by(transfers.c.sequence)
    else:
        query = query.order_by(transfers.c.sequence.desc())
    if before is not None:
        query = query.where(transfers.c.sequence < before)
    found = [dict(row) for row in (await connection.execute(query.limit(limit))).mappings()]
    return found[::-1] if after is not None else found


async def sequence_of(connection: AsyncConnection, org_id: str, transfer_id: str) -> int | None:
    query = select(transfers.c.sequence).where(transfers.c.org_id == org_id, transfers.c.id == transfer_id)
    return (await connection.execute(query)).scalar_one_or_none()


async def house_totals(connection: AsyncConnection) -> dict[str, int]:
    """Milli-cents that each house account received, summed when asked: no row that every call must lock."""
    query = select(transfers.c.debit_account, transfers.c.credit_account, func.sum(transfers.c.balance_delta))
    grouped = await connection.execute(query.group_by(transfers.c.debit_account, transfers.c.credit_account))
    totals: dict[str, int] = {}
    for debit, credit, delta in grouped:
        house = credit if debit.startswith("wallet:") else debit
        totals[house] = totals.get(house, 0) - int(delta)
    return totals
