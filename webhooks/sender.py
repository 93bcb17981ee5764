"""The worker that turns events into deliveries and sends what is due.

Invariant: nothing waits for a destination but its own deliveries. Attempts run side by side; whoever has no place
(`webhooks.places`) is passed over, not waited for.
"""

import asyncio
import contextlib
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import structlog
from sqlalchemy import ARRAY, ColumnElement, String, any_, func, literal, select

from accounts.tables import events
from config.clock import Clock, new_id, now_ms
from config.database import Database, Unavailable
from config.door import Busy, Door, Down
from config.egress import Egress, NoAnswer, Refused
from webhooks.deliveries import Attempt, Claim, ClaimDelivery, RecordAttempt
from webhooks.endpoints import new_secret
from webhooks.fan_out import DUE_EVENTS, EVENTS_AT_ONCE, FanOut, body_of, calls_by_id
from webhooks.places import QUICK_MS, Places
from webhooks.signing import headers, signature
from webhooks.tables import webhook_deliveries

log = structlog.get_logger(__name__)

TICK_SECONDS = 0.5
BREATH_SECONDS = 0.1
"""At least so long between two looks, however often a place becomes free."""
TIMEOUT_SECONDS = 10.0
KEPT_ANSWER_BYTES = 2_048
RECORD_RETRY_SECONDS = (0.1, 0.5, 2.0, 5.0)


