"""The shapes of the API's answers about signed events, for its description.

Invariant: closed and complete; the suite holds real answers against them.
"""

from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import Field

from accounts.events import TEST_EVENT
from billing.shapes import Topup, Wallet
from config.shapes import Id, Moment, Page, Shape
from voice.shapes import Call
from webhooks.signing import API_VERSION

Data = TypeVar("Data")

Url = Annotated[str, Field(examples=["https://example.com/callingbox"])]
Secret = Annotated[str, Field(examples=["whsec_3Zk0…"])]


class Endpoint(Shape):
    """`consecutive_failures`: deliveries given up in a row; ten disable it."""

    id: Id
    org_id: Id
    url: Url
    description: str | None
    enabled_events: Annotated[list[str], Field(examples=[["*"]])]
    status: Literal["enabled", "disabled"]
    disabled_reason: Literal["too_many_failures"] | None
    disabled_at: Annotated[Moment | None, Field(examples=[None])]
    consecutive_failures: int
    created_at: Moment
    updated_at: Moment


class EndpointWithSecret(Endpoint):
    """The only time that the secret is shown."""

    signing_secret: Secret


EndpointPage = Page[Endpoint]


class EndpointDeleted(Shape):
    id: Id
    deleted: Literal[True]


class SecretState(Shape):
    """About the secret that signs deliveries to a call's own `webhook_url`; null before there was one."""

    was_shown: bool
    updated_at: Moment | None


class NewSecret(Shape):
    """The only time that the secret is shown."""

    signing_secret: Secret
    updated_at: Moment


class Delivery(Shape):
    """One event to one place. `endpoint_id` null: the call's own `webhook_url`."""

    id: Id
    org_id: Id
    endpoint_id: Id | None
    event_id: Id
    call_id: Id | None
    event_type: Annotated[str, Field(examples=["call.completed"])]
    url: Url
    status: Annotated[Literal["pending", "delivered", "exhausted"], Field(examples=["delivered"])]
    attempt_count: Annotated[int, Field(examples=[1])]
    manual_retry_count: int
    next_attempt_at: Annotated[Moment | None, Field(examples=[None])]
    last_error: str | None
    last_response_status: Annotated[int, Field(examples=[200])] | None
    delivered_at: Moment | None
    created_at: Moment
    updated_at: Moment


DeliveryPage = Page[Delivery]


class Redelivered(Shape):
    """How much is on its way again. `last_id`: the last delivery that was looked at; null: there was none."""

    redelivered: Annotated[int, Field(examples=[37])]
    has_more: Annotated[bool, Field(examples=[False])]
    last_id: Id | None


class Attempt(Shape):
    """`response_body`: its first 2 kB."""

    sent_at: Moment
    duration_ms: int
    request_headers: dict[str, str]
    response_status: Annotated[int, Field(examples=[200])] | None
    response_body: str
    error: str | None


class DeliveryDetail(Delivery):
    """With the body that is sent and every attempt, the oldest first."""

    request_body: Annotated[str, Field(examples=['{"type": "call.completed", …}'])]
    attempts: list[Attempt]


class Event(Shape, Generic[Data]):
    """`id`: the same in every attempt and to every endpoint. `created`: Unix time in seconds."""

    id: Id
    type: Annotated[str, Field(examples=["call.completed"])]
    created: Annotated[int, Field(examples=[1_795_462_000])]
    api_version: Annotated[str, Field(pattern=f"^{API_VERSION}$", examples=[API_VERSION])]
    data: Data

    @classmethod
    def model_parametrized_name(cls, params: tuple[Any, ...]) -> str:
        return f"Event{params[0].__name__}"


class AboutCall(Shape):
    """The call as it was when the event happened; its result is there once it has completed."""

    call: Call


class AboutWallet(Shape):
    """The wallet as it was right after the movement that made the event, and the lines that available credit fell below
    by it: the one that was chosen, what two calls hold, what one holds."""

    wallet: Wallet
    crossed: Annotated[list[Literal["alert_below", "two_calls", "one_call"]], Field(min_length=1)]
    alert_below_milli_cents: int | None


class AboutTopup(Shape):
    topup: Topup


class AboutTest(Shape):
    endpoint_id: Id
    message: str


EVENTS: dict[str, tuple[Any, str]] = {
    "call.queued": (Event[AboutCall], "Its credit is reserved; it is about to be dialed."),
    "call.ringing": (Event[AboutCall], "It rings."),
    "call.answered": (Event[AboutCall], "Somebody or something picked up."),
    "call.voicemail": (Event[AboutCall], "A machine answered, so the call is free."),
    "call.completed": (Event[AboutCall], "It ended; its charge is final and its result is there or given up."),
    "call.failed": (Event[AboutCall], "It could not be placed or taken; it is free."),
    "call.no_answer": (Event[AboutCall], "Nobody answered, or only a machine; it is free."),
    "call.busy": (Event[AboutCall], "The line was busy; it is free."),
    "call.canceled": (Event[AboutCall], "It was ended before it was answered; it is free."),
    "balance.low": (Event[AboutWallet], "Credit runs low."),
    "calls.paused": (Event[AboutWallet], "There is no room for another call; `message` says how much to add."),
    "topup.succeeded": (Event[AboutTopup], "A payment arrived and is in the balance."),
    TEST_EVENT: (Event[AboutTest], "Somebody asked for a test."),
}
"""Each event: the shape of its body, and when it is sent. Every call that is told of ends in exactly one of
`call.completed`, `call.failed`, `call.no_answer`, `call.busy` and `call.canceled`."""
HEADERS = {
    "CallingBox-Signature": "`t=<Unix seconds>,v1=<hex>`: HMAC-SHA256 of `<t>.<body>`, keyed with the whole secret.",
    "CallingBox-Event-Id": "The event's id: by it, tell repeats apart.",
    "CallingBox-Event-Type": "The event's type.",
    "X-CallingBox-Event": "The type again, as the header was called first.",
    "X-CallingBox-Call-Id": "Where it is about a call: the call's id.",
}
TO_DO = (
    "Check the signature and that `t` is at most five minutes old, then answer 2xx within 10 s. Otherwise it is sent "
    "again after about 1 min, 5 min, 30 min, 2 h, 5 h, 10 h and 24 h. Events may come twice and out of order."
)
