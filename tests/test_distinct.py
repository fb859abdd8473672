"""A column of few values is worked on once for each of them."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from pipeline.distinct import each_once

ROWS = 3000


@pytest.mark.parametrize("values", [1, 7, ROWS])
def test_what_comes_out_is_what_the_whole_column_gives(values: int) -> None:
    """Row by row, however many values the column has, and where it is a slice of another."""
    column = pa.array([f"value {n % values}" for n in range(ROWS)])
    for some in (column, column.slice(5, 2500), column.slice(0, 3), column.slice(0, 0)):
        assert each_once(pc.utf8_upper, some).equals(pc.utf8_upper(some))


def test_few_values_are_seen_once_each() -> None:
    """The function gets seven of 3,000 cells."""
    seen: list[str] = []

    def upper(column: pa.StringArray) -> pa.StringArray:
        seen.extend(column.to_pylist())
        return pc.utf8_upper(column)

    each_once(upper, pa.array([f"value {n % 7}" for n in range(ROWS)]))
    assert sorted(seen) == [f"value {n}" for n in range(7)]
