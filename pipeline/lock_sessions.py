"""Locks in a state database on a PostgreSQL server: its advisory locks, which die with the session that holds them.

What the holder's journal writes goes through that very session: a run that has lost its lock can record nothing more,
and so sends nothing more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
import sqlalchemy as sa

from pipeline import postgres, statedb
from pipeline.postgres import HOLDERS

if TYPE_CHECKING:
    from pipeline.postgres import Session


@dataclass(frozen=True, slots=True)
class SessionLocks:
    """The locks of one state database; as `lock.Locks`."""

    state: sa.Engine

    def names(self) -> list[str]:
        """The names under which something was ever locked."""
        with self.state.connect() as connection:
            return list(connection.execute(sa.select(HOLDERS.c.name).order_by(HOLDERS.c.name)).scalars())

    @contextmanager
    def holding(self, name: str, holder: str) -> Iterator[tuple[sa.Engine, str | None]]:
        """The lock of this name, and None; where somebody else has it, who that is.

        The engine that is given has the journal write in the session that holds the lock.
        """
        with self._session() as session:
            if not self._asked(session, "SELECT pg_try_advisory_lock($1)", _number(name)):
                yield self.state, self._asked(session, "SELECT holder FROM lock_holders WHERE name = $1", name) or ""
                return
            self._asked(session, f"{_NAMED} DO UPDATE SET holder = excluded.holder RETURNING 1", name, holder)
            yield postgres.written_in(self.state, session), None

    @contextmanager
    def sharing(self, name: str) -> Iterator[None]:
        """Goes on beside the lock of this name, with others."""
        with self._session(lock_timeout="0") as session:  # whoever is waited for ends, or dies
            self._asked(session, f"{_NAMED} DO NOTHING RETURNING 1", name, "")
            self._asked(session, "SELECT pg_advisory_lock_shared($1)", _number(f"{name}.beside"))
            yield

    @contextmanager
    def nobody_shares(self, name: str) -> Iterator[bool]:
        """Whether nobody goes on beside it; nobody begins to meanwhile, if so."""
        with self._session() as session:
            yield bool(self._asked(session, "SELECT pg_try_advisory_lock($1)", _number(f"{name}.beside")))

    @contextmanager
    def _session(self, **given: str) -> Iterator[Session]:
        try:
            session = postgres.connected(self.state.url, **given)
        except psycopg.Error as error:
            raise statedb.unusable(self.state.url, error) from None
        try:
            session.autocommit = True
            yield session
        finally:
            session.close()

    def _asked(self, session: Session, query: str, *values: object) -> Any:
        """The one value that a query gives, or None."""
        try:
            row = psycopg.RawCursor(session).execute(query, values).fetchone()
        except psycopg.Error as error:
            raise statedb.unusable(self.state.url, error) from None
        return None if row is None else row[0]


_NAMED = "INSERT INTO lock_holders (name, holder) VALUES ($1, $2) ON CONFLICT (name)"


def _number(name: str) -> int:
    """What stands for a name among the server's advisory locks: 64 bits, signed."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], signed=True)
