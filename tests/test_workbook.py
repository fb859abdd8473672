import datetime as dt
import json
import re
import resource
import subprocess
import sys
import zipfile
from pathlib import Path

import openpyxl
import pyarrow as pa
import pytest

from pipeline import source, workbook
from pipeline.clean import CLEANERS, CleanOptions, clean
from pipeline.model import DiskError, InputError
from pipeline.sheets.look import letters
from pipeline.sheets.unpacked import unpacked
from pipeline.source import SourceOptions


def inspect(path: Path, **options):
    return source.inspect(path, SourceOptions(**options), path.parent, pause=lambda seconds: None)


def read(path: Path, **options):
    found = inspect(path, **options)
    cells = {}
    for chunk in source.read(found):
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
        "00501", "5551234567", "2", "0.1", "#LOSSY!1E+22", "TRUE", "2024-01-31 17:05:00", "2024-01-31",
        "17:05:00", "30:00:00", " x ", "a\nb", "NA",
    ]  # fmt: skip
    assert "numbers of more digits than a spreadsheet keeps: 1" in found.notes[0]
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
    hidden = inspect(path, sheet="C")
    assert (hidden.columns, hidden.notes[0]) == (("u",), "sheet 'C' is hidden; it is read as you ask")
    with pytest.raises(InputError, match="no sheet 'D'; its sheets are 'A', 'B', 'C'"):
        inspect(path, sheet="D")


def test_a_sheet_is_named_in_any_case_or_a_near_name_is_offered(book):
    path = book(**{"Spring Leads": {"A1": "v", "A2": 1}, "Other": {"A1": "w", "A2": 0}})
    assert inspect(path, sheet="spring leads ").sheet == "Spring Leads"
    with pytest.raises(InputError, match="did you mean 'Spring Leads'"):
        inspect(path, sheet="Sprng Leads")
    with pytest.raises(InputError, match="several sheets are visible"):
        inspect(path)


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


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("EncryptedPackage", "protected by a password"),
        ("WordDocument", "it is a Word document"),
        ("__properties_version1.0", "it is an Outlook message"),
        ("Something", "can't be parsed"),
    ],
)
def test_an_ole_file_that_is_no_sheet_is_refused(tmp_path, entry, reason):
    """A password is named as such, and so are other documents."""
    path = tmp_path / "list.xls"
    path.write_bytes(
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".ljust(512, b"\0") + entry.encode("utf-16-le").ljust(128, b"\0")
    )
    with pytest.raises(InputError, match=reason):
        inspect(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("<html><table><tr><td>a</td></tr></table></html>", "a web page"),
        ('<?xml version="1.0"?>\n<?mso-application progid="Excel.Sheet"?>\n<Workbook/>', "an XML Spreadsheet of 2003"),
        ('<?xml version="1.0"?><office:document office:version="1.3"/>', "a flat OpenDocument file"),
        ("MIME-Version: 1.0\r\nContent-Type: multipart/related", "a web archive"),
    ],
)
def test_a_mislabelled_file_is_told_what_it_is(tmp_path, content, reason):
    """Reporting tools name all of these .xls."""
    path = tmp_path / "list.xls"
    path.write_text(content)
    with pytest.raises(InputError, match=reason):
        inspect(path)


@pytest.mark.parametrize(("part", "what"), [("word/document.xml", "Word"), ("Index/Document.iwa", "Apple Numbers")])
def test_another_document_in_a_zip_is_told_what_it_is(tmp_path, part, what):
    path = tmp_path / "list.xlsx"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr(part, "")
    with pytest.raises(InputError, match=what):
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


def test_of_what_was_unpacked_nothing_is_left(book):
    """The list's text is all that its reading leaves."""
    found = inspect(path := book(Leads={"A1": "v", "A2": 1}))
    assert set(path.parent.iterdir()) == {path, found.layout.spool}


def test_a_full_disk_is_told_as_such(raw):
    """Nothing is wrong with the workbook; and nothing is left."""
    path = raw(HEADER + ROWS + " " * 5_000_000)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        with pytest.raises(DiskError, match=r"can't be written: .*; make room there"):
            workbook.convert(path, "xlsx", None, path.parent)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(path.parent.iterdir()) == [path]


