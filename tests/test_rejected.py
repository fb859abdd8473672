"""The rejected file: as its user's own, and the same cells when it is read again."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import openpyxl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import guard, rejected, rejected_book, source
from pipeline.header import REJECTED_COLUMNS
from pipeline.model import DiskError
from pipeline.rejected import Form
from pipeline.rejected_book import Filled
from pipeline.source import SourceOptions
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
    for said in (None, encoding):
        assert read(path, encoding=said)[1] == [(name,)]


def test_our_words_never_keep_a_file_from_its_encoding(tmp_path: Path) -> None:
    """What the source's encoding lacks of them becomes "?"; the source's own cells are never changed."""
    told = to_mend("José Marlow")
    told = told.set_column(told.schema.get_field_index("problems"), "problems", pa.array(["≠ é"]))
    path = made(tmp_path, form("Name", encoding="cp1252"), told)
    assert path.read_bytes().decode("cp1252").splitlines()[1] == "José Marlow,2,invalid,? é"


# --- Formulas ---

RUNS = ["=1+1", "+1 202", "-", "@x", "\tx", "\rx", " =1", "\xa0+1", "\uff1d1", "\n=1"]


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
    st.sampled_from("ab1,;'\"=+-@\t\r\n |_é😀\xa0\uff1d\x01() ") | st.characters(exclude_categories=["Cs"]), max_size=8
)
NAME = st.text(st.sampled_from("ab1,;'\"=+-@\n |_é😀()"), max_size=8)
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
    names = NAME.map(holds).map(str.strip).filter(bool)
    named = draw(st.lists(names, min_size=1, max_size=4, unique=True))
    header = [cell for name in named for cell in draw(st.sampled_from([(name,), ("", name), (name, " ")]))]
    cells = CELL.map(holds)
    rows = draw(st.lists(st.lists(cells, min_size=len(named), max_size=len(named)), min_size=1, max_size=5))
    loose = st.lists(cells, min_size=1).filter(lambda row: len(row) != len(header) and any(map(str.strip, row)))
    return header, rows, draw(st.lists(loose, max_size=3))


ENCODINGS = ["utf-8", "utf-16-le", "utf-16-be", "cp1252", "cp1251", "shift_jis", "utf-7"]


@settings(max_examples=60)
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
    assert [_told(row, len(header)) for row in ragged] == [_told(row, len(header)) for row in loose]


def _told(row: Sequence[str], width: int) -> tuple[str, ...]:
    """A ragged row: what is blank beyond the header may be told as nothing."""
    return (*row[:width], *(cell if cell.strip() else "" for cell in row[width:]))


@settings(max_examples=5)  # each is read in a process of its own
@given(lists(in_encoding("utf-8")))
def test_any_table_is_read_again_from_a_rejected_workbook(
    table: tuple[list[str], list[list[str]], list[list[str]]],
) -> None:
    """Text stays text, however much it looks like a number or a formula, and control characters come back."""
    header, rows, _ = table
    as_source = form(*header, format="xls", sheet="Leads")
    with TemporaryDirectory() as folder:
        path = made(Path(folder), as_source, to_mend(*rows))
        found, cells, _ = read(path, sheet="Leads")
    assert found.columns == as_source.columns
    assert cells == [tuple(row) for row in rows]


@pytest.mark.parametrize(("kind", "count"), [("csv", 5_000), ("xlsx", 1_000)])
def test_thousands_of_columns_come_back(tmp_path: Path, kind: str, count: int) -> None:
    """Each in its place."""
    cells = tuple(f"{at}" for at in range(count))
    found, again, _ = read(made(tmp_path, form(*(f"c{cell}" for cell in cells), format=kind), to_mend(cells)))
    assert (len(found.columns), again) == (count, [cells])


# --- Mended, and loaded again ---

MAPPING = """
operation = "InsertLead"
unmapped = "ignore"
{source}
[fields]
Campaign = {{ value = "Demo" }}
PrimaryPhone = "Phone"
FirstName = "Name"
Notes = "Note"
"""
HEADER = ["Phone", "", "Name", "Note"]
ROWS = [
    [phone(1), "", "Zoë", "ok"],
    ["555-0102", "", "José", "=1+1"],
    ["+1 (202) 555-0103 x9", "", "Ann", "a;b"],
    [phone(4), "", "Bob", "-", "one more"],
    [phone(5), "", "Eve"],
    [phone(6), "", "Kim", "fine"],
    [phone(7), "", "Lee", "fine"],
    [phone(8), "", "Max", "fine"],
]
UNMENDED = {"invalid": 4}


@pytest.fixture
def first(leads: Leads, home: Path, account: Account) -> Result:
    """A load of ROWS: two phones are wrong, one row has a cell too many, and one lacks a cell."""
    write(home / "m.toml", MAPPING.format(source=""))
    result = leads("load", write_csv(home / "list.csv", [HEADER, *ROWS]), "-m", "m.toml", "--json", env=account.env)
    assert result.json["counts"] == {"accepted": 4, "invalid": 4}
    return result


def lines_of(path: Path, delimiter: str = ",", encoding: str = "utf-8-sig") -> list[list[str]]:
    with path.open(encoding=encoding, newline="") as file:
        return list(csv.reader(file, delimiter=delimiter))


def test_what_is_handed_back_is_what_came(first: Result) -> None:
    """The header with its blank column, each cell, and what is wrong in words; ragged rows show what they lack."""
    (path,) = map(Path, first.json["rejected"])
    header, *lines = lines_of(path)
    assert header == [*HEADER, *REJECTED_COLUMNS]
    assert [line[:4] for line in lines] == [
        ["555-0102", "", "José", "'=1+1"],
        ["'+1 (202) 555-0103 x9", "", "Ann", "a;b"],
        [phone(4), "", "Bob", "'-"],
        [phone(5), "", "Eve", "(missing)"],
    ]
    assert [line[4:6] for line in lines] == [[str(row), "invalid"] for row in (3, 4, 5, 6)]
    assert [line[7:] for line in lines] == [[], [], ["one more"], []]
    assert lines[0][6].startswith("Phone: ")
    assert "Move the cells to the right" in lines[2][6]
    assert "in place of (missing)" in lines[3][6]


def excel(rows: Sequence[Sequence[str]]) -> bytes:
    """As Excel saves it in Europe: `;`, cp1252, quotes only where needed, and all rows as wide as the widest."""
    width, text = max(map(len, rows)), io.StringIO(newline="")
    csv.writer(text, delimiter=";").writerows([*row, *[""] * (width - len(row))] for row in rows)
    return text.getvalue().encode("cp1252")


def google(rows: Sequence[Sequence[str]]) -> bytes:
    """As Google's sheets are downloaded: UTF-8 without a mark."""
    return excel(rows).decode("cp1252").encode()


