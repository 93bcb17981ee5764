"""The public API described: `/openapi.json` (OpenAPI 3.1), made from the routes and what stands beside them.

Invariant: whatever is served under /v1 is described with the very model that checks its input, the shape that the suite
holds its answers against, and every code that it can refuse with.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, TypeAdapter
from quart import Quart

from config import glossary
from config.codes import CODES

View = TypeVar("View", bound=Callable[..., Any])
DESCRIBED = ("/v1/", "/healthz", "/readyz")
ERRORS_PAGE = "/docs/errors"
WITH_KEY = ("unauthorized", "rate_limited", "over_capacity", "internal_error")
WITH_BODY = ("invalid_json", "invalid_request", "invalid_text", "body_too_large", "request_timeout")
WITH_QUERY = ("invalid_request", "invalid_text")
WITH_PATH = ("not_found",)
"""What any route may refuse with that takes a key, a body, a query or a name in its path."""
_CONVERTER = re.compile(r"<(?:[^:<>]+:)?([^<>]+)>")
_REF, _RESPONSE = "#/components/schemas/", "#/components/responses/"
_MORE = {
    "field": ("string", "The field or parameter that is wrong, where one is."),
    "retry_after_seconds": ("integer", "With 429: how long to wait, as in the header `Retry-After`."),
    "call_id": ("string", "The call that was made and then refused by the carrier."),
    "number_id": ("string", "The number it is about."),
    "agent_id": ("string", "The agent it is about."),
    "available_milli_cents": ("integer", "With 402: what a new call or purchase can use."),
    "hold_milli_cents": ("integer", "With `calls_paused` or a cap: what it would hold."),
    "price_milli_cents": ("integer", "With `insufficient_credit`: what it costs."),
    "shortfall_milli_cents": ("integer", "With 402: what is missing."),
    "add_credits_url": ("string", "With 402: where to add credits."),
    "cap_milli_cents": ("integer", "With a cap: what may be spent in the day or month."),
    "charged_milli_cents": ("integer", "With a cap: what was charged in the day or month."),
    "held_milli_cents": ("integer", "With a cap: what calls and purchases under way hold."),
    "max_concurrent_calls": ("integer", "With `concurrent_calls_reached`: how many calls may be under way."),
    "open_calls": ("integer", "With `concurrent_calls_reached`: how many are."),
    "country": ("string", "Where the call would have gone."),
    "refused": ("array", "With `batch_rows_refused`: line, number, code and sentence of each, the first 100."),
    "refused_rows": ("integer", "With `batch_rows_refused`: how many there are."),
    "allowed_countries": ("array", "Where calls may go."),
}
_ERROR = {
    "type": "object",
    "required": ["error", "code"],
    "properties": {
        "error": {"type": "string", "description": "A sentence that says what is wrong and what to do."},
        "code": {"type": "string", "description": f"Stable; programs read this. Explained at {ERRORS_PAGE}."},
        **{name: {"type": kind, "description": words} for name, (kind, words) in _MORE.items()},
    },
    "additionalProperties": False,
    "examples": [
        {"error": "`to` must be a phone number like +14155550123 (E.164).", "code": "invalid_number", "field": "to"}
    ],
}
_ABOUT = f"""Phone calls conducted by an AI agent, paid by the connected minute.

Money is in milli-cents: 100,000 are a dollar. Times are ISO 8601 in UTC. Every answer names its request in the header
`Request-Id`; tell it to support. Errors are `{{"error": "<sentence>", "code": "<snake_case>"}}`, explained at
{ERRORS_PAGE}."""
_KNOW_WHEN = {"rate_limited", "too_many_codes", "topup_rate_limited"}
"""Refusals that say when to come back."""


def takes(model: type[BaseModel]) -> Callable[[View], View]:
    """The model that checks a route's body."""
    return _note("takes", model)


def takes_csv(example: str) -> Callable[[View], View]:
    """A route that takes a file as well as JSON."""
    return _note("takes_csv", example)


def asks(model: type[BaseModel]) -> Callable[[View], View]:
    """The model that checks a route's query."""
    return _note("asks", model)


def gives(shape: Any, status: int = 200, means: str = "Done.") -> Callable[[View], View]:
    """The shape (a model, or a type made of models) of what a route answers; one for each status."""

    def noted(view: View) -> View:
        return _note("gives", {status: (shape, means), **getattr(view, "gives", {})})(view)

    return noted


