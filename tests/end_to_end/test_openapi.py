"""The API's own description: real answers keep to it, whatever is asked, and people can read it offline."""

import ast
import asyncio
import re
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from config.errors import CODES
from tests.end_to_end.conftest import Site
from tests.servers import DOLLAR, ROOT, Organisation, create_organisation, opened_door

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES = 12
WORDS_FOR_OTHERS = {"bad_form", "bad_signature", "wrong_account", "invalid_event", "wrong_livemode"}
"""Codes that only the dashboard's forms, the carrier and the bank ever see."""


@pytest.fixture(scope="module")
def customer(site: Site) -> Organisation:
    async def create() -> Organisation:
        async with opened_door(site.installed.database_url) as door:
            return await create_organisation(site.url, door, credit=1_000 * DOLLAR, number=None)

    made = asyncio.run(create())
    site.installed.run("number", "import", made.id, "+14155550177")
    return made


@pytest.fixture(scope="module")
def document(site: Site) -> Any:
    return httpx.get(f"{site.url}/openapi.json").json()


def test_whatever_is_asked_the_answer_is_one_that_is_described(
    site: Site, document: Any, customer: Organisation
) -> None:
    headers = {"Authorization": f"Bearer {customer.api_key}"}
    with httpx.Client(base_url=site.url, headers=headers, timeout=40) as client:
        real = {
            "call_id": client.post("/v1/calls", json={"to": "+14155550133"}).json()["id"],
            "number_id": client.get("/v1/numbers").json()["data"][0]["id"],
            "agent_id": client.post("/v1/agents", json={"name": "A", "type": "outbound"}).json()["id"],
        }
    answered: Counter[int] = Counter()

    def ask(case: "schemathesis.Case[Any]") -> None:
        """Every second time with what exists, so that requests also succeed."""
        if answered.total() % 2 and case.method != "DELETE":
            case.path_parameters.update({name: real[name] for name in case.path_parameters if name in real})
            if isinstance(case.body, dict) and "to" in case.body:
                case.body["to"] = "+14155550131"
        answered[case.call_and_validate(base_url=site.url, headers=headers, checks=CHECKS).status_code] += 1

    bounds = settings(
        max_examples=EXAMPLES,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    for operation in schemathesis.openapi.from_dict(document).get_all_operations():
        assert isinstance(operation, Ok), operation
        bounds(given(operation.ok().as_strategy())(ask))()
    assert min(answered[status] for status in (200, 201, 400, 404)) >= EXAMPLES, answered


def test_real_answers_have_exactly_the_described_fields(site: Site, document: Any, customer: Organisation) -> None:
    """What generated requests seldom reach: a call with a receipt, a page of transfers."""
    schema = schemathesis.openapi.from_dict(document)
    headers = {"Authorization": f"Bearer {customer.api_key}"}
    with httpx.Client(base_url=site.url, headers=headers, timeout=40) as client:
        call = client.post("/v1/calls", json={"to": "+14155550130"}).json()
        for path, shown in (
            ("/v1/calls", "/v1/calls"),
            ("/v1/calls/{call_id}", f"/v1/calls/{call['id']}"),
            ("/v1/calls/{call_id}/receipt", f"/v1/calls/{call['id']}/receipt"),
            ("/v1/calls/{call_id}/transcript", f"/v1/calls/{call['id']}/transcript"),
            ("/v1/billing/wallet", "/v1/billing/wallet"),
            ("/v1/billing/transfers", "/v1/billing/transfers"),
        ):
            answer = client.get(shown)
            schema[path]["GET"].validate_response(answer)
            assert answer.json()


def test_every_code_that_the_api_answers_with_is_explained() -> None:
    used = {code for path in ROOT.glob("*/*.py") if path.parts[-2] in ROOMS for code in codes_in(path)}
    assert (used | {"http_error"}) - WORDS_FOR_OTHERS == set(CODES)  # (what Quart itself refuses)


ROOMS = {"accounts", "billing", "config", "voice", "webhooks"}
_RAISERS = {"ApiError": 1, "invalid": 2, "Rejected": 0, "NotDiallable": 0, "DialRefused": 0}
"""Who takes a code, and as which argument."""


def codes_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _RAISERS:
            found |= set(_words(node.args[_RAISERS[node.func.id] : _RAISERS[node.func.id] + 1]))
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id in _TABLES for t in node.targets):
            assert isinstance(node.value, ast.Dict)
            found |= {word for value in node.value.values for word in _words(getattr(value, "elts", [])[:1])}
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_give_up":
            found |= set(_words(node.args[2:3]))
    return found


_TABLES = {"REFUSALS", "_HTTP_CODES"}


def _words(nodes: list[ast.expr]) -> list[str]:
    return [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def test_the_reference_can_be_read_without_a_network_or_a_script(site: Site, document: Any) -> None:
    page = httpx.get(f"{site.url}/docs")
    assert page.status_code == 200
    assert page.headers["Content-Type"].startswith("text/html")
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy or "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy.replace("https://checkout.stripe.com", "")
    elsewhere = re.findall(r"""(?:src|href|action)=["']?((?:https?:)?//[^"'> ]+)""", page.text)
    assert elsewhere == []
    assert "<script" not in page.text
    for path, operations in document["paths"].items():
        for method in operations:
            assert f"{method.upper()} {path}" in page.text
    for code in CODES:
        assert f"<code>{code}</code>" in page.text


def test_every_operation_of_the_contract_is_described(document: Any) -> None:
    for method, path in (
        ("post", "/v1/calls"),
        ("get", "/v1/calls"),
        ("post", "/v1/calls/quote"),
        ("get", "/v1/calls/{call_id}"),
        ("get", "/v1/calls/{call_id}/receipt"),
        ("post", "/v1/calls/{call_id}/hangup"),
        ("get", "/v1/numbers"),
        ("get", "/v1/billing/wallet"),
        ("get", "/v1/billing/transfers"),
        ("get", "/healthz"),
        ("get", "/readyz"),
    ):
        assert document["paths"][path][method]["responses"], path
    assert document["paths"]["/v1/calls"]["post"]["responses"].keys() == {"201", "4XX", "5XX"}
    assert document["paths"]["/healthz"]["get"]["security"] == []
