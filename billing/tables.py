"""Tables of the money.

Invariant: `transfers` only grows; a database trigger refuses UPDATE and DELETE, and `wallets` is what its transfers
add up to. Rows of an organisation are written only under the lock of its wallet row.
"""

from sqlalchemy import (
    DDL,
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    event,
    literal_column,
    text,
)

from billing.triggers import APPEND_ONLY
from config.database import metadata

CHANGES_CREDIT = "kind NOT IN ('hold', 'release')"
IS_CREDIT_CHANGE = literal_column(f"({CHANGES_CREDIT})", Boolean)
"""Of a transfer: it changes the balance. Only the very same words find their index."""

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
    Index(
        "ix_transfers_credit_changes",  # what changed a balance, however many holds came back whole in between
        "org_id",
        IS_CREDIT_CHANGE,  # tells SQLite that it is the better one
        "sequence",
        postgresql_where=text(CHANGES_CREDIT),
        sqlite_where=text(CHANGES_CREDIT),
    ),
)
for _dialect, _statements in APPEND_ONLY.items():
    for _statement in _statements:
        event.listen(transfers, "after_create", DDL(_statement).execute_if(dialect=_dialect))  # type: ignore[no-untyped-call]


def _rollup(name: str, start: str) -> Table:
    """Counters of the calls that ended in each span of time that begins at `start`."""
    return Table(
        name,
        metadata,
        Column("id", Text, primary_key=True),  # "<org_id>:<start>"
        Column("org_id", String(36), nullable=False),
        Column(start, BigInteger, nullable=False),
        Column("calls", Integer, nullable=False, info={"counter": True}),
        Column("billed_calls", Integer, nullable=False, info={"counter": True}),
        Column("connected_seconds", BigInteger, nullable=False, info={"counter": True}),
        Column("unbilled_seconds", BigInteger, nullable=False, info={"counter": True}),
        Column("charged_milli_cents", BigInteger, nullable=False, info={"counter": True}),
        Index(None, "org_id", start),
    )


usage = _rollup("usage_quarter_hours", "quarter_at")
usage_days = _rollup("usage_days", "day_at")  # of UTC: what whole days add up to, so that months are few rows

_UNFINISHED = text("status IN ('pending', 'processing', 'review')")

