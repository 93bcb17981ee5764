"""Calls in the database: from rows to calls and back, and reading them.

Invariant: nothing here writes; calls change only through the door.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import Column, ColumnElement, Select, TextClause, bindparam, select, text, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from config.rows import Row, Rows
from voice.call import Call
from voice.tables import IS_FINAL, IS_LIVE, call_state, calls, evidence, numbers
from voice.vocabulary import AnsweredBy, BillingReason, CallStatus, DialState, ReservationStatus

DIRECTIONS = ("inbound", "outbound")
LIVE = frozenset(status for status in CallStatus if not status.is_final)
VOICEMAIL = "voicemail"

CALL_FIELDS = Call.__struct_fields__
_ENUMS: dict[str, Any] = {
    "status": CallStatus,
    "dial_state": DialState,
    "reservation_status": ReservationStatus,
    "final_status": CallStatus,
    "verdict": AnsweredBy,
    "billing_reason": BillingReason,
}


def call_of(row: Mapping[str, Any]) -> Call:
    """A call from its row (or anything with those columns)."""
    values = {name: row[name] for name in CALL_FIELDS}
    for name, enum in _ENUMS.items():
        if values[name] is not None:
            values[name] = enum(values[name])
    return Call(**values)


def row_of(call: Call) -> Row:
    return msgspec.structs.asdict(call)


def changes_of(before: Call, after: Call) -> Row:
    """The columns in which they differ."""
    pairs = zip(CALL_FIELDS, msgspec.structs.astuple(before), msgspec.structs.astuple(after), strict=True)
    return {name: new for name, old, new in pairs if old is not new and old != new}


def active_number(rows: Rows, e164: str) -> Row | None:
    return next((row for row in rows.find(numbers, "e164", e164) if row["status"] == "active"), None)


OF_ORGANISATION = select(calls).where(calls.c.id == bindparam("call_id"), calls.c.org_id == bindparam("org_id"))
OF_ANYBODY = select(calls).where(calls.c.id == bindparam("call_id"))
OLDEST_ACTIVE_NUMBER = (
    select(numbers.c.e164, numbers.c.id)
    .where(numbers.c.org_id == bindparam("org_id"), numbers.c.status == "active")
    .order_by(numbers.c.purchased_at, numbers.c.id)
    .limit(1)
)


def _due(column: Column[int | None]) -> Select[Any]:
    oldest_first = select(calls.c.id).where(column <= bindparam("now")).order_by(column, calls.c.id)
    return oldest_first.limit(bindparam("limit")).offset(bindparam("skipped"))


DUE = _due(calls.c.due_at)
"""Calls whose deadline has come."""
SILENT = _due(calls.c.ask_at)
"""Calls that are to be asked about."""


async def find_call(connection: AsyncConnection, org_id: str, call_id: str) -> dict[str, Any] | None:
    """All columns of a call of this organisation."""
    found = await connection.execute(OF_ORGANISATION, {"call_id": call_id, "org_id": org_id})
    row = found.mappings().first()
    return None if row is None else dict(row)


async def find_any_call(connection: AsyncConnection, call_id: str) -> Call | None:
    row = (await connection.execute(OF_ANYBODY, {"call_id": call_id})).mappings().first()
    return None if row is None else call_of(dict(row))


async def list_calls(
    connection: AsyncConnection,
    org_id: str,
    *,
    limit: int,
    starting_after: str | None = None,
    ending_before: str | None = None,
    direction: str | None = None,
    statuses: tuple[str, ...] = (),
    agent_id: str | None = None,
    voicemail: bool | None = None,
) -> list[dict[str, Any]]:
    """Newest first; with `ending_before`, the page nearest to it. Ids are in order of creation.

    Among unanswered calls, `voicemail` tells those that a machine answered from the rest.
    """

    ids = calls.c.id

    def page(query: Select[Any]) -> Select[Any]:
        return query.order_by(ids.desc() if ending_before is None else ids).limit(limit)

    def within(query: Select[Any], id_: ColumnElement[str]) -> Select[Any]:
        query = query.where(calls.c.org_id == org_id)
        query = query if starting_after is None else query.where(id_ < starting_after)
        return query if ending_before is None else query.where(id_ > ending_before)

    if direction or statuses or agent_id:
        live, final = _conditions(direction, _states(statuses, voicemail), agent_id)
        parts = [page(within(select(ids).where(*each), ids)) for each in final]
        parts += [within(select(ids).where(*each), ids.concat("")) for each in live]  # few: their index, and no other
        query = select(calls).where(ids.in_(union_all(*(select(part.subquery().c.id) for part in parts))))
    else:
        query = within(select(calls), ids)
    rows = [dict(row) for row in (await connection.execute(page(query))).mappings()]
    return rows if ending_before is None else rows[::-1]


def _states(statuses: tuple[str, ...], voicemail: bool | None) -> list[str]:
    """What is in the indexes for these statuses."""
    wanted: list[str] = [*(statuses or CallStatus)]
    if CallStatus.NO_ANSWER in wanted and voicemail is not False:
        wanted.append(VOICEMAIL)
        if voicemail:
            wanted.remove(CallStatus.NO_ANSWER)
    return wanted


Conditions = tuple[ColumnElement[bool] | TextClause, ...]


def _conditions(
    direction: str | None, states: list[str], agent_id: str | None
) -> tuple[list[Conditions], list[Conditions]]:
    """The filter in parts, (live, final), each of which an index answers: what is rare is found as fast as the rest."""
    by_agent = () if agent_id is None else (calls.c.agent_id == agent_id,)
    directions = DIRECTIONS if direction is None else (direction,)
    live = [state for state in states if state in LIVE]
    final = [
        (text(IS_FINAL), call_state == state, calls.c.direction == each, *by_agent)
        for state in sorted(set(states).difference(live))
        for each in directions
    ]
    going = (text(IS_LIVE), calls.c.status.in_(live), calls.c.direction.in_(directions), *by_agent)
    return [going] if live else [], final


async def evidence_of(connection: AsyncConnection, call_id: str) -> list[dict[str, Any]]:
    """In order of arrival."""
    query = select(evidence).where(evidence.c.call_id == call_id).order_by(evidence.c.arrived_at, evidence.c.id)
    return [dict(row) for row in (await connection.execute(query)).mappings()]


async def oldest_active_number(connection: AsyncConnection, org_id: str) -> str | None:
    return (await connection.execute(OLDEST_ACTIVE_NUMBER, {"org_id": org_id})).scalar()


async def bound_sids(connection: AsyncConnection, sids: list[str]) -> set[str]:
    """Which of the carrier's ids belong to calls we know."""
    query = select(calls.c.twilio_call_sid).where(calls.c.twilio_call_sid.in_(sids))
    return {sid for sid in (await connection.execute(query)).scalars() if sid is not None}


async def pair_is_disputed(connection: AsyncConnection, call: Call) -> bool:
    """Whether another call between the same numbers has no id of the carrier's yet: then nobody but the carrier's own
    word of a call of its can tell which of the two it is."""
    query = select(calls.c.id).where(
        text(IS_LIVE),  # names the index
        calls.c.org_id == call.org_id,
        calls.c.status == CallStatus.QUEUED,
        calls.c.dial_state.in_((DialState.INTENDED, DialState.UNKNOWN)),
        calls.c.to_number == call.to_number,
        calls.c.from_number == call.from_number,
        calls.c.id != call.id,
    )
    return (await connection.execute(query.limit(1))).first() is not None
