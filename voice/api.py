"""The public API of calls: `/v1/calls…`.

Invariant: every answer is an object of `voice.presenting` or `voice.receipt`, every refusal an ApiError; handlers
check, call the service, and present.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StrictInt, StrictStr, StringConstraints, field_validator
from quart import Blueprint, Response, current_app, request

from accounts.auth import caller, require_key
from billing.ledger import list_transfers
from billing.rating import LONGEST_MAXIMUM_SECONDS, SHORTEST_MAXIMUM_SECONDS
from billing.spending import CODES as LIMIT_CODES
from config.database import Database
from config.errors import invalid, not_found
from config.http import Cursor, answer, as_model, json_body, query_as
from config.openapi import asks, fails, gives, hears, takes
from voice import shapes
from voice.agent_service import Id
from voice.calls import evidence_of, find_call, list_calls
from voice.presenting import call_object
from voice.receipt import receipt_object
from voice.service import REPLAYED_HEADER, Wanted, calls_service
from voice.talks import talk_of, transcript_object, turns_of
from voice.tool_shapes import Returns, Tools, check_addresses, tools_as_kept

blueprint = Blueprint("calls", __name__)
blueprint.before_request(require_key)

DEFAULT_PROMPT = "Hello from CallingBox."
IDEMPOTENCY_KEY = re.compile(r"[\x20-\x7e]{1,255}")
LONGEST_PROMPT, LONGEST_URL, LONGEST_OBJECT = 20_000, 2_048, 50
NOT_WITH_AGENT = ("prompt", "persona", "voice", "language", "returns", "tools", "voicemail_action")
ONLY_WITH_AGENT = ("instructions", "persona", "voice")
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
Text = Annotated[StrictStr, StringConstraints(max_length=LONGEST_PROMPT)]
Language = Annotated[StrictStr, StringConstraints(pattern=r"^[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8}){0,3}$")]


class CreateCallBody(BaseModel, extra="forbid"):
    """`POST /v1/calls`. `to` and `from_number` are E.164.

    With `agent_id` an outbound agent calls, from its primary number or another of its own, and what is in
    NOT_WITH_AGENT is not accepted. Without it the call says itself what to do, and the oldest active number calls.
    """

    to: StrictStr = Field(examples=["+14155550123"], max_length=32)
    agent_id: Id | None = None
    instructions: Text | None = None
    prompt: Text = DEFAULT_PROMPT
    context: dict[str, Any] = Field(default_factory=dict, max_length=LONGEST_OBJECT)
    returns: Returns = Field(default_factory=dict)
    language: Language = "en"
    from_number: StrictStr | None = Field(None, max_length=32)
    webhook_url: Annotated[StrictStr, StringConstraints(max_length=LONGEST_URL)] | None = None
    voicemail_action: Literal["hangup", "leave_message"] = "hangup"
    tools: Tools | None = None
    metadata: dict[str, Any] = Field(default_factory=dict, max_length=LONGEST_OBJECT)
    max_duration_seconds: StrictInt | None = Field(None, ge=SHORTEST_MAXIMUM_SECONDS, le=LONGEST_MAXIMUM_SECONDS)

    @field_validator("prompt")
    @classmethod
    def _says_something(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("must not be blank")
        return value

    def wanted(self) -> Wanted:
        """Raises ApiError for addresses that we would not call."""
        own = {"api_key_id": caller().key_id, "context": self.context, "metadata": self.metadata}
        with_agent = {"instructions": self.instructions}
        asked: dict[str, Any] = self._without_agent() if self.agent_id is None else with_agent
        private = calls_service().settings.allow_private_urls
        check_addresses(self.webhook_url, asked.get("tools"), allow_private=private)
        return Wanted(
            to_number=self.to,
            from_number=self.from_number,
            max_duration_seconds=self.max_duration_seconds,
            snapshot={**own, "webhook_url": self.webhook_url, **asked},
            agent_id=self.agent_id,
        )

    def _without_agent(self) -> dict[str, Any]:
        shown = {name: getattr(self, name) for name in ("prompt", "language", "returns", "voicemail_action")}
        result_status = "pending" if self.returns else "skipped"
        return {**shown, "tools": tools_as_kept(self.tools), "result_status": result_status}


def call_body(parsed: Any) -> CreateCallBody:
    """The body by the rules of its generation. Raises ApiError with the field that is wrong."""
    if isinstance(parsed, dict):
        with_agent = parsed.get("agent_id") is not None
        wrong = next((name for name in (NOT_WITH_AGENT if with_agent else ONLY_WITH_AGENT) if name in parsed), None)
        if wrong is not None and with_agent:
            raise invalid(wrong, f"`{wrong}` is not accepted with `agent_id`: the agent decides it.")
        if wrong is not None:
            raise invalid(wrong, f"`{wrong}` is accepted only with `agent_id`.")
    return as_model(CreateCallBody, parsed)


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
async def create_call() -> Response:
    """Place a call: reserves its hold, dials, and answers 201 when the carrier has taken it."""
    parsed = await json_body()
    body = call_body(parsed)
    row, replayed = await calls_service().place(caller().org_id, body.wanted(), _idempotency_key(), parsed)
    headers = {REPLAYED_HEADER: "true"} if replayed else None
    return answer(call_object(row), 201, headers)


@blueprint.post("/v1/calls/quote")
@takes(CreateCallBody)
@gives(shapes.CallQuote)
@fails("invalid_url")
async def quote_call() -> Response:
    """What the call would hold and cost at most, and whether it would be placed. Dials nothing."""
    body = call_body(await json_body())
    quote = await calls_service().quote(caller().org_id, body.wanted())
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


def _idempotency_key() -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is not None and not IDEMPOTENCY_KEY.fullmatch(key):
        raise invalid("Idempotency-Key", "`Idempotency-Key` must be 1 to 255 printable ASCII characters.")
    return key
