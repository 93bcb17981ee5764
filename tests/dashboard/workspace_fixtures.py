"""Agents, numbers, keys, webhooks and settings of the fixtures' organisation."""

import json
from dataclasses import replace

from billing.spending import Limits, Spent
from dashboard import calls_view, urls, wallet_view
from dashboard.agent_form import agent_form
from dashboard.limits_view import KeyPage, alert_of, spending_limits
from dashboard.views import Choice, Form, Paging
from dashboard.webhooks_view import (
    Attempt,
    DeliveryFilters,
    DeliveryPage,
    DeliveryRow,
    EndpointPage,
    EndpointRow,
    WebhooksPage,
    event_choices,
)
from dashboard.workspace_view import (
    BLOCKED_CALLERS,
    DO_NOT_CALL,
    AgentPage,
    AgentRow,
    ApiKeyRow,
    ApiKeysPage,
    Invitation,
    ListedRow,
    ListPage,
    Member,
    NumberPage,
    NumberRow,
    NumberSearch,
    NumbersPage,
    Offer,
    SettingsPage,
    VerifiedRow,
    closing_ends,
    phone_choice,
)
from tests.dashboard import fixtures as fx

OLD = fx.ms("10:00:00", "2026-08-03")
NONE = Form()

AGENTS = (
    AgentRow("a1", "Appointment reminder", "outbound", (fx.OURS,), "en-US", 3600, fx.ms("09:12:00")),
    AgentRow("a2", "Six-month recall", "outbound", (fx.OURS, "+14155550123"), "en-US", 600, OLD),
    AgentRow("a3", "Front desk", "inbound", (), "es-US", 1800, OLD),
)
_TOOLS = [{"type": "http", "name": "free_slots", "policy": "read", "url": "https://example.com/slots"}]
_FIELDS = {
    "name": "Appointment reminder",
    "first_message": "Hello, am I speaking with {{ patient }}?",
    "persona": "A calm receptionist who keeps sentences short.",
    "instructions": "Remind the patient of the visit. If they cannot come, offer another time.",
    "returns": {"confirmed": "boolean", "new_time": "string"},
    "tools": _TOOLS,
    "voicemail_action": "leave_message",
    "voicemail_message": "Hello, this is Larkspur Dental with a reminder of your visit.",
    "max_duration_seconds": 600,
    "silence_timeout_seconds": 8,
    "longest_wait_seconds": None,
    "transfer_number": "+14155550123",
    "webhook_url": None,
    "voice": None,
}
_LANGUAGES = (Choice("en-US", "English (US)", True), Choice("es-US", "Spanish (US), beta"))
_NUMBERS = (
    phone_choice("n1", fx.OURS, True),
    Choice("n2", "+1 415 555 0123", False, "Front desk answers it"),
)
AGENT = AgentPage(
    id="a1",
    name="Appointment reminder",
    kind="outbound",
    form=agent_form(_FIELDS),
    numbers=_NUMBERS,
    primary_numbers=_NUMBERS[:1],
    languages=_LANGUAGES,
)
NEW_AGENT = replace(AGENT, id="", name="", form=NONE, numbers=())
AGENT_WITH_ERRORS = replace(
    AGENT,
    kind="inbound",
    form=replace(
        agent_form(_FIELDS),
        errors={
            "tools": "This is not JSON: expected a property name at line 1, column 3.",
            "max_duration_minutes": "Enter 1 to 60.",
        },
        error="Nothing was saved: two fields need another look.",
    ),
)

