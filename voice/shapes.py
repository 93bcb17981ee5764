"""The shapes of the API's answers about calls, agents and numbers, for its description.

Invariant: closed and complete; the suite holds real answers against them.
"""

from typing import Annotated, Any, Literal

from pydantic import Field

from billing.shapes import Transfer
from config.shapes import E164, Everything, Id, Moment, Page, Shape
from voice.vocabulary import AnsweredBy, BillingReason, CallStatus, ReservationStatus

EntryId = Annotated[str, Field(examples=["0198f3c2-5a61-7d3c-8f0e-2b1a4c5d6e7f:+14155550123"])]
Direction = Literal["inbound", "outbound"]
VoicemailAction = Literal["hangup", "leave_message"]


class Call(Shape):
    """Milli-cents and seconds. What it cost is null until the call is final."""

    id: Id
    agent_id: Id | None
    to_number: E164
    from_number: Annotated[str, Field(examples=["+14155550100"])]
    status: Annotated[CallStatus, Field(examples=["completed"])]
    direction: Annotated[Direction, Field(examples=["outbound"])]
    persona: str | None
    instructions: str | None
    prompt: Annotated[str, Field(examples=["Ask whether the table is free."])] | None
    context: dict[str, Any]
    returns: dict[str, Any]
    result: dict[str, Any] | None
    result_status: Annotated[Literal["pending", "completed", "failed", "skipped"], Field(examples=["skipped"])]
    result_error: str | None
    language: Annotated[str, Field(examples=["en"])]
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
    answered_by: Annotated[AnsweredBy, Field(examples=["human"])] | None
    duration_seconds: Annotated[int, Field(examples=[67])] | None
    billed_duration_seconds: Annotated[int, Field(examples=[63])] | None
    billing_amount_milli_cents: Annotated[int, Field(examples=[5_250])] | None
    billing_reason: Annotated[BillingReason, Field(examples=["billed"])] | None
    reservation_status: Annotated[ReservationStatus, Field(examples=["settled"])] | None
    hold_milli_cents: Annotated[int, Field(examples=[300_000])]
    rate_milli_cents_per_minute: Annotated[int, Field(examples=[5_000])]
    max_duration_seconds: Annotated[int, Field(examples=[3_600])]
    error_code: str | None
    error_message: str | None
    hangup_cause: str | None
    metadata: dict[str, Any]


CallPage = Page[Call]


class CallQuote(Shape):
    """`code` and `message` say why the call would not be placed."""

    hold_milli_cents: Annotated[int, Field(examples=[300_000])]
    worst_case_milli_cents: Annotated[int, Field(examples=[300_000])]
    rate_milli_cents_per_minute: Annotated[int, Field(examples=[5_000])]
    max_duration_seconds: Annotated[int, Field(examples=[3_600])]
    would_be_placed: bool
    code: str | None
    message: str | None


class Testimony(Shape):
    """One piece of evidence: who said what, when it arrived, and the carrier's own time of it."""

    kind: Annotated[str, Field(examples=["verdict"])]
    source: Annotated[str, Field(examples=["callback"])]
    arrived_at: Moment
    carrier_at: Moment | None
    said: dict[str, Any]


class Connected(Shape):
    """The time that counts: from the end of detection to the end of the call."""

    from_: Moment | None = Field(alias="from")
    to: Moment | None
    seconds: Annotated[int, Field(examples=[63])] | None


class Receipt(Shape):
    """Why each second was or was not billed. `confirmed`: the evidence alone gives the same charge."""

    call_id: Id
    status: Annotated[CallStatus, Field(examples=["completed"])]
    direction: Annotated[Direction, Field(examples=["outbound"])]
    answered_by: Annotated[AnsweredBy, Field(examples=["human"])] | None
    timeline: list[Testimony]
    ring_seconds: Annotated[int, Field(examples=[4])] | None
    duration_seconds: Annotated[int, Field(examples=[67])] | None
    detection_ms: Annotated[int, Field(examples=[3_200])] | None
    connected: Connected
    rate_milli_cents_per_minute: Annotated[int, Field(examples=[5_000])]
    max_duration_seconds: Annotated[int, Field(examples=[3_600])]
    reason: Annotated[BillingReason, Field(examples=["billed"])] | None
    hold_milli_cents: Annotated[int, Field(examples=[300_000])]
    charge_milli_cents: Annotated[int, Field(examples=[5_250])] | None
    released_milli_cents: Annotated[int, Field(examples=[294_750])] | None
    refunded_milli_cents: Annotated[int, Field(examples=[0])] | None
    confirmed: bool
    transfers: list[Transfer]


