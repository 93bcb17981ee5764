"""How figures, durations, phone numbers and times are written for people.

Pure. The one invariant: no figure is flattered. Exact money shows all five decimals, minutes are rounded
down; where cents alone are shown, `billing.money` rounds them.
"""

import datetime as dt
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

import phonenumbers

from billing.money import MILLI_CENTS_PER_CENT

MINUS = "−"


class Money(NamedTuple):
    """An exact amount in two parts: `cents` as "−$0.11" and the three digits below the cent as "166"."""

    cents: str
    below: str


def exact(milli_cents: int, *, signed: bool = False) -> Money:
    """All of an amount; a negative one gets a minus sign, a positive one a plus if `signed`."""
    whole_cents, below = divmod(abs(milli_cents), MILLI_CENTS_PER_CENT)
    sign = MINUS if milli_cents < 0 else "+" if signed else ""
    return Money(f"{sign}${whole_cents // 100:,}.{whole_cents % 100:02d}", f"{below:03d}")


def exact_text(milli_cents: int) -> str:
    """All of an amount as one run of text: "$3.23408"."""
    return "".join(exact(milli_cents))


def dollars(milli_cents: int) -> str:
    """A price or a hold: in cents where that is all of it ("$3.00"), else exact ("$0.05083")."""
    amount = exact(milli_cents)
    return amount.cents if amount.below == "000" else "".join(amount)


COUNTRIES = {"US": "United States", "CA": "Canada", "GB": "United Kingdom"}
"""By ISO code, those that have a name here; others are shown by their code."""


def duration(seconds: int) -> str:
    """Minutes and seconds: 134 → "2:14"."""
    return f"{seconds // 60}:{seconds % 60:02d}"


def minutes(seconds: int) -> str:
    """Minutes with one decimal, rounded down: 73,302 s → "1,221.7"; of less than one minute two: 5 s → "0.08"."""
    if 0 < seconds < 60:  # what was charged must not stand beside no time at all
        return f"0.{seconds * 100 // 60:02d}"
    tenths = seconds * 10 // 60
    return f"{tenths // 10:,}.{tenths % 10}"


def span(seconds: int) -> str:
    """A chosen length in words: 3,600 → "60 min", 90 → "1 min 30 s"."""
    whole, rest = divmod(seconds, 60)
    return " ".join(([f"{whole} min"] if whole else []) + ([f"{rest} s"] if rest or not whole else []))


def count(number: int, one: str, many: str | None = None) -> str:
    """A number with its noun: (1, "call") → "1 call", (1234, "call") → "1,234 calls"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


@lru_cache(maxsize=4096)
def phone(e164: str) -> str:
    """A number grouped by its country's habit with spaces alone: "+1 415 555 0123".

    What is not a phone number (a SIP address, a withheld caller) is returned as it came.
    """
    try:
        parsed = phonenumbers.parse(e164)
    except phonenumbers.NumberParseException:
        return e164
    grouped = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.INTERNATIONAL)
    return grouped.replace("-", " ").replace("(", "").replace(")", "")


def host(url: str) -> str:
    """The host of an address, which is what tells one endpoint from another."""
    return url.partition("://")[2].split("/")[0] or url


class When(NamedTuple):
    """A moment: `iso` in UTC for machines, `text` in the organisation's zone for people."""

    iso: str
    text: str


@dataclass(frozen=True, slots=True)
class Clock:
    """Writes moments (UTC epoch milliseconds) in one organisation's IANA zone, seen from `now_ms`."""

    zone: str
    now_ms: int

    @property
    def label(self) -> str:
        """What table heads call the zone: "UTC", or the city of "America/New_York"."""
        return "UTC" if self.zone == "UTC" else self.zone.rpartition("/")[2].replace("_", " ")

    def local(self, at_ms: int) -> dt.datetime:
        """The moment as a date and time in the zone."""
        return dt.datetime.fromtimestamp(at_ms / 1000, ZoneInfo(self.zone))

    @property
    def today(self) -> dt.date:
        """The zone's date now."""
        return self.local(self.now_ms).date()

    def time(self, at_ms: int) -> When:
        """To the second: "19:26:39", with the date before it when it was not today."""
        local = self.local(at_ms)
        clock = f"{local:%H:%M:%S}"
        if local.date() == self.today:
            return When(_iso(at_ms), clock)
        year = "" if local.year == self.today.year else f" {local.year}"
        return When(_iso(at_ms), f"{local.day} {local:%b}{year}, {clock}")

    def arrival(self, at_ms: int) -> When:
        """To the millisecond, for evidence: "19:20:11.084"."""
        return When(_iso(at_ms), f"{self.local(at_ms):%H:%M:%S}.{at_ms % 1000:03d}")

    def minute(self, at_ms: int) -> When:
        """Date and minute: "23 Nov 2026, 19:15"."""
        local = self.local(at_ms)
        return When(_iso(at_ms), f"{local.day} {local:%b %Y, %H:%M}")

    def full(self, at_ms: int) -> When:
        """Date, time and zone: "23 Nov 2026, 19:20:11 UTC"."""
        local = self.local(at_ms)
        return When(_iso(at_ms), f"{local.day} {local:%b %Y, %H:%M:%S} {_abbreviation(local)}")

    def hour(self, at_ms: int) -> When:
        """Minute and zone, with the date when it was not today: "18:41 UTC"."""
        local = self.local(at_ms)
        date = "" if local.date() == self.today else f"{local.day} {local:%b}, "
        return When(_iso(at_ms), f"{date}{local:%H:%M} {_abbreviation(local)}")

    def date(self, at_ms: int) -> When:
        """The date alone: "23 Nov 2026"."""
        local = self.local(at_ms)
        return When(_iso(at_ms), f"{local.day} {local:%b %Y}")


def day(date: dt.date) -> str:
    """A day of a chart: "Mon 2 Nov"."""
    return f"{date:%a} {date.day} {date:%b}"


def _iso(at_ms: int) -> str:
    moment = dt.datetime.fromtimestamp(at_ms // 1000, dt.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03d}Z"


def _abbreviation(local: dt.datetime) -> str:
    name = local.tzname() or "UTC"
    return f"UTC{name}" if name[0] in "+-" else name
