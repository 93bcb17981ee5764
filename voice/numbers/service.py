"""What the edges ask of numbers, and the keeper that looks after those whose time has come.

Invariant: the carrier is asked only after the commit that says so, in a task of its own, so that a client that goes
away stops nothing; what dies with the process is found again by the row's `due_at`.
"""

import asyncio
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from quart import current_app
from sqlalchemy import select

from billing.rating import Terms
from config.clock import Clock, new_id, now_ms
from config.database import Database, Unavailable
from config.door import Busy, Door, Down
from config.errors import ApiError, invalid, not_found, refused
from config.settings import Settings
from voice import twiml
from voice.calls import oldest_active_number
from voice.carrier import Carrier, CarrierUnavailable
from voice.dialling import NotDiallable, check_number
from voice.events import DialAccepted, DialRefused
from voice.numbers.commands import MONTHLY_COST_CENTS, ChangeNumber, find_number
from voice.numbers.purchase import BuyNumber, EndPurchase, Errand, GivenBack, ReleaseNumber, TendNumber
from voice.numbers.verified import CODE_DIGITS, ConfirmCode, ForgetVerified, TellCode, verified_object
from voice.tables import numbers

log = structlog.get_logger(__name__)

TICK_SECONDS = 5.0
GIVE_UP_AT_LEAST_MS = 60_000


def numbers_service() -> "Numbers":
    """The service of the running application."""
    service: Numbers = current_app.extensions["numbers"]
    return service


