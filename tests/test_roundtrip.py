"""Any table, in any dialect and encoding, is read back cell for cell; torn text is read as it stands, or refused."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from reading import Cells, read, refused

from pipeline.model import InputError

MANY = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])

Table = list[list[str]]


@dataclass(frozen=True)
class Dialect:
    """How a table is written. `mark` are the bytes before the text; `given` says that its encoding must be told."""

    delimiter: str
    line_end: str
    quotes: str  # all, needed
    declared: bool  # by a sep= line
    ends: bool  # the last record has a line end
    codec: str
    mark: bytes = b""
    given: bool = False


WIDE = [  # codec, mark, whether the mapping must say so
    ("utf-8", b"", False), ("utf-8", b"\xef\xbb\xbf", False), ("utf-16-le", b"\xff\xfe", False),
    ("utf-16-be", b"\xfe\xff", False), ("utf-32-le", b"\xff\xfe\0\0", False), ("utf-32-be", b"\0\0\xfe\xff", False),
    ("utf-16-le", b"", True), ("utf-32-be", b"", True), ("gb18030", b"", True),
]  # fmt: skip
NARROW = ["cp1252", "latin-1", "mac_roman", "cp1250", "cp850"]

HOSTILE = st.text(st.sampled_from("ab1 ,;|\t^\"'\\\n\rüßé"), max_size=6)
EXOTIC = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=6)
PLAIN = st.text(st.sampled_from("abc1 .-'\"\nüé"), min_size=1, max_size=6)


def tables(cells: st.SearchStrategy[str], width: int = 1) -> st.SearchStrategy[Table]:
    """Some rows of equally many cells."""
    return st.integers(width, 4).flatmap(
        lambda width: st.lists(st.lists(cells, min_size=width, max_size=width), min_size=1, max_size=8)
    )


def dialects(codecs: list[tuple[str, bytes, bool]], delimiters: str = ",;|\t^`~") -> st.SearchStrategy[Dialect]:
    """All the ways in which a table may be written."""
    return st.builds(
        lambda codec, **how: Dialect(codec=codec[0], mark=codec[1], given=codec[2], **how),
        codec=st.sampled_from(codecs),
        delimiter=st.sampled_from(delimiters),
        line_end=st.sampled_from(["\n", "\r\n", "\r"]),
        quotes=st.sampled_from(["all", "needed"]),
        declared=st.booleans(),
        ends=st.booleans(),
    )


def written(table: Table, dialect: Dialect) -> bytes:
    """The table below a header."""
    header = [f"c{at}" for at in range(len(table[0]))]
    lines = [dialect.delimiter.join(_cell(cell, dialect) for cell in row) for row in [header, *table]]
    if dialect.declared:
        lines.insert(0, f"sep={dialect.delimiter}")
    text = dialect.line_end.join(lines) + (dialect.line_end if dialect.ends else "")
    return dialect.mark + text.encode(dialect.codec)


def _cell(text: str, dialect: Dialect) -> str:
    if dialect.quotes == "needed" and not set(text) & {dialect.delimiter, '"', "\r", "\n"}:
        return text
    doubled = text.replace('"', '""')
    return f'"{doubled}"'


def given_back(path: Path, table: Table, dialect: Dialect, **options: object) -> None:
    """The table comes back under the row numbers that its user counts; blank rows are dropped and counted."""
    header_row = 2 if dialect.declared else 1
    rows = {row: tuple(cells) for row, cells in enumerate(table, header_row + 1)}
    filled = {row: cells for row, cells in rows.items() if any(cell.strip() for cell in cells)}
    path.write_bytes(written(table, dialect))
    given = {"encoding": dialect.codec if dialect.given else None, "header_row": header_row, **options}
    if not filled:
        assert "no rows" in refused(path, **given)
        return
    found, cells, ragged = read(path, **given)
    assert cells == filled
    assert not ragged
    # An empty line at the end is a blank row only where something ends it.
    assert found.blank_rows + found.rows in (len(rows), len(rows) - 1)
    assert found.last_row == max(filled)


@MANY
@given(table=tables(HOSTILE | EXOTIC), dialect=dialects(WIDE))
def test_a_table_in_any_dialect_is_read_back(tmp_path: Path, table: Table, dialect: Dialect) -> None:
    """Whatever the cells hold, where the delimiter is told, by the mapping or by the file's first line."""
    given = {} if dialect.declared else {"delimiter": dialect.delimiter}
    given_back(tmp_path / "any.csv", table, dialect, **given)


