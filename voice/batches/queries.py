"""Batches in the database, as people and programs see them.

Invariant: nothing here writes; a row that was never called when its batch was canceled is shown as canceled.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from accounts.tables import api_keys, organisations
from config.clock import iso
from voice.batches.plan import Outcome, RowState, Waiting, outcome_of
from voice.batches.tables import batch_calls, batches
from voice.tables import calls

CANDIDATES = 4
"""One is called at each look; the others stand in for rows that another process has taken meanwhile."""
WAITING, CALLING, DONE, SKIPPED, CANCELED = "waiting", "calling", "done", "skipped", "canceled"
STATES = (WAITING, CALLING, DONE, SKIPPED, CANCELED)
"""Of a row, as it is shown."""
_KEPT_AS = {CALLING: (RowState.DIALLING, RowState.CALLING), CANCELED: (RowState.WAITING,)}


async def find_batch(connection: AsyncConnection, org_id: str, batch_id: str) -> dict[str, Any] | None:
    query = select(batches).where(batches.c.id == batch_id, batches.c.org_id == org_id)
    row = (await connection.execute(query)).mappings().first()
    return None if row is None else dict(row)


async def list_batches(
    connection: AsyncConnection,
    org_id: str,
    *,
    limit: int,
    starting_after: str | None = None,
    ending_before: str | None = None,
) -> list[dict[str, Any]]:
    """Newest first; with `ending_before`, the page nearest to it."""
    query = select(batches).where(batches.c.org_id == org_id)
    query = query if starting_after is None else query.where(batches.c.id < starting_after)
    query = query if ending_before is None else query.where(batches.c.id > ending_before)
    query = query.order_by(batches.c.id.desc() if ending_before is None else batches.c.id).limit(limit)
    rows = [dict(row) for row in (await connection.execute(query)).mappings()]
    return rows if ending_before is None else rows[::-1]


async def count_unfinished(connection: AsyncConnection, org_id: str, key: str | None) -> int:
    """Without the batch that this idempotency key has made."""
    others = batches.c.idempotency_id.is_distinct_from(f"{org_id}:{key}")
    unfinished = batches.c.state.not_in(("completed", "canceled"))
    query = select(func.count()).where(batches.c.org_id == org_id, unfinished, others)
    return int((await connection.execute(query)).scalar_one())


async def unfinished_batches(connection: AsyncConnection, org_id: str) -> list[str]:
    """Ids of those that may still call somebody."""
    query = select(batches.c.id).where(batches.c.org_id == org_id, batches.c.state.not_in(("completed", "canceled")))
    return list((await connection.execute(query)).scalars())


@dataclass(slots=True)
class Progress:
    """How many rows stand where, and what their calls cost so far. Milli-cents."""

    total: int
    states: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STATES, 0))
    outcomes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(Outcome, 0))
    charged: int = 0

    @property
    def over(self) -> int:
        """Rows that will not be called any more."""
        return self.total - self.states[WAITING] - self.states[CALLING]


async def progress_of(connection: AsyncConnection, found: Sequence[Mapping[str, Any]]) -> dict[str, Progress]:
    """By the batches' ids. Attempts before the latest were free, so the latest call is what a row costs."""
    progress = {batch["id"]: Progress(batch["total"]) for batch in found}
    canceled = {batch["id"] for batch in found if batch["canceled_at"] is not None}
    per = (batch_calls.c.batch_id, batch_calls.c.state, batch_calls.c.outcome)
    query = (
        select(*per, func.count(), func.sum(calls.c.billing_amount_milli_cents))
        .outerjoin(calls, calls.c.id == batch_calls.c.call_id)
        .where(batch_calls.c.batch_id.in_(progress))
        .group_by(*per)
    )
    for batch_id, state, outcome, count, charged in await connection.execute(query):
        one = progress[batch_id]
        one.states[_shown_state(state, batch_id in canceled)] += count
        one.charged += int(charged or 0)
        if state == RowState.DONE:
            one.outcomes[outcome] += count
    return progress


def _shown_state(state: str, is_canceled: bool) -> str:
    if state == RowState.WAITING:
        return CANCELED if is_canceled else WAITING
    return CALLING if state in _KEPT_AS[CALLING] else state


async def find_row(connection: AsyncConnection, batch_id: str, row_id: str) -> bool:
    query = select(batch_calls.c.id).where(batch_calls.c.id == row_id, batch_calls.c.batch_id == batch_id)
    return (await connection.execute(query)).first() is not None


async def list_rows(
    connection: AsyncConnection,
    batch: Mapping[str, Any],
    *,
    limit: int,
    starting_after: str | None = None,
    ending_before: str | None = None,
    state: str | None = None,
) -> list[dict[str, Any]]:
    """In the order of their lines, each with what its latest call cost; with `ending_before`, the page nearest to it.

    `state` is one of STATES.
    """
    ids, is_canceled = batch_calls.c.id, batch["canceled_at"] is not None
    query = (
        select(batch_calls, calls.c.billing_amount_milli_cents)
        .outerjoin(calls, calls.c.id == batch_calls.c.call_id)
        .where(batch_calls.c.batch_id == batch["id"])
    )
    if state is not None:
        impossible = state == (WAITING if is_canceled else CANCELED)
        kept: tuple[str, ...] = () if impossible else _KEPT_AS.get(state, (RowState(state),) if state in _AS_IS else ())
        query = query.where(batch_calls.c.state.in_(kept))
    query = query if starting_after is None else query.where(ids > starting_after)
    query = query if ending_before is None else query.where(ids < ending_before)
    query = query.order_by(ids if ending_before is None else ids.desc()).limit(limit)
    rows = [
        {**row, "shown_state": _shown_state(row["state"], is_canceled)}
        for row in (await connection.execute(query)).mappings()
    ]
    return rows if ending_before is None else rows[::-1]


