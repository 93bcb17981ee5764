"""What an organisation's pages of money cost with few calls and with many, over HTTP, on both databases.

The same server runs twice, on a database with 10,000 and on one with 1,000,000 settled calls of twelve months, and is
asked in turns, so that whatever else the machine does falls on both. The newest calls earned nothing, and some filters
find nothing at all: whoever looks for what is not there must not read everything.
"""

import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack

import httpx

from tests.benchmarks.calls import serving
from tests.benchmarks.history import AGENT, EMAIL, PASSWORD, filled
from tests.benchmarks.report import Aim, Result

FEW, MANY, QUICK_FEW, QUICK_MANY = 10_000, 1_000_000, 500, 5_000
ROUNDS, QUICK_ROUNDS, WARM_UP = 30, 5, 5
NO_CARRIER = "http://127.0.0.1:1"
AIM = Aim(1 / 1.3)
"""At most 1.3 times as long."""

PAGES = {
    "Billing": "/billing",
    "Billing, credit changes alone": "/billing?entries=credit",
    "Calls": "/calls",
    "Calls, one direction": "/calls?direction=inbound",
    "Calls that were canceled: none": "/calls?state=canceled",
    "Calls that are live: one": "/calls?state=live",
    "Calls of an agent, busy: none": f"/calls?agent={AGENT}&state=busy",
}
API = {
    "usage by day": "/v1/billing/usage/daily",
    "usage by month": "/v1/billing/usage/monthly",
    "transfers": "/v1/billing/transfers",
}


def over_http(quick: bool) -> list[Result]:
    sizes = (QUICK_FEW, QUICK_MANY) if quick else (FEW, MANY)
    return [result for database in ("SQLite", "Postgres") for result in _compare(database, sizes, quick)]


def _compare(database: str, sizes: Sequence[int], quick: bool) -> list[Result]:
    results = []
    with ExitStack() as stack:
        servers = [stack.enter_context(_serving(database, size)) for size in sizes]
        for what, path in {**PAGES, **API}.items():
            seconds = _medians(servers, path, QUICK_ROUNDS if quick else ROUNDS)
            rates = [1 / each for each in seconds]
            print(f"  {what}: {seconds[0] * 1000:.1f} ms, {seconds[1] * 1000:.1f} ms", file=sys.stderr, flush=True)
            few = f"{sizes[0]:,} calls"
            name = f"{what}, {sizes[1]:,} calls, {database}"
            results.append(Result(name, rates[1], {few: rates[0]}, aims={few: AIM}))
    return results


class _Asking(ExitStack):
    """A server with its history, and somebody logged in there."""

    http: httpx.Client


def _serving(database: str, count: int) -> _Asking:
    history, asking = filled(count), _Asking()
    url = history.sqlite_url if database == "SQLite" else history.postgres_url
    server = asking.enter_context(serving(url, NO_CARRIER, [history.org.api_key]))
    asking.http = asking.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=60))
    page = asking.http.get("/login").text
    token = page.partition('name="csrf_token" value="')[2].partition('"')[0]
    form = {"csrf_token": token, "email": EMAIL, "password": PASSWORD}
    assert asking.http.post("/login", data=form).status_code == 303
    asking.http.headers["Authorization"] = f"Bearer {history.org.api_key}"
    return asking


def _medians(servers: Sequence[_Asking], path: str, rounds: int) -> list[float]:
    """Seconds, of each server."""
    taken: list[list[float]] = [[] for _ in servers]
    for number in range(rounds + WARM_UP):
        for server, seconds in zip(servers, taken, strict=True):
            started = time.perf_counter()
            response = server.http.get(path)
            seconds.append(time.perf_counter() - started)
            assert response.status_code == 200, response.text[:500]
            if number < WARM_UP:
                seconds.clear()
    return [statistics.median(each) for each in taken]
