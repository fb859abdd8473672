"""The journal: what was about to be sent and what came back, durable before it counts.

A row is committed as `sending` before its bytes leave, and its settlement is one transaction. While a row is
`sending`, unique indexes claim its phone and its identifier in its account, whatever the run or operation.
One thread writes; what arrives while it commits goes into the next group. Its statements go to the driver:
SQLAlchemy's own path costs more than the write.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass

import sqlalchemy as sa

from pipeline import statedb
from pipeline.model import Held, JournalError, Outcome, Payload, Request, Status

GROUP_AT_MOST = 500  # operations in one commit


@dataclass(frozen=True, slots=True)
class Scope:
    """What all rows of one run share in the journal."""

    run_id: str
    account: str  # the account at its base URL: claims are unique within it
    operation: str


@dataclass(frozen=True, slots=True)
class _Write:
    statement: str
    values: tuple[object, ...]
    done: asyncio.Future[bool] | None


@dataclass(frozen=True, slots=True)
class Marking:
    """That the rows of a run put numbers on do-not-call, or take them off. `key` is the state database's."""

    key: bytes
    forbids: bool  # False: it frees them


_FORBID = "forbid"
_FREE = "free"
_BEGIN = "begin"
_BEGIN_AGAIN = "begin again"
_SETTLE = "settle"
_RESTATE = "restate"
_NOTE = "note"
_HOLD = "hold"

_SQL = {
    _FORBID: "INSERT OR IGNORE INTO do_not_call (account, hash, at) VALUES (?,?,?)",
    _FREE: "DELETE FROM do_not_call WHERE account=? AND hash=?",
    _BEGIN: "INSERT INTO sends (run_id, source, row, account, operation, row_key, phone, identifier,"
    " payload_sha256, state, attempts, reconciled, first_sent_at) VALUES (?,?,?,?,?,?,?,?,?,'sending',0,0,?)"
    " ON CONFLICT DO NOTHING",
    # A claim of another row is a unique index in the way: OR IGNORE, and no row is changed.
    _BEGIN_AGAIN: "UPDATE OR IGNORE sends SET state='sending', status=NULL, code=NULL, message=NULL, settled_at=NULL,"
    " payload_sha256=?, first_sent_at=coalesce(first_sent_at, ?)"
    " WHERE run_id=? AND source=? AND row=? AND state='settled' AND status IN ('unknown', 'not_attempted')",
    _SETTLE: "UPDATE sends SET state='settled', status=?, code=?, message=?, attempts=?, http_status=?, reply=?,"
    " result=?, lead_id=?, settled_at=?, latency_ms=?, first_sent_at=iif(?, first_sent_at, NULL),"
    " reconciled=?"
    " WHERE run_id=? AND source=? AND row=?",
    # What is stored as it was sent keeps its code, unless an earlier reading said otherwise.
    _RESTATE: "UPDATE sends SET status=?, code=coalesce(?, nullif(code, 'stored_differently'), 'ok'), message=?,"
    " result=?, lead_id=?, reconciled=?, settled_at=?"
    " WHERE run_id=? AND source=? AND row=? AND state='settled'",
    _NOTE: "INSERT INTO requests"
    " (run_id, source, row, number, operation, sent_at, code, http_status, reply, latency_ms)"
    " SELECT ?1, ?2, ?3, coalesce(max(number), 0) + 1, ?4, ?5, ?6, ?7, ?8, ?9 FROM requests"
    " WHERE run_id=?1 AND source=?2 AND row=?3",
    _HOLD: "INSERT OR REPLACE INTO held (run_id, source, row, status, code, message, settled_at)"
    " VALUES (?,?,?,?,?,?,?)",
}


@dataclass(frozen=True, slots=True)
class Restated:
    """What reading a settled row back has found."""

    status: Status
    code: str | None  # None: as it was
    message: str
    result: str
    lead_id: str | None
    reconciled: bool


