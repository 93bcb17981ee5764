"""One answer: ask the model, speak what it streams, survive what it fails at.

Invariant: only events of the request under way count; a request is repeated at most once and never after a word
of its answer went out.
"""

from __future__ import annotations

from voice.conversation import ending, speaking
from voice.conversation.actions import CancelModel, MarkLatency, StartModel
from voice.conversation.events import ModelFault
from voice.conversation.memory import SUMMARY_TOKENS, ToolCall
from voice.conversation.phrases import phrases_for
from voice.conversation.speech import SpeechStream
from voice.conversation.state import Conversation, Timer, Turn
from voice.conversation.tooling import definitions

FIRST_CHUNK_MS = 3_000  # headers do not count
STALL_MS = 5_000  # between chunks
REISSUE_MS = 300  # after a refusal for load
MAX_ATTEMPTS = 2
MAX_BAD_TURNS = 2
MAX_TOOL_ROUNDS = 3
MAX_TOKENS = 300
MAX_REPLY_CHARACTERS = 4_000  # a model that does not stop
MAX_PARALLEL_CALLS = 16


def start_turn(
    c: Conversation,
    now: int,
    *,
    is_prompted: bool = False,
    note: str | None = None,
    source: str = "reply",
    is_silent: bool = False,
    is_interruptible: bool = True,
    may_use_tools: bool = True,
    prefix: str = "",
) -> None:
    """Answer, cancelling an unfinished answer. `prefix` is said at once, while the model thinks."""
    ending.cancel_turn(c, now)
    c.turn = Turn(
        id=c.take_id(),
        stream=SpeechStream(c.language),
        started_at=now,
        prompted_at=now if is_prompted else None,
        note=note,
        source=source,
        is_silent=is_silent,
        is_interruptible=is_interruptible,
        may_use_tools=may_use_tools,
    )
    if prefix:
        speaking.say(c, prefix, now, source, is_interruptible=is_interruptible)
    ask_model(c, c.turn, now)


def ask_model(c: Conversation, turn: Turn, now: int) -> None:
    """Send the request, or send it again."""
    turn.attempts += 1
    turn.request_id = c.take_id()
    turn.requested_at = now
    turn.has_chunk = False
    turn.utterance = None
    turn.stream = SpeechStream(c.language)
    turn.calls = []
    may_call = turn.may_use_tools and turn.rounds < MAX_TOOL_ROUNDS
    messages = [{"role": "system", "content": c.system}, *c.memory.messages()]
    if turn.note:
        messages.append({"role": "system", "content": turn.note})
    c.do(
        StartModel(
            turn.request_id,
            messages,
            definitions(c.toolbox.tools),
            "auto" if may_call else "none",
            MAX_TOKENS,
        )
    )
    c.calm(Timer.STALL, Timer.REISSUE)
    c.wake(Timer.FIRST_CHUNK, now + FIRST_CHUNK_MS)


def turn_of(c: Conversation, request_id: int) -> Turn | None:
    turn = c.active_turn
    return turn if turn is not None and turn.request_id == request_id else None


def on_delta(c: Conversation, turn: Turn, text: str, now: int) -> None:
    _note_chunk(c, turn, now)
    turn.characters += len(text)
    _speak(c, turn, turn.stream.feed(text), now)
    if turn.characters > MAX_REPLY_CHARACTERS and turn.request_id is not None:
        c.do(CancelModel(turn.request_id))
        end_request(c, turn, now)
        complete(c, turn)


def on_tool_call(c: Conversation, turn: Turn, name: str, arguments: str, now: int) -> None:
    _note_chunk(c, turn, now)
    if len(turn.calls) < MAX_PARALLEL_CALLS:
        # Our own id: some servers repeat theirs, or leave them empty.
        turn.calls.append(ToolCall(f"call_{c.take_id()}", name, arguments))


def _note_chunk(c: Conversation, turn: Turn, now: int) -> None:
    turn.has_chunk = True
    c.calm(Timer.FIRST_CHUNK)
    c.wake(Timer.STALL, now + STALL_MS)


def _speak(c: Conversation, turn: Turn, piece: str, now: int) -> None:
    if not piece or turn.is_silent:
        return
    if turn.utterance is None:
        turn.utterance = speaking.open_utterance(
            c, now, turn.source, is_interruptible=turn.is_interruptible, is_preemptible=c.may_meet_beep
        )
        _mark_latency(c, turn, turn.utterance.sequence_no, now)
    speaking.send(c, turn.utterance, piece, now, last=False)


