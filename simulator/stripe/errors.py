"""Owns the answers that refuse a request. Invariant: every refusal has the shape the official SDK reads."""

from typing import Any


class ApiError(Exception):
    """A refusal as Stripe words it: `{"error": {"type", "message", "code"?, "param"?, …}}`.

    `status` is the HTTP status. `details` are further fields of the error, such as `decline_code` or the
    `payment_intent` a card error belongs to.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        **details: Any,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        named = {"type": kind, "message": message, "code": code, "param": param, **details}
        self.body = {"error": {name: value for name, value in named.items() if value is not None}}


def missing(kind: str, object_id: str, *, status: int = 400, param: str = "id") -> ApiError:
    """Nothing of this kind has the id: 404 in a path, 400 in a parameter."""
    return ApiError(f"No such {kind}: '{object_id}'", status=status, code="resource_missing", param=param)
