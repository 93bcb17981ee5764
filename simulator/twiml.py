"""Executes TwiML for one leg of a call.

Invariant: a verb takes exactly its virtual length, and an HTTP request for TwiML takes none: the program's
own moment `at` is counted, not measured. Only a relay session and a child leg last as long as they last.

Verbs: Say, Pause, Play, Gather (keys only where the script presses some), Redirect, Dial (one Number),
Connect (ConversationRelay), Hangup, Reject. Any other verb is an error, as it is at Twilio.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from urllib.parse import urldefrag, urljoin
from xml.etree import ElementTree  # the check below lets no declaration through

from simulator.calls import DEFAULT_TIME_LIMIT_SECONDS, EVENTS, Call, Command, Hook, Order
from simulator.relay import RelaySession

if TYPE_CHECKING:
    from simulator.network import Network

WORDS_PER_SECOND = 2.5
PLAY_SECONDS = 5.0
ERROR_MESSAGE_SECONDS = 4.0  # "an application error has occurred"
MOST_DOCUMENTS = 100  # a program that redirects for ever ends here

HTTP_RETRIEVAL_FAILURE = "11200"
DOCUMENT_PARSE_FAILURE = "12100"


class TwimlError(Exception):
    """TwiML could not be fetched or understood; `code` is Twilio's number for it."""

    def __init__(self, code: str, url: str) -> None:
        super().__init__(code)
        self.code = code
        self.url = url


class HungUp(Exception):
    """The program ended the call."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a document comes from: an address with further parameters, the text, or what was fetched."""

    hook: Hook | None = None
    twiml: str = ""
    document: ElementTree.Element | None = None
    params: dict[str, str] = field(default_factory=dict)


def parse(text: str, url: str = "") -> ElementTree.Element:
    """The `<Response>` of a document. An empty text is an empty response. Raises TwimlError."""
    if not text.strip():
        return ElementTree.Element("Response")
    if re.search(r"<!(DOCTYPE|ENTITY)", text, re.IGNORECASE):
        raise TwimlError(DOCUMENT_PARSE_FAILURE, url)
    try:
        root = ElementTree.fromstring(text)  # noqa: S314 - entities were refused above
    except ElementTree.ParseError as error:
        raise TwimlError(DOCUMENT_PARSE_FAILURE, url) from error
    if root.tag != "Response":
        raise TwimlError(DOCUMENT_PARSE_FAILURE, url)
    return root


def _number(element: ElementTree.Element, name: str, default: float) -> float:
    text = element.get(name, "")
    return float(text) if re.fullmatch(r"\d{1,6}", text) else default


