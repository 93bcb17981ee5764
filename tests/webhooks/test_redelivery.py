"""Sending again what failed, all at once: which it is, how many, and that nothing else is."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import delete

from config.clock import iso
from config.database import Database
from tests.databases import alter
from tests.receiver import Receiver, receiving
from tests.servers import Organisation, Server, until
from tests.town import open_town
from tests.webhooks.desk import Desk, opened_desk, working
from webhooks import redelivery
from webhooks.deliveries import find_delivery
from webhooks.endpoints import ChangeEndpoint, DeleteEndpoint
from webhooks.redelivery import Failed, Redelivered, redeliver_failed
from webhooks.schedule import RETRY_MS
from webhooks.tables import webhook_deliveries

REDELIVER = "/v1/webhook_deliveries/redeliver"


@pytest.fixture
async def desk(database_url: str) -> AsyncIterator[Desk]:
    async with opened_desk(database_url, timeout_seconds=0.3) as made:
        yield made


async def again(desk: Desk, **wanted: Any) -> Redelivered:
    return await redeliver_failed(desk.database, desk.door, desk.org_id, Failed(**{"since_at": 0, **wanted}))


async def test_what_was_given_up_or_waits_is_sent_again_and_what_arrived_is_not(desk: Desk, receiver: Receiver) -> None:
    await desk.endpoint(f"{receiver.url}/ok")
    await desk.endpoint(f"{receiver.url}/broken")
    await desk.happen()
    await desk.give_up()
    desk.clock.advance(1)
    for _ in range(3):
        await desk.happen()
        desk.clock.advance(0.01)
    await desk.work()
    failed = [row for row in await desk.deliveries() if row["status"] != "delivered"]
    assert [row["status"] for row in failed] == ["exhausted", "pending", "pending", "pending"]

    receiver.answers["/broken"] = "ok"
    receiver.received.clear()
    assert await again(desk) == (4, False, failed[-1]["id"])
    assert await again(desk) == (0, False, None), "what was asked for has not failed again"
    await desk.work()
    sent = sorted(request.headers["callingbox-event-id"] for request in receiver.received)
    assert sent == sorted(row["event_id"] for row in failed)
    rows = await desk.deliveries()
    assert {row["status"] for row in rows} == {"delivered"}
    assert sorted(row["manual_retry_count"] for row in rows) == [0] * 4 + [1] * 4


async def test_what_was_never_tried_keeps_its_turn(desk: Desk, receiver: Receiver) -> None:
    await desk.endpoint(f"{receiver.url}/ok")
    await desk.happen()
    await desk.sender.fan_out()
    assert await again(desk) == (0, False, None)


async def test_only_what_was_asked_for_is_sent_again(desk: Desk, receiver: Receiver) -> None:
    one = await desk.endpoint(f"{receiver.url}/broken/one")
    await desk.endpoint(f"{receiver.url}/broken/two")
    begun_at = desk.clock()
    await desk.happen("balance.low")
    desk.clock.advance(10)
    middle_at = desk.clock()
    desk.clock.advance(10)
    await desk.happen("topup.succeeded")
    await desk.work()
    assert (await again(desk, since_at=desk.clock() + 1)).redelivered == 0
    assert (await again(desk, since_at=begun_at, until_at=begun_at)).redelivered == 0
    assert (await again(desk, since_at=middle_at, endpoint_id=one["id"])).redelivered == 1
    assert (await again(desk, event_type="topup.succeeded")).redelivered == 1, "the other one was asked for"
    assert (await again(desk, until_at=middle_at)).redelivered == 2


async def test_an_endpoint_that_is_disabled_or_deleted_is_left_alone(desk: Desk, receiver: Receiver) -> None:
    disabled = await desk.endpoint(f"{receiver.url}/broken/disabled")
    deleted = await desk.endpoint(f"{receiver.url}/broken/deleted")
    await desk.happen()
    await desk.work()
    await desk.door.submit(ChangeEndpoint(disabled["id"], desk.org_id, {"status": "disabled"}))
    await desk.door.submit(DeleteEndpoint(deleted["id"], desk.org_id))
    assert await again(desk) == (0, False, None)
    desk.clock.advance(2 * RETRY_MS[0] / 1000)
    await desk.work()
    assert {row["status"] for row in await desk.deliveries()} == {"exhausted"}
    await desk.enable(disabled)
    assert (await again(desk)).redelivered == 1


async def test_nobody_sends_for_another_organisation(desk: Desk, receiver: Receiver) -> None:
    await desk.endpoint(f"{receiver.url}/broken")
    await desk.happen()
    await desk.work()
    assert (await again(await desk.another())).redelivered == 0
    assert (await again(desk)).redelivered == 1


async def test_many_are_sent_again_in_portions_that_come_to_an_end_though_all_fail_again(
    desk: Desk, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redelivery, "MOST_AT_ONCE", 4)
    monkeypatch.setattr(redelivery, "OF_ONE_COMMIT", 3)
    await desk.endpoint(f"{receiver.url}/broken")
    for _ in range(10):
        await desk.happen()
    await desk.work()
    portions, after = [], None
    while True:
        portion = await again(desk, starting_after=after)
        await desk.work()
        portions.append(portion.redelivered)
        after = portion.last_id
        if not portion.has_more:
            break
    assert portions == [4, 4, 2]


async def tried(org: Organisation) -> bool:
    """Whether each delivery, the last event's included, was tried since it was last asked for."""
    rows = (await org.get("/v1/webhook_deliveries"))["data"]
    ended = [row for row in rows if row["event_type"] == "call.busy"]
    return len(ended) == 2 and all(row["attempt_count"] > 0 for row in rows)


