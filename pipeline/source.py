"""Source files as text frames: inspect decides how a file is read, read streams it.

CSV goes through pyarrow, after a scan of every byte for what pyarrow passes over; Excel goes
through a child process and a spool file. Numbers of rows are those that a user counts: in CSV from 1,
with `sep=` line, title, blank and header records counted and a newline in quotes not; in Excel,
Excel's own.
"""

from __future__ import annotations

import hashlib
import io
import re
import stat
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv

from pipeline import csvscan, decode, workbook
from pipeline.csvscan import Record, Scanner, Structure
from pipeline.decode import Encoding, UndecodableError
from pipeline.header import REJECTED_COLUMNS, Header, find_header
from pipeline.model import InputError, UserError

__all__ = ["REJECTED_COLUMNS", "Chunk", "Inspection", "RaggedRow", "SourceOptions", "inspect", "read"]

_HEAD_BYTES = 1 << 20  # delimiter and header are decided by what comes first
_SNIFF_BYTES = 64 << 10
_BLOCK_BYTES = 4 << 20  # of CSV at a time; a frame has about as much text
_MAX_RECORD_BYTES = 64 << 20
_FRESH_SECONDS = 2.0  # a file that was changed so lately is looked at twice
_SECOND_LOOK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """What the user says about a file; None: found out.

    `header_row` counts as the user does, 0 means no header: columns are then named "1", "2", ….
    A cell that, trimmed, is one of `null_tokens` becomes "".
    """

    sheet: str | None = None
    header_row: int | None = None
    delimiter: str | None = None
    encoding: str | None = None
    null_tokens: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """The reading decisions for one file.

    `encoding_how` is `bom`, `utf-8`, `detected` or `given`; encoding and delimiter are "" for Excel.
    `columns` are the frame's columns: headers as in the file, stripped; the fields from `width` on say where they
    and the data are. `rows` are the records that `read` yields, `ragged_rows` among them; `blank_rows`
    are dropped. `first_row` and `last_row` number the first record after the header and the last one that is not blank.
    """

    path: Path
    name: str
    format: str  # csv, xlsx, xls, xlsb, ods
    size: int
    mtime_ns: int
    sha256: str
    encoding: str
    encoding_how: str
    delimiter: str
    sheet: str | None
    sheets: tuple[str, ...]
    header_row: int
    columns: tuple[str, ...]
    first_row: int
    last_row: int
    rows: int
    blank_rows: int
    ragged_rows: int
    notes: tuple[str, ...]
    width: int  # cells of a record
    positions: tuple[int, ...]  # of `columns` among them, from 0
    start_byte: int  # of the first data record, in the text without a byte order mark
    bom_bytes: int
    block_bytes: int
    spool: Path | None  # text of an Excel sheet, made by inspect; its owner removes it after the last read

    def as_json(self) -> dict[str, Any]:
        """The decisions a user wants to see, in types that JSON knows."""
        record = asdict(self)
        for internal in ("width", "positions", "start_byte", "bom_bytes", "block_bytes", "spool"):
            del record[internal]
        return record | {key: list(record[key]) for key in ("columns", "sheets", "notes")} | {"path": str(self.path)}


@dataclass(frozen=True, slots=True)
class RaggedRow:
    """A record with more or fewer cells than the header."""

    row: int
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some rows of a source.

    `frame` has the source's columns as ArrowDtype(string) without nulls, "" where nothing is given, and an
    int64 index named `row`. `ragged` rows are not in it.
    """

    frame: pd.DataFrame
    ragged: tuple[RaggedRow, ...]


def inspect(
    path: Path, options: SourceOptions, spool_dir: Path, *, pause: Callable[[float], None] = time.sleep
) -> Inspection:
    """Pass one: how the file is read, proved over all of it.

    Raises InputError where the file can't be used as a whole, UserError where an option can't be. An Excel sheet
    is left as text in `spool_dir` for `read`.
    """
    with _named(path):
        before = _settled(path, pause)
        head = _head(path)
        kind = _kind(head, path)
        inspection = _inspect_csv(path, options, head) if kind == "csv" else _inspect_sheet(path, options, spool_dir)
        if _look(path) != before:
            raise InputError("it changed while it was read; try again when it is complete")
        size, mtime_ns = before
        return replace(inspection, format=kind, size=size, mtime_ns=mtime_ns)


def read(inspection: Inspection, options: SourceOptions) -> Iterator[Chunk]:
    """Pass two: every row that inspect counted, in order, some 4 MiB or 20,000 rows at a time.

    Raises InputError where the file is not the one inspected, and where other rows come than were counted.
    """
    with _named(inspection.path):
        _refuse_changed(inspection)
        counts = _Counts()
        for part in _parts(inspection):
            counts.add(part)
            if len(part.table) or part.ragged:
                yield _chunk(part, inspection, options)
        _refuse_changed(inspection)
        _refuse_differing(counts, inspection)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Puts the file's name before what is wrong with it."""
    try:
        yield
    except UserError as error:
        raise type(error)(f"{path}: {error}") from error.__cause__
    except UndecodableError as error:
        raise InputError(f"{path}: it changed while it was read; start again") from error
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}; check the file and its permissions") from error


