"""What the edges ask of top-ups: begin one, come back from paying, hear an event, decide a review.

Invariant: whatever is learned from Stripe, by webhook, landing page or asking, passes through the same two commands;
nothing is credited on the word of a customer's browser.
"""

import asyncio
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import structlog
from quart import current_app

from billing.auto_recharge import Recharge
from billing.hear_payment import HearPayment
from billing.hear_reversal import HearReversal
from billing.operator_commands import OperatorAction, ResolveTopup
from billing.stripe_facts import READERS, BadObject, Fact
from billing.stripe_rows import EventSeen
from billing.topup_commands import CreateTopup, GiveUp, NotePayment, SaveCustomer, SaveSession, Suspended, TooMany
from billing.topup_queries import customer_of, find_any_topup, find_by_session, find_recharge, late_matches, list_all
from billing.topup_rows import Alert, Heard
from billing.topup_rules import SESSIONS_PER_HOUR, Payment, ReviewReason, TopupStatus
from billing.topups import Bank, BankRefused, BankUnavailable
from config.clock import Clock, new_id, now_ms
from config.database import Database
from config.door import Busy, Door, Down
from config.errors import ApiError, not_found
from config.settings import Settings

log = structlog.get_logger(__name__)

SESSION_MS = 3_600_000
"""How long a customer may take to pay; Stripe allows 30 minutes to 24 hours."""
SESSION_ID = re.compile(r"cs_[A-Za-z0-9_]{1,200}")
_OPEN = (TopupStatus.PENDING, TopupStatus.PROCESSING, TopupStatus.EXPIRED, TopupStatus.FAILED)


class Refused(Exception):
    """What an operator asked for cannot be done; the message says why."""


def topups_service() -> "Topups":
    """The service of the running application."""
    service: Topups = current_app.extensions["topups"]
    return service


