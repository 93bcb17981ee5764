"""The conversations of this process: who may join one, what they are told from elsewhere, and how they stop.

Invariant: a call has at most one conversation here, and the newest ticket wins it; a verdict reaches its conversation
once, whichever process heard it first.
"""

import asyncio
import contextlib
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from accounts.organisations import find_organisation
from config.clock import Clock, new_id
from config.database import Database, Unavailable
from config.door import Busy, Down
from voice.call import Policy
from voice.calls import find_call
from voice.conversation import restored_conversation
from voice.conversation.events import DrainRequested, ResumeReason, SetupReceived, VerdictReceived
from voice.events import HangUpRequested
from voice.live.briefing import brief_of
from voice.live.store import IssueTicket, RedeemTicket, as_piece, talk_of, verdict_words
from voice.live.talking import Means, Send, Session, Talk
from voice.move_call import MoveCall, Observation
from voice.outcomes import Moved
from voice.vocabulary import CallStatus

log = structlog.get_logger(__name__)

RELAY_PATH = "/relay"
TICKET_PARAMETER = "ticket"
VERDICT_LOOK_SECONDS = 1.0
DRAIN_MS = 15_000
HANG_UP_BACKSTOP_SECONDS = 5.0
OFF_THE_LIST_SECONDS = 0.05
"""How often we look whether what has ended is off the list: its carrier may take two seconds to close the socket."""
WARM_SECONDS = 45.0  # a connection to the model lives a minute
GOES_ON = ("transfer", "drain")  # ends of a session after which the call goes on


@dataclass(slots=True)
class _Live:
    talk: Talk
    task: "asyncio.Task[None]"
    verdicts: set[str] = field(default_factory=set)

    def hear_verdict(self, word: str, ago_ms: int = 0) -> None:
        if word not in self.verdicts:
            self.verdicts.add(word)
            self.talk.feed(VerdictReceived(word, ago_ms))


