"""Owns how events travel to the merchant's webhook. Invariant: every attempt is a real HTTP request, signed
at the moment it is sent, to a loopback address and nowhere else.
"""

import asyncio
import heapq
import ipaddress
import json
import random
import ssl
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx
import stripe
from pydantic import BaseModel, ConfigDict, Field

from simulator.stripe.objects import Object

RETRY_SECONDS = (1.0, 2.0, 5.0, 15.0, 60.0, 300.0)  # Stripe: hours, over three days
_STALE_SECONDS = 3600
_ATTEMPTS_KEPT = 5000


class Faults(BaseModel):
    """How badly the post works: chances from 0 to 1 for each event, drawn from `seed`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = 0
    duplicate: float = Field(0, ge=0, le=1, description="the same event comes twice")
    twin: float = Field(0, ge=0, le=1, description="one fact comes as two events with different ids")
    reorder: float = Field(0, ge=0, le=1, description="comes up to reorder_seconds later than its neighbours")
    reorder_seconds: float = Field(0.3, ge=0, le=60)
    delay: float = Field(0, ge=0, le=1, description="comes delay_seconds later")
    delay_seconds: float = Field(2, ge=0, le=86_400)
    lose: float = Field(0, ge=0, le=1, description="never comes, by no retry")
    two_signatures: float = Field(0, ge=0, le=1, description="a v1 of an unknown secret precedes the right one")
    wrong_livemode: float = Field(0, ge=0, le=1, description="a stray event of the other mode precedes it")
    stale: float = Field(0, ge=0, le=1, description="the first attempt carries a timestamp an hour old")
    types: tuple[str, ...] = Field((), description="only events of these types suffer; none named: all")


@dataclass(order=True)
class Delivery:
    """One event on its way. `due` is in seconds of the monotonic clock."""

    due: float
    event: Object = field(compare=False)
    number: int = 0  # what is due at once goes in the order it was posted
    stale: bool = field(default=False, compare=False)
    two_signatures: bool = field(default=False, compare=False)
    retried: bool = field(default=True, compare=False)
    attempts: int = field(default=0, compare=False)


def plan(event: Object, faults: Faults, dice: random.Random, twin_id: str, stray_id: str) -> list[Delivery]:
    """What to send for one event, with `due` counted from now.

    Every fault draws its dice for every event, so turning one on does not move the others.
    """
    chances = (
        faults.duplicate,
        faults.twin,
        faults.reorder,
        faults.delay,
        faults.lose,
        faults.two_signatures,
        faults.wrong_livemode,
        faults.stale,
    )
    suffers = not faults.types or event["type"] in faults.types
    duplicate, twin, reorder, delay, lose, two, stray, stale = (
        dice.random() < chance and suffers for chance in chances
    )
    offsets = [dice.uniform(0, faults.reorder_seconds) for _ in range(3)]
    if lose:
        return []
    due = delay * faults.delay_seconds + reorder * offsets[0]
    sent = [Delivery(due, event, stale=stale, two_signatures=two)]
    if duplicate:
        sent.append(Delivery(due + offsets[1], event, two_signatures=two))
    if twin:
        sent.append(Delivery(due + offsets[2], event | {"id": twin_id}, two_signatures=two))
    if stray:
        sent.insert(0, Delivery(due, _of_the_other_mode(event, stray_id), retried=False))
    return sent


def _of_the_other_mode(event: Object, event_id: str) -> Object:
    stray = deepcopy(event) | {"id": event_id, "livemode": not event["livemode"]}
    if "livemode" in stray["data"]["object"]:
        stray["data"]["object"]["livemode"] = stray["livemode"]
    return stray


def loopback_url(url: str) -> str:
    """The URL itself. Raises ValueError unless it is plain http to a loopback address (or localhost)."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme != "http" or not (host == "localhost" or _is_loopback(host)):
        raise ValueError("The webhook's address must be http on this machine's loopback.")
    return url


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _client() -> httpx.AsyncClient:
    """Plain http alone, so without the certificates that take longer to load than a test to run."""
    return httpx.AsyncClient(timeout=10, trust_env=False, verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))


