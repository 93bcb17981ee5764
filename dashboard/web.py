"""What every dashboard page shares on its way out: the member, the wallet, the shell, headers, errors.

Invariant: no page is shown and no form is taken without a member's session, and every page carries the strict content
policy.
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import werkzeug.wrappers
from quart import Response, current_app, redirect, request, send_from_directory
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from accounts.sessions import Member, check_form, csrf_token, member
from billing.ledger import read_wallet
from billing.rating import hold_milli_cents
from billing.wallet import WalletStatus, pause_message
from config.clock import now_ms
from config.database import Database
from config.settings import Settings
from dashboard import urls, views
from dashboard.format import Clock
from dashboard.render import CONTENT_SECURITY_POLICY, STATIC, policy_for_payments, render
from dashboard.wallet_view import WalletFacts, pill
from voice.tables import calls

AnyResponse = Response | werkzeug.wrappers.Response
THEMES = ("system", "light", "dark")
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}


def settings() -> Settings:
    found: Settings = current_app.extensions["settings"]
    return found


def database() -> Database:
    found: Database = current_app.extensions["database"]
    return found


async def who() -> Member:
    """The member; `require_member` has run before."""
    found = await member()
    assert found is not None
    return found


async def require_member() -> AnyResponse | None:
    """Before every page of a logged-in person, and the form check before every POST."""
    if await member() is None:
        if request.method != "GET" or "X-Live" in request.headers:
            return redirect(urls.LOGIN)
        path = request.full_path.rstrip("?")
        return redirect(f"{urls.LOGIN}?next={quote(path)}")
    if request.method == "POST":
        await check_form()
    return None


def theme() -> views.Theme:
    chosen = request.cookies.get("theme", "system")
    return chosen if chosen in THEMES else "system"  # type: ignore[return-value]


async def wallet_facts(connection: AsyncConnection, person: Member) -> WalletFacts:
    wallet = await read_wallet(connection, person.org_id)
    assert wallet is not None
    rate = settings().rate_milli_cents_per_minute
    longest = min(
        person.max_call_duration_seconds or settings().max_call_duration_seconds, settings().max_call_duration_seconds
    )
    hold = hold_milli_cents(longest, rate)
    live = select(func.count()).where(calls.c.org_id == person.org_id, calls.c.reservation_status == "reserved")
    status = wallet.status(hold)
    return WalletFacts(
        balance=wallet.balance,
        held=wallet.held,
        available=wallet.available,
        hold=hold,
        calls_left=wallet.calls_left(hold),
        status=status.value,
        message=pause_message(wallet.available, hold) if status is WalletStatus.PAUSED else "",
        live_calls=int((await connection.execute(live)).scalar_one()) if wallet.held else 0,
        rate=rate,
        max_duration_seconds=longest,
    )


def clock_of(person: Member) -> Clock:
    return Clock(person.timezone, now_ms())


def shell(
    person: Member,
    wallet: WalletFacts,
    title: str,
    section: views.Section,
    *,
    topics: Sequence[str] = (),
    notices: Sequence[views.Notice] = (),
) -> views.Page:
    """The frame of a page; `topics` are the live parts it has besides the pill."""
    unverified = () if person.verified else (views.unverified(person.email, settings().free_credit_milli_cents),)
    return views.Page(
        title=title,
        section=section,
        organisation=person.organisation,
        email=person.email,
        theme=theme(),
        csrf_token=csrf_token(),
        clock=clock_of(person),
        pill=pill(wallet),
        notices=(*unverified, *notices),
        events_url=urls.events("wallet", *topics),
    )


async def page_of(
    title: str, section: views.Section, *, topics: Sequence[str] = (), notices: Sequence[views.Notice] = ()
) -> views.Page:
    """The frame of a page that shows nothing else of the wallet."""
    person = await who()
    async with database().read() as connection:
        wallet = await wallet_facts(connection, person)
    return shell(person, wallet, title, section, topics=topics, notices=notices)


def gate(title: str, *notices: views.Notice) -> views.Gate:
    return views.Gate(title, theme(), csrf_token(), notices)


def html(template: str, status: int = 200, **context: Any) -> Response:
    return Response(render(template, **context), status, content_type="text/html; charset=utf-8")


def secure(response: Response) -> Response:
    """After every dashboard response. Add credits, which opens over any page, posts and is redirected to the bank."""
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.setdefault("Content-Security-Policy", policy_for_payments(settings().checkout_origin))
    return response


def error_html(status: int, request_id: str) -> Response:
    """An error as a page, for addresses that people visit."""
    error = views.error_page(status, request_id=request_id, retry_url=request.path if request.method == "GET" else "")
    response = html("error.html", status, gate=views.Gate(error.heading, theme(), "", ()), error=error)
    response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)
    return response


async def static_file(name: str) -> AnyResponse:
    """Their addresses carry a digest of their content, so browsers may keep them."""
    response = await send_from_directory(STATIC, name)
    response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response
