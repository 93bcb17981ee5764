"""What goes wrong at our edges, in one shape: `{"error": "<sentence>", "code": "<snake_case>", …fields}`.

Invariant: every answer that is not a success has a stable `code` and a sentence that says what to do; none carries a
secret or the inside of the server.
"""

from typing import Any

CODES = {
    "agent_archived": "The agent is archived and makes no more calls.",
    "agent_not_inbound": "The agent calls out; name one that answers.",
    "agent_not_outbound": "The agent answers calls; name one that calls out.",
    "body_too_large": "The body is larger than the server takes.",
    "call_unresolved": "What became of an earlier call between these two numbers is not known yet. Try again in a few "
    "minutes.",
    "caller_id_not_verified": "The carrier does not accept `from_number` as caller id.",
    "calls_paused": "The call's hold does not fit into what is available. Add credits, or ask for a shorter call.",
    "carrier_busy": "The carrier has no capacity just now. Nothing was charged; try again shortly.",
    "carrier_refused": "The carrier refused this call. Nothing was charged.",
    "carrier_refuses_us": "The carrier refuses this server's credentials. Nothing was charged; tell its operator.",
    "carrier_unreachable": "The carrier could not be reached. Nothing was charged.",
    "code_expired": "The confirmation code is too old. Ask for a new one.",
    "country_not_allowed": "Calls to this country or region are not allowed.",
    "dial_lost": "On a call: the carrier never confirmed it. Nothing was charged.",
    "endpoint_disabled": "The webhook endpoint is disabled. Enable it first.",
    "http_error": "The request failed.",
    "idempotency_key_reused": "This Idempotency-Key was used with another body.",
    "insufficient_credit": "What is to be bought costs more than is available.",
    "internal_error": "Something went wrong on our side. Nothing was half done; try again.",
    "invalid_from_number": "`from_number` is not an active number of your organisation.",
    "invalid_json": "The body is not valid JSON in UTF-8, or is nested too deeply.",
    "invalid_number": "Not a phone number in E.164, like +14155550123.",
    "invalid_request": "A field or parameter is missing, unknown or of the wrong kind; `field` names it.",
    "invalid_text": "A text contains NUL characters or unpaired surrogates.",
    "invalid_url": "Not an address that the server would call.",
    "method_not_allowed": "This address does not take this method; the header Allow lists those it takes.",
    "no_number": "Your organisation has no active number to call from.",
    "not_found": "There is no such thing, or it is not yours.",
    "number_has_inbound_agent": "Another agent answers this number already.",
    "number_needs_address": "The carrier sells this number only to whoever has an address there.",
    "number_not_allowed": "This number may not be called.",
    "number_not_attached": "The number does not belong to this agent.",
    "number_not_verified": "The number must be verified first.",
    "number_unavailable": "Somebody else has this number.",
    "number_unreachable": "The carrier cannot reach this number.",
    "organisation_suspended": "Your organisation is suspended. Write to support.",
    "over_capacity": "The server cannot do this just now. Nothing was changed; try again.",
    "payments_not_configured": "This server takes no payments.",
    "payments_refused": "The bank refused the request.",
    "payments_unavailable": "The bank cannot be reached just now. Try again.",
    "purchase_unresolved": "Whether the number was bought is not known yet; it is found out by itself.",
    "rate_limited": "Too many requests. Wait as long as the header Retry-After says.",
    "request_timeout": "The body did not arrive in time.",
    "too_many_codes": "Too many confirmation codes were asked for. Wait a while.",
    "too_many_endpoints": "There are as many webhook endpoints as there may be.",
    "topup_rate_limited": "Too many top-ups were begun. Wait a while.",
    "type_is_fixed": "An agent's type cannot be changed.",
    "unauthorized": "The API key is missing, unknown, expired or revoked.",
    "unsupported_media_type": "Send JSON.",
    "wrong_code": "The confirmation code is not the one that was spoken.",
}
"""Every code that the public API answers with, and what it means."""


class ApiError(Exception):
    """An answer that is not a success. `fields` join the body; `headers` the response."""

    def __init__(
        self, status: int, code: str, message: str, headers: dict[str, str] | None = None, **fields: Any
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.fields = status, code, message, fields
        self.headers = headers or {}

    @property
    def body(self) -> dict[str, Any]:
        return {"error": self.message, "code": self.code, **self.fields}


def not_found(what: str, given: str) -> ApiError:
    """Also for what belongs to somebody else: it must not be told apart from what does not exist."""
    return ApiError(404, "not_found", f"{what} {given[:64]} not found")


def invalid(field: str, message: str, code: str = "invalid_request") -> ApiError:
    return ApiError(400, code, message, field=field)
