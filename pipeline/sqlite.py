"""A state database that is an SQLite file: how it is opened, made, measured and written anew."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from pipeline.model import UserError

_OLDEST = (3, 33)

IN_MEMORY = ":memory:"
# Of the write-ahead log, before it is written back into the file. The rows' keys are hashes: a page of their index is
# written back once where it was changed many times.
LOG_PAGES = 8000


def usable(url: sa.URL) -> sa.URL:
    """The URL. Raises UserError where it names no file, or asks for more than a file."""
    if url.drivername != "sqlite" or url.query:
        raise UserError(f"--state {url.render_as_string()}: for a file only sqlite:///path/to/state.db is supported")
    if not url.database or url.database == IN_MEMORY:
        raise UserError(
            f"--state {url.render_as_string()}: must be a file, or nothing would be known after a crash: sqlite:///state.db"
        )
    return url


def opened(url: sa.URL) -> sa.Engine:
    """The database, whose folder is made if missing. Raises OSError, and UserError where this SQLite is too old."""
    check_version(sqlite3.sqlite_version_info)
    _path(url).parent.mkdir(parents=True, exist_ok=True)
    return sa.create_engine(url, poolclass=sa.NullPool, connect_args={"check_same_thread": False})


def check_version(version: tuple[int, ...]) -> None:
    """Raises UserError where SQLite lacks UPDATE … FROM, in which settlements are written."""
    if version < _OLDEST:
        here, oldest = (".".join(map(str, found)) for found in (version, _OLDEST))
        raise UserError(
            f"this Python has SQLite {here}, and its state needs {oldest} or newer: use another Python, or PostgreSQL"
        )


def read_only(url: sa.URL) -> sa.Engine | None:
    """The database, to be read and never written; None where there is no file."""
    path = _path(url)
    if not path.exists():
        return None
    address = f"{path.absolute().as_uri()}?mode=ro"
    return sa.create_engine(url, poolclass=sa.NullPool, creator=lambda: sqlite3.connect(address, uri=True))


def lock_for_making(connection: sa.Connection) -> None:
    """All tables or none: the driver would commit one by one."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def version(connection: sa.Connection) -> int:
    """The version of the tables; 0 where there are none."""
    return int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())


def set_version(connection: sa.Connection, number: int) -> None:
    """Says which version the tables are that were just made."""
    connection.exec_driver_sql(f"PRAGMA user_version = {number}")


def why_unusable(error: Exception) -> str:
    """What the system or the driver said."""
    return f"can't be opened: {error}"


@contextmanager
def asking(state: sa.Engine) -> Iterator[Callable[[str, Sequence[object]], Sequence[tuple[Any, ...]]]]:
    """What answers short questions; any thread may ask, one at a time."""
    raw = state.raw_connection()
    connection = raw.driver_connection
    assert isinstance(connection, sqlite3.Connection)
    connection.isolation_level = None
    try:
        yield lambda query, values: connection.execute(query, values).fetchall()
    finally:
        raw.close()


def name(state: sa.Engine) -> str:
    """What people call it: its path."""
    return str(_path(state.url).absolute())


def folder(state: sa.Engine) -> Path | None:
    """Where on this machine it is."""
    return _path(state.url).absolute().parent


def size_bytes(state: sa.Engine) -> int:
    """What it takes on disk, its write-ahead log included."""
    path = str(state.url.database)
    return sum(file.stat().st_size for file in (Path(path), Path(f"{path}-wal")) if file.exists())


def free_share(state: sa.Engine) -> float:
    """Which part of its pages hold nothing: 0 to 1."""
    with state.connect() as connection:
        free, pages = (
            connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in ("freelist_count", "page_count")
        )
    return float(free / pages)


def compact(state: sa.Engine, tables: Collection[str]) -> bool:  # noqa: ARG001 nothing else is in the file
    """Writes it anew; False where others use it."""
    try:
        with state.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM")
            is_busy, *_ = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
    except sa.exc.OperationalError as error:
        if "locked" not in str(error.orig):
            raise
        return False
    return not is_busy


def problem(connection: sa.Connection, seconds: float) -> str | None:
    """Why it could not be a journal, or is not whole; None where it is well. Waits so long for others."""
    connection.exec_driver_sql(f"PRAGMA busy_timeout = {seconds * 1000:.0f}")
    mode = connection.exec_driver_sql("PRAGMA journal_mode = WAL").scalar_one()
    found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
    if mode != "wal":
        return f"no write-ahead log is possible there (journal mode {mode}): it must be on a disk of this machine"
    return None if found == "ok" else " ".join(str(found).split())


def _path(url: sa.URL) -> Path:
    return Path(url.database or "")
