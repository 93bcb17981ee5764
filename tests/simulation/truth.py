"""What must be true of a world when all is quiet, by the records of the network and the bank alone.

Invariant: nothing here asks the server what it meant; it compares what is stored with what happened.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tests.simulation.carrier import Leg
from tests.simulation.customers import BATCH_ATTEMPTS
from tests.simulation.database import CREDITS, raw_connection
from tests.simulation.oracle import allowed_charges
from tests.simulation.process import POLICY
from voice.numbers.commands import MONTHLY_COST_CENTS
from voice.outbox import DIAL_BEGINS_WITHIN_MS
from voice.schedule import DIAL_STALE_MS

if TYPE_CHECKING:
    from tests.simulation.world import Report, World

MONTH_MILLI_CENTS = MONTHLY_COST_CENTS * 1_000
Row = dict[str, Any]


def rows_of(table: str) -> list[Row]:
    cursor = raw_connection().execute(f"select * from {table} order by id")
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def against_the_truth(world: "World", report: "Report") -> Iterator[str]:
    """What is wrong, a line each."""
    calls, legs = rows_of("calls"), world.carrier.legs
    by_id: dict[str, list[Leg]] = defaultdict(list)
    for leg in legs.values():
        if leg.our_id is not None:
            by_id[leg.our_id].append(leg)
    query = "select call_id, created_at from transfers where kind in ('settle', 'release')"
    ends = dict(raw_connection().execute(query).fetchall())
    spent: Counter[str] = Counter()
    for row in calls:
        report.calls += 1
        report.reasons[f"{row['direction']} {row['billing_reason']}"] += 1
        spent[row["org_id"]] += row["billing_amount_milli_cents"] or 0
        if row["direction"] == "outbound":
            rivals = [other for other in calls if _could_be_each_other(row, other)]
            yield from _outbound_faults(world, row, by_id.get(row["id"], []), rivals, ends, report)
        else:
            yield from _inbound_faults(world, row, legs[row["twilio_call_sid"]], ends, report)
    known = {row["id"] for row in calls}
    for our_id in by_id.keys() - known:
        yield f"the carrier was asked for call {our_id}, which nobody knows"
    for our_id in set(world.customers.acknowledged) - known:
        yield f"call {our_id} was acknowledged and is lost"
    for our_id, count in Counter(our_id for our_id, what in world.carrier.posts if what != "429").items():
        if count > 1:
            yield f"call {our_id} was dialled {count} times"
    yield from _order_faults(calls, by_id)
    yield from _batch_faults(world, calls, by_id, report)
    yield from _number_faults(world, spent, report)
    yield from _wallet_faults(world, spent, report)
    report.digest = hashlib.sha256(repr([sorted(row.items()) for row in calls]).encode()).hexdigest()


# -- calls ------------------------------------------------------------------------------------------------------------


def _could_be_each_other(row: Row, other: Row) -> bool:
    """Dialled at once between the same numbers: if both answers are lost, nobody can tell by looking."""
    pair = [(each["org_id"], each["from_number"], each["to_number"]) for each in (row, other)]
    return (
        row["id"] != other["id"]
        and pair[0] == pair[1]
        and abs(row["created_at"] - other["created_at"]) <= DIAL_STALE_MS + DIAL_BEGINS_WITHIN_MS
    )


def _outbound_faults(
    world: "World", row: Row, legs: list[Leg], rivals: list[Row], ends: dict[str, int], report: "Report"
) -> Iterator[str]:
    charged, what = row["billing_amount_milli_cents"], f"call {row['id']} ({row['billing_reason']})"
    if row["reservation_status"] not in ("settled", "released") or row["id"] not in ends:
        yield f"{what}: its hold is open"
        return
    if not legs:
        if charged or row["error_code"] is None:
            yield f"{what}: there was no such call, charged {charged}, error_code {row['error_code']}"
        return
    [leg] = legs
    if row["error_code"] == "dial_lost" and rivals and row["twilio_call_sid"] in (None, leg.sid):
        report.doubtful += 1
        if charged or ends[row["id"]] < (leg.ended_at or 0):
            yield f"{what}: given up among rivals, charged {charged}, before its end or not free"
    elif row["error_code"] is not None or row["twilio_call_sid"] != leg.sid:
        yield f"{what}: given up ({row['error_code']}) although the carrier has it as {leg.sid}"
    elif ends[row["id"]] < (leg.ended_at or 0):
        yield f"{what}: its hold ended at {ends[row['id']]}, before the call did at {leg.ended_at}"
    else:
        yield from _charge_faults(world, row, leg, report)


def _inbound_faults(world: "World", row: Row, leg: Leg, ends: dict[str, int], report: "Report") -> Iterator[str]:
    if row["reservation_status"] == "reserved":
        yield f"inbound call {row['id']}: its hold is open"
    elif row["id"] in ends and ends[row["id"]] < (leg.ended_at or 0):
        yield f"inbound call {row['id']}: its hold ended before the call did"
    elif row["error_code"] is not None:
        if row["billing_amount_milli_cents"]:
            yield f"inbound call {row['id']} was turned away and paid"
    else:
        yield from _charge_faults(world, row, leg, report)


def _charge_faults(world: "World", row: Row, leg: Leg, report: "Report") -> Iterator[str]:
    allowed = allowed_charges(leg, row["max_duration_seconds"], POLICY.amd_grace_ms, world.trouble)
    report.doubtful += len(allowed) > 1
    if row["billing_amount_milli_cents"] not in allowed:
        yield (
            f"{row['direction']} call {row['id']}: charged {row['billing_amount_milli_cents']} "
            f"({row['billing_reason']}), allowed {sorted(allowed)}: {leg.status} after {leg.duration_seconds} s, "
            f"answered by {leg.answered_by}; told {leg.told}; voice {leg.voice}"
        )


def _about(calls: list[Row], name: str) -> dict[Any, list[Row]]:
    """Calls by what their metadata says they are for."""
    found = defaultdict(list)
    for row in calls:
        told = json.loads(row["metadata"] or "{}")
        if name in told:
            found[told[name] if name == "order" else (told["batch_id"], told["batch_line"])].append(row)
    return found


def _order_faults(calls: list[Row], by_id: dict[str, list[Leg]]) -> Iterator[str]:
    """One order, under one idempotency key, is one call at most, however often it was sent."""
    for order, made in _about(calls, "order").items():
        rung = [row["id"] for row in made if by_id.get(row["id"])]
        if len(rung) > 1:
            yield f"order {order} became {len(rung)} calls: {rung}"


# -- batches ----------------------------------------------------------------------------------------------------------


def _batch_faults(world: "World", calls: list[Row], by_id: dict[str, list[Leg]], report: "Report") -> Iterator[str]:
    batches = {row["id"]: row for row in rows_of("batches")}
    for batch_id in world.customers.batches.keys() - batches.keys():
        yield f"batch {batch_id} was acknowledged and is lost"
    made = _about(calls, "batch_id")
    for row in rows_of("batch_calls"):
        report.reasons[f"line of a batch {row['state']}"] += 1
        own = made.get((row["batch_id"], row["line"]), [])
        yield from _line_faults(batches[row["batch_id"]]["state"], row, own, by_id)


def _line_faults(state: str, row: Row, own: list[Row], by_id: dict[str, list[Leg]]) -> Iterator[str]:
    what = f"line {row['line']} of batch {row['batch_id']} ({state}, {row['state']})"
    rung = sorted((leg for call in own for leg in by_id.get(call["id"], ())), key=lambda leg: leg.created_at)
    if state not in ("completed", "canceled", "paused") or row["state"] in ("dialling", "calling"):
        yield f"{what}: it is not over"
    if state == "completed" and row["state"] not in ("done", "skipped"):
        yield f"{what}: it was left out"
    if sum(bool(call["billing_amount_milli_cents"]) for call in own) > 1:
        yield f"{what}: it was charged more than once"
    if len(rung) > BATCH_ATTEMPTS:
        yield f"{what}: it was called {len(rung)} times"
    for earlier, later in pairwise(rung):
        if later.created_at < (earlier.ended_at or 0):
            yield f"{what}: it was called twice at once"
    if row["call_id"] is not None and row["call_id"] not in {call["id"] for call in own}:
        yield f"{what}: it shows a call that is not its own"


# -- money ------------------------------------------------------------------------------------------------------------


def _number_faults(world: "World", spent: Counter[str], report: "Report") -> Iterator[str]:
    """A number is paid for exactly when the carrier sold it, and is at the carrier exactly while it is active."""
    owned = {name.removeprefix("CallingBox ") for name in world.carrier.owned.values()}
    sold = Counter(name.removeprefix("CallingBox ") for name in world.carrier.sold)
    for row in rows_of("numbers"):
        if row["due_at"] is None and row["status"] == "active":
            continue  # imported
        if row["status"] not in ("active", "released", "failed"):
            yield f"number {row['id']}: its purchase is {row['status']}"
        if sold[row["id"]] != (row["status"] != "failed"):
            yield f"number {row['id']} is {row['status']}, but was sold {sold[row['id']]} times"
        if (row["id"] in owned) != (row["status"] == "active"):
            yield f"number {row['id']} is {row['status']}, but the carrier has it: {row['id'] in owned}"
        spent[row["org_id"]] += MONTH_MILLI_CENTS if sold[row["id"]] else 0
        report.reasons[f"number {row['status']}"] += 1


def _wallet_faults(world: "World", spent: Counter[str], report: "Report") -> Iterator[str]:
    for intent in world.bank.intents.values():
        report.reasons[f"{intent['metadata'].get('kind', 'checkout')} payment {intent['status']}"] += 1
    for refund in world.bank.refunds.values():
        report.reasons[f"{'operator' if 'metadata' in refund else 'customer'} refund {refund['status']}"] += 1
    net = world.bank.net_milli_cents()
    for org_id, credit in zip(world.orgs, CREDITS, strict=True):
        query = "select balance, held from wallets where id = ?"
        balance, held = raw_connection().execute(query, (org_id,)).fetchone()
        expected = credit + net[org_id] - spent[org_id]
        if (balance, held) != (expected, 0):
            yield f"organisation {org_id} has {balance} and {held} held; it must have {expected} and nothing held"
