"""The shapes of the API's answers about calls, for its description.

Invariant: closed and complete; the suite holds real answers against them.
"""

from typing import Any, Literal

from pydantic import BaseModel, Field

from billing.shapes import Moment, Transfer
from voice.vocabulary import AnsweredBy, BillingReason, CallStatus, ReservationStatus

Direction = Literal["inbound", "outbound"]


class Call(BaseModel, extra="forbid"):
    """Milli-cents and seconds. What it cost is null until the call is final."""

    id: str
    agent_id: str | None
    to_number: str
    from_number: str
    status: CallStatus
    direction: Direction
    persona: str | None
    instructions: str | None
    prompt: str | None
    context: dict[str, Any]
    returns: dict[str, Any]
    result: dict[str, Any] | None
    result_status: Literal["pending", "completed", "failed", "skipped"]
    result_error: str | None
    language: str
    tools: list[dict[str, Any]] | None
    voicemail_action: str | None
    webhook_url: str | None
    webhook_status: Literal["none", "pending", "delivered", "failed"]
    webhook_error: str | None
    created_at: Moment
    updated_at: Moment
    started_at: Moment | None
    answered_at: Moment | None
    connected_at: Moment | None
    ended_at: Moment | None
    answered_by: AnsweredBy | None
    duration_seconds: int | None
    billed_duration_seconds: int | None
    billing_amount_milli_cents: int | None
    billing_reason: BillingReason | None
    reservation_status: ReservationStatus | None
    hold_milli_cents: int
    rate_milli_cents_per_minute: int
    max_duration_seconds: int
    error_code: str | None
    error_message: str | None
    hangup_cause: str | None
    metadata: dict[str, Any]


class CallPage(BaseModel, extra="forbid"):
    """Newest first."""

    data: list[Call]
    has_more: bool


class CallQuote(BaseModel, extra="forbid"):
    """`code` and `message` say why the call would not be placed."""

    hold_milli_cents: int
    worst_case_milli_cents: int
    rate_milli_cents_per_minute: int
    max_duration_seconds: int
    would_be_placed: bool
    code: str | None
    message: str | None


class Testimony(BaseModel, extra="forbid"):
    """One piece of evidence: who said what, when it arrived, and the carrier's own time of it."""

    kind: str
    source: str
    arrived_at: Moment
    carrier_at: Moment | None
    said: dict[str, Any]


class Connected(BaseModel, extra="forbid"):
    """The time that counts: from the end of detection to the end of the call."""

    from_: Moment | None = Field(alias="from")
    to: Moment | None
    seconds: int | None


class Receipt(BaseModel, extra="forbid"):
    """Why each second was or was not billed. `confirmed`: the evidence alone gives the same charge."""

    call_id: str
    status: CallStatus
    direction: Direction
    answered_by: AnsweredBy | None
    timeline: list[Testimony]
    ring_seconds: int | None
    duration_seconds: int | None
    detection_ms: int | None
    connected: Connected
    rate_milli_cents_per_minute: int
    max_duration_seconds: int
    reason: BillingReason | None
    hold_milli_cents: int
    charge_milli_cents: int | None
    released_milli_cents: int | None
    refunded_milli_cents: int | None
    confirmed: bool
    transfers: list[Transfer]


class Segment(BaseModel, extra="forbid"):
    """`cut_text`: what was not heard any more. Latencies from the end of the other side's words."""

    sequence_no: int
    role: str
    text: str
    cut_text: str | None
    started_at: Moment
    ended_at: Moment | None
    duration_ms: int | None
    source: str
    latency_ms: int | None
    model_latency_ms: int | None


class Transcript(BaseModel, extra="forbid"):
    """What was said, in order."""

    call_id: str
    segments: list[Segment]
