"""What the relay adds to the language model, with many conversations in one process, and what each of them keeps.

Added: from a caller's final words to the first text of the answer, both at the carrier's end of a real socket, less
what the server's client of the model took from its call to the first words. Carrier and model are in this process,
the server in another; the model begins after 150 ms and says a word every 20 ms. Every conversation is an inbound
call that a signed webhook opened, with speaker events and reports of what has sounded. The bare relay beside it (see
`relay_bare.py`) is what server, client and machine take for the same, and nothing of ours.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psutil  # type: ignore[import-untyped]
import uvloop

from tests.benchmarks.bare import ACCOUNT_SID, AUTH_TOKEN
from tests.benchmarks.load import await_port, percentile
from tests.benchmarks.relay_load import NUMBER, Caller, outside
from tests.benchmarks.report import Aim, Result
from tests.servers import Installation, free_port, installation

MOST_MS = {50: 5.0, 200: 20.0}
"""Conversations → what may be added at p99."""
MOST = "what it may be"
BARE = "a bare relay"
SETTLE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Level:
    conversations: int
    apart_seconds: float
    """Between two turns of one conversation, on average."""
    seconds: float


LEVELS = (Level(1, 1, 30), Level(50, 5, 30), Level(200, 5, 30))
QUICK_LEVELS = (Level(1, 1, 4), Level(10, 2, 6))


@dataclass(frozen=True, slots=True)
class _Measured:
    total_ms: dict[str, float]  # by a turn's reference
    waiting_bytes: float  # for each socket that is open and nothing more
    live_bytes: float  # for each conversation that has gone on for a while


Measure = Callable[[Level, Path, Path], Coroutine[Any, Any, _Measured]]


def added(quick: bool) -> list[Result]:
    return [result for level in (QUICK_LEVELS if quick else LEVELS) for result in _results(level)]


def _results(level: Level) -> list[Result]:
    with tempfile.TemporaryDirectory() as directory:
        measured, ours_ms, model_ms = _run(level, Path(directory) / "ours", _measure)
        _, bare_ms, _ = _run(level, Path(directory) / "bare", _measure_bare)
    at = f"{level.conversations} conversations"
    print(f"  {at}: {len(ours_ms)} turns, {len(bare_ms)} of the bare relay", file=sys.stderr, flush=True)
    found = []
    for percent in (50, 99):
        references = {
            BARE: percentile(bare_ms, percent),
            "the model's client to its first words": percentile(model_ms, percent),
        }
        aims: dict[str, Aim] = {}
        if percent == 99 and level.conversations in MOST_MS:
            references[MOST] = MOST_MS[level.conversations]
            aims[MOST] = Aim(1, least=False)
        found.append(
            Result(f"added by the relay, {at}, p{percent}", percentile(ours_ms, percent), references, "ms", aims)
        )
    kept = {"a socket without one": measured.waiting_bytes / 1024}
    return [*found, Result(f"memory of a conversation, {at}", measured.live_bytes / 1024, kept, "KiB")]


def _run(level: Level, directory: Path, measure: Measure) -> tuple[_Measured, list[float], list[float]]:
    """Also, of each turn, what was added to the model, and what its client took (milliseconds)."""
    directory.mkdir()
    times = directory / "times.json"
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        measured = runner.run(measure(level, directory, times))
    model_ms: dict[str, float] = json.loads(times.read_text())
    added_ms = [total - model_ms[reference] for reference, total in measured.total_ms.items()]
    return measured, added_ms, [model_ms[reference] for reference in measured.total_ms]


async def _measure(level: Level, directory: Path, times: Path) -> _Measured:
    port = free_port()
    async with outside(port), aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        with _serving(directory, f"http://127.0.0.1:{port}", times) as (installed, process):
            first = Caller(session, installed.url)
            await first.talk(await first.ring(), 0.1, 2, asyncio.Barrier(1))  # what is loaded with the first is loaded
            empty = await _resident(process)
            waiting = await _sockets_alone(session, installed.url, level.conversations, process) - empty
            callers = [Caller(session, installed.url) for _ in range(level.conversations)]
            talking, all_greeted = [], asyncio.Barrier(level.conversations + 1)
            for caller in callers:
                talk = caller.talk(await caller.ring(), level.apart_seconds, level.seconds, all_greeted)
                talking.append(asyncio.create_task(talk))
            await all_greeted.wait()
            await asyncio.sleep(level.seconds - 2 * SETTLE_SECONDS)
            live = await _resident(process) - empty
            await asyncio.gather(*talking)
            for caller in callers:
                await caller.hang_up()
    return _Measured(_total_ms(callers), waiting / level.conversations, live / level.conversations)


async def _measure_bare(level: Level, directory: Path, times: Path) -> _Measured:
    model, port = free_port(), free_port()
    async with outside(model), aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        module = ("tests.benchmarks.relay_bare", str(port), str(times), f"http://127.0.0.1:{model}/v1")
        with _process(directory, port, {**os.environ}, *module):
            url = f"http://127.0.0.1:{port}"
            await Caller(session, url).talk("", 0.1, 2, asyncio.Barrier(1))
            callers = [Caller(session, url) for _ in range(level.conversations)]
            all_greeted = asyncio.Barrier(level.conversations)
            told = (level.apart_seconds, level.seconds, all_greeted)
            await asyncio.gather(*(caller.talk("", *told) for caller in callers))
    return _Measured(_total_ms(callers), 0, 0)


def _total_ms(callers: list[Caller]) -> dict[str, float]:
    return {reference: ms for caller in callers for reference, ms in caller.total_ms.items()}


async def _sockets_alone(session: aiohttp.ClientSession, url: str, count: int, process: psutil.Process) -> int:
    """What is resident with so many sockets that have not said which call they carry."""
    async with AsyncExitStack() as stack:
        for _ in range(count):
            await stack.enter_async_context(Caller(session, url).socket())
        return await _resident(process)


async def _resident(process: psutil.Process) -> int:
    await asyncio.sleep(SETTLE_SECONDS)
    resident: int = process.memory_info().rss
    return resident


@contextmanager
def _serving(directory: Path, outside_url: str, times: Path) -> Iterator[tuple[Installation, psutil.Process]]:
    """The server in a process of its own, with an organisation whose number it answers."""
    environment = {
        "TWILIO_ACCOUNT_SID": ACCOUNT_SID,
        "TWILIO_AUTH_TOKEN": AUTH_TOKEN,
        "OPENAI_BASE_URL": f"{outside_url}/v1",
        "FREE_CREDIT_MILLI_CENTS": str(10**12),
        "RATE_LIMIT_PER_MINUTE": "0",
    }
    with installation(directory, outside_url, **environment) as installed:
        created = installed.run("org", "create", "Bench", "--email", "b@example.com", "--password", "a long sentence")
        installed.run("number", "import", json.loads(created.stdout)["org_id"], NUMBER)
        module = ("tests.benchmarks.relay_server", str(installed.port), str(times))
        with _process(directory, installed.port, installed.environment, *module) as process:
            yield installed, psutil.Process(process.pid)


@contextmanager
def _process(
    directory: Path, port: int, environment: Mapping[str, str], *module: str
) -> Iterator["subprocess.Popen[bytes]"]:
    with (directory / "server.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", *module], env=environment, stdout=log, stderr=log)
    try:
        await_port(port)
        yield process
    finally:
        process.terminate()
        process.wait(60)
