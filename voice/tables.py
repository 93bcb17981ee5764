"""Tables of the calls.

Invariant: rows of an organisation are written only under the lock of its wallet row, through the door. Columns marked
cold are what a decision never looks at: written once at creation, or by whoever holds the conversation.

Hot tables carry no foreign keys: the door has the organisation's row locked when it writes them.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    literal_column,
    text,
)

from config.database import metadata

COLD = {"cold": True}
JSON_COLUMN = JSON(none_as_null=True)

IS_LIVE = "status IN ('queued', 'initiated', 'ringing', 'in_progress')"
IS_FINAL = "status NOT IN ('queued', 'initiated', 'ringing', 'in_progress')"
call_state = literal_column(
    "(CASE WHEN status = 'no_answer' AND verdict = 'machine' THEN 'voicemail' ELSE status END)", String
)
"""What lists are filtered by. Indexes hold these three word for word, and only the very same words find them."""

calls = Table(
    "calls",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("org_id", String(36), nullable=False),
    Column("direction", String(8), nullable=False),
    Column("to_number", Text, nullable=False),
    Column("from_number", Text, nullable=False),
    Column("status", String(12), nullable=False),
    Column("dial_state", String(8), nullable=False),
    Column("rate_milli_cents_per_minute", BigInteger, nullable=False),
    Column("max_duration_seconds", Integer, nullable=False),
    Column("hold_milli_cents", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("amd_asked", Boolean, nullable=False),
    Column("hangs_up_on_machine", Boolean, nullable=False),
    Column("agent_id", String(36)),
    Column("api_key_id", String(36)),  # which placed it
    Column("twilio_call_sid", String(64), unique=True),
    Column("unresolved_pair", Text),
    Column("reservation_status", String(8)),
    Column("dial_began_at", BigInteger),
    Column("started_at", BigInteger),
    Column("answered_at", BigInteger),
    Column("connected_at", BigInteger),
    Column("ended_at", BigInteger),
    Column("heard_at", BigInteger),
    Column("asked_at", BigInteger),
    Column("final_stored_at", BigInteger),
    Column("hang_up_at", BigInteger),
    Column("hang_up_requested_at", BigInteger),
    Column("hang_up_attempted_at", BigInteger),
    Column("hang_up_attempts", Integer, nullable=False),
    Column("due_at", BigInteger),
    Column("ask_at", BigInteger),
    Column("final_status", String(12)),
    Column("carrier_duration_seconds", Integer),
    Column("verdict", String(8)),
    Column("detection_ms", Integer),
    Column("verdict_overdue", Boolean, nullable=False),
    Column("platform_failed", Boolean, nullable=False),
    Column("duration_seconds", Integer),
    Column("billed_duration_seconds", Integer),
    Column("billing_amount_milli_cents", BigInteger),
    Column("billing_reason", String(24)),
    Column("error_code", Text),
    Column("error_message", Text),
    Column("hangup_cause", Text),
    Column("notifies", Boolean, nullable=False),
    Column("awaits_result", Boolean, nullable=False),
    Column("prompt", Text, info=COLD),
    Column("persona", Text, info=COLD),
    Column("instructions", Text, info=COLD),
    Column("first_message", Text, info=COLD),
    Column("voice", Text, info=COLD),
    Column("language", Text, info=COLD),
    Column("context", JSON_COLUMN, info=COLD),
    Column("returns", JSON_COLUMN, info=COLD),
    Column("tools", JSON_COLUMN, info=COLD),
    Column("metadata", JSON_COLUMN, info=COLD),
    Column("webhook_url", Text, info=COLD),
    Column("voicemail_action", String(16), info=COLD),
    Column("voicemail_message", Text, info=COLD),
    Column("silence_timeout_seconds", Integer, info=COLD),
    Column("longest_wait_seconds", Integer, info=COLD),
    Column("transfer_number", String(16), info=COLD),
    Column("disclose_ai", Boolean, info=COLD),
    Column("result", JSON_COLUMN, info=COLD),
    Column("result_status", String(12), info=COLD),
    Column("result_error", Text, info=COLD),
    Column("webhook_status", String(12), info=COLD),  # of the latest delivery to webhook_url
    Column("webhook_error", Text, info=COLD),
    Index(None, "org_id", "id"),
    Index(
        "ix_calls_final_by_state",  # written once, when a call has ended
        "org_id",
        call_state,
        "direction",
        "id",
        postgresql_where=text(IS_FINAL),
        sqlite_where=text(IS_FINAL),
    ),
    Index(
        "ix_calls_final_by_agent",
        "org_id",
        "agent_id",
        call_state,
        "direction",
        "id",
        postgresql_where=text(f"{IS_FINAL} AND agent_id IS NOT NULL"),
        sqlite_where=text(f"{IS_FINAL} AND agent_id IS NOT NULL"),
    ),
    Index("ix_calls_live", "org_id", "status", postgresql_where=text(IS_LIVE), sqlite_where=text(IS_LIVE)),
    Index(
        "ix_calls_due_at",
        "due_at",
        postgresql_where=text("due_at IS NOT NULL"),
        sqlite_where=text("due_at IS NOT NULL"),
    ),
    Index(
        "ix_calls_ask_at",
        "ask_at",
        postgresql_where=text("ask_at IS NOT NULL"),
        sqlite_where=text("ask_at IS NOT NULL"),
    ),
    Index(
        "ix_calls_unresolved_pair",
        "unresolved_pair",
        postgresql_where=text("unresolved_pair IS NOT NULL"),
        sqlite_where=text("unresolved_pair IS NOT NULL"),
    ),
)

evidence = Table(
    "evidence",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("org_id", String(36), nullable=False),
    Column("call_id", String(36), nullable=False),
    Column("source_key", Text, nullable=False, unique=True),  # "<call_id>:<digest of what it says>"
    Column("source", String(8), nullable=False),  # callback, carrier (we asked), customer, platform, operator
    Column("kind", String(16), nullable=False),  # status, verdict, dial, hangup, failure, end
    Column(
        "said", JSON_COLUMN, nullable=False, info=COLD
    ),  # the carrier's own fields and words, without numbers or text
    Column("carrier_at", BigInteger),
    Column("arrived_at", BigInteger, nullable=False),
    # What it says about connected time (voice.connected_time.Fact):
    Column("final_status", String(12)),
    Column("duration_seconds", Integer),
    Column("verdict", String(8)),
    Column("detection_ms", Integer),
    Column("verdict_overdue", Boolean, nullable=False),
    Column("platform_failed", Boolean, nullable=False),
    Index(None, "call_id", "id"),
)

numbers = Table(
    "numbers",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("org_id", String(36), ForeignKey("organisations.id"), nullable=False),
    Column("e164", String(16), nullable=False, index=True),
    Column("friendly_name", Text),
    Column("country_code", String(2), nullable=False),
    Column("number_type", String(12), nullable=False),
    Column("status", String(12), nullable=False),  # pending (being bought), active, released, failed (not bought)
    Column("monthly_cost_cents", Integer, nullable=False),
    Column("twilio_number_sid", String(64)),
    Column("purchased_at", BigInteger, nullable=False),
    Column("api_key_id", String(36)),  # bought it: the purchase counts to its caps
    Column("paid_until", BigInteger),  # null: imported, costs nothing
    Column("unpaid_since", BigInteger),
    Column("released_at", BigInteger),
    Column("due_at", BigInteger),  # when the purchase, the renewal or the release is to be looked at next
    Column("inbound_agent_id", String(36), index=True),  # answers; one at most
    # Without an inbound agent this answers, if enabled (null: the default agent's):
    Column("inbound_enabled", Boolean, nullable=False, default=True),
    Column("inbound_prompt", Text),
    Column("inbound_returns", JSON_COLUMN),
    Column("inbound_webhook_url", Text),
    Column("inbound_language", Text),
    Column("inbound_tools", JSON_COLUMN),
    Column("inbound_voicemail_action", String(16)),
    # Where callers go while calls are paused, and how often that happened on which UTC day:
    Column("fallback_number", String(16)),
    Column("fallback_day", Integer, nullable=False, default=0),
    Column("fallback_count", Integer, nullable=False, default=0),
    Index(None, "org_id", "id"),
    Index(
        "uq_numbers_held",
        "e164",
        unique=True,
        postgresql_where=text("status IN ('pending', 'active')"),
        sqlite_where=text("status IN ('pending', 'active')"),
    ),
    Index(
        "ix_numbers_due_at",
        "due_at",
        postgresql_where=text("due_at IS NOT NULL"),
        sqlite_where=text("due_at IS NOT NULL"),
    ),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("id", Text, primary_key=True),  # "<org_id>:<key>"
    Column("call_id", String(36), nullable=False),
    Column("body_digest", String(64), nullable=False),
    Column("void", Boolean, nullable=False),  # its call was turned away for lack of capacity: the key is free again
    Column("created_at", BigInteger, nullable=False, index=True),
)
