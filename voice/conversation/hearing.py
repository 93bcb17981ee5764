"""The other side's words, keys and interruptions, and what each of them changes.

Invariant: only a final prompt (or finished keys) begins a turn, and only one that is meant for us.
"""

from __future__ import annotations

from voice.conversation import answering, ending, silence, speaking, toolruns, turns
from voice.conversation.actions import SendText, SetLanguage, StoreSegment
from voice.conversation.events import PromptReceived
from voice.conversation.heard import letters_of
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
    words_of,
)
from voice.conversation.memory import CallerSaid, Utterance
from voice.conversation.phrases import NOTE_CONTINUE, NOTE_LOOP, NOTE_ROBOT, robot_answer
from voice.conversation.state import CLIENT_FLAG_MS, Conversation, Line, Rest, Timer

MAX_PROMPT_CHARACTERS = 4_000
REST_MS = 2_000  # after an interruption without words
REST_WITHOUT_EVENTS_MS = 5_000  # when the relay does not say who speaks
REST_WORDS = 3  # a shorter rest was as good as heard
DIGITS_MS = 2_000
MAX_DIGITS = 64
KEY_INTERRUPT_MS = 5_000
LOOP_PROMPTS = 3
LOOP_WORDS = 4  # "yes" three times is no loop
RESUMABLE = {"reply", "greeting", "reprompt"}  # said to a person, and not already a rest


def on_prompt(c: Conversation, event: PromptReceived, now: int) -> None:
    if not event.last:
        if c.floor.client:
            c.wake(Timer.CLIENT_FLAG, now + CLIENT_FLAG_MS)
        return
    text = " ".join(event.text[:MAX_PROMPT_CHARACTERS].replace("’", "'").split())
    if not letters_of(text):
        return  # music, or nothing
    c.silences = 0
    _follow_language(c, event.language)
    kind = who_speaks(text) if c.brief.is_outbound else Speaker.UNCLEAR
    is_robot = answering.is_robot(c, kind, text)
    if is_robot:
        _store(c, text, now, role="system", source="machine")
    else:
        _store(c, text, now)
    if is_robot:
        answering.on_robot(c, kind, text, now)
    elif _wants_no_calls(c, text) and not _is_refused_already(c):
        c.line = Line.PERSON
        c.memory.entries.append(CallerSaid(text))
        toolruns.refuse_calls(c, now, "stop_request" if wants_no_calls(text) else "wrong_number")
    elif not (c.brief.is_outbound and answering.on_person(c, kind, text, now)):
        _on_words(c, text, now)
    c.floor.client_began_over_us = False


def _store(c: Conversation, text: str, now: int, role: str = "person", source: str = "speech") -> None:
    began = now if c.client_began_at is None else c.client_began_at
    c.client_began_at = c.client_ended_at = None
    c.do(StoreSegment(c.take_sequence_no(), role, text, None, began, now, source))


def _follow_language(c: Conversation, language: str | None) -> None:
    if language and language != c.language and language in (c.brief.language, *c.brief.languages):
        c.language = language
        c.do(SetLanguage(language))


def _wants_no_calls(c: Conversation, text: str) -> bool:
    return wants_no_calls(text) or (c.brief.is_outbound and is_wrong_number(text))


def _is_refused_already(c: Conversation) -> bool:
    return c.ending is not None and c.ending.handoff["reason"] == "do_not_call"


def _on_words(c: Conversation, text: str, now: int) -> None:
    """A person speaks to us in the middle of the call."""
    if c.ending is not None:
        if is_farewell(text) or _agrees_to_end(c, text):
            if c.ending.is_listening:
                ending.end_now(c, now, **c.ending.handoff)
            return
        if not ending.reprieve(c):
            return
    if c.is_holding:
        if is_hold_noise(text):
            return
        silence.stop_holding(c)
    if _is_mere_listening(c, text):
        if c.rest is not None:
            on_rest_timer(c, now)
        return
    take_turn(c, text, now)


def _agrees_to_end(c: Conversation, text: str) -> bool:
    """ "Okay" to a transfer, or to a goodbye that the model has said. To "I can't hear you" it is an answer, and after
    a question too."""
    assert c.ending is not None
    if c.ending.is_transfer:
        return is_backchannel(text) or says_yes(text, ())
    said = c.ending.utterance
    is_asked = said is not None and said.spoken.sent.rstrip().endswith("?")
    return c.ending.handoff["reason"] == "end_call" and not is_asked and is_backchannel(text)


def _is_mere_listening(c: Conversation, text: str) -> bool:
    """Whether it is a mere "mm-hm" while we speak or think. After a question it is an answer."""
    over_us = c.floor.client_began_over_us if c.floor.has_events else bool(c.queue)
    if not over_us and c.rest is None and c.active_turn is None:
        return False
    last = c.memory.last_utterance()
    under_greeting = last is not None and last.source == "greeting"
    if not is_backchannel(text, hellos_too=under_greeting):
        return False
    if c.rest is not None:
        is_asked = last is not None and last.heard.endswith("?")
        return not is_asked and (not c.rest.is_complete or len(words_of(c.rest.text)) >= REST_WORDS)
    return bool(c.queue) or c.active_turn is not None or last is None or not last.heard.endswith("?")


