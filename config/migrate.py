"""Bringing a database to today's schema.

Invariant: the schema comes from the migrations alone, on SQLite and on Postgres, from empty and from any earlier one.
`migrations/embedded.sql` is what they make of an empty SQLite file, written down by `make schema`, so that a first
command need not import the migration tools. It is used only while it matches the migrations that lie beside it.
"""

import hashlib
import sqlite3
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from sqlalchemy.engine import make_url

if TYPE_CHECKING:
    from alembic.config import Config

MIGRATIONS = Path(__file__).parent / "migrations"
EMBEDDED = MIGRATIONS / "embedded.sql"
LOCK_NUMBER = 7_316_004
"""An arbitrary name for "somebody is migrating" on Postgres."""
BUSY_TIMEOUT_SECONDS = 15.0


def configuration(url: str) -> "Config":
    from alembic.config import Config

    made = Config()
    made.set_main_option("script_location", str(MIGRATIONS))
    made.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return made


def migrate(url: str) -> None:
    """Upgrade to the newest revision; safe to call from several processes at once."""
    from alembic import command

    command.upgrade(configuration(url), "head")


def migrate_embedded(url: str) -> None:
    """The same for an SQLite file; quick when it is new or there is nothing to do."""
    if not is_current(url) and not _create(url):
        migrate(url)


def is_current(url: str) -> bool:
    """Whether an SQLite file is at the newest revision."""
    try:
        return embedded_revision(url) == newest_revision()
    except sqlite3.OperationalError:  # no such file or table: the migrations will say which
        return False


def newest_revision() -> str:
    return max(path.stem.split("_")[0] for path in _versions())


def embedded_revision(url: str) -> str | None:
    """What an SQLite file says of itself. Raises sqlite3.OperationalError where there is nothing to read."""
    connection = _connect(url)
    try:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    finally:
        connection.close()
    return None if row is None else str(row[0])


def rendered() -> str:
    """What `embedded.sql` must hold: the digest of the migrations, and all that they make of an empty file."""
    with TemporaryDirectory() as directory:
        url = f"sqlite+aiosqlite:///{directory}/embedded.db"
        migrate(url)
        connection = _connect(url)
        statements = [line for line in connection.iterdump() if line not in ("BEGIN TRANSACTION;", "COMMIT;")]
        connection.close()
    return "\n".join([_first_line(), *statements, ""])


def _create(url: str) -> bool:
    """Make the whole schema in an empty file in one transaction. False: the migrations have to do it."""
    script = EMBEDDED.read_text() if EMBEDDED.exists() else ""
    if not script.startswith(_first_line() + "\n"):
        return False
    connection = _connect(url)
    try:
        connection.executescript(f"BEGIN IMMEDIATE;\n{script}COMMIT;")
    except sqlite3.OperationalError:  # not empty, or somebody else was quicker: nothing was changed
        return False
    finally:
        connection.close()
    return True


def _connect(url: str) -> sqlite3.Connection:
    path = make_url(url).database or ":memory:"
    return sqlite3.connect(path, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None)


def _versions() -> list[Path]:
    return sorted((MIGRATIONS / "versions").glob("*.py"))


def _first_line() -> str:
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in _versions())).hexdigest()
    return f"-- Made from the migrations with this digest, by `make schema`: {digest}"


if __name__ == "__main__":
    EMBEDDED.write_text(rendered())
