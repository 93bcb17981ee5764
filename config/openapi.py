"""The public API described: `/openapi.json` (OpenAPI 3.1), made from the routes and the models they check.

Invariant: whatever is served under /v1 is described, with the very model that checks it, because nothing here is
written twice.
"""

import inspect
import re
from collections.abc import Callable
from typing import Any, Literal, TypeVar

from pydantic import BaseModel
from quart import Quart

from config.errors import CODES

View = TypeVar("View", bound=Callable[..., Any])
DESCRIBED = ("/v1/", "/healthz", "/readyz")
_CONVERTER = re.compile(r"<(?:[^:<>]+:)?([^<>]+)>")
_ERROR = {
    "type": "object",
    "required": ["error", "code"],
    "properties": {
        "error": {"type": "string", "description": "A sentence that says what is wrong and what to do."},
        "code": {"type": "string", "enum": sorted(CODES), "description": "Stable; programs read this."},
        "field": {"type": "string", "description": "The field that is wrong, where one is."},
    },
    "examples": [
        {"error": "`to` must be a phone number like +14155550123 (E.164).", "code": "invalid_number", "field": "to"}
    ],
}


def takes(model: type[BaseModel]) -> Callable[[View], View]:
    """The model that checks a route's body."""
    return _note("takes", model)


def asks(model: type[BaseModel]) -> Callable[[View], View]:
    """The model that checks a route's query."""
    return _note("asks", model)


def gives(model: type[BaseModel], status: int = 200) -> Callable[[View], View]:
    """The shape of what a route answers when all is well."""
    return _note("gives", (model, str(status)))


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
    paths: dict[str, Any] = {}
    for rule in sorted(app.url_map.iter_rules(), key=lambda each: each.rule):
        if not rule.rule.startswith(DESCRIBED):
            continue
        view = app.view_functions[rule.endpoint]
        path = paths.setdefault(_CONVERTER.sub(r"{\1}", rule.rule), {})
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            path[method.lower()] = _operation(view, rule.rule, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "CallingBox", "version": "1", "description": "Phone calls conducted by an AI agent."},
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "An API key, sk_live_…"}},
        },
    }


def _operation(view: Callable[..., Any], rule: str, schemas: dict[str, Any]) -> dict[str, Any]:
    words = inspect.getdoc(view) or view.__name__.replace("_", " ").capitalize()
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _CONVERTER.findall(rule)
    ]
    if (query := getattr(view, "asks", None)) is not None:
        parameters += _query_parameters(query)
    if (header := getattr(view, "hears", None)) is not None:
        parameters.append(header)
    shape, status = getattr(view, "gives", (None, "2XX"))
    given = {"$ref": f"#/components/schemas/{_add(schemas, shape, 'serialization')}"} if shape is not None else {}
    operation: dict[str, Any] = {
        "operationId": view.__name__,
        "summary": words.split("\n")[0],
        "parameters": parameters,
        "responses": {
            status: {"description": "Done.", "content": {"application/json": {"schema": given}}},
            "4XX": _error("Refused; nothing was changed."),
            "5XX": _error("Not possible just now; nothing was half done."),
        },
    }
    if (body := getattr(view, "takes", None)) is not None:
        content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{_add(schemas, body)}"}}}
        operation["requestBody"] = {"required": True, "content": content}
    if not rule.startswith("/v1/"):
        operation["security"] = []
    return operation


def _error(description: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {"description": description, "content": content}


def _add(
    schemas: dict[str, Any], model: type[BaseModel], mode: Literal["validation", "serialization"] = "validation"
) -> str:
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}", mode=mode)
    schemas.update(schema.pop("$defs", {}))
    schemas[model.__name__] = schema
    return model.__name__


def _query_parameters(model: type[BaseModel]) -> list[dict[str, Any]]:
    schema = model.model_json_schema()
    wanted = schema.get("required", ())
    return [
        {"name": name, "in": "query", "required": name in wanted, "schema": field}
        for name, field in schema.get("properties", {}).items()
    ]
