"""Several web processes and workers on one Postgres: one wallet, one call, one key, and a database that goes away."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import func, select
from twilio.request_validator import RequestValidator

from billing.tables import transfers
from config.database import Database
from config.settings import SIMULATED_ACCOUNT_SID, SIMULATED_SECRET
from simulator.network import Network
from tests.databases import Postgres
from tests.end_to_end.zygote import running_zygote
from tests.postgres_proxy import proxy_to
from tests.servers import (
    Installation,
    Organisation,
    create_organisation,
    free_port,
    installation,
    opened_door,
    running_network,
    until,
)

WEBS, WORKERS = 4, 2
HOLD = 50_000
SHORT_SECONDS = 600
RESTARTS = 3


@dataclass
class Cluster:
    installed: Installation
    network: Network
    clients: list[httpx.AsyncClient]

    async def organisation(self, credit: int) -> Organisation:
        """Its key opens every process."""
        async with opened_door(self.installed.database_url) as door:
            org = await create_organisation(self.installed.url, door, credit=credit)
        self.network.add_number(org.number, org.number)
        for client in self.clients:
            client.headers["Authorization"] = f"Bearer {org.api_key}"
        return org

    async def each(self, method: str, path: str, times: int = 1, **options: Any) -> list[httpx.Response]:
        """The same request of every process at once."""
        asked = [client.request(method, path, **options) for client in self.clients for _ in range(times)]
        return list(await asyncio.gather(*asked))


@asynccontextmanager
async def cluster(
    url: str, directory: Path, speed: float, webs: int = WEBS, workers: int = WORKERS
) -> AsyncIterator[Cluster]:
    async with running_network(speed=speed) as network:
        patience = {"SWEEP_SILENCE_SECONDS": "2", "SWEEP_INTERVAL_SECONDS": "1", "AMD_GRACE_SECONDS": "1"}
        keys = {"TWILIO_ACCOUNT_SID": SIMULATED_ACCOUNT_SID, "TWILIO_AUTH_TOKEN": SIMULATED_SECRET}
        own = {**patience, **keys}  # a carrier of one's own, and no language model: calls are greeted
        with (
            installation(directory, network[0], database_url=url, LOG_LEVEL="ERROR", **own) as installed,
            running_zygote(installed.environment, directory / "zygote.log") as zygote,
        ):
            ports = [installed.port, *(free_port() for _ in range(webs - 1))]
            clients = [httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=40) for port in ports]
            for line in [f"web {port}" for port in ports] + ["worker"] * workers:
                await asyncio.to_thread(zygote.fork, line)
            for client in clients:
                await until(ready(client), "a server")
            yield Cluster(installed, network[1], clients)
            for client in clients:
                await client.aclose()


def ready(client: httpx.AsyncClient) -> Any:
    async def ask() -> bool:
        try:
            return (await client.get("/readyz")).status_code == 200
        except httpx.TransportError:
            return False

    return ask


async def audited(on: Cluster) -> None:
    audit = await asyncio.to_thread(on.installed.run, "audit")
    assert json.loads(audit.stdout)["violations"] == []


async def test_four_processes_never_hold_more_than_the_wallet_has(postgres_url: str, tmp_path: Path) -> None:
    async with cluster(postgres_url, tmp_path, speed=0.01) as on:
        org = await on.organisation(credit=5 * HOLD)

        async def call(number: int, client: httpx.AsyncClient) -> int:
            body = {"to": f"+1212555{number + 150:04d}", "max_duration_seconds": SHORT_SECONDS}
            return (await client.post("/v1/calls", json=body)).status_code

        answers = await asyncio.gather(*(call(number, on.clients[number % WEBS]) for number in range(40)))
        assert Counter(answers) == {201: 5, 402: 35}
        assert (await org.wallet())["available_milli_cents"] == 0
        assert len(on.network.calls) == 5
        await audited(on)


async def test_one_key_one_call_one_end_whichever_process_is_asked(postgres_url: str, tmp_path: Path) -> None:
    async with cluster(postgres_url, tmp_path, speed=0.01) as on:
        org = await on.organisation(credit=100 * HOLD)
        body, key = {"to": "+12125550150", "max_duration_seconds": SHORT_SECONDS}, {"Idempotency-Key": "order-1"}
        made = await on.each("POST", "/v1/calls", times=3, json=body, headers=key)
        assert {answer.status_code for answer in made} == {201}
        [call_id] = {answer.json()["id"] for answer in made}
        [leg] = on.network.calls.values()
        path = f"/webhooks/twilio/calls/{call_id}"
        told: tuple[tuple[str, dict[str, str]], ...] = (
            ("verdict", {"AnsweredBy": "human", "MachineDetectionDuration": "3200"}),
            ("status", {"CallStatus": "completed", "CallDuration": "67"}),
        )
        for kind, said in told:
            form = {"AccountSid": SIMULATED_ACCOUNT_SID, "CallSid": leg.sid, **said}
            signature = RequestValidator(SIMULATED_SECRET).compute_signature(f"{on.installed.url}{path}/{kind}", form)
            headers = {"X-Twilio-Signature": signature}
            answers = await on.each("POST", f"{path}/{kind}", times=3, data=form, headers=headers)
            assert {answer.status_code for answer in answers} == {204}
        await on.each("POST", f"/v1/calls/{call_id}/hangup")
        shown = await org.get(f"/v1/calls/{call_id}")
        assert (shown["status"], shown["billing_reason"]) == ("completed", "billed")
        database = Database(on.installed.database_url)
        async with database.read() as connection:
            ends = await connection.scalar(
                select(func.count()).select_from(transfers).where(transfers.c.call_id == call_id)
            )
        await database.close()
        assert ends == 2  # the hold and its end
        await audited(on)


class Asking:
    """Eight who place calls, one after the other, whatever they hear, each at every process in turn."""

    def __init__(self, on: Cluster) -> None:
        self._on, self._stop = on, asyncio.Event()
        self.statuses: Counter[int] = Counter()
        self.acknowledged: set[str] = set()
        self._tasks = [asyncio.create_task(self._ask(number)) for number in range(8)]

    async def _ask(self, number: int) -> None:
        while not self._stop.is_set():
            number += 41
            area, last = 212 + number // 40 % 7, 150 + number % 40
            body = {"to": f"+1{area}5550{last}", "max_duration_seconds": SHORT_SECONDS}
            answer = await self._on.clients[number % len(self._on.clients)].post("/v1/calls", json=body)
            self.statuses[answer.status_code] += 1
            if answer.status_code == 201:
                self.acknowledged.add(answer.json()["id"])
            await asyncio.sleep(0.1)

    async def accepted(self, more: int) -> None:
        """Wait until so many more calls were accepted."""
        wanted = self.statuses[201] + more
        await until(lambda: self.statuses[201] >= wanted, "calls to be accepted")

    async def end(self) -> None:
        self._stop.set()
        await asyncio.gather(*self._tasks)


async def nothing_is_lost(on: Cluster, org: Organisation, asking: Asking) -> None:
    """All was accepted, refused, or answered 503; each accepted call is there and over, and its money is right."""
    assert set(asking.statuses) <= {201, 409, 503}, asking.statuses

    async def nothing_held() -> bool:
        return bool((await org.wallet())["held_milli_cents"] == 0)

    await until(nothing_held, "the holds to close by themselves")
    await audited(on)
    page = await org.get("/v1/calls", limit=100)
    shown = page["data"]
    while page["has_more"]:
        page = await org.get("/v1/calls", limit=100, starting_after=shown[-1]["id"])
        shown += page["data"]
    assert asking.acknowledged <= {call["id"] for call in shown}
    assert all(call["billing_reason"] for call in shown)


async def test_while_the_database_is_away_everybody_hears_503_and_afterwards_all_goes_on(
    postgres_url: str, tmp_path: Path
) -> None:
    async with proxy_to(postgres_url, tmp_path) as proxy, cluster(proxy.url, tmp_path, speed=20.0) as on:
        org = await on.organisation(credit=1_000 * HOLD)
        asking = Asking(on)
        await asking.accepted(6)
        await proxy.cut()
        await until(lambda: asking.statuses[503] > 10, "everybody to notice")
        await proxy.mend()
        await asking.accepted(11)
        await asking.end()
        await nothing_is_lost(on, org, asking)


async def test_a_database_that_crashes_and_restarts_under_load_costs_some_503_and_nothing_else(tmp_path: Path) -> None:
    postgres = Postgres(durable=True)
    with postgres.database() as url:
        async with cluster(url, tmp_path, speed=20.0, webs=2, workers=1) as on:
            org = await on.organisation(credit=10_000 * HOLD)
            asking = Asking(on)
            for _ in range(RESTARTS):
                await asking.accepted(20)
                refused = asking.statuses[503]
                await asyncio.to_thread(postgres.crash)
                await until(lambda refused=refused: asking.statuses[503] > refused, "somebody to notice")  # type: ignore[misc]
                await asyncio.to_thread(postgres.recover)
            await asking.accepted(20)
            await asking.end()
            await nothing_is_lost(on, org, asking)
    postgres.stop()
