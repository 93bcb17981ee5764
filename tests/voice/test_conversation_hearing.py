"""Interruptions, backchannels, keys and merged prompts."""

from __future__ import annotations

import pytest

from tests.voice.rig import Rig, Say, brief, call, outbound, stall
from voice.conversation.actions import CancelModel, SetLanguage
from voice.conversation.events import DtmfReceived, InterruptReceived, PromptReceived, SpeakerChanged, VerdictReceived


def greeted(*script: Say, **options: object) -> Rig:
    rig = Rig(list(script) or [Say("All right.")], **options)  # type: ignore[arg-type]
    rig.setup().wait(8_000)
    return rig


def test_partial_prompts_begin_no_turn() -> None:
    rig = greeted()
    rig.take(PromptReceived("What time", last=False))
    rig.wait(2_000)
    assert rig.requests == []
    assert [s.role for s in rig.segments()] == ["agent", "agent"]


def test_an_interrupt_cancels_the_model_and_closes_the_answer() -> None:
    rig = greeted(Say("One two three four five six seven eight nine ten.", every=300))
    rig.hear("Count.", wait=1_500)
    rig.interrupt()
    assert rig.sent[-1][1]["token"] == ""
    assert rig.sent[-1][1]["last"] is True
    assert [a for _, a in rig.actions if isinstance(a, CancelModel)]
    spoken = len(rig.sent)
    rig.wait(1_900)
    assert len(rig.sent) == spoken  # late deltas are dropped


def test_an_answer_of_which_nothing_was_heard_leaves_no_message() -> None:
    rig = greeted(Say("It is on Tuesday."), plays=False)
    rig.hear("When is it?", wait=300)
    rig.take(InterruptReceived(""))
    rig.hear("Sorry, where is it?", wait=100)
    assert rig.requests[-1].messages[-1] == {"role": "user", "content": "When is it? Sorry, where is it?"}


def test_successive_prompts_merge_into_one_message_and_cancel_the_unfinished_answer() -> None:
    rig = greeted(stall(), Say("Both are fine."))
    rig.hear("I need a visit", wait=200)
    rig.hear("on Tuesday or Friday.", wait=2_000)
    assert rig.requests[-1].messages[-1]["content"] == "I need a visit on Tuesday or Friday."
    assert rig.spoken(8_000) == "Both are fine.|"


def test_an_unmatched_report_moves_nothing() -> None:
    rig = greeted(Say("It is on Tuesday at noon."), plays=False)
    rig.hear("When?", wait=600)
    rig.frame(type="info", name="tokensPlayed", value="something else entirely")
    rig.frame(type="interrupt", utteranceUntilInterrupt="nothing we said", durationUntilInterruptMs=100)
    assert rig.history()[-1] == ("user", "When?")


def test_without_speaker_events_the_rest_waits_five_seconds() -> None:
    rig = greeted(Say("It is on Tuesday. Please be there at noon."), plays=False)
    rig.hear("When?", wait=2_000)
    rig.take(InterruptReceived("It is on Tuesday"))
    rig.wait(4_900)
    assert rig.spoken().count("noon") == 1
    rig.wait(200)
    assert rig.spoken().endswith("Please be there at noon.|")


def test_an_interruption_with_words_drops_the_rest() -> None:
    rig = greeted(Say("It is on Tuesday. Please be there at noon."), Say("Yes, with parking."))
    rig.hear("When?", wait=1_800)
    rig.interrupt()
    rig.client("off")
    rig.hear("Do you have parking?", wait=8_000)
    assert rig.spoken().count("noon") == 1
    assert rig.spoken(10_000).count("Sorry") == 0  # and there is no apology for it


def test_mm_hm_that_interrupted_us_makes_us_go_on() -> None:
    rig = greeted(Say("It is on Tuesday. Please bring your card and be there at noon."))
    rig.hear("When?", wait=1_800)
    rig.interrupt()
    rig.client("off")
    rig.hear("Uh-huh.", wait=200)
    assert len(rig.requests) == 1
    assert rig.spoken().endswith("|Please bring your card and be there at noon.|")


