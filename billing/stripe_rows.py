"""What both kinds of facts from Stripe need of the rows: the event that told them, and the keys of what they moved.

Invariant: an event is kept once, in the transaction of what it told.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from billing.tables import stripe_events
from billing.topup_rows import Heard
from config.rows import Read, Rows


@dataclass(frozen=True, slots=True)
class EventSeen:
    """A verified event. `created_at` in ms; `said`: the facts read from it."""

    id: str
    type: str
    object_id: str
    created_at: int
    said: Mapping[str, Any]


def event_reads(event: EventSeen | None) -> Sequence[Read]:
    return () if event is None else (Read(stripe_events, "id", (event.id,)),)


def note_event(rows: Rows, event: EventSeen | None, heard: Heard, now: int) -> None:
    if event is not None and rows.get(stripe_events, event.id) is None:
        said = {"outcome": heard.outcome, "said": dict(event.said), "arrived_at": now}
        rows.insert(
            stripe_events,
            {
                "id": event.id,
                "type": event.type,
                "object_id": event.object_id,
                "created_at": event.created_at,
                **said,
            },
        )


def reversal_keys(reversal_ids: Iterable[str]) -> list[str]:
    """Ledger keys of refunds and disputes; the further ones of a split take are unique by their count."""
    return [
        f"{word}:{reversal_id}"
        for reversal_id in reversal_ids
        for word in ("refund", "refund_undo", "dispute", "dispute_won")
    ]
