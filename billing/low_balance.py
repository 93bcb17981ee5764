"""Telling customers' servers that the wallet runs low.

Invariant: the event is written by the fold that moved the wallet, once for each time its status gets worse. A hold
counts like any other use of credit: what matters is whether the next call fits.
"""

from accounts.events import record_account_event
from billing.presenting import wallet_object
from billing.rating import Terms
from billing.wallet import Wallet, WalletStatus
from config.rows import Row, Rows

_NEWS = {WalletStatus.LOW: "balance.low", WalletStatus.PAUSED: "calls.paused"}
_SEVERITY = {WalletStatus.OK: 0, WalletStatus.LOW: 1, WalletStatus.PAUSED: 2}


def news(before: Wallet, after: Wallet, hold: int) -> str | None:
    """The event to send when the wallet moved from `before` to `after`, if its status got worse."""
    status = after.status(hold)
    return _NEWS[status] if _SEVERITY[status] > _SEVERITY[before.status(hold)] else None


def tell_of_wallet(
    rows: Rows, organisation: Row, before: Wallet, after: Wallet, terms: Terms, key: str, now: int
) -> None:
    """Write the event, if there is news. `organisation`: its row as read; `key`: the transfer that moved the wallet."""
    if not organisation["webhook_endpoints"]:
        return
    hold = terms.default_hold(organisation["max_call_duration_seconds"])
    if (name := news(before, after, hold)) is not None:
        record_account_event(rows, organisation, name, key, {"wallet": wallet_object(after, hold)}, now)
