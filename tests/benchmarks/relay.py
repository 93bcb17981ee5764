"""What the relay adds to the language model, with many conversations in one process, and what each of them keeps.

Added: from a caller's final words to the first text of the answer, both at the carrier's end of a real socket, less
what the server's client of the model took from its call to the first words. Carrier and model are in this process,
the server in another; the model begins after 150 ms and says a word every 20 ms. Every conversation is an inbound
call that a signed webhook opened, with speaker events and reports of what has sounded.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

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
SETTLE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Level:
    conversations: int
    apart_seconds: float
    """Between two turns of one conversation, on average."""
    seconds: float


LEVELS = (Level(1, 1, 40), Level(50, 5, 40), Level(200, 5, 40))
QUICK_LEVELS = (Level(1, 1, 4), Level(10, 2, 6))


@dataclass(frozen=True, slots=True)
class _Measured:
    total_ms: dict[str, float]  # by a turn's reference
    waiting_bytes: float  # for each socket that is open and nothing more
    live_bytes: float  # for each conversation that has gone on for a while


def added(quick: bool) -> list[Result]:
    return [result for level in (QUICK_LEVELS if quick else LEVELS) for result in _results(level)]


def _results(level: Level) -> list[Result]:
    with tempfile.TemporaryDirectory() as directory:
        times = Path(directory) / "times.json"
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            measured = runner.run(_measure(level, Path(directory), times))
        model_ms: dict[str, float] = json.loads(times.read_text())
    turns = [(total, model_ms[reference]) for reference, total in measured.total_ms.items()]
    at = f"{level.conversations} conversations"
    print(f"  {at}: {len(turns)} turns", file=sys.stderr, flush=True)
    found = []
    for percent in (50, 99):
        references = {"the model's client to its first words": percentile([model for _, model in turns], percent)}
        aims: dict[str, Aim] = {}
        if percent == 99 and level.conversations in MOST_MS:
            references[MOST] = MOST_MS[level.conversations]
            aims[MOST] = Aim(1, least=False)
        ours = percentile([total - model for total, model in turns], percent)
        found.append(Result(f"added by the relay, {at}, p{percent}", ours, references, "ms", aims))
    kept = {"a socket without one": measured.waiting_bytes / 1024}
    return [*found, Result(f"memory of a conversation, {at}", measured.live_bytes / 1024, kept, "KiB")]


async def _measure(level: Level, directory: Path, times: Path) -> _Measured:
    port = free_port()
    async with outside(port), aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        with _serving(directory, f"http://127.0.0.1:{port}", times) as (installed, process):
            first = Caller(session, installed.url)
            await first.talk(await first.ring(), 0.1, _in(2))  # whatever is loaded with the first is loaded
            empty = await _resident(process)
            waiting = await _sockets_alone(session, installed.url, level.conversations, process) - empty
            callers = [Caller(session, installed.url) for _ in range(level.conversations)]
            end = _in(level.seconds + 0.02 * level.conversations)
            talking = []
            for caller in callers:
                talking.append(asyncio.create_task(caller.talk(await caller.ring(), level.apart_seconds, end)))
            await asyncio.sleep(end - _in(0) - 1)
            live = await _resident(process) - empty
            await asyncio.gather(*talking)
            for caller in callers:
                await caller.hang_up()
    total_ms = {reference: ms for caller in callers for reference, ms in caller.total_ms.items()}
    return _Measured(total_ms, waiting / level.conversations, live / level.conversations)


def _in(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


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
        command = [sys.executable, "-m", "tests.benchmarks.relay_server", str(installed.port), str(times)]
        with (directory / "server.log").open("wb") as log:
            process = subprocess.Popen(command, env=installed.environment, stdout=log, stderr=log)
        try:
            await_port(installed.port)
            yield installed, psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait(60)
