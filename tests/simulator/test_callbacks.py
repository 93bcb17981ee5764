"""How the network makes its requests: signatures, retries, connection overrides, loopback only."""

import asyncio

import pytest

from simulator.callbacks import Overrides, is_loopback
from simulator.faults import FaultPlan
from tests.simulator.telephony import customer

FINAL_ONLY = {"status_callback_event": ["completed"], "machine_detection": None}


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://127.0.0.1:8000/x", True),
        ("http://127.8.9.1/x", True),
        ("http://[::1]:8000/x", True),
        ("http://localhost:8000/x", True),
        ("ws://localhost/x", True),
        ("https://example.com/x", False),
        ("http://localhost.example.com/x", False),
        ("http://10.0.0.1/x", False),
        ("http://0.0.0.0/x", False),
        ("http://127.0.0.1@example.com/x", False),
        ("http://169.254.169.254/latest", False),
        ("/x", False),
    ],
)
def test_only_this_machine_is_loopback(url: str, loopback: bool) -> None:
    assert is_loopback(url) is loopback


async def test_nothing_is_sent_to_an_address_elsewhere() -> None:
    async with customer() as who:
        call = await who.call("+14155550133", status_callback="https://example.com/status")
        await who.idle()
        deliveries = (await who.record(call.sid))["deliveries"]
    assert {delivery["attempts"][0]["result"] for delivery in deliveries} == {"not_loopback"}


async def test_the_fragment_is_neither_sent_nor_signed() -> None:
    async with customer() as who:
        await who.call("+14155550133", status_callback=f"{who.url}/status?call=a%20b&x=#rc=3&rp=5xx")
        await who.idle()
        received = who.received[-1]
    assert received.raw_url == f"{who.url}/status?call=a%20b&x="
    assert received.signed


async def test_a_get_callback_carries_and_signs_its_parameters_in_the_query() -> None:
    async with customer() as who:
        await who.call("+14155550133", status_callback_method="GET", **FINAL_ONLY)
        await who.idle()
        [event] = who.at("/status")
    assert event["CallStatus"] == "busy"


async def test_a_server_error_is_not_retried_by_default() -> None:
    async with customer() as who:
        who.statuses["/status"] = [503]
        call = await who.call("+14155550133", **FINAL_ONLY)
        await who.idle()
        assert len(who.at("/status")) == 1
        [delivery] = (await who.record(call.sid))["deliveries"]
        assert delivery["delivered"] is False


async def test_a_server_error_is_retried_when_the_address_asks_for_it() -> None:
    async with customer() as who:
        who.statuses["/status"] = [503, 500]
        await who.call("+14155550133", status_callback=f"{who.url}/status#rc=3&rp=5xx,ct,rt", **FINAL_ONLY)
        await who.idle()
        tokens = [received.headers.get("I-Twilio-Idempotency-Token") for received in who.received]
        assert who.statuses_of(who.at("/status")[0]["CallSid"]) == ["busy"] * 3
    assert tokens[0] is None
    assert tokens[1]
    assert tokens[1] == tokens[2]


async def test_retries_end_with_the_count_that_was_asked_for() -> None:
    async with customer() as who:
        who.statuses["/status"] = [503] * 9
        await who.call("+14155550133", status_callback=f"{who.url}/status#rc=2&rp=all", **FINAL_ONLY)
        await who.idle()
        assert len(who.at("/status")) == 3


async def test_a_server_that_cannot_be_reached_is_tried_twice() -> None:
    async with customer() as who:
        call = await who.call("+14155550133", status_callback="http://127.0.0.1:1/status", **FINAL_ONLY)
        await who.idle()
        [delivery] = (await who.record(call.sid))["deliveries"]
    assert [attempt["result"] for attempt in delivery["attempts"]] == ["refused", "refused"]