class Postman:
    """Carries events to one endpoint, in the background while `run()` runs, or at `deliver_now()`."""

    def __init__(
        self,
        new_event_id: Callable[[], str],
        url: str | None,
        secrets: Sequence[str],
        retry_seconds: Sequence[float] = RETRY_SECONDS,
    ) -> None:
        self.configure(url, secrets)
        self.retry_seconds = tuple(retry_seconds)
        self.attempts: deque[dict[str, Any]] = deque(maxlen=_ATTEMPTS_KEPT)
        self.paused = False
        self._new_event_id = new_event_id
        self._waiting: list[Delivery] = []
        self._answered: dict[str, asyncio.Event] = {}
        self._wake = asyncio.Event()
        self._number = 0
        self._under_way = 0
        self.set_faults(Faults())

    def configure(self, url: str | None, secrets: Sequence[str]) -> None:
        """Where to and signed with what; each secret adds a v1, as during a rotation at Stripe."""
        self.url = None if url is None else loopback_url(url)
        self.secrets = tuple(secrets)

    def set_faults(self, faults: Faults) -> None:
        self.faults = faults
        self._dice = random.Random(faults.seed)

    @property
    def waiting(self) -> int:
        """Deliveries that are under way or will be tried (again)."""
        return len(self._waiting) + self._under_way

    def post(self, event: Object) -> None:
        """Take an event; it is sent now or later as the faults have it. Without an endpoint: to nobody."""
        if self.url is None:
            return
        for delivery in plan(event, self.faults, self._dice, self._new_event_id(), self._new_event_id()):
            self._queue(delivery, delivery.due)

    def set_paused(self, paused: bool) -> None:
        """While paused, events wait for `deliver_now()`."""
        self.paused = paused
        self._wake.set()

    async def run(self) -> None:
        """Send whatever is due until cancelled."""
        async with _client() as client, asyncio.TaskGroup() as attempts:
            while True:
                self._wake.clear()
                while self._waiting and not self.paused and self._waiting[0].due <= time.monotonic():
                    self._under_way += 1
                    attempts.create_task(self._attempt(client, heapq.heappop(self._waiting)))
                sleeps = not self._waiting or self.paused
                pause = None if sleeps else self._waiting[0].due - time.monotonic()
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._wake.wait()

    async def deliver_now(self) -> list[dict[str, Any]]:
        """Try everything that waits once, in the order it is due, one by one. Returns the attempts."""
        waiting, self._waiting = sorted(self._waiting), []
        self._under_way += len(waiting)
        async with _client() as client:
            return [await self._attempt(client, delivery) for delivery in waiting]

    async def wait_for_answer(self, event_id: str, timeout_seconds: float) -> None:
        """Until the endpoint has answered this event's first attempt, or the time is over."""
        answered = self._answered.setdefault(event_id, asyncio.Event())
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                await answered.wait()
        self._answered.pop(event_id, None)

    def _queue(self, delivery: Delivery, delay_seconds: float) -> None:
        self._number += 1
        delivery.due, delivery.number = time.monotonic() + delay_seconds, self._number
        heapq.heappush(self._waiting, delivery)
        self._wake.set()

    async def _attempt(self, client: httpx.AsyncClient, delivery: Delivery) -> dict[str, Any]:
        stamp = int(time.time()) - (_STALE_SECONDS if delivery.stale else 0)
        body = json.dumps(delivery.event, indent=2, ensure_ascii=False)
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "Stripe-Signature": self._signature(body, stamp, delivery.two_signatures),
            "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
        }
        attempt = {"event": delivery.event["id"], "type": delivery.event["type"], "t": stamp, "status": None}
        try:
            answer = await client.post(str(self.url), content=body.encode(), headers=headers)
            attempt["status"] = answer.status_code
        except httpx.HTTPError as error:
            attempt["error"] = type(error).__name__
        self.attempts.append(attempt)
        if (answered := self._answered.get(delivery.event["id"])) is not None:
            answered.set()
        self._perhaps_again(delivery, attempt["status"])
        self._under_way -= 1
        return attempt

    def _signature(self, body: str, stamp: int, two_signatures: bool) -> str:
        secrets = ("whsec_of_another_endpoint", *self.secrets) if two_signatures else self.secrets
        sign = stripe.WebhookSignature.generate_signature_header
        signed = [sign(body, secret, stamp).split(",", 1)[1] for secret in secrets]
        return ",".join([f"t={stamp}", *signed])

    def _perhaps_again(self, delivery: Delivery, status: int | None) -> None:
        succeeded = status is not None and 200 <= status < 300
        if succeeded or not delivery.retried or delivery.attempts >= len(self.retry_seconds):
            return
        delay_seconds = self.retry_seconds[delivery.attempts]
        delivery.attempts += 1
        delivery.stale = False
        self._queue(delivery, delay_seconds)
