"""Agents in the database: the commands that change them, what a call keeps of one, and reading them.

Invariant: a number has at most one inbound agent (`numbers.inbound_agent_id`); any number of outbound agents may call
from it (`agent_numbers`). What calls a customer's agent began with stays in the calls.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import and_, bindparam, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from config.errors import ApiError, invalid, not_found
from config.rows import OfOneOrganisation, Read, Row, Rows
from voice.agents.tables import agent_numbers, agents
from voice.conversation.prompting import DEFAULT_PERSONA
from voice.tables import numbers

INBOUND, OUTBOUND = "inbound", "outbound"
DEFAULTS: Mapping[str, Any] = {"language": "en", "returns": {}, "tools": [], "voicemail_action": "hangup"}
"""What a field that cannot be empty becomes when it is cleared."""
SETTABLE = (
    "name",
    "persona",
    "instructions",
    "first_message",
    "voice",
    *DEFAULTS,
    "voicemail_message",
    "webhook_url",
    "max_duration_seconds",
    "silence_timeout_seconds",
    "longest_wait_seconds",
    "transfer_number",
    "primary_number_id",
)


def own_agent(rows: Rows, agent_id: str, org_id: str) -> Row | None:
    row = rows.get(agents, agent_id)
    return row if row is not None and row["org_id"] == org_id else None


def attached_ids(rows: Rows, agent: Row) -> list[str]:
    """Ids of its numbers, the oldest first. Needs the reads of `agent_reads`."""
    if agent["type"] == INBOUND:
        found = rows.find(numbers, "inbound_agent_id", agent["id"])
        return [row["id"] for row in sorted(found, key=lambda row: (row["purchased_at"], row["id"]))]
    links = [row for row in rows.find(agent_numbers, "agent_id", agent["id"]) if row["removed_at"] is None]
    return [row["number_id"] for row in sorted(links, key=lambda row: (row["created_at"], row["number_id"]))]


def agent_reads(agent_id: str) -> list[Read]:
    return [
        Read(agents, "id", (agent_id,)),
        Read(agent_numbers, "agent_id", (agent_id,)),
        Read(numbers, "inbound_agent_id", (agent_id,)),
    ]


@dataclass(frozen=True, slots=True)
class _OnAgent(OfOneOrganisation):
    """A command about one agent. Its result: the agent's id, or why not."""

    agent_id: str
    org_id: str


@dataclass(frozen=True, slots=True)
class CreateAgent(_OnAgent):
    """`values`: checked ones of SETTABLE, and `type`."""

    user_id: str | None
    values: Mapping[str, Any]
    number_ids: tuple[str, ...] = ()

    def reads(self, located: Rows) -> Sequence[Read]:
        return (*agent_reads(self.agent_id), Read(numbers, "id", self.number_ids))

    def fold(self, rows: Rows, now: int) -> str | ApiError:
        if rows.get(agents, self.agent_id) is not None:  # our own earlier commit, whose answer was lost
            return self.agent_id
        given = {"user_id": self.user_id, "created_at": now, "updated_at": now, **DEFAULTS, **self.values}
        agent = {"id": self.agent_id, "org_id": self.org_id, **given}
        primary = agent.get("primary_number_id")
        refusal = _numbers_refusal(rows, agent, self.number_ids, primary, self.number_ids)
        if refusal is not None:
            return refusal
        rows.insert(agents, agent)
        for number_id in self.number_ids:
            _attach(rows, agent, number_id, now)
        return self.agent_id


