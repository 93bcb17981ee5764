"""The simulator as one web application: a telephone network and what else stands beside it.

Invariant: `create_app` is the only wiring; everything a part needs is handed to it here.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from hypercorn.asyncio import serve as hypercorn_serve
from hypercorn.config import Config
from quart import Quart, Response, jsonify

from simulator import control, mailbox, model, phone, stripe, twilio
from simulator.answers import DROP_HEADER
from simulator.callers import by_script
from simulator.calls import Hook
from simulator.clock import Clock
from simulator.faults import FaultPlan
from simulator.network import Network, NetworkOptions, Number
from simulator.relay import Relay
from simulator.resources import friendly
from simulator.rest_errors import RestError
from simulator.scripts import Script

DEFAULT_ACCOUNT_SID = "AC" + "5" * 32
DEFAULT_AUTH_TOKEN = "5" * 32
DEFAULT_NUMBER = "+14155550100"
DEFAULT_PORT = 8010


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a simulator starts with."""

    account_sid: str = DEFAULT_ACCOUNT_SID
    auth_token: str = DEFAULT_AUTH_TOKEN
    speed: float = 1.0
    """Virtual seconds in a real one."""
    seed: int | None = None
    """Of every die; None: a new one each time, shown at GET /_sim."""
    numbers: tuple[str, ...] = (DEFAULT_NUMBER,)
    """Numbers of the account, in E.164."""
    voice_url: str = ""
    """Where calls to these numbers ask for TwiML; empty: set later through the REST API."""
    status_callback: str = ""
    """Where these numbers report the end of a call."""
    faults: FaultPlan = field(default_factory=FaultPlan)
    callees: Mapping[str, Script] = field(default_factory=dict)
    """What numbers do when called, and "default"."""
    calls_per_second: float | None = None
    """Calls created faster than this are queued, as at Twilio, where it is 1; None: none are."""
    relay: Relay = by_script
    """Who talks at the far end of a ConversationRelay."""
    bank: stripe.Bank = field(default_factory=stripe.Bank)
    """Who takes the top-ups, at /stripe."""
    model: model.Model = field(default_factory=model.Model)
    """Who thinks for the agents, at /openai/v1."""
    mailbox: mailbox.Mailbox | None = None
    """Who receives mail, shown at /mail; None: nobody listens for it."""


def create_app(options: Options | None = None) -> Quart:
    """The whole simulator; its network is at `app.extensions["network"]`."""
    options = options or Options()
    clock = Clock(options.speed)
    network = Network(_network_options(options), clock)
    network.scripts.update(options.callees)
    app = Quart("simulator", static_folder=None)
    app.extensions["network"] = network
    app.config["MAX_CONTENT_LENGTH"] = 256 * 1024
    # Every part of the simulator, each at its own address:
    app.register_blueprint(twilio.blueprint(network))
    app.register_blueprint(control.blueprint(network), url_prefix="/_sim")
    app.register_blueprint(stripe.create_blueprint(options.bank))
    app.register_blueprint(model.create_blueprint(options.model))
    telephone = phone.Phone(network, options.relay)
    network.relay = telephone.relay
    app.register_blueprint(phone.create_blueprint(telephone))
    if options.mailbox is not None:
        app.register_blueprint(mailbox.create_blueprint(options.mailbox))
    app.after_serving(network.close)

    @app.errorhandler(404)
    async def not_found(_: Exception) -> tuple[Response, int]:
        return jsonify(RestError(20404).body()), 404

    @app.errorhandler(405)
    async def not_allowed(_: Exception) -> tuple[Response, int]:
        return jsonify(RestError(20004).body()), 405

    app.asgi_app = _dropping(app.asgi_app)  # type: ignore[method-assign, assignment]
    return app


def _network_options(options: Options) -> NetworkOptions:
    voice = Hook(options.voice_url) if options.voice_url else None
    status_callback = Hook(options.status_callback) if options.status_callback else None
    return NetworkOptions(
        account_sid=options.account_sid,
        auth_token=options.auth_token,
        seed=random.SystemRandom().getrandbits(32) if options.seed is None else options.seed,
        numbers=tuple(
            Number(
                sid="",
                e164=e164,
                friendly_name=friendly(e164),
                created_epoch_ms=0,
                voice=voice,
                status_callback=status_callback,
            )
            for e164 in options.numbers
        ),
        faults=options.faults,
        calls_per_second=options.calls_per_second,
        relay=options.relay,
    )


Asgi = Callable[[Any, Any, Any], Awaitable[None]]


def _dropping(inner: Asgi) -> Asgi:
    """Cut the connection of a response that carries DROP_HEADER: its head goes out, its body never does."""
    header = DROP_HEADER.lower().encode()

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        dropped = False

        async def cut(event: Any) -> None:
            nonlocal dropped
            if event["type"] == "http.response.start":
                dropped = any(name.lower() == header for name, _ in event["headers"])
            if not dropped or event["type"] != "http.response.body":
                await send(event)

        await inner(scope, receive, cut)

    return asgi


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((host, port))
    sock.listen(4096)
    return sock


async def serve(app: Quart, sock: socket.socket, stop: Callable[[], Awaitable[object]]) -> None:
    """Serve on a listening socket until `stop` returns; takes the socket over."""
    config = Config()
    config.bind = [f"fd://{sock.detach()}"]
    config.loglevel = "WARNING"
    config.backlog = 4096
    # A connection that we closed while its client was reusing it would look like a lost answer.
    config.keep_alive_timeout = 600.0
    config.keep_alive_max_requests = 10**9
    config.graceful_timeout = 0.2
    await hypercorn_serve(app, config, shutdown_trigger=stop)


@asynccontextmanager
async def running(options: Options | None = None, port: int = 0) -> AsyncIterator[tuple[str, Network]]:
    """A simulator in this event loop, on a real loopback socket: its base address and its network."""
    app = create_app(options)
    sock = listen("127.0.0.1", port)
    base_url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    stop = asyncio.Event()
    server = asyncio.create_task(serve(app, sock, stop.wait))
    try:
        yield base_url, app.extensions["network"]
    finally:
        stop.set()
        await server
