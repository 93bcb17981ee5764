"""The public API of the lists: `/v1/do_not_call`, `/v1/blocked_callers`.

Invariant: adding what is there and the order of adding change nothing; an entry is named by its number or its id.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, Field, StrictStr, StringConstraints
from quart import Blueprint, Response, current_app
from sqlalchemy import Table

from accounts.auth import caller, require_key
from config.database import Database
from config.door import Door
from config.errors import not_found
from config.http import Cursor, answer, body_as, query_as
from config.openapi import asks, fails, gives, takes
from config.shapes import Nothing
from voice import shapes
from voice.agents.tables import blocked_callers, do_not_call
from voice.lists import (
    AddToDoNotCall,
    BlockCaller,
    RemoveFromDoNotCall,
    UnblockCaller,
    blocked_caller_object,
    do_not_call_object,
    find_entry,
    list_entries,
)
from voice.vocabulary import ANONYMOUS, caller_number

blueprint = Blueprint("lists", __name__)
blueprint.before_request(require_key)


class ListedNumberBody(BaseModel, extra="forbid"):
    """A number in E.164, anywhere in the world, and why."""

    e164: Annotated[StrictStr, StringConstraints(pattern=r"^\+[1-9]\d{1,14}$"), Field(examples=["+14155550123"])]
    reason: Annotated[StrictStr, StringConstraints(strip_whitespace=True, max_length=500)] | None = None


class BlockedCallerBody(ListedNumberBody):
    """A number in E.164, or `anonymous` for all callers who show none, and why."""

    e164: Annotated[
        StrictStr, StringConstraints(pattern=rf"^(\+[1-9]\d{{1,14}}|{ANONYMOUS})$"), Field(examples=["+14155550123"])
    ]


@blueprint.get("/v1/do_not_call")
@asks(Cursor)
@gives(shapes.DoNotCallEntryPage)
@fails("not_found")
async def get_do_not_call() -> Response:
    """Numbers that no call of the organisation goes to, newest first."""
    return await _page(do_not_call, do_not_call_object)


@blueprint.post("/v1/do_not_call")
@takes(ListedNumberBody)
@gives(shapes.DoNotCallEntry, 200, "It was there.")
@gives(shapes.DoNotCallEntry, 201)
async def add_do_not_call() -> Response:
    """201 with the entry, or 200 with the one that was there."""
    body = await body_as(ListedNumberBody)
    row, new = await _door().submit(AddToDoNotCall(caller().org_id, body.e164, reason=body.reason or None))
    return answer(do_not_call_object(row), 201 if new else 200)


@blueprint.delete("/v1/do_not_call/<entry>")
@gives(Nothing)
async def remove_do_not_call(entry: str) -> Response:
    """Calls may go there again."""
    org_id = caller().org_id
    if not await _door().submit(RemoveFromDoNotCall(org_id, _e164(entry, org_id))):
        raise not_found("entry", entry)
    return answer({})


@blueprint.get("/v1/blocked_callers")
@asks(Cursor)
@gives(shapes.BlockedCallerPage)
@fails("not_found")
async def get_blocked_callers() -> Response:
    """Numbers whose calls are rejected, newest first."""
    return await _page(blocked_callers, blocked_caller_object)


@blueprint.post("/v1/blocked_callers")
@takes(BlockedCallerBody)
@gives(shapes.BlockedCaller, 200, "It was there.")
@gives(shapes.BlockedCaller, 201)
async def block_caller() -> Response:
    """201 with the entry, or 200 with the one that was there."""
    body = await body_as(BlockedCallerBody)
    row, new = await _door().submit(BlockCaller(caller().org_id, caller_number(body.e164), body.reason or None))
    return answer(blocked_caller_object(row), 201 if new else 200)


@blueprint.delete("/v1/blocked_callers/<entry>")
@gives(Nothing)
async def unblock_caller(entry: str) -> Response:
    """Take calls from there again."""
    org_id = caller().org_id
    if not await _door().submit(UnblockCaller(org_id, _e164(entry, org_id))):
        raise not_found("entry", entry)
    return answer({})


async def _page(table: Table, shown: Callable[[Mapping[str, Any]], dict[str, Any]]) -> Response:
    query = query_as(Cursor)
    limit, org_id = query.checked_limit(), caller().org_id
    cursors: dict[str, Any] = {}
    database: Database = current_app.extensions["database"]
    async with database.read() as connection:
        for name, cursor in (("before", query.starting_after), ("after", query.ending_before)):
            if cursor is not None:
                cursors[name] = await find_entry(connection, table, f"{org_id}:{_e164(cursor, org_id)}")
                if cursors[name] is None:
                    raise not_found("entry", cursor)
        rows = await list_entries(connection, table, org_id, limit=limit + 1, **cursors)
    page = rows[-limit:] if query.ending_before is not None else rows[:limit]
    return answer({"data": [shown(row) for row in page], "has_more": len(rows) > limit})


def _e164(entry: str, org_id: str) -> str:
    """The number that a number or an id names."""
    return entry.removeprefix(f"{org_id}:")


def _door() -> Door:
    door: Door = current_app.extensions["door"]
    return door
