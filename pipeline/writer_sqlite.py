"""The journal's writer of an SQLite file: the hot path, so its statements go to the driver.

SQLAlchemy's own path costs more than the write.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import sqlalchemy as sa

from pipeline import sqlite
from pipeline.writes import Fence, LeaseLostError, Statement, Write

_STANDS = "SELECT 1 FROM leases WHERE run_id=? AND partition=? AND epoch=? AND NOT is_revoked AND NOT has_ended"
_OTHERS_SECONDS = 30.0  # that others are waited for
_LOOK_SECONDS = 0.0005
_ROWS_AT_ONCE = 32  # of one statement; each number of rows has a statement of its own, which the driver keeps

_SQLITE = {
    Statement.FORBID: "INSERT OR IGNORE INTO do_not_call (account, hash, at) VALUES (?,?,?)",
    Statement.FREE: "DELETE FROM do_not_call WHERE account=? AND hash=?",
    Statement.LOOK: "SELECT 1",
    # A claim of another row is a unique index in the way: OR IGNORE, and no row is changed.
    Statement.BEGIN_AGAIN: "UPDATE OR IGNORE sends SET state='sending', status=NULL, code=NULL, message=NULL,"
    " settled_at=NULL, payload_sha256=?, first_sent_at=coalesce(first_sent_at, ?)"
    " WHERE run_id=? AND source=? AND row=? AND state='settled' AND status IN ('unknown', 'not_attempted')",
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


class _Many(NamedTuple):
    """A statement of many rows: so many values in which they are alike, then so many of each row's own.

    OR FAIL: its caller rolls back, so SQLite keeps no journal of its own for each statement.
    """

    alike: int
    own: int
    before: str
    row: str
    after: str


# In this order. Run and source are the first values in which rows are alike, the row's number is the first of its own.
_MANY = {
    Statement.SETTLE: _Many(
        12,
        3,
        "UPDATE OR FAIL sends SET state='settled', status=?3, code=?4, message=?5, attempts=?6, http_status=?7,"
        " reply=?8, result=?9, lead_id=?10, first_sent_at=iif(?11, first_sent_at, NULL), reconciled=?12,"
        " settled_at=column2, latency_ms=column3 FROM (VALUES",
        "(?,?,?)",
        ") WHERE run_id=?1 AND source=?2 AND row=column1",
    ),
    Statement.BEGIN: _Many(
        4,
        6,
        "INSERT OR FAIL INTO sends (run_id, source, account, operation, row, row_key, phone, identifier,"
        " payload_sha256, first_sent_at, state, attempts, reconciled) VALUES",
        "(?1,?2,?3,?4,?,?,?,?,?,?,'sending',0,0)",
        "ON CONFLICT DO NOTHING",
    ),
}


@lru_cache(maxsize=2 * _ROWS_AT_ONCE)
def _text(statement: Statement, rows: int) -> str:
    """A statement of so many rows."""
    many = _MANY[statement]
    return f"{many.before} {', '.join([many.row] * rows)} {many.after}"


class _UnchangedError(Exception):
    """A row was not changed."""


# The rows of a statement by the values in which they are alike; of each row only its own, one row's after the other's.
_Alike = dict[tuple[object, ...], list[object]]


def _sorted(group: Sequence[Write]) -> dict[Statement, _Alike] | None:
    """The writes by statement; None where they must be in order: one is of another kind, or a row ends twice."""
    found: dict[Statement, _Alike] = {statement: defaultdict(list) for statement in _MANY}
    for statement, values in group:
        if (many := _MANY.get(statement)) is None:
            return None
        found[statement][values[: many.alike]] += values[many.alike :]
    return None if _ends_twice(found[Statement.SETTLE]) else found


def _ends_twice(settlements: _Alike) -> bool:
    """Whether a row is settled in two ways: what was said last counts."""
    if len(settlements) < 2:
        return False
    own = _MANY[Statement.SETTLE].own
    rows = [(*alike[:2], row) for alike, values in settlements.items() for row in values[::own]]
    return len(set(rows)) < len(rows)


def _write_at_once(cursor: sqlite3.Cursor, found: dict[Statement, _Alike]) -> None:
    """All writes of a kind together. Raises _UnchangedError where one of them changes nothing."""
    for statement, rows in found.items():
        own = _MANY[statement].own
        for alike, values in rows.items():
            for start in range(0, len(values), _ROWS_AT_ONCE * own):
                some = values[start : start + _ROWS_AT_ONCE * own]
                cursor.execute(_text(statement, len(some) // own), (*alike, *some))
                if cursor.rowcount * own != len(some):
                    raise _UnchangedError


def _write_in_order(cursor: sqlite3.Cursor, group: Sequence[Write]) -> list[bool]:
    """One by one, as they came; for each, whether it has changed a row."""
    written = []
    for statement, values in group:
        cursor.execute(_SQLITE.get(statement) or _text(statement, 1), values)
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
        if len(group) > 1 and (found := _sorted(group)) is not None:
            try:
                with self._transaction() as cursor:
                    _write_at_once(cursor, found)
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
