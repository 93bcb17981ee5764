"""Numbers that an organisation has proven to be its own: a code was told there by telephone and came back.

Invariant: callers are forwarded only to such a number. Codes are kept as hashes, expire, and bear few guesses.
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from config.clock import iso
from config.errors import ApiError, invalid, not_found
from config.rows import OfOneOrganisation, Read, Row, Rows
from voice.agents.tables import verified_numbers
from voice.tables import numbers

CODE_DIGITS = 6
CODE_MS = 600_000
MOST_ATTEMPTS = 5
MOST_TELLINGS_A_DAY = 5
DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class _OnVerified(OfOneOrganisation):
    org_id: str
    e164: str

    @property
    def row_id(self) -> str:
        return f"{self.org_id}:{self.e164}"

    def reads(self, located: Rows) -> Sequence[Read]:
        return (Read(verified_numbers, "org_id", (self.org_id,)), Read(numbers, "org_id", (self.org_id,)))

    def _row(self, rows: Rows) -> Row | None:
        row = rows.get(verified_numbers, self.row_id)
        return row if row is not None and row["removed_at"] is None else None

    def _hash(self, code: str) -> str:
        return hashlib.sha256(f"{self.row_id}:{code}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class TellCode(_OnVerified):
    """Remember a code that is told there right after the commit; a few a day for an organisation."""

    code: str

    def fold(self, rows: Rows, now: int) -> Row | ApiError:
        day = now // DAY_MS
        told = (row for row in rows.find(verified_numbers, "org_id", self.org_id) if row["told_day"] == day)
        if sum(row["told_count"] for row in told) >= MOST_TELLINGS_A_DAY:
            message = f"At most {MOST_TELLINGS_A_DAY} codes are told in a day. Try again tomorrow."
            return ApiError(
                429, "too_many_codes", message, headers={"Retry-After": str((DAY_MS - now % DAY_MS) // 1000)}
            )
        code = {"code_hash": self._hash(self.code), "code_expires_at": now + CODE_MS, "attempts": 0, "removed_at": None}
        known = rows.get(verified_numbers, self.row_id)
        if known is None:
            new = {"id": self.row_id, "org_id": self.org_id, "e164": self.e164, "verified_at": None}
            rows.insert(verified_numbers, {**new, **code, "told_day": day, "told_count": 1, "created_at": now})
        else:
            verified_at = known["verified_at"] if known["removed_at"] is None else None
            count = known["told_count"] + 1 if known["told_day"] == day else 1
            changes = {**code, "told_day": day, "told_count": count, "verified_at": verified_at}
            rows.update(verified_numbers, self.row_id, changes)
        return dict(rows.get(verified_numbers, self.row_id) or {})


@dataclass(frozen=True, slots=True)
class ConfirmCode(_OnVerified):
    """Somebody who heard the code says it."""

    code: str

    def fold(self, rows: Rows, now: int) -> Row | ApiError:
        row = self._row(rows)
        if row is None:
            return not_found("verified number", self.e164)
        if row["code_expires_at"] <= now or row["attempts"] >= MOST_ATTEMPTS:
            return invalid("code", "This code is used up or too old. Have another one told.", "code_expired")
        if not hmac.compare_digest(row["code_hash"], self._hash(self.code)):
            rows.update(verified_numbers, self.row_id, {"attempts": row["attempts"] + 1})
            return invalid("code", "This is not the code that was told.", "wrong_code")
        rows.update(verified_numbers, self.row_id, {"verified_at": now, "code_expires_at": 0})
        return dict(row)


@dataclass(frozen=True, slots=True)
class ForgetVerified(_OnVerified):
    """Calls are not forwarded there any more."""

    def fold(self, rows: Rows, now: int) -> bool:
        if self._row(rows) is None:
            return False
        rows.update(verified_numbers, self.row_id, {"removed_at": now, "verified_at": None})
        for number in rows.find(numbers, "org_id", self.org_id):
            if number["fallback_number"] == self.e164:
                rows.update(numbers, number["id"], {"fallback_number": None})
        return True


async def list_verified(connection: AsyncConnection, org_id: str) -> list[dict[str, Any]]:
    """Also those whose code has not come back yet; newest first."""
    table = verified_numbers
    query = select(table).where(table.c.org_id == org_id, table.c.removed_at.is_(None))
    found = await connection.execute(query.order_by(table.c.created_at.desc(), table.c.id))
    return [dict(row) for row in found.mappings()]


def verified_object(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": row["id"],
        "e164": row["e164"],
        "verified_at": iso(row["verified_at"]),
        "created_at": iso(row["created_at"]),
    }
