"""Spending limits of the organisation and of its keys, and the low-credit alert: their forms, and how things stand.

Pure. The one invariant: an empty field is no limit (or the usual alert), and nothing that is not understood becomes
one.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from billing.money import MILLI_CENTS_PER_CENT, dollars_down, dollars_up
from billing.spending import Limits, Spent
from dashboard import format as fmt
from dashboard.views import Choice, Form
from dashboard.wallet_view import typed_cents

MOST_CALLS = 10_000
LARGEST_CENTS = 10**9
FIELDS = {
    "cap_day": "daily_cap_milli_cents",
    "cap_month": "monthly_cap_milli_cents",
    "cap_calls": "max_concurrent_calls",
}
"""The form's fields, and which limit each is."""


@dataclass(frozen=True, slots=True)
class SpendingLimits:
    """The form, where it is sent, and how things stand in a line for the day, the month, and now."""

    url: str
    form: Form
    countries: tuple[Choice, ...]
    today: str
    month: str
    live: str


@dataclass(frozen=True, slots=True)
class LowCreditAlert:
    """Its form, and in words where the line is and whether credit is below it now."""

    form: Form
    line: str
    usual: str
    """What an empty field means, in dollars."""
    standing: str


@dataclass(frozen=True, slots=True)
class KeyPage:
    """An API key and what it may spend."""

    id: str
    name: str
    beginning: str
    status: str
    limits: SpendingLimits


def spending_limits(
    url: str, limits: Limits, spent: Spent, day: str, everywhere: Collection[str], form: Form | None = None
) -> SpendingLimits:
    """`form`: as it came back with errors. `everywhere`: the countries that this server calls at all."""
    now = spent.on(day)
    allowed = everywhere if limits.allowed_countries is None else limits.allowed_countries
    return SpendingLimits(
        url=url,
        form=form or Form(_values(limits)),
        countries=tuple(Choice(each, fmt.COUNTRIES.get(each, each), each in allowed) for each in sorted(everywhere)),
        today=_line(now.day_milli_cents, limits.daily_cap_milli_cents),
        month=_line(now.month_milli_cents, limits.monthly_cap_milli_cents),
        live=f"{fmt.count(now.open_calls, 'call')}, {fmt.dollars(now.held_milli_cents)} held",
    )


def low_credit_alert(alert_below: int | None, available: int, hold: int, form: Form | None = None) -> LowCreditAlert:
    """`alert_below` and `hold`: milli-cents. `form`: as it came back with an error."""
    line = 2 * hold if alert_below is None else alert_below
    below = "below the line: you are told the next time it falls below" if available < line else "above the line"
    whose = "your line" if alert_below is not None else "what two calls hold"
    return LowCreditAlert(
        form or Form({"alert_below": "" if alert_below is None else _typed(alert_below)}),
        f"{dollars_up(line)}, {whose}",
        dollars_up(2 * hold),
        f"{dollars_down(available)}, {below}",
    )


def alert_of(values: Mapping[str, str]) -> int | Form | None:
    """The line that a form asks for in milli-cents (None: the usual one), or the form with what is wrong with it."""
    typed = values["alert_below"].strip()
    if not typed:
        return None
    cents = typed_cents(typed)
    if cents is None or not 0 < cents <= LARGEST_CENTS:
        return Form(values, {"alert_below": "Write an amount in dollars above 0, such as 50, or leave it empty."})
    return cents * MILLI_CENTS_PER_CENT


def summary(limits: Limits) -> str:
    """For the list of keys; empty without limits."""
    parts = []
    if limits.daily_cap_milli_cents is not None:
        parts.append(f"{fmt.dollars(limits.daily_cap_milli_cents)} a day")
    if limits.monthly_cap_milli_cents is not None:
        parts.append(f"{fmt.dollars(limits.monthly_cap_milli_cents)} a month")
    if limits.max_concurrent_calls is not None:
        parts.append(f"{fmt.count(limits.max_concurrent_calls, 'call')} at once")
    if limits.allowed_countries is not None:
        parts.append(f"only {', '.join(limits.allowed_countries)}")
    return ", ".join(parts)


def limits_of(values: Mapping[str, str], countries: Collection[str], everywhere: Collection[str]) -> Any:
    """The limits that a form asks for (by their column names), or the form with what is wrong with it. All countries
    ticked is no limit: what the server adds later is then allowed too."""
    errors: dict[str, str] = {}
    found: dict[str, Any] = {}
    for name in ("cap_day", "cap_month"):
        cents = typed_cents(values[name]) if values[name].strip() else None
        if values[name].strip() and (cents is None or cents > LARGEST_CENTS):
            errors[name] = "Write an amount in dollars, such as 20, or leave it empty."
        found[FIELDS[name]] = None if cents is None else cents * MILLI_CENTS_PER_CENT
    most = values["cap_calls"].strip()
    if most and not (most.isascii() and most.isdigit() and int(most) <= MOST_CALLS):
        errors["cap_calls"] = f"Write a whole number up to {MOST_CALLS:,}, or leave it empty."
    else:
        found["max_concurrent_calls"] = int(most) if most else None
    chosen = sorted(set(countries) & set(everywhere))
    if not chosen:
        errors["countries"] = "Tick at least one country. To stop all calls, allow 0 calls at once."
    found["allowed_countries"] = None if set(chosen) == set(everywhere) else chosen
    return Form(values, errors) if errors else found


def _values(limits: Limits) -> dict[str, str]:
    daily, monthly = limits.daily_cap_milli_cents, limits.monthly_cap_milli_cents
    return {
        "cap_day": "" if daily is None else _typed(daily),
        "cap_month": "" if monthly is None else _typed(monthly),
        "cap_calls": "" if limits.max_concurrent_calls is None else str(limits.max_concurrent_calls),
    }


def _typed(milli_cents: int) -> str:
    """An amount as one would type it."""
    dollars, cents = divmod(milli_cents // MILLI_CENTS_PER_CENT, 100)
    return f"{dollars}.{cents:02d}" if cents else str(dollars)


def _line(charged: int, cap: int | None) -> str:
    return f"{fmt.dollars(charged)} of {fmt.dollars(cap)}" if cap is not None else f"{fmt.dollars(charged)}, no cap"
