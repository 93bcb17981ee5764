"""The telephone network: its numbers, its calls, and what it tells its customers about them.

Invariant: a call is in `calls` from the moment it exists, whatever its maker was answered, so the record
is complete.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b

from simulator import faults
from simulator.callbacks import Courier, cancel_all
from simulator.calls import SIP_CODES, Call, Delivery, Hook, Order, Status
from simulator.clock import Clock
from simulator.faults import FaultPlan
from simulator.life import live
from simulator.relay import Relay, hold_the_line
from simulator.scripts import PRESETS, Script, choose

API_VERSION = "2010-04-01"
_EVENT_OF = {Status.INITIATED: "initiated", Status.RINGING: "ringing", Status.IN_PROGRESS: "answered"}
_log = logging.getLogger("simulator")


@dataclass(slots=True, kw_only=True)
class Number:
    """A number of the account and where its calls go."""

    sid: str
    e164: str
    friendly_name: str
    created_epoch_ms: int
    voice: Hook | None = None
    fallback: Hook | None = None
    status_callback: Hook | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkOptions:
    """What a network starts with, and is reset to."""

    account_sid: str
    auth_token: str
    seed: int
    numbers: tuple[Number, ...] = ()
    faults: FaultPlan = field(default_factory=FaultPlan)
    calls_per_second: float | None = None
    """More than this many created in a virtual second are queued; None: none are."""
    relay: Relay = hold_the_line


class Network:
    """One account's share of the telephone network."""

    def __init__(self, options: NetworkOptions, clock: Clock) -> None:
        self.options = options
        self.clock = clock
        self.relay = options.relay
        self.watchers: list[Callable[[Call], None]] = []
        """Called at every change of a call's status, for whoever shows calls to a person."""
        self.courier = Courier(clock, options.auth_token, options.seed)
        self._made = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._start_afresh(options.seed)

    def _start_afresh(self, seed: int) -> None:
        self.seed = seed
        self.faults = self.options.faults
        self.scripts: dict[str, Script] = {}
        self.calls: dict[str, Call] = {}
        self.numbers: dict[str, Number] = {}
        for number in self.options.numbers:
            hooks = {"voice": number.voice, "fallback": number.fallback}
            self.add_number(number.e164, number.friendly_name, status_callback=number.status_callback, **hooks)
        self._counts: Counter[str] = Counter()
        self._next_dial_at = 0.0

    async def reset(self, seed: int | None = None) -> None:
        """Drop every call, callback, script and fault; the numbers are those of the start again."""
        await self.close()
        self._start_afresh(self.seed if seed is None else seed)

    async def close(self) -> None:
        """End every call's task and close the connections, telling nobody."""
        await cancel_all(self._tasks)
        await self.courier.close()

    @property
    def live_calls(self) -> int:
        """Calls without a final status, and those whose last requests are not yet done."""
        return len(self._tasks)

    def new_sid(self, prefix: str) -> str:
        """A SID that no other run of this program gives, so that a database may outlive the network."""
        self._made += 1
        text = f"{self.options.seed}|{self.clock.started_epoch_ms}|{prefix}|{self._made}"
        return prefix + blake2b(text.encode(), digest_size=16).hexdigest()

    def attempt_key(self, to: str, from_: str) -> str:
        """Name an attempt to call, for the dice: the same in every run that makes the same attempts."""
        pair = f"{to}|{from_}"
        return f"{pair}|{self.count(pair) + 1}"

    def count(self, name: str) -> int:
        """How often this name was counted before; each time counts."""
        self._counts[name] += 1
        return self._counts[name] - 1

    def add_number(
        self,
        e164: str,
        friendly_name: str,
        *,
        voice: Hook | None = None,
        fallback: Hook | None = None,
        status_callback: Hook | None = None,
    ) -> Number:
        """Give the account a number."""
        number = Number(
            sid=self.new_sid("PN"),
            e164=e164,
            friendly_name=friendly_name,
            created_epoch_ms=self.clock.epoch_ms(),
            voice=voice,
            fallback=fallback,
            status_callback=status_callback,
        )
        self.numbers[e164] = number
        return number

    def dial(self, order: Order, key: str) -> Call:
        """Place a call that the REST API asked for."""
        script = choose(order.to, self.scripts, faults.dice(self.seed, key, "script"))
        call = self._new_call("outbound-api", order, script, key)
        call.phone_number_sid = self.numbers[order.from_].sid if order.from_ in self.numbers else ""
        if rate := self.options.calls_per_second:
            starts_at = max(call.created_at, self._next_dial_at)
            self._next_dial_at = starts_at + 1 / rate
            call.queue_seconds = starts_at - call.created_at
        return self._start(call)

    def ring_in(self, number: Number, from_: str, script: Script | None = None) -> Call:
        """Have somebody call one of the account's numbers."""
        order = Order(
            to=number.e164,
            from_=from_,
            voice=number.voice,
            fallback=number.fallback,
            status_callback=number.status_callback,
        )
        key = self.attempt_key(number.e164, from_)
        call = self._new_call("inbound", order, script or PRESETS["human"], key)
        call.phone_number_sid = number.sid
        return self._start(call)

    def add_child(self, parent: Call, order: Order, at: float) -> Call:
        """Dial a second leg for a call."""
        key = self.attempt_key(order.to, order.from_)
        script = choose(order.to, self.scripts, faults.dice(self.seed, key, "script"))
        child = self._new_call("outbound-dial", order, script, key, created_at=at)
        child.parent_sid = parent.sid
        return self._start(child)

    def _new_call(
        self, direction: str, order: Order, script: Script, key: str, created_at: float | None = None
    ) -> Call:
        now = self.clock.now()
        return Call(
            sid=self.new_sid("CA"),
            key=key,
            account_sid=self.options.account_sid,
            direction=direction,
            order=order,
            script=script,
            created_at=now if created_at is None else created_at,
            created_epoch_ms=self.clock.epoch_ms(),
            updated_at=now,
            time_limit_seconds=order.time_limit_seconds,
        )

    def _start(self, call: Call) -> Call:
        self.calls[call.sid] = call
        task = asyncio.get_running_loop().create_task(live(self, call), name=call.sid)
        self._tasks.add(task)
        task.add_done_callback(partial(self._left, call))
        return call

    def _left(self, call: Call, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        call.ended.set()  # also when the network was reset: somebody may be waiting for it
        if not task.cancelled() and (error := task.exception()):
            _log.error("call %s broke off", task.get_name(), exc_info=error)

    def progress(self, call: Call, status: Status, at: float) -> None:
        """Move a call to a status and tell its status callback, if that event was asked for."""
        call.status = status
        call.updated_at = at
        event = _EVENT_OF.get(status, "completed")
        for watcher in self.watchers:
            watcher(call)
        hook = call.order.status_callback
        if hook is None or event not in call.order.status_events:
            return
        params = {
            **self.common_params(call),
            "Timestamp": call.stamp(at) or "",
            "CallbackSource": "call-progress-events",
            "SequenceNumber": str(call.sequence),
        }
        call.sequence += 1
        if status.is_final:
            params |= _final_params(call)
        fate = faults.status_fate(self.faults, self.seed, call.key, event)
        call.faults += [f"{fault}:{event}" for fault in fate.faults]
        self.courier.post(call, event, hook, params, fate)

    def finish(self, call: Call, status: Status, at: float, by: str) -> None:
        """Give a call its final status."""
        call.ended_at = at
        call.ended_by = by
        self.progress(call, status, at)
        call.ended.set()

    def report(self, call: Call, verdict: str, detection_ms: int, at: float) -> None:
        """Note what detection has found, and tell the verdict callback if detection is asynchronous."""
        call.verdict = verdict
        call.updated_at = at
        call.verdicts.append(_verdict(verdict, detection_ms, call.epoch_ms(at)))
        hook = call.order.verdict_callback
        if hook is None or not call.order.detection_async:
            return
        fate = faults.verdict_fate(self.faults, self.seed, call.key)
        call.faults += fate.faults
        self.courier.post(call, "verdict", hook, _verdict_params(call, verdict, detection_ms), fate)
        if second := faults.contradiction(self.faults, self.seed, call.key, verdict):
            other, delay = second
            call.faults.append("verdict_contradicted")
            call.verdicts.append(_verdict(other, detection_ms, call.epoch_ms(at + delay)))
            fate = faults.Fate((delay,), False, ("verdict_contradicted",))
            self.courier.post(call, "verdict", hook, _verdict_params(call, other, detection_ms), fate)

    async def request(self, call: Call, event: str, hook: Hook, params: Mapping[str, str] | None = None) -> Delivery:
        """Make one signed request about a call, write it down and wait for its reply."""
        delivery = Delivery(event, hook.url, {**self.common_params(call), **(params or {})})
        call.deliveries.append(delivery)
        await self.courier.ask(hook, delivery)
        return delivery

    def common_params(self, call: Call) -> dict[str, str]:
        """What every request about a call carries."""
        params = {
            "CallSid": call.sid,
            "AccountSid": call.account_sid,
            "From": call.order.from_,
            "To": call.order.to,
            "Caller": call.order.from_,
            "Called": call.order.to,
            "CallStatus": str(call.status),
            "ApiVersion": API_VERSION,
            "Direction": call.direction,
        }
        if call.parent_sid:
            params["ParentCallSid"] = call.parent_sid
        return params


def _final_params(call: Call) -> dict[str, str]:
    params = {"CallDuration": str(call.duration_seconds), "SipResponseCode": str(SIP_CODES[call.status])}
    if call.status is Status.COMPLETED:
        params["Duration"] = str(-(-call.duration_seconds // 60))
    elif call.status is Status.NO_ANSWER:
        # Ring time has been seen in the duration of calls that nobody answered: nobody may bill from it.
        params["CallDuration"] = str(round(call.ring_seconds))
    return params


def _verdict(answered_by: str, detection_ms: int, at: int) -> dict[str, object]:
    return {"answered_by": answered_by, "detection_ms": detection_ms, "at": at}


def _verdict_params(call: Call, verdict: str, detection_ms: int) -> dict[str, str]:
    return {
        "CallSid": call.sid,
        "AccountSid": call.account_sid,
        "AnsweredBy": verdict,
        "MachineDetectionDuration": str(detection_ms),
    }
