"""Trying an agent by typing: the engine and the model of a call, without a telephone, a charge or a trace.

Invariant: nothing is stored, and nothing that a tool would change is changed; whatever happens, every task of a trial
has ended when `run` has.
"""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

import structlog

from voice.agents.commands import call_snapshot
from voice.conversation import CallBrief, advance, new_conversation
from voice.conversation.actions import (
    Action,
    AddToDoNotCall,
    CancelModel,
    CancelTool,
    End,
    RunTool,
    SendDigits,
    SendText,
    StartModel,
    StoreSegment,
)
from voice.conversation.answering import OPENING_MS
from voice.conversation.events import (
    Event,
    InterruptReceived,
    ModelDelta,
    ModelFailed,
    ModelFault,
    ModelFinished,
    ModelToolCall,
    PromptReceived,
    SetupReceived,
    TimerFired,
    TokensPlayed,
    ToolFinished,
    ToolOutcome,
)
from voice.conversation.frames import sound
from voice.live.briefing import brief_of
from voice.live.llm import ModelError, Piece, Text
from voice.live.talking import Means
from voice.live.tool_calls import run_tool, sound_json

log = structlog.get_logger(__name__)

LONGEST_SECONDS = 15 * 60
SILENCE_MS = 4 * 60_000  # somebody who types takes longer than somebody who speaks
RESULT_CHARACTERS = 600
NOT_CALLED = json.dumps({"status": "done"})  # the conversation goes on as if

_FAULTS = {
    ModelFault.RATE_LIMITED: "The language model is busy. Wait a minute, then say it again.",
    ModelFault.REFUSED: "The language model refused the request. Shorten the instructions and tools, then try again; "
    "if that changes nothing, its key and name are to be checked on the server.",
}
_NO_ANSWER = (
    "The language model gave no usable answer. Say it again in a moment; if it goes on, the model’s address and key "
    "are to be checked on the server."
)
_ENDINGS = {
    "end_call": "The agent hung up.",
    "do_not_call": "The agent hung up.",
    "silence": "The agent hung up: nothing was said.",
    "max_duration": f"A trial lasts {LONGEST_SECONDS // 60} minutes at most.",
    "voicemail": "The agent hung up: it takes this for a voicemail.",
    "model_failed": "The agent hung up: the language model went on failing.",
}
_PUT_ON_THE_LIST = "On a call, the other number would now be on your do-not-call list."
_MACHINE = "It takes these words for a machine’s."
_HOLDS = "It waits in silence, as it was asked to. Say something to go on."

Tell = Callable[[dict[str, Any]], Awaitable[None]]
"""Takes `{"type": "text", "text", "last"}`, `{"type": "cut"}`, `{"type": "tool", "id", "text", "result"}`, and with a
sentence as `text`: note, fault, over."""


def trial_brief(
    trial_id: str, agent: Mapping[str, Any], organisation: Mapping[str, Any], own_number: str, other: str, now: int
) -> CallBrief:
    """What a call of this agent would be told; `agent` and `organisation` are rows, numbers E.164."""
    is_outbound = agent["type"] == "outbound"
    call = {
        "id": trial_id,
        "direction": agent["type"],
        "from_number": own_number if is_outbound else other,
        "to_number": other if is_outbound else own_number,
        "disclose_ai": None,
        "context": {},
        "answered_at": now,
        "max_duration_seconds": LONGEST_SECONDS,
    }
    return replace(brief_of(call_snapshot(agent, call), organisation, now), silence_ms=SILENCE_MS)


