"""The state database: how it is opened, and kept, whatever holds it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol, cast

import sqlalchemy as sa

from pipeline import sqlite
from pipeline.model import DiskError, UserError
from pipeline.tables import FLEETS, LEASES, METADATA, SENDS, VERSION

# What is asked for where nothing is sent. The others may be missing in a database that an older version has made.
_READ = set(METADATA.tables) - {FLEETS.name, LEASES.name}


def hashed(phone: str, key: bytes) -> bytes:
    """16 bytes that stand for a phone of ten digits, under the key of a state database."""
    return hashlib.blake2b(phone.encode(), key=key, digest_size=16).digest()


class BusyError(UserError):
    """Another process uses the state database."""

    exit_code = 6


# Gives the rows that a query finds, in the driver's own words but for `?`, which stands for a value.
Ask = Callable[[str, Sequence[object]], Sequence[tuple[Any, ...]]]


class _Kind(Protocol):
    """What differs between a file of SQLite's and a PostgreSQL server: two modules, with these functions."""

    def usable(self, url: sa.URL) -> sa.URL: ...
    def opened(self, url: sa.URL) -> sa.Engine: ...
    def read_only(self, url: sa.URL) -> sa.Engine | None: ...
    def lock_for_making(self, connection: sa.Connection) -> None: ...
    def version(self, connection: sa.Connection) -> int: ...
    def set_version(self, connection: sa.Connection, number: int) -> None: ...
    def why_unusable(self, error: Exception) -> str: ...
    def asking(self, state: sa.Engine) -> AbstractContextManager[Ask]: ...
    def name(self, state: sa.Engine) -> str: ...
    def folder(self, state: sa.Engine) -> Path | None: ...
    def size_bytes(self, state: sa.Engine) -> int: ...
    def free_share(self, state: sa.Engine) -> float: ...
    def compact(self, state: sa.Engine, tables: Collection[str]) -> bool: ...
    def problem(self, connection: sa.Connection, seconds: float) -> str | None: ...


def _kind(url: sa.URL) -> _Kind:
    if is_postgresql(url):
        from pipeline import postgres

        return cast(_Kind, postgres)
    return cast(_Kind, sqlite)


def is_postgresql(url: sa.URL) -> bool:
    """Whether the state database is on a PostgreSQL server; else it is a file."""
    return url.get_backend_name() == "postgresql"


def engine(url: str) -> sa.Engine:
    """The state database at an SQLAlchemy URL, with its tables. A file is made if missing.

    Raises UserError where it can't be used.
    """
    parsed = _parsed(url)
    try:
        made = _kind(parsed).opened(parsed)
        _make_tables(made)
    except (OSError, sa.exc.DBAPIError) as error:
        raise unusable(parsed, error) from None
    return made


def check_server(url: str) -> None:
    """Raises UserError where the state database is on a server that does not let this process in."""
    if is_postgresql(sa.make_url(url)):
        engine(url).dispose()


def reading(url: str) -> sa.Engine:
    """The state database to be read and never written; where there is none, one that knows nothing.

    It may be read while a run sends. Raises UserError where it can't be used.
    """
    parsed = _parsed(url)
    try:
        made = _kind(parsed).read_only(parsed)
        if made is None:
            return empty()
        _check_tables(made)
    except sa.exc.DBAPIError as error:
        raise unusable(parsed, error) from None
    return made


def empty() -> sa.Engine:
    """A state database in memory that knows nothing."""
    made = sa.create_engine("sqlite://")
    _make_tables(made)
    return made


_FORMS = "sqlite:///path/to/state.db or postgresql+psycopg://host/database"


def _parsed(url: str) -> sa.URL:
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        raise UserError(f"--state: not a database URL; give {_FORMS}") from None
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise UserError(f"--state {parsed.render_as_string()}: only {_FORMS} is supported")
    return _kind(parsed).usable(parsed)


