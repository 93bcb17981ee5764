"""Taking a call over from its transcript, in a process that has not heard it.

Invariant: a write that was done, or may have been done, is known here as well and is never repeated.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from voice.conversation.actions import StoreSegment
from voice.conversation.brief import CallBrief
from voice.conversation.events import ToolOutcome
from voice.conversation.heard import SpokenText
from voice.conversation.listening import Speaker, who_speaks
from voice.conversation.memory import CallerSaid, Entry, ToolCall, ToolRound, Utterance
from voice.conversation.state import Conversation, Line, Rest, new_conversation
from voice.conversation.tooling import CANCELLED, argument_key, result_for_model

_FORGOTTEN = {"filler", "apology"}  # never part of what the model remembers


def restored_conversation(brief: CallBrief, segments: Iterable[StoreSegment]) -> Conversation:
    """The conversation as far as it was stored; `SetupReceived(resumed=...)` makes it go on."""
    c = new_conversation(brief)
    for segment in sorted(segments, key=lambda each: each.sequence_no):
        c.next_sequence_no = segment.sequence_no + 1
        c.line = _line_after(c, segment)
        entry = _entry(c, segment)
        if entry is not None:
            c.memory.entries.append(entry)
    people = [entry for entry in c.memory.entries if isinstance(entry, CallerSaid)]
    spoken = [entry for entry in c.memory.entries if isinstance(entry, Utterance)]
    c.person_turns = len(people)
    c.is_holding = c.line is Line.MENU
    if c.line is Line.SCREENER:
        c.machine_at = next(entry.started_at for entry in spoken if entry.source == "screener")
    c.is_greeted = bool(spoken)
    c.has_replied = any(entry.source == "reply" for entry in spoken)
    last = c.memory.entries[-1] if c.memory.entries else None
    if isinstance(last, Utterance) and last.is_cut and c.line is not Line.MACHINE:
        c.rest = Rest(last.spoken.unheard, is_complete=True)
    return c


def _line_after(c: Conversation, segment: StoreSegment) -> Line:
    """Who is at the other end, as far as what was said tells."""
    match segment.role, segment.source:
        case "person", _:
            return Line.PERSON
        case "agent", "screener":
            return Line.SCREENER
        case "agent", "voicemail":
            return Line.MACHINE  # its message is said again, whole
        case "system", "machine" if who_speaks(segment.text) is Speaker.MENU:
            return Line.MENU
        case _:
            return c.line


def _entry(c: Conversation, segment: StoreSegment) -> Entry | None:
    match segment.role:
        case "person":
            keys = segment.source == "dtmf"
            return CallerSaid(f"[pressed keys: {segment.text}]" if keys else segment.text)
        case "agent" if segment.source not in _FORGOTTEN:
            return _utterance(segment)
        case "tool":
            return _tool_round(c, segment)
        case _:
            return None


def _utterance(segment: StoreSegment) -> Utterance:
    spoken = SpokenText()
    spoken.add(segment.text)
    spoken.played(segment.text)
    if segment.cut_text:
        spoken.add(f" {segment.cut_text}")
    return Utterance(
        segment.sequence_no,
        segment.source,
        segment.started_at,
        turn=0,
        spoken=spoken,
        is_closed=True,
        is_cut=segment.cut_text is not None,
        ended_at=segment.ended_at,
    )


def _tool_round(c: Conversation, segment: StoreSegment) -> ToolRound | None:
    """A segment without a result was under way when its process died: its outcome is unknown."""
    try:
        told = json.loads(segment.text)
        name, arguments, is_write = told["name"], told["arguments"], told["is_write"]
    except (ValueError, KeyError, TypeError):
        return None
    if told.get("result") is None:
        result = result_for_model(ToolOutcome.UNKNOWN, "", is_write=True) if is_write else CANCELLED
    else:
        result = json.dumps(told["result"], ensure_ascii=False)
    has_failed = json.loads(result).get("error", {}).get("code") == "tool_failed"
    if is_write and not has_failed:
        c.toolbox.done_writes[argument_key(c.brief.call_id, name, arguments)] = result
    call = ToolCall(f"call_{c.take_id()}", name, json.dumps(arguments, ensure_ascii=False))
    return ToolRound((call,), {call.call_id: result})
