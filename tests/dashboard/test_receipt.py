from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.calls_view import CallFacts
from dashboard.receipt_view import REASON_WORDS, Evidence, arithmetic, parts, strip
from dashboard.timeline_view import Entry, timeline
from tests.dashboard import fixtures as fx


def told(call: CallFacts, evidence: list[Evidence]) -> list[Entry]:
    return list(timeline(call, evidence, fx.transfers_of(call), fx.CLOCK))


def intervals(entries: list[Entry]) -> dict[str, tuple[str, int | None]]:
    return {entry.title: (entry.then.text, entry.then.price) for entry in entries if entry.then}


def stretches(call: CallFacts, evidence: list[Evidence]) -> list[tuple[str, int, int | None, str]]:
    return [(p.label, p.seconds, p.price, p.note) for p in parts(call, evidence, fx.NOW)]


def lines(call: CallFacts, evidence: list[Evidence]) -> list[tuple[str, str, str, int | None]]:
    return [(s.operator, s.label, s.text, s.money) for s in arithmetic(call, evidence, call.refunded_milli_cents)]


def test_a_billed_call_is_told_fact_by_fact_with_what_each_interval_cost() -> None:
    entries = told(fx.BILLED, fx.BILLED_EVIDENCE)
    assert [entry.title for entry in entries] == [
        "Hold reserved",
        "Dialed",
        "Ringing",
        "Answered",
        "A person",
        "Hung up",
        "Charged",
    ]
    assert intervals(entries) == {
        "Dialed": ("1 s until it rang", None),
        "Ringing": ("9 s of ringing", None),
        "Answered": ("4 s of voicemail detection: 3.120 s, rounded up", None),
        "A person": ("134 s connected", 11_166),
    }
    assert entries[4].then is not None
    assert entries[4].then.small == "138 s on the line, less 4 s of detection"
    hold, charge = entries[0], entries[-1]
    assert (hold.amount, hold.amount_suffix, hold.note) == (300_000, "held", "60 min × $0.05 · ledger\u00a0#3,824")
    assert (charge.amount, charge.returned, charge.note) == (-11_166, 288_834, "ledger\u00a0#3,825")


def test_the_evidence_is_shown_in_the_carriers_own_words() -> None:
    verdict = told(fx.BILLED, fx.BILLED_EVIDENCE)[4]
    assert verdict.codes == (("AnsweredBy", "human"), ("MachineDetectionDuration", "3120"))
    assert verdict.when.text == "19:20:24.913"


def test_the_sum_of_a_billed_call_leads_from_duration_to_charge() -> None:
    assert lines(fx.BILLED, fx.BILLED_EVIDENCE) == [
        ("", "Call duration, answer to hang-up", "138 s", None),
        ("−", "Voicemail detection", "4 s", None),
        ("=", "Connected", "134 s", None),
        ("×", "$0.05 a minute, by the second, rounded down", "$0.05 ÷ 60", None),
        ("=", "Charged", "", 11_166),
    ]


def test_a_voicemail_is_free_message_left_or_not() -> None:
    assert stretches(fx.VOICEMAIL, fx.VOICEMAIL_EVIDENCE) == [
        ("Dialing", 1, None, "free"),
        ("Ringing", 23, None, "free"),
        ("Voicemail detection", 9, None, "free"),
        ("Message left", 22, None, "free"),
    ]
    entries = told(fx.VOICEMAIL, fx.VOICEMAIL_EVIDENCE)
    assert intervals(entries)["A machine"] == (
        "22 s for your message: a voicemail is free, message left or not",
        None,
    )
    assert (entries[-1].title, entries[-1].amount, entries[-1].amount_suffix) == ("Hold released", 300_000, "back")
    assert lines(fx.VOICEMAIL, fx.VOICEMAIL_EVIDENCE)[1:] == [
        ("−", "All of it: a machine answered", "31 s", None),
        ("=", "Connected", "0 s", None),
        ("=", "Charged", "", 0),
    ]


def test_an_inbound_call_is_connected_from_the_start() -> None:
    assert stretches(fx.INBOUND, fx.INBOUND_EVIDENCE)[-1] == ("Connected", 88, 7_333, "")
    assert intervals(told(fx.INBOUND, fx.INBOUND_EVIDENCE))["Call came in"] == ("88 s connected", 7_333)
    assert [line[1] for line in lines(fx.INBOUND, fx.INBOUND_EVIDENCE)][1] == "Connected"


def test_an_unanswered_call_has_rung_for_nothing() -> None:
    assert stretches(fx.NO_ANSWER, fx.NO_ANSWER_EVIDENCE) == [
        ("Dialing", 1, None, "free"),
        ("Ringing", 60, None, "free"),
    ]
    assert lines(fx.NO_ANSWER, fx.NO_ANSWER_EVIDENCE) == [
        ("", "Nobody answered", "0 s", None),
        ("=", "Charged", "", 0),
    ]


def test_a_late_machine_verdict_shows_the_charge_and_its_refund() -> None:
    titles = [entry.title for entry in told(fx.REFUNDED, fx.REFUNDED_EVIDENCE)]
    assert titles[-3:] == ["Charged", "A machine", "Voicemail refunded"]
    assert lines(fx.REFUNDED, fx.REFUNDED_EVIDENCE)[-3:] == [
        ("=", "Charged at first", "", 2_000),
        ("−", "Refunded: a machine answered", "", 2_000),
        ("=", "Charged", "", 0),
    ]
    assert stretches(fx.REFUNDED, fx.REFUNDED_EVIDENCE)[-1] == ("Voicemail", 24, None, "refunded")


