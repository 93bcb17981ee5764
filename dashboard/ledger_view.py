"""The ledger in words: every transfer of a wallet, with what it was for.

Pure. The one invariant: amounts are the transfers' own; credit and held are never added together.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from dashboard import format as fmt
from dashboard import urls
from dashboard.calls_view import FREE_BECAUSE
from dashboard.format import Clock, When
from dashboard.views import Choice, Paging


@dataclass(frozen=True, slots=True)
class Transfer:
    """A ledger row as stored, with what it was for; amounts in milli-cents.

    `call_*`, `billed_seconds` and `billing_reason` are the call's where it has one; `reason` is an
    adjustment's; `number` is the purchased number's.
    """

    id: str
    kind: str
    amount: int
    balance_delta: int
    held_delta: int
    balance_after: int
    held_after: int
    sequence: int
    created_at: int
    call_id: str | None = None
    call_number: str = ""
    call_direction: str = "outbound"
    billed_seconds: int | None = None
    billing_reason: str | None = None
    reason: str = ""
    number: str = ""


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """A row of the ledger; `before` is the text in front of the linked `number`."""

    kind: str
    label: str
    before: str
    number: str
    url: str
    when: When
    sequence: int
    balance_delta: int
    held_delta: int
    balance_after: int
    held_after: int


@dataclass(frozen=True, slots=True)
class Ledger:
    """A page of the ledger."""

    filters: tuple[Choice, ...]
    entries: tuple[LedgerEntry, ...]
    paging: Paging
    csv_url: str


_LABELS = {
    "free_credit": "Free credit",
    "topup": "Top-up",
    "hold": "Hold reserved",
    "settle": "Call charged",
    "release": "Hold released",
    "refund": "Charge refunded",
    "refund_voicemail": "Voicemail refunded",
    "topup_refund": "Top-up refunded",
    "topup_refund_undo": "Refund undone",
    "dispute": "Dispute",
    "dispute_won": "Dispute won",
    "adjustment": "Adjustment",
    "number_hold": "Hold reserved",
    "number_settle": "Number charged",
    "number_release": "Hold released",
    "number_refund": "Number refunded",
}
_FOR = {
    "free_credit": "Email confirmed",
    "topup": "Stripe payment",
    "topup_refund": "Stripe refund",
    "topup_refund_undo": "Stripe refund failed",
    "dispute": "Taken while a bank decides",
    "dispute_won": "Exactly what was taken",
}
_QUIET = {"number_hold": "hold", "number_release": "release"}


def entry(transfer: Transfer, clock: Clock) -> LedgerEntry:
    """A ledger row in words."""
    before, number = _what_for(transfer)
    return LedgerEntry(
        kind=_QUIET.get(transfer.kind, transfer.kind),
        label=_LABELS.get(transfer.kind, transfer.kind.replace("_", " ").capitalize()),
        before=before,
        number=fmt.phone(number) if number else "",
        url=urls.call(transfer.call_id) if transfer.call_id else "",
        when=clock.time(transfer.created_at),
        sequence=transfer.sequence,
        balance_delta=transfer.balance_delta,
        held_delta=transfer.held_delta,
        balance_after=transfer.balance_after,
        held_after=transfer.held_after,
    )


def _what_for(transfer: Transfer) -> tuple[str, str]:
    """The words before a number, and the number (empty where there is none)."""
    if transfer.kind in _FOR:  # their reasons are ids, for the CSV
        return _FOR[transfer.kind], ""
    if transfer.reason:
        return transfer.reason, ""
    if transfer.kind.startswith("number_"):
        return "Number", transfer.number
    if not transfer.call_id:
        return "", ""
    toward = "from" if transfer.call_direction == "inbound" else "to"
    match transfer.kind:
        case "settle" if transfer.billed_seconds is not None:
            return f"{fmt.duration(transfer.billed_seconds)} {toward}", transfer.call_number
        case "release":
            return f"{FREE_BECAUSE.get(transfer.billing_reason or '', 'Not charged')},", transfer.call_number
        case "refund_voicemail":
            return "Late voicemail verdict,", transfer.call_number
        case _:
            return f"Call {toward}", transfer.call_number


def ledger(
    transfers: Sequence[Transfer],
    *,
    total: int | None,
    entries: str,
    period: str,
    older_before: str | None,
    is_first_page: bool,
    clock: Clock,
) -> Ledger:
    """A page of the ledger, newest first.

    `entries` is "all" or "credit" (without holds); `total` is None where it was not counted;
    `older_before` is the cursor of the next page, None on the last.
    """

    def address(chosen: str, before: str | None = None) -> str:
        kept = chosen if chosen != "all" else None
        return urls.billing(period=period, entries=kept, before=before, part="ledger")

    shown = len(transfers)
    summary = fmt.count(shown, "entry", "entries")
    if total is not None:
        summary = f"{shown:,} of {fmt.count(total, 'entry', 'entries')}"
    return Ledger(
        filters=(
            Choice(address("all"), "All", entries == "all"),
            Choice(address("credit"), "Without holds", entries == "credit"),
        ),
        entries=tuple(entry(transfer, clock) for transfer in transfers),
        paging=Paging(
            summary,
            newer_url="" if is_first_page else address(entries),
            older_url=address(entries, older_before) if older_before else "",
        ),
        csv_url=urls.ledger_csv(None if entries == "all" else entries),
    )
