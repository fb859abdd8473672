"""Where a FILE is to be read, and how: from what was given and from the mapping. Loads no database and no pandera."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pipeline import earlier, fetch
from pipeline.files import GivenFile
from pipeline.folder import RunFolder
from pipeline.mapping import MappingFile, columns_named
from pipeline.source import SourceOptions


def located(given: GivenFile, run: RunFolder, number: int, most: int) -> tuple[Path, SourceOptions]:
    """The file to read for a FILE, and the options that follow from how it was given. Raises as `fetch.local` does."""
    path = fetch.local(given, run, number, most)
    options = SourceOptions(
        beside=earlier.origin(path),
        member=given.member,
        called=given.shown,
        most_bytes=most,
        is_whole=given.comes_once,
    )
    return path, options


def as_mapped(
    options: SourceOptions, mapping: MappingFile, *, sheet: str | None, encoding: str | None
) -> SourceOptions:
    """The options as the mapping has them; sheet and encoding count more where they are given."""
    table = mapping.source
    return replace(
        options,
        sheet=sheet or table.sheet,
        header_row=table.header_row,
        delimiter=table.delimiter,
        encoding=encoding or table.encoding,
        picked=columns_named(mapping),
        pad_short=table.short_rows == "pad",
    )
