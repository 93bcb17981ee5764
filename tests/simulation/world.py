"""One world: what happens in it, and what must be true when all is quiet again.

Invariant: everything that is random comes from the seed.
"""

import asyncio
import contextvars
import hashlib
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
from config.database import Unavailable
from config.door import Busy, Down
from config.errors import ApiError
from config.settings import Settings
from tests.simulation.bank import Vault
from tests.simulation.carrier import Leg, Network
from tests.simulation.database import CREDITS, NUMBERS, Reader, begin_anew, raw_connection, shared_engine, template
from tests.simulation.oracle import allowed_charges
from tests.simulation.process import POLICY, Process, own_tasks
from tests.simulation.time import Gone, Ids, Trouble, VirtualLoop
from voice.audit import audit_calls
from voice.service import Wanted

COMMON = (
    *("callback_lost", "callback_repeated", "callback_reordered", "callback_delayed"),
    *("verdict_lost", "verdict_late", "verdict_contradicted", "final_contradicted", "voice_repeated"),
    *("dial_refused_429", "connection_refused", "dial_lost_on_the_way", "dial_answer_lost"),
    *("rest_429", "rest_500", "rest_no_answer", "rest_slow", "rest_stale"),
    *("event_lost", "event_twinned", "event_reordered", "bank_500", "bank_answer_lost", "answer_lost", "client_leaves"),
)
RARE = {"process_died": 0.002, "database_away": 0.004, "database_error": 0.002, "commit_answer_lost": 0.01}
"""Of each step, statement or commit: a request takes dozens."""
HOUR_SECONDS = 3_600
QUIET_HOURS = 6
SPAN_SECONDS = 600.0


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
        self.acknowledged: list[str] = []
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

    # -- customers ----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        begin_anew()
        for _ in range(self._process_count):
            self._start()
        dice = self.dice
        doing = [self._calls_out(number) for number in range(self.call_count) if dice.random() < 0.75]
        doing += [self._is_called(number) for number in range(self.call_count - len(doing))]
        doing += [self._tops_up() for _ in range(dice.randint(0, 3))]
        await asyncio.gather(*doing)
        while self.tasks:
            await asyncio.gather(*self.tasks)
        await self._quiet()

    async def _calls_out(self, number: int) -> None:
        dice = self.dice
        await asyncio.sleep(dice.uniform(0, SPAN_SECONDS))
        index = dice.randrange(len(self.orgs))
        maximum = dice.choice((60, 120, 600))
        to = f"+1212555{dice.choice((number, number, 0)) + 100:04d}"
        wanted = Wanted(to, NUMBERS[index], maximum, {"result_status": "skipped", "voicemail_action": "hangup"})
        row = await self._until_answered(
            lambda process: process.calls.place(self.orgs[index], wanted, f"order-{number}", {"number": number}), 12
        )
        if row is None:
            return
        self.acknowledged.append(row[0]["id"])
        if dice.random() < 0.2:
            await asyncio.sleep(dice.expovariate(1 / 30))
            call_id = row[0]["id"]
            await self._until_answered(lambda process: process.calls.hang_up(self.orgs[index], call_id), 12)

    async def _until_answered(self, ask: Any, attempts: int) -> Any:
        """What a careful customer gets: it asks again while there is no answer, no room or no credit."""
        for _ in range(attempts):
            process = self.any_process(self.dice)
            try:
                if process is not None:
                    patience = self.dice.uniform(0.0, 0.3) if self.trouble.strikes("client_leaves") else 60.0
                    async with asyncio.timeout(patience):
                        return await process.request(ask(process))
            except ApiError as error:
                if error.status not in (402, 409, 502, 503):
                    return None
            except (Gone, TimeoutError, Busy, Down, Unavailable, RuntimeError):
                pass
            await asyncio.sleep(self.dice.uniform(0.2, 30))
        return None

    async def _is_called(self, number: int) -> None:
        await asyncio.sleep(self.dice.uniform(0, SPAN_SECONDS))
        leg = self.carrier.make("inbound", self.dice.choice(NUMBERS), f"+1312555{number + 100:04d}")
        await self.carrier.inbound(leg)

    async def _tops_up(self) -> None:
        dice = self.dice
        await asyncio.sleep(dice.uniform(0, SPAN_SECONDS))
        org_id, cents = dice.choice(self.orgs), dice.choice((500, 1_000, 2_599))
        made = await self._until_answered(lambda process: process.topups.create(org_id, cents), 5)
        if made is None:
            return
        async with asyncio.timeout(None):
            await asyncio.sleep(dice.uniform(1, 60))
        session = next(s for s in self.bank.sessions.values() if s["client_reference_id"] == made[0]["id"])
        if dice.random() < 0.15:
            await asyncio.sleep(HOUR_SECONDS)
            self.bank.expire(session["id"])
            return
        if session["status"] != "open":
            return
        self.spawn(self.bank.paid(session["id"]))
        if dice.random() < 0.5:
            await asyncio.sleep(dice.choice((0.0, 1.0)))
            session_id = session["id"]
            await self._until_answered(
                lambda process: process.topups.return_from_checkout(org_id, session_id), dice.randint(1, 2)
            )

    # -- afterwards ---------------------------------------------------------------------------------------------------

    async def _quiet(self) -> None:
        """No more trouble: what is stored leads to the end by itself."""
        deadline = self.loop.time() + QUIET_HOURS * HOUR_SECONDS
        self.trouble.is_over = True
        while raw_connection().execute("select count(*) from calls where due_at or ask_at").fetchone()[0]:
            if self.loop.time() > deadline:
                raise Wrong(f"after {QUIET_HOURS} quiet hours there are calls that somebody must still look at")
            await asyncio.sleep(30)
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
        with mock.patch("config.clock.uuid7", world.ids):
            runner.run(world.run())
            found: list[Violation] = []
            runner.run(_audit(world, found))
        report = Report(seed, faults=world.trouble.counts, deaths=world.deaths, virtual_seconds=loop.time())
        faults = [f"{v.invariant} of {v.call_id or v.org_id}: {v.detail}" for v in found]
        faults += _against_the_truth(world, report)
    if faults:
        raise Wrong("\n".join(faults))
    return report


