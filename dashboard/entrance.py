"""The pages before log-in: log in, sign up, confirm an address, join, choose a new password.

Invariant: log-in and reset never tell whether an address has an account, neither in words nor in time. Sign-up must
say that an address is taken; it is limited by the caller's own address.
"""

from quart import Blueprint, redirect, request

from accounts.identity import BadIdentity, check_email, check_name, check_password
from accounts.links import INVITE_SECONDS, RESET_SECONDS, VERIFY_SECONDS, Links
from accounts.members import AcceptInvitation
from accounts.organisations import find_invitation, find_user, find_user_by_id
from accounts.passwords import hash_in_thread, matches_in_thread
from accounts.people import AskToReset, AskToVerify, SetPassword, SignUp, VerifyEmail
from accounts.sessions import SESSION_COOKIE, check_form, log_in, log_out, member, remember_visitor
from config.clock import new_id, now_ms
from config.http import asked_from
from dashboard import urls, views
from dashboard.web import AnyResponse, check_text, database, door, gate, html, limit, our_address, secure, settings

blueprint = Blueprint("entrance", __name__)
blueprint.before_request(check_text)
blueprint.before_request(check_form)
blueprint.after_request(remember_visitor)
blueprint.after_request(secure)


def _links() -> Links:
    return Links(settings().signing_secret)


def _next_url(wanted: str) -> str:
    """Where people go after log-in."""
    return our_address(wanted) or urls.CALLS


@blueprint.get(urls.LOGIN)
async def login() -> AnyResponse:
    if await member() is not None:
        return redirect(_next_url(request.args.get("next", "")))
    wanted = request.args.get("next", "")
    notices = [views.session_expired()] if wanted and SESSION_COOKIE in request.cookies else []
    if request.args.get("changed"):
        notices = [views.password_changed()]
    return _login_page(views.Form(), wanted, *notices)


def _login_page(form: views.Form, wanted: str, *notices: views.Notice, status: int = 200) -> AnyResponse:
    free = settings().free_credit_milli_cents
    page = gate("Log in", *notices)
    return html("login.html", status, gate=page, form=form, next_url=wanted and _next_url(wanted), free_credit=free)


@blueprint.post(urls.LOGIN)
async def do_login() -> AnyResponse:
    form = await request.form
    email, wanted = form.get("email", "")[:300], form.get("next", "")
    limit("login", f"address:{asked_from()}")
    limit("login", f"email:{email.strip().lower()}")
    async with database().read() as connection:
        user = await find_user(connection, email.strip().lower())
    known_hash = user["password_hash"] if user else None
    matches = await matches_in_thread(known_hash, form.get("password", "")[:1000])
    if not matches or user is None or not await log_in(user["id"], user["password_hash"]):
        return _login_page(views.Form({"email": email}), wanted, views.wrong_login(), status=401)
    return redirect(_next_url(wanted), 303)


@blueprint.post(urls.LOGOUT)
async def logout() -> AnyResponse:
    await log_out()
    return redirect(urls.LOGIN, 303)


@blueprint.get(urls.SIGN_UP)
async def sign_up() -> AnyResponse:
    return _sign_up_page(views.Form())


def _sign_up_page(form: views.Form, invitation: str | None = None, token: str = "", status: int = 200) -> AnyResponse:
    free = 0 if invitation else settings().free_credit_milli_cents
    title = f"Join {invitation}" if invitation else "Create an account"
    return html(
        "signup.html",
        status,
        gate=gate(title),
        form=form,
        free_credit=free,
        invitation=invitation,
        invitation_token=token,
    )


@blueprint.post(urls.SIGN_UP)
async def do_sign_up() -> AnyResponse:
    form = await request.form
    if form.get("invitation"):
        return await _join(form["invitation"], form.get("password", ""))
    values = {name: form.get(name, "")[:300] for name in ("organisation", "email")}
    errors: dict[str, str] = {}
    name, email = _checked(errors, "organisation", values), _checked(errors, "email", values)
    _check_password(errors, "password", form.get("password", ""))
    if errors:
        return _sign_up_page(views.Form(values, errors), status=400)
    limit("sign_up", f"address:{asked_from()}")
    user_id, password_hash = new_id(), await hash_in_thread(form["password"])
    command = SignUp(new_id(), user_id, new_id(), name, email, password_hash)
    if not await door().submit(command):
        taken = {"email": "This address has an account already. Log in, or choose a new password."}
        return _sign_up_page(views.Form(values, taken), status=400)
    await log_in(user_id, password_hash)
    return html("message.html", gate=gate("Check your mail"), message=views.check_your_mail(email))


def _checked(errors: dict[str, str], field: str, values: dict[str, str]) -> str:
    try:
        return check_email(values[field]) if field == "email" else check_name(values[field])
    except BadIdentity as error:
        errors[field] = str(error)
        return ""


