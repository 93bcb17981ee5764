"""The API of endpoints and deliveries, as the official client and as others use it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from callingbox import BadRequestError, Callingbox, NotFoundError

from tests.receiver import Receiver
from tests.servers import Organisation, Server, running_server, until
from webhooks.endpoints import MOST_ENDPOINTS

UNKNOWN = "01990000-0000-7000-8000-000000000000"


@pytest.fixture
async def guarded(sqlite_url: str) -> AsyncIterator[Server]:
    async with running_server(sqlite_url) as server:
        yield server


def client(org: Organisation) -> Callingbox:
    return Callingbox(api_key=org.api_key, base_url=str(org.api.base_url))


async def test_every_webhook_method_of_the_official_client_works(open_server: Server, receiver: Receiver) -> None:
    org = await open_server.organisation(number=None)

    def use() -> None:
        with client(org) as box:
            made = box.webhooks.create_endpoint(f"{receiver.url}/ok", description="Mine")
            assert made.signing_secret is not None
            assert made.signing_secret.startswith("whsec_")
            assert (made.org_id, made.url, made.description) == (org.id, f"{receiver.url}/ok", "Mine")
            assert (made.enabled_events, made.status, made.consecutive_failures) == (["*"], "enabled", 0)
            assert made.disabled_reason is made.disabled_at is None
            assert made.created_at == made.updated_at

            shown = box.webhooks.get_endpoint(made.id)
            assert shown.signing_secret is None
            assert [endpoint.id for endpoint in box.webhooks.list_endpoints()] == [made.id]
            changed = box.webhooks.update_endpoint(
                made.id, description=None, enabled_events=["call.completed", "call.failed"], status="disabled"
            )
            assert (changed.description, changed.status) == (None, "disabled")
            assert changed.enabled_events == ["call.completed", "call.failed"]
            assert changed.disabled_at is not None
            assert box.webhooks.update_endpoint(made.id, status="enabled").disabled_at is None
            assert box.webhooks.update_endpoint(made.id, url=f"{receiver.url}/ok/2").url == f"{receiver.url}/ok/2"

            rotated = box.webhooks.rotate_secret(made.id)
            assert rotated.signing_secret not in (None, made.signing_secret)
            assert box.webhooks.list_deliveries(endpoint_id=made.id, status="pending", limit=200) == []

            tested = box._request("POST", f"/v1/webhook_endpoints/{made.id}/test")
            delivery = box.webhooks.get_delivery(tested["id"])
            assert (delivery.event_type, delivery.endpoint_id, delivery.call_id) == ("webhook.test", made.id, None)
            again = box.webhooks.redeliver(delivery.id)
            assert (again.id, again.status, again.manual_retry_count) == (delivery.id, "pending", 1)
            assert [one.id for one in box.webhooks.list_deliveries()] == [delivery.id]
            box.webhooks.delete_endpoint(made.id)
            assert box.webhooks.list_endpoints() == []
            with pytest.raises(NotFoundError):
                box.webhooks.get_endpoint(made.id)

    await asyncio.to_thread(use)


async def test_a_test_event_arrives_and_its_delivery_shows_request_and_answer(
    open_server: Server, receiver: Receiver
) -> None:
    org = await open_server.organisation(number=None)
    created = await org.api.post(
        "/v1/webhook_endpoints", json={"url": f"{receiver.url}/ok", "enabled_events": ["call.busy"]}
    )
    assert created.status_code == 201
    endpoint = created.json()
    sent = (await org.api.post(f"/v1/webhook_endpoints/{endpoint['id']}/test")).json()
    await until(lambda: receiver.received, "the event")

    async def done() -> Any:
        shown = await org.get(f"/v1/webhook_deliveries/{sent['id']}")
        return shown if shown["status"] == "delivered" else None

    shown = await until(done, "the delivery")
    request = receiver.received[0]
    event = Callingbox(api_key=org.api_key).webhooks.construct_event(
        request.body, request.headers["callingbox-signature"], endpoint["signing_secret"]
    )
    assert (event.id, event.type) == (shown["event_id"], "webhook.test")
    assert shown["request_body"].encode() == request.body
    [attempt] = shown["attempts"]
    assert (attempt["response_status"], attempt["response_body"], attempt["error"]) == (200, "thanks", None)
    for name, value in attempt["request_headers"].items():
        assert request.headers[name.lower()] == value
    assert endpoint["signing_secret"] not in str(shown)


async def test_a_disabled_endpoint_takes_no_test_and_no_redelivery(open_server: Server, receiver: Receiver) -> None:
    org = await open_server.organisation(number=None)
    endpoint = (await org.api.post("/v1/webhook_endpoints", json={"url": f"{receiver.url}/ok"})).json()
    path = f"/v1/webhook_endpoints/{endpoint['id']}"
    delivery = (await org.api.post(f"{path}/test")).json()
    await org.api.patch(path, json={"status": "disabled"})
    for answer in (
        await org.api.post(f"{path}/test"),
        await org.api.post(f"/v1/webhook_deliveries/{delivery['id']}/redeliver"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (409, "endpoint_disabled")


@pytest.mark.parametrize(
    ("body", "field", "code"),
    [
        ({}, "url", "invalid_request"),
        ({"url": 5}, "url", "invalid_request"),
        ({"url": "http://example.com/"}, "url", "invalid_url"),
        ({"url": "https://localhost/"}, "url", "invalid_url"),
        ({"url": "https://127.0.0.1/"}, "url", "invalid_url"),
        ({"url": "https://169.254.169.254/latest"}, "url", "invalid_url"),
        ({"url": "https://[::ffff:10.0.0.1]/"}, "url", "invalid_url"),
        ({"url": "https://user:word@example.com/"}, "url", "invalid_url"),
        ({"url": "https://2130706433/"}, "url", "invalid_url"),
        ({"url": "nonsense"}, "url", "invalid_url"),
        ({"url": "https://example.com/" + "a" * 2_100}, "url", "invalid_request"),
        ({"url": "https://example.com/", "enabled_events": []}, "enabled_events", "invalid_request"),
        ({"url": "https://example.com/", "enabled_events": ["call.exploded"]}, "enabled_events", "invalid_request"),
        ({"url": "https://example.com/", "enabled_events": "*"}, "enabled_events", "invalid_request"),
        ({"url": "https://example.com/", "description": "a" * 501}, "description", "invalid_request"),
        ({"url": "https://example.com/", "secret": "mine"}, "secret", "invalid_request"),
    ],
)
async def test_a_bad_endpoint_is_refused_with_its_field(
    guarded: Server, body: dict[str, Any], field: str, code: str
) -> None:
    org = await guarded.organisation(number=None)
    answer = await org.api.post("/v1/webhook_endpoints", json=body)
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (400, code, field)
    if body:
        made = (await org.api.post("/v1/webhook_endpoints", json={"url": "https://8.8.8.8/"})).json()
        changes = body if body.get("url") != "https://example.com/" else {**body, "url": "https://8.8.8.8/"}
        answer = await org.api.patch(f"/v1/webhook_endpoints/{made['id']}", json=changes)
        assert (answer.status_code, answer.json()["code"]) == (400, code)
        assert (await org.get(f"/v1/webhook_endpoints/{made['id']}"))["updated_at"] == made["updated_at"]


async def test_a_calls_own_address_is_guarded_too(guarded: Server) -> None:
    org = await guarded.organisation()
    for url in ("http://example.com/", "https://127.0.0.1/", "https://localhost/"):
        refused = await org.call("+14155550123", expect=400, webhook_url=url)
        assert (refused["code"], refused["field"]) == ("invalid_url", "webhook_url")


async def test_there_is_room_for_a_limited_number_of_endpoints(guarded: Server) -> None:
    org = await guarded.organisation(number=None)
    made = [await org.api.post("/v1/webhook_endpoints", json={"url": "https://8.8.8.8/"}) for _ in range(21)]
    assert [answer.status_code for answer in made] == [201] * MOST_ENDPOINTS + [409]
    assert made[-1].json()["code"] == "too_many_endpoints"
    await org.api.delete(f"/v1/webhook_endpoints/{made[0].json()['id']}")
    assert (await org.api.post("/v1/webhook_endpoints", json={"url": "https://8.8.8.8/"})).status_code == 201


async def test_what_belongs_to_somebody_else_is_not_found(open_server: Server, receiver: Receiver) -> None:
    owner, other = await open_server.organisation(number=None), await open_server.organisation(number=None)
    made = (await owner.api.post("/v1/webhook_endpoints", json={"url": f"{receiver.url}/ok"})).json()
    delivery = (await owner.api.post(f"/v1/webhook_endpoints/{made['id']}/test")).json()
    for endpoint_id, delivery_id in ((made["id"], delivery["id"]), (UNKNOWN, UNKNOWN), ("x" * 300, "%20")):
        endpoint, sent = f"/v1/webhook_endpoints/{endpoint_id}", f"/v1/webhook_deliveries/{delivery_id}"
        for answer in (
            await other.api.get(endpoint),
            await other.api.patch(endpoint, json={"status": "disabled"}),
            await other.api.delete(endpoint),
            await other.api.post(f"{endpoint}/rotate_secret"),
            await other.api.post(f"{endpoint}/test"),
            await other.api.get(sent),
            await other.api.post(f"{sent}/redeliver"),
            await other.api.get("/v1/webhook_deliveries", params={"starting_after": delivery_id}),
        ):
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert (await other.get("/v1/webhook_deliveries", endpoint_id=made["id"]))["data"] == []
    assert (await owner.get(f"/v1/webhook_endpoints/{made['id']}"))["status"] == "enabled"
    async with asyncio.timeout(5):
        refused = await other.api.get("/v1/webhook_endpoints", headers={"Authorization": "Bearer sk_live_no"})
    assert refused.status_code == 401


async def test_deliveries_are_listed_newest_first_in_pages(open_server: Server, receiver: Receiver) -> None:
    org = await open_server.organisation(number=None)
    made = (await org.api.post("/v1/webhook_endpoints", json={"url": f"{receiver.url}/hanging"})).json()
    ids = []
    for _ in range(5):
        ids.append((await org.api.post(f"/v1/webhook_endpoints/{made['id']}/test")).json()["id"])
        open_server.clock.advance(0.01)
    newest = ids[::-1]
    page = await org.get("/v1/webhook_deliveries", limit=2)
    assert ([row["id"] for row in page["data"]], page["has_more"]) == (newest[:2], True)
    page = await org.get("/v1/webhook_deliveries", limit=2, starting_after=newest[2])
    assert ([row["id"] for row in page["data"]], page["has_more"]) == (newest[3:], False)
    page = await org.get("/v1/webhook_deliveries", limit=2, ending_before=newest[3])
    assert ([row["id"] for row in page["data"]], page["has_more"]) == (newest[1:3], True)
    assert (await org.get("/v1/webhook_deliveries", status="delivered"))["data"] == []
    for query in ({"limit": 201}, {"limit": 0}, {"status": "lost"}, {"colour": "red"}):
        assert (await org.api.get("/v1/webhook_deliveries", params=query)).status_code == 400


async def test_the_official_client_is_told_what_is_wrong(guarded: Server) -> None:
    org = await guarded.organisation(number=None)

    def use() -> None:
        with client(org) as box, pytest.raises(BadRequestError, match="must begin with https"):
            box.webhooks.create_endpoint("http://example.com/")

    await asyncio.to_thread(use)


async def test_the_default_secret_is_shown_when_it_is_rotated_and_only_then(guarded: Server) -> None:
    org = await guarded.organisation(number=None)
    assert await org.get("/v1/webhook_secret") == {"was_shown": False, "updated_at": None}
    made = (await org.api.post("/v1/webhook_secret/rotate")).json()
    assert made["signing_secret"].startswith("whsec_")
    shown = await org.get("/v1/webhook_secret")
    assert shown == {"was_shown": True, "updated_at": made["updated_at"]}
    again = (await org.api.post("/v1/webhook_secret/rotate")).json()
    assert again["signing_secret"] != made["signing_secret"]
