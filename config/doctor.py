"""`callingbox-server doctor`: is everything there that calls and payments need, and what is to be mended.

Invariant: it says no secret, and changes nothing but, when told to, the webhooks of our own numbers at the carrier.
"""

import ipaddress
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import httpx
from sqlalchemy import select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from config.database import Database, Unavailable
from config.migrate import newest_revision
from config.settings import MINIMUM_SECRET_LENGTH, Settings
from voice.carrier import Addresses
from voice.tables import numbers

TIMEOUT_SECONDS = 10
LARGEST_SKEW_SECONDS = 10
PAGE_SIZE = 1_000


@dataclass(frozen=True, slots=True)
class Check:
    """One line. `mend`: what it says must be done."""

    name: str
    mend: bool
    words: str


def ok(name: str, words: str) -> Check:
    return Check(name, False, words)


def mend(name: str, words: str) -> Check:
    return Check(name, True, words)


async def doctor(settings: Settings, *, set_webhooks: bool = False) -> int:
    """Print a line for each check; 1 if anything must be mended, else 0."""
    to_mend = 0
    async with httpx.AsyncClient(timeout=TIMEOUT_SECONDS) as http:
        async for check in Examination(settings, http).checks(set_webhooks):
            to_mend += check.mend
            click.echo(f"{'mend' if check.mend else 'ok':<5} {check.name:<20} {check.words}")
    click.echo(f"{to_mend} to mend." if to_mend else "All is well.")
    return 1 if to_mend else 0


