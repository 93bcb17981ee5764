"""What every process of ours is made of: database, door, carrier, outbox, sweeper, bank.

Invariant: wired once, here, for the web application, the worker and the command line alike.
"""

import asyncio

import structlog

from billing.tables import wallets
from billing.topup_service import Topups
from billing.topup_upkeep import TopupUpkeep
from billing.topups import Bank
from config.clock import Clock, now_ms
from config.database import Database
from config.door import Door
from config.settings import Settings
from voice.call import Policy
from voice.carrier import Addresses, Carrier
from voice.outbox import Outbox
from voice.service import Calls
from voice.sweeper import Sweeper

log = structlog.get_logger(__name__)

SHUTDOWN_SECONDS = 20


def policy_of(settings: Settings) -> Policy:
    return Policy(
        amd_grace_ms=round(settings.amd_grace_seconds * 1000), silence_ms=round(settings.sweep_silence_seconds * 1000)
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
        self.calls = Calls(self.database, self.door, self.outbox, settings, self.policy)

    async def open(self) -> None:
        self.door.open()
        await self.carrier.open()

    async def close(self) -> None:
        """What was accepted is finished first."""
        try:
            async with asyncio.timeout(SHUTDOWN_SECONDS):
                await asyncio.gather(self.outbox.idle(), self.topups.idle())
        except TimeoutError:
            log.warning("shutdown_with_work_left", tasks=self.outbox.depth)
        await self.door.close()
        await self.carrier.close()
        await self.bank.close()
        await self.database.close()
