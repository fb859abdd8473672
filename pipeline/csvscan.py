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
_UNUSUAL = "^`~\x1f\x1e\x01"  # taken for delimiters only where they are declared
HEAD_RECORDS = 100
_HEAD_CELLS = 50_000  # of very wide records, fewer are enough

_QUOTE, _LF, _CR, _ESCAPE = 0x22, 0x0A, 0x0D, 0x5C
_OTHER = b"x"  # stands for a quote that is a character
_PADDING_BYTES = 1 << 20  # of blanks behind a quoted cell: nobody pads so far
_SEPARATOR_LINE = re.compile(rb'"?sep=([\t !#-~])"?(?:\r\n|\n|\r)', re.IGNORECASE)

_BACKSLASH = "a quote within a quoted cell has a backslash before it; export the list with quotes doubled instead"
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
    """What a scan of the whole text found: records (blank ones included), bytes of the longest, the last line's end.

    `breaks_cells` where a cell holds a line break.
    """

    records: int
    longest_bytes: int
    longest_row: int
    ends_with_newline: bool
    breaks_cells: bool


def separator_line(head: bytes) -> tuple[str, int] | None:
    """The delimiter that a first line `sep=;` declares and the offset after it, or None."""
    match = _SEPARATOR_LINE.match(head)
    return (match[1].decode(), match.end()) if match else None


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
        quoted, padding, plain, end = match.groups()
        cells.append(_text(plain) if quoted is None else _text(quoted).replace('""', '"') + _text(padding))
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
    padding = b"".join(blank for blank in (b" ", b"\t") if blank != delimiter.encode())
    quoted = rb'"((?:[^"]|"")*+)"([' + padding + rb"]*+)"
    return re.compile(rb"(?:" + quoted + rb"|([^\r\n" + mark + rb"]*+))(" + mark + rb"|\r\n|\n|\r|\Z)")


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
    def rank(self) -> tuple[bool, int, float]:
        """Smaller is better: header names hold no delimiters, so the right one explains an earlier record."""
        return (self.share < 0.9, self.first, -self.share * (self.width - 1))


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
        _refuse_undeclared({mark: _widths(head, mark, start, whole) for mark in _UNUSUAL})
        return DELIMITERS[0]
    if len(fits) > 1 and fits[0].rank == fits[1].rank:
        raise InputError(f"both {fits[0].delimiter!r} and {fits[1].delimiter!r} could be the delimiter; set delimiter")
    return fits[0].delimiter


def _widths(head: bytes, delimiter: str, start: int, whole: bool) -> list[tuple[int, int]]:
    """(row, number of cells) of the first records that hold anything."""
    found, cells = [], 0
    for record in records(head, delimiter, start=start, whole=whole):
        if record.filled:
            found.append((record.row, len(record.cells)))
            cells += len(record.cells)
        if len(found) == HEAD_RECORDS or cells > _HEAD_CELLS:
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


def _refuse_undeclared(widths: dict[str, list[tuple[int, int]]]) -> None:
    for mark, found in widths.items():
        fit = _fit(mark, found)
        if fit and fit.share >= 0.9 and len(found) > 1:
            raise InputError(
                f"it looks like one column, yet {mark!r} cuts it into {fit.width}; set delimiter to that, or to ','"
            )


