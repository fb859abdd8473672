"""The structure of CSV text: records and quotes over all of it, cells and delimiter at its head.

All of it works on UTF-8 bytes. pyarrow's parser hides what is found here: text after a closing
quote, a quote that is never closed, NUL bytes and stray carriage returns pass it in silence.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from pipeline.model import InputError

DELIMITERS = (",", ";", "\t", "|")
HEAD_RECORDS = 100

_QUOTE, _LF, _CR = 0x22, 0x0A, 0x0D
_OTHER = b"x"  # stands for a quote that is a character
_SEPARATOR_LINE = re.compile(rb'"?sep=([^\r\n])"?(?:\r\n|\n|\r)', re.IGNORECASE)

_AFTER_QUOTE = "a quoted cell goes on after its closing quote; double the quotes inside it, or close the one before"

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Record:
    """A record: its number as the user counts, its cells, the offsets of its first byte and of the next record's."""

    row: int
    cells: tuple[str, ...]
    start: int = 0
    end: int = 0

    @property
    def filled(self) -> int:
        """The number of cells that hold more than whitespace."""
        return sum(bool(cell.strip()) for cell in self.cells)


@dataclass(frozen=True, slots=True)
class Structure:
    """What a scan of the whole text found: records (blank ones included), bytes of the longest, the last line's end."""

    records: int
    longest_bytes: int
    longest_row: int
    ends_with_newline: bool


def separator_line(head: bytes) -> tuple[str, int] | None:
    """The delimiter that a first line `sep=;` declares and the offset after it, or None."""
    match = _SEPARATOR_LINE.match(head)
    return (match[1].decode("latin-1"), match.end()) if match else None


def records(text: bytes, delimiter: str, *, row: int = 1, start: int = 0, whole: bool = True) -> Iterator[Record]:
    """The records of `text` from offset `start` on, numbered from `row`.

    Where `text` is not the `whole` of it, a record without a line end is left out.
    """
    cell = _cell_pattern(delimiter)
    cells: list[str] = []
    position = start
    while position < len(text) or cells:
        match = cell.match(text, position)
        assert match is not None  # an unquoted cell may be empty: the pattern matches anywhere
        quoted, plain, end = match.groups()
        cells.append(_text(plain) if quoted is None else _text(quoted).replace('""', '"'))
        position = match.end()
        if end == delimiter.encode():
            continue
        if not end and not whole:
            return
        yield Record(row, tuple(cells), start, position)
        row, cells, start = row + 1, [], position


@cache
def _cell_pattern(delimiter: str) -> re.Pattern[bytes]:
    mark = re.escape(delimiter.encode())
    return re.compile(rb'(?:"((?:[^"]|"")*+)"|([^\r\n' + mark + rb"]*+))(" + mark + rb"|\r\n|\n|\r|\Z)")


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class _Fit:
    """How well a delimiter explains the head: where records of the usual width begin, how many, how wide."""

    delimiter: str
    first: int
    share: float
    width: int

    @property
    def rank(self) -> tuple[int, float]:
        """Smaller is better: header names hold no delimiters, so the right one explains an earlier record."""
        return (self.first, -self.share * (self.width - 1))


def find_delimiter(head: bytes, *, start: int = 0, whole: bool = True) -> str:
    """The one of `DELIMITERS` that cuts the first records into equally many cells; `,` for a plain single column.

    Raises InputError where none or several do.
    """
    widths = {mark: _widths(head, mark, start, whole) for mark in DELIMITERS}
    fits = sorted(
        (fit for mark, found in widths.items() if (fit := _fit(mark, found)) and fit.share >= 0.5),
        key=lambda fit: fit.rank,
    )
    if not fits:
        _refuse_split_column(widths)
        return DELIMITERS[0]
    if len(fits) > 1 and fits[0].rank == fits[1].rank:
        raise InputError(f"both {fits[0].delimiter!r} and {fits[1].delimiter!r} could be the delimiter; set delimiter")
    return fits[0].delimiter


