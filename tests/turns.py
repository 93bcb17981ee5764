"""Whose turn it is among the workers of one run: tests run beside each other, one marked `alone` beside nobody.

Invariant: whoever asks is served in the order of asking, so that a test which wants to be alone is not kept waiting by
others that come and go.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def turn(directory: Path, *, alone: bool) -> Iterator[None]:
    """`directory` is the run's own, shared by its workers."""
    with (directory / "queue").open("w") as queue, (directory / "room").open("w") as room:
        fcntl.flock(queue, fcntl.LOCK_EX)
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(queue, fcntl.LOCK_UN)
        yield
