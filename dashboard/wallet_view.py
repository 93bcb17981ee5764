"""How a wallet is shown: pill, credit, ruler, the longest call and what a top-up brings.

Pure. The one invariant: held credit is never shown as spent; what one can use is always `available`.
"""

import re
from dataclasses import dataclass
from typing import Literal

from billing.money import MILLI_CENTS_PER_DOLLAR, dollars_down, dollars_up
from dashboard import charts
from dashboard import format as fmt
from dashboard.format import Clock

WalletStatus = Literal["ok", "low", "paused"]

_SUGGESTED_SECONDS = 600
_LONGEST_CHOICES_MINUTES = (5, 10, 15, 30, 60)
_PRESET_DOLLARS = (10, 25, 50, 100)
_AMOUNT = re.compile(r"\$?(?P<dollars>[0-9]{1,7})(?:\.(?P<cents>[0-9]{0,2}))?")
_NOT_A_CHARGE = "A hold is not a charge: what a call does not use comes back when it ends."


@dataclass(frozen=True, slots=True)
class WalletFacts:
    """A wallet as billing knows it; amounts in milli-cents, `rate` per minute, `message` ready to show."""

    balance: int
    held: int
    available: int
    hold: int
    calls_left: int
    status: WalletStatus
    message: str
    live_calls: int
    rate: int
    max_duration_seconds: int
    paused_since: int | None = None
    """When calls were paused, in UTC epoch milliseconds, if known."""
    refused_calls: int = 0
    """Incoming calls refused since then."""
    suspended: bool = False
    """Whatever the credit is, new calls are refused; `status` is then `paused`, without a message."""


@dataclass(frozen=True, slots=True)
class Pill:
    """The wallet in a line, on every page."""

    status: WalletStatus
    amount: str
    room: str


@dataclass(frozen=True, slots=True)
class Credit:
    """The head of the Billing page; `suggestion` is a link's words and what follows them, or empty."""

    status: WalletStatus
    available: str
    standing: str
    detail: str
    balance: int
    held: int
    held_label: str
    hold: int
    hold_label: str
    blocks: tuple[charts.Block, ...]
    sentence: str
    suggestion: tuple[str, str] | None
    message: str
    """The pause message; empty while calls are on."""


@dataclass(frozen=True, slots=True)
class LongestCall:
    """One choice of the longest call: what it holds and how many calls it leaves room for."""

    seconds: int
    label: str
    hold: str
    room: str
    chosen: bool


@dataclass(frozen=True, slots=True)
class TopUpChoice:
    """A preset amount, what it buys and what the wallet looks like after it."""

    dollars: int
    minutes: str
    available_after: str
    room_after: str


@dataclass(frozen=True, slots=True)
class AddCredits:
    """The dialog: `chosen` is a preset's dollars or "other"; the raw figures serve the typed amount."""

    available: str
    choices: tuple[TopUpChoice, ...]
    minutes_per_dollar: str
    available_milli_cents: int
    hold_milli_cents: int
    rate_milli_cents_per_minute: int
    chosen: str = "25"
    custom: str = ""
    error: str = ""
    """What is wrong with the typed amount."""
    refusal: str = ""
    """Why no payment could be begun."""


def pill(wallet: WalletFacts) -> Pill:
    """Available credit and what it has room for."""
    paused = wallet.status == "paused"
    room = "Calls paused" if paused else f"Room for {fmt.count(wallet.calls_left, 'call')}"
    if wallet.suspended:
        room = "Account suspended"
    return Pill(wallet.status, dollars_down(wallet.available), room)


def credit(wallet: WalletFacts, clock: Clock) -> Credit:
    """The Billing page's head for a wallet."""
    standing, detail = _standing(wallet, clock)
    paused = wallet.status == "paused"
    return Credit(
        status=wallet.status,
        available=dollars_down(wallet.available),
        standing=standing,
        detail=detail,
        balance=wallet.balance,
        held=-wallet.held,
        held_label=f"Held by {fmt.count(wallet.live_calls, 'live call')}"
        if wallet.live_calls
        else "Held by live calls",
        hold=wallet.hold,
        hold_label=f"{fmt.span(wallet.max_duration_seconds)} × {fmt.dollars(wallet.rate)}",
        blocks=charts.ruler(
            held=wallet.held,
            held_count=wallet.live_calls,
            available=wallet.available,
            hold=wallet.hold,
        ),
        sentence=_sentence(wallet),
        suggestion=suggest_shorter_calls(wallet),
        message=wallet.message if paused else "",
    )


def _standing(wallet: WalletFacts, clock: Clock) -> tuple[str, str]:
    if wallet.suspended:
        return "Account suspended.", "Live calls go on." if wallet.live_calls else ""
    match wallet.status:
        case "ok":
            return "Calls on.", f"Room for {fmt.count(wallet.calls_left, 'more call')} at once."
        case "low":
            return (
                "Room for 1 more call.",
                "After that, calls pause until a live one ends or you add credits.",
            )
        case "paused" if wallet.paused_since is not None:
            refused = fmt.count(wallet.refused_calls, "incoming call")
            were = "was" if wallet.refused_calls == 1 else "were"
            detail = f"since {clock.hour(wallet.paused_since).text}."
            return "Calls paused", detail + (f" {refused} {were} refused." if wallet.refused_calls else "")
        case _:
            return "Calls paused.", "Live calls go on." if wallet.live_calls else ""