class Examination:
    def __init__(self, settings: Settings, http: httpx.AsyncClient) -> None:
        self._settings, self._http = settings, http
        self._carrier = f"{settings.carrier_base_url}/2010-04-01/Accounts/{settings.carrier_account_sid}"
        self._credentials = httpx.BasicAuth(settings.carrier_account_sid, settings.carrier_auth_token)
        self._active: list[str] | None = None  # unknown until the database has said

    async def checks(self, set_webhooks: bool) -> AsyncIterator[Check]:
        yield self._secret_key()
        yield await self._database()
        yield await self._public_address()
        yield self._proxies()
        async for check in self._carrier_checks(set_webhooks):
            yield check
        yield self._bank()

    def _secret_key(self) -> Check:
        length = len(self._settings.secret_key.get_secret_value())
        if length >= MINIMUM_SECRET_LENGTH:
            return ok("secret key", "SECRET_KEY is set")
        if _is_local(self._settings.public_base_url):
            return ok("secret key", "SECRET_KEY is not set, which will do on this machine alone")
        return mend("secret key", f"set SECRET_KEY to at least {MINIMUM_SECRET_LENGTH} random characters")

    async def _database(self) -> Check:
        url = make_url(self._settings.database_url)
        where = url.render_as_string(hide_password=True)
        if url.get_backend_name() == "sqlite" and _is_missing(url.database or ""):
            return ok("database", f"{where} does not exist yet; serve makes it")
        database = Database(self._settings.database_url)
        try:
            async with database.read() as connection:
                revision = (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalar()
                if revision != newest_revision():
                    return mend("database", f"{where} has an older schema; run: callingbox-server migrate")
                query = select(numbers.c.e164).where(numbers.c.status == "active").order_by(numbers.c.id)
                self._active = list((await connection.execute(query)).scalars())
        except Unavailable:
            return mend("database", f"{where} cannot be reached; check DATABASE_URL and that it runs")
        except SQLAlchemyError:
            return mend("database", f"{where} has no schema; run: callingbox-server migrate")
        finally:
            await database.close()
        kind = "SQLite: one server process" if database.is_sqlite else "Postgres: as many processes as you like"
        return ok("database", f"{where} ({kind})")

    async def _public_address(self) -> Check:
        name, url = "public address", self._settings.public_base_url
        if not self._settings.real_network:
            return ok(name, f"{url} (no real telephone network calls back)")
        if urlsplit(url).scheme != "https":
            return mend(name, f"PUBLIC_BASE_URL is {url}; it must begin with https")
        if _is_local(url):
            return mend(name, f"PUBLIC_BASE_URL is {url}, where the carrier cannot reach it; use a public name")
        try:
            answer = await self._http.get(f"{url}/readyz")
        except httpx.HTTPError as error:
            words = f"{url} does not answer ({type(error).__name__}); start the server and check its proxy or tunnel"
            return mend(name, words)
        if answer.status_code != 200 or "status" not in answer.text:
            return mend(name, f"{url}/readyz answers {answer.status_code}; is it this server that is behind it?")
        return ok(name, url)

    def _proxies(self) -> Check:
        """This server speaks no TLS, so a public https address means that something stands before it."""
        name, count = "proxies", self._settings.proxies
        if count == 0 and self._settings.public_base_url.startswith("https:"):
            words = (
                "set PROXIES to how many append to X-Forwarded-For; until then all visitors share one limit of log-ins"
            )
            return mend(name, words)
        return ok(name, f"{count} before this server")

    async def _carrier_checks(self, set_webhooks: bool) -> AsyncIterator[Check]:
        name, url = "carrier", self._settings.carrier_base_url
        try:
            asked_at = time.time()
            answer = await self._http.get(f"{self._carrier}.json", auth=self._credentials)
        except httpx.HTTPError as error:
            if self._settings.simulated_network:
                yield ok(name, f"simulated at {url} (serve starts it), as no Twilio keys are set")
            else:
                yield mend(name, f"{url} cannot be reached ({type(error).__name__})")
            return
        yield _account(answer, simulated=self._settings.simulated_network)
        yield _clock(answer, (asked_at + time.time()) / 2)
        if answer.status_code == 200 and self._active is not None:
            async for check in self._number_checks(self._active, set_webhooks):
                yield check

    async def _number_checks(self, active: list[str], set_webhooks: bool) -> AsyncIterator[Check]:
        if set_webhooks:
            from voice.carrier import set_up_at_carrier

            for e164 in active:
                await set_up_at_carrier(self._settings, e164)
        try:
            found = await self._numbers_at_carrier()
        except httpx.HTTPError as error:
            yield mend("numbers", f"the carrier does not list its numbers ({type(error).__name__})")
            return
        if not active:
            yield ok("numbers", "none yet; add one with: callingbox-server number import ORG_ID E164")
        for e164 in active:
            yield self._number(e164, found.get(e164))

    async def _numbers_at_carrier(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        path: str | None = f"{self._carrier}/IncomingPhoneNumbers.json?PageSize={PAGE_SIZE}"
        while path:
            answer = await self._http.get(path, auth=self._credentials)
            page = answer.raise_for_status().json()
            found.update({number["phone_number"]: number for number in page["incoming_phone_numbers"]})
            following = page.get("next_page_uri")
            path = f"{self._settings.carrier_base_url}{following}" if following else None
        return found

    def _number(self, e164: str, found: Mapping[str, Any] | None) -> Check:
        name, cure = f"number {e164}", "callingbox-server doctor --set-webhooks"
        if found is None and self._settings.simulated_network:
            return mend(name, f"the simulated network does not know it; run: {cure}")
        if found is None:
            return mend(name, "the carrier account has no such number; buy it there, or release it here")
        wrong = list(_wrong_webhooks(found, Addresses(self._settings.public_base_url)))
        if wrong:
            return mend(name, f"set {' and '.join(wrong)}, by hand or with: {cure}")
        return ok(name, "both webhooks come here")

    def _bank(self) -> Check:
        settings = self._settings
        if settings.simulated_bank:
            words = "simulated" if settings.takes_payments else "no STRIPE_SECRET_KEY: customers cannot add credit"
            return ok("payments", words)
        mode = "live" if settings.bank_livemode else "test"
        if not settings.bank_webhook_secrets:
            words = "STRIPE_WEBHOOK_SECRETS is empty, so no payment is ever credited: at Stripe, send events to "
            return mend("payments", f"{words}{settings.public_base_url}/webhooks/stripe and set its signing secret")
        return ok("payments", f"Stripe, {mode} mode")


def _account(answer: httpx.Response, *, simulated: bool) -> Check:
    if simulated and answer.status_code != 200:
        return mend(
            "carrier", f"what answers at {answer.url.host}:{answer.url.port} is not our simulated network; end it"
        )
    if answer.status_code in (401, 403, 404):
        return mend("carrier", "it refuses TWILIO_ACCOUNT_SID with TWILIO_AUTH_TOKEN; copy both from its console")
    if answer.status_code != 200:
        return mend("carrier", f"it answers {answer.status_code}; try again, and look at its status page")
    account = answer.json()
    if account.get("status") != "active":
        return mend("carrier", f"the account is {account.get('status')}; see its console")
    if account.get("type") == "Trial":
        return ok("carrier", "a trial account: it calls verified numbers only")
    return ok("carrier", "simulated, and running" if simulated else "the account is active")


def _clock(answer: httpx.Response, now: float) -> Check:
    try:
        theirs = parsedate_to_datetime(answer.headers["Date"]).timestamp()
    except (KeyError, ValueError):
        return ok("clock", "there is nothing to compare it with")
    ahead = round(now - theirs)
    if abs(ahead) > LARGEST_SKEW_SECONDS:
        direction = "ahead of" if ahead > 0 else "behind"
        return mend("clock", f"it is {abs(ahead)} s {direction} the carrier's; set it by NTP")
    return ok("clock", f"within {LARGEST_SKEW_SECONDS} s of the carrier's")


def _wrong_webhooks(found: Mapping[str, Any], addresses: Addresses) -> Iterator[str]:
    for key, label, wanted in (
        ("voice", "its voice URL", addresses.inbound_voice),
        ("status_callback", "its status callback", addresses.inbound_status),
    ):
        url, method = found.get("voice_url" if key == "voice" else key), found.get(f"{key}_method")
        if url != wanted or method != "POST":
            yield f"{label} to POST {wanted}"
    if found.get("voice_application_sid") or found.get("trunk_sid"):
        yield "no TwiML application and no SIP trunk for its calls"


def _is_missing(path: str) -> bool:
    return not Path(path).exists()


def _is_local(url: str) -> bool:
    """Whether the address names this machine or a private network."""
    host = urlsplit(url).hostname or ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith((".localhost", ".local", ".internal")) or "." not in host
    return not address.is_global
