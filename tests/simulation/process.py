"""A server process without its HTTP: the real door, outbox, sweeper, services and callback handlers.

Invariant: a process that has died does nothing any more; what it had not committed never was.
"""

import asyncio
import contextvars
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

from billing.tables import wallets
from billing.topup_service import Topups
from billing.topup_upkeep import TopupUpkeep
from config.database import Unavailable
from config.door import Busy, Door, Down
from tests.simulation.bank import SimulatedBank
from tests.simulation.carrier import LineToCarrier
from tests.simulation.database import SimulatedDatabase, raw_connection
from tests.simulation.time import Died, Gone
from voice.batches.runner import BatchRunner
from voice.batches.service import Batches
from voice.call import Policy
from voice.carrier import Addresses
from voice.events import VerdictReported
from voice.numbers.service import Numbers
from voice.outbox import Outbox
from voice.outcomes import Moved, Paused
from voice.service import Calls
from voice.sweeper import Sweeper
from voice.vocabulary import CARRIER_VERDICTS
from webhooks.twilio import _observation, _status

if TYPE_CHECKING:
    from tests.simulation.world import World

POLICY = Policy(amd_grace_ms=15_000, silence_ms=120_000)
RECONCILE_SECONDS = 900
RECHARGE_SECONDS = 300
PROCESS: "contextvars.ContextVar[Process | None]" = contextvars.ContextVar("PROCESS", default=None)


def own_tasks(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> "asyncio.Task[Any]":
    """Every task belongs to the process in which it was made, and dies with it."""
    context: contextvars.Context | None = options.get("context")
    process = context.get(PROCESS) if context is not None else PROCESS.get()
    task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, **options)
    if process is not None:
        process.tasks[task] = None
        task.add_done_callback(lambda done: process.tasks.pop(done, None))
    return task


class Process:
    def __init__(self, world: "World") -> None:
        self.world, self.trouble, self.is_alive = world, world.trouble, True
        self.tasks: dict[asyncio.Task[Any], None] = {}  # in order of their making: sets of tasks have none
        self.swept: Counter[str] = Counter()
        self._changed: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        database = self.database = SimulatedDatabase(self)
        self.door = Door(database, wallets, world.clock, on_death=lambda error: self.die())
        carrier = LineToCarrier(world.carrier, self, Addresses(world.settings.public_base_url))
        self.outbox = Outbox(self.door, database, carrier, POLICY, world.clock)
        self.sweeper = Sweeper(database, self.door, self.outbox, POLICY, world.clock)
        self.calls = Calls(database, self.door, self.outbox, world.settings, POLICY)
        self.batches = Batches(database, self.door, self.calls, world.settings, world.clock)
        self.batch_runner = BatchRunner(database, self.door, self.calls, world.clock)
        self.numbers = Numbers(database, self.door, carrier, world.settings, world.clock)
        self.topups = Topups(database, self.door, SimulatedBank(world.bank, self), world.settings, world.clock)
        self.door.committed.append(self._committed)
        self.spawn(self._begin())

    async def _begin(self) -> None:
        self.door.open()
        self.spawn(self._when_due("select min(due_at), min(ask_at) from calls", self._sweep))
        self.spawn(self._when_due("select min(due_at) from numbers", self.numbers.look))
        self.spawn(self._when_due("select min(look_at) from batches", self.batch_runner.look))
        self.spawn(self._reconcile())
        self.spawn(self._recharge())

    def _committed(self, command: Any, result: Any) -> None:
        for changed in self._changed.values():
            changed.set()

    # -- life and death -----------------------------------------------------------------------------------------------

    def spawn(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        context = contextvars.copy_context()
        context.run(PROCESS.set, self)
        return asyncio.get_running_loop().create_task(work, context=context)

    def step(self, name: str) -> None:
        """A moment between two steps: here it may die."""
        if self.is_alive and self.trouble.strikes("process_died"):
            self.world.deaths[name] += 1
            self.die()
        if not self.is_alive:
            raise Died

    def die(self) -> None:
        if self.is_alive:
            self.is_alive = False
            for task in list(self.tasks):
                task.cancel()
            self.world.buried(self)

    async def request(self, work: Coroutine[Any, Any, Any]) -> Any:
        """What a request over the network gives. Raises Gone where no answer comes."""
        if not self.is_alive:
            work.close()
            raise Gone
        task = self.spawn(work)
        try:
            await asyncio.wait({task})
        finally:
            task.cancel()  # a client that goes away takes its handler with it
        if not self.is_alive or task.cancelled() or self.trouble.strikes("answer_lost"):
            raise Gone
        return task.result()

    # -- what it does by itself ---------------------------------------------------------------------------------------

    async def _when_due(self, query: str, look: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """As the loops of the real process, but it knows when something will be due instead of looking every second."""
        changed = self._changed[query]
        while True:
            changed.clear()
            due = [at for at in raw_connection().execute(query).fetchone() if at]
            seconds = (min(due) - self.world.clock()) / 1000 if due else 3_600
            try:
                async with asyncio.timeout(max(0.0, seconds)):
                    await changed.wait()
                await asyncio.sleep(0.2)
                continue
            except TimeoutError:
                pass
            await self._try("sweep_postponed", look)
            await asyncio.sleep(1.0)

    async def _try(self, name: str, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """What the machinery does: whatever broke it off, it begins again."""
        from billing.topups import BankUnavailable

        try:
            await work()
        except (Unavailable, Busy, Down, BankUnavailable, RuntimeError):
            self.trouble.counts[name] += 1

    async def _sweep(self) -> None:
        self.swept += await self.sweeper.look(silent=False) + await self.sweeper.look(silent=True)

    async def _reconcile(self) -> None:
        while True:
            await asyncio.sleep(RECONCILE_SECONDS)
            await self.reconcile()

    async def reconcile(self) -> None:
        await self._try("reconcile_postponed", TopupUpkeep(self.topups).reconcile)

    async def _recharge(self) -> None:
        while True:
            await asyncio.sleep(RECHARGE_SECONDS)
            await self._try("reconcile_postponed", TopupUpkeep(self.topups).recharge)

    # -- the carrier's requests, as the HTTP handlers understand them -------------------------------------------------

    async def status(self, call_id: str, form: Mapping[str, str]) -> None:
        await self.calls.hear(call_id, _status(form), _observation("status", form))

    async def verdict(self, call_id: str, form: Mapping[str, str]) -> None:
        detection_ms = int(form["MachineDetectionDuration"]) if "MachineDetectionDuration" in form else None
        event = VerdictReported(form["CallSid"], CARRIER_VERDICTS[form["AnsweredBy"]], detection_ms)
        await self.calls.hear(call_id, event, _observation("verdict", form))

    async def voice(self, form: Mapping[str, str]) -> str:
        """`talk`, `busy`, `rejected` or `hang_up`."""
        match await self.calls.receive(form["CallSid"], form["To"], form["From"]):
            case Moved(call) if not call.status.is_final and call.final_status is None:
                return "talk"
            case Moved():
                return "hang_up"
            case Paused():
                return "busy"
        return "rejected"

    async def inbound_status(self, form: Mapping[str, str]) -> None:
        await self.calls.inbound_ended(_status(form), form["To"], form["From"], _observation("status", form))
