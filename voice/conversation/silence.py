"""What happens when nobody speaks: fillers while we think, "are you still there?", holding, and the last goodbye.

Invariant: the silence clock runs only while nobody speaks and nothing of ours (turn, tool, hold, ending) is
under way. Called after every event, so that no path can forget it.
"""

from __future__ import annotations

from voice.conversation import ending, speaking
from voice.conversation.listening import says_goodbye
from voice.conversation.phrases import phrases_for
from voice.conversation.state import Conversation, Line, Timer

FILLER_AFTER_MS = 1_200
FILLER_APART_MS = 8_000
HOLD_CHECK_MS = 60_000


def settle_filler(c: Conversation) -> None:
    """A filler is due while a turn has nothing to say: one a turn, on the first answer only if it has to be asked for
    again."""
    turn = c.active_turn
    if (
        turn is None
        or turn.said_filler
        or turn.is_silent
        or not (c.has_replied or turn.attempts > 1)
        or c.queue
        or c.ending is not None
        or (turn.has_spoken and not turn.waiting)
    ):
        c.calm(Timer.FILLER)
        return
    due = max(turn.started_at, c.quiet_since) + FILLER_AFTER_MS
    if c.last_filler_at is not None:
        due = max(due, c.last_filler_at + FILLER_APART_MS)
    c.wake(Timer.FILLER, due)


def on_filler_timer(c: Conversation, now: int) -> None:
    turn = c.active_turn
    if turn is None or c.floor.client:
        if turn is not None:
            turn.said_filler = True
        return
    turn.said_filler = True
    c.last_filler_at = now
    fillers = phrases_for(c.language).fillers
    speaking.say(c, fillers[c.filler_count % len(fillers)], now, "filler", is_preemptible=True, is_remembered=False)
    c.filler_count += 1


def is_quiet(c: Conversation) -> bool:
    """Nobody speaks and nothing is under way."""
    return not (
        c.active_turn
        or c.queue
        or c.runs
        or c.floor.agent
        or c.floor.client
        or c.is_holding
        or c.ending
        or c.rest
        or c.digits
    )


def settle_silence(c: Conversation, now: int) -> None:
    talks_to_person = c.is_greeted and c.line in (Line.UNKNOWN, Line.PERSON)
    if not (talks_to_person and is_quiet(c)):
        c.calm(Timer.SILENCE)
    elif Timer.SILENCE not in c.timers:
        first = c.brief.silence_ms
        wait = first if c.silences == 0 else first + first // 4
        c.wake(Timer.SILENCE, now + wait)


def on_silence_timer(c: Conversation, now: int) -> None:
    words = phrases_for(c.language)
    last = c.memory.last_utterance()
    if last is not None and says_goodbye(last.heard):  # the model has not ended the call that it has taken leave in
        ending.say_goodbye(c, now, "end_call", said=last)
    elif c.silences < len(words.still_there):
        speaking.say(c, words.still_there[c.silences], now, "reprompt", is_preemptible=c.may_meet_beep)
        c.silences += 1
    else:
        ending.say_goodbye(c, now, "silence", words.silence_goodbye)


def hold(c: Conversation, now: int) -> None:
    """Be silent until a person speaks: they asked us to wait, or we are in a queue. Holding on is no new hold."""
    c.is_holding = True
    c.wake(Timer.HOLD_CHECK, now + HOLD_CHECK_MS)
    c.wake(Timer.HOLD_CAP, c.timers.get(Timer.HOLD_CAP, now + c.brief.hold_cap_ms))


def stop_holding(c: Conversation) -> None:
    c.is_holding = False
    c.calm(Timer.HOLD_CHECK, Timer.HOLD_CAP)


def on_hold_check_timer(c: Conversation, now: int) -> None:
    if c.line is not Line.MENU:
        speaking.say(c, phrases_for(c.language).hold_check, now, "reprompt")


def on_hold_cap_timer(c: Conversation, now: int) -> None:
    stop_holding(c)
    ending.say_goodbye(c, now, "hold_limit", phrases_for(c.language).hold_goodbye)
