"""What every page shares: the shell around it, notices, forms, filters and paging.

Pure, frozen view models. The one invariant: a view holds text and figures, never markup; templates escape
all of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from dashboard import format as fmt
from dashboard import urls
from dashboard.format import Clock
from dashboard.wallet_view import Pill

Theme = Literal["system", "light", "dark"]
Section = Literal[
    "calls", "batches", "agents", "numbers", "do_not_call", "billing", "api_keys", "webhooks", "settings", ""
]


@dataclass(frozen=True, slots=True)
class Action:
    """A link, or with method "post" a button that posts."""

    label: str
    url: str
    method: Literal["get", "post"] = "get"


@dataclass(frozen=True, slots=True)
class Notice:
    """What happened, then what to do; `icon` is a name of the sprite."""

    tone: Literal["plain", "good", "warn", "stop"]
    icon: str
    text: str
    action: Action | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """The shell around every page of somebody who is logged in."""

    title: str
    section: Section
    organisation: str
    email: str
    theme: Theme
    csrf_token: str
    clock: Clock
    pill: Pill | None
    """None on an error page that could not ask."""
    notices: tuple[Notice, ...] = ()
    events_url: str = ""
    """Where the module listens for changes; every page with `wallet` among its topics keeps its pill fresh."""


@dataclass(frozen=True, slots=True)
class Gate:
    """The frame around log-in, sign-up and password pages, and around errors where nobody is known to look."""

    title: str
    theme: Theme
    csrf_token: str
    notices: tuple[Notice, ...] = ()


@dataclass(frozen=True, slots=True)
class Form:
    """What was entered and what was wrong with it, by field name; `error` is about the whole form."""

    values: Mapping[str, str] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several: a tab's address or an option's value, its words, and whether it is the chosen one."""

    value: str
    label: str
    chosen: bool = False
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Paging:
    """The foot of a list: how much of it is shown, and the addresses around it (empty: none)."""

    summary: str
    newer_url: str = ""
    older_url: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """A page before log-in that only tells something, with what to do next and perhaps another way."""

    heading: str
    text: str
    action: Action | None = None
    other: Action | None = None


@dataclass(frozen=True, slots=True)
class ErrorPage:
    """A page for what went wrong: the status, what happened, what to do, and the request to ask us about."""

    status: int
    heading: str
    text: str
    action: Action
    other: Action | None = None
    request_id: str = ""


_TO_CALLS = Action("Go to your calls", urls.CALLS)
_TO_LOGIN = Action("Log in", urls.LOGIN)
_ERRORS = {
    403: ("This is not yours to open", "Your account may not do this. Ask somebody on your team who may."),
    404: ("Nothing is here", "The address may be mistyped, or what it named is gone or belongs to another account."),
    405: ("Nothing is here", "The address may be mistyped."),
    429: ("Too many requests", "Please wait a minute, then try again. Nothing was changed."),
    500: ("Something broke on our side", "Your calls and your credit are safe. Please try again."),
    503: ("We are over capacity", "Your request was not carried out. Please try again in a few seconds."),
}
_HEADINGS = {
    "bad_form": "This form is too old",
    "payments_not_configured": "No payments here",
    "payments_unavailable": "Stripe cannot be reached",
}
_OWN_WORDS = (404, 405, 500)
"""Whatever went wrong exactly, these pages say the same."""
PASSES = (408, 429, 500, 502, 503, 504)
"""What may go well the next time."""


def error_page(
    status: int,
    code: str = "",
    sentence: str = "",
    *,
    request_id: str = "",
    page_url: str = "",
    form_url: str = "",
    is_stranger: bool = False,
) -> ErrorPage:
    """The page for an error's status, code and sentence; `page_url` is the page that was asked for, or `form_url` the
    one whose form was sent."""
    heading, text = _ERRORS.get(status) or (("That cannot be done", "") if status < 500 else _ERRORS[500])
    action = _TO_LOGIN if is_stranger else _TO_CALLS
    if page_url and status in PASSES:
        action = Action("Try again", page_url)
    elif form_url and status not in (404, 405):
        action = Action("Back to the form", form_url)
    return ErrorPage(
        status,
        _HEADINGS.get(code, heading),
        text if status in _OWN_WORDS else sentence or text,
        action,
        _TO_LOGIN if is_stranger and action.url.partition("?")[0] != urls.LOGIN else None,
        request_id,
    )


def unverified(email: str, free_credit_milli_cents: int) -> Notice:
    """Shown on every page until the address is confirmed."""
    credit = fmt.dollars(free_credit_milli_cents)
    return Notice(
        "plain",
        "wait",
        f"Confirm your email to receive {credit} of free credit. We sent a link to {email}.",
        Action("Send it again", urls.RESEND_VERIFICATION, "post"),
    )


