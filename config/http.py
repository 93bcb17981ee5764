"""Reading requests and writing answers, the same way at every HTTP edge.

Invariant: nothing of a body is used before its size, encoding, depth and types have been checked, and NUL characters
and lone surrogates, which would fail a whole batch on Postgres, stop here.
"""

import re
from typing import Any, TypeVar

import msgspec
from pydantic import BaseModel, ValidationError
from quart import Response, request

from config.errors import ApiError, invalid

MAX_BODY_BYTES = 256 * 1024
MAX_DEPTH = 32
Model = TypeVar("Model", bound=BaseModel)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def answer(data: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(data), status, headers, content_type="application/json")


async def json_body() -> Any:
    """The request's JSON, within limits; an empty body is `{}`. Raises ApiError."""
    raw = await request.get_data()
    if not raw.strip():
        return {}
    try:
        parsed = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise invalid("body", "The body is not valid JSON in UTF-8.", "invalid_json") from None
    _check(parsed, MAX_DEPTH)
    return parsed


async def body_as(model: type[Model]) -> Model:
    """The body as `model`. Raises ApiError with the field that is wrong."""
    return as_model(model, await json_body())


def as_model(model: type[Model], parsed: Any) -> Model:
    try:
        return model.model_validate(parsed)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "body"
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            message = "unknown field"
        raise invalid(field, f"`{field}`: {message[0].lower()}{message[1:]}.".replace("..", ".")) from None


def query_as(model: type[Model]) -> Model:
    """The query string as `model`; unknown or repeated parameters are refused. Raises ApiError."""
    for name, values in request.args.lists():
        if len(values) > 1:
            raise invalid(name, f"`{name}` was given more than once.")
        _check(values[0], 1)
    return as_model(model, request.args.to_dict())


def _check(value: Any, depth: int) -> None:
    """Refuse what is nested too deeply or cannot be stored."""
    if isinstance(value, str):
        if _UNSTORABLE.search(value):
            raise invalid("body", "The text contains NUL characters or unpaired surrogates.", "invalid_text")
    elif isinstance(value, dict | list):
        if depth == 0:
            raise invalid("body", f"The body is nested more than {MAX_DEPTH} levels deep.", "invalid_json")
        for item in value.items() if isinstance(value, dict) else value:
            if isinstance(item, tuple):
                _check(item[0], depth)
                _check(item[1], depth - 1)
            else:
                _check(item, depth - 1)


class Cursor(BaseModel, extra="forbid"):
    """Paging as in every list: newest first."""

    limit: int = 20
    starting_after: str | None = None
    ending_before: str | None = None

    def checked_limit(self, largest: int = 100) -> int:
        if not 1 <= self.limit <= largest:
            raise ApiError(400, "invalid_request", f"`limit` must be from 1 to {largest}.", field="limit")
        return self.limit
