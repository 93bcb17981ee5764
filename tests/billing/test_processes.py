"""The ledger under several processes at once, and under processes that are killed."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

from billing.posting import Transfer
from billing.wallet import Wallet
from config.database import Database
from config.door import Door
from tests.billing.books import all_transfers
from tests.billing.conftest import OpenBooks

ROOT = Path(__file__).parents[2]


def start(url: str, org_id: str, name: str, count: int, amount: int) -> "subprocess.Popen[str]":
    """A process that asks for so many holds and prints a line for each answer."""
    arguments = [sys.executable, "-m", "tests.billing.holder", url, org_id, name, str(count), str(amount)]
    return subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True)


async def test_several_processes_never_hold_more_than_a_wallet_has(
    open_books: OpenBooks, database: Database, database_url: str
) -> None:
    k = 30
    books = await open_books(credit=7 * k + 6)
    processes = [start(database_url, books.org_id, f"process {number}", 10 * k // 3, 7) for number in range(3)]
    outputs = [(await asyncio.to_thread(process.communicate))[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    answers = [line.split()[0] for output in outputs for line in output.splitlines()]
    assert (answers.count("held"), answers.count("insufficient")) == (k, 9 * k)
    assert await books.wallet() == Wallet(balance=7 * k + 6, held=7 * k, sequence=k + 1)


async def test_what_was_acknowledged_survives_a_kill(
    open_books: OpenBooks, database: Database, database_url: str
) -> None:
    books = await open_books(credit=10_000_000)
    process = start(database_url, books.org_id, "killed", 1_000_000, 1)
    assert process.stdout is not None
    lines = [await asyncio.to_thread(process.stdout.readline) for _ in range(200)]
    process.send_signal(signal.SIGKILL)
    rest, _ = await asyncio.to_thread(process.communicate)
    acknowledged = {line.split()[1] for line in [*lines, *rest.splitlines(keepends=True)] if line.endswith("\n")}
    kept = {transfer.source_key for transfer in await all_transfers(database)}
    assert len(acknowledged) >= 200
    assert acknowledged <= kept


async def test_a_killed_process_leaves_the_ledger_to_others(
    open_books: OpenBooks, door: Door, database_url: str
) -> None:
    books = await open_books(credit=10_000_000)
    process = start(database_url, books.org_id, "killed", 1_000_000, 1)
    assert process.stdout is not None
    await asyncio.to_thread(process.stdout.readline)
    process.kill()
    await asyncio.to_thread(process.communicate)
    async with asyncio.timeout(10):
        assert isinstance(await books.post("hold", 1), Transfer)
