"""Sending a run's rows and reading some of them back: one event loop from the first byte to the last."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import NoReturn, TypeVar
from urllib.parse import parse_qsl

import httpx

from pipeline import doubt, journal, people, push, records, retries, settings
from pipeline.composed import Steps
from pipeline.delivery import Endpoint, micros
from pipeline.delivery import World as SendingWorld
from pipeline.job import Job, World
from pipeline.journal import Marking
from pipeline.model import Status
from pipeline.outgoing import Choice, Outgoing
from pipeline.pace import ErrorLimit, Halt, Watch
from pipeline.push import Pushed
from pipeline.readback import Finding, Sample
from pipeline.signals import Signals
from pipeline.verify import ReadBack
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


def send(rows: Outgoing, world: World, heard: Signals, access: Access) -> Sent:
    """Sends what is to be sent, under the job's limits; every outcome is in the journal when this returns."""
    scope = journal.Scope(rows.run.run_id, rows.job.scope, rows.job.operation.name)
    records.begin_run(rows.state, scope, micros(world.now()), as_of=rows.as_of, goes_beside=rows.job.goes_beside)
    rows.run.log("sending", target=settings.url(rows.job.settings, rows.job.operation))

    async def sending() -> Sent:
        with journal.open_journal(rows.state, scope, _marking(rows)) as written:
            async with access.transport:
                return await _Passes(rows, world, heard, access, written).run()

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
        with journal.open_journal(row.state, scope, _marking(row)) as written:
            async with access.transport:
                return await _Passes(row, world, heard, access, written, settled=lambda _: None).row()

    with asyncio.Runner(loop_factory=world.new_loop) as runner:
        return runner.run(sending()).signal


def _marking(rows: Outgoing) -> Marking | None:
    """Whether what the rows do to the vendor's list of who must not be called holds for us as well."""
    operation = rows.job.operation
    if not (operation.protects_people or operation.frees_people):
        return None
    return Marking(records.marks_key(rows.state), forbids=operation.protects_people)


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
    ) -> None:
        self._rows, self._outer, self._heard, self._access, self._journal = rows, world, heard, access, written
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
        pushed = await self._push(rows)
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
        job = self._rows.job
        search = self._search()
        pushing = push.Push(
            replace(self._endpoint(job.operation, retries.follows(job.operation, *_duplicates(job))), bars=rows.bar),
            search if job.lookup else None,
            self._journal,
            limits=_limits(job),
            watch=self._watch,
            world=self._world,
            deliveries=self._deliveries(),
        )
        return await self._heeding(pushing.interrupt, pushing.run(rows.batches()))

    def _deliveries(self) -> push.Deliveries:
        """How a row goes out: its payload as it is, or in the steps of which the operation is composed."""
        job = self._rows.job
        parts = job.operation.composed
        if parts is None:
            return push.plainly
        search, update = (self._endpoint(step) for step in (parts.search, parts.update))
        return Steps(job.operation, parts, search, update, job.update_all).deliver

    async def _verify(self, sample: Sample) -> int | None:
        """Reads a sample of the accepted rows back; the signal that stopped it, if one did."""
        search = self._search()
        assert search is not None  # `people` has refused such a job
        job, state, run_id = self._rows.job, self._rows.state, self._rows.run.run_id
        positions = sample.choose(records.count_accepted(state, run_id), self._world.rng)
        chosen = records.accepted_at(state, run_id, positions)
        self._outer.progress.verifying(len(positions))
        leads = self._endpoint(job.operation, retries.follows(job.operation, *_duplicates(job)))
        reading = ReadBack(leads, search, self._journal, _limits(job), self._world)
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

    def _search(self) -> Endpoint | None:
        found = self._rows.job.operation.lookup
        return None if found is None else self._endpoint(found)

    def _endpoint(self, operation: Operation, follows: retries.Follows | None = None) -> Endpoint:
        job = self._rows.job
        wire = Wire(
            url=settings.url(job.settings, operation),
            credentials=self._access.credentials,
            secrets=settings.secrets_in(self._access.credentials, operation.vendor),
            transport=self._access.transport,
            timeout_seconds=max(job.settings.timeout, operation.timeout_seconds or 0),
            method=settings.method(job.settings, operation.vendor),
            longest=_longest(operation),
        )
        return Endpoint.of(operation, wire) if follows is None else Endpoint(operation, wire, follows)


def _longest(operation: Operation) -> Callable[[bytes], float] | None:
    """How many seconds the reply to a body may take, where the operation computes that."""
    waits = operation.waits
    return None if waits is None else lambda body: waits.longest(dict(parse_qsl(body.decode())))


def _duplicates(job: Job) -> tuple[retries.Duplicates, bool | None]:
    return people.duplicates(job.operation, job.mapping), job.mapping.policy.resend_unfound


def _limits(job: Job) -> push.Limits:
    given = job.settings
    settle = doubt.default_settle_seconds(given.timeout) if given.settle is None else given.settle
    return push.Limits(given.rate, given.concurrency, given.attempts, given.drain, settle_seconds=settle)
