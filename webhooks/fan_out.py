"""From an event to its deliveries: one for each destination that wants it.

Invariant: an event's body is made once, so every destination and every attempt gets the same bytes; its deliveries
and the end of its being due are one commit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import msgspec
from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncConnection

from accounts.events import TEST_EVENT, event_order
from accounts.tables import events
from config.clock import stable_id
from config.rows import OfOneOrganisation, Read, Row, Rows
from voice.presenting import call_object
from voice.tables import calls
from webhooks.endpoints import endpoint_reads
from webhooks.schedule import wants
from webhooks.signing import API_VERSION
from webhooks.tables import webhook_deliveries, webhook_endpoints, webhook_secrets

INLINE = "inline"
"""The destination that a call names itself, by its `webhook_url`."""
NO_RESULT = {"result": None, "result_error": None}


def body_of(event: Mapping[str, Any], call: Mapping[str, Any] | None) -> str:
    """What is sent. `event`: its row; `call`: all columns of the call it is about. The call appears as it was at that
    moment; its result, which came later, only when it has completed."""
    data = event["state"]
    if call is not None:
        then = {**call, **event["state"]}
        if event["type"] != "call.completed":
            then |= {**NO_RESULT, "result_status": "pending" if call["returns"] else "skipped"}
        data = {"call": call_object(then)}
    envelope = {
        "id": event["id"],
        "type": event["type"],
        "created": event["created_at"] // 1000,
        "api_version": API_VERSION,
        "data": data,
    }
    return msgspec.json.encode(envelope).decode()


def delivery(event: Mapping[str, Any], url: str, endpoint_id: str | None, now: int) -> Row:
    """A new delivery, due at once; its id says which event and which destination."""
    to = endpoint_id or INLINE
    return {
        "id": stable_id(event["created_at"], event_order(event["type"]), f"{event['id']}:{to}"),
        "org_id": event["org_id"],
        "event_id": event["id"],
        "endpoint_id": endpoint_id,
        "call_id": event["call_id"],
        "event_type": event["type"],
        "url": url,
        "destination": endpoint_id or f"{event['org_id']}:{urlsplit(url).hostname}",
        "status": "pending",
        "next_attempt_at": now,
        "created_at": now,
        "updated_at": now,
    }


@dataclass(frozen=True, slots=True)
class FanOut(OfOneOrganisation):
    """`inline_url`: of the event's call. `new_secret` signs for it, if the organisation has no secret of that kind."""

    event_id: str
    org_id: str
    body: str
    new_secret: str
    call_id: str | None = None
    inline_url: str | None = None

    def reads(self, located: Rows) -> Sequence[Read]:
        reads = [Read(events, "id", (self.event_id,)), Read(webhook_endpoints, "listed_org_id", (self.org_id,))]
        if self.inline_url and self.call_id:
            reads += [Read(webhook_secrets, "id", (self.org_id,)), Read(calls, "id", (self.call_id,))]
        return reads

    def fold(self, rows: Rows, now: int) -> int:
        """How many deliveries were written; 0 also when somebody else has done it."""
        event = rows.get(events, self.event_id)
        if event is None or event["due_at"] is None:
            return 0
        made = [
            delivery(event, endpoint["url"], endpoint["id"], now)
            for endpoint in rows.find(webhook_endpoints, "listed_org_id", self.org_id)
            if _listens(endpoint, event)
        ]
        if self.inline_url and self.call_id:
            made.append(delivery(event, self.inline_url, None, now))
            rows.update(calls, self.call_id, {"webhook_status": "pending", "webhook_error": None})
            self._ensure_secret(rows, now)
        for row in made:
            rows.insert(webhook_deliveries, row)
        rows.update(events, self.event_id, {"body": self.body, "due_at": None})
        return len(made)

    def _ensure_secret(self, rows: Rows, now: int) -> None:
        if rows.get(webhook_secrets, self.org_id) is None:
            values = {"signing_secret": self.new_secret, "is_shown": False, "updated_at": now}
            rows.insert(webhook_secrets, {"id": self.org_id, **values})


def _listens(endpoint: Row, event: Row) -> bool:
    """An endpoint hears of calls from their beginning or not at all."""
    since = event["created_at"] if event["call_id"] is None else event["state"]["created_at"]
    return (
        endpoint["status"] == "enabled"
        and endpoint["created_at"] <= since
        and wants(endpoint["enabled_events"], event["type"])
    )


@dataclass(frozen=True, slots=True)
class SendTest(OfOneOrganisation):
    """An event that means nothing, to one endpoint, whatever it subscribes to."""

    event_id: str
    org_id: str
    endpoint_id: str

    def reads(self, located: Rows) -> Sequence[Read]:
        return (*endpoint_reads(self.org_id), Read(events, "id", (self.event_id,)))

    def fold(self, rows: Rows, now: int) -> Row | str:
        """The delivery, or `not_found`, or `endpoint_disabled`."""
        endpoint = rows.get(webhook_endpoints, self.endpoint_id)
        if endpoint is None or endpoint["listed_org_id"] != self.org_id:
            return "not_found"
        if endpoint["status"] != "enabled":
            return "endpoint_disabled"
        state = {"endpoint_id": self.endpoint_id, "message": "This is a test. Your endpoint receives events."}
        event = {
            "id": self.event_id,
            "org_id": self.org_id,
            "call_id": None,
            "type": TEST_EVENT,
            "state": state,
            "created_at": now,
        }
        row = delivery(event, endpoint["url"], self.endpoint_id, now)
        if rows.get(events, self.event_id) is None:
            rows.insert(events, {**event, "body": body_of(event, None)})
            rows.insert(webhook_deliveries, row)
        return dict(rows.get(webhook_deliveries, row["id"]) or row)


EVENTS_AT_ONCE = 200
DUE_EVENTS = (
    select(events)
    .where(events.c.due_at <= bindparam("now"))
    .order_by(events.c.id.concat(""))  # by the few that are due, not by the index of all that ever happened
    .limit(EVENTS_AT_ONCE)
)
"""In the order in which they happened."""


async def calls_by_id(connection: AsyncConnection, ids: set[str]) -> dict[str, dict[str, Any]]:
    """All columns of these calls."""
    found = (await connection.execute(select(calls).where(calls.c.id.in_(ids)))).mappings()
    return {row["id"]: dict(row) for row in found}
