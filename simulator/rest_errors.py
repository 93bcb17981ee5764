"""Twilio's REST errors, as it words them on the wire.

Invariant: every refusal is `{code, message, more_info, status}` with one of the codes below.
"""

from __future__ import annotations

from typing import Any

ERRORS: dict[int, tuple[int, str]] = {
    10004: (400, "Call concurrency limit exceeded"),
    13224: (400, "Dial: Invalid phone number format"),
    20001: (400, "Invalid parameter"),
    20003: (401, "Authenticate"),
    20004: (405, "Method not allowed"),
    20404: (404, "The requested resource was not found"),
    20429: (429, "Too Many Requests"),
    20500: (500, "Internal Server Error"),
    20503: (503, "Service Unavailable"),
    21201: (400, "No 'To' number is specified"),
    21205: (400, "Url parameter is required, or is not a valid URL"),
    21206: (400, "Invalid SendDigits"),
    21208: (400, "Invalid Timeout"),
    21210: (400, "The source phone number provided is not yet verified for your account"),
    21211: (400, "The phone number you are attempting to call is not valid"),
    21212: (400, "Invalid 'From' phone number"),
    21213: (400, "No 'From' number is specified"),
    21214: (400, "'To' phone number cannot be reached"),
    21215: (400, "Account not authorized to call this number: geographic permissions"),
    21216: (400, "Account not allowed to call this phone number"),
    21217: (400, "Phone number does not appear to be valid"),
    21218: (400, "Invalid ApplicationSid"),
    21219: (400, "The number is unverified. Trial accounts may only make calls to verified numbers"),
    21220: (400, "Call is not in-progress. Cannot redirect or cancel"),
    21421: (400, "PhoneNumber is not a valid phone number"),
    21422: (400, "PhoneNumber is not available"),
    21502: (400, "Invalid VoiceUrl"),
    21609: (400, "Invalid 'StatusCallback' URL"),
    21626: (400, "Invalid 'StatusCallbackEvent'"),
}
"""Code → (HTTP status, message)."""


class RestError(Exception):
    """A request is refused with one of the codes above; `detail` names what exactly is wrong."""

    def __init__(self, code: int, detail: str = "") -> None:
        self.status, message = ERRORS[code]
        self.code = code
        super().__init__(f"{message}: {detail}" if detail else message)

    def body(self) -> dict[str, Any]:
        """The answer's JSON."""
        return {
            "code": self.code,
            "message": str(self),
            "more_info": f"https://www.twilio.com/docs/errors/{self.code}",
            "status": self.status,
        }
