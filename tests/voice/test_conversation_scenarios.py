"""Twelve moments at which telephone agents usually fail, each in virtual time with the relay's frames."""

from __future__ import annotations

import json

from tests.voice.rig import BOOK, LOOKUP, Answer, Rig, Say, brief, call, fail, outbound, stall
from voice.conversation.events import (
    DtmfReceived,
    InterruptReceived,
    ModelFault,
    ResumeReason,
    SocketLost,
    ToolOutcome,
    VerdictReceived,
)

GREETED_MS = 8_000  # the greeting has sounded


def greeted(rig: Rig) -> Rig:
    rig.setup().wait(GREETED_MS)
    return rig


def test_of_twelve_sentences_cut_in_the_second_the_model_remembers_what_was_heard() -> None:
    sentences = [f"This is sentence {letter} of twelve." for letter in "abcdefghijkl"]
    rig = greeted(Rig([Say(" ".join(sentences), every=5)], plays=False))
    rig.hear("Tell me everything.", wait=1_500)
    rig.client("on")
    rig.frame(type="info", name="tokensPlayed", value="This is sentence a of twelve.")
    rig.frame(type="info", name="tokensPlayed", value="This is sentence")
    rig.frame(type="interrupt", utteranceUntilInterrupt="This is sentence", durationUntilInterruptMs=2_400)
    assert rig.history()[-1] == (
        "assistant",
        "This is sentence a of twelve. This is sentence [interrupted]",
    )
    segment = rig.segments()[-1]
    assert segment.text == "This is sentence a of twelve. This is sentence"
    assert segment.cut_text is not None
    assert segment.cut_text.startswith("b of twelve. This is sentence c")


def test_an_answer_to_a_key_survives_the_late_interrupt_of_the_greeting() -> None:
    rig = Rig([Say("You pressed nine, so here is billing.", every=100)], plays=False).setup()
    rig.wait(1_000)
    rig.take(DtmfReceived("9"))
    rig.wait(2_500)  # two seconds for more keys, then the answer begins
    assert rig.said_at("pressed")
    rig.take(InterruptReceived("Hello, you've reached"))
    rig.wait(3_000)
    assert rig.spoken(since=3_000).endswith("so here is billing.|")
    assert ("assistant", "Hello, you've reached [interrupted]") in rig.history()
    assert rig.history()[-1] == ("assistant", "You pressed nine, so here is billing.")
    assert len(rig.requests) == 1


def test_after_an_interruption_without_words_the_unheard_rest_is_said_once() -> None:
    rig = greeted(Rig([Say("Your visit is on Tuesday. Please bring your insurance card.")]))
    rig.hear("When do I come?", wait=2_500)
    rig.interrupt()
    rig.client("off")
    rig.wait(1_900)
    before = len(rig.sent)
    rig.wait(200)
    rest = rig.sent[before][1]["token"]
    assert "insurance card." in rest
    assert "Your visit" not in rest
    rig.wait(700)
    rig.interrupt()  # again without a word: not said a third time
    rig.client("off")
    rig.wait(6_000)
    assert rig.spoken().count("insurance card.") == 2  # sent first, then as the rest


def test_a_write_that_is_interrupted_runs_once_and_its_result_reaches_the_history() -> None:
    booking = {"day": "Tuesday", "hour": 9}
    rig = greeted(
        Rig(
            [
                call("book_visit", booking),
                Say("Tuesday at nine, shall I book it?"),
                call("book_visit", booking, text="Booking it now, please stay with me."),
                Say("Sorry, go on."),
                call("book_visit", booking),
                Say("It is booked."),
            ],
            tools={"book_visit": Answer('{"booked": true}', after=3_000)},
        )
    )
    rig.hear("Tuesday at nine please.", wait=4_000)
    rig.hear("Yes please.", wait=1_500)
    assert len(rig.runs) == 1
    rig.interrupt()
    rig.hear("And how long does it take?", wait=6_000)
    result = next(c for role, c in reversed(rig.history()) if role == "tool")
    assert json.loads(result) == {"ok": True, "result": {"booked": True}, "delivered_to_caller": False}
    rig.hear("So is it booked?", wait=4_000)  # the model calls it again: answered from what is known
    assert len(rig.runs) == 1


def test_mm_hm_is_no_turn_while_we_speak_and_an_answer_in_silence() -> None:
    rig = greeted(Rig([Say("The visit takes half an hour and costs nothing. Do you want it?")]))
    rig.hear("How long is it?", wait=1_500)
    rig.client("on")
    rig.client("off")
    rig.hear("Mm-hm.", wait=6_000)
    assert len(rig.requests) == 1
    rig.client("on")
    rig.client("off")
    rig.hear("Mm-hm.", wait=1_000)
    assert len(rig.requests) == 2
    assert rig.requests[1].messages[-1] == {"role": "user", "content": "Mm-hm."}


