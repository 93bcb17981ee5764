"""What becomes of the figures with 1,000 wallets, with 1,000,000 past calls, and with several processes on Postgres.

All variants run at once and are asked in turns, so that whatever else the machine does falls on all.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from operator import attrgetter
from statistics import median

from tests.benchmarks.calls import (
    Round,
    Serving,
    bare_handler,
    carrier_process,
    compared,
    environment,
    process,
    rounds,
    serving,
)
from tests.benchmarks.door import PAIRS, QUICK_PAIRS, ROUNDS, run, through_the_door, with_wallets
from tests.benchmarks.history import filled, fresh_postgres, fresh_sqlite, organisations
from tests.benchmarks.report import Aim, Result
from tests.servers import ROOT, free_port

MANY_WALLETS, QUICK_MANY_WALLETS = 1_000, 20
PAST_CALLS, QUICK_PAST_CALLS = 1_000_000, 5_000
PROCESSES = (1, 2, 4)
AIM, TWO_PROCESSES_AIM = Aim(0.8), Aim(1.5)
FIGURES = {
    "POST /v1/calls": attrgetter("calls_a_second"),
    "status callbacks": attrgetter("callbacks_a_second"),
}


def of_door(quick: bool) -> list[Result]:
    """(a) on a new database with one wallet and with many, and on one with a history."""
    wallets, past = (QUICK_MANY_WALLETS, QUICK_PAST_CALLS) if quick else (MANY_WALLETS, PAST_CALLS)
    history, pairs = filled(past), QUICK_PAIRS if quick else PAIRS
    results = []
    for database, fresh, old in (
        ("SQLite", fresh_sqlite, history.sqlite_url),
        ("Postgres", fresh_postgres, history.postgres_url),
    ):
        taken = []
        for _ in range(1 if quick else ROUNDS):
            variants = (with_wallets(fresh(), 1), with_wallets(fresh(), wallets), (old, [history.org.id]))
            taken.append([run(through_the_door, *variant, pairs)[0] for variant in variants])
        one, many, grown = (median(each) for each in zip(*taken, strict=True))
        print(f"  {database}: {one:,.0f}, {many:,.0f}, {grown:,.0f} a second", file=sys.stderr, flush=True)
        of = f"reserve and settle, {database}"
        results += _grown(of, wallets, past, one, many, grown)
    return results


def over_http(quick: bool) -> list[Result]:
    """(b) and (c) on SQLite, likewise."""
    wallets, past = (QUICK_MANY_WALLETS, QUICK_PAST_CALLS) if quick else (MANY_WALLETS, PAST_CALLS)
    history, few, many = filled(past), fresh_sqlite(), fresh_sqlite()
    keys = {few: organisations(few, 1), many: organisations(many, wallets), history.sqlite_url: [history.org]}
    with ExitStack() as stack:
        carrier = stack.enter_context(carrier_process())
        servers = [
            stack.enter_context(serving(url, carrier, [org.api_key for org in orgs])) for url, orgs in keys.items()
        ]
        found = rounds(quick, servers)
    return [
        result
        for what, figure in FIGURES.items()
        for result in _grown(f"{what}, SQLite", wallets, past, *map(figure, found))
    ]


def _grown(what: str, wallets: int, past: int, one: float, many: float, grown: float) -> list[Result]:
    none = "no past calls"
    return [
        Result(f"{what}, {wallets:,} wallets", many, {"one wallet": one}),
        Result(f"{what}, {past:,} past calls", grown, {none: one}, aims={none: AIM}),
    ]


# -- several processes ------------------------------------------------------------------------------------------------


def of_processes(quick: bool) -> list[Result]:
    """The web processes of `Procfile` on one Postgres each, beside a bare handler in one process."""
    with ExitStack() as stack:
        carrier = stack.enter_context(carrier_process())
        servers = [stack.enter_context(_web(count, carrier)) for count in PROCESSES]
        bare = stack.enter_context(bare_handler(carrier))
        *found, reference = rounds(quick, [*servers, bare])
    results = compared("Postgres", found[0], reference)
    for count, of in zip(PROCESSES[1:], found[1:], strict=True):
        results += _beside_one(count, of, found[0])
    return results


def _beside_one(count: int, of: Round, one: Round) -> Sequence[Result]:
    aims = {"one process": TWO_PROCESSES_AIM} if count == 2 else {}
    return [
        Result(f"{what}, Postgres, {count} processes", figure(of), {"one process": figure(one)}, aims=aims)
        for what, figure in FIGURES.items()
    ]


@contextmanager
def _web(count: int, carrier: str) -> Iterator[Serving]:
    lines = (ROOT / "Procfile").read_text().splitlines()
    command = next(line.partition(": ")[2] for line in lines if line.startswith("web:"))
    url, port = fresh_postgres(), free_port()
    keys = [org.api_key for org in organisations(url, 8)]
    told = environment(url, port, carrier) | {"WEB_CONCURRENCY": str(count)}
    with process(["sh", "-c", f"exec {command}"], port, told) as started:
        yield Serving(port, started, keys)
