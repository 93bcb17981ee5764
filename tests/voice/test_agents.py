"""Agents over HTTP: what can be said of one, whose numbers it has, and what is refused."""

from typing import Any

import pytest
from callingbox.tools import tool

from tests.servers import Organisation, Server, running_server

TEXTS: dict[str, Any] = {
    "name": "Appointment reminder",
    "type": "outbound",
    "persona": "A calm receptionist.",
    "instructions": "Remind the patient of the visit.",
    "first_message": "Hello, this is Larkspur Dental.",
    "voice": "en-US-Journey-O",
    "language": "en-US",
    "returns": {"confirmed": "boolean", "new_time": "string", "party_size": "number"},
    "voicemail_action": "leave_message",
    "voicemail_message": "Please call us back.",
    "webhook_url": "https://example.com/hook",
    "max_duration_seconds": 600,
    "silence_timeout_seconds": 8,
    "longest_wait_seconds": 300,
    "transfer_number": "+14155550123",
}
TOOLS = [
    tool.http(
        name="free_slots",
        description="Slots on a day",
        url="https://example.com/slots",
        parameters=tool.object(day=tool.string(description="ISO date"), hour=tool.integer(nullable=True)),
        headers={"Authorization": "Bearer made-up"},
        timeout_ms=4_000,
    ).to_wire(),
    tool.builtin(name="end_call", description="Hang up").to_wire(),
    tool.builtin(name="hand_over", description="A person", builtin="transfer_call", config={"label": "desk"}).to_wire(),
]


async def create(org: Organisation, expect: int = 201, **body: Any) -> Any:
    response = await org.api.post("/v1/agents", json={"name": "Agent", "type": "outbound", **body})
    assert response.status_code == expect, response.text
    return response.json()


async def ask(org: Organisation, method: str, path: str, body: Any = None, expect: int = 200) -> Any:
    response = await org.api.request(method, path, json=body)
    assert response.status_code == expect, response.text
    return response.json()


async def number_of(org: Organisation) -> Any:
    return (await org.get("/v1/numbers"))["data"][0]


async def test_an_agent_keeps_everything_it_was_told(server: Server) -> None:
    org = await server.organisation()
    made = await create(org, **TEXTS, tools=TOOLS)
    assert {name: made[name] for name in TEXTS} == TEXTS
    assert made["tools"] == TOOLS
    assert (made["org_id"], made["archived_at"], made["numbers"]) == (org.id, None, [])
    assert await org.get(f"/v1/agents/{made['id']}") == made
    assert (await org.get("/v1/agents"))["data"] == [made]


async def test_what_is_left_out_has_a_default(sqlite_server: Server) -> None:
    org = await sqlite_server.organisation()
    made = await create(org)
    assert (made["language"], made["returns"], made["tools"], made["voicemail_action"]) == ("en", {}, [], "hangup")
    for name in ("persona", "instructions", "voice", "webhook_url", "max_duration_seconds", "primary_number_id"):
        assert made[name] is None


async def test_a_change_touches_only_what_it_names_and_null_clears(server: Server) -> None:
    org = await server.organisation()
    made = await create(org, **TEXTS, tools=TOOLS)
    changed = await ask(org, "PATCH", f"/v1/agents/{made['id']}", {"persona": None, "returns": None, "name": "  New "})
    expected = {**made, "persona": None, "returns": {}, "name": "New", "updated_at": changed["updated_at"]}
    assert changed == expected
    assert await org.get(f"/v1/agents/{made['id']}") == expected


async def test_agents_are_listed_by_type_newest_first_without_archived_ones(sqlite_server: Server) -> None:
    org = await sqlite_server.organisation()
    first, second, third = [await create(org, type=kind) for kind in ("outbound", "inbound", "outbound")]
    await ask(org, "DELETE", f"/v1/agents/{third['id']}")
    assert [agent["id"] for agent in (await org.get("/v1/agents"))["data"]] == [second["id"], first["id"]]
    assert [agent["id"] for agent in (await org.get("/v1/agents", type="inbound"))["data"]] == [second["id"]]
    assert (await org.api.get("/v1/agents", params={"type": "both"})).status_code == 400


async def test_an_archived_agent_is_still_there_but_stays_as_it_is(server: Server) -> None:
    org = await server.organisation()
    number = await number_of(org)
    made = await create(org, type="inbound", number_ids=[number["id"]])
    archived = await ask(org, "DELETE", f"/v1/agents/{made['id']}")
    assert archived["archived_at"] is not None
    assert archived["numbers"] == []
    assert await ask(org, "DELETE", f"/v1/agents/{made['id']}") == archived
    assert (await org.get(f"/v1/agents/{made['id']}"))["archived_at"] == archived["archived_at"]
    refused = await ask(org, "PATCH", f"/v1/agents/{made['id']}", {"name": "Again"}, expect=409)
    assert refused["code"] == "agent_archived"
    assert (await number_of(org))["inbound_agent_id"] is None


