"""The public API of numbers: `/v1/numbers…`, `/v1/verified_numbers…`.

Invariant: every number shown is the object of `voice.presenting`, with the fields of every generation of the API.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StrictBool, StrictStr, StringConstraints
from quart import Blueprint, Response

from accounts.auth import caller, require_key
from billing.spending import CAP_CODES
from config.egress import LONGEST_URL
from config.errors import invalid, not_found
from config.http import Cursor, answer, body_as, query_as
from config.openapi import asks, fails, gives, takes
from config.shapes import Nothing
from voice import shapes
from voice.agents.service import Id, Language, LongText
from voice.agents.tool_shapes import Returns, Tools, check_addresses, tools_as_kept
from voice.numbers.commands import is_own_number, list_numbers
from voice.numbers.service import numbers_service
from voice.numbers.verified import list_verified, verified_object

blueprint = Blueprint("numbers", __name__)
blueprint.before_request(require_key)

UNCALLABLE = ("country_not_allowed", "invalid_number", "number_not_allowed")
CARRIER_FAILS = ("carrier_busy", "carrier_refused", "carrier_refuses_us", "carrier_unreachable")
CARRIER_REFUSES = ("caller_id_not_verified", "invalid_from_number", "number_not_verified", "number_unreachable")
E164 = Annotated[StrictStr, StringConstraints(max_length=16)]


class ListNumbersQuery(Cursor):
    limit: int = 100


class AvailableNumbersQuery(BaseModel, extra="forbid"):
    """`country_code` two letters; `area_code` for local numbers only."""

    country_code: Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{2}$", to_upper=True)] = "US"
    area_code: Annotated[str, StringConstraints(pattern=r"^[2-9]\d\d$")] | None = None
    number_type: Literal["local", "toll_free"] = "local"
    limit: int = Field(20, ge=1, le=100)


class PurchaseBody(BaseModel, extra="forbid"):
    phone_number: E164 = Field(examples=["+14155550150"])


INBOUND_EXAMPLE = {"enabled": True, "prompt": "Take a message.", "returns": {"message": "string"}}


class InboundBody(BaseModel, extra="forbid", json_schema_extra={"examples": [INBOUND_EXAMPLE]}):
    """Full replace: what is not given is cleared, and the default agent's takes its place."""

    enabled: StrictBool
    prompt: LongText | None = None
    returns: Returns | None = None
    webhook_url: Annotated[StrictStr, StringConstraints(max_length=LONGEST_URL)] | None = None
    language: Language | None = None
    tools: Tools | None = None
    voicemail_action: Literal["hangup", "leave_message"] | None = None

    def changes(self) -> dict[str, Any]:
        given = {name: getattr(self, name) for name in type(self).model_fields if name != "tools"}
        return {f"inbound_{name}": value for name, value in {**given, "tools": tools_as_kept(self.tools)}.items()}


class ChangeNumberBody(BaseModel, extra="forbid"):
    """What is not given stays; null clears. `fallback_number` must be verified."""

    friendly_name: Annotated[StrictStr, StringConstraints(strip_whitespace=True, max_length=64)] | None = Field(
        None, examples=["Front desk"]
    )
    inbound_agent_id: Id | None = None
    fallback_number: E164 | None = None


class VerifiedNumberBody(BaseModel, extra="forbid"):
    e164: E164 = Field(examples=["+14155550123"])


class CodeBody(BaseModel, extra="forbid"):
    code: Annotated[StrictStr, StringConstraints(pattern=r"^\d{6}$"), Field(examples=["123456"])]


@blueprint.get("/v1/numbers")
@asks(ListNumbersQuery)
@gives(shapes.NumberPage)
@fails("not_found")
async def get_numbers() -> Response:
    """Newest first."""
    query = query_as(ListNumbersQuery)
    limit, org_id = query.checked_limit(), caller().org_id
    async with numbers_service().database.read() as connection:
        for cursor in (query.starting_after, query.ending_before):
            if cursor is not None and not await is_own_number(connection, org_id, cursor):
                raise not_found("number", cursor)
        cursors = {"starting_after": query.starting_after, "ending_before": query.ending_before}
        found = await list_numbers(connection, org_id, limit=limit + 1, **cursors)
    page = found[-limit:] if query.ending_before is not None else found[:limit]
    return answer({"data": page, "has_more": len(found) > limit})


