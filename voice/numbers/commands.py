"""The organisations' phone numbers: giving them, setting them up, reading them.

Invariant: an active number belongs to one organisation, and one agent at most answers it. A number without an inbound
agent is answered as its own inbound set-up says, or by the default agent; where inbound is disabled, callers are
rejected. A bought number begins disabled, an imported one enabled.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import phonenumbers
from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncConnection

from accounts.tables import organisations
from config.errors import ApiError, invalid, not_found
from config.rows import OfOneOrganisation, Read, Row, Rows
from voice.agents.tables import agent_numbers, agents, verified_numbers
from voice.calls import active_number
from voice.presenting import number_object
from voice.tables import numbers

MONTHLY_COST_CENTS = 100
"""Of a bought number; an imported one costs nothing."""


def kind_of(e164: str) -> str:
    """`toll_free` or `local`."""
    toll_free = phonenumbers.number_type(phonenumbers.parse(e164)) == phonenumbers.PhoneNumberType.TOLL_FREE
    return "toll_free" if toll_free else "local"


def own_number(rows: Rows, number_id: str, org_id: str) -> Row | None:
    row = rows.get(numbers, number_id)
    return row if row is not None and row["org_id"] == org_id and row["status"] == "active" else None


@dataclass(frozen=True, slots=True)
class ImportNumber(OfOneOrganisation):
    """Give an organisation a number that the carrier account has already."""

    number_id: str
    org_id: str
    e164: str
    country_code: str

    def reads(self, located: Rows) -> Sequence[Read]:
        return (Read(organisations, "id", (self.org_id,)), Read(numbers, "e164", (self.e164,)))

    def fold(self, rows: Rows, now: int) -> str | None:
        """None when done, else a sentence that says why not."""
        if rows.get(organisations, self.org_id) is None:
            return f"there is no organisation {self.org_id}"
        known = active_number(rows, self.e164)
        if known is not None:
            same = known["id"] == self.number_id
            return None if same else f"{self.e164} already belongs to organisation {known['org_id']}"
        if any(row["status"] == "pending" for row in rows.find(numbers, "e164", self.e164)):
            return f"{self.e164} is being bought just now"
        rows.insert(
            numbers,
            {
                "id": self.number_id,
                "org_id": self.org_id,
                "e164": self.e164,
                "country_code": self.country_code,
                "number_type": kind_of(self.e164),
                "status": "active",
                "monthly_cost_cents": 0,
                "purchased_at": now,
            },
        )
        return None


@dataclass(frozen=True, slots=True)
class ChangeNumber(OfOneOrganisation):
    """Change checked columns: name, who answers (`inbound_agent_id`, or the `inbound_…` set-up), the fallback."""

    number_id: str
    org_id: str
    changes: Mapping[str, Any]

    def reads(self, located: Rows) -> Sequence[Read]:
        named = {name: self.changes.get(name) for name in ("inbound_agent_id", "fallback_number")}
        return (
            Read(numbers, "id", (self.number_id,)),
            Read(agents, "id", [named["inbound_agent_id"]] if named["inbound_agent_id"] else []),
            Read(verified_numbers, "id", [self._verified_id]),
        )

    @property
    def _verified_id(self) -> str:
        return f"{self.org_id}:{self.changes.get('fallback_number')}"

    def fold(self, rows: Rows, now: int) -> str | ApiError:
        """The number's id, or why not."""
        number = own_number(rows, self.number_id, self.org_id)
        if number is None:
            return not_found("number", self.number_id)
        if (refusal := self._refusal(rows, number)) is not None:
            return refusal
        rows.update(numbers, self.number_id, self.changes)
        return self.number_id

    def _refusal(self, rows: Rows, number: Row) -> ApiError | None:
        if "inbound_enabled" in self.changes and number["inbound_agent_id"] is not None:
            message = "An inbound agent answers this number. Detach it first, or change the agent."
            return ApiError(409, "number_has_inbound_agent", message, agent_id=number["inbound_agent_id"])
        agent_id = self.changes.get("inbound_agent_id")
        agent = rows.get(agents, agent_id) if agent_id is not None else None
        if agent_id is not None and (agent is None or agent["org_id"] != self.org_id or agent["archived_at"]):
            return not_found("agent", agent_id)
        if agent is not None and agent["type"] != "inbound":
            return invalid("inbound_agent_id", "Only an inbound agent can answer a number.", "agent_not_inbound")
        if self.changes.get("fallback_number") is not None:
            verified = rows.get(verified_numbers, self._verified_id)
            if verified is None or verified["removed_at"] is not None or verified["verified_at"] is None:
                message = "`fallback_number` must be one of your organisation's verified numbers. Verify it first."
                return invalid("fallback_number", message, "number_not_verified")
        return None


# -- reading ----------------------------------------------------------------------------------------------------------


async def find_number(connection: AsyncConnection, org_id: str, number_id: str) -> dict[str, Any] | None:
    """The object of an active number."""
    found = await _objects(connection, org_id, _active(org_id).where(numbers.c.id == number_id))
    return found[0] if found else None


async def list_numbers(
    connection: AsyncConnection,
    org_id: str,
    *,
    limit: int,
    starting_after: str | None = None,
    ending_before: str | None = None,
) -> list[dict[str, Any]]:
    """Objects of active numbers, newest first; with `ending_before`, the page nearest to it."""
    query = _active(org_id)
    if starting_after is not None:
        query = query.where(numbers.c.id < starting_after)
    if ending_before is not None:
        query = query.where(numbers.c.id > ending_before).order_by(numbers.c.id)
    else:
        query = query.order_by(numbers.c.id.desc())
    found = await _objects(connection, org_id, query.limit(limit))
    return found[::-1] if ending_before is not None else found


async def is_own_number(connection: AsyncConnection, org_id: str, number_id: str) -> bool:
    """Whether it is, or was, the organisation's."""
    query = select(numbers.c.id).where(numbers.c.id == number_id, numbers.c.org_id == org_id)
    return (await connection.execute(query)).first() is not None


async def active_number_objects(connection: AsyncConnection, org_id: str) -> list[dict[str, Any]]:
    """All of them."""
    return await _objects(connection, org_id, _active(org_id).order_by(numbers.c.id))


async def is_buying(connection: AsyncConnection, org_id: str) -> bool:
    """Whether the carrier has yet to say what became of a purchase."""
    query = select(numbers.c.id).where(numbers.c.org_id == org_id, numbers.c.status == "pending")
    return (await connection.execute(query.limit(1))).first() is not None


def _active(org_id: str) -> Select[Any]:
    return select(numbers).where(numbers.c.org_id == org_id, numbers.c.status == "active")


async def _objects(connection: AsyncConnection, org_id: str, query: Select[Any]) -> list[dict[str, Any]]:
    rows = [dict(row) for row in (await connection.execute(query)).mappings()]
    links = select(agent_numbers.c.number_id, agent_numbers.c.agent_id).where(
        agent_numbers.c.org_id == org_id,
        agent_numbers.c.removed_at.is_(None),
        agent_numbers.c.number_id.in_([row["id"] for row in rows]),
    )
    callers: dict[str, list[str]] = {}
    for number_id, agent_id in await connection.execute(links.order_by(agent_numbers.c.agent_id)):
        callers.setdefault(number_id, []).append(agent_id)
    return [number_object(row, callers.get(row["id"], [])) for row in rows]
