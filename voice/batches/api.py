"""The public API of batches: `/v1/batches…`.

Invariant: a batch, or the reason for each row that keeps it from being made; never half of one.
"""

import hashlib
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field
from quart import Blueprint, Response, request

from accounts.auth import caller, require_key
from config.errors import invalid, not_found
from config.http import Cursor, answer, as_model, idempotency_key, parsed_json, query_as
from config.openapi import asks, fails, gives, hears, takes, takes_csv
from voice.batches import shapes
from voice.batches.queries import batch_object, find_batch, find_row, list_batches, list_rows, progress_of, row_object
from voice.batches.rows import MOST_CALLS, BatchCall, Sheet, read_calls, read_csv
from voice.batches.service import NOT_ONES_OWN, BatchTerms, batches_service
from voice.call_request import check_generation
from voice.service import REPLAYED_HEADER

blueprint = Blueprint("batches", __name__)
blueprint.before_request(require_key)

EXAMPLE = "to,name,appointment\n+14155550123,Ann,Tuesday at 10\n+14155550124,Ben,Tuesday at 11\n"
NUMERIC = ("max_duration_seconds", "max_concurrent", "calls_per_second")


JSON_EXAMPLE = {
    "prompt": "Remind them of their appointment.",
    "calls": [{"to": "+14155550130", "context": {"name": "Ann", "appointment": "Tuesday at 10"}}],
    "retry": {"outcomes": ["no_answer", "busy"], "attempts": 3, "wait_seconds": 900},
}


class CreateBatchBody(BatchTerms, json_schema_extra={"examples": [JSON_EXAMPLE]}):
    """`POST /v1/batches`: how to call, and whom. Each of `calls` has `to` and `context`."""

    calls: Annotated[list[BatchCall], Field(min_length=1, max_length=MOST_CALLS, examples=[[{"to": "+14155550123"}]])]


class CsvOptions(BaseModel, extra="forbid"):
    """With a CSV file: what JSON says in its body. `window` as `09:00-17:00`, or `any`; lists with commas."""

    name: str | None = None
    agent_id: str | None = None
    prompt: str | None = None
    instructions: str | None = None
    language: str | None = None
    from_number: str | None = None
    webhook_url: str | None = None
    voicemail_action: str | None = None
    max_duration_seconds: str | None = None
    max_concurrent: str | None = None
    calls_per_second: str | None = None
    window: str | None = None
    days: str | None = None
    timezone: str | None = None
    retry: str | None = None
    attempts: str | None = None
    wait_seconds: str | None = None
    skip_refused: Literal["true", "false"] | None = None

    def terms(self) -> dict[str, Any]:
        """As JSON has it."""
        given: dict[str, Any] = self.model_dump(exclude_none=True)
        terms = {name: given.pop(name) for name in list(given) if name in BatchTerms.model_fields and name != "retry"}
        terms = {name: _number(value) if name in NUMERIC else value for name, value in terms.items()}
        if "skip_refused" in terms:
            terms["skip_refused"] = terms["skip_refused"] == "true"
        window: dict[str, Any] = {} if self.window in (None, "any") else _hours(self.window)
        window |= {} if self.days is None else {"days": self.days.split(",")}
        window |= {} if self.timezone is None else {"timezone": self.timezone}
        retry: dict[str, Any] = {} if self.retry is None else {"outcomes": self.retry.split(",") if self.retry else []}
        retry |= {name: _number(given[name]) for name in ("attempts", "wait_seconds") if name in given}
        terms.pop("window", None)
        if self.window == "any" or window:
            terms["window"] = window or None
        return {**terms, **({"retry": retry} if retry else {})}


