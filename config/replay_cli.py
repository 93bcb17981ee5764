"""`callingbox-server replay`: a call's evidence, decisions and money, step by step.

Invariant: reads only; with --json, data alone on standard output.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from config.database import Database
    from config.door import Door
    from config.settings import Settings

MOST_TRANSFERS = 100


@click.command()
@click.argument("call_id")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def replay(call_id: str, as_json: bool) -> None:
    """Show CALL_ID step by step: what the carrier said, what that decided, which money moved."""
    from config.cli import show, through_door

    async def work(database: "Database", door: "Door", settings: "Settings") -> Any:
        from billing.ledger import list_transfers
        from voice.calls import evidence_of, find_any_call, find_call
        from voice.replay import replay_object

        async with database.read() as connection:
            known = await find_any_call(connection, call_id)
            row = None if known is None else await find_call(connection, known.org_id, call_id)
            if known is None or row is None:
                raise click.ClickException(f"there is no call {call_id}")
            told = await evidence_of(connection, call_id)
            moved = await list_transfers(connection, known.org_id, limit=MOST_TRANSFERS, call_id=call_id)
        return replay_object(row, told, moved[::-1])

    played = through_door(work)
    if as_json:
        return show(played)
    for line in lines(played):
        click.echo(line)
    return None


def lines(played: Mapping[str, Any]) -> Iterator[str]:
    """For people."""
    yield f"Call {played['call_id']}, {played['direction']}, {played['status']}"
    for step in played["steps"]:
        yield f"{step['at_ms'] / 1000:>10.3f} s  {step['step']:<9} {_WORDS[step['step']](step)}"
    if played["billing_reason"] is None:
        yield "Nothing is decided yet."
    elif played["confirmed"]:
        yield "Confirmed: the evidence alone gives the same charge."
    else:
        yield "NOT CONFIRMED: the evidence gives another charge than the call says. Run: callingbox-server audit"


def _evidence(step: Mapping[str, Any]) -> str:
    said = ", ".join(f"{name} {value}" for name, value in step["said"].items())
    return f"{step['source']} {step['kind']}: {said}"


def _decision(step: Mapping[str, Any]) -> str:
    from billing.money import dollars_exact

    charge = dollars_exact(step["charge_milli_cents"])
    return f"{step['reason']}: {step['connected_seconds']} s connected, {charge}"


def _money(step: Mapping[str, Any]) -> str:
    from billing.money import dollars_exact
    from billing.presenting import movement_words

    balance, held = dollars_exact(step["balance_after_milli_cents"]), dollars_exact(step["held_after_milli_cents"])
    words = movement_words(step["amount_milli_cents"], step["held_delta_milli_cents"])
    return f"{step['kind']} {words} (then balance {balance}, held {held})"


_WORDS = {"evidence": _evidence, "decision": _decision, "money": _money}
