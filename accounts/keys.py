"""API keys: made once, shown once, kept as a hash.

Invariant: a key is valid exactly while its row says so; nothing remembers an earlier answer, so revoking works at
once.
"""

import hashlib
import secrets
from dataclasses import dataclass

from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncConnection

from accounts.tables import api_keys

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


async def find_caller(connection: AsyncConnection, key: str, now: int) -> Caller | None:
    row = (await connection.execute(_FIND, {"key_hash": hash_of(key)})).first()
    if row is None or row.revoked_at is not None or (row.expires_at is not None and row.expires_at <= now):
        return None
    return Caller(row.org_id, row.id)
