"""Brings batches on: ends rows whose calls have ended, takes up the next, and places their calls.

Invariant: a row's call is placed only by the process that the door gave the row to, under a key that names the row and
the time it was taken up; so a death between taking up and placing neither loses nor repeats a call. Any number of
processes may do this at once.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

import structlog
from sqlalchemy import select

from billing.spending import CODES as LIMIT_CODES
from config.clock import Clock, now_ms
from config.database import Database, Unavailable
from config.door import Busy, Door, Down
from config.errors import ApiError
from voice.batches.commands import Dialled, HoldUp, LookAtBatch, TellDialled, key_of, rules_of
from voice.batches.plan import LEASE_MS, TROUBLE_WAIT_MS, BatchState, RowState
from voice.batches.queries import DUE_BATCHES, NEXT_LOOK, Outlook, due_rows, look_out
from voice.batches.tables import batch_calls
from voice.service import Calls, Wanted
from voice.tables import idempotency_keys

log = structlog.get_logger(__name__)

LONGEST_SLEEP_SECONDS = 0.5
SHORTEST_SLEEP_SECONDS = 0.02
LOOKS_AT_ONCE = 8

_COUNTRIES = {codes[0] for codes in LIMIT_CODES.values()}
MEANS: Mapping[str, Dialled] = {
    "calls_paused": Dialled.HELD_UP,
    "organisation_suspended": Dialled.HELD_UP,
    **{code: Dialled.HELD_UP for codes in LIMIT_CODES.values() for code in codes[1:]},
    **dict.fromkeys(("country_not_allowed", "invalid_number", "number_not_allowed", *_COUNTRIES), Dialled.SKIPPED),
    **dict.fromkeys(("call_unresolved", "carrier_busy", "carrier_unreachable"), Dialled.LATER),
    **dict.fromkeys(("carrier_refused", "number_not_verified", "number_unreachable"), Dialled.FAILED),
}
"""What the refusal of a call means for its row or its batch; any other stops the batch until somebody mends it."""


class BatchRunner:
    def __init__(self, database: Database, door: Door, calls: Calls, clock: Clock = now_ms) -> None:
        self._database, self._door, self._calls, self._clock = database, door, calls, clock
        self._placing: set[asyncio.Task[None]] = set()
        self._sick: dict[str, int] = {}
        self._places = asyncio.Semaphore(LOOKS_AT_ONCE)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            seconds = LONGEST_SLEEP_SECONDS
            try:
                await self.look()
                seconds = await self._until_next()
            except (Unavailable, Busy, Down) as error:
                log.warning("batches_postponed", error=str(error))
            except Exception:  # the next look must come, whatever it was
                log.exception("batches_failed")
            await asyncio.sleep(seconds)

    async def _until_next(self) -> float:
        [found] = await self._database.look_up(NEXT_LOOK)
        at: int | None = found["look_at"]
        seconds = LONGEST_SLEEP_SECONDS if at is None or self._sick else (at - self._clock()) / 1000
        return min(max(seconds, SHORTEST_SLEEP_SECONDS), LONGEST_SLEEP_SECONDS)

    async def look(self) -> int:
        """Look once at every batch that is due. Gives how many there were."""
        now = self._clock()
        found = await self._database.look_up(DUE_BATCHES, now=now)
        due = {row["id"]: row["org_id"] for row in found if self._sick.get(row["id"], 0) <= now}
        results = await asyncio.gather(*(self._look_at(*each) for each in due.items()), return_exceptions=True)
        for batch_id, result in zip(due, results, strict=True):
            if isinstance(result, Unavailable | Busy | Down):
                raise result
            if isinstance(result, BaseException):  # one sick batch must not keep the others waiting
                log.error("batch_not_moved", batch_id=batch_id, error=type(result).__name__)
                self._sick[batch_id] = now + TROUBLE_WAIT_MS
            else:
                self._sick.pop(batch_id, None)
        return len(due)

    async def idle(self) -> None:
        """Wait until every call that was taken up here has been placed."""
        while self._placing:
            await asyncio.gather(*self._placing, return_exceptions=True)

    async def _look_at(self, batch_id: str, org_id: str) -> None:
        async with self._places:
            now = self._clock()
            async with self._database.read() as connection:
                found = await look_out(connection, batch_id)
                if found is None or await self._has_lost_its_key(found):
                    return
                rules = rules_of(found.batch)
                may_dial = len(found.live) < rules.max_concurrent and now >= found.batch["next_dial_at"]
                open_zones = [group.id for group in found.groups if may_dial and rules.may_call(group.zones, now)]
                candidates = await due_rows(connection, batch_id, open_zones, now) if open_zones else []
                stale = await self._stale(found, now)
            is_held_up = found.batch["state"] == BatchState.WAITING_FOR_ROOM
            if is_held_up and candidates and await self._is_still_held_up(found, candidates[0]):
                return
            taken = await self._door.submit(
                LookAtBatch(
                    batch_id,
                    org_id,
                    sequence=found.batch["sequence"],
                    timezone=found.timezone,
                    groups=found.groups,
                    candidates=tuple(row["id"] for row in candidates),
                    ended={row["id"]: (row["call_id"], row["outcome_now"]) for row in found.live if row["outcome_now"]},
                    stale=stale,
                )
            )
        for row in taken:
            task = asyncio.create_task(self._place(found, row))
            self._placing.add(task)
            task.add_done_callback(self._placing.discard)

    async def _has_lost_its_key(self, found: Outlook) -> bool:
        """Whoever revokes a key wants nothing more to be done with it."""
        batch = found.batch
        if not found.key_revoked or batch["paused_at"] is not None or batch["canceled_at"] is not None:
            return False
        ids, message = (batch["id"], batch["org_id"]), "The API key that made this batch was revoked."
        await self._door.submit(HoldUp(*ids, Dialled.STOPPED, "key_revoked", message))
        return True

    async def _stale(self, found: Outlook, now: int) -> dict[str, str | None]:
        """Rows whose process has died, with the calls that it had made for them."""
        rows = [row for row in found.live if row["state"] == RowState.DIALLING]
        stale = [row for row in rows if now - (row["claimed_at"] or 0) >= LEASE_MS]
        return {row["id"]: await self._call_made(row) for row in stale}

    async def _call_made(self, row: Mapping[str, Any]) -> str | None:
        key = f"{row['org_id']}:{key_of(row['id'], row['claims'])}"
        query = select(idempotency_keys.c.call_id).where(idempotency_keys.c.id == key, ~idempotency_keys.c.void)
        for made in await self._database.look_up(query):
            return str(made["call_id"])
        return None

    # -- placing ------------------------------------------------------------------------------------------------------

    def _wanted(self, batch: Mapping[str, Any], row: Mapping[str, Any], context: Mapping[str, Any]) -> Wanted:
        metadata = {**(batch["snapshot"].get("metadata") or {}), "batch_id": batch["id"], "batch_line": row["line"]}
        return Wanted(
            to_number=row["to_number"],
            from_number=batch["from_number"],
            max_duration_seconds=batch["max_duration_seconds"],
            snapshot={**batch["snapshot"], "context": context, "metadata": metadata},
            agent_id=batch["agent_id"],
        )

    async def _is_still_held_up(self, found: Outlook, row: Mapping[str, Any]) -> bool:
        """Whether the next call has no room yet; the batch then says so with today's figures."""
        if any(live["outcome_now"] for live in found.live):
            return False  # there are calls to be ended first
        quote = await self._calls.quote(found.batch["org_id"], self._wanted(found.batch, row, row["context"]))
        refusal = quote.refusal
        if refusal is None or MEANS.get(refusal.code) is not Dialled.HELD_UP:
            return False
        ids = (found.batch["id"], found.batch["org_id"])
        await self._door.submit(HoldUp(*ids, Dialled.HELD_UP, refusal.code, refusal.message))
        return True

    async def _place(self, found: Outlook, row: Mapping[str, Any]) -> None:
        """Place the call of a row that the door gave us, and tell what came of it. What is not told is found again when
        the lease is over."""
        batch = found.batch
        if self._clock() - row["claimed_at"] > LEASE_MS // 2:
            return  # we were held up ourselves, and somebody else may be about to take it over
        query = select(batch_calls.c.context).where(batch_calls.c.id == row["id"])
        try:
            [cold] = await self._database.look_up(query)
            told = await self._placed(batch, row, self._wanted(batch, row, cold["context"]))
            await self._door.submit(told)
        except (Unavailable, Busy, Down) as error:
            log.warning("batch_call_unclear", batch_id=batch["id"], error=str(error))
        except Exception:
            log.exception("batch_call_failed", batch_id=batch["id"])

    async def _placed(self, batch: Mapping[str, Any], row: Mapping[str, Any], wanted: Wanted) -> TellDialled:
        ids = (batch["id"], batch["org_id"], row["id"], row["claims"])
        key = key_of(row["id"], row["claims"])
        try:
            call, _ = await self._calls.place(batch["org_id"], wanted, key, {"batch_call": key})
        except ApiError as error:
            call_id = error.fields.get("call_id")
            what = MEANS.get(error.code, Dialled.STOPPED)
            if what is Dialled.FAILED and call_id is None:
                what = Dialled.STOPPED
            return TellDialled(*ids, what, call_id, error.code, error.message)
        return TellDialled(*ids, Dialled.PLACED, call["id"])
