"""A run's rows sent by several workers: who sends which partition, and what becomes of it when a worker dies.

The client leads: it grants leases, counts, passes signals and halts on, and gives the partition of a worker that is
surely dead, or has lost its lease, to another one. It sends none of these rows itself.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pipeline import granting, handover, leases, records, settings
from pipeline.cluster import Cluster, ClusterError
from pipeline.crew import End, Task, send_partition
from pipeline.delivery import micros
from pipeline.granting import Granted
from pipeline.job import World
from pipeline.journal import Scope
from pipeline.leases import Lease, Passing
from pipeline.model import JournalError, Status, UserError
from pipeline.outgoing import Choice, Outgoing, Tally
from pipeline.push import Pushed
from pipeline.watch import Seen, Watch

TURNS_AT_MOST = 20  # of one partition: workers that die so often will die again
_HANDED = "sending.told"  # in the spool folder


class Crew(Protocol):
    """Workers that send partitions."""

    def send(self, task: Task) -> Future[End]:
        """Has a worker do `crew.send_partition(task)`, once."""


@dataclass(frozen=True, slots=True)
class ClusterCrew:
    """Those of a Dask cluster. Where Dask does a task again, that finds its lease taken, and sends nothing."""

    cluster: Cluster

    def send(self, task: Task) -> Future[End]:
        """As `Crew.send`."""
        told: Future[End] = Future()
        key = f"send-{task.lease.run_id}-{task.lease.partition}-{task.lease.epoch}"
        future = self.cluster.submit(send_partition, task, key=key, pure=False, retries=0)
        future.add_done_callback(partial(self._pass_on, told, task.lease.run_id))
        return told

    def _pass_on(self, told: Future[End], run_id: str, future: Any) -> None:
        from distributed import CancelledError
        from distributed.comm.core import CommClosedError

        try:
            told.set_result(future.result())
        except (CancelledError, CommClosedError):
            told.set_exception(ClusterError(f"the scheduler has gone; its workers have ended: leads resume {run_id}"))
        except Exception as error:  # noqa: BLE001 whatever it is, whoever waits must be told
            told.set_exception(error)


class FleetError(UserError):
    """The workers can't send what is left."""

    exit_code = 70

    @classmethod
    def after(cls, turns: int, failure: BaseException | None, run_id: str) -> FleetError:
        """The error of so many turns at one part of the rows, with what the last of them that failed has said."""
        told = f"{turns} workers died or were lost over one part of the rows"
        if failure is not None:
            said = str(failure).partition("\n")[0]
            told += f" ({type(failure).__name__}: {said[:200]})"
        return cls(f"{told}; see their logs, then: leads resume {run_id}")


@dataclass(slots=True)
class _Partition:
    """Where a partition stands: held under a lease, passing from a revoked one, or done with."""

    number: int
    limit: int | None
    concurrency: int
    choice: Choice
    lease: Lease | None = None
    future: Future[End] | None = None
    passing: Passing | None = None
    beat: tuple[int, float] = (-1, 0.0)  # the lease's last beat, and when that was new
    turns: int = 0
    failure: BaseException | None = None  # of the last turn that failed
    is_done: bool = False


