"""Wallet and ledger as the public API shows them.

Invariant: amounts are milli-cents and say so in their names; times are ISO 8601 UTC.
"""

from collections.abc import Mapping
from typing import Any

from billing.money import dollars_exact
from billing.wallet import Wallet, WalletStatus, pause_message
from config.clock import iso


def wallet_object(wallet: Wallet, hold: int) -> dict[str, Any]:
    """`hold`: of the organisation's default call. `message` only while calls are paused."""
    status = wallet.status(hold)
    return {
        "balance_milli_cents": wallet.balance,
        "held_milli_cents": wallet.held,
        "available_milli_cents": wallet.available,
        "hold_milli_cents": hold,
        "calls_left": wallet.calls_left(hold),
        "status": status.value,
        "message": pause_message(wallet.available, hold) if status is WalletStatus.PAUSED else None,
    }


def transfer_object(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the ledger as the API shows it. Milli-cents."""
    return {
        "id": row["id"],
        "kind": row["kind"],
        "amount_milli_cents": row["amount"],
        "balance_delta_milli_cents": row["balance_delta"],
        "held_delta_milli_cents": row["held_delta"],
        "balance_after_milli_cents": row["balance_after"],
        "held_after_milli_cents": row["held_after"],
        "sequence": row["sequence"],
        "call_id": row["call_id"],
        "pending_id": row["pending_id"],
        "debit_account": row["debit_account"],
        "credit_account": row["credit_account"],
        "reason": row["reason"],
        "created_at": iso(row["created_at"]),
    }


def movement_words(amount: int, held_delta: int) -> str:
    """For people: what a transfer moved, and what it gave back of a hold. Milli-cents."""
    returned = -held_delta - amount
    if returned <= 0:
        return dollars_exact(amount)
    back = f"{dollars_exact(returned)} of the hold given back"
    return f"{dollars_exact(amount)}, {back}" if amount else back