# --- The file as such ---


class _Look(NamedTuple):
    size: int
    mtime_ns: int


def _look(path: Path) -> _Look:
    found = path.stat()
    return _Look(found.st_size, found.st_mtime_ns)


def _settled(path: Path, pause: Callable[[float], None]) -> _Look:
    """Size and time of a regular file that is not empty and that nobody is seen to write."""
    if not path.exists():
        raise InputError("there is no such file; check the path")
    if not stat.S_ISREG(path.stat().st_mode):
        raise InputError("it is not a file; name the list itself")
    look = _look(path)
    if time.time_ns() - look.mtime_ns < _FRESH_SECONDS * 1e9:
        pause(_SECOND_LOOK_SECONDS)
    if _look(path) != look:
        raise InputError("it is still being written; try again when it is complete")
    if not look.size:
        raise InputError("it is empty; export it again")
    return look


def _refuse_changed(inspection: Inspection) -> None:
    if _look(inspection.path) != (inspection.size, inspection.mtime_ns):
        raise InputError("it changed after it was inspected; start again")


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_SNIFF_BYTES)


_OLE2 = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_BIFF = (b"\x09\x00\x04\x00", b"\x09\x02\x06\x00", b"\x09\x04\x06\x00", b"\x09\x08\x08\x00", b"\x09\x08\x10\x00")
_FOREIGN = (  # what a file begins with, what it is, what to do
    (re.compile(rb"PK\x03\x04|PK\x05\x06"), "a ZIP archive", "unpack it and name the list inside"),
    (re.compile(rb"\x1f\x8b|BZh\d|\x28\xb5\x2f\xfd|\xfd7zXZ"), "compressed", "decompress it first"),
    (re.compile(rb"%PDF-"), "a PDF document", "export the list as CSV or .xlsx"),
    (re.compile(rb"\{\\rtf"), "a rich text document", "export the list as CSV or .xlsx"),
    (re.compile(rb"PAR1|ARROW1"), "a Parquet or Arrow file", "export the list as CSV or .xlsx"),
    (re.compile(rb"(?is)\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?<(!doctype html|html|head|body|table|meta)\b"),
     "a web page (HTML), whatever its name says", "open it in Excel and save it as .xlsx"),
    (re.compile(rb"\s*<\?xml\b"), "XML", "open it in Excel and save it as .xlsx"),
    (re.compile(rb"\s*[\[{]\s*([\[{]|\"[^\"]*\"\s*:)"), "JSON", "export the list as CSV or .xlsx"),
)  # fmt: skip


def _kind(head: bytes, path: Path) -> str:
    """The format by content: csv, xlsx, xls, xlsb or ods. Raises InputError for what is no list at all."""
    if head.startswith(_OLE2):
        return "xls"
    if head.startswith(_BIFF):
        raise InputError("it is in a format of Excel before 1993; open it in Excel and save it as .xlsx")
    if head.startswith(b"PK\x03\x04") and (kind := _zip_kind(path)):
        return kind
    text = re.sub(rb"^\xef\xbb\xbf", b"", head)
    for begins, what, then in _FOREIGN:
        if begins.match(text):
            raise InputError(f"it is {what}; {then}")
    return "csv"


