"""Promises about the whole that no single room can keep, beside those about imports in `make check`."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from quart import Quart

from tests.servers import DOLLAR, ROOT, Server, running_server

ROOMS = ("config", "accounts", "billing", "voice", "webhooks", "dashboard")
OPEN = ("/healthz", "/readyz", "/openapi.json", "/docs", "/static/", "/metrics")
"""Open to everybody: whether we live, and how to use us; and, to this machine alone, metrics."""
ENTRANCE = ("/login", "/signup", "/forgot", "/reset", "/join", "/verify", "/logout")
"""What people use who are not in yet; its forms carry proofs of their own."""
HEAVY = {"aiohttp", "alembic", "httpx", "mcp", "openai", "phonenumbers", "quart", "stripe", "twilio"}
LONGEST_MODULE_LINES = 400
_NAME = re.compile(r"<(?:any\((\w+)[^)]*\):|\w+:)?(\w+)>")


def routes(app: Quart) -> Iterator[tuple[str, str, set[str]]]:
    """(method, rule, names in it) of everything that is served over HTTP."""
    for rule in app.url_map.iter_rules():
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            if not rule.websocket:
                yield method, rule.rule, set(rule.arguments)


def filled(rule: str, values: dict[str, str]) -> str:
    """A rule with its names filled in; where it lists what may stand there, the first of that."""
    return _NAME.sub(lambda found: found[1] or values[found[2]], rule)


# -- every route ------------------------------------------------------------------------------------------------------


async def test_who_has_not_shown_who_they_are_gets_nothing(sqlite_server: Server) -> None:
    walked = 0
    async with httpx.AsyncClient(base_url=sqlite_server.url) as anyone:
        for method, rule, names in routes(sqlite_server.app):
            if rule.startswith(OPEN) or rule.startswith(ENTRANCE):
                continue
            answer = await anyone.request(method, filled(rule, dict.fromkeys(names, "x")), data={"a": "b"})
            if rule.startswith("/v1/"):
                assert answer.status_code == 401, f"{method} {rule}: {answer.status_code}"
            elif rule == "/webhooks/stripe":
                assert (answer.status_code, answer.json()["code"]) == (400, "bad_signature")  # as the bank asks for
            elif rule.startswith("/webhooks/twilio/"):
                assert answer.status_code == 403, f"{method} {rule}: {answer.status_code}"
            else:
                led_out = answer.is_redirect and answer.headers["Location"].startswith("/login")
                assert led_out or answer.status_code in (401, 403), f"{method} {rule}: {answer.status_code}"
            walked += 1
    assert walked > 50


async def test_nobody_opens_a_socket_unasked(sqlite_server: Server) -> None:
    sockets = [rule.rule for rule in sqlite_server.app.url_map.iter_rules() if rule.websocket]
    assert sockets
    for rule in sockets:
        with pytest.raises((websockets.InvalidStatus, websockets.ConnectionClosed)):
            await _talk(sqlite_server.url.replace("http", "ws") + rule)


async def _talk(address: str) -> None:
    async with websockets.connect(address) as socket:
        await socket.send("{}")
        await socket.recv()


BODIES: dict[str, Any] = {
    "PATCH /v1/agents/<agent_id>": {"name": "Mine now"},
    "POST /v1/agents/<agent_id>/numbers": {"number_id": "<number_id>"},
    "PUT /v1/agents/<agent_id>/primary-number": {"number_id": "<number_id>"},
    "PATCH /v1/api_keys/<key_id>/limits": {"daily_cap_milli_cents": 0},
    "PATCH /v1/numbers/<number_id>": {"friendly_name": "Mine now"},
    "PUT /v1/numbers/<number_id>/inbound": {"enabled": False},
    "PATCH /v1/webhook_endpoints/<endpoint_id>": {"description": "Mine now"},
    "POST /v1/verified_numbers/<e164>/confirm": {"code": "123456"},
}


async def test_what_belongs_to_another_organisation_is_not_found_on_any_route(sqlite_url: str) -> None:
    async with running_server(sqlite_url, ALLOW_PRIVATE_URLS="true") as server:
        owner = await server.organisation(number="+14155550101")
        other = await server.organisation(number="+14155550102", credit=100 * DOLLAR)
        theirs = await belongings(owner)
        before = await everything(owner)
        walked = 0
        for method, rule, names in routes(server.app):
            if not rule.startswith("/v1/") or not names:
                continue
            body = json.loads(filled(json.dumps(BODIES.get(f"{method} {rule}")), theirs))
            answer = await other.api.request(method, filled(rule, theirs), json=body)
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), f"{method} {rule}: {answer.text}"
            walked += 1
        assert walked > 15
        assert await everything(owner) == before


async def belongings(owner: Any) -> dict[str, str]:
    """One of each thing that an organisation can have; values for the names in routes."""
    refused = await owner.call("+14155550133", expect=502)
    made = {"call_id": refused["call_id"], "number_id": (await owner.get("/v1/numbers"))["data"][0]["id"]}
    for name, path, body in (
        ("agent_id", "/v1/agents", {"name": "A", "type": "outbound"}),
        ("endpoint_id", "/v1/webhook_endpoints", {"url": "http://127.0.0.1:9/hook"}),
    ):
        answer = await owner.api.post(path, json=body)
        assert answer.is_success, answer.text
        made[name] = answer.json()["id"]
    tested = await owner.api.post(f"/v1/webhook_endpoints/{made['endpoint_id']}/test")
    assert tested.is_success, tested.text
    made["delivery_id"] = (await owner.get("/v1/webhook_deliveries"))["data"][0]["id"]
    for path in ("/v1/do_not_call", "/v1/blocked_callers"):
        answer = await owner.api.post(path, json={"e164": "+14155550188"})
        assert answer.is_success, answer.text
    hours = {"start": "00:00", "end": "00:01"}
    batch = {"prompt": "Hi.", "calls": [{"to": "+14155550133"}], "from_number": "+14155550101", "window": hours}
    answer = await owner.api.post("/v1/batches", json=batch)
    assert answer.is_success, answer.text
    paused = await owner.api.post(f"/v1/batches/{answer.json()['id']}/pause")
    assert paused.is_success, paused.text
    made["batch_id"] = answer.json()["id"]
    made["key_id"] = (await owner.get("/v1/api_keys"))["data"][0]["id"]
    return {**made, "entry": "+14155550188", "e164": "+14155550188"}


async def everything(owner: Any) -> list[Any]:
    paths = ("calls", "numbers", "agents", "webhook_endpoints", "do_not_call", "blocked_callers", "billing/transfers")
    return [(await owner.get(f"/v1/{path}"))["data"] for path in paths]


async def test_every_route_of_the_api_has_a_limit(sqlite_url: str) -> None:
    async with running_server(sqlite_url, RATE_LIMIT_PER_MINUTE="1") as server:
        org = await server.organisation(number=None)
        await org.wallet()
        async with httpx.AsyncClient(base_url=server.url) as anyone:
            await anyone.get("/v1/billing/wallet")
            for method, rule, names in routes(server.app):
                if rule.startswith("/v1/"):
                    address = filled(rule, dict.fromkeys(names, "x"))
                    for client in (org.api, anyone):
                        answer = await client.request(method, address)
                        assert answer.status_code == 429, f"{method} {rule}: {answer.status_code}"
                        assert int(answer.headers["Retry-After"]) >= 1


# -- the code ---------------------------------------------------------------------------------------------------------


def product_files() -> Iterator[tuple[str, ast.Module]]:
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text())


def test_only_the_door_commits() -> None:
    """`Database.write` begins and commits; nobody but the door calls it, and nobody else begins or commits."""
    for name, tree in product_files():
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            called, owner = node.func.attr, ast.unparse(node.func.value)
            writes = called == "write" and owner.endswith("database")
            commits = called in ("commit", "begin") and owner.endswith(("connection", "engine", "_writer", "session"))
            allowed = name in ("config/door.py", "config/database.py", "config/migrate.py", "config/migrations/env.py")
            assert allowed or not (writes or commits), f"{name}:{node.lineno}"


def test_a_command_imports_only_what_it_needs(tmp_path: Path) -> None:
    """The SDKs and the web framework take seconds to import, and creating an organisation needs none of them."""
    arguments = ["org", "create", "Example", "--email", "a@example.com", "--password", "long enough"]
    program = f"""
import sys
from config.cli import main
try:
    main({arguments!r}, standalone_mode=False)
finally:
    print(sorted({HEAVY!r} & set(sys.modules)))
"""
    environment = {"DATABASE_URL": f"sqlite+aiosqlite:///{tmp_path}/new.db", "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr
    made, imported = ran.stdout.splitlines()
    assert set(json.loads(made)) == {"org_id", "user_id", "api_key"}
    assert imported == "[]"


def test_modules_can_be_read_in_one_go() -> None:
    long = {name: len(ast.unparse(tree).splitlines()) for name, tree in product_files()}
    assert {name for name, lines in long.items() if lines > LONGEST_MODULE_LINES} == set()
