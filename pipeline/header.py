"""Which record is the header, and what its cells say: the same for CSV and Excel."""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from itertools import islice

from pipeline import csvscan
from pipeline.csvscan import Record
from pipeline.guard import bare_texts
from pipeline.model import InputError
from pipeline.shapes import reaches_somebody

REJECTED_COLUMNS = ("_row", "_status", "_problems")  # what a rejected file of ours has beyond the source's columns
RAW_COLUMN = "_raw"  # and one without guards before formulas has this, too

_TITLE_RECORDS = 20  # a header further down is not found by itself
_LOOKED_AT = 20  # records below the header, which may say that it is none
_NUMBER = re.compile(r"[-+$]?\d[\d.,:/ -]*%?")  # dates, too
_DATE = re.compile(r"\d{1,4}([-/.])\d{1,2}\1\d{1,4}")
_SPACES = re.compile(r"[^\S\t\r\n]")
_UNSEEN = re.compile("[\xad\u200b\u200e\u200f\u2060\ufeff]")


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
    `width` cells of a record; columns that the file names alike are told apart as `Phone[1]`, `Phone[2]` there and
    not in `cells`, which are all of the header as the file has it. `blank` are the positions without a name, whose
    cells must be empty. The user counts positions from `first_column` on.
    """

    row: int
    width: int
    names: tuple[str, ...]
    cells: tuple[str, ...]
    positions: tuple[int, ...]
    blank: tuple[int, ...]
    notes: tuple[str, ...]
    ours: Ours | None = None  # of our own rejected files
    hint: str = ""  # what to add to a complaint about the columns
    first_column: int = 1

    @property
    def headings(self) -> tuple[str, ...]:
        """The names as the file has them, stripped."""
        return tuple(_stripped(self.cells[position]) for position in self.positions)

    @property
    def source_cells(self) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """The header's cells without ours, and where among them each of `names` is."""
        if self.ours is None:
            return self.cells, self.positions
        return tuple(self.cells[i] for i in self.ours.own), tuple(self.ours.own.index(i) for i in self.positions)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is known of a header beforehand.

    `row` is the one given, 0 where there is no header, None where it is to be found. Columns named alike are told apart
    where one of them is among the `picked`, such as `Phone[2]` for the second `Phone`. A file that is known to be
    `mended` is a rejected one of ours even where our columns are gone. Such files are `guarded` unless they say
    otherwise.
    """

    row: int | None = None
    picked: Set[str] = frozenset()
    mended: bool = False
    guarded: bool = True


def find_header(head: Sequence[Record], wanted: Wanted, first_column: int = 1) -> Header:
    """The header among the first records: the one given, else the first, or the one below title lines.

    A rejected file of ours has its header in its first record that holds anything, whatever is wanted.

    Raises InputError where the header is blank or missing, or names two columns alike of which none is picked.
    """
    first = next((record for record in head if record.filled), None)
    if first and (ours := _ours(first.cells, wanted.guarded)):
        return _named_ours(first, ours, first_column, wanted.picked)
    if wanted.mended:
        found = head[_found(head)]
        ours = Ours(tuple(range(len(found.cells))), is_guarded=wanted.guarded)
        return _named_ours(found, ours, first_column, wanted.picked)
    given = wanted.row
    if given == 0:
        return _without_header(head, first_column)
    at = _found(head) if given is None else next((at for at, record in enumerate(head) if record.row == given), None)
    if at is None:
        raise InputError(f"header_row is {given}, and there is no such row within the first {_last(head)}")
    header = _named(head, at, first_column, wanted.picked)
    if given is None and any(record.filled for record in head[:at]):
        note = f"the header is in row {header.row}; what stands above it is left out"
        return replace(header, notes=(note, *header.notes))
    return header


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


def _found(head: Sequence[Record]) -> int:
    """Which is the first record that is not blank, or the first wide one where single cells (titles) stand above it."""
    filled = [at for at, record in enumerate(head) if record.filled]
    if not filled:
        raise InputError("it holds no rows; export it again")
    first = filled[0]
    if head[first].filled > 1:
        return first
    below = next((at for at in filled[:_TITLE_RECORDS] if head[at].filled > 1), None)
    if below is None or _is_of_a_lead(head[below].cells):
        return first
    return below if _is_table([head[at] for at in filled if at >= below]) else first


def _is_table(body: Sequence[Record]) -> bool:
    """Whether most records are as wide as the first and hold several cells."""
    alike = sum(record.filled > 1 and len(record.cells) == len(body[0].cells) for record in body)
    return len(body) > 1 and alike > len(body) / 2


def _named(head: Sequence[Record], at: int, first_column: int, picked: Set[str]) -> Header:
    record, below = head[at], [found for found in head[at + 1 :][:_LOOKED_AT] if found.filled]
    names = tuple(_visible(cell) for cell in record.cells)
    if not any(names):
        raise InputError(f"row {record.row}, the header, is blank; set header_row to the row with the column names")
    notes, hint = _doubts(record, below)
    kept = tuple(position for position, name in enumerate(names) if name)
    blank = tuple(position for position, name in enumerate(names) if not name)
    if blank:
        notes += (f"{len(blank)} columns without a name are empty and left out",)
    return Header(
        row=record.row,
        width=len(names),
        names=_told_apart({position: names[position] for position in kept}, picked, record.row, first_column, hint),
        cells=record.cells,
        positions=kept,
        blank=blank,
        notes=notes + _nearly_alike(names),
        hint=hint,
        first_column=first_column,
    )


def _named_ours(record: Record, ours: Ours, first_column: int, picked: Set[str]) -> Header:
    """The header of a rejected file: the source's columns, as they were named there."""
    cells = bare_texts(record.cells) if ours.is_guarded else record.cells
    names = {position: _visible(cells[position]) for position in ours.own}
    named = {position: name for position, name in names.items() if name}
    if not named:
        raise InputError(f"row {record.row}, the header, has none of your own columns; put them back")
    left = [cell.strip() for position, cell in enumerate(cells) if cell.strip() and position not in names]
    return Header(
        row=record.row,
        width=len(cells),
        names=_told_apart(named, picked, record.row, first_column, ""),
        cells=cells,
        positions=tuple(named),
        blank=tuple(position for position, name in names.items() if not name),
        notes=(f"columns left out: {', '.join(left)}; they are ours, from an earlier run",) if left else (),
        ours=ours,
        first_column=first_column,
    )


