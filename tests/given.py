"""What the tests of the core start from: text frames, mappings bound to a header, chunks of a source."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import pandas as pd
import pyarrow as pa

from pipeline import mapping, report
from pipeline.clean import CleanOptions
from pipeline.mapped import apply
from pipeline.mapping import Plan
from pipeline.payloads import Target
from pipeline.validate import Checked, Validator

TEXT = pd.ArrowDtype(pa.string())
TARGET = Target("https://api.example.test/HttpImport/InjectLead.php", "acc-1")

INSERT = """
operation = "InsertLead"
[fields]
PrimaryPhone = "Phone"
Campaign = { value = "Spring" }
"""
UPDATE = """
operation = "UpdateLead"
[fields]
SearchField = "By"
Identifier = "Id"
City = "City"
"""


def text_frame(columns: Mapping[str, Sequence[str]], first_row: int = 2) -> pd.DataFrame:
    """A chunk's frame as a source gives it: text, and the row numbers as index; one row where there is no column."""
    rows = len(next(iter(columns.values()), [""]))
    index = pd.Index(list(range(first_row, first_row + rows)), dtype="int64", name="row")
    return pd.DataFrame({name: pd.Series(list(cells), dtype=TEXT).array for name, cells in columns.items()}, index)


def plan(toml: str, *headers: str) -> Plan:
    """The mapping in `toml` bound to `headers`."""
    return mapping.bind(mapping.parse(toml, "list.toml"), "list.toml", headers)


def mapped(toml: str, columns: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """The columns under the vendor's names, not cleaned."""
    return apply(plan(toml, *columns), text_frame(columns)).frame


def validator(toml: str, *headers: str, options: CleanOptions | None = None) -> Validator:
    """The validator of the mapping in `toml`, bound to `headers`."""
    return Validator.of(plan(toml, *headers), options or CleanOptions())


def checked(toml: str, columns: Mapping[str, Sequence[str]], options: CleanOptions | None = None) -> Checked:
    """The columns mapped, cleaned and checked."""
    judge = validator(toml, *columns, options=options)
    return judge.check(apply(judge.plan, text_frame(columns)))


def to_mend(
    *records: Sequence[str] | str, ragged: Collection[int] = (), width: int = 1, first_row: int = 2
) -> pa.Table:
    """Rows that need mending, as the report's joined with their cells; those of the `ragged` positions don't fit.

    `width` counts the source's columns where all rows are ragged.
    """
    rows = [(record,) if isinstance(record, str) else tuple(record) for record in records]
    loose = [at in ragged for at in range(len(rows))]
    width = max((len(row) for row, is_loose in zip(rows, loose, strict=True) if not is_loose), default=width)
    ours = {
        "row": pa.array(range(first_row, first_row + len(rows)), pa.int64()),
        "status": pa.array(["invalid"] * len(rows), pa.string()),
        "problems": pa.array(["bad"] * len(rows), pa.string()),
        "ragged": pa.array([row if no else None for row, no in zip(rows, loose, strict=True)], pa.list_(pa.string())),
        "marks": pa.array([[]] * len(rows), report.MARKS),
    }
    cells = {
        f"cell_{i}": pa.array([None if no else row[i] for row, no in zip(rows, loose, strict=True)], pa.string())
        for i in range(width)
    }
    return pa.table(ours | cells)
