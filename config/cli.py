"""`callingbox-server`: the command line of whoever runs the server.

Invariant: data is JSON alone on standard output, logs and faults go to standard error, an error is one line and exit
code 1. Every command works beside a running server, and imports only what it needs.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import click

from config import operator_cli
from config.settings import BadSettings, Settings, load

if TYPE_CHECKING:
    from config.database import Database
    from config.door import Door

Fault = click.ClickException


class CommandLine(click.Group):
    """Says every fault in one line on standard error, and ends with 1."""

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:
        try:
            sys.exit(super().main(*args, **{**kwargs, "standalone_mode": False}))
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
        except click.Abort:
            sys.exit(130)
        except click.ClickException as error:
            for line in error.format_message().splitlines():
                click.echo(f"callingbox-server: {line}", err=True)
        sys.exit(1)


class Words(click.ParamType[str]):
    """Text that can be kept and shown: not blank, no control characters, no bytes that are no text."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not str(value).strip() or not str(value).isprintable():
            self.fail("must be printable text", param, ctx)
        return str(value)


WORDS = Words()


def settings() -> Settings:
    try:
        return load()
    except BadSettings as error:
        raise Fault("\n".join(error.faults)) from None


def show(data: Any) -> None:
    click.echo(json.dumps(data, ensure_ascii=False))


def through_door(work: "Callable[[Database, Door, Settings], Awaitable[Any]]") -> Any:
    """Run `work` with a database and a door of our own; the embedded database is made if it is missing."""
    loaded = settings()

    async def run() -> Any:
        from billing.tables import wallets
        from config.database import Database
        from config.door import Door
        from config.logs import configure

        configure(loaded.log_level if "log_level" in loaded.model_fields_set else "CRITICAL")  # a fault is one line
        database = Database(loaded.database_url)
        door = Door(database, wallets)
        door.open()
        try:
            return await work(database, door, loaded)
        finally:
            await door.close()
            await database.close()

    prepare(loaded)
    return run_safely(run)


def prepare(loaded: Settings, *, postgres: bool = False) -> None:
    """Bring the embedded database to today's schema; others are migrated by `migrate` (and by `demo`) alone."""
    from config.migrate import migrate, migrate_embedded

    embedded = loaded.database_url.startswith("sqlite")
    if embedded or postgres:
        with database_faults():
            (migrate_embedded if embedded else migrate)(loaded.database_url)


def run_safely(run: Callable[[], Awaitable[Any]]) -> Any:
    async def wrapped() -> Any:
        return await run()

    with database_faults():
        return asyncio.run(wrapped())


@contextmanager
def database_faults() -> Iterator[None]:
    """What the database or its network does, as a line for the operator. No address: it may carry a password."""
    import sqlite3

    from sqlalchemy.exc import SQLAlchemyError

    from config.database import Unavailable, is_unavailable
    from config.door import Busy, Down

    try:
        yield
    except (Unavailable, Busy, Down) as error:
        raise Fault(f"{error}; check DATABASE_URL") from None
    except (SQLAlchemyError, sqlite3.Error, OSError) as error:
        if is_unavailable(error) or isinstance(error, sqlite3.Error):
            raise Fault(f"the database cannot be reached ({type(error).__name__}); check DATABASE_URL") from None
        raise _refused(error) from None
    except Exception as error:
        if not type(error).__module__.startswith("asyncpg."):  # the door speaks to the driver itself
            raise
        raise _refused(error) from None


def _refused(error: Exception) -> Fault:
    return Fault(f"the database refused ({type(error).__name__}); is it migrated? callingbox-server migrate")


@click.group(cls=CommandLine)
def main() -> None:
    """Phone calls conducted by an AI agent, paid by the connected minute."""


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8000, show_default=True, envvar="PORT", type=click.IntRange(1, 65535))
def serve(host: str, port: int) -> None:
    """Serve HTTP; with the embedded database also do the worker's work."""
    from config.serve import serve as run

    loaded = settings()
    prepare(loaded)
    raise SystemExit(run(loaded, host, port))


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Where --metrics-port listens.")
@click.option("--metrics-port", envvar="METRICS_PORT", type=click.IntRange(1, 65535), help="Serve /metrics here.")
def worker(host: str, metrics_port: int | None) -> None:
    """Run the sweeper and what else works in the background (beside `web` processes on Postgres)."""
    from config.serve import listen, work

    loaded = settings()
    raise SystemExit(work(loaded, None if metrics_port is None else listen(host, metrics_port, "--metrics-port")))


@main.command()
@click.option("--port", default=8000, show_default=True, envvar="PORT", type=click.IntRange(1, 65535))
def demo(port: int) -> None:
    """Serve with a simulated telephone network and place a first call."""
    from config.demo import demo as run

    raise SystemExit(run(settings(), port, lambda loaded: prepare(loaded, postgres=True)))


@main.command()
def migrate() -> None:
    """Bring the database to today's schema."""
    from config.migrate import migrate as run

    loaded = settings()
    with database_faults():
        run(loaded.database_url)
    show({"migrated": True})


@main.group()
def org() -> None:
    """Organisations."""


