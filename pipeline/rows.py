"""The records of a source as batches of text cells with their row numbers: CSV by pyarrow, Excel from its spool,
Parquet as it is.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv

from pipeline import csvscan, decode, parquet, workbook
from pipeline.clean.phone import ANYWHERE
from pipeline.decode import Encoding
from pipeline.header import Ours
from pipeline.model import InputError

DISAGREE = "its quotes can be read in more than one way; open it in Excel and save it as .xlsx, or as CSV"

_LINE_BREAK = re.compile(r"\r\n|\r|\n")
_PENDING_RAGGED = 200_000  # of 4 MiB: more are no list with some bad rows, and would fill memory
_COPY_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the data of a file is, and how it is cut into cells."""

    path: Path
    encoding: Encoding
    delimiter: str
    width: int  # cells of a record
    positions: tuple[int, ...]  # of the frame's columns among them, from 0
    first_row: int  # the number of the first data record
    start_byte: int  # its offset, in the text without a byte order mark
    block_bytes: int  # at least as long as the longest record
    spool: Path | None = None  # an Excel sheet as text, made by inspect; its owner removes it after the last read
    records: parquet.Records | None = None  # of a Parquet file
    ours: Ours | None = None  # of a rejected file of ours: where it has what
    pads_short: bool = False  # a record with too few cells gets empty ones at its end
    line_cells: int = 0  # of a record in the source, where cells hold line breaks; 0: none does


@dataclass(frozen=True, slots=True)
class RaggedRow:
    """A record with more or fewer cells than the header, or one that has swallowed another: a cell holds that."""

    row: int
    cells: tuple[str, ...]
    has_swallowed: bool = False


class Batch(NamedTuple):
    """Some records: those as wide as the header, with their numbers; the ragged ones; how many blank ones were left.

    `padded` are the numbers of those that were made as wide as the header.
    """

    rows: npt.NDArray[np.int64]
    table: pa.RecordBatch
    ragged: tuple[RaggedRow, ...]
    blank: int
    padded: tuple[int, ...] = ()


def batches(layout: Layout) -> Iterator[Batch]:
    """The data records of a file in order. Cells are text as in the file, "" where nothing is given, never null.

    Raises InputError where the CSV parser gives up, or a Parquet file is damaged.
    """
    if layout.records is not None:
        return _parquet_batches(layout.records)
    return _csv_batches(layout) if layout.spool is None else _sheet_batches(layout, layout.spool)


def is_blank(column: pa.Array) -> npt.NDArray[np.bool_]:
    """By cell: whether it holds only whitespace."""
    blank: npt.NDArray[np.bool_] = pc.equal(pc.utf8_trim_whitespace(column), "").to_numpy(zero_copy_only=False)
    return blank


def _blank_positions(table: pa.RecordBatch) -> npt.NDArray[np.int64]:
    """The positions of records whose cells are all blank."""
    candidates = np.flatnonzero(is_blank(table.column(0)))
    for column in table.columns[1:]:
        if not candidates.size:
            break
        candidates = candidates[is_blank(column.take(pa.array(candidates)))]
    return candidates


