"""Where the carrier's callbacks enter.

Invariant: nothing of a request is believed before its signature has been checked, and 204 is answered only after the
commit of what it said; 503 asks the carrier to say it again.

The forms are Twilio's: CallSid, CallStatus, CallDuration, AnsweredBy, MachineDetectionDuration, Timestamp (RFC 2822).
"""

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import structlog
from quart import Blueprint, Response, current_app, request

from config.clock import new_id
from config.errors import ApiError, invalid
from voice import twiml
from voice.events import StatusReported, VerdictReported
from voice.move_call import Observation
from voice.outcomes import Moved, Paused, Rejected, Unknown
from voice.service import calls_service
from voice.signature import SignatureCheck
from voice.vocabulary import CARRIER_STATUSES, CARRIER_VERDICTS

log = structlog.get_logger(__name__)
blueprint = Blueprint("twilio", __name__, url_prefix="/webhooks/twilio")

LONGEST_DETECTION_MS = 600_000
LONGEST_DURATION_SECONDS = 7 * 86_400
LONGEST_SID = 64
KEPT_FIELDS = (
    "CallStatus",
    "CallDuration",
    "AnsweredBy",
    "MachineDetectionDuration",
    "SipResponseCode",
    "ErrorCode",
    "Timestamp",
)
"""What is kept as evidence: facts about time and money, no numbers and no words."""

Form = Mapping[str, str]


@blueprint.post("/calls/<call_id>/status")
async def call_status(call_id: str) -> tuple[str, int]:
    """A status event of an outbound call; our id is in the address."""
    form = await _verified_form()
    if not form.get("ParentCallSid"):  # a child leg is never billed
        await calls_service().hear(call_id, _status(form), _observation("status", form))
    return "", 204


@blueprint.post("/calls/<call_id>/verdict")
async def call_verdict(call_id: str) -> tuple[str, int]:
    """Answering-machine detection has spoken."""
    form = await _verified_form()
    answered_by = CARRIER_VERDICTS.get(form.get("AnsweredBy", ""))
    if answered_by is None:
        raise invalid("AnsweredBy", "`AnsweredBy` is not a verdict the carrier documents.")
    detection_ms = _number(form, "MachineDetectionDuration", LONGEST_DETECTION_MS)
    event = VerdictReported(_sid(form), answered_by, detection_ms)
    await calls_service().hear(call_id, event, _observation("verdict", form))
    return "", 204


@blueprint.post("/calls/<call_id>/voice")
async def call_voice(call_id: str) -> Response:
    """The callee has picked up: what to say. Whose call it is stands in the signed address."""
    form = await _verified_form()
    call = await calls_service().find(call_id)
    if call is None or call.status.is_final or call.twilio_call_sid not in (None, _sid(form)):
        return _twiml(twiml.hang_up())
    return _twiml(twiml.greeting(call.max_duration_seconds))


@blueprint.post("/voice")
async def inbound_voice() -> Response:
    """Somebody calls one of our numbers."""
    form = await _verified_form()
    sid = _sid(form)
    result = await calls_service().receive(sid, form.get("To", "")[:32], form.get("From", "")[:32])
    match result:
        case Moved(call) if not call.status.is_final and call.final_status is None:
            return _twiml(twiml.greeting(call.max_duration_seconds))
        case Paused() | Rejected() | Unknown():
            return _twiml(twiml.reject())
        case _:
            return _twiml(twiml.hang_up())


@blueprint.post("/status")
async def inbound_status() -> tuple[str, int]:
    """The end of an inbound call; comes once, before or after the voice request."""
    form = await _verified_form()
    if not form.get("ParentCallSid"):
        to_number, from_number = form.get("To", "")[:32], form.get("From", "")[:32]
        result = await calls_service().inbound_ended(
            _status(form), to_number, from_number, _observation("status", form)
        )
        if isinstance(result, Unknown):
            log.info("callback_for_unknown_number")
    return "", 204


async def _verified_form() -> Form:
    """The form, once its signature has been checked. Raises ApiError 403."""
    check: SignatureCheck = current_app.extensions["signature"]
    form = await request.form
    path = request.scope["raw_path"].decode("ascii", "replace")
    query = request.query_string.decode("ascii", "replace")
    address = f"{path}?{query}" if query else path
    if not check.passes(address, form, dict(request.headers)):
        raise ApiError(403, "bad_signature", "The request's signature does not match.")
    account_sid = current_app.extensions["settings"].carrier_account_sid
    if form.get("AccountSid", account_sid) != account_sid:
        raise ApiError(403, "wrong_account", "The request is about another account.")
    for name, value in form.items():
        if "\x00" in value:
            raise invalid(name[:64], "The value contains a NUL character.", "invalid_text")
    return form


def _status(form: Form) -> StatusReported:
    status = CARRIER_STATUSES.get(form.get("CallStatus", ""))
    if status is None:
        raise invalid("CallStatus", "`CallStatus` is not a status the carrier documents.")
    return StatusReported(
        twilio_call_sid=_sid(form),
        status=status,
        duration_seconds=_number(form, "CallDuration", LONGEST_DURATION_SECONDS),
        at=_timestamp(form.get("Timestamp")),
        sip_response_code=form.get("SipResponseCode", "")[:8] or None,
    )


def _observation(kind: str, form: Form) -> Observation:
    said: dict[str, Any] = {name: form[name][:64] for name in KEPT_FIELDS if form.get(name)}
    return Observation(new_id(), "callback", kind, said, _timestamp(form.get("Timestamp")))


def _sid(form: Form) -> str:
    sid = form.get("CallSid", "")
    if not sid or len(sid) > LONGEST_SID or not sid.isalnum():
        raise invalid("CallSid", "`CallSid` is missing or malformed.")
    return sid


def _number(form: Form, name: str, largest: int) -> int | None:
    value = form.get(name, "")
    if value == "":
        return None
    if not value.isascii() or not value.isdigit() or len(value) > 12 or int(value) > largest:
        raise invalid(name, f"`{name}` must be a whole number from 0 to {largest}.")
    return int(value)


def _timestamp(value: str | None) -> int | None:
    if not value:
        return None
    try:
        return int(parsedate_to_datetime(value).timestamp() * 1000)
    except (ValueError, TypeError, OverflowError):
        return None


def _twiml(text: str) -> Response:
    return Response(text, content_type="text/xml; charset=utf-8")
