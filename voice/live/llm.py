"""Asking a language model over OpenAI's Chat Completions, at any compatible address.

Invariant: a request is sent once. Nothing here retries or waits out a Retry-After: whoever asks knows how long the
caller has been listening to silence. A cancelled request is closed before its task ends.

    ModelError   the answer did not come, or not whole; `fault` says why
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from voice.conversation.actions import Message
from voice.conversation.events import ModelFault

if TYPE_CHECKING:
    from openai import AsyncOpenAI, AsyncStream, Timeout

CONNECT_SECONDS = 5.0
READ_SECONDS = 10.0  # between two chunks; the conversation gives up earlier
JSON_SECONDS = 45.0
WARM_UP_SECONDS = 3.0
KEEP_ALIVE_SECONDS = 60.0  # a turn comes every few seconds: the library's 5 s would mean a handshake each time
MAX_CONNECTIONS = 2_000
WITHOUT_KEY = "unused"  # a local server asks for none, the library does


class ModelError(Exception):
    """`retry_after_seconds` is what a refusal for load asked for."""

    def __init__(self, fault: ModelFault, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.fault = fault
        self.retry_after_seconds = retry_after_seconds


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of the answer's words, never empty."""

    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """A complete tool call; `arguments` is the model's own text, unchecked."""

    name: str
    arguments: str


Piece = Text | Call


class LanguageModel:
    """One model at one address, shared by all conversations of a process."""

    def __init__(self, *, base_url: str, api_key: str, model: str) -> None:
        self._base_url = base_url or None
        self._api_key = api_key or WITHOUT_KEY
        self._model = model
        self._client: AsyncOpenAI | None = None
        self._limit_name = "max_tokens"

    async def warm_up(self) -> None:
        """Load the library and open a connection before the first answer is needed. Failing is no error."""
        import openai

        client = await self._connected()
        try:
            async with asyncio.timeout(WARM_UP_SECONDS):
                await client.models.list()
        except (openai.OpenAIError, TimeoutError, ValueError, AttributeError):  # also what is no list of models
            return

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    async def answer(
        self,
        messages: list[Message],
        tools: list[dict[str, Any]],
        tool_choice: str | None,
        max_tokens: int,
        deliver: Callable[[Piece], None],
    ) -> str:
        """Stream an answer into `deliver`: words as they come, then whole tool calls. Returns the finish reason.

        Raises ModelError, also after words were delivered (a stream without a finish reason was cut). Cancel the
        task to stop it.
        """
        asked: dict[str, Any] = {"messages": messages, "stream": True}
        if tools:
            asked |= {"tools": tools, "tool_choice": tool_choice or "auto"}
        with _Faults():
            async with await self._create(asked, max_tokens, READ_SECONDS) as stream:
                return await _read(stream, deliver)

    async def fill(self, messages: list[Message], schema: Mapping[str, Any], max_tokens: int = 2_000) -> str:
        """The model's answer in a JSON schema, as text: servers differ in how strictly they keep to it."""
        asked = {
            "messages": messages,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "result", "schema": schema, "strict": True},
            },
        }
        with _Faults():
            completion = await self._create(asked, max_tokens, JSON_SECONDS)
            content = completion.choices[0].message.content if completion.choices else None
        if not isinstance(content, str):
            raise ModelError(ModelFault.CUT, "the model gave no answer")
        return content

    async def _create(self, asked: dict[str, Any], max_tokens: int, seconds: float) -> Any:
        """Some models know the limit on the answer's length only by its newer name."""
        import openai

        asked = asked | {"model": self._model}
        timeout = openai.Timeout(seconds, connect=CONNECT_SECONDS)
        name = self._limit_name
        try:
            return await self._post(asked | {name: max_tokens}, timeout)
        except openai.BadRequestError as error:
            if name != "max_tokens" or "max_completion_tokens" not in str(error):
                raise
        self._limit_name = "max_completion_tokens"
        return await self._post(asked | {"max_completion_tokens": max_tokens}, timeout)

    async def _post(self, body: dict[str, Any], limits: Timeout) -> Any:
        """A stream's chunks stay plain JSON: the library's typed ones cost a quarter of what a conversation costs."""
        import openai

        client = await self._connected()
        if not body.get("stream"):
            create: Any = client.chat.completions.create
            return await create(**body, timeout=limits)
        return await client.post(
            "/chat/completions",
            cast_to=object,
            body=body,
            options={"timeout": limits},
            stream=True,
            stream_cls=openai.AsyncStream[object],
        )

    async def _connected(self) -> AsyncOpenAI:
        if self._client is None:
            # Importing takes over a second: not in the event loop.
            openai = await asyncio.to_thread(__import__, "openai")
            transport = await asyncio.to_thread(import_module, "voice.live.model_transport")
            if self._client is None:  # another task may have been faster
                self._client = openai.AsyncOpenAI(
                    api_key=self._api_key,
                    base_url=self._base_url,
                    max_retries=0,
                    http_client=openai.DefaultAsyncHttpxClient(
                        transport=transport.Transport(MAX_CONNECTIONS, KEEP_ALIVE_SECONDS)
                    ),
                )
                # All that is loaded by now stays. Looking through it for garbage would stop every conversation of the
                # process for 0.2 s, again and again.
                gc.freeze()
        client = self._client
        assert client is not None
        return client


