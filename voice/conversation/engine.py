"""The door to a conversation: every event and every timer finds its handler here.

Invariant: after each event the level-triggered rules (endings, follow-ups, fillers, silence, draining, summaries) are
settled, so that no handler has to remember them.
"""

from __future__ import annotations

from collections.abc import Callable

from voice.conversation import answering, ending, hearing, silence, speaking, toolruns, turns, voicemail
from voice.conversation.actions import Action, StoreSegment
from voice.conversation.events import (
    DrainRequested,
    DtmfReceived,
    Event,
    InterruptReceived,
    ModelDelta,
    ModelFailed,
    ModelFinished,
    ModelToolCall,
    PromptReceived,
    RelayErrorReceived,
    ResumeReason,
    SetupReceived,
    SocketLost,
    SpeakerChanged,
    TimerFired,
    TokensPlayed,
    ToolFinished,
    VerdictReceived,
)
from voice.conversation.memory import Utterance
from voice.conversation.phrases import NOTE_CONTINUE, phrases_for
from voice.conversation.state import Conversation, Floor, Line, Rest, Timer

MAX_SEGMENTS = 5_000  # a flood of frames fills no database


def advance(c: Conversation, event: Event, now_ms: int) -> list[Action]:
    """Take one fact in and give back what to do, in order. `now_ms` never goes back (epoch milliseconds)."""
    _dispatch(c, event, now_ms)
    _settle(c, now_ms)
    actions, c.actions = c.actions, []
    if c.next_sequence_no > MAX_SEGMENTS:
        actions = [a for a in actions if not (isinstance(a, StoreSegment) and a.sequence_no >= MAX_SEGMENTS)]
    return actions


def _dispatch(c: Conversation, event: Event, now: int) -> None:
    match event:
        case ToolFinished():
            toolruns.on_tool_finished(c, event, now)
        case SetupReceived(resumed):
            _on_setup(c, resumed, now)
        case _ if c.is_over or not c.is_connected:
            if isinstance(event, VerdictReceived):
                c.verdict = event.answered_by
        case ModelDelta() | ModelToolCall() | ModelFinished() | ModelFailed():
            _on_model(c, event, now)
        case TimerFired():
            _fire(c, now)
        case PromptReceived():
            hearing.on_prompt(c, event, now)
        case InterruptReceived(heard):
            hearing.on_interrupt(c, heard, now)
        case TokensPlayed(text):
            speaking.on_tokens_played(c, text, now)
        case SpeakerChanged(agent, speaking=is_speaking):
            handler = speaking.on_agent_speaking if agent else hearing.on_client_speaking
            handler(c, now, is_speaking=is_speaking)
        case DtmfReceived(digit):
            hearing.on_key(c, digit, now)
        case VerdictReceived(answered_by, ago_ms):
            answering.on_verdict(c, now, answered_by, ago_ms)
        case RelayErrorReceived(description):
            c.do(StoreSegment(c.take_sequence_no(), "system", description[:500], None, now, now, "relay"))
        case DrainRequested(deadline_ms):
            c.drain_deadline = deadline_ms
            c.wake(Timer.DRAIN, deadline_ms)
        case SocketLost():
            _on_socket_lost(c, now)


def _on_model(c: Conversation, event: ModelDelta | ModelToolCall | ModelFinished | ModelFailed, now: int) -> None:
    """Events of a request that was cancelled or replaced are dropped here."""
    if c.summary_request is not None and event.request_id == c.summary_request[0]:
        if isinstance(event, ModelDelta):
            c.summary_text += event.text
        elif isinstance(event, ModelFinished | ModelFailed):
            turns.on_summary_end(c, is_good=isinstance(event, ModelFinished))
        return
    turn = turns.turn_of(c, event.request_id)
    if turn is None:
        return
    match event:
        case ModelDelta(text=text):
            turns.on_delta(c, turn, text, now)
        case ModelToolCall(name=name, arguments=arguments):
            turns.on_tool_call(c, turn, name, arguments, now)
        case ModelFailed(fault=fault):
            turns.on_failed(c, turn, fault, now)
        case ModelFinished():
            turns.on_finished(c, turn, now)
            if turn.calls:
                toolruns.run_calls(c, turn, now)


def _on_setup(c: Conversation, resumed: ResumeReason | None, now: int) -> None:
    """The socket is open. A resumed call is never greeted again."""
    if c.is_connected and resumed is None:
        return
    c.is_connected = True
    c.is_over = False
    c.floor = Floor()
    c.quiet_since = now
    if c.brief.deadline_ms is not None:
        c.wake(Timer.DEADLINE, c.brief.deadline_ms - ending.LAST_WORDS_MS)
    if resumed is not None:
        _resume(c, resumed, now)
    elif not c.brief.is_outbound:
        answering.greet(c, now)
    else:
        c.opened_at = now
        c.wake(Timer.OPENING, now + answering.OPENING_MS)
        if c.verdict is not None:  # it came before the socket
            answering.on_verdict(c, now, c.verdict)


