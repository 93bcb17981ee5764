"""Who picks up a call we placed, and what we say first."""

from __future__ import annotations

import itertools

import pytest

from tests.voice.rig import CHARACTER_MS, LAG_MS, Answer, Rig, Say, brief, call, fail, outbound, stall
from voice.conversation.actions import SendDigits
from voice.conversation.brief import CallBrief
from voice.conversation.events import ModelFault, VerdictReceived
from voice.conversation.phrases import opening, voicemail_message

IDENTITY = "Hello, this is an AI assistant calling on behalf of Acme Dental.|"
MENU = "For sales, press 1. For support, press 2."


def answered(*script: Say, **options: object) -> Rig:
    return Rig(list(script) or [Say("All right.")], outbound(**options)).setup()


def test_outbound_greets_on_the_first_words() -> None:
    rig = answered()
    rig.wait(900)
    rig.hear("Hello?", wait=8_000)
    assert rig.said_at("Hello, this is an AI") == [900]
    assert rig.spoken() == IDENTITY + "Am I speaking with Sam?|"
    assert rig.requests == []  # the opening is the answer to the first hello
    assert rig.history()[0] == ("user", "Hello?")


def test_outbound_greets_a_silent_line_after_two_and_a_half_seconds() -> None:
    rig = answered()
    rig.wait(5_000)
    assert rig.said_at("Hello, this is an AI") == [2_500]


def test_the_opening_waits_for_somebody_who_is_speaking() -> None:
    rig = answered()
    rig.wait(2_000)
    rig.client("on")
    rig.wait(2_000)
    assert rig.sent == []
    rig.client("off")
    rig.hear("Hello?")
    assert rig.said_at("Hello, this is an AI")


def test_the_opening_waits_for_the_words_of_who_has_just_spoken_and_comes_if_it_was_a_noise() -> None:
    rig = answered()
    rig.wait(2_000)
    rig.client("on")
    rig.wait(1_000)
    rig.client("off")
    rig.wait(1_900)
    assert rig.sent == []
    rig.wait(600)
    assert rig.said_at("Hello, this is an AI")


def test_a_long_greeting_of_a_machine_is_not_talked_into() -> None:
    rig = answered(voicemail_action="leave_message", voicemail_message="Please call Acme Dental.")
    rig.wait(500)
    rig.client("on")
    rig.wait(12_000)
    rig.client("off")
    rig.wait(700)
    rig.hear("You have reached Sam. Please leave a message after the tone.")
    rig.take(VerdictReceived("machine_end_beep"))
    rig.wait(20_000)
    assert rig.spoken() == f"{IDENTITY[:-1]} Please call Acme Dental.|"


def test_a_speaking_flag_that_has_stuck_does_not_hold_the_opening_back_for_ever() -> None:
    rig = answered()
    rig.client("on")
    rig.wait(17_000)
    assert rig.said_at("Hello, this is an AI")


def test_noises_without_words_do_not_hold_the_opening_back_for_ever() -> None:
    rig = answered()
    for _ in range(14):
        rig.client("on")
        rig.wait(500)
        rig.client("off")
        rig.wait(500)
    assert rig.sent == []
    for _ in range(6):
        rig.client("on")
        rig.wait(500)
        rig.client("off")
        rig.wait(500)
    assert rig.said_at("Hello, this is an AI")


def test_inbound_is_greeted_at_once() -> None:
    rig = Rig(brief=brief()).setup()
    assert rig.spoken() == ("Hello, you've reached Acme Dental. This is an AI assistant.|How can I help you today?|")


def test_hello_under_our_greeting_is_no_turn() -> None:
    rig = answered()
    rig.wait(4_000)
    rig.client("on")
    rig.client("off")
    rig.hear("Hello?", wait=1_000)
    assert rig.requests == []


