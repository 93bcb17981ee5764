"""A call played back: evidence, then what it decided, then the money."""

import asyncio
import json
from pathlib import Path
from typing import Any

from billing.ledger import list_transfers
from config.replay_cli import lines
from tests.servers import DOLLAR, Installation, Server, installation
from voice.calls import evidence_of, find_call
from voice.replay import replay_object

HUMAN, VOICEMAIL, BUSY, REFUSED = "+14155550130", "+14155550131", "+14155550133", "+14155550140"


async def played(server: Server, org: Any, call_id: str) -> Any:

    async with server.database.read() as connection:
        row = await find_call(connection, org.id, call_id)
        told = await evidence_of(connection, call_id)
        moved = await list_transfers(connection, org.id, limit=100, call_id=call_id)
    assert row is not None
    return replay_object(row, told, moved[::-1])


def story(replayed: Any) -> list[str]:
    """Money and decisions in order; of the evidence only that it is there."""
    named = {"money": "kind", "decision": "reason"}
    told = [step.get(named.get(step["step"], "")) or "evidence" for step in replayed["steps"]]
    return [each for n, each in enumerate(told) if n == 0 or each != told[n - 1]]


async def test_a_billed_call_goes_from_hold_by_evidence_and_decision_to_the_settlement(server: Server) -> None:
    org = await server.organisation(credit=10 * DOLLAR)
    call = await org.over(await org.call(HUMAN))
    replayed = await played(server, org, call["id"])
    assert story(replayed) == ["hold", "evidence", "billed", "settle"]
    assert replayed["confirmed"]
    assert replayed["steps"][-1]["amount_milli_cents"] == call["billing_amount_milli_cents"]
    assert [step["at_ms"] for step in replayed["steps"]] == sorted(step["at_ms"] for step in replayed["steps"])
    assert (
        "settle $0.0525, $2.9475 of the hold given back (then balance $9.9475, held $0.00)" in list(lines(replayed))[-2]
    )


async def test_each_kind_of_free_call_says_why_and_releases(server: Server) -> None:
    org = await server.organisation(credit=10 * DOLLAR)
    for to, reason in ((VOICEMAIL, "free_voicemail"), (BUSY, "free_busy")):
        call = await org.over(await org.call(to))
        replayed = await played(server, org, call["id"])
        assert story(replayed)[-2:] == [reason, "release"]
        assert "release $3.00 of the hold given back" in list(lines(replayed))[-2]
    refused = await org.call(REFUSED, expect=400)
    assert story(await played(server, org, refused["call_id"]))[-2:] == ["free_failed", "release"]


async def test_a_charge_that_goes_back_is_a_second_decision(server: Server) -> None:
    org = await server.organisation(credit=10 * DOLLAR)
    call = await org.over(await org.call(HUMAN))
    [record] = await server.records()
    late = {"CallSid": record["sid"], "AnsweredBy": "machine_start", "MachineDetectionDuration": "4100"}
    await server.callback(f"/webhooks/twilio/calls/{call['id']}/verdict", late)
    replayed = await played(server, org, call["id"])
    assert story(replayed) == ["hold", "evidence", "billed", "settle", "evidence", "free_voicemail", "refund"]
    text = "\n".join(lines(replayed))
    assert "free_voicemail: 0 s connected, $0.00" in text
    assert text.endswith("Confirmed: the evidence alone gives the same charge.")


async def test_a_call_that_says_another_charge_than_its_evidence_is_not_confirmed(server: Server) -> None:
    org = await server.organisation(credit=10 * DOLLAR)
    call = await org.over(await org.call(HUMAN))
    async with server.database.read() as connection:
        row = await find_call(connection, org.id, call["id"])
        told = await evidence_of(connection, call["id"])
    assert row is not None
    assert list(lines(replay_object({**row, "billing_amount_milli_cents": 1}, told, ())))[-1].startswith(
        "NOT CONFIRMED"
    )


def test_the_command_of_an_unknown_call_is_one_line(tmp_path: Path) -> None:
    with installation(tmp_path, "http://127.0.0.1:9") as place:
        assert _failed(place, "replay", "nobodys").startswith("callingbox-server: there is no call nobodys")


def _failed(place: Installation, *arguments: str) -> str:
    done = place.run(*arguments, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr


async def test_the_command_plays_a_call_back_beside_a_running_server(sqlite_server: Server, tmp_path: Path) -> None:

    org = await sqlite_server.organisation(credit=10 * DOLLAR)
    call = await org.over(await org.call(HUMAN))
    with installation(tmp_path, "http://127.0.0.1:9", database_url=sqlite_server.settings.database_url) as place:
        shown = await asyncio.to_thread(place.run, "replay", call["id"])
        assert shown.stdout.splitlines()[1].endswith("(then balance $10.00, held $3.00)")
        data = json.loads((await asyncio.to_thread(place.run, "replay", call["id"], "--json")).stdout)
        assert story(data) == ["hold", "evidence", "billed", "settle"]
