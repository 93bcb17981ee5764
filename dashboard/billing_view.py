"""The Billing page below the credit: usage and its periods, months, top-ups.

Pure. The one invariant: every figure here is the ledger's own or a sum of it; nothing is estimated.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field

from dashboard import charts, urls
from dashboard import format as fmt
from dashboard.charts import UsageDay
from dashboard.format import Clock, When
from dashboard.ledger_view import Ledger
from dashboard.limits_view import LowCreditAlert, SpendingLimits
from dashboard.recharge_view import AutoRecharge
from dashboard.views import Choice, Notice, Paging
from dashboard.wallet_view import Credit, LongestCall

PERIODS = {"7d": 7, "30d": 30, "90d": 90}
"""Periods that end today, by their name in an address; any other is a month, "2026-11"."""


@dataclass(frozen=True, slots=True)
class MonthTotal:
    """A calendar month of ended calls in the organisation's zone; `first` is its first day."""

    first: dt.date
    calls: int
    connected_seconds: int
    free_seconds: int
    charged_milli_cents: int


@dataclass(frozen=True, slots=True)
class Month:
    """A row of the months: their table is the chart's navigation."""

    label: str
    url: str
    chosen: bool
    total: MonthTotal


@dataclass(frozen=True, slots=True)
class UsageTable:
    """A day of the table behind the chart."""

    day: str
    figures: UsageDay


@dataclass(frozen=True, slots=True)
class Usage:
    """The chosen period; without a chart when the account has never had a call."""

    title: str
    zone: str
    periods: tuple[Choice, ...]
    calls: int
    connected_seconds: int
    free_seconds: int
    charged_milli_cents: int
    chart: charts.UsageChart | None
    table: tuple[UsageTable, ...]
    months: tuple[Month, ...]
    csv_url: str


@dataclass(frozen=True, slots=True)
class TopUpFacts:
    """A top-up as stored: its state, Stripe's reference and, once paid, Stripe's own receipt. Automatic ones charge a
    saved card."""

    created_at: int
    state: str
    amount: int
    reference: str = ""
    receipt_url: str = ""
    is_automatic: bool = False


@dataclass(frozen=True, slots=True)
class TopUp:
    """A row of the top-ups."""

    when: When
    state: str
    icon: str
    label: str
    reference: str
    receipt_url: str
    amount: int
    is_automatic: bool


@dataclass(frozen=True, slots=True)
class TopUps:
    """A page of the top-ups, newest first."""

    rows: tuple[TopUp, ...]
    paging: Paging


@dataclass(frozen=True, slots=True)
class Billing:
    """The whole page; `free_credit` is what the account opened with, `saved` the section whose form has just been."""

    credit: Credit
    longest_calls: tuple[LongestCall, ...]
    usage: Usage
    ledger: Ledger
    topups: TopUps
    free_credit: int
    rate: int
    limits: SpendingLimits
    alert: LowCreditAlert
    auto_recharge: AutoRecharge | None = None
    notices: tuple[Notice, ...] = field(default=())
    saved: str = ""


def usage(days: Sequence[UsageDay], months: Sequence[MonthTotal], *, period: str, clock: Clock) -> Usage:
    """The section for a period of consecutive days (oldest first) and all months (newest first)."""
    title, phrase = _period_words(days, period, clock)
    used = any(month.calls for month in months) or any(day.calls for day in days)
    return Usage(
        title=title,
        zone=clock.label,
        periods=tuple(
            Choice(urls.billing(period=name, part="usage"), f"{length} days", name == period)
            for name, length in PERIODS.items()
        ),
        calls=sum(day.calls for day in days),
        connected_seconds=sum(day.connected_seconds for day in days),
        free_seconds=sum(day.free_seconds for day in days),
        charged_milli_cents=sum(day.charged_milli_cents for day in days),
        chart=charts.usage_chart(days, period=phrase, today=clock.today) if used else None,
        table=tuple(UsageTable(fmt.day(day.date), day) for day in days if day.calls),
        months=tuple(_month(month, period) for month in months),
        csv_url=urls.usage_csv(period),
    )


def _period_words(days: Sequence[UsageDay], period: str, clock: Clock) -> tuple[str, str]:
    if period in PERIODS:
        return f"Usage, last {PERIODS[period]} days", f"in the last {PERIODS[period]} days"
    first = days[0].date
    year = "" if first.year == clock.today.year else f" {first.year}"
    return f"Usage in {first:%B}{year}", f"in {first:%B %Y}"


def _month(total: MonthTotal, period: str) -> Month:
    name = f"{total.first:%Y-%m}"
    return Month(f"{total.first:%b %Y}", urls.billing(period=name, part="usage"), name == period, total)


_TOP_UPS = {
    "pending": ("wait", "Waiting for payment"),
    "processing": ("wait", "Processing"),
    "paid": ("completed", "Paid"),
    "expired": ("canceled", "Not completed"),
    "failed": ("failed", "Declined"),
    "review": ("wallet-low", "In review"),
    "rejected": ("canceled", "Not credited"),
    "partly_refunded": ("undo", "Partly refunded"),
    "refunded": ("undo", "Refunded"),
    "disputed": ("wallet-low", "Disputed"),
}


def topup(facts: TopUpFacts, clock: Clock) -> TopUp:
    """A top-up's row; a disputed one is coloured like one in review."""
    icon, label = _TOP_UPS.get(facts.state, ("wait", facts.state.replace("_", " ").capitalize()))
    state = "review" if facts.state == "disputed" else facts.state
    reference = facts.reference
    if len(reference) > 16:
        reference = f"{reference[:7]}…{reference[-4:]}"
    when = clock.minute(facts.created_at)
    return TopUp(when, state, icon, label, reference, facts.receipt_url, facts.amount, facts.is_automatic)


def topups(rows: Sequence[TopUpFacts], *, older_before: str | None, is_first_page: bool, clock: Clock) -> TopUps:
    """A page of the top-ups; `older_before` is the cursor of the next page, None on the last."""
    return TopUps(
        tuple(topup(row, clock) for row in rows),
        Paging(
            fmt.count(len(rows), "top-up"),
            newer_url="" if is_first_page else urls.billing(part="topups"),
            older_url=urls.billing(topups_before=older_before, part="topups") if older_before else "",
        ),
    )
