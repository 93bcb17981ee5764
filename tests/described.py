"""Every answer of the API that any test gets is held against `/openapi.json`.

Invariant: what is described depends on the routes and their models alone, so one description serves every application.
"""

import json
import re
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from quart import Quart, Response, request

from config.openapi import DESCRIBED, describe

MOST_OF_A_KIND = 300
"""So many answers of one operation with one status are looked at; what is asked a thousand times is the same."""

Kind = tuple[str, str, int]
"""Method, path and status of an answer."""


class Description:
    def __init__(self, app: Quart) -> None:
        self.document = describe(app)
        self._validators: dict[Kind, Draft202012Validator | None] = {}

    def hold(self, app: Quart) -> list[str]:
        """What is answered that is not described: a list that grows."""
        faults: list[str] = []
        seen: dict[Kind, int] = {}

        @app.after_request
        async def look(response: Response) -> Response:
            rule = request.url_rule.rule if request.url_rule is not None else ""
            kind = request.method, re.sub(r"<(?:[^:<>]+:)?([^<>]+)>", r"{\1}", rule), response.status_code
            seen[kind] = seen.get(kind, 0) + 1
            if not rule.startswith(DESCRIBED) or request.method in ("HEAD", "OPTIONS") or seen[kind] > MOST_OF_A_KIND:
                return response
            fault = fault_of(self._validator(kind), json.loads(await response.get_data()))
            if fault is None and not self._headers(kind) <= set(response.headers.keys()):
                fault = "a header is missing"
            if fault is not None:
                method, path, status = kind
                faults.append(f"{method} {path} answers {status}: {fault} (see @gives and @fails beside the route)")
            return response

        return faults

    def _validator(self, kind: Kind) -> Draft202012Validator | None:
        if kind not in self._validators:
            found = self._response(kind)
            schema = None if found is None else found["content"]["application/json"]["schema"]
            self._validators[kind] = None if schema is None else validator_of(self.document, schema)
        return self._validators[kind]

    def _headers(self, kind: Kind) -> set[str]:
        """Those without which an answer is not what is described."""
        found = self._response(kind) or {}
        return {name for name, header in found.get("headers", {}).items() if header["required"]}

    def _response(self, kind: Kind) -> dict[str, Any] | None:
        method, path, status = kind
        found: dict[str, Any] | None = self.document["paths"][path][method.lower()]["responses"].get(str(status))
        if found is not None and "$ref" in found:
            found = self.document["components"]["responses"][found["$ref"].rpartition("/")[2]]
        return found


def validator_of(document: dict[str, Any], schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator({**schema, "components": document["components"]})


def fault_of(validator: Draft202012Validator | None, body: Any) -> str | None:
    if validator is None:
        return f"no such status is described, {body}"
    error = best_match(validator.iter_errors(body))
    return None if error is None else f"{error.json_path}: {error.message[:300]}"
