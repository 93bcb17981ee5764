"""Who has picked up, and what we say first: a person, a screening robot, a voicemail, an automated menu.

Invariant: a screening robot is never hung up on for being a machine, and a person always hears who speaks before
anything else is said.
"""

from __future__ import annotations

from voice.conversation import ending, silence, speaking, toolruns, turns, voicemail
from voice.conversation.listening import Speaker, is_hold_noise, near_equal, wants_no_calls
from voice.conversation.memory import CallerSaid
from voice.conversation.phrases import (
    NOTE_MENU,
    NOTE_MENU_SPEAK,
    NOTE_OPENING,
    NOTE_SCREENER,
    identity,
    opening,
)
from voice.conversation.state import Conversation, Line, Timer

OPENING_MS = 2_500  # outbound: greet on the first words, or after this
OPENING_LIMIT_MS = 15_000  # unless somebody is speaking, up to this: longer is a machine or a stuck flag
MENU_END_MS = 1_500  # nothing more for so long: the menu has been read out
MAX_MENU_ATTEMPTS = 3
MAX_SCREENER_ROUNDS = 3
SCREENER_PAUSE_MS = 6_000  # a robot's sentences within this are one question
SURE_PERSON_TURNS = 3  # so many answers outweigh a machine verdict


def greet(c: Conversation, now: int) -> None:
    """The fixed opening; an outbound call without a first message goes on by the model."""
    c.is_greeted = True
    c.calm(Timer.OPENING)
    notice, first = opening(c.brief)
    if notice:
        speaking.say(c, notice, now, "greeting", is_interruptible=False)
    if first:
        speaking.say(c, first, now, "greeting", is_preemptible=c.may_meet_beep)
    else:
        turns.start_turn(c, now, note=NOTE_OPENING, may_use_tools=False)


def on_opening_timer(c: Conversation, now: int) -> None:
    """Nobody has said a word; somebody who is just speaking is heard first, for the words come later than the sound."""
    if c.hears_somebody(now) and now - c.opened_at < OPENING_LIMIT_MS:
        c.wake(Timer.OPENING, now + 500)
    else:
        greet(c, now)


def on_verdict(c: Conversation, now: int, answered_by: str, ago_ms: int = 0) -> None:
    """The carrier's machine detection. Words that only a person or a screening robot says outweigh it."""
    c.verdict = answered_by
    if answered_by == "fax":
        ending.end_now(c, now, "fax")
    elif answered_by.startswith("machine"):
        _begin_limit(c, now - ago_ms)
        if c.person_turns >= SURE_PERSON_TURNS:
            c.line = Line.PERSON
        if c.line not in (Line.PERSON, Line.SCREENER):
            voicemail.on_machine_verdict(c, now, answered_by)


def _begin_limit(c: Conversation, at: int) -> None:
    if c.machine_at is None:
        c.machine_at = at
        c.wake(Timer.MACHINE_LIMIT, at + voicemail.MACHINE_LIMIT_MS)


ROBOTS = {
    Speaker.MAILBOX_FULL,
    Speaker.SCREENER,
    Speaker.SCREENER_WAIT,
    Speaker.VOICEMAIL,
    Speaker.MENU,
}


def is_robot(c: Conversation, kind: Speaker, text: str) -> bool:
    """Whether these words come from a machine: they are no caller's words."""
    if c.line is Line.PERSON or (c.line is Line.UNKNOWN and c.person_turns):
        return kind in (Speaker.MAILBOX_FULL, Speaker.VOICEMAIL, Speaker.MENU)
    if kind is Speaker.UNCLEAR and c.line is Line.MACHINE:
        return not wants_no_calls(text)  # which counts, whoever detection thinks is speaking
    if kind is Speaker.UNCLEAR:
        return c.line is Line.MENU and _is_menu_going_on(c, text)
    return kind in ROBOTS


def _is_menu_going_on(c: Conversation, text: str) -> bool:
    return Timer.MENU in c.timers or is_hold_noise(text)


