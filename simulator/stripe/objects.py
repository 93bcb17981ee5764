"""Owns the shapes of Stripe's objects. Invariant: each has every field of the official SDK's class, null
unless said otherwise, so code that reads a real object reads this one.

Pure: ids and times are arguments. Amounts are cents, times are UTC epoch seconds, as at Stripe.
"""

from typing import Any

import stripe
from typing_extensions import Format, get_annotations

Object = dict[str, Any]

API_VERSION = stripe.api_version

# Stripe leaves these out unless they are asked for with `expand`, or the customer was deleted.
_LEFT_OUT = {"deleted", "line_items", "refunds", "sources", "subscriptions", "tax_ids", "cash_balance"}

CARD = {
    "brand": "visa",
    "last4": "4242",
    "country": "US",
    "funding": "credit",
    "exp_month": 12,
    "exp_year": 2034,
}
BANK_ACCOUNT = {"bank_name": "STRIPE TEST BANK", "last4": "6789", "account_type": "checking"}


def _blank(kind: type[stripe.StripeObject], **values: Any) -> Object:
    names = get_annotations(kind, format=Format.FORWARDREF)
    fields = [name for name in names if name.islower() and not name.startswith("_")]
    return {name: None for name in fields if name not in _LEFT_OUT} | values


def customer(customer_id: str, created: int, livemode: bool, params: Object) -> Object:
    given = {name: params.get(name) for name in ("name", "email", "phone", "description", "address")}
    return _blank(
        stripe.Customer,
        id=customer_id,
        object="customer",
        created=created,
        livemode=livemode,
        balance=0,
        delinquent=False,
        metadata=params.get("metadata") or {},
        preferred_locales=[],
        invoice_settings=dict.fromkeys(("custom_fields", "default_payment_method", "footer", "rendering_options")),
        **given,
    )


