"""The life of a call as its owner sees it through the public API."""

import asyncio
import re
from typing import Any

from simulator.scripts import PRESETS, Script
from tests.servers import DOLLAR, Organisation, Server, until

TO = "+14155550130"

CALL_FIELDS = {
    *("id", "agent_id", "to_number", "from_number", "status", "direction", "persona", "instructions", "prompt"),
    *("context", "returns", "result", "result_status", "result_error", "language", "webhook_url", "webhook_status"),
    *("webhook_error", "created_at", "updated_at", "started_at", "answered_at", "connected_at", "ended_at"),
    *("duration_seconds", "billed_duration_seconds", "billing_amount_milli_cents", "billing_reason"),
    *("reservation_status", "error_code", "error_message", "hangup_cause", "metadata", "tools", "answered_by"),
    *("hold_milli_cents", "rate_milli_cents_per_minute", "max_duration_seconds", "voicemail_action"),
}


def script(server: Server, outcome: str, number: str = "default", **changes: Any) -> None:
    """Say what the far end does when it is called."""
    assert server.network is not None
    preset = PRESETS[outcome]
    values = {name: getattr(preset, name) for name in preset.__struct_fields__}
    server.network.scripts[number] = Script(**{**values, **changes})


async def test_a_call_with_a_person_is_held_for_connected_and_charged_by_the_second(server: Server) -> None:
    org = await server.organisation()
    call = await org.call(TO)
    assert set(call) >= CALL_FIELDS
    assert call["status"] == "initiated"
    assert (call["reservation_status"], call["hold_milli_cents"]) == ("reserved", 300_000)
    assert call["billing_amount_milli_cents"] is call["duration_seconds"] is call["ended_at"] is None

    over = await org.over(call)
    assert (over["status"], over["answered_by"], over["billing_reason"]) == ("completed", "human", "billed")
    assert (over["duration_seconds"], over["billed_duration_seconds"]) == (67, 63)  # 3.2 s of detection are free
    assert (over["billing_amount_milli_cents"], over["reservation_status"]) == (5_250, "settled")
    moments = [over[f"{name}_at"] for name in ("created", "answered", "connected", "ended")]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", moment) for moment in moments)

    receipt = await org.get(f"/v1/calls/{call['id']}/receipt")
    assert (receipt["hold_milli_cents"], receipt["charge_milli_cents"]) == (300_000, 5_250)
    assert (receipt["released_milli_cents"], receipt["refunded_milli_cents"]) == (294_750, 0)
    assert receipt["connected"]["seconds"] == 63
    assert receipt["detection_ms"] == 3_200
    assert receipt["confirmed"] is True
    assert [transfer["kind"] for transfer in receipt["transfers"]] == ["hold", "settle"]
    assert {entry["kind"] for entry in receipt["timeline"]} == {"dial", "status", "verdict"}
    assert TO not in str(receipt["timeline"])
    wallet = await org.wallet()
    assert (wallet["balance_milli_cents"], wallet["held_milli_cents"]) == (494_750, 0)


async def test_every_way_to_end_that_is_free_is_free(server: Server) -> None:
    org = await server.organisation(credit=50 * DOLLAR)
    expected = {
        "+14155550131": ("no_answer", "machine", "free_voicemail"),
        "+14155550132": ("no_answer", "fax", "free_fax"),
        "+14155550133": ("busy", None, "free_busy"),
        "+14155550134": ("no_answer", None, "free_no_answer"),
        "+14155550135": ("failed", None, "free_failed"),
        "+14155550136": ("canceled", None, "free_canceled"),
    }
    calls = await asyncio.gather(*(org.call(to) for to in expected))
    for call in calls:
        over = await org.over(call)
        assert (over["status"], over["answered_by"], over["billing_reason"]) == expected[over["to_number"]]
        assert (over["billing_amount_milli_cents"], over["reservation_status"]) == (0, "released")
        assert (await org.get(f"/v1/calls/{call['id']}/receipt"))["confirmed"] is True
    wallet = await org.wallet()
    assert (wallet["balance_milli_cents"], wallet["held_milli_cents"]) == (50 * DOLLAR, 0)


async def test_a_call_that_ends_while_we_detect_is_free_once_the_carrier_has_no_verdict_either(server: Server) -> None:
    org = await server.organisation()
    call = await org.call("+14155550138")
    await until(lambda: _quiet(server))
    assert (await org.call_of(call))["status"] == "in_progress"  # a final status comes with its settlement
    server.clock.advance(server.settings.amd_grace_seconds + 1)
    await server.sweep()
    over = await org.call_of(call)
    assert (over["status"], over["billing_reason"]) == ("completed", "free_no_verdict")


async def test_an_unknown_voice_counts_as_a_person(server: Server) -> None:
    org = await server.organisation()
    over = await org.over(await org.call("+14155550137"))
    assert (over["answered_by"], over["billing_reason"]) == ("unknown", "billed")
    assert over["billed_duration_seconds"] == 40 - 5


