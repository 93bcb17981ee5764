"""The commands on batches: make one, take up and end its rows, pause, resume and cancel it.

Invariant: a row is taken up only here, by the plan that was worked out under the organisation's lock; a row that is
taken up ends in a call that it knows, in a reason, or waiting again.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from config.rows import OfOneOrganisation, Read, Row, Rows
from voice.batches.plan import (
    HELD_UP_LOOK_MS,
    LEASE_MS,
    TROUBLE_WAIT_MS,
    BatchState,
    Outcome,
    Plan,
    RowState,
    Rules,
    Standing,
    Waiting,
    Window,
    plan,
)
from voice.batches.tables import batch_calls, batches

IDLE: Mapping[str, Any] = {"live_of": None, "claimed_at": None}
"""Of a row that nobody is calling."""


def rules_of(batch: Mapping[str, Any]) -> Rules:
    window = None
    if batch["window_days"] is not None:
        days = frozenset(map(int, batch["window_days"]))
        window = Window(batch["window_start_minute"], batch["window_end_minute"], days, batch["window_timezone"])
    return Rules(
        max_concurrent=batch["max_concurrent"],
        calls_per_second=batch["calls_per_second"],
        retry_outcomes=frozenset(batch["retry_outcomes"].split()),
        retry_attempts=batch["retry_attempts"],
        retry_wait_ms=batch["retry_wait_seconds"] * 1000,
        window=window,
    )


def standing_of(batch: Mapping[str, Any]) -> Standing:
    return Standing(
        next_dial_at=batch["next_dial_at"],
        is_paused=batch["paused_at"] is not None,
        is_canceled=batch["canceled_at"] is not None,
        is_held_up=batch["held_up_code"] is not None,
    )


def zones_of(row: Mapping[str, Any], timezone: str) -> tuple[str, ...]:
    """`timezone`: the organisation's, for numbers of which nobody knows where they are."""
    return tuple(row["zones"].split()) or (timezone,)


def key_of(row_id: str, claims: int) -> str:
    """The idempotency key of a row's call. No customer can send it: theirs are ASCII."""
    return f"batch·{row_id}·{claims}"


@dataclass(frozen=True, slots=True)
class _OnBatch(OfOneOrganisation):
    batch_id: str
    org_id: str

    def own(self, rows: Rows) -> Row | None:
        batch = rows.get(batches, self.batch_id)
        return batch if batch is not None and batch["org_id"] == self.org_id else None

    def move(self, rows: Rows, now: int, changes: Mapping[str, Any]) -> None:
        batch = rows.get(batches, self.batch_id)
        assert batch is not None
        rows.update(batches, self.batch_id, {"sequence": batch["sequence"] + 1, "updated_at": now, **changes})


@dataclass(frozen=True, slots=True)
class CreateBatch(_OnBatch):
    """`values`: checked columns of the batch; `calls`: (line, number, context, zones) of each row. Its result: the
    batch's id (an earlier one's for a repeated key), or None for a key that was used with another body."""

    values: Mapping[str, Any]
    calls: tuple[tuple[int, str, Mapping[str, Any], str], ...]
    body_digest: str
    idempotency_key: str | None = None

    @property
    def _idempotency_id(self) -> str | None:
        return None if self.idempotency_key is None else f"{self.org_id}:{self.idempotency_key}"

    def reads(self, located: Rows) -> Sequence[Read]:
        reads = [Read(batches, "id", (self.batch_id,))]
        if self._idempotency_id is not None:
            reads.append(Read(batches, "idempotency_id", (self._idempotency_id,)))
        return reads

    def fold(self, rows: Rows, now: int) -> str | None:
        if rows.get(batches, self.batch_id) is not None:  # our own earlier commit, whose answer was lost
            return self.batch_id
        if self._idempotency_id is not None:
            for earlier in rows.find(batches, "idempotency_id", self._idempotency_id):
                return earlier["id"] if earlier["body_digest"] == self.body_digest else None
        rows.insert(
            batches,
            {
                **self.values,
                "id": self.batch_id,
                "org_id": self.org_id,
                "idempotency_id": self._idempotency_id,
                "body_digest": self.body_digest,
                "total": len(self.calls),
                "state": BatchState.RUNNING.value,
                "next_dial_at": now,
                "look_at": now,
                "sequence": 0,
                "created_at": now,
                "updated_at": now,
            },
        )
        for line, to_number, context, zones in self.calls:
            rows.insert(batch_calls, self._row(line, to_number, context, zones, now))
        return self.batch_id

    def _row(self, line: int, to_number: str, context: Mapping[str, Any], zones: str, now: int) -> Row:
        return {
            "id": f"{self.batch_id}:{line:07d}",
            "org_id": self.org_id,
            "batch_id": self.batch_id,
            "line": line,
            "to_number": to_number,
            "context": dict(context),
            "zones": zones,
            "state": RowState.WAITING.value,
            "due_at": now,
            "claims": 0,
            "attempts": 0,
            "updated_at": now,
        }


