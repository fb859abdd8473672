"""The rejected file: the rows that need mending, in the source's own columns and format; it loads again."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.folder import replacing
from pipeline.source import REJECTED_COLUMNS

_CELL_AT_MOST = 32767  # characters that a spreadsheet cell holds


@dataclass(frozen=True, slots=True)
class Form:
    """What the source looks like, as its manifest says: format, header, and how its text is written."""

    format: str  # csv, xlsx, xls, xlsb, ods
    columns: tuple[str, ...]
    sheet: str | None
    encoding: str
    delimiter: str


def write(folder: Path, stem: str, form: Form, tables: Iterable[pa.Table]) -> Path | None:
    """Writes `stem`.csv or .xlsx from tables of rows that need mending; None where there are none.

    A ragged row keeps exactly its own cells, so that it is refused again until someone has mended it.
    """
    rows = (row for table in tables for row in _rows(table))
    first = next(rows, None)
    if first is None:
        return None
    lines = _joined((*form.columns, *REJECTED_COLUMNS), first, rows)
    if form.format == "csv":
        return _write_csv(folder / f"{stem}.csv", form, lines)
    return _write_xlsx(folder / f"{stem}.xlsx", form.sheet or "Sheet1", lines)


def _joined(header: Sequence[str], first: Sequence[str], rest: Iterator[Sequence[str]]) -> Iterator[Sequence[str]]:
    yield header
    yield first
    yield from rest


def _rows(table: pa.Table) -> Iterator[list[str]]:
    cells = [name for name in table.column_names if name.startswith("cell_")]
    for row in table.to_pylist():
        own = row["ragged"] if row["ragged"] is not None else [row[name] or "" for name in cells]
        yield [*own, str(row["row"]), row["status"], row["problems"]]


def _write_csv(path: Path, form: Form, lines: Iterable[Sequence[str]]) -> Path:
    with replacing(path) as file:
        text = io.TextIOWrapper(file, encoding=_encoding(form), errors="replace", newline="")
        csv.writer(text, delimiter=form.delimiter or ",").writerows(lines)
        text.detach()  # flushes, and leaves the file open
    return path


def _encoding(form: Form) -> str:
    """UTF-8 with its mark, which spreadsheets need, unless the source has an encoding of its own."""
    encoding = form.encoding or "utf-8"
    return "utf-8-sig" if encoding.replace("_", "-").lower() in ("utf-8", "ascii") else encoding


def _write_xlsx(path: Path, sheet: str, lines: Iterable[Sequence[str]]) -> Path:
    import openpyxl  # only where a workbook is written: it takes 80 ms

    book = openpyxl.Workbook(write_only=True)
    page = book.create_sheet(sheet[:31])
    for line in lines:
        page.append([_text_cell(page, text) for text in line])
    with replacing(path) as file:
        book.save(file)
    return path


def _text_cell(page: Any, text: str) -> Any:
    """A cell that is text even where it looks like a formula."""
    from openpyxl.cell import WriteOnlyCell
    from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

    cell = WriteOnlyCell(page, ILLEGAL_CHARACTERS_RE.sub("", text)[:_CELL_AT_MOST])
    cell.data_type = "s"
    return cell
