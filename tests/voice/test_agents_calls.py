"""Calls that an outbound agent places: whose number, which words, how long, and what the call keeps."""

from typing import Any

import pytest

from config.door import Door
from tests.servers import DOLLAR, Organisation, Server
from tests.voice.test_agents import TEXTS, TOOLS, ask, bought, create, number_of
from voice.create_call import CreateCall
from voice.numbers.purchase import ReleaseNumber

TO = "+14155550130"
MINUTE_MILLI_CENTS = 5_000


async def calling_agent(org: Organisation, **body: Any) -> Any:
    return await create(org, number_ids=[(await number_of(org))["id"]], **body)


async def test_a_call_keeps_what_its_agent_was_when_it_began(server: Server) -> None:
    org = await server.organisation()
    agent = await calling_agent(org, **TEXTS, tools=TOOLS)
    call = await org.call(TO, agent_id=agent["id"], context={"patient": "Ann"}, metadata={"order": 7})
    await ask(org, "PATCH", f"/v1/agents/{agent['id']}", {"persona": "Rude.", "returns": None, "language": "es"})
    await ask(org, "DELETE", f"/v1/agents/{agent['id']}")
    shown = await org.call_of(call)
    for name in ("persona", "instructions", "returns", "language", "voicemail_action", "webhook_url"):
        assert shown[name] == TEXTS[name]
    assert shown["agent_id"] == agent["id"]
    assert shown["context"] == {"patient": "Ann"}
    assert shown["metadata"] == {"order": 7, "language": "en-US"}
    assert [tool["name"] for tool in shown["tools"]] == [tool["name"] for tool in TOOLS]
    assert "A calm receptionist." in shown["prompt"]
    assert "Remind the patient of the visit." in shown["prompt"]
    assert call["result_status"] == "pending"


async def test_instructions_and_webhook_of_a_call_replace_the_agents(server: Server) -> None:
    org = await server.organisation()
    agent = await calling_agent(org, **TEXTS)
    given: Any = {"instructions": "Only say hello.", "webhook_url": "https://example.com/other"}
    call = await org.call(TO, agent_id=agent["id"], **given)
    assert {name: call[name] for name in given} == given
    assert "Remind the patient" not in call["prompt"]
    assert "Only say hello." in call["prompt"]
    assert (await org.get(f"/v1/agents/{agent['id']}"))["instructions"] == TEXTS["instructions"]


async def test_an_agent_without_a_persona_has_the_default_one(sqlite_server: Server) -> None:
    org = await sqlite_server.organisation()
    agent = await calling_agent(org, instructions="Say hello.")
    call = await org.call(TO, agent_id=agent["id"])
    assert call["persona"] is None
    assert call["prompt"].startswith("Persona: ")
    assert call["prompt"].endswith("Say hello.")
    assert call["result_status"] == "skipped"


async def test_the_header_of_a_tool_is_shown_to_nobody_who_reads_the_call(sqlite_server: Server) -> None:
    org = await sqlite_server.organisation()
    agent = await calling_agent(org, tools=TOOLS)
    call = await org.call(TO, agent_id=agent["id"])
    assert "made-up" not in str(await org.call_of(call))
    assert "made-up" in str(await org.get(f"/v1/agents/{agent['id']}"))


async def test_the_primary_number_calls_unless_another_attached_one_is_named(server: Server) -> None:
    org = await server.organisation(credit=20 * DOLLAR)
    first, second = await number_of(org), await bought(server, org)
    agent = await create(org, number_ids=[first["id"], second["id"]], primary_number_id=second["id"])
    assert (await org.call(TO, agent_id=agent["id"]))["from_number"] == second["e164"]
    named = await org.call("+14155550137", agent_id=agent["id"], from_number=first["e164"])
    assert named["from_number"] == first["e164"]
    await ask(org, "DELETE", f"/v1/agents/{agent['id']}/numbers/{first['id']}")
    refused = await org.call(TO, expect=400, agent_id=agent["id"], from_number=first["e164"])
    assert (refused["code"], refused["field"]) == ("number_not_attached", "from_number")


async def test_without_an_agent_the_oldest_number_calls_and_when_it_is_released_the_next(server: Server) -> None:
    org = await server.organisation(credit=20 * DOLLAR)
    first, second = await number_of(org), await bought(server, org)
    to = iter(range(30, 40))

    async def calls_from(expect: int = 201) -> Any:
        return await org.call(f"+141555501{next(to)}", expect=expect)

    assert (await calls_from())["from_number"] == (await calls_from())["from_number"] == first["e164"]
    await ask(org, "DELETE", f"/v1/numbers/{first['id']}")
    assert (await ask(org, "POST", "/v1/calls/quote", {"to": "+14155550150"}))["would_be_placed"] is True
    assert (await calls_from())["from_number"] == second["e164"]
    await ask(org, "DELETE", f"/v1/numbers/{second['id']}")
    assert (await calls_from(expect=400))["code"] == "no_number"


async def test_a_number_that_was_released_and_came_back_is_the_oldest_no_more(server: Server) -> None:
    """Whether or not this process has placed a call from it before, or was told of any of it."""
    org = await server.organisation(credit=20 * DOLLAR)
    first, second = await number_of(org), await bought(server, org)
    assert (await org.call("+14155550130"))["from_number"] == first["e164"]
    await ask(org, "DELETE", f"/v1/numbers/{first['id']}")
    await server.number(org, first["e164"])
    assert (await org.call("+14155550131"))["from_number"] == second["e164"]


