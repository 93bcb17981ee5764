"""What the edges ask of batches: quote one, make one, show it, pause, resume and cancel it.

Invariant: a batch is made whole or not at all, and only with numbers and terms that were checked here.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from zoneinfo import available_timezones

from pydantic import BaseModel, Field, StrictBool, StrictInt, StrictStr, StringConstraints, model_validator
from quart import current_app
from sqlalchemy import select

from accounts.organisations import timezone_of
from billing.ledger import read_wallet
from billing.wallet import Wallet
from config.clock import Clock, iso, new_id, now_ms
from config.database import Database
from config.door import Door
from config.errors import ApiError, not_found, refused
from config.settings import Settings
from voice.agents.tables import do_not_call
from voice.batches.commands import CreateBatch, SwitchBatch
from voice.batches.plan import RETRIABLE, Window
from voice.batches.queries import batch_object, count_unfinished, find_batch, progress_of
from voice.batches.rows import GoodRow, RefusedRow, Sheet
from voice.call_request import CallTerms
from voice.service import Calls, Quote, Wanted

MOST_CONCURRENT, MOST_A_SECOND, MOST_ATTEMPTS = 100, 10, 10
SHORTEST_RETRY_SECONDS, LONGEST_RETRY_SECONDS = 10, 7 * 86_400
REFUSED_SHOWN = 100
MOST_UNFINISHED = 50
"""Batches of one organisation; asked without its lock, so a few more may slip in at once."""
NOT_ONES_OWN = (
    "agent_not_outbound",
    "invalid_from_number",
    "no_number",
    "not_found",
    "number_not_attached",
    "organisation_suspended",
)
"""Refusals of a call that are about all of a batch, and that time does not mend."""
LEGAL_START, LEGAL_END = "08:00", "21:00"
"""47 CFR 64.1200(c)(1): no telephone solicitation before 8 a.m. or after 9 p.m. at the called party's location."""
Time = Annotated[StrictStr, StringConstraints(pattern=r"^(([01]\d|2[0-3]):[0-5]\d|24:00)$")]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Retriable = Literal["no_answer", "busy", "voicemail", "failed"]
WEEK: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
UNREACHED: tuple[Retriable, ...] = ("no_answer", "busy")


class BatchWindow(BaseModel, extra="forbid"):
    """Local hours in which people are called. `timezone` (IANA): everybody's; null: each callee's own, by area code."""

    start: Annotated[Time, Field(examples=["09:00"])] = LEGAL_START
    end: Annotated[Time, Field(examples=["17:00"])] = LEGAL_END
    days: Annotated[list[Day], Field(min_length=1, max_length=7)] = Field(default_factory=lambda: [*WEEK])
    timezone: Annotated[StrictStr, StringConstraints(max_length=64)] | None = None

    @model_validator(mode="after")
    def _opens(self) -> "BatchWindow":
        if self.start >= self.end:
            raise ValueError("`start` must be before `end`")
        if self.timezone is not None and self.timezone not in available_timezones():
            raise ValueError("`timezone` must be an IANA name like America/New_York")
        return self

    def window(self) -> Window:
        days = frozenset(WEEK.index(day) + 1 for day in self.days)
        return Window(_minute(self.start), _minute(self.end), days, self.timezone)


def _minute(time: str) -> int:
    return int(time[:2]) * 60 + int(time[3:])


class BatchRetry(BaseModel, extra="forbid"):
    """After which ends of a call its number is called again, how often in all, and how long after the end."""

    outcomes: list[Retriable] = Field(default_factory=lambda: [*UNREACHED], max_length=len(RETRIABLE))
    attempts: StrictInt = Field(2, ge=1, le=MOST_ATTEMPTS)
    wait_seconds: StrictInt = Field(900, ge=SHORTEST_RETRY_SECONDS, le=LONGEST_RETRY_SECONDS)