@dataclass(slots=True)
class Numbers:
    """The service of one process. Methods raise ApiError; a number of somebody else is not found."""

    database: Database
    door: Door
    carrier: Carrier
    settings: Settings
    clock: Clock = now_ms
    _tasks: "set[asyncio.Task[Any]]" = field(default_factory=set)

    @property
    def _terms(self) -> Terms:
        return Terms(self.settings.rate_milli_cents_per_minute, self.settings.max_call_duration_seconds)

    async def show(self, org_id: str, number_id: str) -> dict[str, Any]:
        async with self.database.read() as connection:
            found = await find_number(connection, org_id, number_id)
        if found is None:
            raise not_found("number", number_id)
        return found

    async def change(self, org_id: str, number_id: str, changes: Mapping[str, Any]) -> dict[str, Any]:
        """`changes`: checked columns, as ChangeNumber takes them."""
        if (fallback := changes.get("fallback_number")) is not None:
            self.check(fallback, "fallback_number")
        result = await self.door.submit(ChangeNumber(number_id, org_id, changes))
        if isinstance(result, ApiError):
            raise result
        return await self.show(org_id, number_id)

    def check(self, e164: str, field: str) -> str:
        """The region of a number in one of this server's countries. Raises ApiError 400."""
        try:
            return check_number(e164, self.settings.allowed_countries, field)
        except NotDiallable as refusal:
            raise invalid(field, refusal.message, refusal.code) from None

    async def search(self, country: str, kind: str, area_code: str | None, limit: int) -> list[dict[str, Any]]:
        """Numbers for sale. Raises ApiError 400, 502."""
        if country not in self.settings.allowed_countries:
            allowed = ", ".join(sorted(self.settings.allowed_countries))
            raise invalid("country_code", f"Numbers are sold in: {allowed}.", "country_not_allowed")
        try:
            found = await self.carrier.available_numbers(country, kind, area_code, limit)
        except CarrierUnavailable:
            message = "The carrier could not be asked for numbers. Try again in a moment."
            raise ApiError(502, "carrier_unreachable", message) from None
        return [
            {
                "phone_number": offer.phone_number,
                "country_code": country,
                "number_type": kind,
                "state": offer.region,
                "locality": offer.locality,
                "monthly_cost_cents": MONTHLY_COST_CENTS,
                "upfront_cost_cents": 0,
                "currency": "USD",
            }
            for offer in found
        ]

    async def purchase(self, org_id: str, e164: str, api_key_id: str | None = None) -> dict[str, Any]:
        """The number, paid for a month; `api_key_id`: whose caps hold besides the organisation's.

        Raises ApiError 400, 402, 403, 409, 502 (`purchase_unresolved`: we find out), 503.
        """
        region = self.check(e164, "phone_number")
        task = asyncio.create_task(self._purchase(org_id, e164, region, api_key_id))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await self.show(org_id, await asyncio.shield(task))

    async def _purchase(self, org_id: str, e164: str, region: str, api_key_id: str | None) -> str:
        row = await self.door.submit(BuyNumber(new_id(), org_id, e164, region, self._terms, api_key_id))
        if isinstance(row, ApiError):
            if row.code == "insufficient_credit":
                row.fields["add_credits_url"] = f"{self.settings.public_base_url}/billing/add-credits"
            raise row
        refusal = await self._buy(row)
        if refusal is not None:
            raise refusal
        return str(row["id"])

    async def _buy(self, row: Mapping[str, Any]) -> ApiError | None:
        """Ask the carrier once, and settle or release by its answer; without one, find out."""
        outcome = await self.carrier.buy_number(row["e164"], _name(row))
        match outcome:
            case DialAccepted(sid):
                ended = await self.door.submit(EndPurchase(row["id"], new_id(), sid))
                if ended["status"] != "failed":
                    return None
                await self._tend(row["id"])
                return refused("carrier_busy", "The purchase took too long and was undone. Nothing was charged.")
            case DialRefused(code, message):
                await self.door.submit(EndPurchase(row["id"], new_id(), None))
                return refused(code, message, field="phone_number")
        if await self._look_up(row) == "active":
            return None
        message = (
            "The carrier has not confirmed this purchase. Its price is held until we know, within minutes: then the "
            "number is yours, or the hold is released."
        )
        return ApiError(502, "purchase_unresolved", message, number_id=row["id"])

    async def _look_up(self, row: Mapping[str, Any]) -> str:
        """Find out whether the carrier sold it; the row's status then. "Could not ask" is never "did not sell"."""
        try:
            sid = await self.carrier.bought_number(row["e164"], _name(row))
        except CarrierUnavailable as error:
            log.warning("purchase_not_looked_up", number_id=row["id"], error=str(error))
            return "pending"
        patience_ms = max(GIVE_UP_AT_LEAST_MS, round(self.settings.sweep_silence_seconds * 1000))
        if sid is None and self.clock() < row["purchased_at"] + patience_ms:
            return "pending"
        return str((await self.door.submit(EndPurchase(row["id"], new_id(), sid)))["status"])

    async def release(self, org_id: str, number_id: str) -> None:
        """Give a number back; a bought one leaves the carrier account as well."""
        result = await self.door.submit(ReleaseNumber(number_id, org_id))
        if isinstance(result, ApiError):
            raise result
        await self._tend(number_id)

    # -- the keeper ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Look after numbers that are due, until cancelled."""
        while True:
            try:
                await self.look()
            except (Unavailable, Busy, Down) as error:
                log.warning("numbers_postponed", error=str(error))
            await asyncio.sleep(TICK_SECONDS)

    async def look(self) -> Counter[str]:
        """Purchases to look up, months to renew, numbers to give back: everything due now, once. Counts by outcome."""
        query = select(numbers.c.id).where(numbers.c.due_at <= self.clock()).order_by(numbers.c.due_at).limit(200)
        async with self.database.read() as connection:
            due: Sequence[str] = list((await connection.execute(query)).scalars())
        return Counter([await self._tend_safely(number_id) for number_id in due])

    async def _tend_safely(self, number_id: str) -> str:
        try:
            return await self._tend(number_id)
        except (Unavailable, Busy, Down):
            raise
        except Exception as error:  # one sick number must not keep the others waiting
            log.error("number_not_tended", number_id=number_id, error=type(error).__name__)
            return "sick"

    async def _tend(self, number_id: str) -> str:
        tended = await self.door.submit(TendNumber(number_id, new_id(), new_id(), self._terms))
        row = tended.row
        if tended.errand is Errand.LOOK_UP:
            return await self._look_up(row)
        if tended.errand is Errand.GIVE_BACK:
            try:
                if row["twilio_number_sid"] is not None:
                    await self.carrier.give_back_number(row["twilio_number_sid"])
            except CarrierUnavailable as error:
                log.warning("number_not_given_back", number_id=number_id, error=str(error))  # due again soon
            else:
                await self.door.submit(GivenBack(number_id))
        return "past_due" if row["unpaid_since"] is not None and row["status"] == "active" else str(row["status"])

    async def idle(self) -> None:
        """Wait until every purchase begun has ended."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- proving a number ---------------------------------------------------------------------------------------------

    async def tell_code(self, org_id: str, e164: str) -> dict[str, Any]:
        """Have a code told at a number by telephone, free. Raises ApiError 400, 429, 502."""
        self.check(e164, "e164")
        async with self.database.read() as connection:
            from_number = await oldest_active_number(connection, org_id)
        if from_number is None:
            raise ApiError(400, "no_number", "Your organisation needs an active number to call from.")
        code = f"{secrets.randbelow(10**CODE_DIGITS):0{CODE_DIGITS}}"
        row = await self.door.submit(TellCode(org_id, e164, code))
        if isinstance(row, ApiError):
            raise row
        outcome = await self.carrier.say(e164, from_number, twiml.tell_code(code))
        if isinstance(outcome, DialRefused):
            raise refused(outcome.code, outcome.message, field="e164")
        return verified_object(row)

    async def confirm_code(self, org_id: str, e164: str, code: str) -> dict[str, Any]:
        result = await self.door.submit(ConfirmCode(org_id, e164, code))
        if isinstance(result, ApiError):
            raise result
        return verified_object(result)

    async def forget_verified(self, org_id: str, e164: str) -> None:
        if not await self.door.submit(ForgetVerified(org_id, e164)):
            raise not_found("verified number", e164)


def _name(row: Mapping[str, Any]) -> str:
    """What the carrier's console shows, and how a purchase is told from any other of the same number."""
    return f"CallingBox {row['id']}"
