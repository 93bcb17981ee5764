"""A telephone line in virtual time for the conversation engine: the relay's voice, a scripted model, tools.

Frames go in and out as JSON in the relay's own shapes; thirty seconds of talk take a millisecond.
"""

from __future__ import annotations

import heapq
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from voice.conversation import Action, CallBrief, Conversation, Event, Tool, ToolPolicy, advance, new_conversation
from voice.conversation.actions import (
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
    ModelDelta,
    ModelFailed,
    ModelFault,
    ModelFinished,
    ModelToolCall,
    ResumeReason,
    SetupReceived,
    TimerFired,
    ToolFinished,
    ToolOutcome,
)
from voice.conversation.frames import Setup, parse_frame, render_frame

START = 1_750_000_000_000
LAG_MS = 400
CHARACTER_MS = 60

LOOKUP = Tool(
    "look_up_order",
    "Find an order.",
    {
        "type": "object",
        "properties": {"order": {"type": "string"}, "note": {"type": ["string", "null"]}},
        "required": ["order"],
        "additionalProperties": False,
    },
)
BOOK = Tool(
    "book_visit",
    "Book a visit.",
    {
        "type": "object",
        "properties": {"day": {"type": "string"}, "hour": {"type": "integer", "minimum": 8, "maximum": 18}},
        "required": ["day", "hour"],
        "additionalProperties": False,
    },
    policy=ToolPolicy.CONFIRM_FIRST_WRITE,
)


def brief(**changes: Any) -> CallBrief:
    fields: dict[str, Any] = {
        "call_id": "call-1",
        "direction": "inbound",
        "organisation": "Acme Dental",
        "from_number": "+14155550100",
        "to_number": "+14155550123",
        "instructions": "Confirm the appointment on Tuesday.",
        "first_message": "How can I help you today?",
        "tools": (LOOKUP, BOOK),
    }
    return CallBrief(**(fields | changes))


def outbound(**changes: Any) -> CallBrief:
    return brief(**({"direction": "outbound", "first_message": "Am I speaking with Sam?"} | changes))


@dataclass(frozen=True)
class Say:
    """The model answers with words, streamed."""

    text: str
    after: int = 200
    every: int = 20
    calls: tuple[tuple[str, Any], ...] = ()
    ends: bool = True  # else the stream stops there, without an end
    fault: ModelFault | None = None  # how it ends instead


def call(name: str, arguments: Any = None, *, text: str = "", after: int = 200) -> Say:
    return Say(text, after, calls=((name, arguments if arguments is not None else {}),))


def calls(*pairs: tuple[str, Any]) -> Say:
    return Say("", calls=pairs)


def stall() -> Say:
    return Say("", ends=False)


def fail(fault: ModelFault = ModelFault.RATE_LIMITED, after: int = 100) -> Say:
    return Say("", after, fault=fault)


@dataclass(frozen=True)
class Answer:
    """What a tool does."""

    body: str = '{"ok": "yes"}'
    after: int = 300
    outcome: ToolOutcome = ToolOutcome.OK
    reports: bool = True


@dataclass
class _Clause:
    text: str
    starts: int
    ends: int
    is_preemptible: bool
    cycle: int


