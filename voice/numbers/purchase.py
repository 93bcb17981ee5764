"""Buying, renewing and giving back numbers: the commands that move their money.

Invariant: a number's row and its hold are committed before the carrier is asked, and the row says until that is
settled that it must be looked at again (`due_at`). A purchase ends once: settled and active, or released and failed.

The caps of the organisation and of the key that buys hold for a purchase: its hold counts while it is open, its price
when it is settled. A renewal counts as spent and is never refused by a cap (`billing.spending` says why).

A month costs `monthly_cost_cents`, ahead. While it is unpaid the number stays for 7 days, with a notice at their
beginning and at their end.
"""

import calendar
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from accounts.mails import mail_members
from accounts.tables import organisations
from billing import ledger, limits, low_balance
from billing.low_balance import tell_of_wallet
from billing.money import MILLI_CENTS_PER_CENT, dollars_down, dollars_up
from billing.posting import HOLD, RELEASE, SETTLE, Posting, Refusal, Transfer
from billing.rating import Terms
from config.errors import ApiError, not_found, refused
from config.rows import Read, Row, Rows
from voice.agents.tables import agent_numbers
from voice.numbers.commands import MONTHLY_COST_CENTS, kind_of, own_number
from voice.tables import numbers

LOOK_AGAIN_MS = 60_000
UNPAID_LOOK_MS = 3_600_000
UNPAID_LIMIT_MS = 7 * 86_400_000


class Errand(StrEnum):
    """What is to be done at the carrier about a number."""

    LOOK_UP = "look_up"
    """Nobody knows whether the carrier sold it: ask."""
    GIVE_BACK = "give_back"


@dataclass(frozen=True, slots=True)
class Tended:
    """A number's row as it stands after the commit, and what is to be done about it outside."""

    row: Row
    errand: Errand | None = None


def price_milli_cents(row: Row) -> int:
    return int(row["monthly_cost_cents"]) * MILLI_CENTS_PER_CENT


