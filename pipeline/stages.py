"""The stages of a run up to the point of sending: its folder, its sources, its parts, its lock."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import sqlalchemy as sa

from pipeline import (
    after,
    chunks,
    earlier,
    folder,
    leases,
    lock,
    mapping,
    parts,
    records,
    report,
    settings,
    source,
    suppress,
)
from pipeline.advice import Advice
from pipeline.chunks import Reading
from pipeline.clean import CLEANERS_VERSION
from pipeline.cluster import Cluster
from pipeline.delivery import micros
from pipeline.files import GivenFile
from pipeline.folder import RunFolder
from pipeline.job import Job, World
from pipeline.locate import as_mapped, located
from pipeline.mapping import MAPPING_VERSION, Plan
from pipeline.model import UserError
from pipeline.payloads import KEY_VERSION
from pipeline.prepare import Counts
from pipeline.repeats import Repeats
from pipeline.signals import InterruptedRunError
from pipeline.source import Chunk
from pipeline.suppress import Suppressed
from pipeline.watch import ErrorLimit
from pipeline.wire import check_base_url


@dataclass(frozen=True, slots=True)
class Source:
    """One file of a run, or the rows of an earlier run that stand for it, with the mapping bound to its header.

    `record` is what the manifest says of it. Of its rows only those in `chosen` are the run's, or all where it is
    None: the others are read for what they say about repeats.
    """

    record: dict[str, Any]
    plan: Plan
    chunks: Callable[[], Iterator[Chunk]]
    chosen: npt.NDArray[np.int64] | None = None


@contextmanager
def begin(job: Job, world: World) -> Iterator[RunFolder]:
    """A new run's folder. It goes again where the run ends before anything was sent."""
    check(job)
    run = folder.create(job.settings.runs, job.name, world.now())
    try:
        yield run
    except (UserError, InterruptedRunError):
        if not run.has_sent:
            run.remove()
        raise


def check(job: Job) -> None:
    """Raises UserError where the job's settings can't be."""
    ErrorLimit.parse(job.settings.max_errors)
    check_base_url(job.base_url)
    if job.update_all and job.operation.composed is None:
        raise UserError(f"--update-all: {job.operation.name} looks no leads up before it sends; leave it out")
    after.check(job.mapping, job.mapping_path.name)


def inspect(job: Job, world: World, run: RunFolder) -> list[Source]:
    """Pass one over every file, with the mapping bound to each header. Writes the manifest."""
    if job.selection is not None:
        sources = _of_parent(job, job.selection)
    elif job.cells is not None:
        sources = [_of_cells(job, job.cells, world.now())]
    else:
        sources = [_inspect(job, given, run, number) for number, given in enumerate(job.files)]
    _refuse_idle(job, sources)
    run.write_json("manifest.json", _manifest(job, run, sources, world.now()))
    return sources


def _refuse_idle(job: Job, sources: Sequence[Source]) -> None:
    """Raises UserError where an option says how to read files that the run does not have."""
    formats = {src.record["format"] for src in sources}
    if job.sheet is not None and formats <= {"csv", "parquet"}:
        raise UserError("--sheet: no file of this run is a workbook; leave it out")
    if job.encoding is not None and "csv" not in formats:
        raise UserError("--encoding: no file of this run is text; leave it out")


def prepare(
    job: Job,
    world: World,
    run: RunFolder,
    sources: Sequence[Source],
    *,
    workers: Cluster | None,
    written: Callable[[int, pa.Table], None] | None = None,
) -> Repeats:
    """Pass two: every row read, mapped, cleaned, validated and written into a part, by the workers if there are any.

    `written` is told of each part, in order, once it is on disk: of which source it is, and what it holds. Gives which
    of the valid rows share a phone or identifier, by their places.
    """
    counts, advice = Counts(job.mapping.policy), Advice()
    readings = [
        Reading(parts.preparer(job, run, number, src.plan), src.chunks, src.chosen)
        for number, src in enumerate(sources)
    ]
    with chunks.crew(run, workers) as crew:
        if counts.looks_ahead:
            for number, reading in enumerate(readings):
                for told in crew.told(reading):
                    counts.foresee(number, told)
        for reading in readings:
            for made in crew.parts(reading, counts, shows=written is not None):
                advice.add(made.advice)
                world.progress.reading(made.rows)
                if made.rows and written is not None:
                    assert made.table is not None
                    written(reading.preparer.number, made.table)
    _note(run, list(advice.notes()))
    run.remove_spool()
    return counts.seen


def suppressed(job: Job, world: World, run: RunFolder) -> Suppressed:
    """The numbers of the suppress files as they are now. The manifest names the files that were read last.

    Raises InputError where they protect nobody: they can't be read, hold no number, or are too old.
    """
    found = suppress.read(job.mapping.policy, job.mapping_path.parent, run.spool, world.now())
    manifest = run.read_json("manifest.json")
    run.write_json("manifest.json", manifest | {"suppress": [asdict(file) for file in found.files]})
    return found


def _note(run: RunFolder, notes: Sequence[str]) -> None:
    """Adds to what the run tells its user."""
    if notes:
        manifest = run.read_json("manifest.json")
        run.write_json("manifest.json", manifest | {"notes": [*manifest["notes"], *notes]})


