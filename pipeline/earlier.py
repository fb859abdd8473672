"""The rows of an earlier run, from its parts and its report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.folder import RunFolder
from pipeline.model import FORGOTTEN, Status, UserError
from pipeline.report import CELL
from pipeline.source import Chunk, RaggedRow


@dataclass(frozen=True)
class Selection:
    """The rows of a run that ended with one of these statuses."""

    run: RunFolder
    only: tuple[Status, ...]

    def rows(self, source: int) -> npt.NDArray[np.int64]:
        """Their numbers in one source of the run, ascending."""
        of = self.run.read_json("manifest.json")["sources"][source]
        same = pc.equal(self._chosen["source"], of["name"])
        if of["sheet"] is not None:
            same = pc.and_(same, pc.equal(self._chosen["sheet"], of["sheet"]))
        rows: npt.NDArray[np.int64] = self._chosen.filter(same)["row"].to_numpy()
        return rows

    @cached_property
    def _chosen(self) -> pa.Table:
        if not self.run.results.exists():
            raise UserError(
                f"run {self.run.run_id} has no report, since it did not come to its end: leads resume {self.run.run_id}"
            )
        told = pq.read_table(self.run.results, columns=["source", "sheet", "row", "status", "code"])
        chosen = pc.is_in(told["status"], value_set=pa.array([status.value for status in self.only]))
        # What was forgotten has no values left.
        return told.filter(pc.and_(chosen, pc.not_equal(pc.fill_null(told["code"], ""), FORGOTTEN)))


def chunks(run: RunFolder, source: int, columns: Sequence[str]) -> Iterator[Chunk]:
    """One source of a run as it was read: all of its rows, part by part, under its own column names."""
    for number, path in run.part_paths():
        if number == source:
            yield _chunk(pq.read_table(path), columns)


def _chunk(part: pa.Table, columns: Sequence[str]) -> Chunk:
    is_ragged = pc.is_valid(part["ragged"])
    loose = part.filter(is_ragged).select(["row", "ragged"]).to_pylist()
    fitting = part.filter(pc.invert(is_ragged))
    cells = {
        name: pd.arrays.ArrowExtensionArray(pc.fill_null(fitting[CELL.format(at)], ""))
        for at, name in enumerate(columns)
    }
    index = pd.Index(fitting["row"].to_numpy(), name="row")
    ragged = tuple(RaggedRow(row["row"], tuple(row["ragged"])) for row in loose)
    return Chunk(pd.DataFrame(cells, index=index, columns=list(columns)), ragged)
