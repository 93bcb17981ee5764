"""Owns Stripe's HTTP API. Invariant: a POST repeated under one idempotency key answers what it answered
first, and never does its work twice.
"""

import hmac
import json
import re
from collections.abc import Callable
from urllib.parse import parse_qsl

from quart import Blueprint, Response, request
from stripe.params import (
    ChargeListParams,
    ChargeRetrieveParams,
    CustomerCreateParams,
    CustomerPaymentMethodListParams,
    CustomerRetrieveParams,
    DisputeListParams,
    DisputeRetrieveParams,
    EventListParams,
    EventRetrieveParams,
    PaymentIntentCreateParams,
    PaymentIntentListParams,
    PaymentIntentRetrieveParams,
    PaymentMethodRetrieveParams,
    RefundCreateParams,
    RefundListParams,
    RefundRetrieveParams,
)
from stripe.params.checkout import (
    SessionCreateParams,
    SessionExpireParams,
    SessionListParams,
    SessionRetrieveParams,
)

from simulator.answers import DROP_HEADER
from simulator.stripe import checkout, payments, reversals
from simulator.stripe.answers import expanded, page
from simulator.stripe.bank import Bank
from simulator.stripe.errors import ApiError
from simulator.stripe.objects import API_VERSION, Object
from simulator.stripe.parameters import read

_LARGEST_BODY = 256 * 1024
_KEY_LIFE_SECONDS = 24 * 3600

Handler = Callable[..., Object]
Fingerprint = tuple[str, str, tuple[tuple[str, str], ...]]
Kept = tuple[int, Fingerprint, int, str]  # when, for what, the status and body answered


def _one(kind: str) -> Handler:
    return lambda bank, params, object_id: bank.get(kind, object_id, status=404)


def _many(kind: str) -> Handler:
    return lambda bank, params: page(bank.all(kind), params)


def _methods_of(bank: Bank, params: Object, customer_id: str) -> Object:
    bank.get("customer", customer_id, status=404, param="customer")
    return page(bank.all("payment_method"), {**params, "customer": customer_id})


# Method, path, the SDK's description of the parameters, and who does it with (bank, parameters, id from path).
_ROUTES: list[tuple[str, str, type, Handler]] = [
    ("POST", "checkout/sessions", SessionCreateParams, checkout.create),
    ("GET", "checkout/sessions", SessionListParams, _many("checkout.session")),
    ("GET", "checkout/sessions/ID", SessionRetrieveParams, _one("checkout.session")),
    (
        "POST",
        "checkout/sessions/ID/expire",
        SessionExpireParams,
        lambda bank, params, session_id: checkout.expire(bank, bank.get("checkout.session", session_id, status=404)),
    ),
    ("POST", "customers", CustomerCreateParams, payments.create_customer),
    ("GET", "customers/ID", CustomerRetrieveParams, _one("customer")),
    ("GET", "customers/ID/payment_methods", CustomerPaymentMethodListParams, _methods_of),
    ("GET", "payment_methods/ID", PaymentMethodRetrieveParams, _one("payment_method")),
    ("POST", "payment_intents", PaymentIntentCreateParams, payments.create_intent),
    ("GET", "payment_intents", PaymentIntentListParams, _many("payment_intent")),
    ("GET", "payment_intents/ID", PaymentIntentRetrieveParams, _one("payment_intent")),
    ("GET", "charges", ChargeListParams, _many("charge")),
    ("GET", "charges/ID", ChargeRetrieveParams, _one("charge")),
    ("POST", "refunds", RefundCreateParams, reversals.create_refund),
    ("GET", "refunds", RefundListParams, _many("refund")),
    ("GET", "refunds/ID", RefundRetrieveParams, _one("refund")),
    ("GET", "disputes", DisputeListParams, _many("dispute")),
    ("GET", "disputes/ID", DisputeRetrieveParams, _one("dispute")),
    ("GET", "events", EventListParams, _many("event")),
    ("GET", "events/ID", EventRetrieveParams, _one("event")),
]


