"""Customers' endpoints: where signed events are sent, and with which secrets they are signed.

Invariant: `organisations.webhook_endpoints` is the number of enabled ones, kept by every command that changes it, so
that a call can tell at its beginning whether anybody listens.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from accounts.tables import organisations
from config.rows import OfOneOrganisation, Read, Row, Rows
from webhooks.tables import webhook_endpoints, webhook_secrets

MOST_ENDPOINTS = 20
TOO_MANY_FAILURES = "too_many_failures"


def new_secret() -> str:
    return "whsec_" + secrets.token_urlsafe(32)


def recount(rows: Rows, org_id: str) -> None:
    """After a change: how many of the organisation's endpoints are enabled."""
    enabled = sum(row["status"] == "enabled" for row in rows.find(webhook_endpoints, "listed_org_id", org_id))
    rows.update(organisations, org_id, {"webhook_endpoints": enabled})


def endpoint_reads(org_id: str) -> tuple[Read, ...]:
    return (Read(webhook_endpoints, "listed_org_id", (org_id,)), Read(organisations, "id", (org_id,)))


@dataclass(frozen=True, slots=True)
class _OnEndpoint(OfOneOrganisation):
    endpoint_id: str
    org_id: str

    def reads(self, located: Rows) -> Sequence[Read]:
        return endpoint_reads(self.org_id)

    def _row(self, rows: Rows) -> Row | None:
        row = rows.get(webhook_endpoints, self.endpoint_id)
        return row if row is not None and row["listed_org_id"] == self.org_id else None


@dataclass(frozen=True, slots=True)
class CreateEndpoint(_OnEndpoint):
    url: str
    description: str | None
    enabled_events: tuple[str, ...]
    signing_secret: str

    def fold(self, rows: Rows, now: int) -> Row | None:
        """Its row, or None if the organisation has as many as it may."""
        if (row := self._row(rows)) is not None:
            return dict(row)
        if len(rows.find(webhook_endpoints, "listed_org_id", self.org_id)) >= MOST_ENDPOINTS:
            return None
        made = {
            "id": self.endpoint_id,
            "org_id": self.org_id,
            "listed_org_id": self.org_id,
            "url": self.url,
            "description": self.description,
            "enabled_events": list(self.enabled_events),
            "status": "enabled",
            "signing_secret": self.signing_secret,
            "created_at": now,
            "updated_at": now,
        }
        rows.insert(webhook_endpoints, made)
        recount(rows, self.org_id)
        return dict(rows.get(webhook_endpoints, self.endpoint_id) or made)


@dataclass(frozen=True, slots=True)
class ChangeEndpoint(_OnEndpoint):
    """`changes`: any of url, description, enabled_events, status. Enabling forgives earlier failures."""

    changes: Mapping[str, Any]

    def fold(self, rows: Rows, now: int) -> Row | None:
        row = self._row(rows)
        if row is None:
            return None
        changes = {**self.changes, "updated_at": now}
        match changes.get("status"):
            case "enabled":
                changes |= {"disabled_reason": None, "disabled_at": None, "consecutive_failures": 0}
            case "disabled" if row["status"] == "enabled":
                changes |= {"disabled_reason": None, "disabled_at": now}
        rows.update(webhook_endpoints, self.endpoint_id, changes)
        recount(rows, self.org_id)
        return dict(row)


@dataclass(frozen=True, slots=True)
class DeleteEndpoint(_OnEndpoint):
    """Its row stays, unlisted, for the deliveries that name it."""

    def fold(self, rows: Rows, now: int) -> bool:
        if self._row(rows) is None:
            return False
        rows.update(webhook_endpoints, self.endpoint_id, {"listed_org_id": None, "updated_at": now})
        recount(rows, self.org_id)
        return True


@dataclass(frozen=True, slots=True)
class RotateSecret(_OnEndpoint):
    """The old secret signs nothing more, retries of earlier deliveries included."""

    signing_secret: str

    def fold(self, rows: Rows, now: int) -> Row | None:
        row = self._row(rows)
        if row is None:
            return None
        rows.update(webhook_endpoints, self.endpoint_id, {"signing_secret": self.signing_secret, "updated_at": now})
        return dict(row)


@dataclass(frozen=True, slots=True)
class RotateDefaultSecret(OfOneOrganisation):
    """Of deliveries to a call's own `webhook_url`."""

    org_id: str
    signing_secret: str

    def reads(self, located: Rows) -> Sequence[Read]:
        return (Read(webhook_secrets, "id", (self.org_id,)),)

    def fold(self, rows: Rows, now: int) -> Row:
        values = {"signing_secret": self.signing_secret, "is_shown": True, "updated_at": now}
        row = rows.get(webhook_secrets, self.org_id)
        if row is None:
            rows.insert(webhook_secrets, {"id": self.org_id, **values})
            return {"id": self.org_id, **values}
        rows.update(webhook_secrets, self.org_id, values)
        return dict(row)


async def list_endpoints(connection: AsyncConnection, org_id: str) -> list[dict[str, Any]]:
    """Oldest first."""
    query = select(webhook_endpoints).where(webhook_endpoints.c.listed_org_id == org_id)
    return [dict(row) for row in (await connection.execute(query.order_by(webhook_endpoints.c.id))).mappings()]


async def find_endpoint(connection: AsyncConnection, org_id: str, endpoint_id: str) -> dict[str, Any] | None:
    query = select(webhook_endpoints).where(
        webhook_endpoints.c.id == endpoint_id, webhook_endpoints.c.listed_org_id == org_id
    )
    row = (await connection.execute(query)).mappings().first()
    return None if row is None else dict(row)


async def default_secret(connection: AsyncConnection, org_id: str) -> dict[str, Any] | None:
    row = (await connection.execute(select(webhook_secrets).where(webhook_secrets.c.id == org_id))).mappings().first()
    return None if row is None else dict(row)
