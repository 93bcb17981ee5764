"""`python -m simulator`: telephone network, bank and mailbox as a program of its own, on loopback."""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from quart import Quart

from simulator.app import (
    DEFAULT_ACCOUNT_SID,
    DEFAULT_AUTH_TOKEN,
    DEFAULT_NUMBER,
    DEFAULT_PORT,
    Options,
    create_app,
    listen,
    serve,
)
from simulator.faults import FaultPlan
from simulator.mailbox import Mailbox
from simulator.scenario import Scenario, read
from simulator.stripe import Bank


def main() -> int:
    """Serve until SIGTERM or SIGINT. Exit code 1 with one line on stderr if it cannot start."""
    arguments = _parser().parse_args()
    try:
        if not ipaddress.ip_address(arguments.host).is_loopback:
            raise ValueError(f"{arguments.host} is not a loopback address")
        app = create_app(_options(arguments))
        sock = listen(arguments.host, arguments.port)
    except (OSError, ValueError) as error:
        print(f"simulator: {error}", file=sys.stderr)  # noqa: T201
        return 1
    host, port = sock.getsockname()[:2]
    print(f"simulator: a telephone network on http://{host}:{port}", flush=True)  # noqa: T201
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(app, sock))
    return 0


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _serve(app: Quart, sock: socket.socket) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await serve(app, sock, stop.wait)


def _options(arguments: argparse.Namespace) -> Options:
    """What was asked for on the command line comes before the scenario."""
    scenario = read(Path(arguments.scenario)) if arguments.scenario else Scenario()
    return Options(
        account_sid=arguments.account_sid,
        auth_token=arguments.auth_token,
        speed=(scenario.speed or 1.0) if arguments.speed is None else arguments.speed,
        seed=scenario.seed if arguments.seed is None else arguments.seed,
        callees=scenario.callees,
        numbers=tuple(arguments.number or (DEFAULT_NUMBER,)),
        voice_url=arguments.voice_url,
        status_callback=arguments.status_callback,
        faults=FaultPlan.all_with(arguments.faults) if arguments.faults else scenario.faults,
        calls_per_second=arguments.calls_per_second,
        bank=Bank(
            secret_key=arguments.stripe_key,
            webhook_url=arguments.stripe_webhook_url,
            webhook_secrets=arguments.stripe_webhook_secret or ["whsec_simulated"],
        ),
        mailbox=None if arguments.mail_port is None else Mailbox(port=arguments.mail_port),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m simulator", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT)
    parser.add_argument("--speed", type=float, help="virtual seconds in a real one; 1 if left out")
    parser.add_argument("--seed", type=int, help="of every die; without it each run is new")
    parser.add_argument("--account-sid", default=DEFAULT_ACCOUNT_SID)
    parser.add_argument("--auth-token", default=DEFAULT_AUTH_TOKEN)
    parser.add_argument("--number", action="append", help="a number of the account; may be repeated")
    parser.add_argument("--voice-url", default="", help="where calls to the account's numbers ask for TwiML")
    parser.add_argument("--status-callback", default="", help="where these numbers report a call's end")
    parser.add_argument("--faults", type=float, default=0.0, help="the probability of every fault")
    parser.add_argument("--calls-per-second", type=float, help="queue calls made faster than this")
    parser.add_argument("--stripe-key", default="sk_test_simulated", help="the bank's secret API key")
    parser.add_argument("--stripe-webhook-url", help="where the bank tells of payments; without it: nowhere")
    parser.add_argument("--stripe-webhook-secret", action="append", help="signs that; may be repeated")
    parser.add_argument(
        "--scenario",
        default=os.environ.get("SIMULATOR_SCENARIO"),
        help="a YAML file: who answers how, which faults (also SIMULATOR_SCENARIO)",
    )
    parser.add_argument("--mail-port", type=int, help="receive mail by SMTP here and show it at /mail")
    return parser


if __name__ == "__main__":
    sys.exit(main())
