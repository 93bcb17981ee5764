"""What an operator's Prometheus reads, and who else may not."""

import socket
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from simulator.faults import FaultPlan
from tests.servers import (
    BIN,
    Process,
    Server,
    free_port,
    installation,
    running_network,
    running_server,
    until,
)

TOKEN = "a-token-for-prometheus"


async def read(server: Server, headers: Mapping[str, str] | None = None) -> dict[tuple[str, ...], float]:
    """(name, label values …) → value."""
    async with httpx.AsyncClient(base_url=server.url) as anyone:
        return samples(await anyone.get("/metrics", headers=dict(headers or {})))


def samples(answer: httpx.Response) -> dict[tuple[str, ...], float]:
    assert answer.status_code == 200, answer.text
    found = [sample for family in text_string_to_metric_families(answer.text) for sample in family.samples]
    return {(sample.name, *sample.labels.values()): sample.value for sample in found}


async def test_calls_holds_callbacks_and_commits_are_counted(server: Server) -> None:
    org = await server.organisation()
    before = await read(server)
    assert before["callingbox_open_holds",] == before["callingbox_oldest_hold_seconds",] == 0
    await org.over(await org.call("+14155550150"))
    await org.over(await org.call("+14155550151"))
    after = await read(server)
    outcomes = {labels[2]: value for labels, value in after.items() if labels[0] == "callingbox_calls_total"}
    assert sum(outcomes.values()) == 2
    shown = [call["billing_reason"] for call in (await org.get("/v1/calls"))["data"]]
    assert set(outcomes) == set(shown)
    assert after["callingbox_callback_delay_seconds_count",] >= 4
    assert after["callingbox_door_batch_size_count",] > before["callingbox_door_batch_size_count",]
    assert after["callingbox_door_batch_size_sum",] >= after["callingbox_door_batch_size_count",]
    assert after["callingbox_corrections_total", "ended_by_asking"] == 0


async def test_an_open_hold_grows_old(sqlite_server: Server) -> None:
    org = await sqlite_server.organisation()
    assert sqlite_server.network is not None
    sqlite_server.network.clock.speed = 0.001
    await org.call("+14155550150")
    sqlite_server.clock.advance(3_600)
    metrics = await read(sqlite_server)
    assert metrics["callingbox_open_holds",] == 1
    assert 3_600 <= metrics["callingbox_oldest_hold_seconds",] < 3_660


async def test_what_only_asking_found_out_is_a_correction(sqlite_server: Server) -> None:
    org = await sqlite_server.organisation()
    assert sqlite_server.network is not None
    sqlite_server.network.faults = type(sqlite_server.network.faults)(callback_lost=1.0)
    await org.call("+14155550150")
    network = sqlite_server.network
    await until(lambda: not network.live_calls, "the end of the call")
    sqlite_server.clock.advance(3_600)
    await sqlite_server.sweep()
    sqlite_server.clock.advance(60)
    await sqlite_server.sweep()
    metrics = await read(sqlite_server)
    assert metrics["callingbox_corrections_total", "ended_by_asking"] == 1


async def test_with_a_token_only_who_shows_it_reads(sqlite_url: str) -> None:
    async with running_network() as network, running_server(sqlite_url, network=network, METRICS_TOKEN=TOKEN) as server:
        async with httpx.AsyncClient(base_url=server.url) as anyone:
            for shown in (b"", b"Bearer wrong", "Bearer é".encode()):
                answer = await anyone.get("/metrics", headers={b"Authorization": shown})
                assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
        assert await read(server, {"Authorization": f"Bearer {TOKEN}"})


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-Ip"])
async def test_without_a_token_what_a_proxy_passes_on_reads_nothing(sqlite_server: Server, header: str) -> None:
    async with httpx.AsyncClient(base_url=sqlite_server.url) as anyone:
        answer = await anyone.get("/metrics", headers={header: "198.51.100.7"})
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")


async def test_a_worker_shows_what_it_put_right_itself_and_takes_no_other_request(
    postgres_url: str, tmp_path: Path
) -> None:
    """On Postgres the sweeper is the worker's: what it corrects, no web process has seen."""
    patience = {"SWEEP_INTERVAL_SECONDS": "0.2", "SWEEP_SILENCE_SECONDS": "1", "AMD_GRACE_SECONDS": "1"}
    port = free_port()
    async with running_network(faults=FaultPlan(callback_lost=1.0)) as network:
        with installation(tmp_path, network[0], database_url=postgres_url, METRICS_PORT=str(port), **patience) as made:
            async with running_server(postgres_url, network=network, **patience) as web:
                worker = Process([str(BIN / "callingbox-server"), "worker"], made.environment, tmp_path / "worker.log")
                try:
                    org = await web.organisation()
                    await org.over(await org.call("+14155550150"))
                    url = f"http://127.0.0.1:{port}"
                    async with httpx.AsyncClient(base_url=url) as anyone:
                        metrics = samples(await anyone.get("/metrics"))
                        ready = await anyone.get("/readyz")
                        html = {"Accept": "text/html"}
                        elsewhere = [await anyone.get(path, headers=html) for path in ("/v1/calls", "/calls")]
                finally:
                    assert worker.stop() == 0
    assert metrics["callingbox_corrections_total", "ended_by_asking"] == 1
    assert metrics["callingbox_door_batch_size_count",] > 0
    assert metrics["callingbox_open_holds",] == 0
    assert ready.status_code == 200
    assert [(answer.status_code, answer.json()["code"]) for answer in elsewhere] == [(404, "not_found")] * 2


def test_a_worker_whose_port_is_taken_says_so(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, installation(tmp_path, "http://127.0.0.1:1") as made:
        done = made.run("worker", "--metrics-port", str(taken.getsockname()[1]), check=False)
    assert done.returncode == 1
    assert "choose another with --metrics-port" in done.stderr
