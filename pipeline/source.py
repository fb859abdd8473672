"""Source files as text frames: inspect decides how a file is read, read streams it.

What is compressed or in an archive is unpacked into the spool folder first; `firstpass` then looks at every byte.
Numbers of rows are those that a user counts: in CSV from 1, with `sep=` line, title, blank and header records counted
and a newline in quotes not; in Excel, Excel's own; in Parquet, which has no header record, row 1 is the first record.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa

from pipeline import firstpass, unpack
from pipeline.counts import Counts
from pipeline.decode import UndecodableError
from pipeline.firstpass import Inspected, SourceOptions, digest_of
from pipeline.model import InputError, UserError
from pipeline.reloaded import batches
from pipeline.rows import Batch, Layout, RaggedRow
from pipeline.unpack import Content
from pipeline.words import plain

__all__ = ["Chunk", "Inspection", "RaggedRow", "SourceOptions", "inspect", "read"]

_FRESH_SECONDS = 5.0  # a file that was changed so lately is looked at twice; some systems count every other second only
_SECOND_LOOK_SECONDS = 0.9


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
            inspected = firstpass.inspect(content, options, spool_dir)
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
        counts = Counts()
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
        if digest_of(path) != sha256:
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


class _File(NamedTuple):
    """A file as it was given, and the list in it."""

    path: Path
    called: str
    look: _Look
    content: Content


def _inspection(file: _File, inspected: Inspected, options: SourceOptions) -> Inspection:
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
        sha256=digest_of(file.path) if file.content.containers else inspected.sha256,
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


def _refuse_differing(counts: Counts, inspection: Inspection) -> None:
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
