"""Calls placed and callbacks heard per second over HTTP, against a bare handler doing only what cannot be left out.

Both stand behind hypercorn in a process of their own, beside a carrier that answers at once; the load comes from here.
First all calls are placed, then each is called back four times.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import msgspec
import psutil  # type: ignore[import-untyped]
import uvloop
from twilio.request_validator import RequestValidator

from tests.benchmarks.bare import ACCOUNT_SID, AUTH_TOKEN
from tests.benchmarks.history import fresh_sqlite, organisations
from tests.benchmarks.load import Connection, await_port, drive, percentile, post
from tests.benchmarks.report import Aim, Result
from tests.servers import free_port

CALLS, QUICK_CALLS, WARM_UP, ROUNDS = 400, 40, 60, 3
IN_FLIGHT = 32
TIGERFANS = "TigerFans, reserve over HTTP on Postgres, as its authors say"
TIGERFANS_A_SECOND = 390.0
CALLBACKS = (
    ("status", {"CallStatus": "ringing"}),
    ("status", {"CallStatus": "in-progress"}),
    ("verdict", {"AnsweredBy": "human", "MachineDetectionDuration": "3200"}),
    ("status", {"CallStatus": "completed", "CallDuration": "67"}),
)
CREATE_AIM, CALLBACK_AIM, P99_AIM = Aim(0.55), Aim(0.6), Aim(2, least=False)


def over_http(quick: bool) -> list[Result]:
    with ExitStack() as stack:
        carrier = stack.enter_context(carrier_process())
        database_url = fresh_sqlite()
        [org] = organisations(database_url, 1)
        ours = stack.enter_context(serving(database_url, carrier, [org.api_key]))
        bare = stack.enter_context(bare_handler(carrier))
        product, reference = rounds(quick, [ours, bare])
    return compared("SQLite", product, reference)


def compared(what: str, product: "Round", reference: "Round") -> list[Result]:
    """The aims are for the absolute figures of one process."""
    bare, verified = "bare Quart handler, same outgoing request", "bare Quart handler, signature only"
    return [
        Result(
            f"POST /v1/calls, {what}",
            product.calls_a_second,
            {bare: reference.calls_a_second, TIGERFANS: TIGERFANS_A_SECOND},
            aims={bare: CREATE_AIM},
        ),
        Result(f"POST /v1/calls, {what}, p50", product.call_p50_ms, {bare: reference.call_p50_ms}, "ms"),
        Result(
            f"POST /v1/calls, {what}, p99", product.call_p99_ms, {bare: reference.call_p99_ms}, "ms", {bare: P99_AIM}
        ),
        Result(
            f"status callbacks, {what}",
            product.callbacks_a_second,
            {verified: reference.callbacks_a_second},
            aims={verified: CALLBACK_AIM},
        ),
        Result(f"status callbacks, {what}, p99", product.callback_p99_ms, {verified: reference.callback_p99_ms}, "ms"),
        Result(f"processor time of a call placed, {what}", product.call_cpu_ms, {bare: reference.call_cpu_ms}, "ms"),
        Result(
            f"processor time of a callback, {what}",
            product.callback_cpu_ms,
            {verified: reference.callback_cpu_ms},
            "ms",
        ),
    ]


# -- processes --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Serving:
    """A server, and the keys of the organisations that call there in turns."""

    port: int
    process: psutil.Process
    keys: Sequence[str]

    def processor_seconds(self) -> float:
        times = [each.cpu_times() for each in (self.process, *self.process.children(recursive=True))]
        return float(sum(each.user + each.system for each in times))


@contextmanager
def carrier_process() -> Iterator[str]:
    """Gives its address."""
    port = free_port()
    with process([sys.executable, "-m", "tests.benchmarks.bare", "carrier", str(port)], port):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def bare_handler(carrier: str) -> Iterator[Serving]:
    port = free_port()
    with process([sys.executable, "-m", "tests.benchmarks.bare", "handler", str(port), carrier], port) as started:
        yield Serving(port, started, ["sk_live_none"])


@contextmanager
def serving(database_url: str, carrier: str, keys: Sequence[str]) -> Iterator[Serving]:
    port = free_port()
    command = [sys.executable, "-m", "config.cli", "serve", "--port", str(port)]
    with process(command, port, environment(database_url, port, carrier)) as started:
        yield Serving(port, started, keys)


def environment(database_url: str, port: int, carrier: str) -> dict[str, str]:
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "DATABASE_URL": database_url,
        "PUBLIC_BASE_URL": f"http://127.0.0.1:{port}",
        "PORT": str(port),
        "TWILIO_ACCOUNT_SID": ACCOUNT_SID,
        "TWILIO_AUTH_TOKEN": AUTH_TOKEN,
        "TWILIO_API_BASE_URL": carrier,
        "RATE_LIMIT_PER_MINUTE": "0",
        "LOG_LEVEL": "ERROR",
    }


@contextmanager
def process(command: list[str], port: int, environment: Mapping[str, str] | None = None) -> Iterator[psutil.Process]:
    started = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        await_port(port)
        yield psutil.Process(started.pid)
    finally:
        started.terminate()
        started.wait(60)


# -- rounds -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Round:
    """What one server did, or the medians of several rounds."""

    calls_a_second: float
    call_p50_ms: float
    call_p99_ms: float
    call_cpu_ms: float
    callbacks_a_second: float
    callback_p99_ms: float
    callback_cpu_ms: float


def rounds(quick: bool, servers: Sequence[Serving]) -> list[Round]:
    """The servers' medians; they are asked in turns, so that whatever else the machine does falls on all."""

    async def measure() -> list[list[Round]]:
        for server in servers:
            await _round(server, WARM_UP)
        times, count = (1, QUICK_CALLS) if quick else (ROUNDS, CALLS)
        return [[await _round(server, count) for server in servers] for _ in range(times)]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        measured = runner.run(measure())
    names = Round.__slots__
    return [
        Round(*(median(getattr(each, name) for each in of) for name in names)) for of in zip(*measured, strict=True)
    ]


