"""What the carrier asks after a conversation: how its session ended, and how a transfer went.

Invariant: a call whose agent is gone is resumed, transferred or hung up; it is never left silent, and an agent that
never got to speak costs nothing.
"""

import structlog
from quart import Blueprint, Response, current_app

from accounts.organisations import find_organisation
from config.clock import now_ms
from config.database import Database
from config.settings import Settings
from voice import twiml
from voice.call import Call
from voice.calls import find_call
from voice.conversation.events import ResumeReason
from voice.conversation.handoff import Resume, Transfer, after_session
from voice.dialling import NotDiallable, check_number
from voice.openings import first_words
from voice.relay import never_spoke
from voice.service import calls_service
from voice.talks import resumes_of, talk_of
from webhooks.twilio_form import sid_of, twiml_answer, verified_form

log = structlog.get_logger(__name__)
blueprint = Blueprint("twilio_talks", __name__, url_prefix="/webhooks/twilio/calls/<call_id>")

SHORTEST_TRANSFER_SECONDS = 30


@blueprint.post("/relay")
async def session_ended(call_id: str) -> Response:
    """The action of `<Connect>`: SessionStatus, HandoffData, ErrorCode."""
    form = await verified_form()
    call = await calls_service().find(call_id)
    if call is None or call.status.is_final or call.twilio_call_sid not in (None, sid_of(form)):
        return twiml_answer(twiml.hang_up())
    status = form.get("SessionStatus", "")
    async with _database().read() as connection:
        resumes = await resumes_of(connection, call_id)
        has_spoken = any(said["role"] == "agent" for said in await talk_of(connection, call_id))
    if status == "failed":
        log.warning("relay_failed", call_id=call_id, error_code=form.get("ErrorCode", "")[:16])
    match after_session(status, form.get("HandoffData", "")[:4_000], resumes):
        case Resume(reason):
            return twiml_answer(await first_words(call, reason.value))
        case Transfer(number) if (answer := await _transfer(call, number)) is not None:
            return twiml_answer(answer)
        case Transfer():
            return twiml_answer(await first_words(call, ResumeReason.TRANSFER_FAILED.value))
        case _:
            if status == "failed" and not has_spoken:
                await never_spoke(calls_service().door, calls_service().policy, call_id)
            return twiml_answer(twiml.hang_up())


async def _transfer(call: Call, number: str) -> str | None:
    """TwiML that connects with a person for what is left of the call's maximum; None where that may not be."""
    settings: Settings = current_app.extensions["settings"]
    began = call.answered_at or now_ms()
    left = call.max_duration_seconds - (now_ms() - began) // 1000
    try:
        check_number(number, settings.allowed_countries)
    except NotDiallable as refusal:
        log.warning("transfer_refused", call_id=call.id, code=refusal.code)
        return None
    if left < SHORTEST_TRANSFER_SECONDS:
        return None
    base = f"{settings.public_base_url}/webhooks/twilio/calls/{call.id}"
    ours = call.from_number if call.direction == "outbound" else call.to_number
    return twiml.transfer(number, ours, f"{base}/whisper", f"{base}/transferred", left)


@blueprint.post("/whisper")
async def whisper(call_id: str) -> Response:
    """The person called for a transfer has picked up."""
    await verified_form()
    call = await calls_service().find(call_id)
    if call is None or call.status.is_final:
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
    return twiml_answer(twiml.nothing() if form.get("Digits") == "1" else twiml.hang_up())


@blueprint.post("/transferred")
async def transferred(call_id: str) -> Response:
    """The transfer is over: hang up if somebody took it, else the agent says that nobody did."""
    form = await verified_form()
    call = await calls_service().find(call_id)
    if call is None or call.status.is_final or form.get("DialCallStatus") == "completed":
        return twiml_answer(twiml.hang_up())
    async with _database().read() as connection:
        if await find_call(connection, call.org_id, call.id) is None:
            return twiml_answer(twiml.hang_up())
    return twiml_answer(await first_words(call, ResumeReason.TRANSFER_FAILED.value))


def _database() -> Database:
    database: Database = current_app.extensions["database"]
    return database
