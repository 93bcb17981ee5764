"""How often somebody may ask, per minute.

Owns one bucket per name, in this process. Invariant: over any span, at most the rate of that span plus one burst
passes; what is refused is told exactly how long to wait.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address, ip_network

OF_ONE_IPV6_CUSTOMER = 64
"""Bits: whoever is given IPv6 addresses is given all that begin alike."""
BUCKETS_LIMIT = 50_000
ROUNDING_SECONDS = 1e-6
"""What sums of times may be off by: without it, who may ask once a minute could be refused the first time."""


@dataclass(slots=True)
class RateLimit:
    """A leaky bucket for each name: `per_minute` requests, in a burst or spread. 0 lifts the limit."""

    per_minute: int
    _full_until: dict[str, float] = field(default_factory=dict)

    def wait_seconds(self, name: str, now: float) -> float:
        """0 if the request may pass (and is counted), else how long until one may. `now` in seconds, monotonic."""
        if self.per_minute == 0:
            return 0.0
        if len(self._full_until) > BUCKETS_LIMIT:
            self._full_until = {known: until for known, until in self._full_until.items() if until > now}
        step = 60 / self.per_minute
        until = max(self._full_until.get(name, 0.0), now)
        wait = until + step - now - 60
        if wait > ROUNDING_SECONDS:
            return wait
        self._full_until[name] = until + step
        return 0.0


def origin(peer: str | None, forwarded: Sequence[str], proxies: int) -> str:
    """Who is limited: the address that the outermost of our own proxies saw. Each appends the address of its peer to
    `forwarded`; what stands before those is the client's own invention."""
    hops = [*forwarded, peer or ""][-proxies - 1 :]
    try:
        address = ip_address(hops[0].strip())
    except ValueError:  # a proxy that does not do as it was said to: then all behind it are one
        return peer or ""
    if not isinstance(address, IPv6Address):
        return str(address)
    return str(address.ipv4_mapped or ip_network((address, OF_ONE_IPV6_CUSTOMER), strict=False))
