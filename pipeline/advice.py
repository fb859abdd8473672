"""What is sent as it is, though the vendor advises against it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from schemas.spec import Operation


@dataclass(slots=True)
class Advice:
    """Counts names with spaces in them where the vendor advises against those."""

    rows: dict[str, int] = field(default_factory=dict)  # by field
    examples: dict[str, str] = field(default_factory=dict)

    def look(self, operation: Operation, frame: pd.DataFrame) -> None:
        """Counts over the rows of `frame`: text, names as sent."""
        for name in (f.name for f in operation.fields if f.warn_spaces and f.name in frame):
            column = pa.array(frame[name])
            spaced = column.filter(pc.match_substring(column, " "))
            if len(spaced):
                self.rows[name] = self.rows.get(name, 0) + len(spaced)
                self.examples.setdefault(name, spaced[0].as_py())

    def add(self, others: Advice) -> None:
        """Takes over what was counted over the rows that follow."""
        for name, rows in others.rows.items():
            self.rows[name] = self.rows.get(name, 0) + rows
            self.examples.setdefault(name, others.examples[name])

    def notes(self) -> Iterator[str]:
        """What its user should know, a line for each field."""
        for name, rows in self.rows.items():
            where = "1 row" if rows == 1 else f"{rows:,} rows"
            yield f"{name} has spaces in {where}, such as {self.examples[name]!r}: the vendor advises against them"
