"""Looks for what nobody decides but an operator must hear of: holds that do not end, payments that wait for them,
customers without credit, calls without a verdict.

Invariant: it only reads and tells.
"""

import asyncio
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import exists, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from accounts.tables import organisations
from billing.tables import topups, wallets
from billing.topup_queries import open_refunds, with_status
from billing.topup_rows import review_alert
from billing.topup_rules import TopupStatus
from billing.wallet import Wallet, WalletStatus
from config.clock import Clock, now_ms
from config.database import Database, Unavailable
from config.notifier import Notifier
from config.settings import Settings
from voice.tables import IS_LIVE, calls, numbers
from voice.vocabulary import BillingReason

log = structlog.get_logger(__name__)

TICK_SECONDS = 60.0
HOUR_MS = 3_600_000
HOLD_GRACE_MS = HOUR_MS
"""How much longer than its call may last a hold may stay open: the carrier may queue a call for a while."""
LIMIT = 200
FEWEST_CALLS = 20
NO_VERDICT_SHARE = 0.05


class Watch:
    def __init__(self, database: Database, notifier: Notifier, settings: Settings, clock: Clock = now_ms) -> None:
        self._database, self._notifier, self._settings, self._clock = database, notifier, settings, clock

    async def run(self) -> None:
        """Every minute, until cancelled."""
        while True:
            try:
                await self.look()
            except Unavailable as error:
                log.warning("watch_postponed", error=str(error))
            except Exception:
                log.exception("watch_failed")
            await asyncio.sleep(TICK_SECONDS)

    async def look(self) -> None:
        now = self._clock()
        async with self._database.read() as connection:
            overdue = await _overdue_holds(connection, now)
            undecided = await _undecided_purchases(connection, now)
            refunds = await open_refunds(connection, begun_before=now - HOUR_MS)
            reviews = await with_status(connection, TopupStatus.REVIEW)
            short = await _paying_wallets(connection, self._settings)
            ended, without = await _verdicts(connection, now - HOUR_MS)
        for call in overdue:
            minutes = (now - call["created_at"]) // 60_000
            words = (
                f"call {call['id']} of organisation {call['org_id']} has held credit for {minutes} minutes; if `sweep` "
                f"does not end it, `callingbox-server call end {call['id']}` does"
            )
            await self._notifier.tell("hold_overdue", words, about=call["id"])
        for number in undecided:
            words = f"organisation {number['org_id']} has held credit for number {number['id']} for an hour, undecided"
            await self._notifier.tell("hold_overdue", words, about=number["id"])
        for refund in refunds:
            words = f"a refund of {refund} was asked for an hour ago, and what became of it is not known"
            await self._notifier.tell("refund_overdue", words, about=refund.action_id)
        for alert in map(review_alert, reviews):  # also if whoever heard of it died before telling; and each day anew
            await self._notifier.tell(alert.kind, alert.text, about=alert.text)
        for org_id, status in short:
            kind, words = _WORDS[status]
            await self._notifier.tell(kind, f"organisation {org_id} {words}", about=org_id)
        if ended >= FEWEST_CALLS and without > NO_VERDICT_SHARE * ended:
            words = f"{without} of {ended} calls of the last hour were free because no verdict came"
            await self._notifier.tell("no_verdicts", words, about=str(now // HOUR_MS))


_WORDS = {
    WalletStatus.PAUSED: ("calls_paused", "cannot pay for another call"),
    WalletStatus.LOW: ("balance_low", "can pay for one more call"),
}


async def _overdue_holds(connection: AsyncConnection, now: int) -> list[Mapping[str, Any]]:
    ends_at = calls.c.created_at + calls.c.max_duration_seconds * 1000 + HOLD_GRACE_MS
    held = text(IS_LIVE), calls.c.reservation_status == "reserved"  # the first names the index
    query = select(calls.c.id, calls.c.org_id, calls.c.created_at).where(*held)
    rows = await connection.execute(query.where(ends_at < now).order_by(calls.c.created_at).limit(LIMIT))
    return [dict(row) for row in rows.mappings()]


async def _undecided_purchases(connection: AsyncConnection, now: int) -> list[Mapping[str, Any]]:
    query = select(numbers.c.id, numbers.c.org_id).where(numbers.c.due_at.is_not(None), numbers.c.status == "pending")
    rows = await connection.execute(query.where(numbers.c.purchased_at < now - HOUR_MS).limit(LIMIT))
    return [dict(row) for row in rows.mappings()]


async def _paying_wallets(connection: AsyncConnection, settings: Settings) -> list[tuple[str, WalletStatus]]:
    """Of those who have paid, and with nothing held: credit that live calls hold comes back."""
    has_paid = exists().where(topups.c.org_id == wallets.c.id, topups.c.paid_at.is_not(None))
    largest = 2 * settings.terms.default_hold(None)
    query = (
        select(wallets, organisations.c.max_call_duration_seconds.label("longest"))
        .join(organisations, organisations.c.id == wallets.c.id)
        .where(wallets.c.held == 0, wallets.c.balance < largest, has_paid)
        .limit(LIMIT)
    )
    found: list[tuple[str, WalletStatus]] = []
    for row in (await connection.execute(query)).mappings():
        wallet = Wallet(row["balance"], row["held"], row["sequence"])
        status = wallet.status(settings.terms.default_hold(row["longest"]))
        if status is not WalletStatus.OK:
            found.append((row["id"], status))
    return found


async def _verdicts(connection: AsyncConnection, since: int) -> tuple[int, int]:
    """(outbound calls that the carrier completed since then, those of them without a verdict)"""
    missing = calls.c.billing_reason == BillingReason.FREE_NO_VERDICT
    query = select(func.count(), func.count().filter(missing)).where(
        calls.c.direction == "outbound", calls.c.final_status == "completed", calls.c.ended_at >= since
    )
    first_id = str(UUID(int=(since - HOUR_MS) << 80))  # ids are in order of creation: older rows need not be read
    query = query.where(calls.c.id >= first_id)
    ended, without = (await connection.execute(query)).one()
    return int(ended), int(without)
