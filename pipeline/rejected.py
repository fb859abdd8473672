"""The rejected file: the rows that need mending, in the source's own columns and format; it loads again.

A CSV file has the source's delimiter, line ends and encoding, and a `'` before what a spreadsheet would run. A ragged
row has `(missing)` where it lacks a cell, and the cells that the header does not have to the right of ours: so it is
refused again until someone has mended it, however a spreadsheet fills up its rows.
"""

from __future__ import annotations

import codecs
import hashlib
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import csvscan, decode, guard, rejected_book
from pipeline.decode import Encoding, UndecodableError
from pipeline.folder import replacing
from pipeline.header import RAW_COLUMN, REJECTED_COLUMNS, is_ours, our_delimiter
from pipeline.model import InputError, UserError
from pipeline.rejected_book import Filled, Mark
from pipeline.sniff import SNIFF_BYTES


@dataclass(frozen=True, slots=True)
class Form:
    """What the source looks like: its header, blank cells too, and how its text is written.

    A part has the `columns` as cell_0, cell_1, …; `places` says where in the header they are. A `raw` CSV file has no
    guards before formulas.
    """

    format: str  # csv, parquet, xlsx, xls, xlsb, ods
    columns: tuple[str, ...]
    header: tuple[str, ...]
    places: tuple[int, ...]
    sheet: str | None = None
    encoding: str = "utf-8"
    delimiter: str = ","
    newline: str = "\r\n"
    raw: bool = False

    @classmethod
    def of(cls, source: Mapping[str, Any], *, raw: bool) -> Form:
        """The form of a source, as a manifest tells of it."""
        columns = tuple(source["columns"])
        header, places = tuple(source.get("header", columns)), tuple(source.get("places", range(len(columns))))
        text = (source["encoding"] or "utf-8", source["delimiter"] or ",", source.get("newline") or "\r\n")
        return cls(source["format"], columns, header, places, source["sheet"], *text, raw)


@dataclass(frozen=True, slots=True)
class Written:
    """A rejected file, and what its user should know about it."""

    path: Path
    notes: tuple[str, ...] = ()


def is_csv(source_format: str) -> bool:
    """Whether the rows to mend of a source are written as CSV: people mend no Parquet."""
    return source_format in ("csv", "parquet")


def write(folder: Path, stem: str, form: Form, tables: Iterable[pa.Table]) -> Written | None:
    """Writes `stem`.xlsx for a workbook, else .csv, from tables of rows that need mending; None where there are none.

    `tables` are gone through more than once. What no sheet can hold is written as CSV.
    """
    if not any(table.num_rows for table in tables):
        return None
    if is_csv(form.format):
        return _write_csv(folder / f"{stem}.csv", form, tables)
    header = (*form.header, *REJECTED_COLUMNS)
    plan = rejected_book.plan(form.sheet or "Sheet1", header, (_filled(form, table) for table in tables))
    if plan.unfit:
        told = _write_csv(folder / f"{stem}.csv", form, tables)
        return Written(told.path, (f"the rows to mend are CSV, since {plan.unfit}", *told.notes))
    path = folder / f"{stem}.xlsx"
    with replacing(path) as file:
        rejected_book.write(file, plan, (_filled(form, table) for table in tables))
    return Written(path, plan.notes)


# --- Rows by column ---


def _filled(form: Form, table: pa.Table, *, guards: bool = False) -> Filled:
    """The rows with their cells under the source's header, then ours."""
    own = _own(form, table)
    problems = _advised(table["problems"].combine_chunks(), pc.list_value_length(table["ragged"]), len(own))
    if guards:
        own, problems = [guard.guarded(column) for column in own], guard.guarded(problems)
    beyond = _lay_ragged(own, table["ragged"], guards=guards)
    ours = [table["row"].combine_chunks().cast(pa.string()), table["status"].combine_chunks(), problems]
    return Filled([*own, *ours], beyond, _marks(form, table))


