"""Sending a run's rows and reading some of them back: one event loop from the first byte to the last."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import NoReturn, Protocol, TypeVar
from urllib.parse import parse_qsl

import httpx

from pipeline import doubt, journal, marked, people, records, retries, settings
from pipeline.composed import Steps
from pipeline.delivery import Endpoint, micros
from pipeline.delivery import World as SendingWorld
from pipeline.job import Job, World
from pipeline.journal import Marking
from pipeline.model import Status
from pipeline.outgoing import Choice, Outgoing
from pipeline.push import Deliveries, Limits, Push, Pushed, Shared, plainly
from pipeline.readback import Finding, Sample
from pipeline.signals import Signals
from pipeline.verify import ReadBack
from pipeline.watch import ErrorLimit, Halt, Watch
from pipeline.wire import Wire
from schemas.spec import Operation

LOOK_SECONDS = 5.0  # between two looks at a journal that may be lost; its server keeps the lock for much longer

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Access:
    """What opens the vendor's door."""

    credentials: Mapping[str, str]
    transport: httpx.AsyncBaseTransport


@dataclass(frozen=True, slots=True)
class Sent:
    """How sending ended: `halt` where it stopped early, `signal` where someone stopped it.

    `read_back` is rows by what reading them back found.
    """

    halt: Halt | None
    signal: int | None
    read_back: Mapping[str, int] = field(default_factory=dict)


class Divided(Protocol):
    """Sends rows by several workers, which this process leads from a thread."""

    def run(self, rows: Outgoing) -> Pushed:
        """Sends the rows; every outcome is in the journal when this returns."""

    def interrupt(self, number: int) -> None:
        """Someone asked the run to end, by this signal."""


def send(rows: Outgoing, world: World, heard: Signals, access: Access, divided: Divided | None = None) -> Sent:
    """Sends what is to be sent, under the job's limits; every outcome is in the journal when this returns.

    Where the rows are `divided`, this process sends only the canary, and what is read back.
    """
    scope = journal.Scope(rows.run.run_id, rows.job.scope, rows.job.operation.name)
    records.begin_run(rows.state, scope, micros(world.now()), as_of=rows.as_of, goes_beside=rows.job.goes_beside)
    rows.run.log("sending", target=settings.url(rows.job.settings, rows.job.operation))

    async def sending() -> Sent:
        with journal.open_journal(rows.state, scope, marking(rows)) as written:
            async with access.transport:
                return await _Passes(rows, world, heard, access, written, divided=divided).run()

    with asyncio.Runner(loop_factory=world.new_loop) as runner:
        sent = runner.run(sending())
    rows.run.log("sent", halted=sent.halt and sent.halt.code, signal=sent.signal)
    return sent


def send_step(row: Outgoing, world: World, heard: Signals, access: Access) -> int | None:
    """Sends a step after the load, which is one row; its outcome is in the journal when this returns.

    Gives the signal that stopped it, if one did.
    """
    scope = journal.Scope(row.run.run_id, row.job.scope, row.job.operation.name)
    row.run.log("step", target=settings.url(row.job.settings, row.job.operation))

    async def sending() -> Pushed:
        with journal.open_journal(row.state, scope, marking(row)) as written:
            async with access.transport:
                return await _Passes(row, world, heard, access, written, settled=lambda _: None).row()

    with asyncio.Runner(loop_factory=world.new_loop) as runner:
        return runner.run(sending()).signal


def marking(rows: Outgoing) -> Marking | None:
    """Whether what the rows do to the vendor's list of who must not be called holds for us as well."""
    operation = rows.job.operation
    if not (operation.protects_people or operation.frees_people):
        return None
    return Marking(marked.marks_key(rows.state), forbids=operation.protects_people)


