"""The load: ready-made requests on connections that stay open.

Invariant: sending one costs a small part of what answering it does, so that on the same machine the figure is the
server's and not the load's.
"""

import asyncio
import re
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from statistics import quantiles
from typing import Any
from urllib.parse import urlencode

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_READY_SECONDS = 60


def post(path: str, body: bytes | Mapping[str, str], headers: Mapping[str, str]) -> bytes:
    """A request as it goes over the wire; a mapping is sent as a form."""
    form = isinstance(body, Mapping)
    told = urlencode(body).encode() if isinstance(body, Mapping) else body
    kind = "application/x-www-form-urlencoded" if form else "application/json"
    lines = {"Host": "127.0.0.1", "Content-Type": kind, "Content-Length": str(len(told)), **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + told


class Connection(asyncio.Protocol):
    """One keep-alive connection; `took` are the seconds of each answer."""

    def __init__(self) -> None:
        self._arrived = b""
        self._answer: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:  # uvloop's is no asyncio.Transport
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._arrived += data
        head, ended, body = self._arrived.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if ended and len(body) >= (int(length[1]) if length else 0):
            self._arrived = b""
            self._answer.set_result((int(head[9:12]), body))

    def connection_lost(self, _: Exception | None) -> None:
        if not self._answer.done():
            self._answer.set_exception(ConnectionError("the server has hung up"))

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """(status, body). Raises ConnectionError."""
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        self._answer.cancel()
        self._transport.close()


Work = Callable[[Connection, int], Awaitable[None]]


async def drive(port: int, count: int, in_flight: int, work: Work) -> float:
    """Do the work for the numbers from 0 to `count`, so many at once. Gives the seconds that all took."""
    loop, numbers = asyncio.get_running_loop(), iter(range(count))
    connections = [(await loop.create_connection(Connection, "127.0.0.1", port))[1] for _ in range(in_flight)]

    async def client(connection: Connection) -> None:
        for number in numbers:
            await work(connection, number)

    started = time.perf_counter()
    try:
        async with asyncio.TaskGroup() as clients:
            for connection in connections:
                clients.create_task(client(connection))
        return time.perf_counter() - started
    finally:
        for connection in connections:
            connection.close()


def percentile(values: list[float], percent: int) -> float:
    return quantiles(values, n=100, method="inclusive")[percent - 1]


def await_port(port: int) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError(f"nothing listens on port {port}")
