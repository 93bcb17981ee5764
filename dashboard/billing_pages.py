"""Billing: credit, usage, ledger, top-ups, and adding credit.

Invariant: every figure is read from the ledger and its rollup at that moment; the page costs the same however many
calls there were.
"""

import csv
import io
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import date, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from quart import Blueprint, Response, redirect, request
from sqlalchemy.ext.asyncio import AsyncConnection

from accounts.members import ChangeOrganisation
from accounts.organisations import find_organisation
from accounts.sessions import Member
from billing.ledger import list_transfers, sequence_of
from billing.limits import read_limits
from billing.rating import SHORTEST_MAXIMUM_SECONDS
from billing.spending import Limits, Spent, local_day
from billing.topup_queries import find_recharge, find_topup, list_topups
from billing.topup_rules import TopupStatus
from billing.usage_report import Usage, daily, day_of, monthly
from config.clock import iso, now_ms
from config.errors import invalid
from dashboard import billing_view, ledger_view, urls, views, wallet_view
from dashboard.facts import month_totals, topup_facts, transfer_facts, usage_days, with_calls
from dashboard.limits_view import SpendingLimits, low_credit_alert, spending_limits
from dashboard.recharge_view import auto_recharge
from dashboard.web import (
    AnyResponse,
    clock_of,
    database,
    door,
    html,
    inside,
    settings,
    shell,
    wallet_facts,
    who,
)

blueprint = inside(Blueprint("billing_pages", __name__))

LEDGER_LENGTH = 25
TOPUPS_LENGTH = 10
CSV_PAGE = 1_000
RUNS = ("=", "+", "-", "@", "\t", "\r")
TOPICS = ("usage", "ledger", "topups")


@blueprint.get(urls.BILLING)
async def billing() -> AnyResponse:
    return await billing_page()


async def billing_page(
    *,
    dialog: Mapping[str, str] | None = None,
    recharge: views.Form | None = None,
    limits: views.Form | None = None,
    alert: views.Form | None = None,
    status: int = 200,
) -> AnyResponse:
    """The page. With `dialog` (what was entered in it) Add credits is open over it; `recharge`, `limits` and `alert`:
    a form with errors."""
    person = await who()
    clock = clock_of(person)
    async with database().read() as connection:
        wallet = await wallet_facts(connection, person)
        topups, notices = await _topups(connection, person)
        organisation = await find_organisation(connection, person.org_id)
        assert organisation is not None
        alert_below = organisation["alert_below_milli_cents"]
        view = billing_view.Billing(
            credit=wallet_view.credit(wallet, clock),
            longest_calls=wallet_view.longest_calls(wallet, settings().max_call_duration_seconds),
            usage=await _usage(connection, person),
            ledger=await _ledger(connection, person),
            topups=topups,
            free_credit=settings().free_credit_milli_cents,
            rate=settings().rate_milli_cents_per_minute,
            limits=await _limits(connection, person, limits),
            alert=low_credit_alert(alert_below, wallet.available, wallet.hold, alert),
            auto_recharge=auto_recharge(await find_recharge(connection, person.org_id), recharge, clock)
            if settings().takes_payments
            else None,
            notices=notices,
            saved=request.args.get("saved", ""),
        )
    opened = None if dialog is None else wallet_view.add_credits(wallet, **dialog)
    title = "Billing" if dialog is None else "Add credits"
    page = shell(person, wallet, title, "billing", topics=TOPICS if dialog is None else ())
    return html("billing.html", status, page=page, billing=view, dialog=opened)


async def _limits(connection: AsyncConnection, person: Member, form: views.Form | None) -> SpendingLimits:
    kept = (await read_limits(connection, person.org_id)).get(person.org_id, (Limits(), Spent()))
    day = local_day(now_ms(), person.timezone)
    return spending_limits(urls.LIMITS, *kept, day, settings().allowed_countries, form)


async def _topups(connection: AsyncConnection, person: Member) -> tuple[billing_view.TopUps, tuple[views.Notice, ...]]:
    """A page of the top-ups, and what is to be said about the payment that the address names and about disputes."""
    before = request.args.get("topups_before") or None
    rows = await list_topups(connection, person.org_id, limit=TOPUPS_LENGTH + 1, before=before)
    shown = rows[:TOPUPS_LENGTH]
    older = shown[-1]["id"] if len(rows) > TOPUPS_LENGTH else None
    page = billing_view.topups(
        [topup_facts(row) for row in shown],
        older_before=older,
        is_first_page=before is None,
        clock=clock_of(person),
    )
    named = request.args.get("payment", "")
    payment = await find_topup(connection, person.org_id, named) if named else None
    told = [views.payment_left()] if named == "left" else [payment_notice(payment)] if payment is not None else []
    disputed = sum(row["disputed_milli_cents"] for row in shown)
    return page, (*told, *([views.disputed(disputed)] if disputed else []))


def payment_notice(topup: Mapping[str, Any]) -> views.Notice:
    """How a payment stands, for whoever comes back from making it."""
    amount = topup["credit_milli_cents"]
    match topup["status"]:
        case TopupStatus.PAID:
            return views.payment_received(amount)
        case TopupStatus.PROCESSING:
            return views.payment_on_its_way(amount)
        case TopupStatus.REVIEW:
            return views.payment_in_review(amount)
        case TopupStatus.FAILED:
            return views.payment_declined()
        case TopupStatus.EXPIRED | TopupStatus.REJECTED:
            return views.payment_left()
        case _:
            return views.payment_pending(amount)


