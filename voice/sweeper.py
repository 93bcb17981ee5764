"""Looks at every call whose time has come: late verdicts, deadlines, hang-ups to repeat, silent calls to ask about.

Invariant: silence ends nothing by itself; it only leads to asking the carrier. Looking is a command like any other,
so however many processes sweep, each call is asked about once in each span.
"""

import asyncio
from collections import Counter

import structlog

from config.clock import Clock, new_id, now_ms
from config.database import Database, Unavailable
from config.door import Busy, Door, Down
from voice.call import Policy
from voice.calls import DUE, SILENT
from voice.effects import Ask, HangUp
from voice.events import TimePassed
from voice.move_call import MoveCall
from voice.outbox import Outbox
from voice.outcomes import Moved

log = structlog.get_logger(__name__)

TICK_SECONDS = 1.0
ROUNDS = 20
LOOKED_AT_ONCE = 500
PAGES = 200
"""Of a look, so that it ends even if what it finds stays due."""


class Sweeper:
    def __init__(self, database: Database, door: Door, outbox: Outbox, policy: Policy, clock: Clock = now_ms) -> None:
        self._database, self._door, self._outbox, self._policy, self._clock = database, door, outbox, policy, clock

    async def run(self, interval_seconds: float) -> None:
        """Deadlines every second, silent calls every `interval_seconds`, until cancelled."""
        next_sweep = 0.0
        loop = asyncio.get_running_loop()
        while True:
            try:
                await self.look(silent=False)
                if loop.time() >= next_sweep:
                    next_sweep = loop.time() + interval_seconds
                    await self.look(silent=True)
            except (Unavailable, Busy, Down) as error:
                log.warning("sweep_postponed", error=str(error))
            except Exception:  # holds close only because somebody looks: whatever it was, the next look must come
                log.exception("sweep_failed")
            await asyncio.sleep(TICK_SECONDS)

    async def look(self, *, silent: bool) -> Counter[str]:
        """Look once at all calls that are due, the longest due first. Counts: `looked`, `asked`, `hung_up`,
        `failed`."""
        counts: Counter[str] = Counter()
        for _ in range(PAGES):  # who was looked at is due later; who could not be is passed over
            found = await self._look_at_some(silent=silent, skipped=counts["failed"])
            counts += found
            if found["looked"] + found["failed"] < LOOKED_AT_ONCE:
                break
        return counts

    async def _look_at_some(self, *, silent: bool, skipped: int) -> Counter[str]:
        counts: Counter[str] = Counter()
        which = {"now": self._clock(), "limit": LOOKED_AT_ONCE, "skipped": skipped}
        found = await self._database.look_up(SILENT if silent else DUE, **which)
        due = [row["id"] for row in found]
        commands = [MoveCall(TimePassed(), self._policy, new_id(), call_id=call_id) for call_id in due]
        results = await asyncio.gather(*(self._door.submit(command) for command in commands), return_exceptions=True)
        for call_id, result in zip(due, results, strict=True):
            if isinstance(result, Unavailable | Busy | Down):
                raise result
            if isinstance(result, BaseException):  # one sick call must not keep the others waiting
                log.error("call_not_swept", call_id=call_id, error=type(result).__name__)
                counts["failed"] += 1
            if isinstance(result, Moved):
                counts["looked"] += 1
                counts["asked"] += any(isinstance(effect, Ask) for effect in result.effects)
                counts["hung_up"] += any(isinstance(effect, HangUp) for effect in result.effects)
        return counts

    async def sweep(self) -> Counter[str]:
        """Everything that is due now, and what the carrier's answers make due; waits for the answers."""
        counts: Counter[str] = Counter()
        for _ in range(ROUNDS):
            found = await self.look(silent=False) + await self.look(silent=True)
            if not found["looked"]:
                break
            counts += found
            await self._outbox.idle()
        return counts
