"""The chunks of a source become the parts of a run: in this process, or by the workers of a cluster.

Both do the same in the same order: look at a chunk, decide which of its rows repeat, finish its part. Workers look
and finish; the client cuts the source and decides. What they hand each other are files in the run's spool folder; over
Dask go the folder's path and the numbers of chunks.
"""

from __future__ import annotations

import json
import os
import secrets
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from pipeline import kept, mapped, mapping, report, settings, statedb
from pipeline.advice import Advice
from pipeline.cluster import Cluster, ClusterError
from pipeline.folder import RunFolder
from pipeline.job import Job
from pipeline.mapping import Plan
from pipeline.model import DiskError, UserError
from pipeline.payloads import Target
from pipeline.prepare import Counts, Decided, Looked, Made, Preparer, Told
from pipeline.source import Chunk, RaggedRow
from pipeline.validate import Validator, refused_constants

if TYPE_CHECKING:
    import distributed

_Rows = npt.NDArray[np.int64]


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


@dataclass(frozen=True, slots=True)
class Reading:
    """One source of a run: its chunks, and which of its rows are the run's; None: all of them."""

    preparer: Preparer
    chunks: Callable[[], Iterator[Chunk]]
    chosen: _Rows | None = None


class Written(NamedTuple):
    """The number of a part, its rows (none: there is no part), and what the vendor advises against in them.

    `table` is what was written, the source's cells left out where they come from elsewhere; None where nobody asked.
    """

    part: int
    rows: int
    advice: Advice
    table: pa.Table | None = None


class Crew(Protocol):
    """Who makes parts."""

    def told(self, reading: Reading) -> Iterator[Told]:
        """What is told of each chunk, in order."""

    def parts(self, reading: Reading, counts: Counts, *, shows: bool) -> Iterator[Written]:
        """Writes the part of each chunk, in order, and `shows` what is in it. It is on disk when it is given."""


@contextmanager
def crew(run: RunFolder, cluster: Cluster | None) -> Iterator[Crew]:
    """Who makes the parts of a run. Nobody works at them any more when this ends."""
    if cluster is None:
        yield _Alone(run)
        return
    cluster.check(run, unfit)
    workers = _Workers(run, cluster)
    try:
        yield workers
    except ClusterError:  # there is nobody left to be told
        raise
    except BaseException:
        workers.abandon()
        raise


@dataclass(frozen=True, slots=True)
class _Alone:
    """This process does all of it."""

    run: RunFolder

    def told(self, reading: Reading) -> Iterator[Told]:
        return (reading.preparer.look(chunk).told for chunk in reading.chunks())

    def parts(self, reading: Reading, counts: Counts, *, shows: bool) -> Iterator[Written]:
        for part, chunk in enumerate(reading.chunks()):
            looked = reading.preparer.look(chunk)
            decided = counts.decide(reading.preparer.number, looked.told)
            made = reading.preparer.finish(chunk, looked, decided)
            made = made._replace(part=_only(made.part, _chosen(reading, chunk)))
            written = _write(self.run, (reading.preparer.number, part), made)
            yield written._replace(table=made.part) if shows else written


def _chosen(reading: Reading, chunk: Chunk) -> _Rows | None:
    """Those of the chunk's rows that are the run's; None: all of them."""
    if reading.chosen is None:
        return None
    rows = np.concatenate([chunk.frame.index.to_numpy(), np.array([row.row for row in chunk.ragged], dtype=np.int64)])
    return np.intersect1d(rows, reading.chosen)


def _only(part: pa.Table, chosen: _Rows | None) -> pa.Table:
    """A part's rows that are the run's."""
    return part if chosen is None else part.filter(pa.array(np.isin(part["row"].to_numpy(), chosen)))


def _write(run: RunFolder, place: tuple[int, int], made: Made) -> Written:
    """Writes the part of this source and number; one without rows is none."""
    if made.part.num_rows:
        run.write_part(*place, made.part)
    return Written(place[1], made.part.num_rows, made.advice)


# --- What the client does ---


class At(NamedTuple):
    """Which chunk is meant: of a run's folder, a source, and the number of its part.

    What workers keep, and what Dask knows by its key, is of one command only: the nonce tells them apart.
    """

    path: str
    nonce: str
    number: int
    part: int

    def file(self, kind: str) -> Path:
        """Where a chunk is handed over (arrow), what is told of it, decided of its rows, and shown of its part."""
        return Path(self.path, "spool", f"{self.number:03d}-{self.part:06d}.{kind}")

    def remove(self) -> None:
        """Removes these files, once its part is written."""
        for kind in ("arrow", "told", "decided", "shown"):
            self.file(kind).unlink(missing_ok=True)

    def key(self, task: str) -> str:
        """What Dask calls a task about it."""
        return f"{task}-{Path(self.path).name}-{self.nonce}-{self.number}-{self.part}"