@dataclass
class Rig:
    """`script` are the model's answers in order; the last one repeats. `plays`: the relay reports what it plays;
    `character_ms`: how slowly it speaks."""

    script: list[Say] = field(default_factory=lambda: [Say("All right.")])
    brief: CallBrief = field(default_factory=brief)
    tools: dict[str, Answer] = field(default_factory=dict)
    plays: bool = True
    character_ms: int = CHARACTER_MS
    now: int = START
    sent: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    actions: list[tuple[int, Action]] = field(default_factory=list)
    requests: list[StartModel] = field(default_factory=list)
    runs: list[RunTool] = field(default_factory=list)
    cut_by_end: str | None = None  # what had not sounded when we ended the session

    def __post_init__(self) -> None:
        self.conversation: Conversation = new_conversation(self.brief)
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self._cancelled: set[int] = set()
        self._clauses: list[_Clause] = []
        self._cycle = 0
        self._text_cycle_open = False

    # time

    @property
    def t(self) -> int:
        return self.now - START

    def at(self, after: int, run: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._heap, (self.now + after, self._count, run))

    def wait(self, ms: int) -> None:
        """Let the clock run, delivering what falls due, in order."""
        end = self.now + ms
        while True:
            wake = self.conversation.next_wake_ms
            next_event = self._heap[0][0] if self._heap else None
            due = min((x for x in (wake, next_event) if x is not None), default=None)
            if due is None or due > end:
                self.now = end
                return
            self.now = max(self.now, due)
            if next_event is not None and (wake is None or next_event <= wake):
                heapq.heappop(self._heap)[2]()
            else:
                self.take(TimerFired())

    # what goes in

    def take(self, event: Event) -> None:
        for action in advance(self.conversation, event, self.now):
            self._execute(action)

    def frame(self, **frame: Any) -> None:
        """A frame as the relay sends it."""
        event = parse_frame(json.dumps(frame))
        assert event is not None
        assert not isinstance(event, Setup)
        self.take(event)

    def setup(self, resumed: ResumeReason | None = None) -> Rig:
        self.take(SetupReceived(resumed))
        return self

    def hear(self, text: str, *, wait: int = 0) -> None:
        """A final prompt."""
        self.frame(type="prompt", voicePrompt=text, lang="en-US", last=True)
        self.wait(wait)

    def client(self, value: str) -> None:
        self.frame(type="info", name="clientSpeaking", value=value)

    def interrupt(self) -> str:
        """The other side cuts in now: frames in the order that was seen live. Returns what was heard of the clause."""
        self.client("on")
        heard = self.purge()
        if heard:
            self.frame(type="info", name="tokensPlayed", value=heard)
        self.frame(type="interrupt", utteranceUntilInterrupt=heard, durationUntilInterruptMs="1234")
        self.frame(type="info", name="agentSpeaking", value="off")
        return heard

    def purge(self) -> str:
        """The relay drops all queued speech; what had sounded of the clause under way, in whole words."""
        playing = next((c for c in self._clauses if c.starts <= self.now < c.ends), None)
        self._clauses = []
        if playing is None:
            return ""
        heard = playing.text[: (self.now - playing.starts) // self.character_ms]
        if len(heard) < len(playing.text) and not playing.text[len(heard)].isspace():
            heard = heard.rpartition(" ")[0]
        return heard.strip()

    # what comes out

    def _execute(self, action: Action) -> None:
        self.actions.append((self.t, action))
        frame = render_frame(action)
        if frame is not None:
            self.sent.append((self.t, frame))
            if frame["type"] == "text":
                self._play(frame)
        match action:
            case StartModel():
                self.requests.append(action)
                if action.tools:  # a request for a summary is the test's to answer
                    self._answer(action)
            case CancelModel(request_id):
                self._cancelled.add(request_id)
            case RunTool():
                self.runs.append(action)
                self._run(action)
            case CancelTool(run_id):
                self._cancelled.add(run_id)
            case End():
                self.cut_by_end = " ".join(clause.text for clause in self._clauses)
            case _:
                pass

    def _answer(self, request: StartModel) -> None:
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        delay = step.after

        def later(event: Event) -> None:
            self.at(delay, lambda: self._take_unless_cancelled(request.request_id, event))

        for delta in re.findall(r"\s*\S+", step.text):
            later(ModelDelta(request.request_id, delta))
            delay += step.every
        if step.fault is not None:
            later(ModelFailed(request.request_id, step.fault))
            return
        for number, (name, arguments) in enumerate(step.calls):
            raw = arguments if isinstance(arguments, str) else json.dumps(arguments)
            later(ModelToolCall(request.request_id, f"id{number}", name, raw))
        if step.ends:
            later(ModelFinished(request.request_id, "tool_calls" if step.calls else "stop"))

    def _run(self, run: RunTool) -> None:
        answer = self.tools.get(run.name, Answer())
        if answer.reports:
            finished = ToolFinished(run.run_id, answer.outcome, answer.body)
            self.at(answer.after, lambda: self._take_unless_cancelled(run.run_id, finished))

    def _take_unless_cancelled(self, request_id: int, event: Event) -> None:
        if request_id not in self._cancelled:
            self.take(event)

    def _play(self, frame: dict[str, Any]) -> None:
        if not self._text_cycle_open:
            self._cycle += 1
            self._clauses = [c for c in self._clauses if not c.is_preemptible]
        self._text_cycle_open = not frame["last"]
        for text in re.findall(r"[^.,!?]+[.,!?]*\s*", frame["token"]):
            starts = max([self.now + LAG_MS, *(c.ends for c in self._clauses)])
            ends = starts + self.character_ms * len(text)
            clause = _Clause(text.strip(), starts, ends, frame["preemptible"], self._cycle)
            self._clauses.append(clause)
            if self.plays:
                self._schedule(clause)

    def _schedule(self, clause: _Clause) -> None:
        def start() -> None:
            if clause in self._clauses and not self.conversation.floor.agent:
                self.frame(type="info", name="agentSpeaking", value="on")

        def end() -> None:
            if clause not in self._clauses:
                return
            self._clauses.remove(clause)
            if clause.text:
                self.frame(type="info", name="tokensPlayed", value=clause.text)
            if not self._clauses:
                self.at(100, quiet)

        def quiet() -> None:
            if not self._clauses and self.conversation.floor.agent:
                self.frame(type="info", name="agentSpeaking", value="off")

        self.at(clause.starts - self.now, start)
        self.at(clause.ends - self.now, end)

    # what the tests ask

    def spoken(self, since: int = 0, until: int = 10**9) -> str:
        """All text sent in a window, joined."""
        return "".join(
            frame["token"] + ("|" if frame["last"] else "")
            for t, frame in self.sent
            if frame["type"] == "text" and since <= t < until
        )

    def said_at(self, text: str) -> list[int]:
        """When utterances with these words were begun or sent."""
        return [t for t, frame in self.sent if frame["type"] == "text" and text in frame["token"]]

    def history(self) -> list[tuple[str, str]]:
        """What the model would be shown now: (role, content)."""
        return [
            (message["role"], message["content"] or f"calls {message['tool_calls'][0]['function']['name']}")
            for message in self.conversation.memory.messages()
        ]

    def segments(self) -> list[StoreSegment]:
        """The transcript as stored, by sequence number."""
        kept = {a.sequence_no: a for _, a in self.actions if isinstance(a, StoreSegment)}
        return [kept[number] for number in sorted(kept)]

    @property
    def handoff(self) -> dict[str, Any] | None:
        return next((dict(a.handoff) for _, a in self.actions if isinstance(a, End)), None)

    @property
    def ended_at(self) -> int | None:
        return next((t for t, a in self.actions if isinstance(a, End)), None)

    @property
    def refused_numbers(self) -> list[tuple[int, AddToDoNotCall]]:
        return [(t, a) for t, a in self.actions if isinstance(a, AddToDoNotCall)]

    @property
    def latencies(self) -> list[MarkLatency]:
        return [a for _, a in self.actions if isinstance(a, MarkLatency)]
