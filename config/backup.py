"""A copy of the embedded database, taken beside a running server.

Invariant: the file appears whole and sound, or not at all; it holds one moment's state, and nothing that is there
already is touched.
"""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy.engine import make_url

PARTIAL = ".partial"
COUNTED = ("organisations", "calls", "transfers")


class NoBackup(Exception):
    """The message says why there is none."""


def back_up(database_url: str, target: Path) -> dict[str, Any]:
    """Copy to `target`, which must not exist; gives its path, size in bytes and rows by table. Raises NoBackup.

    Readers and writers go on meanwhile: the copy is one read transaction of SQLite's own backup interface.
    """
    url = make_url(database_url)
    if url.get_backend_name() != "sqlite":
        raise NoBackup("this copies the embedded database; back up Postgres with pg_dump")
    source = Path(url.database or "")
    if not source.is_file():
        raise NoBackup(f"there is no database {source} yet")
    if target.exists():
        raise NoBackup(f"{target} exists already")
    partial = target.with_name(target.name + PARTIAL)
    try:
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))  # keys and transcripts are in it
    except OSError as error:
        raise NoBackup(f"{partial} cannot be written: {(error.strerror or '').lower()}") from None
    try:
        _copy(source, partial)
        counts = _checked(partial)
        _put_in_place(partial, target)
    except (sqlite3.Error, OSError) as error:
        raise NoBackup(f"the copy failed ({type(error).__name__})") from None
    finally:
        partial.unlink(missing_ok=True)
    return {"file": str(target), "bytes": target.stat().st_size, "rows": counts}


def _copy(source: Path, partial: Path) -> None:
    with closing(sqlite3.connect(source, timeout=30)) as origin, closing(sqlite3.connect(partial)) as copy:
        origin.backup(copy)
        copy.execute("pragma journal_mode=delete")  # all of it in the one file


def _checked(partial: Path) -> dict[str, int]:
    with closing(sqlite3.connect(partial)) as copy:
        if copy.execute("pragma integrity_check").fetchall() != [("ok",)]:
            raise NoBackup("the copy is not sound; is the database?")
        if copy.execute("pragma foreign_key_check").fetchall():
            raise NoBackup("rows of the copy refer to others that are missing")
        return {table: copy.execute(f"select count(*) from {table}").fetchone()[0] for table in COUNTED}  # noqa: S608


def _put_in_place(partial: Path, target: Path) -> None:
    """On disk before its name is."""
    _sync(partial)
    os.link(partial, target)  # unlike a rename, this never replaces a file that has appeared meanwhile
    _sync(target.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
