"""Tables of signed events to customers' servers.

Invariant: one delivery per (event, destination): its id is made from both. What is sent stands in the event's row;
a delivery says where to, and how that goes.
"""

from sqlalchemy import JSON, BigInteger, Boolean, Column, ForeignKey, Index, Integer, String, Table, Text, text

from config.database import metadata

COLD = {"cold": True}

webhook_endpoints = Table(
    "webhook_endpoints",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("org_id", String(36), ForeignKey("organisations.id"), nullable=False),
    Column("listed_org_id", String(36), nullable=True, index=True),  # the same; null: deleted
    Column("url", Text, nullable=False),
    Column("description", Text, nullable=True),
    Column("enabled_events", JSON, nullable=False),  # names, or ["*"]
    Column("status", String(8), nullable=False),  # enabled, disabled
    Column("disabled_reason", String(24), nullable=True),
    Column("disabled_at", BigInteger, nullable=True),
    Column("consecutive_failures", Integer, nullable=False, default=0),  # deliveries given up in a row
    # A hash would not do: an HMAC is made with the secret itself, which both sides must have.
    Column("signing_secret", String(64), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
)

webhook_secrets = Table(
    "webhook_secrets",
    metadata,
    Column("id", String(36), primary_key=True),  # the organisation's id
    Column("signing_secret", String(64), nullable=False),  # of deliveries to a call's own webhook_url; as above
    Column("is_shown", Boolean, nullable=False),  # False: made because it was needed, and nobody has seen it yet
    Column("updated_at", BigInteger, nullable=False),
)

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("org_id", String(36), nullable=False),
    Column("event_id", String(36), nullable=False),
    Column("endpoint_id", String(36), nullable=True),  # null: the call's own webhook_url
    Column("call_id", String(36), nullable=True),
    Column("event_type", String(24), nullable=False),
    Column("url", Text, nullable=False),  # as it was when the event happened
    Column("destination", Text, nullable=False),  # what may be slow: the endpoint, or the host of a call's own address
    Column("status", String(12), nullable=False),  # pending, delivered, exhausted
    Column("attempt_count", Integer, nullable=False, default=0),  # since it was last asked for by hand
    Column("manual_retry_count", Integer, nullable=False, default=0),
    Column("next_attempt_at", BigInteger, nullable=True),  # null: not pending
    Column("last_error", Text, nullable=True),
    Column("last_response_status", Integer, nullable=True),
    Column("delivered_at", BigInteger, nullable=True),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index(None, "org_id", "id"),
    Index(None, "endpoint_id", "id"),
    Index(None, "call_id", "id"),
    Index(
        "ix_webhook_deliveries_next_attempt_at",
        "next_attempt_at",
        postgresql_where=text("next_attempt_at IS NOT NULL"),
        sqlite_where=text("next_attempt_at IS NOT NULL"),
    ),
)

webhook_attempts = Table(
    "webhook_attempts",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("org_id", String(36), nullable=False),
    Column("delivery_id", String(36), nullable=False),
    Column("signature", Text, nullable=False),  # the header as sent
    Column("sent_at", BigInteger, nullable=False),
    Column("duration_ms", Integer, nullable=False),
    Column("response_status", Integer, nullable=True),
    Column("response_body", Text, nullable=False, info=COLD),  # its first 2 kB
    Column("error", Text, nullable=True),
    Index(None, "delivery_id", "id"),
)