def _mark_latency(c: Conversation, turn: Turn, sequence_no: int, now: int) -> None:
    if not turn.has_spoken and turn.prompted_at is not None:
        model_ms = turn.model_ms + now - turn.requested_at
        c.do(MarkLatency(sequence_no, now - turn.prompted_at, model_ms))
    turn.has_spoken = True


def end_request(c: Conversation, turn: Turn, now: int, *, is_cut: bool = False) -> None:
    """The stream is over: mark the last token. A cut one leaves the half word behind."""
    turn.request_id = None
    turn.model_ms += now - turn.requested_at
    c.calm(Timer.FIRST_CHUNK, Timer.STALL)
    tail = "" if is_cut else turn.stream.finish()
    if tail and turn.utterance is None:
        _speak(c, turn, tail, now)
        tail = ""
    if turn.utterance is not None:
        speaking.send(c, turn.utterance, tail, now, last=True)


def on_finished(c: Conversation, turn: Turn, now: int) -> None:
    """The stream ended as it should. Tool calls, if any, are left in `turn.calls`; an empty answer is a bad one."""
    end_request(c, turn, now)
    if turn.calls:
        return
    if turn.utterance is None and not turn.is_silent:
        _repeat_or_give_up(c, turn, ModelFault.CUT, now)
    else:
        complete(c, turn)


def complete(c: Conversation, turn: Turn) -> None:
    """The answer is given (it may still be sounding)."""
    turn.is_active = False
    c.bad_turns = 0
    c.has_replied = c.has_replied or turn.has_spoken
    c.may_be_too_long = True


def on_failed(c: Conversation, turn: Turn, fault: ModelFault, now: int) -> None:
    """Repeat once if nothing was said yet; else make do with what was said, or apologise."""
    end_request(c, turn, now, is_cut=True)
    if turn.utterance is not None:
        if turn.utterance.spoken.sent.rstrip().endswith((".", "!", "?")):
            complete(c, turn)
        else:
            give_up(c, turn, now)
    else:
        _repeat_or_give_up(c, turn, fault, now)


def _repeat_or_give_up(c: Conversation, turn: Turn, fault: ModelFault, now: int) -> None:
    if turn.attempts < MAX_ATTEMPTS and fault.is_worth_repeating:
        if fault in (ModelFault.RATE_LIMITED, ModelFault.SERVER):
            c.wake(Timer.REISSUE, now + REISSUE_MS)
        else:
            ask_model(c, turn, now)
    else:
        give_up(c, turn, now)


def on_first_chunk_timer(c: Conversation, now: int) -> None:
    """Nothing useful came, headers or not; also for a stream that stalls in the middle."""
    turn = c.active_turn
    if turn is not None and turn.request_id is not None:
        c.do(CancelModel(turn.request_id))
        on_failed(c, turn, ModelFault.CONNECTION, now)


def on_reissue_timer(c: Conversation, now: int) -> None:
    if (turn := c.active_turn) is not None:
        ask_model(c, turn, now)


def give_up(c: Conversation, turn: Turn, now: int) -> None:
    """A bad turn: an apology that the model never learns of; after two in a row, goodbye."""
    turn.is_active = False
    if turn.is_silent or not turn.is_interruptible:
        return  # an automated menu or a screening robot wants no apology
    c.bad_turns += 1
    words = phrases_for(c.language)
    if c.bad_turns >= MAX_BAD_TURNS:
        ending.say_goodbye(c, now, "model_failed", words.failed_goodbye)
    else:
        speaking.say(c, words.apology, now, "apology", is_remembered=False)


def settle_summary(c: Conversation) -> None:
    """Between turns, fold a long memory into a summary. A running write still reports to its entry: wait."""
    if not c.may_be_too_long or c.active_turn or c.runs or c.summary_request is not None:
        return
    c.may_be_too_long = False
    count = c.memory.older_part() if c.memory.is_too_long() else 0
    if count:
        c.summary_request = (c.take_id(), count)
        c.summary_text = ""
        request = c.memory.summary_request(count)
        c.do(StartModel(c.summary_request[0], request, max_tokens=SUMMARY_TOKENS))


def on_summary_end(c: Conversation, *, is_good: bool) -> None:
    if c.summary_request is None:
        return
    _, count = c.summary_request
    c.summary_request = None
    if is_good and c.summary_text.strip():
        c.memory.fold(count, c.summary_text.strip())
