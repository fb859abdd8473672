"""What is said of cells, as Arrow tables: problems and repairs. Apart from `model`, so that its words load no Arrow."""

from __future__ import annotations

from typing import NamedTuple

import pyarrow as pa

# One row per failed rule on one cell; `position` counts from 0 within the chunk.
PROBLEMS = pa.schema(
    [
        ("position", pa.int64()),
        ("field", pa.string()),
        ("rule", pa.string()),
        ("value", pa.string()),
        ("message", pa.string()),
    ]
)
# One row per changed cell; lossless means that `raw` can be told from `value`, as far as it has a meaning.
REPAIRS = pa.schema(
    [
        ("position", pa.int64()),
        ("field", pa.string()),
        ("raw", pa.string()),
        ("value", pa.string()),
        ("rule", pa.string()),
        ("lossless", pa.bool_()),
    ]
)


class Cleaned(NamedTuple):
    """A column after cleaning.

    `values` has the length of the input and no nulls. A cell with a problem keeps its raw value.
    `repairs` and `problems` follow REPAIRS and PROBLEMS, at most one of both together per cell.
    """

    values: pa.StringArray
    repairs: pa.Table
    problems: pa.Table