async def test_a_hang_up_ends_a_conversation_and_charges_what_was_used(server: Server) -> None:
    org = await server.organisation()
    script(server, "endless")
    call = await org.call("+14155550123")
    await until(lambda: _shown(org, call, "connected_at"))
    response = await org.api.post(f"/v1/calls/{call['id']}/hangup")
    assert response.status_code == 200
    over = await org.over(call)
    assert (over["status"], over["hangup_cause"]) == ("completed", "customer")
    [record] = await server.records()
    assert record["ended_by"] == "api"
    assert over["billed_duration_seconds"] == max(0, record["duration_seconds"] - 4)


async def test_a_hang_up_while_it_rings_cancels_the_call_for_free(server: Server) -> None:
    org = await server.organisation()
    script(server, "phone")
    assert server.network is not None
    server.network.clock.run_at(5)  # it rings for a minute of the network's: time enough on a busy machine too
    call = await org.call("+14155550123")
    await until(lambda: _shown(org, call, "started_at"))
    assert (await org.api.post(f"/v1/calls/{call['id']}/hangup")).json()["id"] == call["id"]
    over = await org.over(call)
    assert (over["status"], over["billing_reason"], over["hangup_cause"]) == ("canceled", "free_canceled", "customer")
    again = await org.api.post(f"/v1/calls/{call['id']}/hangup")
    assert (again.status_code, again.json()) == (200, over)


async def test_a_hang_up_works_though_the_answer_was_never_reported(server: Server) -> None:
    """We think it rings; the carrier, which has it in progress, refuses to cancel it."""
    org = await server.organisation()
    script(server, "endless", verdict=None, ring_seconds=10)
    assert server.network is not None
    server.network.clock.run_at(5)  # it rings longer than the answer to its dial takes
    server.network.faults = type(server.network.faults)(callback_lost=1.0)
    call = await org.call("+14155550123")
    [sid] = server.network.calls
    await until(lambda: server.network and server.network.calls[sid].status == "in-progress")
    assert (await org.call_of(call))["answered_at"] is None
    await org.api.post(f"/v1/calls/{call['id']}/hangup")
    await until(lambda: server.network and server.network.calls[sid].status == "completed")


async def test_a_hang_up_asked_for_before_the_carrier_knows_the_call_is_remembered(server: Server) -> None:
    org = await server.organisation()
    script(server, "endless", ring_seconds=50)
    assert server.network is not None
    server.network.clock.run_at(5)  # it is asked for while it rings
    server.network.faults = type(server.network.faults)(create_lost=1.0, callback_reordered=1.0)
    call = await org.call("+14155550123")
    assert call["status"] == "queued"
    await org.api.post(f"/v1/calls/{call['id']}/hangup")
    over = await org.over(call)  # the first callback to arrive binds it, and it is hung up
    assert over["hangup_cause"] == "customer"
    [record] = await server.records()
    assert record["ended_by"] == "api"


async def test_a_call_that_outlasts_its_maximum_is_ended_by_the_carrier_and_never_costs_more_than_its_hold(
    server: Server,
) -> None:
    org = await server.organisation()
    script(server, "endless", detection_ms=0)
    over = await org.over(await org.call("+14155550123", max_duration_seconds=60))
    assert (over["billing_amount_milli_cents"], over["hold_milli_cents"]) == (5_000, 5_000)
    [record] = await server.records()
    assert (record["ended_by"], record["time_limit_seconds"]) == ("time_limit", 60)


async def test_the_oldest_number_calls_unless_another_is_named(server: Server) -> None:
    org = await server.organisation(number="+14155550100", credit=50 * DOLLAR)
    await server.number(org, "+14155550101")
    assert (await org.call(TO))["from_number"] == "+14155550100"
    assert (await org.call(TO, from_number="+14155550101"))["from_number"] == "+14155550101"
    shown = await org.get("/v1/numbers")
    assert [number["e164"] for number in shown["data"]] == ["+14155550101", "+14155550100"]  # newest first
    assert shown["has_more"] is False


async def test_without_a_number_nothing_can_call(server: Server) -> None:
    org = await server.organisation(number=None)
    refusal = await org.call(TO, expect=400)
    assert (refusal["code"], refusal["field"]) == ("no_number", "from_number")


async def test_nobody_calls_from_a_number_of_somebody_else(server: Server) -> None:
    await server.organisation(number="+14155550101")
    org = await server.organisation(number="+14155550102")
    refusal = await org.call(TO, from_number="+14155550101", expect=400)
    assert refusal["code"] == "invalid_from_number"