def unusable(url: sa.URL, error: Exception) -> UserError:
    """The error of somebody who named a database that can't be used, with what its driver said."""
    reason = error.orig if isinstance(error, sa.exc.DBAPIError) and error.orig else error
    assert isinstance(reason, Exception)
    return UserError(f"--state {url.render_as_string()}: {_kind(url).why_unusable(reason)}")


def _check_tables(state: sa.Engine) -> None:
    """Raises UserError where tables are missing, or another version of this tool has made them."""
    with state.connect() as connection:
        if not _tables(connection, state.url).issuperset(_READ):
            raise UserError(f"--state {state.url.render_as_string()}: lacks tables; the next load makes them")


def _tables(connection: sa.Connection, url: sa.URL) -> set[str]:
    """The tables that are there. Raises UserError where another version of this tool has made them."""
    version = _kind(url).version(connection)
    tables = set(sa.inspect(connection).get_table_names())
    if SENDS.name in tables and version != VERSION:
        raise UserError(
            f"--state {url.render_as_string()}: another version of this tool has made it "
            f"(its tables are of version {version}, these are {VERSION}); name another with --state"
        )
    return tables


def _make_tables(state: sa.Engine) -> None:
    """The tables that are not there yet. Raises UserError where another version of this tool has made the others."""
    kind = _kind(state.url)
    with state.begin() as connection:
        if not _tables(connection, state.url).issuperset(METADATA.tables):
            kind.lock_for_making(connection)
            METADATA.create_all(connection)
            kind.set_version(connection, VERSION)


def insert_new(state: sa.Engine, table: sa.Table) -> sa.Insert:
    """An insert that does nothing where the row is there already."""
    if is_postgresql(state.url):
        from sqlalchemy.dialects.postgresql import insert as postgresql_insert

        return postgresql_insert(table).on_conflict_do_nothing()
    from sqlalchemy.dialects.sqlite import insert as sqlite_insert

    return sqlite_insert(table).on_conflict_do_nothing()


@contextmanager
def asking(state: sa.Engine) -> Iterator[Ask]:
    """What answers short questions, over a connection of its own. It raises the driver's errors: see `driver_error`."""
    with _kind(state.url).asking(state) as ask:
        yield ask


def driver_error(state: sa.Engine) -> type[Exception]:
    """What the driver of this database raises."""
    assert state.dialect.loaded_dbapi is not None
    return cast(type[Exception], state.dialect.loaded_dbapi.Error)


def name(state: sa.Engine) -> str:
    """What people call the state database: its path, or its URL without the password."""
    return _kind(state.url).name(state)


def folder_of(state: sa.Engine) -> Path | None:
    """Where on this machine the state database is; None where it is on a server."""
    return _kind(state.url).folder(state)


def size_bytes(state: sa.Engine) -> int:
    """What the state database takes on disk."""
    return _kind(state.url).size_bytes(state)


def free_share(state: sa.Engine) -> float:
    """Which part of what the database takes holds nothing any more: 0 to 1."""
    return _kind(state.url).free_share(state)


def problem(connection: sa.Connection, seconds: float) -> str | None:
    """Why it could not be a journal, or is not whole; None where it is well. Raises the driver's errors."""
    return _kind(connection.engine.url).problem(connection, seconds)


def compact(state: sa.Engine) -> None:
    """Writes the database anew: what was removed is in none of its files any more, and free space is the disk's again.

    Raises BusyError while others use it, DiskError where it can't be written.
    """
    named = state.url.render_as_string()
    try:
        is_done = _kind(state.url).compact(state, METADATA.tables)
    except (OSError, sa.exc.DBAPIError) as error:
        reason = str(getattr(error, "orig", error)).partition("\n")[0]
        raise DiskError(f"--state {named}: can't be written anew: {reason}; mend it, and do this again") from None
    if not is_done:
        raise BusyError(f"--state {named}: another process uses it; do this again when that has ended")