@dataclass(frozen=True, slots=True)
class LookAtBatch(_OnBatch):
    """Bring a batch on: end rows whose calls have ended, find again what a dead process had taken up, take up whom
    the plan says.

    All but the plan was read without the lock: `sequence` says when, `groups` which rows waited, `candidates` are ids
    of some that were due, `ended` tells how calls ended (row → call, outcome), `stale` rows that were taken up long ago
    (row → its call, None where none was made). Its result: the rows that are to be called, as they now stand.
    """

    sequence: int
    timezone: str
    groups: tuple[Waiting, ...]
    candidates: tuple[str, ...]
    ended: Mapping[str, tuple[str, Outcome]]
    stale: Mapping[str, str | None]

    def reads(self, located: Rows) -> Sequence[Read]:
        ids = (*self.candidates, *self.ended, *self.stale)
        return (
            Read(batches, "id", (self.batch_id,)),
            Read(batch_calls, "live_of", (self.batch_id,)),
            Read(batch_calls, "id", ids),
        )

    def fold(self, rows: Rows, now: int) -> tuple[Row, ...]:
        batch = self.own(rows)
        if batch is None or batch["look_at"] is None:
            return ()
        rules, standing, seen = rules_of(batch), standing_of(batch), batch["sequence"]
        for row_id, (call_id, outcome) in self.ended.items():
            row = rows.get(batch_calls, row_id)
            if row is not None and row["state"] == RowState.CALLING and row["call_id"] == call_id:
                end_call(rows, rules, row, outcome, now)
                self.move(rows, now, {})
        taken = [row for row_id in self.stale if (row := self._taken_over(rows, rules, standing, row_id, now))]
        if seen != self.sequence:
            rows.update(batches, self.batch_id, {"look_at": now})  # what was read is out of date: look again at once
            return tuple(map(dict, taken))
        live = len(rows.find(batch_calls, "live_of", self.batch_id))
        again = self._waiting(rows, (*self.ended, *self.stale))
        found = plan(rules, standing, (*self.groups, *again), self._waiting(rows, self.candidates), live, now)
        taken += [self._take_up(rows, row_id, now) for row_id in found.dial]
        self._write(rows, rules, batch, found, now)
        return tuple(map(dict, taken))

    def _waiting(self, rows: Rows, ids: Iterable[str]) -> list[Waiting]:
        found = [row for row_id in ids if (row := rows.get(batch_calls, row_id)) is not None]
        waiting = [row for row in found if row["state"] == RowState.WAITING]
        return [Waiting(zones_of(row, self.timezone), row["due_at"], row["id"]) for row in waiting]

    def _take_up(self, rows: Rows, row_id: str, now: int) -> Row:
        row = rows.get(batch_calls, row_id)
        assert row is not None
        taken = {"state": RowState.DIALLING.value, "live_of": self.batch_id, "claimed_at": now}
        rows.update(batch_calls, row_id, {**taken, "claims": row["claims"] + 1, "updated_at": now})
        return row

    def _taken_over(self, rows: Rows, rules: Rules, standing: Standing, row_id: str, now: int) -> Row | None:
        """A row whose process died: it has its call, or this process takes it over, with the same key."""
        row, call_id = rows.get(batch_calls, row_id), self.stale[row_id]
        if row is None or row["state"] != RowState.DIALLING or now - (row["claimed_at"] or 0) < LEASE_MS:
            return None
        if call_id is not None:
            begin_call(rows, row, call_id, now)
        elif standing.is_canceled:
            rows.update(batch_calls, row_id, {**IDLE, "state": RowState.WAITING.value, "updated_at": now})
        elif not standing.is_paused and rules.may_call(zones_of(row, self.timezone), now):
            rows.update(batch_calls, row_id, {"claimed_at": now})
            return row
        else:
            return None
        self.move(rows, now, {})
        return None

    def _write(self, rows: Rows, rules: Rules, batch: Row, found: Plan, now: int) -> None:
        changes: dict[str, Any] = {"look_at": found.look_at}
        if found.dial:
            changes["next_dial_at"] = now + rules.spacing_ms
        if found.state is BatchState.COMPLETED and batch["completed_at"] is None:
            changes["completed_at"] = now
        if found.dial or found.state != batch["state"]:
            self.move(rows, now, {**changes, "state": found.state.value})
        else:
            rows.update(batches, self.batch_id, changes)


def begin_call(rows: Rows, row: Row, call_id: str, now: int) -> None:
    changes = {"state": RowState.CALLING.value, "call_id": call_id, "attempts": row["attempts"] + 1}
    rows.update(batch_calls, row["id"], {**changes, "outcome": None, "code": None, "message": None, "updated_at": now})


def end_call(rows: Rows, rules: Rules, row: Row, outcome: Outcome, now: int) -> None:
    """The row is done, or waits for its next attempt."""
    again = rules.retry_at(outcome, row["attempts"], now)
    state = RowState.DONE if again is None else RowState.WAITING
    changes = {"state": state.value, "outcome": outcome.value, "updated_at": now}
    rows.update(batch_calls, row["id"], {**IDLE, **changes, **({} if again is None else {"due_at": again})})


