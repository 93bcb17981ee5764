"""The pages of webhooks: endpoints, their secrets, and every delivery with its request and the answers it got.

Invariant: a signing secret is shown on the page that answers its creation or rotation, and never again.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from quart import Blueprint, current_app, redirect, request
from sqlalchemy.ext.asyncio import AsyncConnection

from config.clock import new_id, now_ms
from config.egress import LONGEST_URL, Egress, Refused
from config.errors import ApiError, invalid, not_found
from dashboard import format as fmt
from dashboard import urls, views
from dashboard.views import Form, Paging
from dashboard.web import AnyResponse, database, door, html, inside, page_of, who
from dashboard.webhooks_view import (
    EVENTS,
    SPANS,
    STATES,
    TEST_EVENT,
    Attempt,
    DeliveryFilters,
    DeliveryPage,
    DeliveryRow,
    EndpointPage,
    EndpointRow,
    WebhooksPage,
    event_choices,
    sent_again,
)
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
from webhooks.redelivery import Failed, redeliver_failed, redeliver_one
from webhooks.signing import headers

blueprint = inside(Blueprint("webhook_pages", __name__))

PAGE_LENGTH = 25
HOUR_MS = 3_600_000
LONGEST_DESCRIPTION = 200
ALL = ("*",)


@blueprint.get(urls.WEBHOOKS)
@blueprint.get(urls.ENDPOINTS)  # where a form with an error stays, and is fetched again
@blueprint.get(urls.ROTATE_DEFAULT_SECRET)
async def webhooks() -> AnyResponse:
    return await _webhooks_page()


async def _webhooks_page(form: Form | None = None, events: tuple[str, ...] = ALL, status: int = 200) -> AnyResponse:
    return await _all(form or Form(), events, "", status)


async def _all(form: Form, events: tuple[str, ...], secret: str, status: int) -> AnyResponse:
    org_id, before, filters = (await who()).org_id, request.args.get("before") or None, _filters(urls.WEBHOOKS)
    async with database().read() as connection:
        endpoints = await list_endpoints(connection, org_id)
        rows = await _deliveries(connection, org_id, filters, before)
        own = await default_secret(connection, org_id)
    last = _last(rows)
    older = urls.webhooks(before=last, event=filters.event, state=filters.state) if last else ""
    newest = urls.webhooks(event=filters.event, state=filters.state)
    view = WebhooksPage(
        endpoints=tuple(map(_endpoint_row, endpoints)),
        deliveries=tuple(map(_delivery_row, rows[:PAGE_LENGTH])),
        form=form,
        events=event_choices(events),
        paging=_paging(rows, newest if before else "", older),
        filters=filters,
        secret=secret,
        default_secret_at=own["updated_at"] if own is not None and own["is_shown"] else None,
    )
    page = await page_of("Webhooks", "webhooks", topics=("deliveries",), notices=_sent_again())
    return html("webhooks.html", status, page=page, view=view)


def _filters(address: str, endpoint_id: str = "", *, can_send: bool = True) -> DeliveryFilters:
    event, state = request.args.get("event", ""), request.args.get("state", "")
    return DeliveryFilters(
        address=address,
        event=event if event in (*EVENTS, TEST_EVENT) else "",
        state=state if state in STATES else "",
        endpoint_id=endpoint_id,
        can_send=can_send,
    )


async def _deliveries(
    connection: AsyncConnection, org_id: str, filters: DeliveryFilters, before: str | None
) -> list[dict[str, Any]]:
    """One more than a page has, where there are more."""
    return await list_deliveries(
        connection,
        org_id,
        limit=PAGE_LENGTH + 1,
        endpoint_id=filters.endpoint_id or None,
        event_type=filters.event or None,
        status=filters.state or None,
        starting_after=before,
    )


def _last(rows: list[dict[str, Any]]) -> str | None:
    """What older ones come after; None: there are none."""
    return rows[PAGE_LENGTH - 1]["id"] if len(rows) > PAGE_LENGTH else None


def _sent_again() -> tuple[views.Notice, ...]:
    again = request.args.get("again", "")
    return (sent_again(again),) if re.fullmatch(r"[0-9]{1,4}\+?", again) else ()


def _paging(rows: list[dict[str, Any]], newer: str, older: str) -> Paging:
    return Paging(fmt.count(min(len(rows), PAGE_LENGTH), "delivery", "deliveries"), newer, older)


def _endpoint_row(row: Mapping[str, Any]) -> EndpointRow:
    return EndpointRow(
        id=row["id"],
        url=row["url"],
        description=row["description"] or "",
        events=tuple(row["enabled_events"]),
        is_enabled=row["status"] == "enabled",
        failures=row["consecutive_failures"],
        disabled_at=row["disabled_at"],
    )


def _delivery_row(row: Mapping[str, Any]) -> DeliveryRow:
    status = row["last_response_status"]
    return DeliveryRow(
        id=row["id"],
        event_type=row["event_type"],
        url=row["url"],
        call_id=row["call_id"],
        state=row["status"],
        attempts=row["attempt_count"],
        answer=str(status) if status is not None else row["last_error"] or "",
        created_at=row["created_at"],
        next_attempt_at=row["next_attempt_at"] if row["attempt_count"] else None,
    )


# -- one endpoint -----------------------------------------------------------------------------------------------------


async def _entered() -> tuple[dict[str, str], tuple[str, ...], dict[str, str]]:
    """(what was entered, the events that were ticked, what is wrong with either)."""
    form = await request.form
    values = {"url": form.get("url", "").strip()[: LONGEST_URL + 1], "description": form.get("description", "").strip()}
    events = tuple(name for name in EVENTS if name in form.getlist("enabled_events"))
    errors: dict[str, str] = {}
    egress: Egress = current_app.extensions["egress"]
    try:
        values["url"] = await egress.check(values["url"])
    except Refused as refusal:
        errors["url"] = str(refusal)[:1].upper() + str(refusal)[1:]
    if len(values["description"]) > LONGEST_DESCRIPTION:
        errors["description"] = f"A description has at most {LONGEST_DESCRIPTION} characters."
    if not events:
        errors["enabled_events"] = "Choose at least one event."
    return values, ALL if len(events) == len(EVENTS) else events, errors


@blueprint.post(urls.ENDPOINTS)
async def create_endpoint() -> AnyResponse:
    values, events, errors = await _entered()
    if errors:
        return await _webhooks_page(Form(values, errors), events, status=400)
    secret = new_secret()
    described = values["description"] or None
    command = CreateEndpoint(new_id(), (await who()).org_id, values["url"], described, events, secret)
    if await door().submit(command) is None:
        error = f"An account has at most {MOST_ENDPOINTS} endpoints. Delete one first."
        return await _webhooks_page(Form(values, {"url": error}), events, status=409)
    return await _all(Form(), ALL, secret, 200)


@blueprint.get(f"{urls.ENDPOINTS}/<endpoint_id>")
@blueprint.get(f"{urls.ENDPOINTS}/<endpoint_id>/rotate")
async def one_endpoint(endpoint_id: str) -> AnyResponse:
    notices = (views.saved("Deliveries already made keep the address they were made for."),)
    return await _endpoint_page(endpoint_id, notices=notices if request.args.get("saved") else ())


async def _endpoint_page(
    endpoint_id: str,
    form: Form | None = None,
    events: tuple[str, ...] | None = None,
    *,
    secret: str = "",
    status: int = 200,
    notices: tuple[views.Notice, ...] = (),
) -> AnyResponse:
    org_id, before = (await who()).org_id, request.args.get("before") or None
    async with database().read() as connection:
        row = await find_endpoint(connection, org_id, endpoint_id)
        if row is None:
            raise not_found("webhook endpoint", endpoint_id)
        own = urls.endpoint(endpoint_id)
        filters = _filters(own, endpoint_id, can_send=row["status"] == "enabled")
        rows = await _deliveries(connection, org_id, filters, before)
    last = _last(rows)
    older = urls.endpoint(endpoint_id, before=last, event=filters.event, state=filters.state) if last else ""
    newest = urls.endpoint(endpoint_id, event=filters.event, state=filters.state)
    view = EndpointPage(
        endpoint=_endpoint_row(row),
        form=form or Form({"url": row["url"], "description": row["description"] or ""}),
        events=event_choices(tuple(row["enabled_events"]) if events is None else events),
        deliveries=tuple(map(_delivery_row, rows[:PAGE_LENGTH])),
        paging=_paging(rows, newest if before else "", older),
        filters=filters,
        secret=secret,
    )
    page = await page_of("Endpoint", "webhooks", topics=("deliveries",), notices=(*notices, *_sent_again()))
    return html("endpoint.html", status, page=page, view=view)


@blueprint.post(f"{urls.ENDPOINTS}/<endpoint_id>")
async def change_endpoint(endpoint_id: str) -> AnyResponse:
    values, events, errors = await _entered()
    if errors:
        return await _endpoint_page(endpoint_id, Form(values, errors), events, status=400)
    described = values["description"] or None
    await _change(endpoint_id, url=values["url"], description=described, enabled_events=list(events))
    return redirect(urls.endpoint(endpoint_id, saved=True), 303)


async def _change(endpoint_id: str, **changes: Any) -> None:
    if await door().submit(ChangeEndpoint(endpoint_id, (await who()).org_id, changes)) is None:
        raise not_found("webhook endpoint", endpoint_id)


@blueprint.post(f"{urls.ENDPOINTS}/<endpoint_id>/<any(enable, disable):action>")
async def switch_endpoint(endpoint_id: str, action: str) -> AnyResponse:
    await _change(endpoint_id, status=f"{action}d")
    return redirect(urls.endpoint(endpoint_id), 303)


@blueprint.post(f"{urls.ENDPOINTS}/<endpoint_id>/rotate")
async def rotate_secret(endpoint_id: str) -> AnyResponse:
    secret = new_secret()
    if await door().submit(RotateSecret(endpoint_id, (await who()).org_id, secret)) is None:
        raise not_found("webhook endpoint", endpoint_id)
    return await _endpoint_page(endpoint_id, secret=secret)


@blueprint.post(f"{urls.ENDPOINTS}/<endpoint_id>/test")
async def send_test(endpoint_id: str) -> AnyResponse:
    result = await door().submit(SendTest(new_id(), (await who()).org_id, endpoint_id))
    if result == "not_found":
        raise not_found("webhook endpoint", endpoint_id)
    if isinstance(result, str):
        raise _disabled()
    return redirect(urls.delivery(result["id"]), 303)


@blueprint.post(f"{urls.ENDPOINTS}/<endpoint_id>/delete")
async def delete_endpoint(endpoint_id: str) -> AnyResponse:
    if not await door().submit(DeleteEndpoint(endpoint_id, (await who()).org_id)):
        raise not_found("webhook endpoint", endpoint_id)
    return redirect(urls.WEBHOOKS, 303)


@blueprint.post(urls.ROTATE_DEFAULT_SECRET)
async def rotate_default_secret() -> AnyResponse:
    row = await door().submit(RotateDefaultSecret((await who()).org_id, new_secret()))
    return await _all(Form(), ALL, row["signing_secret"], 200)


# -- one delivery -----------------------------------------------------------------------------------------------------


@blueprint.get(f"{urls.WEBHOOKS}/deliveries/<delivery_id>")
async def one_delivery(delivery_id: str) -> AnyResponse:
    async with database().read() as connection:
        row = await find_delivery(connection, (await who()).org_id, delivery_id)
        if row is None:
            raise not_found("webhook delivery", delivery_id)
        attempts = await attempts_of(connection, delivery_id)
    sent = headers(row["event_id"], row["event_type"], row["call_id"], attempts[-1]["signature"]) if attempts else {}
    body = json.dumps(json.loads(row["body"]), indent=2, ensure_ascii=False) if row["body"] else ""
    view = DeliveryPage(_delivery_row(row), tuple(sent.items()), body, _attempts(attempts))
    page = await page_of("Delivery", "webhooks", topics=("deliveries",))
    return html("delivery.html", page=page, view=view)


def _attempts(attempts: list[dict[str, Any]]) -> tuple[Attempt, ...]:
    return tuple(
        Attempt(
            at=each["sent_at"],
            duration_ms=each["duration_ms"],
            status=each["response_status"],
            body=each["response_body"],
            error=each["error"] or "",
        )
        for each in attempts
    )


@blueprint.post(f"{urls.WEBHOOKS}/deliveries/<delivery_id>/redeliver")
async def redeliver(delivery_id: str) -> AnyResponse:
    again = await redeliver_one(database(), door(), (await who()).org_id, delivery_id)
    if again == "not_found":
        raise not_found("webhook delivery", delivery_id)
    if isinstance(again, str):
        raise _disabled()
    return redirect(urls.delivery(delivery_id), 303)


@blueprint.post(urls.REDELIVER_FAILED)
async def redeliver_all_failed() -> AnyResponse:
    org_id, form = (await who()).org_id, await request.form
    endpoint_id, hours = form.get("endpoint", "")[:36], form.get("hours", "")
    if hours not in map(str, SPANS):
        raise invalid("hours", "Choose since when.")
    since_at = now_ms() - int(hours) * HOUR_MS
    again = await redeliver_failed(database(), door(), org_id, Failed(since_at, endpoint_id=endpoint_id or None))
    told = f"{again.redelivered}{'+' if again.has_more else ''}"
    return redirect(urls.endpoint(endpoint_id, again=told) if endpoint_id else urls.webhooks(again=told), 303)


def _disabled() -> ApiError:
    return ApiError(409, "endpoint_disabled", "The endpoint is disabled or deleted. Enable it first.")
