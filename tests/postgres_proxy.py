"""A wire between the server and Postgres that a test can cut."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy.engine import make_url

SOCKET = ".s.PGSQL.5432"


class Proxy:
    """Passes bytes both ways; `cut` drops all connections and refuses new ones until `mend`."""

    def __init__(self, url: str, directory: Path) -> None:
        self.url = str(make_url(url).update_query_dict({"host": str(directory)}).render_as_string(hide_password=False))
        self.loses_next_commit_answer = False
        """The next COMMIT reaches the database, its answer does not come back."""
        self._upstream = f"{make_url(url).query['host']}/{SOCKET}"
        self._path = directory / SOCKET
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def mend(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self._path)

    async def cut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_unix_connection(self._upstream)
        ends = {writer, up_writer}
        self._writers |= ends
        doomed = asyncio.Event()
        await asyncio.gather(self._requests(reader, up_writer, doomed), self._answers(up_reader, writer, doomed))
        self._writers -= ends
        for end in ends:
            end.close()

    async def _requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, doomed: asyncio.Event
    ) -> None:
        while data := await _receive(reader):
            if self.loses_next_commit_answer and b"COMMIT" in data:
                self.loses_next_commit_answer = False
                doomed.set()
            writer.write(data)
        writer.close()

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, doomed: asyncio.Event) -> None:
        while data := await _receive(reader):
            if doomed.is_set():
                break
            writer.write(data)
        writer.close()


async def _receive(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(65_536)
    except OSError:
        return b""


@asynccontextmanager
async def proxy_to(url: str, directory: Path) -> AsyncIterator[Proxy]:
    proxy = Proxy(url, directory)
    await proxy.mend()
    yield proxy
    await proxy.cut()
