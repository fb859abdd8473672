"""An .xlsx as its parser reads it fastest: unpacked, and with an empty list of merged cells before the rows.

python-calamine goes through a sheet once for its values and once more for its merged cells, which nobody here asks it
for: the second time takes two thirds as long as the first, and ends where the list is. Not a cell is another.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_BLOCK_BYTES = 1 << 18
_MOST_BYTES = 1 << 30  # of disk; a larger workbook is read as it is
_NONE_MERGED = b"<mergeCells></mergeCells>"
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)  # the last where a part has a password


@contextmanager
def unpacked(archive: zipfile.ZipFile, copy: Path) -> Iterator[Path]:
    """The path of such a copy, mode 0600, which goes at the end.

    It is the workbook's own where the copy would be too large; where a part is damaged, which may be one that the
    parser does not need; and where the copy's path is no text, which is all that the parser takes.
    """
    try:
        yield copy if _is_copied(archive, copy) else Path(str(archive.filename))
    finally:
        copy.unlink(missing_ok=True)


def _is_copied(archive: zipfile.ZipFile, copy: Path) -> bool:
    if sum(part.file_size for part in archive.infolist()) > _MOST_BYTES or not str(copy).isprintable():
        return False
    handle = os.open(copy, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0), 0o600)
    with os.fdopen(handle, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as written:
        try:
            for part in archive.infolist():
                _copy(archive, part, written)
        except _DAMAGED:
            return False
    return True


def _copy(archive: zipfile.ZipFile, part: zipfile.ZipInfo, written: zipfile.ZipFile) -> None:
    with archive.open(part) as packed, written.open(zipfile.ZipInfo(part.filename), "w") as plain:
        plain.write(_begun(packed.read(_BLOCK_BYTES)))
        while block := packed.read(_BLOCK_BYTES):
            plain.write(block)


def _begun(block: bytes) -> bytes:
    """The first block of a part; that of a sheet with the empty list, unless its tags may be no tags but text."""
    head, tag, rows = block.partition(b"<sheetData")
    if not tag or b"<worksheet" not in head or b"<!" in head:
        return block
    return b"".join((head, _NONE_MERGED, tag, rows))
