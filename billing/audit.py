"""The books audited: every transfer is posted again by the pure function and compared with what was written.

Invariant: nothing here writes, and no more than a page of rows is in memory at once (of a wallet: its open holds).

What must hold, by the names that violations carry:

    balance_is_sum       a wallet's balance is the sum of its transfers' balance deltas
    held_is_sum          a wallet's held is the sum of their held deltas
    held_is_open_holds   and the sum of its open holds
    hold_is_covered      what was available covered each hold when it was reserved
    one_second_phase     each settle or release ends one open hold of its wallet, and each hold has at most one
    charge_within_hold   no settle exceeds its hold
    sequence_gapless     a wallet's transfers are numbered from 1 without a gap, and the wallet knows the last number
    running_totals       balance and held after a transfer are those after the one before it plus its deltas
    transfer_amounts     a transfer's deltas follow from its kind and amount
    house_accounts       its other side is the house account of its kind, so each one's total is that of its kinds
    wallet_exists        every transfer belongs to a wallet
"""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row, exists, select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.ledger import transfer_of
from billing.posting import HOLD, KINDS, RELEASE, SETTLE, Posting, Present, Refusal, Transfer, post
from billing.tables import transfers, wallets
from billing.wallet import Wallet

PAGE_ROWS = 500


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that must never be. `detail` in words, amounts in milli-cents."""

    invariant: str
    org_id: str | None
    call_id: str | None
    detail: str


Report = Callable[[Violation], None]
Finding = tuple[str, str]
"""(invariant, detail)"""

_REFUSALS = {
    Refusal.INSUFFICIENT: ("hold_is_covered", "a hold of {amount} did not fit into the {available} available"),
    Refusal.EXCEEDS_HOLD: ("charge_within_hold", "a settle of {amount} exceeds its hold"),
}
_NOT_OPEN = ("one_second_phase", "a {kind} points at no open hold of its wallet")
_FIELDS = {
    "amount": "transfer_amounts",
    "balance_delta": "transfer_amounts",
    "held_delta": "transfer_amounts",
    "debit_account": "house_accounts",
    "credit_account": "house_accounts",
}


@dataclass(slots=True)
class Books:
    """One wallet, folded from its transfers in order."""

    wallet: Wallet = field(default_factory=lambda: Wallet(0, 0, 0))
    """As the last transfer says that it left it."""
    balance: int = 0
    held: int = 0
    open_holds: dict[str, Transfer] = field(default_factory=dict)

    def add(self, written: Transfer) -> Iterator[Finding]:
        """What is wrong with the next transfer."""
        yield from self._follows(written)
        yield from self._compare(written)
        self.balance += written.balance_delta
        self.held += written.held_delta
        self.wallet = Wallet(written.balance_after, written.held_after, written.sequence)
        if written.kind == HOLD:
            self.open_holds[written.id] = written
        elif written.pending_id is not None:
            self.open_holds.pop(written.pending_id, None)

    def _follows(self, written: Transfer) -> Iterator[Finding]:
        """Whether it goes on where the one before it left off."""
        before = self.wallet
        for invariant, name, is_, must_be in (
            ("sequence_gapless", "sequence", written.sequence, before.sequence + 1),
            ("running_totals", "balance_after", written.balance_after, before.balance + written.balance_delta),
            ("running_totals", "held_after", written.held_after, before.held + written.held_delta),
        ):
            if is_ != must_be:
                yield invariant, f"{name} of transfer {written.id} is {is_}, must be {must_be}"

    def _compare(self, written: Transfer) -> Iterator[Finding]:
        kind = KINDS.get(written.kind)
        second_phase = written.kind in (SETTLE, RELEASE)
        if kind is None or written.amount < 0 or second_phase is not (written.pending_id is not None):
            yield "transfer_amounts", f"transfer {written.id} is no posting that could have been made"
            return
        amount = written.amount if kind.sign else written.balance_delta
        posting = Posting(
            written.id,
            written.source_key,
            written.org_id,
            written.kind,
            amount,
            written.pending_id,
            written.call_id,
            written.reason,
        )
        present = Present(hold=self.open_holds.get(written.pending_id or ""))
        again = post(self.wallet, posting, present, written.created_at)
        if isinstance(again, Refusal):
            invariant, words = _REFUSALS.get(again, _NOT_OPEN)
            yield invariant, words.format(amount=amount, available=self.wallet.available, kind=written.kind)
            return
        for name, invariant in _FIELDS.items():
            if getattr(written, name) != getattr(again, name):
                is_, must_be = getattr(written, name), getattr(again, name)
                yield invariant, f"{name} of transfer {written.id} is {is_}, must be {must_be}"

    def close(self, wallet: Wallet) -> Iterator[Finding]:
        """What is wrong with the wallet's own row."""
        for invariant, name, is_, must_be in (
            ("balance_is_sum", "balance", wallet.balance, self.balance),
            ("held_is_sum", "held", wallet.held, self.held),
            ("held_is_open_holds", "held", wallet.held, sum(hold.amount for hold in self.open_holds.values())),
            ("sequence_gapless", "sequence", wallet.sequence, self.wallet.sequence),
        ):
            if is_ != must_be:
                yield invariant, f"{name} of the wallet is {is_}, must be {must_be}"


async def audit_ledger(connection: AsyncConnection, report: Report) -> tuple[int, int]:
    """Fold every wallet. How many wallets and transfers there were."""
    wallet_count = transfer_count = 0
    async for page in pages_of_wallets(connection):
        for row in page:
            wallet_count += 1
            wallet = Wallet(row.balance, row.held, row.sequence)
            transfer_count += await _audit_wallet(connection, row.id, wallet, report)
    has_wallet = exists().where(wallets.c.id == transfers.c.org_id)
    for row in await connection.execute(select(transfers).where(~has_wallet).limit(PAGE_ROWS)):
        transfer_count += 1
        report(Violation("wallet_exists", row.org_id, row.call_id, f"transfer {row.id} belongs to no wallet"))
    return wallet_count, transfer_count


async def pages_of_wallets(connection: AsyncConnection) -> AsyncIterator[Sequence[Row[Any]]]:
    """All wallets in order of id, a page at a time."""
    last = ""
    while page := (
        await connection.execute(select(wallets).where(wallets.c.id > last).order_by(wallets.c.id).limit(PAGE_ROWS))
    ).all():
        yield page
        last = page[-1].id


async def _audit_wallet(connection: AsyncConnection, org_id: str, wallet: Wallet, report: Report) -> int:
    books, count = Books(), 0
    query = select(transfers).where(transfers.c.org_id == org_id).order_by(transfers.c.sequence)
    async with connection.stream(query.execution_options(yield_per=PAGE_ROWS)) as rows:
        async for row in rows.mappings():
            count += 1
            for invariant, detail in books.add(transfer_of(dict(row))):
                report(Violation(invariant, org_id, row["call_id"], detail))
    for invariant, detail in books.close(wallet):
        report(Violation(invariant, org_id, None, detail))
    return count
