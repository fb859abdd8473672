"""Reading files the way a run does, in both passes, without waiting for them to settle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from pipeline import source
from pipeline.model import InputError
from pipeline.source import Inspection, SourceOptions

Cells = dict[int, tuple[str, ...]]


def no_pause(seconds: float) -> None:
    """The second look comes at once."""


def inspect(path: Path, spool: Path | None = None, **options: Any) -> Inspection:
    """The first pass."""
    return source.inspect(path, SourceOptions(**options), spool or path.parent, pause=no_pause)


def read(path: Path, spool: Path | None = None, **options: Any) -> tuple[Inspection, Cells, Cells]:
    """(inspection, cells by row, ragged cells by row)"""
    found = inspect(path, spool, **options)
    cells: Cells = {}
    ragged: Cells = {}
    for chunk in source.read(found):
        assert list(chunk.frame.columns) == list(found.columns)
        assert chunk.frame.index.name == "row"
        assert chunk.frame.index.dtype == np.int64
        assert all(dtype == pd.ArrowDtype(pa.string()) for dtype in chunk.frame.dtypes)
        cells |= dict(zip(chunk.frame.index.tolist(), chunk.frame.itertuples(index=False, name=None), strict=True))
        ragged |= {row.row: row.cells for row in chunk.ragged}
    return found, cells, ragged


def refused(path: Path, **options: Any) -> str:
    """What the user is told: one line that names the file."""
    with pytest.raises(InputError) as caught:
        read(path, **options)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return text.removeprefix(f"{path}: ")
