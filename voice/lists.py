"""Numbers to leave alone: whom the organisation never calls, and whose calls it does not take.

Invariant: an entry that was taken off stays as a row, so that it can be said when it was on the list; each number is
on a list once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from sqlalchemy import Table, and_, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from config.clock import iso
from config.rows import OfOneOrganisation, Read, Row, Rows
from voice.agents.tables import blocked_callers, do_not_call


@dataclass(frozen=True, slots=True)
class _OnList(OfOneOrganisation):
    org_id: str
    e164: str

    table: ClassVar[Table]

    @property
    def row_id(self) -> str:
        return f"{self.org_id}:{self.e164}"

    def reads(self, located: Rows) -> Sequence[Read]:
        return (Read(self.table, "id", (self.row_id,)),)

    def _add(self, rows: Rows, values: Row, now: int) -> tuple[Row, bool]:
        """(the entry, whether it is new); what is on the list already stays as it is."""
        known = rows.get(self.table, self.row_id)
        values = {**values, "created_at": now, "removed_at": None}
        if known is None:
            rows.insert(self.table, {"id": self.row_id, "org_id": self.org_id, "e164": self.e164, **values})
        elif known["removed_at"] is not None:
            rows.update(self.table, self.row_id, values)
        else:
            return dict(known), False
        return {"id": self.row_id, "e164": self.e164, **values}, True

    def _remove(self, rows: Rows, now: int) -> bool:
        known = rows.get(self.table, self.row_id)
        if known is None or known["removed_at"] is not None:
            return False
        rows.update(self.table, self.row_id, {"removed_at": now})
        return True


@dataclass(frozen=True, slots=True)
class AddToDoNotCall(_OnList):
    """`source`: callee (said so on the call `call_id`) or customer (entered, by `user_id` where it is known)."""

    source: str = "customer"
    reason: str | None = None
    call_id: str | None = None
    user_id: str | None = None

    table = do_not_call

    def fold(self, rows: Rows, now: int) -> tuple[Row, bool]:
        values = {name: getattr(self, name) for name in ("source", "reason", "call_id", "user_id")}
        return self._add(rows, values, now)


@dataclass(frozen=True, slots=True)
class RemoveFromDoNotCall(_OnList):
    table = do_not_call

    def fold(self, rows: Rows, now: int) -> bool:
        """False if it was not on the list."""
        return self._remove(rows, now)


@dataclass(frozen=True, slots=True)
class BlockCaller(_OnList):
    """Calls from there are rejected."""

    reason: str | None = None

    table = blocked_callers

    def fold(self, rows: Rows, now: int) -> tuple[Row, bool]:
        return self._add(rows, {"reason": self.reason}, now)


@dataclass(frozen=True, slots=True)
class UnblockCaller(_OnList):
    table = blocked_callers

    def fold(self, rows: Rows, now: int) -> bool:
        """False if it was not on the list."""
        return self._remove(rows, now)


async def find_entry(connection: AsyncConnection, table: Table, entry_id: str) -> dict[str, Any] | None:
    """By the row's id, also one that was taken off."""
    row = (await connection.execute(select(table).where(table.c.id == entry_id))).mappings().first()
    return None if row is None else dict(row)


async def list_entries(
    connection: AsyncConnection,
    table: Table,
    org_id: str,
    *,
    limit: int,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Newest first; `before` and `after` are entries, older ones or newer ones than which are wanted."""
    query = select(table).where(table.c.org_id == org_id, table.c.removed_at.is_(None))
    at, row_id = table.c.created_at, table.c.id
    if before is not None:
        same = and_(at == before["created_at"], row_id < before["id"])
        query = query.where(or_(at < before["created_at"], same))
    if after is not None:
        same = and_(at == after["created_at"], row_id > after["id"])
        query = query.where(or_(at > after["created_at"], same)).order_by(at, row_id)
    else:
        query = query.order_by(at.desc(), row_id.desc())
    found = [dict(row) for row in (await connection.execute(query.limit(limit))).mappings()]
    return found[::-1] if after is not None else found


def do_not_call_object(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**blocked_caller_object(row), **{name: row[name] for name in ("source", "call_id", "user_id")}}


def blocked_caller_object(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": row["id"], "e164": row["e164"], "reason": row["reason"], "created_at": iso(row["created_at"])}
