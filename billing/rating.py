"""What connected time costs, and the worst case that is reserved for it.

Invariant: for every call, 0 ≤ charge ≤ hold.
"""

from dataclasses import dataclass

SHORTEST_MAXIMUM_SECONDS = 60
LONGEST_MAXIMUM_SECONDS = 3_600


def charge_milli_cents(connected_seconds: int, rate_milli_cents_per_minute: int) -> int:
    """Never a fraction more than the time used."""
    return connected_seconds * rate_milli_cents_per_minute // 60


def hold_milli_cents(max_duration_seconds: int, rate_milli_cents_per_minute: int) -> int:
    """The worst case of one call: all of its maximum, connected."""
    return charge_milli_cents(max_duration_seconds, rate_milli_cents_per_minute)


@dataclass(frozen=True, slots=True)
class Terms:
    """What calls cost on this server, and how long they may last."""

    rate_milli_cents_per_minute: int
    max_duration_seconds: int

    def default_hold(self, longest_seconds: int | None) -> int:
        """Milli-cents held for a call of an organisation's longest length (None: it set none of its own)."""
        longest = min(longest_seconds or self.max_duration_seconds, self.max_duration_seconds)
        return hold_milli_cents(longest, self.rate_milli_cents_per_minute)
