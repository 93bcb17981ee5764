"""Reading organisations.

Invariant: nothing here writes.
"""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from accounts.tables import organisations
from billing.rating import hold_milli_cents
from config.settings import Settings


async def default_hold(connection: AsyncConnection, org_id: str, settings: Settings) -> int:
    """Milli-cents held for a call of the organisation's longest length, at today's rate."""
    query = select(organisations.c.max_call_duration_seconds).where(organisations.c.id == org_id)
    longest = (await connection.execute(query)).scalar_one()
    return hold_milli_cents(longest or settings.max_call_duration_seconds, settings.rate_milli_cents_per_minute)
