"""Sheets of an .xls by xlrd, which gives errors, number formats, what is hidden and merged along with the values."""

from __future__ import annotations

import datetime as dt
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import xlrd

from pipeline.sheets.look import Look
from pipeline.sheets.model import PROTECTED, Grid, Listed, RefusedError
from pipeline.sheets.xlsx import mark_of

_LAST_DAY = 2_958_466  # after the last day of the calendar that spreadsheets know
_PLAIN = frozenset((xlrd.XL_CELL_EMPTY, xlrd.XL_CELL_TEXT, xlrd.XL_CELL_NUMBER, xlrd.XL_CELL_BLANK))
_DATED = frozenset((xlrd.XL_CELL_NUMBER, xlrd.XL_CELL_DATE))


@contextmanager
def opened(path: Path) -> Iterator[XlsBook]:
    """The workbook. Raises RefusedError where it is protected or can't be read."""
    with Path(os.devnull).open("w") as nowhere:  # xlrd prints what it finds odd
        try:
            book = xlrd.open_workbook(
                str(path), logfile=nowhere, formatting_info=True, on_demand=True, ignore_workbook_corruption=True
            )
        except xlrd.XLRDError as error:
            if "encrypted" in str(error):
                raise RefusedError(PROTECTED) from None
            raise
        with book:
            yield XlsBook(book)


class XlsBook:
    """A workbook of Excel 5 to 2003."""

    def __init__(self, book: xlrd.book.Book) -> None:
        self._book = book
        # Asking a sheet for its visibility would load it; the list has it.
        visibility = book._sheet_visibility
        self.tables = [Listed(name, not hidden) for name, hidden in zip(book.sheet_names(), visibility, strict=True)]
        self._elapsed = {n for n, style in enumerate(book.xf_list) if _ELAPSED.search(self._code(style))}
        self._marks = {n: mark for n, style in enumerate(book.xf_list) if (mark := mark_of(self._code(style)))}

    def grid(self, name: str) -> Grid:
        """The values of a sheet; errors are left to the look."""
        sheet = self._book.sheet_by_name(name)
        rows = (self._cells(sheet, row) for row in range(sheet.nrows))
        return Grid(rows, sheet.nrows, sheet.ncols, 0)

    def read(self, name: str) -> tuple[Grid, Look]:
        """The values of a sheet, and what is to be known of it besides."""
        return self.grid(name), self._look(name)

    def _look(self, name: str) -> Look:
        sheet = self._book.sheet_by_name(name)
        found = Look()
        found.last_row = sheet.nrows
        for row, info in sorted(sheet.rowinfo_map.items()):
            if info.hidden:
                found.hidden_rows.add(row + 1, row + 1)
        for column, about in sorted(sheet.colinfo_map.items()):
            if about.hidden:
                found.hidden_columns.add(column + 1, column + 1)
        for first_row, end_row, first_column, end_column in sheet.merged_cells:
            found.merge((first_row + 1, first_column + 1, end_row, end_column))
        self._mark_cells(found, sheet)
        return found

    def _code(self, style: xlrd.formatting.XF) -> str:
        form = self._book.format_map.get(style.format_key)
        return form.format_str if form is not None else ""

    def _mark_cells(self, found: Look, sheet: xlrd.sheet.Sheet) -> None:
        for row in range(sheet.nrows):
            for column, kind in enumerate(sheet.row_types(row)):
                if kind == xlrd.XL_CELL_ERROR:
                    code = sheet.cell_value(row, column)
                    found.error(row, column, xlrd.error_text_from_code.get(code, ""))
                elif kind in _DATED and (mark := self._marks.get(sheet.cell_xf_index(row, column))):
                    found.mark(row, column, mark)

    def _cells(self, sheet: xlrd.sheet.Sheet, row: int) -> Sequence[Any]:
        values, kinds = sheet.row_values(row), sheet.row_types(row)
        if _PLAIN.issuperset(kinds):
            return list(values)
        return [
            self._date(value, sheet.cell_xf_index(row, column)) if kind == xlrd.XL_CELL_DATE else _cell(value, kind)
            for column, (value, kind) in enumerate(zip(values, kinds, strict=True))
        ]

    def _date(self, value: float, style: int) -> Any:
        """A day, a moment, a time or a duration; a number that is none of the calendar's as it is."""
        if style in self._elapsed:
            return dt.timedelta(days=value)
        if not 0 <= value < _LAST_DAY:
            return value
        moment = xlrd.xldate_as_datetime(value, self._book.datemode)
        if value < 1:
            return moment.time()
        return moment if moment.time() != dt.time.min else moment.date()


_ELAPSED = re.compile(r"\[(?:h+|m+|s+)\]", re.IGNORECASE)


def _cell(value: Any, kind: int) -> Any:
    if kind == xlrd.XL_CELL_BOOLEAN:
        return bool(value)
    return "" if kind == xlrd.XL_CELL_ERROR else value
