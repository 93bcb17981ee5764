"""What a caller's server hears of each way that an outbound call can go."""

import pytest

from tests.simulator.telephony import customer

OUTCOMES = {
    # to: (statuses in order, final CallDuration, verdict with its milliseconds)
    "+14155550130": (["initiated", "ringing", "in-progress", "completed"], "67", ("human", "3200")),
    "+14155550131": (["initiated", "ringing", "in-progress", "completed"], "45", ("machine_start", "4100")),
    "+14155550132": (["initiated", "ringing", "in-progress", "completed"], "20", ("fax", "2600")),
    "+14155550133": (["initiated", "busy"], "0", None),
    "+14155550134": (["initiated", "ringing", "no-answer"], "30", None),
    "+14155550135": (["initiated", "failed"], "0", None),
    "+14155550136": (["initiated", "ringing", "canceled"], "0", None),
    "+14155550137": (["initiated", "ringing", "in-progress", "completed"], "40", ("unknown", "5000")),
    "+14155550138": (["initiated", "ringing", "in-progress", "completed"], "2", None),
    "+14155550139": (["initiated", "ringing", "in-progress", "completed"], "0", None),
}


async def test_every_outcome_sends_its_sequence_of_callbacks() -> None:
    async with customer() as who:
        sids = {to: (await who.call(to)).sid for to in OUTCOMES}
        await who.idle()
        for to, (statuses, duration, verdict) in OUTCOMES.items():
            events = [params for params in who.at("/status") if params["CallSid"] == sids[to]]
            assert [params["CallStatus"] for params in events] == statuses, to
            assert [params["SequenceNumber"] for params in events] == [str(n) for n in range(len(events))]
            assert events[-1]["CallDuration"] == duration, to
            heard = [
                (params["AnsweredBy"], params["MachineDetectionDuration"])
                for params in who.at("/verdict")
                if params["CallSid"] == sids[to]
            ]
            assert heard == ([verdict] if verdict else []), to


async def test_the_resource_and_the_record_agree_with_the_final_callback() -> None:
    async with customer() as who:
        sids = {to: (await who.call(to)).sid for to in OUTCOMES}
        await who.idle()
        for to, sid in sids.items():
            final = [params for params in who.at("/status") if params["CallSid"] == sid][-1]
            call, record = await who.client.calls(sid).fetch_async(), await who.record(sid)
            assert call.status == record["status"] == final["CallStatus"], to
            answered = final["CallStatus"] == "completed"
            assert call.duration == (final["CallDuration"] if answered else None), to
            assert str(record["duration_seconds"]) == (final["CallDuration"] if answered else "0"), to
            assert call.answered_by == record["verdict"], to
            if answered:
                assert (call.end_time - call.start_time).total_seconds() == record["duration_seconds"]


async def test_a_final_event_carries_the_documented_fields() -> None:
    async with customer() as who:
        call = await who.call("+14155550130")
        await who.idle()
        first, final = who.at("/status")[0], who.at("/status")[-1]
    assert (
        final.items()
        >= {
            "CallSid": call.sid,
            "AccountSid": call.account_sid,
            "From": "+14155550100",
            "To": "+14155550130",
            "ApiVersion": "2010-04-01",
            "Direction": "outbound-api",
            "CallbackSource": "call-progress-events",
            "SipResponseCode": "200",
            "Duration": "2",
        }.items()
    )
    assert final["Timestamp"].endswith(" +0000")
    assert {"CallDuration", "Duration", "SipResponseCode"}.isdisjoint(first)


async def test_only_subscribed_events_are_sent_and_completed_alone_by_default() -> None:
    async with customer() as who:
        chosen = await who.call("+14155550130", status_callback_event=["answered", "ringing"])
        default = await who.call("+14155550133", status_callback_event=None)
        await who.idle()
        assert who.statuses_of(chosen.sid) == ["ringing", "in-progress"]
        assert who.statuses_of(default.sid) == ["busy"]
        assert who.at("/status")[0]["SequenceNumber"] == "0"


async def test_without_detection_there_is_no_verdict() -> None:
    async with customer() as who:
        call = await who.call("+14155550131", machine_detection=None, async_amd=None)
        await who.idle()
        assert who.at("/verdict") == []
        assert (await who.client.calls(call.sid).fetch_async()).answered_by is None


async def test_sending_digits_switches_detection_off() -> None:
    async with customer() as who:
        await who.call("+14155550131", send_digits="W1234#")
        await who.idle()
        assert who.at("/verdict") == []


async def test_detect_message_end_reports_after_the_beep() -> None:
    async with customer() as who:
        await who.call("+14155550131", machine_detection="DetectMessageEnd")
        await who.idle()
        [verdict] = who.at("/verdict")
    assert (verdict["AnsweredBy"], verdict["MachineDetectionDuration"]) == ("machine_end_beep", "9000")


async def test_nothing_found_within_the_timeout_is_unknown() -> None:
    async with customer() as who:
        await who.control("PUT", "/scripts/default", {"outcome": "human", "detection_ms": 20_000})
        await who.call("+14155550123", machine_detection_timeout=6)
        await who.idle()
        [verdict] = who.at("/verdict")
    assert (verdict["AnsweredBy"], verdict["MachineDetectionDuration"]) == ("unknown", "6000")


async def test_synchronous_detection_asks_for_twiml_with_its_verdict_and_sends_no_callback() -> None:
    async with customer() as who:
        await who.call("+14155550131", async_amd="false")
        await who.idle()
        [asked] = who.at("/twiml")
        assert who.at("/verdict") == []
    assert (asked["AnsweredBy"], asked["MachineDetectionDuration"]) == ("machine_start", "4100")


async def test_a_part_of_a_second_counts_as_one() -> None:
    async with customer() as who:
        await who.control("PUT", "/scripts/+14155550123", {"outcome": "human", "talk_seconds": 10.2})
        await who.control("PUT", "/scripts/+14155550124", {"outcome": "human", "talk_seconds": 0.4})
        longer, shorter = await who.call("+14155550123"), await who.call("+14155550124")
        await who.idle()
        assert who.network.calls[longer.sid].duration_seconds == 11
        assert who.network.calls[shorter.sid].duration_seconds == 1


async def test_ringing_ends_at_the_timeout_that_was_asked_for() -> None:
    async with customer() as who:
        await who.control("PUT", "/scripts/default", {"outcome": "human", "ring_seconds": 20})
        call = await who.call("+14155550123", timeout=10)
        await who.idle()
        record = await who.record(call.sid)
    assert (record["status"], record["ring_seconds"]) == ("no-answer", 10.0)


@pytest.mark.parametrize(("per_second", "waits_ms"), [(None, [0, 0, 0]), (1.0, [0, 1000, 2000])])
async def test_calls_made_too_fast_are_queued(per_second: float | None, waits_ms: list[int]) -> None:
    async with customer(speed=1.0, calls_per_second=per_second) as who:
        made = [await who.call("+14155550130") for _ in range(3)]
        waits = [int(call.queue_time) for call in made]
    assert waits == pytest.approx(waits_ms, abs=200)


async def test_dice_choose_the_same_far_ends_for_the_same_seed() -> None:
    async def scripts(seed: int) -> list[tuple[object, ...]]:
        async with customer(seed=seed, speed=10_000) as who:
            for number in range(50, 70):
                await who.call(f"+141555501{number}")
            await who.idle()
            return [
                (call.order.to, call.status, call.duration_seconds, call.verdict, call.ring_seconds)
                for call in who.network.calls.values()
            ]

    assert await scripts(7) == await scripts(7) != await scripts(8)
