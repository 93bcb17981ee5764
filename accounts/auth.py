"""Who is asking, on the API: the key in the Authorization header, and how often it may ask.

Invariant: no handler under /v1 runs without a caller.
"""

import time

from quart import current_app, g, request

from accounts.keys import PREFIX, Caller, find_caller
from config.clock import now_ms
from config.database import Database
from config.errors import ApiError
from config.http import asked_from
from config.rate_limit import RateLimit

LONGEST_KEY = 200


def caller() -> Caller:
    """Set by `require_key` before the handler runs."""
    who: Caller = g.caller
    return who


async def require_key() -> None:
    """Raises ApiError 401 without a valid key, 429 when it asks too often."""
    limits: RateLimit = current_app.extensions["rate_limit"]
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    key = key.strip()
    if scheme.lower() != "bearer" or not key.startswith("sk_") or len(key) > LONGEST_KEY or not key.isascii():
        _limit(limits, f"address:{asked_from()}")
        raise _unauthorized(f"Send your API key in the header: Authorization: Bearer {PREFIX}…")
    database: Database = current_app.extensions["database"]
    found = await find_caller(database, key, now_ms())
    if found is None:
        _limit(limits, f"address:{asked_from()}")
        raise _unauthorized("This API key is not valid: unknown, expired or revoked.")
    _limit(limits, f"key:{found.key_id}")
    g.caller = found


def _unauthorized(message: str) -> ApiError:
    return ApiError(401, "unauthorized", message, headers={"WWW-Authenticate": "Bearer"})


def _limit(limits: RateLimit, name: str) -> None:
    wait = limits.wait_seconds(name, time.monotonic())
    if wait > 0:
        seconds = int(wait) + 1
        raise ApiError(
            429,
            "rate_limited",
            f"Too many requests: at most {limits.per_minute} a minute. Try again in {seconds} s.",
            headers={"Retry-After": str(seconds)},
            retry_after_seconds=seconds,
        )
