"""A worker's part of a run: it sends the rows of one partition, under a lease, as a single process sends all."""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import httpx
import sqlalchemy as sa

from pipeline import handover, holding, journal, kept, leases, marked, outgoing, people, processes, sending, statedb
from pipeline.delivery import World as SendingWorld
from pipeline.delivery import utc_now
from pipeline.folder import RunFolder
from pipeline.holding import Heard, Moments
from pipeline.leases import Lease
from pipeline.model import JournalError, Status, UserError
from pipeline.outgoing import Choice, Outgoing, Portion
from pipeline.pace import Line
from pipeline.partitions import Division, Linked
from pipeline.push import Push, Shared
from pipeline.sending import Access, Wiring
from pipeline.transport import PooledTransport, new_loop
from pipeline.watch import ErrorLimit, Watch
from pipeline.writes import LeaseLostError

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Task:
    """What a worker is told: nothing of a list and no secret. It reads the rest for itself."""

    run: Path
    settings: dict[str, str]  # as `settings.kept` gives them
    lease: Lease
    partitions: int
    limit: int | None
    choice: Choice
    as_of: int | None
    may_resend: bool
    handed: Path  # what the client has found: which rows go together, and the numbers that must not be contacted
    version: str = field(default_factory=partial(version, "dialedin-leads"))
    machine: str = field(default_factory=processes.this_machine)


@dataclass(frozen=True, slots=True)
class End:
    """How a worker's turn at a partition ended.

    `was_lost`: somebody else has it, and what was under way is in doubt.
    """

    watch: Watch
    signal: int | None = None
    is_done: bool = False  # nothing of the partition is left
    was_lost: bool = False


def _pooled(connections: int, may_leave: Callable[[], bool]) -> httpx.AsyncBaseTransport:
    return PooledTransport(connections=connections, may_leave=may_leave)


@dataclass(frozen=True, slots=True)
class Outside:
    """What a worker takes from outside, as `job.World` is for a whole run."""

    transport: Callable[[int, Callable[[], bool]], httpx.AsyncBaseTransport] = _pooled
    now: Callable[[], datetime] = utc_now
    rng: random.Random = field(default_factory=random.Random)
    new_loop: Callable[[], asyncio.AbstractEventLoop] = new_loop


def send_partition(task: Task, outside: Outside | None = None) -> End:
    """Sends what is left of a partition; every outcome is in the journal when this returns.

    A lease is taken once: where Dask runs a task again, it sends nothing. Raises UserError where this worker can't
    send, and JournalError where nothing can be recorded.
    """
    if task.version != (own := version("dialedin-leads")):
        raise UserError(f"a worker has dialedin-leads {own}, and the run {task.version}: install the same everywhere")
    if not statedb.is_postgresql(sa.make_url(task.settings["state"])) and task.machine != processes.this_machine():
        raise UserError("--state: a file is for one machine, and a worker is on another: use PostgreSQL")
    outside = outside or Outside()
    run = RunFolder(task.run)
    job = kept.on_worker(run, task.settings)
    credentials = kept.own_credentials(job)
    watch = Watch(ErrorLimit.parse(job.settings.max_errors))
    state = statedb.engine(job.settings.state)
    try:
        with _taken(state, task.lease) as held, marked.do_not_call(state, job.scope) as listed:
            handed = handover.told(task.handed)
            barred = outgoing.barred(state, listed, handed.pop("suppressed"), job.operation)
            curfew = people.curfew(job.operation, job.mapping.policy, outside.now)
            asked = (task.limit, task.choice, task.as_of, task.may_resend)
            portion = Portion(Division(task.partitions, Linked(**handed)), task.lease.partition)
            rows = Outgoing(job, run, state, barred, *asked, curfew=curfew, portion=portion)
            return _Turn(rows, held, watch, outside, credentials).run()
    except LeaseLostError:
        return End(watch, was_lost=True)
    except (sa.exc.DBAPIError, statedb.driver_error(state)) as error:
        reason = str(getattr(error, "orig", error)).partition("\n")[0]
        raise JournalError(f"the state database can't be used: {reason}") from None


@contextmanager
def _taken(state: sa.Engine, lease: Lease) -> Iterator[holding.Worker]:
    """The lease, from when it is taken until it has ended, whatever happened meanwhile."""
    with holding.working(state, lease) as held:
        held.take()
        try:
            yield held
        except BaseException:
            with suppress(sa.exc.DBAPIError):  # why it failed is told, and the client would wait
                held.give_up()
            raise


