"""The shapes of the API's answers about signed events, for its description.

Invariant: closed and complete; the suite holds real answers against them.
"""

from typing import Annotated, Literal

from pydantic import Field

from config.shapes import Id, Moment, Page, Shape

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
