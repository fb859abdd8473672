"""What the batches of a file add up to: counted while it is inspected, and again while it is read."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.header import Header
from pipeline.model import InputError
from pipeline.reloaded import batches
from pipeline.rows import Batch, Layout, RaggedRow, is_blank


class Counts:
    """What batches add up to."""

    def __init__(self, header: Header | None = None) -> None:
        self.rows = self.ragged = self.padded = self.blank = self.last_row = 0
        self.first_ragged = 0
        self.ends_short = False  # the last record has fewer cells than the header
        self.widths: Counter[int] = Counter()  # of ragged rows
        self.repeats: list[int] = []  # rows that say what the header says
        self._header = header

    def add_all(self, layout: Layout) -> None:
        """Counts a whole file. Raises InputError where a column without a name holds something."""
        for batch in batches(layout):
            self.add(batch)

    def add(self, batch: Batch) -> None:
        """Counts one batch."""
        self.rows += len(batch.rows) + len(batch.ragged)
        self.ragged += len(batch.ragged)
        if batch.ragged and not self.first_ragged:
            self.first_ragged = batch.ragged[0].row
        self.padded += len(batch.padded)
        self.blank += batch.blank
        self.widths.update(len(row.cells) for row in batch.ragged)
        self._see_last(batch)
        if self._header:
            _refuse_unnamed(self._header, batch)
            self.repeats += _repeats(self._header, batch)

    def notes(self) -> tuple[str, ...]:
        """What is to be told of the rows."""
        told = []
        if self.padded:
            told.append(f"rows that had too few cells and got empty ones at the end (short_rows): {self.padded:,}")
        if self.repeats:
            told.append(f"rows that repeat the header: {len(self.repeats):,}, the first is row {self.repeats[0]}")
        return tuple(told)

    def _see_last(self, batch: Batch) -> None:
        if len(batch.rows) and batch.rows[-1] > self.last_row:
            self.last_row = int(batch.rows[-1])
            self.ends_short = batch.padded[-1:] == (self.last_row,)
        if batch.ragged and batch.ragged[-1].row > self.last_row:
            self.last_row = batch.ragged[-1].row
            self.ends_short = self._is_short(batch.ragged[-1])

    def _is_short(self, row: RaggedRow) -> bool:
        return self._header is not None and self._header.ours is None and len(row.cells) < self._header.width


def _refuse_unnamed(header: Header, batch: Batch) -> None:
    for position in header.blank:
        filled = np.flatnonzero(~is_blank(batch.table.column(position)))
        if filled.size:
            raise InputError(
                f"column {position + header.first_column} has no name in the header (row {header.row}), and holds "
                f"something in row {batch.rows[filled[0]]}; name the column, or empty it{header.hint}"
            )


def _repeats(header: Header, batch: Batch) -> list[int]:
    """The rows of lists put together with their headers left in."""
    found = np.arange(len(batch.rows) if header.row else 0)
    for position, heading in zip(header.positions, header.headings, strict=True):
        if not found.size:
            break
        column = batch.table.column(position).take(pa.array(found))
        found = found[pc.equal(pc.utf8_trim_whitespace(column), heading).to_numpy(zero_copy_only=False)]
    rows: list[int] = batch.rows[found].tolist()
    return rows


def refuse_useless(counts: Counts, header: Header) -> None:
    """Raises InputError where nothing is below the header, or where most rows don't fit it."""
    if not counts.rows:
        raise InputError(f"it has no rows below the header (row {header.row}); export it again")
    if counts.ragged * 2 > counts.rows and header.ours is None:  # a rejected file may be all ragged rows
        width, rows = counts.widths.most_common(1)[0]
        pad = '; if only cells at the end are missing, set short_rows = "pad"' if width < header.width else ""
        raise InputError(
            f"{counts.ragged} of {counts.rows} rows don't have the {header.width} cells of the header (row "
            f"{header.row}), {rows} of them have {width}; set header_row or delimiter, or mend the file{pad}"
        )
