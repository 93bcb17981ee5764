"""Reading results off finished calls.

Invariant: every completed call that was to find something out gets a result, completed or failed, in bounded time,
from a transcript that is whole; only then is its completion told.
"""

import asyncio
from typing import Any

import structlog

from config.clock import Clock, now_ms
from config.database import Database
from config.door import Door
from voice.call import Call
from voice.calls import find_call
from voice.live.llm import LanguageModel
from voice.live.store import StoreResult, has_open_session, talk_of
from voice.results import Extraction, Line, extract

log = structlog.get_logger(__name__)

GIVE_UP_MS = 30 * 60_000
EXTRACTIONS_AT_ONCE = 8
LAST_WORDS_MS = 15_000
"""How long after the end a conversation may take to store its last words; one that takes longer died."""
LOOK_SECONDS = 0.1


class Extractor:
    def __init__(self, database: Database, door: Door, model: LanguageModel | None, clock: Clock = now_ms) -> None:
        self._database, self._door, self._model, self._clock = database, door, model, clock
        self._places = asyncio.Semaphore(EXTRACTIONS_AT_ONCE)

    async def read_off(self, call: Call) -> None:
        """Store the call's result. What fails for reasons of the moment is tried again when it is due."""
        await self._last_words(call)
        async with self._database.read() as connection:
            row = await find_call(connection, call.org_id, call.id)
            said = await talk_of(connection, call.id)
        if row is None or not row["awaits_result"]:
            return
        found = await self._found(row, said)
        await self._door.submit(StoreResult(call.id, call.org_id, found.status, found.result, found.error))

    async def _last_words(self, call: Call) -> None:
        while self._clock() - (call.ended_at or 0) < LAST_WORDS_MS:
            async with self._database.read() as connection:
                if not await has_open_session(connection, call.id):
                    return
            await asyncio.sleep(LOOK_SECONDS)

    async def _found(self, row: dict[str, Any], said: list[dict[str, Any]]) -> Extraction:
        returns = row["returns"] or {}
        empty = dict.fromkeys(returns)
        if self._model is None:
            return Extraction("failed", empty, "this server has no language model")
        if row["ended_at"] is not None and self._clock() - row["ended_at"] > GIVE_UP_MS:
            return Extraction("failed", empty, "the result could not be read in time")
        lines = [Line(each["role"], each["text"], each["cut_text"] is not None) for each in said]
        async with self._places:
            return await extract(self._model, returns, lines, asyncio.sleep, row["instructions"] or row["prompt"] or "")
