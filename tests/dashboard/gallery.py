"""Every page of the dashboard in every important state, rendered from the fixtures: name → HTML."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from dashboard import billing_view, calls_view, ledger_view, limits_view, recharge_view, urls, views, wallet_view
from dashboard.call_view import call_page
from dashboard.charts import UsageDay
from dashboard.receipt_view import Evidence
from dashboard.render import render
from tests.dashboard import batch_fixtures as batches
from tests.dashboard import fixtures as fx
from tests.dashboard import workspace_fixtures as ws

Theme = views.Theme
Renderer = Callable[[Theme], str]
GALLERY: dict[str, Renderer] = {}


def page(title: str, section: views.Section, wallet: wallet_view.WalletFacts, theme: Theme, **more: Any) -> views.Page:
    return views.Page(
        title=title,
        section=section,
        organisation="Larkspur Dental",
        email="dana@example.com",
        theme=theme,
        csrf_token="t0k3n",
        clock=fx.CLOCK,
        pill=wallet_view.pill(wallet),
        **more,
    )


def gate(title: str, theme: Theme, *notices: views.Notice) -> views.Gate:
    return views.Gate(title, theme, "t0k3n", notices)


def shown(name: str) -> Callable[[Renderer], Renderer]:
    def keep(renderer: Renderer) -> Renderer:
        GALLERY[name] = renderer
        return renderer

    return keep


def billing(
    wallet: wallet_view.WalletFacts,
    *notices: views.Notice,
    period: str = "2026-11",
    is_new: bool = False,
    entries: int = 3,
    recharge: recharge_view.AutoRecharge = fx.RECHARGE_OFF,
    chosen: int | None = None,
    alert: views.Form | None = None,
) -> billing_view.Billing:
    days = fx.NOVEMBER if period == "2026-11" else fx.LAST_30_DAYS
    if is_new:
        days = [UsageDay(day.date) for day in days]
    transfers = fx.TRANSFERS[-1:] if is_new else fx.TRANSFERS[:entries]
    return billing_view.Billing(
        credit=wallet_view.credit(wallet, fx.CLOCK),
        longest_calls=wallet_view.longest_calls(wallet, 3600),
        usage=billing_view.usage(days, [] if is_new else fx.MONTHS, period=period, clock=fx.CLOCK),
        ledger=ledger_view.ledger(
            transfers,
            total=1 if is_new else 3828,
            entries="all",
            period=period,
            older_before=None if is_new else "t1",
            is_first_page=True,
            clock=fx.CLOCK,
        ),
        topups=billing_view.topups(
            () if is_new else fx.TOPUPS,
            older_before=None if is_new else "u1",
            is_first_page=True,
            clock=fx.CLOCK,
        ),
        auto_recharge=recharge,
        free_credit=500_000,
        rate=fx.RATE,
        limits=ws.LIMITS,
        alert=limits_view.low_credit_alert(chosen, wallet.available, wallet.hold, alert),
        notices=notices,
    )


def _billing_page(name: str, wallet: wallet_view.WalletFacts, *notices: views.Notice, **more: Any) -> None:
    @shown(name)
    def _(theme: Theme) -> str:
        events = urls.events("wallet", "usage", "ledger", "topups")
        shell = page("Billing", "billing", wallet, theme, events_url=events)
        return render("billing.html", page=shell, billing=billing(wallet, *notices, **more))


_billing_page("billing", fx.OK, entries=99, recharge=fx.RECHARGE_ON, chosen=5_000_000)
_billing_page("billing-30-days", fx.OK, period="30d", recharge=fx.RECHARGE_WRONG, alert=ws.WRONG_ALERT)
_billing_page("billing-low", fx.LOW, views.payment_pending(2_500_000), recharge=fx.RECHARGE_WITHOUT_CARD)
_billing_page("billing-paused", fx.PAUSED, views.payment_left(), recharge=fx.RECHARGE_PAUSED)
_billing_page("billing-below-zero", fx.BELOW_ZERO, views.disputed(2_500_000))
_billing_page("billing-rich", fx.RICH, views.payment_received(2_500_000), views.payment_in_review(1_000_000))
_billing_page("billing-new", fx.NEW, views.payment_declined(), is_new=True, period="30d")


def _add_credits(name: str, **dialog: str) -> None:
    @shown(name)
    def _(theme: Theme) -> str:
        shell = page("Add credits", "billing", fx.OK, theme)
        opened = wallet_view.add_credits(fx.OK, **dialog)
        return render("billing.html", page=shell, billing=billing(fx.OK), dialog=opened)


_add_credits("add-credits")
_add_credits("add-credits-refused", chosen="100", refusal="Stripe cannot be reached just now. Nothing was charged.")
_add_credits("add-credits-error", chosen="other", custom="3", error="The smallest top-up is $5.00. Enter 5 to 500.")


def call_list(filters: calls_view.CallFilters, calls: list[calls_view.CallFacts], **more: Any) -> calls_view.CallList:
    return calls_view.call_list(
        calls,
        filters=filters,
        agents=fx.AGENTS,
        live_calls=3,
        held_milli_cents=900_000,
        total=1910,
        older_before="c1",
        is_first_page=False,
        clock=fx.CLOCK,
        **more,
    )


@shown("calls")
def _calls(theme: Theme) -> str:
    shell = page("Calls", "calls", fx.OK, theme, events_url=urls.events("wallet", "calls"))
    return render("calls.html", page=shell, calls=call_list(calls_view.CallFilters(), fx.CALLS))


@shown("calls-suspended")
def _calls_suspended(theme: Theme) -> str:
    wallet = replace(fx.OK, status="paused", message="", suspended=True)
    shell = page("Calls", "calls", wallet, theme, notices=(views.suspended(),))
    return render("calls.html", page=shell, calls=call_list(calls_view.CallFilters(), fx.CALLS))


@shown("calls-none-match")
def _calls_none_match(theme: Theme) -> str:
    shell = page("Calls", "calls", fx.OK, theme)
    return render("calls.html", page=shell, calls=call_list(calls_view.CallFilters("inbound", "busy"), []))


@shown("calls-empty")
def _calls_empty(theme: Theme) -> str:
    first = calls_view.first_call(fx.NEW, has_key=False, has_number=False, api_url="https://api.example.com")
    notices = (views.unverified("dana@example.com", 500_000),)
    shell = page("Calls", "calls", fx.NEW, theme, notices=notices)
    listed = call_list(calls_view.CallFilters(), [], first_call=first)
    return render("calls.html", page=shell, calls=listed)


def _call_page(name: str, call: calls_view.CallFacts, evidence: list[Evidence], **more: Any) -> None:
    @shown(name)
    def _(theme: Theme) -> str:
        topics = ("wallet", "call", "transcript") if call.is_live else ("wallet",)
        shell = page(fx.OURS, "calls", fx.OK, theme, events_url=urls.events(*topics))
        check = more.pop("check", "unchecked" if call.is_live else "agrees")
        view = call_page(call, evidence, fx.transfers_of(call), clock=fx.CLOCK, check=check, **more)
        return render("call.html", page=shell, call=view)


_RESULT = {"confirmed": False, "rescheduled": True, "new_time": "2026-11-30 09:00", "note": None}
_call_page(
    "call", fx.BILLED, fx.BILLED_EVIDENCE,
    segments=fx.SEGMENTS, result_status="completed", result=_RESULT, metadata={"patient": "okafor-11"},
)  # fmt: skip
_call_page("call-live", fx.LIVE, fx.LIVE_EVIDENCE, segments=fx.SEGMENTS[:4])
_call_page("call-ringing", fx.RINGING, fx.LIVE_EVIDENCE[:0])
_call_page("call-voicemail", fx.VOICEMAIL, fx.VOICEMAIL_EVIDENCE, segments=fx.SEGMENTS[:1], result_status="pending")
_call_page("call-inbound", fx.INBOUND, fx.INBOUND_EVIDENCE, segments=fx.SEGMENTS[:3], result_status="pending")
_call_page("call-no-answer", fx.NO_ANSWER, fx.NO_ANSWER_EVIDENCE)
_call_page("call-not-placed", fx.NOT_PLACED, [])
_call_page("call-refused", fx.REFUSED, [])
_call_page("call-refunded", fx.REFUNDED, fx.REFUNDED_EVIDENCE)
_call_page("call-unconfirmed", fx.BILLED, fx.BILLED_EVIDENCE, check="differs")


@shown("login")
def _login(theme: Theme) -> str:
    form = views.Form({"email": "dana@example.com"})
    return render("login.html", gate=gate("Log in", theme), form=form, next_url="", free_credit=500_000)


@shown("login-wrong")
def _login_wrong(theme: Theme) -> str:
    form = views.Form({"email": "dana@example.com"})
    frame = gate("Log in", theme, views.wrong_login())
    return render("login.html", gate=frame, form=form, next_url="/billing", free_credit=0)


@shown("login-expired")
def _login_expired(theme: Theme) -> str:
    frame = gate("Log in", theme, views.session_expired())
    return render("login.html", gate=frame, form=views.Form(), next_url="/calls", free_credit=500_000)


@shown("signup")
def _signup(theme: Theme) -> str:
    form = views.Form(
        {"organisation": "Larkspur Dental", "email": "dana@example"},
        {"email": "This address has no ending such as .com. Check it and try again."},
    )
    frame = gate("Create an account", theme)
    return render("signup.html", gate=frame, form=form, free_credit=500_000, invitation=None, invitation_token="")


@shown("signup-invited")
def _signup_invited(theme: Theme) -> str:
    form = views.Form({"email": "kim@example.com"})
    return render(
        "signup.html",
        gate=gate("Join", theme),
        form=form,
        free_credit=0,
        invitation="Larkspur Dental",
        invitation_token="i1",
    )


@shown("forgot")
def _forgot(theme: Theme) -> str:
    return render("forgot.html", gate=gate("Forgot your password", theme), form=views.Form())


@shown("reset")
def _reset(theme: Theme) -> str:
    form = views.Form({}, {"password": "Choose 8 characters or more."})
    frame = gate("Choose a new password", theme)
    return render("reset.html", gate=frame, form=form, token="r1", email="dana@example.com")


def _message(name: str, message: views.Message) -> None:
    @shown(name)
    def _(theme: Theme) -> str:
        return render("message.html", gate=gate(message.heading, theme), message=message)


_message("check-your-mail", views.check_your_mail("dana@example.com"))
_message("verified", views.verified(500_000))
_message("verification-failed", views.verification_failed())
_message("reset-sent", views.reset_sent("dana@example.com"))
_message("reset-failed", views.reset_failed())


def _error(status: int, code: str = "", **more: Any) -> None:
    """As a member sees it and as a stranger does."""

    @shown(f"error-{status}")
    def _(theme: Theme) -> str:
        error = views.error_page(status, code, **more)
        frame = page(error.heading, "", fx.OK, theme, events_url="")
        frame = replace(frame, pill=None) if status in views.PASSES else frame
        return render("error.html", page=frame, gate=None, error=error)

    @shown(f"error-{status}-outside")
    def _(theme: Theme) -> str:
        error = views.error_page(status, code, is_stranger=True, **more)
        return render("error.html", page=None, gate=gate(error.heading, theme), error=error)


_TOO_OLD = "This form is too old or came from another page. Go back, reload, and send it again."
_error(403, "bad_form", sentence=_TOO_OLD, form_url="/settings")
_error(404)
_error(429, page_url="/calls")
_error(500, request_id="req_0198f3c2", page_url="/calls")
_error(503, request_id="req_0198f3c3", page_url="/calls")


def _workspace(name: str, template: str, title: str, section: views.Section, **context: Any) -> None:
    @shown(name)
    def _(theme: Theme) -> str:
        return render(template, page=page(title, section, fx.OK, theme), **context)


_workspace("agents", "agents.html", "Agents", "agents", agents=ws.AGENTS)
_workspace("agents-empty", "agents.html", "Agents", "agents", agents=())
_workspace("agent-new", "agent.html", "New agent", "agents", agent=ws.NEW_AGENT)
_workspace("agent", "agent.html", "Appointment reminder", "agents", agent=ws.AGENT)
_UNCHOSEN = tuple(replace(each, chosen=False) for each in ws.AGENT.numbers)
_workspace("agent-without-number", "agent.html", "Agent", "agents", agent=replace(ws.AGENT, numbers=_UNCHOSEN))
_workspace("agent-error", "agent.html", "Front desk", "agents", agent=ws.AGENT_WITH_ERRORS)
_workspace("numbers", "numbers.html", "Numbers", "numbers", view=ws.NUMBERS_PAGE)
_workspace("numbers-empty", "numbers.html", "Numbers", "numbers", view=ws.NO_NUMBERS)
_workspace("number", "number.html", "Number", "numbers", view=ws.NUMBER)
_workspace("number-unpaid", "number.html", "Number", "numbers", view=replace(ws.NUMBER, number=ws.NUMBERS[1]))
_workspace("api-keys", "api_keys.html", "API keys", "api_keys", view=ws.KEYS)
_workspace("api-keys-created", "api_keys.html", "API keys", "api_keys", view=ws.KEY_CREATED)
_workspace("api-keys-empty", "api_keys.html", "API keys", "api_keys", view=ws.NO_KEYS)
_workspace("api-key", "api_key.html", "Booking server", "api_keys", view=ws.KEY)
_workspace("api-key-error", "api_key.html", "Booking server", "api_keys", view=ws.KEY_WITH_ERRORS)
_workspace("do-not-call", "listed.html", "Do not call", "do_not_call", view=ws.LISTED)
_workspace("blocked-callers", "listed.html", "Blocked callers", "do_not_call", view=ws.NOBODY)
_workspace("batches", "batches.html", "Batches", "batches", view=batches.LIST)
_workspace("batches-empty", "batches.html", "Batches", "batches", view=batches.EMPTY)
_workspace("batch", "batch.html", "Batch", "batches", view=batches.shown(batches.RUNNING, *batches.ROWS))
for _number, _other in enumerate(batches.OTHERS):
    _workspace(f"batch-{_number}", "batch.html", "Batch", "batches", view=batches.shown(_other))
_workspace("batch-new", "batch_new.html", "New batch", "batches", view=batches.FORM)
_workspace("batch-quote", "batch_new.html", "New batch", "batches", view=replace(batches.FORM, quote=batches.QUOTE))
_workspace("batch-nobody", "batch_new.html", "New batch", "batches", view=replace(batches.FORM, agents=()))
_workspace("webhooks", "webhooks.html", "Webhooks", "webhooks", view=ws.WEBHOOKS)
_workspace("webhooks-empty", "webhooks.html", "Webhooks", "webhooks", view=ws.NO_WEBHOOKS)
_workspace("endpoint", "endpoint.html", "Endpoint", "webhooks", view=ws.ENDPOINT)
_workspace("endpoint-disabled", "endpoint.html", "Endpoint", "webhooks", view=ws.ENDPOINT_DISABLED)
_workspace("delivery", "delivery.html", "Delivery", "webhooks", view=ws.DELIVERY)
_workspace("settings", "settings.html", "Settings", "settings", view=ws.SETTINGS)
