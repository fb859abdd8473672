"""Leases: which worker may send a partition of a run, what the workers of a run tell each other, and their common rate.

A partition is one worker's at a time. What a worker writes is fenced by its epoch (`writes.Fence`), and what it sends
by its own monotonic clock: it stops TTL_SECONDS after the last renewal that succeeded was begun. So a lease that is
revoked has surely ended UNTIL_DEAD_SECONDS later, by the clock of whoever revoked it; no two machines' clocks are
compared.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import sqlalchemy as sa

from pipeline import sqlite
from pipeline.pace import Halt, Line, Seen
from pipeline.statedb import FLEETS, LEASES, RUNS
from pipeline.writes import Fence, LeaseLostError

TTL_SECONDS = 15.0
RENEW_SECONDS = 0.25  # what the workers know of each other is so old
LEAVING_SECONDS = 12.0  # from the last look at the clock until a call's first byte leaves: it may connect first
UNTIL_DEAD_SECONDS = TTL_SECONDS + LEAVING_SECONDS
_LOOK_SECONDS = 0.1  # between two looks whether somebody is dead


Lease = Fence  # one turn of one worker at a partition


def clock() -> float:
    """Seconds that pass alike for all processes of this machine, also while it or a process sleeps."""
    return time.clock_gettime(_CLOCK)


_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


@dataclass(frozen=True, slots=True)
class Heard:
    """What a renewal has brought: what the run's other workers have seen, and what is asked of this one."""

    others: Seen
    concurrency: int
    is_stopped: bool
    signal: int | None
    beat: int  # the client's


@dataclass(frozen=True, slots=True)
class Granted:
    """A lease as its run's client sees it."""

    lease: Lease
    holder: str | None
    concurrency: int
    beat: int
    settled: Counter[str]  # rows by status
    seen: Seen
    has_ended: bool


_SEEN = [LEASES.c[field.name] for field in fields(Seen)]
_NOT_REVOKED = LEASES.c.is_revoked.is_(sa.false())
_NOT_ENDED = LEASES.c.has_ended.is_(sa.false())


def _row(lease: Lease) -> tuple[sa.ColumnElement[bool], ...]:
    """Where it is in the table."""
    return LEASES.c.run_id == lease.run_id, LEASES.c.partition == lease.partition, LEASES.c.epoch == lease.epoch


# --- The client of a run ---


def open_fleet(state: sa.Engine, run_id: str, account: str) -> None:
    """Begins to send a run by several workers.

    Leases that it has had have ended; their epochs are never granted again.
    """
    values = {"account": account, "beat": 0, "is_stopped": False, "signal": None, "halt": None, "free_at": 0.0}
    with _writing(state) as connection:
        connection.execute(sa.delete(FLEETS).where(FLEETS.c.run_id == run_id))
        connection.execute(
            sa.update(LEASES).where(LEASES.c.run_id == run_id).values(asdict(Seen()) | {"settled": "{}"})
        )
        connection.execute(sa.insert(FLEETS).values(run_id=run_id, **values))


def grant(state: sa.Engine, run_id: str, partition: int, concurrency: int) -> Lease:
    """The next epoch of a partition, for whoever takes it. The one before has ended."""
    mine = (LEASES.c.run_id == run_id, LEASES.c.partition == partition)
    with _writing(state) as connection:
        epochs = connection.execute(
            sa.select(sa.func.max(LEASES.c.epoch), sa.func.min(LEASES.c.has_ended.cast(sa.Integer))).where(*mine)
        ).one()
        if epochs[1] == 0:
            raise RuntimeError(f"partition {partition} of run {run_id} is somebody's already")
        lease = Lease(run_id, partition, (epochs[0] or 0) + 1)
        values = asdict(Seen()) | {"beat": 0, "is_revoked": False, "has_ended": False, "settled": "{}"}
        connection.execute(sa.insert(LEASES).values(**lease._asdict(), concurrency=concurrency, **values))
    return lease


