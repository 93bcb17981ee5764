"""How often somebody may ask, per minute.

Owns one bucket per name, in this process. Invariant: over any span, at most the rate of that span plus one burst
passes; what is refused is told exactly how long to wait.
"""

from dataclasses import dataclass, field

BUCKETS_LIMIT = 50_000


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
        if wait > 0:
            return wait
        self._full_until[name] = until + step
        return 0.0
