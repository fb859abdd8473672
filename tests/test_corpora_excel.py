"""Every workbook of the corpora gives what an independent reader finds, or is refused for a stated reason."""

import datetime as dt
import os
import re
import warnings
import zipfile
from pathlib import Path
from xml.etree import ElementTree as ET

import openpyxl
import pyarrow as pa
import pytest
import python_calamine as calamine

from pipeline import source
from pipeline.model import InputError
from pipeline.sheets.__main__ import opened
from pipeline.sheets.model import Bounds, RefusedError
from pipeline.sheets.spool import write
from pipeline.sniff import kind_of
from pipeline.source import SourceOptions

CORPORA = Path(os.environ.get("LEADS_CORPORA") or "/nowhere")
FILES = sorted([*CORPORA.glob("3_excel/*/*"), *CORPORA.glob("1_leads/*/*.xls*")])
pytestmark = pytest.mark.skipif(not FILES, reason="LEADS_CORPORA is not set, or has no workbooks")

REFUSED = {  # what is refused as a whole, and the words for it
    "OOM_alloc3.xls": "can't be parsed",
    "gh548_incorrect_sst_unique_count.xls": "can't be parsed",  # xlrd holds it to its counts
    "issue252.xlsx": "larger than its declared",
    "issue_385.xls": "password",
    "issue_594_dos.ods": "Cell limit exceeded",
    "pass_protected.ods": "password",
    "pass_protected.xlsb": "password",
    "pass_protected.xlsx": "password",
    "null_archive.xlsx": "what it holds is empty",
    "null_file.xlsx": "it is empty",
    "sample.zip": "what it holds is empty",
    "biff4_no_format_no_window2.xls": "before 1993",
    "too_small.xls": "no rows below the header",  # one line of text
}
NO_LIST = "several sheets|holds no rows|no rows below|has no name|(?:both|all) named|the header, is blank"
SIBLINGS = {  # binary workbooks, and the .xlsx that holds the same
    "any_sheets.xlsb": "any_sheets.xlsx",
    "date.xlsb": "date.xlsx",
    "date_1904.xlsb": "date_1904.xlsx",
    "issue127.xlsb": "issue127.xlsx",
    "issues.xlsb": "issues.xlsx",
    "picture.xlsb": "picture.xlsx",
}
BY_HAND = {  # binary workbooks without one
    "issue_182.xlsb": {"formula_vals": {(1, 1): "3", (2, 1): "Ab", (3, 1): "FALSE"}},
    "issue_186.xlsb": {
        "Sheet1": {(n, 1): text for n, text in enumerate(("1.23", "12.34", "123.45", "1234.56", "12345.67"), 1)}
    },
    "issue_666_lost_sheets.xlsb": {"Sheet1": {}},
    "issue_666_panic.xlsb": {"Sheet1": {}},
    "issue_419.xlsb": {"Sheet1": {(1, 1): "Hello"}},
    "sample.xlsb": {"Sheet1": {(1, 1): "2013-01-12"}},
}
CORRECTED = {  # where the other reader errs, or knows no errors (calamine)
    "biff5-rich-text-string.xls": {(3, 8): "ri \u25a0 s g \u2022rM S \u2019"},
    "test3.xls": {(2, 1): "#N/A"},
    "formula_test_sjmachin.xls": {(7, 2): "#DIV/0!"},
    "invalid_formula.xls": {(1, 1): "#REF!"},
    "testdateoverflow.xlsx": {(4, 1): "#LOSSY!1E+20"},  # a number that no calendar has
    "testdateoverflow.xlsm": {(4, 1): "#LOSSY!1E+20"},
}
SHEETS_AT_MOST = 20  # of 1,024 in bigfoot.xlsx, which are all alike


def ids(path):
    return path.name


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_a_workbook_gives_its_rows_or_a_reason(path, tmp_path):
    """By the way that every list goes: rows, or one line with the file's name and what to do."""
    reason = ""
    try:
        found = source.inspect(path, SourceOptions(), tmp_path, pause=lambda seconds: None)
    except InputError as error:
        reason = str(error)
    if path.name in REFUSED or reason:
        assert re.fullmatch(f".*{path.name}: .*(?:{REFUSED.get(path.name, NO_LIST)}).*", reason)
    else:
        assert sum(len(chunk.frame) for chunk in source.read(found)) == found.rows > 0


@pytest.mark.parametrize("path", [path for path in FILES if path.name not in REFUSED], ids=ids)
def test_cells_are_those_that_another_reader_finds(path, tmp_path):
    """In every sheet, hidden ones too."""
    kind = kind_of(path, path.read_bytes()[:65536])
    ours = sheets(path, kind, tmp_path)
    theirs = OTHERS[kind](path, tmp_path)
    assert set(ours) <= set(theirs)
    first = next(iter(ours))
    theirs[first] = theirs[first] | CORRECTED.get(path.name, {})
    assert not {name: found for name, cells in ours.items() if (found := different(cells, theirs[name]))}


