"""What every dashboard page shares: who may see it, the wallet, the shell around it, headers, errors.

Invariant: no page is shown and no form is taken without a member's session, and every page carries the strict content
policy.
"""

import gzip
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlsplit

import werkzeug.wrappers
from quart import Blueprint, Response, current_app, redirect, request, send_from_directory
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from accounts.sessions import SESSION_COOKIE, Member, check_form, csrf_token, member, member_so_far
from billing.ledger import read_wallet
from billing.rating import hold_milli_cents
from billing.wallet import WalletStatus, pause_message
from config.clock import now_ms
from config.database import Database, Unavailable
from config.door import Door
from config.errors import ApiError
from config.http import storable
from config.rate_limit import RateLimit
from config.settings import Settings
from dashboard import urls, views
from dashboard.format import Clock
from dashboard.render import CONTENT_SECURITY_POLICY, STATIC, policy_for_payments, render
from dashboard.wallet_view import WalletFacts, pill
from voice.tables import IS_LIVE, calls

AnyResponse = Response | werkzeug.wrappers.Response
THEMES = ("system", "light", "dark")
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
}


def door() -> Door:
    found: Door = current_app.extensions["door"]
    return found


def settings() -> Settings:
    found: Settings = current_app.extensions["settings"]
    return found


def database() -> Database:
    found: Database = current_app.extensions["database"]
    return found


async def who() -> Member:
    """The member; `inside` has seen to it that there is one."""
    found = await member()
    assert found is not None
    return found


async def check_text() -> None:
    """Before every request: raises ApiError 400 for what no database could hold."""
    sent = [*request.args.values(), *(await request.form).values()]
    if not all(map(storable, sent)):
        raise ApiError(400, "invalid_text", "What was sent contains characters that cannot be stored.")


def limit(kind: str, name: str) -> None:
    """Raises ApiError 429: guessing passwords and making accounts is slow work. `kind`: login, sign_up, or rate for
    what members do."""
    limits: RateLimit = current_app.extensions[f"{kind}_limit"]
    if wait := limits.wait_seconds(name, time.monotonic()):
        seconds = str(int(wait) + 1)
        message = f"Too many tries. Wait {seconds} s, then try again."
        raise ApiError(429, "rate_limited", message, {"Retry-After": seconds})


def inside(blueprint: Blueprint) -> Blueprint:
    """Of pages for logged-in people: what is checked before each request, and what goes out with each answer."""
    for check in (check_text, _require_member, check_form):
        blueprint.before_request(check)
    blueprint.after_request(secure_with_payments)
    return blueprint


async def _require_member() -> AnyResponse | None:
    """To the log-in page and back. A form that arrives too late leads back to the page that it was on."""
    if (person := await member()) is not None:
        limit("rate", f"member:{person.user_id}")
        return None
    here = request.full_path.rstrip("?")
    wanted = here if request.method == "GET" else urlsplit(request.referrer or "").path
    return redirect(f"{urls.LOGIN}?next={quote(wanted or urls.CALLS)}", 303)


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
    live = select(func.count()).select_from(calls).where(calls.c.org_id == person.org_id, text(IS_LIVE))
    status = WalletStatus.PAUSED if person.suspended else wallet.status(hold)
    is_short = status is WalletStatus.PAUSED and not person.suspended
    return WalletFacts(
        balance=wallet.balance,
        held=wallet.held,
        available=wallet.available,
        hold=hold,
        calls_left=wallet.calls_left(hold),
        status=status.value,
        message=pause_message(wallet.available, hold) if is_short else "",
        live_calls=int((await connection.execute(live)).scalar_one()) if wallet.held else 0,
        rate=rate,
        max_duration_seconds=longest,
        suspended=person.suspended,
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
    call_id: str | None = None,
) -> views.Page:
    """The frame of a page; `topics` are the live parts it has besides the pill, `call_id` the call they are about."""
    standing = [] if person.verified else [views.unverified(person.email, settings().free_credit_milli_cents)]
    if person.suspended:
        standing.insert(0, views.suspended())
    return views.Page(
        title=title,
        section=section,
        organisation=person.organisation,
        email=person.email,
        theme=theme(),
        csrf_token=csrf_token(),
        clock=clock_of(person),
        pill=pill(wallet),
        notices=(*standing, *notices),
        events_url=urls.events("wallet", *topics, call_id=call_id),
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
    """After every dashboard response."""
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)
    if settings().public_base_url.startswith("https://"):
        response.headers.setdefault("Strict-Transport-Security", "max-age=31536000")
    return response


