"""Calls that change hands: from a dead socket or a stopping process to the next, to a person, to the end."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.voice.rig import START, Answer, Rig, Say, brief, call, outbound, stall
from voice.conversation import restored_conversation, tool_of
from voice.conversation.brief import Builtin, ToolPolicy
from voice.conversation.events import ResumeReason, SocketLost, VerdictReceived
from voice.conversation.handoff import HangUp, Resume, Transfer, after_session, transfer_seconds

BOOKING = {"day": "Monday", "hour": 9}


def greeted(*script: Say, **options: Any) -> Rig:
    rig = Rig(list(script), **options)
    rig.setup().wait(8_000)
    return rig


def taken_over(rig: Rig, *script: Say) -> Rig:
    """Another process has only what was stored."""
    other = Rig(list(script), brief=rig.brief)
    other.conversation = restored_conversation(rig.brief, rig.segments())
    other.now = rig.now + 1_000
    return other


def test_another_process_knows_what_was_said_and_heard() -> None:
    rig = greeted(call("look_up_order", {"order": "7"}), Say("It has shipped. It comes on Friday, I hope."))
    rig.hear("Where is order seven?", wait=2_100)
    rig.interrupt()
    rig.hear("Great, and when exactly?", wait=100)
    other = taken_over(rig, Say("On Friday."))
    assert other.conversation.memory.messages()[-1] == {"role": "user", "content": "Great, and when exactly?"}
    assert [r for r, _ in other.history()] == [r for r, _ in rig.history()]
    assert ("assistant", "It has shipped. [interrupted]") in other.history()
    other.setup(ResumeReason.DRAIN)
    other.wait(2_000)
    assert other.spoken() == "On Friday.|"
    assert other.segments()[0].sequence_no == rig.segments()[-1].sequence_no + 1


def test_another_process_says_the_unheard_rest() -> None:
    rig = greeted(Say("It has shipped. It comes on Friday, I hope."))
    rig.hear("Where is it?", wait=1_620)
    rig.purge()
    rig.take(SocketLost())
    other = taken_over(rig, Say("?"))
    other.setup(ResumeReason.LOST)
    assert other.spoken() == "It comes on Friday, I hope.|"


@pytest.mark.parametrize(("after", "code"), [(500, None), (5_000, "outcome_unknown")])
def test_a_write_is_not_repeated_by_another_process(after: int, code: str | None) -> None:
    rig = greeted(
        call("book_visit", BOOKING),
        Say("Monday at nine?"),
        call("book_visit", BOOKING),
        Say("Done."),
        tools={"book_visit": Answer(after=after)},
    )
    rig.hear("Monday at nine.", wait=3_000)
    rig.hear("Yes.", wait=2_000)
    other = taken_over(rig, call("book_visit", BOOKING), Say("As I said."))
    other.setup(ResumeReason.LOST)
    other.hear("Is it booked?", wait=3_000)
    assert other.runs == []
    result = json.loads([content for role, content in other.history() if role == "tool"][-1])
    assert result.get("error", {}).get("code") == code


@pytest.mark.parametrize("lost_after", [600, 2_300])
def test_a_question_whose_tool_was_asked_when_the_call_changed_hands_is_answered(lost_after: int) -> None:
    look_up = call("look_up_order", {"order": "7"}, text="Let me look.")
    rig = greeted(look_up, stall(), tools={"look_up_order": Answer(after=1_500)})
    rig.hear("Where is order seven?", wait=lost_after)
    rig.take(SocketLost())
    other = taken_over(rig, Say("It has shipped."))
    other.setup(ResumeReason.LOST)
    other.wait(3_000)
    assert other.said_at("shipped.")
    [told] = [json.loads(content) for role, content in other.history() if role == "tool"]
    assert told["ok"] or told["error"]["retryable"]


def test_the_time_that_a_machines_call_may_last_does_not_begin_again_in_another_process() -> None:
    rig = Rig([Say("I see. Please go on.")], brief=outbound()).setup()
    rig.hear("Say your name and the reason for your call.", wait=9_000)
    rig.take(VerdictReceived("machine_start"))
    rig.hear("Hello, this is Sam.", wait=60_000)
    rig.take(SocketLost())
    other = taken_over(rig, Say("I see. Please go on."))
    other.setup(ResumeReason.LOST)
    other.take(VerdictReceived("machine_start", ago_ms=61_000))
    subjects = iter(("the parking of cars", "my insurance", "a bus from downtown", "prices") * 6)
    began = other.t
    while other.handoff is None:
        other.hear(f"Tell me about {next(subjects)}.", wait=5_000)
    assert [at - began for at in other.said_at("our time is up")] == [49_000]
    assert other.ended_at is not None
    assert other.ended_at - began <= 59_000


def test_a_screening_robot_is_not_hung_up_on_by_another_process() -> None:
    rig = Rig([Say("It is about a visit.")], brief=outbound()).setup()
    rig.hear("Say your name and the reason for your call.", wait=9_000)
    rig.take(SocketLost())
    other = taken_over(rig, Say("It is about a visit."))
    other.setup(ResumeReason.LOST)
    other.take(VerdictReceived("machine_start", ago_ms=6_000))
    other.wait(15_000)
    assert other.handoff is None
    assert other.spoken() == ""
    other.hear("Hello?", wait=8_000)
    assert other.said_at("Am I speaking with Sam?")


def test_a_screening_robot_that_falls_silent_is_left_by_another_process_when_its_time_is_over() -> None:
    rig = Rig([Say("It is about a visit.")], brief=outbound()).setup()
    rig.hear("Say your name and the reason for your call.", wait=60_000)
    rig.take(SocketLost())
    other = taken_over(rig, Say("It is about a visit."))
    other.setup(ResumeReason.LOST)
    other.wait(60_000)
    assert other.handoff == {"reason": "machine_limit"}


def test_a_queue_behind_a_menu_is_waited_in_by_another_process_and_whoever_answers_is_greeted() -> None:
    rig = Rig([call("press_keys", {"digits": "2"})], brief=outbound()).setup()
    rig.hear("For sales, press 1. For support, press 2.", wait=4_000)
    rig.hear("Your call is very important to us, please stay on the line.", wait=30_000)
    rig.take(SocketLost())
    other = taken_over(rig, Say("All right."))
    other.setup(ResumeReason.DRAIN)
    for _ in range(3):
        other.wait(30_000)
        other.hear("Your call is very important to us, please stay on the line.")
    assert other.spoken() == ""
    assert other.handoff is None
    other.hear("Support, this is Kim.", wait=6_000)
    assert other.said_at("Am I speaking with Sam?")


def test_a_message_that_another_process_had_begun_is_said_again_from_its_beginning() -> None:
    message = "Please call Acme Dental about your visit. We are there until six."
    rig = Rig(brief=outbound(voicemail_action="leave_message", voicemail_message=message)).setup()
    rig.hear("You've reached Sam, leave a message after the tone.", wait=4_000)
    rig.take(VerdictReceived("machine_end_beep"))
    rig.wait(6_000)
    rig.take(SocketLost())
    other = taken_over(rig)
    other.setup(ResumeReason.LOST)
    other.take(VerdictReceived("machine_end_beep", ago_ms=7_000))
    other.wait(30_000)
    assert other.handoff == {"reason": "voicemail_left"}
    assert (other.cut_by_end, other.said_at("We are there")) == ("", other.said_at("Please call Acme Dental"))
    assert other.segments()[-1].text.endswith(message)
    assert {segment.source for segment in other.segments()} == {"voicemail"}


def test_fillers_and_apologies_are_not_remembered_by_another_process() -> None:
    rig = greeted(Say("Hi."), Say("Here you are.", after=2_000))
    rig.hear("Hi.", wait=3_000)
    rig.hear("Find it.", wait=5_000)
    assert rig.said_at("One moment.")
    assert ("assistant", "One moment.") not in taken_over(rig, Say("?")).history()


def test_a_call_that_was_never_greeted_is_greeted_when_it_comes_back() -> None:
    rig = Rig(brief=outbound()).setup()
    rig.wait(500)
    rig.take(SocketLost())
    rig.wait(1_000)
    rig.setup(ResumeReason.LOST)
    assert rig.said_at("Hello, this is an AI assistant") == [1_500]


def test_who_spoke_when_the_socket_was_lost_is_not_taken_to_speak_for_ever() -> None:
    rig = Rig().setup()
    rig.wait(8_000)
    rig.client("on")
    rig.take(SocketLost())
    rig.wait(1_000)
    rig.setup(ResumeReason.LOST)
    rig.wait(12_000)
    assert rig.said_at("Are you still there?")


def test_a_hold_goes_on_after_a_lost_socket() -> None:
    rig = greeted(call("wait"))
    rig.hear("Hold on.", wait=2_000)
    rig.take(SocketLost())
    rig.wait(1_000)
    rig.setup(ResumeReason.LOST)
    rig.wait(50_000)
    assert rig.said_at("still there") == []


def test_a_goodbye_that_the_socket_did_not_survive_still_ends_the_call() -> None:
    rig = greeted(call("end_call", text="Goodbye and thank you very much."))
    rig.hear("That is all.", wait=800)
    rig.take(SocketLost())
    rig.wait(1_000)
    rig.setup(ResumeReason.LOST)
    assert rig.handoff == {"reason": "end_call"}


def test_a_turn_that_was_cut_by_the_lost_socket_is_taken_up_again() -> None:
    rig = greeted(Say("One two three four five six.", every=500), Say("Seven."))
    rig.hear("Count.", wait=2_000)
    rig.purge()
    rig.take(SocketLost())
    rig.wait(1_000)
    rig.setup(ResumeReason.LOST)
    assert "Go on from where you were cut off" in rig.requests[-1].messages[-1]["content"]


def test_a_verdict_that_came_before_the_socket_counts() -> None:
    rig = Rig(brief=outbound())
    rig.take(VerdictReceived("machine_end_beep"))
    rig.setup().wait(5_000)
    assert rig.handoff == {"reason": "voicemail"}


def test_a_screener_that_speaks_under_our_greeting_is_answered() -> None:
    rig = Rig([Say("It is about a visit.")], outbound()).setup()
    rig.wait(4_000)
    rig.hear("Please say your name and why you're calling.", wait=2_000)
    assert rig.said_at("visit.")


def test_two_requests_not_to_be_called_are_stored_once() -> None:
    rig = Rig(brief=outbound()).setup()
    rig.hear("Stop calling me.", wait=1_000)
    rig.hear("I said stop calling me!", wait=1_000)
    assert len(rig.refused_numbers) == 1
    assert len(rig.said_at("I'm sorry for the trouble.")) == 1


def test_okay_while_we_think_cancels_nothing() -> None:
    rig = greeted(
        call("look_up_order", {"order": "7"}, text="Let me check."),
        Say("Shipped."),
        tools={"look_up_order": Answer(after=4_000)},
    )
    rig.hear("Where is it?", wait=2_500)
    rig.client("on")
    rig.client("off")
    rig.hear("Okay.", wait=4_000)
    assert len(rig.runs) == 1
    assert rig.said_at("Shipped.")


def test_music_is_no_turn() -> None:
    rig = greeted(Say("?"))
    rig.hear("♪ ♪ ♪", wait=1_000)
    assert rig.requests == []


def test_a_stalled_turn_does_not_survive_the_socket() -> None:
    rig = greeted(stall())
    rig.hear("When?", wait=200)
    rig.take(SocketLost())
    rig.wait(60_000)
    assert len(rig.requests) == 1
    assert rig.handoff is None


# after the session


@pytest.mark.parametrize(
    ("status", "handoff", "then"),
    [
        ("completed", "", HangUp("completed")),
        ("ended", '{"reason": "end_call"}', HangUp("end_call")),
        ("ended", '{"reason": "transfer", "number": "+14155550177"}', Transfer("+14155550177")),
        ("ended", '{"reason": "transfer"}', HangUp("transfer")),
        ("ended", '{"reason": "drain"}', Resume(ResumeReason.DRAIN)),
        ("ended", "no json", HangUp("ended")),
        ("ended", "[]", HangUp("ended")),
        ("ended", "", HangUp("ended")),
        ("failed", "", Resume(ResumeReason.LOST)),
        ("failed", '{"reason": "transfer", "number": "+14155550177"}', Resume(ResumeReason.LOST)),
    ],
)
def test_what_follows_a_session(status: str, handoff: str, then: object) -> None:
    assert after_session(status, handoff, {}) == then


LOST, DRAIN = ResumeReason.LOST, ResumeReason.DRAIN


@pytest.mark.parametrize(
    ("before", "lost", "handed_over"),
    [
        ({LOST: 2}, Resume(LOST), Resume(DRAIN)),
        ({LOST: 3}, HangUp("too_many_resumes"), Resume(DRAIN)),
        ({DRAIN: 19, LOST: 2}, Resume(LOST), Resume(DRAIN)),
        ({DRAIN: 20}, Resume(LOST), HangUp("too_many_resumes")),
        ({ResumeReason.TRANSFER_FAILED: 30}, Resume(LOST), Resume(DRAIN)),
    ],
)
def test_planned_handovers_and_lost_sockets_end_a_call_each_by_their_own_count(
    before: dict[ResumeReason, int], lost: object, handed_over: object
) -> None:
    assert after_session("failed", "", before) == lost
    assert after_session("ended", '{"reason": "drain"}', before) == handed_over


# tools as customers write them


@pytest.mark.parametrize(
    ("lasted_ms", "left"),
    [(0, 600), (1, 599), (90_000, 510), (570_000, 30), (570_001, None), (999_000, None), (-5, 600)],
)
def test_a_transfer_may_last_what_is_left_of_the_calls_maximum(lasted_ms: int, left: int | None) -> None:
    assert transfer_seconds(600, START, START + lasted_ms) == left
    assert transfer_seconds(600, None, START) == 600


def test_a_customers_tool_loses_its_address_and_headers() -> None:
    config = {
        "type": "http",
        "name": "book",
        "description": "Book it.",
        "policy": "confirm_first_write",
        "url": "https://example.com/book",
        "headers": {"Authorization": "secret"},
        "parameters": {"type": "object", "properties": {"day": {"type": "string"}}},
        "timeout_ms": 4_000,
    }
    tool = tool_of(config)
    assert (tool.name, tool.policy, tool.timeout_ms) == ("book", ToolPolicy.CONFIRM_FIRST_WRITE, 4_000)
    assert "secret" not in repr(tool)
    assert "example.com" not in repr(tool)


@pytest.mark.parametrize(
    ("config", "builtin"),
    [
        ({"type": "builtin", "name": "end_call"}, Builtin.END_CALL),
        ({"type": "builtin", "name": "hang_up", "builtin": "end_call"}, Builtin.END_CALL),
        ({"type": "builtin", "name": "send_dtmf"}, Builtin.PRESS_KEYS),
        ({"type": "builtin", "name": "leave_voicemail", "policy": None}, Builtin.LEAVE_VOICEMAIL),
    ],
)
def test_builtins_have_the_names_customers_use(config: dict[str, Any], builtin: Builtin) -> None:
    assert tool_of(config).builtin is builtin


def test_a_builtin_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(ValueError, match="There is no built-in 'fly'"):
        tool_of({"type": "builtin", "name": "fly"})


def test_a_resumed_call_keeps_its_maximum() -> None:
    rig = greeted(Say("Yes."), brief=brief(deadline_ms=START + 40_000))
    rig.take(SocketLost())
    rig.wait(5_000)
    rig.setup(ResumeReason.LOST)
    rig.wait(13_000)
    assert rig.said_at("our time is up") == [25_000]
