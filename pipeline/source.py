"""Source files as text frames: inspect decides how a file is read, read streams it.

What is compressed or in an archive is unpacked into the spool folder first. CSV goes through pyarrow, after a scan of
every byte for what pyarrow passes over; Excel goes through a child process and a spool file; Parquet is read as it is.
Numbers of rows are those that a user counts: in CSV from 1, with `sep=` line, title, blank and header records counted
and a newline in quotes not; in Excel, Excel's own; in Parquet, which has no header record, row 1 is the first record.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import csvscan, decode, parquet, unpack, workbook
from pipeline.csvscan import Record, Scanner, Structure
from pipeline.decode import Encoding, UndecodableError
from pipeline.files import plain
from pipeline.header import REJECTED_COLUMNS, Header, Wanted, find_header, our_delimiter
from pipeline.model import InputError, UserError
from pipeline.reloaded import batches
from pipeline.rows import DISAGREE, Batch, Layout, RaggedRow, is_blank
from pipeline.settings import MAX_FILE_SIZE
from pipeline.sniff import SNIFF_BYTES, is_our_workbook
from pipeline.unpack import Content

__all__ = ["REJECTED_COLUMNS", "Chunk", "Inspection", "RaggedRow", "SourceOptions", "inspect", "read"]

_HEAD_BYTES = 1 << 20  # delimiter and header are decided by what comes first
_BLOCK_BYTES = 2 << 20  # of CSV at a time; a frame has about as much text
_CELL_BYTES = 512
_MAX_RECORD_BYTES = 64 << 20
_MAX_COLUMNS = 16_384  # as many as a sheet of Excel has
_FRESH_SECONDS = 5.0  # a file that was changed so lately is looked at twice; some systems count every other second only
_SECOND_LOOK_SECONDS = 0.9


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """What the user says about a file; None: found out.

    `header_row` counts as the user does, 0 means no header: columns are then named "1", "2", ….
    Columns that the file names alike are told apart where one of them is among `picked`: `Phone[2]` is the second named
    `Phone`. With `pad_short`, a row of a CSV file that has too few cells gets empty ones at its end. Of a Parquet file,
    `where` is a DuckDB expression for the rows that are read, and `beside` has columns that belong to its rows.
    `member` is the file meant in an archive, `called` what the user calls a file that is not known by its path,
    `most_bytes` what it may have unpacked; one that `is_whole` is written by nobody any more. A rejected file of ours
    is found to be one, and how it is written: its user may have saved it otherwise than their list. One that was
    `mended` is known to be one even where our columns are gone, and, if it is `raw`, to have no guards before formulas.
    """

    sheet: str | None = None
    header_row: int | None = None
    delimiter: str | None = None
    encoding: str | None = None
    picked: frozenset[str] = frozenset()
    pad_short: bool = False
    where: str | None = None
    beside: parquet.Beside | None = None
    member: str | None = None
    called: str | None = None
    most_bytes: int = MAX_FILE_SIZE
    is_whole: bool = False
    mended: bool = False
    raw: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """The reading decisions for one file.

    `encoding_how` is `bom`, `utf-8`, `detected` or `given`; encoding, delimiter and `newline`, which ends the first
    record, are "" unless it is CSV. `columns` are the frame's columns, `header` all cells of the header as in the file,
    blank ones too, and `places` where among them the columns are. `rows` are the records that `read` yields,
    `ragged_rows` and `padded_rows` among them; `blank_rows` are dropped. `first_row` is the number of the record below
    the header, `last_row` that of the last one that is not blank. `left_out` are the records for which `where` does
    not hold. `containers` are what the list was in (gzip, bz2, zstd, zip), the outermost first, `member` its name in
    an archive; size, time and digest are those of the file as it was given.
    """

    path: Path
    called: str
    name: str
    containers: tuple[str, ...]
    member: str | None
    format: str  # csv, parquet, xlsx, xls, xlsb, ods
    size: int
    mtime_ns: int
    sha256: str
    encoding: str
    encoding_how: str
    delimiter: str
    newline: str
    sheet: str | None
    sheets: tuple[str, ...]
    header_row: int
    columns: tuple[str, ...]
    header: tuple[str, ...]
    places: tuple[int, ...]
    first_row: int
    last_row: int
    rows: int
    blank_rows: int
    ragged_rows: int
    padded_rows: int
    where: str | None
    left_out: int
    notes: tuple[str, ...]
    layout: Layout

    def as_json(self) -> dict[str, Any]:
        """All that a manifest keeps, in types that JSON knows."""
        record = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("layout", "called")}
        several = ("columns", "header", "places", "containers", "sheets", "notes")
        return record | {key: list(record[key]) for key in several} | {"path": str(self.path)}


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some rows of a source.

    `frame` has the source's columns as ArrowDtype(string) without nulls, "" where nothing is given, and an
    int64 index named `row`. `ragged` rows are not in it. Of a rejected file, `earlier_rows` are the numbers that its
    rows had in their list, as text.
    """

    frame: pd.DataFrame
    ragged: tuple[RaggedRow, ...]
    earlier_rows: pa.Array | None = None


