"""What the carrier asks after a conversation: how its session ended, and how a transfer went.

Invariant: a call whose agent is gone is resumed, transferred or hung up; it is never left silent, and an agent that
never got to speak costs nothing.
"""

import structlog
from quart import Blueprint, Response, current_app

from accounts.organisations import find_organisation
from billing.limits import allowed_countries
from config.clock import new_id, now_ms
from config.database import Database
from config.settings import Settings
from voice import twiml
from voice.call import Call
from voice.calls import find_call
from voice.conversation.events import ResumeReason
from voice.conversation.handoff import Resume, Transfer, after_session, transfer_seconds
from voice.dialling import NotDiallable, check_number
from voice.events import PlatformFailed
from voice.live.store import TRANSFERRED, NoteTransferred, resumes_of, talk_of
from voice.move_call import Observation
from voice.openings import first_words
from voice.service import calls_service
from voice.vocabulary import AnsweredBy
from webhooks.twilio_form import Form, sid_of, twiml_answer, verified_form

log = structlog.get_logger(__name__)
blueprint = Blueprint("twilio_talks", __name__, url_prefix="/webhooks/twilio/calls/<call_id>")

ACCEPTED = "1"


@blueprint.post("/relay")
async def session_ended(call_id: str) -> Response:
    """The action of `<Connect>`: SessionStatus, HandoffData, ErrorCode."""
    form = await verified_form()
    call = await _live_call(call_id, form)
    if call is None:
        return twiml_answer(twiml.hang_up())
    status = form.get("SessionStatus", "")
    if status == "failed":
        log.warning("relay_failed", call_id=call_id, error_code=form.get("ErrorCode", "")[:16])
    async with _database().read() as connection:
        resumes = await resumes_of(connection, call_id)
        has_spoken = any(said["role"] == "agent" and said["text"] for said in await talk_of(connection, call_id))
    goes_on = call.hang_up_requested_at is None  # else it is about to end
    match after_session(status, form.get("HandoffData", "")[:4_000], resumes):
        case Resume(reason) if goes_on:
            return twiml_answer(await first_words(call, reason, resumes.get(ResumeReason.LOST, 0)))
        case Transfer(number) if goes_on:
            return twiml_answer(await _transfer(call, number) or await first_words(call, ResumeReason.TRANSFER_FAILED))
        case _:
            is_machine = call.verdict in (AnsweredBy.MACHINE, AnsweredBy.FAX)  # on which we hang up unspoken
            if status != "completed" and not has_spoken and not is_machine:  # nor did the caller just leave
                said = {"what": "the agent never got to speak"}
                observation = Observation(new_id(), "platform", "failure", said)
                await calls_service().hear(call_id, PlatformFailed(), observation)
            return twiml_answer(twiml.hang_up())


async def _transfer(call: Call, number: str) -> str | None:
    """TwiML that connects with a person for what is left of the call's maximum; None where that may not be."""
    settings: Settings = current_app.extensions["settings"]
    left = transfer_seconds(call.max_duration_seconds, call.answered_at, now_ms())
    async with _database().read() as connection:
        row = await find_call(connection, call.org_id, call.id)
        countries = await allowed_countries(connection, call.org_id, call.api_key_id, settings.allowed_countries)
    if row is None or row["transfer_number"] != number or left is None:
        return None
    try:
        check_number(number, countries)
    except NotDiallable as refusal:
        log.warning("transfer_refused", call_id=call.id, code=refusal.code)
        return None
    base = f"{settings.public_base_url}/webhooks/twilio/calls/{call.id}"
    ours = call.from_number if call.direction == "outbound" else call.to_number
    return twiml.transfer(number, ours, f"{base}/whisper", f"{base}/transferred", left)


@blueprint.post("/whisper")
async def whisper(call_id: str) -> Response:
    """The person called for a transfer has picked up."""
    await verified_form()
    call = await calls_service().find(call_id)
    if call is None or call.final_status is not None:
        return twiml_answer(twiml.hang_up())
    async with _database().read() as connection:
        organisation = await find_organisation(connection, call.org_id)
    settings: Settings = current_app.extensions["settings"]
    name = organisation["name"] if organisation else "you"
    return twiml_answer(
        twiml.whisper(name, f"{settings.public_base_url}/webhooks/twilio/calls/{call.id}/whisper-answer")
    )


@blueprint.post("/whisper-answer")
async def whisper_answer(call_id: str) -> Response:
    """1 takes the call."""
    form = await verified_form()
    call = await calls_service().find(call_id)
    if call is None or form.get("Digits") != ACCEPTED:
        return twiml_answer(twiml.hang_up())
    await calls_service().door.submit(NoteTransferred(call.id, call.org_id))
    return twiml_answer(twiml.nothing())


@blueprint.post("/transferred")
async def transferred(call_id: str) -> Response:
    """The transfer is over: hang up if a person took it, else the agent says that nobody did. (Whether the status of
    a leg that was answered but not accepted is `completed` is not documented, so it does not decide.)"""
    form = await verified_form()
    call = await _live_call(call_id, form)
    if call is None:
        return twiml_answer(twiml.hang_up())
    async with _database().read() as connection:
        said = await talk_of(connection, call_id)
    if call.hang_up_requested_at is not None or any(piece["source"] == TRANSFERRED for piece in said):
        return twiml_answer(twiml.hang_up())
    return twiml_answer(await first_words(call, ResumeReason.TRANSFER_FAILED))


async def _live_call(call_id: str, form: Form) -> Call | None:
    """The call, unless it has ended or the carrier speaks of another one."""
    call = await calls_service().find(call_id)
    if call is None or call.status.is_final or call.final_status is not None:
        return None
    return call if call.twilio_call_sid in (None, sid_of(form)) else None


def _database() -> Database:
    database: Database = current_app.extensions["database"]
    return database
