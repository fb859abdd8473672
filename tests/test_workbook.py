import datetime as dt
import zipfile
from pathlib import Path

import openpyxl
import pytest

from pipeline import source, workbook
from pipeline.model import InputError
from pipeline.source import SourceOptions


def inspect(path: Path, **options):
    return source.inspect(path, SourceOptions(**options), path.parent, pause=lambda seconds: None)


def read(path: Path, **options):
    found = inspect(path, **options)
    cells = {}
    for chunk in source.read(found, SourceOptions(**options)):
        cells |= dict(zip(chunk.frame.index.tolist(), chunk.frame.itertuples(index=False, name=None), strict=True))
    return found, cells


@pytest.fixture
def book(tmp_path):
    """A workbook with one sheet per argument: name → {cell: value}."""

    def write(name="list.xlsx", hidden=(), **sheets):
        made = openpyxl.Workbook()
        made.remove(made.active)
        for title, cells in sheets.items():
            sheet = made.create_sheet(title)
            for at, value in cells.items():
                sheet[at] = value
            sheet.sheet_state = "hidden" if title in hidden else "visible"
        path = tmp_path / name
        with path.open("wb") as file:
            made.save(file)
        return path

    return write


def test_cells_become_text(book):
    """Whole numbers have no decimals, dates are ISO, leading zeros of text stay."""
    at = dt.datetime(2024, 1, 31, 17, 5)  # noqa: DTZ001  # Excel knows no zones
    values = ["00501", 5551234567, 2.0, 0.1, 1e22, True, at, dt.date(2024, 1, 31),
              dt.time(17, 5), dt.timedelta(hours=30), " x ", "a\nb", "NA"]  # fmt: skip
    path = book(Leads={"A1": "v", **{f"A{row}": value for row, value in enumerate(values, start=2)}})
    found, cells = read(path)
    assert [cell for (cell,) in cells.values()] == [
        "00501", "5551234567", "2", "0.1", "10000000000000000000000", "TRUE", "2024-01-31 17:05:00", "2024-01-31",
        "17:05:00", "30:00:00", " x ", "a\nb", "NA",
    ]  # fmt: skip
    assert "1 numeric cells are 2^53 or more" in found.notes[0]
    assert found.as_json()["sheet"] == "Leads"


def test_rows_have_excels_numbers(book):
    """A used range that begins further down and to the right, a title, blank rows: numbers are Excel's own."""
    path = book(Leads={"C3": "May leads", "C5": "Name", "D5": "Phone", "C6": "Ann", "D6": 1, "C9": "Bob", "D9": 2})
    found, cells = read(path)
    assert cells == {6: ("Ann", "1"), 9: ("Bob", "2")}
    assert (found.format, found.header_row, found.rows, found.blank_rows, found.last_row) == ("xlsx", 5, 2, 2, 9)


def test_positions_in_messages_are_excels(book):
    """Column C is 3 wherever the used range begins."""
    path = book(Leads={"C1": "a", "E1": "a", "C2": 1, "E2": 2})
    with pytest.raises(InputError, match="columns 3 and 5 are both named 'a'"):
        inspect(path)
    path = book(Leads={"C1": "a", "E1": "b", "C2": 1, "D2": "?", "E2": 2})
    with pytest.raises(InputError, match="column 4 has no name"):
        inspect(path)


def test_large_sheets_come_in_batches(book, monkeypatch):
    """Rows beyond one batch keep their numbers."""
    rows = {f"A{row}": f"x{row}" for row in range(2, 20_500) if row % 3}
    _, cells = read(book(Leads={"A1": "v", **rows}))
    assert cells == {int(at[1:]): (value,) for at, value in rows.items()}


def test_the_only_visible_sheet_is_read(book):
    """Hidden and empty sheets are named in the notes."""
    sheet = {"A1": "v", "A2": 1}
    found = inspect(book(Leads=sheet, Lists=sheet, Sheet2={}, hidden=("Lists",)))
    assert found.sheet == "Leads"
    assert found.sheets == ("Leads", "Lists", "Sheet2")
    assert found.notes[:2] == ("hidden sheets, not read: 'Lists'", "empty sheets, not read: 'Sheet2'")


def test_several_sheets_need_a_name(book):
    """They are listed; one that is hidden may be named."""
    path = book(A={"A1": "v", "A2": 1}, B={"A1": "w", "A2": 2}, C={"A1": "u", "A2": 3}, hidden=("C",))
    with pytest.raises(InputError, match="several sheets are visible; set sheet to one of 'A', 'B'"):
        inspect(path)
    assert inspect(path, sheet="C").columns == ("u",)
    with pytest.raises(InputError, match="no sheet 'D'; its sheets are 'A', 'B', 'C'"):
        inspect(path, sheet="D")


@pytest.mark.parametrize("cells", [{}, {"A1": "v"}])
def test_a_sheet_without_rows_is_refused(book, cells):
    """A header alone is no list, and nothing is left in the spool."""
    path = book(Leads=cells)
    with pytest.raises(InputError, match="no rows"):
        inspect(path)
    assert list(path.parent.iterdir()) == [path]


def test_the_content_decides_not_the_extension(book, tmp_path):
    """A workbook named .csv is a workbook, text named .xls is CSV."""
    assert inspect(book(name="list.csv", Leads={"A1": "v", "A2": 1})).format == "xlsx"
    text = tmp_path / "list.xls"
    text.write_text("a\tb\n1\t2\n")
    assert inspect(text).format == "csv"


def test_a_zip_archive_is_no_workbook(tmp_path):
    """What is in it is read, whatever its name says."""
    path = tmp_path / "list.xlsx"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("list.csv", "a,b\n1,2\n")
    assert (inspect(path).format, inspect(path).member) == ("csv", "list.csv")


def test_a_damaged_workbook_is_refused(book):
    """In one line, with the parser's word for it."""
    path = book(Leads={"A1": "v", "A2": 1})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("[Content_Types].xml", "<x")
    with pytest.raises(InputError, match="the workbook can't be parsed") as caught:
        inspect(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"not a workbook at all", b"E\0n\0c\0r\0y\0p\0t\0e\0d\0P\0a\0c\0k\0a\0g\0e\0"])
def test_an_ole_file_that_is_no_sheet_is_refused(tmp_path, content):
    """A password is named as such."""
    path = tmp_path / "list.xls"
    path.write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + content)
    with pytest.raises(InputError, match="password" if content.startswith(b"E\0") else "can't be parsed"):
        inspect(path)


def test_a_child_that_runs_out_of_memory_is_an_input_error(book, tmp_path):
    """The parent lives, and the spool is gone."""
    path = book(Leads={"A1": "v", "A2": 1})
    bounds = workbook.Bounds(memory_bytes=64 << 20)
    with pytest.raises(InputError, match="can't be parsed"):
        workbook.convert(path, "xlsx", None, tmp_path, bounds)
    assert list(tmp_path.iterdir()) == [path]


def test_a_child_that_takes_too_long_is_an_input_error(book, tmp_path):
    """It is ended by the clock."""
    path = book(Leads={"A1": "v", "A2": 1})
    with pytest.raises(InputError, match="took more than"):
        workbook.convert(path, "xlsx", None, tmp_path, workbook.Bounds(seconds=0))


def test_the_spool_is_private(book):
    """Leads are nobody else's to read."""
    found = inspect(book(Leads={"A1": "v", "A2": 1}))
    assert found.layout.spool is not None
    assert found.layout.spool.stat().st_mode & 0o777 == 0o600