class Program:
    """The TwiML of one leg from its answer on. `at` is the virtual moment it has reached."""

    def __init__(self, network: Network, call: Call, at: float) -> None:
        self.network = network
        self.call = call
        self.at = at
        self._base = Hook("")
        self._verbs: dict[str, Callable[[ElementTree.Element], Awaitable[Source | None]]] = {
            "Say": self._say,
            "Pause": self._pause,
            "Play": self._play,
            "Gather": self._gather,
            "Redirect": self._redirect,
            "Dial": self._dial,
            "Connect": self._connect,
            "Hangup": self._hang_up,
            "Reject": self._hang_up,
        }

    async def run(self, source: Source) -> bool:
        """Execute until the end of the last document, which returns False, or a hang-up: True.

        An error tries the call's fallback address once, then says so to the caller and hangs up.
        """
        try:
            await self._documents(source)
        except HungUp:
            return True
        except TwimlError as error:
            return await self._fall_back(error)
        return False

    async def _fall_back(self, error: TwimlError) -> bool:
        fallback = self.call.order.fallback
        try:
            if fallback is not None and error.url != fallback.url:
                await self._documents(
                    Source(fallback, params={"ErrorCode": error.code, "ErrorUrl": urldefrag(error.url)[0]})
                )
                return False
        except HungUp:
            return True
        except TwimlError:
            pass
        await self.advance(ERROR_MESSAGE_SECONDS)
        return True

    async def _documents(self, source: Source | None) -> None:
        for _ in range(MOST_DOCUMENTS):
            if source is None:
                return
            source = await self._document(await self.fetch(source))
        raise TwimlError(DOCUMENT_PARSE_FAILURE, self._base.url)

    async def _document(self, root: ElementTree.Element) -> Source | None:
        for element in root:
            verb = self._verbs.get(element.tag)
            if verb is None:
                raise TwimlError(DOCUMENT_PARSE_FAILURE, self._base.url)
            if (onward := await verb(element)) is not None:
                return onward
        return None

    async def fetch(self, source: Source) -> ElementTree.Element:
        """Get a document. Raises TwimlError."""
        if source.document is not None:
            return source.document
        if source.hook is None:
            return parse(source.twiml)
        self._base = source.hook
        delivery = await self.network.request(self.call, "twiml", source.hook, source.params)
        if not delivery.delivered:
            raise TwimlError(HTTP_RETRIEVAL_FAILURE, source.hook.url)
        return parse(delivery.reply, source.hook.url)

    async def advance(self, seconds: float) -> None:
        """Let this many virtual seconds of the program pass."""
        self.at += seconds
        await self.network.clock.sleep_until(self.at)

    def _hook(self, address: str, method: str | None) -> Hook:
        return Hook(urljoin(self._base.url, address), "GET" if (method or "").upper() == "GET" else "POST")

    def _action(self, element: ElementTree.Element, params: dict[str, str]) -> Source | None:
        address = element.get("action")
        if not address:
            return None
        return Source(self._hook(address, element.get("method")), params=params)

    async def _say(self, element: ElementTree.Element) -> None:
        words = len("".join(element.itertext()).split())
        await self.advance(max(1.0, words / WORDS_PER_SECOND) * max(1, _number(element, "loop", 1)))

    async def _pause(self, element: ElementTree.Element) -> None:
        await self.advance(_number(element, "length", 1))

    async def _play(self, element: ElementTree.Element) -> None:
        await self.advance(PLAY_SECONDS * max(1, _number(element, "loop", 1)))

    async def _gather(self, element: ElementTree.Element) -> Source | None:
        digits = self.call.script.digits
        for nested in element:
            if not digits and nested.tag in ("Say", "Play", "Pause"):
                await self._verbs[nested.tag](nested)
        if digits:
            await self.advance(1.0)
            here = Source(self._base, params={"Digits": digits})
            return self._action(element, {"Digits": digits}) or here
        await self.advance(_number(element, "timeout", 5))
        return None

    async def _redirect(self, element: ElementTree.Element) -> Source:
        return Source(self._hook((element.text or "").strip(), element.get("method")))

    async def _hang_up(self, element: ElementTree.Element) -> None:
        raise HungUp

    async def _dial(self, element: ElementTree.Element) -> Source | None:
        child = self.network.add_child(self.call, self._child_order(element), self.at)
        try:
            await child.ended.wait()
        except asyncio.CancelledError:
            child.command(Command("hang_up", self.network.clock.now()))
            raise
        self.at = max(self.at, child.ended_at or self.at)
        params = {"DialCallSid": child.sid, "DialCallStatus": str(child.status)}
        if child.answered_at is not None:
            params["DialCallDuration"] = str(child.duration_seconds)
        return self._action(element, params)

    def _child_order(self, element: ElementTree.Element) -> Order:
        number = element.find("Number")
        callee = element if number is None else number
        order = Order(
            to=(callee.text or "").strip(),
            from_=element.get("callerId") or self.call.order.from_,
            ring_timeout_seconds=round(_number(element, "timeout", 30)),
            time_limit_seconds=round(_number(element, "timeLimit", DEFAULT_TIME_LIMIT_SECONDS)),
        )
        if number is None:
            return order
        callback, whisper = number.get("statusCallback"), number.get("url")
        events = set(number.get("statusCallbackEvent", "completed").split()) & set(EVENTS)
        return replace(
            order,
            voice=self._hook(whisper, number.get("method")) if whisper else None,
            status_callback=self._hook(callback, number.get("statusCallbackMethod")) if callback else None,
            status_events=frozenset(events),
        )

    async def _connect(self, element: ElementTree.Element) -> Source | None:
        relay = element.find("ConversationRelay")
        if relay is None:
            raise TwimlError(DOCUMENT_PARSE_FAILURE, self._base.url)
        session = RelaySession.of(self.call, relay, self._base.url)
        started_at = self.network.clock.now()

        def params(status: dict[str, str]) -> dict[str, str]:
            lasted = max(0.0, self.network.clock.now() - started_at)
            return {"SessionId": session.id, "SessionDuration": str(round(lasted)), **status}

        try:
            end = await self.network.relay(self.network, session)
        except asyncio.CancelledError:
            # The far end hung up: Twilio still asks for the action, and runs nothing of the answer.
            if (action := self._action(element, params({"SessionStatus": "completed"}))) and action.hook:
                answer = self.network.request(self.call, "relay_action", action.hook, action.params)
                self.network.courier.spawn(answer)
            raise
        self.at = max(self.at, self.network.clock.now())
        return self._action(element, params(end.params()))