def inspect(
    path: Path, options: SourceOptions, spool_dir: Path, *, pause: Callable[[float], None] = time.sleep
) -> Inspection:
    """Pass one: how the file is read, proved over all of it.

    Raises InputError where the file can't be used as a whole, UserError where an option can't be. An Excel sheet
    is left as text in `spool_dir` for `read`, and so is what was compressed, unpacked.
    """
    called = options.called or plain(str(path))
    with _named(called):
        look = _settled(path, (lambda _: None) if options.is_whole else pause)
        content = unpack.content(path, options.member, spool_dir, options.most_bytes)
        try:
            inspected = _inspected(content, options, spool_dir)
        except BaseException:
            content.remove()
            raise
        if _look(path) != look:
            content.remove()
            if inspected.layout.spool:
                inspected.layout.spool.unlink(missing_ok=True)
            raise InputError("it changed while it was read; try again when it is complete")
        return _inspection(_File(path, called, look, content), inspected, options)


def read(inspection: Inspection) -> Iterator[Chunk]:
    """Pass two: every row that inspect counted, in order, some 2 MiB or 20,000 rows at a time.

    Raises InputError where the file is not the one inspected, and where other rows come than were counted.
    """
    with _named(inspection.called):
        _refuse_changed(inspection)
        counts = _Counts()
        for batch in batches(inspection.layout):
            counts.add(batch)
            if len(batch.rows) or batch.ragged:
                yield _chunk(batch, inspection)
        _refuse_changed(inspection)
        _refuse_differing(counts, inspection)


def check_unchanged(path: Path, sha256: str, size: int) -> None:
    """Raises InputError where the file is not the one with this digest, and says what has changed."""
    with _named(plain(str(path))):
        if not path.exists():
            raise InputError(f"it is not there any more; put it back, {_ELSE}")
        if (now := path.stat().st_size) != size:
            raise InputError(f"it has changed since the run read it: {size:,} bytes then, {now:,} now; {_PUT_BACK}")
        if _sha256(path) != sha256:
            raise InputError(f"it has changed since the run read it: as long as then, but not the same; {_PUT_BACK}")


_ELSE = "or load what there is now: the ledger knows what was sent"
_PUT_BACK = f"put the old one back, {_ELSE}"


@contextmanager
def _named(called: str) -> Iterator[None]:
    """Puts the file's name before what is wrong with it."""
    try:
        yield
    except UserError as error:
        raise type(error)(f"{called}: {error}") from error.__cause__
    except UndecodableError as error:
        raise InputError(f"{called}: it changed while it was read; start again") from error
    except OSError as error:
        raise InputError(f"{called}: {error.strerror or error}; check the file and its permissions") from error


# --- The file as such ---


class _Look(NamedTuple):
    size: int
    mtime_ns: int


def _look(path: Path) -> _Look:
    """Size and time, asked of the open file: what only a path is asked, a network may answer from memory."""
    with path.open("rb") as file:
        found = os.fstat(file.fileno())
    return _Look(found.st_size, found.st_mtime_ns)


