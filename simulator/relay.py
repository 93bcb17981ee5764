"""The network's side of a ConversationRelay session: speech that has become text on a WebSocket.

`Relay` is the seam: whoever plays the far end is a function of this shape. `converse` makes one of a `Caller`, which
says and does what somebody at a telephone would, on a `Line`; `hold_the_line` says nothing and listens.

Invariant: the socket closes whenever the session's task ends, however it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin
from xml.etree import ElementTree

import aiohttp
import yarl

from simulator.callbacks import cancel_all, is_loopback
from simulator.calls import Call, Command
from simulator.mouth import Mouth, speaking_seconds

if TYPE_CHECKING:
    from simulator.network import Network

LOST_CONNECTION = "64105"
UNREACHABLE = "64102"
END_OF_SPEECH_SECONDS = 0.7  # so long is listened after the last word, before it counts as the last
PAUSE_SECONDS = 0.5  # our voice pauses between sentences; longer is an end


@dataclass(frozen=True, slots=True)
class RelaySession:
    """One `<ConversationRelay>`: its address, its attributes, its `<Parameter>`s and the call it is for."""

    id: str
    call: Call
    url: str
    attributes: dict[str, str]
    parameters: dict[str, str]

    @classmethod
    def of(cls, call: Call, element: ElementTree.Element, base_url: str) -> RelaySession:
        """Read the element; a relative address counts from the document's."""
        number = sum(delivery.event == "twiml" for delivery in call.deliveries)
        digest = blake2b(f"{call.sid}|{number}".encode(), digest_size=16).hexdigest()
        return cls(
            id=f"VX{digest}",
            call=call,
            url=urljoin(base_url, element.get("url", "")),
            attributes=dict(element.attrib),
            parameters={
                str(parameter.get("name")): str(parameter.get("value", "")) for parameter in element.iter("Parameter")
            },
        )

    def setup(self) -> dict[str, Any]:
        """The first message on the socket."""
        call = self.call
        return {
            "type": "setup",
            "sessionId": self.id,
            "accountSid": call.account_sid,
            "callSid": call.sid,
            "parentCallSid": call.parent_sid or None,
            "from": call.order.from_,
            "to": call.order.to,
            "forwardedFrom": None,
            "callType": "PSTN",
            "callerName": None,
            "direction": call.direction,
            "callStatus": str(call.status).upper(),
            "customParameters": self.parameters,
        }


@dataclass(frozen=True, slots=True)
class RelayEnd:
    """How a session ended, for the action address: `ended` by the server, or `failed`."""

    status: str
    handoff_data: str = ""
    error_code: str = ""
    error_message: str = ""

    def params(self) -> dict[str, str]:
        """As the action request's parameters; empty ones are left out."""
        given = {
            "SessionStatus": self.status,
            "HandoffData": self.handoff_data,
            "ErrorCode": self.error_code,
            "ErrorMessage": self.error_message,
        }
        return {name: value for name, value in given.items() if value}


Relay = Callable[["Network", RelaySession], Awaitable[RelayEnd]]