def test_without_a_first_message_the_model_goes_on_after_the_identity() -> None:
    rig = answered(Say("I'm calling about your visit on Tuesday."), first_message=None)
    rig.hear("Hello?", wait=1_000)
    assert rig.spoken() == IDENTITY + "I'm calling about your visit on Tuesday.|"
    assert "just picked up" in rig.requests[0].messages[-1]["content"]


@pytest.mark.parametrize(
    ("changes", "notice", "first"),
    [
        ({}, IDENTITY[:-1], "Am I speaking with Sam?"),
        ({"announce_ai": False}, "Hello, I'm calling on behalf of Acme Dental.", "Am I speaking with Sam?"),
        (
            {"first_message": "Hi, I'm the AI assistant of Acme Dental."},
            "",
            "Hi, I'm the AI assistant of Acme Dental.",
        ),
        (
            {"first_message": "Hi, this is Jane of Acme Dental."},
            IDENTITY[:-1],
            "Hi, this is Jane of Acme Dental.",
        ),
        ({"announce_ai": False, "first_message": "Acme Dental here."}, "", "Acme Dental here."),
        (
            {"legal_notice": "This call is recorded."},
            f"This call is recorded. {IDENTITY[:-1]}",
            "Am I speaking with Sam?",
        ),
        (
            {"language": "es-US", "first_message": "¿Hablo con Sam?"},
            "Hola, soy un asistente de inteligencia artificial y llamo de parte de Acme Dental.",
            "¿Hablo con Sam?",
        ),
    ],
)
def test_the_opening_says_that_an_ai_speaks_and_for_whom(changes: dict[str, object], notice: str, first: str) -> None:
    assert opening(outbound(**changes)) == (notice, first)


def test_the_notice_cannot_be_interrupted_and_the_first_message_can() -> None:
    rig = answered()
    rig.wait(3_000)
    assert [f["interruptible"] for _, f in rig.sent] == [False, True]


def test_a_human_verdict_changes_nothing() -> None:
    rig = answered()
    rig.hear("Hello?", wait=500)
    before = len(rig.sent)
    rig.take(VerdictReceived("human"))
    rig.wait(100)
    assert len(rig.sent) == before
    assert rig.handoff is None


def test_a_machine_is_hung_up_on_when_it_turns_out_to_be_no_screener() -> None:
    rig = answered()
    rig.wait(1_000)
    rig.take(VerdictReceived("machine_start"))
    rig.wait(3_900)
    assert rig.handoff is None
    rig.wait(200)
    assert rig.handoff == {"reason": "voicemail"}
    assert rig.spoken() == ""


def test_a_voicemail_is_recognised_by_its_words_under_our_greeting() -> None:
    rig = answered()
    rig.wait(3_500)
    rig.hear("I can't come to the phone, please leave a message after the beep.")
    assert rig.handoff == {"reason": "voicemail"}
    assert rig.segments()[-1].role == "system"  # no caller's words


@pytest.mark.parametrize("action", ["hangup", "leave_message"])
@pytest.mark.parametrize(
    "words", ["He can't come to the phone right now.", "He's out. Would you like to leave a message with me?"]
)
def test_somebody_who_speaks_for_somebody_else_is_no_voicemail(words: str, action: str) -> None:
    rig = answered(Say("When can I reach him?"), voicemail_action=action)
    rig.hear("Smith residence.", wait=9_000)
    rig.hear(words, wait=3_000)
    assert rig.handoff is None
    assert rig.said_at("reach")


def test_a_full_mailbox_ends_the_call_also_when_a_message_was_to_be_left() -> None:
    rig = answered(voicemail_action="leave_message")
    rig.hear("The mailbox is full and cannot accept any messages at this time.")
    assert rig.handoff == {"reason": "mailbox_full"}


def test_a_fax_ends_the_call() -> None:
    rig = answered()
    rig.take(VerdictReceived("fax"))
    assert rig.handoff == {"reason": "fax"}


