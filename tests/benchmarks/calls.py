"""Calls per second over HTTP, each created and called back four times, against a bare handler doing the same.

Both stand behind hypercorn in a process of their own, beside a carrier that answers at once; the load comes from here.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import aiohttp
from twilio.request_validator import RequestValidator

from tests.benchmarks.bare import ACCOUNT_SID, AUTH_TOKEN
from tests.benchmarks.report import Result
from tests.servers import free_port

CALLS, QUICK_CALLS, WARM_UP, ROUNDS = 600, 60, 40, 3
IN_FLIGHT = 32
CALLBACKS = (
    ("status", {"CallStatus": "ringing"}),
    ("status", {"CallStatus": "in-progress"}),
    ("verdict", {"AnsweredBy": "human", "MachineDetectionDuration": "3200"}),
    ("status", {"CallStatus": "completed", "CallDuration": "67"}),
)


def over_http(quick: bool) -> list[Result]:
    with tempfile.TemporaryDirectory() as directory, ExitStack() as processes:
        carrier, bare, ours = free_port(), free_port(), free_port()
        module = [sys.executable, "-m", "tests.benchmarks.bare"]
        processes.enter_context(_process([*module, "carrier", str(carrier)], carrier))
        processes.enter_context(_process([*module, "handler", str(bare), f"http://127.0.0.1:{carrier}"], bare))
        environment = _environment(Path(directory), ours, carrier)
        key = _organisation(environment)
        server = [sys.executable, "-m", "config.cli", "serve", "--port", str(ours)]
        processes.enter_context(_process(server, ours, environment))
        rounds = [asyncio.run(_measure(quick, bare, ours, key)) for _ in range(1 if quick else ROUNDS)]
    product, reference = (sorted(each)[len(each) // 2] for each in zip(*rounds, strict=True))
    return [Result("calls created and called back, HTTP, SQLite", product, {"bare Quart handler": reference})]


def _environment(directory: Path, port: int, carrier: int) -> dict[str, str]:
    return {
        **os.environ,
        "DATABASE_URL": f"sqlite+aiosqlite:///{directory}/calls.db",
        "PUBLIC_BASE_URL": f"http://127.0.0.1:{port}",
        "TWILIO_ACCOUNT_SID": ACCOUNT_SID,
        "TWILIO_AUTH_TOKEN": AUTH_TOKEN,
        "TWILIO_API_BASE_URL": f"http://127.0.0.1:{carrier}",
        "FREE_CREDIT_MILLI_CENTS": str(10**12),
        "RATE_LIMIT_PER_MINUTE": "0",
        "LOG_LEVEL": "ERROR",
    }


def _organisation(environment: dict[str, str]) -> str:
    def run(*arguments: str) -> dict[str, str]:
        command = [sys.executable, "-m", "config.cli", *arguments]
        done = subprocess.run(command, env=environment, check=True, capture_output=True)
        made: dict[str, str] = json.loads(done.stdout)
        return made

    made = run("org", "create", "Bench", "--email", "bench@example.com", "--password", "a long sentence")
    run("number", "import", made["org_id"], "+14155550100")
    return made["api_key"]


@contextmanager
def _process(command: list[str], port: int, environment: dict[str, str] | None = None) -> Iterator[None]:
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        await_port(port)
        yield
    finally:
        process.terminate()
        process.wait(30)


def await_port(port: int) -> None:
    import socket

    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError(f"nothing listens on port {port}")


async def _measure(quick: bool, bare: int, ours: int, key: str) -> tuple[float, float]:
    """Calls per second of (the product, the bare handler), one after the other."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=IN_FLIGHT)) as session:
        found = []
        for port in (ours, bare):
            await _run(session, port, key, WARM_UP)
            found.append(await _run(session, port, key, QUICK_CALLS if quick else CALLS))
        return found[0], found[1]


async def _run(session: aiohttp.ClientSession, port: int, key: str, count: int) -> float:
    numbers = iter(range(count))
    started = time.perf_counter()

    async def client() -> None:
        for _ in numbers:
            await _call(session, f"http://127.0.0.1:{port}", key)

    await asyncio.gather(*(client() for _ in range(IN_FLIGHT)))
    return count / (time.perf_counter() - started)


async def _call(session: aiohttp.ClientSession, base: str, key: str) -> None:
    body = {"to": "+14155550199", "prompt": "Ask how their day was."}
    async with session.post(f"{base}/v1/calls", json=body, headers={"Authorization": f"Bearer {key}"}) as answer:
        assert answer.status == 201, await answer.text()
        call_id = (await answer.json())["id"]
    sid = call_id if call_id.startswith("CA") else f"CA{call_id.replace('-', '')}"
    for kind, told in CALLBACKS:
        address = f"{base}/webhooks/twilio/calls/{call_id}/{kind}"
        form = {"AccountSid": ACCOUNT_SID, "CallSid": sid, **told}
        signature = RequestValidator(AUTH_TOKEN).compute_signature(address, form)
        async with session.post(address, data=form, headers={"X-Twilio-Signature": signature}) as answer:
            assert answer.status == 204, await answer.text()
