"""The straight line: source → mapping → validate → payloads → push → report. One run, one folder.

Everything is validated, and its part is on disk, before anything is sent: how many rows would go, and to
whom, is known before the first of them leaves.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import sqlalchemy as sa

from pipeline import (
    after,
    checking,
    cluster,
    ending,
    following,
    marked,
    outgoing,
    people,
    records,
    sending,
    settings,
    signals,
    stages,
    statedb,
    worker,
)
from pipeline.after import Loaded, Step
from pipeline.checking import Findings
from pipeline.checkup import Checkup
from pipeline.cluster import Cluster
from pipeline.ending import Ending, Reported
from pipeline.fleet import ClusterCrew, Fleet
from pipeline.folder import RunFolder
from pipeline.job import Job, StepEnd, Summary, World
from pipeline.marked import DoNotCall
from pipeline.model import JournalError, Status
from pipeline.outgoing import Choice, Outgoing, Portion
from pipeline.sending import Access, Sent
from pipeline.signals import Signals
from pipeline.suppress import Suppressed


def check(job: Job, world: World) -> tuple[Summary, Findings]:
    """Validates every row and sends none; needs no credentials. Gives also what was found, and what a load would do.

    Raises UserError or InputError where the job or its files can't be used.
    """
    started = time.monotonic()
    with signals.listening(), cluster.opened(job) as workers, stages.begin(job, world) as run:
        sources = stages.inspect(job, world, run)
        with checking.outlook(job, world, run) as ahead:
            told, checkup = Ending(Status.VALID, held=ahead.held), Checkup()
            with ending.reporting(run, told, checkup.look) as report:
                repeats = stages.prepare(job, world, run, sources, workers=workers, written=report.add)
            reported = Reported(report.counts, report.repairs)
        told = replace(told, notes=ahead.notes())
        found = checking.findings(ahead, checkup, [src.plan for src in sources], repeats)
        return ending.conclude(run, told, reported, time.monotonic() - started, after.planned(job.mapping)), found


def load(job: Job, world: World) -> Summary:
    """Validates every row and sends the valid ones: each row of the source ends with one outcome.

    Raises UserError or InputError before anything is sent, and JournalError where nothing can be recorded.
    """
    with opened(job, world) as line, stages.begin(job, world) as run, line.locked(run) as own:
        return own.load(run)


@contextmanager
def opened(job: Job, world: World) -> Iterator[Line]:
    """The line of a sending command. Raises UserError where the job may not go, or lacks what it needs."""
    for one in (job, *after.jobs(job)):
        people.check_consent(one.operation, one.mapping, job.consent)
    people.check_read_back(job.operation, job.mapping, wanted=bool(job.verify or job.canary))
    credentials = settings.credentials(job.settings, job.operation.vendor)
    state, started = statedb.engine(job.settings.state), time.monotonic()
    access = Access(credentials, world.transport())
    try:
        with (
            signals.listening() as heard,
            cluster.opened(job) as workers,
            marked.do_not_call(state, job.scope) as listed,
        ):
            yield Line(job, world, heard, state, access, listed, started, workers)
    except (sa.exc.DBAPIError, statedb.driver_error(state)) as error:  # a disk that is full, a server that is gone
        reason = str(getattr(error, "orig", error)).partition("\n")[0]
        raise JournalError(f"--state {state.url.render_as_string()}: can't be used: {reason}") from None


@dataclass(frozen=True, slots=True)
class Line:
    """What sending commands share: from the lock to the summary."""

    job: Job
    world: World
    heard: Signals
    state: sa.Engine
    access: Access
    listed: DoNotCall
    started: float
    workers: Cluster | None  # None: this process does all of it

    @contextmanager
    def locked(self, run: RunFolder) -> Iterator[Line]:
        """Holds the account while the run lasts: the line on which it goes. Nothing that it spooled outlasts it."""
        with stages.locked(self.job, run, self.state, self.world) as own:
            try:
                yield replace(self, state=own)
            finally:
                run.remove_spool()

    def load(self, run: RunFolder) -> Summary:
        """The whole line, from the source to the summary."""
        sources = stages.inspect(self.job, self.world, run)
        suppressed = self.suppressed(run)
        stages.prepare(self.job, self.world, run, sources, workers=self.workers)
        return self.deliver(run, suppressed)

    def suppressed(self, run: RunFolder) -> Suppressed:
        """The numbers of the suppress files, as they are now."""
        return stages.suppressed(self.job, self.world, run)

    def deliver(
        self, run: RunFolder, suppressed: Suppressed, choice: Choice = Choice.ALL, *, may_resend: bool = True
    ) -> Summary:
        """Sends the rows that are to go, makes the run's report, and takes the steps that follow."""
        job, world = self.job, self.world
        barring = partial(outgoing.barred, self.state, self.listed, suppressed.numbers)
        left, as_of = self._left(run, choice), self._as_of(run)
        curfew = people.curfew(job.operation, job.mapping.policy, world.now)
        barred = barring(job.operation)
        portion = self._portion(run)
        rows = Outgoing(job, run, self.state, barred, left, choice, as_of, may_resend, curfew=curfew, portion=portion)
        tally = rows.tally()
        steps = after.steps(rows, barring, world.now)
        contacts = sum(step.contacts for step in steps)
        people.check_number(job.operation, job.mapping.policy, job.consent, tally.to_send, contacts)
        if people.contacts(job.operation, job.mapping.policy):
            rows = replace(rows, limit=tally.to_send)  # whoever is taken off do-not-call meanwhile was not counted
        self.heard.hold()
        notes = [*suppressed.told(), *tally.notes(), *(curfew.notes(tally.waiting) if curfew else ())]
        notes += settings.warnings(job.settings, job.operation.vendor)
        world.progress.sending(tally.to_send, job.target, notes)
        divided = Fleet(ClusterCrew(self.workers), world, rows, tally) if self.workers is not None else None
        sent = sending.send(rows, world, self.heard, self.access, divided)
        told = Ending(Status.NOT_ATTEMPTED, self.state, sent, notes=notes)
        reported = ending.write_report(run, told)
        ends, number = self._follow(steps, sent, reported)
        told = replace(told, sent=replace(sent, signal=sent.signal or number))
        return ending.conclude(run, told, reported, time.monotonic() - self.started, ends)

    def _portion(self, run: RunFolder) -> Portion:
        """The parts in which the workers send the run's rows. Raises UserError naming one that can't take part."""
        if self.workers is None:
            return Portion()
        self.workers.check(run, worker.unfit)  # a run that goes on has shown them nothing yet
        return Portion(outgoing.divided(run, min(self.workers.workers, self.job.settings.concurrency)))

    def _follow(self, steps: Sequence[Step], sent: Sent, reported: Reported) -> tuple[list[StepEnd], int | None]:
        """Takes the steps that follow a load which has ended so."""
        accepted = sum(rows for (status, _), rows in reported.counts.items() if status == Status.ACCEPTED)
        is_clean = ending.exit_code(reported.counts, sent) == 0
        loaded = Loaded(accepted, is_clean, sent.halt is not None, self.job.limit)
        return following.follow(steps, loaded, self.world, self.heard, self.access.credentials)

    def _as_of(self, run: RunFolder) -> int | None:
        """Up to where in the ledger the rows were fresh: None for a list that is read now."""
        known = records.as_of(self.state, run.run_id)
        return records.as_of(self.state, self.job.parent) if known is None else known

    def _left(self, run: RunFolder, choice: Choice) -> int | None:
        """How many rows may still go under the job's limit. A row that is in doubt has gone already."""
        if self.job.limit is None or choice is Choice.ALL:
            return self.job.limit
        if choice is Choice.DOUBTS:
            return None
        return max(self.job.limit - records.count_ended(self.state, run.run_id), 0)
