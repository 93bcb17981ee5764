"""CallingBox for AI assistants: a Model Context Protocol server in front of the HTTP API.

Owns nothing: every tool is one or two requests with the caller's API key, so that a tool can do exactly what its key
can. Invariant: no call is placed with a key that has no daily or monthly cap of its own.

Over stdio the key is CALLINGBOX_API_KEY; over HTTP each client sends its own (`Authorization: Bearer sk_live_…`).
"""

import asyncio
import signal
import socket
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import httpx
from hypercorn.asyncio import serve as hypercorn_serve
from hypercorn.config import Config
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations
from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

REQUEST_SECONDS = 40
POLL_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 3_600
FINAL = ("completed", "no_answer", "busy", "canceled", "failed")
INSTRUCTIONS = (
    "Telephone calls conducted by an AI agent. Quote a call before you place it, tell the person what it can cost, and "
    "place it only when they have agreed. Money is in milli-cents: 100000 are one US dollar. A call holds its worst "
    "case while it is live and is charged for connected time alone; ringing, voicemail and unanswered calls are free."
)
NO_CAP = (
    "This API key has no cap, so no call was placed. Let whoever runs the account give it a daily or monthly cap: on "
    "the API keys page of the dashboard, with PATCH /v1/api_keys/{key_id}/limits and another key, or with "
    "`callingbox-server limits set ORG_ID --key {key_id} --daily-cap 500000 --reason …` ($5.00 a day)."
)
E164 = Annotated[str, Field(description="A phone number in E.164, like +14155550123.", max_length=32)]
CallId = Annotated[str, Field(description="The call's id.", min_length=1, max_length=64, pattern="^[0-9a-zA-Z-]+$")]
Wait = Annotated[int, Field(description="Wait at most this long for the end.", ge=0, le=LONGEST_WAIT_SECONDS)]
READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
CALLS = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=False, open_world_hint=True)
ENDS = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False)


@dataclass(frozen=True, slots=True)
class Api:
    """The HTTP API. `key`: of a process that serves one person (stdio); None: each client brings its own."""

    base_url: str
    key: str | None

    async def request(
        self, context: Context, method: str, path: str, headers: Mapping[str, str] | None = None, **more: Any
    ) -> dict[str, Any]:
        """The JSON of the answer. Raises ToolError with the API's own sentence and code."""
        bearer = f"Bearer {self.key}" if self.key else (context.headers or {}).get("authorization", "")
        if not bearer:
            raise ToolError("Send your API key in the header: Authorization: Bearer sk_live_… (unauthorized)")
        sent = {"Authorization": bearer, **(headers or {})}
        try:
            async with httpx.AsyncClient(base_url=self.base_url, timeout=REQUEST_SECONDS) as client:
                answer = await client.request(method, path, headers=sent, **more)
                data = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            message = f"CallingBox cannot be reached at {self.base_url} ({type(error).__name__}); try again."
            raise ToolError(message) from None
        if not answer.is_success:
            raise ToolError(f"{data.get('error')} ({data.get('code')})")
        return dict(data)


def make_server(api: Api) -> MCPServer[Any]:
    """The tools. Each answers with the API's own object."""
    server: MCPServer[Any] = MCPServer("CallingBox", instructions=INSTRUCTIONS, log_level="WARNING")
    _add_calling(server, api)
    _add_reading(server, api)
    return server


def _add_calling(server: MCPServer[Any], api: Api) -> None:
    @server.tool(annotations=CALLS)
    async def place_call(
        context: Context,
        to: E164,
        prompt: Annotated[str | None, Field(description="What the agent is to do; instead of agent_id.")] = None,
        agent_id: Annotated[str | None, Field(description="An outbound agent of the account.")] = None,
        instructions: Annotated[str | None, Field(description="With agent_id: instead of the agent's own.")] = None,
        facts: Annotated[dict[str, Any] | None, Field(description="What the agent may use during the call.")] = None,
        returns: Annotated[
            dict[str, Literal["boolean", "string", "number"]] | None,
            Field(description="What to find out, by field; only with prompt."),
        ] = None,
        from_number: E164 | None = None,
        max_duration_seconds: Annotated[int | None, Field(ge=60, le=3_600)] = None,
        wait_seconds: Wait = 600,
    ) -> dict[str, Any]:
        """Place a telephone call and wait for its result. Costs money: the API key needs a daily or monthly cap."""
        limits = (await api.request(context, "GET", "/v1/billing/limits"))["api_key"]
        if limits["daily_cap_milli_cents"] is None and limits["monthly_cap_milli_cents"] is None:
            raise ToolError(NO_CAP.format(key_id=limits["id"]))
        body = _body(to, prompt, agent_id, instructions, facts, returns, from_number, max_duration_seconds)
        once = {"Idempotency-Key": str(uuid.uuid4())}
        call = await api.request(context, "POST", "/v1/calls", once, json=body)
        return await _until_over(api, context, call, wait_seconds)

    @server.tool(annotations=READS)
    async def quote_call(
        context: Context,
        to: E164,
        agent_id: str | None = None,
        from_number: E164 | None = None,
        max_duration_seconds: Annotated[int | None, Field(ge=60, le=3_600)] = None,
    ) -> dict[str, Any]:
        """What a call would hold and cost at most, and whether it would be placed. Dials nothing."""
        body = _body(to, None, agent_id, None, None, None, from_number, max_duration_seconds)
        return await api.request(context, "POST", "/v1/calls/quote", json=body)

    @server.tool(annotations=ENDS)
    async def hang_up(context: Context, call_id: CallId) -> dict[str, Any]:
        """End a call, or cancel it while it rings. A call that is over stays as it is."""
        return await api.request(context, "POST", f"/v1/calls/{call_id}/hangup")


