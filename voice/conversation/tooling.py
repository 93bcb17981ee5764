"""Which tools a call offers, what the model may do with them, and what it is told of the outcome.

Invariant: a write runs only after a later turn of the caller said yes to exactly these arguments, and never twice.

The schemas given to the model are not strict (strict mode excludes parallel calls and optional fields), so
every argument is validated here.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, best_match
from referencing import Registry
from referencing.exceptions import Unresolvable

from voice.conversation.brief import Builtin, CallBrief, Tool, ToolPolicy
from voice.conversation.events import ToolOutcome
from voice.conversation.listening import says_yes, words_of

MAX_ARGUMENTS_BYTES = 8_192
MAX_RESULT_BYTES = 8_192
KEYS = re.compile(r"[0-9*#wW]{1,32}")


def _schema(**properties: str) -> dict[str, Any]:
    fields = {name: {"type": "string", "description": text} for name, text in properties.items()}
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


_BUILTINS: dict[Builtin, tuple[str, dict[str, Any]]] = {
    Builtin.END_CALL: ("End the call after you have said goodbye.", _schema()),
    Builtin.WAIT: ("Be silent while the other side asked you to hold on, or while you are on hold.", _schema()),
    Builtin.DO_NOT_CALL: (
        "The other side wants no more calls, or you reached a wrong number: never call it again, and end this call.",
        _schema(reason="stop_request or wrong_number"),
    ),
    Builtin.TRANSFER_CALL: ("Connect the other side to a person. Say so first.", _schema()),
    Builtin.PRESS_KEYS: (
        "Press telephone keys in an automated menu.",
        _schema(digits="Keys 0-9 * #; w waits half a second. Begin with w."),
    ),
    Builtin.LEAVE_VOICEMAIL: ("You have reached a voicemail: leave the message and hang up.", _schema()),
}


def offered_tools(brief: CallBrief) -> tuple[Tool, ...]:
    """The customer's tools and the built-ins that fit the call; the customer's name for a built-in wins."""
    wanted = {Builtin.END_CALL, Builtin.WAIT, Builtin.DO_NOT_CALL}
    if brief.transfer_number:
        wanted.add(Builtin.TRANSFER_CALL)
    if brief.is_outbound:
        wanted.add(Builtin.PRESS_KEYS)
    if brief.leaves_message:
        wanted.add(Builtin.LEAVE_VOICEMAIL)
    tools = [tool for tool in brief.tools if tool.builtin is not Builtin.TRANSFER_CALL or brief.transfer_number]
    named = {tool.builtin for tool in tools}
    for builtin, (description, parameters) in _BUILTINS.items():
        if builtin in wanted - named:
            tools.append(Tool(builtin.value, description, parameters, builtin=builtin))
    return tuple(tools)


def definitions(tools: tuple[Tool, ...]) -> list[dict[str, Any]]:
    """Chat Completions' `tools`, always in the same order: they are part of the cached prefix."""
    return [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": dict(_schema_of(tool)),
            },
        }
        for tool in tools
    ]


def _schema_of(tool: Tool) -> Mapping[str, Any]:
    """A customer may ask a built-in for arguments of its own, except where the engine reads them."""
    if tool.builtin in (Builtin.PRESS_KEYS, Builtin.DO_NOT_CALL) or not tool.parameters.get("properties"):
        return _BUILTINS[tool.builtin][1] if tool.builtin else tool.parameters
    return tool.parameters


class ToolRefused(Exception):
    """The call is not made; the model is told why."""

    def __init__(self, code: str, message: str, *, retryable: bool = True) -> None:
        super().__init__(message)
        self.result = failure(code, message, retryable=retryable)


@dataclass(frozen=True, slots=True)
class CheckedCall:
    """A call whose arguments fit; `key` identifies the same call with the same arguments."""

    tool: Tool
    arguments: dict[str, Any]
    key: str

    @property
    def is_write(self) -> bool:
        return self.tool.policy is ToolPolicy.CONFIRM_FIRST_WRITE


