"""The receipt: why each second of a call was or was not billed, and which transfers moved the money.

Invariant: it is worked out again from the stored evidence, not copied from the call; where the two differ it says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from billing.posting import SETTLE
from billing.presenting import transfer_object
from billing.rating import charge_milli_cents
from config.clock import iso
from voice.connected_time import Evidence, Fact, add, connected_time
from voice.vocabulary import AnsweredBy, CallStatus

FACT_FIELDS = ("final_status", "duration_seconds", "verdict", "detection_ms", "verdict_overdue", "platform_failed")


def fact_in(row: Mapping[str, Any]) -> Fact:
    """What a row of `evidence` says about connected time."""
    values = {name: row[name] for name in FACT_FIELDS}
    values["final_status"] = CallStatus(row["final_status"]) if row["final_status"] else None
    values["verdict"] = AnsweredBy(row["verdict"]) if row["verdict"] else None
    return Fact(**values)


@dataclass(frozen=True, slots=True)
class Derived:
    """The charge as the evidence alone gives it."""

    connected_seconds: int
    reason: str
    charge_milli_cents: int


def derive(call: Mapping[str, Any], evidence: Sequence[Mapping[str, Any]]) -> Derived | None:
    """The net charge that follows from evidence in order of arrival; None while nothing is decided.

    After the first decision only smaller charges count: later evidence corrects in the customer's favour alone.
    """
    if call["dial_state"] in ("refused", "lost") and not evidence_binds(evidence):
        return Derived(0, "free_failed", 0)
    known = Evidence(call["amd_asked"], call["max_duration_seconds"])
    derived: Derived | None = None
    for row in evidence:
        known = add(known, fact_in(row))
        outcome = connected_time(known)
        if outcome is None:
            continue
        charge = charge_milli_cents(outcome[0], call["rate_milli_cents_per_minute"])
        if derived is None or charge < derived.charge_milli_cents:
            derived = Derived(outcome[0], str(outcome[1]), charge)
    if derived is not None and (call["reservation_status"] is None or call["dial_state"] == "lost"):
        return Derived(0, derived.reason, 0)
    return derived


def evidence_binds(evidence: Sequence[Mapping[str, Any]]) -> bool:
    return any(row["final_status"] for row in evidence)


def agrees(call: Mapping[str, Any], derived: Derived | None) -> bool:
    """Whether the call's recorded charge is what its evidence gives."""
    if call["billing_amount_milli_cents"] is None:
        return derived is None
    return derived is None or call["billing_amount_milli_cents"] == derived.charge_milli_cents


def receipt_object(
    call: Mapping[str, Any], evidence: Sequence[Mapping[str, Any]], transfers: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The public receipt. Times ISO 8601 UTC, money in milli-cents, detection in ms."""
    charged = call["billing_amount_milli_cents"]
    over = charged is not None
    settled = next((transfer["amount"] for transfer in transfers if transfer["kind"] == SETTLE), 0)
    reserved = call["hold_milli_cents"] if call["reservation_status"] is not None else 0
    asked = call["amd_asked"] and call["verdict"] is not None
    return {
        "call_id": call["id"],
        "status": call["status"],
        "direction": call["direction"],
        "answered_by": call["verdict"],
        "timeline": [
            {
                "kind": row["kind"],
                "source": row["source"],
                "arrived_at": iso(row["arrived_at"]),
                "carrier_at": iso(row["carrier_at"]),
                "said": row["said"],
            }
            for row in evidence
        ],
        "ring_seconds": _seconds_between(call["started_at"], call["answered_at"] or call["ended_at"]),
        "duration_seconds": call["duration_seconds"],
        "detection_ms": call["detection_ms"] if asked else None,
        "connected": {
            "from": iso(call["connected_at"]),
            "to": iso(call["ended_at"]) if call["connected_at"] is not None and over else None,
            "seconds": call["billed_duration_seconds"],
        },
        "rate_milli_cents_per_minute": call["rate_milli_cents_per_minute"],
        "max_duration_seconds": call["max_duration_seconds"],
        "reason": call["billing_reason"],
        "hold_milli_cents": reserved,
        "charge_milli_cents": charged,
        "released_milli_cents": reserved - settled if over else None,
        "refunded_milli_cents": settled - charged if over else None,
        "confirmed": agrees(call, derive(call, evidence)),
        "transfers": [transfer_object(transfer) for transfer in transfers],
    }


def _seconds_between(start: int | None, end: int | None) -> int | None:
    return None if start is None or end is None else max(0, end - start) // 1000
