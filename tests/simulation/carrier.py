"""The telephone network: calls that ring, are answered and end, what it says of them, and its REST API.

Invariant: its record of a call is the truth that the oracle judges by. It writes down when each of its statements can
have reached a server, and nothing of what the server made of it.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from random import Random
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import aiohttp
from twilio.base.exceptions import TwilioRestException

from tests.simulation.time import Gone
from voice.carrier import Addresses, Carrier

if TYPE_CHECKING:
    from tests.simulation.process import Process
    from tests.simulation.world import World

FREE_STATUSES = ("busy", "no-answer", "failed", "canceled")
FREE_VERDICTS = ("machine_start", "fax")
FINAL_STATUSES = ("completed", *FREE_STATUSES)
OUTCOMES = {
    "human": 46,
    "machine_start": 18,
    "no-answer": 9,
    "busy": 6,
    "failed": 4,
    "fax": 3,
    "unknown": 4,
    "undetected": 4,
    "at_once": 2,
    "endless": 2,
    "refused": 2,
}
"""What becomes of a call, of 100. `endless`: nobody hangs up; `at_once`: hung up within a second of the answer."""
UNREACHABLE_CODE = 21214
ATTEMPTS = 4


@dataclass(frozen=True)
class Moment:
    """When something can have become known to a server: at one of these times, or perhaps (None) never."""

    options: tuple[int | None, ...]


@dataclass(frozen=True)
class Said:
    """What a statement says. `is_reading`: an answer of the REST API; `is_live`: one that shows the call as up."""

    status: str | None = None
    duration_seconds: int | None = None
    answered_by: str | None = None
    detection_ms: int | None = None
    is_reading: bool = False
    is_live: bool = False


@dataclass
class Leg:
    """A call as the network knows it. Times are UTC epoch ms."""

    sid: str
    direction: str
    to: str
    from_: str
    created_at: int
    our_id: str | None = None
    status: str = "queued"
    answered_at: int | None = None
    ended_at: int | None = None
    answered_by: str | None = None
    asks_detection: bool = False
    time_limit_seconds: int = 14_400
    voice: list[tuple[Moment, str]] = field(default_factory=list)
    told: list[tuple[Moment, Said]] = field(default_factory=list)
    ending: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_over(self) -> bool:
        return self.status in FINAL_STATUSES

    @property
    def duration_seconds(self) -> int:
        if self.answered_at is None or self.ended_at is None:
            return 0
        return -(-(self.ended_at - self.answered_at) // 1000)


class Network:
    def __init__(self, world: "World", dice: Random) -> None:
        self.world, self.dice = world, dice
        self.legs: dict[str, Leg] = {}
        self.posts: list[tuple[str, str]] = []
        """(our id, what became of it) for each POST that asked for a call."""
        self.owned: dict[str, str] = {}
        """Numbers bought and not given back: their id, and the name that they were bought under."""
        self.sold: list[str] = []
        """The names that numbers were ever bought under."""

    def make(self, direction: str, to: str, from_: str, **more: Any) -> Leg:
        leg = Leg(f"CA{len(self.legs):032x}", direction, to, from_, self.world.clock(), **more)
        self.legs[leg.sid] = leg
        return leg

    # -- lives --------------------------------------------------------------------------------------------------------

    async def outbound(self, leg: Leg, outcome: str) -> None:
        dice = self.dice
        if dice.random() < 0.1:
            await self._wait(leg, dice.uniform(1, 90))  # queued for its turn
        if leg.ending.is_set():
            return self._end(leg, "canceled")
        self._say(leg, "initiated")
        await self._wait(leg, dice.uniform(0.2, 2))
        if outcome in ("busy", "failed"):
            return self._end(leg, "canceled" if leg.ending.is_set() else outcome)
        if not leg.ending.is_set():
            self._say(leg, "ringing")
            await self._wait(leg, 60 if outcome == "no-answer" else dice.uniform(2, 25))
        if leg.ending.is_set() or outcome == "no-answer":
            return self._end(leg, "canceled" if leg.ending.is_set() else "no-answer")
        self._answer(leg)
        if leg.asks_detection and outcome not in ("undetected", "at_once"):
            self.world.spawn(self._detect(leg, "human" if outcome == "endless" else outcome))
        talk = {"at_once": 0.4, "endless": 1e6}.get(outcome, dice.uniform(2, 8) + dice.expovariate(1 / 60))
        await self._talk(leg, talk)
        return self._end(leg, "completed")

    async def inbound(self, leg: Leg) -> None:
        gives_up = self.dice.random() < 0.15
        voice = self.world.spawn(self._ask_for_voice(leg))
        if self.world.trouble.strikes("voice_repeated"):
            self.world.spawn(self._ask_for_voice(leg))
        leg.status = "ringing"
        if gives_up:
            await asyncio.sleep(self.dice.uniform(0.0, 1.0))
            self._end(leg, "no-answer")
            return None
        answer = await voice
        if answer in ("busy", "rejected"):
            return self._end(leg, "busy" if answer == "busy" else "no-answer")
        self._answer(leg)
        await self._talk(leg, self.dice.expovariate(1 / 90) + 1 if answer == "talk" else 3)
        return self._end(leg, "completed")

    async def _wait(self, leg: Leg, seconds: float) -> None:
        """Until that long has passed or somebody ends the call."""
        try:
            async with asyncio.timeout(seconds):
                await leg.ending.wait()
        except TimeoutError:
            pass

    async def _talk(self, leg: Leg, seconds: float) -> None:
        """Until it is hung up, or its limit, which may still come, is over."""
        until = self.world.clock() + seconds * 1000
        while not leg.ending.is_set() and self.world.clock() < until:
            assert leg.answered_at is not None
            end = min(until, leg.answered_at + leg.time_limit_seconds * 1000)
            if self.world.clock() >= end:
                return
            await self._wait(leg, min(30.0, (end - self.world.clock() + 1) / 1000))

    def _answer(self, leg: Leg) -> None:
        leg.answered_at = self.world.clock()
        self._say(leg, "in-progress")

    async def _detect(self, leg: Leg, answered_by: str) -> None:
        detection_ms = self.dice.randint(1_500, 7_700)
        await asyncio.sleep(detection_ms / 1000)
        if leg.is_over:
            return
        leg.answered_by = answered_by
        self._report(leg, answered_by, detection_ms)
        if self.world.trouble.strikes("verdict_contradicted"):
            other = "machine_start" if answered_by in ("human", "unknown") else "human"
            await asyncio.sleep(self.dice.uniform(0.5, 60))
            self._report(leg, other, detection_ms + self.dice.choice((0, 1_500)))

    def _end(self, leg: Leg, status: str) -> None:
        if leg.answered_at is not None:
            leg.ended_at = min(self.world.clock(), leg.answered_at + leg.time_limit_seconds * 1000)
        else:
            leg.ended_at = self.world.clock()
        self._say(leg, status, leg.duration_seconds)
        if self.world.trouble.strikes("final_contradicted"):
            other = self.dice.choice(("completed", "completed", "no-answer", "failed"))
            self._say(leg, other if status == "completed" else status, max(0, leg.duration_seconds - 2))
            leg.status = status

    # -- callbacks ----------------------------------------------------------------------------------------------------

    def _say(self, leg: Leg, status: str, duration_seconds: int | None = None) -> None:
        leg.status = status
        is_final = status in FINAL_STATUSES
        if leg.direction == "inbound" and not is_final:
            return
        form = {
            "CallSid": leg.sid,
            "CallStatus": status,
            "To": leg.to,
            "From": leg.from_,
            "Timestamp": formatdate(self.world.clock() // 1000),
        }
        if is_final:  # ring time has been seen in the duration of calls that nobody answered
            form["CallDuration"] = str(duration_seconds if status == "completed" else 17)
        said = Said(status, duration_seconds) if is_final else Said()
        if leg.our_id is None:
            self._post(leg, said, lambda process: process.inbound_status(form))
        else:
            call_id = leg.our_id
            self._post(leg, said, lambda process: process.status(call_id, form))

    def _report(self, leg: Leg, answered_by: str, detection_ms: int) -> None:
        form = {"CallSid": leg.sid, "AnsweredBy": answered_by, "MachineDetectionDuration": str(detection_ms)}
        call_id = leg.our_id
        assert call_id is not None
        if self.world.trouble.strikes("verdict_lost"):
            return
        delay = self.dice.uniform(5, 300) if self.world.trouble.strikes("verdict_late") else 0.0
        said = Said(answered_by=answered_by, detection_ms=detection_ms)
        self.world.spawn(self._deliver(leg, said, lambda process: process.verdict(call_id, form), delay))

    def _post(self, leg: Leg, said: Said, handler: Callable[["Process"], Any]) -> None:
        trouble = self.world.trouble
        if trouble.strikes("callback_lost"):
            return
        delay = 0.0
        if trouble.strikes("callback_delayed"):
            delay = self.dice.uniform(10, 400)
        elif trouble.strikes("callback_reordered"):
            delay = self.dice.uniform(1, 10)
        self.world.spawn(self._deliver(leg, said, handler, delay))
        if trouble.strikes("callback_repeated"):
            self.world.spawn(
                self._deliver(leg, said, handler, delay + self.dice.choice((0.0, self.dice.uniform(0, 60))))
            )

    async def _deliver(self, leg: Leg, said: Said, handler: Callable[["Process"], Any], delay: float) -> None:
        await asyncio.sleep(delay + self.dice.uniform(0.02, 0.3))
        moment, _ = await self._attempts(handler, ATTEMPTS)
        leg.told.append((moment, said))

    async def _attempts(self, handler: Callable[["Process"], Any], count: int) -> tuple[Moment, Any]:
        """Ask until there is an answer; gives when it can have been understood, and the answer."""
        options: list[int | None] = []
        for _ in range(count):
            process, began = self.world.any_process(self.dice), self.world.clock()
            troubled = self.world.trouble.counts.total()
            if process is not None:
                try:
                    answer = await process.request(handler(process))
                except Gone:
                    options += [began, self.world.clock()]
                except Exception:
                    options += [began, self.world.clock()]  # 500 or 503: an unclear commit may stand
                else:
                    if self.world.trouble.counts.total() > troubled:
                        options.append(began)
                    return Moment((*options, self.world.clock())), answer
            await asyncio.sleep(self.dice.uniform(0.2, 4))
        self.world.trouble.counts["callback_never_taken"] += 1
        return Moment((*options, None)), None

    async def _ask_for_voice(self, leg: Leg) -> str | None:
        form = {"CallSid": leg.sid, "To": leg.to, "From": leg.from_}
        await asyncio.sleep(self.dice.uniform(0.02, 1.0))
        moment, answer = await self._attempts(lambda process: process.voice(form), 2)
        leg.voice.append((moment, answer or "lost"))
        return None if answer is None else str(answer)


# -- the REST API -----------------------------------------------------------------------------------------------------


class LineToCarrier(Carrier):
    """The server's own adapter, over the simulated network instead of the SDK's HTTP."""

    def __init__(self, network: Network, process: "Process", addresses: Addresses) -> None:
        super().__init__("AC0", "", "", addresses)
        calls = _Calls(network, process)
        self._client = SimpleNamespace(calls=calls, incoming_phone_numbers=_Numbers(calls))


class _Calls:
    def __init__(self, network: Network, process: "Process") -> None:
        self._network, self._process = network, process
        self._trouble = process.trouble

    def __call__(self, sid: str) -> "_Call":
        return _Call(self, sid)

    async def create_async(self, **asked: Any) -> Any:
        network, trouble, dice = self._network, self._trouble, self._network.dice
        our_id = asked["url"].rpartition("/calls/")[2].partition("/")[0]
        self._process.step("dial begins")
        await asyncio.sleep(self._latency())
        if trouble.strikes("dial_refused_429"):
            network.posts.append((our_id, "429"))
            raise TwilioRestException(429, "/Calls", "Too Many Requests", 20429)
        if trouble.strikes("connection_refused"):
            network.posts.append((our_id, "refused"))
            raise aiohttp.ClientConnectorError(None, OSError("refused"))  # type: ignore[arg-type]
        if trouble.strikes("dial_lost_on_the_way"):
            network.posts.append((our_id, "lost"))
            await self._no_answer()
        [outcome] = dice.choices(list(OUTCOMES), weights=list(OUTCOMES.values()))
        if outcome == "refused":
            network.posts.append((our_id, "400"))
            raise TwilioRestException(400, "/Calls", "unreachable", UNREACHABLE_CODE)
        network.posts.append((our_id, "made"))
        more = {"asks_detection": True, "time_limit_seconds": asked["time_limit"], "our_id": our_id}
        leg = network.make("outbound", asked["to"], asked["from_"], **more)
        network.world.spawn(network.outbound(leg, outcome))
        if trouble.strikes("dial_answer_lost"):
            await self._no_answer()
        self._process.step("dial answered")
        return SimpleNamespace(sid=leg.sid)

    async def list_async(self, to: str, from_: str, limit: int) -> list[Any]:
        await self._answered()
        found = [leg for leg in self._network.legs.values() if (leg.to, leg.from_) == (to, from_)]
        return [
            SimpleNamespace(**_shown(leg), parent_call_sid=None, date_created=_at(leg.created_at // 1000 * 1000))
            for leg in found[-limit:]
        ]

    async def _answered(self) -> None:
        """The network's ways not to answer."""
        self._process.step("asking the carrier")
        await asyncio.sleep(self._latency())
        if self._trouble.strikes("rest_429"):
            raise TwilioRestException(429, "/Calls", "Too Many Requests", 20429)
        if self._trouble.strikes("rest_500"):
            raise TwilioRestException(500, "/Calls", "Internal Server Error")
        if self._trouble.strikes("rest_no_answer"):
            await self._no_answer()
        self._process.step("the carrier answered")

    async def _no_answer(self) -> None:
        if self._network.dice.random() < 0.5:
            await asyncio.sleep(30)
        if self._network.dice.random() < 0.5:
            raise TwilioRestException(503, "/Calls", "Service Unavailable")
        raise aiohttp.ServerDisconnectedError

    def _latency(self) -> float:
        slow = self._trouble.strikes("rest_slow")
        return self._network.dice.uniform(1, 8) if slow else self._network.dice.uniform(0.02, 0.4)