class Topups:
    """The service of one process."""

    def __init__(self, database: Database, door: Door, bank: Bank, settings: Settings, clock: Clock = now_ms) -> None:
        self.database, self.door, self.bank, self.settings, self.clock = database, door, bank, settings, clock
        self.alerted: list[Callable[[Alert], None]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        door.committed.append(self._committed)
        bank.unreadable = lambda text: self.alert("reversal_unreadable", text)

    # -- customers ----------------------------------------------------------------------------------------------------

    async def create(
        self, org_id: str, amount_cents: int, *, session_ms: int = SESSION_MS
    ) -> tuple[dict[str, Any], str]:
        """(the top-up's row, the address at Stripe to pay at). `amount_cents` has been checked.

        Raises ApiError: 403 suspended, 429 too many in an hour, 502 refused by Stripe, 503 Stripe away or not set up.
        """
        if not self.settings.takes_payments:
            raise ApiError(503, "payments_not_configured", "This server takes no payments: STRIPE_SECRET_KEY is unset.")
        at = self.clock()
        command = CreateTopup(new_id(), org_id, amount_cents, self.settings.bank_livemode, at + session_ms, at)
        row = await self.door.submit(command, droppable=True)
        match row:
            case TooMany(retry_at):
                raise _too_many(retry_at - at)
            case Suspended():
                message = "This organisation is suspended. Write to support to lift it."
                raise ApiError(403, "organisation_suspended", message)
        return row, await self._session_url(row)

    async def return_from_checkout(self, org_id: str, session_id: str) -> dict[str, Any]:
        """The top-up's row after asking Stripe how its session stands: what `/billing/return` shows.

        Raises ApiError 404 for a session that is not this organisation's.
        """
        row = await self._by_session(org_id, session_id)
        if row["status"] not in _OPEN:
            return row
        try:
            await self.hear(await self.bank.session(session_id))
        except (BankUnavailable, BankRefused, BadObject) as error:
            log.warning("session_not_asked", topup_id=row["id"], error=str(error))  # the webhook or reconciler will say
        return await self._by_session(org_id, session_id)

    async def expire_open(self, org_id: str) -> None:
        """Close the payment pages that the organisation has open; what is just being paid there is credited."""
        async with self.database.read() as connection:
            pending = await list_all(connection, status=TopupStatus.PENDING, org_id=org_id, limit=2 * SESSIONS_PER_HOUR)
        for row in pending:
            if row["stripe_session_id"] is not None:
                with suppress(BankUnavailable, BankRefused):
                    await self.bank.expire_session(row["stripe_session_id"])

    async def recharge_of(self, org_id: str) -> Recharge | None:
        async with self.database.read() as connection:
            return await find_recharge(connection, org_id)

    # -- Stripe -------------------------------------------------------------------------------------------------------

    async def hear_event(self, event: Mapping[str, Any]) -> Heard | None:
        """A verified event; None if it is not one we listen to. Raises BadObject."""
        read = READERS.get(event["type"])
        fact = read(event["data"]["object"]) if read else None
        if fact is None:
            return None
        object_id = str(event["data"]["object"]["id"])
        seen = EventSeen(event["id"], event["type"], object_id, event["created"] * 1000, asdict(fact))
        return await self.hear(fact, seen)

    async def hear(self, fact: Fact, event: EventSeen | None = None) -> Heard:
        """`fulfil`: whoever learned it, whether it was known or not."""
        if isinstance(fact, Payment):
            heard = await self.door.submit(HearPayment(fact, new_id(), event))
            if heard.outcome == "credited":
                await self.match(heard.payment_intent_id)
            return heard
        heard = await self.door.submit(HearReversal(fact, new_id(), event, self.settings.terms))
        if heard.outcome == "kept":
            await self.match(fact.payment_intent_id)
        return heard

    async def match(self, payment_intent_id: str | None = None) -> int:
        """Apply refunds and disputes that came in at the same moment as the credit of their top-up, in another
        process, so that neither saw the other: whoever commits last looks again."""
        async with self.database.read() as connection:
            found = await late_matches(connection, payment_intent_id)
        for seen in found:
            await self.door.submit(HearReversal(seen, new_id(), terms=self.settings.terms))
        return len(found)

    async def note_payment(self, topup_id: str, org_id: str, payment_intent_id: str) -> None:
        """Fetch and keep the receipt's address, and the card where it was to be saved."""
        receipt = await self.bank.receipt(payment_intent_id)
        await self.door.submit(NotePayment(topup_id, org_id, receipt.url, receipt.payment_method_id))

    def customer_key(self, org_id: str) -> str:
        return f"{org_id}:{'live' if self.settings.bank_livemode else 'test'}"

    # -- operators ----------------------------------------------------------------------------------------------------

    async def resolve(
        self, topup_id: str, operator: str, reason: str, *, credit: bool, org_id: str | None, amount_cents: int | None
    ) -> dict[str, Any]:
        """End a review: the row after it. Raises Refused."""
        row = await self.row(topup_id)
        if credit and amount_cents is None:
            if row["review_reason"] == ReviewReason.WRONG_CURRENCY:
                raise Refused("it was not paid in dollars: say --amount-cents")
            if row["paid_cents"] != row["amount_cents"]:
                raise Refused(f"{row['paid_cents']} cents were paid for {row['amount_cents']}: say --amount-cents")
        amount = (amount_cents or row["amount_cents"]) if credit else None
        action = OperatorAction(
            new_id(),
            operator,
            "topup_credit" if credit else "topup_reject",
            topup_id,
            reason,
            row["org_id"] or org_id,
            {"amount_cents": amount, "review_reason": row["review_reason"]},
        )
        outcome = await self.door.submit(ResolveTopup(topup_id, org_id, amount, action, new_id()))
        if isinstance(outcome, str):
            raise Refused(outcome)
        return await self.row(topup_id)

    async def row(self, topup_id: str) -> dict[str, Any]:
        """Whoever's it is. Raises Refused."""
        async with self.database.read() as connection:
            row = await find_any_topup(connection, topup_id)
        if row is None:
            raise Refused(f"there is no top-up {topup_id}")
        return row

    def alert(self, kind: str, text: str) -> None:
        """An operator must hear of this; `text` says what it is about."""
        log.warning("alert", kind=kind, detail=text)
        for listener in self.alerted:
            listener(Alert(kind, text))

    # -- tasks after a commit -----------------------------------------------------------------------------------------

    async def idle(self) -> None:
        """Wait until everything begun has ended."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _committed(self, command: Any, result: Any) -> None:
        if not isinstance(result, Heard):
            return
        for alert in result.alerts:
            self.alert(alert.kind, alert.text)
        if result.outcome == "credited" and result.topup_id and result.org_id and result.payment_intent_id:
            task = asyncio.create_task(self._note(result.topup_id, result.org_id, result.payment_intent_id))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _note(self, topup_id: str, org_id: str, payment_intent_id: str) -> None:
        try:
            await self.note_payment(topup_id, org_id, payment_intent_id)
        except (BankUnavailable, BankRefused, Busy, Down) as error:
            log.warning("receipt_not_fetched", topup_id=topup_id, error=str(error))  # the reconciler tries again

    # -- steps --------------------------------------------------------------------------------------------------------

    async def _session_url(self, row: Mapping[str, Any]) -> str:
        try:
            customer_id = await self._customer(row["org_id"])
            try:
                session_id, url = await self.bank.create_session(row, customer_id, self.settings.public_base_url)
            except BankRefused as error:
                if (error.code, error.param) != ("resource_missing", "customer"):
                    raise
                customer_id = await self._customer(row["org_id"], lost=customer_id)
                base_url = self.settings.public_base_url
                session_id, url = await self.bank.create_session(row, customer_id, base_url, again=True)
        except BankRefused as error:
            self.alert("checkout_refused", f"top-up {row['id']}: {error}")
            await self.door.submit(GiveUp(row["id"], row["org_id"], TopupStatus.FAILED))
            message = "Stripe did not accept the payment request. Nothing was charged; we have been told."
            raise ApiError(502, "payments_refused", message) from None
        except BankUnavailable as error:
            log.warning("checkout_unavailable", error=str(error), topup_id=row["id"])
            message = "Stripe cannot be reached just now. Nothing was charged; try again in a moment."
            raise ApiError(503, "payments_unavailable", message, headers={"Retry-After": "5"}) from None
        await self._save(SaveSession(row["id"], row["org_id"], session_id, customer_id))
        return url

    async def _save(self, command: SaveSession) -> None:
        """A session that is not on record must not be paid: nobody has seen its address, and it is closed."""
        try:
            await self.door.submit(command)
        except Exception:
            with suppress(BankUnavailable, BankRefused):
                await self.bank.expire_session(command.session_id)
            raise

    async def _customer(self, org_id: str, lost: str | None = None) -> str:
        row_id = self.customer_key(org_id)
        async with self.database.read() as connection:
            known = await customer_of(connection, row_id)
        if known is not None and known != lost:
            return known
        made = await self.bank.create_customer(org_id, lost)
        await self.door.submit(SaveCustomer(row_id, org_id, made))
        return made

    async def _by_session(self, org_id: str, session_id: str) -> dict[str, Any]:
        row = None
        if SESSION_ID.fullmatch(session_id):
            async with self.database.read() as connection:
                row = await find_by_session(connection, org_id, session_id)
        if row is None:
            raise not_found("payment", session_id)
        return row


def _too_many(wait_ms: int) -> ApiError:
    seconds = wait_ms // 1000 + 1
    message = f"Too many payments were begun in the last hour. Try again in {-(-seconds // 60)} minutes."
    headers = {"Retry-After": str(seconds)}
    return ApiError(429, "topup_rate_limited", message, headers, retry_after_seconds=seconds)