def test_what_would_take_too_much_disk_is_not_unpacked(raw, tmp_path):
    """It is read as it is."""
    path, copy = raw(HEADER + ROWS), tmp_path / "copy.xlsx"
    with zipfile.ZipFile(path) as archive:
        archive.infolist()[0].file_size = 2 << 30
        with unpacked(archive, copy) as read_from:
            assert (read_from, copy.exists()) == (path, False)


def test_a_damaged_part_that_is_not_needed_is_none_of_ours(raw):
    """The list is read as if it were whole."""
    path = raw(HEADER + ROWS)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("docProps/thumbnail.jpeg", "a picture")
    path.write_bytes(path.read_bytes().replace(b"a picture", b"b picture"))
    assert read(path)[1] == TEXTS


def test_what_is_unpacked_is_private(raw, tmp_path):
    """Leads are nobody else's to read, meanwhile either."""
    with zipfile.ZipFile(raw(HEADER + ROWS)) as archive, unpacked(archive, tmp_path / "copy.xlsx") as copy:
        assert copy.stat().st_mode & 0o777 == 0o600


def test_the_child_loads_no_pandas_and_no_cleaners(book, tmp_path):
    """Its start is a good part of a small workbook's cost."""
    names = {name: str(tmp_path / f"x.{name}") for name in ("spool", "copy")}
    task = {"path": str(book(Leads={"A1": "v", "A2": 1})), "kind": "xlsx", "sheet": None, "bounds": {}, **names}
    child = [sys.executable, "-X", "importtime", "-P", "-m", "pipeline.sheets"]
    done = subprocess.run(child, input=json.dumps(task), capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["rows"] == 2
    assert "pyarrow" in done.stderr
    assert not re.search(r"\b(pandas|phonenumbers|pipeline\.clean)\.", done.stderr)


# --- What calamine does not tell ---

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
FORMATS = ("General", "00000", "m/d/yyyy h:mm", "[&lt;=99999]00000;00000-0000")


def _related(*parts):
    """Relations r0, r1, … from kinds and targets by turns."""
    pairs = enumerate(zip(parts[::2], parts[1::2], strict=True))
    entries = (f'<Relationship Id="r{n}" Type="{RELATIONS}/{kind}" Target="{path}"/>' for n, (kind, path) in pairs)
    space = "http://schemas.openxmlformats.org/package/2006/relationships"
    return f'<Relationships xmlns="{space}">{"".join(entries)}</Relationships>'


@pytest.fixture
def raw(tmp_path):
    """A workbook with one sheet of hand-made XML; styles 0 to 3 have FORMATS."""

    def write(rows, *, before="", behind="", root=f'<worksheet xmlns="{MAIN}">', book="", declared="", strings=()):
        formats = "".join(f'<numFmt numFmtId="{164 + n}" formatCode="{code}"/>' for n, code in enumerate(FORMATS))
        styles = "".join(f'<xf numFmtId="{164 + n}"/>' for n in range(len(FORMATS)))
        end = root.split()[0].replace("<", "</") + ">"
        data = "sheetData" if ":" not in root.split()[0] else root[1:].split(":")[0] + ":sheetData"
        sheet = f"{declared}{root}{before}<{data}>{rows}</{data}>{behind}{end}"
        path = tmp_path / "raw.xlsx"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("[Content_Types].xml", "<Types/>")
            archive.writestr("_rels/.rels", _related("officeDocument", "xl/workbook.xml"))
            archive.writestr("xl/workbook.xml", f'<workbook xmlns="{MAIN}" xmlns:r="{RELATIONS}"><sheets>'
                             f'<sheet name="Leads" sheetId="1" r:id="r0"/></sheets>{book}</workbook>')  # fmt: skip
            parts = ("worksheet", "worksheets/sheet1.xml", "styles", "styles.xml", "sharedStrings", "sharedStrings.xml")
            archive.writestr("xl/_rels/workbook.xml.rels", _related(*parts))
            archive.writestr("xl/styles.xml", f'<styleSheet xmlns="{MAIN}"><numFmts>{formats}</numFmts>'
                             f"<cellXfs>{styles}</cellXfs></styleSheet>")  # fmt: skip
            archive.writestr("xl/sharedStrings.xml", f'<sst xmlns="{MAIN}">{"".join(strings)}</sst>')
            archive.writestr("xl/worksheets/sheet1.xml", sheet if isinstance(sheet, bytes) else sheet.encode())
        return path

    return write


HEADER = '<row r="1"><c r="A1" t="inlineStr"><is><t>v</t></is></c><c r="B1" t="inlineStr"><is><t>w</t></is></c></row>'
# What each of these rows gives: errors, formulas without a value and with an empty one, ZIPs, midnight.
ROWS = (
    '<row r="2"><c r="A2" t="e"><v>#N/A</v></c><c r="B2"><f>A1</f></c></row>'
    '<row r="3"><c r="A3" t="str"><f>""</f><v></v></c><c r="B3" s="1"><v>2139</v></c></row>'
    '<row r="4"><c r="A4" s="2"><v>45322</v></c><c r="B4" s="3"><v>21391234</v></c></row>'
    '<row r="5" hidden="1"><c r="A5" t="e"><f>1/0</f><v>#DIV/0!</v></c><c r="B5" s="1"><v>123456</v></c></row>'
)
TEXTS = {
    2: ("#N/A", "#UNCALCULATED!"),
    3: ("", "02139"),
    4: ("2024-01-31 00:00:00", "02139-1234"),
    5: ("#DIV/0!", "123456"),
}


def test_errors_and_leading_zeros_come_out_as_a_person_sees_them(raw):
    """Formulas without a value have a text that no cleaner lets through, and notes say how many there are."""
    found, cells = read(raw(HEADER + ROWS))
    assert cells == TEXTS
    assert found.notes[0].startswith("hidden rows, read like the others: 1 (rows 5)")
    assert found.notes[1:] == (
        "numbers with the leading zeros that their format shows: 2",
        "cells of the sheet with a spreadsheet's error: 2",
        "formulas of the sheet without a value: 1; open it in Excel or LibreOffice, let it calculate, and save it",
    )


def _prefixed(xml):
    return xml.replace("</", "\0").replace("<", "<x:").replace("\0", "</x:")


def _placeless(xml):
    return re.sub(r' r="[A-Z]*[0-9]+"', "", xml)


@pytest.mark.parametrize(
    ("written", "options"),
    [
        (lambda xml: xml.replace('"', "'").replace("<f>''</f>", '<f>""</f>'), {}),
        (_placeless, {}),
        (_prefixed, {"root": f'<x:worksheet xmlns:x="{MAIN}">'}),
        (lambda xml: xml.replace(" s=", "\n s = "), {}),
        (lambda xml: f"<!-- by hand -->{xml}", {}),
        (lambda xml: xml, {"declared": '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'}),
        (lambda xml: xml.replace("><", ">\n  <").replace("<v>\n  </v>", "<v></v>"), {}),
        (lambda xml: re.sub(r'(r="\w+") (s="\d")', r'\2 \1', xml), {}),
        (lambda xml: xml.replace("<v>", '<v xml:space="preserve">'), {}),
        (lambda xml: xml.replace("<f>A1</f>", '<f t="shared" si="0"/><v/>'), {}),
    ],
    ids=["quotes", "places", "prefix", "spaces", "comment", "declaration", "lines", "order", "space", "shared"],
)  # fmt: skip
def test_workbooks_of_other_writers_say_the_same(raw, written, options):
    """Where bytes are not as usual, a parser looks."""
    assert read(raw(written(HEADER + ROWS), **options))[1] == TEXTS


def test_text_that_looks_like_a_sheets_tags_is_text(raw):
    """Nothing is put into a cell where something is put before the rows."""
    looks = "<worksheet><sheetData>"
    rows = _prefixed('<row r="1"><c r="A1" t="inlineStr"><is><t>here</t></is></c></row>')
    path = raw(rows.replace("here", f"<![CDATA[{looks}]]>"), root=f'<x:worksheet xmlns:x="{MAIN}">')
    _, cells = read(path, header_row=0)
    assert cells == {1: (looks,)}


def test_what_is_far_into_a_sheet_is_found(raw):
    """Over blocks that are cut anywhere, the fast look finds what the parser finds."""
    cell = '<c r="A{0}" s="1"><v>{1}</v></c><c r="B{0}" t="inlineStr"><is><t>{2}</t></is></c>'
    rows = [f'<row r="{n}">{cell.format(n, n % 700, "x" * (n % 97))}</row>' for n in range(2, 25_000)]
    _, fast = read(raw(HEADER + "".join(rows)))
    assert fast == {n: (f"{n % 700:05}", "x" * (n % 97)) for n in range(2, 25_000)}
    assert read(raw("<!-- -->" + HEADER + "".join(rows)))[1] == fast


def test_formulas_that_are_left_to_excel_are_pointed_out(raw):
    """XlsxWriter and its like write 0 where they don't calculate."""
    row = '<row r="2"><c r="A2"><f>B2*2</f><v>0</v></c><c r="B2"><v>5</v></c></row>'
    assert inspect(raw(HEADER + row)).notes == ()
    (note,) = inspect(raw(HEADER + row, book='<calcPr fullCalcOnLoad="1"/>')).notes
    assert note.startswith("formulas whose values may be placeholders")


def test_hidden_columns_filters_and_merged_cells_are_in_the_notes(raw):
    """They are read nonetheless."""
    rows = ROWS.replace('<row r="3"', '<row r="3" hidden="true"')
    found = inspect(
        raw(
            HEADER + rows,
            before='<sheetPr filterMode="1"/><cols><col min="2" max="9" hidden="1"/></cols>',
            behind='<autoFilter ref="A1:B5"><filterColumn colId="0"/></autoFilter>'
            '<mergeCells><mergeCell ref="A1:B1"/><mergeCell ref="B3:B4"/></mergeCells>',
        )
    )
    assert found.notes[0].startswith("hidden rows, read like the others: 2 (rows 3, 5, by a filter)")
    assert found.notes[1] == "hidden columns, read like the others: 1 (B)"
    assert found.notes[-1].startswith("merged cells among the rows: 1 (B3:B4)")


def test_a_header_of_merged_rows_is_pointed_out(raw):
    behind = '<mergeCells><mergeCell ref="A1:A2"/></mergeCells>'
    (note,) = [note for note in inspect(raw(HEADER + ROWS, behind=behind)).notes if "header" in note]
    assert note.endswith("if the columns' names end in row 2, set header_row to that")


def test_rows_that_only_have_a_format_are_counted_as_blank(raw):
    """However many they are."""
    blank = "".join(f'<row r="{n}"><c r="A{n}" s="1"/></row>' for n in range(6, 50_001))
    found = inspect(raw(HEADER + ROWS + blank))
    assert (found.rows, found.last_row, found.blank_rows) == (4, 5, 50_000 - 5)


def test_formulas_beyond_the_values_widen_the_sheet(raw):
    """A column or a row of nothing but uncalculated formulas is not lost."""
    row = '<row r="2"><c r="B2"><v>1</v></c></row><row r="3"><c r="A3"><f>B2</f></c></row>'
    _, cells = read(raw(HEADER + row))
    assert cells == {2: ("", "1"), 3: ("#UNCALCULATED!", "")}


def test_strings_are_what_a_person_sees(raw):
    """Escapes, runs of rich text, readings of Japanese, spaces that are kept, truth values, an empty string."""
    strings = (
        "<si><t>a_x000D_\nb</t></si>",
        "<si><r><t xml:space='preserve'>rich </t></r><r><rPr><b/></rPr><t>text</t></r></si>",
        "<si><t>\u8ab2</t><rPh sb='0' eb='1'><t>\u30ab</t></rPh></si>",
        '<si><t xml:space="preserve">  kept </t></si>',
        "<si><t>&amp;&lt;&#65;</t></si>",
    )
    rows = "".join(f'<row r="{n + 2}"><c r="A{n + 2}" t="s"><v>{n}</v></c></row>' for n in range(len(strings)))
    rows += '<row r="7"><c r="A7" t="b"><v>1</v></c></row>'
    _, cells = read(raw(HEADER + rows, strings=strings))
    assert [v for v, _ in cells.values()] == ["a\r\nb", "rich text", "\u8ab2", "  kept ", "&<A", "TRUE"]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (9007199254740991, "9007199254740991"),
        (9007199254740992, "#LOSSY!9.00719925474099E+15"),
        (1234567890123450, "#LOSSY!1.23456789012345E+15"),
        (123456789012345, "123456789012345"),
        (0.1 + 0.2, "0.3"),
        (5551234567.000001, "5551234567"),
        (1e-7, "0.0000001"),
        (-12.5, "-12.5"),
    ],
)
def test_numbers_have_the_digits_that_a_spreadsheet_keeps(book, value, told):
    """What may have lost its last digits can't be taken for somebody's number."""
    assert read(book(Leads={"A1": "v", "A2": value}))[1] == {2: (told,)}