class _Call:
    def __init__(self, calls: _Calls, sid: str) -> None:
        self._calls, self._leg = calls, calls._network.legs[sid]

    async def fetch_async(self) -> Any:
        await self._calls._answered()
        leg, now = self._leg, self._calls._network.world.clock()
        stale = leg.is_over and self._calls._trouble.strikes("rest_stale")
        if leg.is_over and not stale:
            duration = leg.duration_seconds if leg.status == "completed" else None
            said = Said(leg.status, duration, leg.answered_by, is_reading=True)
        else:
            said = Said(answered_by=leg.answered_by, is_reading=True, is_live=True)
        leg.told.append((Moment((now, now + 60)), said))
        shown = _shown(leg)
        return SimpleNamespace(**{**shown, "status": "in-progress", "duration": None} if stale else shown)

    async def update_async(self, status: str | None = None, time_limit: int | None = None) -> None:
        await self._calls._answered()
        leg = self._leg
        wrong = leg.is_over or (status == "canceled" and leg.answered_at is not None)
        if wrong or (time_limit is not None and leg.answered_at is None):
            raise TwilioRestException(400, "/Calls", "Call is not in-progress", 21220)
        if time_limit is not None:
            leg.time_limit_seconds = time_limit
        else:
            leg.ending.set()


