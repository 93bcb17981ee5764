"""The receipt's timeline: what the carrier told us and what the ledger did, in the order it arrived.

Pure. The one invariant: every entry is a stored fact. The interval after a fact is named only where the
next fact arrived after it; with callbacks lost or late the facts stand alone and the sum still explains
the charge.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from dashboard import format as fmt
from dashboard.calls_view import CallFacts, connected_seconds
from dashboard.format import Clock, When
from dashboard.ledger_view import Transfer
from dashboard.receipt_view import (
    FINAL_STATUSES,
    Evidence,
    detection_ms,
    detection_seconds,
    line_seconds,
    milestones,
    rounded_seconds,
)


class Interval(NamedTuple):
    """What followed a fact: words, small words under them, and its price (None: free)."""

    text: str
    small: str = ""
    price: int | None = None
    clock_from: int | None = None
    """Where the module counts on from, while it goes on."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A fact with its evidence; `amount` with `amount_suffix` is what the ledger moved."""

    kind: Literal["money", "fact"]
    when: When
    title: str
    codes: tuple[tuple[str, str], ...] = ()
    note: str = ""
    returned: int | None = None
    """What came back of the hold with a charge; stands before the note."""
    amount: int | None = None
    amount_signed: bool = False
    amount_suffix: str = ""
    then: Interval | None = None
    going: bool = False


_STATUS_TITLES = {
    "queued": "Queued by the carrier",
    "initiated": "Dialed",
    "ringing": "Ringing",
    "in-progress": "Answered",
    "completed": "Hung up",
    "busy": "Busy",
    "no-answer": "No answer",
    "failed": "Not placed",
    "canceled": "Canceled",
}


def timeline(
    call: CallFacts, evidence: Sequence[Evidence], transfers: Sequence[Transfer], clock: Clock
) -> tuple[Entry, ...]:
    """All facts of a call by arrival: a hold before, a charge after whatever arrived in its millisecond."""
    evidence = sorted(evidence, key=lambda item: item.arrived_at)
    intervals = _intervals(call, evidence, clock.now_ms)
    dated: list[tuple[tuple[int, int, int], Entry]] = []
    told: set[tuple[object, ...]] = set()
    for index, item in enumerate(evidence):
        entry = _fact(item, clock, then=intervals.get(index))
        saying = (entry.title, entry.codes)
        if saying in told:
            entry = replace(entry, note="told again: it changes nothing")
        told.add(saying)
        dated.append(((item.arrived_at, 1, index), entry))
    for transfer in transfers:
        order = (transfer.created_at, 0 if transfer.kind == "hold" else 2, transfer.sequence)
        dated.append((order, _money(call, transfer, clock)))
    entries = [entry for _, entry in sorted(dated, key=lambda pair: pair[0])]
    if call.is_live and entries:
        entries[-1] = replace(entries[-1], going=True)
    return tuple(entries)


def _fact(item: Evidence, clock: Clock, then: Interval | None) -> Entry:
    named = (
        ("CallStatus", item.call_status),
        ("CallDuration", item.call_duration),
        ("AnsweredBy", item.answered_by),
        ("MachineDetectionDuration", item.machine_detection_duration),
    )
    codes = tuple((name, str(value)) for name, value in named if value is not None)
    return Entry("fact", clock.arrival(item.arrived_at), _title(item), codes, then=then)


def _title(item: Evidence) -> str:
    match item:
        case Evidence(kind="rest"):
            return "The carrier, when we asked"
        case Evidence(kind="voice"):
            return "Call came in"
        case Evidence(call_status=None, answered_by=str(who)):
            return _who(who)
        case Evidence(call_status=str(status)):
            return _STATUS_TITLES.get(status, status)
        case _:
            return item.kind.replace("_", " ").capitalize()


def _who(answered_by: str) -> str:
    if answered_by.startswith("machine"):
        return "A machine"
    return {
        "human": "A person",
        "fax": "A fax",
        "unknown": "Not sure who: taken for a person",
    }.get(answered_by, answered_by)


def _money(call: CallFacts, transfer: Transfer, clock: Clock) -> Entry:
    when, ledger = clock.arrival(transfer.created_at), f"ledger\u00a0#{transfer.sequence:,}"
    match transfer.kind:
        case "hold":
            size = f"{fmt.span(call.max_duration_seconds)} × {fmt.dollars(call.rate_milli_cents_per_minute)}"
            return Entry(
                "money",
                when,
                "Hold reserved",
                note=f"{size} · {ledger}",
                amount=transfer.held_delta,
                amount_suffix="held",
            )
        case "release":
            return Entry(
                "money",
                when,
                "Hold released",
                note=f"Nothing charged · {ledger}",
                amount=-transfer.held_delta,
                amount_suffix="back",
            )
        case "settle":
            rest = transfer.balance_delta - transfer.held_delta
            return Entry(
                "money",
                when,
                "Charged",
                note=ledger,
                returned=rest,
                amount=transfer.balance_delta,
                amount_signed=True,
            )
        case kind:
            title = "Voicemail refunded" if kind == "refund_voicemail" else "Refunded"
            amount = transfer.balance_delta
            return Entry("money", when, title, note=ledger, amount=amount, amount_signed=True)


