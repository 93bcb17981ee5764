"""Customers' tools and language models that work, and ones that do not, in the middle of whole calls."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from simulator.model import Step
from tests.voice.stage import Stage, stage

SECRET = "Bearer of-the-customer"
TEN_MEGABYTES = 10 * 1024 * 1024
WRITE = "confirm_first_write"
BYE = "No, that's all. Bye."


@dataclass
class Tool:
    """A customer's server on a real socket; the last part of a path says how it answers."""

    url: str = ""
    asked: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.path, dict(request.headers), await request.json()))
        match request.path.rpartition("/")[2]:
            case "slow":
                await asyncio.sleep(30)
            case "moved":
                return web.HTTPFound("http://169.254.169.254/latest/meta-data")
            case "large":
                return web.Response(body=b"x" * TEN_MEGABYTES)
            case "broken":
                return web.Response(status=500)
            case "refusing":
                return web.Response(status=422, text="no such order")
            case "closing" if request.transport is not None:
                request.transport.close()
            case "odd":
                return web.Response(text='{"note": "half \\ud83d a sign, \\u0000 and \x00"}')
        return web.json_response({"status": "shipped", "day": "Thursday"})


@pytest.fixture
async def tool() -> AsyncIterator[Tool]:
    made = Tool()
    app = web.Application()
    app.router.add_post("/{path:.*}", made.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


@pytest.fixture
async def on(sqlite_url: str) -> AsyncIterator[Stage]:
    async with stage(sqlite_url) as made:
        yield made


def configured(tool: Tool, path: str = "good", policy: str = "read") -> list[dict[str, Any]]:
    parameters = {
        "type": "object",
        "properties": {"order_id": {"type": "string"}, "note": {"type": ["string", "null"]}},
        "required": ["order_id"],
        "additionalProperties": False,
    }
    timeout_ms = 1_500 if path == "slow" else 10_000  # nobody's patience ends before it does
    about = {"name": "order", "description": "The state of an order.", "policy": policy, "timeout_ms": timeout_ms}
    reach = {"url": f"{tool.url}/{path}", "headers": {"Authorization": SECRET}}
    return [{"type": "http", "parameters": parameters, **about, **reach}]


def calls(arguments: Any = None, name: str = "order", when: str = "order", times: int = 1) -> Step:
    """The model calls a tool."""
    return Step(when=when, times=times, tool_calls=((name, arguments or {"order_id": "A7", "note": None}),))


def told(on: Stage) -> list[dict[str, Any]]:
    """What the model was told of its calls, by the last request that shows any."""
    for asked in reversed(on.model.requests):
        if results := [message for message in asked["messages"] if message["role"] == "tool"]:
            return [json.loads(result["content"]) for result in results]
    return []


async def test_a_tool_is_asked_once_with_its_headers_and_its_answer_is_told(on: Stage, tool: Tool) -> None:
    on.say(calls())
    on.script(says=["Hello?", "Where is my order?", BYE])
    call = await on.call(tools=configured(tool))
    [(_, headers, body)] = tool.asked
    assert body == {"order_id": "A7"}  # a null that is not required is left out
    assert headers["Authorization"] == SECRET
    assert headers["X-CallingBox-Call-Id"] == call["id"]
    assert len(headers["Idempotency-Key"]) == 64
    assert told(on) == [{"ok": True, "result": {"status": "shipped", "day": "Thursday"}}]
    assert any("shipped" in line for line in await on.spoken(call) if line.startswith("agent"))
    everything = json.dumps([call, await on.transcript(call), list(on.model.requests)])
    assert SECRET not in everything
    assert tool.url not in json.dumps(list(on.model.requests))
    await on.clean()


async def test_a_write_waits_for_the_callers_yes_to_exactly_this_and_runs_once(on: Stage, tool: Tool) -> None:
    on.say(calls(when="my order"), calls(when="Yes, please"), calls(when="once more"))
    on.script(says=["Hello?", "Please cancel my order.", "Yes, please.", "Do it once more.", BYE])
    call = await on.call(tools=configured(tool, policy=WRITE))
    assert len(tool.asked) == 1
    assert told(on)[0]["error"]["code"] == "confirmation_required"
    assert told(on)[1]["ok"] is True
    [done] = [segment for segment in await on.transcript(call) if segment["role"] == "tool"]
    assert json.loads(done["text"])["result"]["ok"] is True
    await on.clean()


async def test_a_write_that_was_not_agreed_to_never_runs(on: Stage, tool: Tool) -> None:
    on.say(calls(when="my order"), calls(when="no, leave it"))
    on.script(says=["Hello?", "Please cancel my order.", "No, leave it as it is.", BYE])
    await on.call(tools=configured(tool, policy=WRITE))
    assert tool.asked == []
    await on.clean()


@pytest.mark.parametrize(
    ("path", "code", "most"),
    [
        ("slow", "unavailable", 2),
        ("moved", "tool_failed", 1),
        ("large", "tool_failed", 1),
        ("broken", "unavailable", 2),
        ("refusing", "tool_failed", 1),
        ("closing", "unavailable", 2),
    ],
)
async def test_a_tool_that_fails_is_said_to_and_the_call_goes_on(
    on: Stage, tool: Tool, path: str, code: str, most: int
) -> None:
    on.say(calls())
    on.script(says=["Hello?", "Where is my order?", BYE])
    call = await on.call(tools=configured(tool, path))
    assert [result["error"]["code"] for result in told(on)] == [code]
    assert len(tool.asked) == most
    assert any("that did not work" in line for line in await on.spoken(call))
    assert (call["status"], call["billing_reason"]) == ("completed", "billed")
    await on.clean()


@pytest.mark.parametrize("path", ["slow", "broken", "closing"])
async def test_a_write_without_an_answer_is_unknown_and_never_repeated(on: Stage, tool: Tool, path: str) -> None:
    on.say(calls(when="my order"), calls(when="Yes."), calls(when="Try again"))
    on.script(says=["Hello?", "Please cancel my order.", "Yes.", "Try again.", BYE])
    await on.call(tools=configured(tool, path, WRITE))
    assert len(tool.asked) == 1
    assert "outcome_unknown" in [result.get("error", {}).get("code") for result in told(on)]
    await on.clean()


async def test_an_answer_that_no_database_takes_is_made_sound(on: Stage, tool: Tool) -> None:
    on.say(calls())
    on.script(says=["Hello?", "Where is my order?", BYE])
    call = await on.call(tools=configured(tool, "odd"))
    assert told(on)[0]["ok"] is True
    assert any(segment["role"] == "tool" for segment in await on.transcript(call))
    await on.clean()


@pytest.mark.parametrize(
    ("step", "code"),
    [
        (calls(name="no_such_tool"), "unknown_tool"),
        (calls(arguments="{not json"), "invalid_arguments"),
        (calls(arguments={"order_id": 7}), "invalid_arguments"),
        (calls(arguments={"order_id": "A7", "extra": 1}), "invalid_arguments"),
    ],
)
async def test_a_model_that_calls_wrongly_is_told_why_and_nothing_is_asked(
    on: Stage, tool: Tool, step: Step, code: str
) -> None:
    on.say(step)
    on.script(says=["Hello?", "Where is my order?", BYE])
    call = await on.call(tools=configured(tool))
    assert tool.asked == []
    assert told(on)[0]["error"]["code"] == code
    assert call["billing_reason"] == "billed"
    await on.clean()


@pytest.mark.parametrize(
    "fault",
    ["status", "stall_before_headers", "stall_after_headers", "stall_mid_stream", "cut", "abort", "error_event"],
)
async def test_a_model_that_fails_once_costs_no_more_than_a_moment(on: Stage, fault: Any) -> None:
    on.say(Step(when="tell me", text="Well, I would say so", fault=fault, after_deltas=2, retry_after=30))
    on.script(says=["Hello?", "Tell me more.", BYE])
    call = await on.call()
    said = await on.spoken(call)
    assert said[-1].startswith("agent: Thank you for your time.")
    assert (call["status"], call["billing_reason"]) == ("completed", "billed")
    assert call["duration_seconds"] < 60
    await on.clean()


@pytest.mark.parametrize("fault", ["status", "stall_before_headers", "error_event"])
async def test_a_model_that_fails_for_good_ends_the_call_politely(on: Stage, fault: Any) -> None:
    on.say(Step(text="Well,", fault=fault, after_deltas=0, times=None))
    on.script(says=["Hello?", "Are you there?", "What is going on?", "Hello?"])
    call = await on.call()
    said = await on.transcript(call)
    assert [segment["source"] for segment in said if segment["role"] == "agent"] == ["greeting", "apology", "goodbye"]
    assert (call["status"], call["billing_reason"]) == ("completed", "billed")
    await on.clean()