def _resume(c: Conversation, reason: ResumeReason, now: int) -> None:
    """Go on where the call was: with its end, its hold, the unanswered words, or the unheard rest."""
    if c.machine_at is not None:
        c.wake(Timer.MACHINE_LIMIT, c.machine_at + voicemail.MACHINE_LIMIT_MS)
    if c.ending is not None:
        ending.end_now(c, now, **c.ending.handoff)
    elif reason is ResumeReason.TRANSFER_FAILED:
        speaking.say(c, phrases_for(c.language).transfer_failed, now, "reply")
    elif c.line is Line.MACHINE:
        if c.brief.leaves_message:
            voicemail.deliver(c, now)
        else:
            ending.end_now(c, now, "voicemail")
    elif c.is_holding:
        silence.hold(c, now)
    elif not c.is_greeted:
        answering.greet(c, now)
    elif c.memory.awaits_an_answer():
        turns.start_turn(c, now)
    elif c.rest is not None and c.rest.is_complete:
        hearing.on_rest_timer(c, now)
    elif c.rest is not None:
        c.rest = None
        turns.start_turn(c, now, note=NOTE_CONTINUE, source="rest")


def _on_socket_lost(c: Conversation, now: int) -> None:
    """Nothing can be said until the call comes back; writes go on."""
    turn = c.active_turn
    cut: list[Utterance] = list(c.queue)
    for utterance in cut:
        utterance.is_cut = not utterance.spoken.is_finished or not utterance.is_closed
        speaking.finish(c, utterance, now)
    ending.cancel_turn(c, now)
    unheard = " ".join(u.spoken.unheard for u in cut if u.is_cut and u.source not in ("filler", "voicemail")).strip()
    c.rest = Rest(unheard, turn is None) if unheard or turn is not None else None
    c.is_connected = False
    c.timers = {timer: at for timer, at in c.timers.items() if timer is Timer.TOOL}


def _settle(c: Conversation, now: int) -> None:
    if not c.is_connected or c.is_over:
        return
    ending.progress(c, now)
    if c.is_over:
        return
    toolruns.settle_follow_up(c, now)
    silence.settle_filler(c)
    silence.settle_silence(c, now)
    turns.settle_summary(c)
    if c.drain_deadline is not None and silence.is_quiet(c) and c.is_greeted:
        ending.end_now(c, now, "drain")


def _on_drain_timer(c: Conversation, now: int) -> None:
    """The next process does not know that the call was about to end, or to be transferred; a message it says again."""
    if c.ending is not None and not c.ending.is_message:
        ending.end_now(c, now, **c.ending.handoff)
    else:
        ending.end_now(c, now, "drain")


def _on_client_flag_timer(c: Conversation, now: int) -> None:
    hearing.on_client_speaking(c, now, is_speaking=False)


_TIMERS: dict[Timer, Callable[[Conversation, int], None]] = {
    Timer.OPENING: answering.on_opening_timer,
    Timer.FIRST_CHUNK: turns.on_first_chunk_timer,
    Timer.STALL: turns.on_first_chunk_timer,
    Timer.REISSUE: turns.on_reissue_timer,
    Timer.FILLER: silence.on_filler_timer,
    Timer.TOOL: toolruns.on_tool_timer,
    Timer.SILENCE: silence.on_silence_timer,
    Timer.REST: hearing.on_rest_timer,
    Timer.DIGITS: hearing.on_digits_timer,
    Timer.HOLD_CHECK: silence.on_hold_check_timer,
    Timer.HOLD_CAP: silence.on_hold_cap_timer,
    Timer.PLAYED: speaking.on_played_timer,
    Timer.AGENT_FLAG: speaking.on_agent_flag_timer,
    Timer.CLIENT_FLAG: _on_client_flag_timer,
    Timer.LISTEN: ending.on_listen_timer,
    Timer.MESSAGE: voicemail.on_message_timer,
    Timer.MACHINE: voicemail.on_machine_timer,
    Timer.MACHINE_LIMIT: voicemail.on_machine_limit_timer,
    Timer.MENU: answering.on_menu_timer,
    Timer.DRAIN: _on_drain_timer,
    Timer.DEADLINE: ending.on_deadline,
}


def _fire(c: Conversation, now: int) -> None:
    """Every timer that is due, the oldest first; a handler may set or stop others."""
    while not c.is_over and c.timers:
        timer = min(c.timers, key=lambda each: c.timers[each])
        if c.timers[timer] > now:
            return
        del c.timers[timer]
        _TIMERS[timer](c, now)
        ending.progress(c, now)
