"""What the product over HTTP is measured against: a carrier that answers at once, and a bare handler.

The handler does only what cannot be left out: parse the body and ask the carrier through the same SDK; verify the
signature of a callback and answer. The carrier costs next to nothing, so that it takes little of the machine from
those who ask it.

    python -m tests.benchmarks.bare carrier|handler PORT [CARRIER_URL]
"""

import asyncio
import re
import sys
import uuid
from typing import Any

import msgspec
import uvloop
from hypercorn.asyncio import serve
from hypercorn.config import Config
from quart import Quart, Response, request

from voice.carrier import Addresses
from voice.signature import SignatureCheck

ACCOUNT_SID = "AC" + "b" * 32
AUTH_TOKEN = "benchmark-token"
_CALL_ID = re.compile(rb"calls%2F([0-9a-f-]{36})%2Fvoice")
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class Carrier(asyncio.Protocol):
    """Takes every call, under the id that its address names, so that whoever calls back knows it as well."""

    _arrived = b""

    def connection_made(self, transport: Any) -> None:  # uvloop's is no asyncio.Transport
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._arrived += data
        head, ended, form = self._arrived.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not ended or len(form) < (int(length[1]) if length else 0):
            return
        self._arrived = b""
        named = _CALL_ID.search(form)
        sid = f"CA{named[1].decode().replace('-', '')}" if named else "CA" + "0" * 32
        body = msgspec.json.encode({"sid": sid, "status": "queued" if named else "in-progress"})
        made = b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        self._transport.write(made + body)


async def carrier(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Carrier, "127.0.0.1", port)
    await server.serve_forever()


def handler(port: int, carrier_url: str) -> Quart:
    app = Quart("handler")
    check = SignatureCheck(AUTH_TOKEN, f"http://127.0.0.1:{port}")
    addresses = Addresses(f"http://127.0.0.1:{port}")
    client: Any = None

    @app.before_serving
    async def open_client() -> None:
        nonlocal client
        from twilio.http.async_http_client import AsyncTwilioHttpClient
        from twilio.rest import Client

        client = Client(ACCOUNT_SID, AUTH_TOKEN, http_client=AsyncTwilioHttpClient())
        client.api.base_url = carrier_url

    @app.post("/v1/calls")
    async def create() -> Response:
        wanted = msgspec.json.decode(await request.get_data())
        call_id = str(uuid.uuid4())
        await client.calls.create_async(  # as the product asks
            to=wanted["to"],
            from_="+14155550100",
            url=addresses.voice(call_id),
            status_callback=addresses.status(call_id),
            status_callback_event=["initiated", "ringing", "answered", "completed"],
            machine_detection="Enable",
            machine_detection_timeout=30,
            async_amd="true",
            async_amd_status_callback=addresses.verdict(call_id),
            time_limit=3_600,
        )
        body = msgspec.json.encode({"id": call_id, "status": "initiated"})
        return Response(body, 201, content_type="application/json")

    @app.post("/webhooks/twilio/calls/<call_id>/<kind>")
    async def callback(call_id: str, kind: str) -> tuple[str, int]:
        form = await request.form
        return ("", 204) if check.passes(request.path, form, dict(request.headers)) else ("", 403)

    return app


async def answer(port: int, carrier_url: str) -> None:
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.keep_alive_max_requests = 10**9
    config.loglevel = "ERROR"
    await serve(handler(port, carrier_url), config)


def main() -> None:
    role, port = sys.argv[1], int(sys.argv[2])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(carrier(port) if role == "carrier" else answer(port, sys.argv[3]))


if __name__ == "__main__":
    main()
