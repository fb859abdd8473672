"""The journal's statements, and who commits them: the hot path, so they go to the driver.

SQLAlchemy's own path costs more than the write.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol

import sqlalchemy as sa


class Statement(StrEnum):
    """What a write does; `docs/delivery.md` says when."""

    BEGIN = "begin"
    BEGIN_AGAIN = "begin again"
    SETTLE = "settle"
    RESTATE = "restate"
    NOTE = "note"
    HOLD = "hold"
    FORBID = "forbid"
    FREE = "free"


class Write(NamedTuple):
    """One statement and its values, in the order of SQLite's text for it."""

    statement: Statement
    values: tuple[object, ...]


class Writer(Protocol):
    """One connection to the state database, used by one thread."""

    def commit(self, group: Sequence[Write]) -> list[bool]:
        """Makes the writes durable together, in order; for each, whether it has changed a row.

        Raises the driver's error where it can't, LeaseLostError where its fence is down: then none of them is.
        """


class LeaseLostError(Exception):
    """Somebody else is to send what this process was sending: it must do nothing more."""


class Fence(NamedTuple):
    """The lease under which alone a writer may write. Whoever revokes it waits for the commit that has begun."""

    run_id: str
    partition: int
    epoch: int


_STANDS = "SELECT 1 FROM leases WHERE run_id=? AND partition=? AND epoch=? AND NOT is_revoked AND NOT has_ended"


_SQLITE = {
    Statement.FORBID: "INSERT OR IGNORE INTO do_not_call (account, hash, at) VALUES (?,?,?)",
    Statement.FREE: "DELETE FROM do_not_call WHERE account=? AND hash=?",
    Statement.BEGIN: "INSERT INTO sends (run_id, source, row, account, operation, row_key, phone, identifier,"
    " payload_sha256, state, attempts, reconciled, first_sent_at) VALUES (?,?,?,?,?,?,?,?,?,'sending',0,0,?)"
    " ON CONFLICT DO NOTHING",
    # A claim of another row is a unique index in the way: OR IGNORE, and no row is changed.
    Statement.BEGIN_AGAIN: "UPDATE OR IGNORE sends SET state='sending', status=NULL, code=NULL, message=NULL,"
    " settled_at=NULL, payload_sha256=?, first_sent_at=coalesce(first_sent_at, ?)"
    " WHERE run_id=? AND source=? AND row=? AND state='settled' AND status IN ('unknown', 'not_attempted')",
    Statement.SETTLE: "UPDATE sends SET state='settled', status=?, code=?, message=?, attempts=?, http_status=?,"
    " reply=?, result=?, lead_id=?, settled_at=?, latency_ms=?, first_sent_at=iif(?, first_sent_at, NULL),"
    " reconciled=?"
    " WHERE run_id=? AND source=? AND row=?",
    # What is stored as it was sent keeps its code, unless an earlier reading said otherwise.
    Statement.RESTATE: "UPDATE sends SET status=?, code=coalesce(?, nullif(code, 'stored_differently'), 'ok'),"
    " message=?, result=?, lead_id=?, reconciled=?, settled_at=?"
    " WHERE run_id=? AND source=? AND row=? AND state='settled'",
    Statement.NOTE: "INSERT INTO requests"
    " (run_id, source, row, number, operation, sent_at, code, http_status, reply, latency_ms)"
    " SELECT ?1, ?2, ?3, coalesce(max(number), 0) + 1, ?4, ?5, ?6, ?7, ?8, ?9 FROM requests"
    " WHERE run_id=?1 AND source=?2 AND row=?3",
    Statement.HOLD: "INSERT OR REPLACE INTO held (run_id, source, row, status, code, message, settled_at)"
    " VALUES (?,?,?,?,?,?,?)",
}


class SqliteWriter:
    """Commits to SQLite, in WAL mode with full sync: a commit survives a power cut."""

    def __init__(self, connection: sqlite3.Connection, fence: Fence | None = None) -> None:
        self._connection, self._fence = connection, fence
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000"):
            connection.execute(f"PRAGMA {pragma}")

    def commit(self, group: Sequence[Write]) -> list[bool]:
        """As `Writer.commit`."""
        cursor = self._connection.cursor()
        cursor.execute("BEGIN IMMEDIATE")
        try:
            if self._fence is not None and cursor.execute(_STANDS, self._fence).fetchone() is None:
                raise LeaseLostError(f"{self._fence} was revoked")
            written = []
            for write in group:  # in the order in which they came: a settlement frees a claim that the next may take
                cursor.execute(_SQLITE[write.statement], write.values)
                written.append(cursor.rowcount == 1)
            cursor.execute("COMMIT")
        except BaseException:
            self._give_up()
            raise
        return written

    def _give_up(self) -> None:
        """Lets go of the database, so that others may still read and write it."""
        with contextlib.suppress(sqlite3.Error):  # the first failure is the one that is told
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")


@contextlib.contextmanager
def opened(state: sa.Engine, fence: Fence | None = None) -> Iterator[Writer]:
    """A writer with a connection of its own."""
    raw = state.raw_connection()
    connection = raw.driver_connection
    assert isinstance(connection, sqlite3.Connection)
    try:
        yield SqliteWriter(connection, fence)
    finally:
        raw.close()
