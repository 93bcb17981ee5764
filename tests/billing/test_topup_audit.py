"""The audit of top-ups finds what was changed behind the ledger's back."""

import pytest
from sqlalchemy import text

from billing.audit import Violation
from billing.topup_audit import audit_topups
from tests.databases import alter
from tests.shop import Shop, open_shop

CORRUPTIONS = [
    ("update topups set credit_milli_cents = credit_milli_cents + 1", "topup_is_credited"),
    ("update topups set stripe_payment_intent_id = 'pi_other' where amount_cents = 2500", "topup_is_credited"),
    ("update topup_reversals set taken_milli_cents = taken_milli_cents + 1", "reversals_are_posted"),
    ("update topup_reversals set phase = 'undone' where kind = 'refund'", "reversals_are_due"),
    ("update topup_reversals set amount_cents = amount_cents + 100 where kind = 'refund'", "reversals_are_due"),
]


async def violations(shop: Shop) -> list[Violation]:
    found: list[Violation] = []
    async with shop.server.database.read() as connection:
        await audit_topups(connection, found.append)
    return found


@pytest.mark.parametrize(("corruption", "invariant"), CORRUPTIONS)
async def test_each_kind_of_corruption_is_named(sqlite_url: str, corruption: str, invariant: str) -> None:
    async with open_shop(sqlite_url) as shop:
        topup, disputed = await shop.paid(2_500), await shop.paid(1_000)
        await shop.begin()
        await shop.refund(topup, 1_000)
        await shop.dispute(disputed)
        await shop.until_balance(15)
        assert await violations(shop) == []
        await alter(shop.server.database.url, lambda connection: connection.execute(text(corruption)))
        found = await violations(shop)
        assert invariant in {violation.invariant for violation in found}
        assert {violation.org_id for violation in found} == {shop.org.id}