def create_api(bank: Bank) -> Blueprint:
    """`/v1/…` for the official SDK, with `base_addresses={"api": <where this blueprint is mounted>}`."""
    blueprint = Blueprint("stripe_api", __name__)
    kept: dict[str, Kept] = {}

    @blueprint.route("/v1/<path:path>", methods=["GET", "POST", "DELETE"])
    async def call(path: str) -> Response:
        body = await request.get_data(True, False, False)
        request_id = bank.new_id("req", 14)
        key = request.headers.get("Idempotency-Key") if request.method == "POST" else None
        headers = {"Request-Id": request_id, "Stripe-Version": request.headers.get("Stripe-Version", API_VERSION)}
        try:
            _authorise(bank)
            pairs = _pairs(body if request.method == "POST" else request.query_string)
            fingerprint = (request.method, path, tuple(sorted(pairs)))
            saved = _replay(kept, key, fingerprint, bank.now())
            with bank.on_request(request_id, key):
                status, answer = saved or _work(bank, request.method, path, pairs)
        except ApiError as error:
            return _response(error.status, json.dumps(error.body), headers)
        if saved is not None:
            headers["Idempotent-Replayed"] = "true"
        elif key is not None:
            kept[key] = (bank.now(), fingerprint, status, answer)
        if request.method == "POST" and bank.answers_to_lose > 0:
            bank.answers_to_lose -= 1
            headers[DROP_HEADER] = "1"
        return _response(status, answer, headers)

    return blueprint


def _response(status: int, body: str, headers: dict[str, str]) -> Response:
    return Response(body, status, headers, content_type="application/json")


def _authorise(bank: Bank) -> None:
    """The secret key as Bearer token or as the user name of Basic, as Stripe takes both."""
    given = request.authorization
    key = (given.token or given.username or "") if given is not None else ""
    if not key:
        raise ApiError("You did not provide an API key.", status=401)
    if not hmac.compare_digest(key.encode(), bank.secret_key.encode()):
        raise ApiError(f"Invalid API Key provided: {key[:8]}***", status=401)


def _pairs(raw: bytes) -> list[tuple[str, str]]:
    if len(raw) > _LARGEST_BODY:
        raise ApiError("The request is too large.", status=413)
    try:
        return parse_qsl(raw.decode(), keep_blank_values=True, max_num_fields=1000)
    except ValueError:
        raise ApiError("Invalid request (check that your POST content type is form-encoded).") from None


def _replay(kept: dict[str, Kept], key: str | None, fingerprint: Fingerprint, now: int) -> tuple[int, str] | None:
    """What this key answered before, for 24 hours (https://docs.stripe.com/api/idempotent_requests)."""
    if key is None:
        return None
    if len(key) > 255:
        raise ApiError("Idempotency keys can have up to 255 characters.", kind="idempotency_error")
    while kept and next(iter(kept.values()))[0] <= now - _KEY_LIFE_SECONDS:
        del kept[next(iter(kept))]
    if key not in kept:
        return None
    _, first, status, answer = kept[key]
    if first != fingerprint:
        raise ApiError(
            "Keys for idempotent requests can only be used with the same parameters they were first used "
            f"with. Try using a key other than '{key}' if you meant to execute a different request.",
            kind="idempotency_error",
        )
    return status, answer


def _work(bank: Bank, method: str, path: str, pairs: list[tuple[str, str]]) -> tuple[int, str]:
    """Do it. A refused card is an answer to keep under the idempotency key; other refusals raise."""
    shape, handler, ids = _route(method, path)
    params = read(shape, pairs)
    paths = params.pop("expand", [])
    try:
        answer = handler(bank, params, *ids)
    except ApiError as error:
        if error.status != 402:
            raise
        return error.status, json.dumps(error.body)
    if answer["object"] == "list":
        answer["url"] = f"/v1/{path}"
    return 200, json.dumps(expanded(bank, answer, paths))


def _route(method: str, path: str) -> tuple[type, Handler, tuple[str, ...]]:
    for served, pattern, shape, handler in _ROUTES:
        match = re.fullmatch(pattern.replace("ID", "([A-Za-z0-9_]+)"), path)
        if match is not None and method == served:
            return shape, handler, match.groups()
    raise ApiError(f"Unrecognized request URL ({method}: /v1/{path[:100]}).", status=404)
