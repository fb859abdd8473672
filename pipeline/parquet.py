"""Parquet files as text: their records in file order, numbered from 1, each cell as a person would write it."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.model import InputError

_BATCH_ROWS = 20_000
_BATCH_BYTES = 4 << 20  # as the file's footer has it: text takes some more
_BUFFER_BYTES = 1 << 20


class Beside(Protocol):
    """Columns of text that belong to a file's records and are kept elsewhere."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Their names, none of which the file has itself."""

    def cells(self, group: int) -> pa.Table:
        """Their cells for the records of one row group, in order."""


@dataclass(frozen=True, slots=True)
class Records:
    """The records of a file that are read.

    `columns` are those of the file, then those beside it. `total` counts the file's records; `chosen` says which of
    them are read, None: all.
    """

    path: Path
    columns: tuple[str, ...]
    total: int
    beside: Beside | None = None
    chosen: npt.NDArray[np.bool_] | None = field(default=None, repr=False)

    @property
    def count(self) -> int:
        """How many are read."""
        return self.total if self.chosen is None else int(self.chosen.sum())

    @property
    def last_row(self) -> int:
        """The number of the last one that is read; 0 where there is none."""
        if self.chosen is None:
            return self.total
        return int(np.flatnonzero(self.chosen)[-1]) + 1 if self.count else 0


class Piece(NamedTuple):
    """Some records: their numbers, and their cells as text, without nulls."""

    rows: npt.NDArray[np.int64]
    cells: pa.RecordBatch


def find(path: Path, beside: Beside | None, where: str | None) -> Records:
    """The records of the file for which the expression `where` holds. Raises InputError where it can't be read."""
    with readable(), _opened(path) as file:
        columns = _named(file.schema_arrow.names) + (beside.columns if beside else ())
        records = Records(path, columns, file.metadata.num_rows, beside)
        return records if where is None else Records(path, columns, records.total, beside, _chosen(records, where))


def _named(names: list[str]) -> tuple[str, ...]:
    """The names as those of a CSV file would be read: the rejected file has them, and is one."""
    stripped = tuple(name.strip() for name in names)
    for at, name in enumerate(stripped, 1):
        if not name:
            raise InputError(f"its column {at} has no name; give it one")
    twice = [name for name, times in Counter(stripped).items() if times > 1]
    if twice:
        raise InputError(f"several of its columns are named {twice[0]!r}; rename them")
    if not stripped:
        raise InputError("it has no columns; export it again")
    return stripped


def _chosen(records: Records, where: str) -> npt.NDArray[np.bool_]:
    from pipeline.where import chooser

    chooses = chooser(where)
    chosen = [chooses(table, start + 1) for start, table in _tables(records)]
    return np.concatenate(chosen) if chosen else np.zeros(0, dtype=np.bool_)


def pieces(records: Records) -> Iterator[Piece]:
    """The records that are read, in order. Raises InputError where a cell can't be told as text."""
    for start, every in _tables(records):
        rows, table = np.arange(start + 1, start + 1 + every.num_rows), every
        if records.chosen is not None:
            chosen = records.chosen[start : start + every.num_rows]
            rows, table = rows[chosen], every.filter(pa.array(chosen))
        cells = [_told(table[at], name, rows) for at, name in enumerate(records.columns)]
        yield Piece(rows, pa.record_batch(cells, names=list(records.columns)))


def _tables(records: Records) -> Iterator[tuple[int, pa.Table]]:
    """(how many records come before, typed columns) of every record, some at a time."""
    start = 0
    with readable(), _opened(records.path) as file:
        for group in range(file.num_row_groups):
            beside = records.beside.cells(group) if records.beside else None
            first = start
            for batch in file.iter_batches(_batch_rows(file.metadata.row_group(group)), row_groups=[group]):
                table = pa.Table.from_batches([batch])
                yield start, table if beside is None else _with(table, beside.slice(start - first, len(batch)))
                start += len(batch)


