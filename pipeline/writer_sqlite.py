"""The journal's writer of an SQLite file: the hot path, so its statements go to the driver.

SQLAlchemy's own path costs more than the write.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain

import sqlalchemy as sa

from pipeline import sqlite
from pipeline.writes import Fence, LeaseLostError, Statement, Write

_STANDS = "SELECT 1 FROM leases WHERE run_id=? AND partition=? AND epoch=? AND NOT is_revoked AND NOT has_ended"


_SQLITE = {
    Statement.FORBID: "INSERT OR IGNORE INTO do_not_call (account, hash, at) VALUES (?,?,?)",
    Statement.FREE: "DELETE FROM do_not_call WHERE account=? AND hash=?",
    Statement.LOOK: "SELECT 1",
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


_OTHERS_SECONDS = 30.0  # that others are waited for
_LOOK_SECONDS = 0.0005
_ROWS_AT_ONCE = 32  # of one statement; each number of rows has a statement of its own, which the driver keeps


@lru_cache(maxsize=_ROWS_AT_ONCE)
def _begins(rows: int) -> str:
    """`Statement.BEGIN` of so many rows. OR FAIL: its caller rolls back, so SQLite keeps no journal of its own."""
    head, _, tail = _SQLITE[Statement.BEGIN].partition(" VALUES ")
    row, _, conflict = tail.partition(" ON CONFLICT")
    return f"{head.replace('INSERT', 'INSERT OR FAIL')} VALUES {', '.join([row] * rows)} ON CONFLICT{conflict}"  # noqa: S608 marks alone


@lru_cache(maxsize=_ROWS_AT_ONCE)
def _settlements(rows: int) -> str:
    """`Statement.SETTLE` of so many rows."""
    said = "status=column1, code=column2, message=column3, attempts=column4, http_status=column5, reply=column6,"
    said += " result=column7, lead_id=column8, settled_at=column9, latency_ms=column10,"
    said += " first_sent_at=iif(column11, first_sent_at, NULL), reconciled=column12"
    values = ", ".join(["(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"] * rows)
    here = "run_id=column13 AND source=column14 AND row=column15"
    return f"UPDATE OR FAIL sends SET state='settled', {said} FROM (VALUES {values}) WHERE {here}"  # noqa: S608 marks alone


_AT_ONCE = {Statement.SETTLE: _settlements, Statement.BEGIN: _begins}  # in this order


class _UnchangedError(Exception):
    """A row was not changed."""


def _write_at_once(cursor: sqlite3.Cursor, group: Sequence[Write]) -> None:
    """All writes of a kind together. Raises _UnchangedError where one of them changes nothing."""
    for statement, text in _AT_ONCE.items():
        rows = [write.values for write in group if write.statement is statement]
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            some = rows[start : start + _ROWS_AT_ONCE]
            cursor.execute(text(len(some)), list(chain.from_iterable(some)))
            if cursor.rowcount != len(some):
                raise _UnchangedError


def _write_in_order(cursor: sqlite3.Cursor, group: Sequence[Write]) -> list[bool]:
    """One by one, as they came; for each, whether it has changed a row."""
    written = []
    for write in group:
        cursor.execute(_SQLITE[write.statement], write.values)
        written.append(cursor.rowcount == 1)
    return written


class SqliteWriter:
    """Commits to SQLite, in WAL mode with full sync: a commit survives a power cut."""

    may_be_lost = False

    def __init__(self, connection: sqlite3.Connection, fence: Fence | None = None) -> None:
        self._connection, self._fence = connection, fence
        connection.isolation_level = None
        log = f"wal_autocheckpoint={sqlite.LOG_PAGES}"
        for pragma in ("busy_timeout=30000", "journal_mode=WAL", "synchronous=FULL", log):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("PRAGMA busy_timeout=0")  # `_begin` waits

    def commit(self, group: Sequence[Write]) -> list[bool]:
        """As `writer.Writer.commit`.

        Most groups begin and settle rows, and nothing is in the way: those take a few statements, settlements first.
        Claims are free a little earlier then, for what becomes durable together. Where one row has not been changed,
        all is undone, and done again in order.
        """
        if len(group) > 1 and all(write.statement in _AT_ONCE for write in group):
            try:
                with self._transaction() as cursor:
                    _write_at_once(cursor, group)
            except _UnchangedError:
                pass
            else:
                return [True] * len(group)
        with self._transaction() as cursor:
            return _write_in_order(cursor, group)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Cursor]:
        cursor = self._connection.cursor()
        _begin(cursor)
        try:
            self._check_fence(cursor)
            yield cursor
            cursor.execute("COMMIT")
        except BaseException:
            self._give_up()
            raise

    def _check_fence(self, cursor: sqlite3.Cursor) -> None:
        if self._fence is not None and cursor.execute(_STANDS, self._fence).fetchone() is None:
            raise LeaseLostError(f"{self._fence} was revoked")

    def _give_up(self) -> None:
        """Lets go of the database, so that others may still read and write it."""
        with contextlib.suppress(sqlite3.Error):  # the first failure is the one that is told
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")


def _begin(cursor: sqlite3.Cursor) -> None:
    """Begins to write, once nobody else does: SQLite's own waiting sleeps ten times as long as a commit takes."""
    ends = time.monotonic() + _OTHERS_SECONDS
    while True:
        try:
            cursor.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            is_busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY  # also while another recovers the log
            if not is_busy or time.monotonic() > ends:
                raise
            time.sleep(_LOOK_SECONDS)
        else:
            return


@contextlib.contextmanager
def opened(state: sa.Engine, fence: Fence | None) -> Iterator[SqliteWriter]:
    """A writer with a connection of its own."""
    raw = state.raw_connection()
    connection = raw.driver_connection
    assert isinstance(connection, sqlite3.Connection)
    try:
        yield SqliteWriter(connection, fence)
    finally:
        raw.close()