def _add_reading(server: MCPServer[Any], api: Api) -> None:
    @server.tool(annotations=READS)
    async def get_call(context: Context, call_id: CallId, wait_seconds: Wait = 0) -> dict[str, Any]:
        """A call: status, who answered, result, duration, cost. With wait_seconds, once it is over."""
        call = await api.request(context, "GET", f"/v1/calls/{call_id}")
        return await _until_over(api, context, call, wait_seconds)

    @server.tool(annotations=READS)
    async def get_transcript(context: Context, call_id: CallId) -> dict[str, Any]:
        """What was said on a call, in order."""
        return await api.request(context, "GET", f"/v1/calls/{call_id}/transcript")

    @server.tool(annotations=READS)
    async def get_receipt(context: Context, call_id: CallId) -> dict[str, Any]:
        """Why each second of a call was or was not billed: evidence, rate, hold, charge, ledger transfers."""
        return await api.request(context, "GET", f"/v1/calls/{call_id}/receipt")

    @server.tool(annotations=READS)
    async def list_calls(
        context: Context,
        limit: Annotated[int, Field(ge=1, le=100)] = 20,
        starting_after: Annotated[str | None, Field(description="The id of the last call of the page before.")] = None,
        direction: Literal["inbound", "outbound"] | None = None,
    ) -> dict[str, Any]:
        """Calls, newest first."""
        given = {"limit": limit, "starting_after": starting_after, "direction": direction}
        query = {name: value for name, value in given.items() if value is not None}
        return await api.request(context, "GET", "/v1/calls", params=query)

    @server.tool(annotations=READS)
    async def list_agents(context: Context) -> dict[str, Any]:
        """Agents that place calls: id, name, instructions, what they find out."""
        return await api.request(context, "GET", "/v1/agents", params={"type": "outbound"})

    @server.tool(annotations=READS)
    async def get_wallet(context: Context) -> dict[str, Any]:
        """The account's balance, what live calls hold of it, and the limits of the account and of this API key."""
        wallet = await api.request(context, "GET", "/v1/billing/wallet")
        return {**wallet, "limits": await api.request(context, "GET", "/v1/billing/limits")}


def _body(
    to: str,
    prompt: str | None,
    agent_id: str | None,
    instructions: str | None,
    facts: dict[str, Any] | None,
    returns: Mapping[str, str] | None,
    from_number: str | None,
    max_duration_seconds: int | None,
) -> dict[str, Any]:
    given = {
        "to": to,
        "prompt": prompt,
        "agent_id": agent_id,
        "instructions": instructions,
        "context": facts,
        "returns": returns,
        "from_number": from_number,
        "max_duration_seconds": max_duration_seconds,
    }
    return {name: value for name, value in given.items() if value is not None}


async def _until_over(api: Api, context: Context, call: dict[str, Any], wait_seconds: int) -> dict[str, Any]:
    """The call once it is over and its result is read off, or as it stands after `wait_seconds`."""
    began, told = time.monotonic(), ""
    while (waited := time.monotonic() - began) < wait_seconds and not _is_over(call):
        if call["status"] != told:
            told = call["status"]
            await context.report_progress(waited, wait_seconds, f"The call is {told.replace('_', ' ')}.")
        await asyncio.sleep(min(POLL_SECONDS, wait_seconds - waited))
        call = await api.request(context, "GET", f"/v1/calls/{call['id']}")
    return call


def _is_over(call: Mapping[str, Any]) -> bool:
    awaits_result = call["status"] == "completed" and call["result_status"] == "pending"
    return call["status"] in FINAL and not awaits_result


def run_stdio(base_url: str, key: str) -> None:
    """Serve one client over standard input and output, until it goes away."""
    make_server(Api(base_url, key)).run("stdio")


def run_http(base_url: str, host: str, listening: socket.socket) -> None:
    """Serve many clients at /mcp, each with its own key, until SIGTERM or SIGINT."""
    config = Config()
    config.bind = [f"fd://{listening.detach()}"]
    config.errorlog = None
    server = make_server(Api(base_url, None))

    async def healthz(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    server.custom_route("/healthz", methods=["GET"])(healthz)
    app: Any = server.streamable_http_app(host=host, stateless_http=True)

    async def serve() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await hypercorn_serve(app, config, shutdown_trigger=stop.wait)

    asyncio.run(serve())
