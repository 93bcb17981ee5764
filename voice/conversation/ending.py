"""How a call ends: goodbye, a moment to listen, and the end of the session; also transfers and messages.

Invariant: after `End` nothing is sent, and a goodbye is never cut off by us: it ends only when it has sounded
(or when its speaking time and a margin are over).
"""

from __future__ import annotations

from collections.abc import Mapping

from voice.conversation import speaking
from voice.conversation.actions import CancelModel, CancelTool, End
from voice.conversation.memory import Utterance
from voice.conversation.phrases import phrases_for
from voice.conversation.state import Conversation, Ending, Timer
from voice.conversation.tooling import CANCELLED

LISTEN_MS = 2_000
REPRIEVABLE = {"end_call", "silence", "hold_limit", "loop"}  # the other side may still want to speak
LAST_WORDS_MS = 15_000  # a goodbye must fit in before the call's maximum


def cancel_turn(c: Conversation, now: int) -> None:
    """Stop the model and the reads; a write goes on and reports to the history."""
    turn = c.active_turn
    if turn is not None:
        turn.is_active = False
        if turn.request_id is not None:
            c.do(CancelModel(turn.request_id))
            turn.request_id = None
        speaking.quieten(c, now)
    c.calm(Timer.FIRST_CHUNK, Timer.STALL, Timer.REISSUE, Timer.FILLER, Timer.MENU)
    for run_id, run in list(c.runs.items()):
        if not run.call.is_write:
            c.do(CancelTool(run_id))
            del c.runs[run_id]
            for tool_round, call_id in run.waiters:
                tool_round.results[call_id] = CANCELLED


def say_goodbye(c: Conversation, now: int, reason: str, text: str = "", said: Utterance | None = None) -> None:
    """End politely. `said` is a goodbye that the model has already spoken; `text` replaces the usual words."""
    cancel_turn(c, now)
    c.rest = None
    c.calm(Timer.MACHINE, Timer.MESSAGE)
    if said is None:
        # A second goodbye is final, so there is no sense in cutting it.
        said = speaking.say(
            c,
            text or phrases_for(c.language).goodbye,
            now,
            "goodbye",
            is_interruptible=not c.was_reprieved,
        )
    c.ending = Ending(
        {"reason": reason},
        said,
        LISTEN_MS,
        can_be_reprieved=reason in REPRIEVABLE and not c.was_reprieved,
    )


def end_after(c: Conversation, handoff: Mapping[str, str], said: Utterance | None, *, is_message: bool = False) -> None:
    """End as soon as `said` has sounded, without listening for an answer. A transfer may be taken back till then."""
    c.rest = None
    c.ending = Ending(handoff, said, 0, can_be_reprieved=not is_message, is_message=is_message)


def end_now(c: Conversation, now: int, reason: str, **more: str) -> None:
    """End the session: whatever has not sounded is cut."""
    cancel_turn(c, now)
    if c.summary_request is not None:
        c.do(CancelModel(c.summary_request[0]))
        c.summary_request = None
    for utterance in list(c.queue):
        utterance.is_cut = not utterance.spoken.is_finished
        speaking.finish(c, utterance, now)
    c.ending = None
    c.is_over = True
    c.timers.clear()
    c.do(End({"reason": reason, **more}))


def progress(c: Conversation, now: int) -> None:
    """Take an ending on as soon as its words have sounded."""
    ending = c.ending
    if ending is None or ending.is_listening or (ending.utterance in c.queue):
        return
    if ending.listen_ms == 0 and not _awaits_words(c, now, ending):
        _leave(c, now, ending)
    else:
        ending.is_listening = True
        c.wake(Timer.LISTEN, now + LISTEN_MS)


def _awaits_words(c: Conversation, now: int, ending: Ending) -> bool:
    """Somebody has cut in, or is just speaking, and may be taking back what was announced."""
    is_cut = ending.utterance is not None and ending.utterance.is_cut
    return ending.can_be_reprieved and (is_cut or c.hears_somebody(now))


def on_listen_timer(c: Conversation, now: int) -> None:
    """Nobody objected. Somebody who is speaking is heard out, once."""
    ending = c.ending
    if ending is None or not ending.is_listening:  # another one has taken its place
        return
    if ending.can_be_reprieved and c.hears_somebody(now):
        c.wake(Timer.LISTEN, now + LISTEN_MS)
        return
    _leave(c, now, ending)


def reprieve(c: Conversation) -> bool:
    """The other side still has something to say: go on, after a goodbye only once in a call."""
    if c.ending is None or not c.ending.can_be_reprieved:
        return False
    if not c.ending.is_transfer:
        c.was_reprieved = True
    c.ending = None
    c.calm(Timer.LISTEN)
    return True


def _leave(c: Conversation, now: int, ending: Ending) -> None:
    end_now(c, now, **ending.handoff)


def on_deadline(c: Conversation, now: int) -> None:
    """The call's maximum is near: last words, whatever goes on."""
    if c.ending is None:
        say_goodbye(c, now, "max_duration", phrases_for(c.language).time_is_up)
