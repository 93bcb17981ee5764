"""Conversations in the database: tickets, transcripts, results, and reading them.

Invariant: whoever redeems a ticket holds the call's one conversation from then on; an older session of the same call
may finish the rows it has begun and writes no new ones.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from config.clock import iso
from config.rows import OfOneOrganisation, Read, Row, Rows
from voice.calls import call_of
from voice.conversation.actions import MarkLatency, StoreSegment
from voice.conversation.events import ResumeReason
from voice.live.tables import relay_tickets, segments, turns
from voice.notices import completed_notice
from voice.tables import calls, evidence

TICKET_MS = 120_000
"""How long after the TwiML was answered its socket may open."""
TRANSFERRED = "transferred"
"""The source of the line that says that a person took a transferred call."""


@dataclass(frozen=True, slots=True)
class _OnCall(OfOneOrganisation):
    call_id: str
    org_id: str


@dataclass(frozen=True, slots=True)
class IssueTicket(_OnCall):
    """Every TwiML answer that opens a relay carries a fresh one."""

    ticket_id: str
    resumed: str | None = None

    def reads(self, located: Rows) -> Sequence[Read]:
        return (Read(relay_tickets, "id", (self.ticket_id,)),)

    def fold(self, rows: Rows, now: int) -> None:
        if rows.get(relay_tickets, self.ticket_id) is None:
            about = {"org_id": self.org_id, "call_id": self.call_id, "resumed": self.resumed}
            rows.insert(
                relay_tickets, {"id": self.ticket_id, **about, "created_at": now, "used_at": None, "ended_at": None}
            )


@dataclass(frozen=True, slots=True)
class RedeemTicket:
    """A socket shows its ticket. `twilio_call_sid`: of the call it says it carries."""

    ticket_id: str
    twilio_call_sid: str

    def locate(self) -> Sequence[Read]:
        return (Read(relay_tickets, "id", (self.ticket_id,)),)

    def organisations(self, located: Rows) -> Iterable[str]:
        ticket = located.get(relay_tickets, self.ticket_id)
        return () if ticket is None else (ticket["org_id"],)

    def reads(self, located: Rows) -> Sequence[Read]:
        ticket = located.get(relay_tickets, self.ticket_id)
        if ticket is None:
            return ()
        return Read(relay_tickets, "call_id", (ticket["call_id"],)), Read(calls, "id", (ticket["call_id"],))

    def fold(self, rows: Rows, now: int) -> Row | None:
        """The ticket, or None: unknown, used, old, for another call, or for one that is over. `resumed` is what this
        conversation has to know, also where the socket that was to tell it never opened."""
        ticket = rows.get(relay_tickets, self.ticket_id)
        if ticket is None or ticket["used_at"] is not None or now - ticket["created_at"] > TICKET_MS:
            return None
        row = rows.get(calls, ticket["call_id"])
        if row is None or call_of(row).status.is_final or row["final_status"] is not None:
            return None
        if row["twilio_call_sid"] not in (None, self.twilio_call_sid):
            return None
        uses = _uses(rows, ticket["call_id"])
        # Strictly later than any other, so that there is always one that holds the conversation.
        used_at = max([now, *(earlier + 1 for earlier in uses)])
        untold = [
            each["resumed"]
            for each in rows.find(relay_tickets, "call_id", ticket["call_id"])
            if each["used_at"] is None and each["created_at"] >= max(uses, default=0)
        ]
        rows.update(relay_tickets, self.ticket_id, {"used_at": used_at})
        failed = ResumeReason.TRANSFER_FAILED
        return {**ticket, "resumed": failed if failed in untold else ticket["resumed"]}


def _uses(rows: Rows, call_id: str) -> list[int]:
    """When the call's tickets were used."""
    tickets = rows.find(relay_tickets, "call_id", call_id)
    return [ticket["used_at"] for ticket in tickets if ticket["used_at"] is not None]


