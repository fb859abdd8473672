"""Values that a spreadsheet would run, in text that one may open: a `'` before them, and off again.

Both directions are exact: of a value that begins with `'` and then with what would run, one `'` more is the guard.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

# What stands in a rejected file where a row has no cell, or has one beyond the header that is blank. A cell that says
# so itself is guarded.
MISSING, BLANK = "(missing)", "(blank)"

# Spreadsheets pass over blanks before a formula, and know its signs in full width, too.
_BLANKS = r"[\x00-\x20\x{a0}\x{200b}\x{feff}]*"
_SIGNS = r"[=+\-@\x{ff1d}\x{ff0b}\x{ff0d}\x{ff20}]"
_RUNS = rf"('*(?:[\t\r\n]|{_BLANKS}{_SIGNS}|\((?:missing|blank)\)$))"


def guarded(cells: pa.Array) -> pa.Array:
    """The cells with a `'` before those that begin with `=`, `+`, `-`, `@`, a tab or a line break."""
    return pc.replace_substring_regex(cells, pattern=f"^{_RUNS}", replacement=r"'\1")


def bare(cells: pa.Array) -> pa.Array:
    """The cells as they were before they were guarded; one without a guard stays as it is."""
    return pc.replace_substring_regex(cells, pattern=f"^'{_RUNS}", replacement=r"\1")


def bare_texts(cells: Iterable[str]) -> tuple[str, ...]:
    """As `bare`, of single texts."""
    return _texts(bare(pa.array(list(cells), pa.string())))


def guarded_texts(cells: Iterable[str]) -> tuple[str, ...]:
    """As `guarded`, of single texts."""
    return _texts(guarded(pa.array(list(cells), pa.string())))


def _texts(cells: pa.Array) -> tuple[str, ...]:
    found: Sequence[str] = cells.to_pylist()
    return tuple(found)
