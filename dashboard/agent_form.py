"""From an agent's form to what the API takes, and from an agent back to its form.

Pure. The one invariant: what the form cannot say, it does not change; everything else is checked by the same shapes
that check the API.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from dashboard.views import Choice, Form
from dashboard.workspace_view import returns_text

TEXTS = ("persona", "instructions", "first_message", "voice", "voicemail_message", "webhook_url", "transfer_number")
LANGUAGES = {
    "en": "English",
    "en-US": "English (United States)",
    "en-GB": "English (United Kingdom)",
    "es": "Spanish",
    "es-US": "Spanish (United States)",
    "es-MX": "Spanish (Mexico)",
    "es-ES": "Spanish (Spain)",
}
FORM_FIELD = {"max_duration_seconds": "max_duration_minutes"}
"""The form's name of an API field, where it has another."""


def body_of(form: Mapping[str, str], number_ids: Sequence[str]) -> dict[str, Any] | Form:
    """The API's body for a form, or the form with what is wrong with it."""
    errors: dict[str, str] = {}
    body: dict[str, Any] = {name: form.get(name, "").strip() or None for name in TEXTS}
    body |= {
        "name": form.get("name", ""),
        "language": form.get("language") or None,
        "voicemail_action": form.get("voicemail_action") or None,
        "returns": _returns(form.get("returns", ""), errors),
        "tools": _tools(form.get("tools", ""), errors),
        "max_duration_seconds": _seconds(form.get("max_duration_minutes", ""), errors),
        "silence_timeout_seconds": _whole("silence_timeout_seconds", form, errors),
        "longest_wait_seconds": _whole("longest_wait_seconds", form, errors),
        "number_ids": list(number_ids),
        "primary_number_id": form.get("primary_number_id") or None,
    }
    if body["primary_number_id"] not in number_ids:
        body["primary_number_id"] = None
    return Form(form, errors, _HOW_MANY.get(len(errors), _MANY)) if errors else body


_MINUTES = "Enter minutes, from 1 to 60."
_SECONDS = {
    "silence_timeout_seconds": "Enter whole seconds, from 3 to 120.",
    "longest_wait_seconds": "Enter whole seconds, from 30 to 3600.",
}
_OWN_WORDS = {"max_duration_seconds": _MINUTES, **_SECONDS}
"""What the form says instead of the API's refusal, which counts in other units or in the API's terms."""
_HOW_MANY = {1: "Nothing was saved: one field needs another look."}
_MANY = "Nothing was saved: some fields need another look."


def with_refusal(form: Mapping[str, str], field: str, message: str) -> Form:
    """The form as the API's shapes refused it; `field` as the error names it, such as `tools.0.url`."""
    top = field.partition(".")[0]
    name = FORM_FIELD.get(top, top)
    known = {*TEXTS, "name", "language", "returns", "tools", "max_duration_minutes", *_SECONDS}
    if name not in known:
        return Form(form, error=message)
    sentence = _OWN_WORDS.get(top) or re.sub(rf"^`{re.escape(field)}`:? ", "", message)  # it stands beside the field
    return Form(form, {name: sentence[:1].upper() + sentence[1:]}, _HOW_MANY[1])


def agent_form(agent: Mapping[str, Any]) -> Form:
    """The form's values for an agent as the API shows it."""
    values = {name: agent[name] or "" for name in (*TEXTS, "name", "voicemail_action")}
    values["returns"] = returns_text(agent["returns"] or {})
    values["tools"] = json.dumps(agent["tools"], indent=2, ensure_ascii=False) if agent["tools"] else ""
    longest = agent["max_duration_seconds"]
    values["max_duration_minutes"] = "" if longest is None else f"{longest / 60:g}"
    values |= {name: "" if agent[name] is None else str(agent[name]) for name in _SECONDS}
    return Form(values)


def language_choices(chosen: str) -> tuple[Choice, ...]:
    """What can be chosen; an agent's present language is always among them."""
    known = LANGUAGES if chosen in LANGUAGES else {**LANGUAGES, chosen: chosen}
    return tuple(Choice(code, label, code == chosen) for code, label in known.items())


def _returns(text: str, errors: dict[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        name, colon, kind = (part.strip() for part in line.rpartition(":"))
        if not line.strip():
            continue
        if not colon or not name or kind not in ("boolean", "string", "number"):
            errors["returns"] = f"Line {number} must be a name, a colon, and boolean, string or number."
            return {}
        if name in found:
            errors["returns"] = f"Line {number} names “{name}” a second time."
            return {}
        found[name] = kind
    return found


def _tools(text: str, errors: dict[str, str]) -> list[Any]:
    if not text.strip():
        return []
    try:
        found = json.loads(text)
    except RecursionError:
        errors["tools"] = "This is nested too deeply."
        return []
    except ValueError as error:
        where = f" at line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        why = error.msg[:1].lower() + error.msg[1:] if isinstance(error, json.JSONDecodeError) else "not a number"
        errors["tools"] = f"This is not JSON: {why}{where}."
        return []
    if not isinstance(found, list):
        errors["tools"] = "Write a list of tools, in square brackets."
        return []
    return found


def _seconds(minutes: str, errors: dict[str, str]) -> int | None:
    """`minutes` may have decimals."""
    if not minutes.strip():
        return None
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,4})?", minutes.strip()):
        errors["max_duration_minutes"] = _MINUTES
        return None
    return round(float(minutes) * 60)


def _whole(name: str, form: Mapping[str, str], errors: dict[str, str]) -> int | None:
    text = form.get(name, "").strip()
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,5}", text):
        errors[name] = _SECONDS[name]
        return None
    return int(text)
