"""The organisations' phone numbers.

Invariant: an active number belongs to one organisation.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from accounts.tables import organisations
from config.rows import Read, Rows
from config.settings import Settings
from voice.calls import active_number
from voice.carrier import Addresses, Carrier, CarrierUnavailable
from voice.tables import numbers

MONTHLY_COST_CENTS = 100


@dataclass(frozen=True, slots=True)
class ImportNumber:
    """Give an organisation a number that the carrier account has already."""

    number_id: str
    org_id: str
    e164: str
    country_code: str

    def locate(self) -> Sequence[Read]:
        return ()

    def organisations(self, located: Rows) -> Iterable[str]:
        return (self.org_id,)

    def reads(self, located: Rows) -> Sequence[Read]:
        return (Read(organisations, "id", (self.org_id,)), Read(numbers, "e164", (self.e164,)))

    def fold(self, rows: Rows, now: int) -> str | None:
        """None when done, else a sentence that says why not."""
        if rows.get(organisations, self.org_id) is None:
            return f"there is no organisation {self.org_id}"
        known = active_number(rows, self.e164)
        if known is not None:
            same = known["id"] == self.number_id
            return None if same else f"{self.e164} already belongs to organisation {known['org_id']}"
        rows.insert(
            numbers,
            {
                "id": self.number_id,
                "org_id": self.org_id,
                "e164": self.e164,
                "friendly_name": None,
                "country_code": self.country_code,
                "number_type": "local",
                "status": "active",
                "monthly_cost_cents": MONTHLY_COST_CENTS,
                "twilio_number_sid": None,
                "purchased_at": now,
            },
        )
        return None


async def set_up_at_carrier(settings: Settings, e164: str) -> str:
    """Point the number's webhooks here. A sentence that says what was done, or what is left to do by hand."""
    addresses = Addresses(settings.public_base_url)
    carrier = Carrier(settings.carrier_account_sid, settings.carrier_auth_token, settings.carrier_base_url, addresses)
    await carrier.open()
    try:
        known = await carrier.point_number_here(e164, create=settings.simulated_network)
    except CarrierUnavailable as error:
        return f"the carrier could not be asked ({error}); run callingbox-server doctor later"
    finally:
        await carrier.close()
    return "webhooks set" if known else "the carrier account has no such number; buy it there, then run doctor"
