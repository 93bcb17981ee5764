"""One call leg as the network knows it: what was asked for, what has happened, what has been sent.

Invariant: times on a call are virtual seconds and only ever planned moments, never the moment a late
event loop got round to them, so a script's durations come out exact. They are shown as a time of day by
counting from the real moment the call was made.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field
from email.utils import formatdate
from enum import StrEnum
from typing import Any

from simulator.scripts import Script

EVENTS = ("initiated", "ringing", "answered", "completed")
DEFAULT_TIME_LIMIT_SECONDS = 14_400


class Status(StrEnum):
    """Twilio's call statuses. `initiated` appears in callbacks only, never in the REST API."""

    QUEUED = "queued"
    INITIATED = "initiated"
    RINGING = "ringing"
    IN_PROGRESS = "in-progress"
    COMPLETED = "completed"
    BUSY = "busy"
    FAILED = "failed"
    NO_ANSWER = "no-answer"
    CANCELED = "canceled"

    @property
    def is_final(self) -> bool:
        return self not in (Status.QUEUED, Status.INITIATED, Status.RINGING, Status.IN_PROGRESS)


SIP_CODES = {
    Status.COMPLETED: 200,
    Status.BUSY: 486,
    Status.NO_ANSWER: 487,
    Status.CANCELED: 487,
    Status.FAILED: 503,
}


@dataclass(frozen=True, slots=True)
class Hook:
    """An address to be requested. `url` may carry connection overrides in its fragment."""

    url: str
    method: str = "POST"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the maker of a call asked for; the defaults are Twilio's."""

    to: str
    from_: str
    voice: Hook | None = None
    twiml: str = ""
    fallback: Hook | None = None
    status_callback: Hook | None = None
    status_events: frozenset[str] = frozenset({"completed"})
    ring_timeout_seconds: int = 60
    time_limit_seconds: int = DEFAULT_TIME_LIMIT_SECONDS
    detection_mode: str = ""
    detection_timeout_seconds: int = 30
    detection_async: bool = False
    verdict_callback: Hook | None = None


@dataclass(slots=True)
class Delivery:
    """One request made, or not made, for a call. Times are real: UTC epoch milliseconds."""

    event: str
    url: str
    params: dict[str, str]
    faults: tuple[str, ...] = ()
    attempts: list[dict[str, Any]] = field(default_factory=list)
    """`{"at": ms, "result": HTTP status, or "connect_timeout" | "read_timeout" | "refused"}` each."""
    delivered: bool = False
    """A 2xx came back."""
    reply: str = ""


@dataclass(frozen=True, slots=True)
class Command:
    """What somebody outside wants of a live call: `answer`, `decline`, `hang_up` or `redirect`."""

    name: str
    at: float
    hook: Hook | None = None
    twiml: str = ""


