"""What the process that reads a workbook is told, and what it answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from pipeline.sheets.look import Look


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the child may use, and how large a workbook's parts may be when unpacked."""

    memory_bytes: int = 4 << 30
    seconds: int = 600
    unpacked_bytes: int = 4 << 30


@dataclass(frozen=True, slots=True)
class Sheet:
    """A sheet as it was converted.

    `rows` are those that hold anything, `last_row` is the last that the sheet mentions, if only by a format.
    `first_column` of the used range counts from 1. `merged` are the first of its merged cells, as (first row, first
    column, last row, last column) from 1; `merges` is how many there are.
    """

    name: str
    sheets: tuple[str, ...]
    rows: int
    last_row: int
    first_column: int
    merged: tuple[tuple[int, int, int, int], ...]
    merges: int
    notes: tuple[str, ...]


RESAVE = "open it in Excel and save it as a new .xlsx, or as CSV"
PROTECTED = "the workbook is protected by a password; save it without one"


class RefusedError(Exception):
    """The child's word that a workbook can't be used: a sentence for the user."""


class Listed(NamedTuple):
    """A sheet with cells, as the workbook lists it. Charts and macros are no such sheets."""

    name: str
    visible: bool


class Grid(NamedTuple):
    """The values of a sheet.

    `rows` begins with row 1, whatever the used range; each has `width` cells, the first of them in `first_column`
    (from 0). `height` is the number of the last row, 0 for an empty sheet.
    """

    rows: Iterator[Sequence[Any]]
    height: int
    width: int
    first_column: int


class Book(Protocol):
    """A workbook that is open."""

    @property
    def tables(self) -> Sequence[Listed]:
        """Its sheets, in order."""

    def grid(self, name: str) -> Grid:
        """The values of a sheet."""

    def read(self, name: str) -> tuple[Grid, Look]:
        """The values of a sheet, and what is to be known of it besides."""