def sheets(path, kind, folder):
    """By sheet: (row, column) → text, of cells that aren't blank."""
    out = {}
    link = folder / f"workbook.{kind}"
    link.symlink_to(path)
    with opened(link, kind, Bounds(), folder / f"unpacked.{kind}") as book:
        for name in dict.fromkeys(table.name for table in book.tables[:SHEETS_AT_MOST]):
            grid, look = book.read(name)
            written = write(grid, look, folder / "sheet.arrow")
            out[name] = cells_of(folder / "sheet.arrow", written.first_column)
    link.unlink()
    return out


def cells_of(spool, first_column):
    table = pa.ipc.open_stream(pa.OSFile(str(spool))).read_all().to_pydict()
    rows = table.pop("row")
    columns = enumerate(table.values(), first_column)
    return {(row, n): cell for n, cells in columns for row, cell in zip(rows, cells, strict=True) if cell.strip()}


def different(ours, theirs):
    return {at: (ours.get(at), theirs.get(at)) for at in ours.keys() | theirs.keys() if not alike(ours, theirs, at)}


def alike(ours, theirs, at):
    """White space at the ends is no difference: without xml:space it is not the cell's."""
    expected = theirs.get(at, "")
    return ours.get(at, "").strip() in [
        told.strip() for told in (expected if isinstance(expected, tuple) else (expected,))
    ]


def text(value, form="General"):
    """A value of another reader's as our documentation says that it reads."""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, int | float):
        return number(value, form)
    if isinstance(value, dt.datetime):
        whole = value + dt.timedelta(microseconds=500_000)
        is_day = value.time() == dt.time.min and not re.search(
            "h|s", re.sub(r'"[^"]*"|\[[^\]]*\]|\\.', "", form), re.IGNORECASE
        )
        return f"{whole:%Y-%m-%d}" if is_day else f"{whole.year:04}-{whole:%m-%d %H:%M:%S}"
    if isinstance(value, dt.time):
        return text(
            dt.timedelta(hours=value.hour, minutes=value.minute, seconds=value.second, microseconds=value.microsecond)
        )
    if isinstance(value, dt.timedelta):
        seconds = round(value.total_seconds())
        return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return str(value)


def number(value, form):
    if value == int(value):
        if abs(value) >= 10**15 and (abs(value) >= 2**53 or value % 10 == 0):
            return f"#LOSSY!{float(value):.15G}"
        zeros = len(form) if set(form) == {"0"} and len(form) > 1 else 0
        return str(int(value)).zfill(zeros)
    plain = f"{value:.15g}"
    return f"{value:.25f}".rstrip("0") if "e" in plain else plain


def by_openpyxl(path, _folder):
    try:
        with warnings.catch_warnings(), path.open("rb") as one, path.open("rb") as two:
            warnings.simplefilter("ignore")
            values, formulas = openpyxl.load_workbook(one, data_only=True), openpyxl.load_workbook(two)
    except (KeyError, TypeError, IndexError):  # it can't read them
        return by_xml(path)
    found = {sheet.title: dict(openpyxl_cells(sheet, formulas[sheet.title])) for sheet in values.worksheets}
    return found or by_xml(path)  # it sees no sheets in strict files


def by_xml(path):
    """The cells of an .xlsx by what its standard says, without number formats."""
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith((".xml", ".rels"))]
        parts = {name.replace("\\", "/").lower(): ET.fromstring(archive.read(name)) for name in names}
    book = next(name for name in parts if name.endswith("workbook.xml"))
    folder, _, name = book.rpartition("/")
    targets = {of.get("Id"): of.get("Target") for of in parts[f"{folder}/_rels/{name}.rels".lstrip("/")]}
    strings = [joined(item) for path, root in parts.items() if path.endswith("sharedstrings.xml") for item in root]
    return {
        of.get("name"): dict(xml_cells(root, strings))
        for of in parts[book].iter()
        if local(of.tag) == "sheet"
        for path, root in parts.items()
        if path.endswith(targets[next(v for k, v in of.attrib.items() if local(k) == "id")].lower())
        and local(root.tag) == "worksheet"
    }


def joined(item):
    return "".join(part.text or "" for part in item.iter() if local(part.tag) == "t")


def xml_cells(root, strings):
    row = 0
    for line in (element for element in root.iter() if local(element.tag) == "row"):
        row, column = int(line.get("r", row + 1)), 0
        for cell in line:  # a cell need not say where it is
            column = openpyxl.utils.cell.coordinate_to_tuple(cell.get("r"))[1] if cell.get("r") else column + 1
            inside = {local(part.tag): part for part in cell}
            value = inside["v"].text or "" if "v" in inside else ""
            if told := xml_text(cell, value, strings):
                yield (row, column), told