def forgetting(monkeypatch: pytest.MonkeyPatch, database: Database) -> None:
    """Retention comes between the look at a delivery and the command to send it again."""

    async def found_and_forgotten(*arguments: Any) -> dict[str, Any] | None:
        row = await find_delivery(*arguments)
        if row is not None:
            gone = delete(webhook_deliveries).where(webhook_deliveries.c.id == row["id"])
            await alter(database.url, lambda connection: connection.execute(gone))
        return row

    monkeypatch.setattr(redelivery, "find_delivery", found_and_forgotten)


async def test_what_is_forgotten_meanwhile_is_not_there(
    desk: Desk, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await desk.endpoint(f"{receiver.url}/ok")
    await desk.happen()
    await desk.work()
    [row] = await desk.deliveries()
    forgetting(monkeypatch, desk.database)
    assert await desk.redeliver(row) == "not_found"
    assert await desk.redeliver(row) == "not_found"


# -- over HTTP --------------------------------------------------------------------------------------------------------


async def test_a_developer_whose_server_was_down_has_everything_sent_again_with_one_request(
    open_server: Server, receiver: Receiver
) -> None:
    org = await open_server.organisation()
    receiver.answers |= {"/ok/endpoint": "broken", "/ok/own": "broken"}
    endpoint = (await org.api.post("/v1/webhook_endpoints", json={"url": f"{receiver.url}/ok/endpoint"})).json()
    open_server.clock.advance(0.01)
    since = iso(open_server.clock())
    async with working(open_server):
        await org.over(await org.call("+14155550133", webhook_url=f"{receiver.url}/ok/own"))
        await until(lambda: tried(org), "an attempt at each")
        everything = (await org.get("/v1/webhook_deliveries"))["data"]
        assert {row["status"] for row in everything} == {"pending"}
        receiver.answers.clear()
        narrowed = {"since": since, "event_type": "call.busy", "endpoint_id": endpoint["id"]}
        one = await org.api.post(REDELIVER, json=narrowed)
        assert (one.status_code, one.json()["redelivered"], one.json()["has_more"]) == (200, 1, False)
        rest = (await org.api.post(REDELIVER, json={"since": since})).json()
        assert rest["redelivered"] == len(everything) - 1
        await until(lambda: tried(org), "an attempt at each")
    assert (await org.get("/v1/webhook_deliveries", status="delivered"))["has_more"] is False
    assert len((await org.get("/v1/webhook_deliveries", status="delivered"))["data"]) == len(everything)


async def test_deliveries_are_listed_by_type_of_event(open_server: Server, receiver: Receiver) -> None:
    org = await open_server.organisation(number=None)
    made = (await org.api.post("/v1/webhook_endpoints", json={"url": f"{receiver.url}/ok"})).json()
    sent = (await org.api.post(f"/v1/webhook_endpoints/{made['id']}/test")).json()
    tests = await org.get("/v1/webhook_deliveries", event_type="webhook.test", status="pending")
    assert [row["id"] for row in tests["data"]] == [sent["id"]]
    assert (await org.get("/v1/webhook_deliveries", event_type="call.completed"))["data"] == []
    refused = await org.api.get("/v1/webhook_deliveries", params={"event_type": "call.exploded"})
    assert (refused.status_code, refused.json()["code"], refused.json()["field"]) == (
        400,
        "invalid_request",
        "event_type",
    )


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "since"),
        ({"since": "yesterday"}, "since"),
        ({"since": "2026-11-23T19:24:00"}, "since"),
        ({"since": "0001-01-01T00:00:00+14:00"}, "since"),
        ({"since": "9999-12-31T23:59:59-14:00", "until": 5}, "until"),
        ({"since": 1_795_462_000}, "since"),
        ({"since": "2026-11-23T19:24:00Z", "event_type": "*"}, "event_type"),
        ({"since": "2026-11-23T19:24:00Z", "status": "delivered"}, "status"),
        ({"since": "2026-11-23T19:24:00Z", "endpoint_id": "x" * 37}, "endpoint_id"),
    ],
)
async def test_a_bad_request_is_refused_with_its_field(open_server: Server, body: dict[str, Any], field: str) -> None:
    org = await open_server.organisation(number=None)
    answer = await org.api.post(REDELIVER, json=body)
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (400, "invalid_request", field)


