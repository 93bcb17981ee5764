"""Deliveries: claiming one, recording how an attempt went, asking for it again, and reading them.

Invariant: an attempt is made only by whoever claimed the delivery, and its outcome is recorded once. A claim lasts
for a minute, so a delivery whose sender died is tried again; receivers tell repeats apart by the event's id.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from accounts.tables import events
from config.rows import OfOneOrganisation, Read, Row, Rows
from voice.tables import calls
from webhooks.endpoints import TOO_MANY_FAILURES, endpoint_reads, recount
from webhooks.schedule import GIVEN_UP_IN_A_ROW, accepted, next_attempt_at
from webhooks.tables import webhook_attempts, webhook_deliveries, webhook_endpoints, webhook_secrets

CLAIM_MS = 60_000
NOT_SENT = "Not sent: the endpoint was disabled or deleted."


@dataclass(frozen=True, slots=True)
class _OnDelivery(OfOneOrganisation):
    delivery_id: str
    org_id: str
    endpoint_id: str | None
    call_id: str | None

    def reads(self, located: Rows) -> Sequence[Read]:
        reads = [Read(webhook_deliveries, "id", (self.delivery_id,))]
        if self.endpoint_id is not None:
            return (*reads, *endpoint_reads(self.org_id))
        reads.append(Read(webhook_secrets, "id", (self.org_id,)))
        if self.call_id is not None:
            reads += [Read(webhook_deliveries, "call_id", (self.call_id,)), Read(calls, "id", (self.call_id,))]
        return reads

    def _row(self, rows: Rows) -> Row:
        row = rows.get(webhook_deliveries, self.delivery_id)
        assert row is not None
        assert row["org_id"] == self.org_id
        return row

    def _secret(self, rows: Rows) -> str | None:
        """What to sign with; None: the destination is not sent to (any more)."""
        if self.endpoint_id is None:
            row = rows.get(webhook_secrets, self.org_id)
            assert row is not None, "written together with the first delivery that needs it"
            return str(row["signing_secret"])
        endpoint = rows.get(webhook_endpoints, self.endpoint_id)
        if endpoint is None or endpoint["listed_org_id"] is None or endpoint["status"] != "enabled":
            return None
        return str(endpoint["signing_secret"])

    def _change(self, rows: Rows, now: int, **changes: Any) -> None:
        """Change the delivery and, if it is its call's latest to the call's own address, what the call shows."""
        rows.update(webhook_deliveries, self.delivery_id, {**changes, "updated_at": now})
        if self.endpoint_id is not None or self.call_id is None:
            return
        inline = [row for row in rows.find(webhook_deliveries, "call_id", self.call_id) if row["endpoint_id"] is None]
        latest = max(inline, key=lambda row: str(row["id"]))
        if latest["id"] == self.delivery_id:
            failed = latest["status"] == "exhausted"
            shown = "failed" if failed else latest["status"]
            error = latest["last_error"] if failed else None
            rows.update(calls, self.call_id, {"webhook_status": shown, "webhook_error": error})


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to make one attempt, and what it takes."""

    url: str
    event_id: str
    event_type: str
    signing_secret: str
    manual_retry_count: int


@dataclass(frozen=True, slots=True)
class ClaimDelivery(_OnDelivery):
    """Take a due delivery; whoever comes second gets None."""

    def fold(self, rows: Rows, now: int) -> Claim | None:
        row = self._row(rows)
        if row["next_attempt_at"] is None or row["next_attempt_at"] > now:
            return None
        secret = self._secret(rows)
        if secret is None:
            self._change(rows, now, status="exhausted", next_attempt_at=None, last_error=NOT_SENT)
            return None
        rows.update(webhook_deliveries, self.delivery_id, {"next_attempt_at": now + CLAIM_MS})
        return Claim(row["url"], row["event_id"], row["event_type"], secret, row["manual_retry_count"])


@dataclass(frozen=True, slots=True)
class Attempt:
    """How one went. `error`: why there was no answer; `body`: the answer's beginning."""

    id: str
    signature: str
    sent_at: int
    duration_ms: int
    response_status: int | None
    response_body: str
    error: str | None


