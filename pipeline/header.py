"""Which record is the header, and what its cells say: the same for CSV and Excel."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.clean.phone import ANYWHERE
from pipeline.csvscan import Record
from pipeline.model import InputError

REJECTED_COLUMNS = ("_row", "_status", "_problems")  # what a rejected file of ours has beyond the source's columns

_TITLE_RECORDS = 20  # a header further down is not found by itself
_NUMBER = re.compile(r"[-+$]?\d[\d.,:/ -]*%?")  # dates, too


@dataclass(frozen=True, slots=True)
class Header:
    """The columns of a source.

    `row` is 0 where there is no header. `names` belong to `positions`, which count from 0 among the
    `width` cells of a record; `blank` are the positions without a name, whose cells must be empty. The
    user counts positions from `first_column` on.
    """

    row: int
    width: int
    names: tuple[str, ...]
    positions: tuple[int, ...]
    blank: tuple[int, ...]
    notes: tuple[str, ...]
    rejected: bool = False  # the file is one of our own rejected files
    hint: str = ""  # what to add to a complaint about the columns
    first_column: int = 1

    @property
    def row_position(self) -> int | None:
        """Where a rejected file of ours has the numbers that its rows had; None in any other."""
        return self.width - len(REJECTED_COLUMNS) if self.rejected else None


def find_header(head: Sequence[Record], given: int | None, first_column: int = 1) -> Header:
    """The header among the first records: the one given, else the first, or the one below title lines.

    A rejected file of ours has its header in its first record, whatever the mapping says of its source.

    Raises InputError where it is blank, missing, or names two columns alike.
    """
    if head and _is_ours(head[0]):
        return _named(head[0], (), first_column)
    if given == 0:
        return _without_header(head, first_column)
    if given is not None:
        record = next((record for record in head if record.row == given), None)
        if record is None:
            raise InputError(f"header_row is {given}, and there is no such row within the first {_last(head)}")
        return _named(record, (), first_column)
    record = _found(head)
    titles = tuple(r.row for r in head if r.row < record.row and r.filled)
    note = f"the header is in row {record.row}; what stands above it is left out"
    return _named(record, (note,) if titles else (), first_column)


def _is_ours(record: Record) -> bool:
    return tuple(_stripped(cell) for cell in record.cells[-3:]) == REJECTED_COLUMNS


def _last(head: Sequence[Record]) -> int:
    return head[-1].row if head else 0


def _found(head: Sequence[Record]) -> Record:
    """The first record that is not blank, or the first wide one where single cells (titles) stand above it."""
    filled = [record for record in head if record.filled]
    if not filled:
        raise InputError("it holds no rows; export it again")
    first = filled[0]
    if first.filled > 1:
        return first
    below = next((record for record in filled[:_TITLE_RECORDS] if record.filled > 1), None)
    if below is None or _looks_like_data(below.cells) or not _is_table(filled[filled.index(below) :]):
        return first
    return below


def _is_table(body: Sequence[Record]) -> bool:
    """Whether most records are as wide as the first and hold several cells."""
    alike = sum(record.filled > 1 and len(record.cells) == len(body[0].cells) for record in body)
    return len(body) > 1 and alike > len(body) / 2


def _named(record: Record, notes: tuple[str, ...], first_column: int) -> Header:
    names = tuple(_stripped(cell) for cell in record.cells)
    if not any(names):
        raise InputError(f"row {record.row}, the header, is blank; set header_row to the row with the column names")
    hint = ""
    if _looks_like_data(record.cells):
        hint = "; if the file has no header, set header_row = 0"
        notes += (f"row {record.row}, the header, looks like data{hint}",)
    _refuse_duplicates(names, record.row, first_column, hint)
    kept = tuple(position for position, name in enumerate(names) if name)
    blank = tuple(position for position, name in enumerate(names) if not name)
    if blank:
        notes += (f"{len(blank)} columns without a name are empty and left out",)
    ours = _is_ours(record) and len(kept) > len(REJECTED_COLUMNS)
    if ours:
        kept = kept[:-3]
        notes += (f"columns left out: {', '.join(REJECTED_COLUMNS)}; they are ours, from an earlier run",)
    return Header(record.row, len(names), tuple(names[i] for i in kept), kept, blank, notes, ours, hint, first_column)


def _without_header(head: Sequence[Record], first_column: int) -> Header:
    widths = Counter(len(record.cells) for record in head if record.filled)
    if not widths:
        raise InputError("it holds no rows; export it again")
    width = widths.most_common(1)[0][0]
    names = tuple(str(first_column + i) for i in range(width))
    return Header(0, width, names, tuple(range(width)), (), (), first_column=first_column)


def _stripped(cell: str) -> str:
    """The name without whitespace around it (NBSP, too) and without a byte order mark."""
    return cell.strip().strip("\ufeff").strip()


def _refuse_duplicates(names: Sequence[str], row: int, first_column: int, hint: str) -> None:
    first: dict[str, int] = {}
    for position, name in enumerate(names, start=first_column):
        if name and name in first:
            raise InputError(
                f"row {row}, the header: columns {first[name]} and {position} are both named {name!r}; rename one{hint}"
            )
        first[name] = position


def _looks_like_data(cells: Sequence[str]) -> bool:
    """Whether a cell holds a phone number, or every cell that is not blank a number."""
    filled = [cell.strip() for cell in cells if cell.strip()]
    return any(ANYWHERE.search(cell) for cell in filled) or all(_NUMBER.fullmatch(cell) for cell in filled)
