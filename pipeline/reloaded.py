"""The records of a rejected file of ours, as the source had them: bare of guards, and ragged until someone mends them.

Its user may have sorted it, moved columns, and saved it with a spreadsheet, which fills all rows up to one width.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import guard, rows
from pipeline.header import Ours
from pipeline.rows import Batch, Layout, RaggedRow, fitted, is_blank


def batches(layout: Layout) -> Iterator[Batch]:
    """The data records of any file in order, as `rows.batches`; those of a rejected file of ours restored."""
    found = rows.batches(layout)
    return found if layout.ours is None else (_restored(batch, layout.ours) for batch in found)


def _restored(batch: Batch, ours: Ours) -> Batch:
    """The batch with every record where it belongs by now: its user may have mended ragged ones."""
    if not len(batch.rows) and not batch.ragged:
        return batch
    width = batch.table.num_columns
    batch = fitted(batch, [row for row in batch.ragged if _is_whole(row, ours, width)])
    loose = _loose(batch.table, ours)
    unmended = [
        RaggedRow(int(row), tuple(record.values()))
        for row, record in zip(batch.rows[loose], batch.table.filter(pa.array(loose)).to_pylist(), strict=True)
    ]
    in_order = sorted((*batch.ragged, *unmended), key=lambda row: row.row)
    ragged = tuple(RaggedRow(row.row, _cells(row.cells, ours, width)) for row in in_order)
    table = _bare(batch.table.filter(pa.array(~loose)), ours)
    return Batch(batch.rows[~loose], table, ragged, batch.blank)


def _bare(table: pa.RecordBatch, ours: Ours) -> pa.RecordBatch:
    if not ours.is_guarded:
        return table
    own = set(ours.own)
    columns = [guard.bare(column) if at in own else column for at, column in enumerate(table.columns)]
    return pa.record_batch(columns, names=table.schema.names)


# --- Records as wide as the header ---

_NUMBER = r"\s*([0-9]+(\.0)?)?\s*"  # of a row; or nothing


def _loose(table: pa.RecordBatch, ours: Ours) -> npt.NDArray[np.bool_]:
    """Which records are not in order: they lack a cell, have some beyond the header, or cells were moved."""
    loose = np.zeros(table.num_rows, dtype=np.bool_)
    for at in ours.own:
        loose |= _mask(pc.equal(table.column(at), guard.MISSING))
    for at in ours.beyond:
        loose |= ~is_blank(table.column(at))
    if ours.row is not None:
        loose |= ~_mask(pc.match_substring_regex(table.column(ours.row), f"^{_NUMBER}$"))
    return loose


def _mask(found: pa.BooleanArray) -> npt.NDArray[np.bool_]:
    mask: npt.NDArray[np.bool_] = found.to_numpy(zero_copy_only=False)
    return mask


# --- Records of another width ---


def _is_whole(row: RaggedRow, ours: Ours, width: int) -> bool:
    """Whether a record has all the cells of its source: where it differs from the header, it has only blanks."""
    if row.has_swallowed:
        return False
    return len(row.cells) > max(ours.own) and not any(cell.strip() for cell in row.cells[width:])


def _cells(cells: Sequence[str], ours: Ours, width: int) -> tuple[str, ...]:
    """The cells that a ragged record had in its source. Where ours were moved, all that it has now."""
    if ours.row is not None and ours.row < len(cells) and not re.fullmatch(_NUMBER, cells[ours.row]):
        return tuple(cells)
    own = [cells[at] for at in ours.own if at < len(cells) and cells[at] != guard.MISSING]
    beyond = [*(cells[at] for at in ours.beyond if at < len(cells)), *cells[width:]]
    while beyond and not beyond[-1].strip():
        beyond.pop()
    found = (*own, *("" if cell == guard.BLANK else cell for cell in beyond))
    return guard.bare_texts(found) if ours.is_guarded else found
