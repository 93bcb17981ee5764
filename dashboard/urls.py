"""Every address of the dashboard, in one place: templates link to them, routes answer at them.

The one invariant: whatever is put into an address is quoted.
"""

from urllib.parse import quote, urlencode

CALLS = "/calls"
BATCHES = "/batches"
NEW_BATCH = "/batches/new"
AGENTS = "/agents"
NEW_AGENT = "/agents/new"
NUMBERS = "/numbers"
BUY_NUMBER = "/numbers/buy"
VERIFIED_NUMBERS = "/numbers/verified"
DO_NOT_CALL = "/do-not-call"
BLOCKED_CALLERS = "/blocked-callers"
BILLING = "/billing"
ADD_CREDITS = "/billing/add-credits"
PAYMENT_RETURN = "/billing/return"
AUTO_RECHARGE = "/billing/auto-recharge"
LONGEST_CALL = "/billing/longest-call"
LIMITS = "/billing/limits"
ALERT = "/billing/alert"
USAGE_CSV = "/billing/usage.csv"
LEDGER_CSV = "/billing/transfers.csv"
API_KEYS = "/api-keys"
WEBHOOKS = "/webhooks"
ENDPOINTS = "/webhooks/endpoints"
REDELIVER_FAILED = "/webhooks/deliveries/redeliver"
ROTATE_DEFAULT_SECRET = "/webhooks/secret/rotate"  # noqa: S105  (an address)
SETTINGS = "/settings"
SETTINGS_SAVED = f"{SETTINGS}?saved=1"
MEMBERS = f"{SETTINGS}#members"
CLOSE_ACCOUNT = "/settings/close"
PASSWORD = "/settings/password"  # noqa: S105  (an address)
INVITATIONS = "/settings/invitations"
EVENTS = "/events"
DOCS = "/docs"

LOGIN = "/login"
LOGOUT = "/logout"
SIGN_UP = "/signup"
RESEND_VERIFICATION = "/verify/resend"
VERIFY = "/verify"
FORGOT = "/forgot"
RESET = "/reset"


def _under(base: str, *parts: str) -> str:
    return "/".join((base, *(quote(part, safe="") for part in parts)))


def _with(base: str, **query: str | None) -> str:
    kept = {key: value for key, value in query.items() if value}
    return f"{base}?{urlencode(kept)}" if kept else base


def calls(
    *,
    direction: str | None = None,
    state: str | None = None,
    agent_id: str | None = None,
    before: str | None = None,
    after: str | None = None,
) -> str:
    """The list of calls, filtered; `before` and `after` are cursors (older, newer)."""
    return _with(CALLS, direction=direction, state=state, agent=agent_id, before=before, after=after)


def call(call_id: str) -> str:
    """A call's page."""
    return _under(CALLS, call_id)


def hang_up(call_id: str) -> str:
    """Where a live call's hang-up is posted."""
    return _under(CALLS, call_id, "hangup")


def batches(*, before: str | None = None) -> str:
    """All batches; `before` is a cursor."""
    return _with(BATCHES, before=before)


def batch(batch_id: str, action: str | None = None, *, state: str | None = None, after: str | None = None) -> str:
    """A batch with its numbers, or one of its actions: pause, resume, cancel; `after` is a cursor."""
    return _with(_under(BATCHES, batch_id, *([action] if action else [])), state=state, after=after)


def agent(agent_id: str, *, saved: bool = False) -> str:
    """An agent's form; `saved`: with word that it was saved."""
    return _with(_under(AGENTS, agent_id), saved="1" if saved else None)


def try_agent(agent_id: str) -> str:
    """The WebSocket of the panel for typing with an agent."""
    return _under(AGENTS, agent_id, "try")


def archive_agent(agent_id: str) -> str:
    """Where an agent is archived."""
    return _under(AGENTS, agent_id, "archive")


def number(number_id: str, *, saved: bool = False, bought: bool = False) -> str:
    """A number's settings; `saved` and `bought`: with word that they, or it, were."""
    return _with(_under(NUMBERS, number_id), saved="1" if saved else None, bought="1" if bought else None)


def release_number(number_id: str) -> str:
    """Where a number is given back."""
    return _under(NUMBERS, number_id, "release")


def verified_number(e164: str, action: str) -> str:
    """Where a number to forward to is proven or forgotten: confirm, forget."""
    return _under(VERIFIED_NUMBERS, e164, action)


def api_key(key_id: str, *, saved: bool = False) -> str:
    """An API key and its limits; `saved`: with word that they were saved."""
    return _with(_under(API_KEYS, key_id), saved="1" if saved else None)


def revoke_key(key_id: str) -> str:
    """Where an API key is revoked."""
    return _under(API_KEYS, key_id, "revoke")


def webhooks(
    *, before: str | None = None, event: str | None = None, state: str | None = None, again: str | None = None
) -> str:
    """All endpoints and the latest deliveries, filtered, or older ones; `again`: with word that so many are sent again,
    with a + where there are more."""
    return _with(WEBHOOKS, event=event, state=state, before=before, again=again)


def endpoint(
    endpoint_id: str,
    action: str | None = None,
    *,
    before: str | None = None,
    event: str | None = None,
    state: str | None = None,
    saved: bool = False,
    again: str | None = None,
) -> str:
    """A webhook endpoint with its deliveries, or one of its actions: enable, disable, rotate, test, delete."""
    address = _under(ENDPOINTS, endpoint_id, *([action] if action else []))
    return _with(address, event=event, state=state, before=before, saved="1" if saved else None, again=again)


def delivery(delivery_id: str, action: str | None = None) -> str:
    """A delivery with its request and answer, or its action: redeliver."""
    return _under(WEBHOOKS, "deliveries", delivery_id, *([action] if action else []))


def listed(base: str, *, before: str | None = None) -> str:
    """One of the lists of numbers to leave alone (`base`); `before` is a number."""
    return _with(base, before=before)


def take_off(base: str, e164: str) -> str:
    """Where a number is taken off a list."""
    return _under(base, e164, "remove")


def remove_member(user_id: str) -> str:
    """Where a member is removed."""
    return _under("/settings/members", user_id, "remove")


def revoke_invitation(invitation_id: str) -> str:
    """Where an invitation is taken back."""
    return _under(INVITATIONS, invitation_id, "revoke")


def billing(
    *,
    period: str | None = None,
    entries: str | None = None,
    before: str | None = None,
    topups_before: str | None = None,
    payment: str | None = None,
    part: str = "",
    saved: bool = False,
) -> str:
    """Billing for a period ("7d", "30d", "90d" or "2026-11"), with a filter and page of the ledger, a page of the
    top-ups, and word of a payment: a top-up's id, or "left" for one that was not completed.

    `part` is the section to scroll to, `saved` whether its form has just been.
    """
    done = part if saved else None
    address = _with(
        BILLING, period=period, entries=entries, before=before, topups_before=topups_before, payment=payment, saved=done
    )
    return f"{address}#{part}" if part else address


def usage_csv(period: str) -> str:
    """The period's days as CSV."""
    return _with(USAGE_CSV, period=period)


def ledger_csv(entries: str | None) -> str:
    """The ledger's transfers as CSV, by the page's filter."""
    return _with(LEDGER_CSV, entries=entries)


def events(*topics: str, call_id: str | None = None) -> str:
    """The stream that tells which topics changed; `call_id` is the call that topics call and transcript are about."""
    return _with(EVENTS, topics=" ".join(topics), call=call_id)
