"""The parts of one process: what goes on in the background goes on whatever happens to it."""

import asyncio
from collections.abc import Callable

import pytest

import config.machinery
from config.machinery import Machinery
from tests.servers import settings_of, until

WORKERS: dict[str, Callable[[Machinery], object]] = {
    "calls": lambda machinery: machinery.sweeper,
    "numbers": lambda machinery: machinery.numbers,
    "batches": lambda machinery: machinery.batch_runner,
    "top-ups": lambda machinery: machinery.topup_upkeep,
    "mails": lambda machinery: machinery.mailer,
    "deliveries": lambda machinery: machinery.sender,
    "watch": lambda machinery: machinery.watch,
    "retention": lambda machinery: machinery.retention,
}


@pytest.mark.parametrize("which", list(WORKERS))
async def test_background_work_that_breaks_off_begins_again(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    machinery = Machinery(settings_of({"DATABASE_URL": sqlite_url}))
    begun = 0

    async def breaks_off(*_: object) -> None:
        nonlocal begun
        begun += 1
        raise RuntimeError("broken on purpose")

    monkeypatch.setattr(type(WORKERS[which](machinery)), "run", breaks_off)
    monkeypatch.setattr(config.machinery, "BEGIN_AGAIN_SECONDS", 0.01)
    await machinery.open()
    machinery.begin_work()
    await until(lambda: begun > 2, "it to begin again")
    await asyncio.wait_for(machinery.close(), 10)
