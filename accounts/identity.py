"""What may stand in a name, an e-mail address and a password.

Invariant: an e-mail address is kept in one normal form, so that one person cannot be two by spelling.
"""

import hashlib
import re

from accounts.passwords import LONGEST, SHORTEST

_ATOM = r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
EMAIL = re.compile(rf"(?=[^@]{{1,64}}@){_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})+")
"""A dot-atom of RFC 5322 at a host name. Nothing that needs quotes: `a,me@example.com` would be mailed to two people,
and be a new person each time."""
LONGEST_EMAIL = 254
LONGEST_NAME = 100


class BadIdentity(Exception):
    """The message says what to change."""


def check_email(email: str) -> str:
    """The address as we keep it. Raises BadIdentity."""
    normal = email.strip().lower()
    if len(normal) > LONGEST_EMAIL or not EMAIL.fullmatch(normal):
        raise BadIdentity("Enter an email address like name@example.com.")
    return normal


def check_name(name: str) -> str:
    """Raises BadIdentity."""
    normal = " ".join(name.split())
    if not normal or len(normal) > LONGEST_NAME or not normal.isprintable():
        raise BadIdentity(f"A name has 1 to {LONGEST_NAME} printable characters.")
    return normal


def check_password(password: str) -> None:
    """Raises BadIdentity."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise BadIdentity(f"A password has {SHORTEST} to {LONGEST} characters.")


def person_hash(email: str) -> str:
    """Names the person behind an address, so that free credit is given once: tags and, at Gmail, dots do not count."""
    name, _, domain = check_email(email).rpartition("@")
    name = name.partition("+")[0]
    if domain in ("gmail.com", "googlemail.com"):
        name, domain = name.replace(".", ""), "gmail.com"
    return hashlib.sha256(f"{name}@{domain}".encode()).hexdigest()
