"""A telephone in the browser: it rings, is answered, declined or left to its voicemail, and talks by typing.

Invariant: it drives the real protocol; the server on the line cannot tell it from a call. There is one telephone,
shown in any number of tabs alike.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

from quart import Blueprint, Response, render_template, websocket

from simulator.calls import Call, Command
from simulator.network import Network
from simulator.relay import Line, Relay, RelayEnd, RelaySession, converse
from simulator.scripts import PRESETS

NUMBER = "+14155550120"
KEYS = frozenset("0123456789*#")
LONGEST_TEXT = 500
LINES_KEPT = 200
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)


class Phone:
    """The telephone with `NUMBER`; takes part in the relay sessions of its calls."""

    def __init__(self, network: Network, others: Relay) -> None:
        self.network, self._others = network, others
        self.call: Call | None = None
        self._sentence = ""
        self.lines: list[dict[str, Any]] = []
        self._tabs: set[asyncio.Queue[dict[str, Any]]] = set()
        self._said: asyncio.Queue[dict[str, Any]] = asyncio.Queue(100)
        network.watchers.append(self._watch)

    def _watch(self, call: Call) -> None:
        if not call.script.by_hand and call is not self.call:
            return
        if self.call is not call:
            if self.call is not None and self.call.is_live:
                return  # engaged: the other one rings on
            self.call, self.lines, self._said = call, [], asyncio.Queue(100)
        self._tell(self.state())

    def state(self) -> dict[str, Any]:
        """What a tab shows when it opens, and after every change."""
        call = self.call
        numbers = list(self.network.numbers)
        if call is None:
            return {"type": "state", "number": NUMBER, "numbers": numbers, "call": None, "lines": []}
        shown = {
            "sid": call.sid,
            "other": call.order.to if call.direction == "inbound" else call.order.from_,
            "direction": "out" if call.direction == "inbound" else "in",
            "status": str(call.status),
            "is_live": call.is_live,
        }
        return {"type": "state", "number": NUMBER, "numbers": numbers, "call": shown, "lines": self.lines}

    def _tell(self, message: dict[str, Any]) -> None:
        for tab in self._tabs:
            with contextlib.suppress(asyncio.QueueFull):
                tab.put_nowait(message)

    def _line(self, who: str, text: str) -> None:
        self.lines = [*self.lines, {"who": who, "text": text}][-LINES_KEPT:]
        self._tell({"type": "line", "who": who, "text": text})

    # -- what the person does -----------------------------------------------------------------------------------------

    def do(self, message: dict[str, Any]) -> None:
        """A button was pressed or something typed; what makes no sense now is ignored."""
        call, what = self.call, message.get("do")
        if what == "call":
            self._call_out(str(message.get("to", "")))
            return
        if call is None or not call.is_live:
            return
        if what in ("answer", "decline"):
            call.command(Command(what, self.network.clock.now()))
        elif what == "voicemail":
            call.script = PRESETS["voicemail"]
            call.command(Command("answer", self.network.clock.now()))
        elif what == "hangup":
            call.command(Command("decline", self.network.clock.now()))
        elif what == "say" and str(message.get("text", "")).strip():
            self._say({"say": str(message["text"]).strip()[:LONGEST_TEXT]})
        elif what == "key" and message.get("digit") in KEYS:
            self._say({"key": message["digit"]})

    def _say(self, said: dict[str, Any]) -> None:
        with contextlib.suppress(asyncio.QueueFull):
            self._said.put_nowait(said)

    def _call_out(self, to: str) -> None:
        number = self.network.numbers.get(to)
        if number is not None and (self.call is None or not self.call.is_live):
            self.network.ring_in(number, NUMBER, PRESETS["phone"])

    # -- the line -----------------------------------------------------------------------------------------------------

    async def relay(self, network: Network, session: RelaySession) -> RelayEnd:
        """The far end of a session: this telephone where it is its call, else whoever else plays it."""
        if session.call is not self.call:
            return await self._others(network, session)
        self._sentence = ""
        return await converse(network, session, self._speak, self._hear)

    def _hear(self, frame: dict[str, Any]) -> None:
        match frame.get("type"):
            case "text":
                self._sentence += frame.get("token", "")
                if frame.get("last") and self._sentence.strip():
                    self._line("agent", self._sentence.strip())
                self._sentence = "" if frame.get("last") else self._sentence
            case "sendDigits":
                self._line("note", f"The agent presses {frame.get('digits', '')}")

    async def _speak(self, line: Line) -> None:
        while True:
            said = await self._said.get()
            if "key" in said:
                self._line("you", f"Key {said['key']}")
                await line.press(said["key"])
                continue
            if line.mouth.may_be_cut:
                self._tell({"type": "cut"})
            self._line("you", said["say"])
            await line.say(said["say"], 0)


def create_blueprint(phone: Phone) -> Blueprint:
    """The page at `/`, its line to the telephone at `/phone/line`."""
    blueprint = Blueprint(
        "phone", __name__, template_folder="templates", static_folder="static", static_url_path="/phone/static"
    )

    @blueprint.get("/")
    async def page() -> Response:
        body = await render_template("phone.html", number=NUMBER)
        headers = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
        return Response(body, 200, headers, content_type="text/html; charset=utf-8")

    @blueprint.websocket("/phone/line")
    async def line() -> None:
        tab: asyncio.Queue[dict[str, Any]] = asyncio.Queue(1_000)
        tab.put_nowait(phone.state())
        phone._tabs.add(tab)
        sender = asyncio.create_task(_send(tab))
        try:
            while True:
                with contextlib.suppress(ValueError, AttributeError):
                    phone.do(json.loads(await websocket.receive()))
        finally:
            phone._tabs.discard(tab)
            sender.cancel()

    return blueprint


async def _send(tab: asyncio.Queue[dict[str, Any]]) -> None:
    while True:
        await websocket.send(json.dumps(await tab.get()))
