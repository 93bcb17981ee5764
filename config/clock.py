"""Time and identity, the two things that pure code is given and shells must fetch.

Owns the unit: every `_at` in this project is an integer of milliseconds since the epoch, UTC.
"""

import hashlib
import time
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

from uuid_utils import uuid7

Clock = Callable[[], int]
EARLIEST_YEAR = 1971
"""Before it, with an offset, times would be below zero."""


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def new_id() -> str:
    """A UUIDv7: rows written together lie together, which keeps inserts fast in a large table."""
    return str(uuid7())


def stable_id(at: int, order: int, key: str) -> str:
    """A UUIDv7 that is always the same for the same facts; within a millisecond they sort by `order` (0 to 4095)."""
    tail = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) >> 2
    return str(UUID(int=at << 80 | 7 << 76 | order << 64 | 2 << 62 | tail))


def earlier_id(than: str, key: str) -> str:
    """A UUIDv7 that sorts before another and is always the same for the same facts."""
    return stable_id((UUID(than).int >> 80) - 1, 0, key)


def iso(at: int | None) -> str | None:
    """ISO 8601 in UTC with milliseconds, as the API shows times."""
    if at is None:
        return None
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment(text: str) -> int:
    """The same read back: ISO 8601 with its offset from UTC. Raises ValueError with a sentence."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None or at.year < EARLIEST_YEAR:
        raise ValueError("must be a time with its offset, like 2026-11-23T19:24:00Z")
    return round(at.timestamp() * 1000)
