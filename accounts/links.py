"""Links in mails: signed, for one purpose, for a limited time.

Invariant: a link proves that its holder received the mail, and stops working when what it was about has changed.
"""

from dataclasses import dataclass
from typing import Any

from itsdangerous import BadData, URLSafeTimedSerializer

VERIFY_SECONDS = 7 * 86_400
RESET_SECONDS = 3_600
INVITE_SECONDS = 7 * 86_400


@dataclass(frozen=True, slots=True)
class Links:
    """Makes and reads tokens with the server's secret."""

    secret: str

    def make(self, purpose: str, *facts: str) -> str:
        return str(self._serializer(purpose).dumps(list(facts)))

    def read(self, purpose: str, token: str, max_age_seconds: int) -> list[str] | None:
        """The facts, or None if the token is forged, old or for something else."""
        try:
            facts: Any = self._serializer(purpose).loads(token[:2_000], max_age=max_age_seconds)
        except BadData:
            return None
        return facts if isinstance(facts, list) and all(isinstance(fact, str) for fact in facts) else None

    def _serializer(self, purpose: str) -> URLSafeTimedSerializer:
        return URLSafeTimedSerializer(self.secret, salt=f"callingbox:{purpose}")