def saved(then: str = "") -> Notice:
    """After a form; `then` says when it takes effect."""
    return Notice("good", "check", f"Saved. {then}".rstrip())


def bought(month_milli_cents: int) -> Notice:
    """On the page of a number just bought."""
    text = f"The number is yours. {fmt.dollars(month_milli_cents)} for its first month came from your credit."
    return Notice("good", "check", f"{text} Choose below who answers it.")


_TRY_AGAIN = Action("Try again", urls.ADD_CREDITS)


def payment_received(amount_milli_cents: int) -> Notice:
    """Back from Stripe, and the credit is there."""
    return Notice("good", "check", f"Payment received. {fmt.dollars(amount_milli_cents)} is in your wallet.")


def payment_pending(amount_milli_cents: int) -> Notice:
    """Back from Stripe before the payment is confirmed."""
    amount = fmt.dollars(amount_milli_cents)
    text = f"Stripe is confirming your {amount}. It usually takes seconds; this page updates by itself."
    return Notice("plain", "wait", text)


def payment_on_its_way(amount_milli_cents: int) -> Notice:
    """Paid by a method that takes days."""
    amount = fmt.dollars(amount_milli_cents)
    return Notice("plain", "wait", f"Your bank is moving {amount}. That can take days; it is credited when it arrives.")


def payment_in_review(amount_milli_cents: int) -> Notice:
    """Paid, but something about it does not match: a person looks at it."""
    amount = fmt.dollars(amount_milli_cents)
    text = f"We are checking your payment of {amount} by hand. Nothing is lost; we write to you when it is done."
    return Notice("warn", "wallet-low", text)


def payment_left() -> Notice:
    """Back from Stripe without paying."""
    return Notice("plain", "canceled", "Top-up not completed. Nothing was charged.", _TRY_AGAIN)


def payment_declined() -> Notice:
    """The card was refused."""
    text = "Your bank declined the payment. Nothing was charged; try another card."
    return Notice("stop", "failed", text, _TRY_AGAIN)


def disputed(amount_milli_cents: int) -> Notice:
    """A bank has taken a payment back for the time being."""
    amount = fmt.dollars(amount_milli_cents)
    text = f"Stripe reported a dispute of {amount}. It was taken from your wallet and comes back if the dispute is won."
    return Notice("warn", "wallet-low", text)


_BACK_TO_LOGIN = Action("Back to log in", urls.LOGIN)


def check_your_mail(email: str) -> Message:
    """After a sign-up."""
    text = f"We sent a link to {email}. Open it to confirm that the address is yours."
    again = Action("Send it again", urls.RESEND_VERIFICATION, "post")
    return Message("Check your mail", text, again, Action("Go to your calls", urls.CALLS))


def verified(free_credit_milli_cents: int) -> Message:
    """After the link; 0 where the free credit was granted before."""
    credit = f" {fmt.dollars(free_credit_milli_cents)} of free credit is in your wallet."
    text = "Thank you." + (credit if free_credit_milli_cents else "")
    return Message("Your email is confirmed", text, _TO_CALLS)


def verification_failed() -> Message:
    """The link is old, used or mistyped."""
    text = "The link has been used or is too old. Log in and we send you a fresh one."
    return Message("This link no longer works", text, _TO_LOGIN)


def account_closed() -> Message:
    text = "Nobody can log in to it any more. What is left of your top-ups goes back to the card it came from."
    return Message("Your account is closed", text, Action("Create an account", urls.SIGN_UP))


def suspended() -> Notice:
    """Shown on every page while an operator keeps the organisation from calling and paying."""
    text = "Your account is suspended: new calls and top-ups are refused, calls under way go on. Write to support."
    return Notice("stop", "wallet-paused", text)


def reset_sent(email: str) -> Message:
    """Says the same whether the address is known or not."""
    text = f"If {email} has an account here, a link to choose a new password is on its way. It works for an hour."
    return Message("Check your mail", text, None, _BACK_TO_LOGIN)


def reset_failed() -> Message:
    """The link is old, used or mistyped."""
    text = "The link has been used or is too old. Ask for a fresh one."
    return Message("This link no longer works", text, Action("Send a new link", urls.FORGOT), _BACK_TO_LOGIN)


def password_changed() -> Notice:
    """On the log-in page after a reset."""
    return Notice("good", "check", "Your password is changed. Log in with the new one.")


def wrong_login() -> Notice:
    """Never says which of the two."""
    return Notice("stop", "failed", "Email or password is wrong.")


def session_expired() -> Notice:
    """Why somebody who was logged in sees the log-in page."""
    return Notice("plain", "wait", "Your session has ended. Log in again to go on where you were.")
