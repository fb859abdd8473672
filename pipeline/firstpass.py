"""Pass one over a file: how it is cut into records and cells, proved over all of it, by its format.

CSV goes through pyarrow, after a scan of every byte for what pyarrow passes over; Excel goes through a child process
and a spool file; Parquet is read as it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from pipeline import csvscan, decode, parquet, workbook
from pipeline.counts import Counts, refuse_useless
from pipeline.csvscan import Record, Scanner, Structure
from pipeline.decode import Encoding, UndecodableError
from pipeline.header import REJECTED_COLUMNS, Header, Wanted, find_header, our_delimiter
from pipeline.model import InputError, UserError
from pipeline.rows import DISAGREE, Layout
from pipeline.settings import MAX_FILE_SIZE
from pipeline.sniff import SNIFF_BYTES, is_our_workbook
from pipeline.unpack import Content

_HEAD_BYTES = 1 << 20  # delimiter and header are decided by what comes first
_BLOCK_BYTES = 2 << 20  # of CSV at a time; a frame has about as much text
_CELL_BYTES = 512
_MAX_RECORD_BYTES = 64 << 20
_MAX_COLUMNS = 16_384  # as many as a sheet of Excel has


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


class Inspected(NamedTuple):
    """What pass one found, whatever the format."""

    header: Header
    layout: Layout
    counts: Counts
    sha256: str
    notes: tuple[str, ...]
    sheet: workbook.Sheet | None = None
    newline: str = ""


def inspect(content: Content, options: SourceOptions, spool_dir: Path) -> Inspected:
    """How the list is read. An Excel sheet is left as text in `spool_dir`.

    Raises InputError where the file can't be used as a whole, UserError where an option can't be.
    """
    path, kind = content.path, content.kind
    if not path.stat().st_size:
        raise InputError("what it holds is empty; export it again")
    if kind == "parquet":
        return _inspect_parquet(path, options)
    if options.where is not None:
        raise UserError(f"--where chooses rows of Parquet files, such as a run's report, and this is {kind}")
    return _inspect_csv(path, options) if kind == "csv" else _inspect_workbook(path, kind, options, spool_dir)


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


def _inspect_csv(path: Path, options: SourceOptions) -> Inspected:
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


def _inspect_as(path: Path, options: SourceOptions, encoding: Encoding) -> Inspected:
    head, whole = _text_head(path, encoding)
    delimiter, start, row = _delimiter(head, whole, options.delimiter)
    structure, sha256 = _scan(path, encoding, delimiter)
    records = csvscan.records(head, delimiter, row=row, start=start, whole=whole)
    found = list(islice(records, csvscan.HEAD_RECORDS + (options.header_row or 0)))
    if whole and not found:
        raise InputError("it holds no rows; export it again")
    header, first = _placed(found, options)
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
        line_cells=len(header.source_cells[0]) if structure.breaks_cells else 0,
    )
    counts = Counts(header)
    if structure.records >= first.row:  # of nothing, pyarrow would say that it is invalid
        counts.add_all(layout)
    if counts.rows + counts.blank != structure.records - first.row + 1:
        raise InputError(DISAGREE)
    _refuse_cut_off(counts, structure)
    _refuse_split_column(counts, header, options)
    refuse_useless(counts, header)
    newline = _newline(head, delimiter, start)
    return Inspected(header, layout, counts, sha256, _encoding_notes(encoding), newline=newline)


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


def _refuse_cut_off(counts: Counts, structure: Structure) -> None:
    if counts.ends_short and not structure.ends_with_newline:
        raise InputError(
            f"row {counts.last_row}, the last, has too few cells and no line end: the file is cut off or still being "
            "written; export it again"
        )


def _refuse_split_column(counts: Counts, header: Header, options: SourceOptions) -> None:
    if header.width == 1 and counts.ragged and options.delimiter is None:
        raise InputError(
            f"it looks like one column, yet row {counts.first_ragged} has more cells; set delimiter, or quote the cells"
        )


# --- Pass one, Excel ---


def _inspect_workbook(path: Path, kind: str, options: SourceOptions, spool_dir: Path) -> Inspected:
    sheet, spool = workbook.convert(path, kind, options.sheet, spool_dir)
    try:
        return _inspect_sheet(path, options, sheet, spool)
    except BaseException:
        spool.unlink(missing_ok=True)
        raise


def _inspect_sheet(path: Path, options: SourceOptions, sheet: workbook.Sheet, spool: Path) -> Inspected:
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
    counts = Counts(header)
    counts.add_all(layout)
    counts.blank = sheet.last_row - first.row + 1 - counts.rows
    refuse_useless(counts, header)
    notes = sheet.notes + workbook.merge_notes(sheet, header.row)
    return Inspected(header, layout, counts, digest_of(path), notes, sheet)


def _sheet_head(spool: Path, options: SourceOptions) -> list[Record]:
    """The first rows of a sheet as records, up to the header row given."""
    limit = csvscan.HEAD_RECORDS + (options.header_row or 0)
    heads = (batch.slice(0, limit) for batch in workbook.stream(spool))
    rows = (row for head in heads for row in zip(*(column.to_pylist() for column in head.columns), strict=True))
    return [Record(row, tuple(cells)) for row, *cells in islice(rows, limit)]


# --- Pass one, Parquet ---


def _inspect_parquet(path: Path, options: SourceOptions) -> Inspected:
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
    counts = Counts()
    counts.rows, counts.last_row = records.count, records.last_row
    return Inspected(header, layout, counts, digest_of(path), _choice_notes(records))


def _choice_notes(records: parquet.Records) -> tuple[str, ...]:
    if records.chosen is None:
        return ()
    return (f"--where leaves {records.total - records.count:,} of {records.total:,} rows out",)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(SNIFF_BYTES)


def digest_of(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
