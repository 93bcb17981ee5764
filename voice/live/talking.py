"""One live conversation: the loop that feeds facts to the pure engine and does what it asks.

Invariant: events are taken one at a time and actions done in the order they were given; whatever model, tool or
socket does, the loop ends with its tasks cancelled and everything said stored.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from config.clock import Clock, now_ms
from config.door import Busy, Door, Down
from config.egress import Egress
from voice.conversation import Conversation, advance
from voice.conversation.actions import (
    Action,
    AddToDoNotCall,
    CancelModel,
    CancelTool,
    End,
    MarkLatency,
    RunTool,
    StartModel,
    StoreSegment,
)
from voice.conversation.events import (
    Event,
    ModelDelta,
    ModelFailed,
    ModelFault,
    ModelFinished,
    ModelToolCall,
    SocketLost,
    TimerFired,
    ToolFinished,
    ToolOutcome,
)
from voice.conversation.frames import render_frame, sound
from voice.lists import AddToDoNotCall as KeepOnDoNotCall
from voice.live.llm import LanguageModel, ModelError, Piece, Text
from voice.live.store import StoreTalk
from voice.live.tool_calls import run_tool, sound_json

log = structlog.get_logger(__name__)

SEND_SECONDS = 10.0  # a peer that does not read for so long is gone
STORE_RETRY_SECONDS = (0.1, 0.5, 2.0)
LAST_STORE_SECONDS = 12.0  # a write that has begun takes 10 s at most

Send = Callable[[Mapping[str, Any]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Means:
    """What a conversation works with; shared by all of a process. `pace`: the clock's seconds in a real one."""

    model: LanguageModel
    egress: Egress
    door: Door
    clock: Clock = now_ms
    pace: float = 1.0


@dataclass(frozen=True, slots=True)
class Session:
    """What one socket carries: a call, and the ticket it was opened with."""

    call_id: str
    org_id: str
    ticket_id: str


