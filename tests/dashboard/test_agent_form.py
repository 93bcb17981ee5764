"""From the agent's form to the API's shapes and back."""

from dataclasses import replace
from typing import Any

import pytest

from config.errors import ApiError
from config.http import as_model
from dashboard.agent_form import agent_form, body_of, with_refusal
from dashboard.render import render
from dashboard.views import Form
from tests.dashboard import fixtures as fx
from tests.dashboard import workspace_fixtures as ws
from tests.dashboard.gallery import page
from tests.town import Town
from voice.agents.service import CreateAgentBody

FILLED = {
    "name": "Reminder",
    "persona": " calm ",
    "instructions": "Remind them.",
    "first_message": "",
    "language": "en-US",
    "returns": "confirmed: boolean\n\nnew time: string \n price:number",
    "tools": '[{"type": "builtin", "name": "end_call"}]',
    "voicemail_action": "leave_message",
    "voicemail_message": "Hello.",
    "max_duration_minutes": "7.5",
    "silence_timeout_seconds": "9",
    "longest_wait_seconds": "120",
}


def body(**changed: str) -> dict[str, Any]:
    found = body_of({**FILLED, **changed}, ["n1", "n2"])
    assert isinstance(found, dict), found
    return found


def test_a_form_becomes_what_the_api_takes() -> None:
    made = body(primary_number_id="n2")
    assert made["returns"] == {"confirmed": "boolean", "new time": "string", "price": "number"}
    assert made["tools"] == [{"type": "builtin", "name": "end_call"}]
    assert (made["max_duration_seconds"], made["silence_timeout_seconds"]) == (450, 9)
    assert made["longest_wait_seconds"] == 120
    assert (made["persona"], made["first_message"]) == ("calm", None)
    assert (made["number_ids"], made["primary_number_id"]) == (["n1", "n2"], "n2")
    as_model(CreateAgentBody, {**made, "type": "outbound"})


def test_an_agent_without_a_number_is_said_to_neither_call_nor_answer() -> None:
    for chosen in (True, False):
        agent = replace(ws.AGENT, numbers=tuple(replace(each, chosen=chosen) for each in ws.AGENT.numbers))
        html = render("agent.html", page=page("Agent", "agents", fx.OK, "system"), agent=agent)
        assert ("it can neither call nor answer" in html) is not chosen


def test_a_primary_number_that_is_no_longer_ticked_is_let_go() -> None:
    assert body(primary_number_id="n3")["primary_number_id"] is None


@pytest.mark.parametrize(
    ("field", "entered", "sentence"),
    [
        ("returns", "confirmed", "Line 1 must be a name, a colon, and boolean, string or number."),
        ("returns", "a: boolean\nb: date", "Line 2 must be a name, a colon, and boolean, string or number."),
        ("returns", ": string", "Line 1 must be a name, a colon, and boolean, string or number."),
        ("returns", "a: string\na: number", "Line 2 names “a” a second time."),
        ("tools", "[{]", "This is not JSON: "),
        ("tools", "{}", "Write a list of tools, in square brackets."),
        ("tools", "[" * 100_000, "This is "),
        ("max_duration_minutes", "ten", "Enter minutes, from 1 to 60."),
        ("max_duration_minutes", "-5", "Enter minutes, from 1 to 60."),
        ("max_duration_minutes", "1e3", "Enter minutes, from 1 to 60."),
        ("silence_timeout_seconds", "2.5", "Enter whole seconds, from 3 to 120."),
        ("longest_wait_seconds", "soon", "Enter whole seconds, from 30 to 3600."),
    ],
)
def test_what_cannot_be_read_comes_back_beside_its_field(field: str, entered: str, sentence: str) -> None:
    form = body_of({**FILLED, field: entered}, [])
    assert isinstance(form, Form)
    assert form.errors[field].startswith(sentence)
    assert form.values[field] == entered
    assert form.error == "Nothing was saved: one field needs another look."


def test_what_the_api_refuses_stands_beside_its_field() -> None:
    with pytest.raises(ApiError) as refused:
        as_model(CreateAgentBody, {**body(max_duration_minutes="90"), "type": "outbound"})
    form = with_refusal(FILLED, refused.value.fields["field"], refused.value.message)
    assert form.errors["max_duration_minutes"] == "Enter minutes, from 1 to 60."


async def test_a_number_nobody_can_dial_is_refused_beside_its_field_without_the_apis_name_of_it(town: Town) -> None:
    dana = await town.member("dana@example.com")
    await dana.get("/agents/new")
    await dana.post("/agents", type="outbound", **{**FILLED, "transfer_number": "415 555 0199"})
    assert "Must be a phone number like +14155550123 (E.164)." in dana.text
    assert "transfer_number`" not in dana.text


async def test_a_new_agent_offers_no_empty_choice_of_the_number_it_calls_from(town: Town) -> None:
    dana = await town.member("dana@example.com")
    await dana.get("/agents/new")
    assert "Calls from" not in dana.text


async def test_an_agent_is_made_changed_and_archived_on_its_page(town: Town) -> None:
    dana = await town.member("dana@example.com")
    await dana.get("/agents/new")
    response = await dana.post("/agents", type="outbound", **FILLED)
    assert response.status_code == 303, dana.text
    await dana.get(response.headers["location"])
    assert "Saved. It applies from the next call on." in dana.text
    path = response.headers["location"].partition("?")[0]
    await dana.post(path, **{**FILLED, "name": "Renamed", "tools": "[{]"})
    assert "This is not JSON" in dana.text
    assert "[{]" in dana.text, "what was entered is still there"
    await dana.post(path, **{**FILLED, "name": "Renamed"})
    await dana.get("/agents")
    assert "Renamed" in dana.text
    await dana.get(path)
    await dana.post(f"{path}/archive")
    await dana.get("/agents")
    assert "No agents yet" in dana.text


def test_an_agent_survives_its_own_form() -> None:
    agent = {**dict.fromkeys(("voice", "webhook_url", "transfer_number")), **body()}
    again = body_of(dict(agent_form(agent).values), ["n1", "n2"])
    assert again == {**body(), "language": None}  # the language is chosen from a list beside the form
