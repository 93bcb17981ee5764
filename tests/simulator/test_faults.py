"""What goes wrong on purpose: by dice that can be thrown again."""

from typing import Any

import pytest
from twilio.base.exceptions import TwilioRestException

from simulator import faults
from simulator.calls import Hook, Order
from simulator.faults import FaultPlan
from tests.simulator.telephony import customer


def test_the_same_seed_call_and_event_have_the_same_fate() -> None:
    plan = FaultPlan.all_with(0.5)
    keys = [f"+1415555{n:04d}|+14155550100|1" for n in range(200)]

    def fates(seed: int) -> list[Any]:
        return [
            (
                faults.status_fate(plan, seed, key, "completed"),
                faults.verdict_fate(plan, seed, key),
                faults.create_fault(plan, seed, key),
                faults.contradiction(plan, seed, key, "human"),
            )
            for key in keys
        ]

    assert fates(1) == fates(1) != fates(2)


def test_each_fault_happens_about_as_often_as_its_probability_says() -> None:
    plan = FaultPlan(callback_lost=0.25, create_lost=0.25, verdict_contradicted=0.25)
    keys = [str(n) for n in range(4_000)]
    lost = sum(not faults.status_fate(plan, 1, key, "completed").delays for key in keys)
    made = sum(faults.create_fault(plan, 1, key).startswith("lost") for key in keys)
    contradicted = sum(faults.contradiction(plan, 1, key, "human") is not None for key in keys)
    assert all(900 < count < 1_100 for count in (lost, made, contradicted))


def test_without_faults_nothing_happens() -> None:
    plan = FaultPlan()
    for key in map(str, range(100)):
        assert faults.status_fate(plan, 1, key, "completed") == faults.Fate()
        assert faults.verdict_fate(plan, 1, key) == faults.Fate()
        assert faults.create_fault(plan, 1, key) == ""
        assert faults.contradiction(plan, 1, key, "human") is None
        assert faults.slowness_seconds(plan, 1, key) == 0.0


@pytest.mark.parametrize("verdict", ["human", "unknown", "machine_start", "fax"])
def test_a_contradiction_is_of_the_other_kind(verdict: str) -> None:
    other = faults.contradiction(FaultPlan(verdict_contradicted=1.0), 1, "key", verdict)
    assert other is not None
    assert (other[0] == "human") is (verdict in ("machine_start", "fax"))


@pytest.mark.parametrize(
    ("plan", "status", "calls", "create_answer"),
    [
        (FaultPlan(create_throttled=1.0), 429, 0, None),
        (FaultPlan(create_error_unmade=1.0), 503, 0, None),
        (FaultPlan(create_error_made=1.0), 500, 1, "error"),
    ],
)
async def test_a_failed_create_has_made_a_call_or_not(
    plan: FaultPlan, status: int, calls: int, create_answer: str | None
) -> None:
    async with customer(faults=plan) as who:
        with pytest.raises(TwilioRestException) as refusal:
            await who.call("+14155550130")
        assert refusal.value.status == status
        await who.idle()
        records = (await who.control("GET", "/calls"))["calls"]
        assert len(records) == calls == len({event["CallSid"] for event in who.at("/status")})
        assert [record["create_answer"] for record in records] == ([create_answer] if create_answer else [])


async def test_a_lost_answer_has_made_the_call_and_it_can_be_found() -> None:
    async with customer(faults=FaultPlan(create_lost=1.0)) as who:
        for attempt in range(1, 5):
            with pytest.raises(Exception, match=r"payload|closed|disconnected|reset"):
                await who.call("+14155550130")
            found = await who.client.calls.list_async(to="+14155550130", from_="+14155550100")
            assert len(found) == attempt
        await who.idle()
        records = (await who.control("GET", "/calls"))["calls"]
    assert {record["create_answer"] for record in records} == {"lost"}
    kinds = {fault for record in records for fault in record["faults"]}
    assert kinds == {"create_lost_dropped", "create_lost_timeout"}


async def test_buying_a_number_can_be_lost_too() -> None:
    async with customer(faults=FaultPlan(create_lost=1.0)) as who:
        with pytest.raises(Exception, match=r"payload|closed|disconnected|reset"):
            await who.client.incoming_phone_numbers.create_async(phone_number="+12125550150")
        found = await who.client.incoming_phone_numbers.list_async(phone_number="+12125550150")
        assert len(found) == 1


async def test_a_retried_create_throws_its_own_dice() -> None:
    async with customer(faults=FaultPlan(create_throttled=0.5)) as who:
        refused = 0
        for _ in range(40):
            try:
                await who.call("+14155550133")
            except TwilioRestException as refusal:
                refused += refusal.code == 20429
        assert 8 < refused < 32
        assert len(who.network.calls) == 40 - refused


async def test_reads_and_updates_can_fail_without_effect() -> None:
    async with customer(speed=50) as who:
        call = await who.call("+14155550149")
        await who.until(call.sid, "in-progress")
        await who.control("PUT", "/faults", {"fetch_error": 1, "update_error": 1})
        for attempt in (
            who.client.calls(call.sid).fetch_async(),
            who.client.calls(call.sid).update_async(status="completed"),
        ):
            with pytest.raises(TwilioRestException) as refusal:
                await attempt
            assert refusal.value.status == 500
        assert who.network.calls[call.sid].is_live


async def test_a_stale_read_shows_a_call_that_has_ended_still_in_progress() -> None:
    async with customer(faults=FaultPlan(fetch_stale=1.0)) as who:
        call = await who.call("+14155550130")
        await who.idle()
        read = await who.client.calls(call.sid).fetch_async()
    assert (read.status, read.duration, read.end_time) == ("in-progress", None, None)


async def test_a_slow_answer_comes_after_the_calls_first_callback() -> None:
    async with customer(speed=20, faults=FaultPlan(slow_answer=1.0)) as who:
        call = await who.call("+14155550134")
        assert who.statuses_of(call.sid)[:1] == ["initiated"]


async def test_a_run_replays_whatever_the_order_of_its_calls() -> None:
    async def run(order: int) -> dict[str, Any]:
        async with customer(speed=10_000, faults=FaultPlan.all_with(0.2)) as who:
            for number in range(50, 90)[::order]:
                try:
                    await who.call(f"+141555501{number}")
                except Exception:
                    continue
            await who.idle()
            return {
                call.key: (sorted(call.faults), call.status, call.duration_seconds, call.verdict)
                for call in who.network.calls.values()
            }

    assert await run(1) == await run(-1)


async def test_a_thousand_calls_at_once_all_end() -> None:
    async with customer(speed=1_000, faults=FaultPlan.all_with(0.05)) as who:
        for number in range(1_000):
            to = f"+1{200 + number // 30}5550{150 + number % 30}"
            hook = Hook(f"{who.url}/status")
            order = Order(to=to, from_="+14155550100", twiml="<Response/>", status_callback=hook)
            who.network.dial(order, who.network.attempt_key(to, "+14155550100"))
        await who.idle()
        calls = who.network.calls.values()
        assert all(call.status.is_final for call in calls)
        expected = sum(len(d.attempts) for call in calls for d in call.deliveries)
        assert len(who.at("/status")) == expected > 900
