"""The public API of spending limits and of the keys that have them.

Invariant: a key with limits of its own changes none, so that whoever holds it cannot lift what binds it.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, Field, StrictInt, StrictStr, StringConstraints
from quart import Blueprint, Response, current_app
from sqlalchemy.ext.asyncio import AsyncConnection

from accounts.auth import caller, require_key
from accounts.organisations import keys_of, timezone_of
from billing import shapes
from billing.limits import SetLimits, limits_object, read_limits
from billing.spending import Limits, Spent, local_day
from config.clock import iso, now_ms
from config.database import Database
from config.door import Door
from config.errors import invalid, not_found, refused
from config.http import answer, body_as
from config.openapi import fails, gives, takes
from config.settings import Settings

blueprint = Blueprint("limits", __name__)
blueprint.before_request(require_key)

LARGEST_CAP = 10**12
MOST_CALLS = 10_000
Cap = Annotated[StrictInt, Field(ge=0, le=LARGEST_CAP, examples=[500_000])]
Country = Annotated[StrictStr, StringConstraints(pattern="^[A-Z]{2}$")]


class LimitsBody(BaseModel, extra="forbid"):
    """What is left out stays as it is; null lifts a limit. Milli-cents; countries by region, as `US`."""

    daily_cap_milli_cents: Cap | None = None
    monthly_cap_milli_cents: Cap | None = None
    max_concurrent_calls: Annotated[StrictInt, Field(ge=0, le=MOST_CALLS)] | None = None
    allowed_countries: Annotated[list[Country], Field(min_length=1, max_length=250)] | None = None

    def changes(self, allowed_here: tuple[str, ...]) -> dict[str, Any]:
        """Raises ApiError for a country that this server calls for nobody."""
        for country in self.allowed_countries or ():
            if country not in allowed_here:
                message = f"`allowed_countries`: this server calls only {', '.join(sorted(allowed_here))}."
                raise invalid("allowed_countries", message)
        return self.model_dump(exclude_unset=True)


@blueprint.get("/v1/billing/limits")
@gives(shapes.LimitsInForce)
async def get_limits() -> Response:
    """The limits of the organisation and of the API key that asks, and what they have spent."""
    who = caller()
    async with _database().read() as connection:
        shown = await _shown(connection, who.org_id)
    return answer({"organisation": shown(who.org_id), "api_key": {"id": who.key_id, **shown(who.key_id)}})


@blueprint.patch("/v1/billing/limits")
@takes(LimitsBody)
@gives(shapes.SpendingLimits)
@fails("key_is_limited")
async def set_limits() -> Response:
    """Change the organisation's limits. They count all its calls, inbound ones too, and its numbers."""
    return await _set(None)


@blueprint.get("/v1/api_keys")
@gives(shapes.EveryApiKey)
async def get_api_keys() -> Response:
    """The organisation's API keys, newest first, with their limits and what they have spent; never a secret."""
    org_id = caller().org_id
    async with _database().read() as connection:
        shown, rows = await _shown(connection, org_id), await keys_of(connection, org_id)
    return answer({"data": [{**_key_object(row), "limits": shown(row["id"])} for row in rows]})


@blueprint.patch("/v1/api_keys/<key_id>/limits")
@takes(LimitsBody)
@gives(shapes.SpendingLimits)
@fails("key_is_limited")
async def set_key_limits(key_id: str) -> Response:
    """Change the limits of an API key. They count the calls that it places and the numbers that it buys."""
    return await _set(key_id)


async def _set(key_id: str | None) -> Response:
    who, body = caller(), await body_as(LimitsBody)
    settings: Settings = current_app.extensions["settings"]
    door: Door = current_app.extensions["door"]
    changes = body.changes(settings.allowed_countries)
    match await door.submit(SetLimits(who.org_id, changes, key_id, who.key_id)):
        case "not_found":
            raise not_found("API key", key_id or "")
        case "key_is_limited":
            message = (
                "This API key has limits of its own, so it cannot change limits. Use a key without limits, or the "
                "Billing and API keys pages."
            )
            raise refused("key_is_limited", message)
    async with _database().read() as connection:
        shown = await _shown(connection, who.org_id)
    return answer(shown(key_id or who.org_id))


async def _shown(connection: AsyncConnection, org_id: str) -> Any:
    """From the id of the organisation or of a key to its limits as the API shows them."""
    kept = await read_limits(connection, org_id)
    day = local_day(now_ms(), await timezone_of(connection, org_id))
    return lambda scope_id: limits_object(*kept.get(scope_id, (Limits(), Spent())), day)


def _key_object(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": row["id"],
        "name": row["name"],
        "prefix": row["prefix"],
        "created_at": iso(row["created_at"]),
        "expires_at": iso(row["expires_at"]),
        "revoked_at": iso(row["revoked_at"]),
    }


def _database() -> Database:
    database: Database = current_app.extensions["database"]
    return database
