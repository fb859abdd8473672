"""How a cell becomes text.

Whole numbers have no decimals; other numbers have at most the 15 digits that a spreadsheet shows. Dates are
`2024-01-31`, date-times `2024-01-31 17:05:00` to the nearest second, times `17:05:00`, durations `30:00:00`; truth
values TRUE and FALSE. Whole numbers whose last digits may be lost get a mark that every cleaner refuses.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from pipeline.cells import DIGITS_KEPT, EXACT_BELOW, LOSSY

_FEW = 10**DIGITS_KEPT


class Texts:
    """Makes cells text, and counts numbers that may have lost digits."""

    def __init__(self) -> None:
        self.lossy = 0

    def of(self, column: Sequence[Any]) -> pa.StringArray:
        """The cells of a column as text."""
        try:
            return pa.array(column, pa.string())  # which takes nothing but text
        except pa.ArrowTypeError:
            if set(map(type, column)) == {dt.date}:
                return pa.array(column, pa.date32()).cast(pa.string())
            return pa.array([self.text(cell) for cell in column], pa.string())

    def text(self, cell: Any) -> str:
        """One cell as text."""
        kind = type(cell)
        if kind is str:
            return cell  # type: ignore[no-any-return]  # its type was asked for
        if kind is float and cell.is_integer():
            if -_FEW < cell < _FEW:
                return str(int(cell))
            cell, kind = int(cell), int
        if kind is int and _is_lossy(cell):
            self.lossy += 1
            return f"{LOSSY}{float(cell):.{DIGITS_KEPT}G}"
        return _TEXT[kind](cell)


def _is_lossy(number: int) -> bool:
    return abs(number) >= EXACT_BELOW or (abs(number) >= _FEW and number % 10 == 0)


def _number(value: float) -> str:
    """The shortest digits that mean the same, and no more than a spreadsheet shows."""
    text = repr(value)
    if len(text) <= DIGITS_KEPT + 1 and "e" not in text:
        return text
    plain = format(Decimal(f"{value:.{DIGITS_KEPT}g}"), "f")
    return plain.rstrip("0").rstrip(".") if "." in plain else plain


def _date_time(value: dt.datetime) -> str:
    """A moment to the nearest second; a day where it is midnight, as calamine has days of OpenDocument files."""
    if value.time() == dt.time.min:
        return value.date().isoformat()
    return (value + dt.timedelta(microseconds=500_000)).isoformat(sep=" ", timespec="seconds")


def _time(value: dt.time) -> str:
    seconds = value.hour * 3600 + value.minute * 60 + value.second + round(value.microsecond / 1e6)
    return _duration(dt.timedelta(seconds=min(seconds, 86_399)))


def _duration(value: dt.timedelta) -> str:
    """Hours, which may be more than 24, minutes and seconds."""
    minutes, seconds = divmod(round(abs(value).total_seconds()), 60)
    sign = "-" if value < dt.timedelta(0) else ""
    return f"{sign}{minutes // 60:02}:{minutes % 60:02}:{seconds:02}"


_TEXT: MappingProxyType[type, Callable[[Any], str]] = MappingProxyType(
    {
        str: str,
        int: str,
        float: _number,
        bool: lambda value: str(value).upper(),
        dt.datetime: _date_time,
        dt.date: dt.date.isoformat,
        dt.time: _time,
        dt.timedelta: _duration,
    }
)
