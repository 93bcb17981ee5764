"""What a conversation wants done: frames to the relay, work for the model and the tools, rows to keep.

Invariant: actions are executed in the order they were given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Message = dict[str, Any]  # one entry of Chat Completions' `messages`


@dataclass(frozen=True, slots=True)
class SendText:
    token: str
    last: bool
    interruptible: bool = True
    preemptible: bool = False


@dataclass(frozen=True, slots=True)
class SendDigits:
    """Keys to press; `w` is a pause of half a second. They queue behind speech."""

    digits: str


@dataclass(frozen=True, slots=True)
class SetLanguage:
    """Only ever a language that the TwiML declared: another one kills the session."""

    language: str


@dataclass(frozen=True, slots=True)
class End:
    """End the relay's session. `handoff` tells the action URL what follows; nothing is sent after it."""

    handoff: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class StartModel:
    """Ask the model; answers carry `request_id`. Several may be asked at once (a reply and a summary)."""

    request_id: int
    messages: list[Message]
    tools: list[dict[str, Any]] = field(default_factory=list)
    tool_choice: str | None = None
    max_tokens: int = 300


@dataclass(frozen=True, slots=True)
class CancelModel:
    request_id: int


@dataclass(frozen=True, slots=True)
class RunTool:
    """Call a customer's tool. `is_write` calls must not be repeated, whatever happens."""

    run_id: int
    name: str
    arguments: Mapping[str, Any]
    is_write: bool
    timeout_ms: int
    idempotency_key: str


@dataclass(frozen=True, slots=True)
class CancelTool:
    run_id: int


@dataclass(frozen=True, slots=True)
class StoreSegment:
    """Keep (or, with a known `sequence_no`, replace) a piece of the transcript.

    `text` is what was heard, `cut_text` what was sent but not heard. Times are epoch milliseconds.
    """

    sequence_no: int
    role: str  # agent, person, system, tool
    text: str
    cut_text: str | None
    started_at: int
    ended_at: int | None
    source: str
    """agent: greeting, reply, rest, filler, reprompt, apology, goodbye, transfer, screener, menu, voicemail ·
    person: speech, dtmf · tool: tool · system: machine (a robot's words), relay (its error)"""


@dataclass(frozen=True, slots=True)
class AddToDoNotCall:
    number: str
    reason: str


@dataclass(frozen=True, slots=True)
class MarkLatency:
    """Prompt received → first token of the answer sent, and the model's share of it, in ms.

    `sequence_no`: the answer's place in the transcript.
    """

    sequence_no: int
    total_ms: int
    model_ms: int


Action = (
    SendText
    | SendDigits
    | SetLanguage
    | End
    | StartModel
    | CancelModel
    | RunTool
    | CancelTool
    | StoreSegment
    | AddToDoNotCall
    | MarkLatency
)