async def _usage(connection: AsyncConnection, person: Member) -> billing_view.Usage:
    zone = ZoneInfo(person.timezone)
    name, first, last = period_of(request.args.get("period", ""), day_of(now_ms(), zone))
    days = usage_days(await daily(connection, person.org_id, first, last, zone))
    months = month_totals(await monthly(connection, person.org_id, now_ms(), zone))
    return billing_view.usage(days, months, period=name, clock=clock_of(person))


def period_of(asked: str, today: date) -> tuple[str, date, date]:
    """(name, first day, last day) of a period of the address: "7d", "30d", "90d" or a month, "2026-11"."""
    if len(asked) == 7 and asked[:4].isdecimal() and asked[4] == "-" and asked[5:].isdecimal():
        year, month = int(asked[:4]), int(asked[5:])
        if 2000 <= year <= today.year and 1 <= month <= 12:
            first = date(year, month, 1)
            return asked, first, (first + timedelta(days=32)).replace(day=1) - timedelta(days=1)
    name = asked if asked in billing_view.PERIODS else "30d"
    return name, today - timedelta(days=billing_view.PERIODS[name] - 1), today


async def _ledger(connection: AsyncConnection, person: Member) -> ledger_view.Ledger:
    entries = "credit" if request.args.get("entries") == "credit" else "all"
    before = request.args.get("before") or None
    sequence = await sequence_of(connection, person.org_id, before) if before else None
    rows = await list_transfers(
        connection, person.org_id, limit=LEDGER_LENGTH + 1, before=sequence, without_holds=entries == "credit"
    )
    shown = await with_calls(connection, rows[:LEDGER_LENGTH])
    newest = rows[0]["sequence"] if rows and entries == "all" and sequence is None else None
    return ledger_view.ledger(
        [transfer_facts(row) for row in shown],
        total=newest,
        entries=entries,
        period=request.args.get("period", "")[:7],
        older_before=shown[-1]["id"] if len(rows) > LEDGER_LENGTH else None,
        is_first_page=sequence is None,
        clock=clock_of(person),
    )


@blueprint.post(urls.LONGEST_CALL)
async def set_longest_call() -> AnyResponse:
    form = await request.form
    text = form.get("seconds", "")
    seconds = int(text) if text.isdecimal() and len(text) < 6 else 0
    most = settings().max_call_duration_seconds
    if not SHORTEST_MAXIMUM_SECONDS <= seconds <= most:
        raise invalid("seconds", f"A call lasts from {SHORTEST_MAXIMUM_SECONDS} to {most} seconds.")
    await door().submit(ChangeOrganisation((await who()).org_id, {"max_call_duration_seconds": seconds}))
    is_in_settings = form.get("page") == "settings"
    return redirect(urls.SETTINGS_SAVED if is_in_settings else urls.billing(part="longest-call", saved=True), 303)


# -- downloads ------------------------------------------------------------------------------------------------------


@blueprint.get(urls.USAGE_CSV)
async def usage_csv() -> AnyResponse:
    person = await who()
    zone = ZoneInfo(person.timezone)
    name, first, last = period_of(request.args.get("period", ""), day_of(now_ms(), zone))
    async with database().read() as connection:
        days = await daily(connection, person.org_id, first, last, zone)
    head = ("date", "calls", "billed_calls", "connected_seconds", "unbilled_seconds", "charged_milli_cents")
    return _csv(f"usage-{name}.csv", [head, *(_usage_line(day, used) for day, used in days.items())])


def _usage_line(day: date, used: Usage) -> tuple[object, ...]:
    return (
        day.isoformat(),
        used.calls,
        used.billed_calls,
        used.connected_seconds,
        used.unbilled_seconds,
        used.charged_milli_cents,
    )


_TRANSFER_COLUMNS = ("sequence", "id", "kind", "amount", "balance_delta", "held_delta", "balance_after", "held_after")


@blueprint.get(urls.LEDGER_CSV)
async def ledger_csv() -> AnyResponse:
    """All transfers, newest first, read page by page so that any number of them takes the same memory."""
    person, source = await who(), database()
    without_holds = request.args.get("entries") == "credit"

    async def lines() -> AsyncIterator[str]:
        names = [
            f"{name}_milli_cents" if name not in ("sequence", "id", "kind") else name for name in _TRANSFER_COLUMNS
        ]
        yield _csv_text([(*names, "call_id", "reason", "created_at")])
        before: int | None = None
        while True:
            async with source.read() as connection:
                rows = await list_transfers(
                    connection, person.org_id, limit=CSV_PAGE, before=before, without_holds=without_holds
                )
            if not rows:
                return
            yield _csv_text(
                (*(row[name] for name in _TRANSFER_COLUMNS), row["call_id"], row["reason"], iso(row["created_at"]))
                for row in rows
            )
            before = rows[-1]["sequence"]

    response = Response(lines(), headers=_attachment("transfers.csv"), content_type="text/csv; charset=utf-8")
    response.timeout = None
    return response


def _csv(name: str, rows: Iterable[Iterable[object]]) -> Response:
    return Response(_csv_text(rows), headers=_attachment(name), content_type="text/csv; charset=utf-8")


def _csv_text(rows: Iterable[Iterable[object]]) -> str:
    """Text that would run as a formula in a spreadsheet gets a quote before it; numbers stay numbers."""
    text = io.StringIO()
    writer = csv.writer(text)
    for row in rows:
        writer.writerow([f"'{cell}" if isinstance(cell, str) and cell.startswith(RUNS) else cell for cell in row])
    return text.getvalue()


def _attachment(name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}"'}
