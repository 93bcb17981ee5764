"""Requests and connections meant to hurt: each is refused in words or left alone, and nobody else notices."""

import contextlib
import json
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from config.codes import CODES
from tests.end_to_end.conftest import Site
from tests.servers import BIN, Installation, Process, installation, network_process

MANY = 1_000
SLOW = 40
FEW_FILES = 256
"""What a shell may allow a process at first; it may take more."""
PATIENCE_SECONDS = 10

HOSTILE: dict[str, bytes] = {
    "10 MB": b'{"to": "' + b"1" * 10_000_000 + b'"}',
    "deep": b"[" * 100_000 + b"]" * 100_000,
    "deep in a field": b'{"metadata": ' + b'{"a": ' * 5_000 + b"1" + b"}" * 5_001,
    "invalid UTF-8": b'{"to": "\xff\xfe\xfa"}',
    "UTF-16": '{"to": "+14155550123"}'.encode("utf-16"),
    "NUL": b'{"name": "a\\u0000b"}',
    "a NUL byte": b'{"to": "+1415\x005550123"}',
    "half a surrogate": b'{"name": "\\ud800"}',
    "a huge integer": b'{"amount_cents": ' + b"9" * 20_000 + b"}",
    "a huge exponent": b'{"max_duration_seconds": 1e999999}',
    "NaN": b'{"max_duration_seconds": NaN}',
    "Infinity": b'{"amount_cents": -Infinity}',
    "twice the same name": b'{"to": 1, "to": 2, "name": 1, "name": 2, "url": 1, "e164": 1, "code": 1, "number_id": 1}',
    "no object": b'"to"',
    "not JSON": b"<?xml version='1.0'?><to/>",
    "a prototype": b'{"__proto__": {"to": 1}, "constructor": 1}',
}
KINDS = ("application/json; charset=utf-16", "text/xml", "application/x-www-form-urlencoded", "nonsense", "")


def bodies_taken(document: Any) -> Iterator[tuple[str, str]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if "requestBody" in operation:
                yield method.upper(), path


@pytest.mark.parametrize("what", list(HOSTILE))
def test_a_hostile_body_is_refused_in_words_wherever_bodies_are_taken(site: Site, what: str) -> None:
    headers = {"Authorization": f"Bearer {site.api_key}"}
    with httpx.Client(base_url=site.url, headers=headers, timeout=30) as client:
        document = client.get("/openapi.json").json()
        taken = list(bodies_taken(document))
        assert len(taken) > 12
        before = client.get("/v1/billing/wallet").json()
        for number, (method, path) in enumerate(taken):
            kind = {"Content-Type": KINDS[number % len(KINDS)]}
            address = path.replace("{", "").replace("}", "")
            answer = client.request(method, address, content=HOSTILE[what], headers=kind)
            assert answer.status_code in (400, 404), f"{method} {path}: {answer.status_code} {answer.text}"
            refusal = answer.json()
            assert answer.status_code in CODES[refusal["code"]].statuses
            assert len(answer.content) < 2_000
        assert client.get("/v1/billing/wallet").json() == before


@pytest.mark.parametrize(
    "head",
    [
        b"POST /v1/calls HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/calls HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"POST /v1/calls HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /v1/calls HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET /v1/calls HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
        b"\x00" * 500 + b"\r\n\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_what_is_no_good_http_is_refused_or_hung_up_on(site: Site, head: bytes) -> None:
    with connect(site.url) as client:
        client.sendall(head)
        client.settimeout(PATIENCE_SECONDS)
        said = b""
        try:
            while b"\r\n\r\n" not in said and (piece := client.recv(65_536)):
                said += piece
        except ConnectionError:
            pass
    assert said == b"" or said.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 401 ", b"HTTP/1.1 431 ")), said[:200]
    assert b"Traceback" not in said
    assert httpx.get(f"{site.url}/healthz").status_code == 200


def said_to(site: Site, request: bytes) -> bytes:
    """All that is answered until the server hangs up, or nothing more comes."""
    said = b""
    with connect(site.url) as client:
        client.sendall(request)
        client.settimeout(1)
        with contextlib.suppress(TimeoutError, ConnectionError):
            while piece := client.recv(65_536):
                said += piece
    return said


def test_a_request_whose_end_is_in_doubt_is_refused_and_nothing_after_it_is_read(site: Site) -> None:
    doubtful = b"POST /v1/calls HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    said = said_to(site, doubtful + b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 400 ")
    assert said.count(b"HTTP/1.1 ") == 1, said


def test_nobody_passes_through_a_proxys_way_for_sockets(site: Site) -> None:
    """Upgraded to HTTP/2, a connection would carry requests that the proxy never sees."""
    ask = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\n"
    said = said_to(
        site, ask + b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    )
    assert b"callingbox_" not in said
    assert b"invalid_request" in said


# -- connections ------------------------------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Installation]:
    """A server started from a shell that allows few open files."""
    with network_process(tmp_path) as network_url, installation(tmp_path, network_url) as installed:
        serve = f"ulimit -S -n {FEW_FILES}; exec {BIN}/callingbox-server serve --port {installed.port}"
        installed.server = Process(["/bin/sh", "-c", serve], installed.environment, tmp_path / "server.log")
        installed.server.await_answer(f"{installed.url}/readyz")
        yield installed


def test_a_thousand_idle_and_slow_connections_keep_nobody_out(small: Installation) -> None:
    allow_open_files(MANY + 4 * SLOW + 200)
    made = json.loads(
        small.run("org", "create", "A", "--email", "a@example.com", "--password", "long enough").stdout,
    )
    key = made["api_key"]
    head = f"POST /v1/calls HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n".encode()
    with ExitStack() as held:
        for _ in range(MANY):
            held.enter_context(connect(small.url))
        for _ in range(SLOW):
            for said in (b"GET /v1/cal", head, head + b"Content-Length: 100\r\n\r\n{"):
                held.enter_context(connect(small.url)).sendall(said)
        for _ in range(5):
            began = time.monotonic()
            with httpx.Client(base_url=small.url, timeout=PATIENCE_SECONDS) as client:
                assert client.get("/v1/billing/wallet", headers={"Authorization": f"Bearer {key}"}).is_success
                assert client.get("/login").is_success
            assert time.monotonic() - began < PATIENCE_SECONDS


def connect(url: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=PATIENCE_SECONDS)


def allow_open_files(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