async def test_a_number_that_was_released_and_went_to_somebody_else_calls_for_them_alone(server: Server) -> None:
    org = await server.organisation(credit=20 * DOLLAR)
    other = await server.organisation(credit=20 * DOLLAR, number=None)
    first, second = await number_of(org), await bought(server, org)
    assert (await org.call("+14155550130"))["from_number"] == first["e164"]
    await ask(org, "DELETE", f"/v1/numbers/{first['id']}")
    await server.number(other, first["e164"])
    assert (await other.call("+14155550131"))["from_number"] == first["e164"]
    assert (await org.call("+14155550132"))["from_number"] == second["e164"]


async def test_a_number_released_while_a_call_is_being_placed_leaves_the_call_to_the_next(server: Server) -> None:
    org = await server.organisation(credit=20 * DOLLAR)
    first, second = await number_of(org), await bought(server, org)
    submit, is_released = Door.submit, False

    async def after_its_release(door: Door, command: Any, **how: Any) -> Any:
        nonlocal is_released
        if isinstance(command, CreateCall) and not is_released:
            is_released = True
            await submit(door, ReleaseNumber(first["id"], org.id))
        return await submit(door, command, **how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Door, "submit", after_its_release)
        assert (await org.call("+14155550130"))["from_number"] == second["e164"]


async def test_what_placing_a_call_answers_is_what_reading_it_answers(server: Server) -> None:
    org = await server.organisation()
    assert server.network is not None
    server.network.faults = type(server.network.faults)(callback_lost=1.0, verdict_lost=1.0)
    agent = await calling_agent(org, **{**TEXTS, "webhook_url": None}, tools=TOOLS)
    more: Any = {"context": {"patient": "Ann"}, "metadata": {"order": 7}, "max_duration_seconds": 60}
    for body in (more, {**more, "agent_id": agent["id"]}, {"webhook_url": "https://example.com/told"}):
        call = await org.call(TO, **body)
        assert call == await org.call_of(call)


async def test_an_agent_without_a_number_cannot_call(server: Server) -> None:
    org = await server.organisation()
    agent = await create(org)
    refused = await org.call(TO, expect=400, agent_id=agent["id"])
    assert (refused["code"], refused["field"]) == ("no_number", "from_number")


@pytest.mark.parametrize("field", ["prompt", "persona", "voice", "language", "returns", "tools", "voicemail_action"])
async def test_what_the_agent_decides_is_not_accepted(sqlite_server: Server, field: str) -> None:
    org = await sqlite_server.organisation()
    agent = await calling_agent(org)
    refused = await org.call(TO, expect=400, agent_id=agent["id"], **{field: None})
    assert refused["field"] == field
    assert (await org.get("/v1/calls"))["data"] == []


async def test_instructions_need_an_agent(sqlite_server: Server) -> None:
    org = await sqlite_server.organisation()
    assert (await org.call(TO, expect=400, instructions="Say hello."))["field"] == "instructions"


async def test_inbound_archived_and_foreign_agents_place_no_calls(server: Server) -> None:
    org, other = await server.organisation(), await server.organisation(number="+14155550101")
    inbound, theirs, archived = await create(org, type="inbound"), await calling_agent(other), await calling_agent(org)
    await ask(org, "DELETE", f"/v1/agents/{archived['id']}")
    assert (await org.call(TO, expect=400, agent_id=inbound["id"]))["code"] == "agent_not_outbound"
    for agent_id in (theirs["id"], archived["id"], "unknown"):
        assert (await org.call(TO, expect=404, agent_id=agent_id))["code"] == "not_found"
    assert (await org.wallet())["held_milli_cents"] == 0


@pytest.mark.parametrize(("asked", "agents", "expected"), [(None, 600, 600), (300, 600, 300), (900, 600, 600)])
async def test_the_shortest_maximum_sizes_the_hold(
    sqlite_server: Server, asked: int | None, agents: int, expected: int
) -> None:
    org = await sqlite_server.organisation()
    agent = await calling_agent(org, max_duration_seconds=agents)
    body = {"agent_id": agent["id"], **({} if asked is None else {"max_duration_seconds": asked})}
    quote = (await org.api.post("/v1/calls/quote", json={"to": TO, **body})).json()
    call = await org.call(TO, **body)
    assert call["max_duration_seconds"] == quote["max_duration_seconds"] == expected
    assert call["hold_milli_cents"] == quote["hold_milli_cents"] == expected // 60 * MINUTE_MILLI_CENTS


async def test_a_repeat_is_answered_even_when_the_agent_is_gone(server: Server) -> None:
    org = await server.organisation()
    agent = await calling_agent(org)
    headers = {"Idempotency-Key": "once"}
    first = await org.call(TO, headers=headers, agent_id=agent["id"])
    await ask(org, "DELETE", f"/v1/agents/{agent['id']}")
    assert (await org.call(TO, headers=headers, agent_id=agent["id"]))["id"] == first["id"]


async def test_calls_are_listed_by_agent(sqlite_server: Server) -> None:
    org = await sqlite_server.organisation(credit=20 * DOLLAR)
    one, other = await calling_agent(org), await calling_agent(org)
    call = await org.call(TO, agent_id=one["id"])
    await org.call("+14155550137", agent_id=other["id"])
    listed = (await org.get("/v1/calls", agent_id=one["id"]))["data"]
    assert [each["id"] for each in listed] == [call["id"]]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tools", [{"type": "http", "name": "t", "description": "", "url": "http://example.com"}]),
        ("tools", [{"name": "t"}]),
        ("webhook_url", "https://192.168.0.1/hook"),
        ("returns", {"a": "list"}),
    ],
)
async def test_a_call_without_an_agent_is_checked_the_same_way(sqlite_server: Server, field: str, value: Any) -> None:
    org = await sqlite_server.organisation()
    assert (await org.call(TO, expect=400, **{field: value}))["field"].startswith(field)
