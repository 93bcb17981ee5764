"""Every method of the official SDK and every command of its command line is served: `docs/api.md` says so, and here is
what other tests leave over."""

import ast
import inspect
import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import callingbox
import pytest
from callingbox import Callingbox
from callingbox.cli.main import app as command_line
from callingbox.tools import tool

from config.app import create_app
from tests.end_to_end.conftest import Site
from tests.end_to_end.test_sdk_and_cli import cli
from tests.servers import ROOT, settings_of

PAGE = (ROOT / "docs/api.md").read_text()
ROWS = [tuple(re.findall(r"`([^`]+)`", line)) for line in PAGE.splitlines() if line.startswith("| `")]
TESTS = {
    node.name: ast.unparse(node)
    for path in (ROOT / "tests").rglob("test_*.py")
    for node in ast.walk(ast.parse(path.read_text()))
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
}


def methods_of_the_sdk() -> set[str]:
    client = Callingbox(api_key="sk_live_x", base_url="http://127.0.0.1:9")
    resources = {name: each for name, each in vars(client).items() if not name.startswith("_")}
    return {
        f"{name}.{method}"
        for name, each in {**resources, "tool": tool}.items()
        for method, _ in inspect.getmembers(each, callable)
        if not method.startswith("_")
    }


def commands() -> set[str]:
    groups = {"": command_line, **{f"{group.name} ": group.typer_instance for group in command_line.registered_groups}}
    return {f"{prefix}{command.name}" for prefix, group in groups.items() for command in group.registered_commands}


def test_the_matrix_has_every_method_and_every_command_and_no_other() -> None:
    assert len(methods_of_the_sdk()) > 25
    rows = {row[0] for row in ROWS if " /v1/" not in row[0]}
    assert rows == methods_of_the_sdk() | commands()
    assert callingbox.__name__ in PAGE


def test_every_row_names_an_endpoint_that_is_served_and_a_test_that_uses_the_method(tmp_path: Path) -> None:
    app = create_app(settings_of({"DATABASE_URL": f"sqlite+aiosqlite:///{tmp_path}/x.db"}))
    served = {
        f"{method} " + re.sub(r"<(?:[^:<>]+:)?([^<>]+)>", r"{\1}", rule.rule)
        for rule in app.url_map.iter_rules()
        for method in rule.methods or ()
    }
    proven = 0
    for row in ROWS:
        assert all(cell in served for cell in row if re.match(r"[A-Z]+ /", cell)), row
        if " /v1/" in row[0]:
            continue
        source = TESTS[row[-1]]
        name = row[0].rpartition(".")[2]
        called = f".{name}(" in source or all(f"'{word}'" in source for word in row[0].split())
        assert called, f"{row[-1]} does not use {row[0]}"
        proven += 1
    assert proven == len(methods_of_the_sdk() | commands())


def test_the_readmes_summary_counts_what_the_page_lists() -> None:
    readme = (ROOT / "README.md").read_text()
    listed = Counter(row[0].split("/v1/")[1].split("/")[0] for row in ROWS if " /v1/" in row[0])
    listed["webhooks"] = listed.pop("webhook_endpoints") + listed.pop("webhook_deliveries")
    summary = dict(re.findall(r"^\| (\w+) \|.*\| all (\d+) \|$", readme, re.MULTILINE))
    assert {area: int(number) for area, number in summary.items()} == listed
    assert f"{len(methods_of_the_sdk())} methods · {len(commands())} commands" in readme


# -- the SDK ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def client(site: Site) -> Iterator[Callingbox]:
    with Callingbox(api_key=site.api_key, base_url=site.url) as client:
        yield client


def test_a_call_with_every_argument_is_read_back_with_its_transcript(site: Site, client: Callingbox) -> None:
    slots = tool.object(
        day=tool.string(description="ISO 8601"),
        guests=tool.integer(),
        deposit=tool.number(nullable=True),
        near_window=tool.boolean(nullable=True),
    )
    look = tool.http(
        name="look_up",
        description="Free tables.",
        url="https://93.184.215.14/tables",
        parameters=slots,
        policy="confirm_first_write",
        headers={"Authorization": "Bearer secret"},
        timeout_ms=3_000,
    )
    call = client.calls.create(
        "+14155550130",
        prompt="Book a table.",
        context={"name": "Zoë"},
        returns={"booked": "boolean", "guests": "number", "note": "string"},
        language="en",
        from_=site.number,
        webhook_url="https://93.184.215.14/hook",
        voicemail_action="leave_message",
        tools=[look, tool.builtin(name="end_call", description="When all is said.")],
    )
    assert call.returns == {"booked": "boolean", "guests": "number", "note": "string"}
    assert call.webhook_url == "https://93.184.215.14/hook"
    deadline = time.monotonic() + 30
    while (over := client.calls.retrieve(call.id)).result_status == "pending":
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert over.result is None or over.result.keys() == {"booked", "guests", "note"}
    segments = client.calls.retrieve_transcript(call.id)
    assert [segment.sequence_no for segment in segments] == sorted(segment.sequence_no for segment in segments)
    assert all(segment.role for segment in segments)
    assert any(segment.text for segment in segments)  # one cut before its first word was heard has none


# -- the command line -------------------------------------------------------------------------------------------------


def test_a_number_is_found_and_bought_on_the_command_line(site: Site, tmp_path: Path) -> None:
    found = cli(site, tmp_path, "--json", "numbers", "search", "--area-code", "415", "--limit", "2", key=site.api_key)
    assert found.returncode == 0, found.stderr
    wanted = records(found.stdout)[-1]["phone_number"]
    bought = cli(site, tmp_path, "--json", "numbers", "buy", wanted, "--yes", key=site.api_key)
    assert bought.returncode == 0, bought.stderr
    assert json.loads(bought.stdout)["e164"] == wanted
    listed = cli(site, tmp_path, "--json", "numbers", "list", "--all", key=site.api_key)
    assert wanted in [number["e164"] for number in records(listed.stdout)]
    again = cli(site, tmp_path, "numbers", "buy", wanted, "--yes", key=site.api_key)
    assert again.returncode == 1
    assert "not for sale" in again.stderr


def test_whoami_shows_the_key_in_use_until_logout(site: Site, tmp_path: Path) -> None:
    cli(site, tmp_path, "login", "--api-key", site.api_key, "--base-url", site.url)
    shown = cli(site, tmp_path, "whoami")
    assert (shown.returncode, site.api_key[-4:] in shown.stderr, site.url in shown.stderr) == (0, True, True)
    assert site.api_key not in shown.stderr
    assert cli(site, tmp_path, "logout").returncode == 0
    assert cli(site, tmp_path, "whoami").returncode == 3


def records(printed: str) -> list[dict[str, str]]:
    """A list, or a page of one."""
    parsed = json.loads(printed)
    return list(parsed["data"] if isinstance(parsed, dict) else parsed)
