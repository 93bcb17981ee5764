"""Making text speakable while it streams, following how much of it was heard, and judging the other side's words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice.conversation.heard import SpokenText, letters_of
from voice.conversation.listening import (
    Speaker,
    asks_if_robot,
    is_backchannel,
    is_farewell,
    is_hold_noise,
    is_wrong_number,
    near_equal,
    says_yes,
    wants_no_calls,
    who_speaks,
)
from voice.conversation.speech import HOLD_LIMIT_CHARACTERS, SpeechStream, speakable, strip_markup


def stream(*deltas: str, language: str = "en-US") -> list[str]:
    speech = SpeechStream(language)
    return [*(speech.feed(delta) for delta in deltas), speech.finish()]


# streaming


def test_words_are_sent_when_they_end_and_never_in_halves() -> None:
    assert stream("Good mor", "ning to", " you all") == ["Good", " morning", " to you", " all"]


def test_a_first_word_with_a_comma_is_sent_at_once() -> None:
    assert stream("Sure,", " I", " can.") == ["Sure,", "", " I", " can."]


def test_at_most_one_piece_comes_from_one_delta() -> None:
    assert stream("One two three four five ") == ["One two three four five", ""]


@pytest.mark.parametrize(
    ("deltas", "said"),
    [
        (["This is **very", " bold**", " text."], "This is very bold text."),
        (["See [our ", "page](https://exam", "ple.com/a) now."], "See our page now."),
        (["Go to https://example.com/x?y=1", " now."], "Go to now."),
        (["Hi 😀", " there 👍🏽", "!"], "Hi there!"),
        (["Wait <break ", "time='1s'/> here."], "Wait here."),
        (["Fine. [END", "]"], "Fine."),
        (["You have:\n- one", " apple\n", "- two pears\n"], "You have: one apple. two pears."),
        (["# Title\n", "Some `code` and _stress_."], "Title. Some code and stress."),
        (["It's 5 < 6", " and a_b."], "It's 5 < 6 and a_b."),
        (["Pay $", "1,2", "50.50", " now."], "Pay 1250 dollars and 50 cents now."),
        (["It costs $5", " million", " a year."], "It costs 5 million dollars a year."),
        (["Come at 14", ":30", ". Bye."], "Come at 2:30 PM. Bye."),
        (["On 2025", "-01-", "05", " at noon."], "On January 5, 2025 at noon."),
        (["Call +1", " 415", " 555", " 0123", " today."], "Call 4 1 5, 5 5 5, 0 1 2 3 today."),
        (["On Jan", ". 5", " we open."], "On January 5 we open."),
        (["In Jan", " we", " open."], "In Jan we open."),
        (["Cakes", " &", " pies."], "Cakes and pies."),
        (["It's $45", "/month", " or $3", "k."], "It's 45 dollars per month or 3 thousand dollars."),
        (["It is $5", "-", "$10", " or $20", "–", "30."], "It is 5 to 10 dollars or 20 to 30 dollars."),
    ],
)
def test_what_a_voice_cannot_read_is_gone_or_put_in_words(deltas: list[str], said: str) -> None:
    assert "".join(stream(*deltas)).split() == said.split()


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=12), max_size=30))
def test_any_stream_of_deltas_ends_and_leaves_no_markup(deltas: list[str]) -> None:
    said = "".join(stream(*deltas))
    assert "```" not in said
    assert "\x00" not in said


@given(st.text("ab1 .,", max_size=60), st.integers(1, 7))
def test_plain_text_is_the_same_however_it_is_cut(text: str, size: int) -> None:
    pieces = stream(*[text[i : i + size] for i in range(0, len(text), size)])
    assert letters_of("".join(pieces)) == letters_of("".join(stream(text)))


def test_an_opener_that_is_never_closed_holds_the_text_back_only_so_long() -> None:
    pieces = stream("I say [", *["word "] * (HOLD_LIMIT_CHARACTERS // 4), "end")
    assert any(len(piece) > HOLD_LIMIT_CHARACTERS for piece in pieces[:-1])


# words for signs


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("$1", "1 dollar"),
        ("$3.00", "3 dollars"),
        ("$0.50", "50 cents"),
        ("$0.01", "1 cent"),
        ("€20 or £1.05", "20 euros or 1 pound and 5 pence"),
        ("$1.5 million", "1.5 million dollars"),
        ("$5, please", "5 dollars, please"),
        ("$3k", "3 thousand dollars"),
        ("$1.5M", "1.5 million dollars"),
        ("$2B", "2 billion dollars"),
        ("$45/month", "45 dollars per month"),
        ("$5-$10", "5 to 10 dollars"),
        ("$5–10 thousand", "5 to 10 thousand dollars"),
        ("$1-2.50", "1 to 2 dollars and 50 cents"),
        ("2025-12-24T18:05:00Z", "December 24, 2025 at 6:05 PM"),
        ("12/24/2025", "December 24, 2025"),
        ("2025-13-45", "2025-13-45"),
        ("at 9:00 a.m. sharp", "at 9 AM sharp"),
        ("We open at 9:00 a.m. Come!", "We open at 9 AM. Come!"),
        ("at 9:05", "at 9:05"),
        ("at 00:15", "at 12:15 AM"),
        ("(415) 555-0123", "4 1 5, 5 5 5, 0 1 2 3"),
        ("+442079460000", "4 4 2, 0 7 9, 4 6 0, 0 0 0"),
        ("order 1234567", "order 1 2 3, 4 5 6, 7"),
        ("room 1234", "room 1234"),
        ("50% off & more", "50 percent off and more"),
        ("sam.b@example.com", "sam dot b at example dot com"),
    ],
)
def test_english_words(written: str, spoken: str) -> None:
    assert speakable(written, "en-US") == spoken


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("$1,250.50", "1250 dólares con 50 centavos"),
        ("5/1/2025", "5 de enero de 2025"),
        ("2025-01-05T14:30:00Z", "5 de enero de 2025 a las 14:30"),
        ("50%", "50 por ciento"),
        ("$3k", "3 mil dólares"),
        ("$2M", "2 millones de dólares"),
        ("$45/mes", "45 dólares al mes"),
        ("$5-$10", "5 a 10 dólares"),
    ],
)
def test_spanish_words(written: str, spoken: str) -> None:
    assert speakable(written, "es-US") == spoken


@given(st.text(max_size=80))
def test_speakable_text_stays_as_it_is_when_prepared_again(text: str) -> None:
    once = speakable(strip_markup(text), "en")
    assert letters_of(speakable(strip_markup(once), "en")) == letters_of(once)


# heard


def spoken(*tokens: str) -> SpokenText:
    text = SpokenText()
    for token in tokens:
        text.add(token)
    return text


def test_reports_with_trimmed_edges_and_other_spelling_move_the_cursor() -> None:
    text = spoken("Well, it's ", "TUESDAY — ", "at 9 AM. ", "Bye!")
    assert text.played("well its tuesday")
    assert text.heard == "Well, it's TUESDAY"
    assert text.played("at 9 am")
    assert text.unheard == "Bye!"
    assert text.played("bye")
    assert text.is_finished


def test_a_repeated_clause_is_matched_forward() -> None:
    text = spoken("Yes. Yes. Yes. No.")
    assert text.played("Yes.")
    assert text.played("Yes.")
    assert text.heard == "Yes. Yes."


def test_a_fragment_that_was_already_reported_adds_nothing() -> None:
    text = spoken("Hello there. Hello there. Bye.")
    text.played("Hello there.")
    text.interrupted("Hello there.")
    assert text.heard == "Hello there."
    text.interrupted("Hello")  # a new clause: matched forward
    assert text.heard == "Hello there. Hello"


def test_a_match_begins_with_a_word() -> None:
    text = spoken("This is it.")
    assert not text.played("his")
    assert text.heard == ""


def test_ligatures_and_accents_count_as_what_they_stand_for() -> None:
    text = spoken("Caf\u00e9 first, Stra\u00dfe later.")
    assert text.played("CAFE\u0301 FIRST")
    assert text.played("STRASSE")


# the other side's words


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("Hello?", Speaker.LIVE),
        ("Hi, this is Sam.", Speaker.LIVE),
        ("Who is this?", Speaker.LIVE),
        ("I was just about to leave.", Speaker.UNCLEAR),
        ("Would you like to leave a message for him?", Speaker.UNCLEAR),
        ("He can't come to the phone right now, he's in the shower.", Speaker.UNCLEAR),
        ("She's not able to come to the phone.", Speaker.UNCLEAR),
        ("Do you want to leave a message with me?", Speaker.UNCLEAR),
        ("You can leave a message with me if you want.", Speaker.UNCLEAR),
        ("If you would like to leave a message I'll write it down.", Speaker.UNCLEAR),
        ("Sorry, he is out. Can I take a message?", Speaker.LIVE),
        ("Okay, I will press one.", Speaker.UNCLEAR),
        ("Should I press 1 now?", Speaker.UNCLEAR),
        ("Sam here. We can't come to the phone, leave us a message.", Speaker.VOICEMAIL),
        ("You can leave a message after the tone.", Speaker.VOICEMAIL),
        ("Leave me a message and I'll call you back.", Speaker.VOICEMAIL),
        ("If you'd like to leave a message, press 1.", Speaker.MENU),
        ("Hi, you've reached Sam. I can't come to the phone right now.", Speaker.VOICEMAIL),
        ("Please leave your message after the tone.", Speaker.VOICEMAIL),
        ("The person you are trying to reach is not available.", Speaker.VOICEMAIL),
        ("Your call has been forwarded to an automated voice messaging system.", Speaker.VOICEMAIL),
        ("Deje su mensaje después de la señal.", Speaker.VOICEMAIL),
        ("This mailbox is full.", Speaker.MAILBOX_FULL),
        (
            "Hi, if you record your name and reason for calling, I'll see if this person is available.",
            Speaker.SCREENER,
        ),
        ("Say your name and what you're calling about.", Speaker.SCREENER),
        ("The person you're calling is using a screening service from Google.", Speaker.SCREENER),
        ("Thanks. Please stay on the line.", Speaker.SCREENER_WAIT),
        ("For English, press 1.", Speaker.MENU),
        ("Para español, oprima el dos.", Speaker.MENU),
        ("Our menu options have changed.", Speaker.MENU),
    ],
)
def test_who_speaks(words: str, kind: Speaker) -> None:
    assert who_speaks(words) is kind


@pytest.mark.parametrize(
    "words",
    [
        "Stop calling me.",
        "please don't call me again",
        "Take me off your list",
        "never call this number",
        "Put me on your do not call list",
        "Remove my number, please",
        "Deje de llamarme",
        "Don't call again.",
        "Never call back again!",
        "Stop these sales calls",
        "Please cease calling",
        "Lose my number.",
        "Leave us alone",
        "I want off your list.",
        "I'm on the do not call registry.",
        "No me llame más.",
        "No quiero más llamadas",
    ],
)
def test_clear_words_against_calls(words: str) -> None:
    assert wants_no_calls(words)


@pytest.mark.parametrize(
    "words",
    [
        "Don't call me before nine.",
        "Can you call me tomorrow?",
        "I could not stop laughing.",
        "Why do you call me?",
        "Don't call me today, I'm busy",
        "Don't call again before Monday.",
        "Will you stop by? I can take your calls.",
        "I want off on Friday.",
        "Por favor, llame más tarde.",
    ],
)
def test_words_that_are_not_against_calls(words: str) -> None:
    assert not wants_no_calls(words)


def test_small_judgements() -> None:
    assert is_backchannel("Mm-hm.")
    assert is_backchannel("Okay, I see.")
    assert not is_backchannel("No.")
    assert not is_backchannel("Hello?")
    assert is_backchannel("Hello?", hellos_too=True)
    assert asks_if_robot("Wait, are you a robot?")
    assert asks_if_robot("Am I talking to a machine?")
    assert not asks_if_robot("I bought a robot.")
    assert is_wrong_number("No, you've got the wrong number.")
    assert is_wrong_number("Sorry, you dialed the wrong number.")
    assert is_wrong_number("Se ha equivocado de número.")
    assert not is_wrong_number("Is this the wrong number?")
    assert not is_wrong_number("If you have the wrong number, please hang up.")
    assert is_farewell("Thanks, bye!")
    assert not is_farewell("Okay.")
    assert not is_farewell("Thanks, and what about Friday?")
    assert is_hold_noise("Your call is important to us.")
    assert not is_hold_noise("I'm back.")
    assert near_equal("I would like a visit on Tuesday", "I would like a visit on Tuesdays.")
    assert not near_equal("I would like a visit on Tuesday", "What does it cost?")


@pytest.mark.parametrize(
    ("words", "table", "is_yes"),
    [
        ("Yes.", "", True),
        ("Yeah, go ahead please.", "", True),
        ("That's right, book it.", "", True),
        ("Sí, correcto.", "", True),
        ("Yes, Tuesday.", "tuesday", True),
        ("Yes, Friday.", "tuesday", False),
        ("Yes, cancel it.", "cancel", True),
        ("Yes sir, thank you very much.", "", True),
        ("Yes, you can.", "", True),
        ("Yeah, that'd be great.", "", True),
        ("Yes please, thanks a lot!", "", True),
        ("Yes, book me in.", "", True),
        ("Of course.", "", True),
        ("Please do.", "", True),
        ("That works for me.", "", True),
        ("Alright, sure thing.", "", True),
        ("Sí, claro que sí.", "", True),
        ("De acuerdo.", "", True),
        ("Yes?", "", False),
        ("Right?", "", False),
        ("Yes, but of course only if it is free.", "", False),
        ("Of course not.", "", False),
        ("I wish that works for me", "", False),
        ("Yes but later.", "", False),
        ("No, that's right.", "", False),
        ("Fine.", "", False),
        ("", "", False),
    ],
)
def test_a_yes_is_clear_and_changes_nothing(words: str, table: str, is_yes: bool) -> None:
    assert says_yes(words, table.split()) is is_yes
