"""ConversationRelay's socket: who may open one, and which conversation it carries.

Invariant: a socket carries exactly one live call, named by a fresh single-use ticket in its first frame; without a
signed handshake it is refused with 403, without a good ticket it is closed. The newest good socket of a call wins.
"""

import asyncio
import contextlib
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import structlog
from quart import Blueprint, Response, current_app, websocket

from accounts.organisations import find_organisation
from config.clock import Clock, new_id
from config.database import Database
from config.door import Busy, Door, Down
from voice.call import Policy
from voice.calls import find_call
from voice.conversation import restored_conversation
from voice.conversation.brief import CallBrief, Tool, tool_of
from voice.conversation.events import DrainRequested, PromptReceived, ResumeReason, SetupReceived, VerdictReceived
from voice.conversation.frames import FrameRejected, Setup, parse_frame
from voice.events import HangUpRequested, PlatformFailed
from voice.move_call import MoveCall, Observation
from voice.outcomes import Moved
from voice.signature import SignatureCheck
from voice.talking import Means, Talk
from voice.talks import IssueTicket, RedeemTicket, as_piece, talk_of, verdict_words

log = structlog.get_logger(__name__)
blueprint = Blueprint("relay", __name__)

PATH = "/relay"
TICKET_PARAMETER = "ticket"
SETUP_SECONDS = 10
BAD_FRAMES_LIMIT = 10
VERDICT_LOOK_SECONDS = 1.0
VERDICT_LOOKS = 60
DRAIN_MS = 15_000
HANG_UP_BACKSTOP_SECONDS = 5.0
REFUSED, SUPERSEDED, FLOODED, TRY_AGAIN = 4403, 4409, 4429, 1013


@dataclass(slots=True)
class Talks:
    """The conversations of this process, by call. Hears verdicts from the door as they are committed."""

    means: Means
    database: Database
    policy: Policy
    clock: Clock
    live: dict[str, tuple[Talk, "asyncio.Task[None]"]] = field(default_factory=dict)
    draining: bool = False
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set)

    def committed(self, command: Any, result: Any) -> None:
        """A listener of the door: a verdict about a call that talks here."""
        observation: Observation | None = getattr(command, "observation", None)
        if isinstance(result, Moved) and observation is not None and observation.kind == "verdict":
            known = self.live.get(result.call.id)
            if known is not None and (word := observation.said.get("AnsweredBy")):
                known[0].feed(VerdictReceived(word))

    async def open_ticket(self, call_id: str, org_id: str, resumed: str | None = None) -> str:
        """A fresh token for the TwiML."""
        token = secrets.token_urlsafe(24)
        await self.means.door.submit(IssueTicket(call_id, org_id, _hash(token), resumed))
        return token

    def ended(self, call_id: str, talk: Talk) -> None:
        """The carrier asks what follows and is told to hang up; should that request be lost, we hang up ourselves."""
        if talk.handoff is not None and talk.handoff.get("reason") not in ("transfer", "drain"):
            task = asyncio.create_task(self._hang_up_later(call_id))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _hang_up_later(self, call_id: str) -> None:
        await asyncio.sleep(HANG_UP_BACKSTOP_SECONDS)
        with contextlib.suppress(Busy, Down):
            await self.means.door.submit(MoveCall(HangUpRequested("agent"), self.policy, new_id(), call_id=call_id))

    async def drain(self) -> None:
        """Running conversations finish or are handed on at an idle moment; then they are over."""
        self.draining = True
        deadline = self.clock() + DRAIN_MS
        for talk, _ in self.live.values():
            talk.feed(DrainRequested(deadline))
        tasks = [task for _, task in self.live.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=DRAIN_MS / 1000 + 2)


def _talks() -> Talks:
    found: Talks = current_app.extensions["talks"]
    return found


@blueprint.websocket(PATH)
async def relay() -> Response | None:
    check: SignatureCheck = current_app.extensions["signature"]
    path = websocket.scope["raw_path"].decode("ascii", "replace")
    query = websocket.query_string.decode("ascii", "replace")
    if not check.handshake_passes(f"{path}?{query}" if query else path, dict(websocket.headers)):
        return Response("The handshake's signature does not match.", 403)
    if _talks().draining:
        return Response("This process is stopping.", 503)
    await websocket.accept()
    opened = await _opened()
    if opened is None:
        await websocket.close(REFUSED, "no good ticket")
        return None
    talk, resumed, call_id = opened
    await _carry(talk, resumed, call_id)
    return None


async def _opened() -> tuple[Talk, ResumeReason | None, str] | None:
    """The conversation behind the first frame, if its ticket is good."""
    try:
        async with asyncio.timeout(SETUP_SECONDS):
            setup = parse_frame(await websocket.receive())
    except (TimeoutError, FrameRejected):
        return None
    if not isinstance(setup, Setup):
        return None
    door: Door = current_app.extensions["door"]
    token = setup.parameters.get(TICKET_PARAMETER, "")[:200]
    try:
        ticket = await door.submit(RedeemTicket(_hash(token), setup.call_sid[:64]))
    except (Busy, Down):
        return None
    if ticket is None:
        log.warning("relay_refused")
        return None
    await _end_older(ticket["call_id"])
    talk = await _talk_for(ticket["org_id"], ticket["call_id"])
    resumed = ResumeReason(ticket["resumed"]) if ticket["resumed"] else None
    return talk, resumed, ticket["call_id"]


