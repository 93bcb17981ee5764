"""What may be posted to a wallet: one pure function from (wallet, posting, what is already there) to a transfer.

Words and semantics of two-phase transfers: a hold is pending; a settle or release is a new row that points at it.
Invariant: a hold has exactly one second phase, a settle is at most its hold, and a hold is accepted only if it fits
into what is available. A refusal changes nothing.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from billing.wallet import Wallet


class Refusal(StrEnum):
    INSUFFICIENT = "insufficient"
    """The hold does not fit into what is available."""
    CONFLICT = "conflict"
    """The source key was used for something else."""
    NOT_FOUND = "not_found"
    """No transfer has the id of the hold."""
    NOT_PENDING = "not_pending"
    """The transfer is no hold."""
    ALREADY_SETTLED = "already_settled"
    ALREADY_RELEASED = "already_released"
    EXCEEDS_HOLD = "exceeds_hold"
    """The charge is more than was reserved."""


@dataclass(frozen=True, slots=True)
class Kind:
    """`sign` of the change of balance (0: as the amount is signed); the house account on the other side."""

    sign: int
    house_account: str


HOLD, SETTLE, RELEASE = "hold", "settle", "release"
KINDS = {
    HOLD: Kind(-1, "revenue"),
    SETTLE: Kind(-1, "revenue"),
    RELEASE: Kind(-1, "revenue"),
    "refund": Kind(+1, "revenue"),  # a charge, or part of one, given back to the wallet
    "free_credit": Kind(+1, "free_credit"),
    "topup": Kind(+1, "payments"),
    "topup_refund": Kind(-1, "refunds"),
    "topup_refund_undo": Kind(+1, "refunds"),
    "dispute": Kind(-1, "disputes"),
    "dispute_won": Kind(+1, "disputes"),
    "adjustment": Kind(0, "adjustments"),
}


class Posting(NamedTuple):
    """A transfer somebody asks for. `amount` in milli-cents, ≥ 0 (signed for `adjustment`)."""

    id: str
    source_key: str
    org_id: str
    kind: str
    amount: int = 0
    pending_id: str | None = None
    call_id: str | None = None
    reason: str | None = None


class Transfer(NamedTuple):
    """One row of the ledger; never changed once written."""

    id: str
    org_id: str
    sequence: int
    kind: str
    debit_account: str
    credit_account: str
    amount: int
    balance_delta: int
    held_delta: int
    balance_after: int
    held_after: int
    source_key: str
    pending_id: str | None
    call_id: str | None
    reason: str | None
    created_at: int


class Present(NamedTuple):
    """What the ledger already has that concerns a posting: the row under its key, its hold, that one's second phase."""

    same_key: Transfer | None = None
    hold: Transfer | None = None
    second_phase: Transfer | None = None


def post(wallet: Wallet, posting: Posting, present: Present, now: int) -> Transfer | Refusal:
    """The transfer to write, the one that is already there under this key, or why not."""
    assert posting.amount >= 0 or KINDS[posting.kind].sign == 0, "only an adjustment has a sign"
    assert posting.pending_id is None or posting.kind in (SETTLE, RELEASE), "only a second phase points at a hold"
    if present.same_key is not None:
        return present.same_key if _same(present.same_key, posting) else Refusal.CONFLICT
    if posting.kind in (SETTLE, RELEASE):
        refusal = _second_phase_refusal(posting, present)
        if refusal is not None:
            return refusal
        assert present.hold is not None
        balance_delta = -posting.amount if posting.kind == SETTLE else 0
        return _transfer(wallet, posting, balance_delta, -present.hold.amount, now)
    if posting.kind == HOLD:
        if posting.amount > wallet.available:
            return Refusal.INSUFFICIENT
        return _transfer(wallet, posting, 0, posting.amount, now)
    return _transfer(wallet, posting, (KINDS[posting.kind].sign or 1) * posting.amount, 0, now)


def _second_phase_refusal(posting: Posting, present: Present) -> Refusal | None:
    if present.hold is None:
        return Refusal.NOT_FOUND
    if present.hold.kind != HOLD:
        return Refusal.NOT_PENDING
    if present.second_phase is not None:
        return Refusal.ALREADY_SETTLED if present.second_phase.kind == SETTLE else Refusal.ALREADY_RELEASED
    return Refusal.EXCEEDS_HOLD if posting.amount > present.hold.amount else None


def _same(transfer: Transfer, posting: Posting) -> bool:
    """A repeat of the same request, as opposed to another one under a used key."""
    amount = transfer.amount if KINDS[transfer.kind].sign else transfer.balance_delta
    return (transfer.kind, transfer.org_id, transfer.pending_id, amount) == (
        posting.kind,
        posting.org_id,
        posting.pending_id,
        posting.amount,
    )


def _transfer(wallet: Wallet, posting: Posting, balance_delta: int, held_delta: int, now: int) -> Transfer:
    kind = KINDS[posting.kind]
    accounts = (f"wallet:{posting.org_id}", kind.house_account)
    to_wallet = balance_delta > 0 or (balance_delta == 0 and kind.sign > 0)
    return Transfer(  # in the order of its fields: naming them would take longer than the rest of the decision
        posting.id,
        posting.org_id,
        wallet.sequence + 1,
        posting.kind,
        accounts[to_wallet],
        accounts[not to_wallet],
        abs(posting.amount),
        balance_delta,
        held_delta,
        wallet.balance + balance_delta,
        wallet.held + held_delta,
        posting.source_key,
        posting.pending_id,
        posting.call_id,
        posting.reason,
        now,
    )