def _advised(problems: pa.Array, cells: pa.ChunkedArray, width: int) -> pa.Array:
    """What is wrong, and of rows with that many cells how they are mended here; other rows have null there."""
    short = f". Put what belongs there in place of {guard.MISSING}, or empty the cell"
    long = ". Move the cells to the right of this one into their columns"
    advice = pc.if_else(pc.less(cells, width), short, pc.if_else(pc.greater(cells, width), long, ""))
    return pc.binary_join_element_wise(problems, pc.fill_null(advice.combine_chunks(), ""), "")


def _own(form: Form, table: pa.Table) -> list[pa.Array]:
    nothing = pa.repeat(pa.scalar(""), table.num_rows)
    at = {place: number for number, place in enumerate(form.places)}
    cells = (table[f"cell_{at[place]}"] if place in at else nothing for place in range(len(form.header)))
    return [pc.fill_null(pa.chunked_array(column).combine_chunks(), "") for column in cells]


def _lay_ragged(own: list[pa.Array], ragged: pa.ChunkedArray, *, guards: bool) -> dict[int, tuple[str, ...]]:
    """Puts the cells of ragged rows into the columns; those beyond them are what comes out, by position of the row."""
    loose = {at: cells for at, cells in enumerate(ragged.to_pylist()) if cells is not None}
    if not loose:
        return {}
    if guards:
        loose = {at: guard.guarded_texts(cells) for at, cells in loose.items()}
    mask = pc.is_valid(ragged.combine_chunks())
    for place, column in enumerate(own):
        put = [cells[place] if place < len(cells) else guard.MISSING for cells in loose.values()]
        own[place] = pc.replace_with_mask(column, mask, pa.array(put, pa.string()))
    return {
        at: tuple(cell if cell.strip() else guard.BLANK for cell in cells[len(own) :])
        for at, cells in loose.items()
        if len(cells) > len(own)
    }


def _marks(form: Form, table: pa.Table) -> list[Mark]:
    """The cells that have a problem; where it is none of the source's, the one with the problems."""
    at_column = dict(zip(form.columns, form.places, strict=True))
    problems = len(form.header) + REJECTED_COLUMNS.index("_problems")
    found = []
    for at, marks in enumerate(table["marks"].to_pylist()):
        own = [Mark(at, at_column[mark["column"]], mark["told"]) for mark in marks]
        found += own or [Mark(at, problems, "")]
    return found


# --- CSV ---

_TEXT_MARKS = {
    "utf-8": codecs.BOM_UTF8,  # spreadsheets take text without it for another encoding
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
}
_SAME = {"ascii": "utf-8", "utf-16": "utf-16-le", "utf-32": "utf-32-le", "utf-8-sig": "utf-8"}


def _write_csv(path: Path, form: Form, tables: Iterable[pa.Table]) -> Written:
    """In the source's encoding, if the file is found to be in it by itself; else in UTF-8, and its mark says so."""
    name = codecs.lookup(form.encoding).name
    own = _SAME.get(name, name)
    with replacing(path) as file:
        if own in _TEXT_MARKS or not _write_as_source(file, own, form, tables):
            name = own if own in _TEXT_MARKS else "utf-8"
            _write_text(file, name, _texts(form, tables))
    return Written(path, _nul_notes(form, tables))


def _write_as_source(file: IO[bytes], encoding: str, form: Form, tables: Iterable[pa.Table]) -> bool:
    """Writes text in an encoding that no mark tells; False where it would be taken for something else."""
    try:
        digest = _write_text(file, encoding, _texts(form, tables, encoding))
    except UnicodeEncodeError:
        return False
    file.flush()
    return _digest_as_found(cast("BinaryIO", file)) == digest


def _write_text(file: IO[bytes], encoding: str, texts: Iterable[str]) -> str:
    """Writes the text instead of what the file holds; its digest as UTF-8."""
    file.seek(0)
    file.truncate()
    file.write(_TEXT_MARKS.get(encoding, b""))
    digest = hashlib.sha256()
    for text in texts:
        file.write(text.encode(encoding))
        digest.update(text.encode())
    return digest.hexdigest()


