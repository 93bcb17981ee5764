"""Where Stripe's events enter.

Invariant: nothing of a request is believed before one of our signing secrets has signed its very bytes within the last
minutes, and 200 is answered only after the commit of what the event said; anything else asks Stripe to say it again,
which it does for three days.
"""

import asyncio
from typing import Annotated, Any

import msgspec
from quart import Blueprint, Response, current_app, request

from billing.stripe_facts import BadObject
from billing.topup_service import topups_service
from config.clock import now_ms
from config.errors import ApiError
from config.http import answer
from config.settings import Settings

blueprint = Blueprint("stripe", __name__, url_prefix="/webhooks/stripe")

TOLERANCE_SECONDS = 300
LONGEST_HEADER = 2_000


class _Data(msgspec.Struct):
    object: dict[str, Any]


class _Event(msgspec.Struct):
    """https://docs.stripe.com/api/events/object"""

    id: Annotated[str, msgspec.Meta(pattern=r"^evt_[A-Za-z0-9_]{1,250}\Z")]
    object: str
    type: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9_.]{1,100}\Z")]
    created: Annotated[int, msgspec.Meta(ge=0, le=10**11)]
    livemode: bool
    data: _Data


@blueprint.post("")
async def stripe_event() -> Response:
    """A signed event. 400 without effect if it is forged, stale, unreadable or of the other mode."""
    settings: Settings = current_app.extensions["settings"]
    raw = await request.get_data(True, False, False)
    await _check_signature(raw, request.headers.get("Stripe-Signature", ""), settings.bank_webhook_secrets)
    event = _parsed(raw)
    if event.livemode != settings.bank_livemode:
        topups_service().alert("stripe_wrong_mode", f"event {event.id} says livemode {event.livemode}")
        raise ApiError(400, "wrong_livemode", "The event is of the other mode: live and test are kept apart.")
    try:
        heard = await topups_service().hear_event(msgspec.to_builtins(event))
    except BadObject as error:
        topups_service().alert("stripe_unreadable", f"event {event.id} ({event.type}): {error}")
        raise ApiError(400, "invalid_event", "The event's object does not have the documented form.") from None
    return answer({"received": True, "outcome": heard.outcome if heard else "ignored"})


async def _check_signature(raw: bytes, header: str, secrets: tuple[str, ...]) -> None:
    """Raises ApiError 400. The SDK takes timestamps from the future; we do not."""
    passed = len(header) <= LONGEST_HEADER and await asyncio.to_thread(_passes, raw, header, secrets)
    if not passed or _signed_at_seconds(header) > now_ms() // 1000 + TOLERANCE_SECONDS:
        raise ApiError(400, "bad_signature", "The event's signature does not match, or is too old.")


def _passes(raw: bytes, header: str, secrets: tuple[str, ...]) -> bool:
    """In a thread: the SDK's import takes a while the first time."""
    from stripe import SignatureVerificationError, WebhookSignature

    for secret in secrets:
        try:
            WebhookSignature.verify_header(raw, header, secret, TOLERANCE_SECONDS)
        except (SignatureVerificationError, ValueError, TypeError):  # also for what is not UTF-8 or not ASCII
            continue
        return True
    return False


def _signed_at_seconds(header: str) -> int:
    """The first timestamp, which is the one that the SDK has checked."""
    items = (part.split("=") for part in header.split(","))
    return int(next(item[1] for item in items if item[0] == "t"))


def _parsed(raw: bytes) -> _Event:
    try:
        event = msgspec.json.decode(raw, type=_Event)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ApiError(400, "invalid_event", "The body is not an event of Stripe.") from None
    if event.object != "event":
        raise ApiError(400, "invalid_event", "The body is not an event of Stripe.")
    return event