@dataclass(slots=True, kw_only=True)
class Call:
    """One leg. `created_at` and the other `_at`s are virtual seconds."""

    sid: str
    key: str
    """The call without its SID, for the dice: to, from, and which attempt at this pair it is."""
    account_sid: str
    direction: str
    order: Order
    script: Script
    created_at: float
    created_epoch_ms: int
    status: Status = Status.QUEUED
    parent_sid: str = ""
    phone_number_sid: str = ""
    queue_seconds: float = 0.0
    time_limit_seconds: int = DEFAULT_TIME_LIMIT_SECONDS
    dialed_at: float | None = None
    ringing_at: float | None = None
    answered_at: float | None = None
    ended_at: float | None = None
    ended_by: str = ""
    updated_at: float = 0.0
    verdict: str = ""
    """The first verdict: the one the Call resource shows."""
    verdicts: list[dict[str, Any]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    create_answer: str = "given"
    """Whether whoever made the call learnt its SID: `given`, `error` or `lost`."""
    deliveries: list[Delivery] = field(default_factory=list)
    sequence: int = 0
    deleted: bool = False
    """Gone from the REST API."""
    sessions: int = 0
    """Relay sessions begun."""
    talk: list[dict[str, Any]] = field(default_factory=list)
    """What really sounded: `{"who", "text", "at": UTC epoch milliseconds}` each; who: agent, far_end, and what they
    pressed: agent_key, far_end_key."""
    commands: list[Command] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    in_order: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while a callback that keeps its place is under way."""
    _nudge: asyncio.Future[None] | None = None

    @property
    def is_live(self) -> bool:
        return not self.status.is_final

    @property
    def duration_seconds(self) -> int:
        """Whole seconds from answer to hang-up, rounded up; 0 when it was not answered or has not ended."""
        if self.answered_at is None or self.ended_at is None:
            return 0
        # The three places drop what floating point added to a planned moment.
        return math.ceil(round(self.ended_at - self.answered_at, 3))

    @property
    def ring_seconds(self) -> float:
        """How long it rang, until the answer or the end."""
        until = self.answered_at if self.answered_at is not None else self.ended_at
        if self.ringing_at is None or until is None:
            return 0.0
        return round(until - self.ringing_at, 3)

    def epoch_ms(self, at: float) -> int:
        """The time of day of a virtual moment of this call, UTC epoch milliseconds."""
        return self.created_epoch_ms + round((at - self.created_at) * 1000)

    def stamp(self, at: float | None) -> str | None:
        """RFC 2822 in UTC, as Twilio writes times: whole seconds."""
        if at is None:
            return None
        return formatdate(self.epoch_ms(at) // 1000).replace("-0000", "+0000")

    def command(self, command: Command) -> None:
        """Leave an instruction for the call's task and wake it."""
        self.commands.append(command)
        self.wake()

    def wake(self) -> None:
        """Have the call's task look again at its commands and limits."""
        if self._nudge is not None and not self._nudge.done():
            self._nudge.set_result(None)

    def nudge(self) -> asyncio.Future[None]:
        """A future that the next `wake` completes."""
        if self._nudge is None or self._nudge.done():
            self._nudge = asyncio.get_running_loop().create_future()
        return self._nudge


def record(call: Call, resource: dict[str, Any]) -> dict[str, Any]:
    """The simulator's own account of a call. `_at` values are UTC epoch milliseconds."""

    def moment(at: float | None) -> int | None:
        return None if at is None else call.epoch_ms(at)

    order = call.order
    return {
        "sid": call.sid,
        "key": call.key,
        "to": order.to,
        "from": order.from_,
        "direction": call.direction,
        "parent_sid": call.parent_sid or None,
        "status": str(call.status),
        "script": call.script.outcome,
        "created_at": call.created_epoch_ms,
        "answered_at": moment(call.answered_at),
        "ended_at": moment(call.ended_at),
        "ended_by": call.ended_by or None,
        "ring_seconds": call.ring_seconds,
        "duration_seconds": call.duration_seconds,
        "exact_duration_seconds": 0.0
        if call.answered_at is None or call.ended_at is None
        else round(call.ended_at - call.answered_at, 3),
        "detection_asked": bool(order.detection_mode),
        "detection_ms": call.verdicts[0]["detection_ms"] if call.verdicts else None,
        "verdict": call.verdict or None,
        "verdicts": call.verdicts,
        "time_limit_seconds": call.time_limit_seconds,
        "faults": call.faults,
        "create_answer": call.create_answer,
        "talk": call.talk,
        "urls": {
            "voice": order.voice.url if order.voice else None,
            "status": order.status_callback.url if order.status_callback else None,
            "verdict": order.verdict_callback.url if order.verdict_callback else None,
        },
        "deliveries": [
            {
                "event": delivery.event,
                "url": delivery.url,
                "params": delivery.params,
                "faults": list(delivery.faults),
                "attempts": delivery.attempts,
                "delivered": delivery.delivered,
                "reply": delivery.reply,
            }
            for delivery in call.deliveries
        ],
        "resource": resource,
    }
