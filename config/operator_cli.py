"""The operator's side of the command line: credit by hand, top-ups in review, refunds, suspensions, and their trail.

Invariant: nothing is decided here without a reason; every decision leaves a row that says who did what, when and why.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from config.database import Database
    from config.door import Door
    from config.machinery import Machinery
    from config.settings import Settings

STATUSES = ("pending", "processing", "paid", "expired", "failed", "review", "rejected")
LONGEST_REASON = 500


def _given_reason(context: click.Context, parameter: click.Parameter, value: str) -> str:
    if not value.strip() or len(value) > LONGEST_REASON or not value.isprintable():
        raise click.BadParameter(f"say why, in at most {LONGEST_REASON} printable characters")
    return value.strip()


def _operator(context: click.Context, parameter: click.Parameter, value: str | None) -> str:
    import getpass

    return value or getpass.getuser()


reason_option = click.option("--reason", required=True, callback=_given_reason, help="Kept in the trail.")
operator_option = click.option(
    "--operator", callback=_operator, envvar="CALLINGBOX_OPERATOR", help="Who you are; the system's user if left out."
)


@click.group()
def credit() -> None:
    """Credit of organisations."""


@credit.command("adjust", context_settings={"ignore_unknown_options": True})
@click.argument("org_id")
@click.argument("milli_cents", type=click.IntRange(-(10**12), 10**12))
@reason_option
@operator_option
def credit_adjust(org_id: str, milli_cents: int, reason: str, operator: str) -> None:
    """Add MILLI_CENTS (may be negative) to the credit of ORG_ID."""
    from billing.ledger import Post, read_wallet
    from billing.operator_commands import AdjustCredit, OperatorAction
    from billing.posting import Posting, Transfer
    from billing.presenting import transfer_object
    from config.cli import show, through_door
    from config.clock import new_id

    async def adjust(database: "Database", door: "Door", settings: "Settings") -> Any:
        async with database.read() as connection:
            if await read_wallet(connection, org_id) is None:
                raise click.ClickException(f"there is no organisation {org_id}")
        transfer_id, detail = new_id(), {"milli_cents": milli_cents}
        posting = Posting(
            transfer_id, f"{org_id}:adjust:{transfer_id}", org_id, "adjustment", milli_cents, reason=reason
        )
        action = OperatorAction(new_id(), operator, "credit_adjust", transfer_id, reason, org_id, detail)
        done = await door.submit(AdjustCredit(Post(posting, settings.terms), action))
        assert isinstance(done, Transfer), done
        return transfer_object(done._asdict())

    show(through_door(adjust))


@click.group()
def topup() -> None:
    """Top-ups: what customers paid."""


@topup.command("list")
@click.option("--status", type=click.Choice(STATUSES))
@click.option("--org", "org_id", help="Of this organisation alone.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 1000))
def topup_list(status: str | None, org_id: str | None, limit: int) -> None:
    """Top-ups, newest first. `--status review`: the ones that wait for you."""
    from billing.topup_queries import list_all, operator_objects
    from config.cli import show, through_door

    async def work(database: "Database", door: "Door", settings: "Settings") -> Any:
        async with database.read() as connection:
            rows = await list_all(connection, status=status, org_id=org_id, limit=limit)
            return {"data": await operator_objects(connection, rows)}

    show(through_door(work))


@topup.command("resolve")
@click.argument("topup_id")
@click.option("--credit/--reject", "credit", default=None, help="Give the credit, or none.")
@click.option("--org", "org_id", help="Whose payment it is, where nobody knows.")
@click.option("--amount-cents", type=click.IntRange(1, 10**9), help="Credit this much instead of what was asked for.")
@reason_option
@operator_option
def topup_resolve(
    topup_id: str, credit: bool | None, org_id: str | None, amount_cents: int | None, reason: str, operator: str
) -> None:
    """End the review of TOPUP_ID with --credit or --reject. A rejected payment goes back with `topup refund`."""
    if credit is None:
        raise click.UsageError("say --credit or --reject")

    async def work(machinery: "Machinery") -> Any:
        row = await machinery.topups.resolve(
            topup_id, operator, reason, credit=credit, org_id=org_id, amount_cents=amount_cents
        )
        return await _shown(machinery, row)

    _run(work)


@topup.command("refund")
@click.argument("topup_id")
@click.option("--amount-cents", type=click.IntRange(1, 10**9), help="Less than all that can be refunded.")
@reason_option
@operator_option
def topup_refund(topup_id: str, amount_cents: int | None, reason: str, operator: str) -> None:
    """Pay TOPUP_ID back to the card it came from: what of its credit is unspent or, if it was rejected, all of it."""
    from billing.topup_refunds import Refunds

    async def work(machinery: "Machinery") -> Any:
        return await _shown(machinery, await Refunds(machinery.topups).refund(topup_id, operator, reason, amount_cents))

    _run(work)


@topup.command("reconcile")
def topup_reconcile() -> None:
    """Ask Stripe now about open top-ups, recent refunds and disputes, as the worker does every quarter of an hour."""
    _run(lambda machinery: machinery.topup_upkeep.reconcile())


@click.command()
@click.option("--org", "org_id", help="About this organisation alone.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 1000))
def trail(org_id: str | None, limit: int) -> None:
    """What operators did, newest first."""
    from billing.topup_queries import list_actions
    from config.cli import show, through_door
    from config.clock import iso

    async def work(database: "Database", door: "Door", settings: "Settings") -> Any:
        async with database.read() as connection:
            rows = await list_actions(connection, org_id=org_id, limit=limit)
        return {"data": [{**row, "created_at": iso(row["created_at"])} for row in rows]}

    show(through_door(work))


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def backup(file: Path) -> None:
    """Copy the embedded database to FILE, beside a running server; checked, and put there whole or not at all.

    To restore it: stop the server, put FILE in the place of the database, and remove what lies there of the old one
    under its name with -wal and -shm.
    """
    from config.backup import NoBackup, back_up
    from config.cli import settings, show

    try:
        show(back_up(settings().database_url, file))
    except NoBackup as reason:
        raise click.ClickException(str(reason)) from None


@click.group()
def call() -> None:
    """Calls."""


@call.command("end")
@click.argument("call_id")
@reason_option
@operator_option
def call_end(call_id: str, reason: str, operator: str) -> None:
    """End CALL_ID by hand: hang it up if it is still up, charge nothing, release its hold.

    For a call that the carrier answers nothing about. `sweep` first: what it has an answer to is charged as it should.
    """
    from billing.operator_commands import OperatorAction
    from config.clock import new_id
    from voice.end_call import EndCall
    from voice.outcomes import Moved

    async def work(machinery: "Machinery") -> Any:
        found = await machinery.calls.find(call_id)
        if found is None:
            raise click.ClickException(f"there is no call {call_id}")
        action = OperatorAction(new_id(), operator, "call_end", call_id, reason, found.org_id)
        result = await machinery.door.submit(EndCall(action, machinery.policy, new_id(), new_id()))
        if not isinstance(result, Moved) or not result.new:
            raise click.ClickException(f"call {call_id} has ended already")
        ended = result.call
        shown = ("status", "billing_reason", "reservation_status", "hold_milli_cents", "billing_amount_milli_cents")
        return {"call_id": call_id, **{name: getattr(ended, name) for name in shown}}

    _run(work)


@click.command("list")
@click.option("--email", help="Of the member with this address alone.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 1000))
def org_list(email: str | None, limit: int) -> None:
    """Organisations with their members and wallets, newest first."""
    from accounts.organisations import list_organisations
    from config.cli import show, through_door
    from config.clock import iso

    async def work(database: "Database", door: "Door", settings: "Settings") -> Any:
        async with database.read() as connection:
            rows = await list_organisations(connection, email=email and email.strip().lower(), limit=limit)
        moments = ("created_at", "suspended_at")
        return {"data": [{**row, **{name: iso(row[name]) for name in moments}} for row in rows]}

    show(through_door(work))


@click.command("suspend")
@click.argument("org_id")
@reason_option
@operator_option
def org_suspend(org_id: str, reason: str, operator: str) -> None:
    """Refuse new calls and payments of ORG_ID; what is under way goes on."""
    _set_suspended(org_id, reason, operator, is_suspended=True)


@click.command("resume")
@click.argument("org_id")
@reason_option
@operator_option
def org_resume(org_id: str, reason: str, operator: str) -> None:
    """Lift the suspension of ORG_ID."""
    _set_suspended(org_id, reason, operator, is_suspended=False)


def _set_suspended(org_id: str, reason: str, operator: str, *, is_suspended: bool) -> None:
    from billing.operator_commands import OperatorAction, SuspendOrganisation
    from config.cli import show, through_door
    from config.clock import new_id

    name = "org_suspend" if is_suspended else "org_resume"
    action = OperatorAction(new_id(), operator, name, org_id, reason, org_id)

    async def work(database: "Database", door: "Door", settings: "Settings") -> Any:
        if not await door.submit(SuspendOrganisation(org_id, is_suspended, action)):
            raise click.ClickException(f"there is no organisation {org_id}")
        return {"org_id": org_id, "suspended": is_suspended}

    show(through_door(work))


def register(main: click.Group, org: click.Group) -> None:
    """Add these commands to the command line."""
    from config.batch_cli import batch
    from config.limits_cli import limits
    from config.listen_cli import listen
    from config.replay_cli import replay

    for command in (batch, limits, listen, replay):
        main.add_command(command)
    for command in (backup, call, credit, topup, trail):
        main.add_command(command)
    for command in (org_list, org_suspend, org_resume):
        org.add_command(command)


async def _shown(machinery: "Machinery", row: dict[str, Any]) -> Any:
    from billing.topup_queries import operator_objects

    async with machinery.database.read() as connection:
        return (await operator_objects(connection, [row]))[0]


def _run(work: "Callable[[Machinery], Awaitable[Any]]") -> None:
    """Show what `work` gives; its refusals are one line each."""
    from billing.topup_service import Refused
    from billing.topups import BankUnavailable
    from config.cli import show, with_machinery

    try:
        show(with_machinery(work))
    except Refused as error:
        raise click.ClickException(str(error)) from None
    except BankUnavailable as error:
        hint = "it may have been done; look again with: callingbox-server topup reconcile"
        raise click.ClickException(f"{error}: {hint}") from None
