"""A thousand calls with every fault of the network at once: every hold closes, and each costs what it must.

The server is a process of its own with a clock as fast as the network's; customers, network and oracle are here.
"""

import asyncio
import contextlib
import json
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import httpx
import pytest
from quart import Quart, Response, request

from config.settings import SIMULATED_ACCOUNT_SID, SIMULATED_SECRET
from simulator import app as simulator_app
from simulator.calls import Hook
from simulator.faults import FaultPlan, dice
from simulator.network import Network
from simulator.scripts import Script
from tests.end_to_end.oracle import FREE_VERDICTS, Reading, Timing, allowed_charges
from tests.servers import (
    DOLLAR,
    Organisation,
    Process,
    create_organisation,
    installation,
    opened_door,
    until,
)
from voice.dialling import NotDiallable, check_number

SPEED = 20.0
OUTBOUND, INBOUND, ORGANISATIONS = 880, 120, 5
AT_ONCE = 40
FAULT_PROBABILITY = 0.1
CREDIT = 60 * DOLLAR
SHORT_SECONDS = 600
AMD_GRACE_SECONDS = 15.0
ENVIRONMENT = {
    "TWILIO_ACCOUNT_SID": SIMULATED_ACCOUNT_SID,  # a carrier of one's own, and no language model: calls are greeted
    "TWILIO_AUTH_TOKEN": SIMULATED_SECRET,
    "AMD_GRACE_SECONDS": str(AMD_GRACE_SECONDS),
    "SWEEP_SILENCE_SECONDS": "120",
    "SWEEP_INTERVAL_SECONDS": "1",
    "RATE_LIMIT_PER_MINUTE": "0",
    "LOG_LEVEL": "WARNING",
}
FINAL = ("completed", "busy", "failed", "no-answer", "canceled")


@dataclass
class Told:
    """What the carrier's REST API was asked and said."""

    readings: dict[str, list[Reading]] = field(default_factory=lambda: defaultdict(list))
    dials: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    def listen(self, app: Quart, network: Network) -> None:
        @app.after_request
        async def note(response: Response) -> Response:
            if request.path.endswith("/Calls.json") and request.method == "POST":
                form = await request.form
                self.dials[form["To"]].append(response.status_code)
            elif "/Calls/" in request.path and request.method == "GET" and response.status_code == 200:
                said = json.loads(await response.get_data())
                if said["status"] in FINAL or said["answered_by"] in FREE_VERDICTS:
                    self.readings[said["sid"]].append(Reading(network.clock.epoch_ms(), said["answered_by"]))
            return response


