"""`/metrics`: what this process has seen, and how the database stands, in Prometheus' text form.

Invariant: counting costs next to nothing and imports nothing; Prometheus' library is loaded when somebody first asks.
Counters are this process's own (Prometheus adds them up); gauges about holds and deliveries are the database's.
"""

import asyncio
import hmac
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from quart import Blueprint, Response, current_app, request
from sqlalchemy import func, select, text

from config.database import Database
from config.door import Door
from config.errors import ApiError
from config.settings import Settings
from voice.effects import HangUp, Refund, Release, Settle
from voice.events import CarrierAsked, DialNotFound, TimePassed
from voice.live.store import StoreTalk
from voice.move_call import MoveCall
from voice.outcomes import Moved, Paused, Rejected
from voice.tables import IS_LIVE, calls, numbers

blueprint = Blueprint("metrics", __name__)

LOOPBACK = ("127.0.0.1", "::1")
FORWARDED = ("X-Forwarded-For", "Forwarded", "X-Real-Ip")
QUERY_TIMEOUT_SECONDS = 5


@dataclass
class Histogram:
    """How many values were at most each bound, and their sum."""

    bounds: Sequence[float]
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def cumulated(self) -> list[tuple[str, float]]:
        """("bound", how many were at most that), the last bound being +Inf."""
        so_far, rows = 0, []
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            so_far += count
            rows.append((bound, float(so_far)))
        return rows


class Tally:
    """What passes through this process's door, counted after its commit."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self.ended: Counter[tuple[str, str]] = Counter()
        """By direction and billing reason, `paused` or the refusal's code."""
        self.corrections: Counter[str] = Counter()
        self.callback_delay_seconds = Histogram((0.1, 0.25, 0.5, 1, 2, 5, 15, 60, 300, 1800))
        self.relay_latency_seconds = Histogram((0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10))
        self.batch_sizes = Histogram((1, 2, 4, 8, 16, 32, 64, 128, 256))
        door.batch_sizes = self.batch_sizes.add
        door.committed.append(self._committed)

    @property
    def waiting(self) -> int:
        return self._door.depth

    def _committed(self, command: Any, result: Any) -> None:
        match result:
            case Moved():
                self._moved(command, result)
            case Paused(call=call) if call is not None:
                self.ended[call.direction, "calls_paused"] += 1
            case Rejected(code=code, call=call) if call is not None:
                self.ended[call.direction, code] += 1
        if isinstance(command, StoreTalk):
            for latency in command.latencies:
                self.relay_latency_seconds.add(latency.total_ms / 1000)

    def _moved(self, command: Any, moved: Moved) -> None:
        event = command.event if isinstance(command, MoveCall) else None
        if any(isinstance(effect, Settle | Release) for effect in moved.effects):
            self.ended[moved.call.direction, str(moved.call.billing_reason)] += 1
            self.corrections["ended_by_asking"] += isinstance(event, CarrierAsked | DialNotFound)
        for effect in moved.effects:
            self.corrections["refunded"] += isinstance(effect, Refund)
            self.corrections["hung_up"] += isinstance(effect, HangUp) and isinstance(event, TimePassed)
        observation = command.observation if isinstance(command, MoveCall) else None
        if observation is not None and observation.source == "callback" and observation.carrier_at is not None:
            self.callback_delay_seconds.add(max(0, self._door.clock() - observation.carrier_at) / 1000)


@dataclass(frozen=True, slots=True)
class Standing:
    """How the database stands."""

    open_holds: int
    oldest_hold_seconds: float
    deliveries_due: int


