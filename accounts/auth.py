"""Who is asking, on the API: the key in the Authorization header, and how often it may ask.

Invariant: no handler under /v1 runs without a caller.
"""

import time
from collections.abc import Callable
from typing import Any, TypeVar

from quart import current_app, g, request

from accounts.keys import PREFIX, Caller, find_caller, hash_of
from config.clock import now_ms
from config.database import Database
from config.errors import ApiError
from config.http import asked_from
from config.rate_limit import RateLimit

LONGEST_KEY = 200
KNOWN_KEYS = 10_000
"""Remembered at once; a key that is forgotten is asked for again."""
Handler = TypeVar("Handler", bound=Callable[..., Any])


def caller() -> Caller:
    """Set by `require_key` before the handler runs."""
    who: Caller = g.caller
    return who


def asks_again(handler: Handler) -> Handler:
    """Marks a handler whose own transaction reads the key's row: it lets in who was known, without a query before."""
    handler.asks_again = True  # type: ignore[attr-defined]
    return handler


async def require_key() -> None:
    """Raises ApiError 401 without a valid key, 429 when it asks too often."""
    limits: RateLimit = current_app.extensions["rate_limit"]
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    key = key.strip()
    if scheme.lower() != "bearer" or not key.startswith("sk_") or len(key) > LONGEST_KEY or not key.isascii():
        _limit(limits, f"address:{asked_from()}")
        raise _unauthorized(f"Send your API key in the header: Authorization: Bearer {PREFIX}…")
    known: dict[str, Caller] = current_app.extensions["known_keys"]
    database: Database = current_app.extensions["database"]
    key_hash, handler = hash_of(key), current_app.view_functions.get(request.endpoint or "")
    found = known.get(key_hash) if hasattr(handler, "asks_again") else None
    if found is None:
        found = await find_caller(database, key_hash, now_ms())
        _remember(known, key_hash, found)
    if found is None:
        _limit(limits, f"address:{asked_from()}")
        raise _unauthorized("This API key is not valid: unknown, expired or revoked.")
    _limit(limits, f"key:{found.key_id}")
    g.caller = found


def _remember(known: dict[str, Caller], key_hash: str, found: Caller | None) -> None:
    known.pop(key_hash, None)
    if found is not None:
        if len(known) >= KNOWN_KEYS:
            del known[next(iter(known))]  # the longest known
        known[key_hash] = found


def _unauthorized(message: str) -> ApiError:
    return ApiError(401, "unauthorized", message, headers={"WWW-Authenticate": "Bearer"})


def _limit(limits: RateLimit, name: str) -> None:
    wait = limits.wait_seconds(name, time.monotonic())
    if wait > 0:
        seconds = int(wait) + 1
        raise ApiError(
            429,
            "rate_limited",
            f"Too many requests: more than {limits.per_minute} within a minute. Try again in {seconds} s.",
            headers={"Retry-After": str(seconds)},
            retry_after_seconds=seconds,
        )
