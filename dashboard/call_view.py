"""A call's page: its head, what was billed, the receipt, what was said and what came of it.

Pure. The one invariant: the page says that a charge was worked out again only when it was, and agreed.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from billing.spending import CODES, Scope
from dashboard import format as fmt
from dashboard import receipt_view, timeline_view, urls
from dashboard.calls_view import CallFacts, Status, status
from dashboard.charts import Block
from dashboard.format import Clock, When
from dashboard.ledger_view import Transfer
from dashboard.receipt_view import Evidence, Part, SumLine, reason_words
from dashboard.views import Action, Notice

CheckResult = Literal["agrees", "differs", "unchecked"]
"""What came of deriving the charge again from the evidence."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Something said; `offset_ms` counts from the answer, `cut_off` if an interruption ended it, which nobody heard
    the rest of: `unheard`.

    `speaker`: agent, person, or for notes system and tool.
    """

    speaker: str
    text: str
    offset_ms: int
    cut_off: bool = False
    reply_ms: int | None = None
    """For the agent: from the end of the person's words to its first ones, if measured."""
    unheard: str = ""
    model_ms: int | None = None
    """The language model's share of `reply_ms`."""


@dataclass(frozen=True, slots=True)
class Line:
    """A segment with its time written."""

    speaker: str
    who: str
    time: str
    text: str
    cut_off: bool
    reply: str
    unheard: str


@dataclass(frozen=True, slots=True)
class CallPage:
    """The page; `charge` is None while the call is live, `hang_up_url` empty when it is not."""

    number: str
    status: Status
    kind: str
    when: When
    charge: int | None
    hang_up_url: str
    notices: tuple[Notice, ...]
    parts: tuple[Part, ...]
    blocks: tuple[Block, ...]
    rate: int
    max_seconds: int
    receipt_lead: str
    entries: tuple[timeline_view.Entry, ...]
    sum_lines: tuple[SumLine, ...]
    reason: str
    check: CheckResult
    transcript_lead: str
    lines: tuple[Line, ...]
    result_lead: str
    result: tuple[tuple[str, str], ...]
    details: tuple[tuple[str, str], ...]
    metadata: tuple[tuple[str, str], ...]
    call_id: str


def call_page(
    call: CallFacts,
    evidence: Sequence[Evidence],
    transfers: Sequence[Transfer],
    *,
    clock: Clock,
    check: CheckResult,
    segments: Sequence[Segment] = (),
    result_status: str | None = None,
    result: Mapping[str, Any] | None = None,
    result_error: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> CallPage:
    """The page of a call with everything known about it; `check` is "unchecked" while it is live."""
    stretches = receipt_view.parts(call, evidence, clock.now_ms)
    refunded = call.refunded_milli_cents
    return CallPage(
        number=fmt.phone(call.other_number),
        status=status(call),
        kind=" · ".join(part for part in (call.direction.capitalize(), call.agent_name) if part),
        when=clock.full(call.created_at),
        charge=None if call.is_live else (call.billing_amount_milli_cents or 0) - refunded,
        hang_up_url=urls.hang_up(call.id) if call.is_live and call.ended_at is None else "",
        notices=_notices(call, check),
        parts=stretches,
        blocks=receipt_view.strip(stretches),
        rate=call.rate_milli_cents_per_minute,
        max_seconds=call.max_duration_seconds,
        receipt_lead="Live: the charge is final when the call ends"
        if call.is_live
        else f"What the carrier told us, and when it arrived ({clock.label})",
        entries=timeline_view.timeline(call, evidence, transfers, clock),
        sum_lines=receipt_view.arithmetic(call, evidence, refunded),
        reason=reason_words(call),
        check=check,
        transcript_lead="Live" if call.is_live else "Times from the answer",
        lines=tuple(_line(segment) for segment in segments),
        result_lead=_result_lead(call, result_status, result_error),
        result=_pairs(result if result_status == "completed" else None),
        details=_details(call),
        metadata=_pairs(metadata),
        call_id=call.id,
    )


def _notices(call: CallFacts, check: CheckResult) -> tuple[Notice, ...]:
    found = []
    if call.status == "failed" and call.error_code in CODES[Scope.ORGANISATION]:
        action = Action("Spending limits", urls.billing(part="limits"))
        found.append(Notice("stop", "wallet-paused", call.error_message or "Calls were paused.", action))
    elif call.status == "failed" and call.error_code == "calls_paused":
        action = Action("Add credits", urls.ADD_CREDITS)
        found.append(Notice("stop", "wallet-paused", call.error_message or "Calls were paused.", action))
    elif call.status == "failed":
        found.append(Notice("stop", "failed", call.error_message or "The call could not be placed."))
    if check == "differs":
        text = (
            "This charge could not be confirmed from its evidence. "
            "We are on it; a correction can only be in your favor."
        )
        found.append(Notice("warn", "wallet-low", text))
    return tuple(found)


_WHO = {"agent": "Agent", "person": "Person"}
_NOTED = {"tool": "Tool", "system": "Machine"}


def _line(segment: Segment) -> Line:
    reply = "" if segment.reply_ms is None else f"{segment.reply_ms / 1000:.2f} s to reply"
    if segment.model_ms is not None:
        reply += f", {segment.model_ms / 1000:.2f} by the model"
    is_note = segment.speaker not in _WHO
    return Line(
        "note" if is_note else segment.speaker,
        _WHO.get(segment.speaker) or _NOTED[segment.speaker],
        fmt.duration(max(0, segment.offset_ms) // 1000),
        segment.text,
        segment.cut_off,
        reply,
        segment.unheard,
    )


def _result_lead(call: CallFacts, result_status: str | None, result_error: str | None) -> str:
    """Why there is no result (yet); empty where none was asked for. A call that nobody answered stays "pending"."""
    if result_status == "failed":
        return result_error or "The result could not be read from the transcript."
    if result_status != "pending":
        return ""
    if call.is_live:
        return "Read off the transcript when the call has ended."
    if call.status == "completed":
        return "The call’s transcript is being read."
    return f"{'The call failed' if call.status == 'failed' else 'Nobody answered'}, so there is no result."


def _pairs(values: Mapping[str, Any] | None) -> tuple[tuple[str, str], ...]:
    """A JSON object's fields as text: text as it is, all else as JSON, an unmentioned field as a dash."""
    return tuple((key, _json_text(value)) for key, value in (values or {}).items())


def _json_text(value: Any) -> str:
    if value is None:
        return "–"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _details(call: CallFacts) -> tuple[tuple[str, str], ...]:
    return (
        ("From", fmt.phone(call.from_number)),
        ("To", fmt.phone(call.to_number)),
        ("Longest call", fmt.span(call.max_duration_seconds)),
        ("Rate", f"{fmt.dollars(call.rate_milli_cents_per_minute)} a minute, by the second"),
    )