def granted(state: sa.Engine, run_id: str) -> list[Granted]:
    """Every lease of a run, with what its worker has seen as far as it has told."""
    columns = (LEASES.c.holder, LEASES.c.concurrency, LEASES.c.beat, LEASES.c.has_ended, LEASES.c.settled)
    query = sa.select(LEASES.c.partition, LEASES.c.epoch, *columns, *_SEEN).where(LEASES.c.run_id == run_id)
    found = []
    with state.connect() as connection:
        for partition, epoch, holder, concurrency, beat, has_ended, settled, *seen in connection.execute(query):
            lease, counts = Lease(run_id, partition, epoch), Counter(json.loads(settled))
            found.append(Granted(lease, holder, concurrency, beat, counts, Seen(*seen), has_ended))
    return found


def give_more(state: sa.Engine, lease: Lease, concurrency: int) -> None:
    """Raises a lease's share of the concurrency: somebody else has ended."""
    with _writing(state) as connection:
        connection.execute(sa.update(LEASES).where(*_row(lease)).values(concurrency=concurrency))


def beat(state: sa.Engine, run_id: str) -> None:
    """Shows the workers that their client lives."""
    with _writing(state) as connection:
        connection.execute(sa.update(FLEETS).where(FLEETS.c.run_id == run_id).values(beat=FLEETS.c.beat + 1))


def stop(state: sa.Engine, run_id: str, signal: int | None = None) -> None:
    """No worker of the run takes another row from now on; after a signal those under way have the drain's time."""
    told = {"is_stopped": True} | ({} if signal is None else {"signal": signal})
    with _writing(state) as connection:
        connection.execute(sa.update(FLEETS).where(FLEETS.c.run_id == run_id).values(told))


def stopped(state: sa.Engine, run_id: str) -> tuple[bool, Halt | None]:
    """Whether no worker of the run takes another row, and the halt of the worker that stopped it, if one did."""
    with state.connect() as connection:
        query = sa.select(FLEETS.c.is_stopped, FLEETS.c.halt).where(FLEETS.c.run_id == run_id)
        is_stopped, halt = connection.execute(query).one()
    return is_stopped, None if halt is None else Halt(**json.loads(halt))


def revoke(state: sa.Engine, lease: Lease) -> str | None:
    """From now on nothing more is written under this lease. Gives who holds it; None: nobody, or not any more."""
    with _writing(state) as connection:
        connection.execute(sa.update(LEASES).where(*_row(lease)).values(is_revoked=True))
        found = connection.execute(sa.select(LEASES.c.holder, LEASES.c.has_ended).where(*_row(lease))).one()
    return None if found.has_ended else found.holder


def bury(state: sa.Engine, lease: Lease) -> None:
    """A revoked lease's worker is dead by now, or has given up: nothing more leaves under it."""
    with _writing(state) as connection:
        connection.execute(sa.update(LEASES).where(*_row(lease)).values(has_ended=True))


@dataclass(slots=True)
class Passing:
    """Leases that were revoked, until nothing more can leave under them."""

    state: sa.Engine
    holders: dict[Lease, str | None]
    revoked_at: float

    @classmethod
    def begin(cls, state: sa.Engine, leases: Sequence[Lease]) -> Passing:
        """Revokes the leases."""
        holders = {lease: revoke(state, lease) for lease in leases}
        return cls(state, holders, clock())

    def is_over(self) -> bool:
        """Whether all have ended. Each that has is buried."""
        waited = clock() - self.revoked_at > UNTIL_DEAD_SECONDS
        for lease, holder in [*self.holders.items()]:
            if waited or holder is None or is_surely_dead(holder) or _has_ended(self.state, lease):
                bury(self.state, lease)
                del self.holders[lease]
        return not self.holders


def _has_ended(state: sa.Engine, lease: Lease) -> bool:
    with state.connect() as connection:
        return bool(connection.execute(sa.select(LEASES.c.has_ended).where(*_row(lease))).scalar_one())


def clear(
    state: sa.Engine,
    *,
    account: str | None = None,
    run_id: str | None = None,
    beside: bool = True,
    tell: Callable[[str], object] = lambda _: None,
) -> None:
    """Ends what workers of dead clients still hold, and waits until nothing more can leave: half a minute at most.

    Call it under the account's lock (None: under every account's): then no living client has a lease there, save of
    runs that take no lock, which are left alone unless `beside`. With `run_id` only that run's are ended.
    """
    passing = Passing.begin(state, _left(state, account, run_id, beside=beside))
    if not passing.is_over():
        who = ", ".join(sorted({shown(holder) for holder in passing.holders.values() if holder}))
        tell(f"workers of a run that was cut short may still be sending ({who}): up to {UNTIL_DEAD_SECONDS:.0f} s")
    while not passing.is_over():
        time.sleep(_LOOK_SECONDS)


