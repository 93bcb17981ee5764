"""What customers' servers hear of calls and credit, from the fact to their socket."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from callingbox.resources.webhooks import Webhooks
from sqlalchemy import func, select

from accounts.events import CALL_EVENTS
from accounts.tables import events
from billing.ledger import Post
from billing.posting import Posting
from billing.rating import Terms
from config.clock import new_id
from config.rows import Read, Rows
from simulator.scripts import PRESETS
from tests.described import fault_of, validator_of
from tests.receiver import Receiver
from tests.servers import DOLLAR, Organisation, Server, description, until
from tests.shop import open_shop
from tests.webhooks.desk import Desk, opened_desk, working
from voice.call import Policy
from voice.calls import call_of
from voice.create_call import CreateCall
from voice.events import DialAccepted, Event, StatusReported, VerdictReported
from voice.move_call import MoveCall
from voice.notices import completed_notice
from voice.outcomes import Moved
from voice.tables import calls
from voice.vocabulary import AnsweredBy, CallStatus

TO, SID = "+14155550123", "CA" + "3" * 32
FINAL = {"call.completed", "call.failed", "call.no_answer", "call.busy", "call.canceled"}


async def listens(org: Organisation, url: str, *names: str) -> dict[str, Any]:
    body = {"url": url, "enabled_events": list(names) or ["*"]}
    endpoint: dict[str, Any] = (await org.api.post("/v1/webhook_endpoints", json=body)).json()
    await asyncio.sleep(0.002)  # what begins now is later than its creation
    return endpoint


def heard(receiver: Receiver, path: str, call: dict[str, Any] | None = None) -> list[Any]:
    """The bodies of the events that came to a path, in the order in which they happened."""
    bodies = [request.json for request in receiver.received if request.path == path]
    assert [fault for body in bodies if (fault := _fault(body))] == []
    about = [body for body in bodies if call is None or body["data"].get("call", {}).get("id") == call["id"]]
    return sorted(about, key=lambda body: str(body["id"]))


def _fault(body: Any) -> str | None:
    """What is told that is not described."""
    document = description().document
    sent = document["webhooks"][body["type"]]["post"]["requestBody"]["content"]["application/json"]["schema"]
    return fault_of(validator_of(document, sent), body)


def types(bodies: list[Any]) -> list[str]:
    return [body["type"] for body in bodies]


async def ended(receiver: Receiver, path: str, call: dict[str, Any]) -> list[Any]:
    await until(lambda: FINAL & set(types(heard(receiver, path, call))), "a final event")
    return heard(receiver, path, call)


async def told_whole(receiver: Receiver, path: str, call: dict[str, Any]) -> list[Any]:
    """From its beginning to its end, which may be told side by side."""
    await until(lambda: "call.queued" in types(heard(receiver, path, call)), "the first event")
    return await ended(receiver, path, call)


# -- calls ----------------------------------------------------------------------------------------------------------


async def test_a_conversation_is_told_from_its_beginning_to_its_charge(open_server: Server, receiver: Receiver) -> None:
    org = await open_server.organisation()
    endpoint = await listens(org, f"{receiver.url}/ok", *CALL_EVENTS)
    call = await org.call("+14155550130", metadata={"order": "A-1"})
    told = await told_whole(receiver, "/ok", call)
    assert types(told) == ["call.queued", "call.ringing", "call.answered", "call.completed"]
    assert [body["data"]["call"]["status"] for body in told] == ["queued", "ringing", "in_progress", "completed"]
    for body in told[:-1]:
        assert body["data"]["call"]["billed_duration_seconds"] is None
        assert body["data"]["call"]["ended_at"] is None
    over = await org.over(call)
    final = told[-1]["data"]["call"]
    assert {**final, "updated_at": None} == {**over, "updated_at": None}
    assert (final["billing_amount_milli_cents"], final["reservation_status"]) == (5_250, "settled")
    assert final["metadata"] == {"order": "A-1", "language": "en"}
    assert final["result_status"] == "skipped"

    for request in receiver.received:
        event = Webhooks.construct_event(
            request.body, request.headers["callingbox-signature"], endpoint["signing_secret"]
        )
        assert event.api_version == "2026-04"
        assert request.headers["x-callingbox-call-id"] == call["id"]
        assert request.headers["callingbox-event-id"] == event.id


async def test_every_call_has_exactly_one_final_event(open_server: Server, receiver: Receiver) -> None:
    org = await open_server.organisation(credit=50 * DOLLAR)
    await listens(org, f"{receiver.url}/ok", *CALL_EVENTS)
    expected = {
        "+14155550130": ["call.completed"],
        "+14155550131": ["call.voicemail", "call.no_answer"],
        "+14155550132": ["call.voicemail", "call.no_answer"],
        "+14155550133": ["call.busy"],
        "+14155550134": ["call.no_answer"],
        "+14155550135": ["call.failed"],
        "+14155550136": ["call.canceled"],
    }
    made = await asyncio.gather(*(org.call(to) for to in expected))
    for call in made:
        await told_whole(receiver, "/ok", call)
    refused = await org.call("+14155550140", expect=400)
    await told_whole(receiver, "/ok", {"id": refused["call_id"]})
    for call in made:
        told = types(heard(receiver, "/ok", call))
        assert [name for name in told if name in FINAL or name == "call.voicemail"] == expected[call["to_number"]]
        assert told[0] == "call.queued"
    assert types(heard(receiver, "/ok", {"id": refused["call_id"]})) == ["call.queued", "call.failed"]
    failed = heard(receiver, "/ok", {"id": refused["call_id"]})[-1]["data"]["call"]
    assert (failed["error_code"], failed["result_status"]) == (refused["code"], "skipped")


async def test_nothing_is_written_for_whom_nobody_listens(open_server: Server, receiver: Receiver) -> None:
    org = await open_server.organisation()
    await org.over(await org.call("+14155550130"))
    endpoint = await listens(org, f"{receiver.url}/ok")
    await org.api.patch(f"/v1/webhook_endpoints/{endpoint['id']}", json={"status": "disabled"})
    await org.over(await org.call("+14155550133"))
    await org.api.delete(f"/v1/webhook_endpoints/{endpoint['id']}")
    await org.over(await org.call("+14155550134"))
    async with open_server.database.read() as connection:
        assert await connection.scalar(select(func.count()).select_from(events)) == 0


async def test_a_calls_own_address_hears_of_it_beside_the_endpoints(open_server: Server, receiver: Receiver) -> None:
    org = await open_server.organisation()
    secret = (await org.api.post("/v1/webhook_secret/rotate")).json()["signing_secret"]
    await listens(org, f"{receiver.url}/ok/endpoint", "call.completed")
    call = await org.call("+14155550130", webhook_url=f"{receiver.url}/ok/own?order=1")
    told = await told_whole(receiver, "/ok/own?order=1", call)
    assert types(told) == ["call.queued", "call.ringing", "call.answered", "call.completed"]
    for request in receiver.received:
        if request.path.startswith("/ok/own"):
            Webhooks.construct_event(request.body, request.headers["callingbox-signature"], secret)
    assert types(await ended(receiver, "/ok/endpoint", call)) == ["call.completed"]

    async def delivered() -> bool:
        return bool((await org.call_of(call))["webhook_status"] == "delivered")

    await until(delivered, "the call to show it")
    rows = (await org.get("/v1/webhook_deliveries", call_id=call["id"]))["data"]
    assert sorted(row["endpoint_id"] is None for row in rows) == [False, True, True, True, True]
    quiet = await org.over(await org.call("+14155550133"))
    assert (quiet["webhook_status"], quiet["webhook_error"]) == ("none", None)


async def test_a_call_shows_how_the_latest_delivery_to_its_own_address_went(
    open_server: Server, receiver: Receiver
) -> None:
    org = await open_server.organisation()
    call = await org.call("+14155550133", webhook_url=f"{receiver.url}/broken")
    await ended(receiver, "/broken", call)
    assert (await org.call_of(call))["webhook_status"] == "pending"

    async def exhausted() -> Any:
        open_server.clock.advance(30 * 3_600)
        shown = await org.call_of(call)
        return shown if shown["webhook_status"] == "failed" else None

    shown = await until(exhausted, "the last attempt")
    assert shown["webhook_error"] == "The answer was 500."
    receiver.answers["/broken"] = "ok"
    newest = (await org.get("/v1/webhook_deliveries", call_id=call["id"], limit=1))["data"][0]
    assert newest["event_type"] == "call.busy"
    await org.api.post(f"/v1/webhook_deliveries/{newest['id']}/redeliver")

    async def delivered() -> Any:
        shown = await org.call_of(call)
        return shown if shown["webhook_status"] == "delivered" else None

    assert (await until(delivered, "the redelivery"))["webhook_error"] is None


async def test_an_endpoint_hears_of_calls_that_begin_after_it_was_added(
    open_server: Server, receiver: Receiver
) -> None:
    org = await open_server.organisation()
    await listens(org, f"{receiver.url}/ok/first")
    assert open_server.network is not None
    open_server.network.scripts["default"] = PRESETS["endless"]
    call = await org.call(TO)
    await until(lambda: "call.answered" in types(heard(receiver, "/ok/first", call)))
    await listens(org, f"{receiver.url}/ok/second")
    await org.api.post(f"/v1/calls/{call['id']}/hangup")
    await ended(receiver, "/ok/first", call)
    later = await org.call("+14155550199")
    await until(lambda: heard(receiver, "/ok/second", later))
    assert heard(receiver, "/ok/second", call) == []


async def test_an_inbound_call_that_is_turned_away_is_told_as_failed(open_server: Server, receiver: Receiver) -> None:
    org = await open_server.organisation(credit=DOLLAR)
    await listens(org, f"{receiver.url}/ok")
    form = {"CallSid": SID, "To": org.number, "From": TO, "Direction": "inbound", "CallStatus": "ringing"}
    assert (await open_server.callback("/webhooks/twilio/voice", form)).status_code == 200
    rows = (await org.get("/v1/calls", direction="inbound"))["data"]
    for call in rows:
        [told] = await ended(receiver, "/ok", call)
        assert told["type"] == "call.failed"
        assert told["data"]["call"]["error_code"] == call["error_code"]
    assert len(rows) == 1


# -- results, credit: decided at a desk ----------------------------------------------------------------------------


@pytest.fixture
async def desk(database_url: str) -> AsyncIterator[Desk]:
    async with opened_desk(database_url, number="+14155550100") as made:
        yield made


async def begin(desk: Desk, to: str = TO, **snapshot: Any) -> str:
    command = CreateCall(
        call_id=new_id(),
        org_id=desk.org_id,
        to_number=to,
        from_number="+14155550100",
        rate_milli_cents_per_minute=5_000,
        default_max_duration_seconds=3_600,
        policy=Policy(),
        snapshot={"result_status": "pending" if snapshot.get("returns") else "skipped", **snapshot},
    )
    assert isinstance(await desk.door.submit(command), Moved)
    return command.call_id


async def move(desk: Desk, call_id: str, *moves: Event) -> None:
    for event in moves:
        await desk.door.submit(MoveCall(event, Policy(), new_id(), call_id=call_id))
        desk.clock.advance(1)


CONVERSATION = (
    DialAccepted(SID),
    StatusReported(SID, CallStatus.IN_PROGRESS),
    VerdictReported(SID, AnsweredBy.HUMAN, 2_000),
)
END = StatusReported(SID, CallStatus.COMPLETED, duration_seconds=30)


@dataclass(frozen=True)
class StoreResult:
    """As extraction does it."""

    call_id: str
    org_id: str

    def locate(self) -> Sequence[Read]:
        return ()

    def organisations(self, located: Rows) -> Iterable[str]:
        return (self.org_id,)

    def reads(self, located: Rows) -> Sequence[Read]:
        return (Read(calls, "id", (self.call_id,)),)

    def fold(self, rows: Rows, now: int) -> None:
        row = rows.get(calls, self.call_id)
        assert row is not None
        rows.update(calls, self.call_id, {"result": {"confirmed": True}, "result_status": "completed"})
        completed_notice(rows, call_of(row), now)


@pytest.mark.parametrize("result_comes_first", [False, True])
async def test_a_call_with_a_result_is_told_as_completed_when_it_has_both_ended_and_a_result(
    desk: Desk, receiver: Receiver, result_comes_first: bool
) -> None:
    await desk.endpoint(f"{receiver.url}/ok", "call.completed", "call.answered")
    call_id = await begin(desk, returns={"confirmed": "boolean"})
    await move(desk, call_id, *CONVERSATION)
    store = desk.door.submit
    if result_comes_first:
        await store(StoreResult(call_id, desk.org_id))
    else:
        await move(desk, call_id, END)
    await desk.work()
    assert receiver.types("/ok") == ["call.answered"]
    for _ in range(2):  # whatever is told again changes nothing
        await move(desk, call_id, END)
        await store(StoreResult(call_id, desk.org_id))
    await desk.work()
    assert sorted(receiver.types("/ok")) == ["call.answered", "call.completed"]
    by_type = {request.json["type"]: request.json["data"]["call"] for request in receiver.received}
    assert by_type["call.completed"]["result"] == {"confirmed": True}
    assert by_type["call.completed"]["result_status"] == "completed"
    assert by_type["call.answered"]["result"] is None
    assert by_type["call.answered"]["result_status"] == "pending"


async def test_an_event_told_late_says_how_the_call_was_then(desk: Desk, receiver: Receiver) -> None:
    await desk.endpoint(f"{receiver.url}/ok", *CALL_EVENTS)
    call_id = await begin(desk)
    await move(desk, call_id, *CONVERSATION, END)
    await desk.work()  # all of it long after
    shown = {request.json["type"]: request.json["data"]["call"]["status"] for request in receiver.received}
    assert shown == {"call.queued": "queued", "call.answered": "in_progress", "call.completed": "completed"}


async def test_a_machine_heard_after_the_charge_is_told_as_a_voicemail_and_not_as_a_second_end(
    desk: Desk, receiver: Receiver
) -> None:
    await desk.endpoint(f"{receiver.url}/ok", *CALL_EVENTS)
    call_id = await begin(desk)
    await move(desk, call_id, *CONVERSATION, END, VerdictReported(SID, AnsweredBy.MACHINE, 2_000))
    await desk.work()
    assert sorted(receiver.types("/ok")) == ["call.answered", "call.completed", "call.queued", "call.voicemail"]
    told = next(request.json["data"]["call"] for request in receiver.received if "voicemail" in request.json["type"])
    assert (told["status"], told["billing_amount_milli_cents"]) == ("completed", 0)


async def test_credit_that_runs_low_is_told_each_time_it_gets_worse(desk: Desk, receiver: Receiver) -> None:
    await desk.endpoint(f"{receiver.url}/ok", "balance.low", "calls.paused")
    await desk.door.submit(Post(Posting(new_id(), new_id(), desk.org_id, "adjustment", 4 * DOLLAR)))
    call_id = await begin(desk)  # each holds $3.00: of $9.00 that leaves room for two
    await begin(desk, "+14155550124")  # for one
    await begin(desk, "+14155550125")  # for none
    await move(desk, call_id, *CONVERSATION, END)  # what comes back is no bad news
    await desk.work()
    bodies = sorted((request.json for request in receiver.received), key=lambda body: str(body["id"]))
    assert types(bodies) == ["balance.low", "calls.paused"]
    low, paused = (body["data"]["wallet"] for body in bodies)
    assert (low["status"], low["available_milli_cents"], low["calls_left"]) == ("low", 3 * DOLLAR, 1)
    assert (paused["status"], paused["calls_left"]) == ("paused", 0)
    assert paused["message"].startswith("Calls paused. Your balance is $0.00")


async def test_an_adjustment_that_leaves_no_room_is_told(desk: Desk, receiver: Receiver) -> None:
    await desk.endpoint(f"{receiver.url}/ok")
    terms = Terms(rate_milli_cents_per_minute=5_000, max_duration_seconds=3_600)
    for amount in (-3 * DOLLAR, -DOLLAR, 10 * DOLLAR):
        posting = Posting(new_id(), new_id(), desk.org_id, "adjustment", amount)
        await desk.door.submit(Post(posting, terms))
    await desk.work()
    assert receiver.types("/ok") == ["calls.paused"]


async def test_a_payment_is_told_and_so_is_a_refund_that_leaves_no_room_for_calls(
    database_url: str, receiver: Receiver
) -> None:
    async with open_shop(database_url, ALLOW_PRIVATE_URLS="true") as shop, working(shop.server):
        await listens(shop.org, f"{receiver.url}/ok")
        topup = await shop.paid(2_500)
        await until(lambda: heard(receiver, "/ok"), "the payment")
        [told] = heard(receiver, "/ok")
        assert (told["type"], told["data"]["topup"]["id"]) == ("topup.succeeded", topup["id"])
        assert told["data"]["topup"]["status"] == "paid"
        assert told["data"]["topup"]["credit_milli_cents"] == 25 * DOLLAR
        await shop.refund(topup, 2_400)
        await until(lambda: len(heard(receiver, "/ok")) == 2, "the refund")
        paused = heard(receiver, "/ok")[-1]
        assert (paused["type"], paused["data"]["wallet"]["available_milli_cents"]) == ("calls.paused", DOLLAR)
