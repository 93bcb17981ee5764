"""Facts that reach a conversation: what the relay, the model, the tools, the carrier and the clock reported.

Invariant: every fact is immutable and carries all it needs; times are the `now_ms` handed to `advance`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ResumeReason(StrEnum):
    LOST = "lost"  # the socket died under a live call
    DRAIN = "drain"  # the process that held the call is stopping
    TRANSFER_FAILED = "transfer_failed"  # nobody took the transferred call


class ModelFault(StrEnum):
    """Why a model gave no complete answer."""

    RATE_LIMITED = "rate_limited"
    SERVER = "server"  # 5xx
    CONNECTION = "connection"  # refused, reset, time-out of the transport
    CUT = "cut"  # the stream ended without a finish reason
    REFUSED = "refused"  # any other 4xx: asking again cannot help

    @property
    def is_worth_repeating(self) -> bool:
        return self is not ModelFault.REFUSED


class ToolOutcome(StrEnum):
    OK = "ok"
    ERROR = "error"  # a definite refusal: nothing was changed, asking again cannot help
    UNKNOWN = "unknown"  # time-out, broken connection, 5xx: a write may or may not have happened


@dataclass(frozen=True, slots=True)
class SetupReceived:
    """The relay's socket is open. `resumed` says why an earlier session of the same call ended."""

    resumed: ResumeReason | None = None


@dataclass(frozen=True, slots=True)
class PromptReceived:
    text: str
    last: bool = True
    language: str | None = None


@dataclass(frozen=True, slots=True)
class InterruptReceived:
    """The other side cut in. `heard` holds only the clause that was being played."""

    heard: str


@dataclass(frozen=True, slots=True)
class DtmfReceived:
    digit: str


@dataclass(frozen=True, slots=True)
class SpeakerChanged:
    agent: bool  # our voice, else the other side's
    speaking: bool


@dataclass(frozen=True, slots=True)
class TokensPlayed:
    """A clause of our own text has sounded, its edges trimmed."""

    text: str


@dataclass(frozen=True, slots=True)
class RelayErrorReceived:
    description: str


@dataclass(frozen=True, slots=True)
class ModelDelta:
    request_id: int
    text: str


@dataclass(frozen=True, slots=True)
class ModelToolCall:
    """One complete tool call; `arguments` is the model's own text, unchecked."""

    request_id: int
    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ModelFinished:
    request_id: int
    reason: str


@dataclass(frozen=True, slots=True)
class ModelFailed:
    request_id: int
    fault: ModelFault


@dataclass(frozen=True, slots=True)
class ToolFinished:
    """`body` is the tool's answer, or the sentence that says what went wrong."""

    run_id: int
    outcome: ToolOutcome
    body: str


@dataclass(frozen=True, slots=True)
class VerdictReceived:
    """Answering-machine detection, in the carrier's words: human, machine_start, machine_end_*, fax, unknown.
    `ago_ms`: how long it has been known, for example to a process that has stopped."""

    answered_by: str
    ago_ms: int = 0


@dataclass(frozen=True, slots=True)
class TimerFired:
    """The wake time has come."""


@dataclass(frozen=True, slots=True)
class DrainRequested:
    """The process stops: hand the call over at an idle moment, at `deadline_ms` in any case."""

    deadline_ms: int


@dataclass(frozen=True, slots=True)
class SocketLost:
    """The relay's socket closed without our asking."""


Event = (
    SetupReceived
    | PromptReceived
    | InterruptReceived
    | DtmfReceived
    | SpeakerChanged
    | TokensPlayed
    | RelayErrorReceived
    | ModelDelta
    | ModelToolCall
    | ModelFinished
    | ModelFailed
    | ToolFinished
    | VerdictReceived
    | TimerFired
    | DrainRequested
    | SocketLost
)
