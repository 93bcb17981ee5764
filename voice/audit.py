"""The calls audited: every charge is worked out again from the evidence and compared with the ledger, call by call.

Invariant: nothing here writes, and no more than a page of calls is in memory at once.

What must hold, by the names that violations carry:

    reservation_matches   a call's reservation_status and hold are what its transfers say
    charge_matches        what a call says it cost is what was settled, less what was refunded
    charge_from_evidence  each charge follows from the evidence that had arrived when it was settled
    correction_made       each correction that later evidence demands was made
    status_and_money      a final status and its settlement appear together
    hold_ends             no hold is forgotten: somebody will look at its call again, and none outlives its call's limit
    usage_adds_up         the usage rollup is the sum over its calls
    spending_adds_up      what caps count as under way is what calls and purchases hold, by organisation and API key
    call_exists           every transfer and every piece of evidence that names a call belongs to one
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import exists, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.audit import PAGE_ROWS, Finding, Report, Violation, pages_of_wallets
from billing.money import MILLI_CENTS_PER_CENT
from billing.posting import HOLD, RELEASE, SETTLE
from billing.rating import hold_milli_cents
from billing.tables import spending, transfers, usage, usage_days
from billing.usage import DAY_MS, QUARTER_MS
from voice.answering import TURNED_AWAY
from voice.receipt import FACT_FIELDS, Decided, agrees, decisions
from voice.schedule import LONGEST_QUEUE_MS
from voice.tables import calls, evidence, numbers
from voice.vocabulary import CallStatus, ReservationStatus

_CALL = select(
    *(
        calls.c[name]
        for name in (
            *("id", "org_id", "status", "reservation_status", "hold_milli_cents", "created_at", "due_at", "ask_at"),
            *("rate_milli_cents_per_minute", "max_duration_seconds", "amd_asked", "error_code"),
            *("billing_reason", "billing_amount_milli_cents", "billed_duration_seconds"),
            *("verdict_overdue", "platform_failed"),
        )
    )
)
_TRANSFER = select(
    *(transfers.c[name] for name in ("id", "org_id", "call_id", "kind", "amount", "created_at"))
).order_by(transfers.c.sequence)
_EVIDENCE = (
    select(*(evidence.c[name] for name in ("call_id", "arrived_at", *FACT_FIELDS)))
    .where(  # most of it says nothing about money
        evidence.c.final_status.is_not(None)
        | evidence.c.verdict.is_not(None)
        | evidence.c.verdict_overdue
        | evidence.c.platform_failed
    )
    .order_by(evidence.c.arrived_at, evidence.c.id)
)
Row = Mapping[str, Any]


def judge(call: Row, told: Sequence[Row], moved: Sequence[Row], now: int) -> Iterator[Finding]:
    """What is wrong with one call, given its evidence in order of arrival and its transfers in order."""
    end = next((row for row in moved if row["kind"] in (SETTLE, RELEASE)), None)
    settled = end["amount"] if end is not None else 0
    refunded = sum(row["amount"] for row in moved if row["kind"] == "refund")
    yield from _reservation(call, moved, end)
    if (call["billing_amount_milli_cents"] or 0) != settled - refunded:
        amount = call["billing_amount_milli_cents"]
        yield "charge_matches", f"the call says {amount}; settled {settled}, refunded {refunded}"
    if CallStatus(call["status"]).is_final is not (call["billing_reason"] is not None):
        yield "status_and_money", f"status {call['status']}, billing_reason {call['billing_reason']}"
    decided = decisions(call, told)
    yield from _charge(call, decided, end, settled)
    if call["reservation_status"] == ReservationStatus.RESERVED:
        yield from _open_hold(call, decided, now)


def _reservation(call: Row, moved: Sequence[Row], end: Row | None) -> Iterator[Finding]:
    holds = [(row["amount"], row["org_id"]) for row in moved if row["kind"] == HOLD]
    status = call["reservation_status"]
    expected = [] if status is None else [(call["hold_milli_cents"], call["org_id"])]
    if holds != expected:
        yield "reservation_matches", f"reservation_status {status} of {call['hold_milli_cents']}, holds {holds}"
    if call["hold_milli_cents"] != hold_milli_cents(call["max_duration_seconds"], call["rate_milli_cents_per_minute"]):
        yield "reservation_matches", f"a hold of {call['hold_milli_cents']} is not the worst case of the call"
    ended = None if end is None else end["kind"] if end["amount"] or end["kind"] == RELEASE else RELEASE
    if ended != {ReservationStatus.SETTLED: SETTLE, ReservationStatus.RELEASED: RELEASE}.get(status):
        yield "reservation_matches", f"reservation_status {status}, but the hold's end is {ended}"


def _charge(call: Row, decided: Sequence[Decided], end: Row | None, settled: int) -> Iterator[Finding]:
    if end is None and call["billing_reason"] is None:
        return
    known = [each for each in decided if end is None or (each.arrived_at or 0) <= end["created_at"]]
    if not known:
        yield "charge_from_evidence", f"charged {settled} before any evidence decided it"
    elif settled not in [each.charge_milli_cents for each in known]:
        yield "charge_from_evidence", f"charged {settled}; the evidence until then gives {known[0].charge_milli_cents}"
    elif (call["billing_amount_milli_cents"] or 0) > decided[-1].charge_milli_cents:
        last = decided[-1]
        yield (
            "correction_made",
            f"{call['billing_amount_milli_cents']} stands; {last.reason}: {last.charge_milli_cents}",
        )
    elif not agrees(call, decided):
        is_ = f"{call['billing_amount_milli_cents']} for {call['billed_duration_seconds']} s, {call['billing_reason']}"
        yield "charge_from_evidence", f"the call says {is_}; its evidence gives {decided[-1]}"


def _open_hold(call: Row, decided: Sequence[Decided], now: int) -> Iterator[Finding]:
    if decided:
        yield "hold_ends", f"the evidence decides {decided[0].charge_milli_cents}, but the hold is open"
    elif call["due_at"] is None and call["ask_at"] is None:
        yield "hold_ends", "the hold is open and nobody will look at the call again"
    elif now > call["created_at"] + call["max_duration_seconds"] * 1000 + LONGEST_QUEUE_MS:
        yield "hold_ends", f"the hold is open since {now - call['created_at']} ms"


async def audit_calls(connection: AsyncConnection, now: int, report: Report) -> int:
    """Judge every call and the usage rollup of every organisation. How many calls there were."""
    count, last = 0, ""
    while page := (
        (await connection.execute(_CALL.where(calls.c.id > last).order_by(calls.c.id).limit(PAGE_ROWS)))
        .mappings()
        .all()
    ):
        last = page[-1]["id"]
        ids = [call["id"] for call in page]
        told = await _by_call(connection, _EVIDENCE.where(evidence.c.call_id.in_(ids)))
        moved = await _by_call(connection, _TRANSFER.where(transfers.c.call_id.in_(ids)))
        for call in map(dict, page):
            count += 1
            for invariant, detail in judge(call, told[call["id"]], moved[call["id"]], now):
                report(Violation(invariant, call["org_id"], call["id"], detail))
    await _audit_strays(connection, report)
    async for wallets in pages_of_wallets(connection):
        for wallet in wallets:
            await _audit_usage(connection, wallet.id, report)
            await _audit_spending(connection, wallet.id, report)
    return count


async def _by_call(connection: AsyncConnection, query: Any) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in (await connection.execute(query)).mappings():
        found[row["call_id"]].append(dict(row))
    return found


async def _audit_strays(connection: AsyncConnection, report: Report) -> None:
    for table in (transfers, evidence):
        has_call = exists().where(calls.c.id == table.c.call_id)
        query = select(table.c.id, table.c.org_id, table.c.call_id).where(table.c.call_id.is_not(None), ~has_call)
        for row in await connection.execute(query.limit(PAGE_ROWS)):
            report(Violation("call_exists", row.org_id, row.call_id, f"{table.name} {row.id} names no call"))


async def _audit_spending(connection: AsyncConnection, org_id: str, report: Report) -> None:
    live: Counter[str] = Counter()
    held: Counter[str] = Counter()
    query = select(calls.c.api_key_id, calls.c.hold_milli_cents).where(
        calls.c.org_id == org_id, calls.c.reservation_status == ReservationStatus.RESERVED
    )
    for call in await connection.execute(query):
        for scope_id in {org_id, call.api_key_id or org_id}:
            live[scope_id] += 1
            held[scope_id] += call.hold_milli_cents
    buying = select(numbers.c.api_key_id, numbers.c.monthly_cost_cents).where(
        numbers.c.org_id == org_id, numbers.c.status == "pending"
    )
    for number in await connection.execute(buying):
        for scope_id in {org_id, number.api_key_id or org_id}:
            held[scope_id] += number.monthly_cost_cents * MILLI_CENTS_PER_CENT
    kept = {row.id: row for row in await connection.execute(select(spending).where(spending.c.org_id == org_id))}
    for scope_id in sorted(live.keys() | held.keys() | kept.keys()):
        row = kept.get(scope_id)
        is_ = (0, 0) if row is None else (row.open_calls, row.held_milli_cents)
        if is_ != (live[scope_id], held[scope_id]):
            detail = f"{scope_id} counts {is_} calls and milli-cents, must be {(live[scope_id], held[scope_id])}"
            report(Violation("spending_adds_up", org_id, None, detail))


_COUNTED = ("calls", "billed_calls", "connected_seconds", "charged_milli_cents")


async def _audit_usage(connection: AsyncConnection, org_id: str, report: Report) -> None:
    """A call that was turned away before it was answered is no usage. `unbilled_seconds` is no money and not kept so
    exactly that it could be worked out again."""
    turned_away = calls.c.error_code.in_(TURNED_AWAY)
    quarter_at = calls.c.ended_at - calls.c.ended_at % QUARTER_MS
    charged = calls.c.billing_amount_milli_cents
    summed = select(
        quarter_at.label("quarter_at"),
        func.count().label("calls"),
        func.count().filter(charged > 0).label("billed_calls"),
        func.sum(calls.c.billed_duration_seconds).label("connected_seconds"),
        func.sum(charged).label("charged_milli_cents"),
    ).where(calls.c.org_id == org_id, calls.c.billing_reason.is_not(None), func.coalesce(~turned_away, True))
    sums = {row.quarter_at: row for row in await connection.execute(summed.group_by(quarter_at))}
    kept = {row.quarter_at: row for row in await connection.execute(select(usage).where(usage.c.org_id == org_id))}
    for at in sorted(sums.keys() | kept.keys()):
        for name in _COUNTED:
            is_, must_be = (int(getattr(rows.get(at), name, 0)) for rows in (kept, sums))
            if is_ != must_be:
                detail = f"{name} of the quarter hour {at} is {is_}, must be {must_be}"
                report(Violation("usage_adds_up", org_id, None, detail))
    await _audit_days(connection, org_id, kept, report)


async def _audit_days(
    connection: AsyncConnection, org_id: str, quarter_hours: Mapping[int, Any], report: Report
) -> None:
    """A day of the rollup is the sum of its quarter hours."""
    names = (*_COUNTED, "unbilled_seconds")
    sums: dict[int, Counter[str]] = defaultdict(Counter)
    for at, row in quarter_hours.items():
        sums[at - at % DAY_MS].update({name: getattr(row, name) for name in names})
    query = select(usage_days).where(usage_days.c.org_id == org_id)
    kept = {row.day_at: row for row in await connection.execute(query)}
    for at in sorted(sums.keys() | kept.keys()):
        for name in names:
            is_, must_be = int(getattr(kept.get(at), name, 0)), sums[at][name]
            if is_ != must_be:
                report(Violation("usage_adds_up", org_id, None, f"{name} of the day {at} is {is_}, must be {must_be}"))
