"""What an organisation or one of its API keys may spend: pure functions from (limits, spent, next call or number) to a
refusal or none.

Invariant: whatever was charged in a day (or month) plus all that calls and purchases under way hold never exceeds its
cap when a call or a purchase is accepted; since a charge is at most its hold, no day's charges ever exceed the cap of
that day. A hold counts in the day it is now, a charge in the day it was made.

One charge is counted and never refused, so it alone can take a day beyond its cap: the renewal of a number. A cap
bounds what is begun; to lose a number because it fell due on a busy day would be worse than its price. Renewals count
to the organisation alone: they are its contract, whichever key once bought the number.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

from billing.money import dollars_down, dollars_up


class Scope(StrEnum):
    ORGANISATION = "organisation"
    """All calls, inbound ones too, and all numbers."""
    KEY = "api_key"
    """The calls that one API key placed, and the numbers that it bought."""


@dataclass(frozen=True, slots=True)
class Limits:
    """None: no limit of one's own. Milli-cents; countries by region, as `US`."""

    daily_cap_milli_cents: int | None = None
    monthly_cap_milli_cents: int | None = None
    max_concurrent_calls: int | None = None
    allowed_countries: tuple[str, ...] | None = None

    @property
    def caps_money(self) -> bool:
        return self.daily_cap_milli_cents is not None or self.monthly_cap_milli_cents is not None


@dataclass(frozen=True, slots=True)
class Spent:
    """Calls under way; what they and open purchases hold; charges of the day (`2026-11-23`) and the month it lies in.
    Milli-cents."""

    open_calls: int = 0
    held_milli_cents: int = 0
    day: str = ""
    day_milli_cents: int = 0
    month_milli_cents: int = 0

    def on(self, day: str) -> "Spent":
        """The same on a later day. An earlier one (another process's clock, another time zone) changes nothing: what
        was spent is never forgotten twice."""
        if day <= self.day:
            return self
        same_month = day[:7] == self.day[:7]
        return replace(self, day=day, day_milli_cents=0, month_milli_cents=self.month_milli_cents if same_month else 0)

    def opened(self, hold: int, day: str, calls: int = 1) -> "Spent":
        """A call began, or (`calls` 0) a purchase."""
        return replace(self.on(day), open_calls=self.open_calls + calls, held_milli_cents=self.held_milli_cents + hold)

    def closed(self, hold: int, charge: int, day: str, calls: int = 1) -> "Spent":
        """It ended: its hold became a charge from 0 to the hold. A renewal is a charge without a hold."""
        now = self.on(day)
        return replace(
            now,
            open_calls=now.open_calls - calls,
            held_milli_cents=now.held_milli_cents - hold,
            day_milli_cents=now.day_milli_cents + charge,
            month_milli_cents=now.month_milli_cents + charge,
        )

    def refunded(self, amount: int, charged_on: str, day: str) -> "Spent":
        """A charge made on `charged_on` went back, or part of it; earlier days and months are closed."""
        now = self.on(day)
        same_day, same_month = charged_on == now.day, charged_on[:7] == now.day[:7]
        return replace(
            now,
            day_milli_cents=max(0, now.day_milli_cents - (amount if same_day else 0)),
            month_milli_cents=max(0, now.month_milli_cents - (amount if same_month else 0)),
        )


@dataclass(frozen=True, slots=True)
class Over:
    """Why a call or a purchase is refused: a stable code, a sentence that says what to do, and the figures."""

    code: str
    message: str
    figures: Mapping[str, Any]


def local_day(at: int, timezone: str) -> str:
    """The day there, `2026-11-23`. `at`: UTC epoch milliseconds."""
    return datetime.fromtimestamp(at / 1000, UTC).astimezone(ZoneInfo(timezone)).date().isoformat()


_WORDS = {
    Scope.ORGANISATION: ("Your organisation", "under Spending limits on the Billing page"),
    Scope.KEY: ("This API key", "on the API keys page"),
}
CODES = {
    Scope.ORGANISATION: (
        "organisation_country_not_allowed",
        "concurrent_calls_reached",
        "daily_cap_reached",
        "monthly_cap_reached",
    ),
    Scope.KEY: (
        "key_country_not_allowed",
        "key_concurrent_calls_reached",
        "key_daily_cap_reached",
        "key_monthly_cap_reached",
    ),
}
"""Of each limit, in the order in which they are looked at."""
CAP_CODES = tuple(code for codes in CODES.values() for code in codes[2:])
"""Of the limits of money alone, which numbers have to do with."""


def refusal(scope: Scope, limits: Limits, spent: Spent, hold: int, region: str | None, day: str) -> Over | None:
    """Why a call with this hold may not begin, or None. `region`: where it goes; None where nobody is called."""
    who, where = _WORDS[scope]
    country, concurrent, _, _ = CODES[scope]
    countries = limits.allowed_countries
    if region is not None and countries is not None and region not in countries:
        message = f"{who} may call only {', '.join(sorted(countries))}, not {region}. Change its countries {where}."
        return Over(country, message, {"country": region, "allowed_countries": sorted(countries)})
    most = limits.max_concurrent_calls
    if most is not None and spent.open_calls >= most:
        message = (
            f"{who} may have {most} {'call' if most == 1 else 'calls'} at once and has {spent.open_calls} under way. "
            f"Wait until one ends, or raise the limit {where}."
        )
        return Over(concurrent, message, {"max_concurrent_calls": most, "open_calls": spent.open_calls})
    return _over_cap(scope, limits, spent, hold, day, f"this call requires a {dollars_up(hold)} hold", _SHORTER)


def purchase_refusal(scope: Scope, limits: Limits, spent: Spent, price: int, e164: str, day: str) -> Over | None:
    """Why this number may not be bought, or None: the caps alone. Numbers are no calls, and ring nobody."""
    return _over_cap(scope, limits, spent, price, day, f"{e164} costs {dollars_up(price)}", "")


_SHORTER = "ask for a shorter call, "


def _over_cap(
    scope: Scope, limits: Limits, spent: Spent, hold: int, day: str, wanted: str, instead: str
) -> Over | None:
    """`wanted` and `instead`: what it costs, and what one could do besides raising the cap or waiting, in words."""
    who, where = _WORDS[scope]
    _, _, daily, monthly = CODES[scope]
    now = spent.on(day)
    for code, cap, charged, span, next_ in (
        (daily, limits.daily_cap_milli_cents, now.day_milli_cents, "day", "tomorrow"),
        (monthly, limits.monthly_cap_milli_cents, now.month_milli_cents, "month", "next month"),
    ):
        if cap is not None and charged + now.held_milli_cents + hold > cap:
            held = now.held_milli_cents
            message = (
                f"{who} may spend {dollars_down(cap)} a {span}: {dollars_up(charged)} is spent and {dollars_up(held)} "
                f"held, and {wanted}. Raise the cap {where}, {instead}or wait until {next_}."
            )
            figures = {"cap_milli_cents": cap, "charged_milli_cents": charged}
            return Over(code, message, {**figures, "held_milli_cents": held, "hold_milli_cents": hold})
    return None
