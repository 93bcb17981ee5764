"""From rows of the database to the facts that views take.

Invariant: nothing is decided here; a column becomes a field.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.posting import SETTLE
from billing.tables import transfers
from billing.topup_queries import shown_state
from billing.topup_rules import TopupKind, TopupStatus
from billing.usage_report import Usage
from dashboard.billing_view import MonthTotal, TopUpFacts
from dashboard.call_view import Segment
from dashboard.calls_view import CallFacts
from dashboard.charts import UsageDay
from dashboard.ledger_view import Transfer
from dashboard.receipt_view import Evidence
from voice.agents.tables import agents
from voice.tables import calls
from voice.vocabulary import CallStatus

_DIAL_WORDS = {
    "accepted": "Accepted by the carrier",
    "refused": "Refused by the carrier",
    "none": "No answer from the carrier",
}
_OWN_WORDS = {
    "end": "Ended by hand",
    "failure": "Our fault: the agent could not speak",
    "hangup": "Hang-up asked for",
}


def spoken(
    said: Sequence[Mapping[str, Any]], measured: Sequence[Mapping[str, Any]], answered_at: int | None
) -> list[Segment]:
    """The transcript's lines: what was heard, with what was cut off after it; tools, and what a machine said."""
    latencies = {turn["sequence_no"]: (turn["total_ms"], turn["model_ms"]) for turn in measured}
    return [
        Segment(
            row["role"],
            _tool_words(row["text"]) if row["role"] == "tool" else row["text"],
            row["started_at"] - (answered_at or row["started_at"]),
            row["cut_text"] is not None,
            latencies.get(row["sequence_no"], (None, None))[0],
            (row["cut_text"] or "").strip(),
            latencies.get(row["sequence_no"], (None, None))[1],
        )
        for row in said
        if row["text"] and (row["role"] in ("agent", "person", "tool") or row["source"] == "machine")
    ]


TOOL_RESULT_CHARACTERS = 300


def _tool_words(kept: str) -> str:
    """A tool's call as the conversation kept it (JSON: name, arguments, is_write, result), in words."""
    told = json.loads(kept)
    called = f"{told['name']} {json.dumps(told['arguments'], ensure_ascii=False)}"
    result = told["result"]
    if result is None:
        return called
    if result.get("ok"):
        return f"{called} → {json.dumps(result.get('result'), ensure_ascii=False)[:TOOL_RESULT_CHARACTERS]}"
    return f"{called}: {(result.get('error') or {}).get('message', 'It failed.')}"


def ms_of(text: str | None) -> int | None:
    """A time of the API's objects, in epoch milliseconds."""
    return None if text is None else round(datetime.fromisoformat(text).timestamp() * 1000)


