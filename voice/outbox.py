"""Runs what a committed decision asks of the outside world.

Owns the tasks that leave the building. Invariant: nothing runs before the commit that asked for it, and a dial runs
only here, in the process that committed it, once. Everything else can be lost with the process: the call's own row
says when it must be looked at again, and the sweeper does. A stray, a call at the carrier for which no row stands, is
hung up here until it has ended.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import structlog

from config.clock import Clock, new_id, now_ms
from config.database import Database, Unavailable
from config.door import Busy, Door, Down
from voice.call import Call, Policy
from voice.calls import bound_sids, find_any_call, pair_is_disputed
from voice.carrier import OVER_CAPACITY, Carrier, CarrierUnavailable
from voice.create_call import CreateCall
from voice.effects import Alert, Ask, Dial, Effect, Extract, HangUp, LimitTime
from voice.events import CarrierAsked, CarrierForgot, DialAccepted, DialNotFound, DialRefused, DialUnanswered, Event
from voice.move_call import MoveCall, Observation
from voice.outcomes import Moved

log = structlog.get_logger(__name__)

DIALS_AT_ONCE = 90
ASKED_AT_ONCE = 50
"""However many calls are silent: the carrier limits us, and who waits for a connection must not time out by waiting."""
DIAL_BEGINS_WITHIN_MS = 15_000
"""After this long it is not begun any more, so that whoever finds it stale need not fear a late dial."""
CAPACITY_RETRY_SECONDS = (0.5, 1.0, 2.0)
LIMIT_RETRY_SECONDS = (1.0, 3.0, 10.0)
STRAY_RETRY_SECONDS = (5.0, 10.0, 20.0, 40.0, *(60.0,) * 14)
T = TypeVar("T")


class Outbox:
    """Listens to the door (`door.committed`) and runs effects as tasks of its own."""

    def __init__(self, door: Door, database: Database, carrier: Carrier, policy: Policy, clock: Clock = now_ms) -> None:
        self._door, self._database, self._carrier, self._policy, self._clock = door, database, carrier, policy, clock
        self._tasks: set[asyncio.Task[Any]] = set()
        self._dials: dict[str, asyncio.Task[Call | None]] = {}
        self._strays: dict[str, asyncio.Task[None]] = {}
        self._places = asyncio.Semaphore(DIALS_AT_ONCE)
        self._questions = asyncio.Semaphore(ASKED_AT_ONCE)
        self.alerted: list[Callable[[Alert], None]] = []
        self.extract: Callable[[Call], Awaitable[None]] | None = None
        door.committed.append(self.committed)

    def committed(self, command: Any, result: Any) -> None:
        if isinstance(result, Moved):
            for effect in result.effects:
                self._start(command, result.call, effect)

    def _start(self, command: Any, call: Call, effect: Effect) -> None:
        match effect:
            case Dial():
                key = command.key_id if isinstance(command, CreateCall) and command.idempotency_key else None
                self._dials[call.id] = self._spawn(self._dial(call, key))
            case HangUp(sid) if sid == call.twilio_call_sid:
                self._spawn(self._hang_up(call, sid))
            case HangUp(sid):
                self._end_stray(call.id, sid)
            case LimitTime(sid, seconds):
                self._spawn(self._limit_time(call, sid, seconds))
            case Ask():
                self._spawn(self._ask(call))
            case Extract():
                self._spawn(self._extract(call))
            case Alert():
                self._alert(call.id, effect)

    def _alert(self, call_id: str, alert: Alert) -> None:
        log.warning("alert", kind=alert.kind, detail=alert.text, call_id=call_id)
        for listener in self.alerted:
            listener(alert)

    def _spawn(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("effect_failed", error=type(error).__name__)  # its call's row says when it is looked at again

    @property
    def depth(self) -> int:
        return len(self._tasks)

    async def idle(self) -> None:
        """Wait until everything begun has ended, but for strays: they may take long."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def dialled(self, call_id: str, within_seconds: float | None = None) -> Call | None:
        """Wait for the outcome of this call's dial to be committed, if it is being dialled here; gives the call as
        that commit left it."""
        task = self._dials.get(call_id)
        if task is None:
            return None
        await asyncio.wait({task}, timeout=within_seconds)
        is_known = task.done() and not task.cancelled() and task.exception() is None
        return task.result() if is_known else None

    # -- effects ----------------------------------------------------------------------------------------------------

    async def _dial(self, call: Call, idempotency_key_id: str | None) -> Call | None:
        try:
            outcome = await self._dial_within_time(call)
            freed = idempotency_key_id if outcome is OVER_CAPACITY else None
            return await self._tell(call, outcome, _dial_observation(outcome), freed_key=freed)
        finally:
            self._dials.pop(call.id, None)

    async def _dial_within_time(self, call: Call) -> DialAccepted | DialRefused | DialUnanswered:
        outcome: DialAccepted | DialRefused | DialUnanswered = OVER_CAPACITY
        for delay in (0.0, *CAPACITY_RETRY_SECONDS):
            await asyncio.sleep(delay)
            async with self._places:
                if self._clock() - call.created_at > DIAL_BEGINS_WITHIN_MS:
                    return OVER_CAPACITY
                outcome = await self._carrier.dial(call, leaves_message=not call.hangs_up_on_machine)
            if outcome is not OVER_CAPACITY:
                break
        return outcome

    async def _hang_up(self, call: Call, sid: str) -> None:
        try:
            await self._carrier.hang_up(sid, answered=call.answered_at is not None)
        except CarrierUnavailable as error:
            log.warning("hang_up_failed", call_id=call.id, error=str(error))  # tried again when due

    def _end_stray(self, call_id: str, sid: str) -> None:
        if sid not in self._strays:  # whatever else it says of itself
            task = self._strays[sid] = asyncio.create_task(self._hang_up_stray(call_id, sid))
            task.add_done_callback(lambda _: self._strays.pop(sid))

    async def _hang_up_stray(self, call_id: str, sid: str) -> None:
        """It claims to be a call that the carrier has under another id. Nothing brings it up again, so it is hung up
        until the carrier says that it is over; its time limit and our silence when it is answered stand behind that."""
        for delay in (*STRAY_RETRY_SECONDS, None):
            try:
                await self._carrier.hang_up(sid, answered=False)
                told = await self._carrier.fetch(sid)
            except CarrierUnavailable as error:
                log.warning("stray_not_hung_up", call_id=call_id, error=str(error))
            else:
                if isinstance(told, CarrierAsked) and told.status.is_final:
                    return
            if delay is not None:
                await asyncio.sleep(delay)
        text = f"carrier call {sid}, which claims to be call {call_id}, cannot be hung up; end it at the carrier"
        self._alert(call_id, Alert("stray_call_up", text))

    def close(self) -> None:
        """Strays are left as they are; what one says of itself next has it hung up by another process."""
        for task in self._strays.values():
            task.cancel()

    async def _limit_time(self, call: Call, sid: str, seconds: int) -> None:
        for delay in LIMIT_RETRY_SECONDS:
            await asyncio.sleep(delay)
            async with self._database.read() as connection:
                now = await find_any_call(connection, call.id)
            if now is None or now.final_status is not None:
                return
            try:
                if await self._carrier.limit_time(sid, seconds):
                    return
            except CarrierUnavailable as error:
                log.warning("limit_time_failed", error=str(error))  # our own deadline stands behind it

    async def _ask(self, call: Call) -> None:
        """Could not ask is never "has ended": then nothing is told, and it is asked again later."""
        try:
            async with self._questions:
                event = await self._carrier_says(call)
        except CarrierUnavailable as error:
            log.warning("carrier_not_asked", call_id=call.id, error=str(error))
            return
        await self._tell(call, event, _asked_observation(event))

    async def _carrier_says(self, call: Call) -> Event:
        if call.twilio_call_sid is not None:
            return await self._carrier.fetch(call.twilio_call_sid)
        found = await self._carrier.candidates(call)
        async with self._database.read() as connection:
            taken = await bound_sids(connection, [each.twilio_call_sid for each in found])
            is_disputed = await pair_is_disputed(connection, call)
        free = [each for each in found if each.twilio_call_sid not in taken]
        if len(free) == 1 and not is_disputed:
            return await self._carrier.fetch(free[0].twilio_call_sid)
        return DialNotFound(sum(not each.status.is_final for each in free))

    async def _extract(self, call: Call) -> None:
        if self.extract is None:
            return
        try:
            await self.extract(call)
        except (Unavailable, Busy, Down) as error:
            log.warning("result_not_stored", call_id=call.id, error=str(error))  # due again later

    async def _tell(
        self, call: Call, event: Event, observation: Observation | None, freed_key: str | None = None
    ) -> Call | None:
        """Bring what was learned back through the door, however busy it is; a lost dial answer would cost a lookup.
        Gives the call as it then is, where that could be told."""
        command = MoveCall(
            event, self._policy, new_id(), call_id=call.id, observation=observation, freed_key=freed_key, known=call
        )
        for delay in (0.1, 0.5, 2.0, 5.0, None):
            try:
                told = await self._door.submit(command)
            except (Busy, Down) as error:
                log.warning("outcome_not_stored", call_id=call.id, error=str(error), again=delay is not None)
                if delay is not None:
                    await asyncio.sleep(delay)
            else:
                return told.call if isinstance(told, Moved) else None
        return None


def _dial_observation(outcome: DialAccepted | DialRefused | DialUnanswered) -> Observation:
    match outcome:
        case DialAccepted(sid):
            said: dict[str, Any] = {"answer": "accepted", "CallSid": sid}
        case DialRefused(code, _, carrier_code):
            said = {"answer": "refused", "code": code, "carrier_code": carrier_code}
        case _:
            said = {"answer": "none"}
    return Observation(new_id(), "carrier", "dial", said)


def _asked_observation(event: Event) -> Observation | None:
    """Evidence is what ends the call or its price: a final status, a machine or fax, that there is no such call."""
    if isinstance(event, CarrierForgot):
        return Observation(new_id(), "carrier", "status", {"status": "unknown"})
    if not isinstance(event, CarrierAsked):
        return None
    if not event.status.is_final and (event.answered_by is None or not event.answered_by.is_free):
        return None
    said = {
        "status": event.status.value,
        "duration": event.duration_seconds,
        "answered_by": event.answered_by,
    }
    return Observation(new_id(), "carrier", "status", said)
