"""Tables of batches: what was asked for, and one row for each number that is to be called.

Invariant: rows of an organisation are written only under the lock of its wallet row, through the door; `sequence`
moves with every change of a row's state, so that whoever read without the lock sees that they read too early.
"""

from sqlalchemy import BigInteger, Column, Index, Integer, String, Table, Text, text

from config.database import metadata
from voice.tables import COLD, JSON_COLUMN

batches = Table(
    "batches",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("org_id", String(36), nullable=False),
    Column("idempotency_id", Text, unique=True),  # "<org_id>:<key>"
    Column("body_digest", String(64), nullable=False),
    Column("name", Text, nullable=False),
    # What every call of it is made with; `snapshot` holds the calls' cold columns:
    Column("api_key_id", String(36)),
    Column("agent_id", String(36)),
    Column("from_number", String(16)),
    Column("max_duration_seconds", Integer),
    Column("snapshot", JSON_COLUMN, nullable=False, info=COLD),
    # When, and how many at once:
    Column("window_days", String(7)),  # "12345": Monday to Friday; null, like the next three: at any hour
    Column("window_start_minute", Integer),
    Column("window_end_minute", Integer),
    Column("window_timezone", String(64)),  # null: each callee's own
    Column("max_concurrent", Integer, nullable=False),
    Column("calls_per_second", Integer, nullable=False),
    Column("retry_outcomes", Text, nullable=False),  # "busy no_answer"
    Column("retry_attempts", Integer, nullable=False),
    Column("retry_wait_seconds", Integer, nullable=False),
    Column("total", Integer, nullable=False),
    Column("hold_milli_cents", BigInteger, nullable=False),  # of each call, as it was when the batch was made
    # How it goes:
    Column("state", String(20), nullable=False),
    Column("paused_at", BigInteger),
    Column("canceled_at", BigInteger),
    Column("completed_at", BigInteger),
    Column("held_up_code", Text),  # why it makes no calls just now, or was paused without being asked to
    Column("held_up_message", Text),
    Column("next_dial_at", BigInteger, nullable=False),
    Column("look_at", BigInteger),  # when somebody must look at it next
    Column("sequence", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index(None, "org_id", "id"),
    Index(
        "ix_batches_look_at",
        "look_at",
        postgresql_where=text("look_at IS NOT NULL"),
        sqlite_where=text("look_at IS NOT NULL"),
    ),
)

batch_calls = Table(
    "batch_calls",
    metadata,
    Column("id", Text, primary_key=True),  # "<batch_id>:<line, 7 digits>"
    Column("org_id", String(36), nullable=False),
    Column("batch_id", String(36), nullable=False),
    Column("live_of", String(36)),  # the batch, while a call of this row is being placed or under way
    Column("line", Integer, nullable=False),
    Column("to_number", String(16), nullable=False),
    Column("context", JSON_COLUMN, nullable=False, info=COLD),
    Column("zones", Text, nullable=False),  # IANA names with blanks; empty: the organisation's
    Column("state", String(8), nullable=False),
    Column("due_at", BigInteger, nullable=False),  # not before
    Column("claims", Integer, nullable=False),  # how often it was taken up; names the call of this time
    Column("claimed_at", BigInteger),
    Column("attempts", Integer, nullable=False),  # calls placed
    Column("call_id", String(36)),  # the latest
    Column("outcome", String(12)),  # of that call
    Column("code", Text),
    Column("message", Text),
    Column("updated_at", BigInteger, nullable=False),
    Index(None, "batch_id", "state", "zones", "due_at", "id"),
    Index(
        "ix_batch_calls_live_of",
        "live_of",
        postgresql_where=text("live_of IS NOT NULL"),
        sqlite_where=text("live_of IS NOT NULL"),
    ),
)