class BatchTerms(CallTerms):
    """All of a batch but its numbers. `window` null: at any hour. `skip_refused`: make it without the rows that are
    refused, instead of not at all."""

    name: Annotated[StrictStr, StringConstraints(strip_whitespace=True, max_length=120)] = ""
    window: BatchWindow | None = Field(default_factory=BatchWindow)
    max_concurrent: StrictInt = Field(5, ge=1, le=MOST_CONCURRENT)
    calls_per_second: StrictInt = Field(1, ge=1, le=MOST_A_SECOND)
    retry: BatchRetry | None = None
    skip_refused: StrictBool = False

    def calling_window(self) -> Window | None:
        return None if self.window is None else self.window.window()

    def columns(self, wanted: Wanted, quote: Quote) -> dict[str, Any]:
        """Of the batch, but who it is. `wanted`: one of its calls."""
        window, retry = self.calling_window(), self.retry or BatchRetry(outcomes=[], attempts=1)
        return {
            "name": self.name,
            "api_key_id": wanted.snapshot["api_key_id"],
            "agent_id": wanted.agent_id,
            "from_number": wanted.from_number,
            "max_duration_seconds": wanted.max_duration_seconds,
            "snapshot": {name: value for name, value in wanted.snapshot.items() if name != "context"},
            "window_days": None if window is None else "".join(map(str, sorted(window.days))),
            "window_start_minute": None if window is None else window.start_minute,
            "window_end_minute": None if window is None else window.end_minute,
            "window_timezone": None if window is None else window.timezone,
            "max_concurrent": self.max_concurrent,
            "calls_per_second": self.calls_per_second,
            "retry_outcomes": " ".join(sorted(set(retry.outcomes))),
            "retry_attempts": retry.attempts,
            "retry_wait_seconds": retry.wait_seconds,
            "hold_milli_cents": quote.hold_milli_cents,
        }


ReadRows = Callable[[Any, tuple[str, ...], Window | None], Sheet]


def batches_service() -> "Batches":
    """The service of the running application."""
    service: Batches = current_app.extensions["batches"]
    return service


