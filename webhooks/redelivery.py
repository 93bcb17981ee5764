"""Sending again: one delivery, or with one request many that have failed.

Invariant: of many, a delivery is sent again only if, in the commit that decides it, it has failed and its endpoint is
enabled. What was asked for already has not failed again yet, so a request that is repeated repeats nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from config.database import Database
from config.door import Door
from config.rows import OfOneOrganisation, Read, Row, Rows
from webhooks.deliveries import Redeliver, find_delivery
from webhooks.tables import webhook_deliveries, webhook_endpoints

MOST_AT_ONCE = 1_000
OF_ONE_COMMIT = 200


@dataclass(frozen=True, slots=True)
class Failed:
    """Which: of events from `since_at` on, before `until_at`; after the delivery `starting_after`, in their order."""

    since_at: int
    until_at: int | None = None
    endpoint_id: str | None = None
    event_type: str | None = None
    starting_after: str | None = None


class Redelivered(NamedTuple):
    """How many are on their way. `last_id`: go on after it, where `has_more`."""

    redelivered: int
    has_more: bool
    last_id: str | None


@dataclass(frozen=True, slots=True)
class RedeliverFailed(OfOneOrganisation):
    org_id: str
    each: tuple[Redeliver, ...] = field(repr=False)

    def reads(self, located: Rows) -> Sequence[Read]:
        return [read for one in self.each for read in one.reads(located)]

    def fold(self, rows: Rows, now: int) -> int:
        """How many."""
        failed = [one for one in self.each if _has_failed(rows.get(webhook_deliveries, one.delivery_id))]
        return sum(not isinstance(one.fold(rows, now), str) for one in failed)


def _has_failed(row: Row | None) -> bool:
    """Given up, or waiting for another attempt after one that failed."""
    return row is not None and (
        row["status"] == "exhausted" or (row["status"] == "pending" and row["attempt_count"] > 0)
    )


async def redeliver_one(database: Database, door: Door, org_id: str, delivery_id: str) -> Row | str:
    """Whatever became of it: the delivery, or `not_found`, or `endpoint_disabled`."""
    async with database.read() as connection:
        row = await find_delivery(connection, org_id, delivery_id)
    if row is None:
        return "not_found"
    return await door.submit(Redeliver(delivery_id, org_id, row["endpoint_id"], row["call_id"]))


async def redeliver_failed(database: Database, door: Door, org_id: str, wanted: Failed) -> Redelivered:
    """The oldest first, MOST_AT_ONCE at most. Deliveries to endpoints that are disabled or deleted are left alone."""
    async with database.read() as connection:
        found = await _find(connection, org_id, wanted, MOST_AT_ONCE + 1)
    chosen = found[:MOST_AT_ONCE]
    count = 0
    for begin in range(0, len(chosen), OF_ONE_COMMIT):
        count += await door.submit(RedeliverFailed(org_id, tuple(chosen[begin : begin + OF_ONE_COMMIT])))
    return Redelivered(count, len(found) > len(chosen), chosen[-1].delivery_id if chosen else None)


async def _find(connection: AsyncConnection, org_id: str, wanted: Failed, limit: int) -> list[Redeliver]:
    table, endpoints = webhook_deliveries, webhook_endpoints
    enabled = select(endpoints.c.id).where(endpoints.c.listed_org_id == org_id, endpoints.c.status == "enabled")
    query = (
        select(table.c.id, table.c.endpoint_id, table.c.call_id)
        .where(table.c.org_id == org_id, table.c.id >= _first_id(wanted.since_at))
        .where(or_(table.c.status == "exhausted", (table.c.status == "pending") & (table.c.attempt_count > 0)))
        .where(or_(table.c.endpoint_id.is_(None), table.c.endpoint_id.in_(enabled)))
    )
    if wanted.until_at is not None:
        query = query.where(table.c.id < _first_id(wanted.until_at))
    if wanted.endpoint_id is not None:
        query = query.where(table.c.endpoint_id == wanted.endpoint_id)
    if wanted.event_type is not None:
        query = query.where(table.c.event_type == wanted.event_type)
    if wanted.starting_after is not None:
        query = query.where(table.c.id > wanted.starting_after)
    rows = await connection.execute(query.order_by(table.c.id).limit(limit))
    return [Redeliver(row.id, org_id, row.endpoint_id, row.call_id) for row in rows]


def _first_id(at: int) -> str:
    """Ids begin with the time of the event."""
    return str(UUID(int=at << 80))
