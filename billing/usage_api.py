"""The public API of usage: `/v1/billing/usage/…`.

Invariant: days and months are those of the organisation's own time zone, which the answer names.
"""

from datetime import date, timedelta
from zoneinfo import ZoneInfo

from pydantic import BaseModel, Field
from quart import Blueprint, Response, current_app

from accounts.auth import caller, require_key
from accounts.organisations import timezone_of
from billing import shapes
from billing.usage_report import LONGEST_SPAN_DAYS, Usage, daily, day_of, monthly
from config.clock import now_ms
from config.database import Database
from config.errors import invalid
from config.http import answer, query_as
from config.openapi import asks, gives

blueprint = Blueprint("usage", __name__)
blueprint.before_request(require_key)

DEFAULT_DAYS = 30


class DailyQuery(BaseModel, extra="forbid"):
    """Days as 2026-11-23, both included; without them the last 30."""

    from_: date | None = Field(None, alias="from")
    to: date | None = None


@blueprint.get("/v1/billing/usage/daily")
@asks(DailyQuery)
@gives(shapes.DailyUsage)
async def get_daily() -> Response:
    """Calls, minutes and money of each day."""
    query = query_as(DailyQuery)
    database: Database = current_app.extensions["database"]
    async with database.read() as connection:
        zone = ZoneInfo(await timezone_of(connection, caller().org_id))
        last = query.to or day_of(now_ms(), zone)
        first = query.from_ or last - timedelta(days=DEFAULT_DAYS - 1)
        if not 0 <= (last - first).days < LONGEST_SPAN_DAYS:
            raise invalid("from", f"`from` must be at most {LONGEST_SPAN_DAYS - 1} days before `to`.")
        days = await daily(connection, caller().org_id, first, last, zone)
    return answer(
        {"timezone": zone.key, "data": [{"date": day.isoformat(), **_shown(used)} for day, used in days.items()]}
    )


@blueprint.get("/v1/billing/usage/monthly")
@gives(shapes.MonthlyUsage)
async def get_monthly() -> Response:
    """The last twelve months that had calls, newest first."""
    database: Database = current_app.extensions["database"]
    async with database.read() as connection:
        zone = ZoneInfo(await timezone_of(connection, caller().org_id))
        months = await monthly(connection, caller().org_id, now_ms(), zone)
    data = [{"month": month.strftime("%Y-%m"), **_shown(used)} for month, used in months.items()]
    return answer({"timezone": zone.key, "data": data})


def _shown(used: Usage) -> dict[str, int]:
    return {
        "calls": used.calls,
        "billed_calls": used.billed_calls,
        "connected_seconds": used.connected_seconds,
        "unbilled_seconds": used.unbilled_seconds,
        "charged_milli_cents": used.charged_milli_cents,
    }
