"""Whole calls over real sockets: the agent and a scripted far end, from the answer to the bill."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from simulator.model import Step
from tests.servers import until
from tests.voice.stage import TO, Stage, stage
from voice.live.llm import LanguageModel
from voice.live.switchboard import WARM_SECONDS


@pytest.fixture
async def on(sqlite_url: str) -> AsyncIterator[Stage]:
    async with stage(sqlite_url) as made:
        yield made


async def test_a_patient_person_is_talked_to_until_both_have_said_goodbye(on: Stage) -> None:
    on.script(says=["Hello?", "Fine, thanks. And you?", "Great, that's all. Bye."])
    call = await on.call()
    assert (call["status"], call["answered_by"], call["billing_reason"]) == ("completed", "human", "billed")
    transcript = await on.transcript(call)
    assert [segment["role"] for segment in transcript] == [
        *("person", "agent", "agent"),
        *("person", "agent"),
        *("person", "agent"),
    ]
    assert transcript[1]["text"] == "Hello, this is an AI assistant calling on behalf of Example."
    answers = [segment for segment in transcript if segment["latency_ms"] is not None]
    assert [answer["source"] for answer in answers] == ["reply", "reply"]
    assert all(0 <= answer["model_latency_ms"] <= answer["latency_ms"] for answer in answers)
    sounded = " ".join(line["text"] for line in on.far_end().talk if line["who"] == "agent")
    assert sounded == " ".join(segment["text"] for segment in transcript if segment["role"] == "agent")
    await on.clean()


async def test_an_interruption_cuts_what_is_remembered_to_what_was_heard(on: Stage) -> None:
    long = "First of all we will look at your order. Then we will look at your address. Then at everything else."
    on.say(Step(when="picked up", text=long))
    on.script("interrupting", says=["Hello?", "Sorry, what is this about?", "No, that's all. Bye."])
    call = await on.call()
    [cut] = [segment for segment in await on.transcript(call) if segment["cut_text"]]
    assert cut["text"] + " " + cut["cut_text"] == long
    asked = on.model.requests[-2]["messages"]
    told = [message["content"] for message in asked if message["role"] == "assistant"]
    assert f"{cut['text']} [interrupted]" in told
    assert cut["cut_text"] not in str(asked)
    await on.clean()


async def test_a_silent_person_is_asked_twice_and_then_left(on: Stage) -> None:
    on.script("silent")
    call = await on.call()
    sources = [segment["source"] for segment in await on.transcript(call)]
    assert sources == ["greeting", "reply", "reprompt", "reprompt", "goodbye"]
    assert (call["status"], call["billing_reason"]) == ("completed", "billed")
    await on.clean()


async def test_a_voicemail_is_hung_up_on_and_free(on: Stage) -> None:
    on.script("voicemail", talk_seconds=60)
    call = await on.call()
    assert (call["status"], call["answered_by"], call["billing_reason"]) == ("no_answer", "machine", "free_voicemail")
    assert call["duration_seconds"] < 30
    assert call["result_status"] == "skipped"
    timeline = (await on.org.get(f"/v1/calls/{call['id']}/receipt"))["timeline"]
    assert "failure" not in [testimony["kind"] for testimony in timeline]  # that nothing was said is no fault of ours
    await on.clean()


async def test_a_message_is_left_whole_after_the_beep_and_free(on: Stage) -> None:
    on.script("voicemail", talk_seconds=60)
    call = await on.call(voicemail_action="leave_message")
    assert call["billing_reason"] == "free_voicemail"
    [message] = [segment for segment in await on.transcript(call) if segment["source"] == "voicemail"]
    talk = on.far_end().talk
    after_greeting = [line["text"] for line in talk[1:] if line["who"] == "agent"]
    assert " ".join(after_greeting).endswith(message["text"])
    assert message["cut_text"] is None
    assert call["duration_seconds"] < 60  # we hung up
    await on.clean()


async def test_a_screening_robot_is_answered_and_the_person_behind_it_talked_to_for_free(on: Stage) -> None:
    on.script("screener", says=["No, that's all. Bye."])
    call = await on.call()
    transcript = await on.transcript(call)
    assert [segment["source"] for segment in transcript if segment["role"] == "system"] == ["machine", "machine"]
    assert any(segment["source"] == "screener" for segment in transcript)
    assert [segment["text"] for segment in transcript if segment["role"] == "person"] == [
        "Hello, this is Sam speaking.",
        "No, that's all. Bye.",
    ]
    assert (call["billing_reason"], call["billing_amount_milli_cents"]) == ("free_voicemail", 0)
    await on.clean()


@pytest.mark.parametrize("outcome", ["wrong-number", "annoyed"])
async def test_who_wants_no_calls_is_never_called_again(on: Stage, outcome: str) -> None:
    on.script(outcome)
    call = await on.call()
    assert (await on.transcript(call))[-1]["text"].endswith("We won't call this number again. Goodbye.")
    refusal = await on.org.call(TO, expect=400)
    assert refusal["code"] == "number_not_allowed"
    await on.clean()


async def test_an_inbound_caller_is_greeted_first_and_billed(on: Stage) -> None:
    call = await on.ring_in(says=["I would like an appointment.", "No, that's all. Bye."])
    transcript = await on.transcript(call)
    assert [segment["role"] for segment in transcript][:2] == ["agent", "agent"]
    assert transcript[0]["text"] == "Hello, you've reached Example. This is an AI assistant."
    assert (call["status"], call["billing_reason"], call["answered_by"]) == ("completed", "billed", None)
    await on.clean()


async def test_the_agents_end_of_a_call_is_the_end_at_the_carrier(on: Stage) -> None:
    on.script(says=["Hello?", "No, that's all. Bye."])
    await on.call()
    assert on.far_end().ended_by == "twiml"


async def test_the_model_is_made_ready_while_the_telephone_rings(on: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    warmed = asyncio.Event()

    async def warm_up(model: LanguageModel) -> None:
        warmed.set()

    monkeypatch.setattr(LanguageModel, "warm_up", warm_up)
    on.server.app.extensions["switchboard"]._warmed_at = -WARM_SECONDS
    on.script("phone")
    call = await on.org.call(TO)
    await until(warmed.is_set, "the model to be asked")
    assert (await on.org.call_of(call))["answered_at"] is None
