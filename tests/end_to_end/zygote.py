"""Server processes that start at once: `python -m tests.end_to_end.zygote` loads everything, then forks for each line.

A line is `web PORT` or `worker`; the answer is the new process's id. Each is a whole process of its own, serving as
`callingbox-server` does, and can be killed as one.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.servers import ROOT


class Zygote:
    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        self._children: list[int] = []
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.end_to_end.zygote"],
                env={**environment, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                text=True,
            )

    def fork(self, line: str) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(line, file=self._process.stdin, flush=True)
        child = int(self._process.stdout.readline())
        self._children.append(child)
        return child

    def kill(self, child: int) -> None:
        """As a power cut does it."""
        self._children.remove(child)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
            while True:  # until it is gone, and its port with it
                os.kill(child, 0)
                time.sleep(0.005)

    def close(self) -> None:
        for child in list(self._children):
            self.kill(child)
        self._process.kill()
        self._process.communicate()


@contextmanager
def running_zygote(environment: Mapping[str, str], log: Path) -> Iterator[Zygote]:
    zygote = Zygote(environment, log)
    try:
        yield zygote
    finally:
        zygote.close()
        print(log.read_text())  # shown with a test that fails


def main() -> None:
    import stripe  # noqa: F401
    import twilio.rest.api.v2010  # noqa: F401

    import config.app  # noqa: F401
    from config.serve import serve, work
    from config.settings import load

    settings = load()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead are not waited for
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
            kind, *port = line.split()
            try:
                os._exit(serve(settings, "127.0.0.1", int(port[0])) if kind == "web" else work(settings))
            finally:
                os._exit(1)
        print(child, flush=True)


if __name__ == "__main__":
    main()
