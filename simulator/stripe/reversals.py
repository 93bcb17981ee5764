"""Owns money going back: refunds and disputes. Invariant: of one charge never more is refunded than was
paid, and a dispute's money moves only along the table below.
"""

from simulator.stripe import objects
from simulator.stripe.bank import Bank
from simulator.stripe.errors import ApiError
from simulator.stripe.objects import Object

_DISPUTE_FEE_CENTS = 1500

# Status → the statuses it may turn into (https://docs.stripe.com/disputes/how-disputes-work).
DISPUTE_STEPS: dict[str, set[str]] = {
    "warning_needs_response": {"warning_under_review", "warning_closed", "needs_response"},
    "warning_under_review": {"warning_closed", "needs_response"},
    "warning_closed": set(),
    "needs_response": {"under_review", "won", "lost"},
    "under_review": {"won", "lost"},
    "won": set(),
    "lost": set(),
}
# Status → the statuses it may turn into; a card refund counts as succeeded at once and may fail later.
REFUND_STEPS: dict[str, set[str]] = {
    "pending": {"succeeded", "failed", "canceled"},
    "succeeded": {"failed"},
    "failed": set(),
    "canceled": set(),
}


def charge_of(bank: Bank, params: Object) -> Object:
    """The succeeded charge that `payment_intent` or `charge` names. Raises ApiError 400."""
    if ("payment_intent" in params) == ("charge" in params):
        raise ApiError("One of these parameters is required, and one only: charge, payment_intent.")
    charge_id = params.get("charge")
    if charge_id is None:
        intent = bank.get("payment_intent", params["payment_intent"], param="payment_intent")
        charge_id = intent["latest_charge"] or "(none)"
    charge = bank.get("charge", charge_id, param="charge")
    if charge["status"] != "succeeded":
        raise ApiError("This PaymentIntent does not have a successful charge to refund or dispute.")
    return charge


def create_refund(bank: Bank, params: Object, *, status: str = "succeeded") -> Object:
    """POST /v1/refunds: the whole rest, or `amount` cents of it.

    Raises ApiError 400 `charge_already_refunded`, `charge_disputed`, or when `amount` exceeds the rest.
    """
    charge = charge_of(bank, params)
    if any(not dispute["is_charge_refundable"] for dispute in disputes_of(bank, charge)):
        message = f"Charge {charge['id']} has been charged back; cannot issue a refund."
        raise ApiError(message, code="charge_disputed")
    rest = charge["amount"] - charge["amount_refunded"]
    if rest == 0:
        message = f"Charge {charge['id']} has already been refunded."
        raise ApiError(message, code="charge_already_refunded")
    amount = params.get("amount", rest)
    if not 1 <= amount <= rest:
        message = f"Refund amount ({amount} cents) is not between 1 and the unrefunded {rest} cents."
        raise ApiError(message, param="amount")
    refund = objects.refund(bank.new_id("re"), bank.new_id("txn"), bank.now(), charge, amount, params)
    refund["status"] = status
    bank.add(refund)
    _count_refunded(charge, amount)
    bank.emit("refund.created", refund)
    bank.emit("charge.refunded", charge)
    return refund


def move_refund(bank: Bank, refund: Object, status: str) -> Object:
    """Let a refund succeed, fail or be canceled. Stripe tells of a failure twice, of a cancel once."""
    previous = refund["status"]
    if status not in REFUND_STEPS[previous]:
        raise ApiError(f"A refund that is {previous} does not become {status}.", code="refund_step")
    refund["status"] = status
    if status in ("failed", "canceled"):
        refund["failure_balance_transaction"] = bank.new_id("txn")
        refund["failure_reason"] = "expired_or_canceled_card" if status == "failed" else None
        _count_refunded(bank.get("charge", refund["charge"]), -refund["amount"])
    bank.emit("refund.updated", refund, {"status": previous})
    if status == "failed":
        bank.emit("refund.failed", refund)
    return refund


def _count_refunded(charge: Object, amount: int) -> None:
    charge["amount_refunded"] += amount
    charge["refunded"] = charge["amount_refunded"] == charge["amount"]


def disputes_of(bank: Bank, charge: Object) -> list[Object]:
    return [dispute for dispute in bank.all("dispute") if dispute["charge"] == charge["id"]]


def open_dispute(bank: Bank, params: Object) -> Object:
    """The customer goes to their bank: an inquiry, which takes nothing, or a dispute, which does.

    `params`: payment_intent or charge, optional amount (cents), reason, inquiry.
    """
    charge = charge_of(bank, params)
    if any(dispute["status"] not in ("won", "warning_closed") for dispute in disputes_of(bank, charge)):
        raise ApiError("This charge is disputed already.", code="charge_disputed")
    rest = charge["amount"] - charge["amount_refunded"]
    amount = params.get("amount") or rest or charge["amount"]
    if not 1 <= amount <= charge["amount"]:
        raise ApiError("A dispute is about a part of its charge.", param="amount")
    status = "warning_needs_response" if params.get("inquiry") else "needs_response"
    reason = params.get("reason") or "fraudulent"
    dispute = objects.dispute(bank.new_id("dp"), bank.now(), charge, amount, reason, status)
    bank.add(dispute)
    charge["disputed"] = True
    _book(bank, dispute)
    bank.emit("charge.dispute.created", dispute)
    if status == "needs_response":
        bank.emit("charge.dispute.funds_withdrawn", dispute)
    return dispute


def move_dispute(bank: Bank, dispute: Object, status: str) -> Object:
    """Take a dispute one step further, with its money and its events."""
    previous = dispute["status"]
    if status not in DISPUTE_STEPS[previous]:
        raise ApiError(f"A dispute that is {previous} does not become {status}.", code="dispute_step")
    dispute["status"] = status
    dispute["is_charge_refundable"] = status.startswith("warning_") or status == "won"
    _book(bank, dispute)
    told = "charge.dispute.updated" if DISPUTE_STEPS[status] else "charge.dispute.closed"
    bank.emit(told, dispute, {"status": previous})
    if status == "needs_response":
        bank.emit("charge.dispute.funds_withdrawn", dispute)
    if status == "won":
        bank.emit("charge.dispute.funds_reinstated", dispute)
    return dispute


def _book(bank: Bank, dispute: Object) -> None:
    """The money that goes (with Stripe's fee) when a dispute needs a response, and comes back when won."""
    moves = {"needs_response": (-dispute["amount"], _DISPUTE_FEE_CENTS), "won": (dispute["amount"], 0)}
    if (move := moves.get(dispute["status"])) is not None:
        moved = objects.balance_transaction(bank.new_id("txn"), bank.now(), *move, dispute)
        dispute["balance_transactions"].append(moved)
