"""The rejected file: the rows that need mending, in the source's own columns and format; it loads again."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline import csvscan, decode
from pipeline.folder import replacing
from pipeline.model import UserError
from pipeline.sniff import SNIFF_BYTES
from pipeline.source import REJECTED_COLUMNS

_CELL_AT_MOST = 32767  # characters that a spreadsheet cell holds


@dataclass(frozen=True, slots=True)
class Form:
    """What the source looks like, as its manifest says: format, header, and how its text is written."""

    format: str  # csv, parquet, xlsx, xls, xlsb, ods
    columns: tuple[str, ...]
    sheet: str | None
    encoding: str
    delimiter: str


def write(folder: Path, stem: str, form: Form, tables: Iterable[pa.Table]) -> Path | None:
    """Writes `stem`.xlsx for a workbook, else .csv, from tables of rows that need mending; None where there are none.

    A ragged row keeps exactly its own cells, so that it is refused again until someone has mended it.
    """
    rows = (row for table in tables for row in _rows(table))
    first = next(rows, None)
    if first is None:
        return None
    lines = _joined((*form.columns, *REJECTED_COLUMNS), first, rows)
    if form.format in ("csv", "parquet"):  # people mend no Parquet
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


# --- Afterwards ---


def files(folder: Path) -> list[Path]:
    """The rejected files of a run, and what its user may have made of them there."""
    return sorted(path for path in folder.glob("rejected*") if path.suffix in (".csv", ".xlsx"))


def source_of(path: Path) -> int:
    """Of which source of its run the file is, from 0."""
    numbered = re.match(r"rejected-([1-9][0-9]*)", path.stem)
    return int(numbered[1]) - 1 if numbered else 0


def drop(path: Path, delimiters: Iterable[str], is_meant: Callable[[Sequence[str]], bool]) -> None:
    """Takes records out of a rejected file, by their cells. The others stay as they are; without any, the file goes.

    `delimiters` are those that it may have besides the usual ones. Raises UserError where it is no such file any more.
    """
    try:
        if path.suffix == ".csv":
            _drop_csv(path, [*delimiters, *csvscan.DELIMITERS], is_meant)
        else:
            _drop_xlsx(path, is_meant)
    except (zipfile.BadZipFile, KeyError, ValueError):
        raise UserError(f"{path}: can't be read; see what is in it, remove it, and do this again") from None


def _drop_csv(path: Path, delimiters: Sequence[str], is_meant: Callable[[Sequence[str]], bool]) -> None:
    raw = path.read_bytes()
    encoding = decode.first_choice(raw[:SNIFF_BYTES], None)  # what is not UTF-16 or 32 has its signs where ASCII does
    text = raw if encoding.is_utf8 else raw.decode(encoding.name).encode()
    found = list(csvscan.records(text, _delimiter(text, delimiters)))
    kept = [record for record in found if not is_meant(record.cells)]
    if len(kept) == len(found):
        return
    if all(_is_header(record.cells) for record in kept):
        path.unlink()
        return
    left = b"".join(text[record.start : record.end] for record in kept)
    with replacing(path) as file:
        file.write(left if encoding.is_utf8 else left.decode().encode(encoding.name))


def _delimiter(text: bytes, delimiters: Sequence[str]) -> str:
    """The one that tells our own columns apart in the header."""
    headers = ((mark, next(csvscan.records(text, mark), None)) for mark in delimiters)
    return next((mark for mark, header in headers if header and _is_header(header.cells)), delimiters[0])


def _is_header(cells: Sequence[str]) -> bool:
    return set(REJECTED_COLUMNS).issubset(cells)


def _drop_xlsx(path: Path, is_meant: Callable[[Sequence[str]], bool]) -> None:
    import openpyxl

    book = openpyxl.load_workbook(path)
    kept: list[Sequence[str]] = []
    dropped = False
    for page in book.worksheets:
        lines = [["" if cell is None else str(cell) for cell in line] for line in page.iter_rows(values_only=True)]
        meant = [at for at, cells in enumerate(lines, page.min_row) if is_meant(cells)]
        for at in reversed(meant):
            page.delete_rows(at)
        kept += [cells for at, cells in enumerate(lines, page.min_row) if at not in set(meant)]
        dropped = dropped or bool(meant)
    if dropped and all(_is_header(cells) for cells in kept):
        path.unlink()
    elif dropped:
        with replacing(path) as file:
            book.save(file)
