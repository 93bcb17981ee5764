"""Virtual time: how long things take on the simulated network.

Invariant: no wait is ever longer, in real seconds, than its virtual length divided by the least speed since it began.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


class Clock:
    """Virtual seconds since the start, running `speed` times as fast as real ones."""

    def __init__(
        self,
        speed: float = 1.0,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        epoch: Callable[[], float] = time.time,
    ) -> None:
        """Raises ValueError unless `speed` is above 0."""
        if not speed > 0:
            raise ValueError("speed must be above 0")
        self._usual = self._pace = speed
        self._monotonic = monotonic
        self._epoch = epoch
        self._paced_at, self._passed = monotonic(), 0.0
        self.started_epoch_ms = self.epoch_ms()

    @property
    def speed(self) -> float:
        """The usual one, from here on if set; see `run_at`."""
        return self._usual

    @speed.setter
    def speed(self, speed: float) -> None:
        self._usual = speed
        self.run_at(speed)

    def now(self) -> float:
        """Virtual seconds since this clock was made."""
        return self._passed + (self._monotonic() - self._paced_at) * self._pace

    def run_at(self, pace: float) -> bool:
        """From here on this many virtual seconds pass in a real one. False if they did already."""
        if pace == self._pace:
            return False
        self._paced_at, self._passed = self._monotonic(), self.now()
        self._pace = pace
        return True

    def epoch_ms(self) -> int:
        """The real time of day, UTC epoch milliseconds."""
        return int(self._epoch() * 1000)

    def real_seconds_until(self, at: float) -> float:
        """Real seconds from now to the virtual moment `at`; 0 if it has passed."""
        return max(0.0, (at - self.now()) / self._pace)

    async def sleep(self, seconds: float) -> None:
        """Wait a number of virtual seconds."""
        await self.sleep_until(self.now() + seconds)

    async def sleep_until(self, at: float) -> None:
        """Wait for a virtual moment; one that has passed returns at once."""
        await asyncio.sleep(self.real_seconds_until(at))
        if self.real_seconds_until(at) > 0:  # time has slowed down meanwhile
            await self.sleep_until(at)
