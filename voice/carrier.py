"""The carrier: Twilio's REST API, asked through its official SDK.

Owns the translation of its answers into events. Invariant: at most one POST per dial. A time-out, a server error or a
broken connection is "unknown", never "refused"; only a definite no is a no.

The SDK's async client ignores its own time-out and, told to retry, would dial again; so retries stay off and every
request stands in a time-out of ours.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

import structlog

from config.settings import Settings
from voice.call import Call
from voice.connected_time import AMD_TIMEOUT_SECONDS
from voice.events import CarrierAsked, CarrierForgot, DialAccepted, DialRefused, DialUnanswered
from voice.vocabulary import CARRIER_STATUSES, CARRIER_VERDICTS, CallStatus

log = structlog.get_logger(__name__)

REQUEST_TIMEOUT_SECONDS = 10
CALLBACK_RETRIES = "#rc=3&rp=5xx,ct,rt&ct=2000&rt=4000"
"""Connection overrides travel in the fragment, which is not signed: retry on 5xx and time-outs too."""
NOT_IN_PROGRESS = 21220
CANDIDATE_LIMIT = 50
CLOCK_SKEW_MS = 5_000

CAPACITY_CODES = frozenset({20429, 10004, 22005})
REFUSALS = {
    21211: ("invalid_number", "The carrier says that `to` is not a valid phone number."),
    21217: ("invalid_number", "The carrier says that `to` is not a valid phone number."),
    13224: ("invalid_number", "The carrier says that `to` is not a valid phone number."),
    21212: ("invalid_from_number", "The carrier says that `from_number` is not a valid phone number."),
    21214: ("number_unreachable", "The carrier cannot reach this number."),
    21210: ("caller_id_not_verified", "The carrier does not accept `from_number` as caller id: verify it there first."),
    21213: ("invalid_from_number", "The carrier says that `from_number` is missing."),
    21219: ("number_not_verified", "A trial account at the carrier may call verified numbers only."),
    573005: ("number_not_verified", "A trial account at the carrier may call verified numbers only."),
    21215: ("country_not_allowed", "The carrier account is not permitted to call this country or region."),
    21216: ("number_not_allowed", "The carrier blocks calls to this number."),
    32224: ("number_not_allowed", "The carrier refuses this call for regulatory reasons."),
    21421: ("invalid_number", "The carrier says that this is not a phone number it can sell."),
    21422: ("number_unavailable", "This number is no longer for sale. Choose another one."),
    21631: (
        "number_needs_address",
        "The carrier sells this number only with a registered address. Choose another one.",
    ),
    21649: ("number_needs_address", "The carrier sells this number only with a registered bundle. Choose another one."),
}
OVER_CAPACITY = DialRefused(
    "carrier_busy", "The carrier has no capacity just now. Nothing was charged; try again shortly."
)
UNREACHABLE = DialRefused("carrier_unreachable", "The carrier could not be reached. Nothing was charged.")
_FOR_THE_OPERATOR = "Nothing was charged. Whoever runs this server has to mend it."
_US = {
    401: f"The carrier refuses this server's credentials. {_FOR_THE_OPERATOR}",
    403: f"The carrier refuses this server's credentials. {_FOR_THE_OPERATOR}",
    404: f"The carrier does not know this server's account. {_FOR_THE_OPERATOR}",
}
"""What is refused with these says nothing of the call: a list of the account is there, or the account is not."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Our public addresses that the carrier calls back, with the call's id in them."""

    public_base_url: str

    def voice(self, call_id: str) -> str:
        return f"{self.public_base_url}/webhooks/twilio/calls/{call_id}/voice"

    def status(self, call_id: str) -> str:
        return f"{self.public_base_url}/webhooks/twilio/calls/{call_id}/status{CALLBACK_RETRIES}"

    def verdict(self, call_id: str) -> str:
        return f"{self.public_base_url}/webhooks/twilio/calls/{call_id}/verdict{CALLBACK_RETRIES}"

    @property
    def inbound_voice(self) -> str:
        return f"{self.public_base_url}/webhooks/twilio/voice"

    @property
    def inbound_status(self) -> str:
        return f"{self.public_base_url}/webhooks/twilio/status"


class CarrierUnavailable(Exception):
    """The carrier could not be asked; nothing is known."""


