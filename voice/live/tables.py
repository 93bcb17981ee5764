"""Tables of what was said: tickets into a conversation, the transcript, and how fast each answer was.

Invariant: a ticket opens one socket, once, and of a call's tickets the last one used holds its conversation; segments
keep what was heard apart from what was cut off.
"""

from sqlalchemy import BigInteger, Column, Index, Integer, String, Table, Text

from config.database import metadata

relay_tickets = Table(
    "relay_tickets",
    metadata,
    Column("id", String(64), primary_key=True),  # hash of the token in the TwiML
    Column("org_id", String(36), nullable=False),
    Column("call_id", String(36), nullable=False, index=True),
    Column("resumed", String(16)),  # why an earlier session ended; null: the first
    Column("created_at", BigInteger, nullable=False),
    Column("used_at", BigInteger),  # its socket opened
    Column("ended_at", BigInteger),  # its session has stored its last words
)

segments = Table(
    "segments",
    metadata,
    Column("id", Text, primary_key=True),  # "<call_id>:<sequence_no, five digits>"
    Column("org_id", String(36), nullable=False),
    Column("call_id", String(36), nullable=False),
    Column("ticket_id", String(64)),  # of the session that began it, which alone may finish it; null: of none
    Column("sequence_no", Integer, nullable=False),
    Column("role", String(8), nullable=False),  # agent, person, system, tool
    Column("text", Text, nullable=False),  # what was heard
    Column("cut_text", Text),  # what was sent but not heard
    Column("started_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    Column("source", String(16), nullable=False),
    Index(None, "call_id", "sequence_no"),
)

turns = Table(
    "turns",
    metadata,
    Column("id", Text, primary_key=True),  # of the answer's segment
    Column("org_id", String(36), nullable=False),
    Column("call_id", String(36), nullable=False, index=True),
    Column("sequence_no", Integer, nullable=False),
    Column("total_ms", Integer, nullable=False),  # prompt received → first text of the answer sent
    Column("model_ms", Integer, nullable=False),  # of that, the model's share
)
