"""What every process of ours is made of: database, door, carrier, outbox, sweeper, bank.

Invariant: wired once, here, for the web application, the worker and the command line alike.
"""

import asyncio
import gc
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from accounts.links import Links
from accounts.mailer import Mailer
from billing.tables import wallets
from billing.topup_service import Topups
from billing.topup_upkeep import TopupUpkeep
from billing.topups import Bank
from config.clock import Clock, now_ms
from config.database import Database
from config.door import Door
from config.egress import Egress
from config.notifier import Notifier
from config.retention import Retention
from config.settings import Settings
from config.watch import Watch
from voice.agents.service import Agents
from voice.batches.runner import BatchRunner
from voice.batches.service import Batches
from voice.call import Policy
from voice.carrier import Addresses, Carrier
from voice.extraction import Extractor
from voice.live.llm import LanguageModel
from voice.live.switchboard import Switchboard
from voice.live.talking import Means
from voice.numbers.service import Numbers
from voice.outbox import Outbox
from voice.service import Calls
from voice.sweeper import Sweeper
from webhooks.sender import Sender

log = structlog.get_logger(__name__)

SHUTDOWN_SECONDS = 20
BEGIN_AGAIN_SECONDS = 5.0
GARBAGE_THRESHOLDS = 1_000, 10, 100
"""Python's own (700, 10, 10) look through everything that lives, 60 ms with 200 conversations, every few seconds. Turns
and requests leave next to nothing in cycles, a closed connection about 90 objects."""


Job = Callable[[], Coroutine[Any, Any, None]]


def policy_of(settings: Settings) -> Policy:
    return Policy(
        amd_grace_ms=round(settings.amd_grace_seconds * 1000),
        silence_ms=round(settings.sweep_silence_seconds * 1000),
        talks=settings.has_model,
    )


class Machinery:
    """The parts of one process."""

    def __init__(self, settings: Settings, clock: Clock = now_ms) -> None:
        self.settings = settings
        self.policy = policy_of(settings)
        self.database = Database(settings.database_url)
        self.door = Door(self.database, wallets, clock)
        self.carrier = Carrier(
            settings.carrier_account_sid,
            settings.carrier_auth_token,
            settings.carrier_base_url,
            Addresses(settings.public_base_url),
        )
        self.outbox = Outbox(self.door, self.database, self.carrier, self.policy, clock)
        self.sweeper = Sweeper(self.database, self.door, self.outbox, self.policy, clock)
        self.bank = Bank(settings.bank_key, settings.bank_base_url)
        self.topups = Topups(self.database, self.door, self.bank, settings, clock)
        self.topup_upkeep = TopupUpkeep(self.topups)
        self.mailer = Mailer(
            self.database, self.door, settings.mail_url, settings.public_base_url, Links(settings.signing_secret), clock
        )
        self.notifier = Notifier(self.door, settings, clock)
        self.outbox.alerted.append(self.notifier.raised)
        self.topups.alerted.append(self.notifier.raised)
        self.watch = Watch(self.database, self.notifier, settings, clock)
        self.retention = Retention(self.database, self.door, clock)
        self.egress = Egress(settings.allow_private_urls)
        self.sender = Sender(self.database, self.door, self.egress, clock)
        self.model = self._language_model() if settings.has_model else None
        self.extractor = Extractor(self.database, self.door, self.model, clock)
        self.outbox.extract = self.extractor.read_off
        self._work: list[asyncio.Task[None]] = []
        self.calls = Calls(self.database, self.door, self.outbox, settings, self.policy)
        self.batches = Batches(self.database, self.door, self.calls, settings, clock)
        self.batch_runner = BatchRunner(self.database, self.door, self.calls, clock)
        self.agents = Agents(self.database, self.door, settings)
        self.numbers = Numbers(self.database, self.door, self.carrier, settings, clock)

    def _language_model(self) -> LanguageModel:
        key = self.settings.openai_api_key.get_secret_value()
        return LanguageModel(base_url=self.settings.model_base_url, api_key=key, model=self.settings.openai_model)

    def switchboard(self, clock: Clock = now_ms) -> Switchboard | None:
        """The conversations of a web process; None where calls are only greeted."""
        if self.model is None:
            return None
        return Switchboard(Means(self.model, self.egress, self.door, clock), self.database, self.policy, clock)

    async def open(self) -> None:
        leave_alone_what_is_loaded()
        self.door.open()
        await self.carrier.open()
        await self.egress.open()

    def begin_work(self) -> None:
        """What goes on in the background: on Postgres in the worker, on the embedded database beside the web."""
        jobs: tuple[Job, ...] = (
            lambda: self.sweeper.run(self.settings.sweep_interval_seconds),
            self.numbers.run,
            self.batch_runner.run,
            self.topup_upkeep.run,
            self.mailer.run,
            self.notifier.run,
            self.sender.run,
            self.watch.run,
            self.retention.run,
        )
        self._work += [asyncio.create_task(_without_end(job)) for job in jobs]

    async def close(self) -> None:
        """What was accepted is finished first."""
        for task in self._work:
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
        try:
            async with asyncio.timeout(SHUTDOWN_SECONDS):
                rooms = (self.batch_runner, self.outbox, self.topups, self.numbers, self.sender)
                await asyncio.gather(*(room.idle() for room in rooms))
                await self.notifier.idle()  # what those still raised
        except TimeoutError:
            log.warning("shutdown_with_work_left", tasks=self.outbox.depth)
        self.outbox.close()
        await self.door.close()
        await self.carrier.close()
        await self.bank.close()
        await self.egress.close()
        if self.model is not None:
            await self.model.close()
        await self.database.close()


def leave_alone_what_is_loaded() -> None:
    """Once: the modules stay, and are not looked through for garbage again."""
    if gc.get_threshold() != GARBAGE_THRESHOLDS:
        gc.set_threshold(*GARBAGE_THRESHOLDS)
        gc.freeze()


async def _without_end(job: Job) -> None:
    """Holds, mails and payments must not wait for somebody to notice that what looks after them has broken off."""
    while True:
        try:
            await job()
        except Exception:
            log.exception("work_broke_off")
        await asyncio.sleep(BEGIN_AGAIN_SECONDS)
