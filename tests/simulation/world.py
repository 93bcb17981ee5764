"""One world: what happens in it, and what must be true when all is quiet again.

Invariant: everything that is random comes from the seed.
"""

import asyncio
import contextvars
import logging
import os
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any
from unittest import mock

import structlog

from billing.audit import Violation, audit_ledger
from billing.topup_audit import audit_topups
from config.settings import Settings
from tests.simulation.bank import Vault
from tests.simulation.carrier import Network
from tests.simulation.customers import HOUR_SECONDS, SPAN_SECONDS, Customers
from tests.simulation.database import Reader, begin_anew, raw_connection, shared_engine, template
from tests.simulation.process import Process, own_tasks
from tests.simulation.time import Ids, Trouble, VirtualLoop
from tests.simulation.truth import against_the_truth
from voice.audit import audit_calls
from voice.numbers.audit import audit_numbers

COMMON = (
    *("callback_lost", "callback_repeated", "callback_reordered", "callback_delayed"),
    *("verdict_lost", "verdict_late", "verdict_contradicted", "final_contradicted", "voice_repeated"),
    *("dial_refused_429", "connection_refused", "dial_lost_on_the_way", "dial_answer_lost"),
    *("rest_429", "rest_500", "rest_no_answer", "rest_slow", "rest_stale"),
    *("event_lost", "event_twinned", "event_reordered", "bank_500", "bank_answer_lost", "answer_lost", "client_leaves"),
)
RARE = {"process_died": 0.002, "database_away": 0.004, "database_error": 0.002, "commit_answer_lost": 0.01}
"""Of each step, statement or commit: a request takes dozens."""
QUIET_HOURS = 6
WATCH_SECONDS = 60.0
BATCH_LOOK_MS = 20_000
"""How often a batch whose calls are under way is looked at here: each look takes a transaction."""
UNFINISHED = (
    "select count(*) from calls where due_at or ask_at",
    "select count(*) from numbers where status = 'pending' or (status = 'released' and due_at)",
    "select count(*) from batches where look_at",
)


class Wrong(AssertionError):
    """Something that must never be. The message names the seed and how to see it again."""


@dataclass
class Report:
    """What became of a world."""

    seed: int
    calls: int = 0
    doubtful: int = 0
    """Calls of which more than one charge was allowed."""
    faults: Counter[str] = field(default_factory=Counter)
    deaths: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    virtual_seconds: float = 0.0
    digest: str = ""


class World:
    def __init__(self, seed: int, calls: int, loop: VirtualLoop) -> None:
        self.loop, self.clock, self.call_count = loop, loop.now_ms, calls
        self.dice, self.ids = Random(f"{seed} customers"), Ids(loop)
        level = self.dice.choice((0.0, 0.03, 0.08, 0.15, 0.3))
        rare = self.dice.choice((0.0, 0.5, 1.0, 2.0))
        rates = dict.fromkeys(COMMON, level) | {name: rate * rare for name, rate in RARE.items()}
        rates["read_failed"] = rates["database_away"]
        self.trouble = Trouble(Random(f"{seed} trouble"), rates, self.clock)
        self.settings = _settings()
        self.carrier = Network(self, Random(f"{seed} carrier"))
        self.bank = Vault(self, Random(f"{seed} bank"))
        self.orgs = template()[1]
        self.deaths: Counter[str] = Counter()
        self.customers = Customers(self)
        self.found_meanwhile: list[Violation] = []
        self.processes: list[Process] = []
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self._process_count = self.dice.choice((1, 1, 2))

    def spawn(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """Something that happens outside of all processes."""
        task = self.loop.create_task(work, context=contextvars.Context())
        self.tasks[task] = None
        task.add_done_callback(lambda done: done.exception() or self.tasks.pop(done, None))
        return task

    # -- processes ----------------------------------------------------------------------------------------------------

    def any_process(self, dice: Random) -> Process | None:
        return dice.choice(self.processes) if self.processes else None

    def buried(self, process: Process) -> None:
        """Somebody starts it again after a while."""
        self.processes.remove(process)
        self.loop.call_later(self.dice.uniform(0.2, 20), self._start)

    def _start(self) -> None:
        self.processes.append(Process(self))

    # -- its life -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        begin_anew()
        for _ in range(self._process_count):
            self._start()
        self.spawn(self._watch())
        await asyncio.gather(*self.customers.doings(self.call_count))
        while self.tasks:
            await asyncio.gather(*self.tasks)
        await self._quiet()

    async def _watch(self) -> None:
        """The books are sound at every moment, not only at the end."""
        while self.loop.time() < 2 * SPAN_SECONDS and not self.found_meanwhile:
            await asyncio.sleep(WATCH_SECONDS)
            await audit_books(self.found_meanwhile)

    # -- afterwards ---------------------------------------------------------------------------------------------------

    async def _quiet(self) -> None:
        """No more trouble: what is stored leads to the end by itself."""
        deadline = self.loop.time() + QUIET_HOURS * HOUR_SECONDS
        self.trouble.is_over = True
        while unfinished := [query for query in UNFINISHED if raw_connection().execute(query).fetchone()[0]]:
            if self.loop.time() > deadline:
                raise Wrong(f"after {QUIET_HOURS} quiet hours somebody must still look: {unfinished}")
            await asyncio.sleep(30)
            await self.customers.gives_up_waiting()
        await self.customers.stops_recharging()
        await asyncio.sleep(HOUR_SECONDS)
        for _ in range(2):
            await self.processes[0].reconcile()
        for process in list(self.processes):
            process.is_alive = False
            for task in list(process.tasks):
                task.cancel()
        self.processes.clear()


def simulate(seed: int, calls: int) -> Report:
    """Let a world of this many calls happen. Raises Wrong."""
    with _silence(), asyncio.Runner(loop_factory=VirtualLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, VirtualLoop)
        loop.set_task_factory(own_tasks)
        loop.set_exception_handler(lambda loop, context: None)  # of processes that have died
        world = World(seed, calls, loop)
        with mock.patch("config.clock.uuid7", world.ids), mock.patch("voice.batches.plan.LIVE_LOOK_MS", BATCH_LOOK_MS):
            runner.run(world.run())
            found = world.found_meanwhile
            runner.run(_audit(world, found))
        report = Report(seed, faults=world.trouble.counts, deaths=world.deaths, virtual_seconds=loop.time())
        faults = [f"{v.invariant} of {v.call_id or v.org_id}: {v.detail}" for v in found]
        faults += against_the_truth(world, report)
    if faults:
        raise Wrong("\n".join(faults))
    return report


async def audit_books(found: list[Violation]) -> None:
    with shared_engine().connect() as connection:
        reader: Any = Reader(connection)
        await audit_ledger(reader, found.append)
        await audit_topups(reader, found.append)


async def _audit(world: World, found: list[Violation]) -> None:
    await audit_books(found)
    with shared_engine().connect() as connection:
        reader: Any = Reader(connection)
        await audit_calls(reader, world.clock(), found.append)
        await audit_numbers(reader, world.clock(), found.append)


@contextmanager
def _silence() -> Iterator[None]:
    """What the servers log of all this is of no interest, and must not cost time."""
    before = structlog.get_config()
    structlog.configure(
        processors=[lambda logger, name, event: ""],
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL),
        logger_factory=structlog.ReturnLoggerFactory(),
        cache_logger_on_first_use=False,
    )
    try:
        yield
    finally:
        structlog.configure(**before)


def _settings() -> Settings:
    with mock.patch.dict(os.environ, {"RATE_LIMIT_PER_MINUTE": "0"}, clear=True):
        return Settings()
