"""Reading requests and writing answers, the same way at every HTTP edge.

Invariant: nothing of a body is used before its size, encoding, depth and types have been checked, and NUL characters
and lone surrogates, which would fail a whole batch on Postgres, stop here.
"""

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable
from difflib import get_close_matches
from typing import Any, TypeVar, cast

import msgspec
from pydantic import BaseModel, ValidationError, model_validator
from quart import Request, Response, current_app, request

from config.clock import new_id
from config.errors import ApiError, invalid
from config.rate_limit import origin
from config.settings import Settings

MAX_BODY_BYTES = 256 * 1024
LARGE_BODY_BYTES = 2 * 1024 * 1024
LARGE_BODIES = ("/v1/batches", "/v1/batches/quote", "/batches/new")
"""Where lists of thousands of numbers arrive."""
MAX_DEPTH = 32
LINGER_SECONDS = 3
LINGER_BYTES = 32 * 1024 * 1024
Model = TypeVar("Model", bound=BaseModel)
IDEMPOTENCY_KEY = re.compile(r"[\x20-\x7e]{1,255}")
Asgi = Callable[[Any, Any, Any], Awaitable[None]]
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def largest_body(path: str) -> int:
    """In bytes."""
    return LARGE_BODY_BYTES if path in LARGE_BODIES else MAX_BODY_BYTES


class LimitedRequest(Request):
    """Takes a body of the size that its address takes. `id` names it in its answer, in logs and to support."""

    def __init__(self, method: str, scheme: str, path: str, *rest: Any, **options: Any) -> None:
        super().__init__(method, scheme, path, *rest, **{**options, "max_content_length": largest_body(path)})
        self.id = new_id()


def request_id() -> str:
    """Of the request that is being answered."""
    return cast(LimitedRequest, request).id


def asked_from() -> str:
    """The address of origin by which this request is limited."""
    settings: Settings = current_app.extensions["settings"]
    forwarded = ",".join(request.headers.getlist("X-Forwarded-For")).split(",")
    return origin(request.remote_addr, forwarded, settings.proxies)


def idempotency_key() -> str | None:
    """What the request's header says. Raises ApiError."""
    key = request.headers.get("Idempotency-Key")
    if key is not None and not IDEMPOTENCY_KEY.fullmatch(key):
        raise invalid("Idempotency-Key", "`Idempotency-Key` must be 1 to 255 printable ASCII characters.")
    return key


def answer(data: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(data), status, headers, content_type="application/json")


def hearing_out(app: Asgi) -> Asgi:
    """Let a body end, within limits, before the response does: a connection closed on a client that still sends is
    reset, and the answer that says why is lost. The body itself is not kept (Quart drops it beyond its limit)."""

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        ended, received = asyncio.Event(), 0

        async def counted() -> Any:
            nonlocal received
            event = await receive()
            received += len(event.get("body", b""))
            if not event.get("more_body") or received > LINGER_BYTES:
                ended.set()
            return event

        async def held(event: Any) -> None:
            last = event["type"] == "http.response.body" and not event.get("more_body")
            if last and scope["type"] == "http" and not ended.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(ended.wait(), LINGER_SECONDS)
            await send(event)

        await app(scope, counted, held)

    return asgi


async def json_body() -> Any:
    """The request's JSON, within limits; an empty body is `{}`. Raises ApiError."""
    return parsed_json(await request.get_data())


def parsed_json(raw: bytes | str) -> Any:
    """The same of bytes that were read before."""
    if not raw.strip():
        return {}
    try:
        parsed = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise invalid("body", "The body is not valid JSON in UTF-8.", "invalid_json") from None
    _check(parsed, MAX_DEPTH, "body")
    return parsed


async def body_as(model: type[Model]) -> Model:
    """The body as `model`. Raises ApiError with the field that is wrong."""
    return as_model(model, await json_body())


def as_model(model: type[Model], parsed: Any) -> Model:
    if not isinstance(parsed, dict):
        raise invalid("body", "The body must be a JSON object.")
    try:
        return model.model_validate(parsed)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False, include_context=False)
    for fault in faults:  # a misspelt field is also a missing one; its own name says more
        if fault["type"] == "extra_forbidden" and (meant := _meant(fault["loc"], model)):
            raise invalid(str(fault["loc"][0]), f"`{fault['loc'][0]}`: unknown field; is `{meant}` meant?")
    field = ".".join(str(part) for part in faults[0]["loc"]) or "body"
    words = _WORDS.get(faults[0]["type"]) or _SHOULD.sub("must ", faults[0]["msg"].removeprefix("Value error, "))
    raise invalid(field, f"`{field}`: {words[0].lower()}{words[1:]}.".replace("..", "."))


def _meant(where: tuple[int | str, ...], model: type[BaseModel]) -> str | None:
    """The field that an unknown one looks like."""
    names = {field.alias or name for name, field in model.model_fields.items()}
    return next(iter(get_close_matches(str(where[0]), names, 1)), None) if len(where) == 1 else None


_SHOULD = re.compile(r"^\w+ should ")
_WORDS = {
    "bool_parsing": "must be true or false",
    "dict_type": "must be a JSON object",
    "extra_forbidden": "unknown field",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "list_type": "must be a list",
    "missing": "is required",
    "string_pattern_mismatch": "is not of the right form",
    "string_type": "must be a text",
}
"""What a library for Python says in Python's words, in those of JSON."""


def query_as(model: type[Model]) -> Model:
    """The query string as `model`; unknown or repeated parameters are refused. Raises ApiError."""
    for name, values in request.args.lists():
        if len(values) > 1:
            raise invalid(name, f"`{name}` was given more than once.")
        _check(values[0], 1, name)
    return as_model(model, request.args.to_dict())


def storable(text: str) -> bool:
    """Whether a database can hold it; what an address or a query names must be asked first."""
    return not _UNSTORABLE.search(text)


def _check(value: Any, depth: int, field: str) -> None:
    """Refuse what is nested too deeply or cannot be stored."""
    if isinstance(value, str):
        if not storable(value):
            raise invalid(field, f"`{field}` contains NUL characters or unpaired surrogates.", "invalid_text")
    elif isinstance(value, dict | list):
        if depth == 0:
            raise invalid(field, f"The body is nested more than {MAX_DEPTH} levels deep.", "invalid_json")
        for name in value if isinstance(value, dict) else ():
            _check(name, depth, field)
        for name, item in value.items() if isinstance(value, dict) else enumerate(value):
            _check(item, depth - 1, str(name) if depth == MAX_DEPTH else field)


class Cursor(BaseModel, extra="forbid"):
    """Paging as in every list: newest first."""

    limit: int = 20
    starting_after: str | None = None
    ending_before: str | None = None

    @model_validator(mode="after")
    def _one_way(self) -> "Cursor":
        if self.starting_after is not None and self.ending_before is not None:
            raise invalid("ending_before", "Give either `starting_after` or `ending_before`, not both.")
        return self

    def checked_limit(self, largest: int = 100) -> int:
        if not 1 <= self.limit <= largest:
            raise ApiError(400, "invalid_request", f"`limit` must be from 1 to {largest}.", field="limit")
        return self.limit
