"""API keys and settings: organisation, members, password.

Invariant: a key's secret is shown on the page that answers its creation, and never again.
"""

from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from typing import Any
from zoneinfo import available_timezones

from quart import Blueprint, redirect, request

from accounts.closing import CloseOrganisation
from accounts.commands import CreateKey, RevokeKey
from accounts.identity import BadIdentity, check_email, check_name, check_password
from accounts.keys import new_key
from accounts.members import ChangeOrganisation, Invite, RemoveMember, RevokeInvitation
from accounts.organisations import keys_of, members_of, open_invitations
from accounts.passwords import hash_in_thread, matches_in_thread
from accounts.people import SetPassword
from accounts.sessions import log_out
from billing.limits import read_limits
from billing.operator_commands import CLOSE_ORGANISATION, OperatorAction
from billing.spending import Limits, Spent
from billing.topup_service import topups_service
from config.clock import new_id, now_ms
from config.errors import ApiError, not_found
from dashboard import urls, views
from dashboard.calls_view import curl_line
from dashboard.limits_view import summary
from dashboard.views import Choice, Form
from dashboard.wallet_view import longest_calls
from dashboard.web import AnyResponse, database, door, gate, html, inside, limit, settings, shell, wallet_facts, who
from dashboard.workspace_view import ApiKeyRow, ApiKeysPage, Invitation, Member, SettingsPage, closing_ends
from voice.batches.queries import unfinished_batches
from voice.batches.service import batches_service
from voice.numbers.commands import active_number_objects, is_buying
from voice.numbers.service import numbers_service

blueprint = inside(Blueprint("account_pages", __name__))

EXPIRIES = {"": "Never", "7": "In 7 days", "30": "In 30 days", "90": "In 90 days", "365": "In a year"}
DAY_MS = 86_400_000
LONGEST_KEY_NAME = 64
CURRENT = "current_password"
CLOSING = "closing_password"


# -- API keys -------------------------------------------------------------------------------------------------------


@blueprint.get(urls.API_KEYS)
async def api_keys() -> AnyResponse:
    return await _keys_page(Form())


async def _keys_page(form: Form, secret: str = "", status: int = 200) -> AnyResponse:
    person = await who()
    async with database().read() as connection:
        wallet = await wallet_facts(connection, person)
        rows = await keys_of(connection, person.org_id)
        kept = await read_limits(connection, person.org_id)
        emails = {member["id"]: member["email"] for member in await members_of(connection, person.org_id)}
    chosen = form.values.get("expires", "")
    view = ApiKeysPage(
        keys=tuple(_key_row(row, emails, kept) for row in rows),
        form=form,
        expiries=tuple(Choice(days, label, days == chosen) for days, label in EXPIRIES.items()),
        secret=secret,
        try_line=curl_line(settings().public_base_url) if secret else "",
    )
    return html("api_keys.html", status, page=shell(person, wallet, "API keys", "api_keys"), view=view)


def _key_row(row: Mapping[str, Any], emails: Mapping[str, str], kept: Mapping[str, tuple[Limits, Spent]]) -> ApiKeyRow:
    expired = row["expires_at"] is not None and row["expires_at"] <= now_ms()
    return ApiKeyRow(
        id=row["id"],
        name=row["name"],
        beginning=row["prefix"],
        status="revoked" if row["revoked_at"] is not None else "expired" if expired else "active",
        created_at=row["created_at"],
        created_by=emails.get(row["user_id"], ""),
        expires_at=row["expires_at"],
        limits=summary(kept[row["id"]][0]) if row["id"] in kept else "",
    )