@dataclass(slots=True)
class Toolbox:
    """The call's tools with what was confirmed and what was done."""

    call_id: str
    tools: tuple[Tool, ...]
    pending: dict[str, frozenset[str]] = field(default_factory=dict)  # asked for in this turn
    asked: dict[str, frozenset[str]] = field(default_factory=dict)  # what the caller's turn answers
    unlocked: set[str] = field(default_factory=set)
    done_writes: dict[str, str] = field(default_factory=dict)  # key → result; done or of unknown outcome

    def check(self, name: str, raw_arguments: str) -> CheckedCall:
        """Find the tool and validate the arguments. Raises ToolRefused."""
        tool = next((tool for tool in self.tools if tool.name == name), None)
        if tool is None:
            names = ", ".join(tool.name for tool in self.tools)
            raise ToolRefused("unknown_tool", f"There is no tool {name[:64]!r}. Your tools: {names}.")
        schema = _schema_of(tool)
        arguments = _parse(raw_arguments, schema)
        if not (tool.builtin and not arguments):
            _validate(arguments, schema)
        return CheckedCall(tool, arguments, argument_key(self.call_id, name, arguments))

    def permit_write(self, call: CheckedCall) -> None:
        """Consume the caller's yes to exactly this call. Raises ToolRefused when there is none."""
        if call.key in self.unlocked:
            self.unlocked.discard(call.key)
            self.asked.pop(call.key, None)
            return
        self.pending[call.key] = frozenset(words_of(json.dumps(call.arguments, ensure_ascii=False)))
        raise ToolRefused(
            "confirmation_required",
            "Read these details back to the caller, ask for a clear yes, and call again with the same arguments.",
        )

    def hear(self, text: str, read_back: str, *, is_continued: bool = False) -> None:
        """A turn of the caller: its yes unlocks what was asked, for this turn only; anything else locks.

        `read_back` is what the caller has heard since the confirmation was asked for: nothing heard, no assent.
        A continued turn is the same turn with more words; `text` is then the whole of it.
        """
        if not is_continued:
            self.asked, self.pending = self.pending, {}
        known = frozenset(words_of(read_back)).union(*self.asked.values())
        self.unlocked = set(self.asked) if read_back and says_yes(text, known) else set()


def argument_key(call_id: str, name: str, arguments: Mapping[str, Any]) -> str:
    """The idempotency key: of call, tool and arguments, not of the model's ever-changing call id."""
    canonical = json.dumps([call_id, name, arguments], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _parse(raw: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    if len(raw.encode()) > MAX_ARGUMENTS_BYTES:
        raise ToolRefused("invalid_arguments", f"The arguments are larger than {MAX_ARGUMENTS_BYTES} bytes.")
    try:
        arguments = json.loads(raw or "{}")
    except (ValueError, RecursionError):
        raise ToolRefused("invalid_arguments", "The arguments are not valid JSON.") from None
    if not isinstance(arguments, dict):
        raise ToolRefused("invalid_arguments", "The arguments must be a JSON object.")
    required = schema.get("required", ())
    return {name: value for name, value in arguments.items() if value is not None or name in required}


def _validate(arguments: dict[str, Any], schema: Mapping[str, Any]) -> None:
    try:
        # The empty registry keeps a "$ref" from being fetched over the network.
        problem = best_match(Draft202012Validator(schema, registry=Registry()).iter_errors(arguments))
    except (SchemaError, Unresolvable, RecursionError, re.error, TypeError, AttributeError):
        raise ToolRefused("tool_misconfigured", "This tool cannot be used.", retryable=False) from None
    if problem is not None:
        where = "/".join(str(part) for part in problem.absolute_path) or "arguments"
        raise ToolRefused("invalid_arguments", f"{where}: {problem.message[:300]}")


def failure(code: str, message: str, *, retryable: bool) -> str:
    error = {"code": code, "message": message, "retryable": retryable}
    return json.dumps({"ok": False, "error": error}, ensure_ascii=False)


SUCCESS = json.dumps({"ok": True})
CANCELLED = failure("cancelled", "It was stopped before it finished. Call it again if needed.", retryable=True)


def result_for_model(outcome: ToolOutcome, body: str, *, is_write: bool, is_delivered: bool = True) -> str:
    """The tool's answer as data: JSON when it is JSON, at most 8 kB, errors with a code the model can act on."""
    match outcome:
        case ToolOutcome.UNKNOWN if is_write:
            told = failure(
                "outcome_unknown",
                "No answer came in time; it may or may not have been done. Say so. It will not be repeated.",
                retryable=False,
            )
        case ToolOutcome.UNKNOWN:
            told = failure("unavailable", "The tool did not answer.", retryable=False)
        case ToolOutcome.ERROR:
            told = failure("tool_failed", body[:500], retryable=False)
        case ToolOutcome.OK:
            told = _success(body)
    if is_delivered:
        return told
    return json.dumps({**json.loads(told), "delivered_to_caller": False}, ensure_ascii=False)


def _success(body: str) -> str:
    kept = body.encode()[:MAX_RESULT_BYTES].decode(errors="ignore")
    if len(kept) == len(body):
        try:
            return json.dumps({"ok": True, "result": json.loads(body)}, ensure_ascii=False)
        except (ValueError, RecursionError):
            return json.dumps({"ok": True, "result": body}, ensure_ascii=False)
    return json.dumps({"ok": True, "result": kept, "truncated": True}, ensure_ascii=False)