def _doubts(record: Record, below: Sequence[Record]) -> tuple[tuple[str, ...], str]:
    """What is to be said of a header that may be none, and what to add to a complaint about its columns."""
    if _is_of_a_lead(record.cells) or _recurs(record, below):
        hint = "; if the file has no header, set header_row = 0"
        return (f"row {record.row}, the header, looks like data{hint}",), hint
    names = below[0] if below and record.filled < len(record.cells) == below[0].filled else None
    if names and not _is_of_a_lead(names.cells) and not any(_NUMBER.fullmatch(cell.strip()) for cell in names.cells):
        return (), f"; if the names are in row {names.row}, set header_row = {names.row}"
    return (), ""


def _without_header(head: Sequence[Record], first_column: int) -> Header:
    widths = Counter(len(record.cells) for record in head if record.filled)
    if not widths:
        raise InputError("it holds no rows; export it again")
    width = widths.most_common(1)[0][0]
    names = tuple(str(first_column + i) for i in range(width))
    return Header(0, width, names, names, tuple(range(width)), (), (), first_column=first_column)


def _stripped(cell: str) -> str:
    """The name without whitespace around it (NBSP, too) and without a byte order mark."""
    return cell.strip().strip("\ufeff").strip()


def _visible(cell: str) -> str:
    """The name as it can be typed: all kinds of space are one, what can't be seen is gone, letters are composed."""
    return unicodedata.normalize("NFC", _UNSEEN.sub("", _SPACES.sub(" ", cell))).strip()


def _told_apart(names: Mapping[int, str], picked: Set[str], row: int, first_column: int, hint: str) -> tuple[str, ...]:
    """The names by position, those that stand there more than once with their number: `Phone[1]`, `Phone[2]`."""
    places: defaultdict[str, list[int]] = defaultdict(list)
    for position, name in names.items():
        places[name].append(position)
    apart = dict(names)
    for name, positions in places.items():
        if len(positions) == 1:
            continue
        numbered = {position: f"{name}[{number}]" for number, position in enumerate(positions, 1)}
        *columns, last = (str(position + first_column) for position in positions)
        all_of = "both" if len(positions) == 2 else "all"
        told = f"row {row}, the header: columns {', '.join(columns)} and {last} are {all_of} named {name!r}"
        if picked.isdisjoint(numbered.values()):
            raise InputError(f"{told}; rename one, or name them by position in the mapping, as in '{name}[2]'{hint}")
        if taken := [name for name in numbered.values() if name in places]:
            raise InputError(f"{told}, and another column {taken[0]!r}; rename one{hint}")
        apart |= numbered
    return tuple(apart.values())


def _nearly_alike(names: Sequence[str]) -> tuple[str, ...]:
    """A note where names differ by case alone: the mapping means the one that it writes."""
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for name in dict.fromkeys(filter(None, names)):
        alike[name.casefold()].append(name)
    near = [", ".join(map(repr, group)) for group in alike.values() if len(group) > 1]
    return (f"column names that differ in case only: {'; '.join(near)}",) if near else ()


def _is_of_a_lead(cells: Sequence[str]) -> bool:
    """Whether a cell holds a phone number, an e-mail address or a date, or every cell that is not blank a number."""
    filled = [cell.strip() for cell in cells if cell.strip()]
    known = reaches_somebody(filled) or any(_DATE.fullmatch(cell) for cell in filled)
    return known or all(_NUMBER.fullmatch(cell) for cell in filled)


def _recurs(header: Record, below: Sequence[Record]) -> bool:
    """Whether a fifth of the names, though not all at once, stand in their columns again: then they are values."""
    names = {(position, name) for position, cell in enumerate(header.cells) if (name := cell.strip())}
    again = [names.intersection((at, cell.strip()) for at, cell in enumerate(record.cells)) for record in below]
    return names not in again and any(5 * len(alike) >= len(names) for alike in again)
