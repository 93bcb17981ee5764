"""Forgets what nobody needs any more: spent idempotency keys, ended sessions, mails sent, deliveries made.

Invariant: nothing is forgotten that money was or could be moved by, nor what somebody still has to do something about:
calls, evidence, transfers, payments and what an operator did are kept. Rows go as they came, through the door and under
the lock of their organisation.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog
from sqlalchemy import Table, select

from accounts.tables import events, mails, sessions
from config.clock import Clock, now_ms
from config.database import Database, Unavailable
from config.door import Busy, Door, Down
from config.rows import Read, Row, Rows
from voice.tables import idempotency_keys
from webhooks.tables import webhook_attempts, webhook_deliveries

log = structlog.get_logger(__name__)

HOUR_SECONDS = 3_600.0
DAY_MS = 86_400_000
AT_ONCE = 200
PAUSE_SECONDS = 0.2
"""Between two of these, so that whoever wants to work comes first."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Rows of `table` are kept while `due` is set, and until `age` (a time, or an id that begins with one) is `days`
    past."""

    table: Table
    age: str
    days: int
    due: str | None = None

    def before(self, now: int) -> int | str:
        at = now - self.days * DAY_MS
        return str(UUID(int=at << 80)) if self.age == "id" else at

    def is_over(self, row: Row, now: int) -> bool:
        return bool(row[self.age] < self.before(now)) and (self.due is None or row[self.due] is None)


RULES = {
    rule.table.name: rule
    for rule in (
        Rule(idempotency_keys, "created_at", 7),  # good for a day; a batch whose server was away asks for them later
        Rule(sessions, "expires_at", 0),
        Rule(mails, "id", 30, due="due_at"),
        Rule(webhook_attempts, "id", 30),
        Rule(webhook_deliveries, "id", 30, due="next_attempt_at"),
        Rule(events, "id", 60, due="due_at"),  # longer than the last delivery of one
    )
}


@dataclass(frozen=True, slots=True)
class Forget:
    """Delete these rows of one organisation, or of none, as far as their time is over."""

    table: str
    org_id: str | None
    ids: tuple[str, ...]

    def locate(self) -> Sequence[Read]:
        return ()

    def organisations(self, located: Rows) -> Iterable[str]:
        return () if self.org_id is None else (self.org_id,)

    def reads(self, located: Rows) -> Sequence[Read]:
        return (Read(RULES[self.table].table, "id", self.ids, locked=self.org_id is None),)

    def fold(self, rows: Rows, now: int) -> int:
        """How many there were."""
        rule = RULES[self.table]
        found = [row for row in (rows.get(rule.table, row_id) for row_id in self.ids) if row is not None]
        over = [row["id"] for row in found if rule.is_over(row, now)]
        for row_id in over:
            rows.delete(rule.table, row_id)
        return len(over)


class Retention:
    def __init__(self, database: Database, door: Door, clock: Clock = now_ms) -> None:
        self._database, self._door, self._clock = database, door, clock

    async def run(self) -> None:
        """Every hour, until cancelled."""
        while True:
            await asyncio.sleep(HOUR_SECONDS)
            try:
                await self.forget()
            except (Unavailable, Busy, Down) as error:
                log.warning("retention_postponed", error=str(error))

    async def forget(self) -> dict[str, int]:
        """All that is over by now; how many rows of which table."""
        return {name: await self._forget(rule) for name, rule in RULES.items()}

    async def _forget(self, rule: Rule) -> int:
        total = 0
        while found := await self._over(rule):
            commands = [Forget(rule.table.name, org_id, tuple(ids)) for org_id, ids in found.items()]
            forgotten = sum([await self._door.submit(command) for command in commands])
            total += forgotten
            if not forgotten:  # others are at it
                break
            await asyncio.sleep(PAUSE_SECONDS)
        return total

    async def _over(self, rule: Rule) -> dict[str | None, list[str]]:
        """Some ids by organisation, the oldest first."""
        column = rule.table.c[rule.age]
        owner = rule.table.c.get("org_id", rule.table.c.id)
        query = select(rule.table.c.id, owner.label("owner")).where(column < rule.before(self._clock()))
        if rule.due is not None:
            query = query.where(rule.table.c[rule.due].is_(None))
        by_owner: dict[str | None, list[str]] = defaultdict(list)
        async with self._database.read() as connection:
            for row in await connection.execute(query.order_by(column).limit(AT_ONCE)):
                by_owner[row.owner and row.owner.partition(":")[0]].append(row.id)
        return by_owner