_AS_IS = (WAITING, DONE, SKIPPED)


# -- for whoever brings them on ---------------------------------------------------------------------------------------


DUE_BATCHES = (
    select(batches.c.id, batches.c.org_id)
    .where(batches.c.look_at <= bindparam("now"))
    .order_by(batches.c.look_at)
    .limit(200)
)
"""Those that are to be looked at, the longest due first."""
NEXT_LOOK = select(func.min(batches.c.look_at).label("look_at")).where(batches.c.look_at.is_not(None))


@dataclass(frozen=True, slots=True)
class Outlook:
    """A batch as it was read without the lock; `sequence` was read first."""

    batch: Mapping[str, Any]
    timezone: str
    key_revoked: bool
    groups: tuple[Waiting, ...]
    live: tuple[Mapping[str, Any], ...]
    """Rows being called, with `outcome_now` of the call: None while it goes on."""


async def look_out(connection: AsyncConnection, batch_id: str) -> Outlook | None:
    query = (
        select(batches, organisations.c.timezone, api_keys.c.revoked_at)
        .join(organisations, organisations.c.id == batches.c.org_id)
        .outerjoin(api_keys, api_keys.c.id == batches.c.api_key_id)
        .where(batches.c.id == batch_id)
    )
    found = (await connection.execute(query)).mappings().first()
    if found is None:
        return None
    timezone = found["timezone"]
    waiting = (batch_calls.c.batch_id == batch_id, batch_calls.c.state == RowState.WAITING.value)
    per_zone = select(batch_calls.c.zones, func.min(batch_calls.c.due_at)).where(*waiting).group_by(batch_calls.c.zones)
    groups = [(zones, due_at) for zones, due_at in await connection.execute(per_zone)]
    live = (
        select(batch_calls, calls.c.status.label("status"), calls.c.verdict.label("verdict"))
        .outerjoin(calls, calls.c.id == batch_calls.c.call_id)
        .where(batch_calls.c.live_of == batch_id)
    )
    return Outlook(
        batch=dict(found),
        timezone=timezone,
        key_revoked=found["revoked_at"] is not None,
        groups=tuple(Waiting(tuple(zones.split()) or (timezone,), due_at, zones) for zones, due_at in groups),
        live=tuple(_with_outcome(dict(row)) for row in (await connection.execute(live)).mappings()),
    )


def _with_outcome(row: Mapping[str, Any]) -> dict[str, Any]:
    ended = outcome_of(row) if row["state"] == RowState.CALLING and row["status"] is not None else None
    return {**row, "outcome_now": ended}


async def due_rows(connection: AsyncConnection, batch_id: str, zones: Sequence[str], now: int) -> list[dict[str, Any]]:
    """The few rows that wait and are longest due, in these zones (as they are kept)."""
    found: list[dict[str, Any]] = []
    order = (batch_calls.c.due_at, batch_calls.c.id)
    for zone in zones:  # one by one, each in the order of the index
        place = (batch_calls.c.batch_id == batch_id, batch_calls.c.state == RowState.WAITING.value)
        query = select(batch_calls).where(*place, batch_calls.c.zones == zone, batch_calls.c.due_at <= now)
        rows = (await connection.execute(query.order_by(*order).limit(CANDIDATES))).mappings()
        found += [dict(row) for row in rows]
    return sorted(found, key=lambda row: (row["due_at"], row["id"]))[:CANDIDATES]


# -- as they are shown ------------------------------------------------------------------------------------------------


def batch_object(batch: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    return {
        "id": batch["id"],
        "name": batch["name"],
        "state": batch["state"],
        "code": batch["held_up_code"],
        "message": batch["held_up_message"],
        "agent_id": batch["agent_id"],
        "from_number": batch["from_number"],
        "max_duration_seconds": batch["max_duration_seconds"],
        "window": _window_object(batch),
        "max_concurrent": batch["max_concurrent"],
        "calls_per_second": batch["calls_per_second"],
        "retry": {
            "outcomes": batch["retry_outcomes"].split(),
            "attempts": batch["retry_attempts"],
            "wait_seconds": batch["retry_wait_seconds"],
        },
        "progress": {"total": progress.total, **progress.states},
        "outcomes": {str(name): count for name, count in progress.outcomes.items()},
        "charged_milli_cents": progress.charged,
        "hold_milli_cents": batch["hold_milli_cents"],
        "worst_case_milli_cents": batch["hold_milli_cents"] * batch["total"],
        "created_at": iso(batch["created_at"]),
        "updated_at": iso(batch["updated_at"]),
        "completed_at": iso(batch["completed_at"]),
    }


DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def clock_time(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


def _window_object(batch: Mapping[str, Any]) -> dict[str, Any] | None:
    if batch["window_days"] is None:
        return None
    return {
        "start": clock_time(batch["window_start_minute"]),
        "end": clock_time(batch["window_end_minute"]),
        "days": [DAYS[int(day) - 1] for day in batch["window_days"]],
        "timezone": batch["window_timezone"],
    }


def row_object(row: Mapping[str, Any]) -> dict[str, Any]:
    waits_again = row["shown_state"] == WAITING and row["attempts"] > 0
    return {
        "id": row["id"],
        "line": row["line"],
        "to": row["to_number"],
        "context": row["context"],
        "state": row["shown_state"],
        "attempts": row["attempts"],
        "call_id": row["call_id"],
        "outcome": row["outcome"],
        "code": row["code"],
        "message": row["message"],
        "next_attempt_at": iso(row["due_at"]) if waits_again else None,
        "charged_milli_cents": row["billing_amount_milli_cents"],
        "updated_at": iso(row["updated_at"]),
    }
