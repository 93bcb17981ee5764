"""The commands that begin a top-up and note what Stripe keeps of it.

Invariant: the intention is committed before Stripe hears of it, and nobody sees an address to pay at before the session
behind it is on record.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from accounts.tables import organisations
from billing import auto_recharge
from billing.tables import auto_recharges, stripe_customers, topups
from billing.topup_rows import put_recharge, recharge_in, topup_row
from billing.topup_rules import TopupKind, TopupStatus, retry_at
from config.rows import OfOneOrganisation, Read, Row, Rows

HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class TooMany:
    """The organisation has begun as many Checkout sessions as it may in an hour."""

    retry_at: int


class Suspended:
    """The organisation is suspended."""


@dataclass(frozen=True, slots=True)
class CreateTopup(OfOneOrganisation):
    """The intention to be paid, committed before Stripe hears of it. `at`: the caller's time, for the hourly limit."""

    topup_id: str
    org_id: str
    amount_cents: int
    livemode: bool
    expires_at: int
    at: int

    def reads(self, located: Rows) -> Sequence[Read]:
        return (
            Read(organisations, "id", (self.org_id,)),
            Read(topups, "org_hour", (_hour(self.org_id, self.at), _hour(self.org_id, self.at - HOUR_MS))),
            Read(topups, "id", (self.topup_id,)),
            Read(auto_recharges, "id", (self.org_id,)),
        )

    def fold(self, rows: Rows, now: int) -> Row | TooMany | Suspended:
        if (row := rows.get(topups, self.topup_id)) is not None:
            return dict(row)
        organisation = rows.get(organisations, self.org_id)
        assert organisation is not None, "whoever asks belongs to an organisation"
        if organisation["suspended_at"] is not None:
            return Suspended()
        hours = (_hour(self.org_id, self.at), _hour(self.org_id, self.at - HOUR_MS))
        begun = [row["created_at"] for hour in hours for row in rows.find(topups, "org_hour", hour)]
        if (free_at := retry_at(begun, self.at)) is not None:
            return TooMany(free_at)
        recharge = recharge_in(rows, self.org_id)
        row = topup_row(
            self.topup_id,
            self.org_id,
            TopupKind.CHECKOUT,
            self.amount_cents,
            self.livemode,
            self.at,
            saves_card=recharge is not None and recharge.wants_card,
            org_hour=hours[0],
            expires_at=self.expires_at,
        )
        rows.insert(topups, row)
        return row


def _hour(org_id: str, at: int) -> str:
    return f"{org_id}:{at // HOUR_MS}"


@dataclass(frozen=True, slots=True)
class _OnTopup(OfOneOrganisation):
    """A command about one top-up of a known organisation."""

    topup_id: str
    org_id: str

    def reads(self, located: Rows) -> Sequence[Read]:
        return (Read(topups, "id", (self.topup_id,)),)


@dataclass(frozen=True, slots=True)
class SaveSession(_OnTopup):
    """Stripe has made the session; only after this may anybody see its address."""

    session_id: str
    customer_id: str

    def fold(self, rows: Rows, now: int) -> None:
        changes = {"stripe_session_id": self.session_id, "stripe_customer_id": self.customer_id, "updated_at": now}
        rows.update(topups, self.topup_id, changes)


@dataclass(frozen=True, slots=True)
class GiveUp(_OnTopup):
    """Nothing can be paid any more: Stripe refused to make the session, or its time is over and nobody saw it."""

    status: TopupStatus

    def fold(self, rows: Rows, now: int) -> bool:
        row = rows.get(topups, self.topup_id)
        assert row is not None
        if row["status"] != TopupStatus.PENDING:
            return False
        rows.update(topups, self.topup_id, {"status": self.status.value, "updated_at": now})
        return True


@dataclass(frozen=True, slots=True)
class NotePayment(_OnTopup):
    """What Stripe keeps of a payment: the receipt's address and the card, saved if that was asked for. That once: what
    became of the card since is not forgotten when the receipt is asked for again."""

    receipt_url: str | None
    payment_method_id: str | None

    def reads(self, located: Rows) -> Sequence[Read]:
        return (Read(topups, "id", (self.topup_id,)), Read(auto_recharges, "id", (self.org_id,)))

    def fold(self, rows: Rows, now: int) -> None:
        row = rows.get(topups, self.topup_id)
        assert row is not None
        rows.update(topups, self.topup_id, {"receipt_url": self.receipt_url, "updated_at": now})
        recharge = recharge_in(rows, self.org_id)
        if row["saves_card"] and recharge is not None and self.payment_method_id is not None:
            put_recharge(rows, auto_recharge.card_saved(recharge, self.payment_method_id), now)
            rows.update(topups, self.topup_id, {"saves_card": False})


@dataclass(frozen=True, slots=True)
class SaveCustomer(OfOneOrganisation):
    """Who the organisation is at Stripe."""

    row_id: str
    org_id: str
    customer_id: str

    def reads(self, located: Rows) -> Sequence[Read]:
        return (Read(stripe_customers, "id", (self.row_id,)),)

    def fold(self, rows: Rows, now: int) -> None:
        row = {"id": self.row_id, "org_id": self.org_id, "stripe_customer_id": self.customer_id, "updated_at": now}
        if rows.get(stripe_customers, self.row_id) is None:
            rows.insert(stripe_customers, row)
        else:
            rows.update(stripe_customers, self.row_id, row)
