"""The wallet: what an organisation owns, what live calls hold of it, and what the next call can use.

Invariant: `available = balance − held`, and the words that customers read about it are made here and nowhere else.
"""

from enum import StrEnum
from typing import NamedTuple

from billing.money import dollars_down, dollars_up


class WalletStatus(StrEnum):
    OK = "ok"
    """Room for two or more calls of the organisation's longest length."""
    LOW = "low"
    """Room for exactly one."""
    PAUSED = "paused"
    """Room for none."""


class Wallet(NamedTuple):
    """Milli-cents; `sequence` counts the transfers that made it."""

    balance: int
    held: int
    sequence: int

    @property
    def available(self) -> int:
        return self.balance - self.held

    def calls_left(self, hold: int) -> int:
        return max(0, self.available // hold)

    def status(self, hold: int) -> WalletStatus:
        match self.calls_left(hold):
            case 0:
                return WalletStatus.PAUSED
            case 1:
                return WalletStatus.LOW
            case _:
                return WalletStatus.OK


def shortfall_milli_cents(available: int, hold: int) -> int:
    return max(0, hold - available)


def pause_message(available: int, hold: int) -> str:
    """Why a call does not fit and exactly how much to add; `available` is shown as the balance."""
    return (
        f"Calls paused. Your balance is {dollars_down(available)} but each call requires a "
        f"{dollars_up(hold)} hold (we release it back if no one answers). "
        f"Add {dollars_up(shortfall_milli_cents(available, hold))} or more in credits to keep calling."
    )
