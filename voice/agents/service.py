"""What the edges ask of agents: create, change, archive, show.

Invariant: whatever reaches a command was checked here against the shapes below and this server's settings, whichever
edge it came from.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StrictInt, StrictStr, StringConstraints
from quart import current_app

from billing.rating import LONGEST_MAXIMUM_SECONDS, SHORTEST_MAXIMUM_SECONDS
from config.clock import iso, new_id
from config.database import Database
from config.door import Door
from config.egress import LONGEST_URL
from config.errors import ApiError, invalid, not_found
from config.settings import Settings
from voice.agents.commands import (
    DEFAULTS,
    SETTABLE,
    ArchiveAgent,
    ChangeAgent,
    CreateAgent,
    find_agent,
    list_agents,
    numbers_of_agents,
    primary_of,
)
from voice.agents.tool_shapes import TOOL_EXAMPLE, Returns, Tools, check_addresses, tools_as_kept
from voice.dialling import NotDiallable, check_number
from voice.numbers.commands import active_number_objects

LONGEST_TEXT, LONGEST_SENTENCE, MOST_NUMBERS = 20_000, 1_000, 100
SHORTEST_SILENCE_SECONDS, LONGEST_SILENCE_SECONDS = 3, 120
SHORTEST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 30, 3_600

Id = Annotated[StrictStr, StringConstraints(max_length=36)]
AgentName = Annotated[StrictStr, StringConstraints(strip_whitespace=True, min_length=1, max_length=120)]
LongText = Annotated[StrictStr, StringConstraints(max_length=LONGEST_TEXT)]
Sentence = Annotated[StrictStr, StringConstraints(max_length=LONGEST_SENTENCE)]
Language = Annotated[StrictStr, StringConstraints(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$")]
"""BCP-47, as far as telephones speak it: `en`, `en-US`, `es-419`."""


class AgentFields(BaseModel, extra="forbid"):
    """What can be set on an agent; null clears. Times in seconds, numbers in E.164."""

    persona: LongText | None = None
    instructions: LongText | None = None
    first_message: Sentence | None = None
    voice: Annotated[StrictStr, StringConstraints(pattern=r"^[\x21-\x7e][\x20-\x7e]{0,127}$")] | None = None
    language: Language | None = None
    returns: Returns | None = None
    tools: Tools | None = None
    voicemail_action: Literal["hangup", "leave_message"] | None = None
    voicemail_message: Sentence | None = None
    webhook_url: Annotated[StrictStr, StringConstraints(max_length=LONGEST_URL)] | None = None
    max_duration_seconds: StrictInt | None = Field(None, ge=SHORTEST_MAXIMUM_SECONDS, le=LONGEST_MAXIMUM_SECONDS)
    silence_timeout_seconds: StrictInt | None = Field(None, ge=SHORTEST_SILENCE_SECONDS, le=LONGEST_SILENCE_SECONDS)
    longest_wait_seconds: StrictInt | None = Field(None, ge=SHORTEST_WAIT_SECONDS, le=LONGEST_WAIT_SECONDS)
    transfer_number: Annotated[StrictStr, StringConstraints(max_length=16)] | None = None
    primary_number_id: Id | None = None
    number_ids: list[Id] | None = Field(None, max_length=MOST_NUMBERS)

    def values(self) -> dict[str, Any]:
        """The columns that were given; a cleared one is null or its default."""
        given = {name: getattr(self, name) for name in self.model_fields_set if name in SETTABLE}
        if "tools" in given:
            given["tools"] = tools_as_kept(self.tools)
        blank = {name: None if isinstance(value, str) and not value.strip() else value for name, value in given.items()}
        return {name: DEFAULTS.get(name) if value is None else value for name, value in blank.items()}


EXAMPLE = {
    "name": "Bookings",
    "type": "outbound",
    "instructions": "Offer free times on Tuesday.",
    "returns": {"booked": "boolean", "when": "string"},
    "tools": [TOOL_EXAMPLE],
}


class CreateAgentBody(AgentFields, json_schema_extra={"examples": [EXAMPLE]}):
    """`POST /v1/agents`."""

    name: AgentName
    type: Literal["inbound", "outbound"]

    def values(self) -> dict[str, Any]:
        return {**super().values(), "type": self.type}


CHANGE = {"instructions": "Offer free times on Wednesday.", "voicemail_action": "leave_message"}


class ChangeAgentBody(AgentFields, json_schema_extra={"examples": [CHANGE]}):
    """`PATCH /v1/agents/{id}`: what is not given stays. `number_ids` replaces all of its numbers."""

    name: AgentName | None = None
    type: Literal["inbound", "outbound"] | None = None


def agents_service() -> "Agents":
    """The service of the running application."""
    service: Agents = current_app.extensions["agents"]
    return service


@dataclass(frozen=True, slots=True)
class Agents:
    """The service of one process. Every method raises ApiError; an agent of somebody else is not found."""

    database: Database
    door: Door
    settings: Settings

    async def create(self, org_id: str, user_id: str | None, body: CreateAgentBody) -> dict[str, Any]:
        values = self._checked(body.values())
        number_ids = tuple(dict.fromkeys(body.number_ids or ()))
        return await self._done(org_id, CreateAgent(new_id(), org_id, user_id, values, number_ids))

    async def change(self, org_id: str, agent_id: str, body: ChangeAgentBody) -> dict[str, Any]:
        if "name" in body.model_fields_set and body.name is None:
            raise invalid("name", "`name`: an agent needs one.")
        if body.type is not None and body.type != (await self._row(org_id, agent_id))["type"]:
            raise invalid("type", "`type` is fixed when an agent is created.", "type_is_fixed")
        number_ids = None if body.number_ids is None else tuple(dict.fromkeys(body.number_ids))
        return await self._done(org_id, ChangeAgent(agent_id, org_id, self._checked(body.values()), number_ids))

    async def choose_primary(self, org_id: str, agent_id: str, number_id: str) -> dict[str, Any]:
        return await self._done(org_id, ChangeAgent(agent_id, org_id, {"primary_number_id": number_id}))

    async def attach(self, org_id: str, agent_id: str, number_id: str) -> dict[str, Any]:
        return await self._done(org_id, ChangeAgent(agent_id, org_id, attached_id=number_id))

    async def detach(self, org_id: str, agent_id: str, number_id: str) -> dict[str, Any]:
        return await self._done(org_id, ChangeAgent(agent_id, org_id, detached_id=number_id))

    async def archive(self, org_id: str, agent_id: str) -> dict[str, Any]:
        return await self._done(org_id, ArchiveAgent(agent_id, org_id))

    async def show(self, org_id: str, agent_id: str) -> dict[str, Any]:
        return (await self._objects(org_id, [await self._row(org_id, agent_id)]))[0]

    async def all(self, org_id: str, kind: str | None = None) -> list[dict[str, Any]]:
        """Those not archived, newest first; `kind` inbound or outbound."""
        async with self.database.read() as connection:
            rows = await list_agents(connection, org_id, kind)
        return await self._objects(org_id, rows)

    async def _done(self, org_id: str, command: CreateAgent | ChangeAgent | ArchiveAgent) -> dict[str, Any]:
        result = await self.door.submit(command)
        if isinstance(result, ApiError):
            raise result
        return await self.show(org_id, result)

    async def _row(self, org_id: str, agent_id: str) -> dict[str, Any]:
        async with self.database.read() as connection:
            row = await find_agent(connection, org_id, agent_id)
        if row is None:
            raise not_found("agent", agent_id)
        return row

    async def _objects(self, org_id: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        async with self.database.read() as connection:
            attached = await numbers_of_agents(connection, org_id)
            shown = {number["id"]: number for number in await active_number_objects(connection, org_id)}
        return [agent_object(row, [shown[one] for one in attached.get(row["id"], ()) if one in shown]) for row in rows]

    def _checked(self, values: dict[str, Any]) -> dict[str, Any]:
        """What only this server's settings can say. Raises ApiError."""
        private = self.settings.allow_private_urls
        check_addresses(values.get("webhook_url"), values.get("tools"), allow_private=private)
        if (transfer_number := values.get("transfer_number")) is not None:
            try:
                check_number(transfer_number, self.settings.allowed_countries, "transfer_number")
            except NotDiallable as refusal:
                raise invalid("transfer_number", refusal.message, refusal.code) from None
        return values


def agent_object(row: Mapping[str, Any], numbers: list[dict[str, Any]]) -> dict[str, Any]:
    """From a row of `agents` and the full objects of its numbers, the oldest attachment first."""
    shown = {name: row[name] for name in ("id", "org_id", "user_id", "type", *SETTABLE)}
    return {
        **shown,
        "primary_number_id": primary_of(row, [number["id"] for number in numbers]),
        "numbers": numbers,
        "archived_at": iso(row["archived_at"]),
        "created_at": iso(row["created_at"]),
        "updated_at": iso(row["updated_at"]),
    }