def _with(table: pa.Table, beside: pa.Table) -> pa.Table:
    for name in beside.column_names:
        table = table.append_column(name, beside[name])
    return table


def _batch_rows(group: pq.RowGroupMetaData) -> int:
    fitting: int = _BATCH_BYTES * group.num_rows // max(group.total_byte_size, 1)
    return max(1, min(_BATCH_ROWS, fitting))


@contextmanager
def readable() -> Iterator[None]:
    """Says in a line why a Parquet file can't be read."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        why = " ".join(str(error).split())[:200]
        raise InputError(f"it is a damaged Parquet file ({why}); export it again") from None


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    name = os.fsencode(path)  # which may be no text
    with pa.OSFile(name, "rb") as raw, pq.ParquetFile(raw, buffer_size=_BUFFER_BYTES, pre_buffer=False) as file:
        yield file


# --- Cells as text ---


def _told(column: pa.ChunkedArray, name: str, rows: npt.NDArray[np.int64]) -> pa.StringArray:
    try:
        told = pc.fill_null(as_text(column.combine_chunks()), "")
        told.validate(full=True)
    except (pa.ArrowInvalid, UnicodeDecodeError):
        raise InputError(
            f"column {name!r} holds bytes that are no text, in rows {rows[0]} to {rows[-1]}; leave it out"
        ) from None
    return told


def as_text(cells: pa.Array) -> pa.StringArray:
    """Each cell as text; null where there is none, or no number. Lists and structures are JSON, times are ISO 8601."""
    kind = cells.type
    if pa.types.is_dictionary(kind):
        return as_text(cells.dictionary_decode())
    if pa.types.is_floating(kind):
        return pa.array([_number(cell) for cell in cells.to_numpy(zero_copy_only=False)], pa.string())
    if pa.types.is_decimal(kind):
        return pa.array([None if cell is None else f"{cell:f}" for cell in cells.to_pylist()], pa.string())
    if pa.types.is_timestamp(kind) or pa.types.is_time(kind):
        return _moment(cells)
    if _is_plain(kind):
        return cells.cast(pa.string())
    return pa.array([_json(cell) for cell in cells.to_pylist()], pa.string())


def _is_plain(kind: pa.DataType) -> bool:
    """Whether Arrow's own text for it is what a person would write."""
    tests = (
        pa.types.is_string,
        pa.types.is_large_string,
        pa.types.is_string_view,
        pa.types.is_binary,
        pa.types.is_large_binary,
        pa.types.is_fixed_size_binary,
        pa.types.is_integer,
        pa.types.is_boolean,
        pa.types.is_date,
        pa.types.is_null,
    )
    return any(test(kind) for test in tests)


def _number(cell: np.floating[Any]) -> str | None:
    """The shortest digits that stand for it: no exponent, and nothing after the point of a whole number."""
    return None if np.isnan(cell) else np.format_float_positional(cell, trim="-")


def _moment(cells: pa.Array) -> pa.StringArray:
    """With a T between date and time, Z where the zone is known, and no more decimals than it has."""
    zone = ""
    if pa.types.is_timestamp(cells.type) and cells.type.tz is not None:
        cells, zone = cells.cast(pa.timestamp(cells.type.unit, "UTC")).cast(pa.timestamp(cells.type.unit)), "Z"
    text = pc.replace_substring(cells.cast(pa.string()), " ", "T")
    for superfluous, kept in ((r"\.0+$", ""), (r"(\.[0-9]*[1-9])0+$", r"\1")):
        text = pc.replace_substring_regex(text, superfluous, kept)
    return pc.binary_join_element_wise(text, zone, "")


def _json(cell: Any) -> str | None:
    if cell is None or isinstance(cell, str):
        return cell
    return json.dumps(cell, ensure_ascii=False, default=_plainly) if isinstance(cell, (list, dict)) else _plainly(cell)


def _plainly(value: Any) -> str:
    """What JSON has no form for: times, decimals, bytes."""
    if isinstance(value, bytes):
        return value.decode()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
