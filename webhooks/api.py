"""The public API of signed events: `/v1/webhook_endpoints…`, `/v1/webhook_deliveries…`, `/v1/webhook_secret…`.

Invariant: an endpoint's address has passed the guard of `config.egress` before it is stored, and passes it again
whenever it is used.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field, StrictStr
from quart import Blueprint, Response, current_app

from accounts.auth import caller, require_key
from accounts.events import EVENT_TYPES, TEST_EVENT
from config.clock import iso, moment, new_id
from config.database import Database
from config.door import Door
from config.egress import LONGEST_URL, Egress, Refused
from config.errors import ApiError, invalid, not_found
from config.http import Cursor, answer, body_as, query_as
from config.openapi import asks, fails, gives, takes, tells
from webhooks import shapes
from webhooks.deliveries import attempts_of, find_delivery, list_deliveries
from webhooks.endpoints import (
    MOST_ENDPOINTS,
    ChangeEndpoint,
    CreateEndpoint,
    DeleteEndpoint,
    RotateDefaultSecret,
    RotateSecret,
    default_secret,
    find_endpoint,
    list_endpoints,
    new_secret,
)
from webhooks.fan_out import SendTest
from webhooks.presenting import delivery_detail, delivery_object, endpoint_object
from webhooks.redelivery import Failed, redeliver_failed, redeliver_one

blueprint = Blueprint("webhooks", __name__)
blueprint.before_request(require_key)

LONGEST_DESCRIPTION = 500


def _known_events(names: list[str]) -> list[str]:
    for name in names:
        if name != "*" and name not in EVENT_TYPES:
            raise ValueError(f'"{name[:64]}" is no event; there are {", ".join(EVENT_TYPES)}, and * for all')
    return ["*"] if "*" in names else list(dict.fromkeys(names))


def _is_moment(text: str) -> str:
    moment(text)
    return text


def _one_known_event(name: str) -> str:
    if name not in (*EVENT_TYPES, TEST_EVENT):
        raise ValueError(f'"{name[:64]}" is no event; there are {", ".join(EVENT_TYPES)}, and {TEST_EVENT}')
    return name


Description = Annotated[StrictStr, Field(max_length=LONGEST_DESCRIPTION)]
Event = Annotated[StrictStr, Field(examples=["call.completed"]), AfterValidator(_one_known_event)]
Moment = Annotated[
    StrictStr,
    Field(max_length=40, examples=["2026-11-23T19:24:00Z"], json_schema_extra={"format": "date-time"}),
    AfterValidator(_is_moment),
]
Events = Annotated[list[StrictStr], Field(min_length=1, max_length=50), AfterValidator(_known_events)]


class CreateEndpointBody(BaseModel, extra="forbid"):
    """`POST /v1/webhook_endpoints`. `url`: HTTPS, on the public internet. `enabled_events`: names, or `["*"]`."""

    url: StrictStr = Field(max_length=LONGEST_URL, examples=["https://example.com/callingbox"])
    description: Description | None = None
    enabled_events: Events = Field(default_factory=lambda: ["*"])


class ChangeEndpointBody(BaseModel, extra="forbid"):
    """`PATCH`: what is left out stays. Enabling forgives earlier failures."""

    url: StrictStr = Field("", max_length=LONGEST_URL)
    description: Description | None = None
    enabled_events: Events = Field(default_factory=list)
    status: Literal["enabled", "disabled"] = Field("enabled", examples=["enabled"])


class ListDeliveriesQuery(Cursor):
    limit: int = 50
    endpoint_id: str | None = None
    call_id: str | None = None
    event_type: Event | None = None
    status: Literal["pending", "delivered", "exhausted"] | None = None


class RedeliverFailedBody(BaseModel, extra="forbid"):
    """`POST /v1/webhook_deliveries/redeliver`: what failed of the events that happened from `since` on."""

    since: Moment
    until: Moment | None = None
    endpoint_id: StrictStr | None = Field(None, max_length=36)
    event_type: Event | None = None
    starting_after: StrictStr | None = Field(None, max_length=36)


@blueprint.post("/v1/webhook_endpoints")
@takes(CreateEndpointBody)
@gives(shapes.EndpointWithSecret, 201)
@fails("invalid_url", "too_many_endpoints")
@tells(shapes.EVENTS, shapes.HEADERS, shapes.TO_DO)
async def create_endpoint() -> Response:
    """The answer carries the signing secret, this once. The endpoint hears of calls that begin from now on."""
    body = await body_as(CreateEndpointBody)
    url, secret = await _checked(body.url), new_secret()
    command = CreateEndpoint(new_id(), caller().org_id, url, body.description, tuple(body.enabled_events), secret)
    row = await _door().submit(command, droppable=True)
    if row is None:
        message = f"An organisation has at most {MOST_ENDPOINTS} webhook endpoints. Delete one first."
        raise ApiError(409, "too_many_endpoints", message)
    return answer(endpoint_object(row, secret), 201)


@blueprint.get("/v1/webhook_endpoints")
@gives(shapes.EndpointPage)
async def get_endpoints() -> Response:
    """All of them."""
    async with _database().read() as connection:
        rows = await list_endpoints(connection, caller().org_id)
    return answer({"data": [endpoint_object(row) for row in rows], "has_more": False})


@blueprint.get("/v1/webhook_endpoints/<endpoint_id>")
@gives(shapes.Endpoint)
async def get_endpoint(endpoint_id: str) -> Response:
    """An endpoint, without its secret."""
    async with _database().read() as connection:
        row = await find_endpoint(connection, caller().org_id, endpoint_id)
    if row is None:
        raise not_found("webhook endpoint", endpoint_id)
    return answer(endpoint_object(row))


@blueprint.patch("/v1/webhook_endpoints/<endpoint_id>")
@takes(ChangeEndpointBody)
@gives(shapes.Endpoint)
@fails("invalid_url")
async def change_endpoint(endpoint_id: str) -> Response:
    """Deliveries already written keep the address they were made for."""
    body = await body_as(ChangeEndpointBody)
    changes = body.model_dump(exclude_unset=True)
    if "url" in changes:
        changes["url"] = await _checked(changes["url"])
    row = await _door().submit(ChangeEndpoint(endpoint_id, caller().org_id, changes))
    if row is None:
        raise not_found("webhook endpoint", endpoint_id)
    return answer(endpoint_object(row))


@blueprint.delete("/v1/webhook_endpoints/<endpoint_id>")
@gives(shapes.EndpointDeleted)
async def delete_endpoint(endpoint_id: str) -> Response:
    """Nothing more is sent to it; its past deliveries stay readable."""
    if not await _door().submit(DeleteEndpoint(endpoint_id, caller().org_id)):
        raise not_found("webhook endpoint", endpoint_id)
    return answer({"id": endpoint_id, "deleted": True})


@blueprint.post("/v1/webhook_endpoints/<endpoint_id>/rotate_secret")
@gives(shapes.EndpointWithSecret)
async def rotate_secret(endpoint_id: str) -> Response:
    """A new signing secret, shown this once; the old one signs nothing more."""
    secret = new_secret()
    row = await _door().submit(RotateSecret(endpoint_id, caller().org_id, secret))
    if row is None:
        raise not_found("webhook endpoint", endpoint_id)
    return answer(endpoint_object(row, secret))


@blueprint.post("/v1/webhook_endpoints/<endpoint_id>/test")
@gives(shapes.Delivery)
@fails("endpoint_disabled")
async def send_test(endpoint_id: str) -> Response:
    """Send `webhook.test`, whatever the endpoint subscribes to. The answer is the delivery."""
    result = await _door().submit(SendTest(new_id(), caller().org_id, endpoint_id))
    if result == "not_found":
        raise not_found("webhook endpoint", endpoint_id)
    if isinstance(result, str):
        raise _disabled()
    return answer(delivery_object(result))


@blueprint.get("/v1/webhook_secret")
@gives(shapes.SecretState)
async def get_default_secret() -> Response:
    """About the secret that signs deliveries to a call's own `webhook_url`; it is shown only when it is rotated."""
    async with _database().read() as connection:
        row = await default_secret(connection, caller().org_id)
    is_shown = row is not None and row["is_shown"]
    return answer({"was_shown": is_shown, "updated_at": iso(row["updated_at"]) if row is not None else None})