class Line:
    """One session as somebody at a telephone lives it: hear the agent, speak, press keys, hang up.

    Times are virtual seconds. What was said by either side is kept on the call, also over several sessions.
    """

    def __init__(self, network: Network, session: RelaySession, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.call, self.clock, self._session, self._socket = session.call, network.clock, session, socket
        self.mouth = Mouth(network.clock, socket.send_json, self._heard)
        self.watch: Callable[[str, str], None] = lambda what, text: None
        """Told of whatever sounds, by the words of `Call.talk`, and ("cut", "") when the agent is interrupted."""
        self._news = asyncio.Event()
        self._listened = len(self.call.talk)
        self.call.sessions += 1

    def _heard(self, text: str) -> None:
        self._note("agent", text)
        self._news.set()

    def _note(self, who: str, text: str) -> None:
        self.call.talk.append({"who": who, "text": text, "at": self.call.epoch_ms(self.clock.now())})
        self.watch(who, text)

    async def _cut_in(self) -> None:
        if await self.mouth.interrupt():
            self.watch("cut", "")

    @property
    def lines_said(self) -> int:
        """How often the far end has spoken in this call."""
        return sum(line["who"] == "far_end" for line in self.call.talk)

    async def wait(self, seconds: float) -> None:
        await self.clock.sleep(seconds)

    async def listen(self, at_most: float = math.inf) -> str:
        """Wait until the agent has said something and stopped; what was heard since the last time. Nothing, if it has
        not begun in `at_most` seconds."""
        while await self._hears(at_most):
            if self.mouth.is_in_the_middle:
                continue
            await self.clock.sleep(PAUSE_SECONDS)
            if not self.mouth.is_in_the_middle and not self._news.is_set():
                break
        said = self.call.talk[self._listened :]
        self._listened = len(self.call.talk)
        return " ".join(line["text"] for line in said if line["who"] == "agent")

    async def _hears(self, at_most: float) -> bool:
        seconds = None if at_most == math.inf else self.clock.real_seconds_until(self.clock.now() + at_most)
        try:
            await asyncio.wait_for(self._news.wait(), seconds)
        except TimeoutError:
            return self.mouth.is_in_the_middle
        self._news.clear()
        return True

    async def say(self, text: str, seconds: float | None = None) -> None:
        """Speak, cutting the agent off where that is allowed; for so many seconds, or as long as it takes."""
        await self._speaking("on")
        await self._cut_in()
        await self.clock.sleep(speaking_seconds(text) if seconds is None else seconds)
        await self._speaking("off")
        await self.clock.sleep(END_OF_SPEECH_SECONDS if seconds is None else 0)
        self._note("far_end", text)
        language = self._session.attributes.get("language", "en-US")
        await self._socket.send_json({"type": "prompt", "voicePrompt": text, "lang": language, "last": True})

    async def press(self, digits: str) -> None:
        """Press keys; each cuts the agent off like a word."""
        for digit in digits:
            self._note("far_end_key", digit)
            await self._socket.send_json({"type": "dtmf", "digit": digit})
            await self._cut_in()
            await self.clock.sleep(0.2)

    async def send(self, frame: Any) -> None:
        """Any frame, or any text that is none."""
        await self._socket.send_str(frame if isinstance(frame, str) else json.dumps(frame))

    async def break_off(self) -> None:
        """The socket is lost; the call lives."""
        await self._socket.close(code=1011)

    def hang_up(self) -> None:
        self.call.command(Command("decline", self.clock.now()))

    async def _speaking(self, value: str) -> None:
        await self._socket.send_json({"type": "info", "name": "clientSpeaking", "value": value})

    async def _follow(self, observe: Callable[[dict[str, Any]], None]) -> RelayEnd:
        async for message in self._socket:
            if message.type is not aiohttp.WSMsgType.TEXT:
                break
            frame = _frame(message.data)
            observe(frame)
            match frame.get("type"):
                case "text":
                    self.mouth.take(frame)
                case "sendDigits":
                    self._note("agent_key", str(frame.get("digits", "")))
                case "end":
                    return RelayEnd("ended", handoff_data=str(frame.get("handoffData", "")))
        return RelayEnd("failed", error_code=LOST_CONNECTION, error_message="the socket was lost")


Caller = Callable[[Line], Awaitable[None]]
"""Somebody at a telephone. When it returns, the line stays open in silence."""


async def converse(
    network: Network,
    session: RelaySession,
    caller: Caller,
    observe: Callable[[dict[str, Any]], None] = lambda frame: None,
) -> RelayEnd:
    """Connect with a signed handshake, send `setup`, and have `caller` talk until `end` or a lost socket."""
    url = session.url
    if not is_loopback(url):
        return RelayEnd("failed", error_code=UNREACHABLE, error_message="only loopback addresses are called")
    headers = {"X-Twilio-Signature": network.courier.signature(url)}
    try:
        async with network.courier.session.ws_connect(
            yarl.URL(url, encoded=True), headers=headers, max_msg_size=1 << 20
        ) as socket:
            await socket.send_json(session.setup())
            line = Line(network, session, socket)
            tasks = [asyncio.ensure_future(work) for work in (line.mouth.play(), _talk(caller, line))]
            try:
                return await line._follow(observe)
            finally:
                await cancel_all(tasks)
    except (aiohttp.ClientError, OSError, ValueError):
        return RelayEnd("failed", error_code=UNREACHABLE, error_message="the socket could not be opened")


async def _talk(caller: Caller, line: Line) -> None:
    with contextlib.suppress(aiohttp.ClientError, OSError):  # the socket closed while they spoke
        await caller(line)


async def hold_the_line(network: Network, session: RelaySession) -> RelayEnd:
    """Say nothing."""
    return await converse(network, session, silent)


async def silent(line: Line) -> None:
    """Listens."""


def _frame(text: str) -> dict[str, Any]:
    try:
        frame = json.loads(text)
    except ValueError:
        return {}
    return frame if isinstance(frame, dict) else {}
