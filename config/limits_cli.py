"""Spending limits and the low-credit alert on the operator's command line.

Invariant: what is set by hand leaves a row in the trail that says who did it, when and why.
"""

from typing import TYPE_CHECKING, Any

import click

from config.operator_cli import operator_option, reason_option

if TYPE_CHECKING:
    from config.database import Database
    from config.door import Door
    from config.settings import Settings

LARGEST = 10**12
OPTIONS = {
    "daily_cap": "daily_cap_milli_cents",
    "monthly_cap": "monthly_cap_milli_cents",
    "max_calls": "max_concurrent_calls",
    "countries": "allowed_countries",
}


class Limit(click.ParamType[Any]):
    """A whole number, or `none`, which lifts the limit."""

    name = "number|none"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "none":
            return value
        if not str(value).isascii() or not str(value).isdigit() or int(value) > LARGEST:
            self.fail("must be a whole number, or none", param, ctx)
        return int(value)


LIMIT = Limit()


def _countries(context: click.Context, parameter: click.Parameter, value: str | None) -> list[str] | str | None:
    if value in (None, "none"):
        return value
    countries = sorted({part.strip().upper() for part in str(value).split(",") if part.strip()})
    if not countries or not all(len(each) == 2 and each.isalpha() and each.isascii() for each in countries):
        raise click.BadParameter("must be regions with commas, like US,CA, or none")
    return countries


@click.group()
def limits() -> None:
    """Spending limits of organisations and API keys, and the low-credit alert."""


@limits.command("show")
@click.argument("org_id")
def limits_show(org_id: str) -> None:
    """The limits of ORG_ID and of its keys, what they have spent, and below what credit ORG_ID is told."""
    from config.cli import show, through_door

    async def work(database: "Database", door: "Door", settings: "Settings") -> Any:
        return await _all_limits(database, org_id)

    show(through_door(work))


@limits.command("set")
@click.argument("org_id")
@click.option("--key", "key_id", help="Of this API key (its id), not of the whole organisation.")
@click.option("--daily-cap", type=LIMIT, help="Milli-cents a day; none lifts it.")
@click.option("--monthly-cap", type=LIMIT, help="Milli-cents a month; none lifts it.")
@click.option("--max-calls", type=LIMIT, help="Calls at once; none lifts it.")
@click.option("--countries", callback=_countries, help="Regions with commas, like US,CA; none lifts it.")
@reason_option
@operator_option
def limits_set(org_id: str, key_id: str | None, reason: str, operator: str, **given: Any) -> None:
    """Limit what ORG_ID, or one of its keys, may spend. What is left out stays."""
    from billing.limits import SetLimits
    from billing.operator_commands import OperatorAction
    from config.cli import show, through_door
    from config.clock import new_id

    changes = {OPTIONS[name]: None if value == "none" else value for name, value in given.items() if value is not None}
    if not changes:
        raise click.UsageError("say which limit: --daily-cap, --monthly-cap, --max-calls or --countries")
    action = OperatorAction(new_id(), operator, "limits_set", key_id or org_id, reason, org_id, changes)

    async def work(database: "Database", door: "Door", settings: "Settings") -> Any:
        if await door.submit(SetLimits(org_id, changes, key_id, action=action)) is not None:
            raise click.ClickException(f"there is no organisation {org_id}" + (f" with key {key_id}" if key_id else ""))
        return (await _all_limits(database, org_id))[key_id or org_id]

    show(through_door(work))


@limits.command("alert")
@click.argument("org_id")
@click.argument("milli_cents", type=LIMIT)
@reason_option
@operator_option
def limits_alert(org_id: str, milli_cents: int | str, reason: str, operator: str) -> None:
    """Tell ORG_ID when its available credit falls below MILLI_CENTS; none: below what two calls hold."""
    from billing.alert_commands import SetAlert
    from billing.operator_commands import OperatorAction
    from config.cli import show, through_door
    from config.clock import new_id

    if milli_cents == 0:
        raise click.UsageError("must be above 0, or none")
    chosen = None if isinstance(milli_cents, str) else milli_cents
    detail = {"alert_below_milli_cents": chosen}
    action = OperatorAction(new_id(), operator, "alert_set", org_id, reason, org_id, detail)

    async def work(database: "Database", door: "Door", settings: "Settings") -> Any:
        if await door.submit(SetAlert(org_id, chosen, action=action)) is not None:
            raise click.ClickException(f"there is no organisation {org_id}")
        return (await _all_limits(database, org_id))[org_id]

    show(through_door(work))


async def _all_limits(database: "Database", org_id: str) -> dict[str, Any]:
    """By the id of the organisation (with its alert) and of each key that has any."""
    from accounts.organisations import find_organisation
    from billing.limits import limits_object, read_limits
    from billing.spending import Limits, Spent, local_day
    from config.clock import now_ms

    async with database.read() as connection:
        organisation = await find_organisation(connection, org_id)
        if organisation is None:
            raise click.ClickException(f"there is no organisation {org_id}")
        kept = await read_limits(connection, org_id)
    day = local_day(now_ms(), organisation["timezone"])
    shown = {each: limits_object(*kept.get(each, (Limits(), Spent())), day) for each in (org_id, *kept)}
    shown[org_id]["alert_below_milli_cents"] = organisation["alert_below_milli_cents"]
    return shown