async def _round(server: Serving, count: int) -> Round:
    ids, call_seconds, before = [""] * count, list[float](), server.processor_seconds()
    loop = asyncio.get_running_loop()
    body = msgspec.json.encode({"to": "+14155550199", "prompt": "Ask how their day was."})
    requests = [post("/v1/calls", body, {"Authorization": f"Bearer {key}"}) for key in server.keys]

    async def create(connection: Connection, number: int) -> None:
        began = loop.time()
        status, told = await connection.ask(requests[number % len(requests)])
        call_seconds.append(loop.time() - began)
        assert status == 201, told
        ids[number] = msgspec.json.decode(told)["id"]

    seconds = await drive(server.port, count, IN_FLIGHT, create)
    between, callback_seconds = server.processor_seconds(), list[float]()
    told = [_callbacks(server.port, call_id) for call_id in ids]

    async def call_back(connection: Connection, number: int) -> None:
        for request in told[number]:
            began = loop.time()
            status, said = await connection.ask(request)
            callback_seconds.append(loop.time() - began)
            assert status == 204, said

    more_seconds = await drive(server.port, count, IN_FLIGHT, call_back)
    callbacks = count * len(CALLBACKS)
    return Round(
        calls_a_second=count / seconds,
        call_p50_ms=median(call_seconds) * 1000,
        call_p99_ms=percentile(call_seconds, 99) * 1000,
        call_cpu_ms=(between - before) / count * 1000,
        callbacks_a_second=callbacks / more_seconds,
        callback_p99_ms=percentile(callback_seconds, 99) * 1000,
        callback_cpu_ms=(server.processor_seconds() - between) / callbacks * 1000,
    )


def _callbacks(port: int, call_id: str) -> list[bytes]:
    """The four requests of a call, in their order."""
    made, signer = [], RequestValidator(AUTH_TOKEN)
    for kind, told in CALLBACKS:
        path = f"/webhooks/twilio/calls/{call_id}/{kind}"
        form = {"AccountSid": ACCOUNT_SID, "CallSid": f"CA{call_id.replace('-', '')}", **told}
        signature = signer.compute_signature(f"http://127.0.0.1:{port}{path}", form)
        made.append(post(path, form, {"X-Twilio-Signature": signature}))
    return made