class Talk:
    """A conversation under way. `tools`: the customer's tools by name, with addresses and headers."""

    def __init__(
        self,
        conversation: Conversation,
        session: Session,
        tools: Mapping[str, Mapping[str, Any]],
        means: Means,
        send: Send,
    ) -> None:
        self.session = session
        self.handoff: Mapping[str, str] | None = None
        """How the conversation has ended itself; None while it goes on, or when its socket was lost."""
        self.is_superseded = False
        self._c, self._tools, self._means, self._send = conversation, tools, means, send
        self._now = means.clock()
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._runner: asyncio.Task[Any] | None = None
        self._models: dict[int, asyncio.Task[None]] = {}
        self._runs: dict[int, asyncio.Task[None]] = {}
        self._pieces: dict[int, StoreSegment] = {}
        self._latencies: list[MarkLatency] = []
        self._owed: list[KeepOnDoNotCall] = []
        self._storing: asyncio.Task[bool] | None = None
        self._is_handing_over = False

    def feed(self, event: Event) -> None:
        """Tell the conversation a fact. Whoever feeds what outsiders send limits how much."""
        self._events.put_nowait(event)

    def supersede(self, *, is_handing_over: bool = False) -> None:
        """A newer socket has the conversation. `is_handing_over`: it waits until this one has stored its last words."""
        self.is_superseded, self._is_handing_over = True, is_handing_over
        if self._runner is not None:
            self._runner.cancel()

    async def run(self) -> None:
        """Until the conversation has ended itself, or the task is cancelled: then its socket counts as lost."""
        self._runner = asyncio.current_task()
        try:
            while not self._c.is_over:
                await self._take(await self._next())
        except TimeoutError:
            log.warning("relay_does_not_read", call_id=self.session.call_id)
        except Exception as error:  # the carrier asks what follows, and the conversation is taken up again
            log.exception("talk_broke", call_id=self.session.call_id, error=type(error).__name__)
        finally:
            self._runner = None
            await self._finish()

    async def _next(self) -> Event:
        """What has happened comes before what is due."""
        if not self._events.empty():
            return self._events.get_nowait()
        wake = self._c.next_wake_ms
        if wake is None:
            return await self._events.get()
        seconds = (wake - self._means.clock()) / 1000 / self._means.pace
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    return await self._events.get()
        return TimerFired()

    async def _take(self, event: Event) -> None:
        for action in self._advance(event):
            await self._do(action)
        self._store()

    def _advance(self, event: Event) -> list[Action]:
        self._now = max(self._now, self._means.clock())  # a clock that is set back stands still here
        return advance(self._c, event, self._now)

    async def _do(self, action: Action) -> None:
        frame = render_frame(action)
        if frame is not None:
            async with asyncio.timeout(SEND_SECONDS):
                await self._send(frame)
        match action:
            case End(handoff):
                self.handoff = handoff
            case StartModel(request_id):
                self._models[request_id] = asyncio.create_task(self._ask_model(action))
            case CancelModel(request_id):
                if task := self._models.pop(request_id, None):
                    task.cancel()
            case RunTool(run_id):
                self._runs[run_id] = asyncio.create_task(self._run_tool(action))
            case AddToDoNotCall(number, reason):
                call_id, org_id = self.session.call_id, self.session.org_id
                kept = KeepOnDoNotCall(org_id, number, source="callee", reason=reason[:500], call_id=call_id)
                if await self._submit(kept) is None:
                    self._owed.append(kept)
            case _:
                self._wind_up(action)

    def _wind_up(self, action: Action) -> None:
        """What needs neither socket nor model."""
        match action:
            case CancelTool(run_id):
                if task := self._runs.pop(run_id, None):
                    task.cancel()
            case StoreSegment():
                self._pieces[action.sequence_no] = action
            case MarkLatency():
                self._latencies.append(action)

    async def _ask_model(self, wanted: StartModel) -> None:
        request_id = wanted.request_id

        def deliver(piece: Piece) -> None:
            if isinstance(piece, Text):
                self.feed(ModelDelta(request_id, sound(piece.text)))
            else:
                arguments = sound_json(piece.arguments)
                self.feed(ModelToolCall(request_id, f"call_{request_id}_{piece.name}", piece.name, arguments))

        try:
            reason = await self._means.model.answer(
                wanted.messages, wanted.tools, wanted.tool_choice, wanted.max_tokens, deliver
            )
        except ModelError as error:
            log.warning("model_failed", call_id=self.session.call_id, fault=error.fault)
            self.feed(ModelFailed(request_id, error.fault))
        except Exception as error:  # a library's own fault must not leave the caller in silence
            log.exception("model_broke", call_id=self.session.call_id, error=type(error).__name__)
            self.feed(ModelFailed(request_id, ModelFault.CUT))
        else:
            self.feed(ModelFinished(request_id, reason))
        finally:
            self._models.pop(request_id, None)

    async def _run_tool(self, wanted: RunTool) -> None:
        config = self._tools.get(wanted.name)
        if config is None:
            finished = ToolFinished(wanted.run_id, ToolOutcome.ERROR, "There is no such tool.")
        else:
            try:
                means, call_id = self._means, self.session.call_id
                finished = await run_tool(means.egress, config, call_id, wanted, means.pace)
            except Exception as error:
                log.exception("tool_broke", call_id=self.session.call_id, error=type(error).__name__)
                finished = ToolFinished(wanted.run_id, ToolOutcome.UNKNOWN, "The tool could not be called.")
        self._runs.pop(wanted.run_id, None)
        self.feed(finished)

    # -- what is kept -------------------------------------------------------------------------------------------------

    def _store(self) -> None:
        """One write at a time; what comes meanwhile goes with the next."""
        if (self._pieces or self._latencies) and (self._storing is None or self._storing.done()):
            self._storing = asyncio.create_task(self._store_all())

    async def _store_all(self, *, is_last: bool = False) -> bool:
        """False if it could not be stored just now; it is then still waiting."""
        while self._pieces or self._latencies or is_last:
            pieces, latencies = self._pieces, self._latencies
            self._pieces, self._latencies = {}, []
            call_id, org_id, ticket_id = self.session.call_id, self.session.org_id, self.session.ticket_id
            command = StoreTalk(
                call_id, org_id, ticket_id, tuple(pieces.values()), tuple(latencies), is_last, self._is_handing_over
            )
            try:
                holds = await self._submit(command)
            except Exception as error:  # the same again would fail again
                log.exception("talk_refused", call_id=call_id, error=type(error).__name__)
                is_last = is_last and bool(pieces or latencies)
                continue
            if holds is None:
                self._pieces, self._latencies = {**pieces, **self._pieces}, [*latencies, *self._latencies]
                return False
            if not holds and not self.is_superseded:
                log.warning("talk_superseded", call_id=call_id)
                self.supersede()
            is_last = False
        return True

    async def _submit(self, command: Any) -> Any:
        """What the command gave; None when the door did not take it."""
        for delay in (*STORE_RETRY_SECONDS, None):
            try:
                return await self._means.door.submit(command)
            except (Busy, Down) as error:
                if delay is None:
                    log.error("talk_not_stored", call_id=self.session.call_id, error=str(error))
                    return None
                await asyncio.sleep(delay)
        return None

    async def _finish(self) -> None:
        """Reads and the model stop; a write that has begun is waited for, so that its outcome is known."""
        for task in self._models.values():
            task.cancel()
        try:
            if not self._c.is_over:  # what was said but not heard is kept as such
                for action in self._advance(SocketLost()):
                    self._wind_up(action)
            async with asyncio.timeout(LAST_STORE_SECONDS):
                await self._await_writes()
                if self._storing is not None:
                    await asyncio.gather(self._storing, return_exceptions=True)
                while not await self._store_all(is_last=True):
                    pass
                for command in self._owed:
                    await self._submit(command)
        except TimeoutError:
            log.error("talk_ended_unstored", call_id=self.session.call_id)
        except Exception as error:
            log.exception("talk_ended_badly", call_id=self.session.call_id, error=type(error).__name__)
        finally:
            for run in self._runs.values():
                run.cancel()

    async def _await_writes(self) -> None:
        """Only writes are left: the engine cancels the reads with the conversation."""
        await asyncio.gather(*self._runs.values(), return_exceptions=True)
        while not self._events.empty():
            event = self._events.get_nowait()
            if isinstance(event, ToolFinished):
                for action in self._advance(event):
                    self._wind_up(action)
