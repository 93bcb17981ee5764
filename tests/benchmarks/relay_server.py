"""The server with a watch beside its language model: how long its client took from the call to the first words.

    python -m tests.benchmarks.relay_server PORT FILE

On its end it writes the times to the file: milliseconds by the reference that the caller named in their last words.
"""

import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from config.cli import main as command
from voice.conversation.actions import Message
from voice.live.llm import LanguageModel, Piece

_REFERENCE = re.compile(r"reference is (\w+)")
_answer = LanguageModel.answer
_first_words_ms: dict[str, float] = {}


async def _timed(
    self: LanguageModel,
    messages: list[Message],
    tools: list[dict[str, Any]],
    tool_choice: str | None,
    max_tokens: int,
    deliver: Callable[[Piece], None],
) -> str:
    said = next((str(message["content"]) for message in reversed(messages) if message["role"] == "user"), "")
    references = _REFERENCE.findall(said)
    began = time.perf_counter()

    def delivered(piece: Piece) -> None:
        if references:
            _first_words_ms.setdefault(references[-1], (time.perf_counter() - began) * 1000)
        deliver(piece)

    return await _answer(self, messages, tools, tool_choice, max_tokens, delivered)


@contextmanager
def watched(file: str) -> Iterator[None]:
    """Watch the model meanwhile, then write the times."""
    LanguageModel.answer = _timed  # type: ignore[method-assign]
    try:
        yield
    finally:
        Path(file).write_text(json.dumps(_first_words_ms))


def main(port: str, file: str) -> None:
    with watched(file):
        command(["serve", "--port", port], standalone_mode=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