@asynccontextmanager
async def noted_network(told: Told, seed: int) -> AsyncIterator[tuple[str, Network]]:
    app = simulator_app.create_app(
        simulator_app.Options(
            account_sid=SIMULATED_ACCOUNT_SID, auth_token=SIMULATED_SECRET, speed=SPEED, seed=seed, numbers=()
        )
    )
    network: Network = app.extensions["network"]
    told.listen(app, network)
    listening = simulator_app.listen("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    stop = asyncio.Event()
    serving = asyncio.create_task(simulator_app.serve(app, listening, stop.wait))
    yield url, network
    stop.set()
    await serving


def numbers() -> Iterator[str]:
    """Fictitious numbers that one may call and that stand for nothing in particular, each once."""
    for area, last in product(range(201, 990), range(150, 200)):
        with contextlib.suppress(NotDiallable):
            check_number(number := f"+1{area}5550{last}", ("US",))
            yield number


@pytest.mark.parametrize("seed", [7])
@pytest.mark.alone
async def test_a_thousand_calls_with_every_fault_cost_what_they_must(tmp_path: Path, seed: int) -> None:
    told = Told()
    async with noted_network(told, seed) as (network_url, network):
        with installation(tmp_path, network_url, **ENVIRONMENT) as installed:
            await asyncio.to_thread(installed.run, "migrate")
            command = [*(sys.executable, "-m", "tests.end_to_end.fast_server"), str(installed.port), str(SPEED)]
            installed.server = Process(command, installed.environment, tmp_path / "server.log")
            await asyncio.to_thread(installed.server.await_answer, f"{installed.url}/readyz")
            async with opened_door(installed.database_url) as door:
                orgs = [
                    await create_organisation(installed.url, door, credit=CREDIT, number=f"+1415555010{index}")
                    for index in range(ORGANISATIONS)
                ]
            for org in orgs:
                number = network.add_number(org.number, org.number)
                number.voice = Hook(f"{installed.url}/webhooks/twilio/voice")
                number.status_callback = Hook(f"{installed.url}/webhooks/twilio/status")
            plan = {name: FAULT_PROBABILITY for name in FaultPlan.__struct_fields__ if name != "callback_delay_seconds"}
            network.faults = FaultPlan(**plan, callback_delay_seconds=60)

            await place_all(orgs, network, seed)
            await until(lambda: not network.live_calls and not network.courier.pending, "the network to fall silent")
            for org in orgs:
                await until(org_is_settled(org), f"the holds of {org.number} to close")

            async with httpx.AsyncClient(base_url=network_url, timeout=60) as sim:
                records = {record["sid"]: record for record in (await sim.get("/_sim/calls")).json()["calls"]}
            shown = {org.id: await every_call(org) for org in orgs}
            audit = await asyncio.to_thread(installed.run, "audit", check=False)

            assert json.loads(audit.stdout)["violations"] == []
            for to, statuses in told.dials.items():
                assert all(status == 429 for status in statuses[:-1]), f"{to} was dialled twice: {statuses}"
            doubtful = check_charges(shown, records, told, network)
            assert doubtful <= 0.03 * (OUTBOUND + INBOUND)
            for org in orgs:
                wallet = await org.wallet()
                spent = sum(call["billing_amount_milli_cents"] for call in shown[org.id])
                assert (wallet["held_milli_cents"], wallet["balance_milli_cents"]) == (0, CREDIT - spent)
                await org.api.aclose()


async def place_all(orgs: list[Organisation], network: Network, seed: int) -> None:
    places = asyncio.Semaphore(AT_ONCE)
    callees = numbers()

    async def outbound(index: int, to: str) -> None:
        async with places:
            await place(orgs[index % ORGANISATIONS], to, f"order-{index}")

    async def inbound(index: int) -> None:
        throw = dice(seed, "inbound", index)
        await asyncio.sleep(throw.uniform(0, 20))
        gives_up = throw.random() < 0.3
        script = Script(
            outcome="no-answer" if gives_up else "human",
            ends="no-answer" if gives_up else None,
            talk_seconds=throw.uniform(1, 120),
        )
        number = network.numbers[orgs[index % ORGANISATIONS].number]
        network.ring_in(number, f"+1312555{index:04d}", script)

    await asyncio.gather(
        *(outbound(index, next(callees)) for index in range(OUTBOUND)), *(inbound(index) for index in range(INBOUND))
    )


async def place(org: Organisation, to: str, key: str) -> None:
    """Create a call as a careful customer does: with a key, again while there is no answer, room or credit."""
    body = {"to": to, "max_duration_seconds": SHORT_SECONDS}
    while True:
        try:
            answer = await org.api.post("/v1/calls", json=body, headers={"Idempotency-Key": key})
        except httpx.TransportError:
            continue
        if answer.status_code == 201:
            return
        assert answer.status_code in (402, 503), answer.text
        await asyncio.sleep(0.2)


def org_is_settled(org: Organisation) -> Any:
    async def settled() -> bool:
        return bool((await org.wallet())["held_milli_cents"] == 0)

    return settled


async def every_call(org: Organisation) -> list[Any]:
    found: list[Any] = []
    while True:
        after = {"starting_after": found[-1]["id"]} if found else {}
        page = await org.get("/v1/calls", limit=100, **after)
        found += page["data"]
        if not page["has_more"]:
            return found


def check_charges(shown: dict[str, list[Any]], records: dict[str, Any], told: Told, network: Network) -> int:
    """Compare call by call; gives how many had more than one allowed charge."""
    timing = Timing(grace_ms=AMD_GRACE_SECONDS / SPEED * 1000, slack_ms=400)
    by_pair = {(record["to"], record["from"]): record for record in records.values()}
    doubtful, reasons, wrong = 0, Counter[str](), []
    for call in (call for calls in shown.values() for call in calls):
        reasons[f"{call['direction']} {call['billing_reason']}"] += 1
        record = by_pair.get((call["to_number"], call["from_number"]))
        charged = call["billing_amount_milli_cents"]
        if record is None or call["error_code"] is not None:
            assert call["error_code"] in ("dial_lost", "carrier_busy", "calls_paused"), call
            allowed = {0}
        else:
            longest = SHORT_SECONDS if call["direction"] == "outbound" else 3_600
            allowed = allowed_charges(record, told.readings[record["sid"]], longest, timing)
        doubtful += len(allowed) > 1
        if charged not in allowed:
            wrong.append((call, allowed, record))
    print(f"{sum(reasons.values())} calls, {doubtful} doubtful: {dict(reasons)}")
    print(f"faults: {Counter(fault.partition(':')[0] for record in records.values() for fault in record['faults'])}")
    assert not wrong, json.dumps(wrong[:3], indent=1, default=str)
    return doubtful
