"""Passwords, kept with argon2 at the library's recommended cost.

Invariant: checking takes the same time whether or not the account exists, and never holds up the event loop.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

SHORTEST = 8
LONGEST = 256
_hasher = PasswordHasher()
_threads = ThreadPoolExecutor(2, thread_name_prefix="passwords")  # each hash takes 64 MiB: no more than two at once


def hash_password(password: str) -> str:
    return _hasher.hash(password)


@cache
def _nobody() -> str:
    return hash_password("nobody has this password")


def password_matches(password_hash: str | None, password: str) -> bool:
    """`password_hash` None: no such account; the work is done all the same."""
    nobody = _nobody()
    try:
        _hasher.verify(password_hash or nobody, password)
    except (VerificationError, InvalidHashError):
        return False
    return password_hash is not None


async def hash_in_thread(password: str) -> str:
    return await asyncio.get_running_loop().run_in_executor(_threads, hash_password, password)


async def matches_in_thread(password_hash: str | None, password: str) -> bool:
    return await asyncio.get_running_loop().run_in_executor(_threads, password_matches, password_hash, password)
