"""What the agent on the line does: facts in, actions out, no clock and no input or output of its own.

Invariant: `advance` is deterministic in (conversation, event, now_ms); a shell executes its actions in order, feeds
back what happened, and fires `TimerFired` at `next_wake_ms`.
"""

from __future__ import annotations

from voice.conversation.actions import Action
from voice.conversation.brief import Builtin, CallBrief, Tool, ToolPolicy, tool_of
from voice.conversation.engine import advance
from voice.conversation.events import Event
from voice.conversation.restoring import restored_conversation
from voice.conversation.state import Conversation, new_conversation

__all__ = [
    "Action",
    "Builtin",
    "CallBrief",
    "Conversation",
    "Event",
    "Tool",
    "ToolPolicy",
    "advance",
    "new_conversation",
    "restored_conversation",
    "tool_of",
]
