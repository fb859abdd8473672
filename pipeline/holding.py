"""A worker's side of its lease: taken once, renewed, given back; what it tells and hears; its calls' common rate."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import sqlalchemy as sa

from pipeline import leases
from pipeline.leases import NOT_ENDED, NOT_REVOKED, SEEN, Lease, clock
from pipeline.pace import Line
from pipeline.processes import this_process
from pipeline.tables import FLEETS, LEASES
from pipeline.watch import Halt, Seen
from pipeline.writes import LeaseLostError


@dataclass(frozen=True, slots=True)
class Heard:
    """What a renewal has brought: what the run's other workers have seen, and what is asked of this one."""

    others: Seen
    concurrency: int
    is_stopped: bool
    signal: int | None
    beat: int  # the client's


class Worker:
    """A worker's own connection to its lease. Used by one thread at a time.

    That the lease was taken survives a power cut of the database's machine; what is told of it later need not.
    """

    def __init__(self, connection: sa.Connection, lease: Lease) -> None:
        self._connection, self.lease, self._mine = connection, lease, leases.row(lease)
        self._is_sqlite = connection.dialect.name == "sqlite"

    def take(self) -> None:
        """Takes the lease. Raises LeaseLostError where somebody has had it: a task may be run twice, a lease is not."""
        mine = sa.update(LEASES).where(*self._mine, LEASES.c.holder.is_(None), NOT_REVOKED)
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
            others = sa.select(*SEEN).where(LEASES.c.run_id == self.lease.run_id, ~sa.and_(*self._mine))
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

    def moments(self, line: Line, most: int, in_seconds: float) -> Moments:
        """The next moments at which calls may leave under the run's rate: as many as are wanted, but few at once.

        `in_seconds` is how long it will take until the first can leave: none is given that is missed by then.
        """
        count = min(most, line.at_once)
        fleet = FLEETS.c.run_id == self.lease.run_id
        with self._begun():
            query = sa.select(FLEETS.c.free_at).where(fleet).with_for_update()
            free_at = self._connection.execute(query).scalar_one()
            asked_at = clock()
            now = self._now()
            told_at = clock()
            first = line.next(free_at, now + in_seconds)
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
        mine = sa.update(LEASES).where(*self._mine, NOT_REVOKED, NOT_ENDED)
        if self._connection.execute(mine.values(**values)).rowcount != 1:
            raise LeaseLostError(f"{self.lease} was revoked")

    @contextmanager
    def _begun(self) -> Iterator[None]:
        with leases.begun(self._connection):
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
    with leases.connected(state, "journal_mode=WAL", "synchronous=NORMAL") as connection:
        yield Worker(connection, lease)
