"""Virtual time: how long things take on the simulated network.

Invariant: no wait is ever longer, in real seconds, than its virtual length divided by the speed.
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
        self.speed = speed
        self._monotonic = monotonic
        self._epoch = epoch
        self._started = monotonic()
        self.started_epoch_ms = self.epoch_ms()

    def now(self) -> float:
        """Virtual seconds since this clock was made."""
        return (self._monotonic() - self._started) * self.speed

    def epoch_ms(self) -> int:
        """The real time of day, UTC epoch milliseconds."""
        return int(self._epoch() * 1000)

    def real_seconds_until(self, at: float) -> float:
        """Real seconds from now to the virtual moment `at`; 0 if it has passed."""
        return max(0.0, (at - self.now()) / self.speed)

    async def sleep(self, seconds: float) -> None:
        """Wait a number of virtual seconds."""
        await asyncio.sleep(max(0.0, seconds) / self.speed)

    async def sleep_until(self, at: float) -> None:
        """Wait for a virtual moment; one that has passed returns at once."""
        await asyncio.sleep(self.real_seconds_until(at))
