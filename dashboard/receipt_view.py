"""What was billed and why: a call's parts, the strip that draws them, and the arithmetic of its charge.

Pure; seconds are whole, money is milli-cents. The one invariant: nothing here decides a charge. The charge
is the ledger's; this module only says which seconds it was for, and shows the sum that leads to it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dashboard import format as fmt
from dashboard.calls_view import CallFacts, connected_seconds
from dashboard.charts import Block, BlockKind, row_of_blocks

FINAL_STATUSES = frozenset({"completed", "busy", "no-answer", "failed", "canceled"})


@dataclass(frozen=True, slots=True)
class Evidence:
    """Something the carrier or we ourselves recorded about a call, when it arrived, in the carrier's words.

    `kind` tells where it came from: "status" and "verdict" are callbacks, "rest" an answer to our asking,
    "voice" an inbound call's request; any other is our own side and is shown by name.
    """

    kind: str
    arrived_at: int
    call_status: str | None = None
    call_duration: int | None = None
    answered_by: str | None = None
    machine_detection_duration: int | None = None
    """Milliseconds, as the carrier says it."""


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of the call: its seconds and what they cost; `price` None is free."""

    kind: BlockKind
    label: str
    seconds: int
    price: int | None = None
    note: str = "free"
    clock_from: int | None = None
    """Where the module counts on from, while the part goes on."""


@dataclass(frozen=True, slots=True)
class SumLine:
    """A line of the arithmetic; `money` is shown exactly, else `text`."""

    operator: str
    label: str
    text: str = ""
    money: int | None = None
    is_total: bool = False


@dataclass(frozen=True, slots=True)
class Milestones:
    """When the call's stages began, by the arrival of what told us; None where nothing did."""

    dialed: int | None
    rang: int | None
    answered: int | None
    ended: int | None


def milestones(call: CallFacts, evidence: Iterable[Evidence]) -> Milestones:
    """The first arrival of each stage, or the call's own record where its callback was lost."""
    first: dict[str, int] = {}
    for item in evidence:
        if item.call_status and item.kind != "rest":
            status = "ended" if item.call_status in FINAL_STATUSES else item.call_status
            first[status] = min(item.arrived_at, first.get(status, item.arrived_at))
    return Milestones(
        dialed=first.get("initiated"),
        rang=first.get("ringing", call.started_at),
        answered=first.get("in-progress", call.answered_at),
        ended=first.get("ended", call.ended_at),
    )


def rounded_seconds(start_ms: int | None, end_ms: int | None) -> int | None:
    """The time between two arrivals to the nearest second; None if one is unknown or they came reversed."""
    if start_ms is None or end_ms is None or end_ms < start_ms:
        return None
    return (end_ms - start_ms + 500) // 1000


def detection_ms(evidence: Iterable[Evidence]) -> int | None:
    """The longest detection that any verdict named, in milliseconds."""
    times = [e.machine_detection_duration for e in evidence if e.machine_detection_duration is not None]
    return max(times, default=None)


def line_seconds(call: CallFacts) -> int:
    """Answer to hang-up, by the carrier's word; 0 if it was never answered."""
    return call.duration_seconds or 0