@blueprint.post(urls.API_KEYS)
async def create_key() -> AnyResponse:
    person, form = await who(), await request.form
    values = {"name": form.get("name", "").strip()[:200], "expires": form.get("expires", "")}
    if not 1 <= len(values["name"]) <= LONGEST_KEY_NAME or not values["name"].isprintable():
        error = {"name": f"A name has 1 to {LONGEST_KEY_NAME} printable characters."}
        return await _keys_page(Form(values, error), status=400)
    if values["expires"] not in EXPIRIES:
        return await _keys_page(Form(values, {"expires": "Choose one of these."}), status=400)
    expires_at = now_ms() + int(values["expires"]) * DAY_MS if values["expires"] else None
    key = new_key()
    await door().submit(CreateKey(new_id(), person.org_id, values["name"], key, person.user_id, expires_at))
    return await _keys_page(Form(), secret=key)


@blueprint.post(f"{urls.API_KEYS}/<key_id>/revoke")
async def revoke_key(key_id: str) -> AnyResponse:
    if not await door().submit(RevokeKey(key_id, (await who()).org_id)):
        raise not_found("API key", key_id)
    return redirect(urls.API_KEYS, 303)


# -- settings -------------------------------------------------------------------------------------------------------


@blueprint.get(urls.SETTINGS)
@blueprint.get(urls.PASSWORD)  # where a form with an error stays, and is fetched again
@blueprint.get(urls.INVITATIONS)
@blueprint.get(urls.CLOSE_ACCOUNT)
async def settings_page() -> AnyResponse:
    return await _settings_page(notices=(views.saved(),) if request.args.get("saved") else ())


async def _settings_page(
    organisation: Form | None = None,
    invite: Form | None = None,
    password: Form | None = None,
    closing: Form | None = None,
    status: int = 200,
    notices: tuple[views.Notice, ...] = (),
) -> AnyResponse:
    person = await who()
    async with database().read() as connection:
        wallet = await wallet_facts(connection, person)
        members = await members_of(connection, person.org_id)
        invited = await open_invitations(connection, person.org_id, now_ms())
        ends = closing_ends(
            members=len(members),
            live_calls=wallet.live_calls,
            batches=len(await unfinished_batches(connection, person.org_id)),
            numbers=len(await active_number_objects(connection, person.org_id)),
            available=wallet.available,
        )
    zone = (organisation.values if organisation else {}).get("time_zone", person.timezone)
    view = SettingsPage(
        account_id=person.org_id,
        organisation_form=organisation or Form({"name": person.organisation, "time_zone": person.timezone}),
        zones=tuple(Choice(name, name.replace("_", " "), name == zone) for name in _zones()),
        longest_calls=longest_calls(wallet, settings().max_call_duration_seconds),
        discloses_ai=person.disclose_ai,
        members=tuple(
            Member(row["id"], row["email"], row["created_at"], row["id"] == person.user_id) for row in members
        ),
        invitations=tuple(Invitation(row["id"], row["email"], row["created_at"]) for row in invited),
        invite_form=invite or Form(),
        password_form=password or Form(),
        closing_ends=ends,
        closing_form=closing or Form(),
    )
    page = shell(person, wallet, "Settings", "settings", notices=notices)
    return html("settings.html", status, page=page, view=view)


@cache
def _zones() -> tuple[str, ...]:
    """Places and UTC; the many old aliases stay out."""
    places = (zone for zone in available_timezones() if "/" in zone)
    return ("UTC", *sorted(zone for zone in places if not zone.startswith(("Etc/", "SystemV/", "US/"))))


@blueprint.post(urls.SETTINGS)
async def change_settings() -> AnyResponse:
    person, form = await who(), await request.form
    values = {"name": form.get("name", "")[:300], "time_zone": form.get("time_zone", "")[:64]}
    errors: dict[str, str] = {}
    name = person.organisation
    try:
        name = check_name(values["name"])
    except BadIdentity as error:
        errors["name"] = str(error)
    if values["time_zone"] not in _zones():
        errors["time_zone"] = "Choose a zone of the list."
    if errors:
        return await _settings_page(organisation=Form(values, errors), status=400)
    changes = {"name": name, "timezone": values["time_zone"], "disclose_ai": form.get("discloses_ai") == "1"}
    await door().submit(ChangeOrganisation(person.org_id, changes))
    return redirect(urls.SETTINGS_SAVED, 303)


