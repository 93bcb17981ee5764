"""The stream that tells open pages that something changed.

Invariant: it says what kind of thing changed, never what it is now; pages fetch themselves again, so they show only
what their session may see.

A commit in this process wakes the streams of its organisation at once; other processes' commits are found by small
queries that look at the newest rows alone.
"""

import asyncio
import signal
import threading
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from itertools import chain
from typing import Any

from quart import Blueprint, Response, current_app, request
from sqlalchemy import Select, Table, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from accounts.sessions import Member, is_open
from accounts.tables import organisations
from billing.tables import auto_recharges, topups, wallets
from config.database import Database, Unavailable
from config.door import Door
from config.errors import ApiError
from dashboard import urls
from dashboard.web import database, inside, who
from voice.batches.tables import batches
from voice.live.tables import segments
from voice.tables import calls
from webhooks.tables import webhook_deliveries

blueprint = inside(Blueprint("live", __name__))

LOOK_SECONDS = 3.0
PING_SECONDS = 15.0
SETTLE_SECONDS = 0.1
STREAMS_LIMIT = 400
STREAMS_LIMIT_OF_ONE = 40
NEWEST = 30


def _newest(table: Table, org_id: str) -> Select[Any]:
    return select(table.c.id, table.c.updated_at).where(table.c.org_id == org_id).order_by(table.c.id.desc())


def queries(org_id: str, call_id: str) -> dict[str, list[Select[Any]]]:
    """Topic → what is different whenever something of this topic has changed. `call_id`: the call that is shown."""
    wallet = select(wallets.c.sequence).where(wallets.c.id == org_id)
    longest = select(organisations.c.max_call_duration_seconds).where(organisations.c.id == org_id)
    moved = select(func.count(), func.sum(batches.c.sequence)).where(batches.c.org_id == org_id)
    recharge = select(auto_recharges.c.updated_at).where(auto_recharges.c.id == org_id)
    call = select(calls.c.updated_at, calls.c.result_status).where(calls.c.id == call_id, calls.c.org_id == org_id)
    spoken = select(func.count(), func.count(segments.c.ended_at), func.count(segments.c.cut_text)).where(
        segments.c.call_id == call_id, segments.c.org_id == org_id
    )
    return {
        "wallet": [wallet, longest],
        "ledger": [wallet],
        "usage": [wallet],
        "calls": [_newest(calls, org_id).limit(NEWEST)],
        "call": [call],
        "transcript": [call, spoken],
        "topups": [_newest(topups, org_id).limit(NEWEST), recharge],
        "batches": [moved],
        "deliveries": [_newest(webhook_deliveries, org_id).limit(NEWEST)],
    }


class Bell:
    """Rings for an organisation when a command about it has been committed here."""

    def __init__(self, door: Door) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = defaultdict(set)
        self._earlier: dict[signal.Signals, Any] = {}
        self.stopped = False
        self.told_to_stop: list[Callable[[], None]] = []
        """Whom to tell of the signal, in the event loop."""
        door.committed.append(self._committed)

    def _committed(self, command: Any, result: Any) -> None:
        if not self._waiting:
            return
        call = getattr(result, "call", None)
        org_id = getattr(call, "org_id", None) or getattr(command, "org_id", None) or getattr(result, "org_id", None)
        for listeners in (self._waiting.get(org_id, ()),) if org_id else tuple(self._waiting.values()):
            for listener in listeners:
                listener.set()

    def listen(self, org_id: str) -> asyncio.Event:
        """Raises ApiError 503 when too many pages are open."""
        own = len(self._waiting.get(org_id, ()))
        if own >= STREAMS_LIMIT_OF_ONE or sum(map(len, self._waiting.values())) >= STREAMS_LIMIT:
            raise ApiError(503, "over_capacity", "Too many pages are open; this one does not update by itself.")
        listener = asyncio.Event()
        self._waiting[org_id].add(listener)
        return listener

    def leave(self, org_id: str, listener: asyncio.Event) -> None:
        self._waiting[org_id].discard(listener)
        if not self._waiting[org_id]:
            del self._waiting[org_id]

    def stop(self) -> None:
        """End all streams, so that a stopping server need not wait for them."""
        self.stopped = True
        for listeners in self._waiting.values():
            for listener in listeners:
                listener.set()

    def stop_on_signal(self) -> None:
        """Stop as soon as the server is asked to. It tells the application only after all responses have ended, and
        streams end only here. Whatever else listens for the signal still hears it."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT) if threading.current_thread() is threading.main_thread() else ():
            if callable(earlier := signal.getsignal(number)):
                self._earlier[number] = earlier
                signal.signal(number, partial(self._hear, loop, earlier))

    def _hear(self, loop: asyncio.AbstractEventLoop, earlier: Any, number: int, frame: Any) -> None:
        loop.call_soon_threadsafe(self.stop)
        for listener in self.told_to_stop:
            loop.call_soon_threadsafe(listener)
        earlier(number, frame)

    def close(self) -> None:
        """The application has ended; signals go where they went before."""
        self.stop()
        for number, earlier in self._earlier.items():
            ours = signal.getsignal(number)
            if isinstance(ours, partial) and ours.func == self._hear:
                signal.signal(number, earlier)


@blueprint.get(urls.EVENTS)
async def events() -> Response:
    """`event: changed` with the topics that have changed; `event: ping` now and then."""
    person = await who()
    known = queries(person.org_id, request.args.get("call", "")[:36])
    wanted = {topic: known[topic] for topic in request.args.get("topics", "").split() if topic in known}
    bell: Bell = current_app.extensions["bell"]
    listener = bell.listen(person.org_id)
    stream = _stream(database(), person, wanted or {"wallet": known["wallet"]}, bell, listener)
    response = Response(stream, content_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
    response.timeout = None
    return response


async def _stream(
    source: Database, person: Member, wanted: Mapping[str, list[Select[Any]]], bell: Bell, listener: asyncio.Event
) -> AsyncIterator[str]:
    """Ends with the session, the server, or the database's absence: the page then says so, and connects again."""
    seen: dict[str, Any] = {}
    pinged = -PING_SECONDS
    try:
        while not bell.stopped:
            is_ping_due = time.monotonic() - pinged >= PING_SECONDS
            try:
                async with source.read() as connection:
                    now = await _versions(connection, wanted)
                    if is_ping_due and not await is_open(connection, person.session_id):
                        return
            except Unavailable:
                return
            if is_ping_due:
                pinged = time.monotonic()
                yield "event: ping\ndata:\n\n"
            changed = [topic for topic in wanted if seen and now[topic] != seen[topic]]
            if changed:
                yield f"event: changed\ndata: {' '.join(changed)}\n\n"
            seen = now
            await _wait(listener)
    finally:
        bell.leave(person.org_id, listener)


async def _versions(connection: AsyncConnection, wanted: Mapping[str, list[Select[Any]]]) -> dict[str, Any]:
    answers: dict[int, list[Any]] = {}
    for query in chain.from_iterable(wanted.values()):
        if id(query) not in answers:  # several topics ask for the same
            answers[id(query)] = [tuple(row) for row in await connection.execute(query)]
    return {topic: [answers[id(query)] for query in asked] for topic, asked in wanted.items()}


async def _wait(listener: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            await listener.wait()
    except TimeoutError:
        return
    listener.clear()
    await asyncio.sleep(SETTLE_SECONDS)  # one look for a burst of commits
