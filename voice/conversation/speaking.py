"""Our voice: what is sent, what has sounded, what was cut.

Invariant: speech plays in the order it was sent; an utterance leaves the queue once, played or cut, and its
transcript segment then says which.
"""

from __future__ import annotations

from voice.conversation.actions import SendText, StoreSegment
from voice.conversation.memory import Utterance
from voice.conversation.speech import speakable, strip_markup
from voice.conversation.state import (
    SPEECH_LAG_MS,
    SPEECH_MARGIN_MS,
    SPEECH_MS_PER_CHARACTER,
    Conversation,
    Timer,
)

PAUSE_MS = 1_500  # our voice pauses between clauses; longer is an end
LATE_INTERRUPT_MS = 10_000


def open_utterance(
    c: Conversation,
    now: int,
    source: str,
    *,
    is_interruptible: bool = True,
    is_preemptible: bool = False,
    is_remembered: bool = True,
) -> Utterance:
    """Begin to say something. What may be preempted and still waits is cut by it."""
    for waiting in [u for u in c.queue if u.is_preemptible]:
        waiting.is_cut = not waiting.spoken.is_finished
        finish(c, waiting, now)
        c.speech_end = c.queue[-1].expected_end if c.queue else now
    sounds_at = max(now, c.speech_end) if c.queue else now
    turn_id = c.turn.id if c.turn else 0
    utterance = Utterance(c.take_sequence_no(), source, sounds_at, turn_id, is_interruptible, is_preemptible)
    c.queue.append(utterance)
    if is_remembered:
        c.memory.entries.append(utterance)
    return utterance


def send(c: Conversation, utterance: Utterance, token: str, now: int, *, last: bool) -> None:
    """Send a piece of an utterance, as it is to be said."""
    c.do(SendText(token, last, utterance.is_interruptible, utterance.is_preemptible))
    utterance.spoken.add(token)
    c.speech_end = max(c.speech_end, now + SPEECH_LAG_MS) + SPEECH_MS_PER_CHARACTER * len(token)
    utterance.expected_end = c.speech_end
    if last:
        utterance.is_closed = True
        if utterance.spoken.is_finished:
            finish(c, utterance, now)
        else:
            store(c, utterance)
            _await_end(c)


def say(
    c: Conversation,
    text: str,
    now: int,
    source: str,
    *,
    is_interruptible: bool = True,
    is_preemptible: bool = False,
    is_remembered: bool = True,
) -> Utterance:
    """Say a fixed text at once."""
    utterance = open_utterance(
        c,
        now,
        source,
        is_interruptible=is_interruptible,
        is_preemptible=is_preemptible,
        is_remembered=is_remembered,
    )
    send(c, utterance, prepared(c, text), now, last=True)
    return utterance


def prepared(c: Conversation, text: str) -> str:
    return speakable(strip_markup(text), c.language).strip()


def finish(c: Conversation, utterance: Utterance, now: int) -> None:
    """It has sounded to its end, or was cut."""
    if utterance not in c.queue:
        return
    c.queue.remove(utterance)
    utterance.is_closed = True
    utterance.started_at = min(utterance.started_at, now)
    utterance.ended_at = now
    if c.queue:  # what comes next sounds from here on, however long this was expected to take
        c.queue[0].started_at = min(c.queue[0].started_at, now)
    if c.quiet_since < utterance.started_at or c.floor.agent:
        c.quiet_since = now
    store(c, utterance)
    _await_end(c)


def store(c: Conversation, utterance: Utterance) -> None:
    unheard = utterance.spoken.unheard if utterance.is_cut else ""
    c.do(
        StoreSegment(
            utterance.sequence_no,
            "agent",
            utterance.heard,
            unheard or None,
            utterance.started_at,
            utterance.ended_at,
            utterance.source,
        )
    )


def _await_end(c: Conversation) -> None:
    """The clock ends what no report ends; without reports from the relay it is all there is."""
    if c.queue and c.queue[0].is_closed:
        margin = SPEECH_MARGIN_MS if c.floor.has_events or c.floor.has_tokens else 0
        c.wake(Timer.PLAYED, c.queue[0].expected_end + margin)
    else:
        c.calm(Timer.PLAYED)