def on_robot(c: Conversation, kind: Speaker, text: str, now: int) -> None:
    match kind:
        case Speaker.MAILBOX_FULL:
            ending.end_now(c, now, "mailbox_full")
        case Speaker.VOICEMAIL:
            voicemail.recognise(c, now)
        case Speaker.SCREENER:
            _answer_screener(c, now)
        case Speaker.MENU:
            _hear_menu(c, text, now)
        case _ if c.line is Line.MENU and Timer.MENU in c.timers:
            _hear_menu(c, text, now)
        case Speaker.SCREENER_WAIT if c.line is Line.UNKNOWN and c.is_greeted:
            silence.hold(c, now)  # somebody gets the person we want, or is it a robot?
        case _:
            pass  # a recording goes on, or the robot passes our answer on: silence


def on_person(c: Conversation, kind: Speaker, text: str, now: int) -> bool:
    """A person's words. True when they are answered by the opening: first words, or after a robot."""
    came_on = c.line in (Line.SCREENER, Line.MACHINE, Line.MENU)
    if came_on or kind is Speaker.LIVE:
        c.line = Line.PERSON
    if came_on:
        voicemail.mute(c, now)
        c.ending = None
        c.calm(Timer.MESSAGE, Timer.MACHINE, Timer.MENU)
        if not (c.verdict or "").startswith("machine"):  # until one comes, the call is none of a machine's
            c.machine_at = None
            c.calm(Timer.MACHINE_LIMIT)
    if came_on or not c.is_greeted:
        c.memory.entries.append(CallerSaid(text))
        greet(c, now)
        return True
    return False


def _answer_screener(c: Conversation, now: int) -> None:
    """Say once who calls, for whom and why; then be silent until it asks again, or a person speaks."""
    voicemail.mute(c, now)
    c.line = Line.SCREENER
    c.ending = None
    c.calm(Timer.MESSAGE, Timer.MACHINE)
    _begin_limit(c, now)
    answered = c.screener_answered_at
    if any(u.source == "screener" for u in c.queue) or (answered is not None and now - answered < SCREENER_PAUSE_MS):
        return
    c.screener_rounds += 1
    if c.screener_rounds > MAX_SCREENER_ROUNDS:
        ending.end_now(c, now, "screener")
        return
    c.screener_answered_at = now
    turns.start_turn(
        c,
        now,
        note=NOTE_SCREENER,
        source="screener",
        is_interruptible=False,
        may_use_tools=False,
        prefix=identity(c.brief),
    )


def _hear_menu(c: Conversation, text: str, now: int) -> None:
    if c.line is not Line.MENU:
        voicemail.mute(c, now)
        c.line = Line.MENU
    silence.hold(c, now)  # it may fall silent at any time; whatever it says does not put the limit off
    c.menu_text = f"{c.menu_text} {text}".strip()[-2_000:]
    c.wake(Timer.MENU, now + MENU_END_MS)


def on_menu_timer(c: Conversation, now: int) -> None:
    """The whole menu was heard: press keys; when it repeats, press slower; then say the option; then give up."""
    if c.floor.client:
        c.wake(Timer.MENU, now + 500)
        return
    heard, c.menu_text = c.menu_text, ""
    c.memory.entries.append(CallerSaid(f"(automated menu) {heard}"))
    repeats = near_equal(heard, c.menu_last)
    c.menu_last = heard
    c.menu_attempt = c.menu_attempt + 1 if repeats else 1
    if not repeats:
        c.menu_keys = ""
    if c.menu_attempt < MAX_MENU_ATTEMPTS and not c.menu_keys:
        turns.start_turn(c, now, note=NOTE_MENU, is_silent=True)
    elif c.menu_attempt < MAX_MENU_ATTEMPTS:
        keys = [key for key in c.menu_keys if key not in "wW"]
        toolruns.press(c, "ww" + "w".join(keys), now)
    elif c.menu_attempt == MAX_MENU_ATTEMPTS:
        turns.start_turn(c, now, note=NOTE_MENU_SPEAK, source="menu", may_use_tools=False)
        c.is_greeted = False  # whoever comes on hears who speaks
    else:
        ending.end_now(c, now, "menu")
