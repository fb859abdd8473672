"""The rejected file as a workbook: text cells, byte for byte; those that have a problem coloured, with a comment.

openpyxl makes the workbook; the rows are streamed into it by column, since a cell of openpyxl takes 30 µs.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.sniff import OUR_KEYWORD

# What a sheet holds at most.
_ROWS, _COLUMNS, _CHARACTERS, _TITLE = 1_048_576, 16_384, 32_767, 31

_COMMENTS = 5_000  # more take memory, 5 KB each, here and in every spreadsheet
_COMMENT_CHARACTERS = 1_000
_WIDTHS = (8, 48)  # of columns, in characters
_LAST_WIDTH = 80  # of the problems
_RED, _GREY = "FFFFC7CE", "FFD9D9D9"


class Mark(NamedTuple):
    """A cell that has a problem, by row and column of its table; without words where the row says it all."""

    at: int
    place: int
    told: str


class Filled(NamedTuple):
    """Rows by column, as text; the cells of ragged rows that the header does not have, by row; what is wrong where."""

    columns: list[pa.Array]
    beyond: dict[int, tuple[str, ...]]
    marks: list[Mark]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a workbook is to be, from a look at all of its rows; `unfit` says why there can't be one."""

    title: str
    header: tuple[str, ...]
    widths: tuple[int, ...]
    comments: tuple[Mark, ...]  # their rows are the sheet's, from 1
    notes: tuple[str, ...]
    unfit: str


def plan(title: str, header: Sequence[str], tables: Iterable[Filled]) -> Plan:
    """The plan for rows under this header."""
    look = _Look(len(header), np.array([len(cell) for cell in header]))
    for table in tables:
        look.add(table)
    widths = (*np.clip(look.longest[:-1] + 2, *_WIDTHS).tolist(), _LAST_WIDTH)
    return Plan(title, tuple(header), widths, tuple(look.comments), _notes(look.marked), look.unfit or _unnamed(title))


@dataclass(slots=True)
class _Look:
    """What tables add up to."""

    width: int
    longest: npt.NDArray[np.int64]  # characters by column
    comments: list[Mark] = field(default_factory=list)
    rows: int = 0
    marked: int = 0
    lost: int = 0  # cells that XML can't hold

    def add(self, table: Filled) -> None:
        """Takes in one table."""
        told = [mark for mark in table.marks if mark.told]
        self.marked += len({(mark.at, mark.place) for mark in told})
        self.comments += [mark._replace(at=mark.at + self.rows + 2) for mark in told[: _COMMENTS - len(self.comments)]]
        columns = _with_beyond(table)
        self.width = max(self.width, len(columns))
        lengths = np.array([_longest(column) for column in columns])
        own = len(table.columns)
        self.longest = np.maximum(self.longest, lengths[:own])
        self.longest[-1] = max(self.longest[-1], *lengths[own - 1 :])
        self.lost += sum(pc.sum(pc.match_substring_regex(column, _NO_XML)).as_py() or 0 for column in columns)
        self.rows += len(columns[0])

    @property
    def unfit(self) -> str:
        """What a sheet can't hold of them."""
        if self.rows + 1 > _ROWS:
            return f"{self.rows:,} rows and a header are more than a sheet holds"
        if self.width > _COLUMNS:
            return f"{self.width:,} columns are more than a sheet holds"
        if (longest := int(self.longest.max())) > _CHARACTERS:
            return f"a cell has {longest:,} characters, and a sheet's hold {_CHARACTERS:,}"
        return "cells hold characters that no sheet can (U+FFFE, U+FFFF)" if self.lost else ""


def _unnamed(title: str) -> str:
    odd = re.search(r"[\\*?:/\[\]\x00-\x1f]", title) or title[:1] == "'" or title[-1:] == "'"
    return f"no sheet of Excel can be named {title!r}" if odd or len(title) > _TITLE else ""