async def _read(stream: AsyncStream[Any], deliver: Callable[[Piece], None]) -> str:
    """Deliver what comes. Raises ModelError when the stream ends without a finish reason."""
    calls: dict[int, list[str]] = {}
    finish_reason: str | None = None
    async for chunk in stream:
        choices = chunk.get("choices")
        if not choices:
            continue
        delta = choices[0].get("delta") or {}
        if isinstance(text := delta.get("content"), str) and text:
            deliver(Text(text))
        for part in delta.get("tool_calls") or ():
            _add(calls, part)
        finish_reason = choices[0].get("finish_reason") or finish_reason
    if finish_reason is None:
        raise ModelError(ModelFault.CUT, "the stream ended without a finish reason")
    if finish_reason == "content_filter":
        raise ModelError(ModelFault.REFUSED, "the answer was filtered")
    for name, arguments in calls.values():
        deliver(Call(name, arguments))
    return finish_reason


def _add(calls: dict[int, list[str]], part: Mapping[str, Any]) -> None:
    """Fragments belong together by index; servers that send none send whole calls."""
    index = part.get("index")
    call = calls.setdefault(len(calls) if index is None else index, ["", ""])
    function = part.get("function") or {}
    call[0] += function.get("name") or ""
    call[1] += function.get("arguments") or ""


class _Faults:
    """Turns the library's exceptions into ModelError."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None or not isinstance(error, Exception) or isinstance(error, ModelError):
            return
        fault = _fault_of(error)
        if fault is not None:
            raise ModelError(fault, str(error)[:300], _retry_after_seconds(error)) from error


def _fault_of(error: Exception) -> ModelFault | None:
    import openai

    match error:
        case openai.RateLimitError():
            return ModelFault.RATE_LIMITED
        case openai.APIConnectionError():
            return ModelFault.CONNECTION
        case openai.APIStatusError():
            return ModelFault.SERVER if error.status_code >= 500 else ModelFault.REFUSED
        case openai.OpenAIError():
            return ModelFault.SERVER  # an error event within the stream
        case ValueError() | AttributeError() | TypeError() | LookupError():
            return ModelFault.CUT  # a chunk that is no chunk
        case _:
            return None


def _retry_after_seconds(error: Exception) -> float | None:
    response = getattr(error, "response", None)
    value = response.headers.get("retry-after") if response is not None else None
    try:
        return float(value) if value is not None else None
    except ValueError:
        return None  # the form with a date
