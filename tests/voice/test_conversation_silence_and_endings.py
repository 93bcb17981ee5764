"""Silence, holding, goodbyes, transfers, limits, draining and resuming."""

from __future__ import annotations

import pytest

from tests.voice.rig import START, Answer, Rig, Say, brief, call, outbound, stall
from voice.conversation.events import DrainRequested, ResumeReason, SetupReceived, SocketLost, VerdictReceived


def greeted(*script: Say, **options: object) -> Rig:
    tools = options.pop("tools", {})
    rig = Rig(list(script) or [Say("All right.")], brief(**options), tools=tools)  # type: ignore[arg-type]
    rig.setup().wait(7_000)
    return rig


def test_a_silent_caller_is_asked_twice_and_then_let_go() -> None:
    rig = greeted()
    heard_until = 5_600  # the greeting has sounded
    rig.wait(60_000)
    first, second = rig.said_at("Are you still there?")[0], rig.said_at("can you hear me?")[0]
    goodbye = rig.said_at("I can't hear you")[0]
    assert abs(first - heard_until - 8_000) < 500
    assert 10_000 < second - first < 12_500
    assert 10_000 < goodbye - second < 13_000
    assert rig.handoff == {"reason": "silence"}
    assert ("assistant", "Are you still there?") in rig.history()


@pytest.mark.parametrize("words", ["Thanks, have a nice day. Goodbye!", "Bye.", "Gracias, adiós."])
def test_after_our_own_goodbye_nobody_is_asked_whether_they_are_there(words: str) -> None:
    rig = Rig([Say(words)]).setup()
    rig.wait(8_000)
    rig.hear("That is all.", wait=20_000)
    assert rig.said_at("still there") == []
    assert rig.handoff == {"reason": "end_call"}


def parting(words: str) -> Rig:
    """The agent takes leave, and ends the call when nobody objects."""
    rig = greeted(call("end_call", text=words), Say("It is on Friday."))
    rig.hear("That is all.", wait=3_000)
    assert rig.conversation.ending is not None
    return rig


@pytest.mark.parametrize("words", ["Okay.", "Okay, got it.", "Mm-hm."])
def test_who_only_agrees_to_our_goodbye_is_not_drawn_into_another(words: str) -> None:
    rig = parting("You are all set. Goodbye!")
    rig.hear(words, wait=3_000)
    assert len(rig.requests) == 1
    assert rig.handoff == {"reason": "end_call"}


def test_who_agrees_to_something_that_our_goodbye_asked_is_answered() -> None:
    rig = parting("Shall I tell you the day?")
    rig.hear("Okay.", wait=3_000)
    assert rig.said_at("Friday.")
    assert rig.handoff is None


def test_who_says_only_that_they_are_there_when_we_give_up_is_heard() -> None:
    rig = greeted(Say("Good."))
    rig.wait(32_000)
    assert rig.said_at("I can't hear you")
    rig.hear("Yeah, right.", wait=3_000)
    assert rig.said_at("Good.")


def test_who_answers_our_goodbye_late_is_still_heard() -> None:
    rig = Rig([Say("Goodbye!"), Say("It is on Friday.")]).setup()
    rig.wait(8_000)
    rig.hear("That is all.", wait=9_500)
    rig.hear("One more thing: when is it?", wait=3_000)
    assert rig.handoff is None
    assert rig.said_at("Friday.")


def test_the_first_wait_can_be_set() -> None:
    rig = greeted(silence_ms=20_000)
    rig.wait(18_000)
    assert rig.said_at("still there") == []
    rig.wait(3_000)
    assert rig.said_at("still there")


def test_a_word_starts_the_count_of_silences_anew() -> None:
    rig = greeted()
    for _ in range(4):
        rig.wait(10_000)
        rig.hear("I am here, just looking for it.", wait=4_000)
        rig.conversation.recent_prompts.clear()
    assert rig.handoff is None
    assert rig.said_at("can you hear me?") == []


def test_hold_on_is_answered_by_silence_then_a_check_then_a_goodbye_at_the_cap() -> None:
    rig = greeted(call("wait"), hold_cap_ms=300_000)
    rig.hear("Hold on a second.", wait=59_000)
    assert rig.spoken(7_001) == ""
    rig.wait(2_000)
    assert rig.spoken(7_001) == "I'm still here. Take your time.|"
    rig.wait(230_000)
    assert rig.handoff is None
    rig.wait(30_000)
    assert rig.said_at("I have to go now")
    assert rig.handoff == {"reason": "hold_limit"}