def session(session_id: str, url: str, created: int, expires_at: int, livemode: bool, params: Object) -> Object:
    """An open Checkout Session of mode `payment` for already checked parameters."""
    line_items = params["line_items"]
    total = sum(item["price_data"]["unit_amount"] * item["quantity"] for item in line_items)
    echoed = (
        "allowed_payment_method_types",
        "cancel_url",
        "client_reference_id",
        "customer",
        "customer_email",
        "locale",
        "submit_type",
        "success_url",
    )
    delayed = params.get("allowed_payment_method_types") != ["card"]
    return _blank(
        stripe.checkout.Session,
        id=session_id,
        object="checkout.session",
        url=url,
        created=created,
        expires_at=expires_at,
        livemode=livemode,
        mode="payment",
        status="open",
        payment_status="unpaid",
        ui_mode="hosted_page",
        amount_subtotal=total,
        amount_total=total,
        total_details={"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
        currency=line_items[0]["price_data"]["currency"],
        metadata=params.get("metadata") or {},
        adaptive_pricing=params.get("adaptive_pricing") or {"enabled": True},
        automatic_tax={"enabled": False, "liability": None, "provider": None, "status": None},
        custom_fields=[],
        custom_text=dict.fromkeys(("after_submit", "shipping_address", "submit", "terms_of_service_acceptance")),
        customer_creation=None if params.get("customer") else "if_required",
        payment_method_collection="if_required",
        payment_method_options={},
        payment_method_types=["card", "us_bank_account"] if delayed else ["card"],
        shipping_options=[],
        **{name: params.get(name) for name in echoed},
    )


def payment_method(method_id: str, kind: str, created: int, livemode: bool, customer_id: str | None) -> Object:
    return {
        "id": method_id,
        "object": "payment_method",
        "type": kind,
        kind: dict(CARD if kind == "card" else BANK_ACCOUNT),
        "allow_redisplay": "unspecified",
        "billing_details": dict.fromkeys(("address", "email", "name", "phone", "tax_id")),
        "created": created,
        "customer": customer_id,
        "livemode": livemode,
        "metadata": {},
    }


def payment_intent(intent_id: str, secret: str, created: int, livemode: bool, params: Object) -> Object:
    """`params` has `amount` and `currency` and may have what payment_intent_data of a session has."""
    echoed = ("currency", "customer", "description", "receipt_email", "setup_future_usage")
    return _blank(
        stripe.PaymentIntent,
        id=intent_id,
        object="payment_intent",
        created=created,
        livemode=livemode,
        amount=params["amount"],
        amount_capturable=0,
        amount_received=0,
        amount_details={"tip": {}},
        capture_method="automatic_async",
        confirmation_method="automatic",
        client_secret=f"{intent_id}_secret_{secret}",
        metadata=params.get("metadata") or {},
        payment_method_types=["card"],
        payment_method_options={},
        status="requires_payment_method",
        **{name: params.get(name) for name in echoed},
    )


def charge(charge_id: str, created: int, intent: Object, method: Object, receipt_url: str) -> Object:
    """A pending charge: it copies the metadata of its PaymentIntent as that was at this moment."""
    copied = ("amount", "currency", "customer", "description", "livemode", "receipt_email")
    return _blank(
        stripe.Charge,
        id=charge_id,
        object="charge",
        created=created,
        payment_intent=intent["id"],
        payment_method=method["id"],
        payment_method_details={"type": method["type"], method["type"]: dict(method[method["type"]])},
        billing_details=dict(method["billing_details"]),
        metadata=dict(intent["metadata"]),
        receipt_url=receipt_url,
        amount_captured=0,
        amount_refunded=0,
        captured=False,
        disputed=False,
        fraud_details={},
        paid=False,
        refunded=False,
        status="pending",
        **{name: intent[name] for name in copied},
    )


def refund(refund_id: str, transaction_id: str, created: int, charge: Object, amount: int, params: Object) -> Object:
    return _blank(
        stripe.Refund,
        id=refund_id,
        object="refund",
        created=created,
        amount=amount,
        balance_transaction=transaction_id,
        charge=charge["id"],
        currency=charge["currency"],
        destination_details={"type": "card", "card": {"type": "refund", "reference_status": "pending"}},
        metadata=params.get("metadata") or {},
        payment_intent=charge["payment_intent"],
        reason=params.get("reason"),
        status="succeeded",
    )


def dispute(dispute_id: str, created: int, charge: Object, amount: int, reason: str, status: str) -> Object:
    return _blank(
        stripe.Dispute,
        id=dispute_id,
        object="dispute",
        created=created,
        amount=amount,
        balance_transactions=[],
        charge=charge["id"],
        currency=charge["currency"],
        enhanced_eligibility_types=[],
        evidence={},
        evidence_details={
            "due_by": created + 7 * 86_400,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
        },
        is_charge_refundable=status.startswith("warning_"),
        livemode=charge["livemode"],
        metadata={},
        network_reason_code="10.4",
        payment_intent=charge["payment_intent"],
        payment_method_details={
            "type": "card",
            "card": {"brand": "visa", "case_type": "chargeback", "network_reason_code": "10.4"},
        },
        reason=reason,
        status=status,
    )


def balance_transaction(transaction_id: str, created: int, amount: int, fee: int, source: Object) -> Object:
    """Money leaving (negative) or coming back to the merchant's balance because of a dispute."""
    return {
        "id": transaction_id,
        "object": "balance_transaction",
        "amount": amount,
        "fee": fee,
        "net": amount - fee,
        "available_on": created,
        "created": created,
        "currency": source["currency"],
        "reporting_category": "dispute" if amount < 0 else "dispute_reversal",
        "source": source["id"],
        "status": "available",
        "type": "adjustment",
    }


def event(event_id: str, kind: str, created: int, livemode: bool, data: Object, request: Object) -> Object:
    return {
        "id": event_id,
        "object": "event",
        "api_version": API_VERSION,
        "created": created,
        "data": data,
        "livemode": livemode,
        "pending_webhooks": 1,
        "request": request,
        "type": kind,
    }