class Dialled(StrEnum):
    """What came of placing a row's call."""

    PLACED = "placed"
    FAILED = "failed"
    """The carrier refused this call."""
    SKIPPED = "skipped"
    """This number may not be called at all."""
    LATER = "later"
    """Trouble of the moment; nobody's attempt."""
    HELD_UP = "held_up"
    """No room: in the wallet, or under a cap or limit."""
    STOPPED = "stopped"
    """No call of this batch can be made before somebody mends it."""


@dataclass(frozen=True, slots=True)
class TellDialled(_OnBatch):
    """What came of the call of a row that was taken up (`claims` times)."""

    row_id: str
    claims: int
    what: Dialled
    call_id: str | None = None
    code: str | None = None
    message: str | None = None

    def reads(self, located: Rows) -> Sequence[Read]:
        return (Read(batches, "id", (self.batch_id,)), Read(batch_calls, "id", (self.row_id,)))

    def fold(self, rows: Rows, now: int) -> None:
        batch, row = self.own(rows), rows.get(batch_calls, self.row_id)
        if batch is None or row is None or row["state"] != RowState.DIALLING or row["claims"] != self.claims:
            return
        why = {"code": self.code, "message": self.message, "updated_at": now}
        free: dict[str, Any] = {"held_up_code": None, "held_up_message": None}
        changes: dict[str, Any] = {"look_at": now}
        match self.what:
            case Dialled.PLACED | Dialled.FAILED:
                assert self.call_id is not None
                begin_call(rows, row, self.call_id, now)
                if self.what is Dialled.FAILED:
                    end_call(rows, rules_of(batch), row, Outcome.FAILED, now)
                    rows.update(batch_calls, self.row_id, why)
                changes |= free if batch["paused_at"] is None else {}
            case Dialled.SKIPPED:
                rows.update(batch_calls, self.row_id, {**IDLE, **why, "state": RowState.SKIPPED.value})
            case Dialled.LATER:
                waits = {"state": RowState.WAITING.value, "due_at": now + TROUBLE_WAIT_MS}
                rows.update(batch_calls, self.row_id, {**IDLE, **why, **waits})
                if str(self.code).startswith("carrier_"):  # whoever is next would fare no better
                    changes["next_dial_at"] = now + TROUBLE_WAIT_MS
            case Dialled.HELD_UP | Dialled.STOPPED:
                rows.update(batch_calls, self.row_id, {**IDLE, "state": RowState.WAITING.value, "updated_at": now})
                changes |= held_up(batch, self.what, self.code, self.message, now)
        self.move(rows, now, changes)


def held_up(batch: Row, what: Dialled, code: str | None, message: str | None, now: int) -> dict[str, Any]:
    changes: dict[str, Any] = {"held_up_code": code, "held_up_message": message}
    if batch["canceled_at"] is not None or batch["paused_at"] is not None:
        return {}
    if what is Dialled.STOPPED:
        return {**changes, "paused_at": now, "state": BatchState.PAUSED.value, "look_at": now}
    again = now + HELD_UP_LOOK_MS
    return {**changes, "next_dial_at": again, "look_at": again, "state": BatchState.WAITING_FOR_ROOM.value}


@dataclass(frozen=True, slots=True)
class HoldUp(_OnBatch):
    """Why the batch still makes no calls (`code` None: it may go on)."""

    what: Dialled
    code: str | None
    message: str | None

    def reads(self, located: Rows) -> Sequence[Read]:
        return (Read(batches, "id", (self.batch_id,)),)

    def fold(self, rows: Rows, now: int) -> None:
        batch = self.own(rows)
        if batch is None or batch["look_at"] is None:
            return
        changes = held_up(batch, self.what, self.code, self.message, now)
        if self.what is Dialled.HELD_UP and batch["held_up_message"] == self.message:
            rows.update(batches, self.batch_id, {name: changes[name] for name in changes.keys() & _QUIETLY})
        else:
            self.move(rows, now, changes)


_QUIETLY = {"next_dial_at", "look_at"}
"""Changes that nobody need be told of."""


@dataclass(frozen=True, slots=True)
class SwitchBatch(_OnBatch):
    """Pause, resume or cancel. Calls under way go on. Its result: None where there is no such batch; else whether it
    is now as was asked for (a batch that is over stays as it is)."""

    action: Literal["pause", "resume", "cancel"]

    def reads(self, located: Rows) -> Sequence[Read]:
        return (Read(batches, "id", (self.batch_id,)),)

    def fold(self, rows: Rows, now: int) -> bool | None:
        batch = self.own(rows)
        if batch is None:
            return None
        if BatchState(batch["state"]).is_final:
            return self.action == "cancel" and batch["canceled_at"] is not None
        free = {"held_up_code": None, "held_up_message": None, "look_at": now}
        match self.action:
            case "pause" if batch["paused_at"] is None:
                self.move(rows, now, {**free, "paused_at": now, "state": BatchState.PAUSED.value})
            case "resume" if batch["paused_at"] is not None:
                self.move(rows, now, {**free, "paused_at": None, "state": BatchState.RUNNING.value})
            case "cancel":
                self.move(rows, now, {**free, "canceled_at": now, "state": BatchState.CANCELED.value})
        return True
