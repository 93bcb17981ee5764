"""Who is looking at the dashboard: the session behind a browser's cookie, and proof that a form is ours.

Invariant: a session is valid exactly while its row says so; every log-in makes a new one; no POST is believed without
the token of its own session.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from quart import Response, current_app, g, request
from quart_auth import AuthUser, QuartAuth, current_user, login_user, logout_user
from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncConnection

from accounts.people import SESSION_MS, BeginSession, EndSession
from accounts.tables import organisations, sessions, users
from config.clock import now_ms
from config.database import Database
from config.door import Door
from config.errors import ApiError
from config.settings import Settings

SESSION_COOKIE = "cb_session"
VISITOR_COOKIE = "cb_visitor"
_FIND = (
    select(
        users.c.id,
        users.c.org_id,
        users.c.email,
        users.c.password_hash,
        users.c.verified_at,
        organisations.c.name.label("organisation"),
        organisations.c.timezone,
        organisations.c.max_call_duration_seconds,
        organisations.c.disclose_ai,
        organisations.c.suspended_at,
    )
    .select_from(sessions)
    .join(users, users.c.id == sessions.c.user_id)
    .join(organisations, organisations.c.id == users.c.org_id)
    .where(
        sessions.c.id == bindparam("session_id"),
        sessions.c.ended_at.is_(None),
        sessions.c.expires_at > bindparam("now"),
    )
)


@dataclass(frozen=True, slots=True)
class Member:
    """A logged-in person and their organisation."""

    user_id: str
    org_id: str
    email: str
    password_hash: str
    verified: bool
    organisation: str
    timezone: str
    max_call_duration_seconds: int | None
    disclose_ai: bool
    suspended: bool
    session_id: str


async def member() -> Member | None:
    """Whose session this request carries, if it is valid."""
    if "member" not in g:
        g.member = await _find_member(current_user.auth_id)
    found: Member | None = g.member
    return found


def member_so_far() -> Member | None:
    """The same, as far as this request has asked before: nothing is read."""
    found: Member | None = g.get("member")
    return found


async def _find_member(token: str | None) -> Member | None:
    if not token:
        return None
    database: Database = current_app.extensions["database"]
    session_id = _hash(token)
    async with database.read() as connection:
        row = (await connection.execute(_FIND, {"session_id": session_id, "now": now_ms()})).first()
    if row is None:
        return None
    return Member(
        user_id=row.id,
        org_id=row.org_id,
        email=row.email,
        password_hash=row.password_hash,
        verified=row.verified_at is not None,
        organisation=row.organisation,
        timezone=row.timezone,
        max_call_duration_seconds=row.max_call_duration_seconds,
        disclose_ai=row.disclose_ai,
        suspended=row.suspended_at is not None,
        session_id=session_id,
    )


async def is_open(connection: AsyncConnection, session_id: str) -> bool:
    """Whether a session that was valid before still is."""
    found = await connection.execute(_FIND, {"session_id": session_id, "now": now_ms()})
    return found.first() is not None


async def log_in(user_id: str, password_hash: str) -> bool:
    """A fresh session in a fresh cookie; the one that the browser had before ends. False if the password that was
    checked is not the user's any more."""
    token = secrets.token_urlsafe(32)
    door: Door = current_app.extensions["door"]
    if not await door.submit(BeginSession(user_id, _hash(token), password_hash)):
        return False
    await _end()
    login_user(AuthUser(token), remember=True)
    g.pop("member", None)
    return True


async def log_out() -> None:
    await _end()
    logout_user()
    g.pop("member", None)


async def _end() -> None:
    who = await member()
    if who is not None:
        door: Door = current_app.extensions["door"]
        await door.submit(EndSession(who.user_id, who.session_id))


class LogIns(QuartAuth):
    """Reads its cookie only where somebody wants to know whose it is: not after every request of a program."""

    async def after_request(self, response: Response) -> Response:
        return await super().after_request(response) if hasattr(g, self.attribute_name) else response


def configure_cookies(app: Any, settings: Settings) -> None:
    app.secret_key = settings.signing_secret
    app.config.update(
        QUART_AUTH_COOKIE_NAME=SESSION_COOKIE,
        QUART_AUTH_COOKIE_SECURE=settings.public_base_url.startswith("https://"),
        QUART_AUTH_COOKIE_HTTP_ONLY=True,
        QUART_AUTH_COOKIE_SAMESITE="Lax",  # Strict would lose the session on the way back from a payment page
        QUART_AUTH_DURATION=SESSION_MS // 1000,
        QUART_AUTH_SALT="callingbox session",
    )


# -- forms ----------------------------------------------------------------------------------------------------------


def csrf_token() -> str:
    """For the hidden field of every form on the page; bound to the session, or to this visitor before log-in."""
    secret: Settings = current_app.extensions["settings"]
    return hmac.new(secret.signing_secret.encode(), b"csrf:" + _form_owner().encode(), hashlib.sha256).hexdigest()


async def check_form() -> None:
    """Before every POST: raises ApiError 403 unless the form was rendered by us for this browser."""
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return
    origin = request.headers.get("Origin")
    settings: Settings = current_app.extensions["settings"]
    ours = {urlsplit(settings.public_base_url).netloc, request.host}
    form = await request.form
    token = form.get("csrf_token", "") or request.headers.get("X-CSRF-Token", "")
    if (origin and urlsplit(origin).netloc not in ours) or not hmac.compare_digest(
        token.encode(), csrf_token().encode()
    ):
        raise ApiError(
            403, "bad_form", "This form is too old or came from another page. Go back, reload, and send it again."
        )


def _form_owner() -> str:
    if current_user.auth_id:
        return f"session:{current_user.auth_id}"
    if "visitor" not in g:
        g.visitor = request.cookies.get(VISITOR_COOKIE) or secrets.token_urlsafe(16)
    return f"visitor:{g.visitor}"


def remember_visitor(response: Any) -> Any:
    """After a request that rendered a form before log-in: let the browser show the same token again."""
    if "visitor" in g and request.cookies.get(VISITOR_COOKIE) != g.visitor:
        settings: Settings = current_app.extensions["settings"]
        secure = settings.public_base_url.startswith("https://")
        response.set_cookie(VISITOR_COOKIE, g.visitor, httponly=True, secure=secure, samesite="Lax", max_age=86_400)
    return response


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