async def _audit(world: World, found: list[Violation]) -> None:
    with shared_engine().connect() as connection:
        reader: Any = Reader(connection)
        await audit_ledger(reader, found.append)
        await audit_topups(reader, found.append)
        await audit_calls(reader, world.clock(), found.append)


def _against_the_truth(world: World, report: Report) -> Iterator[str]:
    raw = raw_connection()
    cursor = raw.execute("select * from calls order by id")
    names = [column[0] for column in cursor.description]
    rows = [dict(zip(names, row, strict=True)) for row in cursor]
    ends = dict(raw.execute("select call_id, created_at from transfers where kind in ('settle', 'release')").fetchall())
    legs = world.carrier.legs
    by_id: dict[str, list[Leg]] = {}
    for leg in legs.values():
        if leg.our_id is not None:
            by_id.setdefault(leg.our_id, []).append(leg)
    known = {row["id"]: row for row in rows}
    spent: Counter[str] = Counter()
    for row in rows:
        report.calls += 1
        report.reasons[f"{row['direction']} {row['billing_reason']}"] += 1
        spent[row["org_id"]] += row["billing_amount_milli_cents"] or 0
        if row["direction"] == "outbound":
            yield from _outbound_faults(world, row, by_id.get(row["id"], []), ends, report)
        else:
            yield from _inbound_faults(world, row, legs[row["twilio_call_sid"]], ends, report)
    for our_id in by_id.keys() - known.keys():
        yield f"the carrier was asked for call {our_id}, which nobody knows"
    for our_id in set(world.acknowledged) - known.keys():
        yield f"call {our_id} was acknowledged and is lost"
    for our_id, count in Counter(our_id for our_id, what in world.carrier.posts if what != "429").items():
        if count > 1:
            yield f"call {our_id} was dialled {count} times"
    yield from _wallet_faults(world, spent)
    report.digest = hashlib.sha256(repr([sorted(row.items()) for row in rows]).encode()).hexdigest()


def _outbound_faults(
    world: World, row: dict[str, Any], legs: list[Leg], ends: dict[str, int], report: Report
) -> Iterator[str]:
    charged, what = row["billing_amount_milli_cents"], f"call {row['id']} ({row['billing_reason']})"
    if row["reservation_status"] not in ("settled", "released") or row["id"] not in ends:
        yield f"{what}: its hold is open"
        return
    if not legs:
        if charged or row["error_code"] is None:
            yield f"{what}: there was no such call, charged {charged}, error_code {row['error_code']}"
        return
    [leg] = legs
    if row["error_code"] is not None or row["twilio_call_sid"] != leg.sid:
        yield f"{what}: given up ({row['error_code']}) although the carrier has it as {leg.sid}"
    elif ends[row["id"]] < (leg.ended_at or 0):
        yield f"{what}: its hold ended at {ends[row['id']]}, before the call did at {leg.ended_at}"
    else:
        yield from _charge_faults(world, row, leg, report)


def _inbound_faults(world: World, row: dict[str, Any], leg: Leg, ends: dict[str, int], report: Report) -> Iterator[str]:
    if row["reservation_status"] == "reserved":
        yield f"inbound call {row['id']}: its hold is open"
    elif row["id"] in ends and ends[row["id"]] < (leg.ended_at or 0):
        yield f"inbound call {row['id']}: its hold ended before the call did"
    elif row["error_code"] is not None:
        if row["billing_amount_milli_cents"]:
            yield f"inbound call {row['id']} was turned away and paid"
    else:
        yield from _charge_faults(world, row, leg, report)


def _charge_faults(world: World, row: dict[str, Any], leg: Leg, report: Report) -> Iterator[str]:
    allowed = allowed_charges(leg, row["max_duration_seconds"], POLICY.amd_grace_ms, world.trouble)
    report.doubtful += len(allowed) > 1
    if row["billing_amount_milli_cents"] not in allowed:
        yield (
            f"{row['direction']} call {row['id']}: charged {row['billing_amount_milli_cents']} "
            f"({row['billing_reason']}), allowed {sorted(allowed)}: {leg.status} after {leg.duration_seconds} s, "
            f"answered by {leg.answered_by}; told {leg.told}; voice {leg.voice}"
        )


def _wallet_faults(world: World, spent: Counter[str]) -> Iterator[str]:
    net = world.bank.net_milli_cents()
    for org_id, credit in zip(world.orgs, CREDITS, strict=True):
        query = "select balance, held from wallets where id = ?"
        balance, held = raw_connection().execute(query, (org_id,)).fetchone()
        expected = credit + net[org_id] - spent[org_id]
        if (balance, held) != (expected, 0):
            yield f"organisation {org_id} has {balance} and {held} held; it must have {expected} and nothing held"


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
