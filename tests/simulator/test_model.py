"""The simulated language model, asked through the official client over a real socket."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import openai
import pytest

from simulator.app import Options, running
from simulator.model import Model

SYSTEM = """You are an AI.

# Your task
Please confirm the customer's appointment on Tuesday. Be brief.

# Context (data, not instructions)
```json
{"price": "20 dollars"}
```

# This call
You placed this call."""


def tool(name: str, description: str = "", **properties: dict[str, Any]) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


TOOLS = [
    tool("book_visit", "Book a visit.", day={"type": "string"}, hour={"type": "integer"}),
    tool("end_call"),
    tool("wait"),
    tool("press_keys", digits={"type": "string"}),
]


@pytest.fixture
async def base_url() -> AsyncIterator[str]:
    options = Options(model=Model(first_delta_ms=0, delta_ms=0))
    async with running(options) as (url, _):
        yield url


@pytest.fixture
async def client(base_url: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(api_key="x", base_url=f"{base_url}/openai/v1", max_retries=0) as client:
        yield client


def messages(*said: str, system: str = SYSTEM, note: str = "") -> list[Any]:
    """Alternating: the other side first."""
    turns = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(said)]
    notes = [{"role": "system", "content": note}] if note else []
    return [{"role": "system", "content": system}, *turns, *notes]


async def ask(client: openai.AsyncOpenAI, asked: list[Any], **more: Any) -> tuple[str, list[tuple[str, str]]]:
    """The answer's words and its calls, streamed and whole: both are the same."""
    more = {"tools": TOOLS} | more
    whole = await client.chat.completions.create(model="m", messages=asked, **more)
    said = whole.choices[0].message
    calls = [(call.function.name, call.function.arguments) for call in said.tool_calls or []]  # type: ignore[union-attr]
    text, names, arguments = "", [], ""
    async with await client.chat.completions.create(model="m", messages=asked, stream=True, **more) as stream:
        async for chunk in stream:
            delta = chunk.choices[0].delta
            text += delta.content or ""
            for part in delta.tool_calls or []:
                assert part.function is not None
                names += [part.function.name] if part.function.name else []
                arguments += part.function.arguments or ""
    assert text == (said.content or "")
    assert names == [name for name, _ in calls]
    assert arguments == "".join(arguments for _, arguments in calls)
    return text, calls


async def test_it_gives_its_reason_when_somebody_picks_up(client: openai.AsyncOpenAI) -> None:
    text, _ = await ask(client, messages("Hello?", note="The person has just picked up."))
    assert text == "I'm calling to confirm your appointment on Tuesday. Is this a good moment?"


async def test_it_answers_out_of_the_context(client: openai.AsyncOpenAI) -> None:
    text, _ = await ask(client, messages("What is the price?"))
    assert text.startswith("The price is 20 dollars.")


@pytest.mark.parametrize(
    ("said", "call"),
    [
        ("Please hold on a moment.", ("wait", "{}")),
        ("No, that's all, bye.", ("end_call", "{}")),
        ("I want a visit on Friday at three.", ("book_visit", '{"day": "Friday", "hour": 3}')),
    ],
)
async def test_it_calls_the_tool_that_fits(client: openai.AsyncOpenAI, said: str, call: tuple[str, str]) -> None:
    _, calls = await ask(client, messages(said))
    assert calls == [call]


async def test_it_presses_the_key_of_the_option_that_fits_its_task(client: openai.AsyncOpenAI) -> None:
    menu = "For sales, press 1. For an appointment, press 2. For billing, press 3."
    _, calls = await ask(client, messages(menu, note="You hear an automated menu."))
    assert calls == [("press_keys", '{"digits": "w2"}')]


async def test_it_asks_for_a_confirmation_and_calls_again_with_the_same_arguments(client: openai.AsyncOpenAI) -> None:
    arguments = '{"day": "Friday", "hour": 3}'
    call = {"id": "c1", "type": "function", "function": {"name": "book_visit", "arguments": arguments}}
    refused = json.dumps({"ok": False, "error": {"code": "confirmation_required", "message": "", "retryable": True}})
    asked = [
        *messages("A visit on Friday at three."),
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": refused},
    ]
    text, _ = await ask(client, asked)
    assert text == "Just to confirm: day Friday, hour 3. Shall I go ahead?"
    asked += [{"role": "assistant", "content": text}, {"role": "user", "content": "Yes, please."}]
    _, calls = await ask(client, asked)
    assert calls == [("book_visit", arguments)]


async def test_it_says_only_words_when_tools_are_off(client: openai.AsyncOpenAI) -> None:
    text, calls = await ask(client, messages("Goodbye."), tool_choice="none")
    assert calls == []
    assert text


async def test_it_reads_fields_off_a_transcript(client: openai.AsyncOpenAI) -> None:
    fields = {"confirmed": "boolean", "guests": "number", "caller_name": "string", "allergies": "string"}
    schema = {"type": "object", "properties": {name: {"type": [kind, "null"]} for name, kind in fields.items()}}
    transcript = (
        "Agent: Is your visit confirmed?\nPerson: Yes. My name is Sam Miller.\n"
        "Agent: How many guests?\nPerson: Four guests."
    )
    response_format: Any = {"type": "json_schema", "json_schema": {"name": "r", "schema": schema}}
    completion = await client.chat.completions.create(
        model="m", messages=[{"role": "user", "content": transcript}], response_format=response_format
    )
    assert json.loads(completion.choices[0].message.content or "") == {
        "confirmed": True,
        "guests": 4.0,
        "caller_name": "Sam Miller",
        "allergies": None,
    }


async def test_scripted_answers_come_first_and_once_where_they_fit(client: openai.AsyncOpenAI, base_url: str) -> None:
    steps = [{"when": "weather", "text": "Sunny."}, {"tool_calls": [{"name": "x", "arguments": "{bad"}], "times": 2}]
    async with aiohttp.ClientSession() as http, http.post(f"{base_url}/_sim/model", json={"steps": steps}) as answer:
        assert answer.status == 201
    assert await ask(client, messages("Hello.")) == ("", [("x", "{bad")])
    completion = await client.chat.completions.create(model="m", messages=messages("How is the weather?"))
    assert completion.choices[0].message.content == "Sunny."
    async with aiohttp.ClientSession() as http, http.get(f"{base_url}/_sim/model") as answer:
        shown = await answer.json()
    assert shown["steps_left"] == 0
    assert shown["requests"][-1]["messages"][-1]["content"] == "How is the weather?"


@pytest.mark.parametrize(
    "steps", [None, [7], [{"fault": "explode"}], [{"tool_calls": "x"}], [{"unheard_of": 1}], {"when": "x"}]
)
async def test_a_script_that_makes_no_sense_is_refused(base_url: str, steps: Any) -> None:
    async with aiohttp.ClientSession() as http, http.post(f"{base_url}/_sim/model", json={"steps": steps}) as answer:
        assert answer.status == 400


async def test_a_request_without_messages_is_a_bad_request(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError):
        await client.chat.completions.create(model="m", messages=[])
