"""--where: which records a DuckDB expression chooses. It sees the record, and nothing else of the world."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import duckdb  # only those who give an expression import this module: it takes 100 ms
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.model import UserError

_SETTINGS = (
    "TimeZone = 'UTC'",  # the report's own: an expression chooses the same rows on every machine
    "threads = 1",
    "enable_external_access = false",
    "autoload_known_extensions = false",
    "python_enable_replacements = false",  # else it may name variables of ours
    "lock_configuration = true",
)
_ROW = "row_of_file"  # the record's number, for expressions that ask for it
_TOLD_AT_MOST = 400  # characters

Chooses = Callable[[pa.Table, int], npt.NDArray[np.bool_]]


def chooser(expression: str) -> Chooses:
    """What says for each record of a table whether the expression is true for it; NULL is not.

    It takes the table and the number of its first record. The expression is judged record by record: it can't tell
    one table from the whole file. Raises UserError where DuckDB does not understand it, or it would look beyond.
    """
    connection = duckdb.connect(":memory:")
    for setting in _SETTINGS:
        connection.execute(f"SET {setting}")

    def chooses(table: pa.Table, first_row: int) -> npt.NDArray[np.bool_]:
        chosen = np.zeros(table.num_rows, dtype=np.bool_)
        try:
            visible = connection.from_arrow(_visible(table, first_row))
            found = visible.filter(expression).project(_ROW).to_arrow_table()
        except duckdb.Error as error:
            raise UserError(f"--where {expression!r}: {_in_a_line(error)}") from None
        chosen[found[0].to_numpy() - first_row] = True
        return chosen

    return chooses


def _visible(table: pa.Table, first_row: int) -> pa.Table:
    """The columns that DuckDB can tell apart, without regard to case, and each record's number."""
    named = Counter(name.casefold() for name in [*table.column_names, _ROW])
    kept = table.select([at for at, name in enumerate(table.column_names) if named[name.casefold()] == 1])
    return kept.append_column(_ROW, pa.array(np.arange(first_row, first_row + table.num_rows)))


def _in_a_line(error: duckdb.Error) -> str:
    """DuckDB's words without its drawing of where it stumbled."""
    return " ".join(str(error).partition("\n\nLINE ")[0].split())[:_TOLD_AT_MOST]
