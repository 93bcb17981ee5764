"""Endpoints and deliveries as the public API shows them.

Invariant: a signing secret appears only in the answer to its creation or rotation; times are ISO 8601 UTC.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from config.clock import iso
from webhooks.signing import headers


def endpoint_object(row: Mapping[str, Any], signing_secret: str | None = None) -> dict[str, Any]:
    shown = {
        "id": row["id"],
        "org_id": row["org_id"],
        "url": row["url"],
        "description": row["description"],
        "enabled_events": row["enabled_events"],
        "status": row["status"],
        "disabled_reason": row["disabled_reason"],
        "disabled_at": iso(row["disabled_at"]),
        "consecutive_failures": row["consecutive_failures"],
        "created_at": iso(row["created_at"]),
        "updated_at": iso(row["updated_at"]),
    }
    return {**shown, "signing_secret": signing_secret} if signing_secret is not None else shown


def delivery_object(row: Mapping[str, Any]) -> dict[str, Any]:
    """`attempt_count` counts from the beginning or, if it was asked for again by hand, from then."""
    return {
        "id": row["id"],
        "org_id": row["org_id"],
        "endpoint_id": row["endpoint_id"],
        "event_id": row["event_id"],
        "call_id": row["call_id"],
        "event_type": row["event_type"],
        "url": row["url"],
        "status": row["status"],
        "attempt_count": row["attempt_count"],
        "manual_retry_count": row["manual_retry_count"],
        "next_attempt_at": iso(row["next_attempt_at"]),
        "last_error": row["last_error"],
        "last_response_status": row["last_response_status"],
        "delivered_at": iso(row["delivered_at"]),
        "created_at": iso(row["created_at"]),
        "updated_at": iso(row["updated_at"]),
    }


def delivery_detail(row: Mapping[str, Any], attempts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """With the body that is sent, and each attempt's signature and answer (its first 2 kB), oldest first."""
    return {
        **delivery_object(row),
        "request_body": row["body"],
        "attempts": [
            {
                "sent_at": iso(attempt["sent_at"]),
                "duration_ms": attempt["duration_ms"],
                "request_headers": headers(row["event_id"], row["event_type"], row["call_id"], attempt["signature"]),
                "response_status": attempt["response_status"],
                "response_body": attempt["response_body"],
                "error": attempt["error"],
            }
            for attempt in attempts
        ],
    }
