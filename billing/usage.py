"""The usage rollup: what calls used and cost, in quarter hours and in days of UTC by the time they ended.

Invariant: it is written by the fold that settles or corrects a call, so it always adds up to the ledger's charges, and
a page that shows it costs the same at a thousand and at a million calls.
"""

from billing.tables import usage, usage_days
from config.rows import Rows

QUARTER_MS = 15 * 60_000
DAY_MS = 86_400_000


def count_call(
    rows: Rows, org_id: str, ended_at: int, *, connected_seconds: int, unbilled_seconds: int, charged_milli_cents: int
) -> None:
    """A call has ended."""
    _add(
        rows,
        org_id,
        ended_at,
        calls=1,
        billed_calls=int(charged_milli_cents > 0),
        connected_seconds=connected_seconds,
        unbilled_seconds=unbilled_seconds,
        charged_milli_cents=charged_milli_cents,
    )


def count_correction(
    rows: Rows, org_id: str, ended_at: int, *, seconds: int, refunded_milli_cents: int, all_of_it: bool
) -> None:
    """A charge, or part of one, went back: in the quarter hour where it was counted."""
    _add(
        rows,
        org_id,
        ended_at,
        calls=0,
        billed_calls=-int(all_of_it),
        connected_seconds=-seconds,
        unbilled_seconds=seconds,
        charged_milli_cents=-refunded_milli_cents,
    )


def _add(rows: Rows, org_id: str, ended_at: int, **counters: int) -> None:
    for table, name, length in ((usage, "quarter_at", QUARTER_MS), (usage_days, "day_at", DAY_MS)):
        start = ended_at - ended_at % length
        rows.add(table, f"{org_id}:{start}", {"org_id": org_id, name: start}, counters)