def fails(*codes: str) -> Callable[[View], View]:
    """The codes of `config.codes` that this route refuses with, beside those of any route of its kind."""
    return _note("fails", codes)


def tells(events: Mapping[str, tuple[Any, str]], headers: Mapping[str, str], words: str) -> Callable[[View], View]:
    """What is sent to the addresses that a route takes: the shape and meaning of each event, the headers that come with
    it, and what to do with it."""
    return _note("tells", (events, headers, words))


def hears(header: str, description: str) -> Callable[[View], View]:
    """A header that a route reads."""
    return _note("hears", {"name": header, "in": "header", "description": description, "schema": {"type": "string"}})


def _note(name: str, value: Any) -> Callable[[View], View]:
    def noted(view: View) -> View:
        setattr(view, name, value)
        return view

    return noted


def describe(app: Quart) -> dict[str, Any]:
    """The whole document."""
    schemas: dict[str, Any] = {"Error": _ERROR}
    single = {code: _refusal([code]) for code, kind in CODES.items() if kind.statuses}
    paths: dict[str, Any] = {}
    webhooks: dict[str, Any] = {}
    for rule in sorted(app.url_map.iter_rules(), key=lambda each: each.rule):
        if not rule.rule.startswith(DESCRIBED):
            continue
        view = app.view_functions[rule.endpoint]
        webhooks |= _webhooks(view, schemas)
        path = paths.setdefault(_CONVERTER.sub(r"{\1}", rule.rule), {})
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            path[method.lower()] = _operation(view, rule.rule, schemas)
    for name, schema in schemas.items():
        for field, described in schema.get("properties", {}).items():
            described.setdefault("description", glossary.meaning(field, name))
    return {
        "openapi": "3.1.0",
        "info": {"title": "CallingBox", "version": "1", "description": _ABOUT},
        "servers": [{"url": app.extensions["settings"].public_base_url}],
        "security": [{"key": []}],
        "paths": paths,
        "webhooks": webhooks,
        "components": {
            "schemas": schemas,
            "responses": {code: single[code] for code in sorted(_referred(paths, _RESPONSE))},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "An API key, sk_live_…"}},
        },
    }


def _operation(view: Callable[..., Any], rule: str, schemas: dict[str, Any]) -> dict[str, Any]:
    words = inspect.getdoc(view) or view.__name__.replace("_", " ").capitalize() + "."
    summary, _, more = words.partition("\n")
    names = _CONVERTER.findall(rule)
    parameters = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]
    if (query := getattr(view, "asks", None)) is not None:
        parameters += _query_parameters(query)
    parameters = [{**each, "description": glossary.meaning(str(each["name"]), view.__name__)} for each in parameters]
    if (header := getattr(view, "hears", None)) is not None:
        parameters.append(header)
    operation: dict[str, Any] = {
        "operationId": view.__name__,
        "summary": summary,
        "tags": [tag_of(rule)],
        "parameters": parameters,
        "responses": {
            **{
                str(status): _content(means, _schema(schemas, shape, "serialization"))
                for status, (shape, means) in sorted(getattr(view, "gives", {}).items())
            },
            **_refusals(codes_of(view, rule)),
        },
    }
    if (body := getattr(view, "takes", None)) is not None:
        content = {"application/json": {"schema": _schema(schemas, body, "validation")}}
        if (example := getattr(view, "takes_csv", None)) is not None:
            content["text/csv"] = {"schema": {"type": "string", "examples": [example]}}
        operation["requestBody"] = {"required": True, "content": content}
    if more:
        operation["description"] = " ".join(more.split())
    if not rule.startswith("/v1/"):
        operation["security"] = []
    return operation


def _webhooks(view: Callable[..., Any], schemas: dict[str, Any]) -> dict[str, Any]:
    """Each event as the request that a customer's server gets."""
    events, headers, words = getattr(view, "tells", ({}, {}, ""))
    sent = [
        {"name": name, "in": "header", "required": not meaning.startswith("Where"), "schema": {"type": "string"}}
        | {"description": meaning}
        for name, meaning in headers.items()
    ]
    described = {}
    for name, (shape, meaning) in events.items():
        about = {"allOf": [_schema(schemas, shape, "serialization"), {"properties": {"type": {"const": name}}}]}
        operation = {
            "operationId": name,
            "summary": meaning,
            "description": words,
            "parameters": sent,
            "requestBody": {"required": True, "content": {"application/json": {"schema": about}}},
            "responses": {"2XX": {"description": "Received. Anything else, or nothing in 10 s, is tried again."}},
            "security": [],
        }
        described[name] = {"post": operation}
    return described