class _Turn:
    """One turn: the push, and beside it the lease, which one thread keeps."""

    def __init__(
        self, rows: Outgoing, held: holding.Worker, watch: Watch, outside: Outside, credentials: dict[str, str]
    ) -> None:
        self._rows, self._held, self._watch, self._outside = rows, held, watch, outside
        self._settled: Counter[str] = Counter()
        self._good_until = 0.0
        self._client = (-1, 0.0)  # its last beat, and when that was new
        self._signal: int | None = None
        self._told_halt = False
        self._told_refused = 0  # of `Watch.refused`, what the others can know
        self._renewal = asyncio.Event()  # the next one has ended
        self._access = Access(credentials, outside.transport(rows.job.settings.concurrency, self._may_leave))
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="lease")

    def run(self) -> End:
        """The whole turn. Raises LeaseLostError where somebody else has the partition."""
        with self._thread, asyncio.Runner(loop_factory=self._outside.new_loop) as runner:
            return runner.run(self._run())

    async def _run(self) -> End:
        rows = self._rows
        scope = journal.Scope(rows.run.run_id, rows.job.scope, rows.job.operation.name)
        heard = await self._renewed()
        is_done = False
        if not heard.is_stopped:
            with journal.open_journal(rows.state, scope, sending.marking(rows), self._held.lease) as written:
                async with self._access.transport:
                    push = self._push(written, heard)
                    await self._keeping(push)
            is_done = not push.was_cut
            await self._tell_halt()
        await self._in_thread(self._held.release, self._watch.seen, self._settled)
        return End(self._watch, self._signal, is_done)

    def _push(self, written: journal.Journal, heard: Heard) -> Push:
        rows, rate = self._rows, self._rows.job.settings.rate
        limiter = _Paced(self, Line.of(rate, rows.portion.division.partitions)) if rate else _Unpaced(self)
        shared = Shared(limiter, heard.concurrency, self._may_leave)
        world = SendingWorld(self._outside.now, self._outside.rng, self._count)
        return Wiring(rows.job, self._access).push(rows, written, self._watch, world, shared)

    async def _keeping(self, push: Push) -> None:
        """Pushes, and renews the lease meanwhile. Raises what either raises."""
        pushing = asyncio.create_task(push.run(self._rows.batches()))
        keeping = asyncio.create_task(self._keep(push))
        try:
            await asyncio.wait({pushing, keeping}, return_when=asyncio.FIRST_COMPLETED)
            if keeping.done():
                keeping.result()
            await pushing
        finally:
            for task in (pushing, keeping):
                task.cancel()
            await asyncio.gather(pushing, keeping, return_exceptions=True)

    async def _keep(self, push: Push) -> None:
        """Renews the lease, and does what its run's client and the other workers ask for."""
        while True:
            heard = await self._renewed()
            if heard.is_stopped or self._watch.halt is not None:  # at once: whoever waits to hear would go on
                push.stop()
            push.grow(heard.concurrency)
            await self._tell_halt()
            number = heard.signal or (_CLIENT_IS_GONE if self._client_is_gone(heard.beat) else None)
            if number is not None and self._signal is None:
                self._signal = number
                push.interrupt(number)
            await asyncio.sleep(leases.RENEW_SECONDS)

    async def _tell_halt(self) -> None:
        """What halts this worker halts the run."""
        if self._watch.halt is not None and not self._told_halt:
            await self._in_thread(self._held.halt, self._watch.halt)
            self._told_halt = True

    async def _renewed(self) -> Heard:
        asked_at, refused = leases.clock(), self._watch.refused
        heard = await self._in_thread(self._held.renew, self._watch.seen, Counter(self._settled))
        self._good_until = asked_at + leases.TTL_SECONDS
        self._watch.hear(heard.others)
        self._told_refused, ended, self._renewal = refused, self._renewal, asyncio.Event()
        ended.set()
        return heard

    @property
    def must_tell(self) -> bool:
        """Whether the vendor has refused something here since the others were told: they may know of more."""
        return self._watch.refused > self._told_refused

    async def told(self) -> None:
        """Returns once the others are told, and heard, of whatever the vendor has refused."""
        while self.must_tell:
            await self._renewal.wait()

    def _may_leave(self) -> bool:
        return leases.clock() < self._good_until

    def _client_is_gone(self, beat: int) -> bool:
        if beat != self._client[0]:
            self._client = beat, leases.clock()
        return leases.clock() - self._client[1] > leases.TTL_SECONDS

    async def moments(self, line: Line, most: int, in_seconds: float) -> Moments:
        """When the next calls may leave, the first of them in so many seconds."""
        return await self._in_thread(self._held.moments, line, most, in_seconds)

    async def _in_thread(self, work: Callable[..., _T], *given: Any) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(work, *given))

    def _count(self, status: Status) -> None:
        self._settled[status.value] += 1


_CLIENT_IS_GONE = signal.SIGTERM  # as if it had been asked to end: rows under way may end
# A call has left so soon after its time has come. Where the state database takes longer than the line's grace to tell
# the time, no moment would be known well enough: one that is used so soon is not missed, and the burst is so much more.
_WAKING_SECONDS = 0.02


class _Unpaced:
    """Where there is no rate: after a refusal no call leaves before the others are heard."""

    def __init__(self, turn: _Turn) -> None:
        self._turn = turn

    def has_capacity(self) -> bool:
        """Whether there is nothing to be told."""
        return not self._turn.must_tell

    async def acquire(self) -> None:
        """Waits until the others are heard."""
        await self._turn.told()


class _Paced:
    """The limiter of a rate that several workers share: calls leave in order, each at its moment.

    After a refusal none leaves before the others are heard.
    """

    def __init__(self, turn: _Turn, line: Line) -> None:
        self._turn, self._line = turn, line
        self._next = asyncio.Lock()
        self._waiting = 0
        self._moments: deque[tuple[float, float]] = deque()
        self._asking_seconds = 0.0  # the last time

    def has_capacity(self) -> bool:
        """Never known before it is asked for."""
        return False

    async def acquire(self) -> None:
        """Waits for the moment of the next call."""
        self._waiting += 1
        try:
            async with self._next:
                while not await self._reached():
                    pass
        finally:
            self._waiting -= 1

    async def _reached(self) -> bool:
        """Waits for the next moment; False where it was missed."""
        await self._turn.told()
        if not self._moments:
            asked_at, ready = leases.clock(), self._asking_seconds + _WAKING_SECONDS
            self._moments.extend((await self._turn.moments(self._line, self._waiting, ready)).pairs)
            self._asking_seconds = leases.clock() - asked_at
        begins, ends = self._moments.popleft()
        while (early := begins - leases.clock()) > 0:  # noqa: ASYNC110 a loop may wake its tasks a little early
            await asyncio.sleep(early)
        return leases.clock() < max(ends, begins + _WAKING_SECONDS) and not self._turn.must_tell
