"""An AI assistant's way in: the official MCP client against `callingbox-server mcp`, over both transports."""

import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

from tests.end_to_end.conftest import Site
from tests.servers import BIN, Process, free_port

HUMAN, VOICEMAIL = "+14155550130", "+14155550131"
TOOLS = {
    "place_call",
    "quote_call",
    "hang_up",
    "get_call",
    "get_transcript",
    "get_receipt",
    "list_calls",
    "list_agents",
    "get_wallet",
}


def new_key(site: Site, **limits: int) -> str:
    made = json.loads(site.installed.run("key", "create", site.org_id, "--name", "Assistant").stdout)
    if limits:
        with httpx.Client(base_url=site.url, headers={"Authorization": f"Bearer {site.api_key}"}) as owner:
            assert owner.patch(f"/v1/api_keys/{made['key_id']}/limits", json=limits).is_success
    return str(made["api_key"])


@pytest.fixture(scope="module")
def served(site: Site) -> Iterator[str]:
    """`callingbox-server mcp --http`; gives its address."""
    port = free_port()
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": site.installed.environment["PYTHONPATH"]}
    command = [str(BIN / "callingbox-server"), "mcp", "--http", "--port", str(port), "--base-url", site.url]
    process = Process(command, environment, site.installed.directory / "mcp.log")
    try:
        process.await_answer(f"http://127.0.0.1:{port}/healthz")
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        assert process.stop() == 0


@asynccontextmanager
async def over_http(address: str, key: str) -> AsyncIterator[Client]:
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {key}"}, timeout=60) as http,
        Client(streamable_http_client(address, http_client=http)) as client,
    ):
        yield client


@asynccontextmanager
async def over_stdio(site: Site, key: str) -> AsyncIterator[Client]:
    environment = {
        "PYTHONPATH": site.installed.environment["PYTHONPATH"],
        "CALLINGBOX_BASE_URL": site.url,
        "CALLINGBOX_API_KEY": key,
    }
    started = StdioServerParameters(command=str(BIN / "callingbox-server"), args=["mcp"], env=environment)
    async with Client(stdio_client(started)) as client:
        yield client


async def used(client: Client, tool: str, **arguments: Any) -> Any:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    return result.structured_content


async def refused(client: Client, tool: str, **arguments: Any) -> str:
    result = await client.call_tool(tool, arguments)
    assert result.is_error, result.structured_content
    return str(result.content[0].text)  # type: ignore[union-attr]


@asynccontextmanager
async def connected(transport: str, site: Site, address: str, key: str) -> AsyncIterator[Client]:
    async with over_stdio(site, key) if transport == "stdio" else over_http(address, key) as client:
        yield client


@pytest.mark.parametrize("transport", ["stdio", "http"])
async def test_an_assistant_quotes_places_and_reads_a_call(site: Site, served: str, transport: str) -> None:
    key = new_key(site, daily_cap_milli_cents=400_000)
    async with connected(transport, site, served, key) as client:
        assert {tool.name for tool in (await client.list_tools()).tools} == TOOLS
        quote = await used(client, "quote_call", to=HUMAN, max_duration_seconds=600)
        assert (quote["would_be_placed"], quote["hold_milli_cents"]) == (True, 50_000)
        call = await used(client, "place_call", to=HUMAN, prompt="Say hello.", max_duration_seconds=600)
        assert call["status"] == "completed"
        receipt = await used(client, "get_receipt", call_id=call["id"])
        assert (receipt["confirmed"], receipt["charge_milli_cents"]) == (True, call["billing_amount_milli_cents"])
        transcript = await used(client, "get_transcript", call_id=call["id"])
        assert transcript["segments"]
        listed = await used(client, "list_calls", limit=1)
        assert [each["id"] for each in listed["data"]] == [call["id"]]
        wallet = await used(client, "get_wallet")
        assert wallet["limits"]["api_key"]["spent"]["day_milli_cents"] == call["billing_amount_milli_cents"] > 0
        free = await used(client, "place_call", to=VOICEMAIL, prompt="Say hello.", max_duration_seconds=600)
        assert (free["answered_by"], free["billing_amount_milli_cents"]) == ("machine", 0)


@pytest.mark.parametrize("transport", ["stdio", "http"])
async def test_a_key_without_a_cap_places_no_call_and_is_told_how_to_get_one(
    site: Site, served: str, transport: str
) -> None:
    async with connected(transport, site, served, new_key(site, max_concurrent_calls=1)) as client:
        before = await used(client, "list_calls", limit=1)
        message = await refused(client, "place_call", to=HUMAN, prompt="Say hello.")
        assert "has no cap" in message
        assert "limits set ORG_ID --key" in message
        assert await used(client, "list_calls", limit=1) == before


async def test_an_agent_is_found_by_its_name_and_calls(site: Site, served: str) -> None:
    with httpx.Client(base_url=site.url, headers={"Authorization": f"Bearer {site.api_key}"}) as owner:
        numbers = [each["id"] for each in owner.get("/v1/numbers").json()["data"]]
        about = {"name": "Larkspur", "type": "outbound", "number_ids": numbers[-1:], "returns": {"suits": "boolean"}}
        assert owner.post("/v1/agents", json={**about, "instructions": "Ask whether Tuesday suits."}).is_success
    async with over_http(served, new_key(site, daily_cap_milli_cents=400_000)) as client:
        [agent] = [each for each in (await used(client, "list_agents"))["data"] if each["name"] == "Larkspur"]
        call = await used(client, "place_call", to=HUMAN, agent_id=agent["id"], max_duration_seconds=600)
        assert (call["agent_id"], call["status"]) == (agent["id"], "completed")


async def test_what_the_api_refuses_is_said_in_its_own_words(site: Site, served: str) -> None:
    async with over_http(served, new_key(site, daily_cap_milli_cents=5_000)) as client:
        over_cap = await refused(client, "place_call", to=HUMAN, prompt="Say hello.")
        assert over_cap.endswith("(key_daily_cap_reached)")
        assert "(invalid_number)" in await refused(client, "place_call", to="911", prompt="Say hello.")
        assert "(not_found)" in await refused(client, "get_call", call_id="nobodys")
        assert "call_id" in await refused(client, "get_call", call_id="../billing/wallet")
    async with over_http(served, "sk_live_wrong") as client:
        assert "(unauthorized)" in await refused(client, "get_wallet")


def test_the_command_says_what_it_needs(site: Site) -> None:
    done = site.installed.run("mcp", check=False)
    assert done.returncode == 1
    assert "CALLINGBOX_API_KEY" in done.stderr
    assert done.stdout == ""
