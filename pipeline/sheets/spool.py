"""A sheet's rows as text in an Arrow stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.sheets.look import Look, letters, runs
from pipeline.sheets.model import Grid
from pipeline.sheets.texts import Texts

_BATCH_ROWS = 20_000
_BATCH_CELLS = 1_000_000  # of a wide sheet
_PIECE_ROWS = 2000  # of a batch, as Python's objects: so few that they stay in the processor's cache


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
            filled |= [pc.any(pc.not_equal(column, "")).as_py() or False for column in batch.columns[1:]]
            writer.write_batch(batch.cast(schema))
    columns = np.flatnonzero(filled) + frame.first_column + 1
    notes = (*_hidden(look, hidden, look.hidden_columns.among(columns).tolist()), *look.notes(), *_lossy(texts))
    return Written(rows, frame.first_column + 1, max(frame.height, look.last_row), notes)


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
    names = ["row", *(f"c{i}" for i in range(frame.width))]
    for first in range(0, frame.height if frame.width else 0, size):
        end = min(first + size, frame.height)
        pieces = (range(at, min(at + _PIECE_ROWS, end)) for at in range(first, end, _PIECE_ROWS))
        columns = (_piece(grid, frame, look, texts, rows) for rows in pieces)
        batch = pa.concat_batches([pa.record_batch(piece, names=names) for piece in columns])
        blank = _blank(batch.columns[1:])
        yield batch.take(pa.array(np.delete(np.arange(batch.num_rows), blank))) if blank.size else batch


def _piece(grid: Grid, frame: _Frame, look: Look, texts: Texts, rows: range) -> list[pa.Array]:
    """The numbers of some rows, from 1, and their cells by column."""
    columns = _columns(list(islice(grid.rows, len(rows))), grid, frame, len(rows))
    look.apply(rows.start, frame.first_column, columns)
    return [pa.array(np.array(rows) + 1), *map(texts.of, columns)]


def _blank(cells: Sequence[pa.StringArray]) -> npt.NDArray[np.int64]:
    """The places of rows whose cells are all blank."""
    places = np.arange(len(cells[0]))
    for column in cells:
        if not places.size:
            break
        places = places[pc.equal(pc.utf8_trim_whitespace(column.take(pa.array(places))), "").to_numpy(False)]
    return places


def _columns(block: list[Sequence[Any]], grid: Grid, frame: _Frame, rows: int) -> list[Sequence[Any]]:
    """The cells of some rows by column, over the whole frame."""
    blank = [""] * rows
    short = [""] * (rows - len(block))
    columns: list[Sequence[Any]] = [blank] * (grid.first_column - frame.first_column if block else 0)
    columns += [[*column, *short] if short else column for column in zip(*block, strict=True)]
    return columns + [blank] * (frame.width - len(columns))


def _hidden(look: Look, rows: list[int], columns: list[int]) -> Iterator[str]:
    """What is read though nobody sees it."""
    if rows:
        why = ", by a filter" if look.filtered else ""
        yield (
            f"hidden rows, read like the others: {len(rows):,} (rows {runs(rows)}{why}); to leave them out, copy what "
            "is visible to a new sheet"
        )
    elif look.filtered:
        yield "a filter is on, and hides no rows"
    if columns:
        yield f"hidden columns, read like the others: {len(columns):,} ({runs(columns, letters)})"


def _lossy(texts: Texts) -> Iterator[str]:
    if texts.lossy:
        yield (
            f"numbers of more digits than a spreadsheet keeps: {texts.lossy:,}; their last digits may be lost, and no "
            "such cell is sent: take the column from the original list as text"
        )
