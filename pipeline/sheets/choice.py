"""Which sheet of a workbook is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pipeline.sheets.model import Book, RefusedError
from pipeline.words import listed, nearest


class Chosen(NamedTuple):
    """The sheet's name, and what the user should know of the others."""

    name: str
    notes: tuple[str, ...]


def choose(book: Book, wanted: str | None) -> Chosen:
    """The sheet that is wanted, else the only visible one, else the only visible one that holds anything.

    Raises RefusedError where none can be chosen.
    """
    visible = [table.name for table in book.tables if table.visible]
    hidden = [table.name for table in book.tables if not table.visible]
    if wanted is not None:
        return _wanted(wanted, visible, hidden)
    notes = (f"hidden sheets, not read: {_named(hidden)}",) if hidden else ()
    if not visible:
        raise RefusedError(f"no sheet is visible; set sheet to one of {_named(hidden) or 'none'}")
    if len(visible) == 1:
        return Chosen(visible[0], notes)
    filled = [name for name in visible if _holds_anything(book, name)]
    if len(filled) > 1:
        raise RefusedError(f"several sheets are visible; set sheet to one of {_named(filled)}")
    empty = [name for name in visible if name not in filled[:1]]
    return Chosen((filled or visible)[0], (*notes, f"empty sheets, not read: {_named(empty)}"))


def _wanted(wanted: str, visible: Sequence[str], hidden: Sequence[str]) -> Chosen:
    """The sheet of that name, in capitals or not: a workbook has no two that differ in them alone."""
    names = [*visible, *hidden]
    exact = [name for name in names if name == wanted]
    alike = exact or [name for name in names if name.strip().casefold() == wanted.strip().casefold()]
    if len(alike) != 1:
        hint = "" if alike else nearest(wanted, names)
        raise RefusedError(f"there is no sheet {wanted!r}; its sheets are {_named(names)}{hint}")
    return Chosen(alike[0], (f"sheet {alike[0]!r} is hidden; it is read as you ask",) if alike[0] in hidden else ())


def _holds_anything(book: Book, name: str) -> bool:
    grid = book.grid(name)
    if any(type(cell) is not str or cell.strip() for row in grid.rows for cell in row):
        return True
    return bool(grid.height and book.read(name)[1].used.end_row)  # errors, which have no value


def _named(names: Sequence[str]) -> str:
    return listed([*map(repr, names)])