def _digest_as_found(file: BinaryIO) -> str | None:
    """The digest of the file's text as whoever reads it without a word from its user finds it."""
    file.seek(0)
    encoding = decode.first_choice(file.read(SNIFF_BYTES), None)
    try:
        return _digest(file, encoding)
    except UndecodableError:
        file.seek(0)
    try:
        return _digest(file, decode.detect(file))
    except (UndecodableError, InputError):
        return None


def _digest(file: BinaryIO, encoding: Encoding) -> str:
    file.seek(0)
    digest = hashlib.sha256()
    for block in decode.utf8_blocks(file, encoding):
        digest.update(block)
    return digest.hexdigest()


def _texts(form: Form, tables: Iterable[pa.Table], encoding: str | None = None) -> Iterator[str]:
    """The header, and the rows of each table, as CSV. Our own words have "?" for what the encoding lacks."""
    header = (*form.header, *REJECTED_COLUMNS)
    names = pa.array(header if form.raw else guard.guarded_texts(header), pa.string())
    raw = [RAW_COLUMN] if form.raw else []
    yield form.delimiter.join([*_quoted(names, form.delimiter).to_pylist(), *raw]) + form.newline
    for table in tables:
        filled = _filled(form, table, guards=not form.raw)
        if encoding is not None:
            told = [text.encode(encoding, "replace").decode(encoding) for text in filled.columns[-1].to_pylist()]
            filled.columns[-1] = pa.array(told, pa.string())
        yield "".join(f"{line}{form.newline}" for line in _lines(form, filled))


def _lines(form: Form, filled: Filled) -> Iterator[str]:
    columns = [_quoted(_without_nul(form, column), form.delimiter) for column in filled.columns]
    if form.raw:
        columns.append(pa.repeat(pa.scalar("yes"), len(columns[0])))
    for at, line in enumerate(pc.binary_join_element_wise(*columns, form.delimiter).to_pylist()):
        if at not in filled.beyond:
            yield line
            continue
        beyond = _quoted(pa.array(filled.beyond[at], pa.string()), form.delimiter)
        yield form.delimiter.join([line, *beyond.to_pylist()])


def _quoted(cells: pa.Array, delimiter: str) -> pa.Array:
    """The cells, in quotes where they hold what would end them."""
    ends = pc.match_substring_regex(cells, f'[\\x{{{ord(delimiter):x}}}"\r\n]')
    doubled = pc.replace_substring(cells, '"', '""')
    return pc.if_else(ends, pc.binary_join_element_wise('"', doubled, '"', ""), cells)


_NUL = "\N{REPLACEMENT CHARACTER}"  # for what no CSV file can hold, and no source but Parquet has


def _without_nul(form: Form, column: pa.Array) -> pa.Array:
    return column if form.format == "csv" else pc.replace_substring(column, "\0", _NUL)


def _nul_notes(form: Form, tables: Iterable[pa.Table]) -> tuple[str, ...]:
    if form.format == "csv":
        return ()
    columns = (column for table in tables for column in _filled(form, table).columns)
    cells = sum(pc.sum(pc.match_substring(column, "\0")).as_py() or 0 for column in columns)
    return (f"NUL characters, which CSV can't hold, are {_NUL} in the rows to mend: cells {cells:,}",) if cells else ()


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
    found = list(csvscan.records(text, our_delimiter(text, "".join(delimiters)) or delimiters[0]))
    kept = [record for record in found if not is_meant(record.cells)]
    if len(kept) == len(found):
        return
    if all(is_ours(record.cells) for record in kept):
        path.unlink()
        return
    left = b"".join(text[record.start : record.end] for record in kept)
    with replacing(path) as file:
        file.write(left if encoding.is_utf8 else left.decode().encode(encoding.name))


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
    if dropped and all(is_ours(cells) for cells in kept):
        path.unlink()
    elif dropped:
        with replacing(path) as file:
            book.save(file)