@blueprint.post("/v1/webhook_secret/rotate")
@gives(shapes.NewSecret)
async def rotate_default_secret() -> Response:
    """A new secret for deliveries to calls' own `webhook_url`, shown this once; the old one signs nothing more."""
    row = await _door().submit(RotateDefaultSecret(caller().org_id, new_secret()))
    return answer({"signing_secret": row["signing_secret"], "updated_at": iso(row["updated_at"])})


@blueprint.get("/v1/webhook_deliveries")
@asks(ListDeliveriesQuery)
@gives(shapes.DeliveryPage)
@fails("not_found")
async def get_deliveries() -> Response:
    """Newest first."""
    query = query_as(ListDeliveriesQuery)
    limit = query.checked_limit(200)
    async with _database().read() as connection:
        for cursor in (query.starting_after, query.ending_before):
            if cursor is not None and await find_delivery(connection, caller().org_id, cursor) is None:
                raise not_found("webhook delivery", cursor)
        rows = await list_deliveries(
            connection, caller().org_id, **query.model_dump(exclude={"limit"}), limit=limit + 1
        )
    page = rows[-limit:] if query.ending_before is not None else rows[:limit]
    return answer({"data": [delivery_object(row) for row in page], "has_more": len(rows) > limit})


@blueprint.post("/v1/webhook_deliveries/redeliver")
@takes(RedeliverFailedBody)
@gives(shapes.Redelivered)
@fails("not_found", "endpoint_disabled")
async def redeliver_all_failed() -> Response:
    """Send again what was given up and what waits for another attempt, as if it were asked for one by one.

    At most the oldest 1,000: while `has_more`, ask again with `last_id` as `starting_after`. What was meant for an
    endpoint that is disabled or deleted is left alone.
    """
    body, org_id = await body_as(RedeliverFailedBody), caller().org_id
    async with _database().read() as connection:
        if body.endpoint_id is not None:
            endpoint = await find_endpoint(connection, org_id, body.endpoint_id)
            if endpoint is None:
                raise not_found("webhook endpoint", body.endpoint_id)
            if endpoint["status"] != "enabled":
                raise _disabled()
        after = body.starting_after
        if after is not None and await find_delivery(connection, org_id, after) is None:
            raise not_found("webhook delivery", after)
    until_at = None if body.until is None else moment(body.until)
    wanted = Failed(moment(body.since), until_at, body.endpoint_id, body.event_type, after)
    again = await redeliver_failed(_database(), _door(), org_id, wanted)
    return answer(again._asdict())


