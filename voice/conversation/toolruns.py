"""The model's tool calls: started, joined, awaited, answered; and what the built-in ones do.

Invariant: the same call (tool and arguments) is never under way twice, and a write is never cancelled or repeated.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from voice.conversation import ending, silence, speaking, turns, voicemail
from voice.conversation.actions import AddToDoNotCall, CancelTool, RunTool, SendDigits, StoreSegment
from voice.conversation.brief import Builtin
from voice.conversation.events import ToolFinished, ToolOutcome
from voice.conversation.memory import ToolCall, ToolRound
from voice.conversation.phrases import NOTE_RESULT, phrases_for
from voice.conversation.state import Conversation, Line, Timer, ToolRun, Turn
from voice.conversation.tooling import (
    KEYS,
    SUCCESS,
    CheckedCall,
    ToolRefused,
    failure,
    result_for_model,
)

NUMBER = re.compile(r"\+[1-9]\d{1,14}")  # E.164
TOOL_MARGIN_MS = 2_000  # the shell enforces the time-out; this is for when it does not report


def run_calls(c: Conversation, turn: Turn, now: int) -> None:
    """Execute one answer's calls in parallel; a follow-up inference waits for all of them."""
    tool_round = ToolRound(tuple(turn.calls))
    turn.calls = []
    turn.tool_round = tool_round
    turn.rounds += 1
    c.memory.entries.append(tool_round)
    if turn.rounds > turns.MAX_TOOL_ROUNDS or not turn.may_use_tools:
        _refuse_all(c, turn, tool_round, now)
        return
    builtins: list[tuple[ToolCall, CheckedCall]] = []
    for call in tool_round.calls:
        try:
            checked = c.toolbox.check(call.name, call.arguments)
            if checked.tool.builtin:
                builtins.append((call, checked))
            else:
                _start(c, turn, tool_round, call.call_id, checked, now)
        except ToolRefused as refused:
            tool_round.results[call.call_id] = refused.result
    is_answered = False
    for call, checked in builtins:
        is_answered = _run_builtin(c, turn, tool_round, call.call_id, checked, now) or is_answered
    turn.asks_again = not is_answered


def _refuse_all(c: Conversation, turn: Turn, tool_round: ToolRound, now: int) -> None:
    """The model calls tools although it was told not to: its words, if any, are the answer."""
    for call in tool_round.calls:
        tool_round.results[call.call_id] = failure("too_many_rounds", "Answer now.", retryable=False)
    if turn.utterance is not None or turn.is_silent:
        turns.complete(c, turn)
    else:
        turns.give_up(c, turn, now)


def settle_follow_up(c: Conversation, now: int) -> None:
    """Ask the model again when every result is in, and what it has said meanwhile will not be cut by the answer."""
    turn = c.active_turn
    if turn is None or not turn.asks_again or turn.waiting:
        return
    if any(u.is_preemptible and u.turn == turn.id and u.source != "filler" for u in c.queue):
        return
    turn.asks_again = False
    turn.attempts = 0
    turns.ask_model(c, turn, now)


def _start(c: Conversation, turn: Turn, tool_round: ToolRound, call_id: str, checked: CheckedCall, now: int) -> None:
    """Start a customer's tool, or join the same call under way. Raises ToolRefused."""
    running = next((run for run in c.runs.values() if run.call.key == checked.key), None)
    if running is not None:
        running.turn = turn.id
        running.waiters.append((tool_round, call_id))
        turn.waiting.add(call_id)
        return
    if checked.is_write:
        if done := c.toolbox.done_writes.get(checked.key):
            tool_round.results[call_id] = done
            return
        if checked.key not in c.toolbox.unlocked:
            c.asked_sequence_no = c.next_sequence_no
        c.toolbox.permit_write(checked)
    turn.waiting.add(call_id)
    run = ToolRun(checked, turn.id, c.take_sequence_no(), now, 0, waiters=[(tool_round, call_id)])
    _launch(c, run, now)


def _launch(c: Conversation, run: ToolRun, now: int) -> None:
    run_id = c.take_id()
    tool = run.call.tool
    run.deadline = now + tool.timeout_ms + TOOL_MARGIN_MS
    c.runs[run_id] = run
    _store(c, run, None, None)
    c.do(RunTool(run_id, tool.name, run.call.arguments, run.call.is_write, tool.timeout_ms, run.call.key))
    _watch(c)


def _store(c: Conversation, run: ToolRun, result: str | None, ended_at: int | None) -> None:
    told = {
        "name": run.call.tool.name,
        "arguments": run.call.arguments,
        "is_write": run.call.is_write,
        "result": json.loads(result) if result else None,
    }
    text = json.dumps(told, ensure_ascii=False)
    c.do(StoreSegment(run.sequence_no, "tool", text, None, run.started_at, ended_at, "tool"))