def reversed_columns(rows: Sequence[Sequence[str]]) -> bytes:
    """Our columns first, and the source's from last to first."""
    return excel([(*row[4:7], *row[3::-1], *row[7:]) for row in rows])


def sorted_rows(rows: Sequence[Sequence[str]]) -> bytes:
    """The rows the other way round, below a blank line."""
    return excel([[], rows[0], *reversed(rows[1:])])


def without_problems(rows: Sequence[Sequence[str]]) -> bytes:
    """Somebody has no use for the last of our columns."""
    return excel([(*row[:6], *row[7:]) for row in rows])


SAVED = [excel, google, reversed_columns, sorted_rows, without_problems]


@pytest.mark.parametrize("saved", SAVED)
@pytest.mark.parametrize("said", ["", 'header_row = 3\ndelimiter = "|"\nencoding = "utf-16"\nsheet = "Leads"'])
def test_a_mended_file_loads_however_it_was_saved(
    leads: Leads, first: Result, account: Account, saved: Callable[[Sequence[Sequence[str]]], bytes], said: str
) -> None:
    """Unmended rows are refused again; mended ones go, with their cells as they were, whatever the mapping says."""
    write(Path("m.toml"), MAPPING.format(source=f"[source]\n{said}"))
    header, bad, extension, wide, short = lines_of(Path(first.json["rejected"][0]))
    unmended = write(Path("again.csv"), saved([header, bad, extension, wide, short]))
    assert leads("check", unmended, "-m", "m.toml", "--json").json["counts"] == UNMENDED
    bad[0], extension[0], short[3], wide[3:] = phone(2), "'+1 (202) 555-0103", "", ["one more", *wide[4:7]]
    mended = write(Path("mended.csv"), saved([header, bad, extension, wide, short]))
    result = leads("load", mended, "-m", "m.toml", "--json", env=account.env)
    assert result.json["counts"] == {"accepted": 4}
    stored = account.leads()
    assert [stored[phone(at)]["FirstName"] for at in (2, 3, 4, 5)] == ["José", "Ann", "Bob", "Eve"]
    assert [stored[phone(at)]["Notes"] for at in (2, 3, 4)] == ["=1+1", "a;b", "one more"]


