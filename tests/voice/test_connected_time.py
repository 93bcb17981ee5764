"""Connected time: every row of the table, contradictions, bounds."""

import itertools

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from voice.connected_time import AMD_TIMEOUT_SECONDS, Evidence, Fact, add, add_all, connected_time
from voice.vocabulary import CARRIER_STATUSES, CARRIER_VERDICTS, AnsweredBy, BillingReason, CallStatus

HUMAN, MACHINE, FAX, UNKNOWN = AnsweredBy.HUMAN, AnsweredBy.MACHINE, AnsweredBy.FAX, AnsweredBy.UNKNOWN
COMPLETED = CallStatus.COMPLETED
FREE_STATUSES = {
    CallStatus.BUSY: BillingReason.FREE_BUSY,
    CallStatus.NO_ANSWER: BillingReason.FREE_NO_ANSWER,
    CallStatus.FAILED: BillingReason.FREE_FAILED,
    CallStatus.CANCELED: BillingReason.FREE_CANCELED,
}
OUTBOUND = Evidence(amd_asked=True, max_duration_seconds=3_600)
INBOUND = Evidence(amd_asked=False, max_duration_seconds=3_600)


def outcome(base: Evidence, *facts: Fact) -> tuple[int, str] | None:
    return connected_time(add_all(base, facts))


def ended(seconds: int | None = None, status: CallStatus = COMPLETED) -> Fact:
    return Fact(final_status=status, duration_seconds=seconds)


def heard(verdict: AnsweredBy, detection_ms: int | None = 3_200) -> Fact:
    return Fact(verdict=verdict, detection_ms=detection_ms)


OVERDUE = Fact(verdict_overdue=True)
PLATFORM_FAILED = Fact(platform_failed=True)


# -- the rows of the table ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", [OUTBOUND, INBOUND], ids=["outbound", "inbound"])
@pytest.mark.parametrize("status", FREE_STATUSES)
@pytest.mark.parametrize("verdict", [None, *AnsweredBy])
def test_a_call_that_was_not_completed_is_free_whatever_its_duration(
    base: Evidence, status: CallStatus, verdict: AnsweredBy | None
) -> None:
    facts = [ended(47, status), OVERDUE, PLATFORM_FAILED] + ([heard(verdict)] if verdict else [])
    assert outcome(base, *facts) == (0, FREE_STATUSES[status])
    assert outcome(base, ended(47, status)) == (0, FREE_STATUSES[status])


def test_an_inbound_call_is_connected_for_all_of_its_duration() -> None:
    assert outcome(INBOUND, ended(63)) == (63, "billed")
    assert outcome(INBOUND, ended(1)) == (1, "billed")


@pytest.mark.parametrize("seconds", [0, None])
def test_an_inbound_call_without_duration_is_free(seconds: int | None) -> None:
    assert outcome(INBOUND, ended(seconds)) == (0, "free_zero_duration")


@pytest.mark.parametrize("verdict", [HUMAN, UNKNOWN])
@pytest.mark.parametrize(
    ("duration", "detection_ms", "seconds"),
    [
        (67, 3_200, 63),
        (67, 4_000, 63),
        (67, 4_001, 62),
        (67, 1, 66),
        (67, 0, 67),
        (5, 3_200, 1),
        (31, None, 1),
        (3_600, 3_200, 3_596),
    ],
)
def test_a_person_is_connected_from_the_end_of_detection_rounded_up(
    verdict: AnsweredBy, duration: int, detection_ms: int | None, seconds: int
) -> None:
    assert outcome(OUTBOUND, ended(duration), heard(verdict, detection_ms)) == (seconds, "billed")


@pytest.mark.parametrize("verdict", [HUMAN, UNKNOWN])
@pytest.mark.parametrize(
    ("duration", "detection_ms"), [(4, 3_200), (3, 3_200), (0, 3_200), (30, None), (None, 0), (0, 0)]
)
def test_a_call_that_ended_while_we_were_detecting_is_free(
    verdict: AnsweredBy, duration: int | None, detection_ms: int | None
) -> None:
    assert outcome(OUTBOUND, ended(duration), heard(verdict, detection_ms)) == (0, "free_detection")


def test_a_voicemail_is_free_message_left_or_not() -> None:
    assert outcome(OUTBOUND, ended(95), heard(MACHINE, 4_000)) == (0, "free_voicemail")
    assert outcome(OUTBOUND, ended(3), heard(MACHINE, None)) == (0, "free_voicemail")


