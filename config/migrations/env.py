"""Alembic's environment: one connection, one transaction, whatever the database.

On Postgres an advisory lock lets one process migrate while the others wait.
"""

import asyncio

from alembic import context
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

import accounts.tables
import billing.tables
import voice.agents.tables
import voice.batches.tables
import voice.live.tables
import voice.tables
import webhooks.tables
from config.database import metadata
from config.migrate import LOCK_NUMBER

rooms = (
    accounts.tables,
    billing.tables,
    voice.tables,
    voice.agents.tables,
    voice.batches.tables,
    voice.live.tables,
    webhooks.tables,
)  # imported so that `metadata` knows their tables


def run(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": LOCK_NUMBER})
    context.configure(connection=connection, target_metadata=metadata, render_as_batch=False)
    with context.begin_transaction():
        context.run_migrations()


async def run_postgres(url: str) -> None:
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(run)
    await engine.dispose()


def run_sqlite(url: str) -> None:
    """All or nothing, which the driver's own transactions are not: it commits before every CREATE."""
    engine = create_engine(make_url(url).set(drivername="sqlite+pysqlite"), connect_args={"isolation_level": None})
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        run(connection)
        connection.exec_driver_sql("COMMIT")
    engine.dispose()


address = context.config.get_main_option("sqlalchemy.url")
assert address is not None
if make_url(address).get_backend_name() == "sqlite":
    run_sqlite(address)
else:
    asyncio.run(run_postgres(address))