async def standing(database: Database, now: int) -> Standing:
    """Raises Unavailable."""
    reserved = select(func.count(), func.min(calls.c.created_at)).where(
        text(IS_LIVE),
        calls.c.reservation_status == "reserved",  # the first names the index
    )
    buying = select(func.count(), func.min(numbers.c.purchased_at)).where(
        numbers.c.due_at.is_not(None), numbers.c.status == "pending"
    )
    due = text(
        "SELECT count(*) FROM webhook_deliveries WHERE next_attempt_at <= :now"
    )  # that room is not ours to enter
    async with database.read() as connection:
        holds = [(await connection.execute(query)).one() for query in (reserved, buying)]
        deliveries = (await connection.execute(due, {"now": now})).scalar_one()
    oldest = min((since for _, since in holds if since is not None), default=now)
    return Standing(sum(count for count, _ in holds), max(0, now - oldest) / 1000, deliveries)


def families(tally: Tally, stands: Standing, effects: int) -> Iterator[Any]:
    """In the library's own shapes."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    def name(word: str) -> str:
        return f"callingbox_{word}"

    ended = CounterMetricFamily(name("calls"), "Calls that ended, by outcome", labels=("direction", "outcome"))
    for labels, count in sorted(tally.ended.items()):
        ended.add_metric(labels, count)
    yield ended
    corrections = CounterMetricFamily(name("corrections"), "What had to be found out or put right", labels=("kind",))
    for kind in ("ended_by_asking", "hung_up", "refunded"):
        corrections.add_metric((kind,), tally.corrections[kind])
    yield corrections
    for word, help_text, histogram in (
        ("callback_delay_seconds", "From the carrier's time of an event to its commit", tally.callback_delay_seconds),
        ("relay_latency_seconds", "From the end of a caller's words to the agent's first", tally.relay_latency_seconds),
        ("door_batch_size", "Commands that shared a commit", tally.batch_sizes),
    ):
        shown = HistogramMetricFamily(name(word), help_text)
        shown.add_metric((), histogram.cumulated(), histogram.total)
        yield shown
    for word, help_text, value in (
        ("open_holds", "Calls and purchases of numbers that hold credit now", stands.open_holds),
        ("oldest_hold_seconds", "Age of the oldest of them", stands.oldest_hold_seconds),
        ("outbox_effects", "Requests to the carrier under way in this process", effects),
        ("outbox_deliveries_due", "Events for customers' servers that are due", stands.deliveries_due),
        ("door_waiting", "Commands that wait for this process's door", tally.waiting),
    ):
        yield GaugeMetricFamily(name(word), help_text, value=value)


@blueprint.record
def count_from_the_beginning(state: Any) -> None:
    state.app.extensions["tally"] = Tally(state.app.extensions["door"])


@blueprint.get("/metrics")
async def metrics() -> Response:
    """For who shows METRICS_TOKEN as a bearer token; where none is set, for direct requests of this machine alone."""
    extensions = current_app.extensions
    _check_reader(extensions["settings"])
    door: Door = extensions["door"]
    async with asyncio.timeout(QUERY_TIMEOUT_SECONDS):
        stands = await standing(extensions["database"], door.clock())
    shown = _rendered(list(families(extensions["tally"], stands, extensions["calls"].outbox.depth)))
    return Response(shown, content_type="text/plain; version=0.0.4; charset=utf-8")


def _check_reader(settings: Settings) -> None:
    """Raises ApiError 401."""
    token = settings.metrics_token.get_secret_value()
    if token:
        shown = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(shown.encode(), token.encode()):
            raise ApiError(401, "unauthorized", "Show METRICS_TOKEN as a bearer token.")
    elif (
        request.remote_addr not in LOOPBACK
        or any(header in request.headers for header in FORWARDED)
        or settings.public_base_url.startswith("https")  # a proxy stands before us, and not each says for whom it asks
    ):
        raise ApiError(401, "unauthorized", "Set METRICS_TOKEN to read metrics from another machine.")


def _rendered(found: list[Any]) -> bytes:
    from prometheus_client import CollectorRegistry, generate_latest

    class Once:
        def collect(self) -> list[Any]:
            return found

    registry = CollectorRegistry()
    registry.register(Once())
    return generate_latest(registry)
