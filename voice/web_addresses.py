"""Addresses that customers give us to call: webhooks and tools.

Invariant: what passes here is https and names a public host, unless the operator allows local ones for development.
Whoever makes the request still checks what the name resolves to at that moment.
"""

import ipaddress
import re
from urllib.parse import urlsplit

LONGEST_URL = 2_048
_LOCAL_NAME = re.compile(r"(^|\.)(localhost|local|internal|localdomain)\.?$", re.IGNORECASE)
_UNWRITABLE = re.compile(r"[\s\x00-\x1f\x7f\\]")


def fault_of(url: str, *, allow_private: bool) -> str | None:
    """Why we would not call this address, as the rest of a sentence that begins with its field; None if we would."""
    if len(url) > LONGEST_URL:
        return f"must have at most {LONGEST_URL} characters"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return "must be an address like https://example.com/hook"
    if not host or _UNWRITABLE.search(url) or parts.scheme not in ("http", "https"):
        return "must be an address like https://example.com/hook"
    if parts.username is not None or parts.password is not None:
        return "must not carry a name or password; use headers"
    if allow_private:
        return None
    if parts.scheme != "https":
        return "must begin with https://"
    return "must be a public address" if _is_local(host) else None


def _is_local(host: str) -> bool:
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return bool(_LOCAL_NAME.search(host)) or "." not in host