def test_yeah_over_the_end_of_a_question_is_an_answer() -> None:
    rig = greeted(Say("Shall I book it?"))
    rig.hear("Tuesday.", wait=1_200)
    rig.client("on")
    rig.wait(800)  # our question has ended meanwhile
    rig.client("off")
    rig.hear("Yeah.", wait=500)
    assert len(rig.requests) == 2


@pytest.mark.parametrize("every", [20, 300])  # the model has finished, or is still at it
def test_yeah_to_a_question_in_the_middle_is_an_answer(every: int) -> None:
    answer = Say("Shall I book it? It takes half an hour and costs nothing at all.", every=every)
    rig = greeted(answer, Say("Booked."), plays=False)
    rig.hear("Is Tuesday free?", wait=1_750)
    rig.client("on")
    rig.frame(type="info", name="tokensPlayed", value="Shall I book it?")
    rig.frame(type="interrupt", utteranceUntilInterrupt="Shall I book it?", durationUntilInterruptMs=1_200)
    assert rig.history()[-1] == ("assistant", "Shall I book it? [interrupted]")
    rig.client("off")
    rig.hear("Yeah.", wait=4_000)
    assert rig.requests[-1].messages[-1] == {"role": "user", "content": "Yeah."}
    assert rig.said_at("Booked.")


def test_an_interruption_while_the_model_still_spoke_lets_it_go_on_by_itself() -> None:
    rig = greeted(Say("One two three four five six.", every=500), Say("Where was I."))
    rig.hear("Count.", wait=1_800)
    rig.interrupt()
    rig.client("off")
    rig.wait(2_300)
    assert len(rig.requests) == 2
    assert "cut off" in rig.requests[1].messages[-1]["content"]


def test_a_stuck_speaking_flag_expires() -> None:
    rig = greeted()
    rig.client("on")  # and never off
    rig.wait(15_000 + 8_000 + 100)
    assert rig.said_at("Are you still there?")


def test_keys_collect_until_the_pound_key() -> None:
    rig = greeted()
    for key in "4711#":
        rig.take(DtmfReceived(key))
        rig.wait(300)
    assert rig.requests[0].messages[-1]["content"] == "[pressed keys: 4711#]"
    assert rig.segments()[2].source == "dtmf"


def test_keys_collect_until_two_seconds_without_one() -> None:
    rig = greeted()
    for key in "12":
        rig.take(DtmfReceived(key))
        rig.wait(1_900)
    assert rig.requests == []
    rig.wait(200)
    assert rig.requests[0].messages[-1]["content"] == "[pressed keys: 12]"


def test_a_voice_that_interrupts_after_a_key_hits_everything() -> None:
    rig = greeted(Say("Welcome to billing, please tell me your number."))
    rig.take(DtmfReceived("1"))
    rig.wait(4_000)
    rig.interrupt()
    assert rig.history()[-1][1].endswith("[interrupted]")


def test_are_you_a_robot_gets_yes_whatever_the_persona() -> None:
    rig = greeted(Say("How can I help?"), brief=brief(persona="Dr. Jane Miller, a human dentist"))
    rig.hear("Am I talking to a real person?", wait=3_000)
    assert rig.spoken(8_000).startswith("Yes, I'm an AI assistant working for Acme Dental.|")
    assert rig.said_at("Yes, I'm an AI")[0] == 8_000  # at once, without waiting for the model


def test_three_near_equal_prompts_change_the_approach_and_three_more_end_the_call() -> None:
    rig = greeted(Say("Could you tell me more?"))
    for ending in ("now", "now please", "now"):
        rig.hear(f"I would like to speak to somebody in sales {ending}", wait=5_000)
    assert "nearly the same thing" in rig.requests[-1].messages[-1]["content"]
    for ending in ("now", "now please", "now"):
        rig.hear(f"I would like to speak to somebody in sales {ending}", wait=5_000)
    assert rig.handoff == {"reason": "loop"}


def test_short_answers_are_no_loop() -> None:
    rig = greeted(Say("And the next one?"))
    for _ in range(6):
        rig.hear("Yes.", wait=5_000)
    assert rig.handoff is None
    assert all(m["role"] != "system" for r in rig.requests for m in r.messages[1:])