async def _end_older(call_id: str) -> None:
    """Its last words are stored before the new socket's conversation is read."""
    older = _talks().live.pop(call_id, None)
    if older is not None:
        older[1].cancel()
        await asyncio.gather(older[1], return_exceptions=True)


async def _talk_for(org_id: str, call_id: str) -> Talk:
    async with _talks().database.read() as connection:
        row = await find_call(connection, org_id, call_id)
        organisation = await find_organisation(connection, org_id)
        said = await talk_of(connection, call_id)
    assert row is not None
    assert organisation is not None
    brief = brief_of(row, organisation, _talks().clock())
    conversation = restored_conversation(brief, [as_piece(segment) for segment in said])
    tools = {tool["name"]: tool for tool in row["tools"] or () if tool.get("type") == "http"}

    async def send(frame: Mapping[str, Any]) -> None:
        await websocket.send(msgspec.json.encode(frame).decode())

    return Talk(conversation, org_id, tools, _talks().means, send)


def brief_of(row: Mapping[str, Any], organisation: Mapping[str, Any], now: int) -> CallBrief:
    """What the conversation is told, from the call's own snapshot."""
    began = row["answered_at"] or now
    silence = row["silence_timeout_seconds"]
    return CallBrief(
        call_id=row["id"],
        direction=row["direction"],
        organisation=organisation["name"],
        from_number=row["from_number"],
        to_number=row["to_number"],
        instructions=row["instructions"] or row["prompt"] or "",
        persona=row["persona"],
        context=row["context"] or {},
        first_message=row["first_message"],
        announce_ai=bool(organisation["disclose_ai"] if row["disclose_ai"] is None else row["disclose_ai"]),
        language=spoken_language(row["language"]),
        tools=_tools(row["tools"] or ()),
        voicemail_action=row["voicemail_action"] or "hangup",
        voicemail_message=row["voicemail_message"],
        transfer_number=row["transfer_number"],
        silence_ms=silence * 1000 if silence else 8_000,
        deadline_ms=began + row["max_duration_seconds"] * 1000,
        local_time=_local_time(organisation["timezone"], now),
    )


def spoken_language(code: str | None) -> str:
    """The carrier wants a region: `en` is spoken as in the United States."""
    return {"en": "en-US", "es": "es-US"}.get(code or "en", code or "en-US")


def _tools(configs: Any) -> tuple[Tool, ...]:
    return tuple(tool_of(config) for config in configs)


def _local_time(zone: str, now: int) -> str:
    from datetime import datetime

    return datetime.fromtimestamp(now / 1000, ZoneInfo(zone)).strftime("%A, %d %B %Y, %H:%M")


async def _carry(talk: Talk, resumed: ResumeReason | None, call_id: str) -> None:
    """Run the conversation over this socket until either ends."""
    talks = _talks()
    running = asyncio.create_task(talk.run())
    talks.live[call_id] = (talk, running)
    talk.feed(SetupReceived(resumed))
    helpers = [asyncio.create_task(_listen(talk)), asyncio.create_task(_watch_verdict(talk, call_id))]
    try:
        await asyncio.wait({running, helpers[0]}, return_when=asyncio.FIRST_COMPLETED)
        running.cancel()  # nothing, if it has ended; else the socket is gone, or its peer floods us
        await asyncio.gather(running, return_exceptions=True)
    finally:
        for helper in helpers:
            helper.cancel()
        await asyncio.gather(*helpers, return_exceptions=True)
        if talks.live.get(call_id) == (talk, running):
            del talks.live[call_id]
            talks.ended(call_id, talk)
        code = SUPERSEDED if running.cancelled() else 1000
        with contextlib.suppress(Exception):
            await websocket.close(code)


async def _listen(talk: Talk) -> None:
    """Frames in, events out; ends when the peer is no relay."""
    bad = 0
    while True:
        try:
            event = parse_frame(await websocket.receive())
        except FrameRejected:
            event, bad = None, bad + 1
        if bad > BAD_FRAMES_LIMIT or isinstance(event, Setup):
            return
        if isinstance(event, PromptReceived) and not event.last:
            continue
        if event is not None and not talk.feed(event):
            log.warning("relay_flooded", call_id=talk.call_id)
            return


async def _watch_verdict(talk: Talk, call_id: str) -> None:
    """The verdict's callback may have come before this socket, or to another process."""
    for _ in range(VERDICT_LOOKS):
        async with _talks().database.read() as connection:
            words = await verdict_words(connection, call_id)
        if words:
            talk.feed(VerdictReceived(words[-1]))
            if words[-1] != "machine_start":
                return
        await asyncio.sleep(VERDICT_LOOK_SECONDS)


async def never_spoke(door: Door, policy: Any, call_id: str) -> None:
    """The session failed before the agent said a word: our fault, so the call is free."""
    observation = Observation(new_id(), "platform", "failure", {"what": "the agent never got to speak"})
    await door.submit(MoveCall(PlatformFailed(), policy, new_id(), call_id=call_id, observation=observation))


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
