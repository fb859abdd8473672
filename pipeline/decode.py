"""Bytes to UTF-8: which encoding a file is in, and its text as a stream of UTF-8 blocks."""

from __future__ import annotations

import codecs
import encodings.aliases
import io
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from pipeline.model import InputError, UserError
from pipeline.words import nearest

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

_MISNAMED = {"ansi": "cp1252", "windows": "cp1252", "excel": "cp1252", "unicode": "utf-16", "mac": "mac_roman"}

_WESTERN = ("cp1252", "mac_roman", "cp850", "cp1250")  # the usual one first
# Of text that is not in the encoding tried, letters turn into signs, or into letters that don't belong together.
_SIGNS = {
    "-": "\xa0\xad\xb4\xb7\u2013\u2014\u2018\u2019\u2022\u2026",  # on both sides of a letter
    ")": "\xa7\xa9\xaa\xae\xb0\xb2\xb3\xb9\xba\xbb\u201d\u2122",  # behind one
    "(": "\xa1\xab\xbf\u201c\u201e",  # before one
}
_ODD = re.compile(r"[aAbB][(#]|[)#][aAbB]|[ab]B|[AB]B[ab]|(?<![aAbB])[bB]{2,}(?![aAbB])")
_WORD = re.compile(r"[aAbB]*[bB#()][aAbB#()-]*")
_ODD_SHARE = 0.1  # names such as McÉ may be odd

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
    """The encoding to try, from the first bytes of a file: given, by its mark, by its NULs, else UTF-8.

    A mark of UTF-16 before text in UTF-32 is passed over. Where the encoding is given, any mark is: the caller proves
    that it is no better. Raises UserError where `given` is no text encoding.
    """
    own = by_mark(head)
    if given is not None:
        name = _known(given)
        return Encoding(_with_order(name, head, own), "given", own.bom_bytes if own else 0)
    if own:
        return own
    if wide := _wide_by_nuls(head):
        return Encoding(wide, "detected")
    return Encoding("utf-8", "utf-8")


def by_mark(head: bytes) -> Encoding | None:
    """What the byte order mark at the beginning says, None without one."""
    mark, name = next(((bom, name) for bom, name in _BOMS if head.startswith(bom)), (b"", ""))
    if not mark:
        return None
    wide = _wide_by_nuls(head[len(mark) :]) or ""
    if name.startswith("utf-16") and wide.startswith("utf-32"):
        return Encoding(wide, "detected", len(mark))
    return Encoding(name, "bom", len(mark))


def _known(name: str) -> str:
    try:
        "a".encode(name).decode(name)
        return codecs.lookup(name).name.removesuffix("-sig")
    except (LookupError, UnicodeError, ValueError):
        known = encodings.aliases.aliases
        meant = _MISNAMED.get(name.casefold())
        near = f"; did you mean {meant!r}?" if meant else nearest(name, {*known, *known.values()})
        raise UserError(
            f"{name!r} is not an encoding that Python knows{near or '; use a name such as utf-8, cp1252 or utf-16'}"
        ) from None


def _with_order(name: str, head: bytes, own: Encoding | None) -> str:
    """The name with the order of bytes that the file shows, where it says UTF-16 or UTF-32 and no more."""
    shown = own.name if own else _wide_by_nuls(head)
    return shown if name in ("utf-16", "utf-32") and shown and shown.startswith(name) else name


def _wide_by_nuls(head: bytes) -> str | None:
    """UTF-16 or UTF-32 without a mark: Western text has a NUL in every second byte, or in three of four."""
    units = len(head) // 4
    if not units:
        return None
    first, second, third, fourth = (head[at : 4 * units : 4].count(0) / units for at in range(4))
    if min(third, fourth) > 0.95 and first < 0.05:
        return "utf-32-le"
    if min(first, second) > 0.95 and fourth < 0.05:
        return "utf-32-be"
    if second + fourth > 0.8 and first + third < 0.1:
        return "utf-16-le"
    if first + third > 0.8 and second + fourth < 0.1:
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

    Raises InputError where the file is UTF-8 with damage, UTF-8 in part, or where the bytes leave it open.
    """
    sample = _foreign_lines(file)
    _refuse_damaged_utf8(sample)
    name = None if _is_foreign(sample) else _western(sample)
    if name is not None:
        file.seek(0)
        _refuse_mixed(file)
    name = name or _guess(sample)
    if name is None:
        raise InputError("the text is not UTF-8, and its encoding can't be told; set encoding, or save it as UTF-8")
    return Encoding(name, "detected")


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


def _refuse_mixed(file: BinaryIO) -> None:
    """Raises where text in a Western encoding has letters in UTF-8, too: \xc3 begins those of Western languages."""
    lines, last = 1, b""
    while block := file.read(BLOCK_BYTES):
        if found := re.search(rb"\xc3[\x80-\xbf]", last + block):
            line = lines + (last + block).count(b"\n", 0, found.start())
            raise InputError(
                f"line {line} is UTF-8 and others are not; save it as UTF-8 again, or set encoding to read it all alike"
            )
        lines, last = lines + block.count(b"\n"), block[-1:].replace(b"\n", b"")


def _western(sample: bytes) -> str | None:
    """cp1252 where the text reads well in it, else the only one of the others in which it does."""
    texts = {name: text for name in _WESTERN if (text := _decoded_as(sample, name)) and _reads_well(text)}
    if "cp1252" in texts or len(set(texts.values())) == 1:
        return next(iter(texts))
    return None


def _decoded_as(sample: bytes, name: str) -> str | None:
    try:
        return sample.decode(name)
    except UnicodeDecodeError:
        return None


def _reads_well(text: str) -> bool:
    """Whether hardly a word has signs within it, capitals after small letters, or no letter of ASCII."""
    kinds = text.translate({ord(character): _kind(character) for character in set(text)})
    return len(_ODD.findall(kinds)) <= _ODD_SHARE * len(_WORD.findall(kinds))


def _kind(character: str) -> str:
    """a and A for a letter of ASCII, b and B for another; else which side of a word the character may stand at."""
    if character.isascii():
        return ("A" if character.isupper() else "a") if character.isalpha() else " "
    letter = {"Lu": "B", "Ll": "b"}.get(unicodedata.category(character))
    return letter or next((kind for kind, signs in _SIGNS.items() if character in signs), "#")


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
