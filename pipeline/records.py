"""What the state database knows: of a run's own rows, and of what other runs did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import sqlalchemy as sa

from pipeline.folder import RunFolder
from pipeline.journal import Scope
from pipeline.ledger import Entry
from pipeline.model import AFTER, FORGOTTEN, OUTSIDE_HOURS, Held, Prior, Request, Status, UserError
from pipeline.tables import HELD, REQUESTS, RUNS, SENDS
from schemas.catalogue import CATALOGUE
from schemas.spec import Effect

_ROWS_AT_ONCE = 50_000  # of an answer
_KEYS_AT_ONCE = 500  # bound values of one query
# Until when a request of a row may have been under way: of what a run left when it died, only its burial is known.
_LAST_AT = sa.func.coalesce(SENDS.c.settled_at, SENDS.c.first_sent_at, 0)
_OF_A_SOURCE = SENDS.c.source != AFTER
_ACCEPTED = (SENDS.c.status == Status.ACCEPTED.value, SENDS.c.code.is_distinct_from(FORGOTTEN), _OF_A_SOURCE)
_LAST = sa.select(sa.func.coalesce(sa.func.max(SENDS.c.seq), 0))


def begin_run(state: sa.Engine, scope: Scope, at: int, *, as_of: int | None = None, goes_beside: bool = False) -> None:
    """Records that a run is about to send: from here on its journal is this database.

    `as_of` is up to where in the ledger its rows were fresh, where they are an earlier run's; None: they are now.
    """
    row = {"run_id": scope.run_id, "account": scope.account, "operation": scope.operation, "began_at": at}
    row["goes_beside"] = goes_beside
    with state.begin() as connection:
        row["sends_before"] = connection.execute(_LAST).scalar_one() if as_of is None else as_of
        if connection.execute(sa.select(RUNS.c.run_id).where(RUNS.c.run_id == scope.run_id)).first() is None:
            connection.execute(sa.insert(RUNS).values(row))


def knows(state: sa.Engine, run_id: str) -> bool:
    """Whether this run has sent with this journal."""
    with state.connect() as connection:
        return connection.execute(sa.select(RUNS.c.run_id).where(RUNS.c.run_id == run_id)).first() is not None


def as_of(state: sa.Engine, run_id: str | None) -> int | None:
    """The order of the last row that was sent before this run began; None where it has not sent."""
    with state.connect() as connection:
        found: int | None = connection.execute(sa.select(RUNS.c.sends_before).where(RUNS.c.run_id == run_id)).scalar()
        return found


def check_knows(state: sa.Engine, run_id: str) -> None:
    """Raises UserError where another database is this run's journal."""
    if not knows(state, run_id):
        raise UserError(
            f"--state {state.url.render_as_string()}: it knows nothing of run {run_id}; name the one it was sent with"
        )


def is_elsewhere(state: sa.Engine, run: RunFolder) -> bool:
    """Whether another database is the journal of this run, which has sent."""
    return run.has_sent and run.read_json("manifest.json")["command"] != "check" and not knows(state, run.run_id)


def bury(
    state: sa.Engine,
    account: str,
    at: int,
    *,
    all_dead: bool = True,
    run_id: str | None = None,
    only: Sequence[int] | None = None,
) -> int:
    """Gives up on what dead runs left `sending` in this account, and says how many rows that were.

    Their claims are free, their keys stay in doubt, and the request that was under way is among their requests.
    Call it under the account's lock: whoever else was sending is dead then, save for searches and calls by hand, which
    take no lock: they are left alone unless `all_dead`. With `run_id` only that run's rows are buried, and `only` these
    of them, by their order (`seq`), where they are named.
    """
    left = [SENDS.c.account == account, SENDS.c.state == "sending"]
    if run_id is not None:
        left.append(SENDS.c.run_id == run_id)
    if only is not None:
        left.append(SENDS.c.seq.in_(only))
    if not all_dead:
        left.append(SENDS.c.run_id.not_in(sa.select(RUNS.c.run_id).where(RUNS.c.goes_beside)))
    with state.begin() as connection:
        connection.execute(_interrupted_requests(*left))
        requests = sa.select(sa.func.count()).select_from(REQUESTS).where(_same_row(REQUESTS), _OF_ITS_OPERATION)
        lost = {
            "state": "settled",
            "status": Status.UNKNOWN.value,
            "code": "interrupted",
            "message": "the run died before its outcome was known",
            "attempts": requests.scalar_subquery(),
            "settled_at": at,
        }
        return connection.execute(sa.update(SENDS).where(*left).values(lost)).rowcount


def _same_row(table: sa.Table) -> sa.ColumnElement[bool]:
    return sa.and_(table.c.run_id == SENDS.c.run_id, table.c.source == SENDS.c.source, table.c.row == SENDS.c.row)


# A composed operation's requests go by the names of its steps; look-ups are not counted.
_READS = [operation.name for operation in CATALOGUE.values() if operation.effect is Effect.READ]
_OF_ITS_OPERATION = sa.or_(REQUESTS.c.operation == SENDS.c.operation, REQUESTS.c.operation.not_in(_READS))


