"""How a command on calls can end.

Invariant: a refusal is a result like any other, and has changed nothing but, for inbound calls, the record of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from voice.call import Call
from voice.effects import Effect


@dataclass(frozen=True, slots=True)
class Moved:
    """The call as it stands after the commit, and what is to be done outside. `new` when the command changed it.

    `created`: its whole row, where this command made it."""

    call: Call
    effects: tuple[Effect, ...] = ()
    new: bool = True
    created: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Replayed:
    """The idempotency key made this call before."""

    call_id: str


@dataclass(frozen=True, slots=True)
class Paused:
    """The hold does not fit. Milli-cents. `call`: the record of an inbound one, or the outbound one as it would be.

    `forward_to`: where an inbound caller is sent instead.
    """

    available: int
    hold: int
    call: Call | None = None
    forward_to: str | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """Not allowed, with a stable code, a sentence and its figures. `call` and `forward_to`: as in Paused."""

    code: str
    message: str
    call: Call | None = None
    figures: Mapping[str, Any] = field(default_factory=dict)
    forward_to: str | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """No such call."""