def test_a_cell_that_was_moved_by_mistake_is_refused(leads: Leads, first: Result) -> None:
    """A cell was removed and the rest shifted to the left: our own cells are not where they were."""
    header, *_, wide, _ = lines_of(Path(first.json["rejected"][0]))
    write_csv(Path("again.csv"), [header, [*wide[:2], *wide[3:]]])
    assert leads("check", "again.csv", "-m", "m.toml", "--json").fates == {2: "invalid/ragged_row"}


def test_our_cells_may_be_cut_off_a_mended_line(leads: Leads, first: Result) -> None:
    """In a text editor, a line is mended down to what its list would have had."""
    header, bad, *_ = lines_of(Path(first.json["rejected"][0]))
    write_csv(Path("again.csv"), [header, bad, [phone(9), "", "Sue", "'@home"]])
    result = leads("check", "again.csv", "-m", "m.toml", "--json")
    assert result.fates == {2: "invalid/bad_phone", 3: "valid"}
    told = leads("explain", result.json["run_id"], "--row", 3, "--json").json
    assert told["cells"]["Note"] == "@home"


def test_a_retry_knows_its_mended_file_without_our_columns(leads: Leads, first: Result, account: Account) -> None:
    """Whoever removed them has the guards off all the same."""
    header, bad, extension, *_ = lines_of(Path(first.json["rejected"][0]))
    bad[0], extension[0] = phone(2), "'+12025550103"
    mended = write(Path("mended.csv"), excel([line[:4] for line in (header, bad, extension)]))
    result = leads("retry", first.json["run_id"], "--mended", mended, "--json", env=account.env)
    assert result.json["counts"] == {"accepted": 2}
    assert account.leads()[phone(2)]["Notes"] == "=1+1"
    assert phone(3) in account.leads()


def test_a_rejected_file_of_a_rejected_file_has_our_columns_once(leads: Leads, first: Result) -> None:
    """The same cells, and the row numbers of the file that was loaded last."""
    (path,) = map(Path, first.json["rejected"])
    write(Path("again.csv"), reversed_columns(lines_of(path)))
    again = leads("check", "again.csv", "-m", "m.toml", "--json")
    header, *lines = lines_of(Path(again.json["rejected"][0]), ";", "cp1252")
    assert header == [*HEADER[::-1], *REJECTED_COLUMNS]
    assert [line[4:6] for line in lines] == [[str(row), "invalid"] for row in (2, 3, 4, 5)]
    assert [line[7:] for line in lines] == [[], [], ["one more"], []]
    assert lines[0][:4] == ["'=1+1", "José", "", "555-0102"]