@blueprint.get("/v1/webhook_deliveries/<delivery_id>")
@gives(shapes.DeliveryDetail)
async def get_delivery(delivery_id: str) -> Response:
    """With the body and every attempt."""
    async with _database().read() as connection:
        row = await find_delivery(connection, caller().org_id, delivery_id)
        if row is None:
            raise not_found("webhook delivery", delivery_id)
        attempts = await attempts_of(connection, delivery_id)
    return answer(delivery_detail(row, attempts))


@blueprint.post("/v1/webhook_deliveries/<delivery_id>/redeliver")
@gives(shapes.Delivery)
@fails("endpoint_disabled")
async def redeliver(delivery_id: str) -> Response:
    """Send the same event again, with the same id, at once and on a new schedule."""
    again = await redeliver_one(_database(), _door(), caller().org_id, delivery_id)
    if again == "not_found":
        raise not_found("webhook delivery", delivery_id)
    if isinstance(again, str):
        raise _disabled()
    return answer(delivery_object(again))


async def _checked(url: str) -> str:
    egress: Egress = current_app.extensions["egress"]
    try:
        return await egress.check(url)
    except Refused as refusal:
        raise invalid("url", f"`url`: {refusal}", "invalid_url") from None


def _disabled() -> ApiError:
    return ApiError(409, "endpoint_disabled", "The endpoint is disabled or deleted. Enable it first.")


def _database() -> Database:
    database: Database = current_app.extensions["database"]
    return database


def _door() -> Door:
    door: Door = current_app.extensions["door"]
    return door
