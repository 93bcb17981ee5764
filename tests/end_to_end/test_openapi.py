"""The API's own description: it is complete, real answers keep to it, and people can read it offline."""

import ast
import html
import json
import os
import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from openapi_core import OpenAPI

from accounts.events import EVENT_TYPES, TEST_EVENT
from config.app import create_app
from config.codes import CODES
from config.errors import ApiError
from config.glossary import FIELDS
from tests.described import fault_of, validator_of
from tests.end_to_end.conftest import Site
from tests.servers import ROOT, settings_of
from webhooks.signing import headers, signature


@pytest.fixture(scope="module")
def document(site: Site) -> Any:
    return httpx.get(f"{site.url}/openapi.json").json()


def operations(document: Any) -> Iterator[tuple[str, str, Any]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def resolved(document: Any, response: Any) -> Any:
    return document["components"]["responses"][response["$ref"].rpartition("/")[2]] if "$ref" in response else response


def schema_in(document: Any, content: Any) -> Any:
    return resolved(document, content)["content"]["application/json"]["schema"]


# -- the document -----------------------------------------------------------------------------------------------------


def test_the_description_is_valid_openapi(document: Any) -> None:
    assert document["openapi"] == "3.1.0"
    OpenAPI.from_dict(document).check_spec()
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(names) == len(set(names))


def test_every_operation_says_what_it_takes_gives_and_refuses_with(document: Any) -> None:
    for method, path, operation in operations(document):
        name = f"{method} {path}"
        assert operation["summary"].endswith((".", "…")), name
        assert {each["name"] for each in operation["parameters"] if each["in"] == "path"} == set(
            re.findall(r"{(\w+)}", path)
        ), name
        given = [status for status in operation["responses"] if status.startswith("2")]
        assert given, f"{name}: no @gives"
        if not path.startswith("/v1/"):
            assert operation["security"] == [], name
            continue
        assert "security" not in operation, name
        assert {"401", "429", "500", "503"} <= set(operation["responses"]), name
        assert ("404" in operation["responses"]) or "{" not in path, name
        assert "400" in operation["responses"] or "requestBody" not in operation, name


def test_every_refusal_names_its_codes_and_only_those_of_the_table(document: Any) -> None:
    for method, path, operation in operations(document):
        for status, response in operation["responses"].items():
            schema = schema_in(document, response)
            if "allOf" not in schema:
                assert status.startswith("2") or path == "/readyz", f"{method} {path}"
                continue
            for code in schema["allOf"][1]["properties"]["code"]["enum"]:
                assert CODES[code].statuses[0] == int(status), f"{method} {path}: {code}"


def test_every_body_and_answer_has_an_example_that_fits(document: Any) -> None:
    shown = 0
    for method, path, operation in operations(document):
        bodies = [operation["requestBody"]] if "requestBody" in operation else []
        for content in (*bodies, *(each for status, each in operation["responses"].items() if status < "3")):
            schema = schema_in(document, content)
            whole = schema if "$ref" not in schema else document["components"]["schemas"][schema["$ref"].split("/")[-1]]
            [example] = whole["examples"]
            assert fault_of(validator_of(document, schema), example) is None, f"{method} {path}: {example}"
            shown += 1
    assert shown > 50


def test_every_field_and_parameter_says_what_it_means(document: Any) -> None:
    schemas, unused = document["components"]["schemas"], set(FIELDS)
    named = [(shape, *each) for shape, whole in schemas.items() for each in whole.get("properties", {}).items()]
    named += [
        (each["operationId"], one["name"], one) for *_, each in operations(document) for one in each["parameters"]
    ]
    assert len(named) > 400
    for where, name, described in named:
        assert str(described["description"]).endswith("."), f"{where}.{name} (see config/glossary.py)"
        unused -= {f"{where}.{name}", name if f"{where}.{name}" not in FIELDS else ""}
    assert unused == set()


def test_every_event_that_is_sent_is_described_with_its_headers_and_an_example_that_fits(document: Any) -> None:
    assert set(document["webhooks"]) == {*EVENT_TYPES, TEST_EVENT}
    signed = headers("event", "call.busy", "call", signature("whsec_x", 0, b"")).keys() - {"Content-Type"}
    for name, sent in document["webhooks"].items():
        operation = sent["post"]
        assert {each["name"] for each in operation["parameters"]} == signed, name
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        whole = document["components"]["schemas"][schema["allOf"][0]["$ref"].rpartition("/")[2]]
        [example] = whole["examples"]
        assert fault_of(validator_of(document, schema), {**example, "type": name}) is None, name
        assert fault_of(validator_of(document, schema), {**example, "type": "another"}) is not None, name


# -- the codes --------------------------------------------------------------------------------------------------------

ROOMS = ("accounts", "billing", "config", "dashboard", "voice", "webhooks")
_RAISERS = {"ApiError": 1, "refused": 0, "invalid": 2, "Rejected": 0, "NotDiallable": 0, "DialRefused": 0}
"""Who takes a code, and as which argument."""
_TABLES = {"REFUSALS", "_HTTP_CODES"}


def codes_in(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in _RAISERS:
                yield from _words(node.args[_RAISERS[node.func.id] : _RAISERS[node.func.id] + 1])
            elif node.func.id == "_give_up":
                yield from _words(node.args[2:3])
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id in _TABLES for t in node.targets):
            assert isinstance(node.value, ast.Dict)
            for value in node.value.values:
                yield from _words(getattr(value, "elts", [])[:1])
        if isinstance(node, ast.FunctionDef) and node.name in ("refusal", "_refusal"):
            for given in (each.value for each in ast.walk(node) if isinstance(each, ast.Return)):
                yield from _words(given.elts[:1] if isinstance(given, ast.Tuple) else [])


def _words(nodes: list[ast.expr]) -> list[str]:
    return [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def product() -> list[Path]:
    return [path for room in ROOMS for path in (ROOT / room).rglob("*.py") if path != ROOT / "config/codes.py"]


def test_no_code_outside_the_table_is_raised_anywhere() -> None:
    raised = {code: path.name for path in product() for code in codes_in(path)}
    assert len(raised) > 50
    assert {code: where for code, where in raised.items() if code not in CODES} == {}


def test_the_table_has_no_code_that_nothing_answers_with() -> None:
    words = {word for path in product() for word in re.findall(r'"(\w+)"', path.read_text())}
    assert set(CODES) - words == set()


def test_an_error_outside_the_table_cannot_be_made() -> None:
    with pytest.raises(KeyError):
        ApiError(400, "no_such_code", "")
    with pytest.raises(AssertionError):
        ApiError(418, "not_found", "")


def test_every_code_of_a_call_is_described_by_an_operation_or_stands_on_calls(document: Any) -> None:
    """Those that no operation answers are the callbacks', the dashboard's, the framework's, or a call's own."""
    answered = set(re.findall(r'"(\w+)"', json.dumps([schema for *_, schema in _enums(document)])))
    elsewhere = {code for code, kind in CODES.items() if not kind.statuses}
    for_others = {"bad_form", "last_member", "bad_signature", "wrong_account", "invalid_event", "wrong_livemode"}
    assert set(CODES) - answered - elsewhere - for_others == {"method_not_allowed", "unsupported_media_type"}


def _enums(document: Any) -> Iterator[tuple[str, Any]]:
    for _, path, operation in operations(document):
        for response in operation["responses"].values():
            schema = schema_in(document, response)
            if "allOf" in schema:
                yield path, schema["allOf"][1]["properties"]["code"]["enum"]


# -- for people -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/docs", "/docs/errors"])
def test_the_reference_can_be_read_without_a_network_or_a_script(site: Site, document: Any, path: str) -> None:
    page = httpx.get(f"{site.url}{path}")
    assert page.status_code == 200
    assert page.headers["Content-Type"].startswith("text/html")
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy or "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy.replace("https://checkout.stripe.com", "")
    elsewhere = re.findall(r"""(?:src|href|action)=["']?((?:https?:)?//[^"'> ]+)""", page.text)
    assert elsewhere == []
    assert "<script" not in page.text


def test_every_command_of_the_reference_is_one_that_a_shell_and_the_api_understand(site: Site) -> None:
    made = site.installed.run("org", "create", "C", "--email", "c@example.com", "--password", "long enough").stdout
    environment = {"PATH": os.environ["PATH"], "CALLINGBOX_BASE_URL": site.url}
    environment["CALLINGBOX_API_KEY"] = json.loads(made)["api_key"]
    commands = re.findall(r"<code>(curl .*?)</code></pre>", httpx.get(f"{site.url}/docs").text, re.DOTALL)
    answers: Counter[str] = Counter()
    for command in map(html.unescape, commands):
        done = subprocess.run(["sh", "-ec", command], env=environment, capture_output=True, timeout=60, check=True)
        answer = json.loads(done.stdout)
        answers[answer["code"] if "error" in answer else "done"] += 1
    assert len(commands) > 50
    assert answers["done"] > 20
    assert set(answers) == {"done", "not_found", "no_number"}, answers  # it has neither those ids nor a number


def test_the_reference_shows_every_operation_and_event_and_leads_to_each_code(site: Site, document: Any) -> None:
    page, errors = (httpx.get(f"{site.url}{path}").text for path in ("/docs", "/docs/errors"))
    for method, path, _ in operations(document):
        assert f"{method} {path}" in page
    for name in document["webhooks"]:
        assert f"<code>{name}</code></h3>" in page
    linked = set(re.findall(r'href="/docs/errors#(\w+)"', page))
    assert linked == {code for _, codes in _enums(document) for code in codes}
    for code, kind in CODES.items():
        assert f'id="{code}"' in errors
        assert kind.do.partition("`")[0].replace("'", "&#39;") in errors


@pytest.mark.parametrize("path", ["/v1/billing/wallet", "/v1/calls/x", "/v2/calls", "/docs", "/healthz"])
def test_every_answer_names_its_request(site: Site, path: str) -> None:
    given = {httpx.get(f"{site.url}{path}", headers={"Authorization": key}).headers["Request-Id"] for key in ("a", "b")}
    assert len(given) == 2


def test_an_error_leads_to_its_explanation(site: Site) -> None:
    refusal = httpx.get(f"{site.url}/v1/calls/x", headers={"Authorization": f"Bearer {site.api_key}"})
    assert refusal.headers["Link"] == '</docs/errors#not_found>; rel="help"'
    assert f'id="{refusal.json()["code"]}"' in httpx.get(f"{site.url}/docs/errors").text


@pytest.mark.parametrize("path", ["/openapi.json", "/docs", "/docs/errors"])
async def test_the_description_costs_next_to_nothing_to_ask_for_again(tmp_path: Path, path: str) -> None:
    """Anybody may ask for it, as often as they like."""
    settings = settings_of({"DATABASE_URL": f"sqlite+aiosqlite:///{tmp_path}/x.db"})
    client = create_app(settings).test_client()
    began = time.process_time()
    first = await (await client.get(path)).get_data()
    once = time.process_time() - began
    for _ in range(20):
        assert await (await client.get(path)).get_data() == first
    assert time.process_time() - began < 3 * once
