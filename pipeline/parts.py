"""What becomes of a chunk, whoever makes its part: by which mapping, under which name, and what is told of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline import mapping, report, settings
from pipeline.advice import Advice
from pipeline.folder import RunFolder
from pipeline.job import Job
from pipeline.mapping import Plan
from pipeline.model import UserError
from pipeline.payloads import Target
from pipeline.prepare import Made, Preparer
from pipeline.validate import Validator, refused_constants

Rows = npt.NDArray[np.int64]  # their numbers in their source


def bound(job: Job, columns: Sequence[str]) -> Plan:
    """The job's mapping, bound to these columns of a file. Raises UserError where they don't fit each other."""
    plan = mapping.bind(job.mapping, job.mapping_path.name, columns, report.offered(columns))
    for name, message in refused_constants(plan, job.mapping.clean_options(None)):
        raise UserError(f"mapping {job.mapping_path.name}: [fields] {report.told_of(name, message)}")
    return plan


def preparer(job: Job, run: RunFolder, number: int, plan: Plan) -> Preparer:
    """What makes the parts of a run's source. What is past is judged by the moment in the run's manifest."""
    manifest = run.read_json("manifest.json")
    options = job.mapping.clean_options(datetime.fromisoformat(manifest["started_at"]))
    target = Target(settings.url(job.settings, job.operation), job.account)
    names = [of["name"] for of in manifest["sources"]]
    return Preparer(Validator.of(plan, options), target, bool(job.account), number, names)


class Written(NamedTuple):
    """The number of a part, its rows (none: there is no part), and what the vendor advises against in them.

    `table` is what was written, the source's cells left out where they come from elsewhere; None where nobody asked.
    """

    part: int
    rows: int
    advice: Advice
    table: pa.Table | None = None


def only(part: pa.Table, chosen: Rows | None) -> pa.Table:
    """A part's rows that are the run's."""
    return part if chosen is None else part.filter(pa.array(np.isin(part["row"].to_numpy(), chosen)))


def write(run: RunFolder, place: tuple[int, int], made: Made) -> Written:
    """Writes the part of this source and number; one without rows is none."""
    if made.part.num_rows:
        run.write_part(*place, made.part)
    return Written(place[1], made.part.num_rows, made.advice)
