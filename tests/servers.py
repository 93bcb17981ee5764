"""Whole servers for tests: the application in this event loop, or as a process, beside a simulated network.

Invariant: nothing of the surrounding environment reaches a server; what a test does not say is at its default.
"""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
from quart import Quart
from twilio.request_validator import RequestValidator

from accounts.commands import CreateOrganisation
from accounts.keys import new_key
from billing.ledger import Post
from billing.posting import Posting
from billing.tables import wallets
from config.app import create_app
from config.clock import new_id, now_ms
from config.database import Database
from config.door import Door
from config.settings import SIMULATED_ACCOUNT_SID, SIMULATED_SECRET, Settings, load
from simulator import app as simulator_app
from simulator.network import Network
from tests.commands import commands
from tests.described import Description
from voice.live.store import IssueTicket, RedeemTicket
from voice.live.switchboard import Switchboard
from voice.numbers.commands import ImportNumber
from voice.sweeper import Sweeper

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
DOLLAR = 100_000
PATIENCE_SECONDS = 60
NOWHERE = "http://127.0.0.1:9"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def settings_of(environment: Mapping[str, str]) -> Settings:
    """Settings as a process with exactly this environment would have them."""
    with mock.patch.dict(os.environ, environment, clear=True):
        return load()


async def until(holds: Callable[[], Any], what: str = "") -> Any:
    """Wait until `holds` (which may be a coroutine function) gives something true; gives that."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        found = holds()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        await asyncio.sleep(0.02)
    raise AssertionError(f"waited in vain for {what or holds}")


@dataclass
class Organisation:
    """A customer of the server: its keys, its number, and a client that asks as it."""

    id: str
    api_key: str
    number: str
    api: httpx.AsyncClient

    async def call(self, to: str, expect: int = 201, headers: Mapping[str, str] | None = None, **body: Any) -> Any:
        """Create a call; gives the JSON that came back with the expected status."""
        response = await self.api.post("/v1/calls", json={"to": to, **body}, headers=dict(headers or {}))
        assert response.status_code == expect, response.text
        return response.json()

    async def get(self, path: str, **query: Any) -> Any:
        response = await self.api.get(path, params=query)
        assert response.status_code == 200, response.text
        return response.json()

    async def call_of(self, call: Mapping[str, Any]) -> Any:
        return await self.get(f"/v1/calls/{call['id']}")

    async def wallet(self) -> Any:
        return await self.get("/v1/billing/wallet")

    async def over(self, call: Mapping[str, Any]) -> Any:
        """The call once it is settled or released."""

        async def settled() -> Any:
            shown = await self.call_of(call)
            return shown if shown["billing_reason"] is not None else None

        return await until(settled, "the end of the call")


class VirtualClock:
    """The real time plus what a test lets pass."""

    def __init__(self) -> None:
        self.ahead_ms = 0

    def __call__(self) -> int:
        return now_ms() + self.ahead_ms

    def advance(self, seconds: float) -> None:
        self.ahead_ms += round(seconds * 1000)


async def create_organisation(
    url: str, door: Door, *, credit: int = 5 * DOLLAR, number: str | None = "+14155550100", key: str | None = None
) -> Organisation:
    """An organisation with an API key, `credit` milli-cents and an active number, through a door of the database."""
    key = key or new_key()
    org_id, email = new_id(), f"{new_id()}@example.com"
    await door.submit(CreateOrganisation(org_id, new_id(), new_id(), new_id(), "Example", email, "none", key, 0))
    if credit:
        await door.submit(Post(Posting(new_id(), f"{org_id}:test", org_id, "adjustment", credit, reason="test")))
    if number is not None:
        refusal = await door.submit(ImportNumber(new_id(), org_id, number, "US"))
        assert refusal is None, refusal
    api = httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=40)
    return Organisation(org_id, key, number or "", api)


@asynccontextmanager
async def opened_door(database_url: str) -> AsyncIterator[Door]:
    """A door beside a running server, as the command line opens one."""
    database = Database(database_url)
    door = Door(database, wallets)
    door.open()
    yield door
    await door.close()
    await database.close()


@dataclass
class Server:
    """The application in this event loop on a real socket, with its parts in reach."""

    url: str
    app: Quart
    settings: Settings
    clock: VirtualClock
    network: Network | None = None
    network_url: str = ""
    clients: list[httpx.AsyncClient] = field(default_factory=list)

    @property
    def database(self) -> Database:
        database: Database = self.app.extensions["database"]
        return database

    @property
    def door(self) -> Door:
        door: Door = self.app.extensions["door"]
        return door

    async def organisation(self, **wanted: Any) -> Organisation:
        number = wanted.pop("number", "+14155550100")
        made = await create_organisation(self.url, self.door, **wanted, number=None)
        self.clients.append(made.api)
        if number is not None:
            await self.number(made, number)
            made.number = number
        return made

    async def number(self, org: Organisation, e164: str) -> None:
        """One more active number, at the carrier too."""
        refusal = await self.door.submit(ImportNumber(new_id(), org.id, e164, "US"))
        assert refusal is None, refusal
        if self.network is not None and e164 not in self.network.numbers:
            self.network.add_number(e164, e164)

    async def converse(self, org: Organisation, call: Mapping[str, Any], sid: str) -> None:
        """Have the agent on the line: where time runs fast, a conversation may not begin by itself before the end."""
        ticket_id = new_id()
        await self.door.submit(IssueTicket(call["id"], org.id, ticket_id))
        assert await self.door.submit(RedeemTicket(ticket_id, sid)) is not None

    async def credit(self, org: Organisation, milli_cents: int) -> None:
        posting = Posting(new_id(), f"{org.id}:{new_id()}", org.id, "adjustment", milli_cents, reason="test")
        await self.door.submit(Post(posting))

    async def sweep(self) -> Any:
        """What `callingbox-server sweep` does, in this process."""
        calls = self.app.extensions["calls"]
        return await Sweeper(self.database, self.door, calls.outbox, calls.policy, self.clock).sweep()

    async def callback(self, path: str, form: Mapping[str, str], **changes: Any) -> httpx.Response:
        """Post a form as the carrier does, signed for our public address unless `signature` says otherwise."""
        form = {"AccountSid": self.settings.carrier_account_sid, **form}
        base = changes.get("signed_base", self.settings.public_base_url)
        signer = RequestValidator(changes.get("token", self.settings.carrier_auth_token))
        signature = changes.get("signature", signer.compute_signature(base + changes.get("signed_path", path), form))
        headers = {**({} if signature is None else {"X-Twilio-Signature": signature}), **changes.get("headers", {})}
        async with httpx.AsyncClient(base_url=self.url, timeout=40) as client:
            return await client.post(path, data=dict(form), headers=headers)

    async def records(self) -> Any:
        """The simulated network's own account of every call."""
        async with httpx.AsyncClient(base_url=self.network_url) as client:
            return (await client.get("/_sim/calls")).json()["calls"]


