"""One live conversation: the loop that feeds facts to the pure engine and does what it asks.

Invariant: events are taken one at a time and actions done in the order they were given; whatever model, tool or
socket does, the loop ends with its tasks cancelled and everything said stored.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
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
from voice.conversation.frames import render_frame
from voice.llm import LanguageModel, ModelError, Piece, Text
from voice.talks import StopCalling, StoreTalk
from voice.tool_calls import run_tool

log = structlog.get_logger(__name__)

QUEUE_LIMIT = 2_000
STORE_RETRY_SECONDS = (0.1, 0.5, 2.0)
LAST_STORE_SECONDS = 10.0

Send = Callable[[Mapping[str, Any]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Means:
    """What a conversation works with; shared by all of a process."""

    model: LanguageModel
    egress: Egress
    door: Door
    clock: Clock = now_ms


class Talk:
    """A conversation under way. `tools`: the customer's tools by name, with addresses and headers."""

    def __init__(
        self, conversation: Conversation, org_id: str, tools: Mapping[str, Mapping[str, Any]], means: Means, send: Send
    ) -> None:
        self._c, self._org_id, self._tools, self._means, self._send = conversation, org_id, tools, means, send
        self._events: asyncio.Queue[Event] = asyncio.Queue(QUEUE_LIMIT)
        self._models: dict[int, asyncio.Task[None]] = {}
        self._runs: dict[int, asyncio.Task[None]] = {}
        self._pieces: dict[int, StoreSegment] = {}
        self._latencies: list[tuple[int, MarkLatency]] = []
        self._storing: asyncio.Task[None] | None = None
        self.handoff: Mapping[str, str] | None = None

    @property
    def call_id(self) -> str:
        return self._c.brief.call_id

    def feed(self, event: Event) -> bool:
        """Tell the conversation a fact. False if it cannot keep up: the other side floods it."""
        try:
            self._events.put_nowait(event)
        except asyncio.QueueFull:
            return False
        return True

    async def run(self) -> None:
        """Until the conversation has ended itself, or the task is cancelled."""
        try:
            while not self._c.is_over:
                await self._take(await self._next())
        finally:
            await self._finish()

    async def _next(self) -> Event:
        wake = self._c.next_wake_ms
        if wake is None:
            return await self._events.get()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0, wake - self._means.clock()) / 1000):
                return await self._events.get()
        return TimerFired()

    async def _take(self, event: Event) -> None:
        for action in advance(self._c, event, self._means.clock()):
            await self._do(action)
        self._store()

    async def _do(self, action: Action) -> None:
        if isinstance(action, End):
            self.handoff = action.handoff
        frame = render_frame(action)
        if frame is not None:
            await self._send(frame)
            return
        match action:
            case StartModel():
                self._models[action.request_id] = asyncio.create_task(self._ask_model(action))
            case CancelModel(request_id):
                if task := self._models.pop(request_id, None):
                    task.cancel()
            case RunTool():
                self._runs[action.run_id] = asyncio.create_task(self._run_tool(action))
            case CancelTool(run_id):
                if task := self._runs.pop(run_id, None):
                    task.cancel()
            case StoreSegment():
                self._pieces[action.sequence_no] = action
            case MarkLatency():
                self._latencies.append((self._means.clock(), action))
            case AddToDoNotCall(number, reason):
                await self._submit(StopCalling(self.call_id, self._org_id, number, reason))

    async def _ask_model(self, wanted: StartModel) -> None:
        request_id = wanted.request_id

        def deliver(piece: Piece) -> None:
            if isinstance(piece, Text):
                self.feed(ModelDelta(request_id, piece.text))
            else:
                self.feed(ModelToolCall(request_id, f"call_{request_id}_{piece.name}", piece.name, piece.arguments))

        try:
            reason = await self._means.model.answer(
                wanted.messages, wanted.tools, wanted.tool_choice, wanted.max_tokens, deliver
            )
        except ModelError as error:
            log.warning("model_failed", call_id=self.call_id, fault=error.fault)
            self.feed(ModelFailed(request_id, error.fault))
        except Exception as error:  # a library's own fault must not leave the caller in silence
            log.exception("model_broke", call_id=self.call_id, error=type(error).__name__)
            self.feed(ModelFailed(request_id, ModelFault.CUT))
        else:
            self.feed(ModelFinished(request_id, reason))
        finally:
            self._models.pop(request_id, None)

    async def _run_tool(self, wanted: RunTool) -> None:
        config = self._tools.get(wanted.name)
        if config is None:
            self.feed(ToolFinished(wanted.run_id, ToolOutcome.ERROR, "There is no such tool."))
            return
        finished = await run_tool(self._means.egress, config, self.call_id, wanted)
        self._runs.pop(wanted.run_id, None)
        self.feed(finished)

    # -- what is kept -------------------------------------------------------------------------------------------------

    def _store(self) -> None:
        """One write at a time; what comes meanwhile goes with the next."""
        if (self._pieces or self._latencies) and (self._storing is None or self._storing.done()):
            self._storing = asyncio.create_task(self._store_all())

    async def _store_all(self) -> None:
        while self._pieces or self._latencies:
            pieces, latencies = tuple(self._pieces.values()), tuple(self._latencies)
            self._pieces, self._latencies = {}, []
            await self._submit(StoreTalk(self.call_id, self._org_id, pieces, latencies))

    async def _submit(self, command: Any) -> None:
        for delay in (*STORE_RETRY_SECONDS, None):
            try:
                await self._means.door.submit(command)
            except (Busy, Down) as error:
                if delay is None:
                    log.error("talk_not_stored", call_id=self.call_id, error=str(error))
                    return
                await asyncio.sleep(delay)
            else:
                return

    async def _finish(self) -> None:
        """Reads and the model stop; a write that has begun is waited for, so that its outcome is known."""
        if not self._c.is_over:  # the socket is gone: what was said but not heard is kept as such
            for action in advance(self._c, SocketLost(), self._means.clock()):
                if isinstance(action, StoreSegment):
                    self._pieces[action.sequence_no] = action
        for task in self._models.values():
            task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_STORE_SECONDS):
                await self._drain_runs(list(self._runs.values()))
                if self._storing is not None:
                    await self._storing
                await self._store_all()

    async def _drain_runs(self, runs: Sequence["asyncio.Task[None]"]) -> None:
        if not runs:
            return
        await asyncio.gather(*runs, return_exceptions=True)
        while not self._events.empty():
            event = self._events.get_nowait()
            if isinstance(event, ToolFinished):
                for action in advance(self._c, event, self._means.clock()):
                    if isinstance(action, StoreSegment):
                        self._pieces[action.sequence_no] = action
