"""Whole calls for tests: the server, the simulated network, its language model and its scripted callers.

Invariant: both sides run `PACE` times as fast as real time, so a conversation's own seconds mean the same to both.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
from twilio.request_validator import RequestValidator

from config.audit import audit
from config.clock import now_ms
from simulator.calls import Call, Hook
from simulator.model import Model, Step
from simulator.network import Network
from simulator.relay import RelayEnd, RelaySession
from simulator.scripts import parse
from tests.servers import DOLLAR, Organisation, Server, running_network, running_server, until
from voice.live.switchboard import Switchboard

PACE = 10.0
TO = "+14155550160"


class FastClock:
    def __init__(self, pace: float = PACE) -> None:
        self._pace, self._started = pace, now_ms()

    def __call__(self) -> int:
        return self._started + round((now_ms() - self._started) * self._pace)


class Sockets:
    """Relay sessions that a test plays itself, as the carrier: `network.relay = sockets.relay`."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._sessions: asyncio.Queue[RelaySession] = asyncio.Queue()
        self._ends: asyncio.Queue[RelayEnd] = asyncio.Queue()

    async def relay(self, network: Network, session: RelaySession) -> RelayEnd:
        self._sessions.put_nowait(session)
        return await self._ends.get()

    async def session(self) -> RelaySession:
        """The next one that the server's TwiML asks for."""
        async with asyncio.timeout(20):
            return await self._sessions.get()

    def end(self, status: str = "failed", handoff_data: str = "") -> None:
        """Tell the server how the session ended; the call goes on with its answer."""
        self._ends.put_nowait(RelayEnd(status, handoff_data=handoff_data, error_code="64105"))

    @asynccontextmanager
    async def open(self, session: RelaySession, **changes: Any) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """The session's socket. What is given replaces ours: `signature` (None: no header), `signed` (the address that
        is signed), `first` (the first frame; None: none), `at` (the process of ours that is reached)."""
        signer = RequestValidator(self._server.settings.carrier_auth_token)
        signature = changes.get("signature", signer.compute_signature(changes.get("signed", session.url), {}))
        headers = {} if signature is None else {"X-Twilio-Signature": signature}
        url = session.url
        if "at" in changes:
            url = url.replace(self._server.settings.public_base_url.replace("http", "ws", 1), changes["at"])
        async with aiohttp.ClientSession() as client, client.ws_connect(url, headers=headers) as socket:
            if (first := changes.get("first", session.setup())) is not None:
                await socket.send_json(first)
            yield socket


async def hears(socket: aiohttp.ClientWebSocketResponse, words: str) -> str:
    """Wait until the agent has sent these words in one utterance; gives the utterance."""
    said = ""
    async with asyncio.timeout(20):
        while True:
            frame = await socket.receive_json()
            said += str(frame.get("token", ""))
            if words in said:
                return said
            said = "" if frame.get("last") else said


async def close_code(socket: aiohttp.ClientWebSocketResponse) -> int | None:
    """Wait until the server closes the socket."""
    async with asyncio.timeout(20):
        while (await socket.receive()).type not in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED):
            pass
    return socket.close_code


@dataclass
class Stage:
    """One organisation that calls and is called."""

    server: Server
    network: Network
    model: Model
    org: Organisation

    def sockets(self) -> Sockets:
        """From now on the test itself is at the other end of the relay."""
        made = Sockets(self.server)
        self.network.relay = made.relay
        return made

    @property
    def switchboard(self) -> Switchboard:
        found: Switchboard = self.server.app.extensions["switchboard"]
        return found

    def script(self, outcome: str = "human", to: str = TO, **changes: Any) -> None:
        """Who answers when this number is called."""
        self.network.scripts[to] = parse({"outcome": outcome, "talk_seconds": None, **changes})

    def say(self, *steps: Step) -> None:
        """What the model answers next."""
        self.model.script(*steps)

    async def call(self, to: str = TO, **body: Any) -> dict[str, Any]:
        """Place a call and wait for its settled end."""
        created = await self.org.call(to, **{"prompt": "Ask how they are.", **body})
        return await self.over(created)

    async def agent(self, kind: str = "outbound", **body: Any) -> str:
        """An agent of the organisation's number; its id."""
        [number] = (await self.org.get("/v1/numbers"))["data"]
        about = {"name": "Agent", "type": kind, "instructions": "Ask how they are.", "number_ids": [number["id"]]}
        made = await self.org.api.post("/v1/agents", json={**about, **body})
        assert made.status_code == 201, made.text
        return str(made.json()["id"])

    async def call_by_agent(self, agent_id: str, to: str = TO, **body: Any) -> dict[str, Any]:
        """The same as `call`, by an agent."""
        return await self.over(await self.org.call(to, agent_id=agent_id, **body))

    async def over(self, call: Mapping[str, Any]) -> dict[str, Any]:
        over: dict[str, Any] = await self.org.over(call)
        return over

    async def ring_in(self, outcome: str = "human", **changes: Any) -> dict[str, Any]:
        """Somebody calls the organisation's number; the call once it is settled."""
        number = self.network.numbers[self.org.number]
        script = parse({"outcome": outcome, "talk_seconds": None, **changes})
        self.network.ring_in(number, "+14155550188", script)
        return await self.over(await until(self._newest, "the inbound call"))

    async def _newest(self) -> dict[str, Any] | None:
        found = (await self.org.get("/v1/calls"))["data"]
        return found[0] if found else None

    async def transcript(self, call: Mapping[str, Any]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.org.get(f"/v1/calls/{call['id']}/transcript"))["segments"]
        return found

    async def spoken(self, call: Mapping[str, Any]) -> list[str]:
        """The transcript in short: "agent: heard|cut"."""
        return [
            f"{segment['role']}: {segment['text']}" + (f"|{segment['cut_text']}" if segment["cut_text"] else "")
            for segment in await self.transcript(call)
        ]

    def far_end(self, to: str = TO) -> Call:
        """The network's own record of the last call to a number."""
        return [call for call in self.network.calls.values() if call.order.to == to][-1]

    async def clean(self) -> None:
        """The audit finds nothing, and nothing is held."""
        found = await audit(self.server.settings)
        assert found["violations"] == []
        assert (await self.org.wallet())["held_milli_cents"] == 0


@asynccontextmanager
async def stage(database_url: str, *, pace: float = PACE, **environment: str) -> AsyncIterator[Stage]:
    """A server whose model, network and callers are simulated; tools may be at local addresses."""
    model = Model(first_delta_ms=0, delta_ms=0)
    async with running_network(speed=pace, model=model) as network:
        given = {"OPENAI_BASE_URL": f"{network[0]}/openai/v1", "ALLOW_PRIVATE_URLS": "true", **environment}
        async with running_server(database_url, network=network, **given) as server:
            switchboard: Switchboard = server.app.extensions["switchboard"]
            switchboard.means = replace(switchboard.means, clock=FastClock(pace), pace=pace)
            await switchboard.means.model.warm_up()
            org = await server.organisation(credit=100 * DOLLAR)
            number = network[1].numbers[org.number]
            number.voice = Hook(f"{server.url}/webhooks/twilio/voice")
            number.status_callback = Hook(f"{server.url}/webhooks/twilio/status")
            yield Stage(server, network[1], model, org)