@pytest.mark.parametrize(
    ("told", "code"),
    [("#LOSSY!1.23456789012345E+15", "lossy_number"), ("#UNCALCULATED!", "cell_error"), ("#REF!", "cell_error")],
)
def test_every_cleaner_refuses_what_a_cell_has_instead_of_a_value(told, code):
    """Text fields, too."""
    for name in CLEANERS:
        cleaned = clean(name, "Field", pa.array([told]), CleanOptions())
        assert cleaned.problems["rule"].to_pylist() == [code]


@pytest.mark.parametrize(
    ("code", "value", "told"),
    [
        ("00000", 2139, "02139"),
        ("00000", 0, "00000"),
        ("00000", 123456, "123456"),
        ("00000", 2139.5, "2139.5"),
        ("00000", -5, "-5"),
        ("00000-0000", 21391234, "02139-1234"),
        ("000\\-00\\-0000", 12345678, "012-34-5678"),
        ("[<=99999]00000;00000-0000", 2139, "02139"),
        ("[<=99999]00000;00000-0000", 21391234, "02139-1234"),
        ("00000;-0;;@", 2139, "02139"),
        ("[$-409]00000_)", 501, "00501 "),
        ("0000000000", 205550100, "0205550100"),
        ('"Nr. "000', 7, "Nr. 007"),
        ("###-##00", 1234, "-1234"),
        ("(###) ###-####", 2025550100, "2025550100"),
        ("[<=9999999]###-####;(###) ###-####", 2025550100, "2025550100"),
        ("0", 7, "7"),
        ("0.00", 7, "7"),
        ("#,##0", 1234, "1234"),
        ("0%", 0.25, "0.25"),
        ("0.00E+00", 2025550100, "2025550100"),
        ("00/00", 7, "7"),
        ('$00"k"', 7, "$07k"),
    ],
)
def test_number_formats_give_leading_zeros_back(book, code, value, told):
    """As the format shows them; other formats leave the number as it is."""
    path = book(Leads={"A1": "v", "A2": value})
    made = openpyxl.load_workbook(path)
    made["Leads"]["A2"].number_format = code
    made.save(path)
    assert read(path)[1] == {2: (told,)}


