"""Owns the bank's books: its objects, ids, clock and the events about them. Invariant: nothing happens to
an object without an event that carries a copy of it as it was at that moment.
"""

import random
import string
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy

from simulator.stripe import objects
from simulator.stripe.delivery import RETRY_SECONDS, Postman
from simulator.stripe.errors import missing
from simulator.stripe.objects import Object

_KIND_OF_PREFIX = {
    "cs": "checkout.session",
    "cus": "customer",
    "pi": "payment_intent",
    "pm": "payment_method",
    "ch": "charge",
    "re": "refund",
    "dp": "dispute",
    "evt": "event",
}


class Bank:
    """A whole bank in memory, for one merchant.

    `base_url` is where this bank is reached, such as `http://127.0.0.1:8020`; left empty, the first request
    tells. `now` gives UTC epoch seconds; `advance()` moves the bank's clock on top of it. `rng` makes ids.
    """

    def __init__(
        self,
        *,
        secret_key: str = "sk_test_simulated",  # noqa: S107 - it opens nothing but this simulation
        livemode: bool = False,
        merchant: str = "CallingBox",
        base_url: str = "",
        webhook_url: str | None = None,
        webhook_secrets: Sequence[str] = ("whsec_simulated",),
        retry_seconds: Sequence[float] = RETRY_SECONDS,
        now: Callable[[], float] = time.time,
        rng: random.Random | None = None,
    ) -> None:
        self.secret_key = secret_key
        self.livemode = livemode
        self.merchant = merchant
        self.base_url = base_url.rstrip("/")
        self.line_items: dict[str, list[Object]] = {}
        self.intent_data: dict[str, Object] = {}
        self.off_session_outcomes: list[str] = []
        self.answers_to_lose = 0
        self.checkout_wait_seconds = 10.0
        self.checkout_redirects = True
        self.postman = Postman(lambda: self.new_id("evt"), webhook_url, webhook_secrets, retry_seconds)
        self._rng = rng or random.SystemRandom()
        self._now = now
        self._ahead_seconds = 0
        self._objects: dict[str, dict[str, Object]] = {kind: {} for kind in _KIND_OF_PREFIX.values()}
        self._request: Object = {"id": None, "idempotency_key": None}

    def now(self) -> int:
        return int(self._now()) + self._ahead_seconds

    def advance(self, seconds: int) -> None:
        self._ahead_seconds += seconds

    def new_id(self, prefix: str, length: int = 24) -> str:
        return f"{prefix}_" + "".join(self._rng.choices(string.ascii_letters + string.digits, k=length))

    def add(self, thing: Object) -> Object:
        self._objects[thing["object"]][thing["id"]] = thing
        return thing

    def get(self, kind: str, object_id: str, *, status: int = 400, param: str = "id") -> Object:
        """Raises ApiError `resource_missing` with this HTTP status."""
        try:
            return self._objects[kind][object_id]
        except KeyError:
            raise missing(kind, object_id[:100], status=status, param=param) from None

    def find(self, object_id: str) -> Object | None:
        """Whatever has this id, by its prefix."""
        kind = _KIND_OF_PREFIX.get(object_id.partition("_")[0], "")
        return self._objects.get(kind, {}).get(object_id)

    def all(self, kind: str) -> list[Object]:
        """Oldest first."""
        return list(self._objects[kind].values())

    def emit(self, kind: str, thing: Object, previous: Object | None = None) -> Object:
        """Tell the merchant; `previous` holds the former values of what was updated."""
        data: Object = {"object": deepcopy(thing)}
        if previous is not None:
            data["previous_attributes"] = previous
        event = objects.event(self.new_id("evt"), kind, self.now(), self.livemode, data, self._request)
        self.add(event)
        self.postman.post(event)
        return event

    @contextmanager
    def on_request(self, request_id: str, idempotency_key: str | None) -> Iterator[None]:
        """Events inside name this API request as their cause."""
        self._request = {"id": request_id, "idempotency_key": idempotency_key}
        try:
            yield
        finally:
            self._request = {"id": None, "idempotency_key": None}
