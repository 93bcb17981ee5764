"""The list of calls: its rows, filters and state; and the words for a call's status and for why it was free.

Pure. The one invariant: a live call shows its hold and never a charge; a final one shows its charge.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from billing.money import dollars_down
from dashboard import format as fmt
from dashboard import urls
from dashboard.format import Clock, When
from dashboard.views import Choice, Paging
from dashboard.wallet_view import WalletFacts, suggest_shorter_calls

LIVE = frozenset({"queued", "initiated", "ringing", "in_progress"})

_STATUS_WORDS = {
    "queued": "Queued",
    "initiated": "Dialing",
    "ringing": "Ringing",
    "in_progress": "In progress",
    "completed": "Completed",
    "voicemail": "Voicemail",
    "no_answer": "No answer",
    "busy": "Busy",
    "canceled": "Canceled",
    "failed": "Failed",
}

FREE_BECAUSE = {
    "free_zero_duration": "Ended as answered",
    "free_detection": "Ended in detection",
    "free_voicemail": "Voicemail",
    "free_fax": "Fax",
    "free_no_verdict": "Ended before a verdict",
    "free_platform_error": "Our fault",
    "free_busy": "Busy",
    "free_no_answer": "No answer",
    "free_failed": "Not dialed",
    "free_canceled": "Canceled",
}
"""Why a hold came back whole, in a word or few, by billing reason."""


@dataclass(frozen=True, slots=True)
class CallFacts:
    """A call as the API shows it, as far as pages need it; moments are UTC epoch milliseconds.

    `billed_duration_seconds` and `billing_amount_milli_cents` are those of the settlement; a later refund
    is in `refunded_milli_cents`.
    """

    id: str
    direction: str
    status: str
    to_number: str
    from_number: str
    created_at: int
    max_duration_seconds: int
    rate_milli_cents_per_minute: int
    hold_milli_cents: int
    agent_id: str | None = None
    agent_name: str = ""
    started_at: int | None = None
    answered_at: int | None = None
    connected_at: int | None = None
    ended_at: int | None = None
    answered_by: str | None = None
    duration_seconds: int | None = None
    billed_duration_seconds: int | None = None
    billing_amount_milli_cents: int | None = None
    billing_reason: str | None = None
    reservation_status: str | None = None
    refunded_milli_cents: int = 0
    error_code: str | None = None
    error_message: str | None = None

    @property
    def is_live(self) -> bool:
        return self.status in LIVE

    @property
    def other_number(self) -> str:
        """The number at the other end of the line."""
        return self.from_number if self.direction == "inbound" else self.to_number


@dataclass(frozen=True, slots=True)
class Status:
    """A status's key (of its colour and, when final, its icon) and its word."""

    key: str
    label: str
    is_live: bool


@dataclass(frozen=True, slots=True)
class CallRow:
    """A row, named by `id`.

    `connected_seconds` is None before anybody answered; `clock_from` is where the module counts on from.
    `charge` is None while live; `held` is then the hold.
    """

    id: str
    url: str
    status: Status
    direction: str
    number: str
    agent: str
    when: When
    connected_seconds: int | None
    clock_from: int | None
    held: str
    charge: int | None
    refunded: bool


@dataclass(frozen=True, slots=True)
class CallFilters:
    """What the list is narrowed to; empty strings mean everything."""

    direction: str = ""
    state: str = ""
    agent_id: str = ""

    @property
    def narrows(self) -> bool:
        return bool(self.direction or self.state or self.agent_id)


@dataclass(frozen=True, slots=True)
class CallList:
    """The page; `first_call` stands in for the table while the account has no call at all."""

    live_summary: str
    directions: tuple[Choice, ...]
    filters: CallFilters
    states: tuple[Choice, ...]
    agents: tuple[Choice, ...]
    rows: tuple[CallRow, ...]
    zone: str
    paging: Paging
    first_call: "FirstCall | None" = None


@dataclass(frozen=True, slots=True)
class FirstCall:
    """What a new account needs for its first call: what its credit is worth, and how many calls it has room for."""

    worth: str
    room: str
    suggestion: tuple[str, str] | None
    has_key: bool
    has_number: bool
    curl: str


