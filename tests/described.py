"""Every answer of the API that any test gets is held against `/openapi.json`."""

import json
import re
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from quart import Quart, Response, request

from config.openapi import DESCRIBED, describe

MOST_OF_A_KIND = 300
"""So many answers of one operation with one status are looked at; what is asked a thousand times is the same."""


def hold_to_description(app: Quart) -> list[str]:
    """What is answered that is not described: a list that grows."""
    document = describe(app)
    faults: list[str] = []
    seen: dict[tuple[str, str, int], int] = {}
    validators: dict[tuple[str, str, int], Draft202012Validator | None] = {}

    @app.after_request
    async def look(response: Response) -> Response:
        rule = request.url_rule.rule if request.url_rule is not None else ""
        kind = request.method, re.sub(r"<(?:[^:<>]+:)?([^<>]+)>", r"{\1}", rule), response.status_code
        seen[kind] = seen.get(kind, 0) + 1
        if not rule.startswith(DESCRIBED) or request.method in ("HEAD", "OPTIONS") or seen[kind] > MOST_OF_A_KIND:
            return response
        if kind not in validators:
            validators[kind] = _validator(document, *kind)
        fault = fault_of(validators[kind], json.loads(await response.get_data()))
        if fault is None and not described_headers(document, *kind) <= set(response.headers.keys()):
            fault = "a header is missing"
        if fault is not None:
            faults.append(f"{kind[0]} {kind[1]} answers {kind[2]}: {fault} (see @gives and @fails beside the route)")
        return response

    return faults


def _response(document: dict[str, Any], method: str, path: str, status: int) -> dict[str, Any] | None:
    found: dict[str, Any] | None = document["paths"][path][method.lower()]["responses"].get(str(status))
    if found is not None and "$ref" in found:
        found = document["components"]["responses"][found["$ref"].rpartition("/")[2]]
    return found


def described_headers(document: dict[str, Any], method: str, path: str, status: int) -> set[str]:
    """Those without which an answer is not what is described."""
    found = _response(document, method, path, status) or {}
    return {name for name, header in found.get("headers", {}).items() if header["required"]}


def _validator(document: dict[str, Any], method: str, path: str, status: int) -> Draft202012Validator | None:
    found = _response(document, method, path, status)
    return None if found is None else validator_of(document, found["content"]["application/json"]["schema"])


def validator_of(document: dict[str, Any], schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator({**schema, "components": document["components"]})


def fault_of(validator: Draft202012Validator | None, body: Any) -> str | None:
    if validator is None:
        return f"no such status is described, {body}"
    error = best_match(validator.iter_errors(body))
    return None if error is None else f"{error.json_path}: {error.message[:300]}"