def take_turn(c: Conversation, text: str, now: int) -> None:
    """The caller's words go to the model; words that follow before an answer are the same turn."""
    c.rest = None
    c.calm(Timer.REST)
    is_continued = c.memory.last_word_is_the_callers()
    c.last_prompt = f"{c.last_prompt} {text}" if is_continued else text
    c.toolbox.hear(c.last_prompt, _read_back(c), is_continued=is_continued)
    c.memory.entries.append(CallerSaid(text))
    c.person_turns += 1
    if _is_loop(c, text):
        c.loops += 1
        if c.loops > 1:
            ending.say_goodbye(c, now, "loop")
        else:
            turns.start_turn(c, now, is_prompted=True, note=NOTE_LOOP)
    elif asks_if_robot(text):
        turns.start_turn(c, now, note=NOTE_ROBOT, prefix=robot_answer(c.brief))
    else:
        turns.start_turn(c, now, is_prompted=True)


def _read_back(c: Conversation) -> str:
    """What the caller has heard since a confirmation was asked for; nothing when none was."""
    if not (c.toolbox.pending or c.toolbox.asked):
        return ""
    said = [
        (e.spoken.heard if e in c.queue and c.floor.has_tokens else e.heard)
        for e in c.memory.entries
        if isinstance(e, Utterance) and e.sequence_no >= c.asked_sequence_no
    ]
    return " ".join(said)


def _is_loop(c: Conversation, text: str) -> bool:
    c.recent_prompts = [*c.recent_prompts, text][-LOOP_PROMPTS:]
    recent = c.recent_prompts
    if len(recent) < LOOP_PROMPTS or len(words_of(text)) < LOOP_WORDS:
        return False
    if not all(near_equal(text, earlier) for earlier in recent[:-1]):
        return False
    c.recent_prompts = []
    return True


def on_interrupt(c: Conversation, fragment: str, now: int) -> None:
    """The other side cut in. After a key press it hits what was audible then, not the answer begun since."""
    key_at, c.key_pressed_at = c.key_pressed_at, None
    by_key = key_at is not None and now - key_at <= KEY_INTERRUPT_MS
    hit = speaking.cut(c, now, fragment, c.key_sequence_no if by_key else None)
    if not hit:
        return
    turn = c.active_turn
    is_in_turn = turn is not None and any(u.turn == turn.id for u in hit)
    if is_in_turn:
        ending.cancel_turn(c, now)
    elif by_key and (c.queue or turn is not None):
        return
    c.do(SendText("", last=True))
    if not by_key and c.ending is None:
        _keep_rest(c, hit, now, is_complete=not is_in_turn)


def _keep_rest(c: Conversation, hit: list[Utterance], now: int, *, is_complete: bool) -> None:
    """If nobody wanted to speak after all, the unheard rest is said, once."""
    if not all(u.source in RESUMABLE or u.source == "filler" for u in hit):
        return
    text = " ".join(u.spoken.unheard for u in hit if u.is_cut and u.source in RESUMABLE).strip()
    if not text and is_complete:
        return
    c.rest = Rest(text, is_complete)
    if not c.floor.has_events:
        c.wake(Timer.REST, now + REST_WITHOUT_EVENTS_MS)
    elif not c.floor.client:
        c.wake(Timer.REST, now + REST_MS)


def on_rest_timer(c: Conversation, now: int) -> None:
    rest, c.rest = c.rest, None
    c.calm(Timer.REST)
    if rest is None:
        return
    if rest.is_complete:
        speaking.say(c, rest.text, now, "rest")
    else:
        turns.start_turn(c, now, note=NOTE_CONTINUE, source="rest")


def on_client_speaking(c: Conversation, now: int, *, is_speaking: bool) -> None:
    c.floor.has_events = True
    c.floor.client = is_speaking
    if is_speaking:
        c.floor.client_began_over_us = bool(c.queue) or c.floor.agent
        c.client_began_at, c.client_ended_at = now, None
        c.key_pressed_at = None
        c.calm(Timer.REST)
        c.wake(Timer.CLIENT_FLAG, now + CLIENT_FLAG_MS)
        return
    c.calm(Timer.CLIENT_FLAG)
    if c.client_began_at is not None:
        c.client_ended_at = now
    if c.rest is not None:
        c.wake(Timer.REST, now + REST_MS)


def on_key(c: Conversation, digit: str, now: int) -> None:
    """Keys collect until `#` or two seconds without one."""
    if c.line in (Line.MACHINE, Line.SCREENER):
        return
    if c.queue:
        c.key_pressed_at, c.key_sequence_no = now, c.next_sequence_no
    c.silences = 0
    c.digits = (c.digits + digit)[:MAX_DIGITS]
    if digit == "#":
        on_digits_timer(c, now)
    else:
        c.wake(Timer.DIGITS, now + DIGITS_MS)


def on_digits_timer(c: Conversation, now: int) -> None:
    digits, c.digits = c.digits, ""
    c.calm(Timer.DIGITS)
    _store(c, digits, now, source="dtmf")
    if c.ending is not None and (c.ending.is_transfer or not ending.reprieve(c)):
        return
    silence.stop_holding(c)
    take_turn(c, f"[pressed keys: {digits}]", now)