def _settled(path: Path, pause: Callable[[float], None]) -> _Look:
    """Size and time of a regular file that is not empty and that nobody is seen to write."""
    if not path.exists():
        link = f"it is a link to {plain(str(path.readlink()))}, and " if path.is_symlink() else ""
        raise InputError(f"{link}there is no such file; check the path")
    if path.is_dir():
        raise InputError("it is a folder; name the lists in it, or all of them by a pattern such as '*.csv'")
    if not stat.S_ISREG(path.stat().st_mode):
        raise InputError("it is a device, not a file; name the list itself")
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
        return file.read(SNIFF_BYTES)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Inspected(NamedTuple):
    """What pass one found, for CSV and Excel alike."""

    header: Header
    layout: Layout
    counts: _Counts
    sha256: str
    notes: tuple[str, ...]
    sheet: workbook.Sheet | None = None
    newline: str = ""


def _inspected(content: Content, options: SourceOptions, spool_dir: Path) -> _Inspected:
    path, kind = content.path, content.kind
    if not path.stat().st_size:
        raise InputError("what it holds is empty; export it again")
    if kind == "parquet":
        return _inspect_parquet(path, options)
    if options.where is not None:
        raise UserError(f"--where chooses rows of Parquet files, such as a run's report, and this is {kind}")
    return _inspect_csv(path, options) if kind == "csv" else _inspect_workbook(path, kind, options, spool_dir)


class _File(NamedTuple):
    """A file as it was given, and the list in it."""

    path: Path
    called: str
    look: _Look
    content: Content


def _inspection(file: _File, inspected: _Inspected, options: SourceOptions) -> Inspection:
    header, layout, counts, sheet = inspected.header, inspected.layout, inspected.counts, inspected.sheet
    cells, places = header.source_cells
    return Inspection(
        path=file.path,
        called=file.called,
        name=plain(file.path.name),
        containers=file.content.containers,
        member=file.content.member,
        format=file.content.kind,
        size=file.look.size,
        mtime_ns=file.look.mtime_ns,
        sha256=_sha256(file.path) if file.content.containers else inspected.sha256,
        encoding=layout.encoding.name,
        encoding_how=layout.encoding.how,
        delimiter=layout.delimiter,
        newline=inspected.newline,
        sheet=sheet.name if sheet else None,
        sheets=sheet.sheets if sheet else (),
        header_row=header.row,
        columns=header.names,
        header=cells,
        places=places,
        first_row=layout.first_row,
        last_row=counts.last_row,
        rows=counts.rows,
        blank_rows=counts.blank,
        ragged_rows=counts.ragged,
        padded_rows=counts.padded,
        where=options.where,
        left_out=layout.records.total - counts.rows if layout.records else 0,
        notes=_container_notes(file.content) + inspected.notes + header.notes + counts.notes(),
        layout=layout,
    )


def _container_notes(content: Content) -> tuple[str, ...]:
    if not content.containers:
        return ()
    what = f"{plain(content.member)} was" if content.member else "it was"
    return (f"{what} unpacked from {' in '.join(content.containers)}: {content.path.stat().st_size:,} bytes",)


class _Place(NamedTuple):
    """Where data begins: the number of its first record and the offset of its first byte."""

    row: int
    start_byte: int


def _placed(head: Sequence[Record], options: SourceOptions, first_column: int = 1) -> tuple[Header, _Place]:
    """The header, and the place after it."""
    if not head:
        raise InputError(f"the first record has no end within {_HEAD_BYTES:,} bytes; is this a list?")
    given = None if options.mended else options.header_row
    wanted = Wanted(given, options.picked, options.mended, not options.raw)
    header = find_header(head, wanted, first_column)
    if header.width > _MAX_COLUMNS:
        raise InputError(f"it has {header.width:,} columns, and a list has at most {_MAX_COLUMNS:,}; set delimiter")
    if not header.row:
        return header, _Place(head[0].row, head[0].start)
    record = next(record for record in head if record.row == header.row)
    return header, _Place(record.row + 1, record.end)


# --- Pass one, CSV ---