def test_a_message_is_left_after_the_beep_and_then_the_call_ends() -> None:
    rig = answered(voicemail_action="leave_message", voicemail_message="Please call Acme Dental.")
    rig.hear("You've reached Sam, leave a message after the tone.", wait=4_000)
    assert rig.spoken() == ""  # mute until the greeting of the machine has ended
    rig.take(VerdictReceived("machine_end_beep"))
    message_at = rig.t
    rig.wait(30_000)
    assert rig.spoken() == f"{IDENTITY[:-1]} Please call Acme Dental.|"
    assert rig.sent[0][1]["interruptible"] is False
    assert rig.handoff == {"reason": "voicemail_left"}
    assert rig.ended_at is not None
    assert rig.ended_at - message_at > 5_000  # only when it has sounded
    rig.take(VerdictReceived("machine_end_beep"))
    assert rig.spoken().count("Please call") == 1


@pytest.mark.parametrize("character_ms", [40, 60, 90])
@pytest.mark.parametrize("sentences", [1, 20])
def test_a_message_behind_our_greeting_sounds_to_its_end_however_slow_the_voice(
    character_ms: int, sentences: int
) -> None:
    text = "Please call Acme Dental about your visit. " * sentences
    options = {"voicemail_action": "leave_message", "voicemail_message": text}
    rig = Rig(brief=outbound(**options), character_ms=character_ms).setup()
    rig.wait(3_200)
    assert rig.conversation.floor.agent  # nobody has said a word: our greeting sounds
    rig.take(VerdictReceived("machine_end_beep"))
    rig.wait(100_000)
    assert rig.cut_by_end == ""
    assert rig.handoff == {"reason": "voicemail_left"}


LONG = "I am calling about your visit on Tuesday, which we would like to move to another day of that week."
MESSAGE = "Please call Acme Dental."
LEAVES = {"voicemail_action": "leave_message", "voicemail_message": MESSAGE}


@pytest.mark.parametrize("says", ["greeting", "reply", "reprompt"])
def test_what_we_are_saying_when_the_beep_comes_is_not_recorded_before_the_message(says: str) -> None:
    rig = answered(Say(LONG), **LEAVES, first_message=LONG)
    if says == "greeting":
        rig.wait(8_000)
    elif says == "reply":
        rig.wait(15_000)
        rig.hear("Sam here, talk to the box.", wait=2_000)
    else:
        rig.wait(21_500)
        assert rig.said_at("Are you still there?")
    assert rig.conversation.floor.agent
    beep_at = rig.t
    rig.take(VerdictReceived("machine_end_beep"))
    rig.wait(60_000)
    assert rig.handoff == {"reason": "voicemail_left"}
    assert rig.ended_at is not None
    assert rig.ended_at - beep_at < LAG_MS + CHARACTER_MS * len(f"{IDENTITY} {MESSAGE}") + 500
    assert rig.segments()[-1].text == f"{IDENTITY[:-1]} {MESSAGE}"
    assert rig.segments()[-2].cut_text


@pytest.mark.parametrize("comes", ["verdict", "hello"])
def test_once_a_person_is_known_to_listen_nothing_we_say_gives_way_to_what_follows(comes: str) -> None:
    rig = answered(Say("It is about your visit."), **LEAVES)
    if comes == "verdict":
        rig.take(VerdictReceived("human"))
    rig.hear("Hello?", wait=8_000)
    rig.hear("Sam Smith, good morning.", wait=4_000)
    assert rig.said_at("visit.")
    assert not any(frame["preemptible"] for _, frame in rig.sent)


@pytest.mark.parametrize("verdict", [None, "human"])
@pytest.mark.parametrize("takes_ms", [100, 9_000])
def test_while_a_mailbox_may_listen_what_is_said_before_a_tool_sounds_whole_before_the_answer(
    takes_ms: int, verdict: str | None
) -> None:
    script = [call("look_up_order", {"order": "7"}, text=LONG), Say("It is on Tuesday at nine.")]
    rig = Rig(script, outbound(**LEAVES), tools={"look_up_order": Answer(after=takes_ms)}).setup()
    rig.hear("Smith residence.", wait=9_000)
    rig.hear("What do you want?", wait=600)
    if verdict is not None:
        rig.take(VerdictReceived(verdict))
    rig.wait(20_000)
    answers = [segment for segment in rig.segments() if segment.source == "reply"]
    assert [(answer.text, answer.cut_text) for answer in answers] == [(LONG, None), ("It is on Tuesday at nine.", None)]
    assert len(rig.requests) == 2


