"""A call as the public API shows it.

Invariant: the same object everywhere a call is shown: in lists, alone, in events to customers' servers.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from config.clock import iso
from voice.vocabulary import CallStatus

DEFAULT_LANGUAGE = "en"


def call_object(row: Mapping[str, Any]) -> dict[str, Any]:
    """From a row of `calls`. Times ISO 8601 UTC, money in milli-cents."""
    language = row["language"] or DEFAULT_LANGUAGE
    status = CallStatus(row["status"])
    nobody_spoke = status.is_final and status is not CallStatus.COMPLETED
    return {
        "id": row["id"],
        "agent_id": row["agent_id"],
        "to_number": row["to_number"],
        "from_number": row["from_number"],
        "status": row["status"],
        "direction": row["direction"],
        "persona": row["persona"],
        "instructions": row["instructions"],
        "prompt": row["prompt"],
        "context": row["context"] or {},
        "returns": row["returns"] or {},
        "result": row["result"],
        "result_status": "skipped" if nobody_spoke else row["result_status"] or "pending",
        "result_error": row["result_error"],
        "language": language,
        "tools": _without_secrets(row["tools"]),
        "voicemail_action": row["voicemail_action"],
        "webhook_url": row["webhook_url"],
        "webhook_status": row["webhook_status"] or "none",
        "webhook_error": row["webhook_error"],
        "created_at": iso(row["created_at"]),
        "updated_at": iso(row["updated_at"]),
        "started_at": iso(row["started_at"]),
        "answered_at": iso(row["answered_at"]),
        "connected_at": iso(row["connected_at"]),
        "ended_at": iso(row["ended_at"]) if status.is_final else None,
        "answered_by": row["verdict"],
        "duration_seconds": row["duration_seconds"],
        "billed_duration_seconds": row["billed_duration_seconds"],
        "billing_amount_milli_cents": row["billing_amount_milli_cents"],
        "billing_reason": row["billing_reason"],
        "reservation_status": row["reservation_status"],
        "hold_milli_cents": row["hold_milli_cents"],
        "rate_milli_cents_per_minute": row["rate_milli_cents_per_minute"],
        "max_duration_seconds": row["max_duration_seconds"],
        "error_code": row["error_code"],
        "error_message": row["error_message"],
        "hangup_cause": row["hangup_cause"],
        "metadata": {**(row["metadata"] or {}), "language": language},
    }


def _without_secrets(tools: Sequence[Mapping[str, Any]] | None) -> list[dict[str, Any]] | None:
    """A call goes to many readers; the headers of its tools are the customer's passwords."""
    if tools is None:
        return None
    hidden = "(hidden)"
    return [
        {**tool, "headers": dict.fromkeys(tool["headers"], hidden)} if tool.get("headers") else {**tool}
        for tool in tools
    ]


def number_object(row: Mapping[str, Any], outbound_agent_ids: Sequence[str] = ()) -> dict[str, Any]:
    """From a row of `numbers`: the fields of every generation of the API. Null inbound fields: the default agent's."""
    shared = ("id", "e164", "friendly_name", "country_code", "number_type", "monthly_cost_cents", "fallback_number")
    inbound = ("prompt", "returns", "webhook_url", "language", "tools")
    return {
        **{name: row[name] for name in shared},
        "status": "past_due" if row["unpaid_since"] is not None else row["status"],
        "purchased_at": iso(row["purchased_at"]),
        "paid_until": iso(row["paid_until"]),
        "inbound_agent_id": row["inbound_agent_id"],
        "outbound_agent_ids": list(outbound_agent_ids),
        "inbound_enabled": row["inbound_agent_id"] is not None or row["inbound_enabled"],
        **{f"inbound_{name}": row[f"inbound_{name}"] for name in inbound},
        "inbound_voicemail_action": row["inbound_voicemail_action"] or "hangup",
    }
