"""Passwords, kept with argon2 at the library's recommended cost.

Invariant: checking takes the same time whether or not the account exists.
"""

from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

SHORTEST = 8
LONGEST = 256
_hasher = PasswordHasher()


def hash_password(password: str) -> str:
    return _hasher.hash(password)


@cache
def _nobody() -> str:
    return hash_password("nobody has this password")


def password_matches(password_hash: str | None, password: str) -> bool:
    """`password_hash` None: no such account; the work is done all the same."""
    try:
        _hasher.verify(password_hash or _nobody(), password)
    except (VerificationError, InvalidHashError):
        return False
    return password_hash is not None