def _watch(c: Conversation) -> None:
    if c.runs:
        c.wake(Timer.TOOL, min(run.deadline for run in c.runs.values()))
    else:
        c.calm(Timer.TOOL)


def on_tool_timer(c: Conversation, now: int) -> None:
    for run_id in [run_id for run_id, run in c.runs.items() if run.deadline <= now]:
        c.do(CancelTool(run_id))
        on_tool_finished(c, ToolFinished(run_id, ToolOutcome.UNKNOWN, ""), now)


def on_tool_finished(c: Conversation, event: ToolFinished, now: int) -> None:
    """A result: to the turn that waits for it, else (a write whose turn is gone) to the history, undelivered."""
    run = c.runs.pop(event.run_id, None)
    if run is None:
        return
    _watch(c)
    turn = c.active_turn
    is_awaited = turn is not None and run.turn == turn.id
    if event.outcome is ToolOutcome.UNKNOWN and not run.call.is_write and run.attempt == 1 and is_awaited:
        run.attempt = 2
        _launch(c, run, now)
        return
    told = result_for_model(event.outcome, event.body, is_write=run.call.is_write, is_delivered=is_awaited)
    if run.call.is_write and event.outcome is not ToolOutcome.ERROR:
        c.toolbox.done_writes[run.call.key] = told
    for tool_round, call_id in run.waiters:
        tool_round.results[call_id] = told
    _store(c, run, told, now)
    if turn is not None and is_awaited:
        turn.waiting.difference_update(call_id for _, call_id in run.waiters)
    elif c.is_connected and not c.is_over and silence.is_quiet(c):
        turns.start_turn(c, now, note=NOTE_RESULT)


_Builtin = Callable[[Conversation, Turn, CheckedCall, int], None]


def _wait(c: Conversation, turn: Turn, checked: CheckedCall, now: int) -> None:
    silence.hold(c, now)


def _end_call(c: Conversation, turn: Turn, checked: CheckedCall, now: int) -> None:
    ending.say_goodbye(c, now, "end_call", said=turn.utterance)


def _transfer(c: Conversation, turn: Turn, checked: CheckedCall, now: int) -> None:
    said = turn.utterance or speaking.say(c, phrases_for(c.language).transfer, now, "transfer")
    ending.end_after(c, {"reason": "transfer", "number": c.brief.transfer_number or ""}, said)


def _press_keys(c: Conversation, turn: Turn, checked: CheckedCall, now: int) -> None:
    digits = str(checked.arguments.get("digits", ""))
    if not KEYS.fullmatch(digits):
        raise ToolRefused("invalid_arguments", "digits: 1 to 32 of 0-9 * # w")
    press(c, digits if digits[0] in "wW" else f"w{digits}", now)


def press(c: Conversation, digits: str, now: int) -> None:
    """Press keys and listen in silence to what they do."""
    c.do(SendDigits(digits))
    if c.line is Line.MENU:
        c.menu_keys = digits
        silence.hold(c, now)


def _do_not_call(c: Conversation, turn: Turn, checked: CheckedCall, now: int) -> None:
    refuse_calls(c, now, str(checked.arguments.get("reason", "stop_request"))[:100])


def refuse_calls(c: Conversation, now: int, reason: str) -> None:
    """Stored before the goodbye, so that hanging up in the middle changes nothing. A withheld number cannot be called
    in any case."""
    if NUMBER.fullmatch(c.brief.other_number):
        c.do(AddToDoNotCall(c.brief.other_number, reason))
    ending.say_goodbye(c, now, "do_not_call", phrases_for(c.language).no_more_calls)


def _leave_voicemail(c: Conversation, turn: Turn, checked: CheckedCall, now: int) -> None:
    voicemail.recognise(c, now)


_RUN: dict[Builtin, _Builtin] = {
    Builtin.WAIT: _wait,
    Builtin.END_CALL: _end_call,
    Builtin.TRANSFER_CALL: _transfer,
    Builtin.PRESS_KEYS: _press_keys,
    Builtin.DO_NOT_CALL: _do_not_call,
    Builtin.LEAVE_VOICEMAIL: _leave_voicemail,
}


def _run_builtin(
    c: Conversation, turn: Turn, tool_round: ToolRound, call_id: str, checked: CheckedCall, now: int
) -> bool:
    """True when it is the whole answer: no follow-up inference."""
    builtin = checked.tool.builtin
    assert builtin is not None
    if turn.waiting:
        tool_round.results[call_id] = failure(
            "results_pending", "Wait for the other tools' results first.", retryable=True
        )
        return False
    tool_round.results[call_id] = SUCCESS
    if c.ending is not None:  # an earlier call of the same answer has begun to end the conversation
        return True
    try:
        _RUN[builtin](c, turn, checked, now)
    except ToolRefused as refused:
        tool_round.results[call_id] = refused.result
        return False
    turns.complete(c, turn)
    return True