def _left(state: sa.Engine, account: str | None, run_id: str | None, *, beside: bool) -> list[Lease]:
    query = sa.select(LEASES.c.run_id, LEASES.c.partition, LEASES.c.epoch).where(_NOT_ENDED)
    if account is not None:
        query = query.where(LEASES.c.run_id.in_(sa.select(FLEETS.c.run_id).where(FLEETS.c.account == account)))
    if run_id is not None:
        query = query.where(LEASES.c.run_id == run_id)
    if not beside:
        query = query.where(LEASES.c.run_id.not_in(sa.select(RUNS.c.run_id).where(RUNS.c.goes_beside)))
    with state.connect() as connection:
        return [Lease(*values) for values in connection.execute(query)]


# --- A worker ---


class Worker:
    """A worker's own connection to its lease. Used by one thread at a time.

    That the lease was taken survives a power cut of the database's machine; what is told of it later need not.
    """

    def __init__(self, connection: sa.Connection, lease: Lease) -> None:
        self._connection, self.lease, self._mine = connection, lease, _row(lease)
        self._is_sqlite = connection.dialect.name == "sqlite"

    def take(self) -> None:
        """Takes the lease. Raises LeaseLostError where somebody has had it: a task may be run twice, a lease is not."""
        mine = sa.update(LEASES).where(*self._mine, LEASES.c.holder.is_(None), _NOT_REVOKED)
        with self._begun():
            if self._connection.execute(mine.values(holder=this_process())).rowcount != 1:
                raise LeaseLostError(f"{self.lease} is not to be had")
        if not self._is_sqlite:
            self._connection.exec_driver_sql("SET synchronous_commit TO off")
            self._connection.commit()

    def renew(self, seen: Seen, settled: Mapping[str, int]) -> Heard:
        """Tells what was seen and settled, and hears. Raises LeaseLostError where the lease was revoked."""
        with self._begun():
            self._tell(beat=LEASES.c.beat + 1, settled=json.dumps(settled), **asdict(seen))
            asked = (FLEETS.c.is_stopped, FLEETS.c.signal, FLEETS.c.beat)
            fleet = self._connection.execute(sa.select(*asked).where(FLEETS.c.run_id == self.lease.run_id)).one()
            mine = self._connection.execute(sa.select(LEASES.c.concurrency).where(*self._mine)).scalar_one()
            others = sa.select(*_SEEN).where(LEASES.c.run_id == self.lease.run_id, ~sa.and_(*self._mine))
            told = sum((Seen(*values) for values in self._connection.execute(others)), Seen())
        return Heard(told, mine, *fleet)

    def release(self, seen: Seen, settled: Mapping[str, int]) -> None:
        """Ends the lease. Raises LeaseLostError where it was revoked."""
        with self._begun():
            self._tell(has_ended=True, settled=json.dumps(settled), **asdict(seen))

    def give_up(self) -> None:
        """Ends the lease of a turn that has failed, or whose lease was revoked meanwhile: nothing more leaves here."""
        with self._begun():
            self._connection.execute(sa.update(LEASES).where(*self._mine).values(has_ended=True))

    def halt(self, why: Halt) -> None:
        """No worker of the run takes another row from now on. The first that says so says why."""
        fleet = FLEETS.c.run_id == self.lease.run_id
        with self._begun():
            self._connection.execute(sa.update(FLEETS).where(fleet).values(is_stopped=True))
            told = sa.update(FLEETS).where(fleet, FLEETS.c.halt.is_(None))
            self._connection.execute(told.values(halt=json.dumps(asdict(why))))

    def moments(self, line: Line, most: int) -> Moments:
        """The next moments at which calls may leave under the run's rate: as many as are wanted, but few at once."""
        count = min(most, line.at_once)
        fleet = FLEETS.c.run_id == self.lease.run_id
        with self._begun():
            query = sa.select(FLEETS.c.free_at).where(fleet).with_for_update()
            free_at = self._connection.execute(query).scalar_one()
            asked_at = clock()
            now = self._now()
            told_at = clock()
            first = line.next(free_at, now)
            self._connection.execute(sa.update(FLEETS).where(fleet).values(free_at=first + count / line.rate))
        spaced = [first - now + place / line.rate for place in range(count)]
        return Moments([(told_at + at, asked_at + at + line.grace) for at in spaced])

    def _now(self) -> float:
        """Seconds on a clock that all workers of the run share."""
        if self._is_sqlite:  # on one machine, where this clock is everybody's
            return clock()
        told = sa.select(sa.extract("epoch", sa.func.clock_timestamp()))
        return float(self._connection.execute(told).scalar_one())

    def _tell(self, **values: object) -> None:
        mine = sa.update(LEASES).where(*self._mine, _NOT_REVOKED, _NOT_ENDED)
        if self._connection.execute(mine.values(**values)).rowcount != 1:
            raise LeaseLostError(f"{self.lease} was revoked")

    @contextmanager
    def _begun(self) -> Iterator[None]:
        with _begun(self._connection):
            yield


