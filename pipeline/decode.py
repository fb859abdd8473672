"""Bytes to UTF-8: which encoding a file is in, and its text as a stream of UTF-8 blocks."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from pipeline.model import InputError, UserError

BLOCK_BYTES = 1 << 20
_SAMPLE_BYTES = 64 << 10
_LINE_BYTES = 4 << 10  # of one line in the sample: one endless line must not be all of it

# The longer mark first: the one for UTF-16 LE begins the one for UTF-32 LE.
_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

_EAST_ASIAN = ("cp932", "shift_jis", "euc_j", "cp949", "euc_kr", "johab", "big5", "cp950", "gb", "hz")

# Words of a Western language have a letter or two beyond ASCII; words of another script have little else.
_FOREIGN_SHARE = 0.6
_FOREIGN_BYTES = 8  # fewer prove nothing: a file may hold one © only


@dataclass(frozen=True, slots=True)
class Encoding:
    """An encoding and how it was chosen: `bom`, `utf-8`, `detected` or `given`."""

    name: str
    how: str
    bom_bytes: int = 0

    @property
    def is_utf8(self) -> bool:
        """Whether the file's bytes (after the mark) are UTF-8 as they stand."""
        return self.name in {"utf-8", "ascii"}


class UndecodableError(Exception):
    """Bytes that are not text in the encoding, and the line they are in."""

    def __init__(self, encoding: Encoding, line: int) -> None:
        super().__init__(f"line {line} is not {encoding.name} ({encoding.how})")


def first_choice(head: bytes, given: str | None) -> Encoding:
    """The encoding to try, from the first bytes of a file: given, by its mark, UTF-16 by its NULs, else UTF-8.

    Raises UserError where `given` is no text encoding.
    """
    mark = next(((bom, name) for bom, name in _BOMS if head.startswith(bom)), None)
    if given is not None:
        name = _known(given)
        return Encoding(name, "given", len(mark[0]) if mark and mark[1] == name else 0)
    if mark:
        return Encoding(mark[1], "bom", len(mark[0]))
    if utf16 := _utf16_by_nuls(head):
        return Encoding(utf16, "detected")
    return Encoding("utf-8", "utf-8")


def _known(name: str) -> str:
    try:
        "a".encode(name).decode(name)
        return codecs.lookup(name).name
    except (LookupError, UnicodeError, ValueError):
        raise UserError(
            f"{name!r} is not an encoding that Python knows; use a name such as utf-8, cp1252 or utf-16"
        ) from None


def _utf16_by_nuls(head: bytes) -> str | None:
    """UTF-16 without a mark: Western text has a NUL in every second byte."""
    half = len(head) // 2
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if odd > 0.4 * half and even < 0.05 * half:
        return "utf-16-le"
    if even > 0.4 * half and odd < 0.05 * half:
        return "utf-16-be"
    return None


def utf8_blocks(file: BinaryIO, encoding: Encoding, on_raw: Callable[[bytes], object] | None = None) -> Iterator[bytes]:
    """The text of `file` as UTF-8 in blocks, without a byte order mark; `on_raw` sees every byte as it is.

    UTF-8 is passed on as it comes: a character may be split between two blocks. Raises UndecodableError.
    """
    decoder = codecs.getincrementaldecoder(encoding.name)("strict")
    skip, lines = encoding.bom_bytes, 0
    while raw := file.read(BLOCK_BYTES):
        if on_raw:
            on_raw(raw)
        body, skip = raw[skip:], 0
        block = _decoded(decoder, body, encoding, lines)
        lines += block.count(b"\n")
        yield block
    yield _decoded(decoder, b"", encoding, lines, final=True)


def _decoded(
    decoder: codecs.IncrementalDecoder, raw: bytes, encoding: Encoding, lines: int, final: bool = False
) -> bytes:
    if encoding.is_utf8 and raw.isascii() and not decoder.getstate()[0]:
        return raw
    try:
        text = decoder.decode(raw, final=final)
    except UnicodeError as error:
        if not isinstance(error, UnicodeDecodeError):  # UTF-16 and UTF-32 by name want a byte order mark
            raise UndecodableError(encoding, lines + 1) from None
        good = error.object[: error.start].decode(encoding.name, "replace")
        raise UndecodableError(encoding, lines + good.count("\n") + 1) from None
    return raw if encoding.is_utf8 else text.encode("utf-8")


class Utf8Reader(io.RawIOBase):
    """A readable file of the UTF-8 text of another file, for readers that know no other encoding."""

    def __init__(self, file: BinaryIO, encoding: Encoding) -> None:
        self._file = file
        self._blocks = utf8_blocks(file, encoding)
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed's Buffer is not in 3.11
        """The number of bytes put into `buffer`; 0 at the end."""
        while not self._rest:
            block = next(self._blocks, None)
            if block is None:
                return 0
            self._rest = memoryview(block)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def close(self) -> None:
        """Closes the other file, too."""
        self._file.close()
        super().close()


def detect(file: BinaryIO) -> Encoding:
    """The encoding of a file that is not UTF-8, judged by its lines beyond ASCII; the caller proves it.

    Raises InputError where the file is UTF-8 with damage, or where the bytes leave it open.
    """
    sample = _foreign_lines(file)
    _refuse_damaged_utf8(sample)
    western = _decodes(sample, "cp1252")
    if western and not _is_foreign(sample):
        return Encoding("cp1252", "detected")
    guess = _guess(sample)
    if guess is None:
        raise InputError("the text is not UTF-8, and its encoding can't be told; set encoding, or save it as UTF-8")
    return Encoding(guess, "detected")


def _foreign_lines(file: BinaryIO) -> bytes:
    """The first lines with bytes beyond ASCII, up to the size of a sample."""
    lines, size = [], 0
    while size < _SAMPLE_BYTES and (block := file.read(BLOCK_BYTES)):
        for line in re.split(rb"[\r\n]+", block):
            if not line.isascii():
                lines.append(line[:_LINE_BYTES])
                size += len(lines[-1])
                if size >= _SAMPLE_BYTES:
                    break
    return b"\n".join(lines)


def _refuse_damaged_utf8(sample: bytes) -> None:
    """Raises where most characters are good UTF-8: read in another encoding, every one of them would be wrong."""
    text = sample.decode("utf-8", "replace")
    bad = text.count("\ufffd")
    good = sum(character > "\x7f" for character in text) - bad
    if good and good >= bad:
        raise InputError(
            "the text is UTF-8 with damaged characters; save it as UTF-8 again, or set encoding if it is another"
        )


def _decodes(sample: bytes, name: str) -> bool:
    try:
        sample.decode(name)
    except UnicodeDecodeError:
        return False
    return True


def _is_foreign(sample: bytes) -> bool:
    """Whether words with bytes beyond ASCII consist mainly of such bytes: not a Western script."""
    words = [word for word in re.findall(rb"[A-Za-z\x80-\xff]+", sample) if not word.isascii()]
    high = sum(len(re.sub(rb"[A-Za-z]", b"", word)) for word in words)
    return high >= _FOREIGN_BYTES and high > _FOREIGN_SHARE * sum(map(len, words))


def _guess(sample: bytes) -> str | None:
    """An East Asian encoding that charset-normalizer finds plausible; its single-byte guesses are too often wrong."""
    import charset_normalizer

    best = charset_normalizer.from_bytes(sample).best()
    if best is None or not best.coherence or not best.encoding.startswith(_EAST_ASIAN):
        return None
    return best.encoding
