"""Deliveries to real sockets, good and bad, in virtual time, on both databases."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from callingbox.resources.webhooks import Webhooks

from config.clock import new_id
from config.egress import NOT_PUBLIC
from tests.receiver import Receiver, receiving
from tests.servers import BIN, Process, until
from tests.webhooks.desk import Desk, opened_desk
from webhooks.deliveries import Attempt, ClaimDelivery, RecordAttempt
from webhooks.endpoints import MOST_ENDPOINTS, DeleteEndpoint, RotateSecret, new_secret
from webhooks.places import AT_ONCE, FIRST, OF_NOT_QUICK, OF_ONE_DESTINATION
from webhooks.schedule import RETRY_MS


@pytest.fixture
async def desk(database_url: str) -> AsyncIterator[Desk]:
    async with opened_desk(database_url, timeout_seconds=0.3) as made:
        yield made


@pytest.fixture
async def sqlite_desk(sqlite_url: str) -> AsyncIterator[Desk]:
    async with opened_desk(sqlite_url, timeout_seconds=0.3) as made:
        yield made


async def test_an_event_reaches_each_endpoint_that_wants_it_once_and_signed(desk: Desk, receiver: Receiver) -> None:
    everything = await desk.endpoint(f"{receiver.url}/ok/everything")
    await desk.endpoint(f"{receiver.url}/ok/wanted", "balance.low", "topup.succeeded")
    await desk.endpoint(f"{receiver.url}/ok/other", "calls.paused")
    await desk.happen()
    await desk.work()
    await desk.work()
    assert sorted(request.path for request in receiver.received) == ["/ok/everything", "/ok/wanted"]

    request = next(request for request in receiver.received if request.path == "/ok/everything")
    event = Webhooks.construct_event(
        request.body, request.headers["callingbox-signature"], everything["signing_secret"], tolerance=3_600
    )
    assert (event.type, event.api_version) == ("topup.succeeded", "2026-04")
    assert event.data == {"topup": {"id": "topup-1"}}
    assert abs(event.created - time.time()) < 60
    assert request.headers["callingbox-event-id"] == event.id
    assert request.headers["callingbox-event-type"] == request.headers["x-callingbox-event"] == event.type
    assert "x-callingbox-call-id" not in request.headers
    assert request.headers["content-type"] == "application/json"

    deliveries = await desk.deliveries()
    assert len({row["id"] for row in deliveries}) == 2
    assert {row["event_id"] for row in deliveries} == {event.id}
    assert {(row["status"], row["attempt_count"], row["last_response_status"]) for row in deliveries} == {
        ("delivered", 1, 200)
    }
    shown, attempts = await desk.delivery(deliveries[0])
    assert shown["body"].encode() == request.body
    assert [(attempt["response_status"], attempt["response_body"]) for attempt in attempts] == [(200, "thanks")]


async def test_who_listens_to_nothing_costs_nothing(desk: Desk) -> None:
    await desk.happen()
    assert await desk.sender.fan_out() == 0


async def test_an_endpoint_does_not_hear_of_what_happened_before_it_was_added(desk: Desk, receiver: Receiver) -> None:
    await desk.endpoint(f"{receiver.url}/ok/first")
    await desk.happen()
    desk.clock.advance(1)
    await desk.endpoint(f"{receiver.url}/ok/second")
    await desk.work()
    assert [request.path for request in receiver.received] == ["/ok/first"]


async def test_a_failing_delivery_is_tried_eight_times_on_the_schedule_and_given_up(
    desk: Desk, receiver: Receiver
) -> None:
    endpoint = await desk.endpoint(f"{receiver.url}/broken")
    await desk.happen()
    await desk.work()
    [row] = await desk.deliveries()
    assert (row["status"], row["attempt_count"], row["last_response_status"]) == ("pending", 1, 500)
    assert row["last_error"] == "The answer was 500."
    for attempt, wait in enumerate(RETRY_MS, 2):
        await desk.work()
        assert len(receiver.received) == attempt - 1  # not a moment too early
        waited = await desk.until_due(row)
        assert 0.8 * wait - 10_000 <= waited <= 1.2 * wait  # less what this test itself took
        await desk.work()
        assert len(receiver.received) == attempt

    row, attempts = await desk.delivery(row)
    assert (row["status"], row["attempt_count"], row["next_attempt_at"]) == ("exhausted", 8, None)
    assert [attempt["response_body"] for attempt in attempts] == ["oops"] * 8
    assert [attempt["sent_at"] for attempt in attempts] == sorted(attempt["sent_at"] for attempt in attempts)
    assert (await desk.shown(endpoint))["consecutive_failures"] == 1
    desk.clock.advance(7 * 86_400)
    await desk.work()
    assert len(receiver.received) == 8
    assert len({request.headers["callingbox-event-id"] for request in receiver.received}) == 1
    assert len({request.body for request in receiver.received}) == 1


async def test_an_endpoint_that_recovers_gets_what_waited_for_it(desk: Desk, receiver: Receiver) -> None:
    await desk.endpoint(f"{receiver.url}/broken")
    await desk.happen()
    await desk.work()
    receiver.answers["/broken"] = "ok"
    [row] = await desk.deliveries()
    await desk.until_due(row)
    await desk.work()
    row, _ = await desk.delivery(row)
    assert (row["status"], row["attempt_count"], row["last_error"]) == ("delivered", 2, None)


async def test_ten_deliveries_given_up_in_a_row_disable_the_endpoint_until_somebody_enables_it(
    desk: Desk, receiver: Receiver
) -> None:
    endpoint = await desk.endpoint(f"{receiver.url}/broken")
    for _ in range(9):
        await desk.happen()
    await desk.give_up()
    shown = await desk.shown(endpoint)
    assert (shown["status"], shown["consecutive_failures"]) == ("enabled", 9)
    for _ in range(2):
        await desk.happen()
    await desk.give_up()
    shown = await desk.shown(endpoint)
    assert (shown["status"], shown["disabled_reason"]) == ("disabled", "too_many_failures")
    assert shown["disabled_at"] is not None
    assert shown["consecutive_failures"] == 10

    before = len(receiver.received)
    await desk.happen()
    await desk.work()
    assert len(receiver.received) == before
    assert len(await desk.deliveries()) == 11  # nothing is written for nobody
    assert await desk.redeliver((await desk.deliveries())[0]) == "endpoint_disabled"

    receiver.answers["/broken"] = "ok"
    await desk.enable(endpoint)
    shown = await desk.shown(endpoint)
    assert (shown["status"], shown["disabled_reason"], shown["disabled_at"]) == ("enabled", None, None)
    assert shown["consecutive_failures"] == 0
    await desk.happen()
    await desk.work()
    assert len(receiver.received) == before + 1


async def test_one_success_forgives_earlier_failures(sqlite_desk: Desk, receiver: Receiver) -> None:
    endpoint = await sqlite_desk.endpoint(f"{receiver.url}/broken")
    for _ in range(9):
        await sqlite_desk.happen()
    await sqlite_desk.give_up()
    assert (await sqlite_desk.shown(endpoint))["consecutive_failures"] == 9
    receiver.answers["/broken"] = "ok"
    await sqlite_desk.happen()
    await sqlite_desk.work()
    assert (await sqlite_desk.shown(endpoint))["consecutive_failures"] == 0


async def test_what_waits_for_an_endpoint_that_was_disabled_or_deleted_is_not_sent(
    sqlite_desk: Desk, receiver: Receiver
) -> None:
    desk = sqlite_desk
    endpoint = await desk.endpoint(f"{receiver.url}/broken")
    await desk.happen()
    await desk.work()
    await desk.door.submit(DeleteEndpoint(endpoint["id"], desk.org_id))
    [row] = await desk.deliveries()
    await desk.until_due(row)
    await desk.work()
    row, attempts = await desk.delivery(row)
    assert (row["status"], row["last_error"]) == ("exhausted", "Not sent: the endpoint was disabled or deleted.")
    assert len(attempts) == len(receiver.received) == 1


@pytest.mark.parametrize(
    ("manner", "status", "response", "error"),
    [
        ("moved", "pending", 302, "The answer was 302."),
        ("hanging", "pending", None, "No answer in 0.3 s."),
        ("closing", "pending", None, "The connection was closed before an answer came."),
        ("nonsense", "pending", None, "The answer was not HTTP."),
        ("large", "delivered", 200, None),
        ("dripping", "delivered", 200, None),
    ],
)
async def test_what_a_bad_server_does_is_told(
    sqlite_desk: Desk, receiver: Receiver, manner: str, status: str, response: int | None, error: str | None
) -> None:
    await sqlite_desk.endpoint(f"{receiver.url}/{manner}")
    await sqlite_desk.happen()
    await sqlite_desk.work()
    row, [attempt] = await sqlite_desk.delivery((await sqlite_desk.deliveries())[0])
    assert (row["status"], row["last_response_status"], row["last_error"]) == (status, response, error)
    assert len(attempt["response_body"]) <= 2_048
    assert [request.path for request in receiver.received] == [f"/{manner}"]  # no redirect is followed


@pytest.mark.parametrize("hanging", [1, MOST_ENDPOINTS - 1])
async def test_failing_destinations_delay_no_other_of_the_same_organisation(
    sqlite_desk: Desk, receiver: Receiver, hanging: int
) -> None:
    desk = sqlite_desk
    desk.sender.timeout_seconds = 60  # longer than this test: whoever waits for it waits in vain
    for number in range(hanging):
        await desk.endpoint(f"{receiver.url}/hanging/{number}")
    for _ in range(2 * FIRST):
        await desk.happen()
    desk.clock.advance(1)  # an endpoint hears of what happens in the millisecond of its creation
    await desk.endpoint(f"{receiver.url}/ok")
    await desk.happen()
    work = asyncio.create_task(desk.sender.run(tick_seconds=0.05))
    await until(lambda: receiver.types("/ok"), "the event")
    await until(lambda: len(receiver.received) == hanging * FIRST + 1, "their places")
    await asyncio.sleep(0.2)
    assert len(receiver.received) == hanging * FIRST + 1
    await desk.happen()
    await until(lambda: len(receiver.types("/ok")) == 2, "the next event")
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)


async def test_who_answers_quickly_gets_more_at_once_and_who_hangs_does_not(
    sqlite_desk: Desk, receiver: Receiver
) -> None:
    desk = sqlite_desk
    await desk.endpoint(f"{receiver.url}/ok")
    for _ in range(40):
        await desk.happen()
    await desk.work()
    assert len(receiver.types("/ok")) == 40
    desk.sender.timeout_seconds = 60
    receiver.answers["/ok"] = "hanging"
    for _ in range(2 * OF_ONE_DESTINATION):
        await desk.happen()
    await desk.sender.fan_out()
    await desk.sender.start_due()
    await until(lambda: len(receiver.types("/ok")) == 40 + OF_ONE_DESTINATION, "as many as it may get")


async def test_hanging_servers_of_many_organisations_delay_no_healthy_one(desk: Desk, receiver: Receiver) -> None:
    desk.sender.timeout_seconds = 60  # longer than this test: whoever waits for it waits in vain
    await desk.endpoint(f"{receiver.url}/ok")
    await desk.happen()
    await desk.work()
    others = AT_ONCE // (FIRST * (MOST_ENDPOINTS // 2)) + 1  # between them, more than there are places in all
    for number in range(others):
        other = await desk.another()
        for endpoint in range(MOST_ENDPOINTS // 2):
            await other.endpoint(f"{receiver.url}/hanging/{number}/{endpoint}")
        for _ in range(FIRST):
            await other.happen()
    for _ in range(3):
        await desk.happen()
    work = asyncio.create_task(desk.sender.run(tick_seconds=0.05))
    await until(lambda: len(receiver.types("/ok")) == 4, "the healthy endpoint's events")
    await until(lambda: len(receiver.received) == 4 + OF_NOT_QUICK, "as many as may be tried at once")
    await desk.happen()
    await until(lambda: len(receiver.types("/ok")) == 5, "the next event")
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)


async def test_an_event_is_sent_within_two_seconds(desk: Desk, receiver: Receiver) -> None:
    await desk.endpoint(f"{receiver.url}/ok")
    work = asyncio.create_task(desk.sender.run())
    took: list[float] = []
    for _ in range(3):
        await asyncio.sleep(0.2)
        began = time.monotonic()
        await desk.happen()
        await until(lambda: len(receiver.received) > len(took), "the event")
        took.append(time.monotonic() - began)
    assert min(took) < 2, "a busy machine may hold up one, not three"
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)


async def test_several_workers_send_once(database_url: str, receiver: Receiver) -> None:
    async with opened_desk(database_url) as one, opened_desk(database_url) as two:
        two.sender.clock = one.clock
        await one.endpoint(f"{receiver.url}/ok")
        for _ in range(30):
            await one.happen()
        await asyncio.gather(one.work(), two.work())
        await asyncio.gather(one.work(), two.work())
        ids = [request.headers["callingbox-event-id"] for request in receiver.received]
        assert len(ids) == len(set(ids)) == 30
        assert {row["status"] for row in await one.deliveries()} == {"delivered"}


async def test_a_delivery_whose_sender_died_is_sent_when_its_claim_ends(desk: Desk, receiver: Receiver) -> None:
    await desk.endpoint(f"{receiver.url}/ok")
    await desk.happen()
    await desk.sender.fan_out()
    [row] = await desk.deliveries()
    assert await desk.door.submit(ClaimDelivery(row["id"], desk.org_id, row["endpoint_id"], None)) is not None
    await desk.work()
    assert receiver.received == []
    desk.clock.advance(61)
    await desk.work()
    assert len(receiver.received) == 1


async def test_an_outcome_recorded_twice_counts_once(desk: Desk, receiver: Receiver) -> None:
    await desk.endpoint(f"{receiver.url}/ok")
    await desk.happen()
    await desk.sender.fan_out()
    [row] = await desk.deliveries()
    attempt = Attempt(new_id(), "t=1,v1=ab", desk.clock(), 5, 500, "oops", None)
    command = RecordAttempt(row["id"], desk.org_id, row["endpoint_id"], None, attempt, 0, 0.5)
    await desk.door.submit(command)
    await desk.door.submit(command)
    row, attempts = await desk.delivery(row)
    assert (row["attempt_count"], len(attempts)) == (1, 1)


async def test_sending_again_keeps_the_event_and_begins_a_new_schedule(desk: Desk, receiver: Receiver) -> None:
    await desk.endpoint(f"{receiver.url}/ok")
    await desk.happen()
    await desk.work()
    [row] = await desk.deliveries()
    receiver.answers["/ok"] = "broken"
    again = await desk.redeliver(row)
    assert not isinstance(again, str)
    assert (again["id"], again["status"], again["attempt_count"]) == (row["id"], "pending", 0)
    assert again["manual_retry_count"] == 1
    await desk.work()
    again, attempts = await desk.delivery(row)
    assert (again["status"], again["attempt_count"]) == ("pending", 1)
    assert len(attempts) == 2
    first, second = receiver.received
    assert first.headers["callingbox-event-id"] == second.headers["callingbox-event-id"]
    assert first.body == second.body


async def test_asking_again_while_an_attempt_is_under_way_is_not_undone_by_its_failure(
    sqlite_desk: Desk, receiver: Receiver
) -> None:
    desk = sqlite_desk
    await desk.endpoint(f"{receiver.url}/hanging")
    await desk.happen()
    await desk.sender.fan_out()
    await desk.sender.start_due()
    [row] = await desk.deliveries()
    receiver.answers["/hanging"] = "ok"
    await desk.redeliver(row)
    await desk.sender.idle()
    await desk.work()
    assert (await desk.delivery(row))[0]["status"] == "delivered"


async def test_after_a_rotation_retries_are_signed_with_the_new_secret(sqlite_desk: Desk, receiver: Receiver) -> None:
    desk = sqlite_desk
    endpoint = await desk.endpoint(f"{receiver.url}/broken")
    await desk.happen()
    await desk.work()
    secret = new_secret()
    await desk.door.submit(RotateSecret(endpoint["id"], desk.org_id, secret))
    await desk.until_due((await desk.deliveries())[0])
    await desk.work()
    for request, key in zip(receiver.received, (endpoint["signing_secret"], secret), strict=True):
        Webhooks.construct_event(request.body, request.headers["callingbox-signature"], key, tolerance=3_600)


async def test_private_addresses_are_not_sent_to(sqlite_url: str) -> None:
    async with receiving() as receiver, opened_desk(sqlite_url, allow_private=False) as desk:
        port = receiver.url.rpartition(":")[2]
        for host in ("127.0.0.1", "localhost", "169.254.169.254", "[::1]"):
            await desk.endpoint(f"https://{host}:{port}/ok")  # as if the guard had been off when it was stored
        await desk.happen()
        await desk.work()
        rows = await desk.deliveries()
        assert [(row["status"], row["last_error"]) for row in rows] == [("pending", NOT_PUBLIC)] * 4
        assert receiver.received == []


async def test_the_worker_process_sends_and_stops_when_it_is_told_to(
    postgres_url: str, receiver: Receiver, tmp_path: Path
) -> None:
    async with opened_desk(postgres_url) as desk:
        environment = {"PATH": os.environ["PATH"], "DATABASE_URL": postgres_url, "ALLOW_PRIVATE_URLS": "true"}
        worker = Process([str(BIN / "callingbox-server"), "worker"], environment, tmp_path / "worker.log")
        try:
            await desk.endpoint(f"{receiver.url}/ok")
            await desk.happen()
            await until(lambda: receiver.received, "the event")
        finally:
            code = await asyncio.to_thread(worker.stop)
        assert code == 0
