"""The pages of numbers: the list with what can be bought, one number, and where callers can be forwarded.

Invariant: nothing is bought, set or proven here that the API would refuse.
"""

import re
from collections.abc import Mapping
from typing import Any

from quart import Blueprint, redirect, request

from config.errors import ApiError
from dashboard import format as fmt
from dashboard import urls, views
from dashboard.facts import ms_of
from dashboard.views import Choice, Form
from dashboard.web import AnyResponse, database, html, inside, page_of, settings, who
from dashboard.workspace_view import (
    NumberPage,
    NumberRow,
    NumberSearch,
    NumbersPage,
    Offer,
    VerifiedRow,
    number_kind,
)
from voice.agents.service import agents_service
from voice.numbers.commands import active_number_objects
from voice.numbers.service import numbers_service
from voice.numbers.verified import list_verified

blueprint = inside(Blueprint("number_pages", __name__))

MILLI_CENTS_PER_CENT = 1_000
OFFERS = 20
LONGEST_NAME = 64
STANDARD_AGENT = "standard"
KINDS = {"local": "Local", "toll_free": "Toll-free"}


@blueprint.get(urls.NUMBERS)
@blueprint.get(urls.BUY_NUMBER)  # where a form with an error stays, and is fetched again
@blueprint.get(urls.VERIFIED_NUMBERS)
async def numbers() -> AnyResponse:
    if not request.args.get("search"):
        return await _numbers_page()
    asked = {name: request.args.get(name, "")[:10] for name in ("country_code", "number_type", "area_code")}
    if asked["area_code"] and not re.fullmatch("[2-9][0-9][0-9]", asked["area_code"]):
        return await _numbers_page(
            Form(asked, {"area_code": "An area code has three digits, such as 415."}), status=400
        )
    if asked["number_type"] not in KINDS or (asked["area_code"] and asked["number_type"] != "local"):
        return await _numbers_page(Form(asked, {"area_code": "Only local numbers have an area code."}), status=400)
    try:
        found = await numbers_service().search(
            asked["country_code"], asked["number_type"], asked["area_code"] or None, OFFERS
        )
    except ApiError as error:
        return await _numbers_page(Form(asked, error=error.message), status=error.status)
    return await _numbers_page(Form(asked), tuple(map(_offer, found)))


def _offer(found: Mapping[str, Any]) -> Offer:
    place = ", ".join(part for part in (found["locality"], found["state"]) if part)
    price = found["monthly_cost_cents"] * MILLI_CENTS_PER_CENT
    return Offer(found["phone_number"], place, number_kind(found["number_type"]), price)


async def _numbers_page(
    search: Form | None = None,
    offers: tuple[Offer, ...] | None = None,
    verify: Form | None = None,
    status: int = 200,
) -> AnyResponse:
    org_id, search = (await who()).org_id, search or Form()
    names = await _agent_names(org_id)
    async with database().read() as connection:
        found = await active_number_objects(connection, org_id)
        verified = await list_verified(connection, org_id)
    countries = sorted(settings().allowed_countries, key=lambda code: (code != "US", code))
    chosen = search.values.get("country_code", countries[0])
    kind = search.values.get("number_type", "local")
    view = NumbersPage(
        numbers=tuple(_row(number, names) for number in reversed(found)),
        search=NumberSearch(
            search,
            tuple(Choice(code, fmt.COUNTRIES.get(code, code), code == chosen) for code in countries),
            tuple(Choice(key, label, key == kind) for key, label in KINDS.items()),
            offers,
        ),
        verified=tuple(VerifiedRow(row["e164"], row["verified_at"] is not None, row["created_at"]) for row in verified),
        verify_form=verify or Form(),
    )
    return html("numbers.html", status, page=await page_of("Numbers", "numbers"), view=view)


async def _agent_names(org_id: str) -> dict[str, str]:
    return {agent["id"]: agent["name"] for agent in await agents_service().all(org_id)}


def _row(number: Mapping[str, Any], names: Mapping[str, str]) -> NumberRow:
    answered_by = names.get(number["inbound_agent_id"] or "", "")
    if not answered_by and number["inbound_enabled"]:
        answered_by = "Standard agent"
    return NumberRow(
        id=number["id"],
        e164=number["e164"],
        name=number["friendly_name"] or "",
        kind=number_kind(number["number_type"]),
        status=number["status"],
        inbound_agent=answered_by,
        agents=tuple(names[agent_id] for agent_id in number["outbound_agent_ids"] if agent_id in names),
        monthly_milli_cents=number["monthly_cost_cents"] * MILLI_CENTS_PER_CENT,
        renews_at=ms_of(number["paid_until"]),
    )


@blueprint.post(urls.BUY_NUMBER)
async def buy_number() -> AnyResponse:
    e164 = (await request.form).get("phone_number", "")[:20]
    try:
        number = await numbers_service().purchase((await who()).org_id, e164)
    except ApiError as error:
        return await _numbers_page(Form(error=error.message), status=error.status)
    return redirect(urls.number(number["id"], bought=True), 303)


# -- one number -------------------------------------------------------------------------------------------------------