def test_the_language_follows_the_caller_only_to_a_declared_one() -> None:
    rig = greeted(brief=brief(languages=("es-US",)))
    rig.take(PromptReceived("Bonjour", language="fr-FR"))
    rig.take(PromptReceived("Hola, buenos días", language="es-US"))
    assert [a for _, a in rig.actions if isinstance(a, SetLanguage)] == [SetLanguage("es-US")]


@pytest.mark.parametrize("action", ["hangup", "leave_message"])
@pytest.mark.parametrize("verdict", ["machine_start", "machine_end_beep"])
def test_a_request_not_to_be_called_counts_whatever_the_machine_detection_says(verdict: str, action: str) -> None:
    rig = Rig(brief=outbound(voicemail_action=action)).setup()
    rig.wait(1_000)
    rig.take(VerdictReceived(verdict))
    rig.wait(1_500)
    rig.hear("Stop calling me!", wait=500)
    rig.take(VerdictReceived("machine_end_other"))
    rig.wait(20_000)
    assert [(t, a.number) for t, a in rig.refused_numbers] == [(2_500, "+14155550123")]
    assert rig.handoff == {"reason": "do_not_call"}
    assert rig.spoken(since=2_500).startswith("I'm sorry for the trouble. We won't call this number again. Goodbye.|")
    assert rig.cut_by_end == ""


def test_a_request_not_to_be_called_is_stored_before_the_goodbye() -> None:
    rig = Rig(brief=outbound()).setup()
    rig.hear("Take me off your list and stop calling me!", wait=12_000)
    [(stored_at, refusal)] = rig.refused_numbers
    assert refusal.number == "+14155550123"
    assert stored_at <= rig.said_at("I'm sorry")[0]
    assert rig.handoff == {"reason": "do_not_call"}
    assert rig.requests == []


@pytest.mark.parametrize(
    "words",
    [
        "Opt out.",
        "I'd like to opt out of these calls.",
        "Unsubscribe me, please.",
        "No more calls, please.",
        "I don't want you to call me.",
        "Put me on your do not call list.",
        "Please never ring this number.",
        "Quiero darme de baja.",
    ],
)
def test_an_opt_out_offered_in_the_opening_is_taken_at_once_in_any_clear_words(words: str) -> None:
    offer = "If you want no calls like this one, say so at any time."
    rig = Rig(brief=outbound(first_message=offer)).setup()
    rig.hear("Hello?", wait=2_000)
    offered_at, identified_at = rig.said_at(offer)[0], rig.said_at("calling on behalf of")[0]
    assert offered_at - identified_at < 2_000
    rig.interrupt()
    heard_at = rig.t
    rig.hear(words, wait=100)
    [(stored_at, entry)] = rig.refused_numbers
    assert (entry.number, stored_at) == ("+14155550123", heard_at)
    assert rig.requests == []  # no model is asked
    assert rig.said_at("We won't call this number again.") == [heard_at]


@pytest.mark.parametrize("words", ["Can I opt out of the insurance?", "No more questions.", "I have two more calls."])
def test_other_opting_out_blocks_nothing(words: str) -> None:
    rig = greeted()
    rig.hear(words, wait=1_000)
    assert rig.refused_numbers == []


@pytest.mark.parametrize(
    "words",
    [
        "You guys never call me back!",
        "Why do they never call us?",
        "I don't call here very often.",
        "If you don't call me by Friday I will come in.",
        "Please don't call me in the morning.",
        "Don't call me unless it is ready.",
        "Don't call me this early.",
        "Can you take me off the waiting list?",
        "Please remove us from the guest list.",
        "Take me off this email list.",
    ],
)
def test_who_complains_of_too_few_calls_or_speaks_of_another_list_is_not_hung_up_on(words: str) -> None:
    rig = greeted(Say("I am sorry to hear that."))
    rig.hear(words, wait=3_000)
    assert rig.refused_numbers == []
    assert rig.handoff is None
    assert rig.said_at("sorry")


