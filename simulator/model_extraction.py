"""What the simulated language model reads off a transcript when it is asked for fields by a JSON schema.

Invariant: a field is null unless something that the person said fits it.
"""

from __future__ import annotations

import json
import re
from itertools import pairwise
from typing import Any

from simulator.model_rules import Reply, content_of, long_words, numbers_in

_NAME = re.compile(r"\b(?i:my name is|this is|i'm|i am) ([A-Z][a-z]+(?: [A-Z][a-z]+)?)")
_NO = re.compile(r"\b(no|not|never|can't|cannot|don't|nope)\b", re.IGNORECASE)
_YES = re.compile(r"\b(yes|yeah|yep|sure|okay|ok|correct|right|of course|absolutely|fine|sounds good)\b", re.IGNORECASE)


def extract(body: dict[str, Any]) -> Reply:
    """The answer to a request with a JSON schema; the transcript's lines begin with "Agent: " or "Person: "."""
    schema = ((body.get("response_format") or {}).get("json_schema") or {}).get("schema") or {}
    text = "\n".join(content_of(m) for m in body["messages"] if m.get("role") == "user")
    lines = re.findall(r"^(Agent|Person): (.*)$", text, re.MULTILINE)
    fields = {name: _field(name, inner, lines) for name, inner in (schema.get("properties") or {}).items()}
    return Reply(json.dumps(fields))


def _field(name: str, schema: dict[str, Any], lines: list[tuple[str, str]]) -> Any:
    kinds = schema.get("type")
    kind = kinds[0] if isinstance(kinds, list) else kinds
    said = [words for who, words in lines if who == "Person"]
    about = long_words(name.replace("_", " "))
    fitting = _fitting(about, lines)
    match kind:
        case "boolean":
            return next((value for words in [*fitting, *said] if (value := _truth(words)) is not None), None)
        case "number" | "integer":
            return next((found[0] for words in [*fitting, *said] if (found := numbers_in(words))), None)
        case _ if name.endswith("name"):
            named = _NAME.search(" ".join(said))
            return named[1] if named else None
        case _:
            return fitting[0] if fitting else None


def _fitting(about: set[str], lines: list[tuple[str, str]]) -> list[str]:
    """What was answered to a question about the field, then what mentions it."""
    answers = [
        answer
        for (asker, question), (answerer, answer) in pairwise(lines)
        if (asker, answerer) == ("Agent", "Person") and about & long_words(question)
    ]
    return [*answers, *(words for who, words in lines if who == "Person" and about & long_words(words))]


def _truth(words: str) -> bool | None:
    if _NO.search(words):
        return False
    return True if _YES.search(words) else None
