"""What goes wrong at our edges, in one shape: `{"error": "<sentence>", "code": "<snake_case>", …fields}`.

Invariant: every answer that is not a success has a stable `code` and a sentence that says what to do; none carries a
secret or the inside of the server.
"""

from typing import Any

from config.codes import CODES


class ApiError(Exception):
    """An answer that is not a success. `fields` join the body; `headers` the response."""

    def __init__(
        self, status: int, code: str, message: str, headers: dict[str, str] | None = None, **fields: Any
    ) -> None:
        super().__init__(message)
        assert status in (CODES[code].statuses or (status,)), f"{code} is not answered with {status}"
        self.status, self.code, self.message, self.fields = status, code, message, fields
        self.headers = headers or {}

    @property
    def body(self) -> dict[str, Any]:
        return {"error": self.message, "code": self.code, **self.fields}


def refused(code: str, message: str, **fields: Any) -> ApiError:
    """With the status that the table says."""
    return ApiError(CODES[code].statuses[0], code, message, **fields)


def not_found(what: str, given: str) -> ApiError:
    """Also for what belongs to somebody else: it must not be told apart from what does not exist."""
    return ApiError(404, "not_found", f"{what} {given[:64]} not found")


def invalid(field: str, message: str, code: str = "invalid_request") -> ApiError:
    return ApiError(400, code, message, field=field)