def detection_seconds(call: CallFacts, evidence: Sequence[Evidence]) -> int:
    """Detection in whole seconds, rounded up, and never more of them than the line was open.

    Where a charge was made without a verdict's own time, it is what the charge left out.
    """
    if call.direction == "inbound" or not (call.answered_at or line_seconds(call)):
        return 0
    told = detection_ms(evidence)
    if call.is_live:
        return -(-told // 1000) if told is not None else 0
    if told is not None:
        return min(line_seconds(call), -(-told // 1000))
    if call.billing_reason in {"billed", "refund_voicemail"}:
        billed = call.billed_duration_seconds or 0
        return line_seconds(call) - billed if billed < call.max_duration_seconds else 0
    return line_seconds(call) if call.billing_reason == "free_detection" else 0


_ON_THE_LINE = {
    "free_voicemail": "Message left",
    "free_fax": "Fax",
    "free_no_verdict": "Before we knew who answered",
    "free_platform_error": "On the line",
    "refund_voicemail": "Voicemail",
}


def parts(call: CallFacts, evidence: Sequence[Evidence], now_ms: int) -> tuple[Part, ...]:
    """The call cut into its stretches, in order; those that did not happen are left out."""
    at = milestones(call, evidence)
    until = now_ms if call.is_live else at.ended
    found: list[Part | None] = [
        _part("free", "Dialing", rounded_seconds(at.dialed, at.rang or at.answered or until)),
        _part("free", "Ringing", rounded_seconds(at.rang, at.answered or until)),
    ]
    if call.is_live:
        found += _live_parts(call, evidence, at.answered, now_ms)
    else:
        found += _final_parts(call, evidence)
    return tuple(part for part in found if part)


def _part(kind: BlockKind, label: str, seconds: int | None) -> Part | None:
    return None if seconds is None else Part(kind, label, seconds)


def _live_parts(call: CallFacts, evidence: Sequence[Evidence], answered: int | None, now_ms: int) -> list[Part | None]:
    so_far = connected_seconds(call, now_ms)
    if so_far is None:
        waiting = None if call.direction == "inbound" else rounded_seconds(answered, now_ms)
        return [_part("hatch", "Voicemail detection", waiting)]
    detected = detection_seconds(call, evidence)
    price = so_far * call.rate_milli_cents_per_minute // 60
    connected = Part("fill", "Connected", so_far, price, "so far", call.connected_at)
    return [_part("hatch", "Voicemail detection", detected) if detected else None, connected]


def _final_parts(call: CallFacts, evidence: Sequence[Evidence]) -> list[Part | None]:
    line, detected = line_seconds(call), detection_seconds(call, evidence)
    found: list[Part | None] = []
    if detected:
        found.append(Part("hatch", "Voicemail detection", detected))
    rest = line - detected
    if call.billing_reason == "billed":
        billed = call.billed_duration_seconds or 0
        found.append(Part("fill", "Connected", billed, call.billing_amount_milli_cents, ""))
        beyond = rest - billed
        return [*found, Part("hatch", "Beyond the longest call", beyond) if beyond > 0 else None]
    label = _ON_THE_LINE.get(call.billing_reason or "")
    if label and rest > 0:
        note = "refunded" if call.billing_reason == "refund_voicemail" else "free"
        found.append(Part("hatch", label, rest, note=note))
    return found


def strip(stretches: Sequence[Part]) -> tuple[Block, ...]:
    """The parts drawn side by side."""
    return row_of_blocks([(part.kind, part.seconds) for part in stretches])


_ALL_OF_IT = {
    "free_voicemail": "All of it: a machine answered",
    "free_fax": "All of it: a fax answered",
    "free_no_verdict": "All of it: it ended before we knew who answered",
    "free_platform_error": "All of it: our agent could not speak",
    "free_detection": "All of it: it ended during voicemail detection",
}
_NEVER_CONNECTED = {
    "free_no_answer": "Nobody answered",
    "free_busy": "The line was busy",
    "free_canceled": "Canceled before it was answered",
    "free_failed": "The call could not be placed",
    "free_zero_duration": "It ended as it was answered",
}

REASON_WORDS = _NEVER_CONNECTED | {
    "billed": "Connected time, by the second",
    "free_voicemail": "A machine answered: free, message left or not",
    "free_fax": "A fax answered",
    "free_detection": "It ended during voicemail detection",
    "free_no_verdict": "It ended before we knew who answered",
    "free_platform_error": "Our agent could not speak: our fault, free",
    "refund_voicemail": "A machine answered, as we learned later: refunded",
}
"""What the receipt says for a billing reason."""
_NOT_TAKEN = "The call was not taken"


def reason_words(call: CallFacts) -> str:
    """Nothing where the arithmetic's first line says it already."""
    reason = call.billing_reason or ""
    return "" if reason in _NEVER_CONNECTED else REASON_WORDS.get(reason, "")


def _never_connected(call: CallFacts) -> str:
    reason = call.billing_reason or ""
    return _NOT_TAKEN if (call.direction, reason) == ("inbound", "free_failed") else _NEVER_CONNECTED[reason]


def arithmetic(call: CallFacts, evidence: Sequence[Evidence], refunded_milli_cents: int) -> tuple[SumLine, ...]:
    """How the charge follows from the call's duration, line by line; empty while the call is live."""
    if call.is_live or call.billing_reason is None:
        return ()
    reason, line = call.billing_reason, line_seconds(call)
    charged = call.billing_amount_milli_cents or 0
    opening = SumLine("", "Call duration, answer to hang-up", f"{line:,} s")
    if reason in _NEVER_CONNECTED:
        return (SumLine("", _never_connected(call), "0 s"), _charged(0))
    if reason in _ALL_OF_IT:
        all_of_it = SumLine("−", _ALL_OF_IT[reason], f"{line:,} s")
        return (opening, all_of_it, SumLine("=", "Connected", "0 s", is_total=True), _charged(0))
    lines = [opening, *_billed_lines(call, line, detection_seconds(call, evidence), charged)]
    if not refunded_milli_cents:
        return (*lines, _charged(charged))
    label = "Refunded: a machine answered" if call.answered_by == "machine" else "Refunded"
    first = SumLine("=", "Charged at first", money=charged)
    refund = SumLine("−", label, money=refunded_milli_cents)
    return (*lines, first, refund, _charged(charged - refunded_milli_cents))


def _billed_lines(call: CallFacts, line: int, detected: int, charged: int) -> list[SumLine]:
    billed = call.billed_duration_seconds or 0
    lines = [SumLine("−", "Voicemail detection", f"{detected:,} s")] if detected else []
    beyond = line - detected - billed
    if beyond > 0:
        lines.append(SumLine("−", "Beyond the longest call: never charged", f"{beyond:,} s"))
    rate = fmt.dollars(call.rate_milli_cents_per_minute)
    return [
        *lines,
        SumLine("=", "Connected", f"{billed:,} s", is_total=True),
        SumLine("×", f"{rate} a minute, by the second, rounded down", f"{rate} ÷ 60"),
    ]


def _charged(milli_cents: int) -> SumLine:
    return SumLine("=", "Charged", money=milli_cents, is_total=True)