@dataclass(slots=True)
class Sender:
    """One for each process that works in the background."""

    database: Database
    door: Door
    egress: Egress
    clock: Clock = now_ms
    timeout_seconds: float = TIMEOUT_SECONDS
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set)
    _freed: asyncio.Event = field(default_factory=asyncio.Event)
    _places: Places = field(default_factory=Places)

    async def run(self, tick_seconds: float = TICK_SECONDS) -> None:
        """Until cancelled; attempts under way go on (see `idle`)."""
        while True:
            self._freed.clear()
            try:
                while await self.fan_out() == EVENTS_AT_ONCE:
                    pass  # there may be more
                await self.start_due()
            except (Unavailable, Busy, Down) as error:
                log.warning("deliveries_postponed", error=str(error))
            await asyncio.sleep(min(BREATH_SECONDS, tick_seconds))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(tick_seconds):  # `wait_for` can lose a cancellation before Python 3.12
                    await self._freed.wait()

    async def idle(self) -> None:
        """Wait until every attempt begun has been recorded."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def fan_out(self) -> int:
        """Write the deliveries of events that are due; of how many events."""
        due = await self.database.look_up(DUE_EVENTS, now=self.clock())
        calls: dict[str, dict[str, Any]] = {}
        if call_ids := {event["call_id"] for event in due if event["call_id"]}:
            async with self.database.read() as connection:
                calls = await calls_by_id(connection, call_ids)
        return sum(await asyncio.gather(*(self._fan_out(event, calls.get(event["call_id"])) for event in due)))

    async def _fan_out(self, event: Mapping[str, Any], call: Mapping[str, Any] | None) -> bool:
        try:
            command = FanOut(
                event_id=event["id"],
                org_id=event["org_id"],
                body=body_of(event, call),
                new_secret=new_secret(),
                call_id=event["call_id"],
                inline_url=call["webhook_url"] if call is not None else None,
            )
            await self.door.submit(command)
        except (Busy, Down):
            raise
        except Exception:  # a fault of this event, which stays due; the others must not wait for it
            log.exception("event_not_fanned_out", event_id=event["id"])
            return False
        return True

    async def start_due(self) -> int:
        """Begin an attempt at every delivery that is due and has a place; how many."""
        begun = 0
        while (free := self._places.free()) > 0:
            chosen, passed_over = self._choose(await self._due(free), free)
            started = await self._begin(chosen)
            begun += started
            if not passed_over or not started:
                break
        return begun

    async def _due(self, limit: int) -> list[Mapping[str, Any]]:
        """The longest due first, without those for whom there is no place."""
        table, closed = webhook_deliveries, self._places.closed()
        query = (
            select(table.c.id, table.c.org_id, table.c.endpoint_id, table.c.call_id, table.c.destination)
            .where(table.c.next_attempt_at <= self.clock())
            .order_by(table.c.next_attempt_at, table.c.id)  # what was asked for together goes as it happened
            .limit(limit)
        )
        async with self.database.read() as connection:
            backend = connection.dialect.name
            query = query.where(
                ~_is_one_of(table.c.destination, closed.destinations, backend),
                ~_is_one_of(table.c.org_id, closed.organisations, backend),
            )
            if closed.only is not None:
                query = query.where(_is_one_of(table.c.destination, closed.only, backend))
            return [dict(row) for row in (await connection.execute(query)).mappings()]

    def _choose(self, due: list[Mapping[str, Any]], free: int) -> tuple[list[Mapping[str, Any]], bool]:
        """Those with a place, which they take; and whether there may be others beyond those without one."""
        chosen = [row for row in due if self._places.take(row["destination"], row["org_id"])]
        return chosen, len(due) == free and len(chosen) < free

    async def _begin(self, chosen: list[Mapping[str, Any]]) -> int:
        """Claim and start. Claiming first: whoever else works here does not take the same ones."""
        claims = [ClaimDelivery(row["id"], row["org_id"], row["endpoint_id"], row["call_id"]) for row in chosen]
        results = await asyncio.gather(*(self.door.submit(claim) for claim in claims), return_exceptions=True)
        begun = 0
        for row, command, claim in zip(chosen, claims, results, strict=True):
            if isinstance(claim, Claim):
                task = asyncio.create_task(self._attempt(command, claim, row["destination"]))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
                task.add_done_callback(lambda _, row=row: self._leave(row))  # type: ignore[misc]
                begun += 1
            else:
                self._leave(row)
        return begun

    def _leave(self, row: Mapping[str, Any]) -> None:
        self._places.leave(row["destination"], row["org_id"])
        self._freed.set()

    async def _attempt(self, claimed: ClaimDelivery, claim: Claim, destination: str) -> None:
        try:
            async with self.database.read() as connection:
                text = await connection.scalar(select(events.c.body).where(events.c.id == claim.event_id))
        except Unavailable as error:
            log.warning("attempt_not_made", delivery_id=claimed.delivery_id, error=str(error))  # until its claim ends
            return
        waits = asyncio.get_running_loop().call_later(QUICK_MS / 1000, self._places.learn, destination, QUICK_MS + 1)
        attempt = await self._send(claim, claimed.call_id, str(text).encode())
        waits.cancel()
        self._places.learn(destination, attempt.duration_ms)
        await self._record(
            RecordAttempt(
                claimed.delivery_id,
                claimed.org_id,
                claimed.endpoint_id,
                claimed.call_id,
                attempt,
                claim.manual_retry_count,
                random.random(),  # noqa: S311 (spreads load, protects nothing)
            )
        )

    async def _send(self, claim: Claim, call_id: str | None, body: bytes) -> Attempt:
        sent_at, began = self.clock(), asyncio.get_running_loop().time()
        signed = signature(claim.signing_secret, sent_at // 1000, body)
        status, text, error = None, "", None
        try:
            answer = await self.egress.post(
                claim.url,
                body,
                headers(claim.event_id, claim.event_type, call_id, signed),
                timeout_seconds=self.timeout_seconds,
                answer_bytes=KEPT_ANSWER_BYTES,
            )
            status, text = answer.status, answer.body.decode("utf-8", "replace").replace("\x00", "�")
        except (Refused, NoAnswer) as reason:
            error = str(reason)
        except Exception:  # ours, not theirs; it must not be tried for ever
            log.exception("attempt_failed", event_id=claim.event_id)
            error = "The request could not be made."
        took = round((asyncio.get_running_loop().time() - began) * 1000)
        return Attempt(new_id(), signed, sent_at, took, status, text, error)

    async def _record(self, command: RecordAttempt) -> None:
        """However busy the door is; what cannot be recorded is sent again when its claim ends."""
        for delay in (*RECORD_RETRY_SECONDS, None):
            try:
                await self.door.submit(command)
            except (Busy, Down) as error:
                log.warning("attempt_not_recorded", delivery_id=command.delivery_id, error=str(error))
                if delay is not None:
                    await asyncio.sleep(delay)
            else:
                return


def _is_one_of(column: ColumnElement[str], names: list[str], backend: str) -> ColumnElement[bool]:
    """One parameter, however many thousand names: drivers take only so many."""
    if backend == "postgresql":
        return column == any_(literal(names, ARRAY(String)))
    each = func.json_each(msgspec.json.encode(names).decode()).table_valued("value")
    return column.in_(select(each.c.value))