def _zip_kind(path: Path) -> str | None:
    """The kind of workbook in a ZIP archive, None where it is another archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.lower().replace("\\", "/").lstrip("/") for name in archive.namelist()}
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        raise InputError("it is a damaged workbook or archive; save or copy it again") from None
    if "content.xml" in names:
        return "ods"
    if any(name.startswith("xl/") and name.endswith("workbook.bin") for name in names):
        return "xlsb"
    return "xlsx" if "[content_types].xml" in names or any(name.startswith("xl/") for name in names) else None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- Pass one, CSV ---


def _inspect_csv(path: Path, options: SourceOptions, head: bytes) -> Inspection:
    encoding = decode.first_choice(head, options.encoding)
    try:
        return _inspect_as(path, options, encoding)
    except UndecodableError as error:
        if encoding.how != "utf-8":
            raise _undecodable(error) from None
    try:
        with path.open("rb") as file:
            found = decode.detect(file)
        return _inspect_as(path, options, found)
    except UndecodableError as error:
        raise _undecodable(error) from None


def _undecodable(error: UndecodableError) -> InputError:
    return InputError(
        f"byte {error.offset:,} is not {error.encoding.name} ({error.encoding.how}); "
        "set encoding to the right one, or save the file as UTF-8"
    )


def _inspect_as(path: Path, options: SourceOptions, encoding: Encoding) -> Inspection:
    head, whole = _text_head(path, encoding)
    delimiter, start, row = _delimiter(head, whole, options.delimiter)
    structure, sha256 = _scan(path, encoding, delimiter)
    records = csvscan.records(head, delimiter, row=row, start=start, whole=whole)
    header, first = _placed(list(islice(records, csvscan.HEAD_RECORDS + (options.header_row or 0))), options)
    inspection = Inspection(
        path=path, name=path.name, format="csv", size=0, mtime_ns=0, sha256=sha256, encoding=encoding.name,
        encoding_how=encoding.how, delimiter=delimiter, sheet=None, sheets=(), header_row=header.row,
        columns=header.names, first_row=first.row, last_row=0, rows=0, blank_rows=0, ragged_rows=0,
        notes=_encoding_notes(encoding) + header.notes, width=header.width, positions=header.positions,
        start_byte=first.end, bom_bytes=encoding.bom_bytes, block_bytes=_block_bytes(structure), spool=None,
    )  # fmt: skip
    counts = _counted(inspection, header) if structure.records >= first.row else _Counts()
    if counts.records != structure.records - first.row + 1:
        raise InputError(_DISAGREE)
    _refuse_cut_off(counts, structure)
    return _with_counts(inspection, counts)


_DISAGREE = "its quotes can't be read in one way only: save it again from Excel, as CSV or .xlsx"


def _text_head(path: Path, encoding: Encoding) -> tuple[bytes, bool]:
    """The first of the text, and whether that is the whole of it."""
    parts: list[bytes] = []
    size = 0
    with path.open("rb") as file:
        for block in decode.utf8_blocks(file, encoding):
            parts.append(block)
            size += len(block)
            if size > _HEAD_BYTES:
                return b"".join(parts)[:_HEAD_BYTES], False
    return b"".join(parts), True


def _delimiter(head: bytes, whole: bool, given: str | None) -> tuple[str, int, int]:
    """The delimiter, and offset and row of the first record: a `sep=` line is row 1 and no record."""
    if given is not None and (len(given) != 1 or not given.isascii() or given in '"\r\n\0'):
        raise UserError(f"delimiter {given!r} can't be used; give one ASCII character, such as ';' or a tab")
    declared = csvscan.separator_line(head)
    start, row = (declared[1], 2) if declared else (0, 1)
    if given is not None:
        return given, start, row
    if declared:
        return declared[0], start, row
    return csvscan.find_delimiter(head, start=start, whole=whole), start, row


def _scan(path: Path, encoding: Encoding, delimiter: str) -> tuple[Structure, str]:
    """The structure of the whole text, and the SHA-256 of the file."""
    scanner, digest = Scanner(delimiter), hashlib.sha256()
    with path.open("rb") as file:
        for block in decode.utf8_blocks(file, encoding, digest.update):
            scanner.feed(block)
    return scanner.finish(), digest.hexdigest()


class _Place(NamedTuple):
    """Where data begins: a row and the offset of its first byte."""

    row: int
    end: int


def _placed(head: Sequence[Record], options: SourceOptions, first_column: int = 1) -> tuple[Header, _Place]:
    """The header, and the place after it."""
    if not head:
        raise InputError(f"the first record has no end within {_HEAD_BYTES:,} bytes; is this a list?")
    header = find_header(head, options.header_row, first_column)
    if not header.row:
        return header, _Place(head[0].row, head[0].start)
    record = next(record for record in head if record.row == header.row)
    return header, _Place(record.row + 1, record.end)


def _encoding_notes(encoding: Encoding) -> tuple[str, ...]:
    if encoding.how != "detected":
        return ()
    return (f"the encoding was taken for {encoding.name}; set encoding if names look wrong",)


def _block_bytes(structure: Structure) -> int:
    """A size of blocks that holds the longest record."""
    if structure.longest_bytes > _MAX_RECORD_BYTES:
        raise InputError(
            f"row {structure.longest_row} has {structure.longest_bytes:,} bytes, more than {_MAX_RECORD_BYTES:,}; "
            "look there for a quote that is closed too late"
        )
    return max(_BLOCK_BYTES, 2 * structure.longest_bytes)


def _refuse_cut_off(counts: _Counts, structure: Structure) -> None:
    if counts.ends_short and not structure.ends_with_newline:
        raise InputError(
            f"row {counts.last_row}, the last, has too few cells and no line end: the file is cut off or still being "
            "written; export it again"
        )


# --- Pass one, Excel ---


def _inspect_sheet(path: Path, options: SourceOptions, spool_dir: Path) -> Inspection:
    sheet, spool = workbook.convert(path, options.sheet, spool_dir)
    try:
        return _inspect_spool(path, options, sheet, spool)
    except BaseException:
        spool.unlink(missing_ok=True)
        raise


def _inspect_spool(path: Path, options: SourceOptions, sheet: workbook.Sheet, spool: Path) -> Inspection:
    if not sheet.rows:
        raise InputError(f"sheet {sheet.name!r} holds no rows; set sheet to another, or export the list again")
    header, first = _placed(_sheet_head(spool, options), options, sheet.first_column)
    inspection = Inspection(
        path=path, name=path.name, format="", size=0, mtime_ns=0, sha256=_sha256(path), encoding="", encoding_how="",
        delimiter="", sheet=sheet.name, sheets=sheet.sheets, header_row=header.row, columns=header.names,
        first_row=first.row, last_row=0, rows=0, blank_rows=0, ragged_rows=0,
        notes=sheet.notes + header.notes + _number_notes(sheet), width=header.width, positions=header.positions,
        start_byte=0, bom_bytes=0, block_bytes=0, spool=spool,
    )  # fmt: skip
    counts = _counted(inspection, header)
    counts.blank = sheet.last_row - first.row + 1 - counts.rows
    return _with_counts(inspection, counts)


def _sheet_head(spool: Path, options: SourceOptions) -> list[Record]:
    """The first rows of a sheet as records, up to the header row given."""
    limit = csvscan.HEAD_RECORDS + (options.header_row or 0)
    batches = (batch.slice(0, limit) for batch in workbook.stream(spool))
    rows = (row for batch in batches for row in zip(*(column.to_pylist() for column in batch.columns), strict=True))
    return [Record(row, tuple(cells)) for row, *cells in islice(rows, limit)]


def _number_notes(sheet: workbook.Sheet) -> tuple[str, ...]:
    if not sheet.large_numbers:
        return ()
    return (f"{sheet.large_numbers} numeric cells are 2^53 or more: Excel may have changed their last digits",)


# --- Both passes: parts of a source ---


class _Part(NamedTuple):
    """Some records: those as wide as the header by row and cell, the ragged ones, and how many blank ones were left."""

    rows: npt.NDArray[np.int64]
    table: pa.RecordBatch
    ragged: tuple[RaggedRow, ...]
    blank: int


class _Counts:
    """What parts add up to."""

    def __init__(self, header: Header | None = None) -> None:
        self.rows = self.ragged = self.blank = self.last_row = 0
        self.ends_short = False  # the last record has fewer cells than the header
        self.widths: Counter[int] = Counter()  # of ragged rows
        self.header = header

    @property
    def records(self) -> int:
        """All records, blank ones included."""
        return self.rows + self.blank

    def add(self, part: _Part) -> None:
        """Counts one part. Raises InputError where a column without a name holds something."""
        self.rows += len(part.rows) + len(part.ragged)
        self.ragged += len(part.ragged)
        self.blank += part.blank
        self.widths.update(len(row.cells) for row in part.ragged)
        self._see_last(part)
        if self.header:
            _refuse_unnamed(self.header, part)

    def _see_last(self, part: _Part) -> None:
        if len(part.rows) and part.rows[-1] > self.last_row:
            self.last_row, self.ends_short = int(part.rows[-1]), False
        if part.ragged and part.ragged[-1].row > self.last_row:
            self.last_row = part.ragged[-1].row
            self.ends_short = self.header is not None and len(part.ragged[-1].cells) < self.header.width


def _refuse_unnamed(header: Header, part: _Part) -> None:
    for position in header.blank:
        filled = np.flatnonzero(~_is_blank(part.table.column(position)))
        if filled.size:
            raise InputError(
                f"column {position + header.first_column} has no name in the header, and holds something in row "
                f"{part.rows[filled[0]]}; name the column, or empty it"
            )


def _counted(inspection: Inspection, header: Header) -> _Counts:
    counts = _Counts(header)
    for part in _parts(inspection):
        counts.add(part)
    return counts


def _with_counts(inspection: Inspection, counts: _Counts) -> Inspection:
    """The inspection with what was counted. Raises InputError where there are no rows or most are ragged."""
    if not counts.rows:
        raise InputError(f"it has no rows below the header (row {inspection.header_row}); export it again")
    if counts.ragged * 2 > counts.rows:
        width, rows = counts.widths.most_common(1)[0]
        raise InputError(
            f"{counts.ragged} of {counts.rows} rows don't have the {inspection.width} cells of the header "
            f"(row {inspection.header_row}); {rows} have {width}: set header_row or delimiter, or mend the file"
        )
    return replace(
        inspection,
        last_row=counts.last_row,
        rows=counts.rows,
        blank_rows=counts.blank,
        ragged_rows=counts.ragged,
    )


def _refuse_differing(counts: _Counts, inspection: Inspection) -> None:
    found = (counts.rows, counts.ragged, counts.last_row)
    if found != (inspection.rows, inspection.ragged_rows, inspection.last_row):
        raise InputError(f"{counts.rows} rows were read where {inspection.rows} were counted; start again")


def _parts(inspection: Inspection) -> Iterator[_Part]:
    return _sheet_parts(inspection) if inspection.spool else _csv_parts(inspection)


def _chunk(part: _Part, inspection: Inspection, options: SourceOptions) -> Chunk:
    index = pd.Index(part.rows, name="row")
    columns = {
        name: _emptied(part.table.column(position), options.null_tokens)
        for name, position in zip(inspection.columns, inspection.positions, strict=True)
    }
    arrays = {name: pd.arrays.ArrowExtensionArray(column) for name, column in columns.items()}
    return Chunk(pd.DataFrame(arrays, index=index), part.ragged)


def _emptied(column: pa.Array, null_tokens: tuple[str, ...]) -> pa.Array:
    """The column with "" for cells that say nothing."""
    if not null_tokens:
        return column
    nothing = pc.is_in(pc.utf8_trim_whitespace(column), value_set=pa.array(null_tokens, pa.string()))
    return pc.if_else(nothing, "", column)


def _is_blank(column: pa.Array) -> npt.NDArray[np.bool_]:
    """By cell: whether it holds only whitespace."""
    blank: npt.NDArray[np.bool_] = pc.equal(pc.utf8_trim_whitespace(column), "").to_numpy(zero_copy_only=False)
    return blank


def _blank_rows(table: pa.RecordBatch) -> npt.NDArray[np.int64]:
    """The positions of rows whose cells are all blank."""
    candidates = np.flatnonzero(_is_blank(table.column(0)))
    for column in table.columns[1:]:
        if not candidates.size:
            break
        candidates = candidates[_is_blank(column.take(pa.array(candidates)))]
    return candidates


# --- CSV by pyarrow ---


class _Misfits:
    """Records that don't fit the header, as pyarrow reports them, until they are placed among the others."""

    def __init__(self, inspection: Inspection) -> None:
        self._first_row = inspection.first_row
        self._delimiter = inspection.delimiter
        self._rows: list[int] = []
        self._ragged: list[RaggedRow | None] = []  # None: blank

    def __call__(self, row: pv.InvalidRow) -> str:
        """Takes one record; tells pyarrow to leave it out."""
        number = self._first_row + row.number - 1  # pyarrow counts what it was given, from 1
        self._rows.append(number)
        self._ragged.append(self._record(number, row.text))
        return "skip"

    def _record(self, number: int, text: str) -> RaggedRow | None:
        record = next(csvscan.records(text.encode(), self._delimiter, row=number), None)
        return RaggedRow(number, record.cells) if record and record.filled else None

    def numbers(self, after: int, count: int) -> npt.NDArray[np.int64]:
        """The numbers of the next `count` records that do fit, the last number given out being `after`."""
        misfits = np.array(self._rows, dtype=np.int64)
        numbers = np.arange(after + 1, after + 1 + count + misfits.size, dtype=np.int64)
        fitting = numbers[~np.isin(numbers, misfits)] if misfits.size else numbers
        return fitting[:count]

    def taken(self, through: int | None) -> tuple[tuple[RaggedRow, ...], int]:
        """The ragged rows up to row `through` (None: all) and the number of blank ones; they are forgotten here."""
        end = len(self._rows) if through is None else int(np.searchsorted(self._rows, through))
        taken, self._ragged, self._rows = self._ragged[:end], self._ragged[end:], self._rows[end:]
        ragged = tuple(row for row in taken if row is not None)
        return ragged, len(taken) - len(ragged)


