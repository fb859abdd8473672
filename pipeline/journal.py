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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from pipeline.ledger import Entry
from pipeline.model import Held, JournalError, Outcome, Payload, Status, UserError

GROUP_AT_MOST = 500  # operations in one commit
_KEYS_AT_ONCE = 500  # bound values of one query

_metadata = sa.MetaData()

# Rows that are or were sent. Times are microseconds since 1970, UTC.
SENDS = sa.Table(
    "sends",
    _metadata,
    sa.Column("run_id", sa.Text, primary_key=True),
    sa.Column("source", sa.Integer, primary_key=True),
    sa.Column("row", sa.BigInteger, primary_key=True),
    sa.Column("account", sa.Text, nullable=False),
    sa.Column("operation", sa.Text, nullable=False),
    sa.Column("row_key", sa.Text, nullable=False),
    sa.Column("phone", sa.Text, nullable=False),
    sa.Column("identifier", sa.Text, nullable=False),
    sa.Column("payload_sha256", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),  # sending | settled
    sa.Column("status", sa.Text),
    sa.Column("code", sa.Text),
    sa.Column("message", sa.Text),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("http_status", sa.Integer),
    sa.Column("reply", sa.Text),
    sa.Column("result", sa.Text),
    sa.Column("lead_id", sa.Text),
    sa.Column("reconciled", sa.Boolean, nullable=False),
    sa.Column("first_sent_at", sa.BigInteger),
    sa.Column("settled_at", sa.BigInteger),
    sa.Column("latency_ms", sa.Float),
)
_SENDING = SENDS.c.state == "sending"
sa.Index(
    "one_request_per_phone",
    SENDS.c.account,
    SENDS.c.phone,
    sqlite_where=_SENDING & (SENDS.c.phone != ""),
    postgresql_where=_SENDING & (SENDS.c.phone != ""),
    unique=True,
)
sa.Index(
    "one_request_per_identifier",
    SENDS.c.account,
    SENDS.c.identifier,
    sqlite_where=_SENDING & (SENDS.c.identifier != ""),
    postgresql_where=_SENDING & (SENDS.c.identifier != ""),
    unique=True,
)

# The ledger: what earlier runs did with a key.
sa.Index("sends_of_a_key", SENDS.c.row_key)

# Valid rows that were held back on purpose, decided at send time.
HELD = sa.Table(
    "held",
    _metadata,
    sa.Column("run_id", sa.Text, primary_key=True),
    sa.Column("source", sa.Integer, primary_key=True),
    sa.Column("row", sa.BigInteger, primary_key=True),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("settled_at", sa.BigInteger, nullable=False),
)

# Requests after which the same row was tried again: the last one is in `sends`.
ATTEMPTS = sa.Table(
    "attempts",
    _metadata,
    sa.Column("run_id", sa.Text, primary_key=True),
    sa.Column("source", sa.Integer, primary_key=True),
    sa.Column("row", sa.BigInteger, primary_key=True),
    sa.Column("attempt", sa.Integer, primary_key=True),
    sa.Column("sent_at", sa.BigInteger, nullable=False),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("http_status", sa.Integer),
    sa.Column("reply", sa.Text),
)


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


_BEGIN = "begin"
_SETTLE = "settle"
_ATTEMPT = "attempt"
_HOLD = "hold"

_SQL = {
    _BEGIN: "INSERT INTO sends (run_id, source, row, account, operation, row_key, phone, identifier,"
    " payload_sha256, state, attempts, reconciled, first_sent_at) VALUES (?,?,?,?,?,?,?,?,?,'sending',0,0,?)"
    " ON CONFLICT DO NOTHING",
    _SETTLE: "UPDATE sends SET state='settled', status=?, code=?, message=?, attempts=?, http_status=?, reply=?,"
    " result=?, lead_id=?, settled_at=?, latency_ms=?, first_sent_at=iif(?, first_sent_at, NULL),"
    " reconciled=?"
    " WHERE run_id=? AND source=? AND row=?",
    _ATTEMPT: "INSERT OR REPLACE INTO attempts (run_id, source, row, attempt, sent_at, code, http_status, reply)"
    " VALUES (?,?,?,?,?,?,?,?)",
    _HOLD: "INSERT OR REPLACE INTO held (run_id, source, row, status, code, message, settled_at)"
    " VALUES (?,?,?,?,?,?,?)",
}


class Journal:
    """One run's writes to the state database. Use `open_journal`; methods are called from the event loop."""

    def __init__(self, connection: sqlite3.Connection, scope: Scope) -> None:
        self._connection = connection
        self._scope = scope
        self._queue: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._broken: Exception | None = None
        self._thread = threading.Thread(target=self._write_groups, name="journal", daemon=True)
        self._thread.start()

    def begin(self, payload: Payload, at: int) -> asyncio.Future[bool]:
        """Resolves once the row is durably `sending`; False where its phone or identifier is claimed elsewhere."""
        scope = self._scope
        place = (scope.run_id, payload.source, payload.row, scope.account, scope.operation)
        claim = (payload.row_key, payload.phone, payload.identifier, payload.sha256, at)
        return self._submit(_BEGIN, (*place, *claim))

    def settle(self, payload: Payload, outcome: Outcome, at: int) -> asyncio.Future[bool]:
        """Resolves once the row's outcome is durable and its claims are free."""
        j = outcome.judgement
        said = (outcome.status, outcome.code, j.message, outcome.attempts, j.http_status, j.reply, j.result, j.lead_id)
        place = (self._scope.run_id, payload.source, payload.row)
        return self._submit(_SETTLE, (*said, at, outcome.latency_ms, outcome.sent, outcome.reconciled, *place))

    def note_attempt(
        self, payload: Payload, attempt: int, at: int, code: str, http: tuple[int | None, str | None]
    ) -> None:
        """Records a request after which the row is tried again."""
        place = (self._scope.run_id, payload.source, payload.row)
        self._queue.put(_Write(_ATTEMPT, (*place, attempt, at, code, *http), None))

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