@blueprint.get(f"{urls.NUMBERS}/<number_id>")
async def one_number(number_id: str) -> AnyResponse:
    number = await numbers_service().show((await who()).org_id, number_id)
    notices = (views.saved("It applies from the next call on."),) if request.args.get("saved") else ()
    if request.args.get("bought"):
        notices = (views.bought(number["monthly_cost_cents"] * MILLI_CENTS_PER_CENT),)
    return await _number_page(number, notices=notices)


@blueprint.post(f"{urls.NUMBERS}/<number_id>")
async def change_number(number_id: str) -> AnyResponse:
    org_id, form = (await who()).org_id, await request.form
    number = await numbers_service().show(org_id, number_id)
    values = {name: form.get(name, "")[:200] for name in ("friendly_name", "inbound_agent_id", "fallback_number")}
    if len(values["friendly_name"].strip()) > LONGEST_NAME:
        errors = {"friendly_name": f"A name has at most {LONGEST_NAME} characters."}
        return await _number_page(number, Form(values, errors), status=400)
    answered_by = values["inbound_agent_id"]
    changes: dict[str, Any] = {
        "friendly_name": values["friendly_name"].strip() or None,
        "fallback_number": values["fallback_number"] or None,
        "inbound_agent_id": None if answered_by in ("", STANDARD_AGENT) else answered_by,
    }
    try:
        await numbers_service().change(org_id, number_id, changes)
        if changes["inbound_agent_id"] is None:  # only a number without an agent has a set-up of its own
            await numbers_service().change(org_id, number_id, {"inbound_enabled": answered_by == STANDARD_AGENT})
    except ApiError as error:
        return await _number_page(number, Form(values, error=error.message), status=error.status)
    return redirect(urls.number(number_id, saved=True), 303)


async def _number_page(
    number: Mapping[str, Any], form: Form | None = None, *, status: int = 200, notices: tuple[views.Notice, ...] = ()
) -> AnyResponse:
    org_id = (await who()).org_id
    inbound = await agents_service().all(org_id, "inbound")
    async with database().read() as connection:
        verified = [row for row in await list_verified(connection, org_id) if row["verified_at"] is not None]
    if form is None:
        answered_by = number["inbound_agent_id"] or (STANDARD_AGENT if number["inbound_enabled"] else "")
        fallback = number["fallback_number"] or ""
        values = {"inbound_agent_id": answered_by, "fallback_number": fallback}
        form = Form({"friendly_name": number["friendly_name"] or "", **values})
    answering = {"": "Nobody: callers are rejected", STANDARD_AGENT: "The standard agent, which takes a message"}
    answering |= {agent["id"]: agent["name"] for agent in inbound}
    forwarding = {"": "Nowhere: the caller hears a busy tone"}
    forwarding |= {row["e164"]: fmt.phone(row["e164"]) for row in verified}
    view = NumberPage(
        number=_row(number, await _agent_names(org_id)),
        form=form,
        inbound_agents=_choices(answering, form.values.get("inbound_agent_id", "")),
        fallback_numbers=_choices(forwarding, form.values.get("fallback_number", "")),
    )
    page = await page_of(fmt.phone(number["e164"]), "numbers", notices=notices)
    return html("number.html", status, page=page, view=view)


def _choices(labels: Mapping[str, str], chosen: str) -> tuple[Choice, ...]:
    return tuple(Choice(value, label, value == chosen) for value, label in labels.items())


@blueprint.post(f"{urls.NUMBERS}/<number_id>/release")
async def release_number(number_id: str) -> AnyResponse:
    await numbers_service().release((await who()).org_id, number_id)
    return redirect(urls.NUMBERS, 303)


# -- forwarding -------------------------------------------------------------------------------------------------------


@blueprint.post(urls.VERIFIED_NUMBERS)
async def verify_number() -> AnyResponse:
    e164 = plain_number((await request.form).get("e164", ""))
    try:
        await numbers_service().tell_code((await who()).org_id, e164)
    except ApiError as error:
        return await _numbers_page(verify=Form({"e164": e164}, {"e164": error.message}), status=error.status)
    return redirect(f"{urls.NUMBERS}#verified", 303)


@blueprint.post(f"{urls.VERIFIED_NUMBERS}/<e164>/confirm")
async def confirm_number(e164: str) -> AnyResponse:
    code = (await request.form).get("code", "").strip()[:20]
    try:
        await numbers_service().confirm_code((await who()).org_id, e164, code)
    except ApiError as error:
        return await _numbers_page(verify=Form(error=error.message), status=error.status)
    return redirect(f"{urls.NUMBERS}#verified", 303)


@blueprint.get(f"{urls.VERIFIED_NUMBERS}/<e164>/confirm")
async def confirmed_number(e164: str) -> AnyResponse:
    return await _numbers_page()


@blueprint.post(f"{urls.VERIFIED_NUMBERS}/<e164>/forget")
async def forget_number(e164: str) -> AnyResponse:
    await numbers_service().forget_verified((await who()).org_id, e164)
    return redirect(f"{urls.NUMBERS}#verified", 303)


def plain_number(entered: str) -> str:
    """A number without what people put between its digits."""
    return re.sub(r"[\s().-]", "", entered)[:20]