@blueprint.get("/v1/numbers/available")
@asks(AvailableNumbersQuery)
@gives(list[shapes.AvailableNumber])
@fails("country_not_allowed", "carrier_unreachable")
async def get_available_numbers() -> Response:
    """What can be bought, as a bare array."""
    query = query_as(AvailableNumbersQuery)
    if query.area_code is not None and query.number_type != "local":
        raise invalid("area_code", "`area_code` is for local numbers only.")
    found = await numbers_service().search(query.country_code, query.number_type, query.area_code, query.limit)
    return answer(found)


@blueprint.post("/v1/numbers/purchase")
@takes(PurchaseBody)
@gives(shapes.Number)
@fails(
    *UNCALLABLE,
    *CARRIER_FAILS,
    *CAP_CODES,
    "insufficient_credit",
    "number_needs_address",
    "number_unavailable",
    "organisation_suspended",
    "purchase_unresolved",
)
async def purchase_number() -> Response:
    """Buy a number from credit, now and every month after. Inbound calls are rejected until somebody answers them."""
    who, body = caller(), await body_as(PurchaseBody)
    return answer(await numbers_service().purchase(who.org_id, body.phone_number, who.key_id))


@blueprint.get("/v1/numbers/<number_id>")
@gives(shapes.Number)
async def get_number(number_id: str) -> Response:
    """One of the organisation's numbers, and who answers it."""
    return answer(await numbers_service().show(caller().org_id, number_id))


@blueprint.patch("/v1/numbers/<number_id>")
@takes(ChangeNumberBody)
@gives(shapes.Number)
@fails(*UNCALLABLE, "agent_not_inbound", "number_not_verified")
async def change_number(number_id: str) -> Response:
    """Its name, its inbound agent, and where callers go while calls are paused."""
    body = await body_as(ChangeNumberBody)
    changes = {name: getattr(body, name) or None for name in body.model_fields_set}
    return answer(await numbers_service().change(caller().org_id, number_id, changes))


@blueprint.delete("/v1/numbers/<number_id>")
@gives(Nothing)
async def release_number(number_id: str) -> Response:
    """Give it back. The month already paid is not refunded."""
    await numbers_service().release(caller().org_id, number_id)
    return answer({})


@blueprint.put("/v1/numbers/<number_id>/inbound")
@takes(InboundBody)
@gives(shapes.Number)
@fails("invalid_url", "number_has_inbound_agent")
async def set_inbound(number_id: str) -> Response:
    """Who answers a number that has no inbound agent. Disabled: callers are rejected."""
    changes = (await body_as(InboundBody)).changes()
    private = numbers_service().settings.allow_private_urls
    check_addresses(changes["inbound_webhook_url"], changes["inbound_tools"], allow_private=private)
    return answer(await numbers_service().change(caller().org_id, number_id, changes))


@blueprint.get("/v1/verified_numbers")
@gives(shapes.EveryVerifiedNumber)
async def get_verified_numbers() -> Response:
    """Numbers that calls may be forwarded to, also those whose code has not come back yet; newest first."""
    async with numbers_service().database.read() as connection:
        found = await list_verified(connection, caller().org_id)
    return answer({"data": [verified_object(row) for row in found]})


@blueprint.post("/v1/verified_numbers")
@takes(VerifiedNumberBody)
@gives(shapes.VerifiedNumber, 201)
@fails(*UNCALLABLE, *CARRIER_FAILS, *CARRIER_REFUSES, "no_number", "too_many_codes")
async def verify_number() -> Response:
    """Have a code told there by telephone, free of charge; confirm it to make the number yours to forward to."""
    return answer(await numbers_service().tell_code(caller().org_id, (await body_as(VerifiedNumberBody)).e164), 201)


@blueprint.post("/v1/verified_numbers/<e164>/confirm")
@takes(CodeBody)
@gives(shapes.VerifiedNumber)
@fails("code_expired", "wrong_code")
async def confirm_number(e164: str) -> Response:
    """Say the code that was told there."""
    return answer(await numbers_service().confirm_code(caller().org_id, e164, (await body_as(CodeBody)).code))


@blueprint.delete("/v1/verified_numbers/<e164>")
@gives(Nothing)
async def forget_number(e164: str) -> Response:
    """Calls are not forwarded there any more."""
    await numbers_service().forget_verified(caller().org_id, e164)
    return answer({})
