"""A language model on loopback: OpenAI's Chat Completions, deterministic, with faults on request.

Invariant: what it sends is what the protocol prescribes, unless a scripted fault asks for the opposite.

    app.register_blueprint(create_blueprint(Model()))

`OPENAI_BASE_URL=http://127.0.0.1:8010/openai/v1` then reaches it. `POST /_sim/model` scripts the next answers,
`GET /_sim/model` shows what was asked, `DELETE /_sim/model` forgets both.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, fields
from itertools import count
from typing import Any, get_args
from typing import Literal as OneOf

from quart import Blueprint, Response, jsonify, request

from simulator.answers import DROP_HEADER
from simulator.model_extraction import extract
from simulator.model_rules import Reply, reply_to

MAX_BODY_BYTES = 4 * 1024 * 1024
REQUESTS_KEPT = 200
STALL_SECONDS = 60.0

Fault = OneOf[
    "status",  # answer with `status`, and Retry-After when given
    "stall_before_headers",
    "stall_after_headers",
    "stall_mid_stream",  # after `after_deltas`
    "cut",  # the stream ends well, but without a finish reason
    "abort",  # the connection breaks
    "error_event",  # an error object inside the stream
]


class BadStep(ValueError):
    """A scripted answer that makes no sense."""


@dataclass(frozen=True, slots=True)
class Step:
    """One scripted answer. Without `text` and `tool_calls` the rules answer, and only the fault counts."""

    when: str = ""
    """Only for a request whose last message contains this; empty: for any."""
    times: int | None = 1
    """None: for ever."""
    text: str | None = None
    tool_calls: tuple[tuple[str, Any], ...] = ()
    fault: Fault | None = None
    after_deltas: int = 2
    status: int = 500
    retry_after: int | None = None
    first_delta_ms: int | None = None
    delta_ms: int | None = None

    @classmethod
    def from_json(cls, given: dict[str, Any]) -> Step:
        """Raises BadStep."""
        unknown = set(given) - {each.name for each in fields(cls)}
        if unknown:
            raise BadStep(f"unknown: {', '.join(sorted(unknown))}")
        if given.get("fault") not in (None, *get_args(Fault)):
            raise BadStep(f"fault must be one of {', '.join(get_args(Fault))}")
        try:
            calls = tuple((call["name"], call.get("arguments", {})) for call in given.get("tool_calls", ()))
        except (TypeError, KeyError, AttributeError):
            raise BadStep("tool_calls: a list of {name, arguments}") from None
        return cls(**(given | {"tool_calls": calls}))

    def reply(self, body: dict[str, Any]) -> Reply:
        if self.text is not None or self.tool_calls:
            return Reply(self.text or "", self.tool_calls)
        return extract(body) if body.get("response_format") else reply_to(body)


@dataclass(slots=True)
class Model:
    """What the model says next, how fast, and what it was asked."""

    first_delta_ms: int = 150
    delta_ms: int = 12
    steps: list[tuple[Step, int | None]] = field(default_factory=list)  # with the times left
    requests: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=REQUESTS_KEPT))
    ids: count[int] = field(default_factory=lambda: count(1))

    def script(self, *steps: Step) -> None:
        self.steps += [(step, step.times) for step in steps]

    def take(self, body: dict[str, Any]) -> Step:
        """The first scripted step that fits, used up by one; else a plain one."""
        last = str((body.get("messages") or [{}])[-1].get("content") or "")
        for index, (step, left) in enumerate(self.steps):
            if step.when.lower() in last.lower():
                if left == 1:
                    del self.steps[index]
                elif left is not None:
                    self.steps[index] = (step, left - 1)
                return step
        return Step()


def create_blueprint(model: Model | None = None) -> Blueprint:
    """The model's API at /openai/v1 and its controls at /_sim/model."""
    model = model or Model()
    blueprint = Blueprint("model", __name__)

    @blueprint.get("/openai/v1/models")
    async def list_models() -> Response:
        return jsonify({"object": "list", "data": [{"id": "simulated", "object": "model", "owned_by": "simulator"}]})

    @blueprint.post("/openai/v1/chat/completions")
    async def complete() -> Response:
        request.max_content_length = MAX_BODY_BYTES
        body = await request.get_json(force=True, silent=True)
        messages = body.get("messages") if isinstance(body, dict) else None
        if not isinstance(messages, list) or not messages or not all(isinstance(each, dict) for each in messages):
            return _error(400, "messages: a list of messages is required")
        return await _answer(model, body)

    @blueprint.get("/_sim/model")
    async def show() -> Response:
        return jsonify({"requests": list(model.requests), "steps_left": len(model.steps)})

    @blueprint.post("/_sim/model")
    async def script() -> tuple[Response, int] | Response:
        body = await request.get_json(force=True, silent=True)
        try:
            if not isinstance(body, dict) or not isinstance(body.get("steps"), list):
                raise BadStep("steps: a list is required")
            steps = [Step.from_json(step) for step in body["steps"]]
        except (BadStep, TypeError, AttributeError) as bad:
            return _error(400, str(bad))
        model.script(*steps)
        model.first_delta_ms = int(body.get("first_delta_ms", model.first_delta_ms))
        model.delta_ms = int(body.get("delta_ms", model.delta_ms))
        return jsonify({"steps_left": len(model.steps)}), 201

    @blueprint.delete("/_sim/model")
    async def forget() -> Response:
        model.steps.clear()
        model.requests.clear()
        return jsonify({})

    return blueprint


