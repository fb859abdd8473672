"""Old runs go: their folders, and what the state database knows of them. The marks of the forgotten stay."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import sqlalchemy as sa

from pipeline import folder, leases, lock, records, statedb
from pipeline.folder import RunFolder
from pipeline.model import FORGOTTEN, Status, UserError
from pipeline.tables import FLEETS, HELD, LEASES, REQUESTS, RUNS, SENDS

ROWS_AT_ONCE = 20_000  # removed in one transaction: a run that sends to another account waits no longer than that
FREE_SHARE = 0.25  # of the database's pages: from here on it is worth writing the rest anew
_AGE = re.compile(r"([1-9][0-9]{0,4})([hdw])")
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


def age(text: str) -> timedelta:
    """The time in "36h", "90d" or "12w". Raises UserError for anything else."""
    found = _AGE.fullmatch(text)
    if not found:
        raise UserError(f"--older-than {text!r}: give hours, days or weeks, such as 36h, 90d or 12w")
    return int(found[1]) * _UNITS[found[2]]


@dataclass(frozen=True, slots=True)
class Kept:
    """An old run that stays, and what to do about it."""

    run_id: str
    why: str
    next: str


@dataclass(slots=True)
class Pruned:
    """What went, or would go: ids of runs, rows of the state database, bytes on disk; and what stays."""

    dry_run: bool
    runs: list[str] = field(default_factory=list)
    rows: int = 0
    bytes: int = 0
    kept: list[Kept] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Old:
    """An old run: its folder, if it is there, and its account, if it came so far."""

    run_id: str
    account: str
    run: RunFolder | None


def prune(runs: Path, state: sa.Engine, before: datetime, *, in_doubt: bool = False, dry_run: bool = False) -> Pruned:
    """Removes the runs that began before that time, save those that are being sent or, unless `in_doubt`, in doubt.

    Raises DiskError where a folder can't be removed; what is left goes the next time.
    """
    told = Pruned(dry_run)
    size = statedb.size_bytes(state)
    account_of = attrgetter("account")
    for account, some in groupby(sorted(_old(runs, state, before), key=account_of), account_of):
        group = list(some)
        try:
            with _alone(state, account):
                for one in group:
                    _consider(one, state, told, in_doubt=in_doubt)
        except lock.LockedError as error:
            why = str(error).partition(";")[0]
            told.kept += [Kept(one.run_id, why, "leads prune, when that has ended") for one in group]
    if not dry_run:
        _give_space_back(state)
        told.bytes += max(size - statedb.size_bytes(state), 0)
    return told


@contextmanager
def _alone(state: sa.Engine, account: str) -> Iterator[None]:
    """Holds the account, so that none of its runs can go on meanwhile."""
    alone = lock.alone(state, account, "of leads prune") if account else nullcontext()
    with alone:
        if account:
            leases.clear(state, account=account)
        yield


def _old(runs: Path, state: sa.Engine, before: datetime) -> list[_Old]:
    """The runs that began before that time: by their folders, and by the state database where those are not here."""
    dead, alive = folder.dead_at_birth(runs), folder.all_runs(runs)
    found = [_Old(run.run_id, "", run) for run in dead if run.run_id < f"{before:%Y%m%dT%H%M%SZ}"]
    for run in alive:
        manifest = run.read_json("manifest.json")
        if datetime.fromisoformat(manifest["started_at"]) < before:
            found.append(_Old(run.run_id, manifest["scope"], run))
    here = {run.run_id for run in alive}
    query = sa.select(RUNS.c.run_id, RUNS.c.account).where(RUNS.c.began_at < before.timestamp() * 1_000_000)
    with state.connect() as connection:
        gone = connection.execute(query.order_by(RUNS.c.began_at)).all()
    return found + [_Old(run_id, account, None) for run_id, account in gone if run_id not in here]


def _consider(one: _Old, state: sa.Engine, told: Pruned, *, in_doubt: bool) -> None:
    """Removes a run, or says why it stays."""
    kept = None if in_doubt else _open_question(one, state)
    if kept is not None:
        told.kept.append(kept)
        return
    told.runs.append(one.run_id)
    told.rows += _count(state, one.run_id)
    told.bytes += one.run.size_bytes if one.run else 0
    if not told.dry_run:
        # The folder first: without its parts nothing can be sent that the ledger has forgotten.
        if one.run:
            one.run.remove()
        _remove_rows(state, one.run_id)


def _open_question(one: _Old, state: sa.Engine) -> Kept | None:
    """Why nobody can tell what became of the run's rows; None where somebody can."""
    if one.run and records.is_elsewhere(state, one.run):
        url = one.run.read_json("manifest.json")["settings"]["state"]
        return Kept(one.run_id, "its journal is another state database", f"leads prune --state {url}, or --in-doubt")
    rows = _in_doubt(state, one.run_id)
    if not rows:
        return None
    next_step = f"leads reconcile {one.run_id}" if one.run else "leads prune --in-doubt: its folder is not here"
    return Kept(one.run_id, f"{rows:,} rows in doubt", next_step)


def _in_doubt(state: sa.Engine, run_id: str) -> int:
    """How many of a run's rows may or may not have been delivered. Of somebody who was forgotten nobody can tell."""
    same_row = sa.and_(HELD.c.run_id == SENDS.c.run_id, HELD.c.source == SENDS.c.source, HELD.c.row == SENDS.c.row)
    left_open = sa.and_(SENDS.c.status == Status.UNKNOWN.value, SENDS.c.row_key != "", ~sa.exists().where(same_row))
    sent = sa.select(sa.func.count()).where(SENDS.c.run_id == run_id, (SENDS.c.state == "sending") | left_open)
    waits = (HELD.c.run_id == run_id, HELD.c.status == Status.UNKNOWN.value, HELD.c.code != FORGOTTEN)
    held = sa.select(sa.func.count()).where(*waits)
    with state.connect() as connection:
        return int(connection.execute(sent).scalar_one()) + int(connection.execute(held).scalar_one())


_ROWS = (REQUESTS, HELD, SENDS)


def _count(state: sa.Engine, run_id: str) -> int:
    counts = [sa.select(sa.func.count()).select_from(table).where(table.c.run_id == run_id) for table in _ROWS]
    with state.connect() as connection:
        return sum(connection.execute(count).scalar_one() for count in counts)


def _remove_rows(state: sa.Engine, run_id: str) -> None:
    for table in (*_ROWS, LEASES, FLEETS, RUNS):  # the run itself last: what a crash leaves is found again by it
        key = table.primary_key.columns
        some = sa.select(*key).where(table.c.run_id == run_id).limit(ROWS_AT_ONCE)
        removed = ROWS_AT_ONCE
        while removed == ROWS_AT_ONCE:
            with state.begin() as connection:
                removed = connection.execute(sa.delete(table).where(sa.tuple_(*key).in_(some))).rowcount


def _give_space_back(state: sa.Engine) -> None:
    """Where much of the database is free, and nobody sends: to write it anew takes as long as it is large."""
    if statedb.free_share(state) < FREE_SHARE:
        return
    try:
        with lock.all_alone(state, "of leads prune"):
            statedb.compact(state)
    except (lock.LockedError, statedb.BusyError):
        return  # what is sent next goes where the free pages are