def test_while_holding_music_gets_no_reply_and_a_person_does() -> None:
    rig = greeted(call("wait"), Say("Great, go ahead."))
    rig.hear("Hold on a second.", wait=3_000)
    rig.hear("All of our agents are busy, please hold.", wait=3_000)
    rig.hear("♪ ♪", wait=3_000)
    assert len(rig.requests) == 1
    rig.hear("Okay I have it now.", wait=3_000)
    assert rig.spoken(7_001) == "Great, go ahead.|"


def test_a_goodbye_without_words_of_the_model_uses_the_fixed_ones() -> None:
    rig = greeted(call("end_call"))
    rig.hear("That is all, thank you very much indeed.", wait=8_000)
    assert rig.spoken(7_001) == "Thank you. Goodbye.|"
    assert rig.handoff == {"reason": "end_call"}


def test_the_call_ends_only_after_the_goodbye_has_sounded_and_two_seconds() -> None:
    words = "Thank you so much for calling us today and have a lovely evening."
    rig = greeted(call("end_call", text=words))
    rig.hear("Bye.", wait=30_000)
    assert rig.ended_at is not None
    assert rig.ended_at - 7_000 >= 200 + 400 + len(words) * 60 + 2_000


def test_a_goodbye_that_nobody_reports_as_played_still_ends() -> None:
    rig = Rig([call("end_call", text="Goodbye.")], plays=False).setup()
    rig.client("on")
    rig.client("off")
    rig.wait(20_000)
    rig.hear("Bye.", wait=12_000)
    assert rig.handoff == {"reason": "end_call"}


def test_bye_in_answer_to_a_goodbye_ends_at_once() -> None:
    rig = greeted(call("end_call", text="Goodbye."), Say("Still here?"))
    rig.hear("That is all.", wait=2_000)
    rig.hear("Thanks, bye!", wait=500)
    assert rig.handoff == {"reason": "end_call"}
    assert len(rig.requests) == 1


def test_somebody_who_begins_to_speak_in_the_window_is_heard_out() -> None:
    rig = greeted(call("end_call", text="Goodbye."), Say("Of course."))
    rig.hear("That is all.", wait=2_500)
    rig.client("on")
    rig.wait(4_000)
    rig.client("off")
    rig.hear("Oh, and where do I park the car?", wait=3_000)
    assert rig.handoff is None
    assert rig.said_at("Of")


def test_the_goodbye_to_who_wants_no_calls_is_not_cut_by_the_end_of_an_earlier_one() -> None:
    rig = greeted(call("end_call", text="Goodbye."))
    rig.hear("That is all.", wait=2_500)
    rig.hear("And stop calling me!", wait=15_000)
    assert rig.handoff == {"reason": "do_not_call"}
    assert rig.cut_by_end == ""


def test_a_message_is_not_cut_by_the_end_of_a_goodbye_before_it() -> None:
    brief = outbound(voicemail_action="leave_message", voicemail_message="Please call us back about your visit.")
    rig = Rig([call("end_call", text="Goodbye.")], brief).setup()
    rig.hear("Smith residence.", wait=8_000)
    rig.hear("Talk to the box.", wait=2_500)
    rig.take(VerdictReceived("machine_end_beep"))
    rig.wait(20_000)
    assert rig.handoff == {"reason": "voicemail_left"}
    assert rig.cut_by_end == ""


def test_a_second_goodbye_cannot_be_interrupted() -> None:
    rig = greeted(call("end_call"), call("end_call"))
    rig.hear("That is all.", wait=2_000)
    rig.hear("Oh wait, no, I mean yes.", wait=500)
    assert [f["interruptible"] for _, f in rig.sent if "Goodbye" in f["token"]] == [True, False]


def test_a_transfer_is_announced_and_handed_over_when_it_was_heard() -> None:
    rig = greeted(call("transfer_call", text="I'll connect you with Kim."), transfer_number="+14155550177")
    rig.hear("Let me talk to a human.", wait=700)
    assert rig.handoff is None
    rig.wait(3_000)
    assert rig.handoff == {"reason": "transfer", "number": "+14155550177"}


ANNOUNCED = call("transfer_call", text="I'll connect you with Kim now, please hold the line for a moment.")
DESK = "+14155550177"


