"""Tables of who is asking: organisations, their people, their API keys, and the facts their servers are told.

Invariant: no secret is stored, only hashes of secrets.
"""

from sqlalchemy import JSON, BigInteger, Boolean, Column, ForeignKey, Index, Integer, String, Table, Text, text

from config.database import metadata

organisations = Table(
    "organisations",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("name", Text, nullable=False),
    Column("timezone", String(64), nullable=False, default="UTC"),
    Column("max_call_duration_seconds", Integer, nullable=True),  # null: the server's MAX_CALL_DURATION_SECONDS
    Column("disclose_ai", Boolean, nullable=False, default=True),
    Column("suspended_at", BigInteger, nullable=True),
    Column("alert_below_milli_cents", BigInteger, nullable=True),  # null: what two calls of the longest length hold
    Column("alert_mailed_at", BigInteger, nullable=True),  # null: the next crossing of that line is mailed
    Column("webhook_endpoints", Integer, nullable=False, default=0),  # how many are enabled
    Column("created_at", BigInteger, nullable=False),
)

users = Table(
    "users",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("org_id", String(36), ForeignKey("organisations.id"), nullable=False, index=True),
    Column("email", Text, nullable=False, unique=True),  # normalised
    Column("password_hash", Text, nullable=False),
    Column("verified_at", BigInteger, nullable=True),
    Column("created_at", BigInteger, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("org_id", String(36), ForeignKey("organisations.id"), nullable=False),
    Column("user_id", String(36), nullable=True),
    Column("name", Text, nullable=False),
    Column("prefix", String(16), nullable=False),  # shown to tell keys apart; not enough to use one
    Column("key_hash", String(64), nullable=False, unique=True),
    Column("expires_at", BigInteger, nullable=True),
    Column("revoked_at", BigInteger, nullable=True),
    Column("created_at", BigInteger, nullable=False),
    Index(None, "org_id", "id"),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", String(64), primary_key=True),  # the hash of what the cookie carries
    Column("org_id", String(36), ForeignKey("organisations.id"), nullable=False),
    Column("user_id", String(36), nullable=False, index=True),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False, index=True),
    Column("ended_at", BigInteger, nullable=True),
)

invitations = Table(
    "invitations",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("org_id", String(36), ForeignKey("organisations.id"), nullable=False, index=True),
    Column("email", Text, nullable=False),
    Column("invited_by", String(36), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger, nullable=True),  # accepted or revoked
)

free_credit_identities = Table(
    "free_credit_identities",
    metadata,
    Column("id", String(64), primary_key=True),  # hash of the person's address; outlives the account
    Column("granted_at", BigInteger, nullable=False),
)

mails = Table(
    "mails",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("org_id", String(36), nullable=True),
    Column("kind", String(24), nullable=False),  # which words; links are signed when it is sent, never stored
    Column("recipient", Text, nullable=False),
    Column("facts", JSON, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("due_at", BigInteger, nullable=True),  # null: sent, or given up
    Column("attempts", Integer, nullable=False, default=0),
    Column("sent_at", BigInteger, nullable=True),
    Index(
        "ix_mails_due_at",
        "due_at",
        postgresql_where=text("due_at IS NOT NULL"),
        sqlite_where=text("due_at IS NOT NULL"),
    ),
)

events = Table(
    "events",
    metadata,
    Column("id", String(36), primary_key=True),  # what customers' servers tell repeats apart by
    Column("org_id", String(36), nullable=False),
    Column("call_id", String(36), nullable=True),
    Column("type", String(24), nullable=False),
    Column("state", JSON, nullable=False),  # what the body is made of, as it was at that moment
    Column("body", Text, nullable=True),  # what is sent, made once
    Column("created_at", BigInteger, nullable=False),
    Column("due_at", BigInteger, nullable=True),  # null: its deliveries are written
    Index(
        "ix_events_due_at",
        "due_at",
        postgresql_where=text("due_at IS NOT NULL"),
        sqlite_where=text("due_at IS NOT NULL"),
    ),
)