def call_facts(row: Mapping[str, Any], moved: Sequence[Mapping[str, Any]] = (), agent_name: str = "") -> CallFacts:
    """`moved`: the call's transfers, so that a refunded charge is shown as charged and given back."""
    charged = next((transfer["amount"] for transfer in moved if transfer["kind"] == SETTLE), None)
    net, seconds = row["billing_amount_milli_cents"], row["billed_duration_seconds"]
    refunded = charged - net if charged is not None and net is not None else 0
    if refunded and charged is not None:
        seconds = -(-charged * 60 // row["rate_milli_cents_per_minute"])  # the seconds whose price was charged first
    voicemail = row["verdict"] in ("machine", "fax") and row["status"] == CallStatus.NO_ANSWER
    return CallFacts(
        id=row["id"],
        direction=row["direction"],
        status="voicemail" if voicemail and row["verdict"] == "machine" else row["status"],
        to_number=row["to_number"],
        from_number=row["from_number"],
        created_at=row["created_at"],
        max_duration_seconds=row["max_duration_seconds"],
        rate_milli_cents_per_minute=row["rate_milli_cents_per_minute"],
        hold_milli_cents=row["hold_milli_cents"],
        agent_id=row["agent_id"],
        agent_name=agent_name,
        started_at=row["started_at"],
        answered_at=row["answered_at"],
        connected_at=row["connected_at"],
        ended_at=row["ended_at"],
        answered_by=row["verdict"],
        duration_seconds=row["duration_seconds"],
        billed_duration_seconds=seconds,
        billing_amount_milli_cents=charged if refunded else net,
        billing_reason=row["billing_reason"],
        reservation_status=row["reservation_status"],
        refunded_milli_cents=refunded,
        error_code=row["error_code"],
        error_message=row["error_message"],
    )


def evidence_facts(row: Mapping[str, Any]) -> Evidence:
    said, source = row["said"], row["source"]
    if row["kind"] == "dial":
        return Evidence(_DIAL_WORDS[said["answer"]], row["arrived_at"])
    if row["kind"] not in ("status", "verdict"):
        return Evidence(_OWN_WORDS.get(row["kind"], row["kind"]), row["arrived_at"])
    status = said.get("CallStatus") or str(said.get("status") or "").replace("_", "-") or None
    duration, detection = said.get("CallDuration", said.get("duration")), said.get("MachineDetectionDuration")
    return Evidence(
        kind="rest" if source == "carrier" else row["kind"],
        arrived_at=row["arrived_at"],
        call_status=status,
        call_duration=int(duration) if duration not in (None, "") else None,
        answered_by=said.get("AnsweredBy") or said.get("answered_by"),
        machine_detection_duration=int(detection) if detection not in (None, "") else None,
    )


def transfer_facts(row: Mapping[str, Any]) -> Transfer:
    """`row`: a transfer, with the columns of its call where it has one."""
    late_voicemail = row["reason"] == "refund_voicemail"
    of_call = row.get("call_id") is not None
    number = ""
    if of_call and row.get("direction"):
        number = row["from_number"] if row["direction"] == "inbound" else row["to_number"]
    return Transfer(
        id=row["id"],
        kind="refund_voicemail" if late_voicemail else row["kind"],
        amount=row["amount"],
        balance_delta=row["balance_delta"],
        held_delta=row["held_delta"],
        balance_after=row["balance_after"],
        held_after=row["held_after"],
        sequence=row["sequence"],
        created_at=row["created_at"],
        call_id=row["call_id"],
        call_number=number,
        call_direction=row.get("direction") or "outbound",
        billed_seconds=row.get("billed_duration_seconds"),
        billing_reason=row.get("billing_reason"),
        reason="" if of_call else row["reason"] or "",
    )


def topup_facts(row: Mapping[str, Any]) -> TopUpFacts:
    state = shown_state(dict(row))
    if state == TopupStatus.PAID and row["refunded_milli_cents"]:
        state = "partly_refunded"
    return TopUpFacts(
        created_at=row["created_at"],
        state=state,
        amount=row["credit_milli_cents"],
        reference=row["stripe_payment_intent_id"] or "",
        receipt_url=row["receipt_url"] or "",
        is_automatic=row["kind"] == TopupKind.AUTO,
    )


def usage_days(days: Mapping[date, Usage]) -> list[UsageDay]:
    return [
        UsageDay(day, used.connected_seconds, used.unbilled_seconds, used.calls, used.charged_milli_cents)
        for day, used in days.items()
    ]


def month_totals(months: Mapping[date, Usage]) -> list[MonthTotal]:
    return [
        MonthTotal(first, used.calls, used.connected_seconds, used.unbilled_seconds, used.charged_milli_cents)
        for first, used in months.items()
    ]


async def with_calls(connection: AsyncConnection, moved: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Transfers, each with what a ledger row says of its call."""
    ids = [row["call_id"] for row in moved if row["call_id"]]
    shown = (calls.c.direction, calls.c.to_number, calls.c.from_number)
    query = select(calls.c.id, *shown, calls.c.billed_duration_seconds, calls.c.billing_reason).where(
        calls.c.id.in_(ids)
    )
    found = {row["id"]: dict(row) for row in (await connection.execute(query)).mappings()} if ids else {}
    return [{**found.get(row["call_id"], {}), **row} for row in moved]


async def transfers_of_calls(connection: AsyncConnection, ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    query = select(transfers).where(transfers.c.call_id.in_(ids)).order_by(transfers.c.sequence)
    found: dict[str, list[dict[str, Any]]] = {call_id: [] for call_id in ids}
    for row in (await connection.execute(query)).mappings() if ids else ():
        found[row["call_id"]].append(dict(row))
    return found


async def agent_names(connection: AsyncConnection, org_id: str) -> list[tuple[str, str]]:
    query = select(agents.c.id, agents.c.name).where(agents.c.org_id == org_id, agents.c.archived_at.is_(None))
    return [(row.id, row.name) for row in await connection.execute(query.order_by(agents.c.name))]
