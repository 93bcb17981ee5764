-- Made from the migrations with this digest, by `make schema`: fa72dbf5f528732c16f653adcae8862eebd4aefd12fd334686199ad2406485c6
CREATE TABLE agent_numbers (
	id TEXT NOT NULL, 
	org_id VARCHAR(36) NOT NULL, 
	agent_id VARCHAR(36) NOT NULL, 
	number_id VARCHAR(36) NOT NULL, 
	created_at BIGINT NOT NULL, 
	removed_at BIGINT, 
	CONSTRAINT pk_agent_numbers PRIMARY KEY (id)
);
CREATE TABLE agents (
	id VARCHAR(36) NOT NULL, 
	org_id VARCHAR(36) NOT NULL, 
	user_id VARCHAR(36), 
	name TEXT NOT NULL, 
	type VARCHAR(8) NOT NULL, 
	persona TEXT, 
	instructions TEXT, 
	first_message TEXT, 
	voice TEXT, 
	language TEXT NOT NULL, 
	returns JSON NOT NULL, 
	tools JSON NOT NULL, 
	voicemail_action VARCHAR(16) NOT NULL, 
	voicemail_message TEXT, 
	webhook_url TEXT, 
	max_duration_seconds INTEGER, 
	silence_timeout_seconds INTEGER, 
	transfer_number VARCHAR(16), 
	primary_number_id VARCHAR(36), 
	archived_at BIGINT, 
	created_at BIGINT NOT NULL, 
	updated_at BIGINT NOT NULL, longest_wait_seconds INTEGER, 
	CONSTRAINT pk_agents PRIMARY KEY (id), 
	CONSTRAINT fk_agents_org_id FOREIGN KEY(org_id) REFERENCES organisations (id)
);
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0003');
CREATE TABLE api_keys (
	id VARCHAR(36) NOT NULL, 
	org_id VARCHAR(36) NOT NULL, 
	user_id VARCHAR(36), 
	name TEXT NOT NULL, 
	prefix VARCHAR(16) NOT NULL, 
	key_hash VARCHAR(64) NOT NULL, 
	expires_at BIGINT, 
	revoked_at BIGINT, 
	created_at BIGINT NOT NULL, 
	CONSTRAINT pk_api_keys PRIMARY KEY (id), 
	CONSTRAINT fk_api_keys_org_id FOREIGN KEY(org_id) REFERENCES organisations (id), 
	CONSTRAINT uq_api_keys_key_hash UNIQUE (key_hash)
);
CREATE TABLE auto_recharges (
	id VARCHAR(36) NOT NULL, 
	is_enabled BOOLEAN NOT NULL, 
	threshold_milli_cents BIGINT NOT NULL, 
	recharge_to_milli_cents BIGINT NOT NULL, 
	monthly_cap_milli_cents BIGINT NOT NULL, 
	consented_at BIGINT, 
	consented_by VARCHAR(36), 
	consent_text TEXT, 
	stripe_payment_method_id TEXT, 
	paused_reason VARCHAR(24), 
	declines INTEGER NOT NULL, 
	claimed_at BIGINT, 
	retry_at BIGINT, 
	pending_topup_id VARCHAR(36), 
	month VARCHAR(7), 
	month_milli_cents BIGINT NOT NULL, 
	link_due_at BIGINT, 
	link_amount_cents BIGINT, 
	updated_at BIGINT NOT NULL, 
	CONSTRAINT pk_auto_recharges PRIMARY KEY (id)
);
CREATE TABLE batch_calls (
	id TEXT NOT NULL, 
	org_id VARCHAR(36) NOT NULL, 
	batch_id VARCHAR(36) NOT NULL, 
	live_of VARCHAR(36), 
	line INTEGER NOT NULL, 
	to_number VARCHAR(16) NOT NULL, 
	context JSON NOT NULL, 
	zones TEXT NOT NULL, 
	state VARCHAR(8) NOT NULL, 
	due_at BIGINT NOT NULL, 
	claims INTEGER NOT NULL, 
	claimed_at BIGINT, 
	attempts INTEGER NOT NULL, 
	call_id VARCHAR(36), 
	outcome VARCHAR(12), 
	code TEXT, 
	message TEXT, 
	updated_at BIGINT NOT NULL, 
	CONSTRAINT pk_batch_calls PRIMARY KEY (id)
);
CREATE TABLE batches (
	id VARCHAR(36) NOT NULL, 
	org_id VARCHAR(36) NOT NULL, 
	idempotency_id TEXT, 
	body_digest VARCHAR(64) NOT NULL, 
	name TEXT NOT NULL, 
	api_key_id VARCHAR(36), 
	agent_id VARCHAR(36), 
	from_number VARCHAR(16), 
	max_duration_seconds INTEGER, 
	snapshot JSON NOT NULL, 
	window_days VARCHAR(7), 
	window_start_minute INTEGER, 
	window_end_minute INTEGER, 
	window_timezone VARCHAR(64), 
	max_concurrent INTEGER NOT NULL, 
	calls_per_second INTEGER NOT NULL, 
	retry_outcomes TEXT NOT NULL, 
	retry_attempts INTEGER NOT NULL, 
	retry_wait_seconds INTEGER NOT NULL, 
	total INTEGER NOT NULL, 
	hold_milli_cents BIGINT NOT NULL, 
	state VARCHAR(20) NOT NULL, 
	paused_at BIGINT, 
	canceled_at BIGINT, 
	completed_at BIGINT, 
	held_up_code TEXT, 
	held_up_message TEXT, 
	next_dial_at BIGINT NOT NULL, 
	look_at BIGINT, 
	sequence INTEGER NOT NULL, 
	created_at BIGINT NOT NULL, 
	updated_at BIGINT NOT NULL, 
	CONSTRAINT pk_batches PRIMARY KEY (id), 
	CONSTRAINT uq_batches_idempotency_id UNIQUE (idempotency_id)
);
CREATE TABLE blocked_callers (
	id TEXT NOT NULL, 
	org_id VARCHAR(36) NOT NULL, 
	e164 VARCHAR(16) NOT NULL, 
	reason TEXT, 
	created_at BIGINT NOT NULL, 
	removed_at BIGINT, 
	CONSTRAINT pk_blocked_callers PRIMARY KEY (id)
);
CREATE TABLE callers (
	id TEXT NOT NULL, 
	hour INTEGER NOT NULL, 
	calls INTEGER NOT NULL, 
	CONSTRAINT pk_callers PRIMARY KEY (id)
);
CREATE TABLE calls (
	id VARCHAR(36) NOT NULL, 
	org_id VARCHAR(36) NOT NULL, 
	direction VARCHAR(8) NOT NULL, 
	to_number TEXT NOT NULL, 
	from_number TEXT NOT NULL, 
	status VARCHAR(12) NOT NULL, 
	dial_state VARCHAR(8) NOT NULL, 
	rate_milli_cents_per_minute BIGINT NOT NULL, 
	max_duration_seconds INTEGER NOT NULL, 
	hold_milli_cents BIGINT NOT NULL, 
	created_at BIGINT NOT NULL, 
	updated_at BIGINT NOT NULL, 
	amd_asked BOOLEAN NOT NULL, 
	hangs_up_on_machine BOOLEAN NOT NULL, 
	agent_id VARCHAR(36), 
	api_key_id VARCHAR(36), 
	twilio_call_sid VARCHAR(64), 
	unresolved_pair TEXT, 
	reservation_status VARCHAR(8), 
	dial_began_at BIGINT, 
	started_at BIGINT, 
	answered_at BIGINT, 
	connected_at BIGINT, 
	ended_at BIGINT, 
	heard_at BIGINT, 
	asked_at BIGINT, 
	final_stored_at BIGINT, 
	hang_up_at BIGINT, 
	hang_up_requested_at BIGINT, 
	hang_up_attempted_at BIGINT, 
	hang_up_attempts INTEGER NOT NULL, 
	due_at BIGINT, 
	ask_at BIGINT, 
	final_status VARCHAR(12), 
	carrier_duration_seconds INTEGER, 
	verdict VARCHAR(8), 
	detection_ms INTEGER, 
	verdict_overdue BOOLEAN NOT NULL, 
	platform_failed BOOLEAN NOT NULL, 
	duration_seconds INTEGER, 
	billed_duration_seconds INTEGER, 
	billing_amount_milli_cents BIGINT, 
	billing_reason VARCHAR(24), 
	error_code TEXT, 
	error_message TEXT, 
	hangup_cause TEXT, 
	notifies BOOLEAN NOT NULL, 
	awaits_result BOOLEAN NOT NULL, 
	prompt TEXT, 
	persona TEXT, 
	instructions TEXT, 
	first_message TEXT, 
	voice TEXT, 
	language TEXT, 
	context JSON, 
	returns JSON, 
	tools JSON, 
	metadata JSON, 
	webhook_url TEXT, 
	voicemail_action VARCHAR(16), 
	voicemail_message TEXT, 
	silence_timeout_seconds INTEGER, 
	transfer_number VARCHAR(16), 
	disclose_ai BOOLEAN, 
	result JSON, 
	result_status VARCHAR(12), 
	result_error TEXT, 
	webhook_status VARCHAR(12), 
	webhook_error TEXT, longest_wait_seconds INTEGER, 
	CONSTRAINT pk_calls PRIMARY KEY (id), 
	CONSTRAINT uq_calls_twilio_call_sid UNIQUE (twilio_call_sid)
);
CREATE TABLE do_not_call (
	id TEXT NOT NULL, 
	org_id VARCHAR(36) NOT NULL, 
	e164 VARCHAR(16) NOT NULL, 
	source VARCHAR(16) NOT NULL, 
	reason TEXT, 
	call_id VARCHAR(36), 
	user_id VARCHAR(36), 
	created_at BIGINT NOT NULL, 
	removed_at BIGINT, 
	CONSTRAINT pk_do_not_call PRIMARY KEY (id)
);
CREATE TABLE events (
	id VARCHAR(36) NOT NULL, 
	org_id VARCHAR(36) NOT NULL, 
	call_id VARCHAR(36), 
	type VARCHAR(24) NOT NULL, 
	state JSON NOT NULL, 
	body TEXT, 
	created_at BIGINT NOT NULL, 
	due_at BIGINT, 
	CONSTRAINT pk_events PRIMARY KEY (id)
);
CREATE TABLE evidence (
	id VARCHAR(36) NOT NULL, 
	org_id VARCHAR(36) NOT NULL, 
	call_id VARCHAR(36) NOT NULL, 
	source_key TEXT NOT NULL, 
	source VARCHAR(8) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	said JSON NOT NULL, 
	carrier_at BIGINT, 
	arrived_at BIGINT NOT NULL, 
	final_status VARCHAR(12), 
	duration_seconds INTEGER, 
	verdict VARCHAR(8), 
	detection_ms INTEGER, 
	verdict_overdue BOOLEAN NOT NULL, 
	platform_failed BOOLEAN NOT NULL, 
	CONSTRAINT pk_evidence PRIMARY KEY (id), 
	CONSTRAINT uq_evidence_source_key UNIQUE (source_key)
);
CREATE TABLE free_credit_identities (
	id VARCHAR(64) NOT NULL, 
	granted_at BIGINT NOT NULL, 
	CONSTRAINT pk_free_credit_identities PRIMARY KEY (id)
);
CREATE TABLE idempotency_keys (
	id TEXT NOT NULL, 
	call_id VARCHAR(36) NOT NULL, 
	body_digest VARCHAR(64) NOT NULL, 
	void BOOLEAN NOT NULL, 
	created_at BIGINT NOT NULL, 
	CONSTRAINT pk_idempotency_keys PRIMARY KEY (id)
);
CREATE TABLE invitations (
	id VARCHAR(36) NOT NULL, 
	org_id VARCHAR(36) NOT NULL, 
	email TEXT NOT NULL, 
	invited_by VARCHAR(36) NOT NULL, 
	created_at BIGINT NOT NULL, 
	expires_at BIGINT NOT NULL, 
	ended_at BIGINT, 
	CONSTRAINT pk_invitations PRIMARY KEY (id), 
	CONSTRAINT fk_invitations_org_id FOREIGN KEY(org_id) REFERENCES organisations (id)
);
CREATE TABLE mails (
	id VARCHAR(36) NOT NULL, 
	org_id VARCHAR(36), 
	kind VARCHAR(24) NOT NULL, 
	recipient TEXT NOT NULL, 
	facts JSON NOT NULL, 
	created_at BIGINT NOT NULL, 
	due_at BIGINT, 
	attempts INTEGER NOT NULL, 
	sent_at BIGINT, 
	CONSTRAINT pk_mails PRIMARY KEY (id)
);
CREATE TABLE numbers (
	id VARCHAR(36) NOT NULL, 
	org_id VARCHAR(36) NOT NULL, 
	e164 VARCHAR(16) NOT NULL, 
	friendly_name TEXT, 
	country_code VARCHAR(2) NOT NULL, 
	number_type VARCHAR(12) NOT NULL, 
	status VARCHAR(12) NOT NULL, 
	monthly_cost_cents INTEGER NOT NULL, 
	twilio_number_sid VARCHAR(64), 
	purchased_at BIGINT NOT NULL, 
	api_key_id VARCHAR(36), 
	paid_until BIGINT, 
	unpaid_since BIGINT, 
	released_at BIGINT, 
	due_at BIGINT, 
	inbound_agent_id VARCHAR(36), 
	inbound_enabled BOOLEAN NOT NULL, 
	inbound_prompt TEXT, 
	inbound_returns JSON, 
	inbound_webhook_url TEXT, 
	inbound_language TEXT, 
	inbound_tools JSON, 
	inbound_voicemail_action VARCHAR(16), 
	fallback_number VARCHAR(16), 
	fallback_day INTEGER NOT NULL, 
	fallback_count INTEGER NOT NULL, 
	CONSTRAINT pk_numbers PRIMARY KEY (id), 
	CONSTRAINT fk_numbers_org_id FOREIGN KEY(org_id) REFERENCES organisations (id)
);
CREATE TABLE operator_actions (
	id VARCHAR(36) NOT NULL, 
	operator TEXT NOT NULL, 
	action VARCHAR(32) NOT NULL, 
	org_id VARCHAR(36), 
	subject_id TEXT NOT NULL, 
	reason TEXT NOT NULL, 
	detail JSON NOT NULL, 
	created_at BIGINT NOT NULL, 
	CONSTRAINT pk_operator_actions PRIMARY KEY (id)
);
CREATE TABLE organisations (
	id VARCHAR(36) NOT NULL, 
	name TEXT NOT NULL, 
	timezone VARCHAR(64) NOT NULL, 
	max_call_duration_seconds INTEGER, 
	disclose_ai BOOLEAN NOT NULL, 
	suspended_at BIGINT, 
	alert_below_milli_cents BIGINT, 
	alert_mailed_at BIGINT, 
	webhook_endpoints INTEGER NOT NULL, 
	created_at BIGINT NOT NULL, 
	CONSTRAINT pk_organisations PRIMARY KEY (id)
);
CREATE TABLE relay_tickets (
	id VARCHAR(64) NOT NULL, 
	org_id VARCHAR(36) NOT NULL, 
	call_id VARCHAR(36) NOT NULL, 
	resumed VARCHAR(16), 
	created_at BIGINT NOT NULL, 
	used_at BIGINT, 
	ended_at BIGINT, 
	CONSTRAINT pk_relay_tickets PRIMARY KEY (id)
);
CREATE TABLE segments (
	id TEXT NOT NULL, 
	org_id VARCHAR(36) NOT NULL, 
	call_id VARCHAR(36) NOT NULL, 
	ticket_id VARCHAR(64), 
	sequence_no INTEGER NOT NULL, 
	role VARCHAR(8) NOT NULL, 
	text TEXT NOT NULL, 
	cut_text TEXT, 
	started_at BIGINT NOT NULL, 
	ended_at BIGINT, 
	source VARCHAR(16) NOT NULL, 
	CONSTRAINT pk_segments PRIMARY KEY (id)
);
CREATE TABLE sessions (
	id VARCHAR(64) NOT NULL, 
	org_id VARCHAR(36) NOT NULL, 
	user_id VARCHAR(36) NOT NULL, 
	created_at BIGINT NOT NULL, 
	expires_at BIGINT NOT NULL, 
	ended_at BIGINT, 
	CONSTRAINT pk_sessions PRIMARY KEY (id), 
	CONSTRAINT fk_sessions_org_id FOREIGN KEY(org_id) REFERENCES organisations (id)
);
CREATE TABLE spending (
	id VARCHAR(36) NOT NULL, 
	org_id VARCHAR(36) NOT NULL, 
	scope VARCHAR(12) NOT NULL, 
	daily_cap_milli_cents BIGINT, 
	monthly_cap_milli_cents BIGINT, 
	max_concurrent_calls INTEGER, 
	allowed_countries JSON, 
	open_calls INTEGER NOT NULL, 
	held_milli_cents BIGINT NOT NULL, 
	day VARCHAR(10) NOT NULL, 
	day_milli_cents BIGINT NOT NULL, 
	month_milli_cents BIGINT NOT NULL, 
	CONSTRAINT pk_spending PRIMARY KEY (id)
);
CREATE TABLE stripe_customers (
	id TEXT NOT NULL, 
	org_id VARCHAR(36) NOT NULL, 
	stripe_customer_id TEXT NOT NULL, 
	updated_at BIGINT NOT NULL, 
	CONSTRAINT pk_stripe_customers PRIMARY KEY (id)
);
CREATE TABLE stripe_events (
	id TEXT NOT NULL, 
	type TEXT NOT NULL, 
	object_id TEXT NOT NULL, 
	outcome VARCHAR(12) NOT NULL, 
	said JSON NOT NULL, 
	created_at BIGINT NOT NULL, 
	arrived_at BIGINT NOT NULL, 
	CONSTRAINT pk_stripe_events PRIMARY KEY (id)
);
CREATE TABLE topup_reversals (
	id TEXT NOT NULL, 
	org_id VARCHAR(36), 
	topup_id VARCHAR(36), 
	kind VARCHAR(8) NOT NULL, 
	phase VARCHAR(8) NOT NULL, 
	stripe_payment_intent_id TEXT NOT NULL, 
	amount_cents BIGINT NOT NULL, 
	taken_milli_cents BIGINT NOT NULL, 
	returned_milli_cents BIGINT NOT NULL, 
	takes INTEGER NOT NULL, 
	is_closed BOOLEAN NOT NULL, 
	created_at BIGINT NOT NULL, 
	updated_at BIGINT NOT NULL, 
	CONSTRAINT pk_topup_reversals PRIMARY KEY (id)
);
CREATE TABLE topups (
	id VARCHAR(36) NOT NULL, 
	org_id VARCHAR(36), 
	kind VARCHAR(8) NOT NULL, 
	status VARCHAR(12) NOT NULL, 
	amount_cents BIGINT NOT NULL, 
	credit_milli_cents BIGINT NOT NULL, 
	livemode BOOLEAN NOT NULL, 
	saves_card BOOLEAN NOT NULL, 
	stripe_session_id TEXT, 
	stripe_payment_intent_id TEXT, 
	stripe_customer_id TEXT, 
	stripe_payment_method_id TEXT, 
	paid_cents BIGINT, 
	refunded_milli_cents BIGINT NOT NULL, 
	disputed_milli_cents BIGINT NOT NULL, 
	review_reason VARCHAR(24), 
	receipt_url TEXT, 
	org_hour TEXT, 
	expires_at BIGINT NOT NULL, 
	created_at BIGINT NOT NULL, 
	paid_at BIGINT, 
	updated_at BIGINT NOT NULL, 
	CONSTRAINT pk_topups PRIMARY KEY (id), 
	CONSTRAINT uq_topups_stripe_session_id UNIQUE (stripe_session_id)
);
CREATE TABLE transfers (
	id VARCHAR(36) NOT NULL, 
	org_id VARCHAR(36) NOT NULL, 
	sequence BIGINT NOT NULL, 
	kind VARCHAR(24) NOT NULL, 
	debit_account VARCHAR(48) NOT NULL, 
	credit_account VARCHAR(48) NOT NULL, 
	amount BIGINT NOT NULL, 
	balance_delta BIGINT NOT NULL, 
	held_delta BIGINT NOT NULL, 
	balance_after BIGINT NOT NULL, 
	held_after BIGINT NOT NULL, 
	source_key TEXT NOT NULL, 
	pending_id VARCHAR(36), 
	call_id VARCHAR(36), 
	reason TEXT, 
	created_at BIGINT NOT NULL, 
	CONSTRAINT pk_transfers PRIMARY KEY (id), 
	CONSTRAINT ck_transfers_hold_is_covered CHECK (kind <> 'hold' or balance_after >= held_after), 
	CONSTRAINT ck_transfers_amount_not_negative CHECK (amount >= 0), 
	CONSTRAINT uq_transfers_pending_id UNIQUE (pending_id), 
	CONSTRAINT uq_transfers_source_key UNIQUE (source_key)
);
CREATE TABLE turns (
	id TEXT NOT NULL, 
	org_id VARCHAR(36) NOT NULL, 
	call_id VARCHAR(36) NOT NULL, 
	sequence_no INTEGER NOT NULL, 
	total_ms INTEGER NOT NULL, 
	model_ms INTEGER NOT NULL, 
	CONSTRAINT pk_turns PRIMARY KEY (id)
);
CREATE TABLE usage_days (
	id TEXT NOT NULL, 
	org_id VARCHAR(36) NOT NULL, 
	day_at BIGINT NOT NULL, 
	calls INTEGER NOT NULL, 
	billed_calls INTEGER NOT NULL, 
	connected_seconds BIGINT NOT NULL, 
	unbilled_seconds BIGINT NOT NULL, 
	charged_milli_cents BIGINT NOT NULL, 
	CONSTRAINT pk_usage_days PRIMARY KEY (id)
);
CREATE TABLE usage_quarter_hours (
	id TEXT NOT NULL, 
	org_id VARCHAR(36) NOT NULL, 
	quarter_at BIGINT NOT NULL, 
	calls INTEGER NOT NULL, 
	billed_calls INTEGER NOT NULL, 
	connected_seconds BIGINT NOT NULL, 
	unbilled_seconds BIGINT NOT NULL, 
	charged_milli_cents BIGINT NOT NULL, 
	CONSTRAINT pk_usage_quarter_hours PRIMARY KEY (id)
);
CREATE TABLE users (
	id VARCHAR(36) NOT NULL, 
	org_id VARCHAR(36) NOT NULL, 
	email TEXT NOT NULL, 
	password_hash TEXT NOT NULL, 
	verified_at BIGINT, 
	created_at BIGINT NOT NULL, 
	CONSTRAINT pk_users PRIMARY KEY (id), 
	CONSTRAINT fk_users_org_id FOREIGN KEY(org_id) REFERENCES organisations (id), 
	CONSTRAINT uq_users_email UNIQUE (email)
);
CREATE TABLE verified_numbers (
	id TEXT NOT NULL, 
	org_id VARCHAR(36) NOT NULL, 
	e164 VARCHAR(16) NOT NULL, 
	code_hash VARCHAR(64) NOT NULL, 
	code_expires_at BIGINT NOT NULL, 
	attempts INTEGER NOT NULL, 
	told_day INTEGER NOT NULL, 
	told_count INTEGER NOT NULL, 
	created_at BIGINT NOT NULL, 
	verified_at BIGINT, 
	removed_at BIGINT, 
	CONSTRAINT pk_verified_numbers PRIMARY KEY (id)
);
CREATE TABLE wallets (
	id VARCHAR(36) NOT NULL, 
	balance BIGINT NOT NULL, 
	held BIGINT NOT NULL, 
	sequence BIGINT NOT NULL, 
	CONSTRAINT pk_wallets PRIMARY KEY (id), 
	CONSTRAINT ck_wallets_held_not_negative CHECK (held >= 0), 
	CONSTRAINT fk_wallets_id FOREIGN KEY(id) REFERENCES organisations (id)
);
CREATE TABLE webhook_attempts (
	id VARCHAR(36) NOT NULL, 
	org_id VARCHAR(36) NOT NULL, 
	delivery_id VARCHAR(36) NOT NULL, 
	signature TEXT NOT NULL, 
	sent_at BIGINT NOT NULL, 
	duration_ms INTEGER NOT NULL, 
	response_status INTEGER, 
	response_body TEXT NOT NULL, 
	error TEXT, 
	CONSTRAINT pk_webhook_attempts PRIMARY KEY (id)
);
CREATE TABLE webhook_deliveries (
	id VARCHAR(36) NOT NULL, 
	org_id VARCHAR(36) NOT NULL, 
	event_id VARCHAR(36) NOT NULL, 
	endpoint_id VARCHAR(36), 
	call_id VARCHAR(36), 
	event_type VARCHAR(24) NOT NULL, 
	url TEXT NOT NULL, 
	destination TEXT NOT NULL, 
	status VARCHAR(12) NOT NULL, 
	attempt_count INTEGER NOT NULL, 
	manual_retry_count INTEGER NOT NULL, 
	next_attempt_at BIGINT, 
	last_error TEXT, 
	last_response_status INTEGER, 
	delivered_at BIGINT, 
	created_at BIGINT NOT NULL, 
	updated_at BIGINT NOT NULL, 
	CONSTRAINT pk_webhook_deliveries PRIMARY KEY (id)
);
CREATE TABLE webhook_endpoints (
	id VARCHAR(36) NOT NULL, 
	org_id VARCHAR(36) NOT NULL, 
	listed_org_id VARCHAR(36), 
	url TEXT NOT NULL, 
	description TEXT, 
	enabled_events JSON NOT NULL, 
	status VARCHAR(8) NOT NULL, 
	disabled_reason VARCHAR(24), 
	disabled_at BIGINT, 
	consecutive_failures INTEGER NOT NULL, 
	signing_secret VARCHAR(64) NOT NULL, 
	created_at BIGINT NOT NULL, 
	updated_at BIGINT NOT NULL, 
	CONSTRAINT pk_webhook_endpoints PRIMARY KEY (id), 
	CONSTRAINT fk_webhook_endpoints_org_id FOREIGN KEY(org_id) REFERENCES organisations (id)
);
CREATE TABLE webhook_secrets (
	id VARCHAR(36) NOT NULL, 
	signing_secret VARCHAR(64) NOT NULL, 
	is_shown BOOLEAN NOT NULL, 
	updated_at BIGINT NOT NULL, 
	CONSTRAINT pk_webhook_secrets PRIMARY KEY (id)
);
CREATE INDEX ix_agent_numbers_agent_id ON agent_numbers (agent_id);
CREATE INDEX ix_agent_numbers_number_id ON agent_numbers (number_id);
CREATE INDEX ix_agent_numbers_org_id ON agent_numbers (org_id);
CREATE INDEX ix_auto_recharges_link_due ON auto_recharges (id) WHERE link_due_at IS NOT NULL;
CREATE INDEX ix_auto_recharges_on ON auto_recharges (id) WHERE is_enabled AND paused_reason IS NULL;
CREATE INDEX ix_batch_calls_batch_id_state_zones_due_at_id ON batch_calls (batch_id, state, zones, due_at, id);
CREATE INDEX ix_batch_calls_live_of ON batch_calls (live_of) WHERE live_of IS NOT NULL;
CREATE INDEX ix_batches_look_at ON batches (look_at) WHERE look_at IS NOT NULL;
CREATE INDEX ix_batches_org_id_id ON batches (org_id, id);
CREATE INDEX ix_blocked_callers_org_id ON blocked_callers (org_id);
CREATE INDEX ix_calls_ask_at ON calls (ask_at) WHERE ask_at IS NOT NULL;
CREATE INDEX ix_calls_due_at ON calls (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX ix_calls_live ON calls (org_id, status) WHERE status IN ('queued', 'initiated', 'ringing', 'in_progress');
CREATE INDEX ix_calls_org_id_id ON calls (org_id, id);
CREATE INDEX ix_calls_unresolved_pair ON calls (unresolved_pair) WHERE unresolved_pair IS NOT NULL;
CREATE INDEX ix_do_not_call_org_id ON do_not_call (org_id);
CREATE INDEX ix_events_due_at ON events (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX ix_evidence_call_id_id ON evidence (call_id, id);
CREATE INDEX ix_idempotency_keys_created_at ON idempotency_keys (created_at);
CREATE INDEX ix_mails_due_at ON mails (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX ix_operator_actions_org_id ON operator_actions (org_id);
CREATE INDEX ix_relay_tickets_call_id ON relay_tickets (call_id);
CREATE INDEX ix_segments_call_id_sequence_no ON segments (call_id, sequence_no);
CREATE INDEX ix_spending_org_id ON spending (org_id);
CREATE INDEX ix_stripe_events_object_id ON stripe_events (object_id);
CREATE INDEX ix_topup_reversals_open_disputes ON topup_reversals (id) WHERE kind = 'dispute' AND NOT is_closed;
CREATE INDEX ix_topup_reversals_stripe_payment_intent_id ON topup_reversals (stripe_payment_intent_id);
CREATE INDEX ix_topup_reversals_unmatched ON topup_reversals (id) WHERE topup_id IS NULL;
CREATE INDEX ix_topups_org_hour ON topups (org_hour);
CREATE INDEX ix_topups_org_id_id ON topups (org_id, id);
CREATE INDEX ix_topups_stripe_payment_intent_id ON topups (stripe_payment_intent_id);
CREATE INDEX ix_topups_unfinished ON topups (status, id) WHERE status IN ('pending', 'processing', 'review');
CREATE INDEX ix_transfers_call_id ON transfers (call_id);
CREATE UNIQUE INDEX ix_transfers_org_id_sequence ON transfers (org_id, sequence);
CREATE INDEX ix_turns_call_id ON turns (call_id);
CREATE INDEX ix_usage_days_org_id_day_at ON usage_days (org_id, day_at);
CREATE INDEX ix_usage_quarter_hours_org_id_quarter_at ON usage_quarter_hours (org_id, quarter_at);
CREATE INDEX ix_verified_numbers_org_id ON verified_numbers (org_id);
CREATE INDEX ix_webhook_attempts_delivery_id_id ON webhook_attempts (delivery_id, id);
CREATE INDEX ix_webhook_deliveries_call_id_id ON webhook_deliveries (call_id, id);
CREATE INDEX ix_webhook_deliveries_endpoint_id_id ON webhook_deliveries (endpoint_id, id);
CREATE INDEX ix_webhook_deliveries_next_attempt_at ON webhook_deliveries (next_attempt_at) WHERE next_attempt_at IS NOT NULL;
CREATE INDEX ix_webhook_deliveries_org_id_id ON webhook_deliveries (org_id, id);
CREATE INDEX ix_agents_org_id_id ON agents (org_id, id);
CREATE INDEX ix_api_keys_org_id_id ON api_keys (org_id, id);
CREATE INDEX ix_invitations_org_id ON invitations (org_id);
CREATE INDEX ix_numbers_due_at ON numbers (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX ix_numbers_inbound_agent_id ON numbers (inbound_agent_id);
CREATE INDEX ix_numbers_org_id_id ON numbers (org_id, id);
CREATE UNIQUE INDEX uq_numbers_held ON numbers (e164) WHERE status IN ('pending', 'active');
CREATE INDEX ix_sessions_expires_at ON sessions (expires_at);
CREATE INDEX ix_sessions_user_id ON sessions (user_id);
CREATE INDEX ix_users_org_id ON users (org_id);
CREATE INDEX ix_webhook_endpoints_listed_org_id ON webhook_endpoints (listed_org_id);
CREATE INDEX ix_calls_final_by_agent ON calls (org_id, agent_id, (CASE WHEN status = 'no_answer' AND verdict = 'machine' THEN 'voicemail' ELSE status END), direction, id) WHERE status NOT IN ('queued', 'initiated', 'ringing', 'in_progress') AND agent_id IS NOT NULL;
CREATE INDEX ix_calls_final_by_state ON calls (org_id, (CASE WHEN status = 'no_answer' AND verdict = 'machine' THEN 'voicemail' ELSE status END), direction, id) WHERE status NOT IN ('queued', 'initiated', 'ringing', 'in_progress');
CREATE INDEX ix_transfers_credit_changes ON transfers (org_id, (kind NOT IN ('hold', 'release')), sequence) WHERE kind NOT IN ('hold', 'release');
CREATE TRIGGER transfers_refuse_update BEFORE UPDATE ON transfers
        BEGIN SELECT RAISE(ABORT, 'transfers are never changed or deleted'); END;
CREATE TRIGGER transfers_refuse_delete BEFORE DELETE ON transfers
        BEGIN SELECT RAISE(ABORT, 'transfers are never changed or deleted'); END;
CREATE INDEX ix_numbers_e164 ON numbers (e164);
