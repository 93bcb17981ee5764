"""Owns the strings behind the scenes: what a person does at the bank, how the post fails, and the bank's own
truth. Invariant: it takes JSON alone, so no web page elsewhere can press these buttons.
"""

from collections import Counter
from collections.abc import Callable
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from quart import Blueprint, Response, jsonify, request

from simulator.stripe import checkout, reversals
from simulator.stripe.bank import Bank
from simulator.stripe.delivery import Faults
from simulator.stripe.errors import ApiError
from simulator.stripe.objects import Object

_LARGEST_BODY = 64 * 1024


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Settings(_Body):
    """What is named is set; the rest stays. `advance_seconds` moves the bank's clock forward."""

    faults: Faults = Faults()
    paused: bool = False
    checkout_wait_seconds: float = Field(10, ge=0, le=60)
    checkout_redirects: bool = True
    webhook_url: str | None = None
    webhook_secrets: list[str] = Field(["whsec_simulated"], min_length=1, max_length=5)
    retry_seconds: list[float] = Field([], max_length=20)
    answers_to_lose: int = Field(0, ge=0, le=1000)
    off_session_outcomes: list[Literal["succeed", "decline", "insufficient_funds", "authentication_required"]] = Field(
        [], max_length=1000
    )
    advance_seconds: int = Field(0, ge=0, le=400 * 86_400)


class Later(_Body):
    succeeds: bool


class Nothing(_Body):
    pass


class NewRefund(_Body):
    payment_intent: str | None = None
    charge: str | None = None
    amount: int | None = Field(None, ge=1)
    metadata: dict[str, str] = {}
    status: Literal["succeeded", "pending"] = "succeeded"


class NewDispute(_Body):
    payment_intent: str | None = None
    charge: str | None = None
    amount: int | None = Field(None, ge=1)
    reason: str = "fraudulent"
    inquiry: bool = False


class Step(_Body):
    status: str


class Tampering(_Body):
    """Fields of a session to overwrite, for a payment that does not match what was asked for.

    An amount_total of 0 is a voucher over everything: such a session completes as `no_payment_required`.
    """

    amount_subtotal: int | None = None
    amount_total: int | None = Field(None, ge=0)
    currency: str | None = None
    livemode: bool | None = None
    client_reference_id: str | None = None
    metadata: dict[str, str] | None = None


Body = TypeVar("Body", bound=_Body)


def create_control(bank: Bank) -> Blueprint:
    """`/_sim/stripe/…`, unauthenticated: for loopback alone."""
    blueprint = Blueprint("stripe_control", __name__)

    @blueprint.get("/record")
    async def show_record() -> Response:
        return jsonify(record(bank))

    @blueprint.get("/events")
    async def show_events() -> Response:
        """All events, oldest first, and the latest attempts to deliver them."""
        post = bank.postman
        return jsonify(events=bank.all("event"), attempts=list(post.attempts), waiting=post.waiting)

    @blueprint.post("/deliver")
    async def deliver() -> Response:
        """Try everything that waits, once and now, whether due or not."""
        await _body(Nothing)
        return jsonify(attempts=await bank.postman.deliver_now(), waiting=bank.postman.waiting)

    @blueprint.post("/settings")
    async def change_settings() -> Response:
        _apply(bank, await _body(Settings))
        return jsonify(now=bank.now(), waiting=bank.postman.waiting)

    @blueprint.post("/sessions/<session_id>/<action>")
    async def move_session(session_id: str, action: str) -> Response:
        """`pay`, `decline`, `pay_later`, `settle_later`, `expire`, `tamper`: without a browser."""
        session = bank.get("checkout.session", session_id, status=404)
        if action == "settle_later":
            checkout.settle_later(bank, session, succeeds=(await _body(Later)).succeeds)
        elif action == "tamper":
            session.update((await _body(Tampering)).model_dump(exclude_unset=True))
        elif action in _ACTIONS:
            await _body(Nothing)
            _ACTIONS[action](bank, session)
        else:
            raise ApiError(f"Sessions have no action {action}.", status=404, code="not_found")
        return jsonify(session)

    @blueprint.post("/refunds")
    async def create_refund() -> Response:
        wanted = await _body(NewRefund)
        params = wanted.model_dump(exclude_none=True, exclude={"status"})
        return jsonify(reversals.create_refund(bank, params, status=wanted.status))

    @blueprint.post("/refunds/<refund_id>")
    async def move_refund(refund_id: str) -> Response:
        refund = bank.get("refund", refund_id, status=404)
        return jsonify(reversals.move_refund(bank, refund, (await _body(Step)).status))

    @blueprint.post("/disputes")
    async def open_dispute() -> Response:
        wanted = await _body(NewDispute)
        return jsonify(reversals.open_dispute(bank, wanted.model_dump(exclude_none=True)))

    @blueprint.post("/disputes/<dispute_id>")
    async def move_dispute(dispute_id: str) -> Response:
        dispute = bank.get("dispute", dispute_id, status=404)
        return jsonify(reversals.move_dispute(bank, dispute, (await _body(Step)).status))

    @blueprint.errorhandler(ApiError)
    async def refuse(error: ApiError) -> tuple[Response, int]:
        return jsonify(error=error.message, code=error.code or "refused"), error.status

    return blueprint