def test_a_filler_gives_way_to_the_answer_also_while_a_mailbox_may_listen() -> None:
    script = [Say("I see."), call("look_up_order", {"order": "7"}), Say("It is on Tuesday at nine.")]
    rig = Rig(script, outbound(**LEAVES), tools={"look_up_order": Answer(after=1_700)}).setup()
    rig.hear("Smith residence.", wait=9_000)
    rig.hear("What do you want?", wait=4_000)
    asked_at = rig.t
    rig.hear("When is it?", wait=6_000)
    [filler_at] = rig.said_at("One moment.")
    [answered_at] = [t for t in rig.said_at("It") if t > asked_at]
    assert answered_at - filler_at < LAG_MS + CHARACTER_MS * len("One moment.")


def test_a_noise_over_a_greeting_that_may_give_way_to_a_message_does_not_lose_its_rest() -> None:
    rig = answered(Say("?"), **LEAVES, first_message=LONG)
    rig.wait(9_000)
    rig.interrupt()
    rig.wait(300)
    rig.client("off")
    rig.wait(3_000)
    assert rig.said_at("another day of that week.")[1:]
    assert rig.requests == []


def test_a_live_hello_wins_over_the_message() -> None:
    rig = answered(voicemail_action="leave_message")
    rig.take(VerdictReceived("machine_end_other"))
    rig.wait(1_500)
    rig.hear("Hello? Hello, who is this?", wait=1_000)
    assert rig.handoff is None
    assert rig.said_at("Am I speaking with Sam?")
    rig.wait(6_000)
    rig.hear("Yes, this is Sam.", wait=1_000)
    assert len(rig.requests) == 1


def test_the_model_may_recognise_a_voicemail() -> None:
    rig = answered(call("leave_voicemail"), voicemail_action="leave_message")
    rig.hear("Hello?", wait=8_000)
    rig.hear("Sam here, talk to the box.", wait=32_000)
    assert rig.said_at("Please call us back")


def test_a_default_message_gives_the_number_in_speakable_digits() -> None:
    rig = answered(voicemail_action="leave_message")
    rig.take(VerdictReceived("machine_end_beep"))
    assert "4 1 5, 5 5 5, 0 1 0 0" in rig.spoken()
    assert "AI assistant" in voicemail_message(outbound())
    assert "AI" not in voicemail_message(outbound(announce_ai=False))


def test_a_person_after_a_screening_robot_is_greeted_again() -> None:
    rig = answered(Say("It is about a visit."))
    rig.hear("Please say your name and why you're calling.", wait=9_000)
    rig.take(VerdictReceived("machine_start"))
    rig.hear("Thank you, please stay on the line.", wait=3_000)
    assert rig.said_at("Am I speaking") == []
    rig.hear("Hello?", wait=8_000)
    assert rig.spoken().count("this is an AI assistant") == 2
    assert rig.said_at("Am I speaking with Sam?")
    assert rig.handoff is None


def test_a_machine_verdict_limits_even_a_talk_with_a_person_to_two_minutes() -> None:
    rig = answered(Say("I see. Please go on."))
    rig.hear("Say your name and the reason for your call.", wait=9_000)
    rig.take(VerdictReceived("machine_start"))
    verdict_at = rig.t
    rig.hear("Hello, this is Sam.", wait=6_000)
    subjects = itertools.cycle(["the parking of cars", "my insurance", "a bus from downtown", "prices"])
    while rig.handoff is None:
        rig.hear(f"Tell me about {next(subjects)}.", wait=5_000)
    assert rig.ended_at is not None
    assert rig.said_at("our time is up")
    assert rig.ended_at - verdict_at <= 120_000


