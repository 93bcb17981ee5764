"""The shapes of the API's answers about money, for its description.

Invariant: closed and complete; the suite holds real answers against them.
"""

from typing import Annotated, Literal

from pydantic import Field

from billing.topup_rules import TopupKind, TopupStatus
from config.shapes import Everything, Id, Moment, Page, Shape


class Wallet(Shape):
    """Milli-cents. `hold`: of a call of the organisation's longest length; `message` only while calls are paused."""

    balance_milli_cents: Annotated[int, Field(examples=[500_000])]
    held_milli_cents: int
    available_milli_cents: Annotated[int, Field(examples=[500_000])]
    hold_milli_cents: Annotated[int, Field(examples=[300_000])]
    calls_left: Annotated[int, Field(examples=[1])]
    status: Annotated[Literal["ok", "low", "paused"], Field(examples=["low"])]
    message: str | None


class LowCreditAlert(Shape):
    """Milli-cents. Null: the alert is about the hold of two calls, and `in_force` says what that is now."""

    alert_below_milli_cents: Annotated[int | None, Field(examples=[5_000_000])]
    in_force_milli_cents: Annotated[int, Field(examples=[5_000_000])]


class Transfer(Shape):
    """A movement of the organisation's credit. `pending_id`: the hold that a settle or release ends."""

    id: Id
    kind: Annotated[str, Field(examples=["settle"])]
    amount_milli_cents: Annotated[int, Field(examples=[5_250])]
    balance_delta_milli_cents: Annotated[int, Field(examples=[-5_250])]
    held_delta_milli_cents: int
    balance_after_milli_cents: int
    held_after_milli_cents: int
    sequence: int
    call_id: Id | None
    pending_id: Id | None
    debit_account: str
    credit_account: str
    reason: str | None
    created_at: Moment


TransferPage = Page[Transfer]


class TopupBegun(Shape):
    """`url`: where to pay, at Stripe."""

    id: Id
    url: Annotated[str, Field(examples=["https://checkout.stripe.com/c/pay/cs_test_a1"])]


class Topup(Shape):
    """`status`: also what has become of the credit since. Milli-cents of credit, cents of money."""

    id: Id
    kind: TopupKind
    status: Annotated[TopupStatus | Literal["refunded", "disputed"], Field(examples=["paid"])]
    amount_cents: Annotated[int, Field(examples=[2_500])]
    credit_milli_cents: Annotated[int, Field(examples=[2_500_000])]
    refunded_milli_cents: int
    disputed_milli_cents: int
    payment_intent_id: str | None
    receipt_url: str | None
    created_at: Moment
    paid_at: Moment | None
    expires_at: Moment | None


TopupPage = Page[Topup]


class Used(Shape):
    """Milli-cents and seconds. `unbilled_seconds`: on the line, and free."""

    calls: int
    billed_calls: int
    connected_seconds: int
    unbilled_seconds: int
    charged_milli_cents: int


class UsedInADay(Used):
    date: Annotated[str, Field(examples=["2026-11-23"])]


class UsedInAMonth(Used):
    month: Annotated[str, Field(examples=["2026-11"])]


class DailyUsage(Shape):
    """Every day of the span, the oldest first. `timezone`: the organisation's own, in which days begin."""

    timezone: Annotated[str, Field(examples=["America/New_York"])]
    data: list[UsedInADay]


class MonthlyUsage(Shape):
    """Months that had calls, newest first."""

    timezone: Annotated[str, Field(examples=["America/New_York"])]
    data: list[UsedInAMonth]


class Spending(Shape):
    """What calls and numbers cost in `day` and its month, in the organisation's time zone; what is under way holds."""

    day: Annotated[str, Field(examples=["2026-11-23"])]
    day_milli_cents: int
    month_milli_cents: int
    held_milli_cents: int
    open_calls: int


class SpendingLimits(Shape):
    """Null: no limit. A call or a number is refused when `spent` with its hold would exceed a cap."""

    daily_cap_milli_cents: Annotated[int | None, Field(examples=[500_000])]
    monthly_cap_milli_cents: int | None
    max_concurrent_calls: int | None
    allowed_countries: list[str] | None
    spent: Spending


class KeyLimits(SpendingLimits):
    id: Id


class LimitsInForce(Shape):
    organisation: SpendingLimits
    api_key: KeyLimits


class ApiKey(Shape):
    """Never the key itself; `prefix` tells keys apart."""

    id: Id
    name: str
    prefix: Annotated[str, Field(examples=["sk_live_a1B2"])]
    created_at: Moment
    expires_at: Moment | None
    revoked_at: Moment | None
    limits: SpendingLimits


EveryApiKey = Everything[ApiKey]
