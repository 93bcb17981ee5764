"""What the model remembers of the call, rendered for Chat Completions.

Invariant: the agent's words appear as they were heard, and a tool call never appears without its result.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from voice.conversation.actions import Message
from voice.conversation.heard import SpokenText

SUMMARISE_ABOVE_TOKENS = 12_000  # about an hour of talk
SUMMARY_TOKENS = 4_000
KEPT_MESSAGES = 4
CHARACTERS_PER_TOKEN = 4

SUMMARY_REQUEST = (
    "Summarise the telephone conversation so far for the agent who continues it: who is on the line, what was asked,"
    " answered, agreed and promised, every name, number, date and tool result that may still matter, and what is"
    " open. Plain sentences, no preamble."
)


@dataclass(frozen=True, slots=True)
class CallerSaid:
    text: str


@dataclass(slots=True, eq=False)
class Utterance:
    """Something we say: what was sent, how much of it was heard, and its place in the transcript."""

    sequence_no: int
    source: str
    started_at: int
    turn: int
    is_interruptible: bool = True
    is_preemptible: bool = False
    spoken: SpokenText = field(default_factory=SpokenText)
    is_closed: bool = False  # its last token was sent
    is_cut: bool = False  # interrupted: only what was heard counts
    ended_at: int | None = None  # it has sounded, or was cut
    expected_end: int = 0  # when its speech ends if nothing reports it

    @property
    def heard(self) -> str:
        return self.spoken.heard if self.is_cut else self.spoken.sent.strip()


@dataclass(frozen=True, slots=True)
class ToolCall:
    call_id: str
    name: str
    arguments: str


@dataclass(slots=True, eq=False)
class ToolRound:
    """One answer's tool calls and their results as JSON text; a missing result is still being waited for."""

    calls: tuple[ToolCall, ...]
    results: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Note:
    """A system message that stays."""

    text: str


Entry = CallerSaid | Utterance | ToolRound | Note
RUNNING = json.dumps({"ok": None, "status": "running", "message": "Not finished yet. Do not call it again."})


@dataclass(slots=True)
class Memory:
    entries: list[Entry] = field(default_factory=list)
    summary: str | None = None

    def messages(self) -> list[Message]:
        told = [{"role": "system", "content": f"Summary of the call so far:\n{self.summary}"}]
        return (told if self.summary else []) + render(self.entries)

    def last_word_is_the_callers(self) -> bool:
        return self._last_role() == "user"

    def awaits_an_answer(self) -> bool:
        """The caller's last words, or the tools that they made us ask, have not been answered."""
        return self._last_role() in ("user", "tool")

    def _last_role(self) -> str:
        for entry in reversed(self.entries):
            if messages := render([entry]):  # an answer of which nothing was heard is none
                return str(messages[-1]["role"])
        return ""

    def last_utterance(self) -> Utterance | None:
        """What we have said last, or are saying."""
        return next((entry for entry in reversed(self.entries) if isinstance(entry, Utterance)), None)

    def is_too_long(self) -> bool:
        return estimate_tokens(self.messages()) > SUMMARISE_ABOVE_TOKENS

    def older_part(self) -> int:
        """How many entries to fold into a summary so that at least four messages stay."""
        kept = 0
        for index in range(len(self.entries) - 1, -1, -1):
            kept += len(render(self.entries[index : index + 1]))
            if kept >= KEPT_MESSAGES:
                return index
        return 0

    def fold(self, count: int, summary: str) -> None:
        """Replace the oldest `count` entries by their summary."""
        self.summary = summary[: SUMMARY_TOKENS * CHARACTERS_PER_TOKEN]
        del self.entries[:count]

    def summary_request(self, count: int) -> list[Message]:
        earlier = f"Earlier summary:\n{self.summary}\n\n" if self.summary else ""
        told = json.dumps(render(self.entries[:count]), ensure_ascii=False)
        return [
            {"role": "system", "content": SUMMARY_REQUEST},
            {"role": "user", "content": f"{earlier}Conversation as JSON (data):\n{told}"},
        ]


def render(entries: Iterable[Entry]) -> list[Message]:
    """Chat messages. Successive prompts merge into one; an answer of which nothing was heard leaves no trace."""
    messages: list[Message] = []
    for entry in entries:
        match entry:
            case CallerSaid(text):
                if messages and messages[-1]["role"] == "user":
                    messages[-1]["content"] += f" {text}"
                else:
                    messages.append({"role": "user", "content": text})
            case Utterance():
                if heard := entry.heard:
                    cut = " [interrupted]" if entry.is_cut else ""
                    messages.append({"role": "assistant", "content": heard + cut})
            case ToolRound():
                messages.extend(_render_round(entry))
            case Note(text):
                messages.append({"role": "system", "content": text})
    return messages


def _render_round(tool_round: ToolRound) -> list[Message]:
    calls = [
        {
            "id": call.call_id,
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for call in tool_round.calls
    ]
    results = [
        {
            "role": "tool",
            "tool_call_id": call.call_id,
            "content": tool_round.results.get(call.call_id, RUNNING),
        }
        for call in tool_round.calls
    ]
    return [{"role": "assistant", "content": None, "tool_calls": calls}, *results]


def estimate_tokens(messages: list[Message]) -> int:
    """Four characters a token: close enough to decide when to summarise."""
    return sum(len(str(message)) for message in messages) // CHARACTERS_PER_TOKEN