def secure_with_payments(response: Response) -> Response:
    """The same where Add credits may open: its form is answered by a redirect to the bank."""
    response.headers.setdefault("Content-Security-Policy", policy_for_payments(settings().checkout_origin))
    return secure(response)


async def error_html(error: ApiError, request_id: str) -> Response:
    """An error as a page, for addresses that people visit: for a member in the frame of every page, with a way on."""
    shown = views.error_page(
        error.status,
        error.code,
        error.message,
        request_id=request_id,
        page_url=request.full_path.rstrip("?") if request.method == "GET" else "",
        form_url=_form_url() if request.method == "POST" else "",
        is_stranger=SESSION_COOKIE not in request.cookies,
    )
    frame = await _frame_of_error(shown)
    around = views.Gate(shown.heading, theme(), "") if frame is None else None
    response = html("error.html", error.status, page=frame, gate=around, error=shown)
    response.headers.update(error.headers)
    return secure(response) if frame is None else secure_with_payments(response)


async def _frame_of_error(shown: views.ErrorPage) -> views.Page | None:
    """What the frame shows comes from the database, unless the error may come from there, or from too many questions:
    then only what is known by now is shown."""
    wallet, person = None, member_so_far()
    if shown.status not in views.PASSES:
        with suppress(Unavailable, ApiError):  # addresses that are nobody's are asked for as often as anybody likes
            if (person := await member()) is not None:
                limit("rate", f"member:{person.user_id}")
                async with database().read() as connection:
                    wallet = await wallet_facts(connection, person)
    if person is None:
        return None
    return views.Page(
        title=shown.heading,
        section="",
        organisation=person.organisation,
        email=person.email,
        theme=theme(),
        csrf_token=csrf_token(),
        clock=clock_of(person),
        pill=pill(wallet) if wallet is not None else None,
    )


def _form_url() -> str:
    """The page that a form was sent from, if it is ours."""
    sent_from = urlsplit(request.referrer or "")
    if sent_from.netloc not in (urlsplit(settings().public_base_url).netloc, request.host):
        return ""
    return our_address(sent_from._replace(scheme="", netloc="", fragment="").geturl())


def our_address(wanted: str) -> str:
    """Only our own addresses, or none: anything else would lead people elsewhere."""
    is_ours = wanted.startswith("/") and not wanted.startswith(("//", "/\\")) and wanted.isprintable()
    return wanted if is_ours else ""


async def static_file(name: str) -> AnyResponse:
    """Their addresses carry a digest of their content, so browsers may keep them."""
    response = await send_from_directory(STATIC, name)
    response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    response.headers["X-Content-Type-Options"] = "nosniff"
    if response.status_code == 200 and takes_gzip():
        response.headers.pop("ETag", None)  # it names the bytes as they lie on the disk
        return as_gzip(response, _packed(name))
    return response


@lru_cache(maxsize=16)
def _packed(name: str) -> bytes:
    return gzip.compress((STATIC / name).read_bytes())


def takes_gzip() -> bool:
    return request.accept_encodings["gzip"] > 0


def as_gzip(response: Response, packed: bytes) -> Response:
    """Only what is the same for everybody: the length of a packed page tells an onlooker of its secrets (BREACH)."""
    response.set_data(packed)
    response.headers["Content-Encoding"] = "gzip"
    response.headers["Vary"] = "Accept-Encoding"
    return response