def was_opened(rows: Rows, call_id: str) -> bool:
    """Whether a socket of this call has ever opened (its tickets by call were among the reads)."""
    return bool(_uses(rows, call_id))


@dataclass(frozen=True, slots=True)
class StoreTalk(_OnCall):
    """Pieces of the transcript, new or replaced, and latencies, of the session that `ticket_id` opened.

    `is_last`: nothing more comes. `is_handing_over`: the next session, in this process, waits for it before it reads.
    """

    ticket_id: str
    pieces: tuple[StoreSegment, ...]
    latencies: tuple[MarkLatency, ...] = ()
    is_last: bool = False
    is_handing_over: bool = False

    def reads(self, located: Rows) -> Sequence[Read]:
        ids = {*(piece.sequence_no for piece in self.pieces)}
        answers = {*(latency.sequence_no for latency in self.latencies)}
        return (
            Read(relay_tickets, "call_id", (self.call_id,)),
            Read(segments, "id", tuple(segment_id(self.call_id, number) for number in ids)),
            Read(turns, "id", tuple(segment_id(self.call_id, number) for number in answers)),
        )

    def fold(self, rows: Rows, now: int) -> bool:
        """False when a newer session holds the conversation."""
        ticket = rows.get(relay_tickets, self.ticket_id)
        used_at = ticket["used_at"] if ticket is not None else None
        holds = used_at is None or used_at == max(_uses(rows, self.call_id))
        may_add = holds or self.is_handing_over
        for piece in self.pieces:
            _put(rows, self, piece, self.ticket_id, may_add=may_add)
        for latency in self.latencies:
            row_id = segment_id(self.call_id, latency.sequence_no)
            if may_add and rows.get(turns, row_id) is None:
                about = {"id": row_id, "org_id": self.org_id, "call_id": self.call_id}
                measured = {"total_ms": latency.total_ms, "model_ms": latency.model_ms}
                rows.insert(turns, {**about, "sequence_no": latency.sequence_no, **measured})
        if self.is_last and ticket is not None:
            rows.update(relay_tickets, self.ticket_id, {"ended_at": now})
        return holds


def _put(rows: Rows, on: _OnCall, piece: StoreSegment, ticket_id: str | None, *, may_add: bool = True) -> None:
    """Replace the piece, or add it. Two sessions count alike: a number that another has taken is not this one's."""
    row_id = segment_id(on.call_id, piece.sequence_no)
    said = {name: getattr(piece, name) for name in ("text", "cut_text", "started_at", "ended_at", "role", "source")}
    kept = rows.get(segments, row_id)
    if kept is None and may_add:
        made = {"ticket_id": ticket_id, "sequence_no": piece.sequence_no}
        rows.insert(segments, {"id": row_id, "org_id": on.org_id, "call_id": on.call_id, **made, **said})
    elif kept is not None and kept["ticket_id"] == ticket_id:
        rows.update(segments, row_id, said)


def segment_id(call_id: str, sequence_no: int) -> str:
    return f"{call_id}:{sequence_no:05d}"


@dataclass(frozen=True, slots=True)
class NoteTransferred(_OnCall):
    """A person took the transferred call. Written down because how the carrier tells it is not documented."""

    def reads(self, located: Rows) -> Sequence[Read]:
        return (Read(segments, "call_id", (self.call_id,)),)

    def fold(self, rows: Rows, now: int) -> None:
        said = rows.find(segments, "call_id", self.call_id)
        if any(row["source"] == TRANSFERRED for row in said):
            return
        number = max((row["sequence_no"] for row in said), default=-1) + 1
        piece = StoreSegment(number, "system", "The call was taken over by a person.", None, now, now, TRANSFERRED)
        _put(rows, self, piece, None)


