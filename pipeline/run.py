"""The straight line: source → mapping → validate → payloads → push → report. One run, one folder.

Everything is validated, and its part is on disk, before anything is sent: how many rows would go, and to
whom, is known before the first of them leaves.
"""

from __future__ import annotations

import time

from pipeline import journal, people, settings, signals, stages
from pipeline.job import Job, Summary, World
from pipeline.model import Status
from pipeline.outgoing import Outgoing


def check(job: Job, world: World) -> Summary:
    """Validates every row and sends none; needs no credentials.

    Raises UserError or InputError where the job or its files can't be used.
    """
    started = time.monotonic()
    with signals.listening(), stages.begin(job, world) as run:
        sources = stages.inspect(job, world, run)
        suppressed = people.suppressed(job.mapping.policy, job.mapping_path.parent, run.spool)
        stages.prepare(job, world, run, sources)
        ending = stages.Ending(unsent=Status.VALID, suppressed=suppressed)
        return stages.conclude(run, ending, time.monotonic() - started)


def load(job: Job, world: World) -> Summary:
    """Validates every row and sends the valid ones: each row of the source ends with one outcome.

    Raises UserError or InputError before anything is sent, and JournalError where nothing can be recorded.
    """
    started = time.monotonic()
    people.check_consent(job.operation, job.mapping, job.consent)
    credentials = settings.credentials(job.settings, job.operation.vendor)
    state, transport = journal.engine(job.settings.state), world.transport()
    with signals.listening() as heard, stages.begin(job, world) as run, stages.locked(job, run, state, world):
        sources = stages.inspect(job, world, run)
        suppressed = people.suppressed(job.mapping.policy, job.mapping_path.parent, run.spool)
        stages.prepare(job, world, run, sources)
        outgoing = Outgoing(job, run, state, suppressed)
        to_send = outgoing.count()
        people.check_number(job.operation, job.mapping.policy, job.consent, to_send)
        heard.hold()
        world.progress.sending(to_send, job.target)
        pushed = stages.send(outgoing, world, heard, credentials, transport)
        ending = stages.Ending(unsent=Status.NOT_ATTEMPTED, state=state, pushed=pushed)
        return stages.conclude(run, ending, time.monotonic() - started)