def _widths(head: bytes, delimiter: str, start: int, whole: bool) -> list[tuple[int, int]]:
    """(row, number of cells) of the first records that hold anything."""
    found = []
    for record in records(head, delimiter, start=start, whole=whole):
        if record.filled:
            found.append((record.row, len(record.cells)))
        if len(found) == HEAD_RECORDS:
            break
    return found


def _fit(delimiter: str, widths: Sequence[tuple[int, int]]) -> _Fit | None:
    counts = Counter(width for _, width in widths if width > 1)
    if not counts:
        return None
    width = max(counts, key=lambda width: (counts[width], width))
    first = next(index for index, found in enumerate(widths) if found[1] == width)
    return _Fit(delimiter, first, counts[width] / (len(widths) - first), width)


def _refuse_split_column(widths: dict[str, list[tuple[int, int]]]) -> None:
    for mark, found in widths.items():
        row = next((row for row, width in found if width > 1), None)
        if row is not None:
            raise InputError(
                f"it looks like one column, yet row {row} contains {mark!r} and no delimiter fits most rows; "
                "set delimiter, or quote the cells"
            )


class Scanner:
    """Counts the records of a text fed block by block, and refuses what a CSV parser would pass over.

    A quote opens a cell at its beginning only; elsewhere in an unquoted cell it is a character. Each
    finding raises InputError with its row.
    """

    def __init__(self, delimiter: str) -> None:
        self._opens = _table(delimiter)
        self._closes = _table(delimiter)
        self._held = b""  # the last byte: what it means depends on the next one
        self._before = b"\n"  # the byte before it
        self._inside = False  # within a quoted cell
        self._opened_row = 0
        self._records = 0
        self._lines = 0
        self._offset = 0
        self._record_start = 0
        self._longest = (0, 0)  # bytes, row
        self._line_feeds = 0
        self._lone_return = ""  # where the first one is

    def feed(self, block: bytes) -> None:
        """Takes the next block of UTF-8 text."""
        if not block:
            return
        text = self._held + block
        self._scan(text[:-1], text[-1:])
        self._held = text[-1:]

    def finish(self) -> Structure:
        """The structure of all that was fed."""
        self._scan(self._held, b"\n")
        if self._inside:
            raise InputError(f"row {self._opened_row}: a quoted cell is never closed; close it, or double the quote")
        if self._lone_return and self._line_feeds:
            raise InputError(
                f"{self._lone_return}: a carriage return without a line feed; quote the cell it is in, or remove it"
            )
        ends_with_newline = self._held in (b"\n", b"\r", b"")
        if not ends_with_newline:
            self._close_record()
        return Structure(self._records, *self._longest, ends_with_newline)

    def _scan(self, body: bytes, after: bytes) -> None:
        """Takes `body`, which stands between the byte before and the byte `after` it."""
        if not body:
            return
        window = np.frombuffer(self._before + body + after, dtype=np.uint8)
        newlines = _newlines(window, body)
        quotes = self._structural(window, _positions(window, _QUOTE) if _QUOTE in body else _NONE, newlines)
        ends = self._outside(newlines, quotes)
        self._refuse_nul(body, ends, newlines)
        self._count(window, ends, newlines)
        self._carry(body, quotes, ends)

    def _structural(self, window: npt.NDArray[np.uint8], quotes: Positions, newlines: Positions) -> Positions:
        """The positions of quotes that open, close or double; raises on text after a closing quote."""
        opening, closing = quotes[int(self._inside) :: 2], quotes[1 - int(self._inside) :: 2]
        # A quote after a closing quote is the second of a pair: the cell goes on.
        if self._opens[window[opening - 1]].all() and self._closes[window[closing + 1]].all():
            return quotes
        return self._told_apart(window, quotes, newlines)

    def _told_apart(self, window: npt.NDArray[np.uint8], quotes: Positions, newlines: Positions) -> Positions:
        """As `_structural`, one quote after the other, where some are characters of unquoted cells."""
        kept: list[int] = []
        inside, last = self._inside, 0
        before, after = window[quotes - 1].tolist(), window[quotes + 1].tolist()
        opens, closes = self._opens.tolist(), self._closes.tolist()
        for at, position in enumerate(quotes.tolist()):
            if inside:
                if not closes[after[at]]:
                    ends = self._outside(newlines, np.array(kept, dtype=np.int64))
                    self._refuse(_AFTER_QUOTE, position, ends, newlines)
            elif not opens[before[at]] or (before[at] == _QUOTE and last != position - 1):
                continue
            inside, last = not inside, position
            kept.append(position)
        return np.array(kept, dtype=np.int64)

    def _outside(self, positions: Positions, quotes: Positions) -> Positions:
        """Those of `positions` that stand outside quoted cells."""
        if not quotes.size:
            return _NONE if self._inside else positions
        passed = np.searchsorted(quotes, positions) + int(self._inside)
        outside: Positions = positions[passed % 2 == 0]
        return outside

    def _refuse_nul(self, body: bytes, ends: Positions, newlines: Positions) -> None:
        at = body.find(0)
        if at >= 0:
            what = "a NUL byte; remove it, or set encoding if the text is UTF-16 or UTF-32"
            self._refuse(what, at + 1, ends, newlines)

    def _refuse(self, what: str, position: int, ends: Positions, newlines: Positions) -> NoReturn:
        raise InputError(f"{self._where(position, ends, newlines)}: {what}")

    def _where(self, position: int, ends: Positions, newlines: Positions) -> str:
        row = self._records + int(np.searchsorted(ends, position)) + 1
        line = self._lines + int(np.searchsorted(newlines, position)) + 1
        return f"row {row}" if row == line else f"row {row} (line {line})"

    def _count(self, window: npt.NDArray[np.uint8], ends: Positions, newlines: Positions) -> None:
        """Adds what ended in this window to the totals."""
        feeds = window[ends] == _LF
        if not self._lone_return and not feeds.all():
            self._lone_return = self._where(int(ends[~feeds][0]), ends, newlines)
        self._line_feeds += int(feeds.sum())
        if ends.size:
            after = ends + self._offset
            lengths = np.diff(after, prepend=self._record_start)
            longest = int(lengths.argmax())
            self._keep_longest(int(lengths[longest]), self._records + longest + 1)
            self._record_start = int(after[-1])
        self._lines += newlines.size

    def _carry(self, body: bytes, quotes: Positions, ends: Positions) -> None:
        """What the next window needs to know."""
        self._inside ^= bool(quotes.size % 2)
        if self._inside and quotes.size:
            self._opened_row = self._records + int(np.searchsorted(ends, quotes[-1])) + 1
        self._records += ends.size
        self._offset += len(body)
        literal = body[-1] == _QUOTE and not (quotes.size and quotes[-1] == len(body))
        self._before = _OTHER if literal else body[-1:]

    def _close_record(self) -> None:
        """Counts the last record, which has no line end."""
        self._records += 1
        self._keep_longest(self._offset - self._record_start, self._records)

    def _keep_longest(self, length_bytes: int, row: int) -> None:
        if length_bytes > self._longest[0]:
            self._longest = (length_bytes, row)


_NONE = np.empty(0, dtype=np.int64)


def _table(delimiter: str) -> npt.NDArray[np.bool_]:
    """By byte: whether it may stand beside a quote on the outside."""
    table = np.zeros(256, dtype=np.bool_)
    table[[ord(delimiter), _LF, _CR, _QUOTE]] = True
    return table


def _positions(window: npt.NDArray[np.uint8], byte: int) -> Positions:
    """Where `byte` stands in `window`, its first and last byte left out."""
    return np.flatnonzero(window[1:-1] == byte) + 1


def _newlines(window: npt.NDArray[np.uint8], body: bytes) -> Positions:
    """Where lines end: line feeds, and carriage returns without one."""
    feeds = _positions(window, _LF)
    if _CR not in body:
        return feeds
    returns = _positions(window, _CR)
    lone = returns[window[returns + 1] != _LF]
    return np.union1d(feeds, lone) if lone.size else feeds