_ACTIONS: dict[str, Callable[[Bank, Object], object]] = {
    "pay": checkout.pay,
    "decline": checkout.decline,
    "pay_later": checkout.pay_later,
    "expire": checkout.expire,
}


async def _body(shape: type[Body]) -> Body:
    if not request.is_json:
        raise ApiError("Send JSON (content type application/json).", status=415, code="json_needed")
    raw = await request.get_data(True, False, False)
    if len(raw) > _LARGEST_BODY:
        raise ApiError("The body is too large.", status=413, code="too_large")
    try:
        return shape.model_validate_json(raw or b"{}")
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"])
        raise ApiError(f"{where}: {first['msg']}", code="invalid_body") from None


def _apply(bank: Bank, settings: Settings) -> None:
    named = settings.model_fields_set
    post = bank.postman
    if named & {"webhook_url", "webhook_secrets"}:
        url = settings.webhook_url if "webhook_url" in named else post.url
        secrets = settings.webhook_secrets if "webhook_secrets" in named else post.secrets
        try:
            post.configure(url, secrets)
        except ValueError as error:
            raise ApiError(str(error), code="not_loopback") from None
    if "retry_seconds" in named:
        post.retry_seconds = tuple(settings.retry_seconds)
    if "faults" in named:
        post.set_faults(settings.faults)
    if "paused" in named:
        post.set_paused(settings.paused)
    for name in named & {"checkout_wait_seconds", "checkout_redirects", "answers_to_lose"}:
        setattr(bank, name, getattr(settings, name))
    if "off_session_outcomes" in named:
        bank.off_session_outcomes = list(settings.off_session_outcomes)
    bank.advance(settings.advance_seconds)
    checkout.expire_due(bank)


def record(bank: Bank) -> Object:
    """What truly happened, to hold a merchant's ledger against. Amounts in cents.

    `kept` of a payment is what the merchant has of it now: received, less refunds that did not fail, less
    what open and lost disputes took.
    """
    sessions = {session["payment_intent"]: session["id"] for session in bank.all("checkout.session")}
    disputed: Counter[str] = Counter()
    for dispute in bank.all("dispute"):
        disputed[dispute["payment_intent"]] -= sum(move["amount"] for move in dispute["balance_transactions"])
    payments = []
    for intent in bank.all("payment_intent"):
        charge = bank.find(intent["latest_charge"] or "") or {}
        refunded = charge.get("amount_refunded", 0)
        payments.append(
            {
                "payment_intent": intent["id"],
                "session": sessions.get(intent["id"]),
                "customer": intent["customer"],
                "metadata": intent["metadata"],
                "status": intent["status"],
                "received": intent["amount_received"],
                "refunded": refunded,
                "disputed": disputed[intent["id"]],
                "kept": intent["amount_received"] - refunded - disputed[intent["id"]],
            }
        )
    return {
        "livemode": bank.livemode,
        "now": bank.now(),
        "payments": payments,
        "sessions": bank.all("checkout.session"),
        "refunds": bank.all("refund"),
        "disputes": bank.all("dispute"),
    }