@dataclass(frozen=True, slots=True)
class ChangeAgent(_OnAgent):
    """Change checked values of SETTABLE, replace all its numbers, or attach or detach one."""

    changes: Mapping[str, Any] = field(default_factory=dict)
    number_ids: tuple[str, ...] | None = None
    attached_id: str | None = None
    detached_id: str | None = None

    def reads(self, located: Rows) -> Sequence[Read]:
        named = {*(self.number_ids or ()), self.attached_id, self.detached_id} - {None}
        return (*agent_reads(self.agent_id), Read(numbers, "id", tuple(str(number_id) for number_id in named)))

    def fold(self, rows: Rows, now: int) -> str | ApiError:
        agent = own_agent(rows, self.agent_id, self.org_id)
        if agent is None:
            return not_found("agent", self.agent_id)
        if agent["archived_at"] is not None:
            return ApiError(409, "agent_archived", "This agent is archived; create another one.")
        before = attached_ids(rows, agent)
        if self.detached_id is not None and self.detached_id not in before:
            return not_found("number", self.detached_id)
        after = list(self.number_ids) if self.number_ids is not None else before
        after = [number_id for number_id in after if number_id not in (self.attached_id, self.detached_id)]
        after += [self.attached_id] if self.attached_id is not None else []
        added = [number_id for number_id in after if number_id not in before]
        refusal = _numbers_refusal(rows, agent, added, self.changes.get("primary_number_id"), after)
        if refusal is not None:
            return refusal
        for number_id in added:
            _attach(rows, agent, number_id, now)
        for number_id in set(before) - set(after):
            _detach(rows, agent, number_id, now)
        rows.update(agents, self.agent_id, {**self.changes, "updated_at": now})
        return self.agent_id


@dataclass(frozen=True, slots=True)
class ArchiveAgent(_OnAgent):
    """It takes and places no more calls; its numbers are free for others."""

    def reads(self, located: Rows) -> Sequence[Read]:
        return agent_reads(self.agent_id)

    def fold(self, rows: Rows, now: int) -> str | ApiError:
        agent = own_agent(rows, self.agent_id, self.org_id)
        if agent is None:
            return not_found("agent", self.agent_id)
        if agent["archived_at"] is None:
            for number_id in attached_ids(rows, agent):
                _detach(rows, agent, number_id, now)
            rows.update(agents, self.agent_id, {"archived_at": now, "updated_at": now})
        return self.agent_id


def _numbers_refusal(
    rows: Rows, agent: Row, added: Sequence[str], primary_id: str | None, attached: Sequence[str]
) -> ApiError | None:
    for number_id in added:
        number = rows.get(numbers, number_id)
        if number is None or number["org_id"] != agent["org_id"] or number["status"] != "active":
            return not_found("number", number_id)
        if agent["type"] == INBOUND and number["inbound_agent_id"] not in (None, agent["id"]):
            message = f"{number['e164']} has an inbound agent already. Detach it there first."
            return ApiError(409, "number_has_inbound_agent", message, number_id=number_id)
    if primary_id is not None and primary_id not in attached:
        return invalid("primary_number_id", "The primary number must be attached to the agent.", "number_not_attached")
    return None


def _attach(rows: Rows, agent: Row, number_id: str, now: int) -> None:
    if agent["type"] == INBOUND:
        rows.update(numbers, number_id, {"inbound_agent_id": agent["id"]})
        return
    link_id = f"{agent['id']}:{number_id}"
    if rows.get(agent_numbers, link_id) is not None:
        rows.update(agent_numbers, link_id, {"removed_at": None, "created_at": now})
        return
    names = {"org_id": agent["org_id"], "agent_id": agent["id"], "number_id": number_id}
    rows.insert(agent_numbers, {"id": link_id, **names, "created_at": now, "removed_at": None})


def _detach(rows: Rows, agent: Row, number_id: str, now: int) -> None:
    if agent["type"] == INBOUND:
        rows.update(numbers, number_id, {"inbound_agent_id": None})
    else:
        rows.update(agent_numbers, f"{agent['id']}:{number_id}", {"removed_at": now})


# -- what a call keeps ------------------------------------------------------------------------------------------------