def test_null_tokens_come_back_as_they_were(leads: Leads, first: Result) -> None:
    """They say nothing to the dialer, and are in the user's file all the same."""
    write(Path("m.toml"), MAPPING.format(source='[source]\nnull_tokens = ["a;b"]'))
    again = leads("check", "list.csv", "-m", "m.toml", "--json")
    assert lines_of(Path(again.json["rejected"][0]))[2][3] == "a;b"


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_file_without_a_header_gets_its_columns_by_number(leads: Leads, home: Path, newline: str) -> None:
    """And those are what the same mapping asks for."""
    text = MAPPING.format(source="[source]\nheader_row = 0")
    write(home / "m.toml", text.replace('"Phone"', '"1"').replace('"Name"', '"2"').replace('"Note"', '"3"'))
    write(home / "list.csv", newline.join(["12,Ann,'=x", f"{phone(1)},Bob,ok", ""]))
    first = leads("check", "list.csv", "-m", "m.toml", "--json")
    (path,) = map(Path, first.json["rejected"])
    content = path.read_bytes()
    assert content.startswith(f"\ufeff1,2,3,{OURS}{newline}12,Ann,''=x,1,invalid,".encode())
    assert content.count(b"\r") == (2 if newline == "\r\n" else 0)
    write(path, content.replace(b"12,Ann", f"{phone(2)},Ann".encode()))
    again = leads("check", path, "-m", "m.toml", "--json")
    assert again.fates == {2: "valid"}
    assert leads("explain", again.json["run_id"], "--row", 2, "--json").json["cells"]["3"] == "'=x"


# --- Raw ---


def test_a_raw_file_is_byte_for_byte_and_says_so(leads: Leads, first: Result, account: Account) -> None:
    """No guard goes on, and none comes off: a column of its own tells. The run remembers how it was asked."""
    rows = [HEADER, ["12", "", "Ann", "'=1+1"], ["13", "", "Bob", "=1+1"]]
    write_csv(Path("raw.csv"), rows)
    result = leads("load", "raw.csv", "-m", "m.toml", "--raw-csv", "--json", env=account.env)
    (path,) = map(Path, result.json["rejected"])
    header, *lines = lines_of(path)
    assert header == [*HEADER, *REJECTED_COLUMNS, "_raw"]
    assert [line[:4] for line in lines] == rows[1:]
    assert json.loads((result.folder / "manifest.json").read_text())["options"]["raw_csv"] is True
    before = path.read_bytes()
    assert leads("show", result.json["run_id"], "--rebuild").code == 0
    assert path.read_bytes() == before
    write(Path("mended.csv"), excel([header, *([phone(at), *line[1:]] for at, line in enumerate(lines, 2))]))
    mended = leads("load", "mended.csv", "-m", "m.toml", "--json", env=account.env)
    assert mended.json["counts"] == {"accepted": 2}
    assert [account.leads()[phone(at)]["Notes"] for at in (2, 3)] == ["'=1+1", "=1+1"]
    bare = write(Path("bare.csv"), excel([HEADER, [phone(9), "", "Cy", "'=2"]]))
    again = leads("retry", result.json["run_id"], "--mended", bare, "--json", env=account.env)
    assert again.json["counts"] == {"accepted": 1}
    assert account.leads()[phone(9)]["Notes"] == "'=2"


def test_a_resumed_run_can_be_asked_for_a_raw_file(leads: Leads, first: Result, account: Account) -> None:
    """And it stays so when the file is made again."""
    resumed = leads("resume", first.json["run_id"], "--raw-csv", "--json", env=account.env)
    (path,) = map(Path, resumed.json["rejected"])
    assert lines_of(path)[1][3] == "=1+1"
    assert leads("show", first.json["run_id"], "--rebuild").code == 0
    assert lines_of(path)[0][-1] == "_raw"


# --- Workbooks ---


def workbook(path: Path, rows: Sequence[Sequence[str]]) -> Path:
    book = openpyxl.Workbook()
    page = book.worksheets[0]
    page.title = "Leads"
    for at, row in enumerate(rows, 1):
        for place, text in enumerate(row, 1):
            cell = page.cell(at, place, text)
            cell.data_type = "s"
    book.save(path)
    return settled(path)


