"""The rows of an earlier run, from its parts and its report; and its report as a list for another run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.folder import RunFolder
from pipeline.model import FORGOTTEN, InputError, Status, UserError
from pipeline.parquet import readable
from pipeline.report import CELL, REPORT, SOURCE_COLUMN
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


def in_order(run: RunFolder, manifest: Mapping[str, Any]) -> list[tuple[int, Path]]:
    """(source, path) of every part, ordered as the report's row groups are: by source, sheet, row."""
    places = [place_in_order(of) for of in manifest["sources"]]
    return sorted(run.part_paths(), key=lambda part: (places[part[0]], part))


def place_in_order(of: Mapping[str, Any]) -> tuple[str, str]:
    """By what a source's place in the report goes."""
    return of["name"], of["sheet"] or ""


# --- A report as a list ---


@dataclass(frozen=True, slots=True)
class Origin:
    """What the rows of a report were made of: the columns of its run's own sources, as the parts hold them.

    `columns` are those of all sources, `source.` before each; a row has "" in those that its source lacks.
    `parts` are (path, the source's columns) by row group of the report.
    """

    columns: tuple[str, ...]
    parts: tuple[tuple[Path, tuple[str, ...]], ...]

    def cells(self, group: int) -> pa.Table:
        """The cells of one row group's rows, in order; null where a row does not fit its header."""
        path, columns = self.parts[group]
        part = pq.read_table(path, columns=["row", *(CELL.format(at) for at in range(len(columns)))])
        at = {SOURCE_COLUMN.format(name): part[CELL.format(i)] for i, name in enumerate(columns)}
        nothing = pa.nulls(part.num_rows, pa.string())
        return pa.table({name: at.get(name, nothing) for name in self.columns})


def origin(path: Path) -> Origin | None:
    """What lies beside a run's report, where it is still there and belongs to it; None for any other file.

    Raises InputError where one of them is damaged.
    """
    run = RunFolder(path.resolve().parent)
    if path.resolve() != run.results or not (run.path / "manifest.json").exists():
        return None
    manifest = run.read_json("manifest.json")
    if manifest.get("run_id") != run.run_id:
        return None
    columns = [tuple(of["columns"]) for of in manifest["sources"]]
    parts = tuple((part, columns[number]) for number, part in in_order(run, manifest))
    try:
        belong = _belong(run.results, [part for part, _ in parts])
    except InputError as error:
        raise InputError(f"{path}, or a part of its run: {error}") from None
    if not belong:
        return None
    names = dict.fromkeys(SOURCE_COLUMN.format(name) for of in columns for name in of)
    return Origin(tuple(names), parts)


def _belong(report: Path, parts: Sequence[Path]) -> bool:
    """Whether the report's row groups are what these parts hold: somebody may have removed parts, or sorted it."""
    with readable(), pq.ParquetFile(report) as results:
        if results.schema_arrow.names != REPORT.names or results.num_row_groups != len(parts):
            return False
        rows = (results.read_row_group(group, columns=["row"]) for group in range(len(parts)))
        return all(told.equals(pq.read_table(part, columns=["row"])) for told, part in zip(rows, parts, strict=True))
