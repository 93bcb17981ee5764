"""A telephone in the browser: it rings, is answered, declined or left to its voicemail, and talks by typing.

Invariant: it drives the real protocol; the server on the line cannot tell it from a call. There is one telephone,
shown in any number of tabs alike. While a tab shows a live call, time runs as it does for people, however fast the
network is otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

from quart import Blueprint, Response, render_template, websocket

from simulator.callers import voicemail
from simulator.calls import Call, Command, Status
from simulator.network import Network
from simulator.relay import Line, Relay, RelayEnd, RelaySession, converse
from simulator.scripts import PRESETS

NUMBER = "+14155550120"
KEYS = frozenset("0123456789*#")
LONGEST_TEXT = 500
LINES_KEPT = 200
VOICEMAIL = PRESETS["voicemail"]
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)


class Phone:
    """The telephone with `NUMBER`; takes part in the relay sessions of its calls."""

    def __init__(self, network: Network, others: Relay) -> None:
        self.network, self._others = network, others
        self.call: Call | None = None
        self.lines: list[dict[str, Any]] = []
        """`{"id", "who", "text"}` each; who: agent, you, voicemail, note. The agent's also carry how many characters
        have sounded (`heard`), whether more may come (`is_open`) and whether it was interrupted (`is_cut`)."""
        self._language = ""
        self._made = 0
        self._tabs: set[asyncio.Queue[dict[str, Any]]] = set()
        self._said: asyncio.Queue[dict[str, Any]] = asyncio.Queue(100)
        network.watchers.append(self._watch)

    def _watch(self, call: Call) -> None:
        if not call.script.by_hand and call is not self.call:
            return
        if call is not self.call:
            if self._is_engaged():
                return  # the other one rings on
            self._take(call)
        self._tell(self.state())
        if not self._is_engaged() and (waiting := self._waiting()) is not None:
            self._take(waiting)
            self._tell(self.state())
        self._keep_pace()

    def _is_engaged(self) -> bool:
        """A call that the network has forgotten is over."""
        return self.call is not None and self.call.is_live and self.call.sid in self.network.calls

    def _waiting(self) -> Call | None:
        every = self.network.calls.values()
        return next((c for c in every if c.script.by_hand and c.status is Status.RINGING and c is not self.call), None)

    def _take(self, call: Call) -> None:
        self.call, self.lines, self._said = call, [], asyncio.Queue(100)

    def _keep_pace(self) -> None:
        clock = self.network.clock
        if clock.run_at(min(1.0, clock.speed) if self._tabs and self._is_engaged() else clock.speed):
            for call in self.network.calls.values():
                call.wake()

    def open_tab(self) -> asyncio.Queue[dict[str, Any]]:
        """What a new tab is to be sent, beginning with how things are."""
        tab: asyncio.Queue[dict[str, Any]] = asyncio.Queue(1_000)
        tab.put_nowait(self.state())
        self._tabs.add(tab)
        self._keep_pace()
        return tab

    def close_tab(self, tab: asyncio.Queue[dict[str, Any]]) -> None:
        self._tabs.discard(tab)
        self._keep_pace()

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
            "ended_by": call.ended_by,
            "is_live": self._is_engaged(),
            "is_voicemail": call.script is VOICEMAIL,
            "language": self._language,
        }
        return {"type": "state", "number": NUMBER, "numbers": numbers, "call": shown, "lines": self.lines}

    def _tell(self, message: dict[str, Any]) -> None:
        for tab in self._tabs:
            with contextlib.suppress(asyncio.QueueFull):
                tab.put_nowait(message)

    # -- what the person does -----------------------------------------------------------------------------------------

    def do(self, message: dict[str, Any]) -> None:
        """A button was pressed or something typed; what makes no sense now is ignored."""
        call, what, now = self.call, message.get("do"), self.network.clock.now()
        if what == "call":
            self._call_out(str(message.get("to", "")))
        elif call is None or not self._is_engaged():
            return
        elif what in ("answer", "decline"):
            call.command(Command(what, now))
        elif what == "voicemail" and call.script.by_hand:
            call.script = VOICEMAIL
            call.command(Command("answer", now))
        elif what == "hangup":
            call.command(Command("decline", now))
        elif what == "say" and str(message.get("text", "")).strip():
            self._say({"say": str(message["text"]).strip()[:LONGEST_TEXT]})
        elif what == "key" and message.get("digit") in KEYS:
            self._say({"key": message["digit"]})

    def _say(self, said: dict[str, Any]) -> None:
        with contextlib.suppress(asyncio.QueueFull):
            self._said.put_nowait(said)

    def _call_out(self, to: str) -> None:
        number = self.network.numbers.get(to)
        if number is not None and not self._is_engaged():
            self.network.ring_in(number, NUMBER, PRESETS["phone"])

    # -- the line -----------------------------------------------------------------------------------------------------

    async def relay(self, network: Network, session: RelaySession) -> RelayEnd:
        """The far end of a session: this telephone where it is its call, else whoever else plays it."""
        call = session.call
        if call is not self.call:
            return await self._others(network, session)
        self._language = session.attributes.get("language", "")
        self._tell(self.state())

        async def far_end(line: Line) -> None:
            line.watch = lambda what, text: self._sounded(call, what, text)
            await (voicemail(line) if call.script is VOICEMAIL else self._speak(line))

        def hear(frame: dict[str, Any]) -> None:
            if call is self.call and frame.get("type") == "text":
                self._hear(str(frame.get("token", "")), is_last=bool(frame.get("last")))

        return await converse(network, session, far_end, hear)

    async def _speak(self, line: Line) -> None:
        while True:
            said = await self._said.get()
            if "key" in said:
                await line.press(said["key"])
            else:
                await line.say(said["say"], 0)

    def _hear(self, token: str, *, is_last: bool) -> None:
        """The agent's text, which is yet to sound."""
        line: dict[str, Any] = next((each for each in reversed(self.lines) if each["who"] == "agent"), {})
        if not line.get("is_open"):
            if not token.strip():
                return
            line = self._line("agent", "", heard=0, is_open=True, is_cut=False)
        line["text"] += token
        line["is_open"] = not is_last
        self._tell({"type": "line", **line})

    def _sounded(self, call: Call, what: str, text: str) -> None:
        if call is not self.call:
            return
        match what:
            case "agent":
                self._mark_heard(text)
            case "cut":
                self._cut(len(self.lines))
            case "agent_key":
                self._show(self._line("note", f"The agent presses {text}"))
            case "far_end_key":
                self._show(self._line("you", f"Key {text}"))
            case "far_end" if call.script is VOICEMAIL:
                self._show(self._line("voicemail", text))
                self._show(self._line("note", "Beep"))
            case "far_end":
                self._show(self._line("you", text))

    def _mark_heard(self, clause: str) -> None:
        """What came before it and has not sounded was given up."""
        for index, line in enumerate(self.lines):
            if line["who"] == "agent" and not line["is_cut"]:
                at = line["text"].find(clause, line["heard"])
                if at >= 0:
                    line["heard"] = at + len(clause)
                    self._show(line)
                    self._cut(index)
                    return

    def _cut(self, before: int) -> None:
        for line in self.lines[:before]:
            if line["who"] == "agent" and not line["is_cut"] and line["text"][line["heard"] :].strip():
                line["is_cut"], line["is_open"] = True, False
                self._show(line)

    def _line(self, who: str, text: str, **more: Any) -> dict[str, Any]:
        self._made += 1
        line = {"id": self._made, "who": who, "text": text, **more}
        self.lines = [*self.lines, line][-LINES_KEPT:]
        return line

    def _show(self, line: dict[str, Any]) -> None:
        self._tell({"type": "line", **line})


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
        tab = phone.open_tab()
        sender = asyncio.create_task(_send(tab))
        try:
            while True:
                with contextlib.suppress(ValueError, AttributeError):
                    phone.do(json.loads(await websocket.receive()))
        finally:
            phone.close_tab(tab)
            sender.cancel()

    return blueprint


async def _send(tab: asyncio.Queue[dict[str, Any]]) -> None:
    while True:
        await websocket.send(json.dumps(await tab.get()))
