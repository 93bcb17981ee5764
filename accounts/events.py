"""Facts that customers' servers are told: the rows of table `events`.

Whoever makes a fact writes its event in the same fold; sending it is somebody else's work. Invariant: an event has
the same id however often its fold is tried, ids sort in the order of the facts, and an event that nobody would
receive is never written.
"""

from collections.abc import Mapping
from typing import Any

from accounts.tables import events
from config.clock import stable_id
from config.rows import Row, Rows

CALL_EVENTS = (
    "call.queued",
    "call.ringing",
    "call.answered",
    "call.voicemail",
    "call.completed",
    "call.failed",
    "call.no_answer",
    "call.busy",
    "call.canceled",
)
ACCOUNT_EVENTS = ("balance.low", "calls.paused", "topup.succeeded")
TEST_EVENT = "webhook.test"
EVENT_TYPES = (*CALL_EVENTS, *ACCOUNT_EVENTS)
"""What an endpoint may subscribe to, those of a call in the order of its life."""
_ORDER = {name: place for place, name in enumerate((*EVENT_TYPES, TEST_EVENT))}


def event_order(name: str) -> int:
    """Its place among facts of the same millisecond."""
    return _ORDER[name]


def record_event(
    rows: Rows, org_id: str, name: str, key: str, state: Mapping[str, Any], now: int, call_id: str | None = None
) -> None:
    """Write an event. `key` names its fact within this type; `state` is what the body is made of, as it is now."""
    event_id = stable_id(now, _ORDER[name], f"{name}:{key}")
    rows.insert(
        events,
        {
            "id": event_id,
            "org_id": org_id,
            "call_id": call_id,
            "type": name,
            "state": dict(state),
            "created_at": now,
            "due_at": now,
        },
    )


def record_account_event(
    rows: Rows, organisation: Row, name: str, key: str, state: Mapping[str, Any], now: int
) -> None:
    """The same for a fact about the organisation (its row must have been read), where it has an enabled endpoint."""
    if organisation["webhook_endpoints"]:
        record_event(rows, organisation["id"], name, key, state, now)