class _Sent(NamedTuple):
    """A chunk that workers are at, and which of its rows are the run's."""

    at: At
    chosen: _Rows | None
    future: distributed.Future[Any]


class _Workers:
    """The workers of a cluster look and finish, while this process cuts the source and decides.

    Not more than some chunks for each worker are under way, so that memory and spool stay small.
    """

    def __init__(self, run: RunFolder, cluster: Cluster) -> None:
        self._cluster = cluster
        self._at_once = cluster.workers
        self._any = At(str(run.spool.parent.absolute()), secrets.token_hex(4), 0, 0)  # the spool is there from now on

    def told(self, reading: Reading) -> Iterator[Told]:
        """What is told of each chunk, in order."""
        looking: deque[_Sent] = deque()
        for part, chunk in enumerate(reading.chunks()):
            looking.append(self._look(reading, part, chunk, keeps=False))
            if len(looking) > 2 * self._at_once:
                yield self._told(looking.popleft())
        while looking:
            yield self._told(looking.popleft())

    def _told(self, looked: _Sent) -> Told:
        self._cluster.result(looked.future)
        told = Told(**_numbers(looked.at.file("told")))
        looked.at.remove()
        return told

    def parts(self, reading: Reading, counts: Counts, *, shows: bool) -> Iterator[Written]:
        """As `Crew.parts`."""
        looking: deque[_Sent] = deque()
        finishing: deque[_Sent] = deque()
        for part, chunk in enumerate(reading.chunks()):
            looking.append(self._look(reading, part, chunk, keeps=True))
            if len(looking) > 2 * self._at_once:
                finishing.append(self._finish(looking.popleft(), counts, shows))
            while finishing and (len(finishing) > self._at_once or finishing[0].future.done()):
                yield self._written(finishing.popleft())
        while looking:
            finishing.append(self._finish(looking.popleft(), counts, shows))
        while finishing:
            yield self._written(finishing.popleft())

    def _look(self, reading: Reading, part: int, chunk: Chunk, *, keeps: bool) -> _Sent:
        at = self._any._replace(number=reading.preparer.number, part=part)
        _hand_over(chunk, at.file("arrow"))
        future = self._cluster.submit(look, at, keeps, key=at.key("look" if keeps else "foresee"))
        return _Sent(at, _chosen(reading, chunk), future)

    def _finish(self, looked: _Sent, counts: Counts, shows: bool) -> _Sent:
        worker = self._cluster.result(looked.future)
        decided = counts.decide(looked.at.number, Told(**_numbers(looked.at.file("told"))))
        _tell(looked.at.file("decided"), **decided._asdict(), chosen=looked.chosen)
        # Whoever has looked at it still has what came of it; any other can look again.
        near = {"workers": [worker], "allow_other_workers": True, "priority": 1}
        key = looked.at.key("finish")
        return looked._replace(future=self._cluster.submit(finish, looked.at, shows, key=key, **near))

    def _written(self, finished: _Sent) -> Written:
        written: Written = self._cluster.result(finished.future)
        shown = finished.at.file("shown")
        if shown.exists():
            with pa.ipc.open_file(pa.py_buffer(shown.read_bytes())) as batches:
                written = written._replace(table=batches.read_all())
        finished.at.remove()
        return written

    def abandon(self) -> None:
        """No worker begins with a chunk of the run any more, and none is at one when this returns."""
        self._cluster.everywhere(forget, self._any.nonce)


def _hand_over(chunk: Chunk, file: Path) -> None:
    """Writes a chunk for the worker that takes it; its owner alone may read it. Raises DiskError."""
    names = [str(name) for name in chunk.frame.columns]
    columns = [*(mapped.cells(chunk.frame, name) for name in names), pa.array(chunk.frame.index.to_numpy())]
    columns += [] if chunk.earlier_rows is None else [chunk.earlier_rows]
    besides = {"columns": names, "ragged": [(row.row, row.cells, row.has_swallowed) for row in chunk.ragged]}
    batch = pa.record_batch(columns, names=[str(at) for at in range(len(columns))])
    batch = batch.replace_schema_metadata({"besides": json.dumps(besides)})
    with _spooling(file) as written, pa.ipc.new_file(written, batch.schema) as batches:
        batches.write_batch(batch)


def _show(part: pa.Table, file: Path) -> None:
    """Writes what the report has of a part, and what says which of its rows would go. Raises DiskError."""
    shown = part.select(report.PART.names)
    with _spooling(file) as written, pa.ipc.new_file(written, shown.schema) as batches:
        batches.write_table(shown)