def tag_of(rule: str) -> str:
    parts = rule.strip("/").split("/")
    return parts[1].replace("_", " ") if parts[0] == "v1" else "service"


def codes_of(view: Callable[..., Any], rule: str) -> tuple[str, ...]:
    """Every code that a route can refuse with."""
    if not rule.startswith("/v1/"):
        return ()
    codes = (
        *WITH_KEY,
        *(WITH_BODY if hasattr(view, "takes") else ()),
        *(WITH_QUERY if hasattr(view, "asks") else ()),
        *(WITH_PATH if "<" in rule else ()),
        *getattr(view, "fails", ()),
    )
    return tuple(sorted(set(codes)))


def _refusals(codes: Iterable[str]) -> dict[str, Any]:
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(CODES[code].statuses[0], []).append(code)
    return {
        str(status): {"$ref": _RESPONSE + found[0]} if len(found) == 1 else _refusal(found)
        for status, found in sorted(by_status.items())
    }


def _refusal(codes: list[str]) -> dict[str, Any]:
    words = f"{CODES[codes[0]].means} {CODES[codes[0]].do}" if len(codes) == 1 else "Refused, with one of these codes."
    schema = {"allOf": [{"$ref": f"{_REF}Error"}, {"properties": {"code": {"enum": codes}}}]}
    wait = {"required": _KNOW_WHEN.issuperset(codes), "description": "Seconds.", "schema": {"type": "integer"}}
    return {**_content(words, schema), **({"headers": {"Retry-After": wait}} if _KNOW_WHEN & set(codes) else {})}


def _referred(paths: Mapping[str, Any], prefix: str) -> set[str]:
    return set(re.findall(re.escape(prefix) + r"(\w+)", str(paths)))


def _content(description: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _schema(schemas: dict[str, Any], shape: Any, mode: Literal["validation", "serialization"]) -> dict[str, Any]:
    """A reference to a model's schema, kept with all it refers to and an example; of another type its own schema."""
    schema = TypeAdapter(shape).json_schema(ref_template=_REF + "{model}", mode=mode)
    for name, found in schema.pop("$defs", {}).items():
        assert schemas.setdefault(name, found).items() >= found.items(), f"two shapes are called {name}"
    example = _example(schema, schemas, whole=mode == "serialization")
    schema["examples"] = [_what_must_be_first(example, schema) if isinstance(example, dict) else example]
    if not (inspect.isclass(shape) and issubclass(shape, BaseModel)):
        return schema
    schemas[shape.__name__] = schema
    return {"$ref": f"{_REF}{shape.__name__}"}


def _what_must_be_first(example: dict[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Whoever reads an example looks for what must be said."""
    names = [*schema.get("required", ()), *schema.get("properties", ())]
    return {name: example[name] for name in dict.fromkeys(names) if name in example}


_PLAIN = {"string": "", "integer": 0, "number": 0, "boolean": True, "array": [], "object": {}, "null": None}


def _example(schema: Mapping[str, Any], schemas: Mapping[str, Any], *, whole: bool) -> Any:
    """Made from its fields' examples. `whole`: with all fields; without: those required and those with an example."""
    if "examples" in schema:
        return schema["examples"][0]
    if "$ref" in schema:
        return _example(schemas[schema["$ref"].removeprefix(_REF)], schemas, whole=whole)
    if "const" in schema or "enum" in schema:
        return schema.get("const", schema.get("enum", [None])[0])
    if "anyOf" in schema:
        options = schema["anyOf"]
        plain = {"type": "null"} if {"type": "null"} in options else options[0]
        return _example(
            next((each for each in options if "examples" in each or "$ref" in each), plain), schemas, whole=whole
        )
    if "properties" in schema:
        wanted = schema.get("required", ())
        return {
            name: _example(field, schemas, whole=whole)
            for name, field in schema["properties"].items()
            if whole or name in wanted or "'examples'" in str(field)
        }
    if "items" in schema:
        return [_example(schema["items"], schemas, whole=whole)]
    return _PLAIN.get(schema.get("type", "null"))


def _query_parameters(model: type[BaseModel]) -> list[dict[str, Any]]:
    schema = model.model_json_schema()
    wanted = schema.get("required", ())
    return [
        {"name": name, "in": "query", "required": name in wanted, "schema": field}
        for name, field in schema.get("properties", {}).items()
    ]
