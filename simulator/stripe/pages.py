"""Owns what the paying customer sees: the hosted Checkout and the receipt. Invariant: every page says that
it is a simulation, and shows whatever the merchant wrote as text.
"""

from datetime import UTC, datetime
from urllib.parse import urlsplit

from quart import Blueprint, Response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from simulator.stripe import checkout
from simulator.stripe.bank import Bank
from simulator.stripe.errors import ApiError
from simulator.stripe.objects import Object

_PAYING = {"pay": checkout.pay, "pay_later": checkout.pay_later}


def create_pages(bank: Bank) -> Blueprint:
    """`/checkout/<session>` and `/receipts/<charge>`, with their own style sheet and no script."""
    blueprint = Blueprint(
        "stripe_pages",
        __name__,
        template_folder="../templates",
        static_folder="../static",
        static_url_path="/static",
    )
    blueprint.app_template_filter("dollars")(_dollars)
    blueprint.app_template_filter("moment")(_moment)

    @blueprint.get("/checkout/<session_id>")
    async def show_checkout(session_id: str) -> Response:
        session = bank.get("checkout.session", session_id, status=404)
        intent = bank.find(session["payment_intent"] or "") or {}
        page = await render_template(
            "stripe/checkout.html",
            merchant=bank.merchant,
            session=session,
            line_items=bank.line_items[session_id],
            refusal=(intent.get("last_payment_error") or {}).get("message"),
            success_url=_success_url(session),
        )
        return _page(page, 200 if session["status"] != "expired" else 410, session)

    @blueprint.post("/checkout/<session_id>")
    async def act(session_id: str) -> AnyResponse:
        """Pay waits for the webhook's answer before it sends the customer back, as Stripe does."""
        session = bank.get("checkout.session", session_id, status=404)
        action = (await request.form).get("action", "")
        here = url_for(".show_checkout", session_id=session_id)
        if session["status"] == "open" and action == "decline":
            checkout.decline(bank, session)
        elif session["status"] == "open" and action in _PAYING:
            completed = _PAYING[action](bank, session)
            if bank.postman.url is not None:
                await bank.postman.wait_for_answer(completed["id"], bank.checkout_wait_seconds)
        elif session["status"] == "open":
            raise ApiError("There is no such button.")
        if session["status"] == "complete" and bank.checkout_redirects:
            return redirect(_success_url(session), 303)
        return redirect(here, 303)

    @blueprint.get("/receipts/<charge_id>")
    async def show_receipt(charge_id: str) -> Response:
        charge = bank.get("charge", charge_id, status=404)
        refunds = [refund for refund in bank.all("refund") if refund["charge"] == charge_id]
        page = await render_template("stripe/receipt.html", merchant=bank.merchant, charge=charge, refunds=refunds)
        return _page(page, 200, None)

    @blueprint.errorhandler(ApiError)
    async def refuse(error: ApiError) -> Response:
        return _page(await render_template("stripe/problem.html", message=error.message), error.status, None)

    return blueprint


def _page(body: str, status: int, session: Object | None) -> Response:
    """A browser checks `form-action` along redirects too, so the way back to the merchant is allowed."""
    back = ""
    if session is not None:
        parts = urlsplit(session["success_url"])
        back = f" {parts.scheme}://{parts.netloc}"
    policy = f"default-src 'none'; style-src 'self'; form-action 'self'{back}; base-uri 'none'; frame-ancestors 'none'"
    headers = {
        "Cache-Control": "no-store",
        "Content-Security-Policy": policy,
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    return Response(body, status, headers, content_type="text/html; charset=utf-8")


def _success_url(session: Object) -> str:
    return str(session["success_url"]).replace("{CHECKOUT_SESSION_ID}", session["id"])


def _dollars(cents: int) -> str:
    return f"${cents // 100:,}.{cents % 100:02d}"


def _moment(epoch_seconds: int) -> str:
    return f"{datetime.fromtimestamp(epoch_seconds, UTC):%d %B %Y, %H:%M} UTC"
