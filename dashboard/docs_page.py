"""The API's reference as pages that need no network.

Invariant: they show exactly what `/openapi.json` and the table of codes say.
"""

import gzip
import json
import shlex
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec
from quart import Blueprint, Response, current_app

from config.codes import CODES
from config.openapi import ERRORS_PAGE, describe
from dashboard import urls
from dashboard.render import render
from dashboard.web import AnyResponse, as_gzip, gate, secure, settings, takes_gzip

blueprint = Blueprint("docs_page", __name__)
blueprint.after_request(secure)


@blueprint.get("/openapi.json")
async def openapi() -> AnyResponse:
    return _sent("openapi.json", lambda: msgspec.json.encode(_document()), "application/json")


@blueprint.get(urls.DOCS)
async def docs() -> AnyResponse:
    return _page("docs.html", "API reference", _reference)


@blueprint.get(ERRORS_PAGE)
async def errors() -> AnyResponse:
    """Every code: what it means, what to do, and what can answer it."""
    return _page("errors.html", "Error codes", _explained)


def _reference() -> dict[str, Any]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for method, path, operation in _operations(_document()):
        codes = [code for response in operation["responses"].values() for code in _codes_in(response)]
        given = {status: each for status, each in operation["responses"].items() if not _codes_in(each)}
        shown = {"method": method, "path": path, "codes": codes, "given": given, **operation}
        shown["curl"] = curl(method, path, operation, _document()["components"]["schemas"])
        groups.setdefault(operation["tags"][0], []).append(shown)
    return {
        "groups": {name: groups[name] for name in sorted(groups, key=_place)},
        "events": {name: sent["post"] for name, sent in _document()["webhooks"].items()},
        "schemas": _document()["components"]["schemas"],
        "errors_url": ERRORS_PAGE,
        "pretty": partial(json.dumps, indent=2, ensure_ascii=False),
        "api_url": settings().public_base_url,
    }


_FIRST, _LAST = ("calls", "agents", "numbers", "batches", "webhook endpoints", "webhook deliveries"), ("service",)


def _place(group: str) -> tuple[bool, int, str]:
    """What is looked for most comes first."""
    return group in _LAST, _FIRST.index(group) if group in _FIRST else len(_FIRST), group


def curl(method: str, path: str, operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    """The operation as a line for a shell: what must be said and is not known in capitals, its body the example."""
    address = "/".join(part.strip("{}").upper() if part.startswith("{") else part for part in path.split("/"))
    body = operation.get("requestBody")
    is_said = method != "GET" and (method != "POST" or body is None)
    words = [f'curl -s {f"-X {method} " if is_said else ""}"$CALLINGBOX_BASE_URL{address}"']
    if operation.get("security") != []:
        words.append('-H "Authorization: Bearer $CALLINGBOX_API_KEY"')
    if body is not None:
        name = body["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        words.append(f"-d {shlex.quote(json.dumps(schemas[name]['examples'][0], ensure_ascii=False))}")
    return " \\\n  ".join(words)


def _explained() -> dict[str, Any]:
    answered_by: dict[str, list[str]] = {}
    for method, path, operation in _operations(_document()):
        for refusal in operation["responses"].values():
            for code in _codes_in(refusal):
                answered_by.setdefault(code, []).append(f"{method} {path}")
    return {"codes": CODES, "answered_by": answered_by, "docs_url": urls.DOCS}


def _page(template: str, title: str, context: Callable[[], dict[str, Any]]) -> Response:
    frame = gate(title)
    kept_as = f"{template} {frame.theme}"
    return _sent(kept_as, lambda: render(template, gate=frame, **context()).encode(), "text/html; charset=utf-8")


def _sent(name: str, make: Callable[[], bytes], kind: str) -> Response:
    body = _kept(name, make)
    response = Response(body, content_type=kind)
    return as_gzip(response, _kept(f"{name} gzip", lambda: gzip.compress(body))) if takes_gzip() else response


def _document() -> dict[str, Any]:
    document: dict[str, Any] = _kept("document", lambda: describe(current_app))
    return document


def _kept(name: str, make: Callable[[], Any]) -> Any:
    """Made once: it takes as long as hundreds of other requests, and anybody may ask for it."""
    kept: dict[str, Any] = current_app.extensions.setdefault("reference", {})
    if name not in kept:
        kept[name] = make()
    return kept[name]


def _operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def _codes_in(response: dict[str, Any]) -> list[str]:
    """The codes that an answer of the document can carry; none for a success."""
    if "$ref" in response:
        return [response["$ref"].rpartition("/")[2]]
    schema = response["content"]["application/json"]["schema"]
    return list(schema["allOf"][1]["properties"]["code"]["enum"]) if "allOf" in schema else []
