"""Running the server as a process: `web` with what the embedded database needs beside it, and `worker`.

Invariant: a signal to stop lets accepted work finish; the simulator, where one was started, ends with us.
"""

import asyncio
import contextlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import click

from config.settings import Settings

GRACEFUL_SECONDS = 25
SIMULATOR_READY_SECONDS = 15


def serve(settings: Settings, host: str, port: int) -> int:
    """Serve until SIGTERM or SIGINT. 1 with one line on standard error if it cannot start."""
    from config.app import create_app

    if not _free(host, port):
        click.echo(f"callingbox-server: port {port} on {host} is taken; choose another with --port", err=True)
        return 1
    with simulator_for(settings):
        app = create_app(settings)
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(app, host, port))
    return 0


def work(settings: Settings) -> int:
    """The background work, until SIGTERM or SIGINT."""
    from config.logs import configure
    from config.machinery import Machinery

    configure(settings.log_level)

    async def run() -> None:
        machinery = Machinery(settings)
        await machinery.open()
        task = asyncio.create_task(machinery.sweeper.run(settings.sweep_interval_seconds))
        await _stopped()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await machinery.close()

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(run())
    return 0


async def _serve(app: object, host: str, port: int) -> None:
    from hypercorn.asyncio import serve as hypercorn_serve
    from hypercorn.config import Config

    config = Config()
    config.bind = [f"{host}:{port}"]
    config.graceful_timeout = GRACEFUL_SECONDS
    config.shutdown_timeout = GRACEFUL_SECONDS + 5
    config.keep_alive_timeout = 75
    config.read_timeout = 60
    config.backlog = 2048
    config.errorlog = None
    stopped = asyncio.create_task(_stopped())
    click.echo(f"callingbox-server: http://{host}:{port}", err=True)
    await hypercorn_serve(app, config, shutdown_trigger=lambda: asyncio.shield(stopped))  # type: ignore[arg-type]


async def _stopped() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


@contextlib.contextmanager
def simulator_for(settings: Settings, *arguments: str) -> Iterator[None]:
    """Where no carrier is configured, a simulated one on loopback, unless one answers there already."""
    address = urlsplit(settings.carrier_base_url)
    if not settings.simulated_network or not _free(address.hostname or "", address.port or 0):
        yield
        return
    command = [
        *(sys.executable, "-m", "simulator"),
        *("--host", address.hostname or "", "--port", str(address.port)),
        *("--account-sid", settings.carrier_account_sid, "--auth-token", settings.carrier_auth_token),
        *arguments,
    ]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)  # noqa: S603
    try:
        _await_port(process, address.hostname or "", address.port or 0)
        yield
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
        process.kill()


def _await_port(process: "subprocess.Popen[bytes]", host: str, port: int) -> None:
    deadline = time.monotonic() + SIMULATOR_READY_SECONDS
    while _free(host, port):
        if process.poll() is not None or time.monotonic() > deadline:
            raise click.ClickException("the simulated telephone network did not start")
        time.sleep(0.05)


def _free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((host, port)) != 0