def test_a_fax_is_free() -> None:
    assert outcome(OUTBOUND, ended(95), heard(FAX)) == (0, "free_fax")


def test_within_the_grace_nothing_is_decided_without_a_verdict() -> None:
    assert outcome(OUTBOUND, ended(63)) is None
    assert outcome(OUTBOUND, ended(63), PLATFORM_FAILED) is None


@pytest.mark.parametrize("status", [*FREE_STATUSES, COMPLETED])
def test_nothing_is_decided_before_the_call_has_ended(status: CallStatus) -> None:
    assert outcome(OUTBOUND, heard(HUMAN), PLATFORM_FAILED, OVERDUE) is None
    assert outcome(OUTBOUND, heard(MACHINE)) is None
    assert outcome(OUTBOUND, heard(MACHINE), ended(9, status)) is not None


def test_a_verdict_learned_late_without_its_duration_frees_the_longest_detection_we_asked_for() -> None:
    assert AMD_TIMEOUT_SECONDS == 30
    assert outcome(OUTBOUND, ended(63), OVERDUE, heard(HUMAN, None)) == (33, "billed")
    assert outcome(OUTBOUND, ended(63), OVERDUE, heard(MACHINE, None)) == (0, "free_voicemail")


def test_a_call_nobody_can_vouch_for_is_free() -> None:
    assert outcome(OUTBOUND, ended(63), OVERDUE) == (0, "free_no_verdict")


@pytest.mark.parametrize("base", [OUTBOUND, INBOUND], ids=["outbound", "inbound"])
def test_a_call_in_which_our_agent_never_spoke_is_free(base: Evidence) -> None:
    assert outcome(base, ended(63), heard(HUMAN), PLATFORM_FAILED) == (0, "free_platform_error")
    assert outcome(base, ended(63), OVERDUE, PLATFORM_FAILED) == (0, "free_platform_error")


def test_a_voicemail_stays_one_when_our_agent_failed_too() -> None:
    assert outcome(OUTBOUND, ended(63), heard(MACHINE), PLATFORM_FAILED) == (0, "free_voicemail")


# -- contradictions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("free", [MACHINE, FAX])
@pytest.mark.parametrize("weaker", [HUMAN, UNKNOWN])
def test_a_machine_or_fax_beats_a_person(free: AnsweredBy, weaker: AnsweredBy) -> None:
    for facts in itertools.permutations([ended(63), heard(free), heard(weaker)]):
        reached = outcome(OUTBOUND, *facts)
        assert reached is not None
        assert reached[0] == 0


def test_the_longest_detection_counts() -> None:
    assert outcome(OUTBOUND, ended(63), heard(HUMAN, 3_000), heard(HUMAN, 5_001)) == (57, "billed")
    assert outcome(OUTBOUND, ended(63), heard(HUMAN, 5_001), heard(UNKNOWN, 3_000)) == (57, "billed")
    assert outcome(OUTBOUND, ended(63), heard(HUMAN, 3_000), heard(HUMAN, None)) == (33, "billed")


def test_the_smaller_duration_counts() -> None:
    assert outcome(INBOUND, ended(63), ended(60)) == (60, "billed")
    assert outcome(INBOUND, ended(60), ended(63)) == (60, "billed")
    assert outcome(INBOUND, ended(60), ended(None)) == (60, "billed")


@pytest.mark.parametrize("status", FREE_STATUSES)
def test_a_free_final_status_beats_completed(status: CallStatus) -> None:
    assert outcome(INBOUND, ended(63), ended(None, status)) == (0, FREE_STATUSES[status])
    assert outcome(INBOUND, ended(None, status), ended(63)) == (0, FREE_STATUSES[status])


def test_of_two_free_final_statuses_the_first_stays() -> None:
    evidence = add_all(INBOUND, [ended(None, CallStatus.BUSY), ended(None, CallStatus.FAILED)])
    assert evidence.final_status is CallStatus.BUSY


@pytest.mark.parametrize("maximum", [60, 600, 3_600])
def test_time_beyond_the_maximum_is_not_charged(maximum: int) -> None:
    base = Evidence(amd_asked=False, max_duration_seconds=maximum)
    assert outcome(base, ended(maximum + 1)) == (maximum, "billed")
    assert outcome(base, ended(maximum)) == (maximum, "billed")
    asked = Evidence(amd_asked=True, max_duration_seconds=maximum)
    assert outcome(asked, ended(maximum + 100), heard(HUMAN, 4_000)) == (maximum, "billed")