def _intervals(call: CallFacts, evidence: Sequence[Evidence], now_ms: int) -> dict[int, Interval]:
    """What followed each fact, by its place in `evidence`."""
    at = milestones(call, evidence)
    found: dict[int, Interval] = {}
    dialed, rang = _first(evidence, "initiated"), _first(evidence, "ringing")
    seconds = rounded_seconds(at.dialed, at.rang)
    if dialed is not None and seconds is not None:
        found[dialed] = Interval(f"{seconds} s until it rang")
    until = at.answered or at.ended or (now_ms if call.is_live else None)
    seconds = rounded_seconds(at.rang, until)
    if rang is not None and seconds is not None and evidence[rang].kind != "rest":
        found[rang] = Interval(f"{seconds} s of ringing" + ("" if at.answered or at.ended else " so far"))
    ended = _first(evidence, *FINAL_STATUSES)
    if call.is_live and ended is not None:
        found[ended] = Interval("Finding out who had answered")
    return found | _after_answer(call, evidence, now_ms)


def _first(evidence: Sequence[Evidence], *statuses: str) -> int | None:
    places = (i for i, e in enumerate(evidence) if e.call_status in statuses and e.kind != "rest")
    return next(places, None)


def _after_answer(call: CallFacts, evidence: Sequence[Evidence], now_ms: int) -> dict[int, Interval]:
    """Detection after the answer and the rest of the line after the verdict, or both where the rest began."""
    answered = _first(evidence, "in-progress")
    if answered is None and call.direction == "inbound":
        answered = next((i for i, e in enumerate(evidence) if e.kind == "voice"), None)
    ended = _first(evidence, *FINAL_STATUSES)
    verdict = _deciding_verdict(evidence, before=ended)
    rest, detection = _rest_of_line(call, evidence, now_ms), _detection(call, evidence)
    found: dict[int | None, Interval | None]
    if answered is not None and verdict is not None and answered < verdict:
        found = {answered: detection, verdict: rest}
    else:
        found = {answered if answered is not None else verdict: rest or detection}
    return {place: then for place, then in found.items() if place is not None and then is not None}


def _deciding_verdict(evidence: Sequence[Evidence], before: int | None) -> int | None:
    """The first verdict that arrived while the line was open; a machine's or fax's beats a person's."""
    places = [i for i, e in enumerate(evidence) if e.answered_by and e.kind != "rest"]
    places = [i for i in places if before is None or i < before]
    machine = (i for i in places if evidence[i].answered_by not in {"human", "unknown"})
    return next(machine, places[0] if places else None)


def _detection(call: CallFacts, evidence: Sequence[Evidence]) -> Interval | None:
    seconds, told = detection_seconds(call, evidence), detection_ms(evidence)
    if told is not None and seconds:
        return Interval(f"{seconds} s of voicemail detection: {told / 1000:.3f} s, rounded up")
    if seconds:
        return Interval(f"{seconds} s of voicemail detection")
    if call.is_live and call.direction == "outbound" and call.answered_at is not None:
        return Interval("Finding out who answered")
    return None


def _rest_of_line(call: CallFacts, evidence: Sequence[Evidence], now_ms: int) -> Interval | None:
    """What the time after detection was, and what it cost."""
    rest = line_seconds(call) - detection_seconds(call, evidence)
    if call.is_live:
        return _so_far(call, evidence, now_ms)
    match call.billing_reason:
        case "billed" | "refund_voicemail":
            price = call.billing_amount_milli_cents
            return Interval(f"{call.billed_duration_seconds or 0} s connected", _less(call, evidence), price)
        case "free_voicemail" if rest > 0:
            return Interval(f"{rest} s for your message: a voicemail is free, message left or not")
        case "free_fax" if rest > 0:
            return Interval(f"{rest} s: a fax is free")
        case "free_platform_error":
            return Interval(f"{rest} s: our agent could not speak, so it is free")
        case "free_no_verdict" if rest > 0:
            return Interval(f"{rest} s: it ended before we knew who answered")
        case _:
            return None


def _so_far(call: CallFacts, evidence: Sequence[Evidence], now_ms: int) -> Interval | None:
    ended = _first(evidence, *FINAL_STATUSES)
    if ended is not None or call.connected_at is None:
        return None
    seconds = connected_seconds(call, now_ms) or 0
    return Interval(
        f"{seconds} s connected so far",
        "The charge if it ended now. The rest of the hold comes back when it ends.",
        seconds * call.rate_milli_cents_per_minute // 60,
        call.connected_at,
    )


def _less(call: CallFacts, evidence: Sequence[Evidence]) -> str:
    """How the connected seconds follow from the line's, where they differ."""
    line, detected = line_seconds(call), detection_seconds(call, evidence)
    billed = call.billed_duration_seconds or 0
    if line == billed:
        return ""
    less = [f"{detected} s of detection"] if detected else []
    beyond = line - detected - billed
    less += [f"{beyond} s beyond the longest call"] if beyond > 0 else []
    return f"{line} s on the line, less {' and '.join(less)}" if less else ""
