"""A call played back: each piece of evidence as it arrived, what it decided, and the money that moved.

Pure. Invariant: decisions are worked out again from the evidence by the very functions that bill, so a replay that ends
in another charge than the call's shows a fault instead of repeating it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from voice.receipt import agrees, decisions

_ORDER = {"evidence": 0, "decision": 1, "money": 2}
"""Of what happened in one commit, which has one time."""


def replay_object(
    call: Mapping[str, Any], evidence: Sequence[Mapping[str, Any]], transfers: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """`steps` in order of time, each with `at_ms` since the call was created and what it is: evidence, decision, money.

    `evidence` in order of arrival, `transfers` in order of their sequence numbers; rows as stored. Milli-cents.
    """
    began = call["created_at"]
    given_up_at = call["ended_at"] or began
    steps = [
        *(
            {
                "at_ms": row["arrived_at"] - began,
                "step": "evidence",
                "source": row["source"],
                "kind": row["kind"],
                "said": row["said"],
            }
            for row in evidence
        ),
        *(
            {
                "at_ms": (given_up_at if each.arrived_at is None else each.arrived_at) - began,
                "step": "decision",
                "reason": each.reason,
                "connected_seconds": each.connected_seconds,
                "charge_milli_cents": each.charge_milli_cents,
            }
            for each in decisions(call, evidence)
        ),
        *(
            {
                "at_ms": row["created_at"] - began,
                "step": "money",
                "kind": row["kind"],
                "amount_milli_cents": row["amount"],
                "held_delta_milli_cents": row["held_delta"],
                "balance_after_milli_cents": row["balance_after"],
                "held_after_milli_cents": row["held_after"],
            }
            for row in transfers
        ),
    ]
    return {
        "call_id": call["id"],
        "direction": call["direction"],
        "status": call["status"],
        "rate_milli_cents_per_minute": call["rate_milli_cents_per_minute"],
        "max_duration_seconds": call["max_duration_seconds"],
        "steps": sorted(steps, key=lambda step: (step["at_ms"], _ORDER[step["step"]])),
        "billing_reason": call["billing_reason"],
        "billing_amount_milli_cents": call["billing_amount_milli_cents"],
        "confirmed": agrees(call, decisions(call, evidence)),
    }
