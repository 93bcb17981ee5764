"""A server that is killed at the worst moments: what it acknowledged is there, nothing is twice, every hold closes."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest
from sqlalchemy import select, update

from billing.tables import transfers, wallets
from config.database import Database
from simulator.network import Network
from tests.databases import alter
from tests.end_to_end.zygote import running_zygote
from tests.servers import (
    DOLLAR,
    Installation,
    Organisation,
    create_organisation,
    installation,
    opened_door,
    running_network,
    until,
)
from voice import twiml
from voice.agents.tables import do_not_call
from voice.tables import calls

SILENCE_SECONDS = 2
KILLS = 20
PAUSE_SECONDS = (
    0.2  # between one client's orders: a fast machine must not place more than the network then ends in time
)


@pytest.fixture
async def network() -> AsyncIterator[tuple[str, Network]]:
    async with running_network(speed=20.0) as network:
        yield network


@pytest.fixture
def installed(tmp_path: Path, network: tuple[str, Network], database_url: str) -> Iterator[Installation]:
    patience = {"SWEEP_SILENCE_SECONDS": str(SILENCE_SECONDS), "AMD_GRACE_SECONDS": "1", "SWEEP_INTERVAL_SECONDS": "1"}
    with installation(tmp_path, network[0], database_url=database_url, LOG_LEVEL="WARNING", **patience) as installed:
        yield installed


async def customer(installed: Installation, network: Network, credit: int = 500 * DOLLAR) -> Organisation:
    async with opened_door(installed.database_url) as door:
        org = await create_organisation(installed.url, door, credit=credit)
    network.add_number(org.number, org.number)
    return org


async def orders(org: Organisation, numbers: Iterator[int], acknowledged: dict[int, Any], stop: asyncio.Event) -> None:
    """Create call after call, each with its key until it is acknowledged."""
    while not stop.is_set():
        number = next(numbers)
        request = {"to": f"+1{212 + number // 50 % 7}55501{number % 50 + 50}", "max_duration_seconds": 600}
        while number not in acknowledged:
            try:
                answer = await org.api.post("/v1/calls", json=request, headers={"Idempotency-Key": f"order-{number}"})
            except httpx.TransportError:
                await asyncio.sleep(0.02)
                continue
            if answer.status_code == 201:
                acknowledged[number] = answer.json()
                await asyncio.sleep(PAUSE_SECONDS)
            else:
                assert answer.json()["code"] in ("over_capacity", "call_unresolved", "call_in_progress"), answer.text
                await asyncio.sleep(0.1)


async def test_nothing_acknowledged_is_lost_when_the_server_is_killed_twenty_times(
    installed: Installation, network: tuple[str, Network], tmp_path: Path
) -> None:
    if installed.database_url.startswith("sqlite"):
        await asyncio.to_thread(installed.run, "migrate")
    org = await customer(installed, network[1], credit=5_000 * DOLLAR)
    acknowledged: dict[int, Any] = {}
    numbers, stop, dice = count(), asyncio.Event(), Random(1)
    with running_zygote(installed.environment, tmp_path / "zygote.log") as zygote:
        creating = [asyncio.create_task(orders(org, numbers, acknowledged, stop)) for _ in range(6)]
        for kill in range(KILLS):
            known = list(acknowledged.values())
            web = await asyncio.to_thread(zygote.fork, f"web {installed.port}")
            worker = await asyncio.to_thread(zygote.fork, "worker")
            await until(answers(org, known), "the server")
            if kill % 2:  # the others may die before they have done anything
                await until(one_more(acknowledged), "a call")
            await asyncio.sleep(dice.expovariate(1 / 0.3))
            zygote.kill(web)
            zygote.kill(worker)
        await asyncio.to_thread(zygote.fork, f"web {installed.port}")
        stop.set()
        await asyncio.gather(*creating)
        await until(lambda: not network[1].live_calls and not network[1].courier.pending, "the network")
        await an_hour_passes(installed)
        await settled(installed, org)
        made = await every_call(org)
        assert {call["id"] for call in acknowledged.values()} == {call["id"] for call in made}
        dialled = Counter(delivery.url for call in network[1].calls.values() for delivery in call.deliveries[:1])
        assert max(dialled.values()) == 1
        await books_are_sound(installed, org, made)


def one_more(acknowledged: dict[int, Any]) -> Callable[[], bool]:
    before = len(acknowledged)
    return lambda: len(acknowledged) > before


def answers(org: Organisation, known: list[Any]) -> Any:
    """Whether the server answers; then it must know every call that was acknowledged before."""

    async def ask() -> bool:
        try:
            found = await every_call(org)
        except httpx.TransportError:
            return False
        assert {call["id"] for call in known} <= {call["id"] for call in found}
        return True

    return ask


async def test_a_dial_that_died_with_its_process_is_never_dialled_again_but_resolved(
    installed: Installation, network: tuple[str, Network]
) -> None:
    """Killed while the carrier thinks: one call was made, one was not; nobody knows which."""
    await asyncio.to_thread(installed.start)
    org = await customer(installed, network[1])
    network[1].faults = type(network[1].faults)(slow_answer=1.0, callback_lost=1.0, verdict_lost=1.0)
    network[1].clock.speed = 1.0
    asking = [
        asyncio.create_task(
            org.api.post("/v1/calls", json={"to": f"+1415555015{n}"}, headers={"Idempotency-Key": f"k{n}"})
        )
        for n in range(3)
    ]
    await until(lambda: len(network[1].calls) == 3, "the dials")
    assert installed.server is not None
    installed.server.kill()
    for outcome in await asyncio.gather(*asking, return_exceptions=True):
        assert isinstance(outcome, httpx.TransportError)
    network[1].faults, network[1].clock.speed = type(network[1].faults)(), 20.0
    first = next(iter(network[1].calls.values()))
    first.deleted = True  # the carrier lost this one altogether: it cannot be found, and nothing more is said about it
    silent: dict[str, Any] = {
        "status_callback": None,
        "verdict_callback": None,
        "voice": None,
        "twiml": twiml.hang_up(),
    }
    first.order = replace(first.order, **silent)

    assert await held(installed, org) == 3 * 300_000
    await asyncio.to_thread(installed.start)
    again: dict[str, Any] = {"json": {"to": "+14155550151"}, "headers": {"Idempotency-Key": "k1"}}
    repeating = asyncio.create_task(org.api.post("/v1/calls", **again))
    await until(lambda: not network[1].live_calls and not network[1].courier.pending, "the network")
    await an_hour_passes(installed)
    await settled(installed, org)
    repeat = await repeating
    assert (repeat.status_code, repeat.headers["Idempotent-Replayed"]) == (201, "true")
    shown = {call["to_number"]: call for call in await every_call(org)}
    assert shown[first.order.to]["error_code"] == "dial_lost"
    others = [call for to, call in shown.items() if to != first.order.to]
    assert all(call["error_code"] is None for call in others)
    assert len(network[1].calls) == 3
    await books_are_sound(installed, org, list(shown.values()))


async def test_a_server_told_to_stop_finishes_what_it_accepted(
    installed: Installation, network: tuple[str, Network]
) -> None:
    server = await asyncio.to_thread(installed.start)
    org = await customer(installed, network[1])
    network[1].faults = type(network[1].faults)(slow_answer=1.0)
    orders = [org.api.post("/v1/calls", json={"to": f"+141555501{n}"}) for n in range(50, 60)]
    asking = [asyncio.create_task(order) for order in orders]
    await until(lambda: len(network[1].calls) == 10, "the dials")
    assert await asyncio.to_thread(server.stop) == 0
    for answer in await asyncio.gather(*asking):
        assert (answer.status_code, answer.headers["Connection"]) == (201, "close")
        assert answer.json()["status"] != "queued"


async def test_a_server_told_to_stop_answers_whatever_it_does_for_those_who_go_on_asking(
    installed: Installation, network: tuple[str, Network]
) -> None:
    server = await asyncio.to_thread(installed.start)
    org = await customer(installed, network[1])
    acknowledged: set[str] = set()

    async def ask(client: int) -> None:
        for number in range(9_999):
            e164 = f"+1{client}555{number:04d}"
            try:
                answer = await org.api.post("/v1/do_not_call", json={"e164": e164})
            except httpx.TransportError:
                return
            if answer.status_code == 503:
                return
            assert answer.status_code == 201
            acknowledged.add(e164)

    asking = [asyncio.create_task(ask(212 + client)) for client in range(30)]
    await until(lambda: len(acknowledged) > 60, "the clients to be busy")
    assert await asyncio.to_thread(server.stop) == 0
    await asyncio.gather(*asking)
    database = Database(installed.database_url)
    async with database.read() as connection:
        kept = set((await connection.execute(select(do_not_call.c.e164))).scalars())
    await database.close()
    assert kept == acknowledged


WAITED_FOR = ("due_at", "ask_at", "dial_began_at", "heard_at", "asked_at", "final_stored_at")


async def an_hour_passes(installed: Installation) -> None:
    """For whoever waits: the times that money is worked out from stay what they are in the evidence."""
    earlier = {calls.c[name]: calls.c[name] - 3_600_000 for name in WAITED_FOR}
    older = update(calls).where(calls.c.billing_reason.is_(None)).values(earlier)
    await alter(installed.database_url, lambda connection: connection.execute(older))


async def settled(installed: Installation, org: Organisation) -> None:
    """Sweep as an operator does until nothing is held."""

    async def nothing_held() -> bool:
        await asyncio.to_thread(installed.run, "sweep")
        return bool((await org.wallet())["held_milli_cents"] == 0)

    await until(nothing_held, "every hold to close")


async def every_call(org: Organisation) -> list[Any]:
    found: list[Any] = []
    while True:
        page = await org.get("/v1/calls", limit=100, **({"starting_after": found[-1]["id"]} if found else {}))
        found += page["data"]
        if not page["has_more"]:
            return found


async def held(installed: Installation, org: Organisation) -> Any:
    """What the wallet holds, while no server is there to be asked."""
    database = Database(installed.database_url)
    async with database.read() as connection:
        found = await connection.scalar(select(wallets.c.held).where(wallets.c.id == org.id))
    await database.close()
    return found


async def books_are_sound(installed: Installation, org: Organisation, made: list[Any]) -> None:
    """One hold and one end for each call, its charge what the call says, and an audit that finds nothing.

    A verdict that was later than its grace may have given back, once, what had been charged by then."""
    database = Database(installed.database_url)
    async with database.read() as connection:
        rows = (await connection.execute(select(transfers))).mappings().all()
    await database.close()
    for call in made:
        amounts = {row["kind"]: row["amount"] for row in rows if row["call_id"] == call["id"]}
        assert len(amounts) == sum(row["call_id"] == call["id"] for row in rows), call
        assert amounts.keys() in ({"hold", "release"}, {"hold", "settle"}, {"hold", "settle", "refund"}), call
        assert amounts.get("settle", 0) - amounts.get("refund", 0) == call["billing_amount_milli_cents"], call
    spent = sum(call["billing_amount_milli_cents"] for call in made)
    credit = sum(row["balance_delta"] for row in rows if row["kind"] == "adjustment")
    assert (await org.wallet())["balance_milli_cents"] == credit - spent
    audit = await asyncio.to_thread(lambda: installed.run("audit", check=False))
    assert json.loads(audit.stdout)["violations"] == []
