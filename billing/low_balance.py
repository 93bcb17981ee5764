"""Telling an organisation that its wallet runs low: its servers by an event, its people by a mail.

A move of the wallet is news when available credit falls from a line, or from above it, to below it. One move is one
event, whatever it crosses; the event says which lines. Below `one_call` it is `calls.paused`, else `balance.low`. The
line that an organisation chose comes beside the two of its holds and replaces neither, nor what the pill shows.

People are mailed about one line: the one they chose, or else `two_calls`. A hold counts like any other use of credit,
so where little is left, calls that begin and end cross a line again and again: servers hear of each crossing, people
of the first, and of another only a day later or when credit was added in between.

Invariant: the telling is written by the fold that moved the wallet, once for each downward crossing; a line is armed
again when available credit has risen to it.
"""

from enum import StrEnum

from accounts.events import record_account_event
from accounts.mails import mail_members
from accounts.tables import organisations, users
from billing.money import dollars_down, dollars_up
from billing.presenting import wallet_object
from billing.rating import Terms
from billing.wallet import Wallet, pause_message
from config.rows import Read, Row, Rows

QUIET_MS = 24 * 3_600_000
LARGEST_ALERT = 10**12


class Line(StrEnum):
    """What available credit can fall below."""

    ALERT_BELOW = "alert_below"
    """What the organisation asked to be told at, if it did."""
    TWO_CALLS = "two_calls"
    """What two calls of its longest length hold: below it there is room for one."""
    ONE_CALL = "one_call"
    """What one holds: below it calls pause."""


def line_in_force(hold: int, alert_below: int | None) -> int:
    """Milli-cents below which people are mailed."""
    return 2 * hold if alert_below is None else alert_below


def crossed(before: Wallet, after: Wallet, hold: int, alert_below: int | None) -> tuple[Line, ...]:
    """The lines that available credit fell below. `hold`: of a call of the organisation's longest length."""
    lines = {Line.TWO_CALLS: 2 * hold, Line.ONE_CALL: hold}
    if alert_below is not None:
        lines = {Line.ALERT_BELOW: alert_below, **lines}
    return tuple(line for line, amount in lines.items() if before.available >= amount > after.available)


def news(lines: tuple[Line, ...]) -> str | None:
    """The one event of a move that crossed these lines."""
    if not lines:
        return None
    return "calls.paused" if Line.ONE_CALL in lines else "balance.low"


def reads_for(*org_ids: str) -> tuple[Read, ...]:
    """What `tell_of_wallet` looks at."""
    return Read(organisations, "id", org_ids), Read(users, "org_id", org_ids)


def tell_of_wallet(
    rows: Rows, organisation: Row, before: Wallet, after: Wallet, terms: Terms, key: str, now: int
) -> None:
    """Write event and mails, if there is news. `organisation`: its row as read; `key`: the transfer that moved the
    wallet."""
    if after.balance > before.balance:
        rearm_mail(rows, organisation)
    hold, alert_below = terms.default_hold(organisation["max_call_duration_seconds"]), _alert_below(organisation)
    lines = crossed(before, after, hold, alert_below)
    if (name := news(lines)) is None:
        return
    facts = {
        "wallet": wallet_object(after, hold),
        "crossed": [line.value for line in lines],
        "alert_below_milli_cents": alert_below,
    }
    record_account_event(rows, organisation, name, key, facts, now)
    mailed_at = organisation["alert_mailed_at"]
    is_quiet = mailed_at is not None and now < mailed_at + QUIET_MS
    if not is_quiet and (Line.TWO_CALLS if alert_below is None else Line.ALERT_BELOW) in lines:
        rows.update(organisations, organisation["id"], {"alert_mailed_at": now})
        mail_members(rows, organisation["id"], f"{name}:{key}", _letter(after, hold, alert_below), now)


def rearm_mail(rows: Rows, organisation: Row) -> None:
    """Credit was added, or the line was moved: the next crossing is mailed, however soon."""
    if organisation["alert_mailed_at"] is not None:
        rows.update(organisations, organisation["id"], {"alert_mailed_at": None})


def _alert_below(organisation: Row) -> int | None:
    alert_below: int | None = organisation["alert_below_milli_cents"]
    return alert_below


def _letter(wallet: Wallet, hold: int, alert_below: int | None) -> dict[str, str]:
    line = dollars_up(line_in_force(hold, alert_below))
    why = "the line you set" if alert_below is not None else "what two calls of your longest length hold"
    text = f"{dollars_down(wallet.available)} is available: less than {line}, {why}."
    if wallet.available < hold:
        text += f"\n\n{pause_message(wallet.available, hold)}"
    text += (
        "\n\nYou get this mail once, and again after credit was added or a day has passed. When you get it is set "
        "under Low-credit alert on the Billing page.\n\nAdd credits:"
    )
    return {"subject": f"Your CallingBox credit is below {line}", "text": f"{text}\n", "path": "/billing/add-credits"}