@pytest.mark.parametrize("words", ["No, wait!", "Hold on, I have another question.", "Actually, never mind."])
def test_a_caller_who_takes_it_back_while_the_transfer_is_announced_is_not_transferred(words: str) -> None:
    rig = greeted(ANNOUNCED, Say("Of course, what is it?"), transfer_number=DESK)
    rig.hear("Let me talk to a human.", wait=2_000)
    rig.hear(words, wait=20_000)
    assert rig.handoff is None
    assert rig.said_at("course,")
    assert ("user", words) in rig.history()


def test_who_cuts_the_announcement_of_a_transfer_short_is_heard_before_it_is_made() -> None:
    rig = greeted(ANNOUNCED, Say("Of course, what is it?"), transfer_number=DESK)
    rig.hear("Let me talk to a human.", wait=2_000)
    rig.interrupt()
    rig.wait(3_000)
    rig.client("off")
    rig.wait(700)
    assert rig.handoff is None
    rig.hear("No, wait! What does it cost?", wait=8_000)
    assert rig.handoff is None
    assert rig.said_at("course,")


def test_who_speaks_at_the_end_of_the_announcement_of_a_transfer_is_heard_before_it_is_made() -> None:
    rig = greeted(call("transfer_call", text="One moment."), Say("Of course."), transfer_number=DESK)
    rig.hear("Let me talk to a human.", wait=600)
    rig.client("on")
    rig.wait(4_000)
    rig.client("off")
    rig.hear("No, not yet, please.", wait=5_000)
    assert rig.handoff is None


def test_a_noise_over_the_announcement_of_a_transfer_only_puts_it_off() -> None:
    rig = greeted(ANNOUNCED, transfer_number=DESK)
    rig.hear("Let me talk to a human.", wait=2_000)
    rig.interrupt()
    rig.wait(300)
    rig.client("off")
    rig.wait(4_500)
    assert rig.handoff == {"reason": "transfer", "number": DESK}


@pytest.mark.parametrize("words", ["Okay.", "Great, thank you.", "Yes, please do.", "Thanks, bye!"])
def test_who_agrees_to_a_transfer_is_transferred(words: str) -> None:
    rig = greeted(ANNOUNCED, Say("What?"), transfer_number=DESK)
    rig.hear("Let me talk to a human.", wait=2_000)
    rig.interrupt()
    rig.client("off")
    rig.hear(words, wait=5_000)
    assert rig.handoff == {"reason": "transfer", "number": DESK}
    assert len(rig.requests) == 1


def test_a_key_does_not_call_a_transfer_off() -> None:
    rig = greeted(ANNOUNCED, Say("What?"), transfer_number=DESK)
    rig.hear("Let me talk to a human.", wait=2_000)
    rig.frame(type="dtmf", digit="0")
    rig.wait(8_000)
    assert rig.handoff == {"reason": "transfer", "number": DESK}


def test_who_takes_a_transfer_back_may_have_it_later_and_still_answers_a_goodbye() -> None:
    rig = greeted(ANNOUNCED, Say("Sure."), call("end_call", text="Goodbye."), ANNOUNCED, transfer_number=DESK)
    rig.hear("Let me talk to a human.", wait=2_000)
    rig.hear("No, wait!", wait=8_000)
    rig.hear("That was all.", wait=2_500)
    rig.hear("Oh, do connect me after all.", wait=12_000)
    assert rig.handoff == {"reason": "transfer", "number": DESK}


def test_a_transfer_is_not_offered_without_a_number() -> None:
    rig = greeted(call("transfer_call"), Say("I cannot connect you."))
    rig.hear("Let me talk to a human.", wait=3_000)
    names = [tool["function"]["name"] for tool in rig.requests[0].tools]
    assert "transfer_call" not in names
    assert "There is no tool 'transfer_call'. Your tools: look_up_order" in rig.history()[-2][1]


def test_a_transfer_that_nobody_takes_comes_back_and_says_so() -> None:
    rig = greeted(call("transfer_call"), Say("Sure."), transfer_number="+14155550177")
    rig.hear("Let me talk to a human.", wait=8_000)
    since = rig.t
    rig.setup(ResumeReason.TRANSFER_FAILED)
    rig.wait(1_000)
    assert rig.spoken(since).startswith("I'm sorry, nobody could take your call")
    rig.wait(7_000)
    rig.hear("Then tell me the price.", wait=1_000)
    assert len(rig.requests) == 2