def engine(url: str) -> sa.Engine:
    """The state database at an SQLAlchemy URL, made if missing. Raises UserError where it can't be used."""
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        raise UserError("--state: not a database URL; for a file: sqlite:///path/to/state.db") from None
    if parsed.drivername != "sqlite" or parsed.query:
        raise UserError(f"--state {parsed.render_as_string()}: only sqlite:///path/to/state.db is supported")
    if not parsed.database or parsed.database == ":memory:":
        raise UserError(
            f"--state {parsed.render_as_string()}: must be a file, or nothing would be known after a crash: sqlite:///state.db"
        )
    try:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        made = sa.create_engine(parsed, poolclass=sa.NullPool, connect_args={"check_same_thread": False})
        _metadata.create_all(made)
    except (OSError, sa.exc.DBAPIError) as error:
        reason = error.orig if isinstance(error, sa.exc.DBAPIError) else error
        raise UserError(f"--state {parsed.render_as_string()}: can't be opened: {reason}") from None
    return made


def folder_of(state: sa.Engine) -> Path:
    """Where the state database is."""
    return Path(state.url.database or "").absolute().parent


@contextlib.contextmanager
def open_journal(state: sa.Engine, scope: Scope) -> Iterator[Journal]:
    """The journal of one run. WAL with full sync: a commit survives a power cut.

    Its thread is the only user of the connection.
    """
    raw = state.raw_connection()
    connection = raw.driver_connection
    assert isinstance(connection, sqlite3.Connection)
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000"):
        connection.execute(f"PRAGMA {pragma}")
    journal = Journal(connection, scope)
    try:
        yield journal
    finally:
        journal.close()
        raw.close()


def knows(state: sa.Engine, run_id: str) -> bool:
    """Whether the journal holds a row of this run."""
    with state.connect() as connection:
        return any(connection.execute(sa.select(t.c.row).where(t.c.run_id == run_id)).first() for t in (SENDS, HELD))


def bury(state: sa.Engine, scope: Scope, at: int) -> int:
    """Gives up on what dead runs left `sending` in this account, and says how many rows that were.

    Their claims are free and their keys stay in doubt. Call it under the account's lock: whoever else was sending
    is dead then.
    """
    stale = (SENDS.c.account == scope.account, SENDS.c.state == "sending", SENDS.c.run_id != scope.run_id)
    lost = (
        sa.update(SENDS)
        .where(*stale)
        .values(
            state="settled",
            status=Status.UNKNOWN.value,
            code="interrupted",
            message="the run died before its outcome was known",
            settled_at=at,
        )
    )
    with state.begin() as connection:
        return connection.execute(lost).rowcount


def entries(state: sa.Engine, run_id: str, keys: Sequence[str]) -> dict[str, list[Entry]]:
    """What runs other than this one did with each of `keys`, oldest first; keys that none knows are left out."""
    found: dict[str, list[Entry]] = {}
    columns = (SENDS.c.row_key, SENDS.c.run_id, SENDS.c.status, SENDS.c.payload_sha256, SENDS.c.first_sent_at)
    with state.connect() as connection:
        for start in range(0, len(keys), _KEYS_AT_ONCE):
            some = keys[start : start + _KEYS_AT_ONCE]
            query = sa.select(*columns).where(SENDS.c.row_key.in_(some), SENDS.c.run_id != run_id)
            for key, run, status, digest, sent_at in connection.execute(query.order_by(SENDS.c.first_sent_at)):
                found.setdefault(key, []).append(Entry(run, status, digest, sent_at or 0))
    return found


def settled_between(state: sa.Engine, run_id: str, source: int, rows: tuple[int, int]) -> tuple[pa.Table, pa.Table]:
    """(sends, held) of a run's rows from the first to the last of `rows`, ordered by row, as Arrow tables."""
    with state.connect() as connection:
        found = []
        for table, columns in ((SENDS, _SENT), (HELD, _HELD)):
            query = (
                sa.select(*columns)
                .where(table.c.run_id == run_id, table.c.source == source, table.c.row.between(*rows))
                .order_by(table.c.row)
            )
            found.append(_arrow(connection.execute(query).all(), columns))
    return found[0], found[1]


def nothing(held: Sequence[Held] = ()) -> tuple[pa.Table, pa.Table]:
    """(sends, held) of a run that sent nothing, with rows that it would hold back."""
    rows = [(one.row, one.status, one.code, one.message, None) for one in held]
    return _arrow([], _SENT), _arrow(rows, _HELD)


_NOT_REPORTED = {"run_id", "source", "account", "operation", "row_key", "phone", "identifier", "payload_sha256"}
_SENT = [column for column in SENDS.columns if column.name not in _NOT_REPORTED]
_HELD = [HELD.c.row, HELD.c.status, HELD.c.code, HELD.c.message, HELD.c.settled_at]
_TYPES: dict[type, pa.DataType] = {
    sa.Text: pa.string(),
    sa.Integer: pa.int32(),
    sa.BigInteger: pa.int64(),
    sa.Float: pa.float64(),
    sa.Boolean: pa.bool_(),
}


def _arrow(rows: Sequence[Sequence[Any]], columns: Sequence[sa.Column[Any]]) -> pa.Table:
    values = list(zip(*rows, strict=True)) or [()] * len(columns)
    arrays = [pa.array(v, _TYPES[type(c.type)]) for v, c in zip(values, columns, strict=True)]
    return pa.table(arrays, names=[c.name for c in columns])