topups = Table(
    "topups",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("org_id", String(36), nullable=True),  # null: a payment in review that names nobody we know
    Column("kind", String(8), nullable=False),  # billing.topup_rules.TopupKind
    Column("status", String(12), nullable=False),  # billing.topup_rules.TopupStatus
    Column("amount_cents", BigInteger, nullable=False),
    Column("credit_milli_cents", BigInteger, nullable=False),
    Column("livemode", Boolean, nullable=False),
    Column("saves_card", Boolean, nullable=False, default=False),  # its card is still to be saved
    Column("stripe_session_id", Text, nullable=True, unique=True),
    Column("stripe_payment_intent_id", Text, nullable=True, index=True),
    Column("stripe_customer_id", Text, nullable=True),
    Column("stripe_payment_method_id", Text, nullable=True),  # what an automatic one charges
    Column("paid_cents", BigInteger, nullable=True),  # all that Stripe took, tax included: refunds are shares of it
    Column("refunded_milli_cents", BigInteger, nullable=False, default=0),
    Column("disputed_milli_cents", BigInteger, nullable=False, default=0),
    Column("review_reason", String(24), nullable=True),
    Column("receipt_url", Text, nullable=True),
    Column("org_hour", Text, nullable=True, index=True),  # "<org_id>:<hour>", to count what was begun lately
    Column("expires_at", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("paid_at", BigInteger, nullable=True),
    Column("updated_at", BigInteger, nullable=False),
    Index(None, "org_id", "id"),
    Index("ix_topups_unfinished", "status", "id", postgresql_where=_UNFINISHED, sqlite_where=_UNFINISHED),
)

_UNMATCHED = text("topup_id IS NULL")
_OPEN_DISPUTE = text("kind = 'dispute' AND NOT is_closed")

reversals = Table(
    "topup_reversals",
    metadata,
    Column("id", Text, primary_key=True),  # Stripe's id of the refund or dispute
    Column("org_id", String(36), nullable=True),
    Column("topup_id", String(36), nullable=True),  # null: it arrived before its top-up
    Column("kind", String(8), nullable=False),  # billing.topup_rules.ReversalKind
    Column("phase", String(8), nullable=False),  # billing.topup_rules.Phase
    Column("stripe_payment_intent_id", Text, nullable=False, index=True),
    Column("amount_cents", BigInteger, nullable=False),
    Column("taken_milli_cents", BigInteger, nullable=False, default=0),
    Column("returned_milli_cents", BigInteger, nullable=False, default=0),
    Column("takes", Integer, nullable=False, default=0),  # ledger entries that took
    Column("is_closed", Boolean, nullable=False),  # nothing more can happen to it
    Column("created_at", BigInteger, nullable=False),  # at Stripe
    Column("updated_at", BigInteger, nullable=False),
    Index("ix_topup_reversals_unmatched", "id", postgresql_where=_UNMATCHED, sqlite_where=_UNMATCHED),
    Index("ix_topup_reversals_open_disputes", "id", postgresql_where=_OPEN_DISPUTE, sqlite_where=_OPEN_DISPUTE),
)

stripe_events = Table(
    "stripe_events",
    metadata,
    Column("id", Text, primary_key=True),
    Column("type", Text, nullable=False),
    Column("object_id", Text, nullable=False, index=True),
    Column("outcome", String(12), nullable=False),  # what it did the first time
    Column("said", JSON, nullable=False, info={"cold": True}),  # the facts that were read from it
    Column("created_at", BigInteger, nullable=False),  # at Stripe
    Column("arrived_at", BigInteger, nullable=False),
)

stripe_customers = Table(
    "stripe_customers",
    metadata,
    Column("id", Text, primary_key=True),  # "<org_id>:live" or "<org_id>:test"
    Column("org_id", String(36), nullable=False),
    Column("stripe_customer_id", Text, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
)

_RECHARGES_ON = text("is_enabled AND paused_reason IS NULL")
_LINK_DUE = text("link_due_at IS NOT NULL")

auto_recharges = Table(
    "auto_recharges",
    metadata,
    Column("id", String(36), primary_key=True),  # the organisation's id
    Column("is_enabled", Boolean, nullable=False),
    Column("threshold_milli_cents", BigInteger, nullable=False),
    Column("recharge_to_milli_cents", BigInteger, nullable=False),
    Column("monthly_cap_milli_cents", BigInteger, nullable=False),
    Column("consented_at", BigInteger, nullable=True),
    Column("consented_by", String(36), nullable=True),  # the user
    Column("consent_text", Text, nullable=True),  # the words agreed to
    Column("stripe_payment_method_id", Text, nullable=True),
    Column("paused_reason", String(24), nullable=True),
    Column("declines", Integer, nullable=False, default=0),  # in a row
    Column("claimed_at", BigInteger, nullable=True),  # the last charge was begun
    Column("retry_at", BigInteger, nullable=True),
    Column("pending_topup_id", String(36), nullable=True),
    Column("month", String(7), nullable=True),  # the UTC month that `month_milli_cents` counts
    Column("month_milli_cents", BigInteger, nullable=False, default=0),
    Column("link_due_at", BigInteger, nullable=True),  # a payment link must be mailed
    Column("link_amount_cents", BigInteger, nullable=True),
    Column("updated_at", BigInteger, nullable=False),
    Index("ix_auto_recharges_on", "id", postgresql_where=_RECHARGES_ON, sqlite_where=_RECHARGES_ON),
    Index("ix_auto_recharges_link_due", "id", postgresql_where=_LINK_DUE, sqlite_where=_LINK_DUE),
)

spending = Table(
    "spending",
    metadata,
    Column("id", String(36), primary_key=True),  # the organisation's or the API key's
    Column("org_id", String(36), nullable=False, index=True),
    Column("scope", String(12), nullable=False),  # billing.spending.Scope
    Column("daily_cap_milli_cents", BigInteger, nullable=True),
    Column("monthly_cap_milli_cents", BigInteger, nullable=True),
    Column("max_concurrent_calls", Integer, nullable=True),
    Column("allowed_countries", JSON(none_as_null=True), nullable=True),
    # billing.spending.Spent:
    Column("open_calls", Integer, nullable=False),
    Column("held_milli_cents", BigInteger, nullable=False),
    Column("day", String(10), nullable=False),
    Column("day_milli_cents", BigInteger, nullable=False),
    Column("month_milli_cents", BigInteger, nullable=False),
)

operator_actions = Table(
    "operator_actions",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("operator", Text, nullable=False),
    Column("action", String(32), nullable=False),
    Column("org_id", String(36), nullable=True, index=True),
    Column("subject_id", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("detail", JSON, nullable=False, info={"cold": True}),
    Column("created_at", BigInteger, nullable=False),
)
