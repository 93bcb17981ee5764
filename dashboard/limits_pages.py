"""Spending limits: the organisation's on the Billing page with its low-credit alert, a key's on its own page.

Invariant: both are changed here by members only, and an empty field lifts a limit or sets the usual alert.
"""

from quart import Blueprint, redirect, request
from werkzeug.datastructures import MultiDict

from accounts.organisations import keys_of
from billing.alert_commands import SetAlert
from billing.limits import SetLimits, read_limits
from billing.spending import Limits, Spent, local_day
from config.clock import now_ms
from config.errors import not_found
from dashboard import limits_view, urls
from dashboard.billing_pages import billing_page
from dashboard.limits_view import FIELDS, KeyPage
from dashboard.views import Form, saved
from dashboard.web import AnyResponse, database, door, html, inside, settings, shell, wallet_facts, who

blueprint = inside(Blueprint("limits_pages", __name__))

LONGEST_ENTRY = 20


@blueprint.get(urls.LIMITS)
async def limits() -> AnyResponse:
    return await billing_page()


@blueprint.post(urls.LIMITS)
async def set_limits() -> AnyResponse:
    wanted = _wanted(await request.form)
    if isinstance(wanted, Form):
        return await billing_page(limits=wanted, status=400)
    await door().submit(SetLimits((await who()).org_id, wanted))
    return redirect(urls.billing(part="limits", saved=True), 303)


@blueprint.get(urls.ALERT)
async def alert() -> AnyResponse:
    return await billing_page()


@blueprint.post(urls.ALERT)
async def set_alert() -> AnyResponse:
    wanted = limits_view.alert_of({"alert_below": (await request.form).get("alert_below", "")[:LONGEST_ENTRY]})
    if isinstance(wanted, Form):
        return await billing_page(alert=wanted, status=400)
    await door().submit(SetAlert((await who()).org_id, wanted))
    return redirect(urls.billing(part="alert", saved=True), 303)


@blueprint.get(f"{urls.API_KEYS}/<key_id>")
async def api_key(key_id: str) -> AnyResponse:
    return await _key_page(key_id)


@blueprint.post(f"{urls.API_KEYS}/<key_id>")
async def set_key_limits(key_id: str) -> AnyResponse:
    wanted = _wanted(await request.form)
    if isinstance(wanted, Form):
        return await _key_page(key_id, wanted, 400)
    if await door().submit(SetLimits((await who()).org_id, wanted, key_id)) is not None:
        raise not_found("API key", key_id)
    return redirect(urls.api_key(key_id, saved=True), 303)


async def _key_page(key_id: str, form: Form | None = None, status: int = 200) -> AnyResponse:
    person = await who()
    async with database().read() as connection:
        wallet = await wallet_facts(connection, person)
        row = next((each for each in await keys_of(connection, person.org_id) if each["id"] == key_id), None)
        kept = await read_limits(connection, person.org_id)
    if row is None:
        raise not_found("API key", key_id)
    now = now_ms()
    expired = row["expires_at"] is not None and row["expires_at"] <= now
    day, everywhere = local_day(now, person.timezone), settings().allowed_countries
    limits = kept.get(key_id, (Limits(), Spent()))
    view = KeyPage(
        key_id,
        row["name"],
        row["prefix"],
        "revoked" if row["revoked_at"] is not None else "expired" if expired else "active",
        limits_view.spending_limits(urls.api_key(key_id), *limits, day, everywhere, form),
    )
    notices = (saved(),) if request.args.get("saved") else ()
    return html("api_key.html", status, page=shell(person, wallet, row["name"], "api_keys", notices=notices), view=view)


def _wanted(form: MultiDict[str, str]) -> dict[str, object] | Form:
    values = {name: form.get(name, "")[:LONGEST_ENTRY] for name in FIELDS}
    wanted: dict[str, object] | Form = limits_view.limits_of(
        values, form.getlist("countries"), settings().allowed_countries
    )
    return wanted