def test_somebody_who_only_sounds_like_a_screening_robot_is_not_cut_off_after_two_minutes() -> None:
    rig = answered(Say("I see. Please go on."))
    rig.hear("What are you calling about?", wait=8_000)
    rig.take(VerdictReceived("human"))
    subjects = itertools.cycle(["the parking of cars", "my insurance", "a bus from downtown", "prices"])
    while rig.t < 200_000:
        rig.hear(f"Tell me about {next(subjects)}.", wait=5_000)
    assert rig.handoff is None


def test_who_gets_somebody_to_the_phone_is_waited_for_in_silence() -> None:
    rig = answered(Say("Great."))
    rig.hear("Smith residence.", wait=9_000)
    said = len(rig.sent)
    rig.hear("One moment while I see if he is in.", wait=50_000)
    assert len(rig.sent) == said
    assert rig.handoff is None
    rig.hear("This is Sam.", wait=2_000)
    assert rig.said_at("Great.")


def test_a_question_of_somebody_we_have_talked_with_is_no_screening_robots() -> None:
    rig = answered(Say("May I speak with Sam?"), Say("It is about a visit."))
    rig.hear("Smith residence.", wait=8_000)
    rig.hear("Yes, he lives here.", wait=4_000)
    rig.hear("What are you calling about?", wait=4_000)
    assert rig.said_at("visit.")
    assert rig.spoken().count("this is an AI assistant") == 1


def test_a_machine_verdict_limits_also_who_came_on_before_it() -> None:
    rig = answered(Say("I see. Please go on."))
    rig.hear("Say your name and the reason for your call.", wait=9_000)
    rig.hear("Hello, this is Sam.", wait=6_000)
    rig.take(VerdictReceived("machine_start"))
    verdict_at = rig.t
    rig.wait(120_000)
    assert rig.ended_at is not None
    assert rig.ended_at - verdict_at <= 120_000


def test_a_screening_robot_is_answered_at_most_three_times() -> None:
    rig = answered(Say("It is about a visit."))
    for _ in range(3):
        rig.hear("Please say your name and why you're calling.", wait=12_000)
    assert rig.handoff is None
    assert rig.spoken().count("It is about a visit.") == 3
    rig.hear("Please say your name and why you're calling.", wait=1_000)
    assert rig.handoff == {"reason": "screener"}


def test_a_screener_hears_who_calls_even_when_the_model_fails() -> None:
    rig = answered(fail(ModelFault.REFUSED))
    rig.hear("Please say your name and why you're calling.", wait=12_000)
    assert rig.spoken() == IDENTITY
    assert rig.handoff is None


def test_a_menu_is_heard_to_its_end_and_gets_one_press_and_no_speech() -> None:
    rig = answered(call("press_keys", {"digits": "2"}, text="I will press two."))
    rig.hear("Welcome. For sales, press 1.", wait=1_000)
    rig.hear("For support, press 2.", wait=2_500)
    assert [a.digits for _, a in rig.actions if isinstance(a, SendDigits)] == ["w2"]
    assert rig.spoken() == ""
    assert rig.requests[0].messages[-2]["content"].endswith("For sales, press 1. For support, press 2.")


def test_a_menu_that_repeats_gets_slower_keys_then_the_spoken_option_then_the_end() -> None:
    rig = answered(call("press_keys", {"digits": "21"}), Say("Support."))
    for _ in range(3):
        rig.hear(MENU, wait=4_000)
    assert [a.digits for _, a in rig.actions if isinstance(a, SendDigits)] == ["w21", "ww2w1"]
    assert rig.spoken() == "Support.|"
    rig.hear(MENU, wait=4_000)
    assert rig.handoff == {"reason": "menu"}


