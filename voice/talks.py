"""Conversations in the database: tickets, transcripts, results, and reading them.

Invariant: whoever redeems a ticket holds the call's one conversation from then on; an older socket of the same call
has lost it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from config.clock import iso
from config.rows import Read, Row, Rows
from voice.agent_tables import do_not_call
from voice.calls import call_of
from voice.conversation.actions import MarkLatency, StoreSegment
from voice.notices import completed_notice
from voice.tables import calls, evidence
from voice.talk_tables import relay_tickets, segments, turns

TICKET_MS = 120_000
"""How long after the TwiML was answered its socket may open."""


@dataclass(frozen=True, slots=True)
class _OnCall:
    call_id: str
    org_id: str

    def locate(self) -> Sequence[Read]:
        return ()

    def organisations(self, located: Rows) -> Iterable[str]:
        return (self.org_id,)


@dataclass(frozen=True, slots=True)
class IssueTicket(_OnCall):
    """Every TwiML answer that opens a relay carries a fresh one."""

    ticket_id: str
    resumed: str | None = None

    def reads(self, located: Rows) -> Sequence[Read]:
        return (Read(relay_tickets, "id", (self.ticket_id,)),)

    def fold(self, rows: Rows, now: int) -> None:
        if rows.get(relay_tickets, self.ticket_id) is None:
            rows.insert(
                relay_tickets,
                {
                    "id": self.ticket_id,
                    "org_id": self.org_id,
                    "call_id": self.call_id,
                    "resumed": self.resumed,
                    "created_at": now,
                    "used_at": None,
                },
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
        return () if ticket is None else (*self.locate(), Read(calls, "id", (ticket["call_id"],)))

    def fold(self, rows: Rows, now: int) -> Row | None:
        """The ticket, or None: unknown, used, old, for another call, or for one that is over."""
        ticket = rows.get(relay_tickets, self.ticket_id)
        if ticket is None or ticket["used_at"] is not None or now - ticket["created_at"] > TICKET_MS:
            return None
        row = rows.get(calls, ticket["call_id"])
        if row is None or call_of(row).status.is_final or row["final_status"] is not None:
            return None
        if row["twilio_call_sid"] not in (None, self.twilio_call_sid):
            return None
        rows.update(relay_tickets, self.ticket_id, {"used_at": now})
        return dict(ticket)


@dataclass(frozen=True, slots=True)
class StoreTalk(_OnCall):
    """Pieces of the transcript, new or replaced, and latencies."""

    pieces: tuple[StoreSegment, ...]
    latencies: tuple[tuple[int, MarkLatency], ...] = ()  # (when, how fast)

    def reads(self, located: Rows) -> Sequence[Read]:
        return (Read(segments, "id", tuple(_segment_id(self.call_id, piece) for piece in self.pieces)),)

    def fold(self, rows: Rows, now: int) -> None:
        for piece in self.pieces:
            row_id = _segment_id(self.call_id, piece)
            said = {
                "text": piece.text,
                "cut_text": piece.cut_text,
                "ended_at": piece.ended_at,
                "role": piece.role,
                "source": piece.source,
            }
            if rows.get(segments, row_id) is not None:
                rows.update(segments, row_id, said)
                continue
            made = {"sequence_no": piece.sequence_no, "started_at": piece.started_at}
            rows.insert(segments, {"id": row_id, "org_id": self.org_id, "call_id": self.call_id, **made, **said})
        for at, latency in self.latencies:
            row_id = f"{self.call_id}:{at}:{latency.turn}"
            measured = {"turn": latency.turn, "total_ms": latency.total_ms, "model_ms": latency.model_ms, "at": at}
            if rows.get(turns, row_id) is None:
                rows.insert(turns, {"id": row_id, "org_id": self.org_id, "call_id": self.call_id, **measured})


def _segment_id(call_id: str, piece: StoreSegment) -> str:
    return f"{call_id}:{piece.sequence_no:05d}"


@dataclass(frozen=True, slots=True)
class StopCalling(_OnCall):
    """A callee's "stop calling": kept before the goodbye, respected by every later dial."""

    number: str
    reason: str

    def reads(self, located: Rows) -> Sequence[Read]:
        return (Read(do_not_call, "id", (f"{self.org_id}:{self.number}",)),)

    def fold(self, rows: Rows, now: int) -> None:
        row_id = f"{self.org_id}:{self.number}"
        said = {"source": "callee", "reason": self.reason[:500], "call_id": self.call_id, "created_at": now}
        if (known := rows.get(do_not_call, row_id)) is None:
            rows.insert(
                do_not_call, {"id": row_id, "org_id": self.org_id, "e164": self.number, "removed_at": None, **said}
            )
        elif known["removed_at"] is not None:
            rows.update(do_not_call, row_id, {"removed_at": None, **said})


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
    query = select(turns).where(turns.c.call_id == call_id).order_by(turns.c.at)
    return [dict(row) for row in (await connection.execute(query)).mappings()]


async def verdict_words(connection: AsyncConnection, call_id: str) -> list[str]:
    """What detection said, in the carrier's words, in order of arrival."""
    query = select(evidence.c.said).where(evidence.c.call_id == call_id, evidence.c.kind == "verdict")
    found = (await connection.execute(query.order_by(evidence.c.arrived_at))).scalars()
    return [said["AnsweredBy"] for said in found if said.get("AnsweredBy")]


async def resumes_of(connection: AsyncConnection, call_id: str) -> int:
    """How often the call's conversation has been taken up again."""
    query = select(func.count()).where(relay_tickets.c.call_id == call_id, relay_tickets.c.resumed.is_not(None))
    return int((await connection.execute(query)).scalar_one())


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


def segment_object(row: Mapping[str, Any]) -> dict[str, Any]:
    """As the public API shows it. `text` is what was heard."""
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
    }
