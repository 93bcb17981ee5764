"""The public API of the money: `/v1/billing/…`.

Invariant: what it shows is read from the ledger at that moment, never from a copy.
"""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, StrictInt
from quart import Blueprint, Response, current_app
from sqlalchemy.ext.asyncio import AsyncConnection

from accounts.auth import caller, require_key
from accounts.organisations import default_hold, find_organisation
from billing import shapes
from billing.alert_commands import SetAlert
from billing.ledger import list_transfers, read_wallet, sequence_of
from billing.low_balance import LARGEST_ALERT, line_in_force
from billing.presenting import transfer_object, wallet_object
from billing.topup_queries import find_topup, list_topups, topup_object
from billing.topup_rules import MAXIMUM_CENTS, MINIMUM_CENTS
from billing.topup_service import topups_service
from config.database import Database
from config.door import Door
from config.errors import not_found, refused
from config.http import Cursor, answer, body_as, query_as
from config.openapi import asks, fails, gives, takes
from config.settings import Settings

blueprint = Blueprint("billing", __name__)
blueprint.before_request(require_key)


@blueprint.get("/v1/billing/wallet")
@gives(shapes.Wallet)
async def get_wallet() -> Response:
    """Balance, held, available, and how many calls of the organisation's longest length still fit."""
    org_id = caller().org_id
    settings: Settings = current_app.extensions["settings"]
    async with _database().read() as connection:
        wallet = await read_wallet(connection, org_id)
        hold = await default_hold(connection, org_id, settings)
    assert wallet is not None
    return answer(wallet_object(wallet, hold))


class AlertBody(BaseModel, extra="forbid"):
    """`PATCH /v1/billing/alert`. Milli-cents; null for what two calls hold."""

    alert_below_milli_cents: Annotated[StrictInt, Field(ge=1, le=LARGEST_ALERT, examples=[5_000_000])] | None


@blueprint.get("/v1/billing/alert")
@gives(shapes.LowCreditAlert)
async def get_alert() -> Response:
    """The available credit below which the organisation's people are mailed and its endpoints told."""
    return await _alert(caller().org_id)


@blueprint.patch("/v1/billing/alert")
@takes(AlertBody)
@gives(shapes.LowCreditAlert)
@fails("key_is_limited")
async def set_alert() -> Response:
    """Change it. Told is who crosses the line: credit that is below it already is news when it next falls below."""
    who, body = caller(), await body_as(AlertBody)
    door: Door = current_app.extensions["door"]
    if await door.submit(SetAlert(who.org_id, body.alert_below_milli_cents, who.key_id)) == "key_is_limited":
        message = "This API key has limits of its own, so it cannot change the alert. Use the Billing page."
        raise refused("key_is_limited", message)
    return await _alert(who.org_id)


async def _alert(org_id: str) -> Response:
    settings: Settings = current_app.extensions["settings"]
    async with _database().read() as connection:
        organisation = await find_organisation(connection, org_id)
        hold = await default_hold(connection, org_id, settings)
    assert organisation is not None
    chosen = organisation["alert_below_milli_cents"]
    return answer({"alert_below_milli_cents": chosen, "in_force_milli_cents": line_in_force(hold, chosen)})


@blueprint.get("/v1/billing/transfers")
@asks(Cursor)
@gives(shapes.TransferPage)
@fails("not_found")
async def get_transfers() -> Response:
    """Every movement of the organisation's credit, newest first. Cursors are transfer ids."""
    query = query_as(Cursor)
    limit = query.checked_limit()
    org_id = caller().org_id
    async with _database().read() as connection:
        before = await _sequence(connection, org_id, query.starting_after)
        after = await _sequence(connection, org_id, query.ending_before)
        rows = await list_transfers(connection, org_id, limit=limit + 1, before=before, after=after)
    page = rows[-limit:] if query.ending_before is not None else rows[:limit]
    return answer({"data": [transfer_object(row) for row in page], "has_more": len(rows) > limit})


def _is_an_amount(value: Any) -> int:
    if type(value) is not int or not MINIMUM_CENTS <= value <= MAXIMUM_CENTS:
        raise ValueError(f"must be a whole number of cents from {MINIMUM_CENTS} ($5.00) to {MAXIMUM_CENTS} ($500.00)")
    return value


class CreateTopupBody(BaseModel, extra="forbid"):
    """`POST /v1/billing/topups`. Cents, $5 to $500."""

    amount_cents: Annotated[
        int, BeforeValidator(_is_an_amount), Field(ge=MINIMUM_CENTS, le=MAXIMUM_CENTS, examples=[2_500])
    ]


@blueprint.post("/v1/billing/topups")
@takes(CreateTopupBody)
@gives(shapes.TopupBegun, 201)
@fails(
    "organisation_suspended",
    "topup_rate_limited",
    "payments_not_configured",
    "payments_refused",
    "payments_unavailable",
)
async def create_topup() -> Response:
    """Begin a top-up: 201 with its id and the address at Stripe to pay at."""
    body = await body_as(CreateTopupBody)
    row, url = await topups_service().create(caller().org_id, body.amount_cents)
    return answer({"id": row["id"], "url": url}, 201)


@blueprint.get("/v1/billing/topups")
@asks(Cursor)
@gives(shapes.TopupPage)
@fails("not_found")
async def get_topups() -> Response:
    """Top-ups with their state and Stripe's receipt, newest first. Cursors are top-up ids."""
    query = query_as(Cursor)
    limit = query.checked_limit()
    org_id = caller().org_id
    async with _database().read() as connection:
        for cursor in (query.starting_after, query.ending_before):
            if cursor is not None and await find_topup(connection, org_id, cursor) is None:
                raise not_found("top-up", cursor)
        rows = await list_topups(
            connection, org_id, limit=limit + 1, before=query.starting_after, after=query.ending_before
        )
    page = rows[-limit:] if query.ending_before is not None else rows[:limit]
    return answer({"data": [topup_object(row) for row in page], "has_more": len(rows) > limit})


async def _sequence(connection: AsyncConnection, org_id: str, cursor: str | None) -> int | None:
    if cursor is None:
        return None
    sequence = await sequence_of(connection, org_id, cursor)
    if sequence is None:
        raise not_found("transfer", cursor)
    return sequence


def _database() -> Database:
    database: Database = current_app.extensions["database"]
    return database