@dataclass(frozen=True, slots=True)
class RecordAttempt(_OnDelivery):
    """`chance` spreads the next attempt; `manual_retry_count` as it was claimed."""

    attempt: Attempt
    manual_retry_count: int
    chance: float

    def reads(self, located: Rows) -> Sequence[Read]:
        return (*_OnDelivery.reads(self, located), Read(webhook_attempts, "id", (self.attempt.id,)))

    def fold(self, rows: Rows, now: int) -> None:
        row, attempt = self._row(rows), self.attempt
        if rows.get(webhook_attempts, attempt.id) is not None:
            return  # our own earlier commit, whose answer was lost
        rows.insert(webhook_attempts, _attempt_row(attempt, self.org_id, self.delivery_id))
        if accepted(attempt.response_status):
            self._delivered(rows, row, now)
        elif row["status"] == "pending" and row["manual_retry_count"] == self.manual_retry_count:
            self._failed(rows, row, now)

    def _delivered(self, rows: Rows, row: Row, now: int) -> None:
        self._change(
            rows,
            now,
            status="delivered",
            attempt_count=row["attempt_count"] + 1,
            next_attempt_at=None,
            last_error=None,
            last_response_status=self.attempt.response_status,
            delivered_at=now,
        )
        if self.endpoint_id is not None and rows.get(webhook_endpoints, self.endpoint_id) is not None:
            rows.update(webhook_endpoints, self.endpoint_id, {"consecutive_failures": 0})

    def _failed(self, rows: Rows, row: Row, now: int) -> None:
        attempts = row["attempt_count"] + 1
        next_at = next_attempt_at(attempts, now, self.chance)
        self._change(
            rows,
            now,
            status="pending" if next_at is not None else "exhausted",
            attempt_count=attempts,
            next_attempt_at=next_at,
            last_error=self.attempt.error or f"The answer was {self.attempt.response_status}.",
            last_response_status=self.attempt.response_status,
        )
        endpoint = rows.get(webhook_endpoints, self.endpoint_id) if self.endpoint_id is not None else None
        if next_at is None and endpoint is not None and endpoint["status"] == "enabled":
            failures = endpoint["consecutive_failures"] + 1
            changes: Row = {"consecutive_failures": failures}
            if failures >= GIVEN_UP_IN_A_ROW:
                changes |= {"status": "disabled", "disabled_reason": TOO_MANY_FAILURES, "disabled_at": now}
            rows.update(webhook_endpoints, endpoint["id"], {**changes, "updated_at": now})
            recount(rows, self.org_id)


@dataclass(frozen=True, slots=True)
class Redeliver(_OnDelivery):
    """Send the same event again, on a new schedule."""

    def fold(self, rows: Rows, now: int) -> Row | str:
        """The delivery, or `not_found`: it was forgotten meanwhile, or `endpoint_disabled`: or deleted."""
        if rows.get(webhook_deliveries, self.delivery_id) is None:
            return "not_found"
        row = self._row(rows)
        if self._secret(rows) is None:
            return "endpoint_disabled"
        retries = row["manual_retry_count"] + 1
        self._change(rows, now, status="pending", attempt_count=0, manual_retry_count=retries, next_attempt_at=now)
        return dict(row)


def _attempt_row(attempt: Attempt, org_id: str, delivery_id: str) -> Row:
    return {
        "id": attempt.id,
        "org_id": org_id,
        "delivery_id": delivery_id,
        "signature": attempt.signature,
        "sent_at": attempt.sent_at,
        "duration_ms": attempt.duration_ms,
        "response_status": attempt.response_status,
        "response_body": attempt.response_body,
        "error": attempt.error,
    }


async def list_deliveries(
    connection: AsyncConnection,
    org_id: str,
    *,
    limit: int,
    endpoint_id: str | None = None,
    call_id: str | None = None,
    event_type: str | None = None,
    status: str | None = None,
    starting_after: str | None = None,
    ending_before: str | None = None,
) -> list[dict[str, Any]]:
    """Newest first; with `ending_before`, the page nearest to it. Ids are in the order of the events."""
    table = webhook_deliveries
    query = select(table).where(table.c.org_id == org_id)
    wanted = {"endpoint_id": endpoint_id, "call_id": call_id, "event_type": event_type, "status": status}
    for name, value in wanted.items():
        if value is not None:
            query = query.where(table.c[name] == value)
    if starting_after is not None:
        query = query.where(table.c.id < starting_after)
    if ending_before is not None:
        query = query.where(table.c.id > ending_before).order_by(table.c.id)
    else:
        query = query.order_by(table.c.id.desc())
    found = [dict(row) for row in (await connection.execute(query.limit(limit))).mappings()]
    return found[::-1] if ending_before is not None else found


async def find_delivery(connection: AsyncConnection, org_id: str, delivery_id: str) -> dict[str, Any] | None:
    """Its row, with the `body` that is sent."""
    query = (
        select(webhook_deliveries, events.c.body)
        .join(events, events.c.id == webhook_deliveries.c.event_id)
        .where(webhook_deliveries.c.id == delivery_id, webhook_deliveries.c.org_id == org_id)
    )
    row = (await connection.execute(query)).mappings().first()
    return None if row is None else dict(row)


async def attempts_of(connection: AsyncConnection, delivery_id: str) -> list[dict[str, Any]]:
    """In the order in which they were made."""
    query = select(webhook_attempts).where(webhook_attempts.c.delivery_id == delivery_id)
    return [dict(row) for row in (await connection.execute(query.order_by(webhook_attempts.c.id))).mappings()]