def test_a_live_call_counts_on_and_is_not_final() -> None:
    entries = told(fx.LIVE, fx.LIVE_EVIDENCE)
    assert entries[-1].going
    assert intervals(entries)["A person"] == ("93 s connected so far", 7_750)
    assert stretches(fx.LIVE, fx.LIVE_EVIDENCE)[-1] == ("Connected", 93, 7_750, "so far")
    assert lines(fx.LIVE, fx.LIVE_EVIDENCE) == []


def test_a_call_that_ended_before_its_verdict_says_what_it_waits_for() -> None:
    waiting = replace(fx.LIVE, connected_at=None, answered_by=None)
    evidence = [*fx.LIVE_EVIDENCE[:3], Evidence("status", fx.ms("19:25:30.000"), "completed", 26)]
    assert intervals(told(waiting, evidence))["Hung up"] == ("Finding out who had answered", None)


def test_a_verdict_after_the_hang_up_bills_the_line_from_its_answer() -> None:
    evidence = [*fx.BILLED_EVIDENCE[:3], fx.BILLED_EVIDENCE[4]]
    late = replace(fx.BILLED_EVIDENCE[3], arrived_at=fx.ms("19:22:39.490"))
    found = intervals(told(fx.BILLED, [*evidence, late]))
    assert found["Answered"] == ("134 s connected", 11_166)
    assert "A person" not in found


def test_with_all_but_the_last_callback_lost_the_sum_still_explains_the_charge() -> None:
    only = fx.BILLED_EVIDENCE[4:]
    assert intervals(told(fx.BILLED, only)) == {}
    assert lines(fx.BILLED, only) == lines(fx.BILLED, fx.BILLED_EVIDENCE)


def test_a_fact_told_twice_changes_nothing() -> None:
    again = replace(fx.BILLED_EVIDENCE[1], arrived_at=fx.ms("19:20:15.000"))
    notes = [entry.note for entry in told(fx.BILLED, [*fx.BILLED_EVIDENCE, again]) if entry.title == "Ringing"]
    assert notes == ["", "told again: it changes nothing"]


def test_asking_the_carrier_is_evidence_of_its_own() -> None:
    asked = Evidence("rest", fx.ms("19:23:00.000"), "completed", 138, "human")
    entries = told(fx.BILLED, [*fx.BILLED_EVIDENCE[:3], asked])
    assert "The carrier, when we asked" in [entry.title for entry in entries]


def test_time_beyond_the_longest_call_is_never_charged() -> None:
    capped: dict[str, Any] = fx.billed(3600) | {"duration_seconds": 3700}
    call = replace(fx.BILLED, **capped)
    assert stretches(call, fx.BILLED_EVIDENCE)[-2:] == [
        ("Connected", 3600, 300_000, ""),
        ("Beyond the longest call", 96, None, "free"),
    ]
    assert ("−", "Beyond the longest call: never charged", "96 s", None) in lines(call, fx.BILLED_EVIDENCE)


@pytest.mark.parametrize(
    ("reason", "seconds", "label"),
    [
        ("free_fax", 20, "Fax"),
        ("free_platform_error", 20, "On the line"),
        ("free_no_verdict", 20, "Before we knew who answered"),
        ("free_detection", 3, "Voicemail detection"),
    ],
)
def test_free_seconds_on_the_line_are_named_after_their_reason(reason: str, seconds: int, label: str) -> None:
    call = replace(fx.BILLED, **fx.free(reason, seconds))
    evidence = [*fx.BILLED_EVIDENCE[:3], Evidence("status", fx.ms("19:20:41.702"), "completed", seconds)]
    assert stretches(call, evidence)[-1] == (label, seconds, None, "free")
    assert lines(call, evidence)[-1] == ("=", "Charged", "", 0)
    assert REASON_WORDS[reason]


_FACTS = [
    *fx.BILLED_EVIDENCE,
    Evidence("verdict", 0, answered_by="machine_start", machine_detection_duration=900),
    Evidence("rest", 0, "completed", 138, "human"),
    Evidence("platform_failed", 0),
    Evidence("status", 0, "busy", 12),
]


@given(
    call=st.sampled_from([fx.BILLED, fx.VOICEMAIL, fx.INBOUND, fx.NO_ANSWER, fx.REFUNDED, fx.LIVE, fx.RINGING]),
    facts=st.lists(st.tuples(st.sampled_from(_FACTS), st.integers(0, 200_000)), max_size=9),
)
def test_whatever_arrives_in_whatever_order_every_fact_is_shown_once(
    call: CallFacts, facts: list[tuple[Evidence, int]]
) -> None:
    evidence = [replace(fact, arrived_at=call.created_at + offset) for fact, offset in facts]
    transfers = fx.transfers_of(call)
    entries = timeline(call, evidence, transfers, fx.CLOCK)
    assert len(entries) == len(evidence) + len(transfers)
    assert [entry.when.iso for entry in entries] == sorted(entry.when.iso for entry in entries)
    billed = [entry for entry in entries if entry.then and entry.then.price is not None]
    assert len(billed) <= 1
    found = parts(call, evidence, fx.NOW)
    assert all(part.seconds >= 0 for part in found)
    assert strip(found) == () or abs(sum(b.width for b in strip(found)) - 100) < 10
    sums = arithmetic(call, evidence, call.refunded_milli_cents)
    if sums:
        assert sums[-1].money == (call.billing_amount_milli_cents or 0) - call.refunded_milli_cents
