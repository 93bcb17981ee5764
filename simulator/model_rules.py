"""What the simulated language model says: a table of simple rules, so that a demonstration sounds sensible.

Invariant: the same request gives the same answer. It reads only what a real model would be sent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reply:
    """Words, tool calls (name, arguments as an object or as raw text), or both."""

    text: str = ""
    tool_calls: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, read once."""

    messages: list[Message]
    tools: list[dict[str, Any]]
    last_words: str = ""
    system: str = ""
    note: str = ""
    names: frozenset[str] = field(default_factory=frozenset)

    @classmethod
    def of(cls, body: dict[str, Any]) -> Asked:
        messages = body.get("messages") or []
        tools = [] if body.get("tool_choice") == "none" else body.get("tools") or []
        users = [content_of(m) for m in messages if m.get("role") == "user"]
        systems = [content_of(m) for m in messages if m.get("role") == "system"]
        ends_with_note = len(systems) > 1 and messages[-1].get("role") == "system"
        return cls(
            messages,
            tools,
            users[-1] if users else "",
            systems[0] if systems else "",
            systems[-1] if ends_with_note else "",
            frozenset(tool["function"]["name"] for tool in tools),
        )

    @property
    def last(self) -> Message:
        return self.messages[-1] if self.messages else {}

    @property
    def task(self) -> str:
        """The first sentence of the instructions, addressed to the person on the line."""
        found = re.search(r"# Your task\n(.*?)(?:\n\n# |\Z)", self.system, re.DOTALL)
        sentence = re.split(r"(?<=[.!?])\s", (found[1] if found else "").strip())[0].rstrip(".!?")
        sentence = re.sub(r"\b(their|his|her)\b", "your", sentence)
        sentence = re.sub(r"\b(the )?(customer|patient|caller|person|client|guest)('s)?\b", _to_you, sentence)
        return re.sub(r"^(please|call [^,.]*? (and|to)) ", "", sentence, flags=re.IGNORECASE)

    @property
    def context(self) -> dict[str, Any]:
        found = re.search(r"```json\n(.*?)\n```", self.system, re.DOTALL)
        try:
            context = json.loads(found[1]) if found else {}
        except ValueError:
            return {}
        return context if isinstance(context, dict) else {}


def _to_you(match: re.Match[str]) -> str:
    return "your" if match[3] else "you"


def content_of(message: Message) -> str:
    content = message.get("content")
    return content if isinstance(content, str) else ""


def long_words(text: str) -> set[str]:
    return {word for word in re.findall(r"[a-z0-9]+", text.lower()) if len(word) > 3}


def _calling_to(asked: Asked) -> str:
    task = asked.task
    if not task:
        return "I have a short question for you"
    if re.match(r"(you|the|this|we|our|i)\b", task, re.IGNORECASE):
        return "I have a short question for you"
    return f"I'm calling to {task[0].lower()}{task[1:]}"


# Rules: the first that gives a reply wins.


def _on_note(asked: Asked) -> Reply | None:
    note = asked.note
    if "just picked up" in note:
        return Reply(f"{_calling_to(asked)}. Is this a good moment?")
    if "screening robot" in note:
        return Reply(f"{_calling_to(asked)}.")
    if "did not take your keys" in note:
        return Reply("Representative.")
    if "automated menu" in note:
        return _on_menu(asked)
    if "tool has finished" in note:
        return _on_result(asked) or Reply("By the way, that is done now.")
    if "that you are an AI" in note:
        return Reply("How can I help you?")
    if "cut off" in note:
        return Reply("As I was saying, how can I help you further?")
    return None


_OPTION = re.compile(r"(?:for|to) ([^,.]+?),? (?:please )?press (\w+)|press (\w+) (?:for|to) ([^,.]+)", re.IGNORECASE)
_DIGITS = {"zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5"}


def _on_menu(asked: Asked) -> Reply:
    """Press the option that has most words in common with the task, else the last one."""
    pairs = [(first or last, key or other) for first, key, other, last in _OPTION.findall(asked.last_words)]
    if not pairs or "press_keys" not in asked.names:
        return Reply("", (("wait", {}),))
    task = long_words(asked.system)
    best = max(pairs, key=lambda pair: len(long_words(pair[0]) & task))
    digits = _DIGITS.get(best[1], best[1])
    return Reply("", (("press_keys", {"digits": f"w{digits}"}),))


