"""The pages of agents: the list, and the form of one.

Invariant: a form passes the very checks that the API's body passes.
"""

from collections.abc import Mapping
from typing import Any

from quart import Blueprint, Response, redirect, request

from config.errors import ApiError
from config.http import as_model
from dashboard import agent_trial, urls, views
from dashboard import format as fmt
from dashboard.agent_form import agent_form, body_of, language_choices, with_refusal
from dashboard.facts import ms_of
from dashboard.views import Choice, Form
from dashboard.web import AnyResponse, database, html, inside, page_of, settings, who
from dashboard.workspace_view import AgentPage, AgentRow
from voice.agents.service import ChangeAgentBody, CreateAgentBody, agents_service
from voice.numbers.commands import active_number_objects

blueprint = inside(Blueprint("agent_pages", __name__))

KINDS = ("outbound", "inbound")


@blueprint.get(urls.AGENTS)
async def list_agents() -> AnyResponse:
    found = await agents_service().all((await who()).org_id)
    rows = tuple(_row(agent) for agent in found)
    return html("agents.html", page=await page_of("Agents", "agents"), agents=rows)


def _row(agent: Mapping[str, Any]) -> AgentRow:
    return AgentRow(
        id=agent["id"],
        name=agent["name"],
        kind=agent["type"],
        numbers=tuple(number["e164"] for number in agent["numbers"]),
        language=agent["language"],
        max_duration_seconds=agent["max_duration_seconds"] or settings().max_call_duration_seconds,
        updated_at=ms_of(agent["updated_at"]) or 0,
    )


@blueprint.get(urls.NEW_AGENT)
async def new_agent() -> AnyResponse:
    kind = request.args.get("type", "")
    return await _page(None, Form({"language": "en"}), kind if kind in KINDS else "outbound")


@blueprint.post(urls.AGENTS)
async def create_agent() -> AnyResponse:
    person, form = await who(), await request.form
    kind = form.get("type", "")
    body = body_of(form, form.getlist("number_ids"))
    if isinstance(body, Form):
        return await _page(None, body, kind, status=400)
    try:
        model = as_model(CreateAgentBody, {**body, "type": kind})
        made = await agents_service().create(person.org_id, person.user_id, model)
    except ApiError as error:
        refused = with_refusal(form, str(error.fields.get("field", "")), error.message)
        return await _page(None, refused, kind, status=error.status)
    return redirect(urls.agent(made["id"], saved=True), 303)


@blueprint.get(f"{urls.AGENTS}/<agent_id>")
async def one_agent(agent_id: str) -> AnyResponse:
    agent = await agents_service().show((await who()).org_id, agent_id)
    notices = (views.saved("It applies from the next call on."),) if request.args.get("saved") else ()
    return await _page(agent, agent_form(agent), agent["type"], notices=notices)


@blueprint.post(f"{urls.AGENTS}/<agent_id>")
async def change_agent(agent_id: str) -> AnyResponse:
    org_id, form = (await who()).org_id, await request.form
    agent = await agents_service().show(org_id, agent_id)
    body = body_of(form, form.getlist("number_ids"))
    if isinstance(body, Form):
        return await _page(agent, body, agent["type"], status=400)
    try:
        await agents_service().change(org_id, agent_id, as_model(ChangeAgentBody, body))
    except ApiError as error:
        refused = with_refusal(form, str(error.fields.get("field", "")), error.message)
        return await _page(agent, refused, agent["type"], status=error.status)
    return redirect(urls.agent(agent_id, saved=True), 303)


@blueprint.post(f"{urls.AGENTS}/<agent_id>/archive")
async def archive_agent(agent_id: str) -> AnyResponse:
    await agents_service().archive((await who()).org_id, agent_id)
    return redirect(urls.AGENTS, 303)


@blueprint.websocket(f"{urls.AGENTS}/<agent_id>/try")
async def try_agent(agent_id: str) -> Response | None:
    return await agent_trial.carry(agent_id)


async def _page(
    agent: Mapping[str, Any] | None,
    form: Form,
    kind: str,
    *,
    status: int = 200,
    notices: tuple[views.Notice, ...] = (),
) -> AnyResponse:
    """`agent`: as the API shows it, None for a new one."""
    org_id = (await who()).org_id
    async with database().read() as connection:
        numbers = await active_number_objects(connection, org_id)
    names = {each["id"]: each["name"] for each in await agents_service().all(org_id, "inbound")}
    sent = await request.form
    own = {number["id"] for number in agent["numbers"]} if agent is not None else set()
    ticked = set(sent.getlist("number_ids")) if request.method == "POST" else own
    primary = form.values.get("primary_number_id") or (agent or {}).get("primary_number_id")
    view = AgentPage(
        id=agent["id"] if agent is not None else "",
        name=agent["name"] if agent is not None else "",
        kind=kind,
        form=form,
        numbers=tuple(_number_choice(number, number["id"] in ticked, kind, own, names) for number in numbers),
        primary_numbers=tuple(
            Choice(number["id"], fmt.phone(number["e164"]), number["id"] == primary)
            for number in numbers
            if number["id"] in ticked
        ),
        languages=language_choices(form.values.get("language") or (agent or {}).get("language") or "en"),
    )
    page = await page_of(view.name or "New agent", "agents", notices=notices)
    return html("agent.html", status, page=page, agent=view)


def _number_choice(
    number: Mapping[str, Any], is_ticked: bool, kind: str, own: set[str], names: Mapping[str, str]
) -> Choice:
    other = names.get(number["inbound_agent_id"] or "", "")
    is_taken = kind == "inbound" and other and number["id"] not in own
    return Choice(number["id"], fmt.phone(number["e164"]), is_ticked, f"{other} answers it" if is_taken else "")