class _Numbers:
    """Of the carrier account, as far as they are bought."""

    def __init__(self, calls: _Calls) -> None:
        self._calls, self._network, self._trouble = calls, calls._network, calls._trouble

    async def create_async(self, phone_number: str, friendly_name: str, **_: Any) -> Any:
        """As a dial: refused, or lost before or after it was done."""
        self._calls._process.step("buying begins")
        await asyncio.sleep(self._calls._latency())
        if self._trouble.strikes("dial_refused_429"):
            raise TwilioRestException(429, "/IncomingPhoneNumbers", "Too Many Requests", 20429)
        if self._trouble.strikes("dial_lost_on_the_way"):
            await self._calls._no_answer()
        if self._network.dice.random() < 0.1:
            raise TwilioRestException(400, "/IncomingPhoneNumbers", "not available", 21422)
        sid = f"PN{len(self._network.sold):032x}"
        self._network.owned[sid] = friendly_name
        self._network.sold.append(friendly_name)
        if self._trouble.strikes("dial_answer_lost"):
            await self._calls._no_answer()
        self._calls._process.step("buying answered")
        return SimpleNamespace(sid=sid)

    async def list_async(self, phone_number: str, limit: int) -> list[Any]:
        await self._calls._answered()
        return [SimpleNamespace(sid=sid, friendly_name=name) for sid, name in self._network.owned.items()][:limit]

    def __call__(self, sid: str) -> Any:
        async def delete_async() -> None:
            await self._calls._answered()
            self._network.owned.pop(sid, None)

        return SimpleNamespace(delete_async=delete_async)


def _shown(leg: Leg) -> dict[str, Any]:
    return {
        "sid": leg.sid,
        "status": "queued" if leg.status == "initiated" else leg.status,
        "duration": None if leg.answered_at is None else str(leg.duration_seconds),
        "answered_by": leg.answered_by,
        "start_time": None if leg.answered_at is None else _at(leg.answered_at // 1000 * 1000),
    }


def _at(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