class Segment(Shape):
    """`cut_text`: what was not heard any more. Latencies from the end of the other side's words."""

    sequence_no: int
    role: Annotated[str, Field(examples=["agent"])]
    text: Annotated[str, Field(examples=["Hello from CallingBox."])]
    cut_text: str | None
    started_at: Moment
    ended_at: Moment | None
    duration_ms: int | None
    source: Annotated[str, Field(examples=["speech"])]
    latency_ms: int | None
    model_latency_ms: int | None


class Transcript(Shape):
    """What was said, in order."""

    call_id: Id
    segments: list[Segment]


class Number(Shape):
    """With the fields of every generation of the API. Null inbound fields: the default agent's."""

    id: Id
    e164: E164
    friendly_name: str | None
    country_code: Annotated[str, Field(examples=["US"])]
    number_type: Literal["local", "toll_free"]
    status: Literal["active", "past_due"]
    monthly_cost_cents: Annotated[int, Field(examples=[100])]
    purchased_at: Moment
    paid_until: Moment | None
    fallback_number: str | None
    inbound_agent_id: str | None
    outbound_agent_ids: list[str]
    inbound_enabled: bool
    inbound_prompt: str | None
    inbound_returns: dict[str, Any] | None
    inbound_webhook_url: str | None
    inbound_language: str | None
    inbound_tools: list[dict[str, Any]] | None
    inbound_voicemail_action: VoicemailAction


NumberPage = Page[Number]


class AvailableNumber(Shape):
    """A number for sale."""

    phone_number: E164
    country_code: Annotated[str, Field(examples=["US"])]
    number_type: Literal["local", "toll_free"]
    state: str | None
    locality: str | None
    monthly_cost_cents: Annotated[int, Field(examples=[100])]
    upfront_cost_cents: int
    currency: Literal["USD"]


class VerifiedNumber(Shape):
    """`verified_at`: null until the code has come back."""

    id: EntryId
    e164: E164
    verified_at: Moment | None
    created_at: Moment


EveryVerifiedNumber = Everything[VerifiedNumber]


class Agent(Shape):
    """`numbers`: the oldest attachment first. Null: the default."""

    id: Id
    org_id: Id
    user_id: str | None
    type: Direction
    name: Annotated[str, Field(examples=["Bookings"])]
    persona: str | None
    instructions: Annotated[str, Field(examples=["Ask whether the table is free."])] | None
    first_message: str | None
    voice: str | None
    language: Annotated[str, Field(examples=["en-US"])]
    returns: dict[str, Any]
    tools: list[dict[str, Any]]
    voicemail_action: VoicemailAction
    voicemail_message: str | None
    webhook_url: str | None
    max_duration_seconds: int | None
    silence_timeout_seconds: int | None
    longest_wait_seconds: int | None
    transfer_number: str | None
    primary_number_id: str | None
    numbers: list[Number]
    archived_at: Annotated[Moment | None, Field(examples=[None])]
    created_at: Moment
    updated_at: Moment


EveryAgent = Everything[Agent]


class BlockedCaller(Shape):
    """Calls from there are rejected."""

    id: EntryId
    e164: E164
    reason: str | None
    created_at: Moment


class DoNotCallEntry(BlockedCaller):
    """No call goes there. `source`: who wanted it so; `callee`: said on the call `call_id`."""

    source: Annotated[Literal["callee", "customer"], Field(examples=["customer"])]
    call_id: str | None
    user_id: str | None


BlockedCallerPage = Page[BlockedCaller]
DoNotCallEntryPage = Page[DoNotCallEntry]
