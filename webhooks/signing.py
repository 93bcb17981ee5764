"""How an event is signed and addressed. Pure.

Invariant: whoever has the secret can tell that the body is ours and when it was sent; the signature covers both.
"""

import hashlib
import hmac

API_VERSION = "2026-04"


def signature(secret: str, sent_seconds: int, body: bytes) -> str:
    """The value of `CallingBox-Signature`. `secret` is the whole string, its prefix included; `sent_seconds` is Unix
    time, which receivers compare with their own clock (five minutes apart at most)."""
    signed = hmac.new(secret.encode(), f"{sent_seconds}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={sent_seconds},v1={signed}"


def headers(event_id: str, event_type: str, call_id: str | None, signed: str) -> dict[str, str]:
    """Of one attempt. The event's id is the same in every attempt, so receivers tell repeats apart by it."""
    made = {
        "Content-Type": "application/json",
        "CallingBox-Signature": signed,
        "CallingBox-Event-Id": event_id,
        "CallingBox-Event-Type": event_type,
        "X-CallingBox-Event": event_type,  # what the type's header was called first
    }
    return {**made, "X-CallingBox-Call-Id": call_id} if call_id else made
