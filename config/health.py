"""Whether the process lives (`/healthz`) and can work (`/readyz`).

Invariant: neither asks a vendor: their being away is no reason to take us out of service.
"""

import asyncio

from quart import Blueprint, Response, current_app
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from config.database import Database, Unavailable
from config.http import answer
from config.openapi import gives
from config.shapes import Health, Unwell

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
@gives(Health)
async def healthz() -> Response:
    """200 while the process lives."""
    return answer({"status": "ok"})


@blueprint.get("/readyz")
@gives(Health)
@gives(Unwell, 503, "It cannot work.")
async def readyz() -> Response:
    """200 when the database answers and is migrated, else 503 with `reason`."""
    database: Database = current_app.extensions["database"]
    try:
        async with asyncio.timeout(2), database.read() as connection:
            await connection.execute(text("SELECT 1 FROM wallets LIMIT 1"))
    except (Unavailable, TimeoutError):
        return answer({"status": "unavailable", "reason": "the database cannot be reached"}, 503)
    except SQLAlchemyError:
        return answer(
            {"status": "unavailable", "reason": "the database is not migrated: callingbox-server migrate"}, 503
        )
    return answer({"status": "ok"})
