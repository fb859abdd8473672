"""A sheet's rows as text in an Arrow stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from pipeline.sheets.look import Look, letters, runs
from pipeline.sheets.model import Grid
from pipeline.sheets.texts import Texts

_BATCH_ROWS = 20_000
_BATCH_CELLS = 1_000_000  # of a wide sheet


class Written(NamedTuple):
    """What went into the stream: rows that hold anything, the used range's first column (from 1), and notes."""

    rows: int
    first_column: int
    last_row: int
    notes: tuple[str, ...]


class _Frame(NamedTuple):
    """The used range: of values, and of marks that stand for values. Columns from 0; the end is not in it."""

    height: int
    first_column: int
    width: int


def write(grid: Grid, look: Look, path: Path) -> Written:
    """Writes the rows that hold anything: `row` int64, then columns c0, c1, … of the used range as text."""
    frame = _frame(grid, look)
    schema = pa.schema([("row", pa.int64())] + [(f"c{i}", pa.string()) for i in range(frame.width)])
    texts, rows, hidden = Texts(), 0, []
    filled = np.zeros(frame.width, np.bool_)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        for batch in _batches(grid, frame, look, texts):
            rows += batch.num_rows
            hidden += look.hidden_rows.among(batch.column(0).to_numpy()).tolist()
            filled |= [bool(column.true_count) for column in map(_filled, batch.columns[1:])]
            writer.write_batch(batch.cast(schema))
    columns = np.flatnonzero(filled) + frame.first_column + 1
    notes = (*_hidden(look, hidden, look.hidden_columns.among(columns).tolist()), *look.notes(), *_lossy(texts))
    return Written(rows, frame.first_column + 1, max(frame.height, look.last_row), notes)


def _filled(column: pa.Array) -> pa.Array:
    return pa.compute.not_equal(column, "")


def _frame(grid: Grid, look: Look) -> _Frame:
    used = look.used
    if not used.end_row:
        return _Frame(grid.height, grid.first_column, grid.width)
    if not grid.height:
        return _Frame(used.end_row, used.first_column, used.end_column - used.first_column)
    first = min(grid.first_column, used.first_column)
    end = max(grid.first_column + grid.width, used.end_column)
    return _Frame(max(grid.height, used.end_row), first, end - first)


def _batches(grid: Grid, frame: _Frame, look: Look, texts: Texts) -> Iterator[pa.RecordBatch]:
    """Rows that hold anything, by column and as text, with their numbers."""
    size = max(1, min(_BATCH_ROWS, _BATCH_CELLS // max(frame.width, 1)))
    for first in range(0, frame.height if frame.width else 0, size):
        columns = _columns(list(islice(grid.rows, size)), grid, frame, min(size, frame.height - first))
        look.apply(first, frame.first_column, columns)
        cells = [texts.of(column) for column in columns]
        filled = [at for at, row in enumerate(zip(*cells, strict=True)) if any(map(str.strip, row))]
        table = [pa.array(column, pa.string()) for column in cells]
        if len(filled) < len(cells[0]):
            table = [column.take(pa.array(filled, pa.int64())) for column in table]
        rows = pa.array([first + 1 + at for at in filled], pa.int64())
        yield pa.record_batch([rows, *table], names=["row", *(f"c{i}" for i in range(frame.width))])


def _columns(block: list[Sequence[Any]], grid: Grid, frame: _Frame, rows: int) -> list[Sequence[Any]]:
    """The cells of some rows by column, over the whole frame."""
    blank = [""] * rows
    short = [""] * (rows - len(block))
    columns: list[Sequence[Any]] = [blank] * (grid.first_column - frame.first_column if block else 0)
    columns += [[*column, *short] if short else column for column in zip(*block, strict=True)]
    return columns + [blank] * (frame.width - len(columns))


def _hidden(look: Look, rows: list[int], columns: list[int]) -> Iterator[str]:
    """What is read though nobody sees it."""
    then = "read like the others; to leave them out, copy what is visible to a new sheet"
    if rows:
        why = "hidden by a filter" if look.filtered else "hidden"
        yield f"{len(rows):,} rows are {why} (rows {runs(rows)}): they are {then}"
    elif look.filtered:
        yield "a filter is set, and hides no rows"
    if columns:
        yield f"{len(columns):,} columns are hidden ({runs(columns, letters)}): they are read like the others"


def _lossy(texts: Texts) -> Iterator[str]:
    if texts.lossy:
        yield (
            f"{texts.lossy:,} numbers have more digits than a spreadsheet keeps: their last digits may be lost, and no "
            "such cell is sent; take the column from the original list as text"
        )
