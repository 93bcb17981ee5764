"""How the agent's text sounds at the far end: clause after clause, at the speed of speech.

Invariant: what has not sounded when somebody cuts in never sounds; the report of an interruption covers only the
clause that was being played, as on the real network.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from simulator.clock import Clock

WORDS_PER_SECOND = 2.7
FIRST_SOUND_SECONDS = 0.35
_CLAUSE = re.compile(r"[^.!?,;:]+[.!?,;:]*\s*")

Tell = Callable[[dict[str, Any]], Awaitable[None]]


def speaking_seconds(text: str) -> float:
    """How long it takes to say."""
    return max(0.3, len(text.split()) / WORDS_PER_SECOND)


@dataclass(frozen=True, slots=True)
class _Clause:
    text: str
    interruptible: bool
    preemptible: bool


class Mouth:
    """Plays text frames; tells the server what the relay would: speaker events and clauses played."""

    def __init__(self, clock: Clock, tell: Tell, heard: Callable[[str], None] = lambda text: None) -> None:
        """`heard` is given every text that has sounded, whole clauses and what was heard of a cut one."""
        self._clock, self._tell, self._heard = clock, tell, heard
        self._buffer = ""
        self._is_open = False  # an utterance without its last token
        self._waiting: deque[_Clause] = deque()
        self._playing: tuple[_Clause, float] | None = None
        self._news, self._cut, self._quiet = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._quiet.set()

    @property
    def is_speaking(self) -> bool:
        return not self._quiet.is_set()

    @property
    def is_in_the_middle(self) -> bool:
        """Something was begun that has not sounded to its end."""
        return self.is_speaking or self._is_open

    @property
    def may_be_cut(self) -> bool:
        """What sounds now may be interrupted."""
        return self._playing is not None and self._playing[0].interruptible

    async def quiet(self) -> None:
        """Wait until everything that was sent has sounded."""
        await self._quiet.wait()

    def take(self, frame: dict[str, Any]) -> None:
        """A `text` frame. What may be preempted gives way to it."""
        if not self._is_open and frame.get("token"):
            self._waiting = deque(clause for clause in self._waiting if not clause.preemptible)
            if self._playing is not None and self._playing[0].preemptible:
                self._cut.set()
        is_last = bool(frame.get("last"))
        self._is_open = not is_last
        self._buffer += str(frame.get("token", ""))
        clauses = _CLAUSE.findall(self._buffer)
        if not is_last:
            clauses = clauses[:-1]  # it may go on
        self._buffer = "" if is_last else self._buffer[len("".join(clauses)) :]
        for text in clauses:
            if text.strip():
                self._quiet.clear()
                flags = bool(frame.get("interruptible", True)), bool(frame.get("preemptible", False))
                self._waiting.append(_Clause(text.strip(), *flags))
        self._news.set()

    async def play(self) -> None:
        """Until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            if not self._waiting:
                self._quiet.set()
                continue
            await self._tell(_info("agentSpeaking", "on"))
            await self._clock.sleep(FIRST_SOUND_SECONDS)
            while self._waiting:
                await self._sound(self._waiting.popleft())
            await self._tell(_info("agentSpeaking", "off"))
            self._quiet.set()

    async def _sound(self, clause: _Clause) -> None:
        self._playing = clause, self._clock.now()
        self._cut.clear()
        try:
            seconds = self._clock.real_seconds_until(self._clock.now() + speaking_seconds(clause.text))
            await asyncio.wait_for(self._cut.wait(), seconds)
        except TimeoutError:
            self._playing = None
            self._heard(clause.text)
            await self._tell(_info("tokensPlayed", clause.text))
        finally:
            self._playing = None

    async def interrupt(self) -> bool:
        """Somebody speaks (or presses a key) over it. False if there was nothing to cut off, or it may not be."""
        if not self.is_speaking or not (self._playing or self._waiting):
            return False
        if not (self._playing[0] if self._playing else self._waiting[0]).interruptible:
            return False
        heard, since = "", self._clock.now()
        if self._playing is not None:
            clause, since = self._playing
            words = clause.text.split()
            heard = " ".join(words[: int((self._clock.now() - since) * WORDS_PER_SECOND)])
        self._playing, self._buffer = None, ""
        self._waiting.clear()
        self._cut.set()
        duration_ms = round((self._clock.now() - since) * 1000)
        if heard:
            self._heard(heard)
            await self._tell(_info("tokensPlayed", heard))
        await self._tell(
            {"type": "interrupt", "utteranceUntilInterrupt": heard, "durationUntilInterruptMs": str(duration_ms)}
        )
        return True


def _info(name: str, value: str) -> dict[str, Any]:
    return {"type": "info", "name": name, "value": value}
