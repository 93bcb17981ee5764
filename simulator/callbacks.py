"""The signed requests that the network makes of its customers' servers.

Invariant: nothing is ever sent to an address that is not loopback.

Time-outs here are real, not virtual: it is a real server that answers. Connection overrides in an
address's fragment (`#rc=3&rp=5xx,ct,rt&ct=2000&rt=4000`) follow Twilio's "Webhooks connection overrides":
they are neither sent nor signed.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs, urldefrag, urlencode, urlsplit

import aiohttp
import yarl
from twilio.request_validator import RequestValidator

from simulator.calls import Call, Delivery, Hook
from simulator.clock import Clock
from simulator.faults import Fate, dice

MOST_AT_ONCE = 96  # of callbacks, and as many again of the requests that a call waits for
MOST_REPLY_BYTES = 65_536
_FAILURES = {"connect_timeout": "ct", "refused": "ct", "read_timeout": "rt"}
_IDLE_CONNECTION_SECONDS = 2.0  # below every server's own limit: a reused connection must not be a dead one


def is_loopback(url: str) -> bool:
    """Whether an address names this machine: a loopback address or `localhost`."""
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Overrides:
    """How one address wants to be connected to. Milliseconds; the defaults and limits are Twilio's."""

    retries: int = 1
    retry_on: frozenset[str] = frozenset({"ct"})
    connect_ms: int = 5_000
    read_ms: int = 15_000
    total_ms: int = 15_000

    @classmethod
    def of(cls, url: str) -> Overrides:
        """Read an address's fragment. What is unknown or out of range is left at its default."""
        given = {name: values[-1] for name, values in parse_qs(urlsplit(url).fragment).items()}

        def number(name: str, least: int, most: int, default: int) -> int:
            text = given.get(name, "")
            return int(text) if text.isascii() and text.isdigit() and least <= int(text) <= most else default

        return cls(
            retries=number("rc", 0, 5, cls.retries),
            retry_on=frozenset(given["rp"].split(",")) if "rp" in given else cls.retry_on,
            connect_ms=number("ct", 100, 10_000, cls.connect_ms),
            read_ms=number("rt", 100, 15_000, cls.read_ms),
            total_ms=number("tt", 100, 15_000, cls.total_ms),
        )

    def retries_after(self, result: int | str) -> bool:
        """Whether another attempt is wanted after an HTTP status or a kind of failure."""
        kind = _FAILURES.get(result, "") if isinstance(result, str) else f"{result // 100}xx"
        return kind in self.retry_on or ("all" in self.retry_on and kind in ("ct", "rt", "4xx", "5xx"))