class Fleet:
    """Sends the rows of one run by the workers of a crew."""

    def __init__(self, crew: Crew, world: World, counted: Outgoing, tally: Tally) -> None:
        self._crew, self._world, self._counted, self._tally = crew, world, counted, tally
        self._signal: int | None = None
        self._told: int | None = None
        self._watches: list[Watch] = []
        self._shown: Counter[str] = Counter()
        self._failure: BaseException | None = None
        self._is_stopped = False

    def interrupt(self, number: int) -> None:
        """Someone asked the run to end, by this signal."""
        self._signal = self._signal or number

    def run(self, rows: Outgoing) -> Pushed:
        """Sends the rows; every outcome is in the journal when this returns.

        Raises what kept a worker from sending, and FleetError where workers die again and again.
        """
        self._rows, self._state, self._run_id = rows, rows.state, rows.run.run_id
        self._scope = Scope(self._run_id, rows.job.scope, rows.job.operation.name)
        granting.open_fleet(self._state, self._run_id, rows.job.scope)
        self._handed = (rows.run.spool / _HANDED).absolute()
        handover.tell(self._handed, suppressed=rows.suppressed.numbers, **rows.portion.division.linked._asdict())
        self._parts = self._divided()
        for part in self._parts:
            self._grant(part)
        while not all(part.is_done for part in self._parts):
            self._step()
        self._show()
        if self._failure is not None:
            raise self._failure
        seen = sum((one.seen for one in granting.granted(self._state, self._run_id)), Seen())
        _, first = granting.stopped(self._state, self._run_id)
        return Pushed(Watch.merged(self._watches, seen, first).end, self._signal)

    # --- Dividing ---

    def _divided(self) -> list[_Partition]:
        """The partitions, each with how many of its rows may go, and its share of the concurrency."""
        rows, count = self._rows, self._rows.portion.division.partitions
        tally = self._tally if rows.choice is self._counted.choice else rows.tally()  # after a canary others are left
        self._limits = None if rows.limit is None else tally.by_partition
        self._ended_before = self._ended() if rows.limit is not None and rows.choice is not Choice.ALL else 0
        least, more = divmod(rows.job.settings.concurrency, count)
        return [
            _Partition(
                number,
                None if self._limits is None else int(self._limits[number]),
                least + (number < more),
                rows.choice,
            )
            for number in range(count)
        ]

    def _ended(self) -> npt.NDArray[np.int64]:
        """How many rows of each partition have an outcome that stays."""
        division = self._rows.portion.division
        found = np.zeros(division.partitions, dtype=np.int64)
        for keys in records.keys_of(self._state, self._scope, sending=False):
            found += np.bincount(division.of(keys), minlength=division.partitions)
        return found

    def _grant(self, part: _Partition) -> None:
        """Has a worker send what is left of a partition."""
        if part.turns == TURNS_AT_MOST:
            self._give_up(FleetError.after(part.turns, part.failure, self._run_id))
            part.is_done = True
            return
        part.turns += 1
        part.lease = granting.grant(self._state, self._run_id, part.number, part.concurrency)
        part.beat = (-1, leases.clock())
        rows = self._rows
        part.future = self._crew.send(
            Task(
                run=rows.run.path.absolute(),
                settings=settings.kept(rows.job.settings),
                lease=part.lease,
                partitions=rows.portion.division.partitions,
                limit=part.limit,
                choice=part.choice,
                as_of=rows.as_of,
                may_resend=rows.may_resend,
                handed=self._handed,
            )
        )

    # --- Leading ---

    def _step(self) -> None:
        """One look at all that goes on, a quarter of a second at most."""
        futures = [part.future for part in self._parts if part.future is not None]
        if futures:
            wait(futures, leases.RENEW_SECONDS, FIRST_COMPLETED)
        else:
            time.sleep(leases.RENEW_SECONDS)  # somebody is waited for to be dead
        granting.beat(self._state, self._run_id)
        if self._signal is not None and self._told is None:
            self._told = self._signal
            self._stop(self._signal)
        known = {one.lease: one for one in granting.granted(self._state, self._run_id)}
        for part in self._parts:
            if not part.is_done:
                self._look(part, known)
        self._show(known)

    def _look(self, part: _Partition, known: Mapping[Lease, Granted]) -> None:
        if part.passing is not None:
            if part.passing.is_over():
                self._go_on(part)
        elif part.future is not None and part.future.done():
            self._ended_turn(part, part.future)
        elif part.lease is not None and self._is_given_up(part, known[part.lease]):
            self._revoke(part)

    def _ended_turn(self, part: _Partition, future: Future[End]) -> None:
        """A task has ended: its partition is done with, or somebody else's next."""
        part.future = None
        failure = CancelledError() if future.cancelled() else future.exception()
        part.failure = failure or part.failure
        if isinstance(failure, (UserError, JournalError)):  # what it is, it would be again
            self._give_up(failure)
        if isinstance(failure, ClusterError):  # its worker may be there: it hears that it is to end, and is waited for
            return
        end = None if failure is not None else future.result()
        if end is not None and not end.was_lost:
            self._watches.append(end.watch)
            if end.is_done:
                part.is_done = True
                self._share_out(part)
                return
        self._revoke(part)

    def _revoke(self, part: _Partition) -> None:
        """Whoever had the partition must not go on: what it had under way is in doubt once it surely does not."""
        assert part.lease is not None
        part.passing = Passing.begin(self._state, [part.lease])
        if part.passing.is_over():
            self._go_on(part)

    def _go_on(self, part: _Partition) -> None:
        """Nobody sends the partition any more: its rows under way are given up, and another worker looks them up."""
        part.passing = part.lease = part.future = None
        left = []
        for keys in records.keys_of(self._state, self._scope, sending=True):
            mine = self._rows.portion.division.of(keys) == part.number
            left += keys["seq"].filter(mine).to_pylist()
        at = micros(self._world.now())
        records.bury(self._state, self._rows.job.scope, at, run_id=self._run_id, only=left)
        if self._is_over():
            part.is_done = True
            return
        if part.choice is Choice.ALL:
            part.choice = Choice.OPEN
        if self._limits is not None:
            begun = (self._ended() - self._ended_before)[part.number]
            part.limit = max(int(self._limits[part.number] - begun), 0)
        self._grant(part)

    def _is_given_up(self, part: _Partition, granted: Granted) -> bool:
        """Whether nobody is waited for any more: no worker has had time for it, and the run is over, or one is silent.

        A worker that has not renewed its lease for so long may not send any more.
        """
        if granted.holder is None:
            return self._is_over()
        if granted.has_ended:
            return part.future is None
        if granted.beat != part.beat[0]:
            part.beat = granted.beat, leases.clock()
        return leases.clock() - part.beat[1] > leases.TTL_SECONDS

    def _is_over(self) -> bool:
        """Whether nobody is to take another row: someone asked for it, or a worker halts the run."""
        return self._is_stopped or granting.stopped(self._state, self._run_id)[0]

    def _stop(self, number: int | None = None) -> None:
        self._is_stopped = True
        granting.stop(self._state, self._run_id, number)

    def _give_up(self, failure: BaseException) -> None:
        self._failure = self._failure or failure
        self._stop()

    def _share_out(self, done: _Partition) -> None:
        """What a worker that has ended may have had under way goes to the others."""
        others = [part for part in self._parts if not part.is_done]
        for place in range(done.concurrency if others else 0):
            others[place % len(others)].concurrency += 1
        done.concurrency = 0
        for part in others:
            if part.lease is not None:
                granting.give_more(self._state, part.lease, part.concurrency)

    def _show(self, known: Mapping[Lease, Granted] | None = None) -> None:
        """Tells whoever watches what was settled since the last time."""
        granted = granting.granted(self._state, self._run_id) if known is None else known.values()
        settled = sum((one.settled for one in granted), Counter())
        for status, count in (settled - self._shown).items():
            for _ in range(count):
                self._world.progress.settled(Status(status))
        self._shown = settled