class _Misfits:
    """Records that don't fit the header, as pyarrow reports them, until they are placed among the others."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._rows: list[int] = []
        self._ragged: list[RaggedRow] = []
        self._blank = 0
        self._last = layout.first_row - 1  # the last number that was given out

    @property
    def too_many(self) -> bool:
        """Whether there are more ragged rows at a stretch than a list has."""
        return len(self._ragged) > _PENDING_RAGGED

    def __call__(self, row: pv.InvalidRow) -> str:
        """Takes one record; tells pyarrow to leave it out, or to give up."""
        number = self._layout.first_row + row.number - 1  # pyarrow counts what it was given, from 1
        record = next(csvscan.records(row.text.encode(), self._layout.delimiter), None)
        self._rows.append(number)
        if record and record.filled:
            self._ragged.append(RaggedRow(number, record.cells))
        else:
            self._blank += 1
        return "error" if self.too_many else "skip"

    def numbers(self, count: int) -> npt.NDArray[np.int64]:
        """The numbers of the next `count` records that do fit."""
        misfits = np.array(self._rows, dtype=np.int64)
        numbers = np.arange(self._last + 1, self._last + 1 + count + misfits.size, dtype=np.int64)
        fitting = numbers[~np.isin(numbers, misfits)] if misfits.size else numbers
        self._last = int(fitting[count - 1]) if count else self._last
        return fitting[:count]

    def taken(self) -> tuple[tuple[RaggedRow, ...], int]:
        """The ragged rows up to the next one that may fit, and the number of blank ones; they are forgotten here."""
        end = int(np.searchsorted(self._rows, self._last, side="right"))
        while end < len(self._rows) and self._rows[end] == self._last + 1:
            self._last, end = self._last + 1, end + 1
        self._rows = self._rows[end:]
        ragged = tuple(row for row in self._ragged if row.row <= self._last)
        self._ragged = self._ragged[len(ragged) :]
        return ragged, end - len(ragged)


def _csv_batches(layout: Layout) -> Iterator[Batch]:
    misfits = _Misfits(layout)
    for table in _parsed(layout, misfits):
        rows = misfits.numbers(len(table))
        yield _without_swallowed(layout, _padded(layout, _without_blank(Batch(rows, table, *misfits.taken()))))
    empty = pa.record_batch([pa.array([], pa.string())] * layout.width, names=_names(layout.width))
    yield _padded(layout, Batch(np.empty(0, dtype=np.int64), empty, *misfits.taken()))


def _without_blank(batch: Batch) -> Batch:
    blank = _blank_positions(batch.table)
    if not blank.size:
        return batch
    kept = np.delete(np.arange(len(batch.rows)), blank)
    return batch._replace(rows=batch.rows[kept], table=batch.table.take(pa.array(kept)), blank=batch.blank + blank.size)


def _padded(layout: Layout, batch: Batch) -> Batch:
    """The batch with its short records among those that fit, where the layout pads them."""
    short = [row for row in batch.ragged if len(row.cells) < layout.width] if layout.pads_short else []
    return fitted(batch, short)._replace(padded=tuple(row.row for row in short))


def _without_swallowed(layout: Layout, batch: Batch) -> Batch:
    """The batch with those records among the ragged ones of which a cell has swallowed the end of one and the next.

    Two stray quotes do that, and what follows them is another person's: the record has as many cells as it should.
    """
    found = _swallowing(layout, batch.table)
    if not found:
        return batch
    records = batch.table.take(pa.array(found)).to_pylist()
    rows = [
        RaggedRow(int(row), tuple(record.values()), has_swallowed=True)
        for row, record in zip(batch.rows[found], records, strict=True)
    ]
    ragged = sorted((*batch.ragged, *rows), key=lambda row: row.row)
    kept = np.delete(np.arange(len(batch.rows)), found)
    return batch._replace(rows=batch.rows[kept], table=batch.table.take(pa.array(kept)), ragged=tuple(ragged))


def _swallowing(layout: Layout, table: pa.RecordBatch) -> list[int]:
    """The positions of records with a cell of as many delimiters as its line breaks end records, and a phone in it."""
    found = set()
    for column in table.columns if layout.line_cells > 1 else ():
        for at in np.flatnonzero(pc.match_substring_regex(column, "[\r\n]").to_numpy(zero_copy_only=False)):
            cell = column[at].as_py()
            breaks = len(_LINE_BREAK.findall(cell))
            if cell.count(layout.delimiter) == breaks * (layout.line_cells - 1) and ANYWHERE.search(cell):
                found.add(int(at))
    return sorted(found)


def fitted(batch: Batch, records: Sequence[RaggedRow]) -> Batch:
    """The batch with these of its ragged records among those that fit: cut, or with empty cells at their end."""
    if not records:
        return batch
    width, numbers = batch.table.num_columns, np.array([record.row for record in records], dtype=np.int64)
    columns = zip(*((*record.cells, *[""] * width)[:width] for record in records), strict=True)
    arrays = [pa.array(column, pa.string()) for column in columns]
    added = pa.record_batch(arrays, names=batch.table.schema.names)
    rows = np.concatenate([batch.rows, numbers])
    order = np.argsort(rows)
    table = pa.concat_batches([batch.table, added]).take(pa.array(order))
    taken = set(numbers.tolist())
    return Batch(rows[order], table, tuple(row for row in batch.ragged if row.row not in taken), batch.blank)


def _names(width: int) -> list[str]:
    return [f"c{position}" for position in range(width)]


def _parsed(layout: Layout, misfits: _Misfits) -> Iterator[pa.RecordBatch]:
    """Records as wide as the header, blank lines among them; the others go to `misfits`."""
    names = _names(layout.width)
    # Numbers of records are to be had with one thread only.
    reading = pv.ReadOptions(use_threads=False, block_size=layout.block_bytes, column_names=names)
    parsing = pv.ParseOptions(
        delimiter=layout.delimiter, newlines_in_values=True, ignore_empty_lines=False, invalid_row_handler=misfits
    )
    converting = pv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()),
        strings_can_be_null=False,
        quoted_strings_can_be_null=False,
        null_values=[],
    )
    with _text(layout) as file:
        try:
            yield from pv.open_csv(file, reading, parsing, converting)
        except pa.ArrowInvalid as error:
            if misfits.too_many:
                raise InputError(
                    f"more than {_PENDING_RAGGED:,} rows at a stretch don't have the {layout.width} cells of the "
                    "header; set header_row or delimiter, or mend the file"
                ) from None
            raise InputError(f"{DISAGREE} ({' '.join(str(error).split())[:200]})") from None


@contextmanager
def _text(layout: Layout) -> Iterator[Any]:
    """The file as UTF-8 text from the first data record on."""
    if layout.encoding.is_utf8:
        with pa.OSFile(os.fsencode(layout.path), "rb") as file:
            file.seek(layout.encoding.bom_bytes + layout.start_byte)
            yield file
        return
    with layout.path.open("rb") as raw, io.BufferedReader(decode.Utf8Reader(raw, layout.encoding)) as text:
        left = layout.start_byte
        while left and (passed := text.read(min(left, _COPY_BYTES))):
            left -= len(passed)
        yield text


def _sheet_batches(layout: Layout, spool: Path) -> Iterator[Batch]:
    """The rows of a sheet from the first data row on; blank ones are not in the spool."""
    for batch in workbook.stream(spool):
        data = batch.slice(int(np.searchsorted(batch.column(0).to_numpy(), layout.first_row)))
        table = pa.record_batch(data.columns[1:], names=_names(layout.width))
        yield Batch(data.column(0).to_numpy(), table, (), 0)


def _parquet_batches(records: parquet.Records) -> Iterator[Batch]:
    """The records that were chosen. All are as wide as the header, and none is left out for being blank."""
    for rows, cells in parquet.pieces(records):
        yield Batch(rows, cells, (), 0)
