"""ConversationRelay's socket: who may open one, and what its frames may be.

Invariant: a socket carries exactly one live call, named by a fresh single-use ticket in its first frame; without a
signed handshake it is refused with 403, without a good ticket it is closed. The newest good socket of a call wins.
"""

import asyncio
import contextlib
import time
from collections.abc import Mapping
from typing import Any, cast

import msgspec
import structlog
from quart import Blueprint, Quart, Response, current_app, websocket
from quart.blueprints import BlueprintSetupState
from quart.wrappers import Websocket

from config.database import Unavailable
from config.door import Busy, Down
from voice.conversation.frames import FrameRejected, Setup, parse_frame
from voice.live.switchboard import RELAY_PATH, TICKET_PARAMETER, Switchboard
from voice.live.talking import Talk
from voice.signature import SignatureCheck

log = structlog.get_logger(__name__)
blueprint = Blueprint("relay", __name__)

LONGEST_TOKEN = 200
SETUP_SECONDS = 10
PEER_CLOSES_SECONDS = 2
BAD_FRAMES_IN_A_ROW = 10
FRAMES_PER_SECOND = 50  # somebody who talks all the time makes about 5
FRAMES_AT_ONCE = 500
NORMAL, NOT_A_RELAY, BROKEN, TRY_AGAIN, REFUSED, SUPERSEDED, FLOODED = 1000, 1007, 1011, 1013, 4403, 4409, 4429


class RelaySocket(Websocket):
    """Quart's own lets everybody else go first before each frame it sends, and asks each time whether it is open."""

    async def receive(self) -> str | bytes:
        received: str | bytes = await self._receive()
        return received

    async def send(self, data: str | bytes) -> None:
        await self._send(data)


@blueprint.record
def use_own_sockets(state: BlueprintSetupState) -> None:
    cast(Quart, state.app).websocket_class = RelaySocket


@blueprint.websocket(RELAY_PATH)
async def relay() -> Response | None:
    """One session: `setup` with a ticket, then the relay's frames until either side ends."""
    check: SignatureCheck = current_app.extensions["signature"]
    switchboard: Switchboard | None = current_app.extensions["switchboard"]
    path = websocket.scope["raw_path"].decode("ascii", "replace")
    query = websocket.query_string.decode("ascii", "replace")
    if not check.handshake_passes(f"{path}?{query}" if query else path, dict(websocket.headers)):
        return Response("The handshake's signature does not match.", 403)
    if switchboard is None or switchboard.is_draining:
        return Response("No conversation can begin here.", 503)
    await websocket.accept()
    await websocket.close(await _session(switchboard))
    return None


async def _session(switchboard: Switchboard) -> int:
    """Carry a conversation. Gives the code to close with."""
    setup = await _setup()
    if setup is None:
        return REFUSED
    try:
        ticket = await switchboard.redeem(setup.parameters.get(TICKET_PARAMETER, "")[:LONGEST_TOKEN], setup.call_sid)
        if ticket is None:
            log.warning("relay_refused")
            return REFUSED
        talk, task = await switchboard.begin(ticket, _send)
    except (Busy, Down, Unavailable):
        return TRY_AGAIN  # the carrier asks for new TwiML, and comes again
    listening = asyncio.create_task(_listen(talk))
    try:
        await asyncio.wait({task, listening}, return_when=asyncio.FIRST_COMPLETED)
        if talk.handoff is not None:  # the carrier closes the socket that we have ended
            await asyncio.wait({listening}, timeout=PEER_CLOSES_SECONDS)
    finally:
        listening.cancel()
        await switchboard.end(talk, task)
    if talk.is_superseded:
        return SUPERSEDED
    if listening.done() and not listening.cancelled():
        return listening.result()
    return BROKEN if talk.handoff is None else NORMAL


async def _setup() -> Setup | None:
    """The first frame, if it is the one that has to come first."""
    with contextlib.suppress(TimeoutError, FrameRejected):
        async with asyncio.timeout(SETUP_SECONDS):
            first = parse_frame(await websocket.receive())
        return first if isinstance(first, Setup) else None
    return None


async def _send(frame: Mapping[str, Any]) -> None:
    await websocket.send(msgspec.json.encode(frame).decode())


async def _listen(talk: Talk) -> int:
    """Frames in, events out. Ends when the peer is no relay, with the code that says so."""
    bad_in_a_row = 0
    allowed, counted_at = float(FRAMES_AT_ONCE), time.monotonic()
    while True:
        raw = await websocket.receive()
        now = time.monotonic()
        allowed, counted_at = min(FRAMES_AT_ONCE, allowed + FRAMES_PER_SECOND * (now - counted_at)) - 1, now
        if allowed < 0:
            log.warning("relay_flooded", call_id=talk.session.call_id)
            return FLOODED
        try:
            event = parse_frame(raw)
        except FrameRejected:
            bad_in_a_row += 1
            if bad_in_a_row >= BAD_FRAMES_IN_A_ROW:
                log.warning("relay_malformed", call_id=talk.session.call_id)
                return NOT_A_RELAY
            continue
        bad_in_a_row = 0
        if isinstance(event, Setup):
            log.warning("relay_repeats_setup", call_id=talk.session.call_id)
            return NOT_A_RELAY
        if event is not None:
            talk.feed(event)