async def test_the_type_of_an_agent_is_fixed(sqlite_server: Server) -> None:
    org = await sqlite_server.organisation()
    made = await create(org)
    refused = await ask(org, "PATCH", f"/v1/agents/{made['id']}", {"type": "inbound"}, expect=400)
    assert (refused["code"], refused["field"]) == ("type_is_fixed", "type")
    assert (await ask(org, "PATCH", f"/v1/agents/{made['id']}", {"type": "outbound"}))["type"] == "outbound"


async def test_numbers_are_attached_and_detached_whole(server: Server) -> None:
    org = await server.organisation()
    number, made = await number_of(org), await create(org)
    attached = await ask(org, "POST", f"/v1/agents/{made['id']}/numbers", {"number_id": number["id"]})
    assert attached["numbers"] == [{**number, "outbound_agent_ids": [made["id"]]}]
    assert attached["primary_number_id"] == number["id"]
    again = await ask(org, "POST", f"/v1/agents/{made['id']}/numbers", {"number_id": number["id"]})
    assert len(again["numbers"]) == 1
    detached = await ask(org, "DELETE", f"/v1/agents/{made['id']}/numbers/{number['id']}")
    assert (detached["numbers"], detached["primary_number_id"]) == ([], None)
    await ask(org, "DELETE", f"/v1/agents/{made['id']}/numbers/{number['id']}", expect=404)
    back = await ask(org, "POST", f"/v1/agents/{made['id']}/numbers", {"number_id": number["id"]})
    assert [each["id"] for each in back["numbers"]] == [number["id"]]


async def test_only_an_attached_number_can_be_the_primary_one(server: Server) -> None:
    org = await server.organisation()
    number = await number_of(org)
    second = await bought(server, org)
    made = await create(org, number_ids=[number["id"]])
    path = f"/v1/agents/{made['id']}/primary-number"
    refused = await ask(org, "PUT", path, {"number_id": second["id"]}, expect=400)
    assert refused["code"] == "number_not_attached"
    await ask(org, "POST", f"/v1/agents/{made['id']}/numbers", {"number_id": second["id"]})
    assert (await ask(org, "PUT", path, {"number_id": second["id"]}))["primary_number_id"] == second["id"]
    left = await ask(org, "PATCH", f"/v1/agents/{made['id']}", {"number_ids": [number["id"]]})
    assert (left["primary_number_id"], [each["id"] for each in left["numbers"]]) == (number["id"], [number["id"]])


async def bought(server: Server, org: Organisation) -> Any:
    return await ask(org, "POST", "/v1/numbers/purchase", {"phone_number": "+14155550160"})


async def test_a_number_has_one_inbound_agent_and_any_number_of_outbound_ones(server: Server) -> None:
    org = await server.organisation()
    number = await number_of(org)
    answering = await create(org, type="inbound", number_ids=[number["id"]])
    callers = [await create(org, number_ids=[number["id"]]) for _ in range(2)]
    shown = await org.get(f"/v1/numbers/{number['id']}")
    assert shown["inbound_agent_id"] == answering["id"]
    assert sorted(shown["outbound_agent_ids"]) == sorted(agent["id"] for agent in callers)
    refused = await create(org, type="inbound", number_ids=[number["id"]], expect=409)
    assert refused["code"] == "number_has_inbound_agent"
    assert len((await org.get("/v1/agents", type="inbound"))["data"]) == 1
    other = await create(org, type="inbound")
    path = f"/v1/agents/{other['id']}/numbers"
    assert (await ask(org, "POST", path, {"number_id": number["id"]}, expect=409))["code"] == refused["code"]
    await ask(org, "DELETE", f"/v1/agents/{answering['id']}")
    assert len((await ask(org, "POST", path, {"number_id": number["id"]}))["numbers"]) == 1


