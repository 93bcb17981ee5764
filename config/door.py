"""The one door: every change of state is a command that passes here.

Commands queue; one writer takes all that wait, opens one transaction, reads what they touch, folds them in order,
writes in bulk, commits, and only then answers. It knows no domain: commands bring their own reading and folding.

Invariant: a command is answered only after the commit that contains its effect, and a command that fails takes no
other down with it.

On Postgres the locked row (`mutex`, one per organisation) is taken first and in sorted order; whatever else a
command reads or writes belongs to an organisation whose row is locked, so processes cannot interleave.
"""

import asyncio
import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import structlog
from sqlalchemy import Table

from config.clock import Clock, now_ms
from config.database import Database, is_unavailable, may_pass
from config.rows import Read, Rows, Stale
from config.writer import Transaction

log = structlog.get_logger(__name__)

BATCH_LIMIT = 256
QUEUE_LIMIT = 10_000
WAIT_LIMIT_MS = 5_000
RETRY_DELAYS_SECONDS = (0.0, 0.05)

R_co = TypeVar("R_co", covariant=True)
R = TypeVar("R")


class Command(Protocol[R_co]):
    """A change somebody asks for: immutable, repeatable, carrying its own ids, so that an unclear commit can be
    tried again and a batch can be folded twice."""

    def locate(self) -> Sequence[Read]:
        """Unlocked reads of facts that never change, to find which organisations this touches."""
        ...

    def organisations(self, located: Rows) -> Iterable[str]: ...

    def reads(self, located: Rows) -> Sequence[Read]:
        """Everything the fold looks at, read under the lock."""
        ...

    def fold(self, rows: Rows, now: int) -> R_co:
        """Decide and put the changes into `rows`. A refusal is a result; an exception is a fault of this command, but
        for `Stale`, which has the batch read and folded again."""
        ...


class Busy(Exception):
    """More work is waiting than can be done in time; this command was not run and never will be."""


class Down(Exception):
    """The database did not answer; the command may be repeated, its keys make that safe."""


@dataclass(slots=True)
class Waiting(Generic[R]):
    command: Command[R]
    answer: "asyncio.Future[R]"
    since: int
    droppable: bool


@dataclass(slots=True)
class Door:
    """Queue and writer of one process. `committed` listeners see every (command, result) after its commit."""

    database: Database
    mutex: Table
    clock: Clock = now_ms
    on_death: Callable[[BaseException], None] = field(default=lambda error: os._exit(70))
    committed: list[Callable[[Any, Any], None]] = field(default_factory=list)
    batch_sizes: Callable[[int], None] = field(default=lambda size: None)
    _queue: "deque[Waiting[Any]]" = field(default_factory=deque)
    _called: asyncio.Event = field(default_factory=asyncio.Event)
    _writer: "asyncio.Task[None] | None" = None

    def open(self) -> None:
        self._writer = asyncio.create_task(self._serve(), name="door")
        self._writer.add_done_callback(self._writer_ended)

    async def close(self) -> None:
        """Take no more, finish what waits, then stop."""
        writer, self._writer = self._writer, None
        self._called.set()
        if writer is not None:
            await asyncio.wait({writer})

    @property
    def depth(self) -> int:
        return len(self._queue)

    async def submit(self, command: Command[R], *, droppable: bool = False) -> R:
        """Have the command decided, committed and answered.

        `droppable`: if the caller goes away before its batch begins, the command is not run.
        Raises Busy, Down, or what the fold raised.
        """
        if self._writer is None or self._writer.done():
            raise Busy("the server is stopping")
        if len(self._queue) >= QUEUE_LIMIT:
            raise Busy("too many requests are waiting")
        answer: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._queue.append(Waiting(command, answer, self.clock(), droppable))
        self._called.set()
        return await answer

    def _writer_ended(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("door_died", error=repr(error))
            self.on_death(error)  # a process that cannot write must not go on taking requests

    async def _serve(self) -> None:
        """Until closed, and then until nothing waits."""
        while self._queue or self._writer is not None:
            if not self._queue:
                self._called.clear()
                await self._called.wait()
                continue
            taken = [self._queue.popleft() for _ in range(min(BATCH_LIMIT, len(self._queue)))]
            if batch := self._admit(taken):
                self.batch_sizes(len(batch))
                await self._run(batch)

    def _admit(self, taken: list[Waiting[Any]]) -> list[Waiting[Any]]:
        """Leave out commands that waited too long and creates whose client has gone."""
        admitted, now = [], self.clock()
        for waiting in taken:
            if waiting.droppable and waiting.answer.cancelled():
                continue
            if now - waiting.since > WAIT_LIMIT_MS:
                _fail(waiting, Busy("the request waited too long"))
                continue
            admitted.append(waiting)
        return admitted

    async def _run(self, batch: list[Waiting[Any]]) -> None:
        """Commit the batch; what cannot be committed together is halved until the culprit stands alone."""
        failure: Exception | None = None
        for delay in (*RETRY_DELAYS_SECONDS, None):
            try:
                results = await self.database.write(lambda transaction: self._fold(transaction, batch))
            except Exception as error:
                failure = error
                if delay is None or not (may_pass(error) or isinstance(error, Stale)):
                    break
                await asyncio.sleep(delay)
            else:
                self._answer(batch, results)
                return
        assert failure is not None
        if is_unavailable(failure):
            log.error("database_unavailable", waiting=len(batch), error=type(failure).__name__)
            for waiting in batch:
                _fail(waiting, Down("the database cannot be reached"))
        elif len(batch) == 1:
            log.error("command_failed", command=type(batch[0].command).__name__, error=type(failure).__name__)
            _fail(batch[0], failure)
        else:
            middle = len(batch) // 2
            await self._run(batch[:middle])
            await self._run(batch[middle:])

    async def _fold(self, transaction: Transaction, batch: list[Waiting[Any]]) -> list[Any]:
        commands = [waiting.command for waiting in batch]
        located = Rows(transaction)
        await located.read(read for command in commands for read in command.locate())
        organisations = {org for command in commands for org in command.organisations(located)}
        rows = Rows(transaction)
        await rows.lock(self.mutex, sorted(organisations))
        await rows.read(read for command in commands for read in command.reads(located))
        now = self.clock()
        results = [command.fold(rows, now) for command in commands]
        await rows.write()
        return results

    def _answer(self, batch: list[Waiting[Any]], results: list[Any]) -> None:
        for waiting, result in zip(batch, results, strict=True):
            for listener in self.committed:
                listener(waiting.command, result)
            if not waiting.answer.done():  # its client may be gone; what was committed stays committed
                waiting.answer.set_result(result)


def _fail(waiting: Waiting[Any], error: Exception) -> None:
    if not waiting.answer.done():
        waiting.answer.set_exception(error)
