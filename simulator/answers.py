"""What the views share: their binding to a network, and how faults spoil the REST API's answers.

Invariant: what `refuse_unmade` raises for was not made; what `made` answers for was, whatever it answers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from quart import Response, jsonify

from simulator import faults
from simulator.faults import CreateFault
from simulator.network import Network
from simulator.rest_errors import RestError

DROP_HEADER = "X-Simulator-Drop"
"""The connection of a response that carries it is cut before the body."""
LOST_ANSWER_SECONDS = 30.0


View = Callable[..., Awaitable[Any]]


def bound(view: View, network: Network) -> View:
    """A view of this network: `view(network, …)` with the path's variables, but for the account's SID."""

    async def handle(account_sid: str = "", **arguments: str) -> Any:
        return await view(network, **arguments)

    return handle


def refuse_unmade(fault: CreateFault) -> None:
    """Raise for the faults that keep a thing from being made."""
    if fault == "throttled":
        raise RestError(20429)
    if fault == "error_unmade":
        raise RestError(20503)


async def made(network: Network, fault: CreateFault, shown: dict[str, Any], key: str) -> Response:
    """Answer 201 for a thing that was made, or spoil that answer."""
    await network.clock.sleep(faults.slowness_seconds(network.faults, network.seed, "create", key))
    if fault == "error_made":
        raise RestError(20500)
    response = jsonify(shown)
    response.status_code = 201
    if fault == "lost_timeout":
        await network.clock.sleep(LOST_ANSWER_SECONDS)
    if fault in ("lost_timeout", "lost_dropped"):
        response.headers[DROP_HEADER] = "1"
    return response


async def read_fault(network: Network, name: str) -> int:
    """Before reading a call (by SID) or a list: perhaps be slow, perhaps fail.

    Returns how many times the same was read before.
    """
    number = network.count(f"read|{name}")
    key = network.calls[name].key if name in network.calls else name
    await network.clock.sleep(faults.slowness_seconds(network.faults, network.seed, "read", key, number))
    if faults.happens(network.faults.fetch_error, network.seed, "read", key, number):
        raise RestError(20500)
    return number