def _inspect_csv(path: Path, options: SourceOptions) -> _Inspected:
    ours = _our_delimiter(path, options)
    is_ours = options.mended or ours is not None
    if is_ours:
        options = replace(options, mended=True, delimiter=ours)
    encoding = decode.first_choice(_head(path), None if is_ours else options.encoding)
    _refuse_contradiction(path, encoding)
    try:
        return _inspect_as(path, options, encoding)
    except UndecodableError as error:
        if encoding.how != "utf-8":
            raise InputError(f"{error}; set encoding to the right one, or save the file as UTF-8") from None
    detected = _second_choice(path, options.encoding if is_ours else None)
    try:
        return _inspect_as(path, options, detected)
    except UndecodableError as error:
        raise InputError(f"{error}, and not UTF-8; set encoding, or save the file as UTF-8") from None


def _second_choice(path: Path, given: str | None) -> Encoding:
    """The encoding of a file that is not UTF-8: of a rejected file the one given for its list if it can be, or a guess.

    Our own columns are in it as ASCII has them.
    """
    if given is not None:
        chosen = decode.first_choice(_head(path), given)
        if REJECTED_COLUMNS[0].encode(chosen.name) == REJECTED_COLUMNS[0].encode():
            return chosen
    with path.open("rb") as file:
        return decode.detect(file)


def _our_delimiter(path: Path, options: SourceOptions) -> str | None:
    """The delimiter of a rejected file of ours; None for any other file."""
    with path.open("rb") as file:
        raw = file.read(_HEAD_BYTES)
    encoding = decode.first_choice(raw[:SNIFF_BYTES], None)
    body = raw[encoding.bom_bytes :]  # what is not UTF-16 or 32 has its signs where ASCII does
    text = body if encoding.is_utf8 else body.decode(encoding.name, "replace").encode()
    return our_delimiter(text, options.delimiter, whole=len(raw) < _HEAD_BYTES)


def _refuse_contradiction(path: Path, encoding: Encoding) -> None:
    """Raises where an encoding is given, and the file's mark says another that holds over all of it."""
    own = decode.by_mark(_head(path))
    if encoding.how != "given" or own is None or own.name == encoding.name:
        return
    try:
        with path.open("rb") as file:
            foreign = sum(not block.isascii() for block in decode.utf8_blocks(file, own))
    except UndecodableError:
        return
    if foreign or not own.is_utf8:
        raise InputError(
            f"it is {own.name}, as its first bytes say, and encoding is {encoding.name}; leave encoding out"
        )


def _inspect_as(path: Path, options: SourceOptions, encoding: Encoding) -> _Inspected:
    head, whole = _text_head(path, encoding)
    delimiter, start, row = _delimiter(head, whole, options.delimiter)
    structure, sha256 = _scan(path, encoding, delimiter)
    records = csvscan.records(head, delimiter, row=row, start=start, whole=whole)
    header, first = _placed(list(islice(records, csvscan.HEAD_RECORDS + (options.header_row or 0))), options)
    layout = Layout(
        path=path,
        encoding=encoding,
        delimiter=delimiter,
        width=header.width,
        positions=header.positions,
        ours=header.ours,
        first_row=first.row,
        start_byte=first.start_byte,
        block_bytes=_block_bytes(structure, header.width),
        pads_short=options.pad_short and header.ours is None,
    )
    counts = _Counts(header)
    if structure.records >= first.row:  # of nothing, pyarrow would say that it is invalid
        counts.add_all(layout)
    if counts.rows + counts.blank != structure.records - first.row + 1:
        raise InputError(DISAGREE)
    _refuse_cut_off(counts, structure)
    _refuse_split_column(counts, header, options)
    _refuse_useless(counts, header)
    newline = _newline(head, delimiter, start)
    return _Inspected(header, layout, counts, sha256, _encoding_notes(encoding), newline=newline)


def _newline(head: bytes, delimiter: str, start: int) -> str:
    """What ends the first record; what most programs write where nothing does."""
    record = next(csvscan.records(head, delimiter, start=start))
    ends = (end for end in ("\r\n", "\n", "\r") if head[: record.end].endswith(end.encode()))
    return next(ends, "\r\n")


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


def _block_bytes(structure: Structure, width: int) -> int:
    """A size of blocks that holds the longest record, and some hundreds of wide ones: a column has its own cost."""
    if structure.longest_bytes > _MAX_RECORD_BYTES:
        raise InputError(
            f"row {structure.longest_row} has {structure.longest_bytes:,} bytes, more than {_MAX_RECORD_BYTES:,}; "
            "look there for a quote that is closed too late"
        )
    return max(_BLOCK_BYTES, 2 * structure.longest_bytes, _CELL_BYTES * width)


