"""What a worker of a cluster does of validation. It imports this as it starts, while the client reads the list."""

from __future__ import annotations

import gc
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import cluster, handover, kept, parts, statedb
from pipeline.folder import RunFolder
from pipeline.handover import At
from pipeline.model import UserError
from pipeline.parts import Written
from pipeline.prepare import Decided, Looked, Preparer
from pipeline.source import Chunk

if TYPE_CHECKING:
    import distributed


def dask_setup(_worker: distributed.Worker) -> None:
    """Dask calls this in each worker before it takes work."""
    cluster.quiet()
    gc.set_threshold(50_000, 50, 100)


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
        chunk = handover.taken_over(at.file("arrow"))
        looked = _preparer(at._replace(part=0)).look(chunk)
        if keeps:
            _BENCH.looked[at] = chunk, looked
            while len(_BENCH.looked) > _KEPT:
                _BENCH.looked.popitem(last=False)
        handover.tell(at.file("told"), **looked.told._asdict())
    address: str = get_worker().address
    return address


def finish(at: At, shows: bool) -> Written:
    """A task: writes the part of a chunk, and `shows` the client what is in it. To do it again writes the same."""
    with _working(at.nonce):
        own = _preparer(at._replace(part=0))
        ready = _BENCH.looked.pop(at, None)
        if ready is None:
            chunk = handover.taken_over(at.file("arrow"))
            ready = chunk, own.look(chunk)
        numbers = handover.told(at.file("decided"))
        chosen = numbers.pop("chosen", None)
        made = own.finish(*ready, Decided(**numbers))
        made = made._replace(part=parts.only(made.part, chosen))
        if shows:
            handover.show(made.part, at.file("shown"))
        return parts.write(RunFolder(Path(at.path)), (at.number, at.part), made)


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
    return parts.preparer(job, run, at.number, parts.bound(job, of["columns"]))
