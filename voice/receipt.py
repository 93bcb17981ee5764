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
from voice.vocabulary import AnsweredBy, BillingReason, CallStatus

FACT_FIELDS = ("final_status", "duration_seconds", "verdict", "detection_ms", "verdict_overdue", "platform_failed")


def fact_in(row: Mapping[str, Any]) -> Fact:
    """What a row of `evidence` says about connected time."""
    values = {name: row[name] for name in FACT_FIELDS}
    values["final_status"] = CallStatus(row["final_status"]) if row["final_status"] else None
    values["verdict"] = AnsweredBy(row["verdict"]) if row["verdict"] else None
    return Fact(**values)


@dataclass(frozen=True, slots=True)
class Decided:
    """A charge as the evidence alone gives it. `arrived_at`: when the piece that decides it came; None for a dial that
    was given up, which no evidence decides."""

    connected_seconds: int
    reason: str
    charge_milli_cents: int
    arrived_at: int | None


def decisions(call: Mapping[str, Any], evidence: Sequence[Mapping[str, Any]]) -> list[Decided]:
    """What evidence in order of arrival leads to: the charge at settlement, then each correction due since.

    After the first decision only smaller charges count: later evidence corrects in the customer's favour alone.
    Nothing while nothing is decided.
    """
    if call["error_code"] is not None and call["billing_reason"] == BillingReason.FREE_FAILED:
        return [
            Decided(0, BillingReason.FREE_FAILED, 0, None)
        ]  # refused, lost or turned away before there was evidence
    known = add(Evidence(call["amd_asked"], call["max_duration_seconds"]), _unwritten(call, evidence))
    decided: list[Decided] = []
    for row in evidence:
        known = add(known, fact_in(row))
        outcome = connected_time(known)
        if outcome is None:
            continue
        seconds, reason = outcome
        if seconds and call["reservation_status"] is None:
            seconds, reason = 0, BillingReason.FREE_PLATFORM_ERROR  # nothing was reserved, so nothing may be charged
        charge = charge_milli_cents(seconds, call["rate_milli_cents_per_minute"])
        if not decided or charge < decided[-1].charge_milli_cents:
            decided.append(Decided(seconds, reason, charge, row["arrived_at"]))
    return decided


def _unwritten(call: Mapping[str, Any], evidence: Sequence[Mapping[str, Any]]) -> Fact:
    """What the lack of evidence says, all of it in the customer's favour: a carrier that has forgotten the call and so
    its verdict, an inbound call that nobody asked us about."""

    def lacks(name: str) -> bool:
        return bool(call[name]) and not any(row[name] for row in evidence)

    return Fact(verdict_overdue=lacks("verdict_overdue"), platform_failed=lacks("platform_failed"))


def agrees(call: Mapping[str, Any], decided: Sequence[Decided]) -> bool:
    """Whether what the call says it cost, and why, is what its evidence gives."""
    if call["billing_reason"] is None or not decided:
        return call["billing_reason"] is None and not decided
    last = decided[-1]
    return bool(
        call["billing_amount_milli_cents"] == last.charge_milli_cents
        and call["billed_duration_seconds"] == last.connected_seconds
        and call["billing_reason"].replace("refund_", "free_") == last.reason
    )


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
        "confirmed": agrees(call, decisions(call, evidence)),
        "transfers": [transfer_object(transfer) for transfer in transfers],
    }


def _seconds_between(start: int | None, end: int | None) -> int | None:
    return None if start is None or end is None else max(0, end - start) // 1000
