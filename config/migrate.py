"""Bringing a database to today's schema.

Invariant: the schema comes from the migrations alone, on SQLite and on Postgres, from empty and from any earlier one.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

MIGRATIONS = Path(__file__).parent / "migrations"
LOCK_NUMBER = 7_316_004
"""An arbitrary name for "somebody is migrating" on Postgres."""


def configuration(url: str) -> Config:
    made = Config()
    made.set_main_option("script_location", str(MIGRATIONS))
    made.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return made


def migrate(url: str) -> None:
    """Upgrade to the newest revision; safe to call from several processes at once."""
    command.upgrade(configuration(url), "head")


def migrate_embedded(url: str) -> None:
    """For the embedded database; quick when there is nothing to do."""
    if not is_current(url):
        migrate(url)


def is_current(url: str) -> bool:
    """Whether an SQLite file is at the newest revision, without importing the migrations' environment."""
    newest = max(path.stem.split("_")[0] for path in (MIGRATIONS / "versions").glob("*.py"))
    engine = create_engine(make_url(url).set(drivername="sqlite+pysqlite"))
    try:
        with engine.connect() as connection:
            return connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == newest
    except Exception:  # no file or no such table: whatever it is, the migrations will say
        return False
    finally:
        engine.dispose()
