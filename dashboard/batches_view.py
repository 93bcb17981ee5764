"""Batches: the list, one with its numbers, and the form of a new one.

Pure. The one invariant: what is shown as done, calling and waiting adds up to the whole.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dashboard import format as fmt
from dashboard.calls_view import Status
from dashboard.views import Choice, Form, Notice, Paging

DAYS = {"mon": "Monday", "tue": "Tuesday", "wed": "Wednesday", "thu": "Thursday", "fri": "Friday"} | {
    "sat": "Saturday",
    "sun": "Sunday",
}
OUTCOMES = {"no_answer": "No answer", "busy": "Busy", "voicemail": "Voicemail", "failed": "Failed"}
"""After which a number may be called again."""
WORDS = {**OUTCOMES, "completed": "Completed", "fax": "Fax", "canceled": "Canceled"}
STATES = {"": "All", "waiting": "Waiting", "calling": "Calling", "done": "Done", "skipped": "Skipped"} | {
    "canceled": "Not called"
}


@dataclass(frozen=True, slots=True)
class Block:
    """Of the bar; `x` and `width` in percent."""

    kind: str
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class BatchState:
    """`glyph` is an icon of the sprite; a live one pulses instead."""

    key: str
    glyph: str
    label: str
    is_live: bool = False


_STATES = {
    "running": BatchState("in_progress", "", "Calling", True),
    "waiting_for_window": BatchState("processing", "wait", "Waiting for its hours"),
    "waiting_for_room": BatchState("review", "wallet-low", "Waiting for room"),
    "paused": BatchState("processing", "wallet-paused", "Paused"),
    "completed": BatchState("completed", "completed", "Completed"),
    "canceled": BatchState("canceled", "canceled", "Canceled"),
}


@dataclass(frozen=True, slots=True)
class BatchSummary:
    """A batch, by the API's object. Milli-cents."""

    id: str
    name: str
    state: BatchState
    total: int
    over: int
    calling: int
    bar: tuple[Block, ...]
    charged: int
    worst_case: int
    created_at: int

    @property
    def words(self) -> str:
        """For whom the bar is not."""
        calling = f", {self.calling} calling" if self.calling else ""
        return f"{self.over:,} of {self.total:,} done{calling}"


def summary(batch: Mapping[str, Any], created_at: int) -> BatchSummary:
    progress = batch["progress"]
    total, calling = progress["total"], progress["calling"]
    over = total - progress["waiting"] - calling
    return BatchSummary(
        id=batch["id"],
        name=batch["name"] or f"Batch of {fmt.count(total, 'number')}",
        state=_STATES[batch["state"]],
        total=total,
        over=over,
        calling=calling,
        bar=_bar(("fill", over), ("hatch", calling), ("free", progress["waiting"])),
        charged=batch["charged_milli_cents"],
        worst_case=batch["worst_case_milli_cents"],
        created_at=created_at,
    )


def _bar(*parts: tuple[str, int]) -> tuple[Block, ...]:
    total, at, made = sum(count for _, count in parts), 0, []
    for kind, count in parts:
        if count:
            made.append(Block(kind, 100 * at / total, 100 * count / total))
        at += count
    return tuple(made)


@dataclass(frozen=True, slots=True)
class BatchList:
    batches: tuple[BatchSummary, ...]
    paging: Paging
    example: str
    """What to paste to make the first."""


def example(url: str, agent_id: str) -> str:
    server = f"CALLINGBOX_BASE_URL={url} CALLINGBOX_API_KEY=sk_live_…"
    return f"{server} callingbox-server batch run numbers.csv --agent {agent_id or 'AGENT_ID'}"


@dataclass(frozen=True, slots=True)
class NumberRow:
    """A number of a batch. `note`: why it was not called, or when it is called again."""

    line: int
    to: str
    status: Status
    attempts: int
    call_id: str | None
    charge: int | None
    note: str


@dataclass(frozen=True, slots=True)
class BatchPage:
    """`counts`: words and figures, those above 0; `actions`: which of pause, resume, cancel are offered."""

    batch: BatchSummary
    notice: Notice | None
    counts: tuple[tuple[str, int], ...]
    terms: tuple[tuple[str, str], ...]
    actions: tuple[str, ...]
    states: tuple[Choice, ...]
    rows: tuple[NumberRow, ...]
    paging: Paging