@contextmanager
def locked(job: Job, run: RunFolder, state: sa.Engine, world: World) -> Iterator[sa.Engine]:
    """Holds the account while the run lasts, and gives up on what dead runs left. Reads hold nothing.

    Gives the state database as this run is to write it.
    """
    if job.goes_beside:
        with lock.beside(state, job.scope):
            leases.clear(state, run_id=run.run_id, tell=world.progress.waiting)
            yield state
        return
    with lock.held(state, job.scope, run.run_id) as own:
        with lock.nobody_beside(state, job.scope) as alone:
            leases.clear(state, account=job.scope, beside=alone, tell=world.progress.waiting)
            records.bury(state, job.scope, micros(world.now()), all_dead=alone)
        yield own


def _inspect(job: Job, given: GivenFile, run: RunFolder, number: int) -> Source:
    path, found = located(given, run, number, job.settings.max_file_size)
    told = as_mapped(found, job.mapping, sheet=job.sheet, encoding=job.encoding)
    options = replace(told, where=job.where, mended=job.mended is not None, raw=job.mended == "raw")
    inspection = source.inspect(path, options, run.spool)
    plan = _bound_to(job, inspection)
    name = replace(given, member=inspection.member).name
    record = inspection.as_json() | {"name": name, "path": given.kept, "comes_once": given.comes_once}
    return Source(record, plan, partial(source.read, inspection))


def _bound_to(job: Job, inspection: source.Inspection) -> Plan:
    try:
        return parts.bound(job, inspection.columns)
    except UserError as error:
        raise type(error)(f"{inspection.called}: {error}") from None


def _of_cells(job: Job, cells: Mapping[str, str], now: datetime) -> Source:
    """The one row of a call, as if a file had held it."""
    plan = mapping.bind(job.mapping, job.mapping_path.name, list(cells))
    columns = {name: pd.arrays.ArrowExtensionArray(pa.array([cell], pa.string())) for name, cell in cells.items()}
    frame = pd.DataFrame(columns, index=pd.Index([1], dtype="int64", name="row"))
    text = json.dumps(dict(cells))
    record = {
        "name": "call",
        "path": "",
        "format": "",
        "sheet": None,
        "encoding": "",
        "delimiter": "",
        "columns": list(cells),
        "rows": 1,
        "notes": [],
        "size": len(text),
        "mtime_ns": int(now.timestamp() * 1e9),
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
    }
    return Source(record, plan, lambda: iter([Chunk(frame, ())]))


def _of_parent(job: Job, selection: earlier.Selection) -> list[Source]:
    """The sources of an earlier run, as its parts hold them."""
    sources = []
    for number, record in enumerate(selection.run.read_json("manifest.json")["sources"]):
        plan = parts.bound(job, record["columns"])
        rows = selection.rows(number)
        chunks_of = partial(earlier.chunks, selection.run, number, record["columns"])
        sources.append(Source(record | {"rows": len(rows), "notes": []}, plan, chunks_of, rows))
    return sources


def _source_records(sources: Sequence[Source]) -> list[dict[str, Any]]:
    """How each file was read, and from which column each field came. Files of one name go by their paths."""
    records = [src.record | {"fields": src.plan.columns_by_field} for src in sources]
    for told in (_path_of, _numbered):
        names = Counter(record["name"] for record in records)
        twice = (names[record["name"]] > 1 for record in records)
        records = [
            record | {"name": told(number, record) if is_twice else record["name"]}
            for number, (record, is_twice) in enumerate(zip(records, twice, strict=True), 1)
        ]
    return records


def _path_of(_number: int, record: Mapping[str, Any]) -> str:
    return replace(GivenFile(record["path"]), member=record.get("member")).shown


def _numbered(number: int, record: Mapping[str, Any]) -> str:
    """Addresses may differ in what is not kept of them."""
    return f"{record['name']} ({number})"


def _notes(sources: Sequence[Source]) -> list[str]:
    """What is odd about the files; of which one, where there are several."""
    told = [(src.record["name"], note) for src in sources for note in (*src.record["notes"], *src.plan.notes)]
    return [f"{name}: {note}" if len(sources) > 1 else note for name, note in told]


def _manifest(job: Job, run: RunFolder, sources: Sequence[Source], now: datetime) -> dict[str, object]:
    """What was read, under which mapping and settings, by which versions. No secret is in it."""
    started_at = now.isoformat(timespec="microseconds")
    return {
        "run_id": run.run_id,
        "command": job.command,
        "operation": job.operation.name,
        "target": settings.url(job.settings, job.operation),
        "to": job.target,
        "scope": job.scope,
        "account": job.account,
        "parent": job.parent,
        "started_at": started_at,
        "fresh_at": job.fresh_at or started_at,
        "sources": _source_records(sources),
        "notes": _notes(sources),
        "mapping": {
            "path": str(job.mapping_path.absolute()),
            "sha256": hashlib.sha256(job.mapping_text.encode()).hexdigest(),
            "text": job.mapping_text,
        },
        "settings": settings.kept(job.settings),
        "options": job.options,
        "versions": {
            "dialedin-leads": version("dialedin-leads"),
            "row_key": KEY_VERSION,
            "mapping": MAPPING_VERSION,
            "cleaners": CLEANERS_VERSION,
            "report": report.SCHEMA_VERSION,
        },
    }