@pytest.fixture
def in_excel(leads: Leads, home: Path) -> Result:
    """A check of the rows of ROWS that have as many cells as the header, in a workbook."""
    write(home / "m.toml", MAPPING.format(source='[source]\nsheet = "Leads"'))
    rows = [row for row in ROWS if len(row) == len(HEADER)]
    return leads("check", workbook(home / "list.xlsx", [HEADER, *rows]), "-m", "m.toml", "--json")


def test_a_workbook_shows_where_its_problems_are(in_excel: Result) -> None:
    """Coloured cells with a comment in the field's own words; a header in bold that stays in view; text everywhere."""
    (path,) = map(Path, in_excel.json["rejected"])
    page = openpyxl.load_workbook(path)["Leads"]
    assert [[cell.value or "" for cell in row][:6] for row in page.iter_rows()] == [
        [*HEADER, "_row", "_status"],
        [*ROWS[1], "3", "invalid"],
        [*ROWS[2], "4", "invalid"],
    ]
    red = page["A2"].fill.fgColor.rgb
    marked = {cell.coordinate for row in page.iter_rows(min_row=2) for cell in row if cell.fill.fgColor.rgb == red}
    told = {cell.coordinate: cell.comment.text for row in page.iter_rows() for cell in row if cell.comment}
    assert marked == set(told) == {"A2", "A3"}
    assert told["A3"].startswith("PrimaryPhone: ")
    assert page["G3"].value + "." == told["A3"].replace("PrimaryPhone", "Phone")
    assert page.freeze_panes == "A2"
    assert page["A1"].font.b
    assert not page["A2"].font.b
    assert {(cell.data_type, cell.number_format) for row in page.iter_rows(min_row=2) for cell in row} == {("s", "@")}
    assert page.column_dimensions["G"].width > page.column_dimensions["A"].width > 0


def test_a_mended_workbook_loads_again(leads: Leads, in_excel: Result) -> None:
    """As Excel saves it, and as a CSV file that someone saved as a workbook: there the guards come off."""
    (path,) = map(Path, in_excel.json["rejected"])
    assert leads("check", path, "-m", "m.toml", "--json").json["counts"] == {"invalid": 2}
    book = openpyxl.load_workbook(path)
    book["Leads"]["A2"], book["Leads"]["D2"] = phone(2), "'=2"
    book.save("mended.xlsx")
    header, _, second = sheet_of(path)
    workbook(Path("from_csv.xlsx"), [header, [phone(2), "", "José", "'=2", "3", "invalid", ""], second])
    for name, note in (("mended.xlsx", "'=2"), ("from_csv.xlsx", "=2")):
        again = leads("check", settled(Path(name)), "-m", "m.toml", "--json")
        assert again.fates == {2: "valid", 3: "invalid/phone_extension"}
        assert leads("explain", again.json["run_id"], "--row", 2, "--json").json["cells"]["Note"] == note


def test_a_problem_of_no_cell_colours_the_problems(tmp_path: Path) -> None:
    """The vendor refused the row as a whole."""
    path = made(tmp_path, form("Phone", format="xlsx"), to_mend("1"))
    page = openpyxl.load_workbook(path).worksheets[0]
    assert page["D2"].fill.fgColor.rgb != page["A2"].fill.fgColor.rgb
    assert page["D2"].comment is None


@pytest.mark.parametrize(
    ("cell", "sheet", "told"),
    [
        ("x" * 32_768, "Leads", "a cell has 32,768 characters"),
        ("😀" * 16_384, "Leads", "a cell has 32,768 characters"),
        ("\uffff", "Leads", "characters that no sheet can"),
        ("x", "L" * 32, "no sheet of Excel can be named"),
        ("x", "a/b", "no sheet of Excel can be named"),
    ],
)
def test_what_no_workbook_holds_is_csv(tmp_path: Path, cell: str, sheet: str, told: str) -> None:
    """Nothing is cut, and the run says why."""
    written = rejected.write(tmp_path, "rejected", form("A", format="ods", sheet=sheet), [to_mend(cell)])
    assert written is not None
    assert written.path.name == "rejected.csv"
    assert told in written.notes[0]
    assert read(written.path, sheet=sheet)[1] == [(cell,)]


