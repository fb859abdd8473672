"""One cell, several things: which phone of it a field takes, or its extension."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.clean.phone import BEFORE, EXTENSION_MARK, NUMBER
from pipeline.clean.text import readable

Take = Literal["first", "second", "extension"]

_EXTENSION = rf"{EXTENSION_MARK}(?P<extension>[0-9]{{1,6}})(?![-. (]*[0-9])[)#]?"
_ONE = re.compile(rf"(?:{BEFORE})?(?P<phone>{NUMBER}\)?)(?:{_EXTENSION})?", re.IGNORECASE)
_BETWEEN = re.compile(r"\s*(?:[|/,;&\n]|\bor\b|\band\b)\s*|\s+", re.IGNORECASE)
# With fewer digits there is one phone and nothing behind it.
_MAY_HAVE_MORE = "(?:[0-9][^0-9]*){11}"


class _Phone(NamedTuple):
    number: str  # as it is written
    extension: str


def take(which: Take, column: pa.StringArray) -> pa.StringArray:
    """What each cell has of that kind, as it is written there; "" where it has none.

    A cell that is not one phone after another, with or without extensions, is its own first part as a whole: whoever
    reads it as a phone says why it is none.
    """
    many = np.flatnonzero(np.asarray(pc.match_substring_regex(column, _MAY_HAVE_MORE)))
    others = column if which == "first" else pa.repeat("", len(column))
    if not many.size:
        return others
    cells = column.take(pa.array(many)).dictionary_encode()
    parts = pa.array([_part(which, cell) for cell in cells.dictionary.to_pylist()], pa.string())
    mask = np.zeros(len(column), np.bool_)
    mask[many] = True
    return pc.replace_with_mask(others, pa.array(mask), parts.take(cells.indices))


def _part(which: Take, cell: str) -> str:
    phones = _phones(cell)
    if which == "first":
        has_more = len(phones) > 1 or any(phone.extension for phone in phones)
        return phones[0].number if has_more else cell
    if which == "second":
        return phones[1].number if len(phones) > 1 else ""
    return phones[0].extension if phones else ""


def _phones(cell: str) -> list[_Phone]:
    """The phones that make up a cell; none where anything else is in it."""
    fix = readable(cell)
    text, at, found = fix.value if fix else cell, 0, []
    while (one := _ONE.match(text, at)) is not None:
        found.append(_Phone(one["phone"], one["extension"] or ""))
        if one.end() == len(text):
            return found
        between = _BETWEEN.match(text, one.end())
        if between is None:
            break
        at = between.end()
    return []
