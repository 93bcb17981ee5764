"""What must be done because of a decision, in the imperative.

Owns the shapes. Invariant: money effects are carried out inside the transaction that records the decision, all
others only after its commit; each of the latter can be found again from the call's own row if the process dies.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settle:
    """Charge this much of the hold and return the rest."""

    amount_milli_cents: int


@dataclass(frozen=True, slots=True)
class Release:
    """Return the whole hold."""


@dataclass(frozen=True, slots=True)
class Refund:
    """Give back a charge, or part of one, as a new entry."""

    amount_milli_cents: int
    reason: str


@dataclass(frozen=True, slots=True)
class Dial:
    """Ask the carrier to call, at most once."""


@dataclass(frozen=True, slots=True)
class HangUp:
    """Ask the carrier to end the call with this id."""

    twilio_call_sid: str


@dataclass(frozen=True, slots=True)
class LimitTime:
    """Have the carrier end the call after so many seconds."""

    twilio_call_sid: str
    seconds: int


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask the carrier how the call stands, by its id or, without one, by its numbers."""


@dataclass(frozen=True, slots=True)
class Notify:
    """Tell the customer's servers; `type` as in the public API (`call.completed`)."""

    type: str


@dataclass(frozen=True, slots=True)
class Extract:
    """Read off the transcript what the call was to find out."""


@dataclass(frozen=True, slots=True)
class Alert:
    """Tell the operator."""

    kind: str
    text: str


Effect = Settle | Release | Refund | Dial | HangUp | LimitTime | Ask | Notify | Extract | Alert
