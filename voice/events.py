"""What can happen to a call, in the past tense.

Owns the shapes. Invariant: an event carries facts only; what follows from them is decided in `voice.call`.
Times are UTC epoch milliseconds as the carrier or our clock told them.
"""

from dataclasses import dataclass

from voice.vocabulary import AnsweredBy, CallStatus


@dataclass(frozen=True, slots=True)
class DialAccepted:
    """The carrier took the call and gave it an id."""

    twilio_call_sid: str


@dataclass(frozen=True, slots=True)
class DialRefused:
    """A definite no: nothing was or will be dialled. `code` is ours; `carrier_code` the carrier's number."""

    code: str
    message: str
    carrier_code: int | None = None


@dataclass(frozen=True, slots=True)
class DialUnanswered:
    """A time-out or server error: nobody knows whether it dials."""


@dataclass(frozen=True, slots=True)
class DialNotFound:
    """The carrier was asked for the call by its numbers and time. `candidates`: how many that may be it are still up;
    which of them it is, if any, cannot be told."""

    candidates: int = 0


@dataclass(frozen=True, slots=True)
class StatusReported:
    """A status callback. `duration_seconds` only on final ones; `at` the carrier's own time of the event."""

    twilio_call_sid: str
    status: CallStatus
    duration_seconds: int | None = None
    at: int | None = None
    sip_response_code: str | None = None


@dataclass(frozen=True, slots=True)
class VerdictReported:
    """Answering-machine detection has spoken."""

    twilio_call_sid: str
    answered_by: AnsweredBy
    detection_ms: int | None = None


@dataclass(frozen=True, slots=True)
class CarrierAsked:
    """What the carrier's REST API said when asked: evidence like a callback."""

    twilio_call_sid: str
    status: CallStatus
    duration_seconds: int | None = None
    answered_by: AnsweredBy | None = None
    answered_at: int | None = None


@dataclass(frozen=True, slots=True)
class CarrierForgot:
    """The carrier knows no call of this id (404)."""


@dataclass(frozen=True, slots=True)
class HangUpRequested:
    """The customer, the agent or our own rules want the call to end."""

    reason: str


@dataclass(frozen=True, slots=True)
class HangUpDelayed:
    """A machine verdict that is no mailbox (a screening robot): talk on, within the longest time a free call gets."""


@dataclass(frozen=True, slots=True)
class PlatformFailed:
    """The agent never got to speak, by our fault."""


@dataclass(frozen=True, slots=True)
class EndedByHand:
    """An operator vouches that the call is over, or wants it to be."""


@dataclass(frozen=True, slots=True)
class TimePassed:
    """Something the call waits for is due."""


Event = (
    DialAccepted
    | DialRefused
    | DialUnanswered
    | DialNotFound
    | StatusReported
    | VerdictReported
    | CarrierAsked
    | CarrierForgot
    | HangUpRequested
    | HangUpDelayed
    | PlatformFailed
    | EndedByHand
    | TimePassed
)