def test_two_refusals_for_load_end_in_a_prompt_apology_outside_the_history() -> None:
    rig = greeted(Rig([fail(ModelFault.RATE_LIMITED)]))
    asked = rig.t
    rig.hear("What are your hours?", wait=6_000)
    apology = rig.said_at("Sorry")
    assert len(apology) == 1
    assert apology[0] - asked <= 2_000
    assert len(rig.requests) == 2
    assert rig.history()[-1] == ("user", "What are your hours?")


def test_headers_without_a_chunk_bring_a_filler_and_one_more_request() -> None:
    rig = greeted(Rig([Say("Hi."), stall(), Say("We open at nine.")]))
    rig.hear("Hello.", wait=6_000)
    asked = rig.t
    rig.hear("When do you open?", wait=8_000)
    assert [t - asked for t in rig.said_at("One moment.")] == [1_200]
    assert len(rig.requests) == 3
    assert rig.said_at("nine.")[0] - asked < 3_500
    assert ("assistant", "One moment.") not in rig.history()


def test_a_goodbye_is_reprieved_once() -> None:
    rig = greeted(Rig([call("end_call", text="Goodbye then."), call("end_call", text="Bye for good.")]))
    rig.hear("That is all.", wait=3_000)
    assert rig.handoff is None
    rig.hear("Wait, one more thing.", wait=3_000)
    assert rig.handoff is None
    assert len(rig.requests) == 2
    rig.hear("And another thing.", wait=3_000)
    assert rig.handoff == {"reason": "end_call"}
    assert len(rig.requests) == 2


def test_a_screening_robot_gets_one_answer_and_is_not_hung_up_on() -> None:
    rig = Rig([Say("I'm calling to confirm a visit on Tuesday.")], outbound()).setup()
    rig.client("on")
    rig.wait(3_500)
    rig.take(VerdictReceived("machine_start"))
    rig.client("off")
    rig.hear("Hi, if you record your name and reason for calling, I'll see if this person is available.")
    rig.wait(30_000)
    assert rig.handoff is None
    assert rig.spoken() == (
        "Hello, this is an AI assistant calling on behalf of Acme Dental.|I'm calling to confirm a visit on Tuesday.|"
    )
    assert all(f["interruptible"] is False for _, f in rig.sent if f["token"])


def test_after_the_beep_a_message_that_was_begun_too_early_is_said_whole_once() -> None:
    rig = Rig(brief=outbound(voicemail_action="leave_message", voicemail_message="Please call us.")).setup()
    rig.hear("Please leave a message after the tone.", wait=31_000)  # no verdict: begun in any case
    begun = rig.said_at("Please call us.")
    assert len(begun) == 1
    rig.take(VerdictReceived("machine_end_beep"))
    rig.wait(20_000)
    whole = "Hello, this is an AI assistant calling on behalf of Acme Dental. Please call us.|"
    assert rig.spoken(since=begun[0] + 1) == whole
    assert rig.handoff == {"reason": "voicemail_left"}


def test_a_slow_tool_gets_one_filler_and_no_are_you_still_there() -> None:
    rig = greeted(
        Rig(
            [Say("Sure."), call("look_up_order", {"order": "7"}), Say("It has shipped.")],
            tools={"look_up_order": Answer(after=6_000)},
        )
    )
    rig.hear("Hi.", wait=4_000)
    since = rig.t
    rig.hear("Where is order seven?", wait=8_000)
    assert rig.spoken(since) == "One moment.|It has shipped.|"


def test_a_call_whose_socket_died_goes_on_without_a_second_greeting() -> None:
    rig = greeted(Rig([stall(), Say("We close at six.")]))
    rig.hear("When do you close?", wait=500)
    rig.purge()
    rig.take(SocketLost())
    rig.wait(900)
    since = rig.t
    rig.setup(ResumeReason.LOST)
    rig.wait(4_000)
    assert rig.spoken(since) == "We close at six.|"
    assert rig.spoken().count("reached Acme Dental") == 1


def test_a_write_without_an_answer_is_reported_as_unknown_and_never_repeated() -> None:
    booking = {"day": "Friday", "hour": 10}
    rig = greeted(
        Rig(
            [
                call("book_visit", booking),
                Say("Friday at ten?"),
                call("book_visit", booking),
                Say("I could not find out whether it worked."),
                call("book_visit", booking),
                Say("As I said."),
            ],
            brief=brief(tools=(LOOKUP, BOOK)),
            tools={"book_visit": Answer(outcome=ToolOutcome.UNKNOWN, after=10_000)},
        )
    )
    rig.hear("Friday at ten.", wait=4_000)
    rig.hear("Yes.", wait=18_000)
    rig.hear("Try it again!", wait=4_000)
    assert len(rig.runs) == 1
    codes = [json.loads(c)["error"]["code"] for role, c in rig.history() if role == "tool"]
    assert codes == ["confirmation_required", "outcome_unknown", "outcome_unknown"]