async def _answer(model: Model, body: dict[str, Any]) -> Response:
    step = model.take(body)
    model.requests.append({"step": step.fault or "answer", **body})
    if step.fault == "stall_before_headers":
        await asyncio.sleep(STALL_SECONDS)
    if step.fault == "status":
        return _error(step.status, f"simulated {step.status}", step.retry_after)
    reply = step.reply(body)
    number = next(model.ids)
    if body.get("stream"):
        chunks = _stream(model, step, reply, body, number)
        response = Response(chunks, content_type="text/event-stream")
        response.timeout = None
        return response
    await asyncio.sleep(_first_delta_ms(model, step) / 1000)
    if step.fault is not None:
        response = _error(500, f"simulated {step.fault}")
        response.headers[DROP_HEADER] = "1"
        return response
    return jsonify(_completion(reply, body, number))


def _error(status: int, message: str, retry_after: int | None = None) -> Response:
    kind = "rate_limit_error" if status == 429 else "invalid_request_error" if status < 500 else "server_error"
    response = jsonify({"error": {"message": message, "type": kind, "param": None, "code": None}})
    response.status_code = status
    if retry_after is not None:
        response.headers["Retry-After"] = str(retry_after)
    return response


def _first_delta_ms(model: Model, step: Step) -> int:
    return model.first_delta_ms if step.first_delta_ms is None else step.first_delta_ms


class _Broken(Exception):
    """Ends a stream in the middle, so that its connection is cut."""


async def _stream(model: Model, step: Step, reply: Reply, body: dict[str, Any], number: int) -> AsyncIterator[bytes]:
    """Server-sent events, one for each delta."""
    head = {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": body.get("model"),
    }

    def event(delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        return b"data: " + json.dumps({**head, "choices": [choice]}).encode() + b"\n\n"

    yield b": headers\n\n"
    if step.fault == "stall_after_headers":
        await asyncio.sleep(STALL_SECONDS)
    await asyncio.sleep(_first_delta_ms(model, step) / 1000)
    yield event({"role": "assistant", "content": ""})
    delta_seconds = (model.delta_ms if step.delta_ms is None else step.delta_ms) / 1000
    for sent, delta in enumerate(_deltas(reply, number)):
        if step.fault is not None and sent == step.after_deltas:
            break
        yield event(delta)
        await asyncio.sleep(delta_seconds)
    match step.fault:
        case "stall_mid_stream":
            await asyncio.sleep(STALL_SECONDS)
        case "cut":
            return
        case "abort":
            raise _Broken
        case "error_event":
            yield b'data: {"error": {"message": "simulated", "type": "server_error", "code": null}}\n\n'
            return
    yield event({}, "tool_calls" if reply.tool_calls else "stop")
    if (body.get("stream_options") or {}).get("include_usage"):
        yield b"data: " + json.dumps({**head, "choices": [], "usage": _usage(reply, body)}).encode() + b"\n\n"
    yield b"data: [DONE]\n\n"


def _deltas(reply: Reply, number: int) -> list[dict[str, Any]]:
    """Words with the space before them, punctuation apart, as a tokenizer cuts; then the calls in fragments."""
    deltas: list[dict[str, Any]] = [{"content": piece} for piece in re.findall(r"\s*(?:\w+|[^\w\s])", reply.text)]
    for index, call in enumerate(_calls(reply, number)):
        function = call["function"]
        begun = {**call, "function": {"name": function["name"], "arguments": ""}}
        fragments = re.findall(r".{1,12}", function["arguments"], re.DOTALL)
        parts = [begun, *({"function": {"arguments": fragment}} for fragment in fragments)]
        deltas += [{"tool_calls": [{"index": index, **part}]} for part in parts]
    return deltas


def _calls(reply: Reply, number: int) -> list[dict[str, Any]]:
    return [
        {
            "id": f"call_{number}_{index}",
            "type": "function",
            "function": {
                "name": name,
                "arguments": arguments if isinstance(arguments, str) else json.dumps(arguments),
            },
        }
        for index, (name, arguments) in enumerate(reply.tool_calls)
    ]


def _completion(reply: Reply, body: dict[str, Any], number: int) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": reply.text or None, "refusal": None}
    if reply.tool_calls:
        message["tool_calls"] = _calls(reply, number)
    finish_reason = "tool_calls" if reply.tool_calls else "stop"
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": body.get("model"),
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason, "logprobs": None}],
        "usage": _usage(reply, body),
    }


def _usage(reply: Reply, body: dict[str, Any]) -> dict[str, int]:
    """Four characters a token."""
    prompt = len(json.dumps(body["messages"])) // 4
    completion = len(reply.text) // 4 + 8 * len(reply.tool_calls)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
