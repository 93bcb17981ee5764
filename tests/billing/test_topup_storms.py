"""Operators' refunds, the bank's own, disputes and automatic recharges of one organisation, in orders that nobody
thought of: whatever met whatever, the books end as the bank's."""

import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import func, select

from billing.auto_recharge_commands import SetAutoRecharge
from billing.ledger import Post
from billing.posting import Posting
from billing.tables import transfers
from billing.topup_queries import REFUND, list_actions
from billing.topup_refunds import Refunds
from billing.topup_rules import ReversalSeen
from billing.topup_service import Refused
from billing.topups import Bank, BankUnavailable
from config.clock import new_id
from tests.billing.conftest import assert_books_sound
from tests.servers import DOLLAR
from tests.shop import Shop, open_shop


class Died(BaseException):
    """The process ends here."""


class Storm:
    def __init__(self, shop: Shop, dice: random.Random, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shop, self.dice, self.monkeypatch, self.told = shop, dice, monkeypatch, 0

    async def begin(self) -> None:
        await self.consents()
        await self.shop.paid(2_000)
        await self.shop.service.idle()
        await self.shop.do("settings", paused=True)

    async def rages(self, steps: int) -> None:
        deeds: list[Callable[[], Awaitable[Any]]] = [
            *[self.operator_refunds] * 3,
            *[self.spends] * 2,
            *[self.recharges] * 2,
            *[self.tells] * 2,
            self.bank_refunds,
            self.rejects,
            self.disputes,
            self.moves_dispute,
            self.refund_fails,
            self.consents,
            self.reconciles,
            self.waits,
        ]
        for _ in range(steps):
            await self.dice.choice(deeds)()

    async def ends(self) -> None:
        """All that was not told is asked for."""
        self.shop.wait(61)
        await self.shop.upkeep.recharge()
        self.shop.wait(61)
        for _ in range(2):
            await self.shop.upkeep.reconcile()

    async def _payment(self) -> dict[str, Any]:
        return self.dice.choice(await self.shop.rows("paid") + await self.shop.rows("rejected"))

    async def rejects(self) -> None:
        """A payment that an operator gives no credit for."""
        session = await self.shop.pay(await self.shop.begin(1_000))
        event = (await self.shop.events("checkout.session.completed"))[-1]
        event["data"]["object"]["currency"] = "eur"
        assert (await self.shop.send(event)).json()["outcome"] == "review"
        await self.dice.choice((self.tells, self.disputes, self.reconciles))()
        (row,) = await self.shop.rows("review")
        assert row["stripe_payment_intent_id"] == session["payment_intent"]
        await self.shop.service.resolve(row["id"], "Ada", "no", credit=False, org_id=None, amount_cents=None)

    async def operator_refunds(self) -> None:
        ask, fate = Bank.refund, self.dice.choice(("", "", "before", "after", "unanswered"))

        async def refund(bank: Bank, *wanted: Any) -> ReversalSeen:
            if fate == "before":
                raise Died
            seen = await ask(bank, *wanted)
            if self.dice.random() < 0.5:
                await self.dice.choice((self.tells, self.recharges, self.disputes, self.spends))()
            if fate == "after":
                raise Died
            if fate == "unanswered":
                raise BankUnavailable("lost")
            return seen

        row, cents = await self._payment(), self.dice.choice((None, 300, 700))
        with self.monkeypatch.context() as patch, suppress(Died, Refused, BankUnavailable):
            patch.setattr(Bank, "refund", refund)
            await Refunds(self.shop.service).refund(row["id"], "Ada", "asked", cents)

    async def bank_refunds(self) -> None:
        row = await self._payment()
        await self._try("refunds", payment_intent=row["stripe_payment_intent_id"], amount=self.dice.choice((100, 900)))

    async def refund_fails(self) -> None:
        if made := self.shop.bank.all("refund"):
            await self._try(f"refunds/{self.dice.choice(made)['id']}", status="failed")

    async def disputes(self) -> None:
        row = await self._payment()
        more = {"inquiry": True} if self.dice.random() < 0.3 else {"amount": self.dice.choice((400, 2_000))}
        await self._try("disputes", payment_intent=row["stripe_payment_intent_id"], **more)

    async def moves_dispute(self) -> None:
        if opened := self.shop.bank.all("dispute"):
            status = self.dice.choice(("won", "won", "lost", "needs_response", "warning_closed"))
            await self._try(f"disputes/{self.dice.choice(opened)['id']}", status=status)

    async def _try(self, path: str, **body: Any) -> None:
        """What the bank forbids does not happen."""
        await self.shop.sim.post(f"/_sim/stripe/{path}", json=body)

    async def tells(self) -> None:
        """Some of the events so far, in any order; again, what has been told."""
        events = await self.shop.events()
        for event in self.dice.sample(events, min(len(events), self.dice.randint(1, 6))):
            assert (await self.shop.send(event)).status_code == 200

    async def spends(self) -> None:
        available = (await self.shop.org.wallet())["available_milli_cents"]
        amount = min(available, self.dice.randint(1, 15) * DOLLAR)
        if amount > 0:
            hold, door = new_id(), self.shop.server.door
            await door.submit(Post(Posting(hold, new_id(), self.shop.org.id, "hold", amount)))
            settle = Posting(new_id(), new_id(), self.shop.org.id, "settle", amount // 2, pending_id=hold)
            await door.submit(Post(settle))

    async def consents(self) -> None:
        amounts = (10 * DOLLAR, 30 * DOLLAR, 400 * DOLLAR)
        await self.shop.server.door.submit(SetAutoRecharge(self.shop.org.id, "somebody", *amounts, consent_text="Yes."))

    async def recharges(self) -> None:
        if self.dice.random() < 0.3:
            await self.shop.do("settings", answers_to_lose=3)
        before = await self.shop.service.recharge_of(self.shop.org.id)
        assert before is not None
        charged = len(self.shop.bank.all("payment_intent"))
        await self.shop.upkeep.recharge()
        await self.shop.do("settings", answers_to_lose=0)
        if before.paused_reason is not None:
            assert len(self.shop.bank.all("payment_intent")) == charged, before.paused_reason

    async def reconciles(self) -> None:
        with suppress(BankUnavailable):
            await self.shop.upkeep.reconcile()

    async def waits(self) -> None:
        self.shop.wait(self.dice.choice((61, 3_601, 21 * 3_600)))


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_meets_whatever_the_books_end_as_the_banks(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    async with open_shop(sqlite_url, RATE_LIMIT_PER_MINUTE="0") as shop:
        storm = Storm(shop, random.Random(seed), monkeypatch)
        await storm.begin()
        await storm.rages(40)
        await storm.ends()
        await assert_books_are_the_banks(shop)


async def assert_books_are_the_banks(shop: Shop) -> None:
    """What the bank took beyond a payment (a dispute that grew out of an inquiry after a refund) is our loss."""
    record = (await shop.sim.get("/_sim/stripe/record")).json()
    rejected = [row["stripe_payment_intent_id"] for row in await shop.rows("rejected")]
    credited = [payment for payment in record["payments"] if payment["payment_intent"] not in rejected]
    kept = sum(max(0, payment["kept"]) for payment in credited)
    async with shop.server.database.read() as connection:
        asked = await list_actions(connection, org_id=shop.org.id, limit=1_000)
        charged = select(func.sum(transfers.c.balance_delta)).where(transfers.c.kind == "settle")
        spent = (await connection.execute(charged)).scalar_one() or 0
    await assert_books_sound(shop)
    assert await shop.rows("pending") == []
    made = [refund["metadata"]["action_id"] for refund in record["refunds"] if refund["metadata"]]
    outcomes = {action["id"]: action["detail"]["outcome"] for action in asked if action["action"] == REFUND}
    assert sorted(made) == sorted(action_id for action_id, outcome in outcomes.items() if outcome == "made")
    assert "asked" not in outcomes.values()
    wallet = await shop.org.wallet()
    assert wallet["balance_milli_cents"] == kept * 1_000 + spent
    assert wallet["balance_milli_cents"] == wallet["available_milli_cents"]