def month_later(at: int, anchor: int) -> int:
    """The same day and time of the next month as `anchor` has in its own, or that month's last day. Milliseconds."""
    now, first = (datetime.fromtimestamp(value // 1000, UTC) for value in (at, anchor))
    year, month = (now.year + 1, 1) if now.month == 12 else (now.year, now.month + 1)
    day = min(first.day, calendar.monthrange(year, month)[1])
    return int(first.replace(year=year, month=month, day=day).timestamp()) * 1000


@dataclass(frozen=True, slots=True)
class BuyNumber:
    """Reserve the price and write the intention to buy. The hold's transfer has the id of its number."""

    number_id: str
    org_id: str
    e164: str
    country_code: str
    terms: Terms
    api_key_id: str | None = None

    def locate(self) -> Sequence[Read]:
        return ()

    def organisations(self, located: Rows) -> Iterable[str]:
        return (self.org_id,)

    def reads(self, located: Rows) -> Sequence[Read]:
        kept = (*low_balance.reads_for(self.org_id), *limits.reads_for(self.org_id, self.api_key_id))
        return (*kept, Read(numbers, "e164", (self.e164,)), *ledger.reads_for(self._hold(0)))

    def _hold(self, amount: int) -> Posting:
        reason = f"Phone number {self.e164}"
        return Posting(self.number_id, f"{self.number_id}:hold", self.org_id, HOLD, amount, reason=reason)

    def fold(self, rows: Rows, now: int) -> Row | ApiError:
        """The pending row, or why not: 402, 403 or 409."""
        if (known := rows.get(numbers, self.number_id)) is not None:  # our own earlier commit, whose answer was lost
            return dict(known)
        organisation = rows.get(organisations, self.org_id)
        assert organisation is not None
        if organisation["suspended_at"] is not None:
            return ApiError(403, "organisation_suspended", "This organisation is suspended. Write to support.")
        if any(row["status"] in ("pending", "active") for row in rows.find(numbers, "e164", self.e164)):
            return ApiError(409, "number_unavailable", f"{self.e164} is not for sale.", field="phone_number")
        row = {
            "id": self.number_id,
            "org_id": self.org_id,
            "e164": self.e164,
            "country_code": self.country_code,
            "number_type": kind_of(self.e164),
            "status": "pending",
            "monthly_cost_cents": MONTHLY_COST_CENTS,
            "api_key_id": self.api_key_id,
            "purchased_at": now,
            "due_at": now + LOOK_AGAIN_MS,
            "inbound_enabled": False,
        }
        price, before = price_milli_cents(row), ledger.wallet_in(rows, self.org_id)
        over = limits.over_cap(rows, self.org_id, self.api_key_id, price, self.e164, now)
        if over is not None:
            return refused(over.code, over.message, **over.figures)
        if ledger.apply(rows, self._hold(price), now) is Refusal.INSUFFICIENT:
            return insufficient(self.e164, before.available, price)
        limits.count_opened(rows, self.org_id, self.api_key_id, price, now, calls=0)
        after = ledger.wallet_in(rows, self.org_id)
        tell_of_wallet(rows, organisation, before, after, self.terms, self.number_id, now)
        rows.insert(numbers, row)
        return row


def insufficient(e164: str, available: int, price: int) -> ApiError:
    message = (
        f"{e164} costs {dollars_up(price)} a month but your available balance is {dollars_down(available)}. "
        f"Add {dollars_up(price - available)} or more in credits to buy it."
    )
    return ApiError(
        402,
        "insufficient_credit",
        message,
        available_milli_cents=available,
        price_milli_cents=price,
        shortfall_milli_cents=price - available,
    )


@dataclass(frozen=True, slots=True)
class _OnNumber:
    """A command about one number, whose organisation never changes."""

    number_id: str

    def locate(self) -> Sequence[Read]:
        return (Read(numbers, "id", (self.number_id,)),)

    def organisations(self, located: Rows) -> Iterable[str]:
        row = located.get(numbers, self.number_id)
        return () if row is None else (row["org_id"],)


@dataclass(frozen=True, slots=True)
class EndPurchase(_OnNumber):
    """What became of it: settled and active with the carrier's id, or without one released and failed."""

    transfer_id: str
    twilio_number_sid: str | None

    def reads(self, located: Rows) -> Sequence[Read]:
        row = located.get(numbers, self.number_id)
        kept = () if row is None else limits.reads_for(row["org_id"], row["api_key_id"])
        return (*self.locate(), *kept, *ledger.reads_for(self._end("", 0, "")))

    def _end(self, org_id: str, amount: int, e164: str) -> Posting:
        kind, reason = RELEASE if self.twilio_number_sid is None else SETTLE, f"Phone number {e164}"
        return Posting(self.transfer_id, f"{self.number_id}:end", org_id, kind, amount, self.number_id, reason=reason)

    def fold(self, rows: Rows, now: int) -> Row:
        row = rows.get(numbers, self.number_id)
        assert row is not None
        if row["status"] != "pending":  # decided before, by whoever looked it up
            if row["status"] == "failed" and self.twilio_number_sid is not None:  # sold after all: it goes back
                rows.update(numbers, self.number_id, {"twilio_number_sid": self.twilio_number_sid, "due_at": now})
            return dict(row)
        bought = self.twilio_number_sid is not None
        price = price_milli_cents(row)
        charge = price if bought else 0
        end = self._end(row["org_id"], charge, row["e164"])
        outcome = ledger.apply(rows, end, now)
        assert isinstance(outcome, Transfer), f"the ledger refused the end of purchase {self.number_id}: {outcome}"
        limits.count_closed(rows, row["org_id"], row["api_key_id"], price, charge, now, calls=0)
        paid_until = month_later(now, now) if bought else None
        changes: dict[str, Any] = {"status": "active", "purchased_at": now} if bought else {"status": "failed"}
        changes |= {"twilio_number_sid": self.twilio_number_sid, "paid_until": paid_until, "due_at": paid_until}
        rows.update(numbers, self.number_id, changes)
        return dict(row)


@dataclass(frozen=True, slots=True)
class ReleaseNumber(_OnNumber):
    """The customer gives a number back; nothing is refunded. An imported one stays in the carrier account."""

    org_id: str

    def reads(self, located: Rows) -> Sequence[Read]:
        return (*self.locate(), Read(agent_numbers, "number_id", (self.number_id,)))

    def fold(self, rows: Rows, now: int) -> Row | ApiError:
        row = own_number(rows, self.number_id, self.org_id)
        if row is None:
            return not_found("number", self.number_id)
        _release(rows, row, now)
        return dict(row)


def _release(rows: Rows, row: Row, now: int) -> None:
    bought = row["paid_until"] is not None
    changes = {"status": "released", "released_at": now, "due_at": now if bought else None, "inbound_agent_id": None}
    rows.update(numbers, row["id"], changes)
    for link in rows.find(agent_numbers, "number_id", row["id"]):
        if link["removed_at"] is None:
            rows.update(agent_numbers, link["id"], {"removed_at": now})


@dataclass(frozen=True, slots=True)
class GivenBack(_OnNumber):
    """The carrier account has the number no more."""

    def reads(self, located: Rows) -> Sequence[Read]:
        return self.locate()

    def fold(self, rows: Rows, now: int) -> None:
        rows.update(numbers, self.number_id, {"due_at": None})


@dataclass(frozen=True, slots=True)
class TendNumber(_OnNumber):
    """A number's time has come. Claiming is the same write: `due_at` moves before anybody is asked."""

    hold_id: str
    settle_id: str
    terms: Terms

    def reads(self, located: Rows) -> Sequence[Read]:
        row = located.get(numbers, self.number_id)
        if row is None:
            return ()
        return (
            *self.locate(),
            Read(numbers, "e164", (row["e164"],)),
            Read(agent_numbers, "number_id", (self.number_id,)),
            *low_balance.reads_for(row["org_id"]),
            *limits.reads_for(row["org_id"], None),
        )

    def fold(self, rows: Rows, now: int) -> Tended:
        row = rows.get(numbers, self.number_id)
        assert row is not None
        if row["due_at"] is None or row["due_at"] > now:
            return Tended(dict(row))
        if row["status"] == "active":
            self._renew(rows, row, now)
            return Tended(dict(row), Errand.GIVE_BACK if row["status"] == "released" else None)
        if row["status"] == "pending":
            errand = Errand.LOOK_UP
        else:
            others = (other for other in rows.find(numbers, "e164", row["e164"]) if other["id"] != row["id"])
            if any(other["status"] in ("pending", "active") for other in others):
                rows.update(numbers, row["id"], {"due_at": None})  # somebody else has it by now
                return Tended(dict(row))
            errand = Errand.GIVE_BACK
        rows.update(numbers, row["id"], {"due_at": now + LOOK_AGAIN_MS})
        return Tended(dict(row), errand)

    def _renew(self, rows: Rows, row: Row, now: int) -> None:
        """Charge the next month, or wait for credit, or give up."""
        key, price, reason = f"{row['id']}:{row['paid_until']}", price_milli_cents(row), f"Phone number {row['e164']}"
        organisation, before = rows.get(organisations, row["org_id"]), ledger.wallet_in(rows, row["org_id"])
        assert organisation is not None
        hold = Posting(self.hold_id, f"{key}:hold", row["org_id"], HOLD, price, reason=reason)
        if isinstance(ledger.apply(rows, hold, now), Transfer):
            end = Posting(self.settle_id, f"{key}:end", row["org_id"], SETTLE, price, self.hold_id, reason=reason)
            outcome = ledger.apply(rows, end, now)
            assert isinstance(outcome, Transfer), outcome
            limits.count_closed(rows, row["org_id"], None, 0, price, now, calls=0)
            after = ledger.wallet_in(rows, row["org_id"])
            tell_of_wallet(rows, organisation, before, after, self.terms, self.hold_id, now)
            paid_until = month_later(row["paid_until"], row["purchased_at"])
            changes = {"paid_until": paid_until, "due_at": paid_until, "unpaid_since": None}
            rows.update(numbers, row["id"], changes)
            return
        unpaid_since = row["unpaid_since"] or now
        if now >= unpaid_since + UNPAID_LIMIT_MS:
            _release(rows, row, now)
            rows.update(numbers, row["id"], {"due_at": now + LOOK_AGAIN_MS})
            self._notify(rows, row, "released", f"{row['e164']} has been released: it was unpaid for 7 days.", now)
            return
        due_at = min(now + UNPAID_LOOK_MS, unpaid_since + UNPAID_LIMIT_MS)
        rows.update(numbers, row["id"], {"unpaid_since": unpaid_since, "due_at": due_at})
        if unpaid_since == now:
            text = (
                f"{row['e164']} costs {dollars_up(price)} a month, and your credit does not cover the next one. "
                "Add credits within 7 days to keep it; after that it is released."
            )
            self._notify(rows, row, "unpaid", text, now)

    def _notify(self, rows: Rows, row: Row, kind: str, text: str, now: int) -> None:
        facts = {"subject": f"Your number {row['e164']} is {kind}", "text": f"{text}\n"}
        mail_members(rows, row["org_id"], f"{self.hold_id}:{kind}", facts, now)