def _csv_parts(inspection: Inspection) -> Iterator[_Part]:
    misfits = _Misfits(inspection)
    empty = pa.record_batch([pa.array([], pa.string())] * inspection.width, names=_names(inspection.width))
    last = inspection.first_row - 1
    for batch in _batches(inspection, misfits):
        rows = misfits.numbers(last, len(batch))
        last = int(rows[-1]) if rows.size else last
        yield _without_blank(rows, batch, *misfits.taken(last))
    yield _Part(np.empty(0, dtype=np.int64), empty, *misfits.taken(None))


def _without_blank(
    rows: npt.NDArray[np.int64], table: pa.RecordBatch, ragged: tuple[RaggedRow, ...], blank: int
) -> _Part:
    empty = _blank_rows(table)
    if not empty.size:
        return _Part(rows, table, ragged, blank)
    kept = np.delete(np.arange(len(rows)), empty)
    return _Part(rows[kept], table.take(pa.array(kept)), ragged, blank + empty.size)


def _names(width: int) -> list[str]:
    return [f"c{position}" for position in range(width)]


def _batches(inspection: Inspection, misfits: _Misfits) -> Iterator[pa.RecordBatch]:
    """Records as wide as the header; the others go to `misfits`. Nothing is coerced, nothing is null."""
    names = _names(inspection.width)
    with _text(inspection) as file:
        try:
            yield from pv.open_csv(
                file,
                # Numbers of records are to be had with one thread only.
                pv.ReadOptions(use_threads=False, block_size=inspection.block_bytes, column_names=names),
                pv.ParseOptions(
                    delimiter=inspection.delimiter,
                    newlines_in_values=True,
                    ignore_empty_lines=False,
                    invalid_row_handler=misfits,
                ),
                pv.ConvertOptions(
                    column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False, null_values=[],
                    quoted_strings_can_be_null=False,
                ),
            )  # fmt: skip
        except pa.ArrowInvalid as error:
            raise InputError(f"it can't be parsed as CSV ({' '.join(str(error).split())[:200]}); {_DISAGREE}") from None


@contextmanager
def _text(inspection: Inspection) -> Iterator[Any]:
    """The file as UTF-8 text from the first data record on, for pyarrow."""
    encoding = Encoding(inspection.encoding, inspection.encoding_how, inspection.bom_bytes)
    if encoding.is_utf8:
        with pa.OSFile(str(inspection.path), "rb") as file:
            file.seek(inspection.bom_bytes + inspection.start_byte)
            yield file
        return
    with inspection.path.open("rb") as raw, io.BufferedReader(decode.Utf8Reader(raw, encoding)) as text:
        _skip(text, inspection.start_byte)
        yield text


def _skip(file: io.BufferedReader, count: int) -> None:
    while count and (passed := file.read(min(count, _HEAD_BYTES))):
        count -= len(passed)


# --- Excel from its spool ---


def _sheet_parts(inspection: Inspection) -> Iterator[_Part]:
    assert inspection.spool is not None
    for batch in workbook.stream(inspection.spool):
        data = batch.slice(int(np.searchsorted(batch.column(0).to_numpy(), inspection.first_row)))
        table = pa.record_batch(data.columns[1:], names=_names(inspection.width))
        yield _Part(data.column(0).to_numpy(), table, (), 0)