@MANY
@given(
    table=tables(HOSTILE | st.text(st.sampled_from("áéíñóúüÄÖ"), max_size=4)),
    dialect=dialects([(codec, b"", True) for codec in NARROW]),
)
def test_a_table_in_one_byte_a_letter_is_read_back_where_the_encoding_is_told(
    tmp_path: Path, table: Table, dialect: Dialect
) -> None:
    """Old exports come back as they were typed."""
    try:
        written(table, dialect)
    except UnicodeEncodeError:
        assume(False)
    given_back(tmp_path / "any.csv", table, dialect, delimiter=dialect.delimiter)


@MANY
@given(table=tables(PLAIN, width=2), dialect=dialects([codec for codec in WIDE if not codec[2]], delimiters=",;|\t"))
def test_a_table_of_plain_cells_is_read_back_with_nothing_told(tmp_path: Path, table: Table, dialect: Dialect) -> None:
    """Delimiter, encoding and line ends are found."""
    given_back(tmp_path / "any.csv", table, dialect)


TORN = st.text(st.sampled_from('aab,,""\n\n\r \\'), min_size=1, max_size=60)


@settings(MANY, max_examples=400)
@given(text=TORN, pads=st.booleans())
def test_no_record_is_lost_or_cut_otherwise(tmp_path: Path, text: str, pads: bool) -> None:
    """Whatever is read is what Python's csv module reads, record for record; else the file is refused."""
    path = tmp_path / "torn.csv"
    path.write_text(f"x,y\n{text}", encoding="utf-8", newline="")
    try:
        found, cells, ragged = read(path, delimiter=",", header_row=1, pad_short=pads)
    except InputError:
        return
    split = {row: tuple(record) for row, record in enumerate(csv.reader(io.StringIO(f"x,y\n{text}", newline="")), 1)}
    del split[1]
    assert {**(cells if not pads else _unpadded(cells, split)), **ragged} == {
        row: record for row, record in split.items() if any(cell.strip() for cell in record)
    }
    assert found.rows + found.blank_rows == len(split)
    assert found.padded_rows == (
        sum(len(record) == 1 and bool(record[0].strip()) for record in split.values()) if pads else 0
    )


def _unpadded(cells: Cells, split: Cells) -> Cells:
    """The cells without those that padding put at the end of rows; they must be empty."""
    for row, padded in cells.items():
        assert set(padded[len(split[row]) :]) <= {""}
    return {row: padded[: len(split[row])] for row, padded in cells.items()}


@pytest.mark.parametrize("at", range(1, 24))
def test_a_file_that_is_cut_anywhere_gives_no_row_that_was_not_there(tmp_path: Path, at: int) -> None:
    """A prefix of a list has the rows of the list, or less in its last one; or it is refused."""
    whole = b'a,b,c\n1,"x\ny",3\n4,5,6\n'
    path = tmp_path / "cut.csv"
    path.write_bytes(whole[:at])
    rows = {2: ("1", "x\ny", "3"), 3: ("4", "5", "6")}
    try:
        _, cells, ragged = read(path, pad_short=True)
    except InputError:
        return
    assert not ragged
    *complete, last = cells
    assert all(cells[row] == rows[row] for row in complete)
    assert cells[last][:2] == rows[last][:2]