def _encoding_notes(encoding: Encoding) -> tuple[str, ...]:
    if encoding.how != "detected":
        return ()
    return (f"the encoding was taken for {encoding.name}; set encoding if names look wrong",)


def _refuse_cut_off(counts: _Counts, structure: Structure) -> None:
    if counts.ends_short and not structure.ends_with_newline:
        raise InputError(
            f"row {counts.last_row}, the last, has too few cells and no line end: the file is cut off or still being "
            "written; export it again"
        )


def _refuse_split_column(counts: _Counts, header: Header, options: SourceOptions) -> None:
    if header.width == 1 and counts.ragged and options.delimiter is None:
        raise InputError(
            f"it looks like one column, yet row {counts.first_ragged} has more cells; set delimiter, or quote the cells"
        )


# --- Pass one, Excel ---


def _inspect_workbook(path: Path, kind: str, options: SourceOptions, spool_dir: Path) -> _Inspected:
    sheet, spool = workbook.convert(path, kind, options.sheet, spool_dir)
    try:
        return _inspect_sheet(path, options, sheet, spool)
    except BaseException:
        spool.unlink(missing_ok=True)
        raise


def _inspect_sheet(path: Path, options: SourceOptions, sheet: workbook.Sheet, spool: Path) -> _Inspected:
    if not sheet.rows:
        raise InputError(f"sheet {sheet.name!r} holds no rows; set sheet to another, or export the list again")
    options = replace(options, raw=options.raw or is_our_workbook(path))
    header, first = _placed(_sheet_head(spool, options), options, sheet.first_column)
    layout = Layout(
        path=path,
        encoding=Encoding("", ""),
        delimiter="",
        width=header.width,
        positions=header.positions,
        ours=header.ours,
        first_row=first.row,
        start_byte=0,
        block_bytes=0,
        spool=spool,
    )
    counts = _Counts(header)
    counts.add_all(layout)
    counts.blank = sheet.last_row - first.row + 1 - counts.rows
    _refuse_useless(counts, header)
    notes = sheet.notes + workbook.merge_notes(sheet, header.row)
    return _Inspected(header, layout, counts, _sha256(path), notes, sheet)


def _sheet_head(spool: Path, options: SourceOptions) -> list[Record]:
    """The first rows of a sheet as records, up to the header row given."""
    limit = csvscan.HEAD_RECORDS + (options.header_row or 0)
    heads = (batch.slice(0, limit) for batch in workbook.stream(spool))
    rows = (row for head in heads for row in zip(*(column.to_pylist() for column in head.columns), strict=True))
    return [Record(row, tuple(cells)) for row, *cells in islice(rows, limit)]


# --- Pass one, Parquet ---


def _inspect_parquet(path: Path, options: SourceOptions) -> _Inspected:
    records = parquet.find(path, options.beside, options.where)
    if not records.total and options.where is None:
        raise InputError("it has no rows; export it again")
    width = len(records.columns)
    header = Header(0, width, records.columns, records.columns, tuple(range(width)), (), ())
    layout = Layout(
        path=path,
        encoding=Encoding("", ""),
        delimiter="",
        width=width,
        positions=header.positions,
        first_row=1,
        start_byte=0,
        block_bytes=0,
        records=records,
    )
    counts = _Counts()
    counts.rows, counts.last_row = records.count, records.last_row
    return _Inspected(header, layout, counts, _sha256(path), _choice_notes(records))


def _choice_notes(records: parquet.Records) -> tuple[str, ...]:
    if records.chosen is None:
        return ()
    return (f"--where leaves {records.total - records.count:,} of {records.total:,} rows out",)


# --- Both passes ---