async def test_what_is_not_there_or_not_enabled_is_said(open_server: Server, receiver: Receiver) -> None:
    org = await open_server.organisation(number=None)
    other = await open_server.organisation(number=None)
    made = (await org.api.post("/v1/webhook_endpoints", json={"url": f"{receiver.url}/ok"})).json()
    sent = (await org.api.post(f"/v1/webhook_endpoints/{made['id']}/test")).json()
    since = "2020-01-01T00:00:00+01:00"
    for body in ({"endpoint_id": made["id"]}, {"starting_after": sent["id"]}):
        answer = await other.api.post(REDELIVER, json={"since": since, **body})
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        assert (await org.api.post(REDELIVER, json={"since": since, **body})).status_code == 200
    await org.api.patch(f"/v1/webhook_endpoints/{made['id']}", json={"status": "disabled"})
    answer = await org.api.post(REDELIVER, json={"since": since, "endpoint_id": made["id"]})
    assert (answer.status_code, answer.json()["code"]) == (409, "endpoint_disabled")


async def test_of_what_is_forgotten_meanwhile_the_api_and_the_page_say_that_it_is_not_there(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_town(sqlite_url, ALLOW_PRIVATE_URLS="true") as town, receiving() as receiver:
        dana = await town.member("dana@example.com")
        await dana.get("/api-keys")
        await dana.post("/api-keys", name="Test", expires="")
        key = dana.page.partition('id="secret"')[2].partition(">")[2].partition("<")[0]
        headers = {"Authorization": f"Bearer {key}"}
        url = "/v1/webhook_endpoints"
        made = (await dana.http.post(url, json={"url": f"{receiver.url}/ok"}, headers=headers)).json()
        sent = [(await dana.http.post(f"{url}/{made['id']}/test", headers=headers)).json()["id"] for _ in range(2)]
        await dana.get("/settings")
        forgetting(monkeypatch, town.server.database)
        answer = await dana.http.post(f"/v1/webhook_deliveries/{sent[0]}/redeliver", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        assert (await dana.post(f"/webhooks/deliveries/{sent[1]}/redeliver")).status_code == 404
        assert "what it named is gone" in dana.text
