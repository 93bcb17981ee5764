"""Virtual time: an event loop whose clock jumps to whatever is due next, and the dice of one seed.

Invariant: nothing here waits, and nothing is random but by the seed.
"""

import asyncio
import selectors
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any
from uuid import UUID

EPOCH_MS = 1_800_000_000_000


class Died(BaseException):
    """The process is no more."""


class Gone(Exception):
    """Whoever asked will never know."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """An hour of waiting takes no time. Nothing outside of the loop can wake it: no threads, no sockets."""

    def __init__(self) -> None:
        self.passed_seconds = 0.0
        super().__init__(_NothingToSelect(self))

    def time(self) -> float:
        return self.passed_seconds

    def now_ms(self) -> int:
        return EPOCH_MS + int(self.passed_seconds * 1000)


class _NothingToSelect(selectors.SelectSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("everybody waits for something that will never happen")
        self._loop.passed_seconds += max(0.0, timeout)
        return []


class Trouble:
    """What goes wrong, by name and probability. `counts` says how often it did."""

    def __init__(self, dice: Random, rates: dict[str, float], clock: Callable[[], int]) -> None:
        self.dice, self.rates, self._clock = dice, rates, clock
        self.counts: Counter[str] = Counter()
        self.is_over = False
        self._struck_at: list[int] = []

    def strikes(self, name: str) -> bool:
        if self.is_over or self.dice.random() >= self.rates[name]:
            return False
        self.counts[name] += 1
        self._struck_at.append(self._clock())
        return True

    def struck_between(self, begin: int, end: int) -> bool:
        place = bisect_left(self._struck_at, begin)
        return place < len(self._struck_at) and self._struck_at[place] <= end


class Ids:
    """UUIDv7s that are the same in every run."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop, self._made = loop, 0

    def __call__(self) -> UUID:
        self._made += 1
        return UUID(int=self._loop.now_ms() << 80 | 7 << 76 | 2 << 62 | self._made)
