"""The journal's statements, and who commits them: the hot path, so they go to the driver.

SQLAlchemy's own path costs more than the write.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator, Sequence
from enum import StrEnum
from functools import lru_cache, partial
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import sqlalchemy as sa

from pipeline import sqlite, statedb

if TYPE_CHECKING:
    from psycopg import RawCursor

    from pipeline.postgres import Session


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
    LOOK = "look"  # whether the journal can be written: it changes nothing


class Write(NamedTuple):
    """One statement and its values, in the order of SQLite's text for it."""

    statement: Statement
    values: tuple[object, ...]


class Writer(Protocol):
    """One connection to the state database, used by one thread."""

    may_be_lost: bool  # while nothing is written: whoever sends must look now and then

    def commit(self, group: Sequence[Write]) -> list[bool]:
        """Makes the writes durable together, in order; for each, whether it has changed a row.

        Raises LeaseLostError where its fence is down, and the driver's error where it can't: then none of them is, or,
        where the answer to a commit is lost, nobody knows.
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
        """As `Writer.commit`.

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


# The same statements with the same values. `$n` is the n-th value.
_POSTGRES = {
    Statement.FORBID: "INSERT INTO do_not_call (account, hash, at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
    Statement.FREE: "DELETE FROM do_not_call WHERE account = $1 AND hash = $2",
    Statement.LOOK: "SELECT 1",
    Statement.BEGIN: "INSERT INTO sends (run_id, source, row, account, operation, row_key, phone, identifier,"
    " payload_sha256, state, attempts, reconciled, first_sent_at)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'sending', 0, false, $10) ON CONFLICT DO NOTHING",
    # A claim that another transaction is about to make is seen by neither: the unique index is in the way of one of
    # them, whose group is written once more.
    Statement.BEGIN_AGAIN: "UPDATE sends SET state = 'sending', status = NULL, code = NULL, message = NULL,"
    " settled_at = NULL, payload_sha256 = $1, first_sent_at = coalesce(first_sent_at, $2)"
    " WHERE run_id = $3 AND source = $4 AND row = $5 AND state = 'settled' AND status IN ('unknown', 'not_attempted')"
    " AND NOT EXISTS (SELECT 1 FROM sends AS other WHERE other.account = sends.account AND other.state = 'sending'"
    " AND other.phone = sends.phone AND other.phone <> '')"
    " AND NOT EXISTS (SELECT 1 FROM sends AS other WHERE other.account = sends.account AND other.state = 'sending'"
    " AND other.identifier = sends.identifier AND other.identifier <> '')",
    Statement.SETTLE: "UPDATE sends SET state = 'settled', status = $1, code = $2, message = $3, attempts = $4,"
    " http_status = $5, reply = $6, result = $7, lead_id = $8, settled_at = $9, latency_ms = $10,"
    " first_sent_at = CASE WHEN $11::bool THEN first_sent_at END, reconciled = $12"
    " WHERE run_id = $13 AND source = $14 AND row = $15",
    Statement.RESTATE: "UPDATE sends SET status = $1,"
    " code = coalesce($2::text, nullif(code, 'stored_differently'), 'ok'),"
    " message = $3, result = $4, lead_id = $5, reconciled = $6, settled_at = $7"
    " WHERE run_id = $8 AND source = $9 AND row = $10 AND state = 'settled'",
    Statement.NOTE: "INSERT INTO requests"
    " (run_id, source, row, number, operation, sent_at, code, http_status, reply, latency_ms)"
    " SELECT $1::text, $2::int, $3::bigint, coalesce(max(number), 0) + 1, $4::text, $5::bigint, $6::text, $7::int,"
    " $8::text, $9::float FROM requests WHERE run_id = $1 AND source = $2 AND row = $3",
    Statement.HOLD: "INSERT INTO held (run_id, source, row, status, code, message, settled_at)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (run_id, source, row) DO UPDATE SET"
    " status = excluded.status, code = excluded.code, message = excluded.message, settled_at = excluded.settled_at",
}
# SQLSTATEs after which nothing was committed, and the same group may be: others were in the way.
_OTHERS = frozenset({"40001", "40P01", "23505"})
_GROUPS = 0x67726F757073  # the advisory lock that a group shares with others, until one of them is in its way
_BESIDE_OTHERS = f"SELECT pg_advisory_xact_lock_shared({_GROUPS})"
_ALONE = f"SELECT pg_advisory_xact_lock({_GROUPS})"
# Fails where the fence is down: what comes behind it in the group is on its way already, and does nothing then.
_POSTGRES_STANDS = (
    "SELECT 1 / (SELECT count(*) FROM (SELECT FROM leases WHERE run_id = $1 AND partition = $2 AND epoch = $3"
    " AND NOT is_revoked AND NOT has_ended FOR SHARE) AS standing)"
)
_DOWN = "22012"  # the SQLSTATE of a division by zero


class PostgresWriter:
    """Commits to PostgreSQL, with `synchronous_commit` on: a group is sent as a whole, and answered as a whole."""

    may_be_lost = True

    def __init__(self, session: Session, cursor: type[RawCursor[Any]], fence: Fence | None = None) -> None:
        self._fence = fence
        self._session, self._cursor = session, partial(cursor, session)  # numbers its values, and reads no text for it

    def commit(self, group: Sequence[Write]) -> list[bool]:
        """As `Writer.commit`."""
        try:
            return self._in_turn(group)
        except self._session.DatabaseError as error:
            if error.sqlstate == _DOWN:
                raise LeaseLostError(f"{self._fence} was revoked") from None
            raise

    def _in_turn(self, group: Sequence[Write]) -> list[bool]:
        """Where others were in the way, nothing of the group is committed: it goes again, alone."""
        try:
            return self._committed(group, _BESIDE_OTHERS)
        except self._session.DatabaseError as error:
            self._give_up()
            if error.sqlstate not in _OTHERS:
                raise
        try:
            return self._committed(group, _ALONE)
        except self._session.DatabaseError:
            self._give_up()
            raise

    def _committed(self, group: Sequence[Write], turn: str) -> list[bool]:
        with self._session.pipeline():
            self._session.execute("BEGIN")
            self._session.execute(turn)
            if self._fence is not None:
                self._cursor().execute(_POSTGRES_STANDS, self._fence)
            cursors = [self._cursor().execute(_POSTGRES[write.statement], write.values) for write in group]
            end = self._session.execute("COMMIT")
        if end.statusmessage != "COMMIT":
            raise self._session.DataError(f"the server has answered COMMIT by {end.statusmessage}")
        return [cursor.rowcount == 1 for cursor in cursors]

    def _give_up(self) -> None:
        """Ends what the failure has left open, so that others may go on; a session that is gone has ended it itself."""
        with contextlib.suppress(self._session.Error):  # the first failure is the one that is told
            self._session.rollback()


@contextlib.contextmanager
def opened(state: sa.Engine, fence: Fence | None = None) -> Iterator[Writer]:
    """A writer: with a connection of its own, or in the session that holds a lock of this database."""
    if statedb.is_postgresql(state.url):
        with _postgres_writer(state, fence) as writer:
            yield writer
        return
    raw = state.raw_connection()
    connection = raw.driver_connection
    assert isinstance(connection, sqlite3.Connection)
    try:
        yield SqliteWriter(connection, fence)
    finally:
        raw.close()


@contextlib.contextmanager
def _postgres_writer(state: sa.Engine, fence: Fence | None) -> Iterator[Writer]:
    from psycopg import RawCursor

    from pipeline import postgres

    with postgres.session_of(state) as session:
        yield PostgresWriter(session, RawCursor, fence)
