"""The public API of agents: `/v1/agents…`.

Invariant: every success is the agent as it now stands, with its numbers.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, Field
from quart import Blueprint, Response
from sqlalchemy import select

from accounts.auth import caller, require_key
from accounts.tables import api_keys
from config.http import answer, body_as, query_as
from config.openapi import asks, fails, gives, takes
from voice import shapes
from voice.agents.service import ChangeAgentBody, CreateAgentBody, Id, agents_service

blueprint = Blueprint("agents", __name__)
blueprint.before_request(require_key)


UNUSABLE = ("country_not_allowed", "invalid_number", "invalid_url", "number_not_allowed")
"""What may be wrong with an agent's transfer number and addresses."""
NUMBERS = ("not_found", "number_has_inbound_agent", "number_not_attached")


class ListAgentsQuery(BaseModel, extra="forbid"):
    type: Literal["inbound", "outbound"] | None = None


class NumberBody(BaseModel, extra="forbid"):
    """Names a number of the organisation."""

    number_id: Annotated[Id, Field(examples=["0198f3c2-5a61-7d3c-8f0e-2b1a4c5d6e7f"])]


@blueprint.get("/v1/agents")
@asks(ListAgentsQuery)
@gives(shapes.EveryAgent)
async def get_agents() -> Response:
    """All that are not archived, newest first."""
    return answer({"data": await agents_service().all(caller().org_id, query_as(ListAgentsQuery).type)})


@blueprint.post("/v1/agents")
@takes(CreateAgentBody)
@gives(shapes.Agent, 201)
@fails(*UNUSABLE, *NUMBERS)
async def create_agent() -> Response:
    """An agent that calls out or answers; its type stays."""
    return answer(await agents_service().create(caller().org_id, await _user_id(), await body_as(CreateAgentBody)), 201)


@blueprint.get("/v1/agents/<agent_id>")
@gives(shapes.Agent)
async def get_agent(agent_id: str) -> Response:
    """An agent, archived ones too."""
    return answer(await agents_service().show(caller().org_id, agent_id))


@blueprint.patch("/v1/agents/<agent_id>")
@takes(ChangeAgentBody)
@gives(shapes.Agent)
@fails(*UNUSABLE, *NUMBERS, "agent_archived", "type_is_fixed")
async def change_agent(agent_id: str) -> Response:
    """Takes effect with the next call; calls under way keep what they began with."""
    return answer(await agents_service().change(caller().org_id, agent_id, await body_as(ChangeAgentBody)))


@blueprint.delete("/v1/agents/<agent_id>")
@gives(shapes.Agent)
async def archive_agent(agent_id: str) -> Response:
    """It takes and places no more calls; past calls stay."""
    return answer(await agents_service().archive(caller().org_id, agent_id))


@blueprint.post("/v1/agents/<agent_id>/numbers")
@takes(NumberBody)
@gives(shapes.Agent)
@fails("agent_archived", "number_has_inbound_agent")
async def attach_number(agent_id: str) -> Response:
    """Let the agent answer the number, or call from it."""
    number_id = (await body_as(NumberBody)).number_id
    return answer(await agents_service().attach(caller().org_id, agent_id, number_id))


@blueprint.delete("/v1/agents/<agent_id>/numbers/<number_id>")
@gives(shapes.Agent)
@fails("agent_archived")
async def detach_number(agent_id: str, number_id: str) -> Response:
    """Take the number from the agent."""
    return answer(await agents_service().detach(caller().org_id, agent_id, number_id))


@blueprint.put("/v1/agents/<agent_id>/primary-number")
@takes(NumberBody)
@gives(shapes.Agent)
@fails("agent_archived", "number_not_attached")
async def choose_primary_number(agent_id: str) -> Response:
    """The number it calls from unless a call says otherwise; must be attached."""
    number_id = (await body_as(NumberBody)).number_id
    return answer(await agents_service().choose_primary(caller().org_id, agent_id, number_id))


async def _user_id() -> str | None:
    """Whose key it is; null for one that the server's operator made."""
    async with agents_service().database.read() as connection:
        query = select(api_keys.c.user_id).where(api_keys.c.id == caller().key_id)
        user_id: str | None = (await connection.execute(query)).scalar_one()
        return user_id