class Switchboard:
    """One for each process that answers the carrier."""

    def __init__(self, means: Means, database: Database, policy: Policy, clock: Clock) -> None:
        self.means = means
        self.is_draining = False
        self._database, self._policy, self._clock = database, policy, clock
        self._live: dict[str, _Live] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._backstops: set[asyncio.Task[None]] = set()
        self._watching: asyncio.Task[None] | None = None
        self._warmed_at = -WARM_SECONDS
        means.door.committed.append(self._committed)

    @property
    def count(self) -> int:
        """How many conversations are under way."""
        return len(self._live)

    # -- tickets ------------------------------------------------------------------------------------------------------

    async def open_ticket(self, call_id: str, org_id: str, resumed: ResumeReason | None = None) -> str:
        """A fresh token for the TwiML; its socket opens within a second, so the model is made ready."""
        self._warm_model()
        token = secrets.token_urlsafe(24)
        await self.means.door.submit(IssueTicket(call_id, org_id, _hash(token), resumed))
        return token

    async def redeem(self, token: str, twilio_call_sid: str) -> Mapping[str, Any] | None:
        """The ticket behind a token that a socket shows, used up by this. Raises Busy, Down."""
        return await self.means.door.submit(RedeemTicket(_hash(token), twilio_call_sid))

    def _warm_model(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._warmed_at > WARM_SECONDS:
            self._warmed_at = now
            self._spawn(self._tasks, self.means.model.warm_up())

    # -- conversations ------------------------------------------------------------------------------------------------

    async def begin(self, ticket: Mapping[str, Any], send: Send) -> tuple[Talk, "asyncio.Task[None]"]:
        """The conversation that a redeemed ticket opens, new or taken up where it was left, and its loop."""
        call_id: str = ticket["call_id"]
        while older := self._live.pop(call_id, None):  # its last words are stored before they are read
            older.talk.supersede(is_handing_over=True)
            await asyncio.gather(older.task, return_exceptions=True)
        talk = await self._talk(Session(call_id, ticket["org_id"], ticket["id"]), send)
        resumed = ticket["resumed"]
        talk.feed(SetupReceived(ResumeReason(resumed) if resumed else None))
        live = self._live[call_id] = _Live(talk, asyncio.create_task(talk.run()))
        try:
            await self._look_for_verdicts([call_id])  # it may have come before the socket
        except BaseException:  # the socket may go before its conversation has quite begun
            await self.end(talk, live.task)
            raise
        if self._watching is None and not self._database.is_sqlite:
            self._watching = asyncio.create_task(self._watch())
        if self.is_draining:
            self._drain_one(live)
        return talk, live.task

    async def _talk(self, session: Session, send: Send) -> Talk:
        async with self._database.read() as connection:
            row = await find_call(connection, session.org_id, session.call_id)
            organisation = await find_organisation(connection, session.org_id)
            said = await talk_of(connection, session.call_id)
        assert row is not None
        assert organisation is not None
        brief = brief_of(row, organisation, self._clock())
        conversation = restored_conversation(brief, [as_piece(segment) for segment in said])
        tools = {tool["name"]: tool for tool in row["tools"] or () if tool.get("type") == "http"}
        return Talk(conversation, session, tools, self.means, send)

    async def end(self, talk: Talk, task: "asyncio.Task[None]") -> None:
        """The socket is gone, or the conversation is over: it stores its last words."""
        task.cancel()  # nothing, if it has ended
        await asyncio.gather(task, return_exceptions=True)
        live = self._live.get(talk.session.call_id)
        if live is not None and live.talk is talk:
            del self._live[talk.session.call_id]
            if talk.handoff is not None and talk.handoff.get("reason") not in GOES_ON:
                self._spawn(self._backstops, self._hang_up_later(talk.session.call_id))

    async def _hang_up_later(self, call_id: str) -> None:
        """The carrier asks what follows and is told to hang up; should that request be lost, we hang up ourselves."""
        await asyncio.sleep(HANG_UP_BACKSTOP_SECONDS)
        with contextlib.suppress(Busy, Down):
            await self.means.door.submit(MoveCall(HangUpRequested("agent"), self._policy, new_id(), call_id=call_id))

    # -- verdicts -----------------------------------------------------------------------------------------------------

    def _committed(self, command: Any, result: Any) -> None:
        """A listener of the door: a call that rings will soon talk; a verdict is about one that may talk here."""
        if isinstance(result, Moved) and result.new and result.call.status is CallStatus.RINGING:
            self._warm_model()
        observation: Observation | None = getattr(command, "observation", None)
        if isinstance(result, Moved) and observation is not None and observation.kind == "verdict":
            live = self._live.get(result.call.id)
            if live is not None and (word := observation.said.get("AnsweredBy")):
                live.hear_verdict(word)

    async def _look_for_verdicts(self, call_ids: list[str]) -> None:
        try:
            async with self._database.read() as connection:
                found = await verdict_words(connection, call_ids)
        except Unavailable:
            return  # the conversation finds out by listening
        for call_id, word, arrived_at in found:
            if (live := self._live.get(call_id)) is not None:
                live.hear_verdict(word, round(max(0, self._clock() - arrived_at) * self.means.pace))

    async def _watch(self) -> None:
        """Other processes may hear the verdict: one look for all, every second, while anybody talks."""
        while self._live:
            await asyncio.sleep(VERDICT_LOOK_SECONDS)
            await self._look_for_verdicts(list(self._live))
        self._watching = None

    # -- stopping -----------------------------------------------------------------------------------------------------

    async def drain(self) -> None:
        """Running conversations are handed on at an idle moment, or end; no new ones begin here."""
        self.is_draining = True
        for live in self._live.values():
            self._drain_one(live)
        deadline = asyncio.get_running_loop().time() + DRAIN_MS / 1000 / self.means.pace + 2
        while waited := [*(live.task for live in self._live.values()), *self._backstops]:
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                log.warning("drained_with_talks_left", talks=self.count)
                return
            await asyncio.wait(waited, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.sleep(OFF_THE_LIST_SECONDS)

    def _drain_one(self, live: _Live) -> None:
        live.talk.feed(DrainRequested(self.means.clock() + DRAIN_MS))

    def _spawn(self, kept: set["asyncio.Task[None]"], work: Any) -> None:
        task = asyncio.create_task(work)
        kept.add(task)
        task.add_done_callback(kept.discard)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