def test_before_the_calls_maximum_we_say_goodbye() -> None:
    rig = greeted(deadline_ms=START + 30_000)
    rig.wait(5_000)
    rig.hear("Tell me everything.", wait=18_000)
    assert rig.said_at("our time is up") == [15_000]
    assert rig.handoff == {"reason": "max_duration"}


def test_a_drain_hands_the_call_over_at_an_idle_moment() -> None:
    rig = greeted(Say("It is on Tuesday at nine in the morning."))
    rig.hear("When?", wait=400)
    rig.take(DrainRequested(rig.now + 60_000))
    rig.wait(1_000)
    assert rig.handoff is None
    rig.wait(3_000)
    assert rig.handoff == {"reason": "drain"}
    assert rig.segments()[-1].text == "It is on Tuesday at nine in the morning."


def test_a_drain_of_an_idle_call_is_immediate_and_of_a_busy_one_by_its_deadline() -> None:
    idle = greeted()
    idle.take(DrainRequested(idle.now + 60_000))
    assert idle.handoff == {"reason": "drain"}
    busy = greeted(stall())
    busy.hear("When?", wait=100)
    busy.take(DrainRequested(busy.now + 500))
    busy.wait(600)
    assert busy.handoff == {"reason": "drain"}


@pytest.mark.parametrize(
    ("last", "handoff"),
    [
        (call("transfer_call", text="One two three four five."), {"reason": "transfer", "number": DESK}),
        (call("end_call", text="One two three four five."), {"reason": "end_call"}),
    ],
)
def test_a_drain_that_cannot_wait_for_the_last_words_keeps_how_the_call_was_to_end(
    last: Say, handoff: dict[str, str]
) -> None:
    rig = greeted(last, transfer_number=DESK)
    rig.hear("Let me talk to a human.", wait=1_000)
    rig.take(DrainRequested(rig.now + 200))
    rig.wait(300)
    assert rig.handoff == handoff


def test_a_drain_in_the_middle_of_a_message_leaves_it_to_the_next_process_to_say_it_whole() -> None:
    rig = Rig(brief=outbound(voicemail_action="leave_message", voicemail_message="Please call.")).setup()
    rig.take(VerdictReceived("machine_end_beep"))
    rig.wait(2_000)
    rig.take(DrainRequested(rig.now + 200))
    rig.wait(300)
    assert rig.handoff == {"reason": "drain"}


def test_a_resumed_call_says_the_unheard_rest() -> None:
    rig = greeted(Say("It is on Tuesday. Please bring your insurance card with you."))
    rig.hear("When?", wait=2_000)
    rig.purge()
    rig.take(SocketLost())
    rig.wait(1_000)
    since = rig.t
    rig.setup(ResumeReason.LOST)
    assert rig.spoken(since) == "Please bring your insurance card with you.|"
    assert len(rig.requests) == 1


def test_a_write_that_finishes_without_a_socket_is_remembered() -> None:
    booking = {"day": "Monday", "hour": 9}
    rig = greeted(
        call("book_visit", booking),
        Say("Monday at nine?"),
        call("book_visit", booking),
        Say("It is booked."),
        tools={"book_visit": Answer('{"booked": true}', after=2_000)},
    )
    rig.hear("Monday at nine.", wait=3_000)
    rig.hear("Yes.", wait=1_000)
    rig.take(SocketLost())
    rig.wait(3_000)
    assert rig.segments()[-1].role == "tool"
    assert '"booked": true' in rig.segments()[-1].text
    rig.setup(ResumeReason.LOST)
    rig.wait(2_000)
    assert rig.said_at("booked.")
    assert len(rig.runs) == 1


def test_a_second_setup_frame_is_ignored() -> None:
    rig = greeted()
    before = len(rig.sent)
    rig.take(SetupReceived())
    assert len(rig.sent) == before


def test_nothing_is_said_or_asked_after_the_end() -> None:
    rig = greeted(call("end_call"))
    rig.hear("That is all.", wait=8_000)
    before = len(rig.actions)
    rig.hear("Hello?", wait=60_000)
    assert len(rig.actions) == before
    assert rig.conversation.next_wake_ms is None


def test_the_session_can_end_while_outbound_waits_for_the_first_words() -> None:
    rig = Rig(brief=outbound()).setup()
    rig.wait(500)
    rig.take(SocketLost())
    rig.wait(60_000)
    assert rig.sent == []