@pytest.mark.parametrize("epoch", [openpyxl.utils.datetime.WINDOWS_EPOCH, openpyxl.utils.datetime.MAC_EPOCH])
def test_dates_of_both_epochs(tmp_path, epoch):
    """The seconds are rounded, a midnight keeps its hour where the format shows one, a serial stays a number."""
    made = openpyxl.Workbook()
    made.epoch = epoch
    sheet = made.active
    at = dt.datetime(2024, 1, 31, 17, 5, 59, 999_000)  # noqa: DTZ001  # Excel knows no zones
    midnight = dt.datetime(2024, 1, 31)  # noqa: DTZ001
    for value in ("v", at, midnight, dt.date(2024, 1, 31), dt.time(17, 5, 29, 600_000), 45322):
        sheet.append([value])
    path = tmp_path / "list.xlsx"
    with path.open("wb") as file:
        made.save(file)
    assert [cell for (cell,) in read(path)[1].values()] == [
        "2024-01-31 17:06:00", "2024-01-31 00:00:00", "2024-01-31", "17:05:30", "45322",
    ]  # fmt: skip


def test_an_archive_that_unpacks_to_too_much_is_refused(raw):
    """Before anything of it is read."""
    path = raw(HEADER + ROWS + " " * 5_000_000)
    with pytest.raises(InputError, match=r"unpacks to .* GiB, more than"):
        workbook.convert(path, "xlsx", None, path.parent, workbook.Bounds(unpacked_bytes=1 << 20))