def _longest(column: pa.Array) -> int:
    """The characters of the longest cell, as a sheet counts them: some count twice."""
    most: int = pc.max(pc.utf8_length(column)).as_py() or 0
    if most * 2 <= _CHARACTERS:
        return most
    long = column.filter(pc.greater(pc.binary_length(column), most)).to_pylist()
    return max([most, *(len(cell.encode("utf-16-le")) // 2 for cell in long)])


def _notes(marked: int) -> tuple[str, ...]:
    if marked <= _COMMENTS:
        return ()
    return (f"{marked:,} cells to mend are coloured, and the first {_COMMENTS:,} have a comment; _problems tells all",)


def write(file: IO[bytes], planned: Plan, tables: Iterable[Filled]) -> None:
    """Writes the workbook, a table at a time."""
    made, styles = _skeleton(planned)
    with zipfile.ZipFile(made) as empty, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as book:
        for entry in empty.infolist():
            content = empty.read(entry)
            if entry.filename != "xl/worksheets/sheet1.xml":
                book.writestr(entry, content)
                continue
            before, rest = content.split(b"<sheetData>")
            with book.open(entry.filename, "w", force_zip64=True) as sheet:
                sheet.write(re.sub(rb"<dimension [^>]*/>", b"", before) + b"<sheetData>")
                for text in _rows(planned.header, styles, tables):
                    sheet.write(text.encode())
                sheet.write(rest[rest.index(b"</sheetData>") :])


class _Styles(NamedTuple):
    """The numbers of styles in the workbook."""

    header: int
    text: int
    problem: int


def _skeleton(planned: Plan) -> tuple[io.BytesIO, _Styles]:
    """A workbook with everything but its rows."""
    import openpyxl  # only where a workbook is written: it takes 80 ms
    from openpyxl.styles import Font, PatternFill
    from openpyxl.utils import get_column_letter

    book = openpyxl.Workbook()
    book.properties.creator, book.properties.keywords = "leads", OUR_KEYWORD
    page = book.worksheets[0]
    page.title = planned.title
    page.freeze_panes = "A2"
    for place, width in enumerate(planned.widths, 1):
        column = page.column_dimensions[get_column_letter(place)]
        column.width, column.number_format = width, "@"  # what is typed there stays text
    _put_comments(page, planned)
    plain, red, bold = (page.cell(row, 1) for row in (1, 2, 3))  # what they are is all that is wanted of them
    for cell in (plain, red, bold):
        cell.number_format = "@"
    red.fill = PatternFill("solid", fgColor=_RED)
    bold.fill, bold.font = PatternFill("solid", fgColor=_GREY), Font(name="Calibri", size=11, bold=True)
    made = io.BytesIO()
    book.save(made)
    return made, _Styles(bold.style_id, plain.style_id, red.style_id)


def _put_comments(page: Any, planned: Plan) -> None:
    from openpyxl.comments import Comment

    told: dict[tuple[int, int], str] = {}
    for mark in planned.comments:
        place = (mark.at, mark.place + 1)
        told[place] = f"{told[place]}\n{mark.told}" if place in told else mark.told
    if planned.notes:
        told[1, len(planned.header)] = "\n".join(planned.notes)
    for (row, column), text in told.items():
        words = _escaped(text[:_COMMENT_CHARACTERS])
        page.cell(row, column).comment = Comment(words, "leads", height=40 + 20 * (len(words) // 40), width=320)


# --- Rows ---


def _rows(header: Sequence[str], styles: _Styles, tables: Iterable[Filled]) -> Iterator[str]:
    names = Filled([pa.array([name], pa.string()) for name in header], {}, [])
    yield _table(names, 1, styles.header, styles.problem)
    first = 2
    for table in tables:
        yield _table(table, first, styles.text, styles.problem)
        first += len(table.columns[0])


def _table(table: Filled, first: int, style: int, problem: int) -> str:
    """The rows of one table, from row number `first` on."""
    columns = _with_beyond(table)
    numbers = pa.array(range(first, first + len(columns[0]))).cast(pa.string())
    by_place: dict[int, list[int]] = {}
    for mark in table.marks:
        by_place.setdefault(mark.place, []).append(mark.at)
    cells = [
        _cells(column, place, numbers, _styled(len(column), style, problem, by_place.get(place, ())))
        for place, column in enumerate(columns)
    ]
    rows = pc.binary_join_element_wise('<row r="', numbers, '">', *cells, "</row>", "")
    return "".join(rows.to_pylist())


def _with_beyond(table: Filled) -> list[pa.Array]:
    width = max((len(cells) for cells in table.beyond.values()), default=0)
    rows = range(len(table.columns[0]))
    more = [[(*table.beyond.get(at, ()), *[""] * width)[place] for at in rows] for place in range(width)]
    return [*table.columns, *(pa.array(column, pa.string()) for column in more)]


def _styled(rows: int, style: int, problem: int, marked: Sequence[int]) -> pa.Array:
    styles = np.full(rows, style)
    styles[list(marked)] = problem
    return pa.array(styles).cast(pa.string())


def _cells(column: pa.Array, place: int, numbers: pa.Array, styles: pa.Array) -> pa.Array:
    """The cells of a column: inline text, however much it looks like a number or a formula."""
    from openpyxl.utils import get_column_letter

    begins = f'<c r="{get_column_letter(place + 1)}'
    return pc.binary_join_element_wise(
        begins, numbers, '" s="', styles, '" t="inlineStr"><is><t xml:space="preserve">', _xml(column),
        "</t></is></c>", "",
    )  # fmt: skip


# What XML can't hold, or would change, is written as spreadsheets do; and so is text that looks as if it were.
_ODD = re.compile(r"[\x00-\x08\x0b-\x1f]|_(?=x[0-9A-Fa-f]{4}_)")
_IS_ODD = r"[\x00-\x08\x0b-\x1f]|_x[0-9A-Fa-f]{4}_"
_NO_XML = r"[\x{fffe}\x{ffff}]"


def _escaped(text: str) -> str:
    return _ODD.sub(lambda found: f"_x{ord(found[0]):04X}_", text)


def _xml(column: pa.Array) -> pa.Array:
    odd = pc.match_substring_regex(column, _IS_ODD)
    if pc.any(odd).as_py():
        escaped = [_escaped(cell) for cell in column.filter(odd).to_pylist()]
        column = pc.replace_with_mask(column, odd, pa.array(escaped, pa.string()))
    for sign, name in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        column = pc.replace_substring(column, sign, name)
    return column
