"""A voicemail: be mute, then say the whole message once, or hang up.

Invariant: a message that was begun before the machine's greeting ended does not count; it is said again, whole.
"""

from __future__ import annotations

from voice.conversation import ending, silence, speaking
from voice.conversation.phrases import phrases_for, voicemail_message
from voice.conversation.state import Conversation, Line, Timer

NO_VERDICT_MS = 30_000  # then the message is said in any case
SCREENER_GRACE_MS = 4_000  # a machine may turn out to be a screening robot
GRACE_LIMIT_MS = 15_000
# A machine verdict makes the call free, so it lasts at most 120 s longer: a goodbye at 110 s, the end at 118 s.
MACHINE_LIMIT_MS = 110_000
LAST_MS = 8_000


def mute(c: Conversation, now: int) -> None:
    """Say no more; what was sent already sounds, unless a message takes its place."""
    ending.cancel_turn(c, now)
    silence.stop_holding(c)
    c.rest = None
    c.calm(Timer.OPENING, Timer.REST, Timer.DIGITS)


def recognise(c: Conversation, now: int) -> None:
    """The words (or the model) say that this is a voicemail."""
    c.hears_voicemail = True
    mute(c, now)
    c.line = Line.MACHINE
    if not c.brief.leaves_message:
        ending.end_now(c, now, "voicemail")
    elif (c.verdict or "").startswith("machine_end"):
        deliver(c, now, is_from_start=True)
    elif c.ending is None and Timer.MESSAGE not in c.timers:
        c.wake(Timer.MESSAGE, now + NO_VERDICT_MS)


def on_machine_verdict(c: Conversation, now: int, answered_by: str) -> None:
    """machine_start or machine_end_*: unless a person or a screening robot has spoken, it is a voicemail."""
    mute(c, now)
    c.line = Line.MACHINE
    if c.brief.leaves_message:
        if answered_by.startswith("machine_end"):
            deliver(c, now, is_from_start=True)
        elif c.ending is None and Timer.MESSAGE not in c.timers:
            c.wake(Timer.MESSAGE, now + NO_VERDICT_MS)
    elif c.hears_voicemail:
        ending.end_now(c, now, "voicemail")
    else:
        c.wake(Timer.MACHINE, now + SCREENER_GRACE_MS)


def deliver(c: Conversation, now: int, *, is_from_start: bool = False) -> None:
    """Say the message; one that was begun too early is cut by it and said again."""
    is_under_way = c.ending is not None and c.ending.is_message
    if is_under_way and (c.message_from_start or not is_from_start):
        return
    c.calm(Timer.MESSAGE, Timer.MACHINE)
    c.message_from_start = is_from_start
    said = speaking.say(c, voicemail_message(c.brief), now, "voicemail", is_interruptible=False, is_preemptible=True)
    ending.end_after(c, {"reason": "voicemail_left"}, said, is_message=True)


def on_message_timer(c: Conversation, now: int) -> None:
    deliver(c, now)


def on_machine_timer(c: Conversation, now: int) -> None:
    """Hang up on the machine, but hear out what it is saying: it may be a screening robot's question."""
    since = now - (c.machine_at or now)
    if c.hears_somebody(now) and since < GRACE_LIMIT_MS:
        c.wake(Timer.MACHINE, now + 1_000)
    else:
        ending.end_now(c, now, "voicemail")


def on_machine_limit_timer(c: Conversation, now: int) -> None:
    """A person who came on after a robot gets a goodbye; the end comes in any case."""
    last = (c.machine_at or 0) + MACHINE_LIMIT_MS + LAST_MS
    if now >= last or (c.ending is None and c.line is not Line.PERSON):
        ending.end_now(c, now, "machine_limit")
        return
    if c.ending is None:
        ending.say_goodbye(c, now, "machine_limit", phrases_for(c.language).time_is_up)
    c.wake(Timer.MACHINE_LIMIT, last)
