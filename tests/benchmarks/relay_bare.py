"""What the relay is measured against: a socket that hands the model's words on, and does nothing else.

The same server, the same client of the model, the same frames; no ticket, no transcript, no rules of conversation.

    python -m tests.benchmarks.relay_bare PORT FILE MODEL_URL
"""

import asyncio
import sys
from typing import Any

import msgspec
import uvloop
from quart import Quart, websocket

from config.serve import listen, serve_app
from tests.benchmarks.relay_server import watched
from voice.conversation.actions import Message
from voice.live.llm import LanguageModel, Piece, Text

GREETING = "How can I help you?"


def bare(model_url: str) -> Quart:
    app = Quart("bare")
    app.extensions["switchboard"] = None
    model = LanguageModel(base_url=model_url, api_key="", model="bare")

    @app.websocket("/relay")
    async def relay() -> None:
        await websocket.accept()
        await websocket.receive()
        await _say(GREETING, last=True)
        while True:
            frame: dict[str, Any] = msgspec.json.decode(await websocket.receive())
            if frame["type"] == "prompt":
                await _answer(model, [{"role": "user", "content": frame["voicePrompt"]}])

    app.after_serving(model.close)
    return app


async def _answer(model: LanguageModel, messages: list[Message]) -> None:
    words: asyncio.Queue[str] = asyncio.Queue()

    def deliver(piece: Piece) -> None:
        if isinstance(piece, Text):
            words.put_nowait(piece.text)

    answering = asyncio.create_task(model.answer(messages, [], None, 300, deliver))
    answering.add_done_callback(lambda _: words.put_nowait(""))
    while word := await words.get():
        await _say(word, last=False)
    await _say("", last=True)


async def _say(token: str, *, last: bool) -> None:
    frame = {"type": "text", "token": token, "last": last, "interruptible": "speech", "preemptible": False}
    await websocket.send(msgspec.json.encode(frame).decode())


def main(port: str, file: str, model_url: str) -> None:
    with watched(file), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve_app(bare(model_url), listen("127.0.0.1", int(port))))


if __name__ == "__main__":
    main(*sys.argv[1:])
