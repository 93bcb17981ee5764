"""Tables of who speaks and with whom one may speak: agents, their numbers, and the lists of numbers to leave alone.

Invariant: calls copy what they need from an agent when they begin, so nothing here changes a call under way.
"""

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, String, Table, Text

from config.database import metadata
from voice.tables import JSON_COLUMN

agents = Table(
    "agents",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("org_id", String(36), ForeignKey("organisations.id"), nullable=False),
    Column("user_id", String(36)),
    Column("name", Text, nullable=False),
    Column("type", String(8), nullable=False),  # inbound, outbound; never changes
    Column("persona", Text),
    Column("instructions", Text),
    Column("first_message", Text),
    Column("voice", Text),
    Column("language", Text, nullable=False),
    Column("returns", JSON_COLUMN, nullable=False),
    Column("tools", JSON_COLUMN, nullable=False),
    Column("voicemail_action", String(16), nullable=False),
    Column("voicemail_message", Text),
    Column("webhook_url", Text),
    Column("max_duration_seconds", Integer),
    Column("silence_timeout_seconds", Integer),
    Column("longest_wait_seconds", Integer),
    Column("transfer_number", String(16)),
    Column("primary_number_id", String(36)),
    Column("archived_at", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index(None, "org_id", "id"),
)

# From which numbers an outbound agent may call. Who answers a number is `numbers.inbound_agent_id`.
agent_numbers = Table(
    "agent_numbers",
    metadata,
    Column("id", Text, primary_key=True),  # "<agent_id>:<number_id>"
    Column("org_id", String(36), nullable=False, index=True),
    Column("agent_id", String(36), nullable=False, index=True),
    Column("number_id", String(36), nullable=False, index=True),
    Column("created_at", BigInteger, nullable=False),
    Column("removed_at", BigInteger),
)

do_not_call = Table(
    "do_not_call",
    metadata,
    Column("id", Text, primary_key=True),  # "<org_id>:<e164>"
    Column("org_id", String(36), nullable=False, index=True),
    Column("e164", String(16), nullable=False),
    Column("source", String(16), nullable=False),  # callee (said so on a call), customer (entered)
    Column("reason", Text),
    Column("call_id", String(36)),
    Column("user_id", String(36)),
    Column("created_at", BigInteger, nullable=False),
    Column("removed_at", BigInteger),
)

blocked_callers = Table(
    "blocked_callers",
    metadata,
    Column("id", Text, primary_key=True),  # "<org_id>:<e164>"
    Column("org_id", String(36), nullable=False, index=True),
    Column("e164", String(16), nullable=False),
    Column("reason", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("removed_at", BigInteger),
)

callers = Table(
    "callers",
    metadata,
    Column("id", Text, primary_key=True),  # "<org_id>:<number>"
    Column("hour", Integer, nullable=False),  # since the epoch
    Column("calls", Integer, nullable=False),  # answered in that hour
)

verified_numbers = Table(
    "verified_numbers",
    metadata,
    Column("id", Text, primary_key=True),  # "<org_id>:<e164>"
    Column("org_id", String(36), nullable=False, index=True),
    Column("e164", String(16), nullable=False),
    Column("code_hash", String(64), nullable=False),  # of the code that was told by telephone
    Column("code_expires_at", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("told_day", Integer, nullable=False),  # the UTC day of the last telling, and how many there were on it
    Column("told_count", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("verified_at", BigInteger),
    Column("removed_at", BigInteger),
)