@pytest.mark.parametrize(
    "words",
    [
        "Don’t call me.",
        "Please don't call me back.",
        "You never call me again, understood?",
        "I told you, do not call us anymore.",
        "Don't call me at this number.",
        "Don't ever call here!",
        "Take me off your damn calling list.",
        "Remove my name from all lists.",
        "Get me off this list.",
    ],
)
def test_who_wants_no_more_calls_is_believed_in_other_words_too(words: str) -> None:
    rig = greeted()
    rig.hear(words, wait=1_000)
    assert [entry.reason for _, entry in rig.refused_numbers] == ["stop_request"]


@pytest.mark.parametrize("caller", ["", "Anonymous", "sip:somebody@example.com", "266696687"])
def test_who_withholds_their_number_is_promised_no_call_and_stored_nowhere(caller: str) -> None:
    rig = Rig(brief=brief(from_number=caller)).setup()
    rig.wait(7_000)
    rig.hear("Please stop calling me.", wait=1_000)
    assert rig.refused_numbers == []
    assert rig.said_at("We won't call this number again.")


def test_a_wrong_number_is_never_called_again() -> None:
    rig = Rig(brief=outbound()).setup()
    rig.hear("Hello?", wait=8_000)
    rig.hear("No, you have the wrong number.", wait=10_000)
    assert [r.reason for _, r in rig.refused_numbers] == ["wrong_number"]


def test_asking_whether_it_is_the_wrong_number_or_to_call_later_blocks_nothing() -> None:
    rig = Rig(brief=outbound()).setup()
    rig.hear("Hello?", wait=8_000)
    rig.hear("Is this the wrong number?", wait=3_000)
    rig.hear("You have the wrong number on file for my insurance.", wait=3_000)
    rig.hear("Please don't call me before noon.", wait=3_000)
    assert rig.refused_numbers == []


def test_the_transcript_says_who_spoke_when_and_what_was_cut() -> None:
    rig = greeted(Say("It is on Tuesday. Please be there at noon."))
    rig.take(SpeakerChanged(agent=False, speaking=True))
    rig.wait(900)
    rig.take(SpeakerChanged(agent=False, speaking=False))
    rig.hear("When?", wait=1_800)
    rig.interrupt()
    person, agent = rig.segments()[-2:]
    assert (person.role, person.text, person.source) == ("person", "When?", "speech")
    assert person.ended_at is not None
    assert person.ended_at - person.started_at == 900
    assert agent.role == "agent"
    assert agent.text == "It is on Tuesday."
    assert agent.cut_text == "Please be there at noon."
    assert [s.sequence_no for s in rig.segments()] == [0, 1, 2, 3]


def test_latency_counts_from_the_prompt_and_names_the_models_share() -> None:
    rig = greeted(call("look_up_order", {"order": "7"}), Say("It has shipped.", after=400))
    rig.hear("Where is it?", wait=3_000)
    [latency] = rig.latencies
    assert (latency.total_ms, latency.model_ms) == (200 + 300 + 420, 200 + 420)


def test_speech_that_the_clock_took_for_ended_can_still_be_interrupted() -> None:
    rig = greeted(Say("It is on Tuesday. Please be there at noon."), plays=False)
    rig.hear("When?", wait=6_000)  # nothing is reported: by the clock, it has sounded
    assert rig.conversation.queue == []
    rig.take(InterruptReceived("It is on"))
    assert rig.history()[-1] == ("assistant", "It is on [interrupted]")


def test_a_report_of_later_speech_ends_what_was_sent_before() -> None:
    rig = Rig(plays=False).setup()
    rig.frame(type="info", name="tokensPlayed", value="How can I help")
    first, second = rig.segments()
    assert first.ended_at is not None
    assert second.ended_at is None


def test_what_waits_to_be_said_begins_when_the_speech_before_it_ends() -> None:
    """However long that was expected to take."""
    rig = Rig(plays=False).setup()
    first, second = rig.segments()
    expected = second.started_at
    for utterance in tuple(rig.conversation.queue):
        rig.wait(500)
        rig.frame(type="info", name="tokensPlayed", value=utterance.spoken.unheard)
    first, second = rig.segments()
    assert first.ended_at is not None
    assert second.ended_at == first.ended_at + 500
    assert second.started_at == first.ended_at < expected
