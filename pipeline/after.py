"""The steps after a load: what they are, when they are held back, and how they ended.

Each is a row of its own in the run's journal, where no source of the run is, and in no report.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import pandas as pd
import pyarrow as pa
import sqlalchemy as sa

from pipeline import mapped, mapping, people, prepare, records, settings
from pipeline.job import Job, StepEnd
from pipeline.mapping import MappingFile
from pipeline.model import AFTER, Status, UserError
from pipeline.outgoing import Outgoing
from pipeline.payloads import Target
from pipeline.people import Barred
from pipeline.prepare import Counts
from pipeline.records import Own
from pipeline.report import told_of
from pipeline.source import Chunk
from pipeline.validate import Validator
from schemas.spec import Operation

_WELL = (Status.ACCEPTED, Status.DUPLICATE, Status.SKIPPED)  # the next step may follow
_CONDITIONS = {
    "accepted": "where a row is accepted",
    "always": "even where no row is accepted",
    "clean": "where every row ends well",
}


@dataclass(frozen=True, slots=True)
class Loaded:
    """How the load ended, as far as its steps go by that."""

    accepted: int  # rows, by this run
    is_clean: bool  # exit code 0
    is_halted: bool
    limit: int | None


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a run: `rows` is its one row, and whether that is to go out."""

    number: int  # from 1, as in the mapping
    when: str
    rows: Outgoing

    @property
    def contacts(self) -> int:
        """How many people it would contact, or free to be called, if it went out now."""
        job = self.rows.job
        return self.rows.tally().to_send if people.contacts(job.operation, job.mapping.policy) else 0

    def held_back(self, loaded: Loaded, before: Sequence[StepEnd], signal: int | None) -> StepEnd | None:
        """Why it must not go out; None where it may."""
        earlier = bool(before) and before[-1].status not in _WELL
        none_accepted = self.when == "accepted" and not loaded.accepted
        not_clean = self.when == "clean" and not loaded.is_clean
        reasons = (
            (loaded.is_halted, Status.NOT_ATTEMPTED, "halted", "the load was halted"),
            (signal is not None, Status.NOT_ATTEMPTED, "interrupted", "the run was interrupted first"),
            (earlier, Status.NOT_ATTEMPTED, "earlier_step", "the step before it did not end well"),
            (loaded.limit == 0, Status.SKIPPED, "limit", "--limit 0 sends nothing"),
            (none_accepted, Status.SKIPPED, "none_accepted", "no row was accepted"),
            (not_clean, Status.SKIPPED, "not_clean", "not every row ended well"),
        )
        name = self.rows.job.operation.name
        return next((StepEnd(name, status, code, text, 0) for holds, status, code, text in reasons if holds), None)

    def end(self, held_back: StepEnd | None) -> StepEnd:
        """How it ended: as the journal knows it, else why it was held back."""
        own = _own(self.rows.state, self.rows.run.run_id, self.number)
        return _end(self.rows.job.operation.name, own.get(self.number), held_back)


def check(file: MappingFile, name: str) -> None:
    """Raises UserError where a step's operation would refuse a value."""
    for number, step in enumerate(file.steps, 1):
        checked = _validator(step, name).check(mapped.apply(mapping.bind(step, name, ()), _row(number)))
        for problem in checked.problems.to_pylist():
            told = told_of(problem["field"], problem["message"])
            raise UserError(f"mapping {mapping.step_name(name, number)}: {told}")


def jobs(job: Job) -> list[Job]:
    """Each step as a job of its own, in the run of `job`."""
    return [replace(job, mapping=step, limit=None, verify=None, canary=None) for step in job.mapping.steps]


def steps(rows: Outgoing, barring: Callable[[Operation], Barred], now: Callable[[], datetime]) -> list[Step]:
    """The steps that follow the rows of a run; `barring` says who must not be contacted by an operation."""
    found = []
    for number, (job, step) in enumerate(zip(jobs(rows.job), rows.job.mapping.after, strict=True), 1):
        barred, row = barring(job.operation), (AFTER, _table(job, number))
        # A step holds constants, which no later run makes stale.
        curfew = people.curfew(job.operation, job.mapping.policy, now)
        own = replace(rows, job=job, suppressed=barred, limit=None, as_of=None, given=row, curfew=curfew)
        found.append(Step(number, step.when, own))
    return found


def planned(file: MappingFile) -> list[StepEnd]:
    """What a load would do after its rows, as a check tells it."""
    return [StepEnd(step.operation, Status.VALID, None, _CONDITIONS[step.when], 0) for step in file.after]


def known(file: MappingFile, state: sa.Engine, run_id: str) -> list[StepEnd]:
    """How the steps of a run ended, as far as its journal knows."""
    own = _own(state, run_id, len(file.after))
    return [_end(step.operation, own.get(number), None) for number, step in enumerate(file.after, 1)]


def _own(state: sa.Engine, run_id: str, last: int) -> dict[int, Own]:
    return records.own(state, run_id, AFTER, (1, last))


def _end(operation: str, own: Own | None, otherwise: StepEnd | None) -> StepEnd:
    if own is None or own.status is None:
        return otherwise or StepEnd(operation, Status.NOT_ATTEMPTED, "left", "it has not been run", 0)
    return StepEnd(operation, Status(own.status), own.code, own.message or "", own.attempts)


def _table(job: Job, number: int) -> pa.Table:
    """The step as a part of one row."""
    target = Target(settings.url(job.settings, job.operation), job.account)
    validator = _validator(job.mapping, job.mapping_path.name)
    preparer = prepare.Preparer(validator, target, account_known=bool(job.account))
    return prepare.made(preparer, Counts(job.mapping.policy), Chunk(_row(number), ())).part


def _validator(step: MappingFile, name: str) -> Validator:
    # Its values are constants: that one is past is for whoever writes the mapping, and no reason to end a load.
    return Validator.of(mapping.bind(step, name, ()), step.clean_options(now=None))


def _row(number: int) -> pd.DataFrame:
    """A row without columns: all values of a step are constants."""
    return pd.DataFrame(index=pd.Index([number], dtype="int64", name="row"))