class Journal:
    """One run's writes to the state database. Use `open_journal`; methods are called from the event loop."""

    def __init__(self, connection: sqlite3.Connection, scope: Scope, marking: Marking | None = None) -> None:
        self._connection = connection
        self._scope, self._marking = scope, marking
        self._queue: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._broken: Exception | None = None
        self._thread = threading.Thread(target=self._write_groups, name="journal", daemon=True)
        self._thread.start()

    def begin(self, payload: Payload, at: int) -> asyncio.Future[bool]:
        """Resolves once the row is durably `sending`; False where its phone or identifier is claimed elsewhere.

        A number that it puts on do-not-call is known as such from now on, whatever becomes of the row.
        """
        scope = self._scope
        if self._marking is not None and self._marking.forbids and payload.phone:
            mark = statedb.hashed(payload.phone, self._marking.key)
            self._queue.put(_Write(_FORBID, (scope.account, mark, at), None))
        place = (scope.run_id, payload.source, payload.row)
        if payload.prior is not None:
            return self._submit(_BEGIN_AGAIN, (payload.sha256, at, *place))
        claim = (payload.row_key, payload.phone, payload.identifier, payload.sha256, at)
        return self._submit(_BEGIN, (*place, scope.account, scope.operation, *claim))

    def settle(self, payload: Payload, outcome: Outcome, at: int) -> asyncio.Future[bool]:
        """Resolves once the row's outcome is durable and its claims are free.

        Only where the vendor has taken a number off do-not-call, it is not known as such any more.
        """
        j = outcome.judgement
        said = (outcome.status, outcome.code, j.message, outcome.attempts, j.http_status, j.reply, j.result, j.lead_id)
        place = (self._scope.run_id, payload.source, payload.row)
        if self._marking is not None and not self._marking.forbids and outcome.status is Status.ACCEPTED:
            mark = statedb.hashed(payload.phone, self._marking.key)
            self._queue.put(_Write(_FREE, (self._scope.account, mark), None))
        return self._submit(_SETTLE, (*said, at, outcome.latency_ms, outcome.sent, outcome.reconciled, *place))

    def restate(self, payload: Payload, said: Restated, at: int) -> asyncio.Future[bool]:
        """Resolves once what reading a settled row back has found is durable."""
        place = (self._scope.run_id, payload.source, payload.row)
        return self._submit(_RESTATE, (*astuple(said), at, *place))

    def note(self, payload: Payload, request: Request) -> None:
        """Records one request of a row that needs more than one."""
        place = (self._scope.run_id, payload.source, payload.row)
        self._queue.put(_Write(_NOTE, (*place, *astuple(request)), None))

    def hold(self, held: Held, at: int) -> asyncio.Future[bool]:
        """Records that a valid row is not sent, and why."""
        place = (self._scope.run_id, held.source, held.row)
        return self._submit(_HOLD, (*place, held.status, held.code, held.message, at))

    def close(self) -> None:
        """Ends the writing thread after what is queued."""
        self._queue.put(None)
        self._thread.join()

    def _submit(self, statement: str, values: tuple[object, ...]) -> asyncio.Future[bool]:
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._queue.put(_Write(statement, values, done))
        return done

    def _write_groups(self) -> None:
        while (first := self._queue.get()) is not None:
            group, ended = self._gather(first)
            self._write(group)
            if ended:
                return

    def _gather(self, first: _Write) -> tuple[list[_Write], bool]:
        group = [first]
        while len(group) < GROUP_AT_MOST:
            try:
                more = self._queue.get_nowait()
            except queue.Empty:
                break
            if more is None:
                return group, True
            group.append(more)
        return group, False

    def _write(self, group: Sequence[_Write]) -> None:
        """Commits the group, then tells who waits. After one failure nothing is written: an order must not be lost."""
        written: dict[int, bool] = {}
        try:
            if self._broken is None:
                written = self._commit(group)
        except Exception as error:  # noqa: BLE001 whatever it is, whoever waits must be told
            self._broken = error
            self._give_up()
        waiting = [(w.done, written.get(id(w), True)) for w in group if w.done is not None]
        if waiting:
            loop = waiting[0][0].get_loop()
            loop.call_soon_threadsafe(_tell, waiting, self._broken)

    def _give_up(self) -> None:
        """Lets go of the database, so that others may still read and write it."""
        with contextlib.suppress(sqlite3.Error):  # the first failure is the one that is told
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def _commit(self, group: Sequence[_Write]) -> dict[int, bool]:
        cursor = self._connection.cursor()
        written: dict[int, bool] = {}
        cursor.execute("BEGIN IMMEDIATE")
        for write in group:  # in the order in which they came: a settlement frees a claim that the next may take
            cursor.execute(_SQL[write.statement], write.values)
            written[id(write)] = cursor.rowcount == 1
        cursor.execute("COMMIT")
        return written


def _tell(waiting: Sequence[tuple[asyncio.Future[bool], bool]], broken: Exception | None) -> None:
    for future, written in waiting:
        if future.cancelled():
            continue
        if broken is None:
            future.set_result(written)
        else:
            future.set_exception(JournalError(f"the journal can't be written: {broken}"))


@contextlib.contextmanager
def open_journal(state: sa.Engine, scope: Scope, marking: Marking | None = None) -> Iterator[Journal]:
    """The journal of one run. WAL with full sync: a commit survives a power cut.

    Its thread is the only user of the connection.
    """
    raw = state.raw_connection()
    connection = raw.driver_connection
    assert isinstance(connection, sqlite3.Connection)
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000"):
        connection.execute(f"PRAGMA {pragma}")
    journal = Journal(connection, scope, marking)
    try:
        yield journal
    finally:
        journal.close()
        raw.close()