def _check_password(errors: dict[str, str], field: str, password: str) -> None:
    try:
        check_password(password)
    except BadIdentity as error:
        errors[field] = str(error)


@blueprint.get("/join")
async def join() -> AnyResponse:
    token = request.args.get("token", "")
    invitation = await _invitation(token)
    if invitation is None:
        return _dead_link(views.verification_failed())
    return _sign_up_page(views.Form({"email": invitation["email"]}), invitation["organisation"], token)


async def _invitation(token: str) -> dict[str, str] | None:
    facts = _links().read("invite", token, INVITE_SECONDS)
    if facts is None:
        return None
    async with database().read() as connection:
        return await find_invitation(connection, facts[0], now_ms())


async def _join(token: str, password: str) -> AnyResponse:
    invitation = await _invitation(token)
    if invitation is None:
        return _dead_link(views.verification_failed())
    errors: dict[str, str] = {}
    _check_password(errors, "password", password)
    if errors:
        form = views.Form({"email": invitation["email"]}, errors)
        return _sign_up_page(form, invitation["organisation"], token, status=400)
    user_id, password_hash = new_id(), await hash_in_thread(password)
    if not await door().submit(AcceptInvitation(invitation["id"], user_id, password_hash)):
        return _dead_link(views.verification_failed())
    await log_in(user_id, password_hash)
    return redirect(urls.CALLS, 303)


@blueprint.get(urls.VERIFY)
async def verify() -> AnyResponse:
    facts = _links().read("verify", request.args.get("token", ""), VERIFY_SECONDS)
    if facts is None or len(facts) != 2:
        return _dead_link(views.verification_failed())
    granted = await door().submit(VerifyEmail(facts[0], facts[1], new_id(), settings().free_credit_milli_cents))
    if granted is None:
        return _dead_link(views.verification_failed())
    return html("message.html", gate=gate("Email confirmed"), message=views.verified(granted))


@blueprint.post(urls.RESEND_VERIFICATION)
async def resend() -> AnyResponse:
    person = await member()
    if person is None:
        return redirect(urls.LOGIN, 303)
    limit("sign_up", f"mail:{person.email}")
    await door().submit(AskToVerify(person.user_id, new_id()))
    return html("message.html", gate=gate("Check your mail"), message=views.check_your_mail(person.email))


@blueprint.get(urls.FORGOT)
async def forgot() -> AnyResponse:
    return html("forgot.html", gate=gate("Forgot your password"), form=views.Form())


@blueprint.post(urls.FORGOT)
async def do_forgot() -> AnyResponse:
    entered = (await request.form).get("email", "")[:300]
    try:
        email = check_email(entered)
    except BadIdentity as error:
        form = views.Form({"email": entered}, {"email": str(error)})
        return html("forgot.html", 400, gate=gate("Forgot your password"), form=form)
    limit("sign_up", f"address:{asked_from()}")
    limit("sign_up", f"mail:{email}")
    await door().submit(AskToReset(email, new_id()))
    return html("message.html", gate=gate("Check your mail"), message=views.reset_sent(email))


async def _user_of_reset(token: str) -> dict[str, str] | None:
    """Whose password may be changed: the link names the old one's hash, so it works once."""
    facts = _links().read("reset", token, RESET_SECONDS)
    if facts is None or len(facts) != 2:
        return None
    async with database().read() as connection:
        user = await find_user_by_id(connection, facts[0])
    return user if user is not None and user["password_hash"][-16:] == facts[1] else None


@blueprint.get(urls.RESET)
async def reset() -> AnyResponse:
    token = request.args.get("token", "")
    user = await _user_of_reset(token)
    if user is None:
        return _dead_link(views.reset_failed())
    return _reset_page(views.Form(), token, user["email"])


def _reset_page(form: views.Form, token: str, email: str, status: int = 200) -> AnyResponse:
    return html("reset.html", status, gate=gate("Choose a new password"), form=form, token=token, email=email)


@blueprint.post(urls.RESET)
async def do_reset() -> AnyResponse:
    form = await request.form
    token = form.get("token", "")
    user = await _user_of_reset(token)
    if user is None:
        return _dead_link(views.reset_failed())
    errors: dict[str, str] = {}
    _check_password(errors, "password", form.get("password", ""))
    if errors:
        return _reset_page(views.Form({}, errors), token, user["email"], 400)
    changed = SetPassword(user["id"], user["password_hash"], await hash_in_thread(form["password"]))
    if not await door().submit(changed):
        return _dead_link(views.reset_failed())
    return redirect(f"{urls.LOGIN}?changed=1", 303)


def _dead_link(message: views.Message) -> AnyResponse:
    return html("message.html", 400, gate=gate(message.heading), message=message)
