"""Agents, numbers, API keys, the do-not-call list and settings: what their pages take.

Pure. The one invariant: a secret is in a view only on the page that answers its creation.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

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
class TryLine:
    """Something typed or answered while trying an agent; `note` is about a tool it would have called."""

    speaker: str
    text: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class TryPanel:
    """Typing with an agent; `conversation` is the server's name for it, `ended` when the agent hung up."""

    conversation: str = ""
    lines: tuple[TryLine, ...] = ()
    error: str = ""
    ended: bool = False


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
    voices: tuple[Choice, ...]
    trial: TryPanel | None = None


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
    last_used_at: int | None
    expires_at: int | None


@dataclass(frozen=True, slots=True)
class ApiKeysPage:
    """The page; `secret` is a key just created, shown this once, and `try_line` a request to paste."""

    keys: tuple[ApiKeyRow, ...]
    form: Form
    expiries: tuple[Choice, ...]
    secret: str = ""
    try_line: str = ""


# ---------- do-not-call list ----------


@dataclass(frozen=True, slots=True)
class DoNotCallRow:
    """A number nobody here calls: by a callee's own words on a call, or added by hand with a note."""

    id: str
    e164: str
    added_at: int
    call_id: str | None = None
    note: str = ""
    added_by: str = ""


@dataclass(frozen=True, slots=True)
class DoNotCallPage:
    """The list, newest first."""

    rows: tuple[DoNotCallRow, ...]
    form: Form
    paging: Paging


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


@dataclass(frozen=True, slots=True)
class SettingsPage:
    """The page; each section posts its own form."""

    account_id: str
    organisation_form: Form
    zones: tuple[Choice, ...]
    longest_calls: tuple[LongestCall, ...]
    discloses_ai: bool
    members: tuple[Member, ...]
    invitations: tuple[Invitation, ...]
    invite_form: Form = field(default_factory=Form)
    password_form: Form = field(default_factory=Form)


def agent_form(agent: Mapping[str, Any], errors: Mapping[str, str] | None = None) -> Form:
    """The form's values for an agent's fields by their API names; durations become minutes."""
    values = {name: "" if value is None else str(value) for name, value in agent.items()}
    if "returns" in agent:
        values["returns"] = returns_text(agent["returns"] or {})
    if agent.get("max_duration_seconds"):
        values["max_duration_minutes"] = f"{agent['max_duration_seconds'] / 60:g}"
    return Form(values, errors or {})


def phone_choice(number_id: str, e164: str, chosen: bool) -> Choice:
    """A number to tick or choose."""
    return Choice(number_id, fmt.phone(e164), chosen)
