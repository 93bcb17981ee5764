"""A customer of the simulated network: the official client on one side, a server for its callbacks on the
other, both over real sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from quart import Quart, Response, request, websocket
from twilio.http.async_http_client import AsyncTwilioHttpClient
from twilio.request_validator import RequestValidator
from twilio.rest import Client

from simulator.app import DEFAULT_ACCOUNT_SID, DEFAULT_AUTH_TOKEN, DEFAULT_NUMBER, Options, listen, running, serve
from simulator.network import Network

ALL_EVENTS = ["initiated", "ringing", "answered", "completed"]
LONG_PAUSE = "<Response><Pause length='86400'/></Response>"


@dataclass
class Received:
    """One request that the network made."""

    path: str
    params: dict[str, str]
    headers: dict[str, str]
    signed: bool
    raw_url: str


@dataclass
class Customer:
    """Everything a test needs. `twiml` and `statuses` say what the server answers, by path."""

    client: Any
    network: Network
    network_url: str
    url: str = ""
    received: list[Received] = field(default_factory=list)
    twiml: dict[str, str] = field(default_factory=dict)
    statuses: dict[str, list[int]] = field(default_factory=dict)
    frames: list[dict[str, Any]] = field(default_factory=list)
    relay_sends: list[dict[str, Any]] = field(default_factory=list)
    relay_answers: list[dict[str, Any]] = field(default_factory=list)
    relay_signed: list[bool] = field(default_factory=list)

    async def call(self, to: str, **changes: Any) -> Any:
        """Place a call as a voice agent does: all events, asynchronous detection."""
        arguments: dict[str, Any] = {
            "to": to,
            "from_": DEFAULT_NUMBER,
            "url": f"{self.url}/twiml",
            "status_callback": f"{self.url}/status",
            "status_callback_event": ALL_EVENTS,
            "machine_detection": "Enable",
            "async_amd": "true",
            "async_amd_status_callback": f"{self.url}/verdict",
            "machine_detection_timeout": 30,
            "timeout": 30,
        }
        given = {name: value for name, value in (arguments | changes).items() if value is not None}
        return await self.client.calls.create_async(**given)

    async def idle(self) -> None:
        """Wait until no call is live and no callback is under way."""
        async with asyncio.timeout(20):
            while self.network.live_calls or self.network.courier.pending:
                await asyncio.sleep(0.005)

    async def until(self, sid: str, status: str) -> None:
        """Wait until the network itself has the call in a status."""
        async with asyncio.timeout(20):
            while self.network.calls[sid].status != status:
                await asyncio.sleep(0.002)

    def at(self, path: str) -> list[dict[str, str]]:
        """The parameters of every request for a path, in order of arrival."""
        return [received.params for received in self.received if received.path == path]

    def statuses_of(self, sid: str) -> list[str]:
        return [params["CallStatus"] for params in self.at("/status") if params["CallSid"] == sid]

    async def control(self, method: str, path: str, body: Any = None) -> Any:
        """Use the control interface; returns the JSON, raises for a refusal."""
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, f"{self.network_url}/_sim{path}", json=body) as response,
        ):
            answer = await response.json()
            if response.status >= 400:
                raise ValueError(f"{response.status}: {answer['error']}")
            return answer

    async def record(self, sid: str) -> dict[str, Any]:
        [record] = (await self.control("GET", f"/calls?sid={sid}"))["calls"]
        return dict(record)


@asynccontextmanager
async def customer(speed: float = 400.0, **options: Any) -> AsyncIterator[Customer]:
    """A network and its customer. At the end every request must have been signed."""
    async with running(Options(speed=speed, seed=options.pop("seed", 1), **options)) as (url, network):
        http = AsyncTwilioHttpClient()
        client = Client(DEFAULT_ACCOUNT_SID, DEFAULT_AUTH_TOKEN, http_client=http)
        client.api.base_url = url
        who = Customer(client, network, url)
        sock = listen("127.0.0.1", 0)
        who.url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        stop = asyncio.Event()
        server = asyncio.create_task(serve(_server(who), sock, stop.wait))
        try:
            yield who
            assert all(received.signed for received in who.received)
        finally:
            await http.close()
            await network.close()
            stop.set()
            await server


def _server(who: Customer) -> Quart:
    app = Quart("customer", static_folder=None)
    validator = RequestValidator(DEFAULT_AUTH_TOKEN)

    @app.route("/<path:path>", methods=["GET", "POST"])
    async def receive(path: str) -> Response:
        form = (await request.form).to_dict()
        query = request.query_string.decode()
        raw_url = f"{who.url}/{path}" + (f"?{query}" if query else "")
        signed = validator.validate(raw_url, form, request.headers.get("X-Twilio-Signature", ""))
        params = form or request.args.to_dict()
        who.received.append(Received(f"/{path}", params, dict(request.headers), signed, raw_url))
        queue = who.statuses.get(f"/{path}", [])
        status = queue.pop(0) if queue else 200
        body = who.twiml.get(f"/{path}", LONG_PAUSE if "twiml" in path else "")
        return Response(body, status, content_type="text/xml")

    @app.websocket("/relay")
    async def relay() -> None:
        url = who.url.replace("http:", "ws:") + "/relay"
        signature = websocket.headers.get("X-Twilio-Signature", "")
        who.relay_signed.append(validator.validate(url, {}, signature))
        who.frames.append(json.loads(await websocket.receive()))
        for frame in who.relay_sends:
            await websocket.send(json.dumps(frame))
        while True:
            who.frames.append(json.loads(await websocket.receive()))
            if who.frames[-1].get("type") == "prompt" and who.relay_answers:
                await websocket.send(json.dumps(who.relay_answers.pop(0)))

    return app