def _on_result(asked: Asked) -> Reply | None:
    """Tell what a tool gave, or ask for the confirmation it wants."""
    results = [m for m in asked.messages if m.get("role") == "tool"]
    if asked.last.get("role") not in ("tool", "system") or not results:
        return None
    try:
        result = json.loads(content_of(results[-1]))
    except ValueError:
        return Reply("I have found something, but I cannot read it.")
    if result.get("ok"):
        told = ", ".join(_flatten(result.get("result")))
        return Reply(f"I have checked that for you: {told}." if told else "That is done.")
    code = (result.get("error") or {}).get("code")
    if code == "confirmation_required":
        details = ", ".join(_flatten(_last_arguments(asked)))
        return Reply(f"Just to confirm: {details}. Shall I go ahead?")
    if code == "outcome_unknown":
        return Reply("I could not find out whether that worked. Somebody will check it for you.")
    return Reply("I'm sorry, that did not work. Can I help you with anything else?")


def _flatten(value: Any, name: str = "") -> Iterable[str]:
    match value:
        case dict():
            return [part for key, inner in list(value.items())[:4] for part in _flatten(inner, key.replace("_", " "))]
        case list():
            return [part for inner in value[:3] for part in _flatten(inner, name)]
        case bool():
            return [f"{name}: {'yes' if value else 'no'}"]
        case None:
            return []
        case _:
            return [f"{name} {value}".strip()]


def _last_arguments(asked: Asked) -> dict[str, Any]:
    for message in reversed(asked.messages):
        for call in reversed(message.get("tool_calls") or []):
            try:
                arguments = json.loads(call["function"]["arguments"])
            except ValueError:
                return {}
            return arguments if isinstance(arguments, dict) else {}
    return {}


_AGREES = re.compile(r"\W*(yes|yeah|yep|sure|ok|okay|correct|right|please do|go ahead|sí)\b", re.IGNORECASE)


def _on_yes(asked: Asked) -> Reply | None:
    """A yes to "shall I go ahead?": the same call again, with the same arguments."""
    last_round = next((m for m in reversed(asked.messages) if m.get("tool_calls")), None)
    result = next((m for m in reversed(asked.messages) if m.get("role") == "tool"), None)
    if last_round is None or result is None or "confirmation_required" not in content_of(result):
        return None
    if not re.match(
        r"\W*(yes|yeah|yep|sure|ok|okay|correct|right|please do|go ahead|sí)\b", asked.last_words, re.IGNORECASE
    ):
        return None
    function = last_round["tool_calls"][0]["function"]
    return Reply("", ((function["name"], function["arguments"]),))


def _intent(*phrases: str) -> re.Pattern[str]:
    return re.compile(rf"\b({'|'.join(phrases)})\b", re.IGNORECASE)


_INTENTS: tuple[tuple[str, re.Pattern[str], str], ...] = (
    ("do_not_call", _intent("stop calling", "don't call", "wrong number", "off your list"), ""),
    ("wait", _intent("hold on", "hang on", "(one|just a) (moment|second|sec)"), ""),
    (
        "transfer_call",
        _intent("human", "representative", "real person", "somebody else", "manager", "transfer", "connect me"),
        "I'll connect you with a colleague.",
    ),
    (
        "end_call",
        _intent("bye", "goodbye", "that'?s all", "that is all", "nothing else", "no,? (thanks|thank you|that)"),
        "Thank you for your time. Have a nice day, goodbye.",
    ),
)


def _on_intent(asked: Asked) -> Reply | None:
    for name, pattern, text in _INTENTS:
        if name in asked.names and pattern.search(asked.last_words):
            arguments = {"reason": "stop_request"} if name == "do_not_call" else {}
            return Reply(text, ((name, arguments),))
        if name == "transfer_call" and pattern.search(asked.last_words):
            return Reply("I can't connect you from here, but I'll pass your wish on. Is there anything else?")
    return None


