"""Time and identity, the two things that pure code is given and shells must fetch.

Owns the unit: every `_at` in this project is an integer of milliseconds since the epoch, UTC.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime

from uuid_utils import uuid7

Clock = Callable[[], int]


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def new_id() -> str:
    """A UUIDv7: rows written together lie together, which keeps inserts fast in a large table."""
    return str(uuid7())


def iso(at: int | None) -> str | None:
    """ISO 8601 in UTC with milliseconds, as the API shows times."""
    if at is None:
        return None
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
