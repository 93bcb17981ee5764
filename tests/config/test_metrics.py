"""What an operator's Prometheus reads, and who else may not."""

from collections.abc import Mapping

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.servers import Server, running_network, running_server, until

TOKEN = "a-token-for-prometheus"


async def read(server: Server, headers: Mapping[str, str] | None = None) -> dict[tuple[str, ...], float]:
    """(name, label values …) → value."""
    async with httpx.AsyncClient(base_url=server.url) as anyone:
        answer = await anyone.get("/metrics", headers=dict(headers or {}))
    assert answer.status_code == 200, answer.text
    samples = [sample for family in text_string_to_metric_families(answer.text) for sample in family.samples]
    return {(sample.name, *sample.labels.values()): sample.value for sample in samples}


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
