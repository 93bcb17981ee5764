"""Calling a customer's tool.

Invariant: one request, to a public address, of limited time and size; a write whose outcome is unclear is reported as
unknown and never repeated. Headers never reach the model, the transcript or a log.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from config.egress import Egress, NoAnswer, Refused
from voice.conversation.actions import RunTool
from voice.conversation.events import ToolFinished, ToolOutcome
from voice.conversation.frames import sound

ANSWER_BYTES = 8_192
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")


def sound_json(text: str) -> str:
    """The text without NUL and halves of characters, escaped or not."""
    text = sound(text)
    if _SURROGATE.search(text):
        try:
            json.dumps(json.loads(text), ensure_ascii=False).encode()
        except UnicodeEncodeError:
            return _SURROGATE.sub(r"\\ufffd", text)
        except (ValueError, RecursionError):
            pass  # not JSON: then the escapes are letters like any other
    return text


async def run_tool(
    egress: Egress, config: Mapping[str, Any], call_id: str, wanted: RunTool, pace: float = 1.0
) -> ToolFinished:
    """The tool's answer, or what went wrong in a sentence. Never raises for what the tool does.

    `pace`: the conversation's seconds in a real one.
    """
    headers = {
        **(config.get("headers") or {}),
        "Content-Type": "application/json",
        "Idempotency-Key": wanted.idempotency_key,
        "X-CallingBox-Call-Id": call_id,
    }
    seconds = wanted.timeout_ms / 1000 / pace
    body = msgspec.json.encode(wanted.arguments)
    try:
        answer = await egress.post(
            str(config["url"]), body, headers, timeout_seconds=seconds, answer_bytes=ANSWER_BYTES
        )
    except Refused as error:
        return ToolFinished(wanted.run_id, ToolOutcome.ERROR, str(error))
    except NoAnswer as error:
        return ToolFinished(wanted.run_id, ToolOutcome.UNKNOWN, str(error))
    if answer.status >= 500:
        return ToolFinished(wanted.run_id, ToolOutcome.UNKNOWN, f"The tool answered with status {answer.status}.")
    if not 200 <= answer.status < 300:
        return ToolFinished(wanted.run_id, ToolOutcome.ERROR, f"The tool answered with status {answer.status}.")
    if not answer.is_whole:
        return ToolFinished(wanted.run_id, ToolOutcome.ERROR, f"The tool's answer is larger than {ANSWER_BYTES} bytes.")
    return ToolFinished(wanted.run_id, ToolOutcome.OK, sound_json(answer.body.decode("utf-8", "replace")))
