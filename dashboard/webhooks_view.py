"""Webhook endpoints and deliveries: what their pages take.

Pure. The one invariant: a signing secret is in a view only on the page that answers its creation or rotation.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from dashboard import format as fmt
from dashboard.views import Choice, Form, Notice, Paging

EVENTS = {
    "call.queued": "Credits are reserved; the call is about to be dialed",
    "call.ringing": "It rings",
    "call.answered": "Somebody or something picked up",
    "call.voicemail": "A machine answered",
    "call.completed": "It ended, with its result and its charge",
    "call.failed": "It could not be placed",
    "call.no_answer": "Nobody answered",
    "call.busy": "The line was busy",
    "call.canceled": "It was canceled before it was answered",
    "balance.low": "Credit is low",
    "calls.paused": "There is no room for another call",
    "topup.succeeded": "A payment arrived",
}
"""Every event an endpoint may subscribe to, and what it tells."""
TEST_EVENT = "webhook.test"
SPANS = {
    1: "Failed in the last hour",
    24: "Failed in the last day",
    168: "Failed in the last 7 days",
    720: "Failed in the last 30 days",
}
"""Hours, for which what failed may be sent again."""


@dataclass(frozen=True, slots=True)
class EndpointRow:
    """An endpoint; `events` ("*",) is all of them, `failures` those in a row."""

    id: str
    url: str
    description: str
    events: tuple[str, ...]
    is_enabled: bool
    failures: int
    disabled_at: int | None = None


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """A delivery of one event to one address; `state` is pending, delivered or exhausted."""

    id: str
    event_type: str
    url: str
    call_id: str | None
    state: str
    attempts: int
    answer: str
    created_at: int
    next_attempt_at: int | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try: what the other side answered, or why it could not."""

    at: int
    duration_ms: int
    status: int | None
    body: str
    error: str = ""


@dataclass(frozen=True, slots=True)
class DeliveryFilters:
    """Which deliveries are shown, and since when what failed may be sent again; `address`: of the page they are on."""

    address: str
    event: str
    state: str
    endpoint_id: str
    """Of the page of one endpoint."""
    can_send: bool
    """False: the endpoint takes nothing just now."""

    @property
    def narrows(self) -> bool:
        return bool(self.event or self.state)

    @property
    def events(self) -> tuple[Choice, ...]:
        return _choices({"": "All events", **{name: name for name in (*EVENTS, TEST_EVENT)}}, self.event)

    @property
    def states(self) -> tuple[Choice, ...]:
        words = {state: label for state, (_, _, label) in STATES.items()}
        return _choices({"": "All states", **words}, self.state)

    @property
    def spans(self) -> tuple[Choice, ...]:
        return _choices({str(hours): words for hours, words in SPANS.items()}, "24")


def _choices(labels: Mapping[str, str], chosen: str) -> tuple[Choice, ...]:
    return tuple(Choice(value, label, value == chosen) for value, label in labels.items())


def sent_again(again: str) -> Notice:
    """After what failed was asked for: how many it were, with a + where there are more."""
    count = int(again.rstrip("+"))
    if not count:
        return Notice("plain", "check", "Nothing failed in that time that an enabled endpoint could be sent.")
    words = f"{fmt.count(count, 'delivery', 'deliveries')} {'is' if count == 1 else 'are'} on the way again."
    return Notice("good", "check", f"{words} There are more: send again to go on." if again.endswith("+") else words)


@dataclass(frozen=True, slots=True)
class WebhooksPage:
    """All endpoints and the latest deliveries; `form` creates an endpoint. Calls' own addresses have one secret, made
    at `default_secret_at`."""

    endpoints: tuple[EndpointRow, ...]
    deliveries: tuple[DeliveryRow, ...]
    form: Form
    events: tuple[Choice, ...]
    paging: Paging
    filters: DeliveryFilters
    secret: str = ""
    """A secret just created, shown this once."""
    default_secret_at: int | None = None


@dataclass(frozen=True, slots=True)
class EndpointPage:
    """One endpoint: its form, secret, and deliveries."""

    endpoint: EndpointRow
    form: Form
    events: tuple[Choice, ...]
    deliveries: tuple[DeliveryRow, ...]
    paging: Paging
    filters: DeliveryFilters
    secret: str = ""


@dataclass(frozen=True, slots=True)
class DeliveryPage:
    """One delivery with the request as sent and every answer, newest last."""

    delivery: DeliveryRow
    headers: tuple[tuple[str, str], ...]
    body: str
    attempts: tuple[Attempt, ...]


STATES = {
    "pending": ("processing", "wait", "Pending"),
    "delivered": ("paid", "completed", "Delivered"),
    "exhausted": ("failed", "failed", "Gave up"),
}


def delivery_state(state: str) -> tuple[str, str, str]:
    """A delivery's state as the status part takes it: key of its colour, icon and word."""
    return STATES.get(state, ("processing", "wait", state.replace("_", " ").capitalize()))


def event_choices(chosen: tuple[str, ...]) -> tuple[Choice, ...]:
    """The events to tick; ("*",) ticks all."""
    return tuple(Choice(name, name, "*" in chosen or name in chosen, detail) for name, detail in EVENTS.items())
