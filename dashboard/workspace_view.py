"""Agents, numbers, API keys, the do-not-call list and settings: what their pages take.

Pure. The one invariant: a secret is in a view only on the page that answers its creation.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from billing.money import dollars_down
from dashboard import format as fmt
from dashboard.views import Choice, Form, Paging
from dashboard.wallet_view import LongestCall

# ---------- agents ----------


@dataclass(frozen=True, slots=True)
class AgentRow:
    """An agent in the list; `numbers` in E.164, `kind` inbound or outbound."""

    id: str
    name: str
    kind: str
    numbers: tuple[str, ...]
    language: str
    max_duration_seconds: int
    updated_at: int


@dataclass(frozen=True, slots=True)
class AgentPage:
    """The form of an agent: a new one has no `id` and cannot be tried yet.

    `numbers` are (id, E.164) with what is ticked; `form` holds the other fields by their API names, with
    `returns` as lines "field: type" and `tools` as JSON text.
    """

    id: str
    name: str
    kind: str
    form: Form
    numbers: tuple[Choice, ...]
    primary_numbers: tuple[Choice, ...]
    languages: tuple[Choice, ...]


def returns_text(returns: Mapping[str, str]) -> str:
    """The fields an agent fills in, one a line: "confirmed: boolean"."""
    return "\n".join(f"{name}: {kind}" for name, kind in returns.items())


# ---------- numbers ----------


@dataclass(frozen=True, slots=True)
class NumberRow:
    """A number of the organisation; `agents` are the names of those that call from it."""

    id: str
    e164: str
    name: str
    kind: str
    status: str
    inbound_agent: str
    agents: tuple[str, ...]
    monthly_milli_cents: int
    renews_at: int | None


@dataclass(frozen=True, slots=True)
class Offer:
    """A number that can be bought."""

    e164: str
    place: str
    kind: str
    monthly_milli_cents: int


@dataclass(frozen=True, slots=True)
class NumberSearch:
    """What was searched for and what was found; `offers` None before a search."""

    form: Form
    countries: tuple[Choice, ...]
    kinds: tuple[Choice, ...]
    offers: tuple[Offer, ...] | None = None


@dataclass(frozen=True, slots=True)
class VerifiedRow:
    """A number that callers can be forwarded to, once the code told there has come back."""

    e164: str
    is_verified: bool
    told_at: int


@dataclass(frozen=True, slots=True)
class NumbersPage:
    """All numbers, what can be bought, and where callers can be forwarded."""

    numbers: tuple[NumberRow, ...]
    search: NumberSearch
    verified: tuple[VerifiedRow, ...]
    verify_form: Form


@dataclass(frozen=True, slots=True)
class NumberPage:
    """A number's settings: who answers it, and where a caller goes while calls are paused."""

    number: NumberRow
    form: Form
    inbound_agents: tuple[Choice, ...]
    fallback_numbers: tuple[Choice, ...]


def number_kind(kind: str) -> str:
    """local → "Local", toll_free → "Toll-free"."""
    return {"toll_free": "Toll-free"}.get(kind, kind.replace("_", " ").capitalize())


# ---------- API keys ----------


@dataclass(frozen=True, slots=True)
class ApiKeyRow:
    """A key by its beginning; `status` is active, expired or revoked."""

    id: str
    name: str
    beginning: str
    status: str
    created_at: int
    created_by: str
    expires_at: int | None
    limits: str = ""


@dataclass(frozen=True, slots=True)
class ApiKeysPage:
    """The page; `secret` is a key just created, shown this once, and `try_line` a request to paste."""

    keys: tuple[ApiKeyRow, ...]
    form: Form
    expiries: tuple[Choice, ...]
    secret: str = ""
    try_line: str = ""


# ---------- numbers to leave alone ----------


