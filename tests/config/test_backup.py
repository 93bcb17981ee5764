"""Copies of the embedded database: taken while the server works, and put back."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from billing.tables import transfers
from config.audit import audit
from config.backup import PARTIAL, NoBackup, back_up
from config.database import Database
from config.door import Door
from simulator.network import Network
from tests.databases import sqlite_url as url_of
from tests.servers import (
    DOLLAR,
    Installation,
    Organisation,
    create_organisation,
    installation,
    opened_door,
    running_network,
    settings_of,
)


@pytest.fixture
async def network() -> AsyncIterator[tuple[str, Network]]:
    async with running_network() as running:
        yield running


@pytest.fixture
def place(network: tuple[str, Network], tmp_path: Path) -> Iterator[Installation]:
    (tmp_path / "server").mkdir()
    with installation(tmp_path / "server", network[0]) as made:
        yield made


async def keys_in(url: str) -> set[str]:
    database = Database(url)
    async with database.read() as connection:
        found = set((await connection.execute(select(transfers.c.source_key))).scalars())
    await database.close()
    return found


async def test_a_copy_taken_while_calls_are_written_holds_one_sound_moment(sqlite_url: str, tmp_path: Path) -> None:
    copy = tmp_path / "copies" / "copy.db"
    copy.parent.mkdir()
    async with opened_door(sqlite_url) as door:
        writing = asyncio.create_task(keep_writing(door))
        await asyncio.sleep(0.2)
        before = await keys_in(sqlite_url)
        said = await asyncio.to_thread(back_up, sqlite_url, copy)
        assert not writing.done(), "the server was kept waiting to death"
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
    kept = await keys_in(url_of(copy))
    assert before <= kept <= await keys_in(sqlite_url)
    assert said == {"file": str(copy), "bytes": copy.stat().st_size, "rows": said["rows"]}
    assert said["rows"]["transfers"] == len(kept) > 0
    assert (await audit(settings_of({"DATABASE_URL": url_of(copy)})))["violations"] == []
    assert [path.name for path in copy.parent.iterdir()] == ["copy.db"]
    assert copy.stat().st_mode & 0o077 == 0, "others may read keys and transcripts"


async def keep_writing(door: Door) -> None:
    while True:
        await create_organisation("http://127.0.0.1:9", door, credit=DOLLAR, number=None)


async def test_a_restored_copy_is_what_the_server_was(
    place: Installation, network: tuple[str, Network], tmp_path: Path
) -> None:
    await asyncio.to_thread(place.start)
    async with opened_door(place.database_url) as door:
        org = await create_organisation(place.url, door)
    network[1].add_number(org.number, org.number)
    call = await org.over(await org.call("+14155550150"))
    wallet = await org.wallet()
    copy = tmp_path / "copy.db"
    done = await asyncio.to_thread(place.run, "backup", str(copy))
    assert json.loads(done.stdout)["rows"]["calls"] == 1
    await org.over(await org.call("+14155550151"))

    assert place.server is not None
    assert await asyncio.to_thread(place.server.stop) == 0
    lost = place.directory / "callingbox.db"
    for path in place.directory.glob("callingbox.db*"):
        path.unlink()
    copy.rename(lost)
    await asyncio.to_thread(place.start)
    assert await org.wallet() == wallet
    assert [shown["id"] for shown in (await org.get("/v1/calls"))["data"]] == [call["id"]]
    await works(org)
    audit = await asyncio.to_thread(place.run, "audit")
    assert json.loads(audit.stdout)["violations"] == []


async def works(org: Organisation) -> None:
    await org.over(await org.call("+14155550152"))


def test_what_is_there_already_is_not_touched(sqlite_url: str, tmp_path: Path) -> None:
    taken = tmp_path / "taken.db"
    taken.write_text("precious")
    with pytest.raises(NoBackup, match="exists already"):
        back_up(sqlite_url, taken)
    assert taken.read_text() == "precious"


def test_a_damaged_database_gives_no_copy(sqlite_url: str, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.db"
    content = bytearray((tmp_path / "callingbox.db").read_bytes())
    for place in range(40_000, len(content), 4_096):
        content[place : place + 64] = b"\xff" * 64
    damaged.write_bytes(content)
    with pytest.raises(NoBackup):
        back_up(url_of(damaged), tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()
    assert not (tmp_path / f"copy.db{PARTIAL}").exists()


def test_the_database_itself_is_no_place_for_its_copy(sqlite_url: str, tmp_path: Path) -> None:
    before = (tmp_path / "callingbox.db").read_bytes()
    with pytest.raises(NoBackup):
        back_up(sqlite_url, tmp_path / "callingbox.db")
    assert (tmp_path / "callingbox.db").read_bytes() == before


def test_postgres_has_a_tool_of_its_own() -> None:
    with pytest.raises(NoBackup, match="pg_dump"):
        back_up("postgresql+asyncpg://127.0.0.1/callingbox", Path("copy.db"))