NUMBERS = (
    NumberRow(
        "n1",
        fx.OURS,
        "Main line",
        "Local",
        "active",
        "Front desk",
        ("Appointment reminder",),
        100_000,
        fx.ms("09:00:00", "2026-12-14"),
    ),
    NumberRow("n2", "+14155550123", "", "Local", "past_due", "", (), 100_000, fx.ms("09:00:00", "2026-11-21")),
    NumberRow("n3", "+14155550124", "", "Local", "active", "", ("Six-month recall",), 0, None),
)
_COUNTRIES = (Choice("US", "United States", True), Choice("CA", "Canada"))
_KINDS = (Choice("local", "Local", True), Choice("toll_free", "Toll-free"))
_FOUND = NumberSearch(
    Form({"area_code": "415"}),
    _COUNTRIES,
    _KINDS,
    tuple(Offer(f"+1415555016{i}", "San Francisco, CA", "Local", 100_000) for i in range(4)),
)
_VERIFIED = (VerifiedRow("+14155550199", True, OLD), VerifiedRow("+14155550198", False, OLD))
NUMBERS_PAGE = NumbersPage(NUMBERS, _FOUND, _VERIFIED, Form({"e164": "+1"}, {"e164": "Write it as +14155550123."}))
NO_NUMBERS = NumbersPage(
    (), NumberSearch(Form({"area_code": "999"}, error="No."), _COUNTRIES, _KINDS, ()), (), Form(error="Wrong code.")
)
NUMBER = NumberPage(
    NUMBERS[0],
    Form({"friendly_name": "Main line"}),
    (Choice("", "Nobody"), Choice("a3", "Front desk", True)),
    (Choice("", "Nowhere: the caller hears a busy tone", True), phone_choice("v1", "+14155550199", False)),
)

_EXPIRIES = (
    Choice("", "Never", True),
    Choice("30", "In 30 days"),
    Choice("90", "In 90 days"),
    Choice("365", "In a year"),
)
KEYS = ApiKeysPage(
    (
        ApiKeyRow(
            "k1",
            "Booking server",
            "sk_live_7Qm2",
            "active",
            OLD,
            "dana@example.com",
            None,
            "$20.00 a day",
        ),
        ApiKeyRow("k2", "Laptop", "sk_live_x9Ab", "active", OLD, "", fx.ms("00:00:00", "2027-02-01")),
        ApiKeyRow("k3", "Old server", "sk_live_1c0d", "revoked", OLD, "kim@example.com", None),
    ),
    Form({}, {"name": "A key needs a name. Say where it is used."}),
    _EXPIRIES,
)
KEY_CREATED = replace(
    KEYS,
    form=NONE,
    secret="sk_live_7Qm2vUoXc3nTqkS9eYbJwRfZ0aLhGdPi",
    try_line=calls_view.curl_line("https://api.example.com"),
)
NO_KEYS = ApiKeysPage((), NONE, _EXPIRIES)

_TABS = (Choice("/do-not-call", "Do not call", True), Choice("/blocked-callers", "Blocked callers"))
LISTED = ListPage(
    "/do-not-call",
    _TABS,
    DO_NOT_CALL,
    (
        ListedRow("+14155550142", fx.ms("18:02:11"), call_id=fx.BILLED.id),
        ListedRow("+14155550143", OLD, note="Asked by mail", added_by="dana@example.com"),
        ListedRow("+14155550144", OLD),
    ),
    Form({"number": "555"}, {"number": "This is not a phone number. Write it as +14155550123."}),
    Paging("3 numbers"),
)
NOBODY = ListPage("/blocked-callers", _TABS, BLOCKED_CALLERS, (), NONE, Paging("0 numbers"))