@dataclass(frozen=True, slots=True)
class StoreResult(_OnCall):
    """What was read off a call: `status` completed or failed."""

    status: str
    result: Mapping[str, Any] | None
    error: str | None

    def reads(self, located: Rows) -> Sequence[Read]:
        return (Read(calls, "id", (self.call_id,)),)

    def fold(self, rows: Rows, now: int) -> None:
        row = rows.get(calls, self.call_id)
        if row is None or row["org_id"] != self.org_id or not row["awaits_result"]:
            return
        rows.update(
            calls,
            self.call_id,
            {"result": self.result, "result_status": self.status, "result_error": self.error, "updated_at": now},
        )
        completed_notice(rows, call_of(row), now)


# -- reading ----------------------------------------------------------------------------------------------------------


async def talk_of(connection: AsyncConnection, call_id: str) -> list[dict[str, Any]]:
    """The transcript in order."""
    query = select(segments).where(segments.c.call_id == call_id).order_by(segments.c.sequence_no)
    return [dict(row) for row in (await connection.execute(query)).mappings()]


async def turns_of(connection: AsyncConnection, call_id: str) -> list[dict[str, Any]]:
    """How fast answers were: their `sequence_no`, total_ms and model_ms."""
    query = select(turns).where(turns.c.call_id == call_id).order_by(turns.c.sequence_no)
    return [dict(row) for row in (await connection.execute(query)).mappings()]


async def verdict_words(connection: AsyncConnection, call_ids: Sequence[str]) -> list[tuple[str, str, int]]:
    """(call, what detection said of it in the carrier's words, when that arrived), in order of arrival."""
    query = select(evidence.c.call_id, evidence.c.said, evidence.c.arrived_at).where(
        evidence.c.call_id.in_(call_ids), evidence.c.kind == "verdict"
    )
    found = (await connection.execute(query.order_by(evidence.c.arrived_at))).all()
    return [(call_id, said["AnsweredBy"], at) for call_id, said, at in found if said.get("AnsweredBy")]


async def has_open_session(connection: AsyncConnection, call_id: str) -> bool:
    """Whether a session of the call has not yet stored its last words (or died before it could)."""
    query = select(relay_tickets.c.id).where(
        relay_tickets.c.call_id == call_id, relay_tickets.c.used_at.is_not(None), relay_tickets.c.ended_at.is_(None)
    )
    return (await connection.execute(query.limit(1))).first() is not None


async def resumes_of(connection: AsyncConnection, call_id: str) -> dict[ResumeReason, int]:
    """How often the call's conversation was to be taken up again, by reason."""
    query = select(relay_tickets.c.resumed, func.count()).where(relay_tickets.c.call_id == call_id)
    found = await connection.execute(query.group_by(relay_tickets.c.resumed))
    return {ResumeReason(reason): count for reason, count in found if reason is not None}


def as_piece(row: Mapping[str, Any]) -> StoreSegment:
    return StoreSegment(
        row["sequence_no"],
        row["role"],
        row["text"],
        row["cut_text"],
        row["started_at"],
        row["ended_at"],
        row["source"],
    )


def transcript_object(call_id: str, said: Iterable[Mapping[str, Any]], measured: Iterable[Mapping[str, Any]]) -> Row:
    """As the public API shows it. `text` is what was heard; latencies are in milliseconds from the end of the other
    side's words to the first text of the answer, and null where nothing was answered."""
    latencies = {turn["sequence_no"]: turn for turn in measured}
    return {"call_id": call_id, "segments": [_segment_object(row, latencies.get(row["sequence_no"])) for row in said]}


def _segment_object(row: Mapping[str, Any], latency: Mapping[str, Any] | None) -> Row:
    ended = row["ended_at"]
    return {
        "sequence_no": row["sequence_no"],
        "role": row["role"],
        "text": row["text"],
        "cut_text": row["cut_text"],
        "started_at": iso(row["started_at"]),
        "ended_at": iso(ended),
        "duration_ms": None if ended is None else max(0, ended - row["started_at"]),
        "source": row["source"],
        "latency_ms": latency["total_ms"] if latency else None,
        "model_latency_ms": latency["model_ms"] if latency else None,
    }
