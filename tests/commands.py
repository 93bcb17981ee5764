"""Commands of `callingbox-server` that start at once: forked from a process that has loaded what they need.

Invariant: a command is a process of its own, with the environment, output and exit code that it has as a program.
"""

import atexit
import json
import os
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

ROOT = Path(__file__).parents[1]


class Commands:
    def __init__(self) -> None:
        self._one_at_a_time = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.commands"],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        atexit.register(self._process.kill)

    def run(self, arguments: Sequence[str], environment: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with TemporaryDirectory() as directory, self._one_at_a_time:
            wanted = {"arguments": arguments, "environment": dict(environment), "directory": directory}
            print(json.dumps(wanted), file=self._process.stdin, flush=True)
            code = int(self._process.stdout.readline())
            out, err = (Path(directory, name).read_text() for name in ("out", "err"))
        return subprocess.CompletedProcess(arguments, code, out, err)


@cache
def commands() -> Commands:
    return Commands()


def _become(arguments: Sequence[str], environment: Mapping[str, str], directory: str) -> NoReturn:
    os.environ.clear()
    os.environ.update(environment)
    for stream, path in enumerate((os.devnull, f"{directory}/out", f"{directory}/err")):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), stream)
    code = 1
    try:
        from config.cli import main

        main(list(arguments), prog_name="callingbox-server")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    for each in ("config.app", "config.audit", "config.cli", "config.doctor", "config.operator_cli", "voice.replay"):
        import_module(each)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _become(**json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