class _Passes:
    """The passes of one run: the canary and its reading back, the rows, the sample's reading back."""

    def __init__(
        self,
        rows: Outgoing,
        world: World,
        heard: Signals,
        access: Access,
        written: journal.Journal,
        *,
        settled: Callable[[Status], None] | None = None,
        divided: Divided | None = None,
    ) -> None:
        self._divided, self._wiring = divided, Wiring(rows.job, access)
        self._rows, self._outer, self._heard, self._journal = rows, world, heard, written
        self._world = SendingWorld(world.now, world.rng, settled or world.progress.settled)
        self._watch = Watch(ErrorLimit.parse(rows.job.settings.max_errors))
        self._read_back: dict[str, int] = {}

    async def run(self) -> Sent:
        """All passes; none follows one that did not come to its end."""
        rows, canary = self._rows, self._rows.job.canary
        if canary and rows.choice is Choice.ALL:  # a run that goes on has had it
            first = canary if rows.limit is None else min(canary, rows.limit)
            if (ended := await self._canary(replace(rows, limit=first, ends_at_limit=True))) is not None:
                return ended
            left = None if rows.limit is None else rows.limit - first
            rows = replace(rows, choice=Choice.OPEN, limit=left)
        pushed = await (self._push(rows) if self._divided is None else self._push_divided(self._divided, rows))
        if rows.job.verify is not None and not (pushed.halt or pushed.signal):
            pushed = replace(pushed, signal=await self._verify(rows.job.verify))
        return Sent(pushed.halt, pushed.signal, self._read_back)

    async def row(self) -> Pushed:
        """The rows alone: a step is not read back."""
        return await self._push(self._rows)

    async def _canary(self, rows: Outgoing) -> Sent | None:
        """The first rows, sent and all read back; None where the rest may follow."""
        pushed = await self._push(rows)
        if pushed.halt or pushed.signal:
            return Sent(pushed.halt, pushed.signal)
        ended = records.count_by_status(self._rows.state, self._rows.run.run_id)
        number = await self._verify(Sample(100, is_percent=True))
        told = {finding: rows for finding, rows in self._read_back.items() if finding != Finding.MATCHES}
        told |= {status.value: ended[status] for status in (Status.UNKNOWN, Status.FAILED) if ended[status]}
        if ended and not ended[Status.ACCEPTED]:
            told |= dict(ended)  # nothing that could be read back
        if not told and number is None:
            self._read_back.clear()
            return None
        words = ", ".join(f"{rows} {finding}" for finding, rows in told.items()) or "reading back was interrupted"
        return Sent(Halt("canary", f"the canary's rows, read back: {words}", 3), number, self._read_back)

    async def _push(self, rows: Outgoing) -> Pushed:
        pushing = self._wiring.push(rows, self._journal, self._watch, self._world)
        return await self._heeding(pushing.interrupt, pushing.run(rows.batches()))

    async def _push_divided(self, divided: Divided, rows: Outgoing) -> Pushed:
        try:
            return await self._heeding(divided.interrupt, asyncio.to_thread(divided.run, rows))
        except asyncio.CancelledError:  # the journal is lost, and perhaps the account: the thread is waited for
            divided.interrupt(signal.SIGTERM)
            raise

    async def _verify(self, sample: Sample) -> int | None:
        """Reads a sample of the accepted rows back; the signal that stopped it, if one did."""
        search = self._wiring.search
        assert search is not None  # `people` has refused such a job
        job, state, run_id = self._rows.job, self._rows.state, self._rows.run.run_id
        positions = sample.choose(records.count_accepted(state, run_id), self._world.rng)
        chosen = records.accepted_at(state, run_id, positions)
        self._outer.progress.verifying(len(positions))
        reading = ReadBack(self._wiring.leads, search, self._journal, _limits(job), self._world)
        found = await self._heeding(reading.interrupt, reading.run(self._rows.payloads(chosen)))
        found[Finding.UNCLEAR] += len(positions) - found.total()  # what it did not come to
        self._read_back |= {finding.value: found[finding] for finding in Finding if found[finding]}
        return reading.signal

    async def _heeding(self, interrupt: Callable[[int], None], work: Awaitable[_T]) -> _T:
        """The work's result; a signal meanwhile goes to `interrupt`."""
        loop = asyncio.get_running_loop()

        def interrupted(number: int) -> None:
            self._outer.progress.interrupted()
            loop.call_soon_threadsafe(interrupt, number)

        with self._heard.telling(interrupted):
            return await self._while_recorded(work)

    async def _while_recorded(self, work: Awaitable[_T]) -> _T:
        """The work's result. Raises JournalError once the journal is lost, of which rows that rest hear nothing."""
        if not self._journal.may_be_lost:
            return await work
        tasks = working, looking = asyncio.ensure_future(work), asyncio.create_task(self._look())
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return working.result() if working.done() else looking.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _look(self) -> NoReturn:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self._journal.look()


@dataclass(frozen=True, slots=True)
class Wiring:
    """What a job's rows go out over: their operation, the search that settles doubts, the steps of a composed one."""

    job: Job
    access: Access

    def push(
        self,
        rows: Outgoing,
        written: journal.Journal,
        watch: Watch,
        world: SendingWorld,
        shared: Shared | None = None,
    ) -> Push:
        """A push of the job's rows, under its limits; `shared` where it is one of several."""
        return Push(
            replace(self.leads, bars=rows.bar),
            self.search if self.job.lookup else None,
            written,
            limits=_limits(self.job),
            watch=watch,
            world=world,
            deliveries=self._deliveries(),
            shared=shared,
        )

    @property
    def leads(self) -> Endpoint:
        """The rows' own operation."""
        return self._endpoint(self.job.operation, retries.follows(self.job.operation, *_duplicates(self.job)))

    @property
    def search(self) -> Endpoint | None:
        """The search that tells what became of a row, where there is one."""
        found = self.job.operation.lookup
        return None if found is None else self._endpoint(found)

    def _deliveries(self) -> Deliveries:
        """How a row goes out: its payload as it is, or in the steps of which the operation is composed."""
        parts = self.job.operation.composed
        if parts is None:
            return plainly
        search, update = (self._endpoint(step) for step in (parts.search, parts.update))
        return Steps(self.job.operation, parts, search, update, self.job.update_all).deliver

    def _endpoint(self, operation: Operation, follows: retries.Follows | None = None) -> Endpoint:
        given = self.job.settings
        wire = Wire(
            url=settings.url(given, operation),
            credentials=self.access.credentials,
            secrets=settings.secrets_in(self.access.credentials, operation.vendor),
            transport=self.access.transport,
            timeout_seconds=max(given.timeout, operation.timeout_seconds or 0),
            method=settings.method(given, operation.vendor),
            longest=_longest(operation),
        )
        return Endpoint.of(operation, wire) if follows is None else Endpoint(operation, wire, follows)


def _longest(operation: Operation) -> Callable[[bytes], float] | None:
    """How many seconds the reply to a body may take, where the operation computes that."""
    waits = operation.waits
    return None if waits is None else lambda body: waits.longest(dict(parse_qsl(body.decode())))


def _duplicates(job: Job) -> tuple[retries.Duplicates, bool | None]:
    return people.duplicates(job.operation, job.mapping), job.mapping.policy.resend_unfound


def _limits(job: Job) -> Limits:
    given = job.settings
    settle = doubt.default_settle_seconds(given.timeout) if given.settle is None else given.settle
    return Limits(given.rate, given.concurrency, given.attempts, given.drain, settle_seconds=settle)
