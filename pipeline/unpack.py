"""What is in a compressed file or an archive, as a plain file: bounded, since few bytes may hide very many."""

from __future__ import annotations

import os
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

import pyarrow as pa

from pipeline.model import DiskError, InputError
from pipeline.settings import MAX_FILE_SIZE
from pipeline.sniff import SNIFF_BYTES, kind_of
from pipeline.words import listed, plain

_PACKED = ("gzip", "bz2", "zstd", "zip")
_MOST_LAYERS = 3
_BLOCK_BYTES = 1 << 20
_RATIO = 500  # no list of people has so much in so little
_RATIO_FROM_BYTES = 64 << 20
_AGAIN = "compress or copy it again"
_LITTER = {".ds_store", "thumbs.db", "desktop.ini"}


@dataclass(frozen=True, slots=True)
class Content:
    """The list itself: a file of this kind, and what it was in, the outermost first.

    `path` is the file that was given, or one in the spool folder, mode 0600. `member` is its name in an archive.
    """

    path: Path
    kind: str
    containers: tuple[str, ...] = ()
    member: str | None = None

    def remove(self) -> None:
        """Removes what was unpacked."""
        if self.containers:
            self.path.unlink(missing_ok=True)


def content(path: Path, member: str | None, spool_dir: Path, most: int = MAX_FILE_SIZE) -> Content:
    """The list that a file is or holds.

    Raises InputError where it is damaged, protected, has more than `most` bytes unpacked or is a bomb; where an archive
    has several files and none is named; and where one is named that is not there. DiskError where it can't be written.
    """
    unpacking = _Unpacking(member, spool_dir, most)
    found = Content(path, _kind(path))
    try:
        while found.kind in _PACKED:
            found = unpacking.opened(found)
        _check_member(found, member)
    except BaseException:
        found.remove()
        raise
    return found


def _check_member(found: Content, member: str | None) -> None:
    if member is not None and found.member is None:
        raise InputError(f"it is no archive ({found.kind}), so there is no #{plain(member)} in it; leave that out")


def _kind(path: Path) -> str:
    with path.open("rb") as file:
        return kind_of(path, file.read(SNIFF_BYTES))


@dataclass(frozen=True, slots=True)
class _Unpacking:
    """How it is asked for, through every layer."""

    member: str | None
    spool_dir: Path
    most: int

    def opened(self, packed: Content) -> Content:
        """What the file holds; the file itself goes, unless it is the one that was given."""
        if len(packed.containers) == _MOST_LAYERS:
            raise InputError(f"it is compressed more than {_MOST_LAYERS} times over; unpack it yourself")
        member = packed.member
        if packed.kind == "zip":
            inner, member = self._from_archive(packed)
        else:
            inner = self._written(_decompressed(packed), packed)
        packed.remove()
        try:
            return Content(inner, _kind(inner), (*packed.containers, packed.kind), member)
        except BaseException:
            inner.unlink()
            raise

    def _from_archive(self, packed: Content) -> tuple[Path, str]:
        if packed.member is not None:
            raise InputError("it holds an archive in an archive; unpack it yourself, and name the list")
        with _damage_told("a ZIP archive"), zipfile.ZipFile(packed.path) as archive:
            entry = _chosen(_lists(archive), self.member)
            _refuse_unreadable(entry)
            with archive.open(entry) as file:
                return self._written(_entry_blocks(file), packed), entry.filename

    def _written(self, blocks: Iterable[bytes], packed: Content) -> Path:
        """The blocks in a file of the spool folder, mode 0600."""
        in_proportion = _in_proportion(blocks, packed.path.stat().st_size)
        handle, name = tempfile.mkstemp(dir=self.spool_dir, prefix="unpacked-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.writelines(bounded(in_proportion, self.most, f"it has more than {self.most:,} bytes unpacked"))
        except OSError as error:
            Path(name).unlink()
            raise DiskError(f"{name}: can't be written: {error.strerror or error}; make room there") from None
        except BaseException:
            Path(name).unlink()
            raise
        return Path(name)


def bounded(blocks: Iterable[bytes], most: int, told: str) -> Iterator[bytes]:
    """The blocks, `most` bytes of them. Raises InputError where there are more: what there are is `told`."""
    size = 0
    for block in blocks:
        size += len(block)
        if size > most:
            raise InputError(f"{told}; if that is right, set max_file_size in leads.toml higher")
        yield block


def _in_proportion(blocks: Iterable[bytes], packed_size: int) -> Iterator[bytes]:
    """The blocks, as long as they are not many more than a list of people gives when it is packed."""
    size = 0
    for block in blocks:
        size += len(block)
        if size > max(_RATIO * packed_size, _RATIO_FROM_BYTES):
            raise InputError(
                f"it has over {_RATIO} times as many bytes unpacked as packed, as no list has; if it is one, unpack it "
                "yourself"
            )
        yield block


# --- Compressed files ---


def _decompressed(packed: Content) -> Iterator[bytes]:
    """What is in a compressed file, all of its streams."""
    name = os.fsencode(packed.path)  # which may be no text
    with (
        _damage_told(f"compressed ({packed.kind})"),
        pa.OSFile(name, "rb") as raw,
        pa.CompressedInputStream(raw, packed.kind) as file,
    ):
        while block := file.read(_BLOCK_BYTES):
            yield block


@contextmanager
def _damage_told(what: str) -> Iterator[None]:
    """Says in a line why something can't be unpacked."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, OSError) as error:
        why = " ".join(str(error).split())[:200] or "it ends too early"
        raise InputError(f"it is {what}, and damaged or cut off ({plain(why)}); {_AGAIN}") from None


# --- Archives ---


def _lists(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The files of an archive that its maker put in, and not his system."""
    named = [entry for entry in archive.infolist() if entry.filename]
    return [entry for entry in named if not (entry.is_dir() or _is_litter(entry.filename))]


def _is_litter(name: str) -> bool:
    last = PurePosixPath(name).name
    return name.startswith("__MACOSX/") or last.lower() in _LITTER or last.startswith("._")


def _chosen(entries: Sequence[zipfile.ZipInfo], member: str | None) -> zipfile.ZipInfo:
    """The file meant: the only one, or the one of that name, with or without its folders."""
    if not entries:
        raise InputError("the archive holds no file; pack it again")
    if member is None:
        found, fault = entries, f"it is an archive of {len(entries)} files"
    else:
        named = [entry for entry in entries if entry.filename == member]
        found = named or [entry for entry in entries if PurePosixPath(entry.filename).name == member]
        fault = f"{len(found) or 'none'} of its files {'is' if not found else 'are'} called {plain(member)}"
    if len(found) != 1:
        example = plain(entries[0].filename)
        names = listed([plain(entry.filename) for entry in entries])
        raise InputError(f"{fault}; name one after a #, as in 'FILE#{example}'. It holds {names}")
    return found[0]


def _refuse_unreadable(entry: zipfile.ZipInfo) -> None:
    if entry.flag_bits & 0x1:
        raise InputError("the archive is protected by a password; unpack it yourself, or have it sent without one")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # the others can't be unpacked in pieces
        raise InputError("the archive is packed in a way that isn't read (such as Deflate64); unpack it yourself")


def _entry_blocks(file: IO[bytes]) -> Iterator[bytes]:
    with _damage_told("a ZIP archive"):
        while block := file.read(_BLOCK_BYTES):
            yield block