def test_more_columns_and_rows_than_a_sheet_has_are_told() -> None:
    """Our columns and the header come on top of the list's own."""
    assert "16,385 columns" in rejected_book.plan("Leads", ["a"] * 16_385, []).unfit
    rows = Filled([pa.repeat("", 1 << 20)], {}, [])
    assert "1,048,576 rows and a header" in rejected_book.plan("Leads", ["a"], [rows]).unfit


def test_a_nul_is_told(tmp_path: Path) -> None:
    """Parquet can hold it, and CSV can't."""
    written = rejected.write(tmp_path, "rejected", form("A", format="parquet"), [to_mend("a\0b")])
    assert written is not None
    assert "NUL characters" in written.notes[0]
    assert read(written.path)[1] == [("a\N{REPLACEMENT CHARACTER}b",)]


def test_many_comments_are_left_out_and_told(tmp_path: Path) -> None:
    """Each takes memory here and in every spreadsheet; colours and words are there for all."""
    told = to_mend(*["x"] * 3_000)
    marks = pa.array([[{"column": "A", "told": "PrimaryPhone: bad"}]] * 3_000, told.schema.field("marks").type)
    told = told.set_column(told.schema.get_field_index("marks"), "marks", marks)
    written = rejected.write(tmp_path, "rejected", form("A", format="xlsx"), [told] * 2)
    assert written is not None
    assert "the first 5,000 have a comment" in written.notes[0]
    page = openpyxl.load_workbook(written.path).worksheets[0]
    assert page["D1"].comment.text == written.notes[0]
    assert page["A5001"].comment.text == "PrimaryPhone: bad"
    assert page["A5002"].comment is None
    assert page["A6001"].fill.fgColor.rgb == page["A2"].fill.fgColor.rgb


# --- Forgotten ---


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1252"])
def test_a_person_goes_from_a_guarded_file_in_any_encoding(
    leads: Leads, first: Result, home: Path, account: Account, encoding: str
) -> None:
    """The others stay, byte for byte."""
    text = "\r\n".join(
        ",".join(row) for row in [["Phone", "Name", "Note"], *(row[::2] + row[3:] for row in ROWS[:3]), ""]
    )
    write(home / "list2.csv", text.encode(encoding))
    run = leads("load", "list2.csv", "-m", "m.toml", "--again", "--json", env=account.env)
    (path,) = map(Path, run.json["rejected"])
    name = "utf-8-sig" if encoding == "utf-8" else encoding
    header, bad, _ = path.read_bytes().decode(name).splitlines(keepends=True)
    assert leads("forget", phone(203)).code == 0
    assert path.read_bytes().decode(name) != header + bad
    assert leads("forget", "(202) 555-0103").code == 0
    assert path.read_bytes().decode(name) == header + bad


def test_a_person_goes_from_a_workbook_with_comments(leads: Leads, in_excel: Result) -> None:
    """What is said of the others stays with their cells."""
    (path,) = map(Path, in_excel.json["rejected"])
    book = openpyxl.load_workbook(path)
    page = book["Leads"]
    page.move_range("A3:G3", rows=1)
    for place, text in enumerate([phone(9), "", "Sue", "x"], 1):
        page.cell(3, place, text)
    told = page["A4"].comment.text
    book.save(path)
    assert leads("forget", phone(9)).code == 0
    page = openpyxl.load_workbook(path)["Leads"]
    assert page["A3"].value == ROWS[2][0]
    assert page["A3"].comment.text == told
    assert page["D2"].data_type == "s"
    assert leads("check", settled(path), "-m", "m.toml", "--json").json["counts"] == {"invalid": 2}
