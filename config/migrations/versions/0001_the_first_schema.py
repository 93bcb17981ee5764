"""The first schema"""

import sqlalchemy as sa
from alembic import op

from billing.triggers import APPEND_ONLY

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "agent_numbers",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("agent_id", sa.String(length=36), nullable=False),
        sa.Column("number_id", sa.String(length=36), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("removed_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_agent_numbers")),
    )
    op.create_index(op.f("ix_agent_numbers_agent_id"), "agent_numbers", ["agent_id"], unique=False)
    op.create_index(op.f("ix_agent_numbers_number_id"), "agent_numbers", ["number_id"], unique=False)
    op.create_index(op.f("ix_agent_numbers_org_id"), "agent_numbers", ["org_id"], unique=False)
    op.create_table(
        "auto_recharges",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("is_enabled", sa.Boolean(), nullable=False),
        sa.Column("threshold_milli_cents", sa.BigInteger(), nullable=False),
        sa.Column("recharge_to_milli_cents", sa.BigInteger(), nullable=False),
        sa.Column("monthly_cap_milli_cents", sa.BigInteger(), nullable=False),
        sa.Column("consented_at", sa.BigInteger(), nullable=True),
        sa.Column("consented_by", sa.String(length=36), nullable=True),
        sa.Column("consent_text", sa.Text(), nullable=True),
        sa.Column("stripe_payment_method_id", sa.Text(), nullable=True),
        sa.Column("paused_reason", sa.String(length=24), nullable=True),
        sa.Column("declines", sa.Integer(), nullable=False),
        sa.Column("claimed_at", sa.BigInteger(), nullable=True),
        sa.Column("retry_at", sa.BigInteger(), nullable=True),
        sa.Column("pending_topup_id", sa.String(length=36), nullable=True),
        sa.Column("month", sa.String(length=7), nullable=True),
        sa.Column("month_milli_cents", sa.BigInteger(), nullable=False),
        sa.Column("link_due_at", sa.BigInteger(), nullable=True),
        sa.Column("link_amount_cents", sa.BigInteger(), nullable=True),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_auto_recharges")),
    )
    op.create_index(
        "ix_auto_recharges_link_due",
        "auto_recharges",
        ["id"],
        unique=False,
        postgresql_where=sa.text("link_due_at IS NOT NULL"),
        sqlite_where=sa.text("link_due_at IS NOT NULL"),
    )
    op.create_index(
        "ix_auto_recharges_on",
        "auto_recharges",
        ["id"],
        unique=False,
        postgresql_where=sa.text("is_enabled AND paused_reason IS NULL"),
        sqlite_where=sa.text("is_enabled AND paused_reason IS NULL"),
    )
    op.create_table(
        "batch_calls",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("batch_id", sa.String(length=36), nullable=False),
        sa.Column("live_of", sa.String(length=36), nullable=True),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("to_number", sa.String(length=16), nullable=False),
        sa.Column("context", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("zones", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("claims", sa.Integer(), nullable=False),
        sa.Column("claimed_at", sa.BigInteger(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("call_id", sa.String(length=36), nullable=True),
        sa.Column("outcome", sa.String(length=12), nullable=True),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batch_calls")),
    )
    op.create_index(
        op.f("ix_batch_calls_batch_id_state_zones_due_at_id"),
        "batch_calls",
        ["batch_id", "state", "zones", "due_at", "id"],
        unique=False,
    )
    op.create_index(
        "ix_batch_calls_live_of",
        "batch_calls",
        ["live_of"],
        unique=False,
        postgresql_where=sa.text("live_of IS NOT NULL"),
        sqlite_where=sa.text("live_of IS NOT NULL"),
    )
    op.create_table(
        "batches",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("idempotency_id", sa.Text(), nullable=True),
        sa.Column("body_digest", sa.String(length=64), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("api_key_id", sa.String(length=36), nullable=True),
        sa.Column("agent_id", sa.String(length=36), nullable=True),
        sa.Column("from_number", sa.String(length=16), nullable=True),
        sa.Column("max_duration_seconds", sa.Integer(), nullable=True),
        sa.Column("snapshot", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("window_days", sa.String(length=7), nullable=True),
        sa.Column("window_start_minute", sa.Integer(), nullable=True),
        sa.Column("window_end_minute", sa.Integer(), nullable=True),
        sa.Column("window_timezone", sa.String(length=64), nullable=True),
        sa.Column("max_concurrent", sa.Integer(), nullable=False),
        sa.Column("calls_per_second", sa.Integer(), nullable=False),
        sa.Column("retry_outcomes", sa.Text(), nullable=False),
        sa.Column("retry_attempts", sa.Integer(), nullable=False),
        sa.Column("retry_wait_seconds", sa.Integer(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("hold_milli_cents", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("paused_at", sa.BigInteger(), nullable=True),
        sa.Column("canceled_at", sa.BigInteger(), nullable=True),
        sa.Column("completed_at", sa.BigInteger(), nullable=True),
        sa.Column("held_up_code", sa.Text(), nullable=True),
        sa.Column("held_up_message", sa.Text(), nullable=True),
        sa.Column("next_dial_at", sa.BigInteger(), nullable=False),
        sa.Column("look_at", sa.BigInteger(), nullable=True),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batches")),
        sa.UniqueConstraint("idempotency_id", name=op.f("uq_batches_idempotency_id")),
    )
    op.create_index(
        "ix_batches_look_at",
        "batches",
        ["look_at"],
        unique=False,
        postgresql_where=sa.text("look_at IS NOT NULL"),
        sqlite_where=sa.text("look_at IS NOT NULL"),
    )
    op.create_index(op.f("ix_batches_org_id_id"), "batches", ["org_id", "id"], unique=False)
    op.create_table(
        "blocked_callers",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("e164", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("removed_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_blocked_callers")),
    )
    op.create_index(op.f("ix_blocked_callers_org_id"), "blocked_callers", ["org_id"], unique=False)
    op.create_table(
        "callers",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("hour", sa.Integer(), nullable=False),
        sa.Column("calls", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_callers")),
    )
    op.create_table(
        "calls",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("direction", sa.String(length=8), nullable=False),
        sa.Column("to_number", sa.Text(), nullable=False),
        sa.Column("from_number", sa.Text(), nullable=False),
        sa.Column("status", sa.String(length=12), nullable=False),
        sa.Column("dial_state", sa.String(length=8), nullable=False),
        sa.Column("rate_milli_cents_per_minute", sa.BigInteger(), nullable=False),
        sa.Column("max_duration_seconds", sa.Integer(), nullable=False),
        sa.Column("hold_milli_cents", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("amd_asked", sa.Boolean(), nullable=False),
        sa.Column("hangs_up_on_machine", sa.Boolean(), nullable=False),
        sa.Column("agent_id", sa.String(length=36), nullable=True),
        sa.Column("api_key_id", sa.String(length=36), nullable=True),
        sa.Column("twilio_call_sid", sa.String(length=64), nullable=True),
        sa.Column("unresolved_pair", sa.Text(), nullable=True),
        sa.Column("reservation_status", sa.String(length=8), nullable=True),
        sa.Column("dial_began_at", sa.BigInteger(), nullable=True),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("answered_at", sa.BigInteger(), nullable=True),
        sa.Column("connected_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("heard_at", sa.BigInteger(), nullable=True),
        sa.Column("asked_at", sa.BigInteger(), nullable=True),
        sa.Column("final_stored_at", sa.BigInteger(), nullable=True),
        sa.Column("hang_up_at", sa.BigInteger(), nullable=True),
        sa.Column("hang_up_requested_at", sa.BigInteger(), nullable=True),
        sa.Column("hang_up_attempted_at", sa.BigInteger(), nullable=True),
        sa.Column("hang_up_attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=True),
        sa.Column("ask_at", sa.BigInteger(), nullable=True),
        sa.Column("final_status", sa.String(length=12), nullable=True),
        sa.Column("carrier_duration_seconds", sa.Integer(), nullable=True),
        sa.Column("verdict", sa.String(length=8), nullable=True),
        sa.Column("detection_ms", sa.Integer(), nullable=True),
        sa.Column("verdict_overdue", sa.Boolean(), nullable=False),
        sa.Column("platform_failed", sa.Boolean(), nullable=False),
        sa.Column("duration_seconds", sa.Integer(), nullable=True),
        sa.Column("billed_duration_seconds", sa.Integer(), nullable=True),
        sa.Column("billing_amount_milli_cents", sa.BigInteger(), nullable=True),
        sa.Column("billing_reason", sa.String(length=24), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("hangup_cause", sa.Text(), nullable=True),
        sa.Column("notifies", sa.Boolean(), nullable=False),
        sa.Column("awaits_result", sa.Boolean(), nullable=False),
        sa.Column("prompt", sa.Text(), nullable=True),
        sa.Column("persona", sa.Text(), nullable=True),
        sa.Column("instructions", sa.Text(), nullable=True),
        sa.Column("first_message", sa.Text(), nullable=True),
        sa.Column("voice", sa.Text(), nullable=True),
        sa.Column("language", sa.Text(), nullable=True),
        sa.Column("context", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("returns", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("tools", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("metadata", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("webhook_url", sa.Text(), nullable=True),
        sa.Column("voicemail_action", sa.String(length=16), nullable=True),
        sa.Column("voicemail_message", sa.Text(), nullable=True),
        sa.Column("silence_timeout_seconds", sa.Integer(), nullable=True),
        sa.Column("transfer_number", sa.String(length=16), nullable=True),
        sa.Column("disclose_ai", sa.Boolean(), nullable=True),
        sa.Column("result", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("result_status", sa.String(length=12), nullable=True),
        sa.Column("result_error", sa.Text(), nullable=True),
        sa.Column("webhook_status", sa.String(length=12), nullable=True),
        sa.Column("webhook_error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_calls")),
        sa.UniqueConstraint("twilio_call_sid", name=op.f("uq_calls_twilio_call_sid")),
    )
    op.create_index(
        "ix_calls_ask_at",
        "calls",
        ["ask_at"],
        unique=False,
        postgresql_where=sa.text("ask_at IS NOT NULL"),
        sqlite_where=sa.text("ask_at IS NOT NULL"),
    )
    op.create_index(
        "ix_calls_due_at",
        "calls",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("due_at IS NOT NULL"),
        sqlite_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_index(
        "ix_calls_live",
        "calls",
        ["org_id", "status"],
        unique=False,
        postgresql_where=sa.text("status IN ('queued', 'initiated', 'ringing', 'in_progress')"),
        sqlite_where=sa.text("status IN ('queued', 'initiated', 'ringing', 'in_progress')"),
    )
    op.create_index(op.f("ix_calls_org_id_id"), "calls", ["org_id", "id"], unique=False)
    op.create_index(
        "ix_calls_unresolved_pair",
        "calls",
        ["unresolved_pair"],
        unique=False,
        postgresql_where=sa.text("unresolved_pair IS NOT NULL"),
        sqlite_where=sa.text("unresolved_pair IS NOT NULL"),
    )
    op.create_table(
        "do_not_call",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("e164", sa.String(length=16), nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("call_id", sa.String(length=36), nullable=True),
        sa.Column("user_id", sa.String(length=36), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("removed_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_do_not_call")),
    )
    op.create_index(op.f("ix_do_not_call_org_id"), "do_not_call", ["org_id"], unique=False)
    op.create_table(
        "events",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("call_id", sa.String(length=36), nullable=True),
        sa.Column("type", sa.String(length=24), nullable=False),
        sa.Column("state", sa.JSON(), nullable=False),
        sa.Column("body", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
    )
    op.create_index(
        "ix_events_due_at",
        "events",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("due_at IS NOT NULL"),
        sqlite_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_table(
        "evidence",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("call_id", sa.String(length=36), nullable=False),
        sa.Column("source_key", sa.Text(), nullable=False),
        sa.Column("source", sa.String(length=8), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("said", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("carrier_at", sa.BigInteger(), nullable=True),
        sa.Column("arrived_at", sa.BigInteger(), nullable=False),
        sa.Column("final_status", sa.String(length=12), nullable=True),
        sa.Column("duration_seconds", sa.Integer(), nullable=True),
        sa.Column("verdict", sa.String(length=8), nullable=True),
        sa.Column("detection_ms", sa.Integer(), nullable=True),
        sa.Column("verdict_overdue", sa.Boolean(), nullable=False),
        sa.Column("platform_failed", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evidence")),
        sa.UniqueConstraint("source_key", name=op.f("uq_evidence_source_key")),
    )
    op.create_index(op.f("ix_evidence_call_id_id"), "evidence", ["call_id", "id"], unique=False)
    op.create_table(
        "free_credit_identities",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("granted_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_free_credit_identities")),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("call_id", sa.String(length=36), nullable=False),
        sa.Column("body_digest", sa.String(length=64), nullable=False),
        sa.Column("void", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_idempotency_keys")),
    )
    op.create_index(op.f("ix_idempotency_keys_created_at"), "idempotency_keys", ["created_at"], unique=False)
    op.create_table(
        "mails",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=True),
        sa.Column("kind", sa.String(length=24), nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("sent_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mails")),
    )
    op.create_index(
        "ix_mails_due_at",
        "mails",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("due_at IS NOT NULL"),
        sqlite_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_table(
        "operator_actions",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("operator", sa.Text(), nullable=False),
        sa.Column("action", sa.String(length=32), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=True),
        sa.Column("subject_id", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_operator_actions")),
    )
    op.create_index(op.f("ix_operator_actions_org_id"), "operator_actions", ["org_id"], unique=False)
    op.create_table(
        "organisations",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("timezone", sa.String(length=64), nullable=False),
        sa.Column("max_call_duration_seconds", sa.Integer(), nullable=True),
        sa.Column("disclose_ai", sa.Boolean(), nullable=False),
        sa.Column("suspended_at", sa.BigInteger(), nullable=True),
        sa.Column("alert_below_milli_cents", sa.BigInteger(), nullable=True),
        sa.Column("alert_mailed_at", sa.BigInteger(), nullable=True),
        sa.Column("webhook_endpoints", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_organisations")),
    )
    op.create_table(
        "relay_tickets",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("call_id", sa.String(length=36), nullable=False),
        sa.Column("resumed", sa.String(length=16), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_relay_tickets")),
    )
    op.create_index(op.f("ix_relay_tickets_call_id"), "relay_tickets", ["call_id"], unique=False)
    op.create_table(
        "segments",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("call_id", sa.String(length=36), nullable=False),
        sa.Column("ticket_id", sa.String(length=64), nullable=True),
        sa.Column("sequence_no", sa.Integer(), nullable=False),
        sa.Column("role", sa.String(length=8), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("cut_text", sa.Text(), nullable=True),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_segments")),
    )
    op.create_index(op.f("ix_segments_call_id_sequence_no"), "segments", ["call_id", "sequence_no"], unique=False)
    op.create_table(
        "spending",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("scope", sa.String(length=12), nullable=False),
        sa.Column("daily_cap_milli_cents", sa.BigInteger(), nullable=True),
        sa.Column("monthly_cap_milli_cents", sa.BigInteger(), nullable=True),
        sa.Column("max_concurrent_calls", sa.Integer(), nullable=True),
        sa.Column("allowed_countries", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("open_calls", sa.Integer(), nullable=False),
        sa.Column("held_milli_cents", sa.BigInteger(), nullable=False),
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("day_milli_cents", sa.BigInteger(), nullable=False),
        sa.Column("month_milli_cents", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_spending")),
    )
    op.create_index(op.f("ix_spending_org_id"), "spending", ["org_id"], unique=False)
    op.create_table(
        "stripe_customers",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("stripe_customer_id", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stripe_customers")),
    )
    op.create_table(
        "stripe_events",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("object_id", sa.Text(), nullable=False),
        sa.Column("outcome", sa.String(length=12), nullable=False),
        sa.Column("said", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("arrived_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stripe_events")),
    )
    op.create_index(op.f("ix_stripe_events_object_id"), "stripe_events", ["object_id"], unique=False)
    op.create_table(
        "topup_reversals",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=True),
        sa.Column("topup_id", sa.String(length=36), nullable=True),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("phase", sa.String(length=8), nullable=False),
        sa.Column("stripe_payment_intent_id", sa.Text(), nullable=False),
        sa.Column("amount_cents", sa.BigInteger(), nullable=False),
        sa.Column("taken_milli_cents", sa.BigInteger(), nullable=False),
        sa.Column("returned_milli_cents", sa.BigInteger(), nullable=False),
        sa.Column("takes", sa.Integer(), nullable=False),
        sa.Column("is_closed", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_topup_reversals")),
    )
    op.create_index(
        "ix_topup_reversals_open_disputes",
        "topup_reversals",
        ["id"],
        unique=False,
        postgresql_where=sa.text("kind = 'dispute' AND NOT is_closed"),
        sqlite_where=sa.text("kind = 'dispute' AND NOT is_closed"),
    )
    op.create_index(
        op.f("ix_topup_reversals_stripe_payment_intent_id"),
        "topup_reversals",
        ["stripe_payment_intent_id"],
        unique=False,
    )
    op.create_index(
        "ix_topup_reversals_unmatched",
        "topup_reversals",
        ["id"],
        unique=False,
        postgresql_where=sa.text("topup_id IS NULL"),
        sqlite_where=sa.text("topup_id IS NULL"),
    )
    op.create_table(
        "topups",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=True),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("status", sa.String(length=12), nullable=False),
        sa.Column("amount_cents", sa.BigInteger(), nullable=False),
        sa.Column("credit_milli_cents", sa.BigInteger(), nullable=False),
        sa.Column("livemode", sa.Boolean(), nullable=False),
        sa.Column("saves_card", sa.Boolean(), nullable=False),
        sa.Column("stripe_session_id", sa.Text(), nullable=True),
        sa.Column("stripe_payment_intent_id", sa.Text(), nullable=True),
        sa.Column("stripe_customer_id", sa.Text(), nullable=True),
        sa.Column("stripe_payment_method_id", sa.Text(), nullable=True),
        sa.Column("paid_cents", sa.BigInteger(), nullable=True),
        sa.Column("refunded_milli_cents", sa.BigInteger(), nullable=False),
        sa.Column("disputed_milli_cents", sa.BigInteger(), nullable=False),
        sa.Column("review_reason", sa.String(length=24), nullable=True),
        sa.Column("receipt_url", sa.Text(), nullable=True),
        sa.Column("org_hour", sa.Text(), nullable=True),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("paid_at", sa.BigInteger(), nullable=True),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_topups")),
        sa.UniqueConstraint("stripe_session_id", name=op.f("uq_topups_stripe_session_id")),
    )
    op.create_index(op.f("ix_topups_org_hour"), "topups", ["org_hour"], unique=False)
    op.create_index(op.f("ix_topups_org_id_id"), "topups", ["org_id", "id"], unique=False)
    op.create_index(op.f("ix_topups_stripe_payment_intent_id"), "topups", ["stripe_payment_intent_id"], unique=False)
    op.create_index(
        "ix_topups_unfinished",
        "topups",
        ["status", "id"],
        unique=False,
        postgresql_where=sa.text("status IN ('pending', 'processing', 'review')"),
        sqlite_where=sa.text("status IN ('pending', 'processing', 'review')"),
    )
    op.create_table(
        "transfers",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=24), nullable=False),
        sa.Column("debit_account", sa.String(length=48), nullable=False),
        sa.Column("credit_account", sa.String(length=48), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("balance_delta", sa.BigInteger(), nullable=False),
        sa.Column("held_delta", sa.BigInteger(), nullable=False),
        sa.Column("balance_after", sa.BigInteger(), nullable=False),
        sa.Column("held_after", sa.BigInteger(), nullable=False),
        sa.Column("source_key", sa.Text(), nullable=False),
        sa.Column("pending_id", sa.String(length=36), nullable=True),
        sa.Column("call_id", sa.String(length=36), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("kind <> 'hold' or balance_after >= held_after", name=op.f("ck_transfers_hold_is_covered")),
        sa.CheckConstraint("amount >= 0", name=op.f("ck_transfers_amount_not_negative")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_transfers")),
        sa.UniqueConstraint("pending_id", name=op.f("uq_transfers_pending_id")),
        sa.UniqueConstraint("source_key", name=op.f("uq_transfers_source_key")),
    )
    op.create_index(op.f("ix_transfers_call_id"), "transfers", ["call_id"], unique=False)
    op.create_index(op.f("ix_transfers_org_id_sequence"), "transfers", ["org_id", "sequence"], unique=True)
    op.create_table(
        "turns",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("call_id", sa.String(length=36), nullable=False),
        sa.Column("sequence_no", sa.Integer(), nullable=False),
        sa.Column("total_ms", sa.Integer(), nullable=False),
        sa.Column("model_ms", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_turns")),
    )
    op.create_index(op.f("ix_turns_call_id"), "turns", ["call_id"], unique=False)
    op.create_table(
        "usage_days",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("day_at", sa.BigInteger(), nullable=False),
        sa.Column("calls", sa.Integer(), nullable=False),
        sa.Column("billed_calls", sa.Integer(), nullable=False),
        sa.Column("connected_seconds", sa.BigInteger(), nullable=False),
        sa.Column("unbilled_seconds", sa.BigInteger(), nullable=False),
        sa.Column("charged_milli_cents", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_usage_days")),
    )
    op.create_index(op.f("ix_usage_days_org_id_day_at"), "usage_days", ["org_id", "day_at"], unique=False)
    op.create_table(
        "usage_quarter_hours",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("quarter_at", sa.BigInteger(), nullable=False),
        sa.Column("calls", sa.Integer(), nullable=False),
        sa.Column("billed_calls", sa.Integer(), nullable=False),
        sa.Column("connected_seconds", sa.BigInteger(), nullable=False),
        sa.Column("unbilled_seconds", sa.BigInteger(), nullable=False),
        sa.Column("charged_milli_cents", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_usage_quarter_hours")),
    )
    op.create_index(
        op.f("ix_usage_quarter_hours_org_id_quarter_at"), "usage_quarter_hours", ["org_id", "quarter_at"], unique=False
    )
    op.create_table(
        "verified_numbers",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("e164", sa.String(length=16), nullable=False),
        sa.Column("code_hash", sa.String(length=64), nullable=False),
        sa.Column("code_expires_at", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("told_day", sa.Integer(), nullable=False),
        sa.Column("told_count", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("verified_at", sa.BigInteger(), nullable=True),
        sa.Column("removed_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_verified_numbers")),
    )
    op.create_index(op.f("ix_verified_numbers_org_id"), "verified_numbers", ["org_id"], unique=False)
    op.create_table(
        "webhook_attempts",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("delivery_id", sa.String(length=36), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.Column("sent_at", sa.BigInteger(), nullable=False),
        sa.Column("duration_ms", sa.Integer(), nullable=False),
        sa.Column("response_status", sa.Integer(), nullable=True),
        sa.Column("response_body", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_attempts")),
    )
    op.create_index(op.f("ix_webhook_attempts_delivery_id_id"), "webhook_attempts", ["delivery_id", "id"], unique=False)
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("event_id", sa.String(length=36), nullable=False),
        sa.Column("endpoint_id", sa.String(length=36), nullable=True),
        sa.Column("call_id", sa.String(length=36), nullable=True),
        sa.Column("event_type", sa.String(length=24), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("status", sa.String(length=12), nullable=False),
        sa.Column("attempt_count", sa.Integer(), nullable=False),
        sa.Column("manual_retry_count", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", sa.BigInteger(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("last_response_status", sa.Integer(), nullable=True),
        sa.Column("delivered_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_deliveries")),
    )
    op.create_index(op.f("ix_webhook_deliveries_call_id_id"), "webhook_deliveries", ["call_id", "id"], unique=False)
    op.create_index(
        op.f("ix_webhook_deliveries_endpoint_id_id"), "webhook_deliveries", ["endpoint_id", "id"], unique=False
    )
    op.create_index(
        "ix_webhook_deliveries_next_attempt_at",
        "webhook_deliveries",
        ["next_attempt_at"],
        unique=False,
        postgresql_where=sa.text("next_attempt_at IS NOT NULL"),
        sqlite_where=sa.text("next_attempt_at IS NOT NULL"),
    )
    op.create_index(op.f("ix_webhook_deliveries_org_id_id"), "webhook_deliveries", ["org_id", "id"], unique=False)
    op.create_table(
        "webhook_secrets",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("signing_secret", sa.String(length=64), nullable=False),
        sa.Column("is_shown", sa.Boolean(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_secrets")),
    )
    op.create_table(
        "agents",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("user_id", sa.String(length=36), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("type", sa.String(length=8), nullable=False),
        sa.Column("persona", sa.Text(), nullable=True),
        sa.Column("instructions", sa.Text(), nullable=True),
        sa.Column("first_message", sa.Text(), nullable=True),
        sa.Column("voice", sa.Text(), nullable=True),
        sa.Column("language", sa.Text(), nullable=False),
        sa.Column("returns", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("tools", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("voicemail_action", sa.String(length=16), nullable=False),
        sa.Column("voicemail_message", sa.Text(), nullable=True),
        sa.Column("webhook_url", sa.Text(), nullable=True),
        sa.Column("max_duration_seconds", sa.Integer(), nullable=True),
        sa.Column("silence_timeout_seconds", sa.Integer(), nullable=True),
        sa.Column("transfer_number", sa.String(length=16), nullable=True),
        sa.Column("primary_number_id", sa.String(length=36), nullable=True),
        sa.Column("archived_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["org_id"], ["organisations.id"], name=op.f("fk_agents_org_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_agents")),
    )
    op.create_index(op.f("ix_agents_org_id_id"), "agents", ["org_id", "id"], unique=False)
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("user_id", sa.String(length=36), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("prefix", sa.String(length=16), nullable=False),
        sa.Column("key_hash", sa.String(length=64), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["org_id"], ["organisations.id"], name=op.f("fk_api_keys_org_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("key_hash", name=op.f("uq_api_keys_key_hash")),
    )
    op.create_index(op.f("ix_api_keys_org_id_id"), "api_keys", ["org_id", "id"], unique=False)
    op.create_table(
        "invitations",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("invited_by", sa.String(length=36), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["org_id"], ["organisations.id"], name=op.f("fk_invitations_org_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invitations")),
    )
    op.create_index(op.f("ix_invitations_org_id"), "invitations", ["org_id"], unique=False)
    op.create_table(
        "numbers",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("e164", sa.String(length=16), nullable=False),
        sa.Column("friendly_name", sa.Text(), nullable=True),
        sa.Column("country_code", sa.String(length=2), nullable=False),
        sa.Column("number_type", sa.String(length=12), nullable=False),
        sa.Column("status", sa.String(length=12), nullable=False),
        sa.Column("monthly_cost_cents", sa.Integer(), nullable=False),
        sa.Column("twilio_number_sid", sa.String(length=64), nullable=True),
        sa.Column("purchased_at", sa.BigInteger(), nullable=False),
        sa.Column("api_key_id", sa.String(length=36), nullable=True),
        sa.Column("paid_until", sa.BigInteger(), nullable=True),
        sa.Column("unpaid_since", sa.BigInteger(), nullable=True),
        sa.Column("released_at", sa.BigInteger(), nullable=True),
        sa.Column("due_at", sa.BigInteger(), nullable=True),
        sa.Column("inbound_agent_id", sa.String(length=36), nullable=True),
        sa.Column("inbound_enabled", sa.Boolean(), nullable=False),
        sa.Column("inbound_prompt", sa.Text(), nullable=True),
        sa.Column("inbound_returns", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("inbound_webhook_url", sa.Text(), nullable=True),
        sa.Column("inbound_language", sa.Text(), nullable=True),
        sa.Column("inbound_tools", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("inbound_voicemail_action", sa.String(length=16), nullable=True),
        sa.Column("fallback_number", sa.String(length=16), nullable=True),
        sa.Column("fallback_day", sa.Integer(), nullable=False),
        sa.Column("fallback_count", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["org_id"], ["organisations.id"], name=op.f("fk_numbers_org_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_numbers")),
    )
    op.create_index(
        "ix_numbers_due_at",
        "numbers",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("due_at IS NOT NULL"),
        sqlite_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_index(op.f("ix_numbers_inbound_agent_id"), "numbers", ["inbound_agent_id"], unique=False)
    op.create_index(op.f("ix_numbers_org_id_id"), "numbers", ["org_id", "id"], unique=False)
    op.create_index(
        "uq_numbers_held",
        "numbers",
        ["e164"],
        unique=True,
        postgresql_where=sa.text("status IN ('pending', 'active')"),
        sqlite_where=sa.text("status IN ('pending', 'active')"),
    )
    op.create_table(
        "sessions",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("user_id", sa.String(length=36), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["org_id"], ["organisations.id"], name=op.f("fk_sessions_org_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sessions")),
    )
    op.create_index(op.f("ix_sessions_expires_at"), "sessions", ["expires_at"], unique=False)
    op.create_index(op.f("ix_sessions_user_id"), "sessions", ["user_id"], unique=False)
    op.create_table(
        "users",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("verified_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["org_id"], ["organisations.id"], name=op.f("fk_users_org_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("email", name=op.f("uq_users_email")),
    )
    op.create_index(op.f("ix_users_org_id"), "users", ["org_id"], unique=False)
    op.create_table(
        "wallets",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("balance", sa.BigInteger(), nullable=False),
        sa.Column("held", sa.BigInteger(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("held >= 0", name=op.f("ck_wallets_held_not_negative")),
        sa.ForeignKeyConstraint(["id"], ["organisations.id"], name=op.f("fk_wallets_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_wallets")),
    )
    op.create_table(
        "webhook_endpoints",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("listed_org_id", sa.String(length=36), nullable=True),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("enabled_events", sa.JSON(), nullable=False),
        sa.Column("status", sa.String(length=8), nullable=False),
        sa.Column("disabled_reason", sa.String(length=24), nullable=True),
        sa.Column("disabled_at", sa.BigInteger(), nullable=True),
        sa.Column("consecutive_failures", sa.Integer(), nullable=False),
        sa.Column("signing_secret", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["org_id"], ["organisations.id"], name=op.f("fk_webhook_endpoints_org_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_endpoints")),
    )
    op.create_index(op.f("ix_webhook_endpoints_listed_org_id"), "webhook_endpoints", ["listed_org_id"], unique=False)
    op.create_index(
        "ix_calls_final_by_agent",
        "calls",
        [
            "org_id",
            "agent_id",
            sa.literal_column(
                "(CASE WHEN status = 'no_answer' AND verdict = 'machine' THEN 'voicemail' ELSE status END)"
            ),
            "direction",
            "id",
        ],
        unique=False,
        postgresql_where=sa.text(
            "status NOT IN ('queued', 'initiated', 'ringing', 'in_progress') AND agent_id IS NOT NULL"
        ),
        sqlite_where=sa.text(
            "status NOT IN ('queued', 'initiated', 'ringing', 'in_progress') AND agent_id IS NOT NULL"
        ),
    )
    op.create_index(
        "ix_calls_final_by_state",
        "calls",
        [
            "org_id",
            sa.literal_column(
                "(CASE WHEN status = 'no_answer' AND verdict = 'machine' THEN 'voicemail' ELSE status END)"
            ),
            "direction",
            "id",
        ],
        unique=False,
        postgresql_where=sa.text("status NOT IN ('queued', 'initiated', 'ringing', 'in_progress')"),
        sqlite_where=sa.text("status NOT IN ('queued', 'initiated', 'ringing', 'in_progress')"),
    )
    op.create_index(
        "ix_transfers_credit_changes",
        "transfers",
        ["org_id", sa.literal_column("(kind NOT IN ('hold', 'release'))"), "sequence"],
        unique=False,
        postgresql_where=sa.text("kind NOT IN ('hold', 'release')"),
        sqlite_where=sa.text("kind NOT IN ('hold', 'release')"),
    )
    for statement in APPEND_ONLY[op.get_bind().dialect.name]:
        op.execute(statement)


def downgrade() -> None:
    op.drop_index(op.f("ix_webhook_endpoints_listed_org_id"), table_name="webhook_endpoints")
    op.drop_table("webhook_endpoints")
    op.drop_table("wallets")
    op.drop_index(op.f("ix_users_org_id"), table_name="users")
    op.drop_table("users")
    op.drop_index(op.f("ix_sessions_user_id"), table_name="sessions")
    op.drop_index(op.f("ix_sessions_expires_at"), table_name="sessions")
    op.drop_table("sessions")
    op.drop_index(
        "uq_numbers_held",
        table_name="numbers",
        postgresql_where=sa.text("status IN ('pending', 'active')"),
        sqlite_where=sa.text("status IN ('pending', 'active')"),
    )
    op.drop_index(op.f("ix_numbers_org_id_id"), table_name="numbers")
    op.drop_index(op.f("ix_numbers_inbound_agent_id"), table_name="numbers")
    op.drop_index(
        "ix_numbers_due_at",
        table_name="numbers",
        postgresql_where=sa.text("due_at IS NOT NULL"),
        sqlite_where=sa.text("due_at IS NOT NULL"),
    )
    op.drop_table("numbers")
    op.drop_index(op.f("ix_invitations_org_id"), table_name="invitations")
    op.drop_table("invitations")
    op.drop_index(op.f("ix_api_keys_org_id_id"), table_name="api_keys")
    op.drop_table("api_keys")
    op.drop_index(op.f("ix_agents_org_id_id"), table_name="agents")
    op.drop_table("agents")
    op.drop_table("webhook_secrets")
    op.drop_index(op.f("ix_webhook_deliveries_org_id_id"), table_name="webhook_deliveries")
    op.drop_index(
        "ix_webhook_deliveries_next_attempt_at",
        table_name="webhook_deliveries",
        postgresql_where=sa.text("next_attempt_at IS NOT NULL"),
        sqlite_where=sa.text("next_attempt_at IS NOT NULL"),
    )
    op.drop_index(op.f("ix_webhook_deliveries_endpoint_id_id"), table_name="webhook_deliveries")
    op.drop_index(op.f("ix_webhook_deliveries_call_id_id"), table_name="webhook_deliveries")
    op.drop_table("webhook_deliveries")
    op.drop_index(op.f("ix_webhook_attempts_delivery_id_id"), table_name="webhook_attempts")
    op.drop_table("webhook_attempts")
    op.drop_index(op.f("ix_verified_numbers_org_id"), table_name="verified_numbers")
    op.drop_table("verified_numbers")
    op.drop_index(op.f("ix_usage_quarter_hours_org_id_quarter_at"), table_name="usage_quarter_hours")
    op.drop_table("usage_quarter_hours")
    op.drop_index(op.f("ix_usage_days_org_id_day_at"), table_name="usage_days")
    op.drop_table("usage_days")
    op.drop_index(op.f("ix_turns_call_id"), table_name="turns")
    op.drop_table("turns")
    op.drop_index(op.f("ix_transfers_org_id_sequence"), table_name="transfers")
    op.drop_index(op.f("ix_transfers_call_id"), table_name="transfers")
    op.drop_table("transfers")
    op.drop_index(
        "ix_topups_unfinished",
        table_name="topups",
        postgresql_where=sa.text("status IN ('pending', 'processing', 'review')"),
        sqlite_where=sa.text("status IN ('pending', 'processing', 'review')"),
    )
    op.drop_index(op.f("ix_topups_stripe_payment_intent_id"), table_name="topups")
    op.drop_index(op.f("ix_topups_org_id_id"), table_name="topups")
    op.drop_index(op.f("ix_topups_org_hour"), table_name="topups")
    op.drop_table("topups")
    op.drop_index(
        "ix_topup_reversals_unmatched",
        table_name="topup_reversals",
        postgresql_where=sa.text("topup_id IS NULL"),
        sqlite_where=sa.text("topup_id IS NULL"),
    )
    op.drop_index(op.f("ix_topup_reversals_stripe_payment_intent_id"), table_name="topup_reversals")
    op.drop_index(
        "ix_topup_reversals_open_disputes",
        table_name="topup_reversals",
        postgresql_where=sa.text("kind = 'dispute' AND NOT is_closed"),
        sqlite_where=sa.text("kind = 'dispute' AND NOT is_closed"),
    )
    op.drop_table("topup_reversals")
    op.drop_index(op.f("ix_stripe_events_object_id"), table_name="stripe_events")
    op.drop_table("stripe_events")
    op.drop_table("stripe_customers")
    op.drop_index(op.f("ix_spending_org_id"), table_name="spending")
    op.drop_table("spending")
    op.drop_index(op.f("ix_segments_call_id_sequence_no"), table_name="segments")
    op.drop_table("segments")
    op.drop_index(op.f("ix_relay_tickets_call_id"), table_name="relay_tickets")
    op.drop_table("relay_tickets")
    op.drop_table("organisations")
    op.drop_index(op.f("ix_operator_actions_org_id"), table_name="operator_actions")
    op.drop_table("operator_actions")
    op.drop_index(
        "ix_mails_due_at",
        table_name="mails",
        postgresql_where=sa.text("due_at IS NOT NULL"),
        sqlite_where=sa.text("due_at IS NOT NULL"),
    )
    op.drop_table("mails")
    op.drop_index(op.f("ix_idempotency_keys_created_at"), table_name="idempotency_keys")
    op.drop_table("idempotency_keys")
    op.drop_table("free_credit_identities")
    op.drop_index(op.f("ix_evidence_call_id_id"), table_name="evidence")
    op.drop_table("evidence")
    op.drop_index(
        "ix_events_due_at",
        table_name="events",
        postgresql_where=sa.text("due_at IS NOT NULL"),
        sqlite_where=sa.text("due_at IS NOT NULL"),
    )
    op.drop_table("events")
    op.drop_index(op.f("ix_do_not_call_org_id"), table_name="do_not_call")
    op.drop_table("do_not_call")
    op.drop_index(
        "ix_calls_unresolved_pair",
        table_name="calls",
        postgresql_where=sa.text("unresolved_pair IS NOT NULL"),
        sqlite_where=sa.text("unresolved_pair IS NOT NULL"),
    )
    op.drop_index(op.f("ix_calls_org_id_id"), table_name="calls")
    op.drop_index(
        "ix_calls_live",
        table_name="calls",
        postgresql_where=sa.text("status IN ('queued', 'initiated', 'ringing', 'in_progress')"),
        sqlite_where=sa.text("status IN ('queued', 'initiated', 'ringing', 'in_progress')"),
    )
    op.drop_index(
        "ix_calls_due_at",
        table_name="calls",
        postgresql_where=sa.text("due_at IS NOT NULL"),
        sqlite_where=sa.text("due_at IS NOT NULL"),
    )
    op.drop_index(
        "ix_calls_ask_at",
        table_name="calls",
        postgresql_where=sa.text("ask_at IS NOT NULL"),
        sqlite_where=sa.text("ask_at IS NOT NULL"),
    )
    op.drop_table("calls")
    op.drop_table("callers")
    op.drop_index(op.f("ix_blocked_callers_org_id"), table_name="blocked_callers")
    op.drop_table("blocked_callers")
    op.drop_index(op.f("ix_batches_org_id_id"), table_name="batches")
    op.drop_index(
        "ix_batches_look_at",
        table_name="batches",
        postgresql_where=sa.text("look_at IS NOT NULL"),
        sqlite_where=sa.text("look_at IS NOT NULL"),
    )
    op.drop_table("batches")
    op.drop_index(
        "ix_batch_calls_live_of",
        table_name="batch_calls",
        postgresql_where=sa.text("live_of IS NOT NULL"),
        sqlite_where=sa.text("live_of IS NOT NULL"),
    )
    op.drop_index(op.f("ix_batch_calls_batch_id_state_zones_due_at_id"), table_name="batch_calls")
    op.drop_table("batch_calls")
    op.drop_index(
        "ix_auto_recharges_on",
        table_name="auto_recharges",
        postgresql_where=sa.text("is_enabled AND paused_reason IS NULL"),
        sqlite_where=sa.text("is_enabled AND paused_reason IS NULL"),
    )
    op.drop_index(
        "ix_auto_recharges_link_due",
        table_name="auto_recharges",
        postgresql_where=sa.text("link_due_at IS NOT NULL"),
        sqlite_where=sa.text("link_due_at IS NOT NULL"),
    )
    op.drop_table("auto_recharges")
    op.drop_index(op.f("ix_agent_numbers_org_id"), table_name="agent_numbers")
    op.drop_index(op.f("ix_agent_numbers_number_id"), table_name="agent_numbers")
    op.drop_index(op.f("ix_agent_numbers_agent_id"), table_name="agent_numbers")
    op.drop_table("agent_numbers")
