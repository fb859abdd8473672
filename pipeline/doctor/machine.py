"""This machine: the state database, the lock, the folders and the disks. What is tried leaves nothing behind."""

from __future__ import annotations

import shutil
from pathlib import Path

import sqlalchemy as sa

from pipeline import folder, lock, statedb
from pipeline.doctor.visit import Finding, Visit, bad, ok, warn
from pipeline.model import Status, UserError
from pipeline.tables import HELD, SENDS

LITTLE_BYTES, TOO_LITTLE_BYTES = 10**9, 10**8  # of free space

_MAY_WRITE = "see that this user may write there, or name another with {}"
_STATE_STEP = (
    f"{_MAY_WRITE.format('--state')}, and that nothing else holds it; if it is damaged, put a copy of it back: without "
    "its ledger, what was delivered would be sent again"
)


def state(visit: Visit) -> Finding:
    """Whether the journal can be written, and is whole."""
    try:
        visit.state = statedb.engine(visit.settings.state)
        name = statedb.name(visit.state)
        problem = _state_problem(visit.state, visit.seconds)
        empty = problem is None and _is_empty(visit.state)
    except UserError as error:
        return bad(str(error), _STATE_STEP, 70)
    if problem is not None:
        return bad(f"{name}: {problem}", _STATE_STEP, 70)
    known = "; it knows no earlier run" if empty else ""
    return ok(f"{name}, {_size(statedb.size_bytes(visit.state))}: whole, and can be written{known}")


def _state_problem(database: sa.Engine, seconds: float) -> str | None:
    """Why the journal could not be written or is not whole; None where it is well."""
    row = {"run_id": "doctor", "source": 0, "row": 0, "status": "", "code": "", "message": "", "settled_at": 0}
    try:
        with database.connect() as connection:
            problem = statedb.problem(connection, seconds)
            connection.execute(sa.insert(HELD).values(row))
            connection.rollback()
    except sa.exc.DBAPIError as error:
        return " ".join(str(error.orig).split())
    return problem


def _is_empty(database: sa.Engine) -> bool:
    with database.connect() as connection:
        return connection.execute(sa.select(SENDS.c.row).limit(1)).first() is None


def in_doubt(visit: Visit) -> Finding:
    """Whether earlier runs left rows of the account that nobody knows the outcome of."""
    assert visit.state is not None
    unsettled, sending = _in_doubt(visit.state, visit.scope)
    if not unsettled + sending:
        return ok(f"account {visit.account}: no row is in doubt")
    rows = f"in doubt: {unsettled:,}; under way, or left so by a run that died: {sending:,}"
    return warn(f"account {visit.account}: rows {rows}", "leads reconcile RUN, or load their lists again")


def _in_doubt(database: sa.Engine, scope: str) -> tuple[int, int]:
    """(keys that may have been delivered and that no run has settled, rows that are `sending`) of an account."""
    other = SENDS.alias()
    delivered = other.c.status.in_((Status.ACCEPTED.value, Status.DUPLICATE.value))
    settled = sa.exists().where(other.c.row_key == SENDS.c.row_key, delivered)
    unknown = sa.select(sa.func.count(sa.distinct(SENDS.c.row_key))).where(
        SENDS.c.account == scope,
        SENDS.c.status == Status.UNKNOWN.value,
        SENDS.c.row_key != "",
        ~settled,
    )
    sending = sa.select(sa.func.count()).where(SENDS.c.account == scope, SENDS.c.state == "sending")
    with database.connect() as connection:
        return int(connection.execute(unknown).scalar_one()), int(connection.execute(sending).scalar_one())


def lock_held(visit: Visit) -> Finding:
    """Whether someone is sending to the account."""
    assert visit.state is not None
    try:
        with lock.held(visit.state, visit.scope, "of leads doctor"):
            return ok(f"account {visit.account}: nobody is sending to it")
    except lock.LockedError as error:
        said = str(error).partition(";")[0]
        return bad(said, "wait until it has ended, or end it: Ctrl-C lets its calls end", error.exit_code)
    except OSError as error:
        return bad(f"{error.filename}: {error.strerror}", _MAY_WRITE.format("--state"), 70)


def runs(visit: Visit) -> Finding:
    """Whether a run's folder can be made and written."""
    path = visit.settings.runs
    try:
        made = folder.create(path, "doctor", visit.asked.now())
        try:
            made.write_json("doctor.json", {})
        finally:
            made.remove()
    except UserError as error:
        return bad(str(error), _MAY_WRITE.format("--runs"), 70)
    return ok(f"{path.absolute()}: can be written")


def disk(visit: Visit) -> Finding:
    """Whether there is room for runs and state; the least of both counts."""
    places = {"runs": visit.settings.runs.absolute()}
    if visit.state is not None and (folder_of_state := statedb.folder_of(visit.state)) is not None:
        places["state"] = folder_of_state
    free = {name: _free_bytes(path) for name, path in places.items()}
    message = ", ".join(f"{_size(left)} free for {name}" for name, left in free.items())
    if min(free.values()) < TOO_LITTLE_BYTES:
        return bad(message, "free some, or choose another disk with --runs and --state", 70)
    if min(free.values()) < LITTLE_BYTES:
        return warn(message, f"free some: less than {_size(LITTLE_BYTES)} may not be enough for a long list")
    return ok(message)


def _free_bytes(path: Path) -> int:
    """Of the disk that `path` is on, or would be on if it could be made."""
    try:
        return shutil.disk_usage(path).free
    except OSError:
        return _free_bytes(path.parent)


def _size(length: int) -> str:
    return f"{length / 10**9:,.1f} GB" if length >= 10**9 else f"{length / 10**6:,.1f} MB"
