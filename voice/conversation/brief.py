"""What a conversation is told before it begins: the call's snapshot of its agent, and the tools it may use.

Invariant: a brief never changes while its call lasts, and holds no address, header or secret of a tool.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

TOOL_TIMEOUT_MS = 10_000


class ToolPolicy(StrEnum):
    READ = "read"  # changes nothing: may be cancelled and asked again
    CONFIRM_FIRST_WRITE = "confirm_first_write"  # needs the caller's yes; finishes once begun


class Builtin(StrEnum):
    END_CALL = "end_call"
    TRANSFER_CALL = "transfer_call"
    PRESS_KEYS = "press_keys"
    LEAVE_VOICEMAIL = "leave_voicemail"
    WAIT = "wait"
    DO_NOT_CALL = "do_not_call"


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool as the model sees it; `builtin` marks those the engine itself executes."""

    name: str
    description: str
    parameters: Mapping[str, Any]  # a JSON Schema object
    policy: ToolPolicy = ToolPolicy.READ
    builtin: Builtin | None = None
    timeout_ms: int = TOOL_TIMEOUT_MS


_BUILTIN_NAMES = {"send_dtmf": Builtin.PRESS_KEYS} | {builtin.value: builtin for builtin in Builtin}


def tool_of(config: Mapping[str, Any]) -> Tool:
    """A tool as a customer configured it (already validated), without its address and headers.

    Raises ValueError for a policy or a built-in that does not exist.
    """
    builtin = None
    if config.get("type") == "builtin":
        named = config.get("builtin") or config["name"]
        if named not in _BUILTIN_NAMES:
            raise ValueError(f"There is no built-in {named!r}; there are {', '.join(_BUILTIN_NAMES)}.")
        builtin = _BUILTIN_NAMES[named]
    return Tool(
        config["name"],
        config.get("description") or "",
        config.get("parameters") or {"type": "object", "properties": {}},
        ToolPolicy(config.get("policy") or ToolPolicy.READ),
        builtin,
        config.get("timeout_ms") or TOOL_TIMEOUT_MS,
    )


@dataclass(frozen=True, slots=True)
class CallBrief:
    """Numbers are E.164, times are milliseconds (`deadline_ms`: epoch), `context` is JSON from the customer."""

    call_id: str
    direction: str  # inbound, outbound
    organisation: str
    from_number: str
    to_number: str
    instructions: str
    persona: str | None = None
    context: Mapping[str, Any] = field(default_factory=dict)
    first_message: str | None = None
    legal_notice: str | None = None  # said first and whole, such as a recording notice
    announce_ai: bool = True
    language: str = "en-US"
    languages: tuple[str, ...] = ()  # what the TwiML declares beside `language`
    tools: tuple[Tool, ...] = ()
    voicemail_action: str = "hangup"  # hangup, leave_message
    voicemail_message: str | None = None
    transfer_number: str | None = None
    silence_ms: int = 8_000  # before the first "are you still there?"
    hold_cap_ms: int = 600_000
    deadline_ms: int | None = None  # the call's maximum is reached
    local_time: str = ""  # where the call is, in words

    @property
    def is_outbound(self) -> bool:
        return self.direction == "outbound"

    @property
    def other_number(self) -> str:
        return self.to_number if self.is_outbound else self.from_number

    @property
    def leaves_message(self) -> bool:
        return self.is_outbound and self.voicemail_action == "leave_message"
