"""What a second look at a sheet finds: cells to be read otherwise, and what its reader should be told."""

from __future__ import annotations

import datetime as dt
import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.cells import UNCALCULATED, stands_in
from pipeline.sheets.formats import Picture

MERGES_KEPT = 1000
_SHOWN = 5  # ranges that a note names
_ANY_ERROR = "#ERROR!"


@dataclass(frozen=True, slots=True)
class Instead:
    """The text of a cell, whatever its value."""

    text: str

    def __call__(self, _cell: Any) -> str:
        """The text."""
        return self.text


def midnight(cell: Any) -> Any:
    """A day in a format that shows the hour, too, as that day's midnight."""
    return f"{cell} 00:00:00" if type(cell) is dt.date else cell


Mark = Callable[[Any], Any]  # a cell's value → what is read instead


class Used(NamedTuple):
    """The rows and columns, from 0 and without the end, in which marks stand for values."""

    end_row: int
    first_column: int
    end_column: int


class Look:
    """Marks by position (from 0), what is hidden or merged, and counts."""

    def __init__(self) -> None:
        self.hidden_rows = Ranges()
        self.hidden_columns = Ranges()
        self.filtered = False
        self.merged: list[tuple[int, int, int, int]] = []
        self.merges = 0
        self.last_row = 0  # the last that is mentioned, from 1
        self.formulas = 0  # counted only where they may not be calculated
        self.errors = 0
        self.uncalculated = 0
        self.restored = 0  # numbers that got their leading zeros back
        self._rows, self._columns, self._codes = array("i"), array("i"), array("i")
        self._marks: dict[Mark, int] = {}
        self._used = Used(0, 1 << 30, 0)

    def mark(self, row: int, column: int, mark: Mark) -> None:
        """Has the cell read otherwise."""
        self._rows.append(row)
        self._columns.append(column)
        self._codes.append(self._marks.setdefault(mark, len(self._marks)))

    def error(self, row: int, column: int, text: str) -> None:
        """Has the cell read as the error that it shows, in a spelling that every cleaner refuses."""
        self.errors += 1
        self._replace(row, column, text if stands_in(text) else _ANY_ERROR)

    def never_calculated(self, row: int, column: int) -> None:
        """Has the cell read as a formula that nobody has calculated."""
        self.uncalculated += 1
        self._replace(row, column, UNCALCULATED)

    def merge(self, area: tuple[int, int, int, int]) -> None:
        """Counts merged cells: first row, first column, last row, last column, from 1."""
        self.merges += 1
        if len(self.merged) < MERGES_KEPT:
            self.merged.append(area)

    @property
    def used(self) -> Used:
        """Where errors and formulas without values are: the reader's used range may not reach there."""
        return self._used

    def apply(self, first_row: int, first_column: int, columns: list[Sequence[Any]]) -> None:
        """Changes the marked cells of a batch of columns, whose cells begin in that row and column (from 0)."""
        for column, rows, marks in self._of_batch(first_row, len(columns[0]) if columns else 0):
            if not 0 <= column - first_column < len(columns):
                continue
            cells = list(columns[column - first_column])
            for row, mark in zip(rows, marks, strict=True):
                before = cells[row - first_row]
                cells[row - first_row] = after = mark(before)
                self.restored += type(mark) is Picture and after is not before
            columns[column - first_column] = cells

    def notes(self) -> Iterator[str]:
        """What the user should know of the cells, in sentences."""
        if self.restored:
            yield f"numbers with the leading zeros that their format shows: {self.restored:,}"
        if self.errors:
            yield f"cells of the sheet with a spreadsheet's error: {self.errors:,}"
        if self.uncalculated:
            yield (
                f"formulas of the sheet without a value: {self.uncalculated:,}; open it in Excel or LibreOffice, let "
                "it calculate, and save it"
            )
        if self.formulas > self.uncalculated:
            yield (
                f"formulas whose values may be placeholders, since the program that wrote the workbook left the "
                f"calculating to Excel: {self.formulas - self.uncalculated:,}; open it in Excel and save it"
            )

    def _replace(self, row: int, column: int, text: str) -> None:
        used = self._used
        self._used = Used(max(used.end_row, row + 1), min(used.first_column, column), max(used.end_column, column + 1))
        self.mark(row, column, Instead(text))

    def _of_batch(self, first_row: int, count: int) -> Iterator[tuple[int, list[int], list[Mark]]]:
        """By column: rows and marks between two rows."""
        rows, columns, codes = self._sorted()
        start, end = np.searchsorted(rows, (first_row, first_row + count))
        words = list(self._marks)
        for column in np.unique(columns[start:end]).tolist():
            here = np.flatnonzero(columns[start:end] == column) + start
            yield column, rows[here].tolist(), [words[code] for code in codes[here].tolist()]

    def _sorted(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """All marks by row; they come so from all but odd workbooks."""
        rows, columns, codes = (np.frombuffer(part, np.int32) for part in (self._rows, self._columns, self._codes))
        if rows.size and np.any(rows[1:] < rows[:-1]):
            order = np.argsort(rows, kind="stable")
            self._rows, self._columns, self._codes = (
                array("i", part[order].tobytes()) for part in (rows, columns, codes)
            )
            return self._sorted()
        return rows, columns, codes


class Ranges:
    """Runs of numbers, from 1, added in order."""

    def __init__(self) -> None:
        self._first, self._last = array("i"), array("i")

    def add(self, first: int, last: int) -> None:
        """Adds the numbers from first to last."""
        if self._last and self._first[-1] <= first <= self._last[-1] + 1:
            self._last[-1] = max(last, self._last[-1])
        else:
            self._first.append(first)
            self._last.append(last)

    def among(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Those of the numbers that are in a run."""
        if not self._first:
            return numbers[:0]
        firsts, lasts = np.frombuffer(self._first, np.int32), np.frombuffer(self._last, np.int32)
        order = np.argsort(firsts, kind="stable")
        at = np.searchsorted(firsts[order], numbers, side="right") - 1
        return numbers[(at >= 0) & (numbers <= lasts[order][at])]


def runs(numbers: Sequence[int], name: Callable[[int], str] = str) -> str:
    """Numbers as text: `2-5, 7 and 3 more` (runs)."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    shown = [name(a) if a == b else f"{name(a)}-{name(b)}" for a, b in found[:_SHOWN]]
    return ", ".join(shown) + (f" and {len(found) - _SHOWN:,} more" if len(found) > _SHOWN else "")


def letters(number: int) -> str:
    """A column's letters; 1 is A."""
    text = ""
    while number:
        number, rest = divmod(number - 1, 26)
        text = chr(ord("A") + rest) + text
    return text


_REFERENCE = re.compile(r"\$?([A-Za-z]{1,3})\$?([0-9]{1,7})")


def position(reference: str) -> tuple[int, int] | None:
    """Row and column, from 0, of a reference such as B5; None where it is none."""
    found = _REFERENCE.fullmatch(reference)
    if found is None:
        return None
    return int(found[2]) - 1, column_number(found[1]) - 1


@cache
def column_number(name: str) -> int:
    """The number of a column by its letters; A is 1."""
    number = 0
    for letter in name.upper():
        number = number * 26 + ord(letter) - ord("A") + 1
    return number


def area(reference: str) -> tuple[int, int, int, int] | None:
    """First row, first column, last row, last column, from 1, of a reference such as B5:C7; None where it is none."""
    first, _, last = reference.partition(":")
    begin, end = position(first), position(last or first)
    if begin is None or end is None:
        return None
    return begin[0] + 1, begin[1] + 1, end[0] + 1, end[1] + 1
