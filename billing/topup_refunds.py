"""Paying back: the unspent credit of a top-up, and money that gave no credit.

Invariant: what is asked of Stripe is on record before, under a key of its own, so a process that dies in between leaves
a refund that is made once all the same, or made never and its hold let go; and who asks again learns of it first.
"""

from collections import Counter
from typing import Any

from billing.ledger import read_wallet
from billing.operator_commands import OperatorAction, RecordAction
from billing.refund_commands import EndRefund, ReserveRefund
from billing.stripe_facts import BadObject
from billing.topup_queries import ASKED, REFUND, AskedRefund, credited_with, open_refunds
from billing.topup_rows import unspent_cents
from billing.topup_rules import TopupStatus
from billing.topup_service import Refused, Topups
from billing.topups import REPEAT_MS, BankRefused, BankUnavailable
from config.clock import new_id


class Refunds:
    def __init__(self, topups: Topups) -> None:
        self._topups, self._bank, self._door = topups, topups.bank, topups.door

    async def refund(self, topup_id: str, operator: str, reason: str, amount_cents: int | None) -> dict[str, Any]:
        """Pay a top-up back to the card it came from: the row after it. Raises Refused, BankUnavailable.

        `amount_cents`: None for all of it. Of a paid one no more than what is unspent; of a rejected one in the
        smallest unit of the currency it was paid in.
        """
        row = await self._topups.row(topup_id)
        intent = row["stripe_payment_intent_id"]
        if row["status"] == TopupStatus.REVIEW:
            raise Refused(f"top-up {topup_id} is in review; end that first: callingbox-server topup resolve")
        if row["status"] not in (TopupStatus.PAID, TopupStatus.REJECTED) or intent is None:
            raise Refused(f"top-up {topup_id} is {row['status']}, not paid")
        await self._finish_earlier(topup_id)
        record = self._reserve if row["status"] == TopupStatus.PAID else self._record_rejected
        try:
            for seen in await self._bank.refunds(payment_intent_id=intent):  # one never told of is not made twice
                await self._topups.hear(seen)
            action = await record(row, operator, reason, amount_cents)
            for refund in await self._unheard(topup_id):
                if refund.action_id == action.id:
                    await self._finish(refund)
        except BankRefused as error:
            raise Refused(f"{error}: nothing was refunded") from None
        return await self._topups.row(topup_id)

    async def finish_all(self, begun_before: int) -> Counter[str]:
        """Ask again about refunds begun before then (ms) of which Stripe's answer was never heard.

        Counts: each outcome, `refused`, `unanswered`, `unreadable`.
        """
        counts: Counter[str] = Counter()
        async with self._topups.database.read() as connection:
            asked = await open_refunds(connection, begun_before=begun_before)
        for refund in asked:
            try:
                counts[await self._finish(refund)] += 1
            except BankRefused as error:
                self._topups.alert("refund_refused", f"{refund}: {error}; nothing was refunded")
                counts["refused"] += 1
            except BankUnavailable:
                counts["unanswered"] += 1
            except BadObject as error:  # asked again later, and the others are not kept waiting
                self._topups.alert("refund_unreadable", f"of top-up {refund.topup_id}: {error}")
                counts["unreadable"] += 1
        return counts

    # -- steps --------------------------------------------------------------------------------------------------------

    async def _finish_earlier(self, topup_id: str) -> None:
        """Whether an earlier refund was made must be known before another is begun. Raises BankUnavailable."""
        for refund in await self._unheard(topup_id):
            try:
                await self._finish(refund)
            except BankRefused as error:
                raise Refused(f"an earlier refund of top-up {topup_id} was not made ({error}); try again") from None
            raise Refused(f"{refund}, asked for before, have just been refunded; to refund more, try again")

    async def _unheard(self, topup_id: str) -> list[AskedRefund]:
        async with self._topups.database.read() as connection:
            return await open_refunds(connection, topup_id=topup_id)

    async def _reserve(
        self, row: dict[str, Any], operator: str, reason: str, amount_cents: int | None
    ) -> OperatorAction:
        amount = await self._unspent_cents(row["id"]) if amount_cents is None else amount_cents
        action = _action(row, operator, reason, amount)
        reserve = ReserveRefund(row["id"], row["org_id"], amount, action, self._topups.settings.terms)
        if (refusal := await self._door.submit(reserve)) is not None:
            raise Refused(refusal)
        return action

    async def _finish(self, refund: AskedRefund) -> str:
        """Have a refund made that is on record, now or at an earlier time. What came of it.

        Raises BankRefused (and nothing is held any more), BankUnavailable.
        """
        try:
            if refund.begun_at > self._topups.clock() - REPEAT_MS:
                seen = await self._bank.refund(refund.payment_intent_id, refund.amount_cents, refund.action_id)
            else:
                seen = await self._bank.find_refund(refund.payment_intent_id, refund.action_id)
        except BankRefused:
            await self._door.submit(EndRefund(refund, False, new_id()))
            raise
        heard = await self._topups.hear(seen)
        await self._door.submit(EndRefund(refund, True, new_id()))
        return heard.outcome

    async def _record_rejected(
        self, row: dict[str, Any], operator: str, reason: str, amount_cents: int | None
    ) -> OperatorAction:
        """It gave no credit, so none is held. Left to itself, Stripe refunds all that is left of it."""
        intent = row["stripe_payment_intent_id"]
        async with self._topups.database.read() as connection:
            credited = await credited_with(connection, intent)
        if credited is not None:
            raise Refused(f"payment {intent} was credited by top-up {credited}: refund that one")
        action = _action(row, operator, reason, amount_cents)
        await self._door.submit(RecordAction(action))
        return action

    async def _unspent_cents(self, topup_id: str) -> int:
        row = await self._topups.row(topup_id)
        async with self._topups.database.read() as connection:
            wallet = await read_wallet(connection, row["org_id"])
        assert wallet is not None
        return unspent_cents(row, wallet.available)


def _action(row: dict[str, Any], operator: str, reason: str, amount_cents: int | None) -> OperatorAction:
    detail = {"amount_cents": amount_cents, "outcome": ASKED}
    return OperatorAction(new_id(), operator, REFUND, row["id"], reason, row["org_id"], detail)
