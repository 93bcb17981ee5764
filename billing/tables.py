"""Tables of the money.

Invariant: `transfers` only grows; a database trigger refuses UPDATE and DELETE, and `wallets` is what its transfers
add up to. Rows of an organisation are written only under the lock of its wallet row.
"""

from sqlalchemy import (
    DDL,
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    event,
)

from billing.triggers import APPEND_ONLY
from config.database import metadata

wallets = Table(
    "wallets",
    metadata,
    Column("id", String(36), ForeignKey("organisations.id"), primary_key=True),  # the organisation's id
    Column("balance", BigInteger, nullable=False),
    Column("held", BigInteger, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    CheckConstraint("held >= 0", name="held_not_negative"),
)

transfers = Table(
    "transfers",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("org_id", String(36), nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("kind", String(24), nullable=False),
    Column("debit_account", String(48), nullable=False),
    Column("credit_account", String(48), nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("balance_delta", BigInteger, nullable=False),
    Column("held_delta", BigInteger, nullable=False),
    Column("balance_after", BigInteger, nullable=False),
    Column("held_after", BigInteger, nullable=False),
    Column("source_key", Text, nullable=False, unique=True),
    Column("pending_id", String(36), nullable=True, unique=True),  # the hold this second phase ends: one, ever
    Column("call_id", String(36), nullable=True, index=True),
    Column("reason", Text, nullable=True),
    Column("created_at", BigInteger, nullable=False),
    CheckConstraint("amount >= 0", name="amount_not_negative"),
    CheckConstraint("kind <> 'hold' or balance_after >= held_after", name="hold_is_covered"),
    Index(None, "org_id", "sequence", unique=True),
)
for _dialect, _statements in APPEND_ONLY.items():
    for _statement in _statements:
        event.listen(transfers, "after_create", DDL(_statement).execute_if(dialect=_dialect))  # type: ignore[no-untyped-call]

usage = Table(
    "usage_quarter_hours",
    metadata,
    Column("id", Text, primary_key=True),  # "<org_id>:<quarter_at>"
    Column("org_id", String(36), nullable=False),
    Column("quarter_at", BigInteger, nullable=False),  # start of the UTC quarter hour in which the call ended
    Column("calls", Integer, nullable=False, info={"counter": True}),
    Column("billed_calls", Integer, nullable=False, info={"counter": True}),
    Column("connected_seconds", BigInteger, nullable=False, info={"counter": True}),
    Column("unbilled_seconds", BigInteger, nullable=False, info={"counter": True}),
    Column("charged_milli_cents", BigInteger, nullable=False, info={"counter": True}),
    Index(None, "org_id", "quarter_at"),
)
