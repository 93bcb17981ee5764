"""How a batch goes on: one pure function from (rules, standing, rows, now) to whom to call, and when to look again.

Invariant: never more calls at once than `max_concurrent`, never two dials within a second's share of
`calls_per_second`, nobody outside the window of every place where they may be, no row twice at once, and no row more
often than its attempts.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

LIVE_LOOK_MS = 1_000
"""How often calls under way are looked at."""
HELD_UP_LOOK_MS = 2_000
"""How soon after a top-up, or after a call that gave its hold back, a batch goes on."""
LEASE_MS = 60_000
"""Whoever has taken up a row and has said nothing for this long has died."""
TROUBLE_WAIT_MS = 30_000
"""How long a row waits after trouble of the moment that is nobody's attempt."""


class BatchState(StrEnum):
    RUNNING = "running"
    WAITING_FOR_WINDOW = "waiting_for_window"
    """Nobody who is left may be called at this hour."""
    WAITING_FOR_ROOM = "waiting_for_room"
    """The wallet, a cap or a limit has no room for the next call; it goes on by itself."""
    PAUSED = "paused"
    COMPLETED = "completed"
    CANCELED = "canceled"

    @property
    def is_final(self) -> bool:
        return self in (BatchState.COMPLETED, BatchState.CANCELED)


class RowState(StrEnum):
    WAITING = "waiting"
    DIALLING = "dialling"
    """Taken up; whether its call has been placed is known to whoever took it up."""
    CALLING = "calling"
    DONE = "done"
    SKIPPED = "skipped"
    """Never to be called: on the do-not-call list, or refused."""


class Outcome(StrEnum):
    """How a row's latest call ended."""

    COMPLETED = "completed"
    VOICEMAIL = "voicemail"
    FAX = "fax"
    NO_ANSWER = "no_answer"
    BUSY = "busy"
    FAILED = "failed"
    CANCELED = "canceled"


RETRIABLE = (Outcome.NO_ANSWER, Outcome.BUSY, Outcome.VOICEMAIL, Outcome.FAILED)
"""All of them free, so a row is charged for one call at most."""


@dataclass(frozen=True, slots=True)
class Window:
    """Local hours in which people may be called: days are ISO (1 Monday), minutes since midnight, the end is outside.

    `timezone`: everybody's; None: each callee's own.
    """

    start_minute: int
    end_minute: int
    days: frozenset[int] = frozenset(range(1, 8))
    timezone: str | None = None

    def is_open(self, zones: Iterable[str], at: int) -> bool:
        """Whether it is in all of these zones."""
        return all(self._is_open_in(zone, at) for zone in ((self.timezone,) if self.timezone else zones))

    def opens_at(self, zones: Sequence[str], at: int) -> int | None:
        """The first moment from `at` on at which it is open in all of these zones; None: not within eight days."""
        zones = (self.timezone,) if self.timezone else zones
        if self.is_open(zones, at):
            return at
        starts = sorted(start for zone in zones for start in self._starts(zone, at) if start > at)
        return next((start for start in starts if self.is_open(zones, start)), None)

    def _is_open_in(self, zone: str, at: int) -> bool:
        local = datetime.fromtimestamp(at / 1000, UTC).astimezone(ZoneInfo(zone))
        minute = local.hour * 60 + local.minute
        return local.isoweekday() in self.days and self.start_minute <= minute < self.end_minute

    def _starts(self, zone: str, at: int) -> list[int]:
        today = datetime.fromtimestamp(at / 1000, UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None)
        midnight = today.replace(hour=0, minute=0, second=0, microsecond=0)
        starts = (midnight + timedelta(days=day, minutes=self.start_minute) for day in range(9))
        return [round(start.replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000) for start in starts]


@dataclass(frozen=True, slots=True)
class Rules:
    """What was asked for. `retry_attempts`: calls to one number at most, the first one counted."""

    max_concurrent: int
    calls_per_second: int
    retry_outcomes: frozenset[str] = frozenset()
    retry_attempts: int = 1
    retry_wait_ms: int = 0
    window: Window | None = None

    @property
    def spacing_ms(self) -> int:
        return -(-1000 // self.calls_per_second)

    def may_call(self, zones: Sequence[str], at: int) -> bool:
        return self.window is None or self.window.is_open(zones, at)

    def may_call_at(self, zones: Sequence[str], at: int) -> int | None:
        """The first moment from `at` on; None: never."""
        return at if self.window is None else self.window.opens_at(zones, at)

    def retry_at(self, outcome: str, attempts: int, now: int) -> int | None:
        """When a row whose call ended so is called again; None: that was its last call."""
        again = outcome in self.retry_outcomes and attempts < self.retry_attempts
        return now + self.retry_wait_ms if again else None


@dataclass(frozen=True, slots=True)
class Standing:
    """What holds for the whole batch just now."""

    next_dial_at: int
    is_paused: bool = False
    is_canceled: bool = False
    is_held_up: bool = False


@dataclass(frozen=True, slots=True)
class Waiting:
    """A row that waits, or the most urgent one of many in the same zones."""

    zones: tuple[str, ...]
    due_at: int
    id: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """Rows to call now, in order; when to look again (None: no need to); what to tell people."""

    dial: tuple[str, ...]
    look_at: int | None
    state: BatchState


def plan(
    rules: Rules, standing: Standing, groups: Sequence[Waiting], candidates: Sequence[Waiting], live: int, now: int
) -> Plan:
    """`groups`: all rows that wait, by their zones; `candidates`: some that are due, in order; `live`: rows being
    called."""
    live_look = now + LIVE_LOOK_MS if live else None
    if standing.is_canceled:
        return Plan((), live_look, BatchState.CANCELED)
    if not groups and not live:
        return Plan((), None, BatchState.COMPLETED)
    if standing.is_paused:
        return Plan((), live_look, BatchState.PAUSED)
    ready = [row.id for row in candidates if row.due_at <= now and rules.may_call(row.zones, now)]
    dial = tuple(ready[:1]) if live < rules.max_concurrent and now >= standing.next_dial_at else ()
    next_dial_at = now + rules.spacing_ms if dial else standing.next_dial_at
    looks = [now + LIVE_LOOK_MS] if live or dial else []
    if live + len(dial) < rules.max_concurrent:
        times = (rules.may_call_at(group.zones, max(now, group.due_at, next_dial_at)) for group in groups)
        looks += [max(now + 1, at) for at in times if at is not None]
    return Plan(dial, min(looks, default=None), _state(rules, standing, groups, live + len(dial), now))


def _state(rules: Rules, standing: Standing, groups: Sequence[Waiting], live: int, now: int) -> BatchState:
    if standing.is_held_up:
        return BatchState.WAITING_FOR_ROOM
    if not live and not any(rules.may_call(group.zones, now) for group in groups):
        return BatchState.WAITING_FOR_WINDOW
    return BatchState.RUNNING


def outcome_of(call: Mapping[str, Any]) -> Outcome | None:
    """How a call ended, None while it has not. `call`: its columns status and verdict."""
    if call["status"] not in _ENDS:
        return None
    if call["status"] == Outcome.NO_ANSWER and call["verdict"] in _MACHINES:
        return _MACHINES[call["verdict"]]
    return Outcome(call["status"])


_ENDS = frozenset({"completed", "no_answer", "busy", "failed", "canceled"})
_MACHINES = {"machine": Outcome.VOICEMAIL, "fax": Outcome.FAX}
