"""Proof that a request comes from our carrier.

Invariant: the signed address is built from the configured public address plus the raw path and query, never from
what the client calls its host. Anything missing or malformed is simply not proven.
"""

from collections.abc import Mapping

from twilio.request_validator import (
    SIGNATURE_HEADER,
    SIGNATURE_SETTINGS_HEADER,
    RequestValidator,
    get_signature_algorithm,
)
from werkzeug.datastructures import MultiDict


class SignatureCheck:
    """Checks HMAC-SHA1 signatures, and HMAC-SHA256 ones made with the same account key."""

    def __init__(self, auth_token: str, public_base_url: str) -> None:
        self._validator = RequestValidator(auth_token)
        self._base = public_base_url
        self._socket_base = public_base_url.replace("http", "ws", 1)

    def passes(self, raw_path_and_query: str, parameters: MultiDict[str, str], headers: Mapping[str, str]) -> bool:
        """`parameters`: the form's fields with all their values, blank ones included."""
        return self._signed(self._base + raw_path_and_query, parameters, headers)

    def handshake_passes(self, raw_path_and_query: str, headers: Mapping[str, str]) -> bool:
        """A WebSocket's handshake is signed over its wss address, with or without a trailing slash."""
        address = self._socket_base + raw_path_and_query
        others = (address, address.rstrip("/"), address.rstrip("/") + "/")
        return any(self._signed(candidate, MultiDict(), headers) for candidate in others)

    def _signed(self, address: str, parameters: MultiDict[str, str], headers: Mapping[str, str]) -> bool:
        signature = headers.get(SIGNATURE_HEADER)
        if not signature:
            return False
        algorithm = get_signature_algorithm(headers.get(SIGNATURE_SETTINGS_HEADER))
        try:
            return bool(self._validator.validate(address, parameters, signature, algorithm=algorithm))
        except (TypeError, ValueError):
            return False