class Trial:
    """One conversation by typing. `tools`: the agent's HTTP tools by name, with addresses and headers."""

    def __init__(self, brief: CallBrief, tools: Mapping[str, Mapping[str, Any]], means: Means, tell: Tell) -> None:
        self._c, self._tools, self._means, self._tell = new_conversation(brief), tools, means, tell
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._tasks: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._skipped_ms = 0
        self._now = 0
        self._fault: ModelFault | None = None
        self._has_told_fault = False
        self._held = False

    def say(self, text: str) -> None:
        """Something was typed; it cuts off an answer under way."""
        self._events.put_nowait(PromptReceived(sound(text)))

    async def run(self) -> None:
        """Until the agent hangs up, or the task is cancelled."""
        try:
            await self._take(SetupReceived())
            if self._c.brief.is_outbound:  # whoever is called says nothing first
                self._skipped_ms = OPENING_MS
                await self._take(TimerFired())
            while not self._c.is_over:
                await self._take(await self._next())
        finally:
            tasks = [*self._tasks.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _next(self) -> Event:
        if self._events.empty() and (wake := self._c.next_wake_ms) is not None:
            seconds = (wake - self._means.clock() - self._skipped_ms) / 1000 / self._means.pace
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, seconds)):
                    return await self._events.get()
            return TimerFired()
        return await self._events.get()

    async def _take(self, event: Event) -> None:
        if isinstance(event, PromptReceived):
            self._fault, self._has_told_fault = None, False
            if any(not utterance.is_closed for utterance in self._c.queue):
                await self._tell({"type": "cut"})
                await self._advance(InterruptReceived(""))
        await self._advance(event)
        if self._c.is_holding and not self._held:
            await self._tell({"type": "note", "text": _HOLDS})
        self._held = self._c.is_holding

    async def _advance(self, event: Event) -> None:
        self._now = max(self._now, self._means.clock() + self._skipped_ms)
        for action in advance(self._c, event, self._now):
            await self._do(action)

    async def _do(self, action: Action) -> None:
        match action:
            case SendText(token, last):
                await self._tell({"type": "text", "text": token, "last": last})
                if token.strip():  # what is written has been read
                    self._events.put_nowait(TokensPlayed(token.strip()))
            case SendDigits(digits):
                await self._tell({"type": "note", "text": f"It presses {digits.replace('w', '')}."})
            case AddToDoNotCall():
                await self._tell({"type": "note", "text": _PUT_ON_THE_LIST})
            case StoreSegment():
                await self._show(action)
            case StartModel(request_id):
                self._start("model", request_id, self._ask_model(action))
            case RunTool(run_id):
                self._start("tool", run_id, self._run_tool(action))
            case CancelModel(number):
                self._stop("model", number)
            case CancelTool(number):
                self._stop("tool", number)
            case End(handoff):
                await self._tell({"type": "over", "text": _ending(handoff)})

    async def _show(self, segment: StoreSegment) -> None:
        """Of the transcript, only what the words alone do not tell."""
        if segment.role == "tool":
            told = json.loads(segment.text)
            given = json.dumps(told["arguments"], ensure_ascii=False)
            verb = "Would call" if told["is_write"] else "Calls"
            result = "" if told["result"] is None else _result(told["result"], is_write=told["is_write"])
            text = f"{verb} {told['name']} {given}"
            await self._tell({"type": "tool", "id": segment.sequence_no, "text": text, "result": result})
        elif segment.role == "system":
            await self._tell({"type": "note", "text": _MACHINE})
        elif segment.source == "apology" and not self._has_told_fault:
            self._has_told_fault = True
            fault = _NO_ANSWER if self._fault is None else _FAULTS.get(self._fault, _NO_ANSWER)
            await self._tell({"type": "fault", "text": fault})

    def _start(self, kind: str, number: int, work: Any) -> None:
        task = self._tasks[kind, number] = asyncio.create_task(work)
        task.add_done_callback(lambda _: self._tasks.pop((kind, number), None))

    def _stop(self, kind: str, number: int) -> None:
        if task := self._tasks.get((kind, number)):
            task.cancel()

    async def _ask_model(self, wanted: StartModel) -> None:
        request_id = wanted.request_id

        def deliver(piece: Piece) -> None:
            if isinstance(piece, Text):
                self._events.put_nowait(ModelDelta(request_id, sound(piece.text)))
            else:
                call_id = f"call_{request_id}_{piece.name}"
                self._events.put_nowait(ModelToolCall(request_id, call_id, piece.name, sound_json(piece.arguments)))

        try:
            reason = await self._means.model.answer(
                wanted.messages, wanted.tools, wanted.tool_choice, wanted.max_tokens, deliver
            )
        except ModelError as error:
            self._fault = error.fault
            self._events.put_nowait(ModelFailed(request_id, error.fault))
        except Exception as error:
            log.exception("trial_model_broke", error=type(error).__name__)
            self._events.put_nowait(ModelFailed(request_id, ModelFault.CUT))
        else:
            self._events.put_nowait(ModelFinished(request_id, reason))

    async def _run_tool(self, wanted: RunTool) -> None:
        """What only reads is really asked; what changes something is not."""
        config = self._tools.get(wanted.name)
        if wanted.is_write:
            finished = ToolFinished(wanted.run_id, ToolOutcome.OK, NOT_CALLED)
        elif config is None:
            finished = ToolFinished(wanted.run_id, ToolOutcome.ERROR, "There is no such tool.")
        else:
            try:
                finished = await run_tool(self._means.egress, config, self._c.brief.call_id, wanted)
            except Exception as error:
                log.exception("trial_tool_broke", error=type(error).__name__)
                finished = ToolFinished(wanted.run_id, ToolOutcome.UNKNOWN, "The tool could not be called.")
        self._events.put_nowait(finished)


def _result(told: Mapping[str, Any], *, is_write: bool) -> str:
    if is_write:
        return "Not called: a trial changes nothing."
    if told.get("ok"):
        return f"Answered {json.dumps(told.get('result'), ensure_ascii=False)}"[:RESULT_CHARACTERS]
    return f"Failed: {(told.get('error') or {}).get('message', 'no reason was given')}"[:RESULT_CHARACTERS]


def _ending(handoff: Mapping[str, str]) -> str:
    if handoff.get("reason") == "transfer":
        return f"The agent would now connect the call to {handoff.get('number')}."
    return _ENDINGS.get(handoff.get("reason", ""), "The call would end here.")