class Carrier:
    """One account at Twilio, or at whatever answers like it at `base_url`."""

    def __init__(self, account_sid: str, auth_token: str, base_url: str, addresses: Addresses) -> None:
        self.addresses = addresses
        self._credentials = account_sid, auth_token
        self._base_url = base_url
        self._client: Any = None
        self._http: Any = None

    async def open(self) -> None:
        """Import the SDK and make its connection pool; must run in the event loop that uses it."""
        from twilio.http.async_http_client import AsyncTwilioHttpClient
        from twilio.http.response import Response
        from twilio.rest import Client

        class Http(AsyncTwilioHttpClient):  # type: ignore[misc]
            """The SDK's own, with forms that are encoded already: its way there takes three times as long."""

            async def request(self, method: str, url: str, *rest: Any, data: Any = None, **more: Any) -> Response:
                encoded = None if data is None else urlencode(data, doseq=True).encode()
                return await super().request(method, url, *rest, data=encoded, **more)

        self._http = Http()
        self._client = Client(*self._credentials, http_client=self._http)
        self._client.edge = self._client.region = None  # from the environment; they would mangle the host
        self._client.api.base_url = self._base_url

    async def close(self) -> None:
        if self._http is not None:
            await self._http.close()

    async def dial(self, call: Call, *, leaves_message: bool = False) -> DialAccepted | DialRefused | DialUnanswered:
        """Ask for the call once. Never raises for what the carrier or the network does."""
        return await self._once(
            lambda: self._client.calls.create_async(
                to=call.to_number,
                from_=call.from_number,
                url=self.addresses.voice(call.id),
                status_callback=self.addresses.status(call.id),
                status_callback_event=["initiated", "ringing", "answered", "completed"],
                machine_detection="DetectMessageEnd" if leaves_message else "Enable",
                machine_detection_timeout=AMD_TIMEOUT_SECONDS,
                async_amd="true",
                async_amd_status_callback=self.addresses.verdict(call.id),
                time_limit=call.max_duration_seconds,
            )
        )

    async def hang_up(self, sid: str, *, answered: bool) -> None:
        """End the call, or see that it is over. `answered` as far as we know: what the carrier refuses to cancel may
        have been answered without our hearing of it. Raises CarrierUnavailable."""
        if answered or await self._update(sid, status="canceled") == NOT_IN_PROGRESS:
            await self._update(sid, status="completed")

    async def limit_time(self, sid: str, seconds: int) -> bool:
        """Have the carrier end the call itself. False when it is not in progress (yet). Raises CarrierUnavailable."""
        return await self._update(sid, time_limit=seconds) != NOT_IN_PROGRESS

    async def _update(self, sid: str, **changes: Any) -> int | None:
        """The carrier's code of a definite no about this call, None when it was done."""
        code, _ = await self._ask(lambda: self._client.calls(sid).update_async(**changes))
        return code

    async def fetch(self, sid: str) -> CarrierAsked | CarrierForgot:
        """How the call stands. Raises CarrierUnavailable."""
        code, found = await self._ask(lambda: self._client.calls(sid).fetch_async())
        if code is not None:
            return CarrierForgot()
        return _asked(sid, found)

    async def candidates(self, call: Call) -> Sequence[CarrierAsked]:
        """The carrier's calls between these numbers since this one was dialled, but for legs of other calls.
        Raises CarrierUnavailable."""
        _, found = await self._ask(
            lambda: self._client.calls.list_async(to=call.to_number, from_=call.from_number, limit=CANDIDATE_LIMIT)
        )
        since = (call.dial_began_at or call.created_at) - CLOCK_SKEW_MS
        calls = (item for item in found or () if not item.parent_call_sid)
        return [
            _asked(item.sid, item) for item in calls if item.date_created is None or _ms(item.date_created) >= since
        ]

    async def point_number_here(self, e164: str, *, create: bool) -> bool:
        """Set a number's webhooks to our addresses; with `create`, a number the account lacks is made (simulator).

        False when the account has no such number. Raises CarrierUnavailable.
        """
        webhooks, incoming = self._number_webhooks, self._client.incoming_phone_numbers
        _, found = await self._ask(lambda: incoming.list_async(phone_number=e164, limit=1))
        if found:
            await self._ask(lambda: incoming(found[0].sid).update_async(**webhooks))
        elif create:
            await self._ask(lambda: incoming.create_async(phone_number=e164, **webhooks))
        return bool(found) or create

    @property
    def _number_webhooks(self) -> dict[str, str]:
        return {
            "voice_url": self.addresses.inbound_voice,
            "voice_method": "POST",
            "status_callback": self.addresses.inbound_status,
            "status_callback_method": "POST",
        }

    async def available_numbers(self, country: str, kind: str, area_code: str | None, limit: int) -> list[Any]:
        """Voice numbers for sale that need no registered address; `kind` local or toll_free. Each has phone_number,
        region and locality. Raises CarrierUnavailable."""
        offers = self._client.available_phone_numbers(country)
        offers = offers.toll_free if kind == "toll_free" else offers.local
        wanted = {"voice_enabled": True, "limit": limit, **({"area_code": area_code} if area_code else {})}
        _, found = await self._ask(lambda: offers.list_async(**wanted))
        return [offer for offer in found or () if offer.address_requirements in (None, "none")]

    async def buy_number(self, e164: str, name: str) -> DialAccepted | DialRefused | DialUnanswered:
        """Buy a number with its webhooks set, once. `name` is how `bought_number` finds it again."""
        incoming = self._client.incoming_phone_numbers
        return await self._once(
            lambda: incoming.create_async(phone_number=e164, friendly_name=name, **self._number_webhooks)
        )

    async def bought_number(self, e164: str, name: str) -> str | None:
        """The carrier's id of a number bought under this name. Raises CarrierUnavailable."""
        _, found = await self._ask(lambda: self._client.incoming_phone_numbers.list_async(phone_number=e164, limit=20))
        return next((number.sid for number in found or () if number.friendly_name == name), None)

    async def give_back_number(self, sid: str) -> None:
        """Also when the account does not have it any more. Raises CarrierUnavailable."""
        await self._ask(lambda: self._client.incoming_phone_numbers(sid).delete_async())

    async def say(self, to: str, from_: str, twiml: str) -> DialAccepted | DialRefused | DialUnanswered:
        """Call somebody to say something, for a minute at most; nobody is billed and nobody is told of its end."""
        return await self._once(
            lambda: self._client.calls.create_async(to=to, from_=from_, twiml=twiml, time_limit=60, timeout=30)
        )

    async def _once(self, request: Any) -> DialAccepted | DialRefused | DialUnanswered:
        """Make something at the carrier with one POST. Never raises for what the carrier or the network does."""
        import aiohttp
        from twilio.base.exceptions import TwilioException

        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_SECONDS):
                created = await request()
        except aiohttp.ClientConnectorError:
            return UNREACHABLE  # no connection was made, so nothing was asked
        except TwilioException as error:
            return _refusal(error)
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            log.warning("carrier_did_not_answer", error=type(error).__name__)
            return DialUnanswered()
        return DialAccepted(created.sid) if created.sid else DialUnanswered()

    async def _ask(self, request: Any) -> tuple[int | None, Any]:
        """(the carrier's error code, None) for a definite no about this call, else (None, answer)."""
        import aiohttp
        from twilio.base.exceptions import TwilioException, TwilioRestException

        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_SECONDS):
                return None, await request()
        except TwilioRestException as error:
            if error.status == 404 or error.code == NOT_IN_PROGRESS:
                return error.code or 404, None
            raise CarrierUnavailable(f"the carrier answered {error.status}") from error
        except (TwilioException, TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            raise CarrierUnavailable(type(error).__name__) from error


async def set_up_at_carrier(settings: Settings, e164: str) -> str:
    """Point the number's webhooks here. A sentence that says what was done, or what is left to do by hand."""
    addresses = Addresses(settings.public_base_url)
    carrier = Carrier(settings.carrier_account_sid, settings.carrier_auth_token, settings.carrier_base_url, addresses)
    await carrier.open()
    try:
        known = await carrier.point_number_here(e164, create=settings.simulated_network)
    except CarrierUnavailable as error:
        return f"the carrier could not be asked ({error}); run callingbox-server doctor later"
    finally:
        await carrier.close()
    return "webhooks set" if known else "the carrier account has no such number; buy it there, then run doctor"


def _refusal(error: Exception) -> DialRefused | DialUnanswered:
    status, code = getattr(error, "status", None), getattr(error, "code", None)
    if status == 429 or code in CAPACITY_CODES:
        return OVER_CAPACITY
    if not isinstance(status, int) or status >= 500 or status < 400:
        return DialUnanswered()
    carrier_code = code if isinstance(code, int) else None
    if carrier_code in REFUSALS:
        return DialRefused(*REFUSALS[carrier_code], carrier_code)
    if status in _US:
        return DialRefused("carrier_refuses_us", _US[status], carrier_code)
    return DialRefused("carrier_refused", f"The carrier refused this request (error {carrier_code}).", carrier_code)


def _asked(sid: str, found: Any) -> CarrierAsked:
    status = CARRIER_STATUSES.get(str(found.status), CallStatus.QUEUED)
    duration = str(found.duration or "")
    return CarrierAsked(
        twilio_call_sid=sid,
        status=status,
        duration_seconds=int(duration) if duration.isdigit() and status.is_final else None,
        answered_by=CARRIER_VERDICTS.get(str(found.answered_by)),
        answered_at=_ms(found.start_time) if found.start_time else None,
    )


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)
