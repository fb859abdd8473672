"""A column worked on once for each of its values, where it holds few of them many times. Pure."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa

_HEAD = 1000  # rows by which a column is judged
_FEW = 250  # values among them


def each_once(function: Callable[[pa.StringArray], pa.Array], column: pa.StringArray) -> pa.Array:
    """What `function` makes of a column, value by value; of a city or a name, it sees each of them once only."""
    head = column.slice(0, _HEAD)
    if len(head) < _HEAD or len(head.unique()) > _FEW:
        return function(column)
    coded = column.dictionary_encode()
    return function(coded.dictionary).take(coded.indices)
