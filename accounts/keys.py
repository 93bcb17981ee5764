"""API keys: made once, shown once, kept as a hash.

Invariant: a key is valid exactly while its row says so. Each request asks, or, where a call is placed, the transaction
that reserves its hold does, so revoking works at once.
"""

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, select

from accounts.tables import api_keys
from config.database import Database

PREFIX = "sk_live_"
SHOWN_LENGTH = 12
_FIND = select(api_keys.c.id, api_keys.c.org_id, api_keys.c.expires_at, api_keys.c.revoked_at).where(
    api_keys.c.key_hash == bindparam("key_hash")
)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the organisation, and with which key."""

    org_id: str
    key_id: str


def new_key() -> str:
    return PREFIX + secrets.token_urlsafe(32)


def hash_of(key: str) -> str:
    """A plain hash suffices: the key is random and long, there is nothing to guess from."""
    return hashlib.sha256(key.encode()).hexdigest()


async def find_caller(database: Database, key_hash: str, now: int) -> Caller | None:
    for row in await database.look_up(_FIND, key_hash=key_hash):
        if is_valid(row, now):
            return Caller(row["org_id"], row["id"])
    return None


def is_valid(row: Mapping[str, Any], now: int) -> bool:
    """Whether a key opens anything, neither revoked nor expired."""
    return row["revoked_at"] is None and (row["expires_at"] is None or row["expires_at"] > now)
