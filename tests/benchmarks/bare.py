"""What the product over HTTP is measured against: a carrier that answers at once, and a bare handler.

The handler does only what cannot be left out: parse the body and ask the carrier through the same SDK; verify the
signature of a callback and answer.

    python -m tests.benchmarks.bare carrier|handler PORT [CARRIER_URL]
"""

import asyncio
import sys
import uuid
from typing import Any

import msgspec
import uvloop
from hypercorn.asyncio import serve
from hypercorn.config import Config
from quart import Quart, Response, request

from voice.signature import SignatureCheck

ACCOUNT_SID = "AC" + "b" * 32
AUTH_TOKEN = "benchmark-token"


def carrier() -> Quart:
    app = Quart("carrier")

    @app.post("/2010-04-01/Accounts/<account>/Calls.json")
    async def calls(account: str) -> Response:
        call_id = (await request.form)["Url"].split("/")[-2]  # so that whoever calls back knows the id as well
        body = msgspec.json.encode({"sid": f"CA{call_id.replace('-', '')}", "status": "queued"})
        return Response(body, 201, content_type="application/json")

    return app


def handler(port: int, carrier_url: str) -> Quart:
    app = Quart("handler")
    check = SignatureCheck(AUTH_TOKEN, f"http://127.0.0.1:{port}")
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
        made = await client.calls.create_async(
            to=wanted["to"],
            from_="+14155550100",
            url=f"http://127.0.0.1/calls/{uuid.uuid4()}/voice",
            status_callback="http://127.0.0.1/status",
            status_callback_event=["initiated", "ringing", "answered", "completed"],
            machine_detection="Enable",
            async_amd="true",
        )
        body = msgspec.json.encode({"id": made.sid, "status": "initiated"})
        return Response(body, 201, content_type="application/json")

    @app.post("/webhooks/twilio/calls/<call_id>/<kind>")
    async def callback(call_id: str, kind: str) -> tuple[str, int]:
        form = await request.form
        return ("", 204) if check.passes(request.path, form, dict(request.headers)) else ("", 403)

    return app


def main() -> None:
    role, port = sys.argv[1], int(sys.argv[2])
    app = carrier() if role == "carrier" else handler(port, sys.argv[3])
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.keep_alive_max_requests = 10**9
    config.loglevel = "ERROR"
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(app, config))


if __name__ == "__main__":
    main()
