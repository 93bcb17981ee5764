"""The stream that tells open pages that something changed.

Invariant: it says that something changed, never what; pages fetch themselves again, so they show only what their
session may see.

A commit in this process wakes the streams of its organisation at once; other processes' commits are found by a small
query that looks at the newest rows alone.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

from quart import Blueprint, Response, current_app, request
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.tables import wallets
from config.database import Unavailable
from config.door import Door
from config.errors import ApiError
from dashboard import urls
from dashboard.web import database, require_member, secure, who
from voice.tables import calls

blueprint = Blueprint("live", __name__)
blueprint.before_request(require_member)
blueprint.after_request(secure)

TOPICS = frozenset({"wallet", "calls", "call", "transcript", "usage", "ledger", "topups", "deliveries"})
LOOK_SECONDS = 2.0
PING_SECONDS = 15.0
SETTLE_SECONDS = 0.1
STREAMS_LIMIT = 200
NEWEST = 30


class Bell:
    """Rings for an organisation when a command about it has been committed here."""

    def __init__(self, door: Door) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = defaultdict(set)
        self.stopped = False
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
        if sum(map(len, self._waiting.values())) >= STREAMS_LIMIT:
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


@blueprint.get(urls.EVENTS)
async def events() -> Response:
    """`event: changed` with the topics that may have changed; `event: ping` now and then."""
    person = await who()
    topics = " ".join(sorted(TOPICS & set(request.args.get("topics", "").split()))) or "wallet"
    bell: Bell = current_app.extensions["bell"]
    listener = bell.listen(person.org_id)
    source = database()

    async def stream() -> AsyncIterator[str]:
        try:
            seen: Any = None
            yield "event: ping\ndata:\n\n"
            quiet = 0.0
            while not bell.stopped:
                try:
                    async with source.read() as connection:
                        version = await _version(connection, person.org_id)
                except Unavailable:
                    return  # the page says that its figures are stale, and connects again
                if version != seen:
                    if seen is not None:
                        yield f"event: changed\ndata: {topics}\n\n"
                        quiet = 0.0
                    seen = version
                woken = await _wait(listener)
                quiet += 0.0 if woken else LOOK_SECONDS
                if quiet >= PING_SECONDS:
                    yield "event: ping\ndata:\n\n"
                    quiet = 0.0
        finally:
            bell.leave(person.org_id, listener)

    response = Response(stream(), content_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
    response.timeout = None
    return response


async def _wait(listener: asyncio.Event) -> bool:
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            await listener.wait()
    except TimeoutError:
        return False
    listener.clear()
    await asyncio.sleep(SETTLE_SECONDS)  # one look for a burst of commits
    return True


async def _version(connection: AsyncConnection, org_id: str) -> Any:
    """Differs whenever the organisation's money or its newest calls do."""
    sequence = (await connection.execute(select(wallets.c.sequence).where(wallets.c.id == org_id))).scalar()
    newest = select(calls.c.id, calls.c.updated_at).where(calls.c.org_id == org_id).order_by(calls.c.id.desc())
    return sequence, tuple(tuple(row) for row in await connection.execute(newest.limit(NEWEST)))
