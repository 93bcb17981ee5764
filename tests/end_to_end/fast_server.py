"""`python -m tests.end_to_end.fast_server PORT SPEED`: the server with a clock as fast as the simulated network's.

Its clock begins two hours ago, so that it never overtakes the carrier's times of day.
"""

import asyncio
import sys
import time

from config.app import create_app
from config.clock import now_ms
from config.serve import listen, loop_factory, serve_app
from config.settings import load

BEHIND_MS = 2 * 3_600_000


def main(port: int, speed: float) -> None:
    began, epoch = time.monotonic(), now_ms() - BEHIND_MS
    app = create_app(load(), lambda: epoch + int((time.monotonic() - began) * speed * 1000))
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(serve_app(app, listen("127.0.0.1", port)))


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