class Scanner:
    """Counts the records of a text fed block by block, and refuses what a CSV parser would pass over.

    A quote opens a cell at its beginning only; elsewhere in an unquoted cell it is a character. Blanks between a
    closing quote and the delimiter are let be. Each finding raises InputError with its row.
    """

    def __init__(self, delimiter: str) -> None:
        self._beside = np.zeros(256, dtype=np.bool_)  # by byte: whether it may stand next to a quote, outside the cell
        self._beside[[ord(delimiter), _LF, _CR, _QUOTE]] = True
        self._padding = re.compile(rb"[ \t]+(?=[\r\n" + re.escape(delimiter.encode()) + rb"])")
        self._tail = b"\n"  # the byte before what is to be scanned, and what was not scanned yet
        self._inside = False  # within a quoted cell
        self._opened_row = 0
        self._records = 0
        self._lines = 0
        self._offset = 0
        self._record_start = 0
        self._longest = (0, 0)  # bytes, row
        self._line_feeds = False
        self._lone_return = ""  # where the first one is

    def feed(self, block: bytes) -> None:
        """Takes the next block of UTF-8 text."""
        if len(self._tail) > _PADDING_BYTES:
            raise InputError(f"row {self._records + 1}: endless blanks behind a quoted cell; remove them")
        raw = self._tail + block
        # What a quote means depends on what follows it and its padding: both wait for the next block.
        kept = raw.rstrip(b" \t")
        self._scan(raw, len(kept) - 1 if kept.endswith(b'"') and len(kept) > 1 else len(raw) - 1)

    def finish(self) -> Structure:
        """The structure of all that was fed."""
        ends_with_newline = self._tail[-1:] in (b"\n", b"\r")
        self._scan(self._tail + b"\n", len(self._tail))
        if self._inside:
            raise InputError(f"row {self._opened_row}: a quoted cell is never closed; close it, or double the quote")
        if self._lone_return and self._line_feeds:
            raise InputError(
                f"{self._lone_return}: a carriage return without a line feed; quote the cell it is in, or remove it"
            )
        breaks_cells = self._lines > self._records
        if self._offset > self._record_start:  # the last record has no line end
            self._records += 1
            self._keep_longest(self._offset - self._record_start, self._records)
        return Structure(self._records, *self._longest, ends_with_newline, breaks_cells)

    def _scan(self, raw: bytes, end: int) -> None:
        """Takes the bytes from 1 to `end`; those at 0 and from `end` on are their neighbours."""
        window = _Window(raw, end)
        quotes = self._structural(window)
        ends = self._outside(window.newlines, quotes)
        nul = raw.find(0, 1, end)
        if nul >= 0:
            self._refuse("a NUL byte; remove it, or set encoding if the text is UTF-16 or UTF-32", nul, window, ends)
        self._count(window, ends)
        self._inside ^= bool(quotes.size % 2)
        if self._inside and quotes.size:
            self._opened_row = self._records + int(np.searchsorted(ends, quotes[-1])) + 1
        self._records += ends.size
        self._lines += window.newlines.size
        self._offset += end - 1
        literal = raw[end - 1] == _QUOTE and end > 1 and not (quotes.size and quotes[-1] == end - 1)
        self._tail = (_OTHER if literal else raw[end - 1 : end]) + raw[end:]

    def _structural(self, window: _Window) -> Positions:
        """The positions of quotes that open, close or double; raises on text after a closing quote."""
        quotes, codes = window.quotes, window.codes
        opening, closing = quotes[int(self._inside) :: 2], quotes[1 - int(self._inside) :: 2]
        # A quote right after a closing quote is the second of a pair: the cell goes on.
        if self._beside[codes[opening - 1]].all() and self._beside[codes[closing + 1]].all():
            return quotes
        return self._told_apart(window)

    def _told_apart(self, window: _Window) -> Positions:
        """As `_structural`, one quote after the other, where some are characters of unquoted cells."""
        kept: list[int] = []
        inside, last = self._inside, 0
        before, after = window.codes[window.quotes - 1], window.codes[window.quotes + 1]
        closes = self._beside[after].tolist()
        opens, doubles = self._beside[before].tolist(), (before == _QUOTE).tolist()
        for at, position in enumerate(window.quotes.tolist()):
            if inside:
                if not closes[at] and not self._padding.match(window.raw, position + 1):
                    ends = self._outside(window.newlines, np.array(kept, dtype=np.int64))
                    what = _BACKSLASH if window.raw[position - 1] == _ESCAPE else _AFTER_QUOTE
                    self._refuse(what, position, window, ends)
            elif not opens[at] or (doubles[at] and last != position - 1):
                continue
            inside, last = not inside, position
            kept.append(position)
        return np.array(kept, dtype=np.int64)

    def _outside(self, positions: Positions, quotes: Positions) -> Positions:
        """Those of `positions` that stand outside quoted cells."""
        if not quotes.size:
            return positions[:0] if self._inside else positions
        passed = np.searchsorted(quotes, positions) + int(self._inside)
        outside: Positions = positions[passed % 2 == 0]
        return outside

    def _refuse(self, what: str, position: int, window: _Window, ends: Positions) -> NoReturn:
        raise InputError(f"{self._where(position, window, ends)}: {what}")

    def _where(self, position: int, window: _Window, ends: Positions) -> str:
        row = self._records + int(np.searchsorted(ends, position)) + 1
        line = self._lines + int(np.searchsorted(window.newlines, position)) + 1
        return f"row {row}" if row == line else f"row {row} (line {line})"

    def _count(self, window: _Window, ends: Positions) -> None:
        """Takes note of line ends: of which kind they are, and how far apart."""
        if not ends.size:
            return
        feeds = window.codes[ends] == _LF
        self._line_feeds |= bool(feeds.any())
        if not self._lone_return and not feeds.all():
            self._lone_return = self._where(int(ends[~feeds][0]), window, ends)
        after = ends + self._offset
        lengths = np.diff(after, prepend=self._record_start)
        longest = int(lengths.argmax())
        self._keep_longest(int(lengths[longest]), self._records + longest + 1)
        self._record_start = int(after[-1])

    def _keep_longest(self, length_bytes: int, row: int) -> None:
        if length_bytes > self._longest[0]:
            self._longest = (length_bytes, row)


class _Window:
    """The bytes 1 to `end` of `raw`, where they are quotes and where they end lines; positions count from `raw`'s 0."""

    def __init__(self, raw: bytes, end: int) -> None:
        self.raw = raw
        self.codes = np.frombuffer(raw, dtype=np.uint8)
        self._scanned = self.codes[1:end]
        self.quotes = self._positions(_QUOTE)
        self.newlines = self._newlines()

    def _positions(self, code: int) -> Positions:
        return np.flatnonzero(self._scanned == code) + 1

    def _newlines(self) -> Positions:
        """Line feeds, and carriage returns without one."""
        feeds = self._positions(_LF)
        if self.raw.find(_CR, 1) < 0:
            return feeds
        returns = self._positions(_CR)
        lone = returns[self.codes[returns + 1] != _LF]
        return np.union1d(feeds, lone) if lone.size else feeds