def _interrupted_requests(*left: sa.ColumnElement[bool]) -> sa.Insert:
    """The request that may have been under way in each row, as one that has no reply."""
    last = sa.select(sa.func.coalesce(sa.func.max(REQUESTS.c.number), 0) + 1).where(_same_row(REQUESTS))
    last_at = sa.select(sa.func.max(REQUESTS.c.sent_at)).where(_same_row(REQUESTS))
    sent_at = sa.func.coalesce(last_at.scalar_subquery(), SENDS.c.first_sent_at, 0)
    place = (SENDS.c.run_id, SENDS.c.source, SENDS.c.row)
    found = sa.select(*place, last.scalar_subquery(), SENDS.c.operation, sent_at, sa.literal("interrupted")).where(
        *left
    )
    names = ["run_id", "source", "row", "number", "operation", "sent_at", "code"]
    return sa.insert(REQUESTS).from_select(names, found)


def reopen(state: sa.Engine, run_id: str) -> None:
    """Forgets which rows of a run waited for another run's outcome, or for their hour: they are decided anew."""
    waited = sa.or_(HELD.c.status == Status.UNKNOWN.value, HELD.c.code == OUTSIDE_HOURS)
    outside = (SENDS.c.run_id == run_id, SENDS.c.status == Status.SKIPPED.value, SENDS.c.code == OUTSIDE_HOURS)
    with state.begin() as connection:
        connection.execute(sa.delete(HELD).where(HELD.c.run_id == run_id, waited))
        connection.execute(sa.update(SENDS).where(*outside).values(status=Status.NOT_ATTEMPTED.value))


def reopen_steps(state: sa.Engine, run_id: str) -> None:
    """Lets the steps after a run's load go once more that are known not to have been done."""
    undone = (SENDS.c.run_id == run_id, SENDS.c.status.in_([Status.REJECTED.value, Status.FAILED.value]))
    with state.begin() as connection:
        open_again = sa.update(SENDS).where(*undone, ~_OF_A_SOURCE).values(status=Status.NOT_ATTEMPTED.value)
        connection.execute(open_again)


def own(state: sa.Engine, run_id: str, source: int, rows: tuple[int, int]) -> dict[int, Own]:
    """What this run did with its rows from the first to the last of `rows`, by row; rows without any are left out."""
    found: dict[int, Own] = {}
    with state.connect() as connection:
        for table, columns in ((HELD, _OWN_HELD), (SENDS, _OWN)):
            here = (table.c.run_id == run_id, table.c.source == source, table.c.row.between(*rows))
            told = connection.execute(sa.select(*columns).where(*here))
            found |= {row: replace(Own(*values), was_held=table is HELD) for row, *values in told}
    return found


def count_by_status(state: sa.Engine, run_id: str) -> Counter[str]:
    """How many of a run's rows that were sent ended with each status."""
    query = sa.select(SENDS.c.status, sa.func.count()).where(SENDS.c.run_id == run_id, _OF_A_SOURCE)
    with state.connect() as connection:
        found = connection.execute(query.group_by(SENDS.c.status))
        return Counter({str(status): rows for status, rows in found})


def count_accepted(state: sa.Engine, run_id: str) -> int:
    """How many of a run's rows are accepted; what was forgotten has no values left, and is left out."""
    with state.connect() as connection:
        query = sa.select(sa.func.count()).select_from(SENDS).where(SENDS.c.run_id == run_id, *_ACCEPTED)
        return int(connection.execute(query).scalar_one())


def accepted_at(state: sa.Engine, run_id: str, positions: Sequence[int]) -> dict[int, npt.NDArray[np.int64]]:
    """Some of these rows, by their ascending positions from 0: rows by source."""
    query = sa.select(SENDS.c.source, SENDS.c.row).where(SENDS.c.run_id == run_id, *_ACCEPTED)
    query = query.order_by(SENDS.c.source, SENDS.c.row)
    found: dict[int, list[int]] = {}
    wanted = iter(positions)
    at = next(wanted, None)
    with state.connect() as connection:
        for position, (source, row) in enumerate(connection.execution_options(yield_per=10_000).execute(query)):
            if position == at:
                found.setdefault(source, []).append(row)
                at = next(wanted, None)
    return {source: np.array(rows, dtype=np.int64) for source, rows in found.items()}


def keys_of(state: sa.Engine, scope: Scope, *, sending: bool) -> Iterator[pa.Table]:
    """`seq`, identifier, phone and row key of a run's rows that are under way, or that have an outcome which stays."""
    columns = (SENDS.c.seq, SENDS.c.identifier, SENDS.c.phone, SENDS.c.row_key)
    open_ = (Status.UNKNOWN.value, Status.NOT_ATTEMPTED.value)
    these = SENDS.c.state == "sending" if sending else SENDS.c.status.not_in(open_)
    query = sa.select(*columns).where(
        SENDS.c.account == scope.account, SENDS.c.run_id == scope.run_id, these, _OF_A_SOURCE
    )
    with state.connect() as connection:
        found = connection.execution_options(yield_per=_ROWS_AT_ONCE).execute(query)
        for some in found.partitions():
            yield _arrow(some, columns)