async def test_a_paused_organisation_is_told_exactly_what_to_add_and_no_call_is_made(server: Server) -> None:
    org = await server.organisation(credit=188_900)
    refusal = await org.call(TO, expect=402)
    assert refusal == {
        "error": "Calls paused. Your balance is $1.88 but each call requires a $3.00 hold (we release it back if no "
        "one answers). Add $1.12 or more in credits to keep calling.",
        "code": "calls_paused",
        "available_milli_cents": 188_900,
        "hold_milli_cents": 300_000,
        "shortfall_milli_cents": 111_100,
        "add_credits_url": refusal["add_credits_url"],
    }
    assert refusal["add_credits_url"].startswith(server.url)
    assert (await org.get("/v1/calls"))["data"] == []
    shorter = await org.call(TO, max_duration_seconds=600)
    assert shorter["hold_milli_cents"] == 50_000


async def test_simultaneous_calls_never_hold_more_than_there_is(server: Server) -> None:
    org = await server.organisation(credit=10 * DOLLAR)
    script(server, "endless")
    answers = await asyncio.gather(
        *(org.api.post("/v1/calls", json={"to": f"+141555501{n:02d}"}) for n in range(50, 80))
    )
    assert sorted(answer.status_code for answer in answers) == [201] * 3 + [402] * 27
    wallet = await org.wallet()
    assert (wallet["held_milli_cents"], wallet["available_milli_cents"]) == (900_000, 100_000)
    assert len(await server.records()) == 3


async def test_a_quote_says_what_creating_would_without_doing_it(server: Server) -> None:
    org = await server.organisation(credit=400_000)

    async def quote(**body: Any) -> Any:
        response = await org.api.post("/v1/calls/quote", json={"to": TO, **body})
        assert response.status_code == 200, response.text
        return response.json()

    assert await quote() == {
        "hold_milli_cents": 300_000,
        "worst_case_milli_cents": 300_000,
        "rate_milli_cents_per_minute": 5_000,
        "max_duration_seconds": 3_600,
        "would_be_placed": True,
        "code": None,
        "message": None,
    }
    short = await quote(max_duration_seconds=61)
    assert (short["hold_milli_cents"], short["max_duration_seconds"]) == (5_083, 61)
    assert (await quote(to="+442079460123"))["code"] == "country_not_allowed"
    assert (await quote(from_number="+14155550199"))["code"] == "invalid_from_number"
    script(server, "endless")
    await org.call(TO)
    paused = await quote(max_duration_seconds=3_599)
    assert (paused["would_be_placed"], paused["code"]) == (False, "calls_paused")
    assert (paused["hold_milli_cents"], paused["max_duration_seconds"]) == (299_916, 3_599)
    assert paused["message"].startswith("Calls paused. Your balance is $1.00 but each call requires a $3.00 hold")
    assert len(await server.records()) == 1


async def test_calls_are_paged_both_ways_newest_first(server: Server) -> None:
    org = await server.organisation(credit=50 * DOLLAR)
    made = [(await org.call(f"+141555501{n}"))["id"] for n in range(50, 57)]
    newest_first = made[::-1]

    async def page(**query: Any) -> tuple[list[str], bool]:
        shown = await org.get("/v1/calls", **query)
        return [call["id"] for call in shown["data"]], shown["has_more"]

    assert await page() == (newest_first, False)
    assert await page(limit=7) == (newest_first, False)
    assert await page(limit=3) == (newest_first[:3], True)
    assert await page(limit=3, starting_after=newest_first[2]) == (newest_first[3:6], True)
    assert await page(limit=3, starting_after=newest_first[5]) == (newest_first[6:], False)
    assert await page(limit=3, starting_after=newest_first[6]) == ([], False)
    assert await page(limit=3, ending_before=newest_first[6]) == (newest_first[3:6], True)
    assert await page(limit=3, ending_before=newest_first[3]) == (newest_first[:3], False)
    assert await page(limit=3, ending_before=newest_first[0]) == ([], False)
    assert await page(direction="inbound") == ([], False)
    assert await page(direction="outbound", limit=1) == (newest_first[:1], True)


async def test_what_belongs_to_another_organisation_does_not_exist(server: Server) -> None:
    owner = await server.organisation(number="+14155550101")
    other = await server.organisation(number="+14155550102")
    script(server, "endless")
    call = await owner.call(TO)
    for method, path in (("GET", ""), ("GET", "/receipt"), ("POST", "/hangup")):
        response = await other.api.request(method, f"/v1/calls/{call['id']}{path}")
        nobody = await other.api.request(method, f"/v1/calls/{call['id'][:-4]}0000{path}")
        assert response.status_code == nobody.status_code == 404
        assert response.json()["code"] == nobody.json()["code"]
    response = await other.api.get("/v1/calls", params={"starting_after": call["id"]})
    assert response.status_code == 404
    assert (await other.get("/v1/calls"))["data"] == []
    assert (await owner.call_of(call))["hangup_cause"] is None


async def _shown(org: Organisation, call: Any, field: str) -> Any:
    return (await org.call_of(call))[field]


def _quiet(server: Server) -> bool:
    """Whether the network has nothing more to say."""
    assert server.network is not None
    return bool(server.network.calls) and not server.network.live_calls and not server.network.courier.pending
