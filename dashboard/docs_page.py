"""The API's reference as pages that need no network.

Invariant: they show exactly what `/openapi.json` and the table of codes say.
"""

import json
from functools import partial
from typing import Any

from quart import Blueprint, current_app

from config.codes import CODES
from config.http import answer
from config.openapi import ERRORS_PAGE, describe
from dashboard import urls
from dashboard.web import AnyResponse, gate, html, secure, settings

blueprint = Blueprint("docs_page", __name__)
blueprint.after_request(secure)


@blueprint.get("/openapi.json")
async def openapi() -> AnyResponse:
    return answer(describe(current_app))


@blueprint.get(urls.DOCS)
async def docs() -> AnyResponse:
    document = describe(current_app)
    groups: dict[str, list[dict[str, Any]]] = {}
    for method, path, operation in _operations(document):
        codes = [code for response in operation["responses"].values() for code in _codes_in(response)]
        given = {status: each for status, each in operation["responses"].items() if not _codes_in(each)}
        shown = {"method": method, "path": path, "codes": codes, "given": given, **operation}
        groups.setdefault(operation["tags"][0], []).append(shown)
    return html(
        "docs.html",
        gate=gate("API reference"),
        groups=groups,
        schemas=document["components"]["schemas"],
        errors_url=ERRORS_PAGE,
        pretty=partial(json.dumps, indent=2, ensure_ascii=False),
        api_url=settings().public_base_url,
    )


@blueprint.get(ERRORS_PAGE)
async def errors() -> AnyResponse:
    """Every code: what it means, what to do, and what can answer it."""
    answered_by: dict[str, list[str]] = {}
    for method, path, operation in _operations(describe(current_app)):
        for refusal in operation["responses"].values():
            for code in _codes_in(refusal):
                answered_by.setdefault(code, []).append(f"{method} {path}")
    return html("errors.html", gate=gate("Error codes"), codes=CODES, answered_by=answered_by, docs_url=urls.DOCS)


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