@dataclass(frozen=True, slots=True)
class ListedRow:
    """A number on a list: by a callee's own words on a call, or added by hand with a note."""

    e164: str
    added_at: int
    call_id: str | None = None
    note: str = ""
    added_by: str = ""


@dataclass(frozen=True, slots=True)
class ListWords:
    """What one of the lists is called and says; `removal` goes on after the number."""

    title: str
    lead: str
    placeholder: str
    removal: str
    empty_title: str
    empty: str


@dataclass(frozen=True, slots=True)
class ListPage:
    """One of the lists, newest first; `url` is where its entries are added."""

    url: str
    tabs: tuple[Choice, ...]
    words: ListWords
    rows: tuple[ListedRow, ...]
    form: Form
    paging: Paging


DO_NOT_CALL = ListWords(
    "Do not call",
    "Nobody here calls these numbers: a dial to one is refused before anything is held. Whoever tells an agent to stop "
    "calling is put here by itself.",
    "Asked by mail",
    "may be called again. Do so only with this person’s consent.",
    "Nobody on the list",
    "Numbers appear here when somebody on the phone asks not to be called again, or when you add them.",
)
BLOCKED_CALLERS = ListWords(
    "Blocked callers",
    "Calls from these numbers are rejected before anything is held; callers hear that the number is not in service.",
    "Prank calls",
    "can call you again.",
    "Nobody is blocked",
    "Add a number to reject its calls, or “anonymous” for callers who show none.",
)


# ---------- settings ----------


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody of the organisation; `is_you` cannot remove themselves."""

    id: str
    email: str
    joined_at: int
    is_you: bool


@dataclass(frozen=True, slots=True)
class Invitation:
    """Somebody asked to join who has not yet."""

    id: str
    email: str
    sent_at: int


def closing_ends(
    *, members: int, live_calls: int, batches: int, numbers: int, available: int
) -> tuple[tuple[str, str], ...]:
    """What closing the account does to each part of it. `available` in milli-cents."""
    calls = (
        "1 call under way goes on to its end and is charged as usual."
        if live_calls == 1
        else f"{fmt.count(live_calls, 'call')} under way go on to their end and are charged as usual."
        if live_calls
        else "None is under way."
    )
    left = (
        f"{dollars_down(available)} is left. What remains of your top-ups goes back to the card it came from; free "
        "credit ends."
        if available > 0
        else f"{dollars_down(available)}: what is below zero stays owed."
        if available < 0
        else "None is left."
    )
    ends = (
        ("People", f"{fmt.count(members, 'member')} logged out at once, everywhere.", True),
        ("API keys", "Stop working at once.", True),
        ("Calls", f"{calls} New ones are refused.", True),
        ("Batches", f"{fmt.count(batches, 'batch', 'batches')} canceled.", batches > 0),
        ("Numbers", f"{fmt.count(numbers, 'number')} given back. Nobody can promise you the same again.", numbers > 0),
        ("Credit", left, True),
        ("Records", "Calls and the ledger stay with us, as the law asks of books. Nobody sees them here.", True),
        ("Coming back", "You can sign up again with the same address, without new free credit.", True),
    )
    return tuple((part, what) for part, what, is_said in ends if is_said)


@dataclass(frozen=True, slots=True)
class SettingsPage:
    """The page; each section posts its own form. `closing_ends`: (what, what becomes of it)."""

    account_id: str
    organisation_form: Form
    zones: tuple[Choice, ...]
    longest_calls: tuple[LongestCall, ...]
    discloses_ai: bool
    members: tuple[Member, ...]
    invitations: tuple[Invitation, ...]
    closing_ends: tuple[tuple[str, str], ...]
    invite_form: Form = field(default_factory=Form)
    password_form: Form = field(default_factory=Form)
    closing_form: Form = field(default_factory=Form)


def phone_choice(number_id: str, e164: str, chosen: bool) -> Choice:
    """A number to tick or choose."""
    return Choice(number_id, fmt.phone(e164), chosen)