def xml_text(cell, value, strings):
    match cell.get("t", "n"):
        case "s":
            return strings[int(value)].strip()
        case "inlineStr":
            return joined(cell).strip()
        case "b":
            return text(value == "1")
        case "n" if value:
            plain, day = number(float(value), ""), dt.date(1899, 12, 30)
            is_day = value.isdigit() and 60 < int(value) < 100_000
            return (plain, str(day + dt.timedelta(days=int(value)))) if is_day else plain
    return value


def openpyxl_cells(sheet, formulas):
    for cell in list(sheet._cells.values()):  # iter_rows would make a million blank ones
        if cell.value is not None:
            told = unescaped(text(cell.value, cell.number_format))
        elif formulas[cell.coordinate].data_type == "f":
            told = ("", "#UNCALCULATED!")  # openpyxl doesn't tell a text that is empty from no value
        else:
            continue
        if isinstance(told, tuple) or told.strip():
            yield (cell.row, cell.column), told


def unescaped(told):
    return re.sub("_x([0-9A-Fa-f]{4})_", lambda found: chr(int(found[1], 16)), told)


def by_calamine(path, folder):
    link = folder / "other.xls"
    link.symlink_to(path)
    book = calamine.CalamineWorkbook.from_path(link)
    return {name: dict(calamine_cells(book.get_sheet_by_name(name))) for name in book.sheet_names}


def calamine_cells(sheet):
    for row, cells in enumerate(sheet.iter_rows(), start=1):
        for column, cell in enumerate(cells, start=sheet.start[1] + 1):
            if not isinstance(cell, str) or cell.strip():
                told = text(cell).replace("\0", "")
                yield (
                    (row, column),
                    (told, f"{told} 00:00:00") if isinstance(cell, dt.date) else told,
                )  # it knows no formats


def by_sibling(path, folder):
    if path.name in SIBLINGS:
        return by_openpyxl(path.with_name(SIBLINGS[path.name]), folder)
    return BY_HAND[path.name]


def local(name):
    return name.rpartition("}")[2]


def by_hand(path, _folder):
    """The cells of an OpenDocument file, by what its standard says."""
    with zipfile.ZipFile(path) as archive:
        root = ET.fromstring(archive.read("content.xml"))
    tables = [element for element in root.iter() if local(element.tag) == "table"]
    return {next(v for k, v in of.attrib.items() if local(k) == "name"): dict(ods_cells(of)) for of in tables}


def ods_cells(table):
    row = 0
    for element in (e for e in table.iter() if local(e.tag) == "table-row"):
        of = {local(k): v for k, v in element.attrib.items()}
        rows, column = int(of.get("number-rows-repeated", 1)), 0
        for cell in element:
            at = {local(k): v for k, v in cell.attrib.items()}
            wide = int(at.get("number-columns-repeated", 1))
            if told := ods_text(cell, at):
                yield from (((row + r + 1, column + c + 1), told) for r in range(rows) for c in range(wide))
            column += wide
        row += rows


def ods_text(cell, of):
    kind = of.get("value-type")
    if kind in {"float", "percentage", "currency"}:
        return text(float(of["value"]))
    if kind == "boolean":
        return of["boolean-value"].upper()
    if kind == "date":
        return text(dt.datetime.fromisoformat(of["date-value"]))
    if kind == "time":
        hours, minutes, seconds = map(float, re.fullmatch(r"PT(\d+)H(\d+)M([\d.,]+)S", of["time-value"]).groups())
        return text(dt.timedelta(hours=hours, minutes=minutes, seconds=seconds))
    told = "\n".join(ods_paragraph(part) for part in cell if local(part.tag) == "p")
    return told if told.strip() else ""


def ods_paragraph(element):
    out = element.text or ""
    for part in element:
        name = local(part.tag)
        count = next((int(v) for k, v in part.attrib.items() if local(k) == "c"), 1)
        out += {"s": " " * count, "tab": "\t", "line-break": "\n"}.get(name) or ods_paragraph(part)
        out += part.tail or ""
    return out


OTHERS = {"xlsx": by_openpyxl, "xls": by_calamine, "xlsb": by_sibling, "ods": by_hand}


def test_a_protected_workbook_says_so(tmp_path):
    """Every kind of workbook that has a password."""
    for path in (CORPORA / "3_excel/calamine").glob("pass_protected.*"):
        with pytest.raises((InputError, RefusedError), match="protected by a password"):
            source.inspect(path, SourceOptions(), tmp_path, pause=lambda seconds: None)