async def test_agents_and_numbers_of_others_are_not_found(server: Server) -> None:
    mine, theirs = await server.organisation(), await server.organisation(number="+14155550101")
    agent, number = await create(theirs), await number_of(theirs)
    path, own = f"/v1/agents/{agent['id']}", await create(mine)
    for method, address, body in (
        ("GET", path, None),
        ("PATCH", path, {"name": "Mine"}),
        ("PATCH", path, {"type": "outbound"}),
        ("DELETE", path, None),
        ("POST", f"{path}/numbers", {"number_id": (await number_of(mine))["id"]}),
        ("PUT", f"{path}/primary-number", {"number_id": number["id"]}),
        ("DELETE", f"{path}/numbers/{number['id']}", None),
        ("POST", f"/v1/agents/{own['id']}/numbers", {"number_id": number["id"]}),
        ("PATCH", f"/v1/agents/{own['id']}", {"number_ids": [number["id"]]}),
    ):
        assert (await ask(mine, method, address, body, expect=404))["code"] == "not_found"
    await create(mine, number_ids=[number["id"]], expect=404)
    assert (await theirs.get(path)) == agent


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "x" * 121),
        ("type", "both"),
        ("instructions", "x" * 20_001),
        ("language", "english, please"),
        ("language", "en_US"),
        ("returns", {"confirmed": "bool"}),
        ("returns", {"confirmed": {"type": "boolean"}}),
        ("returns", {f"f{n}": "string" for n in range(51)}),
        ("voice", "a\nb"),
        ("voicemail_action", "shout"),
        ("webhook_url", "http://example.com/hook"),
        ("webhook_url", "https://169.254.169.254/latest"),
        ("webhook_url", "https://localhost/hook"),
        ("webhook_url", "https://user:secret@example.com/"),
        ("webhook_url", "ftp://example.com"),
        ("max_duration_seconds", 59),
        ("max_duration_seconds", 3_601),
        ("max_duration_seconds", "600"),
        ("silence_timeout_seconds", 1),
        ("longest_wait_seconds", 10),
        ("transfer_number", "911"),
        ("transfer_number", "+18765550123"),
        ("transfer_number", "+19005550123"),
        ("primary_number_id", "unknown"),
        ("favourite_colour", "green"),
    ],
)
async def test_a_wrong_field_is_named(sqlite_server: Server, field: str, value: Any) -> None:
    org = await sqlite_server.organisation()
    response = await org.api.post("/v1/agents", json={"name": "Agent", "type": "outbound", field: value})
    assert response.status_code == 400, response.text
    assert response.json()["field"].split(".")[0] == field
    assert (await org.get("/v1/agents"))["data"] == []


HTTP = {"type": "http", "name": "t", "description": "", "url": "https://example.com/t"}


@pytest.mark.parametrize(
    "tools",
    [
        [HTTP] * 2,
        [{**HTTP, "name": f"t{n}"} for n in range(17)],
        [{**HTTP, "type": "mcp"}],
        [{**HTTP, "name": "two words"}],
        [{**HTTP, "url": "http://example.com"}],
        [{**HTTP, "url": "https://10.0.0.1/"}],
        [{**HTTP, "policy": "write"}],
        [{**HTTP, "timeout_ms": 1}],
        [{**HTTP, "headers": {"Host": "example.com"}}],
        [{**HTTP, "headers": {"X-Key": "a\r\nInjected: 1"}}],
        [{**HTTP, "parameters": {"type": "string"}}],
        [{**HTTP, "parameters": {"type": "object", "properties": {"a": {"type": "string", "pattern": "(a+)+$"}}}}],
        [{**HTTP, "parameters": {"type": "object", "properties": {}, "required": ["a"]}}],
        [{**HTTP, "parameters": {"$ref": "https://example.com/schema"}}],
        [{"type": "builtin", "name": "fly", "description": "", "policy": "read"}],
        {"free_slots": HTTP},
    ],
)
async def test_a_tool_that_cannot_be_used_is_refused(sqlite_server: Server, tools: Any) -> None:
    org = await sqlite_server.organisation()
    response = await org.api.post("/v1/agents", json={"name": "Agent", "type": "outbound", "tools": tools})
    assert response.status_code == 400, response.text
    assert response.json()["field"].startswith("tools")


async def test_a_builtin_tool_is_named_after_what_it_does(sqlite_server: Server) -> None:
    org = await sqlite_server.organisation()
    made = await create(org, tools=[{"type": "builtin", "name": "end_call"}])
    assert made["tools"] == [tool.builtin(name="end_call", description="").to_wire()]


async def test_local_addresses_are_for_development(sqlite_url: str) -> None:
    async with running_server(sqlite_url, ALLOW_PRIVATE_URLS="true") as server:
        org = await server.organisation()
        made = await create(
            org, webhook_url="http://127.0.0.1:9000/hook", tools=[{**HTTP, "url": "http://localhost/t"}]
        )
        assert made["webhook_url"] == "http://127.0.0.1:9000/hook"