@dataclass(frozen=True, slots=True)
class Moments:
    """When calls may leave, by this machine's monotonic clock: from the first moment of each pair until the second.

    The first is told late and the second early, by as long as asking for it took.
    """

    pairs: Sequence[tuple[float, float]]


@contextmanager
def working(state: sa.Engine, lease: Lease) -> Iterator[Worker]:
    """The worker's connection to its lease."""
    # A commit does not wait for the disk. Whoever writes SQLite's log back into the file does, since the journal's
    # commits are in it: less than NORMAL, and a power cut could lose those.
    with _connected(state, "journal_mode=WAL", "synchronous=NORMAL") as connection:
        yield Worker(connection, lease)


@contextmanager
def _writing(state: sa.Engine) -> Iterator[sa.Connection]:
    with _connected(state) as connection, _begun(connection):
        yield connection


@contextmanager
def _connected(state: sa.Engine, *pragmas: str) -> Iterator[sa.Connection]:
    with state.connect() as connection:
        if connection.dialect.name == "sqlite":
            for pragma in ("busy_timeout=30000", f"wal_autocheckpoint={sqlite.LOG_PAGES}", *pragmas):
                connection.exec_driver_sql(f"PRAGMA {pragma}")
            connection.commit()
        yield connection


@contextmanager
def _begun(connection: sa.Connection) -> Iterator[None]:
    """A transaction that writes."""
    with connection.begin():
        if connection.dialect.name == "sqlite":  # to read first and write then would fail while others write
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        yield


# --- Who holds a lease ---


def this_process() -> str:
    """A name for this process that no other one has, now or later: host, boot, namespace, process, when it began."""
    return "/".join((*_where(), str(os.getpid()), _stat(os.getpid())[1]))


def shown(holder: str) -> str:
    """A holder, for people."""
    host, _, _, pid, _ = _split(holder)
    return f"process {pid} on {host}"


def is_surely_dead(holder: str) -> bool:
    """Whether a holder was a process of this machine that has ended; False where that can't be known from here."""
    *where, pid, began_at = _split(holder)
    if tuple(where) != _where():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    state, since = _stat(int(pid))
    return state in _DEAD or since not in {"", began_at}


def _split(holder: str) -> list[str]:
    return holder.rsplit("/", 4)


def this_machine() -> str:
    """What all processes of this machine have in common since it was started, or at least its name."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    return boot.read_text(encoding="ascii").strip() if boot.exists() else socket.gethostname()


def _where() -> tuple[str, str, str]:
    """This host, its machine, and the namespace in which its processes are counted."""
    space = Path("/proc/self/ns/pid")
    return socket.gethostname(), this_machine(), str(space.readlink()) if space.exists() else ""


def _stat(pid: int) -> tuple[str, str]:
    """A process's state, and when it began, in ticks since its machine did; "" where the system does not say."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return "", ""
    state, *values = stat.rpartition(")")[2].split()
    return state, values[18]


_DEAD = ("Z", "X")  # its end is there, and nobody has asked for it yet
