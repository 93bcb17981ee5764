"""Asking a model over real sockets: streaming, and every way it can go wrong."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import re
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from quart import Quart, request

from simulator.app import Options, listen, running, serve
from simulator.model import STALL_SECONDS, Model, Step
from voice.conversation.events import ModelFault
from voice.live.llm import Call, LanguageModel, ModelError, Piece, Text

MESSAGES = [{"role": "system", "content": "You help."}, {"role": "user", "content": "When do you open?"}]
END_CALL = {"type": "function", "function": {"name": "end_call", "parameters": {"type": "object", "properties": {}}}}


def event(body: str) -> bytes:
    return f"data: {body}\n\n".encode()


FINISH = event('{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}')


@pytest.fixture
async def simulated() -> AsyncIterator[tuple[Model, LanguageModel]]:
    simulated = Model(first_delta_ms=0, delta_ms=0)
    async with running(Options(model=simulated)) as (url, _):
        model = LanguageModel(base_url=f"{url}/openai/v1", api_key="", model="simulated")
        await model.warm_up()
        yield simulated, model
        await model.close()


async def ask(model: LanguageModel, deliver: Any = None) -> tuple[str, list[Piece]]:
    pieces: list[Piece] = []
    reason = await model.answer(MESSAGES, [END_CALL], "auto", 300, deliver or pieces.append)
    return reason, pieces


async def test_words_come_one_by_one_and_calls_whole(simulated: tuple[Model, LanguageModel]) -> None:
    script, model = simulated
    script.script(Step(text="We open at nine.", tool_calls=(("end_call", {"a": "long " * 20}), ("x", "{bad"))))
    reason, pieces = await ask(model)
    assert reason == "tool_calls"
    assert pieces[:-2] == [Text("We"), Text(" open"), Text(" at"), Text(" nine"), Text(".")]
    assert pieces[-2:] == [Call("end_call", '{"a": "' + "long " * 20 + '"}'), Call("x", "{bad")]


async def test_the_request_is_what_the_protocol_wants(simulated: tuple[Model, LanguageModel]) -> None:
    script, model = simulated
    await ask(model)
    asked = script.requests[-1]
    assert asked["messages"] == MESSAGES
    assert asked["stream"] is True
    assert asked["max_tokens"] == 300
    assert asked["tool_choice"] == "auto"
    assert asked["model"] == "simulated"


@pytest.mark.parametrize(
    ("step", "fault", "words"),
    [
        (Step(fault="status", status=429, retry_after=30), ModelFault.RATE_LIMITED, 0),
        (Step(fault="status", status=500), ModelFault.SERVER, 0),
        (Step(fault="status", status=503), ModelFault.SERVER, 0),
        (Step(fault="status", status=401), ModelFault.REFUSED, 0),
        (Step(fault="status", status=404), ModelFault.REFUSED, 0),
        (Step(text="one two three four", fault="cut", after_deltas=2), ModelFault.CUT, 2),
        (Step(text="one two three four", fault="abort", after_deltas=2), ModelFault.CONNECTION, 2),
        (Step(text="one two three four", fault="error_event", after_deltas=1), ModelFault.SERVER, 1),
    ],
)
async def test_every_fault_has_a_name_and_nothing_is_repeated(
    simulated: tuple[Model, LanguageModel], step: Step, fault: ModelFault, words: int
) -> None:
    script, model = simulated
    script.script(step)
    pieces: list[Piece] = []
    started = time.monotonic()
    with pytest.raises(ModelError) as raised:
        await ask(model, pieces.append)
    assert raised.value.fault is fault
    assert len(pieces) == words
    assert len(script.requests) == 1
    assert time.monotonic() - started < 15  # a Retry-After is not waited out
    if step.retry_after is not None:
        assert raised.value.retry_after_seconds == 30


@pytest.mark.parametrize("fault", ["stall_before_headers", "stall_after_headers", "stall_mid_stream"])
async def test_a_stalled_request_can_be_cancelled_at_once_and_the_next_one_works(
    simulated: tuple[Model, LanguageModel], fault: Any
) -> None:
    script, model = simulated
    script.script(Step(text="one two three", fault=fault, after_deltas=1))
    task = asyncio.create_task(ask(model))
    await asyncio.sleep(0.2)
    started = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - started < STALL_SECONDS / 2
    reason, _ = await ask(model)
    assert reason == "stop"


async def test_a_server_that_is_not_there_is_a_connection_fault() -> None:
    closed = listen("127.0.0.1", 0)
    port = closed.getsockname()[1]
    closed.close()
    model = LanguageModel(base_url=f"http://127.0.0.1:{port}/v1", api_key="x", model="m")
    await model.warm_up()  # no error
    with pytest.raises(ModelError) as raised:
        await ask(model)
    assert raised.value.fault is ModelFault.CONNECTION
    await model.close()


async def scripted_server(answer: bytes) -> AsyncIterator[tuple[str, list[list[str]]]]:
    """A server that gives this answer to each request; what was asked of it, by connection."""
    asked: list[list[str]] = []
    serving: list[Any] = []

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines: list[str] = []
        asked.append(lines)
        serving.append(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = re.search(r"content-length: (\d+)", head, re.IGNORECASE)
                await reader.readexactly(int(length[1]) if length else 0)
                lines.append(head.partition("\r\n")[0])
                writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve_one, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked
    finally:
        server.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving)


def whole(body: bytes, kind: str = "text/event-stream") -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def test_a_connection_is_kept_between_turns() -> None:
    """The library keeps one for 5 s only, which is less than a turn of a conversation."""
    async for url, asked in scripted_server(whole(FINISH + b"data: [DONE]\n\n")):
        model = LanguageModel(base_url=f"{url}/v1", api_key="x", model="m")
        await model.warm_up()
        await ask(model)
        await asyncio.sleep(5.5)
        await ask(model)
        assert asked == [["GET /v1/models HTTP/1.1", *(["POST /v1/chat/completions HTTP/1.1"] * 2)]]
        await model.close()


async def test_an_answer_that_is_left_takes_its_connection_with_it() -> None:
    endless = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    async for url, asked in scripted_server(endless):
        model = LanguageModel(base_url=f"{url}/v1", api_key="x", model="m")
        for _ in range(2):
            task = asyncio.create_task(ask(model))
            await asyncio.sleep(0.3)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert [len(lines) for lines in asked] == [1, 1]
        await model.close()


async def test_a_compressed_answer_is_read() -> None:
    body = gzip.compress(FINISH)
    answer = whole(body).replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n", 1)
    async for url, _ in scripted_server(answer):
        model = LanguageModel(base_url=f"{url}/v1", api_key="x", model="m")
        assert (await ask(model))[0] == "stop"
        await model.close()


async def test_a_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async for url, asked in scripted_server(whole(FINISH)):
        monkeypatch.setenv("http_proxy", url)
        model = LanguageModel(base_url="http://model.invalid/v1", api_key="x", model="m")
        assert (await ask(model))[0] == "stop"
        assert asked == [["POST http://model.invalid/v1/chat/completions HTTP/1.1"]]
        await model.close()


async def test_a_json_answer_follows_the_schema(simulated: tuple[Model, LanguageModel]) -> None:
    script, model = simulated
    script.script(Step(text='{"ok": true}'))
    assert await model.fill(MESSAGES, {"type": "object", "properties": {"ok": {"type": "boolean"}}}) == '{"ok": true}'
    assert script.requests[-1]["response_format"]["json_schema"]["strict"] is True


async def strange_server(*bodies: bytes) -> AsyncIterator[str]:
    """A server that streams exactly these bytes, the last again and again."""
    app = Quart("strange")
    left = list(bodies)
    app.extensions["asked"] = []

    @app.post("/v1/chat/completions")
    async def complete() -> Any:
        asked = await request.get_json()
        app.extensions["asked"].append(asked)
        body = left.pop(0) if len(left) > 1 else left[0]
        if body.startswith(b"{"):
            return body, 400, {"Content-Type": "application/json"}
        return body, 200, {"Content-Type": "text/event-stream"}

    sock = listen("127.0.0.1", 0)
    stop = asyncio.Event()
    url = f"http://127.0.0.1:{sock.getsockname()[1]}/v1"
    task = asyncio.create_task(serve(app, sock, stop.wait))
    try:
        yield url
    finally:
        stop.set()
        await task


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (b"", ModelFault.CUT),
        (b"data: not json\n\n", ModelFault.CUT),
        (event('{"choices":[]}') + FINISH, "stop"),
        (event('{"choices":[{"index":0,"delta":null}]}') + FINISH, "stop"),
        (event('{"choices":[{"index":0,"delta":{"content":"Hi"}}]}') + b"data: [DONE]\n\n", ModelFault.CUT),
        (event('{"choices":[{"index":0,"delta":{},"finish_reason":"content_filter"}]}'), ModelFault.REFUSED),
        (event("[]"), ModelFault.CUT),
    ],
)
async def test_streams_of_other_servers_end_in_a_defined_way(body: bytes, outcome: object) -> None:
    async for url in strange_server(body):
        model = LanguageModel(base_url=url, api_key="x", model="m")
        try:
            result: object = (await ask(model))[0]
        except ModelError as error:
            result = error.fault
        assert result == outcome
        await model.close()


async def test_calls_without_an_index_are_kept_apart() -> None:
    def part(name: str) -> bytes:
        function = f'{{"name":"{name}","arguments":"{{}}"}}'
        return event(f'{{"choices":[{{"index":0,"delta":{{"tool_calls":[{{"id":"a","function":{function}}}]}}}}]}}')

    async for url in strange_server(part("one") + part("two") + FINISH):
        model = LanguageModel(base_url=url, api_key="x", model="m")
        _, pieces = await ask(model)
        assert pieces == [Call("one", "{}"), Call("two", "{}")]
        await model.close()


async def test_a_model_that_wants_the_newer_name_of_the_limit_gets_it() -> None:
    refusal = b'{"error":{"message":"Unsupported parameter: use \'max_completion_tokens\' instead.","code":"x"}}'
    async for url in strange_server(refusal, FINISH):
        model = LanguageModel(base_url=url, api_key="x", model="m")
        assert (await ask(model))[0] == "stop"
        assert (await ask(model))[0] == "stop"
        await model.close()


async def test_fifty_answers_at_once(simulated: tuple[Model, LanguageModel]) -> None:
    _, model = simulated
    answers = await asyncio.gather(*(ask(model) for _ in range(50)))
    assert {reason for reason, _ in answers} == {"stop"}
