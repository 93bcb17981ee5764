"""From the start of the server until it is ready, and what it keeps in memory: at rest, and with 1,000 live calls.

The reference of the start is a Python that imports the same packages and nothing of ours. The live calls are inbound,
each opened by a signed webhook, with its socket open and its greeting heard.
"""

import asyncio
import http.client
import re
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from statistics import median
from typing import IO

import aiohttp
import psutil  # type: ignore[import-untyped]
import uvloop

from tests.benchmarks.calls import environment
from tests.benchmarks.history import directory, fresh_sqlite, organisations
from tests.benchmarks.relay_load import Caller, outside
from tests.benchmarks.report import Aim, Result
from tests.servers import ROOT, free_port

ROUNDS, LIVE_CALLS, QUICK_LIVE_CALLS = 5, 1_000, 20
AT_ONCE = 50
SETTLE_SECONDS = 2.0
MOST_MEGABYTES = 150.0
ARGUMENTS = ("-m", "config.cli", "serve")
NO_SETTINGS: Mapping[str, str] = {}
_IMPORTED = re.compile(r"^import time: +\d+ \| +\d+ \| +(\S+)$", re.MULTILINE)
_IMPORT = """
import contextlib, importlib, sys
for name in sys.stdin.read().split():
    with contextlib.suppress(Exception):
        importlib.import_module(name)
"""


def of_server(quick: bool) -> list[Result]:
    names = _imported_by_server()
    times = [(_start_seconds(), _import_seconds(names)) for _ in range(1 if quick else ROUNDS)]
    ready, importing = map(median, zip(*times, strict=True))
    print(f"  ready in {ready:.2f} s, of {importing:.2f} s importing", file=sys.stderr, flush=True)
    aims = {"importing the same packages": Aim(1.5, least=False)}
    started = Result("start to ready", ready, {"importing the same packages": importing}, "s", aims)
    return [started, *_memory(quick)]


# -- start ------------------------------------------------------------------------------------------------------------


def _imported_by_server() -> list[str]:
    """The modules that are not ours, in the order in which a server at rest has imported them."""
    log = directory() / "imports.log"
    with log.open("wb") as errors, _server(_database(), ["-X", "importtime", *ARGUMENTS], errors=errors) as (port, _):
        _ask_until_ready(port)
    ours = {path.name for path in ROOT.iterdir()} | {"__main__"}
    return [name for name in _IMPORTED.findall(log.read_text()) if name.partition(".")[0] not in ours]


def _start_seconds() -> float:
    url, began = _database(), time.perf_counter()
    with _server(url, ARGUMENTS) as (port, _):
        _ask_until_ready(port)
        return time.perf_counter() - began


def _import_seconds(names: Sequence[str]) -> float:
    began = time.perf_counter()
    told = " ".join(names).encode()
    subprocess.run([sys.executable, "-c", _IMPORT], input=told, stderr=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def _ask_until_ready(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return
        except OSError:  # not yet
            time.sleep(0.005)
        finally:
            connection.close()
    raise TimeoutError("the server is not ready")


@contextmanager
def _server(
    url: str,
    arguments: Sequence[str],
    settings: Mapping[str, str] = NO_SETTINGS,
    errors: int | IO[bytes] = subprocess.DEVNULL,
) -> Iterator[tuple[int, psutil.Process]]:
    port = free_port()
    told = environment(url, port, "http://127.0.0.1:1") | dict(settings)
    process = subprocess.Popen([sys.executable, *arguments, "--port", str(port)], env=told, stderr=errors)
    try:
        yield port, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(60)


def _database() -> str:
    url = fresh_sqlite()
    organisations(url, 1)
    return url


# -- memory -----------------------------------------------------------------------------------------------------------


def _memory(quick: bool) -> list[Result]:
    count = QUICK_LIVE_CALLS if quick else LIVE_CALLS
    with _server(_database(), ARGUMENTS) as (port, process):
        _ask_until_ready(port)
        time.sleep(SETTLE_SECONDS)
        resting = _megabytes(process)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        before, live = runner.run(_with_live_calls(_database(), count))
    most = "what it may be"
    return [
        Result("memory at rest", resting, {most: MOST_MEGABYTES}, "MB", {most: Aim(1, least=False)}),
        Result(f"memory with {count:,} live calls", live, {"after one call": before}, "MB"),
    ]


async def _with_live_calls(database_url: str, count: int) -> tuple[float, float]:
    """Megabytes (after one conversation, while so many go on)."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    outside_port = free_port()
    url = f"http://127.0.0.1:{outside_port}"
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(outside(outside_port))
        connector = aiohttp.TCPConnector(limit=0)
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        settings = {"TWILIO_API_BASE_URL": url, "OPENAI_BASE_URL": f"{url}/v1"}
        port, process = stack.enter_context(_server(database_url, ARGUMENTS, settings))
        await asyncio.to_thread(_ask_until_ready, port)
        first = Caller(session, f"http://127.0.0.1:{port}")
        await first.talk(await first.ring(), 0.1, 1, asyncio.Barrier(1))  # what is loaded with the first is loaded
        before, ended, places = _megabytes(process), asyncio.Event(), asyncio.Semaphore(AT_ONCE)
        going = 0

        async def live() -> None:
            nonlocal going
            caller = Caller(session, f"http://127.0.0.1:{port}")
            async with AsyncExitStack() as call:
                async with places:
                    await call.enter_async_context(caller.greeted(await caller.ring()))
                going += 1
                await ended.wait()

        async with asyncio.TaskGroup() as callers:
            for _ in range(count):
                callers.create_task(live())
            while going < count:
                await asyncio.sleep(0.1)
            await asyncio.sleep(SETTLE_SECONDS)
            found = _megabytes(process)
            ended.set()
        return before, found


def _megabytes(process: psutil.Process) -> float:
    return float(process.memory_info().rss) / 1_000_000