async def test_a_server_that_does_not_answer_in_its_time_is_given_up() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with customer() as who:
        hook = f"http://127.0.0.1:{port}/status#rt=100&rp=ct"
        call = await who.call("+14155550133", status_callback=hook, **FINAL_ONLY)
        await who.idle()
        [delivery] = (await who.record(call.sid))["deliveries"]
    server.close()
    assert [attempt["result"] for attempt in delivery["attempts"]] == ["read_timeout"]


def test_overrides_out_of_range_are_left_at_their_defaults() -> None:
    assert Overrides.of("http://127.0.0.1/#rc=9&ct=50&rt=99999&tt=abc&x=1") == Overrides()
    given = Overrides.of("http://127.0.0.1/#rc=0&ct=100&rt=4000&tt=9000&rp=4xx")
    assert (given.retries, given.connect_ms, given.read_ms, given.total_ms) == (0, 100, 4000, 9000)
    assert given.retries_after(404)
    assert not given.retries_after(500)
    assert not given.retries_after("connect_timeout")


async def test_events_arrive_in_order_however_fast_the_clock() -> None:
    async with customer(speed=5_000) as who:
        call = await who.call("+14155550130")
        await who.idle()
        assert who.statuses_of(call.sid) == ["initiated", "ringing", "in-progress", "completed"]


async def test_a_lost_callback_is_written_down_but_never_sent() -> None:
    async with customer(faults=FaultPlan(callback_lost=1.0)) as who:
        call = await who.call("+14155550130")
        await who.idle()
        record = await who.record(call.sid)
        assert who.at("/status") == []
        assert len(who.at("/verdict")) == 1
    lost = [delivery for delivery in record["deliveries"] if delivery["faults"] == ["callback_lost"]]
    assert [delivery["event"] for delivery in lost] == ["initiated", "ringing", "answered", "completed"]
    assert not any(delivery["delivered"] or delivery["attempts"] for delivery in lost)


async def test_a_repeated_callback_is_the_same_twice() -> None:
    async with customer(faults=FaultPlan(callback_repeated=1.0)) as who:
        call = await who.call("+14155550133")
        await who.idle()
        assert sorted(who.statuses_of(call.sid)) == ["busy", "busy", "initiated", "initiated"]
        finals = [params for params in who.at("/status") if params["CallStatus"] == "busy"]
    assert finals[0] == finals[1]


async def test_reordered_callbacks_arrive_out_of_order() -> None:
    async with customer(speed=100, faults=FaultPlan(callback_reordered=0.5)) as who:
        sids = [(await who.call("+14155550130")).sid for _ in range(8)]
        await who.idle()
        orders = [[event["SequenceNumber"] for event in who.at("/status") if event["CallSid"] == s] for s in sids]
    assert all(sorted(order) == ["0", "1", "2", "3"] for order in orders)
    assert any(order != sorted(order) for order in orders)


async def test_a_late_verdict_comes_after_the_end_and_is_on_the_resource_in_time() -> None:
    plan = FaultPlan(verdict_late=1.0, callback_delay_seconds=86_400)
    async with customer(speed=20_000, faults=plan) as who:
        call = await who.call("+14155550130")
        await who.until(call.sid, "completed")
        assert (await who.client.calls(call.sid).fetch_async()).answered_by == "human"
        await who.idle()
        assert who.received[-1].path == "/verdict"


async def test_a_contradicting_verdict_follows_and_the_resource_keeps_the_first() -> None:
    async with customer(faults=FaultPlan(verdict_contradicted=1.0)) as who:
        call = await who.call("+14155550130")
        await who.idle()
        record = await who.record(call.sid)
        assert [params["AnsweredBy"] for params in who.at("/verdict")] == ["human", "machine_start"]
    assert [verdict["answered_by"] for verdict in record["verdicts"]] == ["human", "machine_start"]
    assert record["resource"]["answered_by"] == "human"


async def test_a_lost_verdict_is_still_on_the_resource() -> None:
    async with customer(faults=FaultPlan(verdict_lost=1.0)) as who:
        call = await who.call("+14155550131")
        await who.idle()
        assert who.at("/verdict") == []
        assert (await who.client.calls(call.sid).fetch_async()).answered_by == "machine_start"
