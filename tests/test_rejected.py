"""The rejected file: as its user's own, and the same cells when it is read again."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import openpyxl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import guard, rejected, source
from pipeline.model import DiskError
from pipeline.rejected import Form
from pipeline.source import REJECTED_COLUMNS, SourceOptions
from tests.conftest import Account, Leads, Result, phone, settled, write, write_csv
from tests.given import to_mend

OURS = ",".join(REJECTED_COLUMNS)


def form(*header: str, **given: object) -> Form:
    """The form of a source with this header, in which columns without a name are left out."""
    places = tuple(at for at, name in enumerate(header) if name.strip())
    columns = tuple(header[at].strip() for at in places)
    return Form(**({"format": "csv", "columns": columns, "header": header, "places": places} | given))


def made(folder: Path, form: Form, *tables: pa.Table) -> Path:
    written = rejected.write(folder, "rejected", form, tables)
    assert written is not None
    return written.path


def read(path: Path, **options: object) -> tuple[source.Inspection, list[tuple[str, ...]], list[tuple[str, ...]]]:
    """(inspection, cells, cells of ragged rows)"""
    found = source.inspect(settled(path), SourceOptions(**options), path.parent)
    chunks = list(source.read(found))
    cells = [cells for chunk in chunks for cells in chunk.frame.itertuples(index=False, name=None)]
    return found, cells, [row.cells for chunk in chunks for row in chunk.ragged]


def sheet_of(path: Path) -> list[list[str]]:
    return [[cell or "" for cell in row] for row in openpyxl.load_workbook(path).worksheets[0].values]


# --- Written ---


class Breaking:
    """Tables that can be read through once."""

    def __init__(self) -> None:
        self.times = 0

    def __iter__(self) -> Iterator[pa.Table]:
        self.times += 1
        yield to_mend("555")
        if self.times > 1:
            raise OSError("the report can't be read")


def test_a_rejected_csv_that_breaks_off_is_not_there(tmp_path: Path) -> None:
    """Half of the rows to mend would be taken for all of them."""
    with pytest.raises(DiskError, match="the report"):
        rejected.write(tmp_path, "rejected", form("Phone"), Breaking())
    assert not list(tmp_path.glob("rejected*"))


def test_without_rows_to_mend_there_is_no_file(tmp_path: Path) -> None:
    """Nothing is left that somebody might mend."""
    assert rejected.write(tmp_path, "rejected", form("A"), []) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("encoding", "mark"),
    [
        ("utf-8", b"\xef\xbb\xbf"),
        ("ascii", b"\xef\xbb\xbf"),
        ("cp1252", b""),
        ("utf-16", b"\xff\xfe"),
        ("utf-16-be", b"\xfe\xff"),
        ("utf-32-le", b"\xff\xfe\0\0"),
    ],
)
def test_a_rejected_csv_is_written_as_its_source(tmp_path: Path, encoding: str, mark: bytes) -> None:
    """In the source's encoding, delimiter and line ends, under its header as it stands; Unicode has its mark once."""
    as_source = form(" Name", "", "Phone", encoding=encoding, delimiter=";", newline="\n")
    path = made(tmp_path, as_source, to_mend(("José", "5;5"), ("a\nb", 'say "x"')))
    content = path.read_bytes()
    assert content.startswith(mark)
    name = {"ascii": "utf-8", "utf-16": "utf-16-le"}.get(encoding, encoding)
    header, *lines = content[len(mark) :].decode(name).split("\n")
    assert header == " Name;;Phone;_row;_status;_problems"
    assert lines == ['José;;"5;5";2;invalid;bad', '"a', 'b";;"say ""x""";3;invalid;bad', ""]


@pytest.mark.parametrize(("encoding", "name"), [("cp1252", "JosÃ©"), ("cp1251", "Ольга"), ("latin-1", "José")])
def test_a_text_that_would_be_taken_for_another_is_marked(tmp_path: Path, encoding: str, name: str) -> None:
    """Without a mark these bytes are good UTF-8, or cp1252: so it is written in UTF-8, with the mark."""
    path = made(tmp_path, form("Name", encoding=encoding), to_mend(name))
    assert path.read_bytes().startswith(b"\xef\xbb\xbf") is (encoding != "latin-1")
    for given in (None, encoding):
        assert read(path, encoding=given)[1] == [(name,)]


def test_our_words_never_keep_a_file_from_its_encoding(tmp_path: Path) -> None:
    """What the source's encoding lacks of them becomes "?"; the source's own cells are never changed."""
    told = to_mend("José Marlow")
    told = told.set_column(told.schema.get_field_index("problems"), "problems", pa.array(["≠ é"]))
    path = made(tmp_path, form("Name", encoding="cp1252"), told)
    assert path.read_bytes().decode("cp1252").splitlines()[1] == "José Marlow,2,invalid,? é"


# --- Formulas ---

RUNS = ["=1+1", "+1 202", "-", "@x", "\tx", "\rx", " =1", "\xa0+1", "＝1", "\n=1"]


