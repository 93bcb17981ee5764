"""Owns Checkout Sessions. Invariant: a session leaves `open` once, to `complete` or `expired`, and is paid
at most once.
"""

from urllib.parse import urlsplit

from simulator.stripe import objects
from simulator.stripe.bank import Bank
from simulator.stripe.errors import ApiError
from simulator.stripe.objects import Object
from simulator.stripe.payments import DECLINED, check_money, new_method, open_charge, open_intent, refuse, settle

_SHORTEST_SECONDS = 30 * 60
_LONGEST_SECONDS = 24 * 3600


def create(bank: Bank, params: Object) -> Object:
    """POST /v1/checkout/sessions. Sells `price_data` lines in mode `payment` on the hosted page alone.

    Raises ApiError 400: no or odd line items, a URL that is none, an amount or an expiry out of bounds.
    """
    _check(bank, params)
    now = bank.now()
    expires_at = params.get("expires_at", now + _LONGEST_SECONDS)
    if expires_at < now + _SHORTEST_SECONDS:
        message = "The `expires_at` timestamp must be at least 30 minutes from Checkout Session creation."
        raise ApiError(message, param="expires_at")
    if expires_at > now + _LONGEST_SECONDS:
        message = "The `expires_at` timestamp must be less than 24 hours from Checkout Session creation."
        raise ApiError(message, param="expires_at")
    session_id = bank.new_id("cs_live" if bank.livemode else "cs_test", 58)
    url = f"{bank.base_url}/stripe/checkout/{session_id}"
    session = objects.session(session_id, url, now, expires_at, bank.livemode, params)
    check_money(session["amount_total"], session["currency"], "line_items")
    bank.line_items[session_id] = params["line_items"]
    bank.intent_data[session_id] = params.get("payment_intent_data", {})
    return bank.add(session)


def _check(bank: Bank, params: Object) -> None:
    if params.get("mode") != "payment":
        raise ApiError("The simulator's Checkout knows only mode payment.", param="mode")
    if params.get("ui_mode", "hosted_page") != "hosted_page":
        raise ApiError("The simulator's Checkout knows only ui_mode hosted_page.", param="ui_mode")
    if params.get("customer") and params.get("customer_email"):
        raise ApiError("You may only specify one of these parameters: customer, customer_email.")
    if params.get("customer"):
        bank.get("customer", params["customer"], param="customer")
    if len(params.get("client_reference_id", "")) > 200:
        raise ApiError("client_reference_id can have up to 200 characters.", param="client_reference_id")
    for name in ("success_url", "cancel_url"):
        _check_url(params.get(name), name, required=name == "success_url")
    if not params.get("line_items"):
        raise ApiError("Missing required param: line_items.", code="parameter_missing", param="line_items")
    for index, item in enumerate(params["line_items"]):
        _check_line(item, f"line_items[{index}]")


def _check_url(url: str | None, name: str, *, required: bool) -> None:
    if url is None:
        if required:
            raise ApiError(f"Missing required param: {name}.", code="parameter_missing", param=name)
        return
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ApiError("Not a valid URL", code="url_invalid", param=name)


def _check_line(item: Object, name: str) -> None:
    price = item.get("price_data", {})
    if "product_data" not in price or "unit_amount" not in price:
        raise ApiError("The simulator needs price_data with product_data and unit_amount.", param=name)
    if not 1 <= item.get("quantity", 0) <= 999_999 or price["unit_amount"] < 0:
        raise ApiError("This value must be greater than or equal to 1.", param=f"{name}[quantity]")


def expire(bank: Bank, session: Object) -> Object:
    """POST /v1/checkout/sessions/:id/expire. Raises ApiError 400 unless the session is open."""
    if session["status"] != "open":
        raise ApiError(
            'Only Checkout Sessions with a status in ["open"] can be expired. This Checkout Session has a '
            f"status of {session['status']}.",
        )
    session.update(status="expired", url=None)
    bank.emit("checkout.session.expired", session)
    return session


def expire_due(bank: Bank) -> None:
    """Expire every open session whose time is over on the bank's clock."""
    for session in bank.all("checkout.session"):
        if session["status"] == "open" and session["expires_at"] <= bank.now():
            expire(bank, session)


def pay(bank: Bank, session: Object) -> Object:
    """The customer's card is charged, if anything is due. Returns the `checkout.session.completed` event."""
    if session["status"] == "open" and session["amount_total"] == 0:
        return _complete(bank, session, payment_status="no_payment_required")
    intent = _attempt(bank, session)
    settle(bank, intent, open_charge(bank, intent, _method(bank, session, "card")))
    return _complete(bank, session, payment_status="paid")


def decline(bank: Bank, session: Object) -> None:
    """The customer's card is refused; the session stays open for another try."""
    intent = _attempt(bank, session)
    refuse(bank, intent, open_charge(bank, intent, _method(bank, session, "card")), DECLINED)


def pay_later(bank: Bank, session: Object) -> Object:
    """The customer authorises a bank debit: complete, but unpaid until `settle_later`.

    Returns the `checkout.session.completed` event.
    """
    if "us_bank_account" not in session["payment_method_types"]:
        raise ApiError("This Checkout Session allows cards only, so nothing can be paid later.")
    intent = _attempt(bank, session)
    open_charge(bank, intent, _method(bank, session, "us_bank_account"))
    intent.update(status="processing", processing={"type": "us_bank_account"})
    bank.emit("payment_intent.processing", intent)
    return _complete(bank, session, payment_status="unpaid")


def settle_later(bank: Bank, session: Object, *, succeeds: bool) -> None:
    """The bank debit of `pay_later` goes through, or bounces. Raises ApiError 400 when there is none."""
    intent = bank.find(session["payment_intent"] or "")
    if intent is None or intent["status"] != "processing":
        raise ApiError("No delayed payment of this Checkout Session is on its way.")
    intent["processing"] = None
    charge = bank.get("charge", intent["latest_charge"])
    if succeeds:
        settle(bank, intent, charge)
        session["payment_status"] = "paid"
        bank.emit("checkout.session.async_payment_succeeded", session)
    else:
        refuse(bank, intent, charge, DECLINED)
        bank.emit("checkout.session.async_payment_failed", session)


def _attempt(bank: Bank, session: Object) -> Object:
    """The session's PaymentIntent, which Stripe opens at the first attempt to pay."""
    expire_due(bank)
    if session["status"] != "open":
        raise ApiError(f"This Checkout Session is {session['status']}.", code="checkout_session_not_open")
    if session["payment_intent"] is None:
        wanted = {name: session[name] for name in ("currency", "customer")}
        intent = open_intent(bank, {**bank.intent_data[session["id"]], **wanted, "amount": session["amount_total"]})
        session["payment_intent"] = intent["id"]
    return bank.get("payment_intent", session["payment_intent"])


def _method(bank: Bank, session: Object, kind: str) -> Object:
    """Kept with the customer when the session asked for it with `setup_future_usage`, as off-session needs."""
    kept = bank.intent_data[session["id"]].get("setup_future_usage")
    return new_method(bank, kind, session["customer"] if kept else None)


def _complete(bank: Bank, session: Object, *, payment_status: str) -> Object:
    customer = bank.find(session["customer"] or "") or {}
    details = {name: customer.get(name) for name in ("address", "email", "name", "phone")}
    details["email"] = details["email"] or session["customer_email"] or "payer@example.com"
    session.update(
        status="complete",
        payment_status=payment_status,
        url=None,
        customer_details={**details, "tax_exempt": "none", "tax_ids": []},
    )
    return bank.emit("checkout.session.completed", session)