def call_snapshot(agent: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The cold columns of a call by this agent. `given`: the call's own columns, which replace the agent's."""
    told = ("persona", "first_message", "voice", "language", "returns", "tools", "transfer_number")
    rules = ("voicemail_action", "voicemail_message", "silence_timeout_seconds", "longest_wait_seconds")
    kept = {name: agent[name] for name in (*told, *rules)}
    replaced = {name: given.get(name) or agent[name] for name in ("instructions", "webhook_url")}
    prompt = rendered_prompt(agent["persona"], replaced["instructions"])
    result_status = "pending" if agent["returns"] else "skipped"
    return {**given, **kept, **replaced, "prompt": prompt, "result_status": result_status}


def rendered_prompt(persona: str | None, instructions: str | None) -> str:
    """What the public API shows as the prompt of an agent's call."""
    return f"Persona: {(persona or DEFAULT_PERSONA).strip()}\n\n{instructions or ''}".strip()


# -- reading ----------------------------------------------------------------------------------------------------------


async def find_agent(connection: AsyncConnection, org_id: str, agent_id: str) -> dict[str, Any] | None:
    query = select(agents).where(agents.c.id == agent_id, agents.c.org_id == org_id)
    row = (await connection.execute(query)).mappings().first()
    return None if row is None else dict(row)


async def list_agents(connection: AsyncConnection, org_id: str, kind: str | None = None) -> list[dict[str, Any]]:
    """Those not archived, newest first."""
    query = select(agents).where(agents.c.org_id == org_id, agents.c.archived_at.is_(None))
    if kind is not None:
        query = query.where(agents.c.type == kind)
    return [dict(row) for row in (await connection.execute(query.order_by(agents.c.id.desc()))).mappings()]


async def numbers_of_agents(connection: AsyncConnection, org_id: str) -> dict[str, list[str]]:
    """Agent id → ids of its active numbers, the oldest attachment first."""
    active = (numbers.c.org_id == org_id, numbers.c.status == "active")
    inbound = select(numbers.c.inbound_agent_id, numbers.c.id).where(*active, numbers.c.inbound_agent_id.is_not(None))
    outbound = (
        select(agent_numbers.c.agent_id, agent_numbers.c.number_id)
        .join(numbers, numbers.c.id == agent_numbers.c.number_id)
        .where(*active, agent_numbers.c.org_id == org_id, agent_numbers.c.removed_at.is_(None))
        .order_by(agent_numbers.c.created_at, agent_numbers.c.number_id)
    )
    found: dict[str, list[str]] = {}
    for query in (inbound.order_by(numbers.c.purchased_at, numbers.c.id), outbound):
        for agent_id, number_id in await connection.execute(query):
            found.setdefault(agent_id, []).append(number_id)
    return found


def primary_of(agent: Mapping[str, Any], number_ids: Sequence[str]) -> str | None:
    """The number it calls from unless told otherwise: the chosen one, else its oldest."""
    chosen: str | None = agent["primary_number_id"]
    return chosen if chosen in number_ids else next(iter(number_ids), None)


_attached = and_(
    agent_numbers.c.agent_id == agents.c.id,
    agent_numbers.c.number_id == numbers.c.id,
    agent_numbers.c.removed_at.is_(None),
)
PRIMARY_NUMBER = (
    select(numbers.c.e164, numbers.c.id)
    .select_from(agents)
    .join(numbers, and_(numbers.c.org_id == agents.c.org_id, numbers.c.status == "active"))
    .outerjoin(agent_numbers, _attached)
    .where(agents.c.id == bindparam("agent_id"), agents.c.org_id == bindparam("org_id"))
    .where(or_(agent_numbers.c.id.is_not(None), numbers.c.inbound_agent_id == agents.c.id))
    .order_by(
        (numbers.c.id == agents.c.primary_number_id).desc(),
        func.coalesce(agent_numbers.c.created_at, numbers.c.purchased_at),
        numbers.c.id,
    )
    .limit(1)
)
"""E.164 of the number that this agent calls from: what `primary_of` says, in one look-up."""
