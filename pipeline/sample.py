"""A sample of a list: how it is read, and some of its rows from all over it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from pipeline import source
from pipeline.mapped import cells
from pipeline.model import InputError
from pipeline.shapes import Column, reaches_somebody
from pipeline.source import Inspection, SourceOptions

ROWS = 500


@dataclass(frozen=True, slots=True)
class Sample:
    """A list as it was read, and its columns by some `ROWS` of its rows."""

    inspection: Inspection
    columns: tuple[Column, ...]
    options: SourceOptions


def take(path: Path, options: SourceOptions, spool: Path) -> Sample:
    """The sample. Where the first row is a lead's, the list is read as one without a header.

    Raises as `source.inspect` does.
    """
    try:
        inspection = source.inspect(path, options, spool)
    except InputError:
        found = _headless(path, options, spool) if options.header_row is None else None
        if found is None:
            raise
        return found
    if options.header_row is None and inspection.header_row and reaches_somebody(inspection.columns):
        return _headless(path, options, spool) or _sampled(inspection, options)
    return _sampled(inspection, options)


def _headless(path: Path, options: SourceOptions, spool: Path) -> Sample | None:
    """The list read without a header, where its first row is a lead's; else None."""
    without = replace(options, header_row=0)
    try:
        inspection = source.inspect(path, without, spool)
    except InputError:
        return None
    first = next(source.read(inspection)).frame.iloc[:1]
    return _sampled(inspection, without) if reaches_somebody(first.to_numpy().ravel().tolist()) else None


def _sampled(inspection: Inspection, options: SourceOptions) -> Sample:
    """Of every chunk its first rows, the more the longer it is: repeats are beside each other."""
    parts = []
    for chunk in source.read(inspection):
        count = -(-ROWS * len(chunk.frame) // max(inspection.rows, 1))
        parts.append(chunk.frame.iloc[:count])
    frames = [pa.chunked_array([cells(part, name) for part in parts]) for name in inspection.columns]
    columns = (Column(name, whole.combine_chunks()) for name, whole in zip(inspection.columns, frames, strict=True))
    return Sample(inspection, tuple(columns), options)
