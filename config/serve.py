"""Running the server as a process: `web` with what the embedded database needs beside it, and `worker`.

Invariant: a signal to stop lets accepted work finish; the simulator, where one was started, ends with us.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from config.settings import Settings

HYPERCORN = Path(__file__).parent / "hypercorn.toml"
SIMULATOR_READY_SECONDS = 15
PROBE_TIMEOUT_SECONDS = 2


def serve(settings: Settings, host: str, port: int) -> int:
    """Serve until SIGTERM or SIGINT. Raises click.ClickException."""
    settings = at_address(settings, host, port)
    _refuse_unreachable(settings)
    listening = listen(host, port, "--port or PORT")
    with simulator_for(settings), asyncio.Runner(loop_factory=loop_factory()) as runner:
        from config.app import create_app

        runner.run(introduce_numbers(settings))
        click.echo(f"callingbox-server: {settings.public_base_url}", err=True)
        runner.run(serve_app(create_app(settings), listening))
    return 0


def work(settings: Settings, listening: socket.socket | None = None) -> int:
    """The background work, until SIGTERM or SIGINT; meanwhile `/metrics` of this process, where one is to listen."""
    from config.logs import configure
    from config.machinery import Machinery

    configure(settings.log_level)

    async def run() -> None:
        machinery = Machinery(settings)
        app = None if listening is None else _watched(machinery)  # counts from the beginning
        await machinery.open()
        machinery.begin_work()
        await (_stopped() if app is None or listening is None else serve_app(app, listening))
        await machinery.close()

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(run())
    return 0


def _watched(machinery: Any) -> Any:
    from config.app import create_worker_app  # with every page, which a worker that nobody watches can do without

    return create_worker_app(machinery)


def listen(host: str, port: int, option: str = "--port") -> socket.socket:
    """A listening socket, taken before anything else happens. Raises click.ClickException."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        reason = (error.strerror or str(error)).partition(" (")[0].lower()
        raise click.ClickException(
            f"cannot listen on {host} port {port}: {reason}; choose another with {option}"
        ) from None


def _refuse_unreachable(settings: Settings) -> None:
    """Where real telephones ring, callbacks must arrive. Raises click.ClickException."""
    if settings.real_network and urlsplit(settings.public_base_url).scheme != "https":
        raise click.ClickException(
            f"PUBLIC_BASE_URL: Twilio does not reach {settings.public_base_url}; set the https address at which it does"
        )


def at_address(settings: Settings, host: str, port: int) -> Settings:
    """Unless PUBLIC_BASE_URL says otherwise, callbacks come to where we listen."""
    if "public_base_url" in settings.model_fields_set:
        return settings
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return settings.model_copy(update={"public_base_url": f"http://{shown}:{port}"})


async def serve_app(app: Any, listening: socket.socket) -> None:
    """Serve on a listening socket until SIGTERM or SIGINT; takes the socket over."""
    from hypercorn.asyncio import serve as hypercorn_serve
    from hypercorn.config import Config

    config = Config.from_toml(HYPERCORN)
    config.bind = [f"fd://{listening.detach()}"]
    config.errorlog = None
    stopped = app.extensions["winds_up"] = asyncio.create_task(_drained(app))
    await hypercorn_serve(app, config, shutdown_trigger=lambda: asyncio.shield(stopped))


async def _drained(app: Any) -> None:
    """Told to stop, we still answer while running conversations are handed on. After that Hypercorn closes what looks
    idle, even where a request is just arriving: what would not be answered is not begun."""
    await _stopped()
    if (switchboard := app.extensions["switchboard"]) is not None:
        await switchboard.drain()
    app.extensions["begins_nothing"] = True


async def _stopped() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


# -- the simulated network ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Simulator:
    """A simulated network that answers: its address, and how many of its seconds pass in a real one."""

    url: str
    speed: float


@contextlib.contextmanager
def simulator_for(settings: Settings, *arguments: str) -> Iterator[Simulator | None]:
    """Where no carrier is configured, a simulated one on loopback: ours, or one that was left running.

    None where there is a carrier, or where something else answers at that address. Raises click.ClickException.
    """
    if not settings.simulated_network:
        yield None
        return
    found = _probe(settings)
    if found is not None and os.environ.get("SIMULATOR_SCENARIO"):
        said = f"the simulated network at {found.url} was running already, without SIMULATOR_SCENARIO"
        click.echo(f"callingbox-server: {said}; end what started it first", err=True)
    if found is not None or not _is_free(settings.carrier_base_url):
        _introduce_bank(settings, found)
        yield found
        return
    process = subprocess.Popen(_command(settings, arguments), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)  # noqa: S603
    try:
        started = _started(settings, process)
        _introduce_bank(settings, started)
        yield started
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
        process.kill()


def _command(settings: Settings, arguments: tuple[str, ...]) -> list[str]:
    address = urlsplit(settings.carrier_base_url)
    mail = urlsplit(settings.mail_url)
    mailbox = ("--mail-port", str(mail.port)) if mail.hostname == "127.0.0.1" and _is_free(settings.mail_url) else ()
    return [
        *(sys.executable, "-m", "simulator"),
        *("--host", address.hostname or "", "--port", str(address.port or 80)),
        *("--account-sid", settings.carrier_account_sid, "--auth-token", settings.carrier_auth_token),
        *mailbox,
        *arguments,
    ]


def _started(settings: Settings, process: "subprocess.Popen[bytes]") -> Simulator:
    deadline = time.monotonic() + SIMULATOR_READY_SECONDS
    while (found := _probe(settings)) is None:
        if process.poll() is not None or time.monotonic() > deadline:
            raise click.ClickException("the simulated telephone network did not start")
        time.sleep(0.05)
    return found


def _probe(settings: Settings) -> Simulator | None:
    """The simulated network with our account, if it is what answers at the carrier's address."""
    url = settings.carrier_base_url
    try:
        with urllib.request.urlopen(f"{url}/_sim", timeout=PROBE_TIMEOUT_SECONDS) as answer:  # noqa: S310
            said = json.load(answer)
        if said["account_sid"] == settings.carrier_account_sid:
            return Simulator(url, float(said["speed"]))
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def _introduce_bank(settings: Settings, simulator: Simulator | None) -> None:
    """Have the simulated bank tell us of payments. It refuses an address beyond this machine: then what it knows is
    asked for, on the way back from paying and every quarter of an hour."""
    if simulator is None or not settings.simulated_bank:
        return
    wanted = {
        "webhook_url": f"{settings.public_base_url}/webhooks/stripe",
        "webhook_secrets": settings.bank_webhook_secrets,
    }
    request = urllib.request.Request(  # noqa: S310
        f"{simulator.url}/_sim/stripe/settings", json.dumps(wanted).encode(), {"Content-Type": "application/json"}
    )
    with contextlib.suppress(OSError):
        urllib.request.urlopen(request, timeout=PROBE_TIMEOUT_SECONDS).close()  # noqa: S310


def _is_free(url: str) -> bool:
    address = urlsplit(url)
    with socket.socket() as probe:
        probe.settimeout(PROBE_TIMEOUT_SECONDS)
        return probe.connect_ex((address.hostname or "", address.port or 80)) != 0


async def introduce_numbers(settings: Settings) -> None:
    """Tell the simulated network, which forgets everything when it ends, which numbers are ours."""
    if not settings.simulated_network:
        return
    import structlog
    from sqlalchemy import select
    from sqlalchemy.exc import SQLAlchemyError

    from config.database import Database, Unavailable
    from voice.carrier import Addresses, Carrier, CarrierUnavailable
    from voice.tables import numbers

    database = Database(settings.database_url)
    addresses = Addresses(settings.public_base_url)
    carrier = Carrier(settings.carrier_account_sid, settings.carrier_auth_token, settings.carrier_base_url, addresses)
    log = structlog.get_logger(__name__)
    await carrier.open()
    try:
        async with database.read() as connection:
            known = await connection.execute(select(numbers.c.e164).where(numbers.c.status == "active"))
        for e164 in known.scalars():
            try:
                await carrier.point_number_here(e164, create=True)
            except CarrierUnavailable as error:
                log.warning("number_not_introduced", error=str(error))
    except (Unavailable, SQLAlchemyError) as error:
        log.warning("numbers_not_introduced", error=type(error).__name__)
    finally:
        await carrier.close()
        await database.close()