def suggest_shorter_calls(wallet: WalletFacts) -> tuple[str, str] | None:
    """A shorter longest call, offered where room is short and it would make some."""
    hold = max(1, _SUGGESTED_SECONDS * wallet.rate // 60)
    room = max(0, wallet.available) // hold
    if wallet.suspended or wallet.status == "ok" or wallet.max_duration_seconds <= _SUGGESTED_SECONDS or not room:
        return None
    return "Set your longest call to 10 minutes", f": room for {fmt.count(room, 'call')}."


def _sentence(wallet: WalletFacts) -> str:
    if wallet.suspended:
        return _NOT_A_CHARGE
    hold = fmt.dollars(wallet.hold)
    if wallet.available < 0:
        below, needed = -wallet.available, wallet.hold - wallet.available
        return (
            f"Your wallet is {dollars_up(below)} below zero. Add {dollars_up(needed)} or more: "
            f"{dollars_up(below)} repays it, {hold} covers one hold."
        )
    room, rest = divmod(wallet.available, wallet.hold)
    if not room:
        missing = dollars_up(wallet.hold - rest)
        return f"A call needs one whole {hold} block, and {missing} of it is missing."
    left = f"{dollars_down(rest)} left over" if rest else "nothing left over"
    sentence = f"{_held_and_room(wallet, room, hold)}, {left}."
    return sentence if suggest_shorter_calls(wallet) else f"{sentence} {_NOT_A_CHARGE}"


def _held_and_room(wallet: WalletFacts, room: int, hold: str) -> str:
    live, more = wallet.live_calls, f"room for {room:,} more"
    owners = "live calls" if live > 1 else "a live call" if live else "a purchase or a refund"
    if wallet.held != live * wallet.hold:
        return f"{fmt.dollars(wallet.held)} is held by {owners}; {more} of {hold} each"
    if live + room < charts.MOST_BLOCKS:
        held = f"{live} held by {owners}" if live else "none held"
        return f"Each block is one {hold} hold: {held}, {more}"
    if not live:
        return f"Nothing is held: room for {room:,} holds of {hold}"
    belong = "belongs" if live == 1 else "belong"
    return f"{fmt.count(live, 'hold')} of {hold} {belong} to {owners}; {more}"


def longest_calls(wallet: WalletFacts, most_seconds: int) -> tuple[LongestCall, ...]:
    """The choices of the longest call up to the platform's, the present one always among them."""
    choices = {minutes * 60 for minutes in _LONGEST_CHOICES_MINUTES if minutes * 60 <= most_seconds}
    return tuple(_longest_call(wallet, seconds) for seconds in sorted(choices | {wallet.max_duration_seconds}))


def _longest_call(wallet: WalletFacts, seconds: int) -> LongestCall:
    hold = max(1, seconds * wallet.rate // 60)
    room = max(0, wallet.available) // hold
    return LongestCall(
        seconds,
        fmt.span(seconds),
        f"{fmt.dollars(hold)} hold",
        f"room for {room:,}" if room else "no room",
        seconds == wallet.max_duration_seconds,
    )


def typed_cents(text: str) -> int | None:
    """A typed amount of dollars, such as 25, $25.5 or 25.50; None if it is not one."""
    typed = _AMOUNT.fullmatch(text.strip())
    return None if typed is None else int(typed["dollars"]) * 100 + int((typed["cents"] or "").ljust(2, "0"))


class BadAmount(ValueError):
    """The message says what to enter."""


def amount_cents(chosen: str, custom: str, least_cents: int, most_cents: int) -> int:
    """What the dialog's form asks for: a preset's dollars, or with "other" the typed amount. Raises BadAmount."""
    span = f"Enter {least_cents // 100} to {most_cents // 100}."
    if chosen != "other":
        if chosen not in map(str, _PRESET_DOLLARS):
            raise BadAmount(f"Choose an amount. {span}")
        return int(chosen) * 100
    cents = typed_cents(custom)
    if cents is None:
        raise BadAmount(f"Write an amount in dollars, such as 25 or 25.50. {span}")
    if cents < least_cents:
        raise BadAmount(f"The smallest top-up is ${least_cents // 100}.00. {span}")
    if cents > most_cents:
        raise BadAmount(f"The largest top-up is ${most_cents // 100}.00. {span}")
    return cents


def add_credits(
    wallet: WalletFacts, *, chosen: str = "25", custom: str = "", error: str = "", refusal: str = ""
) -> AddCredits:
    """The dialog over a wallet, as it opens or as it comes back with an error."""
    return AddCredits(
        available=dollars_down(wallet.available),
        choices=tuple(_top_up(wallet, amount) for amount in _PRESET_DOLLARS),
        minutes_per_dollar=f"{MILLI_CENTS_PER_DOLLAR // wallet.rate:,}",
        available_milli_cents=wallet.available,
        hold_milli_cents=wallet.hold,
        rate_milli_cents_per_minute=wallet.rate,
        chosen=chosen,
        custom=custom,
        error=error,
        refusal=refusal,
    )


def _top_up(wallet: WalletFacts, amount_dollars: int) -> TopUpChoice:
    amount = amount_dollars * MILLI_CENTS_PER_DOLLAR
    after = wallet.available + amount
    room = max(0, after) // wallet.hold
    return TopUpChoice(
        amount_dollars,
        f"{amount // wallet.rate:,} min",
        dollars_down(after),
        f"room for {fmt.count(room, 'call')}" if room else "calls stay paused",
    )