# -- laws -----------------------------------------------------------------------------------------------------------

MAYBE_SECONDS = st.none() | st.integers(0, 20_000)
FACTS = st.builds(
    Fact,
    final_status=st.sampled_from([None, COMPLETED, *FREE_STATUSES]),
    duration_seconds=MAYBE_SECONDS,
    verdict=st.sampled_from([None, *AnsweredBy]),
    detection_ms=st.none() | st.integers(0, 60_000),
    verdict_overdue=st.booleans(),
    platform_failed=st.booleans(),
)
BASES = st.builds(Evidence, amd_asked=st.booleans(), max_duration_seconds=st.integers(60, 3_600))


def of_one_mind(facts: list[Fact]) -> bool:
    """At most one free final status: the carrier does not end one call in two ways."""
    return len({fact.final_status for fact in facts} - {None, COMPLETED}) <= 1


@given(BASES, st.lists(FACTS, max_size=5), st.randoms(use_true_random=False))
def test_order_and_repetition_of_facts_change_nothing(base: Evidence, facts: list[Fact], random: object) -> None:
    assume(of_one_mind(facts))
    shuffled = facts * 2
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert add_all(base, shuffled) == add_all(base, facts)


@given(BASES, st.lists(FACTS, max_size=5), st.randoms(use_true_random=False))
def test_not_even_a_carrier_that_contradicts_itself_makes_the_charge_depend_on_the_order(
    base: Evidence, facts: list[Fact], random: object
) -> None:
    shuffled = facts * 2
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    first, second = connected_time(add_all(base, facts)), connected_time(add_all(base, shuffled))
    assert (first is None) == (second is None)
    assert first is None or second is None or first[0] == second[0]


@given(BASES, st.lists(FACTS, max_size=4))
def test_connected_time_is_never_negative_and_never_more_than_the_maximum(base: Evidence, facts: list[Fact]) -> None:
    evidence = add_all(base, facts)
    reached = connected_time(evidence)
    if reached is None:
        return
    seconds, reason = reached
    assert 0 <= seconds <= min(base.max_duration_seconds, evidence.duration_seconds or 0)
    assert (seconds > 0) == (reason is BillingReason.BILLED)


@given(BASES, st.lists(FACTS, max_size=4), FACTS)
def test_no_verdict_and_no_failure_ever_makes_a_call_dearer(base: Evidence, facts: list[Fact], fact: Fact) -> None:
    """Once decided, evidence works in the customer's favour only; the one thing awaited is the deciding verdict."""
    before = add_all(base, facts)
    first, second = connected_time(before), connected_time(add(before, fact))
    if first is None or first[1] is BillingReason.FREE_NO_VERDICT or before.duration_seconds is None:
        return
    assert second is not None
    assert second[0] <= first[0]


# -- the carrier's words --------------------------------------------------------------------------------------------


def test_every_documented_word_of_the_carrier_has_one_meaning() -> None:
    assert {word: status.value for word, status in CARRIER_STATUSES.items()} == {
        "queued": "queued",
        "initiated": "initiated",
        "ringing": "ringing",
        "in-progress": "in_progress",
        "completed": "completed",
        "busy": "busy",
        "no-answer": "no_answer",
        "failed": "failed",
        "canceled": "canceled",
    }
    assert {word: verdict.value for word, verdict in CARRIER_VERDICTS.items()} == {
        "human": "human",
        "unknown": "unknown",
        "fax": "fax",
        "machine_start": "machine",
        "machine_end_beep": "machine",
        "machine_end_silence": "machine",
        "machine_end_other": "machine",
    }


def test_statuses_rise_to_a_final_one() -> None:
    order = [CallStatus.QUEUED, CallStatus.INITIATED, CallStatus.RINGING, CallStatus.IN_PROGRESS]
    assert [status.rank for status in order] == sorted({status.rank for status in order})
    finals = set(CallStatus) - set(order)
    assert all(status.is_final and status.rank > max(s.rank for s in order) for status in finals)
    assert not any(status.is_final for status in order)


def test_only_machines_and_faxes_are_free() -> None:
    assert {verdict for verdict in AnsweredBy if verdict.is_free} == {MACHINE, FAX}


def test_every_free_reason_has_its_refund() -> None:
    for reason in BillingReason:
        if reason.startswith("free_") and reason is not BillingReason.FREE_NO_VERDICT:
            assert BillingReason(reason.replace("free_", "refund_"))
