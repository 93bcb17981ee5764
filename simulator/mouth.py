"""How the agent's text sounds at the far end: clause after clause, at the speed of speech.

Invariant: what has not sounded when somebody cuts in never sounds; the report of an interruption covers only the
clause that was being played, as on the real network.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

from simulator.clock import Clock

WORDS_PER_SECOND = 2.7
FIRST_SOUND_SECONDS = 0.35
_CLAUSE = re.compile(r"[^.!?,;:]+[.!?,;:]*\s*")

Tell = Callable[[dict[str, Any]], Awaitable[None]]


class Mouth:
    """Plays text frames; tells the server what the relay would: speaker events and clauses played."""

    def __init__(self, clock: Clock, tell: Tell) -> None:
        self._clock, self._tell = clock, tell
        self._buffer = ""
        self._clauses: asyncio.Queue[str] = asyncio.Queue()
        self._playing: tuple[str, float] | None = None
        self._quiet = asyncio.Event()
        self._quiet.set()
        self.interruptible = True

    @property
    def is_speaking(self) -> bool:
        return not self._quiet.is_set()

    async def quiet(self) -> None:
        """Wait until everything that was sent has sounded."""
        await self._quiet.wait()

    def take(self, frame: dict[str, Any]) -> None:
        """A `text` frame."""
        self._buffer += str(frame.get("token", ""))
        self.interruptible = bool(frame.get("interruptible", True))
        clauses = _CLAUSE.findall(self._buffer)
        if not frame.get("last"):
            clauses = clauses[:-1]  # it may go on
        self._buffer = self._buffer[len("".join(clauses)) :] if not frame.get("last") else ""
        for clause in clauses:
            if clause.strip():
                self._quiet.clear()
                self._clauses.put_nowait(clause.strip())

    async def play(self) -> None:
        """Until cancelled."""
        while True:
            clause = await self._clauses.get()
            await self._tell(_info("agentSpeaking", "on"))
            await self._clock.sleep(FIRST_SOUND_SECONDS)
            while True:
                self._playing = clause, self._clock.now()
                await self._clock.sleep(_seconds(clause))
                if self._playing is None:  # cut off
                    break
                self._playing = None
                await self._tell(_info("tokensPlayed", clause))
                if self._clauses.empty():
                    break
                clause = self._clauses.get_nowait()
            if self._clauses.empty():
                self._quiet.set()
                await self._tell(_info("agentSpeaking", "off"))

    async def interrupt(self) -> bool:
        """Somebody speaks over it. False if there was nothing to cut off, or it may not be."""
        if not self.is_speaking or not self.interruptible:
            return False
        heard, since = "", 0.0
        if self._playing is not None:
            clause, since = self._playing
            words = clause.split()
            spoken = int(max(0.0, self._clock.now() - since) * WORDS_PER_SECOND)
            heard = " ".join(words[: min(spoken, len(words))])
        self._playing = None
        self._buffer = ""
        while not self._clauses.empty():
            self._clauses.get_nowait()
        duration = int(max(0.0, self._clock.now() - since) * 1000) if since else 0
        await self._tell(_info("clientSpeaking", "on"))
        await self._tell(
            {"type": "interrupt", "utteranceUntilInterrupt": heard, "durationUntilInterruptMs": str(duration)}
        )
        return True


def _seconds(text: str) -> float:
    return max(0.3, len(text.split()) / WORDS_PER_SECOND)


def _info(name: str, value: str) -> dict[str, Any]:
    return {"type": "info", "name": name, "value": value}
