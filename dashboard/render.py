"""Turns view models into HTML.

The one invariant: everything a template prints is escaped; the only markup made in Python is an exact amount
of money, whose parts are escaped too. A name a template does not know is an error, never an empty space.
"""

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from dashboard import format as fmt
from dashboard import urls
from dashboard.webhooks_view import delivery_state

STATIC = Path(__file__).parent / "static"

CONTENT_SECURITY_POLICY = (
    "default-src 'self'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'; form-action 'self'"
)
"""For every page. Posting the Add credits form leads to Stripe's page by a redirect, which Chromium checks
against `form-action`: the response to that page's form must name Stripe's host too (`policy_for_payments`)."""


def policy_for_payments(checkout_origin: str) -> str:
    """The policy of pages that hold the Add credits form, which ends at the payment page's origin."""
    return f"{CONTENT_SECURITY_POLICY} {checkout_origin}"


@cache
def static(name: str) -> str:
    """The address of a static file; it changes with the file's content, so it may be cached for ever."""
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]
    return f"/static/{name}?v={digest}"


def _money(milli_cents: int, signed: bool = False) -> Markup:
    amount = fmt.exact(milli_cents, signed=signed)
    return Markup('{}<span class="mc">{}</span>').format(amount.cents, amount.below)


@cache
def environment() -> Environment:
    """The templates with their filters; built once."""
    made = Environment(
        loader=PackageLoader("dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals.update(urls=urls, static=static, delivery_state=delivery_state)
    made.filters.update(
        money=_money,
        dollars=fmt.dollars,
        duration=fmt.duration,
        minutes=fmt.minutes,
        span=fmt.span,
        phone=fmt.phone,
        host=fmt.host,
        count_of=fmt.count,
    )
    return made


def render(template: str, **context: Any) -> str:
    """A page or part as HTML; which views it takes is said at the top of each template."""
    return environment().get_template(template).render(context)