@pytest.mark.parametrize("cell", RUNS)
def test_a_value_that_a_spreadsheet_would_run_is_text_in_csv(tmp_path: Path, cell: str) -> None:
    """In a cell, in a header, and in the problems, which may begin with a header."""
    told = to_mend((cell, f"'{cell}"))
    told = told.set_column(told.schema.get_field_index("problems"), "problems", pa.array([f"{cell}: bad"]))
    path = made(tmp_path, form(cell, "B"), told)
    header, line = csv.reader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline=""))
    assert header[0] == f"'{cell}"
    assert line == [f"'{cell}", f"''{cell}", "2", "invalid", f"'{cell}: bad"]
    found, cells, _ = read(path)
    assert found.columns == (cell.strip(), "B")
    assert cells == [(cell, f"'{cell}")]


TEXT = st.text(
    st.sampled_from("ab1,;'\"=+-@\t\r\n |_é😀\xa0＝\x01() ") | st.characters(exclude_categories=["Cs"]), max_size=8
)
CELL = st.one_of(TEXT, st.sampled_from([*RUNS, *(f"'{cell}" for cell in RUNS), "00123", "_x0041_", "invalid", "4"]))


@given(st.lists(CELL | st.sampled_from([guard.MISSING, f"'{guard.BLANK}"])))
def test_a_guard_comes_off_as_it_was_put_on(cells: list[str]) -> None:
    """Whatever the value: and no guarded value runs, nor stands for a cell that is not there."""
    guarded = guard.guarded_texts(cells)
    assert guard.bare_texts(guarded) == tuple(cells)
    assert not [cell for cell in guarded if cell.lstrip()[:1] in tuple("=+-@") or cell in (guard.MISSING, guard.BLANK)]


# --- And read again ---


def in_encoding(encoding: str) -> Callable[[str], str]:
    """A text as a list in this encoding can hold it."""
    return lambda text: text.replace("\0", "").encode(encoding, "ignore").decode(encoding)


@st.composite
def lists(draw: st.DrawFn, holds: Callable[[str], str]) -> tuple[list[str], list[list[str]], list[list[str]]]:
    """(header, some names blank; rows of as many cells as names; rows that don't fit the header)"""
    names = TEXT.map(holds).map(str.strip).filter(lambda name: name.strip("\ufeff").strip() == name != "")
    named = draw(st.lists(names, min_size=1, max_size=4, unique=True))
    header = [cell for name in named for cell in draw(st.sampled_from([(name,), ("", name), (name, " ")]))]
    cells = CELL.map(holds)
    rows = draw(st.lists(st.lists(cells, min_size=len(named), max_size=len(named)), min_size=1, max_size=5))
    loose = st.lists(cells, min_size=1).filter(lambda row: len(row) != len(header) and any(map(str.strip, row)))
    return header, rows, draw(st.lists(loose, max_size=3))


ENCODINGS = ["utf-8", "utf-16-le", "utf-16-be", "cp1252", "cp1251", "shift_jis", "utf-7"]


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from(ENCODINGS), st.sampled_from([",", ";", "\t", "|", "^", "-", " "]), st.booleans())
def test_any_table_is_read_again_from_a_rejected_csv(data: st.DataObject, encoding: str, mark: str, raw: bool) -> None:
    """The same cells under the same header, and ragged rows ragged: in every dialect and encoding, guarded or raw."""
    header, rows, loose = data.draw(lists(in_encoding(encoding)))
    newline = data.draw(st.sampled_from(["\n", "\r\n", "\r"]))
    as_source = form(*header, encoding=encoding, delimiter=mark, newline=newline, raw=raw)
    misfits = to_mend(*loose, ragged=range(len(loose)), width=len(as_source.columns), first_row=len(rows) + 2)
    with TemporaryDirectory() as folder:
        found, cells, ragged = read(made(Path(folder), as_source, to_mend(*rows), misfits))
    assert (found.columns, found.header, found.delimiter) == (as_source.columns, as_source.header, mark)
    assert cells == [tuple(row) for row in rows]
    width = len(header)  # what is blank beyond it is told as nothing
    assert ragged == [(*row[:width], *(cell if cell.strip() else "" for cell in row[width:])) for row in loose]


@settings(max_examples=30, deadline=None)
@given(lists(in_encoding("utf-8")))
def test_any_table_is_read_again_from_a_rejected_workbook(
    table: tuple[list[str], list[list[str]], list[list[str]]],
) -> None:
    """Text stays text, however much it looks like a number or a formula, and characters that XML can't hold come back."""
    header, rows, _ = table
    as_source = form(*header, format="xls", sheet="Leads")
    with TemporaryDirectory() as folder:
        path = made(Path(folder), as_source, to_mend(*rows))
        found, cells, _ = read(path, sheet="Leads")
    assert found.columns == as_source.columns
    assert cells == [tuple(row) for row in rows]


def test_ten_thousand_columns_come_back(tmp_path: Path) -> None:
    """In either format."""
    names = [f"a column of some length {at}" for at in range(10_000)]
    cells = tuple(f"{at}" for at in range(10_000))
    for kind in ("csv", "xlsx"):
        found, read_again, _ = read(made(tmp_path, form(*names, format=kind), to_mend(cells)))
        assert (len(found.columns), read_again) == (10_000, [cells])