@pytest.mark.parametrize("strings", [('<!DOCTYPE x [<!ENTITY a "b">]>',), ("<si><t>&unheard;</t></si>",)])
def test_entities_are_not_expanded(raw, strings):
    """Nothing grows by them; the text is not made up."""
    path = raw(
        '<row r="1"><c r="A1" t="s"><v>0</v></c></row><row r="2"><c r="A2" t="s"><v>0</v></c></row>', strings=strings
    )
    with pytest.raises(InputError):
        inspect(path)


def test_a_very_wide_sheet_is_read(raw):
    """Ten thousand columns, in batches of few rows."""
    names = "".join(f'<c r="{letters(n)}1" t="inlineStr"><is><t>c{n}</t></is></c>' for n in range(1, 10_001))
    rows = "".join(f'<row r="{r}">' + f'<c r="A{r}"><v>{r}</v></c></row>' for r in range(2, 300))
    found, cells = read(raw(f'<row r="1">{names}</row>{rows}'))
    assert (len(found.columns), len(cells), cells[299][0]) == (10_000, 298, "299")


# --- OpenDocument ---

ODS = """<office:document-content xmlns:office="o" xmlns:table="t" xmlns:text="x" xmlns:style="s" xmlns:number="n"
 xmlns:calcext="c"><office:automatic-styles>
<number:number-style style:name="N1"><number:number number:min-integer-digits="9"><number:embedded-text
 number:position="4">-</number:embedded-text></number:number></number:number-style>
<number:number-style style:name="N2P0"><number:number number:min-integer-digits="5"/></number:number-style>
<number:number-style style:name="N2"><number:number number:min-integer-digits="1"/><style:map
 style:condition="value()&lt;=99999" style:apply-style-name="N2P0"/></number:number-style>
<style:style style:name="long" style:family="table-cell" style:data-style-name="N1"/>
<style:style style:name="zip" style:family="table-cell" style:data-style-name="N2"/>
<style:style style:name="child" style:family="table-cell" style:parent-style-name="zip"/>
</office:automatic-styles><office:body><office:spreadsheet><table:table table:name="Leads">
<table:table-column/><table:table-column table:default-cell-style-name="child" table:visibility="collapse"/>
<table:table-row><table:table-cell office:value-type="string"><text:p>v</text:p></table:table-cell>
<table:table-cell office:value-type="string"><text:p>w</text:p></table:table-cell></table:table-row>
<table:table-row table:visibility="filter"><table:table-cell table:formula="of:=1/0" office:value-type="string"
 calcext:value-type="error"><text:p>#DIV/0!</text:p></table:table-cell>
<table:table-cell office:value-type="float" office:value="2139"><text:p>02139</text:p></table:table-cell>
</table:table-row>
<table:table-row table:number-rows-repeated="2"><table:table-cell table:formula="of:=B1"/>
<table:table-cell table:style-name="long" office:value-type="float" office:value="21391234"/></table:table-row>
<table:table-row><table:table-cell office:value-type="string" table:number-columns-spanned="2" table:formula="of:=x()">
<text:p>Err:508</text:p></table:table-cell><table:covered-table-cell/></table:table-row>
</table:table></office:spreadsheet></office:body></office:document-content>"""


def test_an_opendocument_sheet_says_the_same(tmp_path):
    """Styles of columns and of parents, embedded dashes, conditions, repeated rows, errors with a number."""
    path = tmp_path / "list.ods"
    spaces = {"o": "office", "t": "table", "x": "text", "s": "style", "n": "datastyle"}
    content = ODS.replace(">\n", ">")
    for short, long in spaces.items():
        content = content.replace(f'="{short}"', f'="urn:oasis:names:tc:opendocument:xmlns:{long}:1.0"', 1)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr("META-INF/manifest.xml", "<manifest/>")
        archive.writestr("content.xml", content)
    found, cells = read(path)
    assert cells == {
        2: ("#DIV/0!", "02139"),
        3: ("#UNCALCULATED!", "02139-1234"),
        4: ("#UNCALCULATED!", "02139-1234"),
        5: ("#ERROR!", ""),
    }
    assert found.notes[0].startswith("hidden rows, read like the others: 1 (rows 2, by a filter)")
    assert found.notes[1] == "hidden columns, read like the others: 1 (B)"