@asynccontextmanager
async def running_network(**options: Any) -> AsyncIterator[tuple[str, Network]]:
    """The simulated network in this event loop, with the account that a server without Twilio keys uses."""
    known = {"account_sid": SIMULATED_ACCOUNT_SID, "auth_token": SIMULATED_SECRET, "numbers": (), "seed": 1}
    async with simulator_app.running(simulator_app.Options(**{**known, "speed": 100.0, **options})) as running:
        yield running


@cache
def description() -> Description:
    return Description(create_app(settings_of({})))


@asynccontextmanager
async def running_server(
    database_url: str, *, network: tuple[str, Network] | None = None, **environment: str
) -> AsyncIterator[Server]:
    """The application on a free port; `environment` as a process would get it. Without a network its carrier, bank and
    model are nowhere: those of a simulator that somebody runs at its usual port are not a test's."""
    listening = simulator_app.listen("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    defaults = {"DATABASE_URL": database_url, "PUBLIC_BASE_URL": url, "LOG_LEVEL": "WARNING"}
    defaults["TWILIO_API_BASE_URL"] = NOWHERE if network is None else network[0]
    settings = settings_of({**defaults, **environment})
    clock = VirtualClock()
    app = create_app(settings, clock)
    undescribed = description().hold(app)
    stop = asyncio.Event()
    serving = asyncio.create_task(simulator_app.serve(app, listening, stop.wait))
    server = Server(url, app, settings, clock)
    if network is not None:
        server.network_url, server.network = network
    try:
        async with httpx.AsyncClient(base_url=url) as probe:
            await until(lambda: serving.done() or _answers(probe), "the server")
        if serving.done():
            await serving  # says why
        yield server
    finally:
        for client in server.clients:
            await client.aclose()
        stop.set()
        while not serving.done():
            await _cut_off_conversations(app)
            await asyncio.wait({serving}, timeout=0.05)
        await serving
    assert not undescribed, undescribed


async def _cut_off_conversations(app: Quart) -> None:
    """While their last words can still be stored: without a door they would try for long."""
    switchboard: Switchboard | None
    if (switchboard := app.extensions["switchboard"]) is not None:
        switchboard.is_draining = True
        tasks = [live.task for live in switchboard._live.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _answers(probe: httpx.AsyncClient) -> bool:
    try:
        return (await probe.get("/healthz")).status_code == 200
    except httpx.TransportError:
        return False


class Process:
    """A program of this project with an environment of its own; its output goes to a file."""

    def __init__(self, arguments: list[str], environment: Mapping[str, str], log: Path) -> None:
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                arguments, env=dict(environment), stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

    def await_answer(self, url: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            assert self._process.poll() is None, self.log.read_text()
            try:
                if httpx.get(url, timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.05)
        raise AssertionError(f"{url} does not answer: {self.log.read_text()}")

    def kill(self) -> None:
        """As a power cut does it: nothing is finished or flushed."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """As an operator does it. Gives the exit code."""
        self._process.terminate()
        try:
            return self._process.wait(PATIENCE_SECONDS)
        finally:
            self.kill()


@dataclass
class Installation:
    """A server as somebody runs it: its environment, its processes, its command line."""

    directory: Path
    environment: dict[str, str]
    port: int
    server: Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def database_url(self) -> str:
        return self.environment["DATABASE_URL"]

    @property
    def logs(self) -> str:
        return "".join(path.read_text() for path in sorted(self.directory.glob("*.log")))

    def start(self, *, by_procfile: bool = False) -> Process:
        """By the command line, or with Hypercorn as the Procfile starts it."""
        arguments = [str(BIN / "callingbox-server"), "serve", "--port", str(self.port)]
        if by_procfile:
            address = f"127.0.0.1:{self.port}"
            configuration = str(ROOT / "config" / "hypercorn.toml")
            arguments = [
                str(BIN / "hypercorn"),
                "--config",
                configuration,
                "--bind",
                address,
                "config.app:create_app()",
            ]
        self.server = Process(arguments, self.environment, self.directory / "server.log")
        self.server.await_answer(f"{self.url}/readyz")
        return self.server

    def run(self, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """A command of `callingbox-server`."""
        done = commands().run(arguments, self.environment)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done


@contextmanager
def network_process(directory: Path, *, speed: float = 60.0, **options: str) -> Iterator[str]:
    """The simulated network as a program of its own, for tests that block; gives its address."""
    port = free_port()
    arguments = {"port": port, "speed": speed, "seed": 1, "account-sid": SIMULATED_ACCOUNT_SID, **options}
    command = [sys.executable, "-m", "simulator", "--auth-token", SIMULATED_SECRET]
    command += [f"--{name}={value}" for name, value in arguments.items()]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    process = Process(command, environment, directory / "network.log")
    try:
        process.await_answer(f"http://127.0.0.1:{port}/_sim")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()


@contextmanager
def installation(
    directory: Path, network_url: str, *, database_url: str | None = None, **environment: str
) -> Iterator[Installation]:
    """A directory and a port for a server process, ended with the test. Nothing runs yet."""
    port = free_port()
    made = Installation(
        directory,
        {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "HOME": str(directory),
            "DATABASE_URL": database_url or f"sqlite+aiosqlite:///{directory}/callingbox.db",
            "PUBLIC_BASE_URL": f"http://127.0.0.1:{port}",
            "TWILIO_API_BASE_URL": network_url,
            "RATE_LIMIT_PER_MINUTE": "0",  # tests ask again and again, and faster on a faster machine
            **environment,
        },
        port,
    )
    try:
        yield made
    finally:
        if made.server is not None:
            made.server.kill()
        print(made.logs)  # shown with a test that fails
