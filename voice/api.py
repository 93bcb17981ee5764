"""The public API of calls: `/v1/calls…`.

Invariant: every answer is an object of `voice.presenting` or `voice.receipt`, every refusal an ApiError; handlers
check, call the service, and present.
"""

from typing import Literal

from quart import Blueprint, Response, current_app

from accounts.auth import asks_again, caller, require_key
from billing.ledger import list_transfers
from billing.spending import CODES as LIMIT_CODES
from config.database import Database
from config.errors import not_found
from config.http import Cursor, answer, idempotency_key, json_body, query_as
from config.openapi import asks, fails, gives, hears, takes
from voice import shapes
from voice.call_request import CreateCallBody, call_body
from voice.calls import evidence_of, find_call, list_calls
from voice.live.store import talk_of, transcript_object, turns_of
from voice.presenting import call_object
from voice.receipt import receipt_object
from voice.service import REPLAYED_HEADER, Wanted, calls_service

blueprint = Blueprint("calls", __name__)
blueprint.before_request(require_key)

MAY_NOT_BE_PLACED = (
    *(code for scope in LIMIT_CODES.values() for code in scope),
    "agent_not_outbound",
    "call_unresolved",
    "calls_paused",
    "country_not_allowed",
    "invalid_from_number",
    "invalid_number",
    "invalid_url",
    "no_number",
    "not_found",
    "number_not_allowed",
    "number_not_attached",
    "organisation_suspended",
)
CARRIER_REFUSES = ("caller_id_not_verified", "carrier_refused", "number_not_verified", "number_unreachable")


class ListCallsQuery(Cursor):
    agent_id: str | None = None
    direction: Literal["inbound", "outbound"] | None = None
    status: (
        Literal["queued", "initiated", "ringing", "in_progress", "completed", "no_answer", "busy", "canceled", "failed"]
        | None
    ) = None


@blueprint.post("/v1/calls")
@takes(CreateCallBody)
@hears("Idempotency-Key", "1 to 255 printable characters; a repeat with the same body gets the same call.")
@gives(shapes.Call, 201, "The call; with `Idempotent-Replayed: true` one that an earlier request made.")
@fails(
    *MAY_NOT_BE_PLACED,
    *CARRIER_REFUSES,
    "idempotency_key_reused",
    "carrier_busy",
    "carrier_unreachable",
    "carrier_refuses_us",
)
@asks_again
async def create_call() -> Response:
    """Place a call: reserves its hold, dials, and answers 201 when the carrier has taken it."""
    parsed = await json_body()
    body = call_body(parsed)
    row, replayed = await calls_service().place(
        caller().org_id,
        _wanted(body),
        idempotency_key(),
        parsed,
    )
    headers = {REPLAYED_HEADER: "true"} if replayed else None
    return answer(call_object(row), 201, headers)


@blueprint.post("/v1/calls/quote")
@takes(CreateCallBody)
@gives(shapes.CallQuote)
@fails("invalid_url")
async def quote_call() -> Response:
    """What the call would hold and cost at most, and whether it would be placed. Dials nothing."""
    body = call_body(await json_body())
    quote = await calls_service().quote(caller().org_id, _wanted(body))
    refusal = quote.refusal
    return answer(
        {
            "hold_milli_cents": quote.hold_milli_cents,
            "worst_case_milli_cents": quote.hold_milli_cents,
            "rate_milli_cents_per_minute": quote.rate_milli_cents_per_minute,
            "max_duration_seconds": quote.max_duration_seconds,
            "would_be_placed": refusal is None,
            "code": refusal.code if refusal else None,
            "message": refusal.message if refusal else None,
        }
    )


@blueprint.get("/v1/calls")
@asks(ListCallsQuery)
@gives(shapes.CallPage)
@fails("not_found")
async def get_calls() -> Response:
    """Newest first."""
    query = query_as(ListCallsQuery)
    limit, org_id = query.checked_limit(), caller().org_id
    async with _database().read() as connection:
        for cursor in (query.starting_after, query.ending_before):
            if cursor is not None and await find_call(connection, org_id, cursor) is None:
                raise not_found("call", cursor)
        rows = await list_calls(
            connection,
            org_id,
            limit=limit + 1,
            starting_after=query.starting_after,
            ending_before=query.ending_before,
            direction=query.direction,
            agent_id=query.agent_id,
            statuses=(query.status,) if query.status else (),
        )
    has_more = len(rows) > limit
    page = rows[-limit:] if query.ending_before is not None else rows[:limit]
    return answer({"data": [call_object(row) for row in page], "has_more": has_more})


@blueprint.get("/v1/calls/<call_id>")
@gives(shapes.Call)
async def get_call(call_id: str) -> Response:
    """A call that has just completed is answered with its result, where that comes within a few seconds."""
    return answer(call_object(await calls_service().row_with_result(caller().org_id, call_id)))


@blueprint.get("/v1/calls/<call_id>/transcript")
@gives(shapes.Transcript)
async def get_transcript(call_id: str) -> Response:
    """What was said, in order, also while the call is live."""
    await calls_service().row(caller().org_id, call_id)
    async with _database().read() as connection:
        said, measured = await talk_of(connection, call_id), await turns_of(connection, call_id)
    return answer(transcript_object(call_id, said, measured))


@blueprint.get("/v1/calls/<call_id>/receipt")
@gives(shapes.Receipt)
async def get_receipt(call_id: str) -> Response:
    """Why each second was or was not billed, worked out again from the evidence."""
    org_id = caller().org_id
    row = await calls_service().row(org_id, call_id)
    async with _database().read() as connection:
        found = await evidence_of(connection, call_id)
        moved = await list_transfers(connection, org_id, limit=100, call_id=call_id)
    return answer(receipt_object(row, found, moved[::-1]))


@blueprint.post("/v1/calls/<call_id>/hangup")
@gives(shapes.Call)
async def hang_up_call(call_id: str) -> Response:
    """End the call, or cancel it while it rings. A call that is over is answered as it stands."""
    return answer(call_object(await calls_service().hang_up(caller().org_id, call_id)))


def _database() -> Database:
    database: Database = current_app.extensions["database"]
    return database


def _wanted(body: CreateCallBody) -> Wanted:
    return body.wanted(caller().key_id, calls_service().settings.allow_private_urls)
