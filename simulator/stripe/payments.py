"""Owns money coming in: PaymentIntents, their charges and how a card or a bank answers. Invariant: a charge
and its PaymentIntent always tell the same story.
"""

from dataclasses import dataclass

from simulator.stripe import objects
from simulator.stripe.bank import Bank
from simulator.stripe.errors import ApiError
from simulator.stripe.objects import Object


@dataclass(frozen=True)
class Refusal:
    """Why a card was refused: the code and decline code of Stripe's `card_error`."""

    code: str
    decline_code: str
    message: str


DECLINED = Refusal("card_declined", "generic_decline", "Your card was declined.")
REFUSALS = {
    "decline": DECLINED,
    "insufficient_funds": Refusal("card_declined", "insufficient_funds", "Your card has insufficient funds."),
    "authentication_required": Refusal(
        "authentication_required",
        "authentication_required",
        "Your card was declined. This transaction requires authentication.",
    ),
}
OUTCOMES = ("succeed", *REFUSALS)

# The test payment methods Stripe documents (https://docs.stripe.com/testing), and how each behaves.
_TEST_METHODS = {
    "pm_card_visa": "succeed",
    "pm_card_chargeDeclined": "decline",
    "pm_card_chargeDeclinedInsufficientFunds": "insufficient_funds",
    "pm_card_authenticationRequired": "authentication_required",
}


def create_customer(bank: Bank, params: Object) -> Object:
    customer = objects.customer(bank.new_id("cus", 14), bank.now(), bank.livemode, params)
    return bank.add(customer)


def open_intent(bank: Bank, params: Object) -> Object:
    """A PaymentIntent that has no payment method yet."""
    intent = objects.payment_intent(bank.new_id("pi"), bank.new_id("k"), bank.now(), bank.livemode, params)
    bank.add(intent)
    bank.emit("payment_intent.created", intent)
    return intent


def new_method(bank: Bank, kind: str, customer_id: str | None) -> Object:
    """A payment method (`card` or `us_bank_account`), attached when there is a customer to attach it to."""
    method = objects.payment_method(bank.new_id("pm"), kind, bank.now(), bank.livemode, customer_id)
    return bank.add(method)


def open_charge(bank: Bank, intent: Object, method: Object) -> Object:
    """Start an attempt: a pending charge, which `settle` or `refuse` ends."""
    charge_id = bank.new_id("ch")
    receipt_url = f"{bank.base_url}/stripe/receipts/{charge_id}"
    charge = bank.add(objects.charge(charge_id, bank.now(), intent, method, receipt_url))
    intent.update(
        payment_method=method["id"],
        payment_method_types=[method["type"]],
        latest_charge=charge_id,
        last_payment_error=None,
    )
    return charge


def settle(bank: Bank, intent: Object, charge: Object) -> None:
    """The money is there."""
    charge.update(
        amount_captured=charge["amount"],
        captured=True,
        paid=True,
        status="succeeded",
        balance_transaction=bank.new_id("txn"),
        outcome={"type": "authorized", "network_status": "approved_by_network", "risk_level": "normal"},
    )
    intent.update(amount_received=intent["amount"], status="succeeded")
    bank.emit("charge.succeeded", charge)
    bank.emit("payment_intent.succeeded", intent)


def refuse(bank: Bank, intent: Object, charge: Object, refusal: Refusal) -> ApiError:
    """No money came. Returns the `card_error` an API call answers with."""
    charge.update(
        failure_code=refusal.code,
        failure_message=refusal.message,
        status="failed",
        outcome={"type": "issuer_declined", "network_status": "declined_by_network"},
    )
    error = {"code": refusal.code, "decline_code": refusal.decline_code, "charge": charge["id"]}
    method = bank.get("payment_method", charge["payment_method"])
    intent.update(
        payment_method=None,
        status="requires_payment_method",
        last_payment_error={
            "type": "card_error",
            "message": refusal.message,
            "payment_method": method,
            **error,
        },
    )
    bank.emit("charge.failed", charge)
    bank.emit("payment_intent.payment_failed", intent)
    return ApiError(refusal.message, status=402, kind="card_error", payment_intent=dict(intent), **error)


def create_intent(bank: Bank, params: Object) -> Object:
    """POST /v1/payment_intents, with or without `confirm`; the next planned outcome decides off-session.

    Raises ApiError 402 `card_error` with code `card_declined` or `authentication_required`.
    """
    _check(bank, params)
    if not params.get("confirm"):
        return open_intent(bank, params)
    method, outcome = _method_to_charge(bank, params)
    if bank.off_session_outcomes and params.get("off_session"):
        outcome = bank.off_session_outcomes.pop(0)
    intent = open_intent(bank, params)
    if outcome == "authentication_required" and not _must_not_ask(params):
        intent.update(
            payment_method=method["id"],
            status="requires_action",
            next_action={"type": "use_stripe_sdk", "use_stripe_sdk": {}},
        )
        return intent
    charge = open_charge(bank, intent, method)
    if outcome != "succeed":
        raise refuse(bank, intent, charge, REFUSALS[outcome])
    settle(bank, intent, charge)
    return intent


def _must_not_ask(params: Object) -> bool:
    return bool(params.get("error_on_requires_action") or params.get("off_session"))


def _check(bank: Bank, params: Object) -> None:
    if params.get("customer"):
        bank.get("customer", params["customer"], param="customer")
    check_money(params["amount"], params["currency"], "amount")
    for needs_confirm in ("off_session", "error_on_requires_action"):
        if params.get(needs_confirm) and not params.get("confirm"):
            message = f"The parameter {needs_confirm} can only be used with confirm=true."
            raise ApiError(message, param=needs_confirm)


def check_money(amount_cents: int, currency: str, param: str) -> None:
    """Dollars alone, from Stripe's smallest charge to its largest."""
    if currency != "usd":
        raise ApiError("The simulator's bank takes only currency usd.", param="currency")
    if amount_cents < 50:
        raise ApiError("Amount must be at least $0.50 usd", code="amount_too_small", param=param)
    if amount_cents > 99_999_999:
        raise ApiError("Amount must be no more than $999,999.99", code="amount_too_large", param=param)


def _method_to_charge(bank: Bank, params: Object) -> tuple[Object, str]:
    """The payment method of a confirmation and how it answers by itself."""
    method_id = params.get("payment_method")
    if method_id is None:
        raise ApiError(
            "You cannot confirm this PaymentIntent because it's missing a payment method. You can either "
            "update the PaymentIntent with a payment method and then confirm it again, or confirm it again "
            "directly with a payment method or ConfirmationToken.",
            code="payment_intent_unexpected_state",
        )
    if method_id in _TEST_METHODS:
        return new_method(bank, "card", params.get("customer")), _TEST_METHODS[method_id]
    method = bank.get("payment_method", method_id, param="payment_method")
    if method["customer"] is None or method["customer"] != params.get("customer"):
        raise ApiError(
            "The provided PaymentMethod cannot be attached. To reuse a PaymentMethod, save it with "
            "setup_future_usage and pass the customer it belongs to.",
            param="payment_method",
        )
    return method, "succeed"
