"""Which record is the header, and what its cells say: the same for CSV and Excel."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from pipeline import csvscan
from pipeline.clean.phone import ANYWHERE
from pipeline.csvscan import Record
from pipeline.guard import bare_texts
from pipeline.model import InputError

REJECTED_COLUMNS = ("_row", "_status", "_problems")  # what a rejected file of ours has beyond the source's columns
RAW_COLUMN = "_raw"  # and one without guards before formulas has this, too

_TITLE_RECORDS = 20  # a header further down is not found by itself
_NUMBER = re.compile(r"[-+$]?\d[\d.,:/ -]*%?")  # dates, too


@dataclass(frozen=True, slots=True)
class Ours:
    """Where a rejected file of ours has what, in positions from 0.

    `own` are the columns that its source had, blank ones too. `row` is the column with the numbers that its rows had.
    `beyond` are columns without a name to the right of ours: cells of rows that have more than the header.
    """

    own: tuple[int, ...]
    row: int | None = None
    beyond: tuple[int, ...] = ()
    is_guarded: bool = True


@dataclass(frozen=True, slots=True)
class Header:
    """The columns of a source.

    `row` is 0 where there is no header. `names` belong to `positions`, which count from 0 among the
    `width` cells of a record; `blank` are the positions without a name, whose cells must be empty. The
    user counts positions from `first_column` on. `cells` are the header's own, as the file has them, or the names
    where it has none.
    """

    row: int
    width: int
    names: tuple[str, ...]
    positions: tuple[int, ...]
    blank: tuple[int, ...]
    notes: tuple[str, ...]
    cells: tuple[str, ...]
    ours: Ours | None = None  # of our own rejected files
    hint: str = ""  # what to add to a complaint about the columns
    first_column: int = 1

    @property
    def source_cells(self) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """The header's cells without ours, and where among them each of `names` is."""
        if self.ours is None:
            return self.cells, self.positions
        return tuple(self.cells[i] for i in self.ours.own), tuple(self.ours.own.index(i) for i in self.positions)


def find_header(
    head: Sequence[Record], given: int | None, first_column: int = 1, *, mended: bool = False, guarded: bool = True
) -> Header:
    """The header among the first records: the one given, else the first, or the one below title lines.

    A rejected file of ours has its header in its first record that holds anything, whatever the mapping says of its
    source. One that is known to be `mended` is ours even where our columns are gone. Such files are `guarded` unless
    they say otherwise.

    Raises InputError where it is blank, missing, or names two columns alike.
    """
    first = next((record for record in head if record.filled), None)
    if first and (ours := _ours(first.cells, guarded)):
        return _named_ours(first, ours, first_column)
    if mended:
        found = _found(head)
        return _named_ours(found, Ours(tuple(range(len(found.cells))), is_guarded=guarded), first_column)
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


def is_ours(cells: Sequence[str]) -> bool:
    """Whether these are the header of a rejected file of ours: two of our columns are left."""
    return _ours(cells) is not None


def our_delimiter(head: bytes, given: str | None = None, *, whole: bool = True) -> str | None:
    """The delimiter that tells our own columns apart in the first record of a text; None where there are none."""
    if not any(name.encode() in head for name in REJECTED_COLUMNS):
        return None
    declared = csvscan.separator_line(head)
    start = declared[1] if declared else 0
    marks: dict[str, None] = dict.fromkeys((*csvscan.DELIMITERS, *(given or ""), *_MARKS))
    for mark in marks:
        records = csvscan.records(head, mark, start=start, whole=whole)
        first = next((record for record in islice(records, csvscan.HEAD_RECORDS) if record.filled), None)
        if first and is_ours(first.cells):
            return mark
    return None


_MARKS = string.punctuation.replace('"', "") + " "  # a list may have any of them


def _ours(cells: Sequence[str], guarded: bool = True) -> Ours | None:
    """Where our columns are: the last of their names. Their user may have moved them, or removed one of them."""
    at = {_stripped(cell): position for position, cell in enumerate(cells)}
    places = {name: at[name] for name in (*REJECTED_COLUMNS, RAW_COLUMN) if name in at}
    if sum(name in places for name in REJECTED_COLUMNS) < 2:
        return None
    last = max((i for i, cell in enumerate(cells) if _stripped(cell)), default=0)
    end = max(*places.values(), last) + 1
    own = tuple(i for i in range(end) if i not in places.values())
    return Ours(own, places.get("_row"), tuple(range(end, len(cells))), guarded and RAW_COLUMN not in places)


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
    named = tuple(names[i] for i in kept)
    return Header(record.row, len(names), named, kept, blank, notes, record.cells, None, hint, first_column)


def _named_ours(record: Record, ours: Ours, first_column: int) -> Header:
    """The header of a rejected file: the source's columns, as they were named there."""
    cells = bare_texts(record.cells) if ours.is_guarded else record.cells
    names = [_stripped(cell) for cell in cells]
    kept = tuple(i for i in ours.own if names[i])
    blank = tuple(i for i in ours.own if not names[i])
    if not kept:
        raise InputError(f"row {record.row}, the header, has none of your own columns; put them back")
    _refuse_duplicates([names[i] for i in ours.own], record.row, first_column, "")
    left = [name for i, name in enumerate(names) if name and i not in ours.own]
    notes = (f"columns left out: {', '.join(left)}; they are ours, from an earlier run",) if left else ()
    named = tuple(names[i] for i in kept)
    return Header(record.row, len(names), named, kept, blank, notes, cells, ours, "", first_column)


def _without_header(head: Sequence[Record], first_column: int) -> Header:
    widths = Counter(len(record.cells) for record in head if record.filled)
    if not widths:
        raise InputError("it holds no rows; export it again")
    width = widths.most_common(1)[0][0]
    names = tuple(str(first_column + i) for i in range(width))
    return Header(0, width, names, tuple(range(width)), (), (), names, first_column=first_column)


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