_URL = "https://hooks.example.com/callingbox/production/inbound-and-outbound"
ENDPOINTS = (
    EndpointRow("e1", _URL, "Booking server", ("*",), True, 0),
    EndpointRow("e2", "https://example.com/hook", "", ("call.completed", "call.failed"), True, 3),
    EndpointRow("e3", "https://old.example.com/hook", "Old server", ("*",), False, 10, OLD),
)
DELIVERIES = (
    DeliveryRow("v1", "call.completed", _URL, fx.BILLED.id, "delivered", 1, "200", fx.ms("19:22:41.000")),
    DeliveryRow(
        "v2",
        "call.voicemail",
        "https://example.com/hook",
        fx.VOICEMAIL.id,
        "pending",
        2,
        "503",
        fx.ms("19:17:36.500"),
        fx.NOW + 300_000,
    ),
    DeliveryRow("v3", "balance.low", "https://old.example.com/hook", None, "exhausted", 8, "No answer in 10 s", OLD),
)
_ALL = DeliveryFilters(urls.WEBHOOKS, "", "", "", can_send=True)
_OF_ONE = DeliveryFilters(urls.endpoint(ENDPOINTS[1].id), "call.completed", "pending", ENDPOINTS[1].id, can_send=True)
WEBHOOKS = WebhooksPage(
    ENDPOINTS, DELIVERIES, NONE, event_choices(("*",)), Paging("3 deliveries", "", "/webhooks?before=v3"), _ALL
)
NO_WEBHOOKS = WebhooksPage(
    (),
    (),
    Form({"url": "http://example.com"}, {"url": "The address must begin with https://."}),
    event_choices(("call.completed",)),
    Paging(""),
    _ALL,
)
ENDPOINT = EndpointPage(
    ENDPOINTS[1],
    Form({"url": ENDPOINTS[1].url, "description": ""}),
    event_choices(ENDPOINTS[1].events),
    DELIVERIES[:2],
    Paging("2 deliveries"),
    _OF_ONE,
    secret="whsec_4nOe2Qz7bXkTt0uYp1LrCw",
)
ENDPOINT_DISABLED = replace(
    ENDPOINT, endpoint=ENDPOINTS[2], deliveries=(), filters=replace(_OF_ONE, can_send=False), secret=""
)
_BODY = {"id": "0198f3c2", "type": "call.completed", "data": {"call": {"id": fx.BILLED.id, "status": "completed"}}}
DELIVERY = DeliveryPage(
    DELIVERIES[1],
    (
        ("CallingBox-Event-Type", "call.voicemail"),
        ("CallingBox-Signature", "t=1795634259,v1=5257a869e7ecebeda32affa62cdca3fa51cad7e77a0e56ff536d0ce8e108d8bd"),
    ),
    json.dumps(_BODY, indent=2),
    (
        Attempt(fx.ms("19:17:36.900"), 10_000, None, "", "No answer in 10 s"),
        Attempt(fx.ms("19:18:37.900"), 212, 503, "<html><body>Service Unavailable</body></html>"),
    ),
)

SETTINGS = SettingsPage(
    account_id="0198f3c2-7d11-7b4e-9a55-0c1de2f3a4b5",
    organisation_form=Form({"name": "Larkspur Dental"}),
    zones=(Choice("UTC", "UTC", True), Choice("America/New_York", "America/New_York")),
    longest_calls=wallet_view.longest_calls(fx.OK, 3600),
    discloses_ai=True,
    members=(Member("u1", "dana@example.com", OLD, True), Member("u2", "kim@example.com", OLD, False)),
    invitations=(Invitation("i1", "lee@example.com", fx.ms("09:00:00")),),
    invite_form=Form({"email": "x"}, {"email": "This is not an email address."}),
    closing_ends=closing_ends(members=2, live_calls=3, batches=1, numbers=3, available=fx.OK.available),
    password_form=Form({}, {"current_password": "This is not your current password."}),
    closing_form=Form({}, {"closing_password": "This is not your current password."}),
)


# ---------- spending limits ----------

_DAY, _REGIONS = "2026-11-23", ("US", "CA")
_SPENT = Spent(2, 600_000, _DAY, 412_500, 1_830_000)
LIMITS = spending_limits(urls.LIMITS, Limits(None, 20_000_000, 10, None), _SPENT, _DAY, _REGIONS)
_ALERT = alert_of({"alert_below": "fifty"})
WRONG_ALERT = _ALERT if isinstance(_ALERT, Form) else None
KEY = KeyPage(
    "k1",
    "Booking server",
    "sk_live_7Qm2",
    "active",
    spending_limits(urls.api_key("k1"), Limits(2_000_000, None, None, ("US",)), _SPENT, _DAY, _REGIONS),
)
_ERRORS = {"cap_day": "Write an amount in dollars, such as 20, or leave it empty."}
KEY_WITH_ERRORS = replace(
    KEY,
    limits=replace(KEY.limits, form=Form({"cap_day": "twenty", "cap_month": "", "cap_calls": ""}, _ERRORS)),
)
