"""Where the carrier's callbacks enter.

Invariant: nothing of a request is believed before its signature has been checked, and 204 is answered only after the
commit of what it said; 503 asks the carrier to say it again.

The forms are Twilio's: CallSid, CallStatus, CallDuration, AnsweredBy, MachineDetectionDuration, Timestamp (RFC 2822).
"""

from typing import Any

import structlog
from quart import Blueprint, Response

from billing.spending import CODES, Scope
from config.clock import new_id
from config.errors import invalid
from voice import twiml
from voice.events import StatusReported, VerdictReported
from voice.move_call import Observation
from voice.openings import first_words
from voice.outcomes import Moved, Paused, Rejected, Unknown
from voice.service import calls_service
from voice.vocabulary import ANONYMOUS, CARRIER_STATUSES, CARRIER_VERDICTS, CallStatus, caller_number
from webhooks.twilio_form import Form, number_in, sid_of, timestamp_in, twiml_answer, verified_form

log = structlog.get_logger(__name__)
blueprint = Blueprint("twilio", __name__, url_prefix="/webhooks/twilio")

LONGEST_DETECTION_MS = 600_000
LONGEST_DURATION_SECONDS = 7 * 86_400
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


@blueprint.post("/calls/<call_id>/status")
async def call_status(call_id: str) -> tuple[str, int]:
    """A status event of an outbound call; our id is in the address."""
    form = await verified_form()
    if not form.get("ParentCallSid"):  # a child leg is never billed
        await calls_service().hear(call_id, _status(form), _observation("status", form))
    return "", 204


@blueprint.post("/calls/<call_id>/verdict")
async def call_verdict(call_id: str) -> tuple[str, int]:
    """Answering-machine detection has spoken."""
    form = await verified_form()
    answered_by = CARRIER_VERDICTS.get(form.get("AnsweredBy", ""))
    if answered_by is None:
        raise invalid("AnsweredBy", "`AnsweredBy` is not a verdict the carrier documents.")
    detection_ms = number_in(form, "MachineDetectionDuration", LONGEST_DETECTION_MS)
    if not form.get("ParentCallSid"):  # who picked up a child leg says nothing of the call
        event = VerdictReported(sid_of(form), answered_by, detection_ms)
        await calls_service().hear(call_id, event, _observation("verdict", form))
    return "", 204


@blueprint.post("/calls/<call_id>/voice")
async def call_voice(call_id: str) -> Response:
    """The callee has picked up: what to say. Whose call it is stands in the signed address."""
    form = await verified_form()
    sid = sid_of(form)
    call = await calls_service().find(call_id)
    if call is not None and call.twilio_call_sid is None:  # nothing else has told us yet, and perhaps nothing will
        picked_up = StatusReported(sid, CallStatus.IN_PROGRESS)
        heard = await calls_service().hear(call_id, picked_up, _observation("status", form))
        call = heard.call if isinstance(heard, Moved) else None
    if call is None or call.status.is_final or call.twilio_call_sid != sid or call.hang_up_requested_at is not None:
        return twiml_answer(twiml.hang_up())
    return twiml_answer(await first_words(call))


@blueprint.post("/voice")
async def inbound_voice() -> Response:
    """Somebody calls one of our numbers."""
    form = await verified_form()
    sid = sid_of(form)
    to_number, from_number = _numbers(form)
    result = await calls_service().receive(sid, to_number, from_number)
    match result:
        case Moved(call) if not call.status.is_final and call.final_status is None:
            return twiml_answer(await first_words(call))
        case Paused(forward_to=str(fallback)) | Rejected(forward_to=str(fallback)):
            return twiml_answer(twiml.forward(fallback, to_number if from_number == ANONYMOUS else None))
        case Paused():
            return twiml_answer(twiml.reject())
        case Rejected(code=code) if code in CODES[Scope.ORGANISATION]:
            return twiml_answer(twiml.reject())
        case Rejected() | Unknown():
            return twiml_answer(twiml.reject("rejected"))
        case _:
            return twiml_answer(twiml.hang_up())


@blueprint.post("/status")
async def inbound_status() -> tuple[str, int]:
    """The end of an inbound call; comes once, before or after the voice request."""
    form = await verified_form()
    if not form.get("ParentCallSid"):
        result = await calls_service().inbound_ended(_status(form), *_numbers(form), _observation("status", form))
        if isinstance(result, Unknown):
            log.info("callback_for_unknown_number")
    return "", 204


def _numbers(form: Form) -> tuple[str, str]:
    """(called, calling)."""
    return form.get("To", "")[:32], caller_number(form.get("From", "")[:32])


def _status(form: Form) -> StatusReported:
    status = CARRIER_STATUSES.get(form.get("CallStatus", ""))
    if status is None:
        raise invalid("CallStatus", "`CallStatus` is not a status the carrier documents.")
    return StatusReported(
        twilio_call_sid=sid_of(form),
        status=status,
        duration_seconds=number_in(form, "CallDuration", LONGEST_DURATION_SECONDS),
        at=timestamp_in(form.get("Timestamp")),
        sip_response_code=form.get("SipResponseCode", "")[:8] or None,
    )


def _observation(kind: str, form: Form) -> Observation:
    said: dict[str, Any] = {name: form[name][:64] for name in KEPT_FIELDS if form.get(name)}
    return Observation(new_id(), "callback", kind, said, timestamp_in(form.get("Timestamp")))
