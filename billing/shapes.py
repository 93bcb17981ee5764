"""The shapes of the API's answers about money, for its description.

Invariant: closed and complete; the suite holds real answers against them.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

Moment = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
"""ISO 8601 in UTC."""


class Wallet(BaseModel, extra="forbid"):
    """Milli-cents. `hold`: of a call of the organisation's longest length; `message` only while calls are paused."""

    balance_milli_cents: int
    held_milli_cents: int
    available_milli_cents: int
    hold_milli_cents: int
    calls_left: int
    status: Literal["ok", "low", "paused"]
    message: str | None


class Transfer(BaseModel, extra="forbid"):
    """A movement of the organisation's credit. `pending_id`: the hold that a settle or release ends."""

    id: str
    kind: str
    amount_milli_cents: int
    balance_delta_milli_cents: int
    held_delta_milli_cents: int
    balance_after_milli_cents: int
    held_after_milli_cents: int
    sequence: int
    call_id: str | None
    pending_id: str | None
    debit_account: str
    credit_account: str
    reason: str | None
    created_at: Moment


class TransferPage(BaseModel, extra="forbid"):
    """Newest first."""

    data: list[Transfer]
    has_more: bool
