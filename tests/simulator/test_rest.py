"""Twilio's REST API as the official client sees it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from twilio.base.exceptions import TwilioRestException

from simulator.app import DEFAULT_ACCOUNT_SID, DEFAULT_AUTH_TOKEN
from tests.simulator.telephony import Customer, customer

REFUSALS: list[tuple[dict[str, Any], int]] = [
    ({"to": ""}, 21201),
    ({"to": "12345"}, 21211),
    ({"to": "+1415555"}, 21211),
    ({"to": "+442079460000"}, 21215),
    ({"to": "+18765550123"}, 21215),
    ({"to": "+14155550140"}, 21211),
    ({"to": "+14155550141"}, 21215),
    ({"to": "+14155550142"}, 21219),
    ({"to": "+14155550143"}, 21214),
    ({"to": "+14155550144"}, 21216),
    ({"to": "+14155550145"}, 10004),
    ({"to": "+14155550146"}, 20429),
    ({"to": "+14155550147"}, 13224),
    ({"to": "+14155550148"}, 21217),
    ({"from_": ""}, 21213),
    ({"from_": "anonymous"}, 21212),
    ({"from_": "+14155550199"}, 21210),
    ({"url": None}, 21205),
    ({"url": "not an address"}, 21205),
    ({"url": None, "twiml": "<Response/>" + " " * 4000}, 20001),
    ({"application_sid": "AP" + "0" * 32}, 21218),
    ({"status_callback": "http://under_score.example.com/"}, 21609),
    ({"status_callback_event": ["initiated ringing"]}, 21626),
    ({"status_callback_event": ["no-answer"]}, 21626),
    ({"status_callback_method": "PUT"}, 20001),
    ({"timeout": 601}, 21208),
    ({"timeout": "soon"}, 21208),
    ({"time_limit": 59}, 20001),
    ({"time_limit": 86_401}, 20001),
    ({"machine_detection": "yes"}, 20001),
    ({"machine_detection_timeout": 2}, 20001),
    ({"machine_detection_timeout": 60}, 20001),
    ({"machine_detection_silence_timeout": 1}, 20001),
    ({"async_amd": True}, 20001),
    ({"send_digits": "12x"}, 21206),
]


async def test_a_bad_request_is_refused_with_twilios_code_and_makes_no_call() -> None:
    async with customer() as who:
        for changes, code in REFUSALS:
            with pytest.raises(TwilioRestException, match="HTTP 4") as refusal:
                await who.call(**({"to": "+14155550123"} | changes))
            status = 429 if code == 20429 else 400
            assert (refusal.value.status, refusal.value.code) == (status, code), changes
            assert not who.network.calls, changes


async def test_an_error_has_twilios_body() -> None:
    async with customer() as who, aiohttp.ClientSession() as session:
        path = f"{who.network_url}/2010-04-01/Accounts/{DEFAULT_ACCOUNT_SID}"
        async with session.get(f"{path}/Calls.json") as response:
            assert response.status == 401
            assert await response.json() == {
                "code": 20003,
                "message": "Authenticate",
                "more_info": "https://www.twilio.com/docs/errors/20003",
                "status": 401,
            }
        right = aiohttp.encode_basic_auth(DEFAULT_ACCOUNT_SID, DEFAULT_AUTH_TOKEN)
        wrong = aiohttp.encode_basic_auth(DEFAULT_ACCOUNT_SID, "wrong")
        for authorization, asked, expected in (
            (wrong, f"{path}.json", (401, 20003)),
            (right, f"{path}/Calls/CA{'0' * 32}.json", (404, 20404)),
            (right, f"{path}/Nonsense.json", (404, 20404)),
            (right, f"{path[:-1]}6/Calls.json", (404, 20404)),
        ):
            async with session.get(asked, headers={"Authorization": authorization}) as response:
                assert (response.status, (await response.json())["code"]) == expected, asked


async def test_credentials_can_be_checked_by_fetching_the_account() -> None:
    async with customer() as who:
        account = await who.client.api.accounts(DEFAULT_ACCOUNT_SID).fetch_async()
    assert (account.sid, account.status) == (DEFAULT_ACCOUNT_SID, "active")


async def test_a_call_just_made_is_queued_and_has_no_times_yet() -> None:
    async with customer(speed=1.0) as who:
        call = await who.call("+14155550130")
    assert call.status == "queued"
    assert call.direction == "outbound-api"
    assert (call.duration, call.end_time, call.answered_by, call.price) == (None, None, None, None)
    assert abs(datetime.now(UTC) - call.date_created) < timedelta(seconds=3)


async def test_the_status_initiated_is_never_shown() -> None:
    async with customer(speed=1.0) as who:
        call = await who.call("+14155550130")
        await who.until(call.sid, "initiated")
        assert (await who.client.calls(call.sid).fetch_async()).status == "queued"


async def _make(who: Customer, count: int) -> list[str]:
    return [(await who.call("+14155550133")).sid for _ in range(count)]


async def test_lists_come_newest_first_in_pages() -> None:
    async with customer() as who:
        sids = await _make(who, 7)
        listed = await who.client.calls.list_async(page_size=3)
        assert [call.sid for call in listed] == sids[::-1]
        assert [call.sid for call in await who.client.calls.list_async(limit=2)] == sids[:-3:-1]


async def test_calls_made_meanwhile_do_not_move_the_next_page() -> None:
    async with customer() as who:
        sids = await _make(who, 4)
        first = await who.client.calls.page_async(page_size=2)
        assert [call.sid for call in first] == [sids[3], sids[2]]
        await _make(who, 3)
        second = await first.next_page_async()
        assert [call.sid for call in second] == [sids[1], sids[0]]
        assert await second.next_page_async() is None


async def test_lists_can_be_filtered() -> None:
    async with customer() as who:
        busy, human = await who.call("+14155550133"), await who.call("+14155550130")
        await who.idle()
        now = datetime.now(UTC)

        async def sids(**filters: Any) -> set[str]:
            return {call.sid for call in await who.client.calls.list_async(**filters)}

        both = {busy.sid, human.sid}
        assert await sids(to="+14155550130") == {human.sid}
        assert await sids(from_="+14155550100") == both
        assert await sids(from_="+14155550101") == set()
        assert await sids(status="busy") == {busy.sid}
        assert await sids(start_time_after=now - timedelta(minutes=1)) == both
        assert await sids(start_time_before=now - timedelta(minutes=1)) == set()
        assert await sids(start_time_after=now + timedelta(hours=1)) == set()
        assert await sids(to="+14155550130", status="busy") == set()


async def test_a_call_not_yet_dialed_is_found_by_its_creation_time() -> None:
    async with customer(speed=1.0, calls_per_second=0.01) as who:
        await who.call("+14155550130")
        queued = await who.call("+14155550131")
        found = await who.client.calls.list_async(
            to="+14155550131", start_time_after=datetime.now(UTC) - timedelta(minutes=1)
        )
        assert [call.sid for call in found] == [queued.sid]


async def test_canceling_a_ringing_call_ends_it_unanswered() -> None:
    async with customer(speed=20) as who:
        call = await who.call("+14155550134")
        await who.until(call.sid, "ringing")
        canceled = await who.client.calls(call.sid).update_async(status="canceled")
        assert canceled.status == "canceled"
        await who.idle()
        assert who.statuses_of(call.sid) == ["initiated", "ringing", "canceled"]


async def test_completing_a_call_in_progress_hangs_it_up() -> None:
    async with customer(speed=50) as who:
        call = await who.call("+14155550149")
        await who.until(call.sid, "in-progress")
        ended = await who.client.calls(call.sid).update_async(status="completed")
        assert ended.status == "completed"
        await who.idle()
        final = who.at("/status")[-1]
        assert final["CallStatus"] == "completed"
        assert final["CallDuration"] == ended.duration
        assert who.network.calls[call.sid].ended_by == "api"


async def test_canceling_does_not_end_a_call_in_progress() -> None:
    async with customer(speed=50) as who:
        call = await who.call("+14155550149")
        await who.until(call.sid, "in-progress")
        with pytest.raises(TwilioRestException) as refusal:
            await who.client.calls(call.sid).update_async(status="canceled")
        assert refusal.value.code == 21220
        assert who.network.calls[call.sid].is_live


async def test_a_call_that_has_ended_can_be_neither_hung_up_nor_redirected() -> None:
    async with customer() as who:
        call = await who.call("+14155550133")
        await who.idle()
        for change in ({"status": "completed"}, {"twiml": "<Response/>"}, {"time_limit": 60}):
            with pytest.raises(TwilioRestException) as refusal:
                await who.client.calls(call.sid).update_async(**change)
            assert refusal.value.code == 21220


async def test_a_live_call_can_be_redirected() -> None:
    async with customer(speed=50) as who:
        who.twiml["/elsewhere"] = "<Response><Hangup/></Response>"
        call = await who.call("+14155550149")
        await who.until(call.sid, "in-progress")
        await who.client.calls(call.sid).update_async(url=f"{who.url}/elsewhere")
        await who.idle()
        assert len(who.at("/elsewhere")) == 1
        assert who.network.calls[call.sid].ended_by == "twiml"


async def test_a_time_limit_ends_a_call() -> None:
    async with customer(speed=1000) as who:
        call = await who.call("+14155550149", time_limit=90)
        await who.idle()
        record = await who.record(call.sid)
    assert (record["duration_seconds"], record["ended_by"]) == (90, "time_limit")


async def test_the_time_limit_of_a_live_call_can_be_changed() -> None:
    async with customer(speed=200) as who:
        call = await who.call("+14155550149")
        await who.until(call.sid, "in-progress")
        await who.client.calls(call.sid).update_async(time_limit=60)
        await who.idle()
        assert who.network.calls[call.sid].duration_seconds == 60


async def test_a_deleted_call_is_gone_from_the_api_but_not_from_the_record() -> None:
    async with customer() as who:
        call = await who.call("+14155550133")
        await who.idle()
        assert await who.client.calls(call.sid).delete_async()
        assert await who.client.calls.list_async() == []
        with pytest.raises(TwilioRestException) as refusal:
            await who.client.calls(call.sid).fetch_async()
        assert refusal.value.status == 404
        assert (await who.record(call.sid))["status"] == "busy"


async def test_numbers_can_be_found_bought_changed_and_released() -> None:
    async with customer() as who:
        numbers = who.client.incoming_phone_numbers
        [offer, *_] = await who.client.available_phone_numbers("US").local.list_async(area_code=212)
        assert offer.phone_number.startswith("+121255501")
        bought = await numbers.create_async(phone_number=offer.phone_number, voice_url="http://127.0.0.1:1/v")
        [found] = await numbers.list_async(phone_number=offer.phone_number)
        assert (found.sid, found.voice_url) == (bought.sid, "http://127.0.0.1:1/v")
        await numbers(bought.sid).update_async(status_callback="http://127.0.0.1:1/s", voice_method="GET")
        fetched = await numbers(bought.sid).fetch_async()
        assert fetched.status_callback == "http://127.0.0.1:1/s"
        call = await who.call("+14155550133", from_=offer.phone_number)
        assert call.phone_number_sid == bought.sid
        assert await numbers(bought.sid).delete_async()
        assert [number.phone_number for number in await numbers.list_async()] == ["+14155550100"]


async def test_a_number_can_be_bought_only_once_and_only_a_fictitious_one() -> None:
    async with customer() as who:
        numbers = who.client.incoming_phone_numbers
        for phone_number, code in (
            ("+14155550100", 21422),
            ("+14155552671", 21421),
            ("+442079460000", 21421),
        ):
            with pytest.raises(TwilioRestException) as refusal:
                await numbers.create_async(phone_number=phone_number)
            assert refusal.value.code == code


async def test_toll_free_numbers_are_offered_apart() -> None:
    async with customer() as who:
        offers = await who.client.available_phone_numbers("US").toll_free.list_async(limit=5)
        locals_ = await who.client.available_phone_numbers("CA").local.list_async(limit=5)
    assert len(offers) == len(locals_) == 5
    assert {offer.phone_number[:5] for offer in offers} <= {"+1800", "+1888", "+1877"}
    assert {offer.iso_country for offer in locals_} == {"CA"}
