"""The periodic work of top-ups: ask Stripe about what its events may have failed to tell, and charge saved cards.

Invariant: it only asks and tells; every decision is a command, so however many processes do this at once, the books
come out the same.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import structlog

from billing.auto_recharge import NEVER_MADE
from billing.auto_recharge_commands import ClaimRecharge, MailLink, PostponeLink
from billing.stripe_facts import BadObject
from billing.topup_commands import GiveUp
from billing.topup_queries import (
    Row,
    below_threshold,
    links_due,
    news_of,
    open_disputes,
    unresolved_charges,
    with_status,
    without_receipt,
)
from billing.topup_refunds import Refunds
from billing.topup_rules import Payment, PaymentState, ReversalSeen, TopupKind, TopupStatus
from billing.topup_service import Topups
from billing.topups import REPEAT_MS, BankRefused, BankUnavailable, Charge
from config.clock import new_id
from config.database import Unavailable
from config.door import Busy, Down
from config.errors import ApiError

log = structlog.get_logger(__name__)

TICK_SECONDS = 60.0
RECONCILE_SECONDS = 15 * 60.0
FRESH_MS = 60_000
"""What is younger is left to whoever began it."""
MOST_UNANSWERED = 3
"""Sessions of which Stripe did not answer before it counts as away, and the others are asked about the next time."""
REVERSALS_MS = 30 * 86_400_000
RECEIPTS_MS = 3 * 86_400_000
LINK_MS = 23 * 3_600_000


class TopupUpkeep:
    def __init__(self, topups: Topups) -> None:
        self._topups, self._bank, self._door = topups, topups.bank, topups.door

    async def run(self) -> None:
        """Automatic recharges every minute, reconciling every quarter of an hour, until cancelled."""
        next_reconcile = 0.0
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(TICK_SECONDS)
            await self._try(self.recharge)
            if loop.time() >= next_reconcile:
                next_reconcile = loop.time() + RECONCILE_SECONDS
                await self._try(self.reconcile)

    async def _try(self, work: Callable[[], Awaitable[Counter[str]]]) -> None:
        """What breaks one off keeps neither the other nor the next round from being tried."""
        try:
            await work()
        except (Unavailable, Busy, Down, BankUnavailable) as error:
            log.warning("reconcile_postponed", error=str(error))
        except Exception:
            log.exception("reconcile_failed")

    # -- reconciling --------------------------------------------------------------------------------------------------

    async def reconcile(self) -> Counter[str]:
        """Bring the books to what Stripe says: open top-ups, refunds and disputes, receipts.

        Counts: `asked`, `expired`, each outcome of what was heard, `receipts`, and what came of refunds that operators
        asked for. Raises BankUnavailable; of single sessions and refunds it is counted as `unanswered`.
        """
        counts: Counter[str] = Counter()
        if not self._topups.settings.takes_payments:
            return counts
        now = self._topups.clock()
        async for row in self._unfinished():
            if row["kind"] == TopupKind.CHECKOUT and row["created_at"] <= now - FRESH_MS:
                counts["asked"] += 1
                counts[await self._ask_about(row, now)] += 1
                if counts["unanswered"] == MOST_UNANSWERED:
                    break
        counts += await Refunds(self._topups).finish_all(now - FRESH_MS)
        for seen in await self._news(now):
            heard = await self._topups.hear(seen)
            counts[heard.outcome] += 1
        counts["applied"] += await self._topups.match()
        counts["receipts"] = await self._fetch_receipts(now)
        return +counts

    async def _unfinished(self) -> AsyncIterator[Row]:
        after: str | None = ""
        while after is not None:
            async with self._topups.database.read() as connection:
                page = await with_status(connection, TopupStatus.PENDING, TopupStatus.PROCESSING, after=after)
            for row in page:
                yield row
            after = page[-1]["id"] if page else None

    async def _ask_about(self, row: Row, now: int) -> str:
        overdue = row["expires_at"] < now - FRESH_MS
        if row["stripe_session_id"] is not None:
            try:
                heard = await self._topups.hear(await self._bank.session(row["stripe_session_id"]))
            except BankUnavailable as error:  # as for this one alone, until it is so for others
                log.warning("session_unanswered", topup_id=row["id"], error=str(error))
                return "unanswered"
            except BankRefused as error:
                if error.code != "resource_missing":
                    self._topups.alert("session_refused", f"top-up {row['id']}: {error}")
                    return "refused"
            except BadObject as error:
                self._topups.alert("session_unreadable", f"top-up {row['id']}: {error}")
                return "unreadable"
            else:
                return heard.outcome
        if overdue and row["status"] == TopupStatus.PENDING:  # nobody ever saw where to pay, or Stripe forgot it
            await self._door.submit(GiveUp(row["id"], row["org_id"], TopupStatus.EXPIRED))
            return "expired"
        return "nothing"

    async def _news(self, now: int) -> list[ReversalSeen]:
        """Refunds and disputes that Stripe knows differently from us, the old undecided disputes among them."""
        found = await self._bank.refunds(since=now - REVERSALS_MS) + await self._bank.disputes(now - REVERSALS_MS)
        async with self._topups.database.read() as connection:
            undecided = await open_disputes(connection)
        for dispute_id in {*undecided} - {seen.id for seen in found}:
            with suppress(BankRefused):
                dispute = await self._bank.dispute(dispute_id)
                found += [dispute] if dispute else []
        async with self._topups.database.read() as connection:
            return await news_of(connection, found)

    async def _fetch_receipts(self, now: int) -> int:
        fetched = 0
        async with self._topups.database.read() as connection:
            rows = await without_receipt(connection, now - RECEIPTS_MS)
        for row in rows:
            with suppress(BankRefused):
                await self._topups.note_payment(row["id"], row["org_id"], row["stripe_payment_intent_id"])
                fetched += 1
        return fetched

    # -- automatic recharges ------------------------------------------------------------------------------------------

    async def recharge(self) -> Counter[str]:
        """Make the charges that are due, ask again about those without an answer, mail the links that are due.

        Counts: each outcome of a charge, `unanswered`, `mailed`.
        """
        counts: Counter[str] = Counter()
        if not self._topups.settings.takes_payments:
            return counts
        now = self._topups.clock()
        async with self._topups.database.read() as connection:
            unanswered = await unresolved_charges(connection, now - FRESH_MS)
        for row in unanswered:
            counts[await self._charge(row, is_wanted=row["is_wanted"])] += 1
        async for org_id in self._below_threshold():
            key, livemode = self._topups.customer_key(org_id), self._topups.settings.bank_livemode
            claimed = await self._door.submit(ClaimRecharge(org_id, new_id(), key, livemode))
            if claimed is not None:
                counts[await self._charge(claimed)] += 1
        counts["mailed"] = await self._mail_links()
        return +counts

    async def _below_threshold(self) -> AsyncIterator[str]:
        """To the end: a charge that is due does not wait behind others that have used up their month."""
        after: str | None = ""
        while after is not None:
            async with self._topups.database.read() as connection:
                page = await below_threshold(connection, after)
            for org_id in page:
                yield org_id
            after = page[-1] if page else None

    async def _charge(self, row: Row, *, is_wanted: bool = True) -> str:
        """Make a claimed charge, or make it again under its key. One that is not wanted any more is only looked for: it
        may have been made before."""
        charge = Charge(
            topup_id=row["id"],
            org_id=row["org_id"],
            amount_cents=row["amount_cents"],
            customer_id=row["stripe_customer_id"],
            payment_method_id=row["stripe_payment_method_id"],
        )
        try:
            is_known = row["created_at"] > self._topups.clock() - REPEAT_MS
            if row["status"] == TopupStatus.PENDING and is_wanted and is_known:
                payment = await self._bank.charge(charge)
            else:
                payment = await self._bank.find_charge(charge, row["created_at"]) or _never_made(row, NEVER_MADE)
        except BankRefused as error:
            payment = error.payment or _never_made(row, error.code or "refused")
        except BankUnavailable as error:
            log.warning("charge_unanswered", topup_id=row["id"], error=str(error))
            return "unanswered"
        except BadObject as error:  # asked again later, and the others are not kept waiting
            self._topups.alert("charge_unreadable", f"top-up {row['id']}: {error}")
            return "unreadable"
        return (await self._topups.hear(payment)).outcome

    async def _mail_links(self) -> int:
        """Where a card alone does not do, its owner gets the address of a Checkout session."""
        mailed = 0
        async with self._topups.database.read() as connection:
            due = await links_due(connection, self._topups.clock())
        for recharge in due:
            try:
                _, url = await self._topups.create(recharge.id, recharge.link_amount_cents or 0, session_ms=LINK_MS)
            except ApiError as error:
                log.warning("link_not_made", org_id=recharge.id, error=error.code)
                await self._door.submit(PostponeLink(recharge.id))
                continue
            mailed += await self._door.submit(MailLink(recharge.id, url, new_id()))
        return mailed


def _never_made(row: Row, code: str) -> Payment:
    """Stripe has no payment for this top-up and will not make one."""
    return Payment(
        state=PaymentState.FAILED,
        session_id=None,
        payment_intent_id=None,
        topup_id=row["id"],
        org_id=row["org_id"],
        subtotal_cents=row["amount_cents"],
        total_cents=row["amount_cents"],
        currency="usd",
        livemode=row["livemode"],
        error_code=code,
    )