@blueprint.post(urls.INVITATIONS)
async def invite() -> AnyResponse:
    person, entered = await who(), (await request.form).get("email", "")[:300]
    try:
        email = check_email(entered)
    except BadIdentity as error:
        return await _settings_page(invite=Form({"email": entered}, {"email": str(error)}), status=400)
    refusal = await door().submit(Invite(person.org_id, new_id(), new_id(), email, person.user_id))
    if refusal is not None:
        return await _settings_page(invite=Form({"email": entered}, {"email": refusal}), status=400)
    return redirect(urls.MEMBERS, 303)


@blueprint.post(f"{urls.INVITATIONS}/<invitation_id>/revoke")
async def revoke_invitation(invitation_id: str) -> AnyResponse:
    if not await door().submit(RevokeInvitation((await who()).org_id, invitation_id)):
        raise not_found("invitation", invitation_id)
    return redirect(urls.MEMBERS, 303)


@blueprint.post("/settings/members/<user_id>/remove")
async def remove_member(user_id: str) -> AnyResponse:
    refusal = await door().submit(RemoveMember((await who()).org_id, user_id))
    if refusal is not None:
        raise ApiError(409, "last_member", refusal)
    return redirect(urls.MEMBERS, 303)


@blueprint.post(urls.PASSWORD)
async def change_password() -> AnyResponse:
    person, form = await who(), await request.form
    limit("login", f"email:{person.email}")
    errors: dict[str, str] = {}
    if not await matches_in_thread(person.password_hash, form.get(CURRENT, "")[:1000]):
        errors[CURRENT] = "This is not your current password."
    try:
        check_password(form.get("new_password", ""))
    except BadIdentity as error:
        errors["new_password"] = str(error)
    if not errors:
        changed = await hash_in_thread(form["new_password"])
        if await door().submit(SetPassword(person.user_id, person.password_hash, changed, person.session_id)):
            notice = views.Notice("good", "check", "Your password is changed. You are logged out everywhere else.")
            return await _settings_page(notices=(notice,))
        errors[CURRENT] = "Your password has just been changed elsewhere. Log in again."
    return await _settings_page(password=Form({}, errors), status=400)


@blueprint.post(urls.CLOSE_ACCOUNT)
async def close_account() -> AnyResponse:
    """Until its last step the account is whole: whoever sees one fail can press again."""
    person, form = await who(), await request.form
    limit("login", f"email:{person.email}")
    if not await matches_in_thread(person.password_hash, form.get(CLOSING, "")[:1000]):
        return await _settings_page(closing=Form({}, {CLOSING: "This is not your current password."}), status=400)
    async with database().read() as connection:
        if await is_buying(connection, person.org_id):
            error = "The carrier has yet to confirm a number you are buying. Try again in a few minutes."
            return await _settings_page(closing=Form({}, {CLOSING: error}), status=409)
        batches = await unfinished_batches(connection, person.org_id)
        numbers = await active_number_objects(connection, person.org_id)
    for batch_id in batches:
        with suppress(ApiError):  # over by now
            await batches_service().switch(person.org_id, batch_id, "cancel")
    for number in numbers:
        with suppress(ApiError):  # given back by now
            await numbers_service().release(person.org_id, number["id"])
    await topups_service().expire_open(person.org_id)
    reason = "Closed on the Settings page"
    action = OperatorAction(new_id(), person.email, CLOSE_ORGANISATION, person.org_id, reason, person.org_id)
    wallet = await door().submit(CloseOrganisation(person.org_id, action))
    topups_service().alert("account_closed", f"organisation {person.org_id}, {wallet.balance} milli-cents left")
    await log_out()
    return html("message.html", gate=gate("Your account is closed"), message=views.account_closed())
