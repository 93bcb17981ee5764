"""When a delivery is tried, and when an endpoint is given up. Pure.

Invariant: a delivery is tried at most eight times, over about 42 hours, unless somebody asks for it again.
"""

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
RETRY_MS = (MINUTE_MS, 5 * MINUTE_MS, 30 * MINUTE_MS, 2 * HOUR_MS, 5 * HOUR_MS, 10 * HOUR_MS, 24 * HOUR_MS)
"""From the end of each attempt to the next one. The first is made at once."""
SPREAD = 0.2
"""So that what failed together is not tried together."""
GIVEN_UP_IN_A_ROW = 10
"""So many deliveries given up without one success between them disable their endpoint."""


def next_attempt_at(attempts: int, now: int, chance: float) -> int | None:
    """After so many attempts, the last one just now; None: no more. `chance` is random, from 0 to 1."""
    if attempts > len(RETRY_MS):
        return None
    return now + round(RETRY_MS[attempts - 1] * (1 - SPREAD + 2 * SPREAD * chance))


def accepted(response_status: int | None) -> bool:
    """A redirect is no acceptance: we would have to follow it."""
    return response_status is not None and 200 <= response_status < 300


def wants(enabled_events: list[str], name: str) -> bool:
    return "*" in enabled_events or name in enabled_events
