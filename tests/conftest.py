"""What tests share: databases of both kinds, the door, and organisations with money.

`database_url` runs a test twice, on SQLite and on a real Postgres; each test has a database of its own.
"""

import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from argon2 import PasswordHasher
from hypothesis import settings

from accounts import passwords
from billing.tables import wallets
from config.database import Database
from config.door import Door
from tests.databases import Postgres, SqliteFiles
from tests.turns import turn

if TYPE_CHECKING:
    from tests.servers import Server

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
MEMORY = Path("/dev/shm")
ENOUGH_BYTES = 2 << 30

if "TMPDIR" not in os.environ and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ENOUGH_BYTES:
    os.environ["TMPDIR"] = str(MEMORY)  # tests kill processes, not machines: nothing need wait for a disk
    tempfile.tempdir = None

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell that runs the suite in the background has it ignore Ctrl-C, and whatever the suite starts would ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("any machine", parent=settings(), deadline=None)  # rules hold, however slow it is
settings.load_profile("any machine")


@pytest.fixture(scope="session", autouse=True)
def _swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Without the real price of a password, and the world's certificates for each client on loopback."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "_hasher", CHEAP)
        patch.delenv("SSL_CERT_FILE", raising=False)
        patch.setenv("SSL_CERT_DIR", str(tmp_path_factory.mktemp("certificates")))
        yield


@pytest.fixture(autouse=True)
def _turn(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A test that measures a busy machine is `alone` on it."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        yield
        return
    with turn(tmp_path_factory.getbasetemp().parent, alone=request.node.get_closest_marker("alone") is not None):
        yield


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    server = Postgres()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def sqlite_files(tmp_path_factory: pytest.TempPathFactory) -> SqliteFiles:
    return SqliteFiles(tmp_path_factory.mktemp("sqlite"))


@pytest.fixture
def sqlite_url(sqlite_files: SqliteFiles, tmp_path: Path) -> Iterator[str]:
    with sqlite_files.database(tmp_path) as url:
        yield url


@pytest.fixture
def postgres_url(postgres: Postgres) -> Iterator[str]:
    with postgres.database() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url)
    yield database
    await database.close()


@pytest.fixture
async def door(database: Database) -> AsyncIterator[Door]:
    """An open door whose death fails the test."""
    deaths: list[BaseException] = []
    door = Door(database, wallets, on_death=deaths.append)
    door.open()
    yield door
    await door.close()
    assert not deaths


@pytest.fixture
async def server(database_url: str) -> "AsyncIterator[Server]":
    """The whole application on a real socket, on either database, beside a fast simulated telephone network."""
    from tests.servers import running_network, running_server  # imports every room; tests without a server need none

    async with running_network() as network, running_server(database_url, network=network) as server:
        yield server


@pytest.fixture
async def sqlite_server(sqlite_url: str) -> "AsyncIterator[Server]":
    """The same on SQLite alone, for what does not depend on the database."""
    from tests.servers import running_network, running_server

    async with running_network() as network, running_server(sqlite_url, network=network) as server:
        yield server
