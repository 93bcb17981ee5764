"""The other side of the relay's measurement: a carrier with many calls, and a language model that is never late."""

import asyncio
import contextlib
import itertools
import json
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from xml.etree import ElementTree

import aiohttp
from aiohttp import web
from twilio.request_validator import RequestValidator

from tests.benchmarks.bare import ACCOUNT_SID, AUTH_TOKEN

NUMBER, CALLER = "+14155550100", "+14155550188"
FIRST_WORDS_SECONDS, WORD_SECONDS = 0.15, 0.02
SPEECH_SECONDS = 0.4  # shorter than real speech, so that turns do not meet
ANSWER = "Thank you, I have noted that for you. Is there anything else that I can do?"
SAID = (
    "I would like to know more about the delivery.",
    "Please write down that the door code has changed.",
    "My neighbour can take the parcel in the morning.",
    "Tell me what happens when nobody opens.",
    "We have moved to the second floor since then.",
    "The invoice should carry the name of the company.",
    "How long does a repair take as a rule?",
    "There was a scratch on the left side of the table.",
)


@asynccontextmanager
async def outside(port: int) -> AsyncIterator[None]:
    """The carrier's REST API, which takes what it is told, and the model's."""
    app = web.Application()
    app.router.add_get("/v1/models", _models)
    app.router.add_post("/v1/chat/completions", _complete)
    app.router.add_route("*", "/2010-04-01/{path:.*}", _carrier)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    yield
    await runner.cleanup()


async def _models(request: web.Request) -> web.Response:
    return web.json_response({"object": "list", "data": []})


async def _carrier(request: web.Request) -> web.Response:
    sid = request.path.rpartition("/")[2].removesuffix(".json")
    return web.json_response({"sid": sid, "status": "in-progress"})


async def _complete(request: web.Request) -> web.StreamResponse:
    await request.read()
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    await asyncio.sleep(FIRST_WORDS_SECONDS)
    with contextlib.suppress(ConnectionError):  # nobody wants the rest
        for word in ANSWER.split(" "):
            await response.write(_event({"content": f"{word} "}))
            await asyncio.sleep(WORD_SECONDS)
        await response.write(_event({}, "stop") + b"data: [DONE]\n\n")
    return response


def _event(delta: dict[str, str], finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


class Caller:
    """One inbound call. `total_ms`: from the end of each turn's words to the first text of its answer."""

    _numbers = itertools.count()

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session, self._url, self.number = session, url, next(self._numbers)
        self._sid = f"CA{self.number:032x}"
        self._signer = RequestValidator(AUTH_TOKEN)
        self.total_ms: dict[str, float] = {}

    async def ring(self) -> str:
        """The call comes in. Gives the ticket that its socket has to show."""
        answer = await self._tell("voice", CallStatus="ringing")
        [ticket] = ElementTree.fromstring(answer).iter("Parameter")
        return str(ticket.get("value"))

    async def hang_up(self) -> None:
        await self._tell("status", CallStatus="completed", CallDuration="60")

    async def _tell(self, kind: str, **said: str) -> str:
        address = f"{self._url}/webhooks/twilio/{kind}"
        form = {"AccountSid": ACCOUNT_SID, "CallSid": self._sid, "To": NUMBER, "From": CALLER, **said}
        headers = {"X-Twilio-Signature": self._signer.compute_signature(address, form)}
        async with self._session.post(address, data=form, headers=headers) as answer:
            assert answer.status < 300, await answer.text()
            return await answer.text()

    @asynccontextmanager
    async def socket(self) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        url = f"{self._url.replace('http', 'ws', 1)}/relay"
        headers = {"X-Twilio-Signature": self._signer.compute_signature(url, {})}
        async with self._session.ws_connect(url, headers=headers) as socket:
            yield socket

    @asynccontextmanager
    async def greeted(self, ticket: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """The call's socket, once the greeting has been heard."""
        async with self.socket() as socket:
            setup = {"sessionId": "VX", "accountSid": ACCOUNT_SID, "callSid": self._sid, "from": CALLER, "to": NUMBER}
            await socket.send_json({"type": "setup", **setup, "customParameters": {"ticket": ticket}})
            await self._hear(socket, "How can I help you?")
            yield socket

    async def talk(self, ticket: str, apart_seconds: float, seconds: float, all_greeted: asyncio.Barrier) -> None:
        """Listen to the greeting, then, once everybody has, speak every now and then for so long."""
        loop = asyncio.get_running_loop()
        async with self.greeted(ticket) as socket:
            await all_greeted.wait()
            until = loop.time() + seconds
            await asyncio.sleep(random.uniform(0, apart_seconds))
            for turn in itertools.count():
                if loop.time() >= until:
                    return
                began = loop.time()
                await self._turn(socket, turn)
                pause = random.uniform(0.5, 1.5) * apart_seconds
                await asyncio.sleep(max(0.0, began + pause - loop.time()))

    async def _turn(self, socket: aiohttp.ClientWebSocketResponse, turn: int) -> None:
        reference = f"r{self.number}x{turn}"
        words = f"{SAID[(self.number + turn) % len(SAID)]} My reference is {reference}."
        await _info(socket, "clientSpeaking", "on")
        await asyncio.sleep(SPEECH_SECONDS)
        await _info(socket, "clientSpeaking", "off")
        prompt = json.dumps({"type": "prompt", "voicePrompt": words, "lang": "en-US", "last": True})
        began = time.perf_counter()
        await socket.send_str(prompt)
        self.total_ms[reference] = (await self._hear(socket) - began) * 1000

    async def _hear(self, socket: aiohttp.ClientWebSocketResponse, words: str = ANSWER) -> float:
        """These words to their end, reported as they sound. Gives the time of the first text."""
        first, said = 0.0, ""
        async with asyncio.timeout(20):
            while True:
                message = await socket.receive()
                first = first or time.perf_counter()
                frame = json.loads(message.data)
                said += frame["token"]
                if frame["last"] and words in said:
                    break
        await _info(socket, "agentSpeaking", "on")
        await asyncio.sleep(SPEECH_SECONDS)
        await _info(socket, "tokensPlayed", said.strip())
        await _info(socket, "agentSpeaking", "off")
        return first


async def _info(socket: aiohttp.ClientWebSocketResponse, name: str, value: str) -> None:
    await socket.send_json({"type": "info", "name": name, "value": value})
