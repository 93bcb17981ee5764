"""Calls from the network to a number of the account."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from simulator.faults import FaultPlan
from tests.simulator.telephony import LONG_PAUSE, Customer, customer

NUMBER = "+14155550100"


@asynccontextmanager
async def called(script: Any = None, twiml: str = LONG_PAUSE, **options: Any) -> AsyncIterator[Customer]:
    """Somebody has called the account's number, and it is over."""
    async with customer(**options) as who:
        [number] = await who.client.incoming_phone_numbers.list_async()
        await who.client.incoming_phone_numbers(number.sid).update_async(
            voice_url=f"{who.url}/twiml", status_callback=f"{who.url}/status"
        )
        who.twiml["/twiml"] = twiml
        body = {"to": NUMBER, "from": "+14155550188"} | ({"script": script} if script else {})
        made = await who.control("POST", "/calls", body)
        assert (made["direction"], made["status"]) == ("inbound", "queued")
        await who.idle()
        yield who


async def test_an_inbound_call_asks_for_twiml_while_ringing_and_reports_its_end_once() -> None:
    async with called() as who:
        [voice], [final] = who.at("/twiml"), who.at("/status")
    assert (voice["CallStatus"], voice["Direction"]) == ("ringing", "inbound")
    assert (voice["From"], voice["To"]) == ("+14155550188", NUMBER)
    assert (final["CallStatus"], final["CallDuration"]) == ("completed", "30")
    assert final["CallSid"] == voice["CallSid"]


@pytest.mark.parametrize(("reason", "status"), [("busy", "busy"), ("rejected", "no-answer")])
async def test_reject_as_the_first_verb_does_not_answer(reason: str, status: str) -> None:
    async with called(twiml=f"<Response><Reject reason='{reason}'/></Response>") as who:
        [final] = who.at("/status")
        [call] = who.network.calls.values()
    assert final["CallStatus"] == status
    assert call.answered_at is None


async def test_reject_later_has_answered() -> None:
    async with called(twiml="<Response><Pause length='2'/><Reject/></Response>") as who:
        [final] = who.at("/status")
    assert (final["CallStatus"], final["CallDuration"]) == ("completed", "2")


async def test_a_caller_may_give_up_while_it_rings() -> None:
    async with called({"outcome": "canceled", "ring_seconds": 3}) as who:
        [final] = who.at("/status")
        assert len(who.at("/twiml")) == 1
    assert final["CallStatus"] == "canceled"


async def test_a_caller_who_never_hangs_up_is_hung_up_by_twiml() -> None:
    async with called({"outcome": "endless"}, twiml="<Response><Pause length='12'/></Response>") as who:
        [final] = who.at("/status")
    assert final["CallDuration"] == "12"


async def test_an_inbound_call_can_be_limited_after_it_is_answered() -> None:
    async with customer(speed=200) as who:
        [number] = await who.client.incoming_phone_numbers.list_async()
        await who.client.incoming_phone_numbers(number.sid).update_async(voice_url=f"{who.url}/twiml")
        made = await who.control("POST", "/calls", {"to": NUMBER, "script": {"outcome": "endless"}})
        await who.until(made["sid"], "in-progress")
        await who.client.calls(made["sid"]).update_async(time_limit=60)
        await who.idle()
        assert who.network.calls[made["sid"]].duration_seconds == 60


async def test_when_the_voice_address_fails_the_caller_hears_an_apology() -> None:
    async with called(twiml="not TwiML") as who:
        [final] = who.at("/status")
    assert final["CallStatus"] == "completed"
    assert int(final["CallDuration"]) > 0


async def test_a_voice_request_may_come_twice() -> None:
    async with called(faults=FaultPlan(voice_repeated=1.0)) as who:
        first, second = who.at("/twiml")
        assert len(who.at("/status")) == 1
    assert first == second


async def test_the_final_event_may_come_before_the_voice_request() -> None:
    async with called({"outcome": "canceled"}, faults=FaultPlan(voice_late=1.0)) as who:
        assert [received.path for received in who.received] == ["/status", "/twiml"]
        assert who.at("/twiml")[0]["CallStatus"] == "ringing"


async def test_only_the_accounts_numbers_can_be_called() -> None:
    async with customer() as who:
        with pytest.raises(ValueError, match="400: to must be"):
            await who.control("POST", "/calls", {"to": "+14155550177"})


async def test_numbers_may_have_their_addresses_from_the_start() -> None:
    addresses = {"voice_url": "http://127.0.0.1:1/voice", "status_callback": "http://127.0.0.1:1/status"}
    options: dict[str, Any] = {"numbers": ("+14155550101", "+14155550102"), **addresses}
    async with customer(**options) as who:
        numbers = await who.client.incoming_phone_numbers.list_async()
    assert {number.phone_number for number in numbers} == {"+14155550101", "+14155550102"}
    assert {(number.voice_url, number.status_callback) for number in numbers} == {tuple(addresses.values())}