def status(call: CallFacts) -> Status:
    """A call's status: one that a machine or a fax answered ends as no answer and is named after it.

    A charged call whose machine verdict came late stays completed; its refund tells the rest.
    """
    key = call.status
    if key == "no_answer" and call.answered_by == "machine":
        key = "voicemail"
    label = "Fax" if key == "no_answer" and call.answered_by == "fax" else _STATUS_WORDS.get(key, key)
    return Status(key, label, call.is_live)


def connected_seconds(call: CallFacts, now_ms: int) -> int | None:
    """Connected seconds so far, or in the end; None before anybody answered."""
    if not call.is_live:
        return call.billed_duration_seconds or 0
    if call.connected_at is None:
        return None
    return min(call.max_duration_seconds, max(0, (now_ms - call.connected_at) // 1000))


def row(call: CallFacts, clock: Clock) -> CallRow:
    """A call as a row of the list."""
    charge = None if call.is_live else (call.billing_amount_milli_cents or 0) - call.refunded_milli_cents
    return CallRow(
        id=f"call-{call.id}",
        url=urls.call(call.id),
        status=status(call),
        direction=call.direction,
        number=fmt.phone(call.other_number),
        agent=call.agent_name,
        when=clock.time(call.created_at),
        connected_seconds=connected_seconds(call, clock.now_ms),
        clock_from=call.connected_at if call.is_live else None,
        held=fmt.dollars(call.hold_milli_cents),
        charge=charge,
        refunded=call.refunded_milli_cents > 0,
    )


STATES = {
    "": "All states",
    "live": "Live",
    "completed": "Completed",
    "voicemail": "Voicemail",
    "no_answer": "No answer",
    "busy": "Busy",
    "canceled": "Canceled",
    "failed": "Failed",
}
_DIRECTIONS = {"": "All", "outbound": "Outbound", "inbound": "Inbound"}


def call_list(
    calls: Sequence[CallFacts],
    *,
    filters: CallFilters,
    agents: Sequence[tuple[str, str]],
    live_calls: int,
    held_milli_cents: int,
    total: int | None,
    older_before: str | None,
    is_first_page: bool,
    clock: Clock,
    first_call: FirstCall | None = None,
) -> CallList:
    """The page for calls newest first; `agents` are (id, name), `total` is None where it was not counted."""

    def address(direction: str, before: str | None = None) -> str:
        return urls.calls(direction=direction, state=filters.state, agent_id=filters.agent_id, before=before)

    shown = len(calls)
    summary = fmt.count(shown, "call") if total is None else f"{shown:,} of {fmt.count(total, 'call')}"
    return CallList(
        live_summary=f"{live_calls:,} live · {fmt.dollars(held_milli_cents)} held" if live_calls else "None live",
        directions=tuple(Choice(address(key), label, key == filters.direction) for key, label in _DIRECTIONS.items()),
        filters=filters,
        states=tuple(Choice(key, label, key == filters.state) for key, label in STATES.items()),
        agents=tuple(Choice(key, name, key == filters.agent_id) for key, name in (("", "All agents"), *agents)),
        rows=tuple(row(call, clock) for call in calls),
        zone=clock.label,
        paging=Paging(
            summary,
            newer_url="" if is_first_page else address(filters.direction),
            older_url=address(filters.direction, older_before) if older_before else "",
        ),
        first_call=first_call,
    )


def first_call(wallet: WalletFacts, *, has_key: bool, has_number: bool, api_url: str) -> FirstCall:
    """The page of an account without a call; `api_url` is where its requests go."""
    suggestion = suggest_shorter_calls(wallet)
    available, hold = dollars_down(wallet.available), fmt.dollars(wallet.hold)
    minutes = max(0, wallet.available) // wallet.rate
    room = f"so {available} has room for {wallet.calls_left:,} at a time."
    return FirstCall(
        worth=f"Your {available} of credit is {fmt.count(minutes, 'connected minute')}." if minutes else "",
        room=f"{hold} is held while a call is live, {room if wallet.calls_left else 'so it takes that much credit.'}",
        suggestion=suggestion,
        has_key=has_key,
        has_number=has_number,
        curl=curl_line(api_url),
    )


def curl_line(api_url: str) -> str:
    """The request to paste; "$YOUR_PHONE" and "$CALLINGBOX_API_KEY" are the reader's own."""
    return f"""curl {api_url}/v1/calls \\
  -H "Authorization: Bearer $CALLINGBOX_API_KEY" \\
  -H "Content-Type: application/json" \\
  -d '{{"to": "'"$YOUR_PHONE"'", "prompt": "Ask me how my day was."}}'"""