def notice_of(batch: Mapping[str, Any]) -> Notice | None:
    """Why nobody new is called just now."""
    match batch["state"]:
        case "waiting_for_room":
            return Notice("warn", "wallet-low", f"{batch['message']} The batch then goes on by itself.")
        case "waiting_for_window":
            text = f"It is not the time to call anybody who is left: {window_words(batch['window'])}."
            return Notice("plain", "wait", f"{text} The batch goes on by itself.")
        case "paused" if batch["message"]:
            return Notice("stop", "failed", f"Paused: {batch['message']} Resume it when that is mended.")
        case "paused":
            return Notice("plain", "wallet-paused", "Paused. Calls under way go on; nobody else is called.")
    return None


def counts_of(batch: Mapping[str, Any]) -> tuple[tuple[str, int], ...]:
    progress = batch["progress"]
    counts = [("Waiting", progress["waiting"]), ("Calling", progress["calling"])]
    counts += [(WORDS[name], count) for name, count in batch["outcomes"].items()]
    counts += [("Skipped", progress["skipped"]), ("Not called", progress["canceled"])]
    return tuple((words, count) for words, count in counts if count)


def terms_of(batch: Mapping[str, Any], agent: str) -> tuple[tuple[str, str], ...]:
    retry = batch["retry"]
    names = ", ".join(OUTCOMES[name].lower() for name in retry["outcomes"])
    wait = fmt.span(retry["wait_seconds"])
    again = f"{retry['attempts']} calls at most after {names}, {wait} apart" if names else "Each number is called once"
    return (
        ("Agent", agent or "None"),
        ("Hours", window_words(batch["window"])),
        ("Calls at once", f"{batch['max_concurrent']} at most, {batch['calls_per_second']} a second"),
        ("Again", again),
    )


def window_words(window: Mapping[str, Any] | None) -> str:
    if window is None:
        return "at any hour"
    zone = (window["timezone"] or "").replace("_", " ")
    place = f"in {zone}" if zone else "each number’s local time"
    return f"{_days_words(window['days'])}, {window['start']} to {window['end']}, {place}"


def _days_words(days: Sequence[str]) -> str:
    if len(days) == len(DAYS):
        return "every day"
    names = [day.capitalize() for day in DAYS if day in days]
    is_a_run = len(names) > 2 and "".join(day for day in DAYS if day in days) in "".join(DAYS)
    return f"{names[0]} to {names[-1]}" if is_a_run else ", ".join(names)


def actions_of(state: str) -> tuple[str, ...]:
    if state in ("completed", "canceled"):
        return ()
    return ("resume", "cancel") if state == "paused" else ("pause", "cancel")


def row_status(row: Mapping[str, Any]) -> Status:
    match row["state"]:
        case "calling":
            return Status("in_progress", "Calling", True)
        case "done":
            key = {"fax": "no_answer"}.get(row["outcome"], row["outcome"])
            return Status(key, WORDS[row["outcome"]], False)
        case "skipped":
            return Status("failed", "Skipped", False)
        case "canceled":
            return Status("canceled", "Not called", False)
    return Status("wait", "Waiting", False)


@dataclass(frozen=True, slots=True)
class RefusedLine:
    line: int
    to: str
    message: str


@dataclass(frozen=True, slots=True)
class Quote:
    """What the batch would be. Milli-cents; `begins`: when the first number may be called, in words."""

    calls: int
    hold: int
    worst_case: int
    available: int
    calls_at_once: int
    max_duration_seconds: int
    begins: str
    message: str
    refused_rows: int
    refused: tuple[RefusedLine, ...]


@dataclass(frozen=True, slots=True)
class NewBatch:
    """The form; `once` names this request, so that it is done once, and `quoted` what the quote is of."""

    form: Form
    agents: tuple[Choice, ...]
    days: tuple[Choice, ...]
    outcomes: tuple[Choice, ...]
    once: str
    quote: Quote | None = None
    quoted: str = ""
