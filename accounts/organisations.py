"""Reading organisations.

Invariant: nothing here writes.
"""

from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from accounts.tables import api_keys, invitations, organisations, users
from billing.rating import hold_milli_cents
from billing.tables import wallets
from config.settings import Settings


async def default_hold(connection: AsyncConnection, org_id: str, settings: Settings) -> int:
    """Milli-cents held for a call of the organisation's longest length, at today's rate."""
    query = select(organisations.c.max_call_duration_seconds).where(organisations.c.id == org_id)
    longest = (await connection.execute(query)).scalar_one()
    return hold_milli_cents(longest or settings.max_call_duration_seconds, settings.rate_milli_cents_per_minute)


async def list_organisations(connection: AsyncConnection, *, email: str | None, limit: int) -> list[dict[str, Any]]:
    """For the operator, newest first; with `email` (normalised) that member's alone. Milli-cents."""
    query = select(organisations, wallets.c.balance, wallets.c.held).join(wallets, wallets.c.id == organisations.c.id)
    if email is not None:
        query = query.where(organisations.c.id.in_(select(users.c.org_id).where(users.c.email == email)))
    found = (await connection.execute(query.order_by(organisations.c.id.desc()).limit(limit))).mappings().all()
    of_these = select(users.c.org_id, users.c.email).where(
        users.c.org_id.in_([row["id"] for row in found]), users.c.email.not_like("removed:%")
    )
    members = (await connection.execute(of_these.order_by(users.c.id))).all()
    return [
        {
            "org_id": row["id"],
            "name": row["name"],
            "emails": [member.email for member in members if member.org_id == row["id"]],
            "balance_milli_cents": row["balance"],
            "held_milli_cents": row["held"],
            "suspended_at": row["suspended_at"],
            "created_at": row["created_at"],
        }
        for row in found
    ]


async def find_user(connection: AsyncConnection, email: str) -> dict[str, Any] | None:
    """By normalised address."""
    row = (await connection.execute(select(users).where(users.c.email == email))).mappings().first()
    return None if row is None else dict(row)


async def find_user_by_id(connection: AsyncConnection, user_id: str) -> dict[str, Any] | None:
    row = (await connection.execute(select(users).where(users.c.id == user_id))).mappings().first()
    return None if row is None else dict(row)


async def members_of(connection: AsyncConnection, org_id: str) -> list[dict[str, Any]]:
    query = select(users.c.id, users.c.email, users.c.verified_at, users.c.created_at).where(
        users.c.org_id == org_id, users.c.email.not_like("removed:%")
    )
    return [dict(row) for row in (await connection.execute(query.order_by(users.c.created_at))).mappings()]


async def open_invitations(connection: AsyncConnection, org_id: str, now: int) -> list[dict[str, Any]]:
    query = select(invitations).where(
        invitations.c.org_id == org_id, invitations.c.ended_at.is_(None), invitations.c.expires_at > now
    )
    return [dict(row) for row in (await connection.execute(query.order_by(invitations.c.created_at))).mappings()]


async def keys_of(connection: AsyncConnection, org_id: str) -> list[dict[str, Any]]:
    """Newest first; no key and no hash of one."""
    shown = [column for column in api_keys.c if column.name != "key_hash"]
    query = select(*shown).where(api_keys.c.org_id == org_id).order_by(api_keys.c.id.desc())
    return [dict(row) for row in (await connection.execute(query)).mappings()]


async def timezone_of(connection: AsyncConnection, org_id: str) -> str:
    """An IANA name, for example `America/New_York`."""
    query = select(organisations.c.timezone).where(organisations.c.id == org_id)
    return str((await connection.execute(query)).scalar_one())


async def find_invitation(connection: AsyncConnection, invitation_id: str, now: int) -> dict[str, str] | None:
    """`id`, `email` and `organisation` (its name) of an invitation that can still be accepted."""
    query = (
        select(invitations.c.id, invitations.c.email, organisations.c.name.label("organisation"))
        .join(organisations, organisations.c.id == invitations.c.org_id)
        .where(invitations.c.id == invitation_id, invitations.c.ended_at.is_(None), invitations.c.expires_at > now)
    )
    row = (await connection.execute(query)).mappings().first()
    return None if row is None else dict(row)


async def find_organisation(connection: AsyncConnection, org_id: str) -> dict[str, Any] | None:
    row = (await connection.execute(select(organisations).where(organisations.c.id == org_id))).mappings().first()
    return None if row is None else dict(row)