def on_played_timer(c: Conversation, now: int) -> None:
    if c.floor.agent and Timer.AGENT_FLAG in c.timers:
        c.wake(Timer.PLAYED, c.timers[Timer.AGENT_FLAG])
        return
    if c.queue:
        c.last_guessed = c.queue[0]
        finish(c, c.queue[0], now)
    if c.queue and c.queue[0].is_closed:
        c.wake(Timer.PLAYED, max(now, c.queue[0].expected_end))


def on_tokens_played(c: Conversation, report: str, now: int) -> None:
    """A report belongs to the first utterance it fits; what was sent before that one has been played."""
    c.floor.has_tokens = True
    for position, utterance in enumerate(c.queue):
        if utterance.spoken.played(report):
            for earlier in c.queue[:position]:
                finish(c, earlier, now)
            if utterance.is_closed and utterance.spoken.is_finished:
                finish(c, utterance, now)
            _expect_the_rest(c, now)
            return


def _expect_the_rest(c: Conversation, now: int) -> None:
    """A voice that is slower than expected is waited for: what is left counts from what has just sounded."""
    for utterance in c.queue:
        now += SPEECH_MS_PER_CHARACTER * len(utterance.spoken.unheard)
        utterance.expected_end = max(utterance.expected_end, now)
        c.speech_end = max(c.speech_end, now)
    if c.floor.agent or not c.floor.has_events:
        _await_end(c)


def on_agent_speaking(c: Conversation, now: int, *, is_speaking: bool) -> None:
    c.floor.has_events = True
    c.floor.agent = is_speaking
    if is_speaking:
        c.wake(Timer.AGENT_FLAG, max(c.speech_end, now) + SPEECH_MARGIN_MS)
        _await_end(c)
        return
    c.calm(Timer.AGENT_FLAG)
    c.quiet_since = now
    if c.queue and c.queue[0].is_closed:
        c.wake(Timer.PLAYED, now + PAUSE_MS)


def on_agent_flag_timer(c: Conversation, now: int) -> None:
    """The flag has stuck, unless more was sent since it was set."""
    if now < c.speech_end + SPEECH_MARGIN_MS:
        c.wake(Timer.AGENT_FLAG, c.speech_end + SPEECH_MARGIN_MS)
    else:
        on_agent_speaking(c, now, is_speaking=False)


def cut(c: Conversation, now: int, fragment: str, before_sequence_no: int | None = None) -> list[Utterance]:
    """The other side cut in: everything waiting is purged, and the audible utterance was heard up to `fragment`.

    `before_sequence_no` spares what was begun after a key press whose interrupt comes late.
    """
    hit = [u for u in c.queue if before_sequence_no is None or u.sequence_no < before_sequence_no]
    if hit:
        hit[0].spoken.interrupted(fragment)
        for utterance in hit:
            utterance.is_cut = not utterance.spoken.is_finished or not utterance.is_closed
            finish(c, utterance, now)
        c.speech_end = now
    elif late := _late_target(c, now, before_sequence_no):
        late.spoken.interrupted(fragment)
        if late.spoken.heard and not late.spoken.is_finished:
            late.is_cut = True
            store(c, late)
            hit = [late]
    c.last_guessed = None
    return hit


def _late_target(c: Conversation, now: int, before_sequence_no: int | None) -> Utterance | None:
    """The clock may have called an utterance played that was still sounding."""
    late = c.last_guessed
    if late is None or late.ended_at is None or now - late.ended_at > LATE_INTERRUPT_MS:
        return None
    return late if before_sequence_no is None or late.sequence_no < before_sequence_no else None


def quieten(c: Conversation, now: int) -> None:
    """Stop sending: an utterance under way ends where it is. What was sent will still sound."""
    for utterance in c.queue:
        if not utterance.is_closed:
            send(c, utterance, "", now, last=True)
            return
