"""Paying: Add credits, the way to Stripe and back, automatic recharge.

Invariant: nothing is credited on the word of the browser; what it brings back only says which payment to ask Stripe
about, and only its own organisation may ask.
"""

from quart import Blueprint, redirect, request

from billing.auto_recharge_commands import SetAutoRecharge
from billing.topup_rules import MAXIMUM_CENTS, MINIMUM_CENTS
from billing.topup_service import topups_service
from config.errors import ApiError
from dashboard import urls, wallet_view
from dashboard.billing_pages import billing_page
from dashboard.recharge_view import FIELDS, rule_of
from dashboard.views import Form
from dashboard.web import AnyResponse, door, inside, who

blueprint = inside(Blueprint("payment_pages", __name__))

LONGEST_ENTRY = 20


@blueprint.get(urls.ADD_CREDITS)
async def add_credits() -> AnyResponse:
    return await billing_page(dialog={})


@blueprint.post(urls.ADD_CREDITS)
async def do_add_credits() -> AnyResponse:
    form = await request.form
    entered = {"chosen": form.get("amount", ""), "custom": form.get("custom", "")}
    entered = {name: value[:LONGEST_ENTRY] for name, value in entered.items()}
    try:
        cents = wallet_view.amount_cents(**entered, least_cents=MINIMUM_CENTS, most_cents=MAXIMUM_CENTS)
    except wallet_view.BadAmount as error:
        return await billing_page(dialog={**entered, "chosen": "other", "error": str(error)}, status=400)
    try:
        _, url = await topups_service().create((await who()).org_id, cents)
    except ApiError as error:
        return await billing_page(dialog={**entered, "refusal": error.message}, status=error.status)
    return redirect(url, 303)


@blueprint.get(urls.PAYMENT_RETURN)
async def payment_return() -> AnyResponse:
    """Where Stripe sends people back to. The page that follows can be loaded again without asking Stripe again."""
    row = await topups_service().return_from_checkout((await who()).org_id, request.args.get("session_id", ""))
    return redirect(urls.billing(payment=row["id"]), 303)


@blueprint.get(urls.AUTO_RECHARGE)
async def auto_recharge() -> AnyResponse:
    return await billing_page()


@blueprint.post(urls.AUTO_RECHARGE)
async def set_auto_recharge() -> AnyResponse:
    person, form = await who(), await request.form
    if form.get("turn_off"):
        known = await topups_service().recharge_of(person.org_id)
        if known is not None:
            kept = known.threshold_milli_cents, known.recharge_to_milli_cents, known.monthly_cap_milli_cents
            await door().submit(SetAutoRecharge(person.org_id, person.user_id, *kept, None))
        return redirect(urls.billing(part="auto-recharge", saved=True), 303)
    rule = rule_of({name: form.get(name, "")[:LONGEST_ENTRY] for name in (*FIELDS, "agreed")})
    if isinstance(rule, Form):
        return await billing_page(recharge=rule, status=400)
    wanted = rule.threshold, rule.recharge_to, rule.monthly_cap
    await door().submit(SetAutoRecharge(person.org_id, person.user_id, *wanted, rule.consent))
    return redirect(urls.billing(part="auto-recharge", saved=True), 303)