def _tell(file: Path, **numbers: npt.NDArray[Any] | None) -> None:
    """Writes arrays for whoever asks for them; None is left out. Raises DiskError."""
    arrays: dict[str, Any] = {name: array for name, array in numbers.items() if array is not None}
    with _spooling(file) as written:
        np.savez(written, **arrays)


def _numbers(file: Path) -> dict[str, Any]:
    """The arrays that were told there."""
    with np.load(file) as found:
        return dict(found)


@contextmanager
def _spooling(file: Path) -> Iterator[IO[bytes]]:
    # A name of its own until it is whole: a worker that was taken for dead may still be at the same.
    own = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(own, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as written:
            yield written
        own.replace(file)
    except OSError as error:
        raise DiskError(f"{file}: can't be written: {error.strerror or error}") from None


def _taken_over(file: Path) -> Chunk:
    """The chunk that was written there."""
    with pa.ipc.open_file(pa.py_buffer(file.read_bytes())) as batches:
        batch = batches.get_batch(0)
    besides = json.loads(batch.schema.metadata[b"besides"])
    ragged = tuple(RaggedRow(row, tuple(cells), swallowed) for row, cells, swallowed in besides["ragged"])
    width = len(besides["columns"])
    arrays = (pd.arrays.ArrowExtensionArray(batch.column(at)) for at in range(width))
    index = pd.Index(batch.column(width).to_numpy(), name="row")
    frame = pd.DataFrame(dict(zip(besides["columns"], arrays, strict=True)), index=index)
    return Chunk(frame, ragged, batch.column(width + 1) if batch.num_columns > width + 1 else None)


# --- What a worker does ---

_KEPT = 16  # chunks that were looked at and wait to be finished; there are more only where others finish them


@dataclass(slots=True)
class _Bench:
    """What a worker's process has at hand."""

    looked: OrderedDict[At, tuple[Chunk, Looked]] = field(default_factory=OrderedDict)
    abandoned: set[str] = field(default_factory=set)  # nonces
    at_work: threading.Lock = field(default_factory=threading.Lock)


_BENCH = _Bench()


def unfit(path: str) -> str | None:
    """Why this worker can't take part in the run at `path`; None: it can."""
    if not Path(path, "manifest.json").exists():
        return f"it does not see {path}: all of a run's workers need the same folder of runs (--runs)"
    try:
        job = kept.on_worker(RunFolder(Path(path)))
        if job.command != "check":
            kept.own_credentials(job)
            statedb.check_server(job.settings.state)
    except UserError as error:
        return str(error)
    return None


def look(at: At, keeps: bool) -> str:
    """A task: writes what is told of a chunk; gives which worker has looked.

    That one `keeps` what came of it, where the chunk is to be finished.
    """
    from distributed import get_worker

    with _working(at.nonce):
        chunk = _taken_over(at.file("arrow"))
        looked = _preparer(at._replace(part=0)).look(chunk)
        if keeps:
            _BENCH.looked[at] = chunk, looked
            while len(_BENCH.looked) > _KEPT:
                _BENCH.looked.popitem(last=False)
        _tell(at.file("told"), **looked.told._asdict())
    address: str = get_worker().address
    return address


def finish(at: At, shows: bool) -> Written:
    """A task: writes the part of a chunk, and `shows` the client what is in it. To do it again writes the same."""
    with _working(at.nonce):
        own = _preparer(at._replace(part=0))
        ready = _BENCH.looked.pop(at, None)
        if ready is None:
            chunk = _taken_over(at.file("arrow"))
            ready = chunk, own.look(chunk)
        numbers = _numbers(at.file("decided"))
        chosen = numbers.pop("chosen", None)
        made = own.finish(*ready, Decided(**numbers))
        made = made._replace(part=_only(made.part, chosen))
        if shows:
            _show(made.part, at.file("shown"))
        return _write(RunFolder(Path(at.path)), (at.number, at.part), made)


def forget(nonce: str) -> None:
    """Lets go of what a command has begun. When this returns, nothing of it is under way here, and nothing will be."""
    _BENCH.abandoned.add(nonce)
    with _BENCH.at_work:
        _BENCH.looked.clear()


@contextmanager
def _working(nonce: str) -> Iterator[None]:
    with _BENCH.at_work:
        if nonce in _BENCH.abandoned:
            raise RuntimeError("the command has ended")
        yield


@lru_cache(maxsize=8)
def _preparer(at: At) -> Preparer:
    """The preparer of a source. A command that goes on may find another manifest, and has another nonce."""
    run = RunFolder(Path(at.path))
    job, of = kept.on_worker(run), run.read_json("manifest.json")["sources"][at.number]
    return preparer(job, run, at.number, bound(job, of["columns"]))