def count_ended(state: sa.Engine, run_id: str) -> int:
    """How many of a run's rows were sent and have an outcome that stays."""
    open_ = (Status.UNKNOWN.value, Status.NOT_ATTEMPTED.value)
    ended = (SENDS.c.run_id == run_id, SENDS.c.status.not_in(open_), _OF_A_SOURCE)
    sent = sa.select(sa.func.count()).where(*ended)
    with state.connect() as connection:
        return int(connection.execute(sent).scalar_one())


@dataclass(frozen=True, slots=True)
class Own:
    """What a run did with one of its own rows."""

    status: str | None  # None: it is being sent
    code: str = ""
    message: str | None = None
    attempts: int = 0
    first_sent_at: int | None = None  # None: no byte of it has left
    order: int = 0
    last_at: int = 0  # microseconds since 1970: until then a request of it may have been under way
    was_held: bool = False  # another run's outcome was waited for: this run has not begun with it

    @property
    def prior(self) -> Prior:
        """What a payload of the row knows of it."""
        in_doubt = self.status == Status.UNKNOWN
        return Prior(self.attempts, self.first_sent_at is not None, in_doubt, self.code, self.message or "")


_OWN = (
    SENDS.c.row,
    SENDS.c.status,
    SENDS.c.code,
    SENDS.c.message,
    SENDS.c.attempts,
    SENDS.c.first_sent_at,
    SENDS.c.seq,
    _LAST_AT,
)


_OWN_HELD = (HELD.c.row, HELD.c.status, HELD.c.code, HELD.c.message)


def runs_of_phones(state: sa.Engine, account: str, phones: Sequence[str]) -> Counter[str]:
    """By run, how many of these phones it has delivered to this account."""
    found: Counter[str] = Counter()
    delivered = SENDS.c.status.in_([Status.ACCEPTED.value, Status.DUPLICATE.value])
    with state.connect() as connection:
        for start in range(0, len(phones), _KEYS_AT_ONCE):
            some = SENDS.c.phone.in_(phones[start : start + _KEYS_AT_ONCE])
            query = sa.select(SENDS.c.run_id, sa.func.count(sa.distinct(SENDS.c.phone)))
            query = query.where(some, SENDS.c.phone != "", SENDS.c.account == account, delivered)
            for run_id, phones_of_run in connection.execute(query.group_by(SENDS.c.run_id)):
                found[run_id] += phones_of_run
    return found


def requests_of(state: sa.Engine, run_id: str, source: int, row: int) -> list[Request]:
    """The recorded requests of one row, in order; none where it ended with its first."""
    columns = [REQUESTS.c[field.name] for field in fields(Request)]
    here = (REQUESTS.c.run_id == run_id, REQUESTS.c.source == source, REQUESTS.c.row == row)
    with state.connect() as connection:
        found = connection.execute(sa.select(*columns).where(*here).order_by(REQUESTS.c.number))
        return [Request(*values) for values in found]


def has_sent(state: sa.Engine, account: str) -> bool:
    """Whether anything was ever sent to this account."""
    with state.connect() as connection:
        return connection.execute(sa.select(SENDS.c.seq).where(SENDS.c.account == account).limit(1)).first() is not None


def entries(state: sa.Engine, run_id: str | None, keys: Sequence[str]) -> dict[str, list[Entry]]:
    """What runs did with each of `keys`, oldest first; keys that none knows are left out.

    `run_id` is left out, so that a run does not meet its own rows; None: all runs.
    """
    return _entries(state, run_id, SENDS.c.row_key, keys)


def entries_of_identifiers(
    state: sa.Engine, run_id: str | None, scope: Scope, identifiers: Sequence[str]
) -> dict[str, list[Entry]]:
    """The same by identifier, of one account and operation: whatever else was in the key."""
    mine = (SENDS.c.account == scope.account, SENDS.c.operation == scope.operation)
    return _entries(state, run_id, SENDS.c.identifier, identifiers, *mine)


def _entries(
    state: sa.Engine,
    run_id: str | None,
    column: sa.Column[str],
    values: Sequence[str],
    *where: sa.ColumnElement[bool],
) -> dict[str, list[Entry]]:
    found: dict[str, list[Entry]] = {}
    columns = (column, SENDS.c.run_id, SENDS.c.status, SENDS.c.payload_sha256, _LAST_AT, SENDS.c.seq)
    others = where if run_id is None else (*where, SENDS.c.run_id != run_id)
    # Values that are part of a statement stay in memory with it until all of Python's garbage is looked through.
    some = column.in_(sa.bindparam("some", expanding=True))
    query = sa.select(*columns).where(some, column != "", *others).order_by(SENDS.c.seq)
    with state.connect() as connection:
        for start in range(0, len(values), _KEYS_AT_ONCE):
            for value, *entry in connection.execute(query, {"some": values[start : start + _KEYS_AT_ONCE]}):
                found.setdefault(value, []).append(Entry(*entry))
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


_NOT_REPORTED = {"seq", "run_id", "source", "account", "operation", "row_key", "phone", "identifier", "payload_sha256"}
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
