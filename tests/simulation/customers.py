"""What customers and callers do in a world: calls, batches, top-ups, numbers.

Invariant: a customer asks again while there is no answer, and knows nothing but the answers.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from billing.auto_recharge_commands import SetAutoRecharge
from billing.topup_refunds import Refunds
from billing.topup_service import Refused
from billing.topups import BankUnavailable
from config.database import Unavailable
from config.door import Busy, Down
from config.errors import ApiError
from tests.simulation.database import DOLLAR, NUMBERS, raw_connection
from tests.simulation.time import Gone
from voice.batches.rows import GoodRow, Sheet
from voice.batches.service import BatchRetry, BatchTerms
from voice.service import Wanted

if TYPE_CHECKING:
    from tests.simulation.world import World

HOUR_SECONDS = 3_600
SPAN_SECONDS = 600.0
SHORT_SNAPSHOT = {"result_status": "skipped", "voicemail_action": "hangup"}
BATCH_ROWS, BATCH_ATTEMPTS = 3, 2


class Customers:
    def __init__(self, world: "World") -> None:
        self.world, self.dice = world, world.dice
        self.acknowledged: list[str] = []
        """Calls whose making was answered."""
        self.batches: dict[str, str] = {}
        """Batches whose making was answered, and whose they are."""
        self.recharging: set[str] = set()

    def doings(self, calls: int) -> list[Coroutine[Any, Any, None]]:
        """All that happens in a world of so many calls."""
        dice = self.dice
        doing = [self._calls_out(number) for number in range(calls) if dice.random() < 0.75]
        doing += [self._is_called(number) for number in range(calls - len(doing))]
        doing += [self._tops_up() for _ in range(dice.randint(0, 3))]
        doing += [self._buys_number(number) for number in range(dice.randint(0, 3))]
        doing += [self._makes_batch(number) for number in range(dice.choice((0, 0, 1)))]
        return doing

    async def _until_answered(self, ask: Any, attempts: int) -> Any:
        """What a careful customer gets: it asks again while there is no answer, no room or no credit."""
        for _ in range(attempts):
            process = self.world.any_process(self.dice)
            try:
                if process is not None:
                    patience = self.dice.uniform(0.0, 0.3) if self.world.trouble.strikes("client_leaves") else 60.0
                    async with asyncio.timeout(patience):
                        return await process.request(ask(process))
            except ApiError as error:
                if error.status not in (402, 409, 502, 503):
                    return None
            except (Gone, TimeoutError, Busy, Down, Unavailable, RuntimeError):
                pass
            await asyncio.sleep(self.dice.uniform(0.2, 30))
        return None

    # -- calls --------------------------------------------------------------------------------------------------------

    async def _calls_out(self, number: int) -> None:
        dice = self.dice
        await asyncio.sleep(dice.uniform(0, SPAN_SECONDS))
        index = dice.randrange(len(self.world.orgs))
        org_id, maximum = self.world.orgs[index], dice.choice((60, 120, 600))
        to = f"+1212555{dice.choice((number, number, 0)) + 100:04d}"
        snapshot = {**SHORT_SNAPSHOT, "metadata": {"order": number}}
        wanted = Wanted(to, NUMBERS[index], maximum, snapshot)
        row = await self._until_answered(
            lambda process: process.calls.place(org_id, wanted, f"order-{number}", {"number": number}), 12
        )
        if row is None:
            return
        self.acknowledged.append(row[0]["id"])
        if dice.random() < 0.2:
            await asyncio.sleep(dice.expovariate(1 / 30))
            call_id = row[0]["id"]
            await self._until_answered(lambda process: process.calls.hang_up(org_id, call_id), 12)

    async def _is_called(self, number: int) -> None:
        await asyncio.sleep(self.dice.uniform(0, SPAN_SECONDS))
        carrier = self.world.carrier
        await carrier.inbound(carrier.make("inbound", self.dice.choice(NUMBERS), f"+1312555{number + 100:04d}"))

    async def _makes_batch(self, number: int) -> None:
        dice = self.dice
        await asyncio.sleep(dice.uniform(0, SPAN_SECONDS))
        index = dice.randrange(len(self.world.orgs))
        org_id = self.world.orgs[index]
        terms = BatchTerms(
            window=None,
            max_concurrent=dice.randint(1, BATCH_ROWS),
            max_duration_seconds=60,
            from_number=NUMBERS[index],
            retry=BatchRetry(attempts=BATCH_ATTEMPTS, wait_seconds=60),
        )
        rows = [GoodRow(line, f"+1646555{number * BATCH_ROWS + line + 100:04d}", {}, "") for line in range(BATCH_ROWS)]
        key = f"batch-{number}"
        made = await self._until_answered(
            lambda process: process.batches.create(org_id, None, terms, Sheet(rows), key, key), 12
        )
        if made is not None:
            self.batches[made[0]["id"]] = org_id

    async def gives_up_waiting(self) -> None:
        """Batches for which there is no room are called off."""
        waiting = "select id, org_id from batches where state = 'waiting_for_room'"
        for batch_id, org_id in raw_connection().execute(waiting).fetchall():
            if (process := self.world.any_process(self.dice)) is not None:
                await process.batches.switch(org_id, batch_id, "cancel")

    # -- money --------------------------------------------------------------------------------------------------------

    async def _tops_up(self) -> None:
        dice, bank = self.dice, self.world.bank
        await asyncio.sleep(dice.uniform(0, SPAN_SECONDS))
        org_id, cents = dice.choice(self.world.orgs), dice.choice((500, 1_000, 2_599))
        if dice.random() < 0.4:
            await self._until_answered(lambda process: process.door.submit(recharge_rule(org_id, is_on=True)), 5)
            self.recharging.add(org_id)
        made = await self._until_answered(lambda process: process.topups.create(org_id, cents), 5)
        if made is None:
            return
        await asyncio.sleep(dice.uniform(1, 60))
        session = next(s for s in bank.sessions.values() if s["client_reference_id"] == made[0]["id"])
        if dice.random() < 0.15:
            await asyncio.sleep(HOUR_SECONDS)
            bank.expire(session["id"])
            return
        if session["status"] != "open":
            return
        self.world.spawn(bank.paid(session["id"]))
        if dice.random() < 0.5:
            await asyncio.sleep(dice.choice((0.0, 1.0)))
            session_id = session["id"]
            await self._until_answered(
                lambda process: process.topups.return_from_checkout(org_id, session_id), dice.randint(1, 2)
            )
        if dice.random() < 0.4:
            await asyncio.sleep(dice.uniform(1, 300))
            await self._is_paid_back(made[0]["id"])

    async def _is_paid_back(self, topup_id: str) -> None:
        """An operator refunds a part of a top-up or all that is unspent, and asks again while there is no answer."""
        cents = self.dice.choice((None, 200, 500))
        for _ in range(self.dice.randint(1, 3)):
            process = self.world.any_process(self.dice)
            with suppress(Refused, BankUnavailable, Gone, Busy, Down, Unavailable, RuntimeError):
                if process is not None:
                    await process.request(Refunds(process.topups).refund(topup_id, "Ada", "asked", cents))
                    return
            await asyncio.sleep(self.dice.uniform(0.2, 60))

    async def stops_recharging(self) -> None:
        for org_id in sorted(self.recharging):
            off = recharge_rule(org_id, is_on=False)
            await self._until_answered(lambda process, off=off: process.door.submit(off), 5)

    async def _buys_number(self, number: int) -> None:
        await asyncio.sleep(self.dice.uniform(0, SPAN_SECONDS))
        org_id, e164 = self.dice.choice(self.world.orgs), f"+1415555{number + 150:04d}"
        made = await self._until_answered(lambda process: process.numbers.purchase(org_id, e164), 6)
        if made is not None and self.dice.random() < 0.3:
            await asyncio.sleep(self.dice.expovariate(1 / 60))
            await self._until_answered(lambda process: process.numbers.release(org_id, made["id"]), 12)


def recharge_rule(org_id: str, *, is_on: bool) -> SetAutoRecharge:
    text = "Charge my card when credit is low." if is_on else None
    return SetAutoRecharge(org_id, "somebody", 30 * DOLLAR, 36 * DOLLAR, 60 * DOLLAR, consent_text=text)