@org.command("create")
@click.argument("name")
@click.option("--email", required=True)
@click.option("--password", required=True)
def org_create(name: str, email: str, password: str) -> None:
    """Create NAME with a user, an API key and the free credit."""
    from concurrent.futures import ThreadPoolExecutor

    from accounts.identity import BadIdentity, check_email, check_name, check_password
    from accounts.passwords import hash_password

    try:
        name, address = check_name(name), check_email(email)
        check_password(password)
    except BadIdentity as error:
        raise Fault(str(error)) from None
    hashed = ThreadPoolExecutor(1).submit(hash_password, password)  # slow on purpose: meanwhile the rest is loaded

    from accounts.commands import CreateOrganisation
    from accounts.keys import new_key
    from config.clock import new_id

    key = new_key()

    async def create(database: "Database", door: "Door", loaded: Settings) -> dict[str, Any]:
        command = CreateOrganisation(
            org_id=new_id(),
            user_id=new_id(),
            key_id=new_id(),
            transfer_id=new_id(),
            name=name,
            email=address,
            password_hash=hashed.result(),
            api_key=key,
            free_credit_milli_cents=loaded.free_credit_milli_cents,
        )
        if await door.submit(command) is None:
            raise Fault(f"{address} already has an account")
        return {"org_id": command.org_id, "user_id": command.user_id, "api_key": key}

    show(through_door(create))


@main.group()
def key() -> None:
    """API keys."""


@key.command("create")
@click.argument("org_id", type=WORDS)
@click.option("--name", required=True, type=WORDS)
def key_create(org_id: str, name: str) -> None:
    """Create an API key for ORG_ID; it is shown this once."""
    from accounts.commands import CreateKey
    from accounts.keys import new_key
    from config.clock import new_id

    made = new_key()

    async def create(database: "Database", door: "Door", loaded: Settings) -> dict[str, Any]:
        key_id = await door.submit(CreateKey(new_id(), org_id, name[:100], made))
        if key_id is None:
            raise Fault(f"there is no organisation {org_id}")
        return {"key_id": key_id, "api_key": made}

    show(through_door(create))


@main.group()
def number() -> None:
    """Phone numbers."""


@number.command("import")
@click.argument("org_id", type=WORDS)
@click.argument("e164")
def number_import(org_id: str, e164: str) -> None:
    """Give ORG_ID a number of the carrier account and point its webhooks here."""
    from config.clock import new_id
    from voice.carrier import set_up_at_carrier
    from voice.dialling import NotDiallable, check_number
    from voice.numbers.commands import ImportNumber

    loaded = settings()
    try:
        region = check_number(e164, loaded.allowed_countries, "E164")
    except NotDiallable as refusal:
        raise Fault(refusal.message.replace("`", "")) from None

    async def run(database: "Database", door: "Door", loaded: Settings) -> dict[str, Any]:
        command = ImportNumber(new_id(), org_id, e164, region)
        refusal = await door.submit(command)
        if refusal is not None:
            raise Fault(refusal)
        at_carrier = await set_up_at_carrier(loaded, e164)
        return {"id": command.number_id, "org_id": org_id, "e164": e164, "carrier": at_carrier}

    show(through_door(run))


@main.command()
@click.option("--http", is_flag=True, help="Serve many clients at /mcp, each with its own key; else one, over stdio.")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8020, show_default=True, type=click.IntRange(1, 65535))
@click.option("--base-url", envvar="CALLINGBOX_BASE_URL", default="http://127.0.0.1:8000", show_default=True)
def mcp(http: bool, host: str, port: int, base_url: str) -> None:
    """Let AI assistants call: a Model Context Protocol server that talks to the HTTP API at --base-url."""
    import os

    from config.mcp_server import run_http, run_stdio

    if not base_url.startswith(("http://", "https://")):
        raise Fault("--base-url must begin with http:// or https://")
    if http:
        from config.serve import listen

        listening = listen(host, port)
        click.echo(f"callingbox-server: http://{host}:{port}/mcp", err=True)
        return run_http(base_url, host, listening)
    if not (key := os.environ.get("CALLINGBOX_API_KEY", "")).startswith("sk_"):
        raise Fault("set CALLINGBOX_API_KEY to an API key that has a daily or monthly cap")
    return run_stdio(base_url, key)


@main.command()
def sweep() -> None:
    """Look once at every call and number that is due: late verdicts, deadlines, silent calls; purchases, renewals."""

    async def work(machinery: Any) -> dict[str, Any]:
        return {**await machinery.sweeper.sweep(), "numbers": await machinery.numbers.look()}

    show(with_machinery(work))


@main.command()
def audit() -> None:
    """Work every charge out again from its evidence and fold all transfers; exit 1 and a list if anything differs."""
    from config.audit import audit as run

    loaded = settings()
    prepare(loaded)
    report = run_safely(lambda: run(loaded))
    show(report)
    if report["violations"]:
        with_machinery(lambda machinery: machinery.notifier.audit_failed(report["violations"]))
        raise SystemExit(1)


@main.command()
@click.option("--set-webhooks", is_flag=True, help="First point every number's webhooks at this server.")
def doctor(set_webhooks: bool) -> None:
    """Check credentials, public address, database and each number's webhooks, and say what to mend."""
    from config.doctor import doctor as run

    raise SystemExit(asyncio.run(run(settings(), set_webhooks=set_webhooks)))


def with_machinery(work: Callable[[Any], Awaitable[Any]]) -> Any:
    """Run `work` with everything but the web application."""
    loaded = settings()
    prepare(loaded)

    async def run() -> Any:
        from config.logs import configure
        from config.machinery import Machinery

        configure(loaded.log_level)
        machinery = Machinery(loaded)
        await machinery.open()
        try:
            return await work(machinery)
        finally:
            await machinery.close()

    return run_safely(run)


operator_cli.register(main, org)

if __name__ == "__main__":
    sys.exit(main())