def _number(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else text


def _hours(text: str | None) -> dict[str, str]:
    start, dash, end = (text or "").partition("-")
    if not dash:
        raise invalid("window", "`window` must be like 09:00-17:00, or any.")
    return {"start": start, "end": end}


class ListRowsQuery(Cursor):
    state: shapes.ShownState | None = None


async def _asked_for() -> tuple[BatchTerms, Sheet, str]:
    """(the terms, the rows, a digest of the whole request)."""
    raw = bytes(await request.get_data())  # type: ignore[arg-type]  # text only where one asks for it
    digest = hashlib.sha256(request.query_string + b"\n" + raw).hexdigest()
    service = batches_service()
    options = query_as(CsvOptions)
    if request.mimetype == "text/csv":
        given = options.terms()
        check_generation(given)
        terms = as_model(BatchTerms, given)
        return terms, await service.sheet(read_csv, raw, terms), digest
    if options.model_fields_set:
        name = min(options.model_fields_set)
        raise invalid(name, f"`{name}` belongs into the JSON body; the query is for CSV files.")
    given = parsed_json(raw)
    if not isinstance(given, dict):
        raise invalid("body", "The body must be a JSON object, or a file of type text/csv.")
    check_generation(given)
    terms = as_model(BatchTerms, {name: value for name, value in given.items() if name != "calls"})
    if "calls" not in given:
        raise invalid("calls", "`calls`: is required.")
    return terms, await service.sheet(read_calls, given["calls"], terms), digest


@blueprint.post("/v1/batches")
@takes(CreateBatchBody)
@takes_csv(EXAMPLE)
@asks(CsvOptions)
@hears("Idempotency-Key", "1 to 255 printable characters; a repeat with the same body gets the same batch.")
@gives(shapes.Batch, 201, "The batch; with `Idempotent-Replayed: true` one that an earlier request made.")
@fails(*NOT_ONES_OWN, "batch_rows_refused", "idempotency_key_reused", "invalid_csv", "invalid_url", "too_many_batches")
async def create_batch() -> Response:
    """Call many numbers: within their hours, so many at once, again where nobody answered. Begins at once."""
    terms, sheet, digest = await _asked_for()
    if terms.agent_id is None and "prompt" not in terms.model_fields_set:  # one such call says hello; not thousands
        raise invalid("prompt", "Say who calls with `agent_id`, or what to do with `prompt`.")
    who = caller()
    batch, replayed = await batches_service().create(who.org_id, who.key_id, terms, sheet, digest, idempotency_key())
    return answer(batch, 201, {REPLAYED_HEADER: "true"} if replayed else None)


@blueprint.post("/v1/batches/quote")
@takes(CreateBatchBody)
@takes_csv(EXAMPLE)
@asks(CsvOptions)
@gives(shapes.BatchQuote)
@fails("invalid_csv", "invalid_url")
async def quote_batch() -> Response:
    """What the batch would hold and cost at most, and which of its numbers cannot be called. Makes nothing."""
    terms, sheet, _ = await _asked_for()
    who = caller()
    return answer(await batches_service().quote(who.org_id, who.key_id, terms, sheet))


@blueprint.get("/v1/batches")
@asks(Cursor)
@gives(shapes.BatchPage)
@fails("not_found")
async def get_batches() -> Response:
    """Newest first."""
    query, org_id = query_as(Cursor), caller().org_id
    limit = query.checked_limit()
    cursors = {"starting_after": query.starting_after, "ending_before": query.ending_before}
    async with batches_service().database.read() as connection:
        for cursor in cursors.values():
            if cursor is not None and await find_batch(connection, org_id, cursor) is None:
                raise not_found("batch", cursor)
        found = await list_batches(connection, org_id, limit=limit + 1, **cursors)
        page = found[-limit:] if query.ending_before is not None else found[:limit]
        progress = await progress_of(connection, page)
    shown = [batch_object(batch, progress[batch["id"]]) for batch in page]
    return answer({"data": shown, "has_more": len(found) > limit})


@blueprint.get("/v1/batches/<batch_id>")
@gives(shapes.Batch)
async def get_batch(batch_id: str) -> Response:
    """How far it is, and what it cost so far."""
    return answer(await batches_service().show(caller().org_id, batch_id))


@blueprint.get("/v1/batches/<batch_id>/calls")
@asks(ListRowsQuery)
@gives(shapes.QueuedCallPage)
async def get_batch_calls(batch_id: str) -> Response:
    """Its numbers in the order of their lines, each with its latest call."""
    query = query_as(ListRowsQuery)
    limit = query.checked_limit()
    batch = await batches_service().row(caller().org_id, batch_id)
    cursors = {"starting_after": query.starting_after, "ending_before": query.ending_before}
    async with batches_service().database.read() as connection:
        for cursor in cursors.values():
            if cursor is not None and not await find_row(connection, batch_id, cursor):
                raise not_found("batch call", cursor)
        found = await list_rows(connection, batch, limit=limit + 1, state=query.state, **cursors)
    page = found[-limit:] if query.ending_before is not None else found[:limit]
    return answer({"data": [row_object(row) for row in page], "has_more": len(found) > limit})


@blueprint.post("/v1/batches/<batch_id>/pause")
@gives(shapes.Batch)
@fails("batch_over")
async def pause_batch(batch_id: str) -> Response:
    """No new calls; those under way go on."""
    return answer(await batches_service().switch(caller().org_id, batch_id, "pause"))


@blueprint.post("/v1/batches/<batch_id>/resume")
@gives(shapes.Batch)
@fails("batch_over")
async def resume_batch(batch_id: str) -> Response:
    """Go on where it was paused."""
    return answer(await batches_service().switch(caller().org_id, batch_id, "resume"))


@blueprint.post("/v1/batches/<batch_id>/cancel")
@gives(shapes.Batch)
@fails("batch_over")
async def cancel_batch(batch_id: str) -> Response:
    """Call nobody more; calls under way go on. A canceled batch is answered as it stands."""
    return answer(await batches_service().switch(caller().org_id, batch_id, "cancel"))