def _on_tool(asked: Asked) -> Reply | None:
    """A customer's tool whose name or description shares a word with what was said."""
    said = long_words(asked.last_words)
    builtin = {name for name, _, _ in _INTENTS} | {"press_keys", "leave_voicemail"}
    for tool in asked.tools:
        function = tool["function"]
        about = long_words(function["name"].replace("_", " ")) | long_words(function.get("description") or "")
        if function["name"] not in builtin and said & about:
            return Reply("", ((function["name"], _arguments(function.get("parameters") or {}, asked)),))
    return None


def _arguments(schema: dict[str, Any], asked: Asked) -> dict[str, Any]:
    """Arguments that fit the schema, out of the context and the words."""
    properties = schema.get("properties") or {}
    return {
        name: asked.context[name]
        if name in asked.context
        else _value(name, properties.get(name) or {}, asked.last_words)
        for name in schema.get("required") or properties
    }


_DAY = re.compile(r"\b(mon|tues|wednes|thurs|fri|satur|sun)day\b|\btomorrow\b|\btoday\b", re.IGNORECASE)


def _value(name: str, schema: dict[str, Any], words: str) -> Any:
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) else kind
    numbers = numbers_in(words)
    match kind:
        case "integer":
            least, most = schema.get("minimum", 1), schema.get("maximum", 1e9)
            number = int(numbers[0]) if numbers else int(least)
            return number + 12 if number < least and number + 12 <= most else number  # "at four" in the afternoon
        case "number":
            return numbers[0] if numbers else schema.get("minimum", 1)
        case "boolean":
            return not re.search(r"\b(no|not|don't)\b", words, re.IGNORECASE)
        case "object":
            return {key: _value(key, inner, words) for key, inner in (schema.get("properties") or {}).items()}
        case _:
            if re.search(r"day|date|when", name) and (day := _DAY.search(words)):
                return day[0].capitalize()
            if re.search(r"id|number|code|order", name) and numbers:
                return f"{numbers[0]:g}"
            return words.strip(" .!?") or name


_ONE_TO_TWELVE = "one two three four five six seven eight nine ten eleven twelve"
_NUMBER_WORDS = {word: number for number, word in enumerate(re.findall(r"\w+", _ONE_TO_TWELVE), start=1)}


def numbers_in(words: str) -> list[float]:
    found = re.findall(r"\d+(?:\.\d+)?|[a-z]+", words.lower().replace(",", ""))
    return [float(_NUMBER_WORDS.get(x, x)) for x in found if x in _NUMBER_WORDS or x[0].isdigit()]


def _on_question(asked: Asked) -> Reply | None:
    """Answer out of the context; else admit that it is not known."""
    words = asked.last_words
    if re.fullmatch(r"\W*((what|pardon|sorry|excuse me|come again)\W*)+", words, re.IGNORECASE):
        said = [content_of(m) for m in asked.messages if m.get("role") == "assistant" and content_of(m)]
        return Reply(re.split(r"(?<=[.!?])\s", said[-1])[-1] if said else "How can I help you?")
    if "?" not in words:
        return None
    for name, value in asked.context.items():
        if long_words(name.replace("_", " ")) & long_words(words) and not isinstance(value, dict | list):
            return Reply(f"The {name.replace('_', ' ')} is {value}. Is there anything else?")
    return Reply("I don't have that at hand, but I'll pass your question on. Is there anything else?")


def _otherwise(asked: Asked) -> Reply:
    turns = sum(message.get("role") == "user" for message in asked.messages)
    if turns <= 2 and "You placed this call" in asked.system:
        return Reply(f"Thank you. {_calling_to(asked)}. Does that suit you?")
    return Reply("Thank you, I've noted that. Is there anything else I can do for you?")


_RULES: tuple[Callable[[Asked], Reply | None], ...] = (
    _on_note,
    _on_result,
    _on_yes,
    _on_intent,
    _on_tool,
    _on_question,
)


def reply_to(body: dict[str, Any]) -> Reply:
    """The answer to a Chat Completions request without a response format."""
    asked = Asked.of(body)
    return next((reply for rule in _RULES if (reply := rule(asked))), None) or _otherwise(asked)
