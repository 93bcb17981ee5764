"""How the REST API shows things: calls, numbers, pages.

Invariant: pure; types are Twilio's: texts for durations and times, null for what is not known yet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from email.utils import formatdate
from typing import Any, Protocol, TypeVar
from urllib.parse import urlencode

from simulator.calls import Call, Hook, Status
from simulator.network import API_VERSION, Number

_SUBRESOURCES = ("Events", "Notifications", "Payments", "Recordings", "Siprec", "Streams", "Transcriptions")


def call_resource(call: Call, *, stale: bool = False) -> dict[str, Any]:
    """A Call. `stale` shows one that has ended as it was before, as an eventually consistent API may."""
    live = stale or call.is_live
    status = call.status
    if stale and call.status.is_final:
        status = Status.RINGING if call.answered_at is None else Status.IN_PROGRESS
    if status is Status.INITIATED:
        status = Status.QUEUED
    base = f"/{API_VERSION}/Accounts/{call.account_sid}/Calls/{call.sid}"
    started_at = call.answered_at if call.answered_at is not None else call.dialed_at
    return {
        "sid": call.sid,
        "account_sid": call.account_sid,
        "parent_call_sid": call.parent_sid or None,
        "to": call.order.to,
        "to_formatted": friendly(call.order.to),
        "from": call.order.from_,
        "from_formatted": friendly(call.order.from_),
        "phone_number_sid": call.phone_number_sid or None,
        "status": str(status),
        "direction": call.direction,
        "date_created": call.stamp(call.created_at),
        "date_updated": call.stamp(call.updated_at),
        "start_time": call.stamp(started_at),
        "end_time": None if live else call.stamp(call.ended_at),
        "duration": None if live or call.answered_at is None else str(call.duration_seconds),
        "answered_by": call.verdict or None,
        "price": None,
        "price_unit": "USD",
        "api_version": API_VERSION,
        "forwarded_from": None,
        "group_sid": None,
        "caller_name": None,
        "queue_time": str(round(call.queue_seconds * 1000)),
        "trunk_sid": None,
        "uri": f"{base}.json",
        "subresource_uris": {name.lower(): f"{base}/{name}.json" for name in _SUBRESOURCES},
    }


def number_resource(number: Number, account_sid: str) -> dict[str, Any]:
    """An IncomingPhoneNumber."""

    def hooks(prefix: str, hook: Hook | None, name: str = "url") -> dict[str, str]:
        return {
            f"{prefix}_{name}": hook.url if hook else "",
            f"{prefix}_method": hook.method if hook else "POST",
        }

    return {
        "sid": number.sid,
        "account_sid": account_sid,
        "phone_number": number.e164,
        "friendly_name": number.friendly_name,
        "date_created": formatdate(number.created_epoch_ms // 1000).replace("-0000", "+0000"),
        "date_updated": formatdate(number.created_epoch_ms // 1000).replace("-0000", "+0000"),
        "api_version": API_VERSION,
        "address_requirements": "none",
        "address_sid": None,
        "beta": False,
        "bundle_sid": None,
        "capabilities": {"voice": True, "sms": False, "mms": False, "fax": False},
        "emergency_status": "Inactive",
        "emergency_address_sid": None,
        "emergency_address_status": "unregistered",
        "identity_sid": None,
        "origin": "twilio",
        **hooks("voice", number.voice),
        **hooks("voice_fallback", number.fallback),
        **hooks("sms", None),
        **hooks("sms_fallback", None),
        "sms_application_sid": None,
        "status_callback": number.status_callback.url if number.status_callback else "",
        "status_callback_method": number.status_callback.method if number.status_callback else "POST",
        "status": "in-use",
        "trunk_sid": None,
        "type": "toll_free" if is_toll_free(number.e164) else "local",
        "uri": f"/{API_VERSION}/Accounts/{account_sid}/IncomingPhoneNumbers/{number.sid}.json",
        "voice_application_sid": None,
        "voice_caller_id_lookup": False,
        "voice_receive_mode": "voice",
    }


def available_resource(e164: str, country: str) -> dict[str, Any]:
    """An AvailablePhoneNumber."""
    toll_free = is_toll_free(e164)
    return {
        "friendly_name": friendly(e164),
        "phone_number": e164,
        "lata": None if toll_free else "722",
        "locality": None if toll_free else "Springfield",
        "rate_center": None if toll_free else "SPRINGFIELD",
        "latitude": None,
        "longitude": None,
        "region": None if toll_free else "CA",
        "postal_code": None,
        "iso_country": country,
        "address_requirements": "none",
        "beta": False,
        "capabilities": {"voice": True, "sms": False, "mms": False},
    }


class HasSid(Protocol):
    @property
    def sid(self) -> str: ...


Row = TypeVar("Row", bound=HasSid)


def page(
    name: str,
    rows: Sequence[Row],
    show: Callable[[Row], dict[str, Any]],
    path: str,
    query: Sequence[tuple[str, str]],
) -> dict[str, Any]:
    """One page of a list. `rows` are all that match, newest first. The next page's token is the SID of the
    last row shown, so rows that appear meanwhile move nothing."""
    given = dict(query)
    size, number = int(given.get("PageSize") or 50), int(given.get("Page") or 0)
    start = number * size
    if after := given.get("PageToken", "").removeprefix("PA"):
        start = next((at + 1 for at, row in enumerate(rows) if row.sid == after), len(rows))
    shown = rows[start : start + size]
    filters = [(key, value) for key, value in query if key not in ("Page", "PageSize", "PageToken")]

    def uri(page_number: int, *more: tuple[str, str]) -> str:
        parts = [*filters, ("PageSize", str(size)), ("Page", str(page_number)), *more]
        return f"{path}?{urlencode(parts)}"

    more_follow = start + size < len(rows)
    return {
        name: [show(row) for row in shown],
        "first_page_uri": uri(0),
        "next_page_uri": uri(number + 1, ("PageToken", f"PA{shown[-1].sid}")) if more_follow else None,
        "previous_page_uri": uri(number - 1) if number else None,
        "page": number,
        "page_size": size,
        "start": start,
        "end": max(start, start + len(shown) - 1),
        "uri": f"{path}?{urlencode(query)}" if query else path,
    }


def is_toll_free(e164: str) -> bool:
    """Whether a North American number is free for its caller."""
    return e164[2:5] in ("800", "833", "844", "855", "866", "877", "888")


def friendly(e164: str) -> str:
    """(415) 555-0123 for a North American number; others as they are."""
    return f"({e164[2:5]}) {e164[5:8]}-{e164[8:]}" if e164.startswith("+1") and len(e164) == 12 else e164