class Courier:
    """Sends requests, signed with the account's token, a bounded number at once over kept connections."""

    def __init__(self, clock: Clock, auth_token: str, seed: int) -> None:
        self._clock = clock
        self._signer = RequestValidator(auth_token)
        self._seed = seed
        self._callback_places = asyncio.Semaphore(MOST_AT_ONCE)
        self._voice_places = asyncio.Semaphore(MOST_AT_ONCE)
        self._session: aiohttp.ClientSession | None = None
        self._tasks: set[asyncio.Task[object]] = set()

    @property
    def pending(self) -> int:
        """How many callbacks are waiting for their time or under way."""
        return len(self._tasks)

    @property
    def session(self) -> aiohttp.ClientSession:
        """The one client session; made when first needed, inside the running loop."""
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_CONNECTION_SECONDS)
            self._session = aiohttp.ClientSession(connector=connector, auto_decompress=True)
        return self._session

    def signature(self, url: str, params: Mapping[str, str] | None = None) -> str:
        """The value of X-Twilio-Signature for an address without its fragment."""
        return str(self._signer.compute_signature(url, dict(params or {})))

    def post(self, call: Call, event: str, hook: Hook, params: Mapping[str, str], fate: Fate) -> None:
        """Have a callback sent in the background; its fate says how often, how late, and whether in order."""
        if not fate.delays:
            call.deliveries.append(Delivery(event, hook.url, dict(params), fate.faults))
        for delay in fate.delays:
            delivery = Delivery(event, hook.url, dict(params), fate.faults)
            call.deliveries.append(delivery)
            self.spawn(self._deliver(call, hook, delivery, delay, fate.in_order and delay == 0.0))

    async def _deliver(self, call: Call, hook: Hook, delivery: Delivery, delay: float, in_order: bool) -> None:
        if in_order:
            async with call.in_order:
                await self._send(hook, delivery, self._callback_places)
        else:
            await self._clock.sleep(delay)
            await self._send(hook, delivery, self._callback_places)

    async def ask(self, hook: Hook, delivery: Delivery) -> None:
        """Make a request whose reply a call waits for. It is made to its end also when the call is not."""
        await asyncio.shield(self.spawn(self._send(hook, delivery, self._voice_places)))

    async def _send(self, hook: Hook, delivery: Delivery, places: asyncio.Semaphore) -> None:
        """Make one request with its retries, written down on `delivery`."""
        url, _ = urldefrag(hook.url)
        if not is_loopback(url):
            delivery.attempts.append({"at": self._clock.epoch_ms(), "result": "not_loopback"})
            return
        overrides = Overrides.of(hook.url)
        in_query = hook.method == "GET"
        if in_query and delivery.params:
            url += ("&" if urlsplit(url).query else "?") + urlencode(delivery.params)
        body = None if in_query else delivery.params
        token = f"{dice(self._seed, hook.url, delivery.event).getrandbits(128):032x}"
        headers = {"X-Twilio-Signature": self.signature(url, body), "User-Agent": "TwilioProxy/1.1"}
        loop = asyncio.get_running_loop()
        async with places:
            give_up_at = loop.time() + overrides.total_ms / 1000
            for attempt in range(1 + overrides.retries):
                if attempt:
                    headers["I-Twilio-Idempotency-Token"] = token
                left = give_up_at - loop.time()
                result = await self._attempt(hook.method, url, body, headers, overrides, left, delivery)
                delivery.attempts.append({"at": self._clock.epoch_ms(), "result": result})
                if isinstance(result, int) and 200 <= result < 300:
                    delivery.delivered = True
                    return
                if not overrides.retries_after(result) or loop.time() >= give_up_at:
                    return

    async def _attempt(
        self,
        method: str,
        url: str,
        body: Mapping[str, str] | None,
        headers: Mapping[str, str],
        overrides: Overrides,
        seconds_left: float,
        delivery: Delivery,
    ) -> int | str:
        timeout = aiohttp.ClientTimeout(
            total=max(0.001, seconds_left),
            sock_connect=overrides.connect_ms / 1000,
            sock_read=overrides.read_ms / 1000,
        )
        try:
            async with self.session.request(
                method,
                yarl.URL(url, encoded=True),  # as it was signed, byte for byte
                data=body,
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                content = bytearray()
                async for chunk in response.content.iter_chunked(MOST_REPLY_BYTES):
                    content += chunk
                    if len(content) > MOST_REPLY_BYTES:
                        return "too_long"
                delivery.reply = content.decode("utf-8", "replace")
                return response.status
        except aiohttp.ConnectionTimeoutError:
            return "connect_timeout"
        except TimeoutError:
            return "read_timeout"
        except (aiohttp.ClientError, OSError, ValueError):
            return "refused"

    def spawn(self, work: Awaitable[object]) -> asyncio.Future[object]:
        """Run in the background; `close` ends what is still running."""
        task: asyncio.Task[object] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """End what is under way and close the connections; more may be sent afterwards."""
        await cancel_all(self._tasks)
        if self._session is not None:
            await self._session.close()
            self._session = None


async def cancel_all(tasks: Iterable[asyncio.Task[object]]) -> None:
    """End tasks and wait until they have ended."""
    ending = list(tasks)
    for task in ending:
        task.cancel()
    await asyncio.gather(*ending, return_exceptions=True)