class _Counts:
    """What batches add up to."""

    def __init__(self, header: Header | None = None) -> None:
        self.rows = self.ragged = self.padded = self.blank = self.last_row = 0
        self.first_ragged = 0
        self.ends_short = False  # the last record has fewer cells than the header
        self.widths: Counter[int] = Counter()  # of ragged rows
        self.repeats: list[int] = []  # rows that say what the header says
        self._header = header

    def add_all(self, layout: Layout) -> None:
        """Counts a whole file. Raises InputError where a column without a name holds something."""
        for batch in batches(layout):
            self.add(batch)

    def add(self, batch: Batch) -> None:
        """Counts one batch."""
        self.rows += len(batch.rows) + len(batch.ragged)
        self.ragged += len(batch.ragged)
        if batch.ragged and not self.first_ragged:
            self.first_ragged = batch.ragged[0].row
        self.padded += len(batch.padded)
        self.blank += batch.blank
        self.widths.update(len(row.cells) for row in batch.ragged)
        self._see_last(batch)
        if self._header:
            _refuse_unnamed(self._header, batch)
            self.repeats += _repeats(self._header, batch)

    def notes(self) -> tuple[str, ...]:
        """What is to be told of the rows."""
        told = []
        if self.padded:
            told.append(f"rows that had too few cells and got empty ones at the end (short_rows): {self.padded:,}")
        if self.repeats:
            told.append(f"rows that repeat the header: {len(self.repeats):,}, the first is row {self.repeats[0]}")
        return tuple(told)

    def _see_last(self, batch: Batch) -> None:
        if len(batch.rows) and batch.rows[-1] > self.last_row:
            self.last_row = int(batch.rows[-1])
            self.ends_short = batch.padded[-1:] == (self.last_row,)
        if batch.ragged and batch.ragged[-1].row > self.last_row:
            self.last_row = batch.ragged[-1].row
            self.ends_short = self._is_short(batch.ragged[-1])

    def _is_short(self, row: RaggedRow) -> bool:
        return self._header is not None and self._header.ours is None and len(row.cells) < self._header.width


def _refuse_unnamed(header: Header, batch: Batch) -> None:
    for position in header.blank:
        filled = np.flatnonzero(~is_blank(batch.table.column(position)))
        if filled.size:
            raise InputError(
                f"column {position + header.first_column} has no name in the header (row {header.row}), and holds "
                f"something in row {batch.rows[filled[0]]}; name the column, or empty it{header.hint}"
            )


def _repeats(header: Header, batch: Batch) -> list[int]:
    """The rows of lists put together with their headers left in."""
    found = np.arange(len(batch.rows) if header.row else 0)
    for position, heading in zip(header.positions, header.headings, strict=True):
        if not found.size:
            break
        column = batch.table.column(position).take(pa.array(found))
        found = found[pc.equal(pc.utf8_trim_whitespace(column), heading).to_numpy(zero_copy_only=False)]
    rows: list[int] = batch.rows[found].tolist()
    return rows


def _refuse_useless(counts: _Counts, header: Header) -> None:
    if not counts.rows:
        raise InputError(f"it has no rows below the header (row {header.row}); export it again")
    if counts.ragged * 2 > counts.rows and header.ours is None:  # a rejected file may be all ragged rows
        width, rows = counts.widths.most_common(1)[0]
        pad = '; if only cells at the end are missing, set short_rows = "pad"' if width < header.width else ""
        raise InputError(
            f"{counts.ragged} of {counts.rows} rows don't have the {header.width} cells of the header (row "
            f"{header.row}), {rows} of them have {width}; set header_row or delimiter, or mend the file{pad}"
        )


def _refuse_differing(counts: _Counts, inspection: Inspection) -> None:
    found = (counts.rows, counts.ragged, counts.last_row)
    if found != (inspection.rows, inspection.ragged_rows, inspection.last_row):
        raise InputError(f"{counts.rows} rows were read where {inspection.rows} were counted; start again")


def _chunk(batch: Batch, inspection: Inspection) -> Chunk:
    cells = [batch.table.column(position) for position in inspection.layout.positions]
    arrays = map(pd.arrays.ArrowExtensionArray, cells)
    frame = pd.DataFrame(dict(zip(inspection.columns, arrays, strict=True)), index=pd.Index(batch.rows, name="row"))
    ours = inspection.layout.ours
    at = ours.row if ours else None
    return Chunk(frame, batch.ragged, None if at is None else batch.table.column(at))
