"""The chunks of a source become the parts of a run: in this process, or by the workers of a cluster.

Both do the same in the same order: look at a chunk, decide which of its rows repeat, finish its part. Workers look
and finish; the client cuts the source and decides. What they hand each other are files in the run's spool folder; over
Dask go the folder's path and the numbers of chunks.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from pipeline import handover, parts, worker
from pipeline.cluster import Cluster, ClusterError
from pipeline.folder import RunFolder
from pipeline.handover import At
from pipeline.parts import Rows, Written
from pipeline.prepare import Counts, Preparer, Told
from pipeline.source import Chunk

if TYPE_CHECKING:
    import distributed


@dataclass(frozen=True, slots=True)
class Reading:
    """One source of a run: its chunks, and which of its rows are the run's; None: all of them."""

    preparer: Preparer
    chunks: Callable[[], Iterator[Chunk]]
    chosen: Rows | None = None


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
    cluster.check(run, worker.unfit)
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
            made = made._replace(part=parts.only(made.part, _chosen(reading, chunk)))
            written = parts.write(self.run, (reading.preparer.number, part), made)
            yield written._replace(table=made.part) if shows else written


def _chosen(reading: Reading, chunk: Chunk) -> Rows | None:
    """Those of the chunk's rows that are the run's; None: all of them."""
    if reading.chosen is None:
        return None
    rows = np.concatenate([chunk.frame.index.to_numpy(), np.array([row.row for row in chunk.ragged], dtype=np.int64)])
    return np.intersect1d(rows, reading.chosen)


class _Sent(NamedTuple):
    """A chunk that workers are at, and which of its rows are the run's."""

    at: At
    chosen: Rows | None
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
        told = Told(**handover.told(looked.at.file("told")))
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
        handover.hand_over(chunk, at.file("arrow"))
        future = self._cluster.submit(worker.look, at, keeps, key=at.key("look" if keeps else "foresee"))
        return _Sent(at, _chosen(reading, chunk), future)

    def _finish(self, looked: _Sent, counts: Counts, shows: bool) -> _Sent:
        looker = self._cluster.result(looked.future)
        decided = counts.decide(looked.at.number, Told(**handover.told(looked.at.file("told"))))
        handover.tell(looked.at.file("decided"), **decided._asdict(), chosen=looked.chosen)
        # Whoever has looked at it still has what came of it; any other can look again.
        near = {"workers": [looker], "allow_other_workers": True, "priority": 1}
        key = looked.at.key("finish")
        return looked._replace(future=self._cluster.submit(worker.finish, looked.at, shows, key=key, **near))

    def _written(self, finished: _Sent) -> Written:
        written: Written = self._cluster.result(finished.future)
        written = written._replace(table=handover.shown(finished.at.file("shown")))
        finished.at.remove()
        return written

    def abandon(self) -> None:
        """No worker begins with a chunk of the run any more, and none is at one when this returns."""
        self._cluster.everywhere(worker.forget, self._any.nonce)