@dataclass(frozen=True, slots=True)
class Batches:
    """The service of one process. Every method raises ApiError; a batch of somebody else is not found."""

    database: Database
    door: Door
    calls: Calls
    settings: Settings
    clock: Clock = now_ms

    async def sheet(self, read: ReadRows, given: Any, terms: BatchTerms) -> Sheet:
        """The rows of JSON or of a file (`read`); thousands of numbers take a moment, so off this thread."""
        return await asyncio.to_thread(read, given, self.settings.allowed_countries, terms.calling_window())

    async def quote(self, org_id: str, key_id: str | None, terms: BatchTerms, sheet: Sheet) -> dict[str, Any]:
        """What the batch would hold and cost at most, and which rows would not be called. Changes nothing."""
        listed = await self._listed(org_id, sheet)
        good = [row for row in sheet.good if row.to not in listed]
        refused_rows = [*sheet.refused, *(_do_not_call(row) for row in sheet.good if row.to in listed)]
        wanted = self._wanted(terms, key_id, (good or sheet.good)[0] if sheet.good else _NOBODY)
        quote = await self.calls.quote(org_id, wanted)
        async with self.database.read() as connection:
            wallet = await read_wallet(connection, org_id) or Wallet(0, 0, 0)
            timezone = await timezone_of(connection, org_id)
        worst, hold = quote.hold_milli_cents * len(good), quote.hold_milli_cents
        refusal = quote.refusal if good else None
        return {
            "calls": len(good),
            "refused_rows": len(refused_rows),
            "refused": [_refused_object(row) for row in sorted(refused_rows)[:REFUSED_SHOWN]],
            "hold_milli_cents": hold,
            "worst_case_milli_cents": worst,
            "rate_milli_cents_per_minute": quote.rate_milli_cents_per_minute,
            "max_duration_seconds": quote.max_duration_seconds,
            "available_milli_cents": wallet.available,
            "shortfall_milli_cents": max(0, worst - wallet.available),
            "calls_at_once": min(terms.max_concurrent, len(good), max(0, wallet.available // hold)),
            "first_call_at": iso(self._first_call_at(terms.calling_window(), good, timezone)),
            "code": refusal.code if refusal else None,
            "message": refusal.message if refusal else None,
        }

    async def create(
        self,
        org_id: str,
        key_id: str | None,
        terms: BatchTerms,
        sheet: Sheet,
        body_digest: str,
        idempotency_key: str | None = None,
    ) -> tuple[dict[str, Any], bool]:
        """(the batch, whether an earlier request with this key had made it)."""
        if sheet.refused and not (terms.skip_refused and sheet.good):
            raise _rows_refused(sheet)
        wanted = self._wanted(terms, key_id, sheet.good[0])
        quote = await self.calls.quote(org_id, wanted)
        if quote.refusal is not None and quote.refusal.code in NOT_ONES_OWN:
            raise quote.refusal
        rows = tuple((row.line, row.to, row.context, row.zones) for row in sheet.good)
        batch_id, columns = new_id(), terms.columns(wanted, quote)
        await self._check_room(org_id, idempotency_key)
        command = CreateBatch(batch_id, org_id, columns, rows, body_digest, idempotency_key)
        made = await self.door.submit(command)
        if made is None:
            raise refused("idempotency_key_reused", "This Idempotency-Key was used with another request body.")
        return await self.show(org_id, made), made != batch_id

    async def _check_room(self, org_id: str, key: str | None) -> None:
        async with self.database.read() as connection:
            if await count_unfinished(connection, org_id, key) >= MOST_UNFINISHED:
                message = f"There are {MOST_UNFINISHED} batches that are not finished. Cancel one, or wait."
                raise refused("too_many_batches", message)

    async def row(self, org_id: str, batch_id: str) -> dict[str, Any]:
        async with self.database.read() as connection:
            row = await find_batch(connection, org_id, batch_id)
        if row is None:
            raise not_found("batch", batch_id)
        return row

    async def show(self, org_id: str, batch_id: str) -> dict[str, Any]:
        batch = await self.row(org_id, batch_id)
        async with self.database.read() as connection:
            progress = await progress_of(connection, [batch])
        return batch_object(batch, progress[batch_id])

    async def switch(self, org_id: str, batch_id: str, action: Literal["pause", "resume", "cancel"]) -> dict[str, Any]:
        """Raises ApiError 409 for a batch that is over."""
        is_done = await self.door.submit(SwitchBatch(batch_id, org_id, action))
        if is_done is None:
            raise not_found("batch", batch_id)
        if not is_done:
            raise refused("batch_over", "The batch is over and stays as it is.")
        return await self.show(org_id, batch_id)

    # -- steps --------------------------------------------------------------------------------------------------------

    def _wanted(self, terms: BatchTerms, key_id: str | None, row: GoodRow) -> Wanted:
        return terms.wanted_call(row.to, row.context, key_id, self.settings.allow_private_urls)

    async def _listed(self, org_id: str, sheet: Sheet) -> set[str]:
        """Those of its numbers that are on the do-not-call list."""
        numbers = [row.to for row in sheet.good]
        query = select(do_not_call.c.e164).where(
            do_not_call.c.org_id == org_id, do_not_call.c.removed_at.is_(None), do_not_call.c.e164.in_(numbers)
        )
        async with self.database.read() as connection:
            return set((await connection.execute(query)).scalars())

    def _first_call_at(self, window: Window | None, good: list[GoodRow], timezone: str) -> int | None:
        if not good or window is None:
            return self.clock() if good else None
        places = {tuple(row.zones.split()) or (timezone,) for row in good}
        return min(at for place in places if (at := window.opens_at(place, self.clock())) is not None)


_NOBODY = GoodRow(0, "", {}, "")


def _do_not_call(row: GoodRow) -> RefusedRow:
    return RefusedRow(row.line, row.to, "number_not_allowed", "This number is on your do-not-call list.")


def _refused_object(row: RefusedRow) -> Mapping[str, Any]:
    return row._asdict()


def _rows_refused(sheet: Sheet) -> ApiError:
    first = sheet.refused[0]
    others = len(sheet.refused) - 1
    more = f" So are {others} more." if others > 1 else " So is one more." if others else ""
    return ApiError(
        400,
        "batch_rows_refused",
        f"Line {first.line} is refused: {first.message}{more} Nothing was made.",
        refused=[_refused_object(row) for row in sheet.refused[:REFUSED_SHOWN]],
        refused_rows=len(sheet.refused),
    )