def test_a_menu_that_repeats_and_gets_no_keys_is_asked_about_again_then_told_the_option_then_left() -> None:
    rig = answered(Say("No option fits."), Say("None does."), Say("Support."))
    for _ in range(3):
        rig.hear(MENU, wait=4_000)
    assert [a for _, a in rig.actions if isinstance(a, SendDigits)] == []
    assert rig.spoken() == "Support.|"
    rig.hear(MENU, wait=4_000)
    assert rig.handoff == {"reason": "menu"}


def test_keys_for_one_menu_are_not_pressed_in_another() -> None:
    rig = answered(call("press_keys", {"digits": "2"}), Say("No option fits."), call("press_keys", {"digits": "7"}))
    rig.hear(MENU, wait=4_000)
    for _ in range(2):
        rig.hear("You have chosen support. To hear our opening hours, press 7.", wait=4_000)
    assert [a.digits for _, a in rig.actions if isinstance(a, SendDigits)] == ["w2", "w7"]


@pytest.mark.parametrize("answer", [Say("No option fits."), call("wait"), call("press_keys", {"digits": "2"}), stall()])
def test_a_menu_that_falls_silent_is_left_after_ten_minutes(answer: Say) -> None:
    rig = answered(answer)
    rig.hear(MENU, wait=700_000)
    assert rig.handoff == {"reason": "hold_limit"}


def test_a_queue_that_goes_on_offering_keys_is_left_after_ten_minutes_in_all() -> None:
    rig = answered(Say("No option fits."))
    for topic in ("a loan", "your bill", "new orders", "moving house", "our opening hours") * 5:
        rig.hear(f"For {topic}, press 1.", wait=30_000)
    assert rig.handoff == {"reason": "hold_limit"}


def test_hold_music_behind_a_menu_gets_no_reply_and_a_person_is_greeted() -> None:
    rig = answered(call("press_keys", {"digits": "2"}))
    rig.hear(MENU, wait=3_000)
    for _ in range(5):
        rig.hear("Your call is very important to us, please stay on the line.", wait=30_000)
    assert rig.spoken() == ""
    rig.hear("Support, this is Kim.", wait=6_000)
    assert rig.spoken() == IDENTITY + "Am I speaking with Sam?|"


def test_who_picks_up_is_no_question_on_an_inbound_call() -> None:
    rig = Rig([Say("Of course.")], brief()).setup()
    rig.wait(8_000)
    rig.hear("Can I leave a message after the tone?", wait=2_000)
    assert rig.handoff is None
    assert len(rig.requests) == 1


def test_a_brief_names_the_other_side() -> None:
    both: list[CallBrief] = [brief(), outbound()]
    assert [b.other_number for b in both] == ["+14155550100", "+14155550123"]


def test_a_machine_verdict_after_the_screeners_question_does_not_hang_up() -> None:
    rig = answered(Say("It is about a visit."))
    rig.hear("Please say your name and why you're calling.", wait=2_000)
    rig.take(VerdictReceived("machine_start"))
    rig.wait(40_000)
    assert rig.handoff is None


def test_a_machine_verdict_after_a_live_hello_does_not_silence_us() -> None:
    rig = answered(Say("Great, Sam."))
    rig.hear("Hello?", wait=6_000)
    rig.take(VerdictReceived("machine_start"))
    rig.hear("Yes, I am Sam, what is it about?", wait=3_000)
    assert rig.said_at("Great,")
    assert rig.handoff is None


def test_a_machine_that_has_just_stopped_speaking_is_heard_before_it_is_hung_up_on() -> None:
    rig = answered(Say("It is about a visit."))
    rig.client("on")
    rig.wait(3_200)
    rig.take(VerdictReceived("machine_start"))
    rig.wait(3_600)
    rig.client("off")
    rig.wait(900)  # the hang-up falls due before the words arrive
    assert rig.handoff is None
    rig.hear("Hi, if you record your name and reason for calling, I'll see if this person is available.", wait=500)
    assert rig.handoff is None
    assert rig.said_at("calling on behalf of")
