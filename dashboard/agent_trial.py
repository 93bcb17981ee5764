"""Typing with an agent in the browser: one WebSocket is one trial.

Invariant: a trial is opened only by a page of ours in a member's own session, for an agent of theirs; it costs them
nothing, and it ends with its page, its session or this server.
"""

import asyncio
import contextlib
import hmac
import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import structlog
from quart import Response, current_app, websocket

from accounts.organisations import find_organisation
from accounts.sessions import Member, csrf_token, is_open, member
from config.clock import new_id
from config.database import Unavailable
from config.errors import ApiError
from config.rate_limit import RateLimit
from dashboard.live import Bell
from dashboard.web import database, settings
from voice.agents.commands import PRIMARY_NUMBER, find_agent
from voice.live.switchboard import Switchboard
from voice.live.trying import LONGEST_SECONDS, Trial, trial_brief

log = structlog.get_logger(__name__)

LONGEST_TEXT = 500
LONGEST_FRAME = 4_096
MOST_TURNS = 40
TRIALS_OF_ONE = 3
TURNS_PER_MINUTE = 20
FIRST_FRAME_SECONDS = 10
SEND_SECONDS = 10
OTHER_SIDE = "+14155550123"
"""A number that nobody has: whoever types."""

_NO_MODEL = "This server has no language model. Set OPENAI_API_KEY, or OPENAI_BASE_URL, and restart it."
_UNVERIFIED = "Confirm your email first: the link is in your inbox."
_TOO_MANY = f"Your team is trying agents on {TRIALS_OF_ONE} pages already. Close one, then start again."
_ENOUGH = f"A trial has {MOST_TURNS} turns at most. Start again for more."
_SLOWER = "That was a lot in a minute. Wait {} s, then say it again."
_GONE = "This agent is not there any more."
_LOGGED_OUT = "Your session has ended. Log in again, then start again."
_STOPPING = "The server is restarting. Start again in a moment."
_BUSY = "The server could not begin a trial just now. Start again in a moment."
_BROKE = "Something broke on our side. Start again; nothing was changed."


@dataclass(slots=True)
class Trials:
    """Of this process: how many an organisation has open, and how fast it types."""

    open: Counter[str] = field(default_factory=Counter)
    turns: RateLimit = field(default_factory=lambda: RateLimit(TURNS_PER_MINUTE))


class _Refused(Exception):
    """Why there is no trial (any more), in a sentence."""


async def carry(agent_id: str) -> Response | None:
    """A trial from its first frame, `{"csrf_token"}`, on; then `{"say": text}` comes in, and the messages of
    `voice.live.trying` go out. 403 for whoever is no member, or comes from a page that is not ours."""
    person = await member()
    if person is None or not _is_ours(websocket.headers.get("Origin")):
        return Response("This page may not open a trial.", 403)
    await websocket.accept()
    trials: Trials = current_app.extensions.setdefault("trials", Trials())
    bell: Bell = current_app.extensions["bell"]
    counted = False
    try:
        if not await _shows_token():
            raise _Refused("This page is too old. Reload it, then start again.")
        if trials.open[person.org_id] >= TRIALS_OF_ONE:
            raise _Refused(_TOO_MANY)
        trials.open[person.org_id] += 1
        counted = True
        await _hold(await _trial(person, agent_id), person, trials, bell)
    except _Refused as refused:
        await _tell({"type": "over", "text": str(refused)})
    except (Unavailable, ApiError):
        await _tell({"type": "over", "text": _BUSY})
    except TimeoutError:
        log.warning("trial_does_not_read")
    except Exception as error:
        log.exception("trial_broke", error=type(error).__name__)
        await _tell({"type": "over", "text": _BROKE})
    finally:
        if counted:
            trials.open[person.org_id] -= 1
            trials.open += Counter()  # forgets who has none
    await websocket.close(1000)
    return None


def _is_ours(origin: str | None) -> bool:
    return origin is not None and urlsplit(origin).netloc in {
        urlsplit(settings().public_base_url).netloc,
        websocket.host,
    }


async def _frame() -> Mapping[str, Any]:
    """What was sent, empty if it makes no sense."""
    raw = await websocket.receive()
    if len(raw) > LONGEST_FRAME:
        raise _Refused(f"A message has {LONGEST_TEXT} characters at most.")
    with contextlib.suppress(ValueError, RecursionError):
        found = json.loads(raw)
        return found if isinstance(found, dict) else {}
    return {}


async def _shows_token() -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(FIRST_FRAME_SECONDS):
            shown = str((await _frame()).get("csrf_token", ""))
        return hmac.compare_digest(shown.encode(errors="replace"), csrf_token().encode())
    return False


async def _tell(message: Mapping[str, Any]) -> None:
    """Raises TimeoutError when the page does not read."""
    async with asyncio.timeout(SEND_SECONDS):
        await websocket.send(json.dumps(message))


async def _trial(person: Member, agent_id: str) -> Trial:
    switchboard: Switchboard | None = current_app.extensions["switchboard"]
    if switchboard is None:
        raise _Refused(_NO_MODEL)
    if not person.verified:
        raise _Refused(_UNVERIFIED)
    if switchboard.is_draining:
        raise _Refused(_STOPPING)
    async with database().read() as connection:
        agent = await find_agent(connection, person.org_id, agent_id)
        organisation = await find_organisation(connection, person.org_id)
        own_number = await connection.scalar(PRIMARY_NUMBER, {"agent_id": agent_id, "org_id": person.org_id})
    if agent is None or organisation is None or agent["archived_at"] is not None:
        raise _Refused(_GONE)
    tools = {tool["name"]: tool for tool in agent["tools"] or () if tool.get("type") == "http"}
    now = switchboard.means.clock()
    brief = trial_brief(f"try_{new_id()}", agent, organisation, own_number or "", OTHER_SIDE, now)
    return Trial(brief, tools, switchboard.means, _tell)


async def _hold(trial: Trial, person: Member, trials: Trials, bell: Bell) -> None:
    """Until either side, the session or the server ends it."""
    tasks = [
        asyncio.create_task(work)
        for work in (trial.run(), _listen(trial, person, trials), _until_stopped(bell, person.org_id))
    ]
    try:
        async with asyncio.timeout(LONGEST_SECONDS + 60):
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _listen(trial: Trial, person: Member, trials: Trials) -> None:
    turns = 0
    while True:
        said = str((await _frame()).get("say", "")).strip()[:LONGEST_TEXT]
        if not said:
            continue
        async with database().read() as connection:
            if not await is_open(connection, person.session_id):
                raise _Refused(_LOGGED_OUT)
        if wait := trials.turns.wait_seconds(person.org_id, time.monotonic()):
            await _tell({"type": "fault", "text": _SLOWER.format(int(wait) + 1)})
            continue
        turns += 1
        if turns > MOST_TURNS:
            raise _Refused(_ENOUGH)
        trial.say(said)


async def _until_stopped(bell: Bell, org_id: str) -> None:
    """A stopping server waits for no trial."""
    listener = bell.listen(org_id)
    try:
        while not bell.stopped:
            await listener.wait()
            listener.clear()
    finally:
        bell.leave(org_id, listener)
    raise _Refused(_STOPPING)
