"""The journal's writer of a PostgreSQL server: a group of writes is one round trip."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import sqlalchemy as sa
from psycopg import RawCursor

from pipeline import postgres
from pipeline.writes import Fence, LeaseLostError, Statement, Write

if TYPE_CHECKING:
    from pipeline.postgres import Session

# The same statements as SQLite's, with the same values. `$n` is the n-th value.
_POSTGRES = {
    Statement.FORBID: "INSERT INTO do_not_call (account, hash, at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
    Statement.FREE: "DELETE FROM do_not_call WHERE account = $1 AND hash = $2",
    Statement.LOOK: "SELECT 1",
    Statement.BEGIN: "INSERT INTO sends (run_id, source, account, operation, row, row_key, phone, identifier,"
    " payload_sha256, first_sent_at, state, attempts, reconciled)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 'sending', 0, false) ON CONFLICT DO NOTHING",
    # A claim that another transaction is about to make is seen by neither: the unique index is in the way of one of
    # them, whose group is written once more.
    Statement.BEGIN_AGAIN: "UPDATE sends SET state = 'sending', status = NULL, code = NULL, message = NULL,"
    " settled_at = NULL, payload_sha256 = $1, first_sent_at = coalesce(first_sent_at, $2)"
    " WHERE run_id = $3 AND source = $4 AND row = $5 AND state = 'settled' AND status IN ('unknown', 'not_attempted')"
    " AND NOT EXISTS (SELECT 1 FROM sends AS other WHERE other.account = sends.account AND other.state = 'sending'"
    " AND other.phone = sends.phone AND other.phone <> '')"
    " AND NOT EXISTS (SELECT 1 FROM sends AS other WHERE other.account = sends.account AND other.state = 'sending'"
    " AND other.identifier = sends.identifier AND other.identifier <> '')",
    Statement.SETTLE: "UPDATE sends SET state = 'settled', status = $3, code = $4, message = $5, attempts = $6,"
    " http_status = $7, reply = $8, result = $9, lead_id = $10,"
    " first_sent_at = CASE WHEN $11::bool THEN first_sent_at END, reconciled = $12,"
    " settled_at = $14, latency_ms = $15 WHERE run_id = $1 AND source = $2 AND row = $13",
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

    def __init__(self, session: Session, fence: Fence | None = None) -> None:
        self._session, self._fence = session, fence
        self._cursor = partial(RawCursor, session)  # numbers its values, and reads no text for it

    def commit(self, group: Sequence[Write]) -> list[bool]:
        """As `writer.Writer.commit`."""
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
def opened(state: sa.Engine, fence: Fence | None) -> Iterator[PostgresWriter]:
    """A writer in the session that holds a lock of this database, or in one of its own."""
    with postgres.session_of(state) as session:
        yield PostgresWriter(session, fence)
