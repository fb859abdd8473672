"""What real lists do to their structure: headers, short rows, encodings, delimiters, sizes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Account, Leads, phone, settled, write, write_csv, write_xlsx
from reading import inspect, read, refused

from pipeline.model import InputError, UserError

BY_POSITION = """
operation = "InsertLead"
[fields]
PrimaryPhone = "Phone[2]"
FirstName = { template = "{Name} ({Phone[1]})" }
Campaign = { value = "Demo" }
"""


def list_of(folder: Path, text: str | bytes, encoding: str = "utf-8") -> Path:
    return write(folder / "list.csv", text.encode(encoding) if isinstance(text, str) else text)


# --- A cell that has swallowed the next row ---

PLAIN = """
operation = "InsertLead"
[fields]
FirstName = "First"
LastName = "Last"
PrimaryPhone = "Phone"
Notes = "Notes"
Campaign = { value = "Demo" }
"""


def test_a_swallowed_row_that_is_mended_is_two_rows(leads: Leads, home: Path) -> None:
    """Without the quotes each has its own phone, and its own place in the rejected file."""
    write(home / "plain.toml", PLAIN)
    ours = ",_row,_status,_problems"
    text = f"First,Last,Phone,Notes{ours}\nAnn,Lee,{phone(1)},first,2,invalid,x\nBob,Oz,{phone(2)},second,2,invalid,x\n"
    assert leads("check", list_of(home, text), "-m", "plain.toml", "--json").json["counts"] == {"valid": 2}


# --- Columns named alike ---


@pytest.mark.parametrize(
    ("header", "columns"),
    [("Phone,Name,Phone", "1 and 3"), ("Phone, Phone\u00a0,x", "1 and 2"), ("Ph\u200bone,Phone,x", "1 and 2"),
     ("First Name,x,First\u00a0Name", "1 and 3"), ("a,a,a", "1, 2 and 3"), ("Zo\u00eb,Zoe\u0308,x", "1 and 2")],
)  # fmt: skip
def test_columns_that_look_alike_are_refused_by_position(tmp_path: Path, header: str, columns: str) -> None:
    """Spaces around a name, kinds of space and what can't be seen make no other name."""
    told = refused(list_of(tmp_path, f"{header}\n1,2,3\n"))
    assert told.startswith(f"row 1, the header: columns {columns} are ")
    assert "by position in the mapping" in told


def test_columns_that_differ_in_case_are_two_and_pointed_out(tmp_path: Path) -> None:
    """The mapping means the one that it writes."""
    found = inspect(list_of(tmp_path, "Phone,phone\n1,2\n"))
    assert found.columns == ("Phone", "phone")
    assert found.notes == ("column names that differ in case only: 'Phone', 'phone'",)


def test_columns_named_alike_are_told_apart_where_one_is_picked(tmp_path: Path) -> None:
    """Both are there, under their numbers; the file's own names stay known."""
    path = list_of(tmp_path, "Phone,Name,Phone\n1,2,3\n")
    found, cells, _ = read(path, picked=frozenset({"Phone[2]"}))
    assert (found.columns, found.header) == (("Phone[1]", "Name", "Phone[2]"), ("Phone", "Name", "Phone"))
    assert cells == {2: ("1", "2", "3")}
    assert "columns 1 and 3" in refused(path, picked=frozenset({"Phone[3]", "Name[1]"}))


def test_a_column_may_really_be_named_so(tmp_path: Path) -> None:
    """Without columns named alike, `Phone[2]` is a name as any other; with them, nobody knows which is meant."""
    picked = frozenset({"Phone[2]"})
    assert inspect(list_of(tmp_path, "Phone,Phone[2]\n1,2\n"), picked=picked).columns == ("Phone", "Phone[2]")
    assert "and another column 'Phone[2]'" in refused(list_of(tmp_path, "Phone,Phone[2],Phone\n1,2,3\n"), picked=picked)


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
def test_a_mapping_picks_columns_by_position(leads: Leads, home: Path, account: Account, kind: str) -> None:
    """In fields and in templates, in text and in workbooks; the rejected file has the list's own header, and loads."""
    rows = [["Phone", "Name", "Phone"], [phone(1), "Ann", phone(2)], [phone(3), "Bob", "555-0104"]]
    path = (write_csv if kind == "csv" else write_xlsx)(home / f"list.{kind}", rows)
    write(home / "list.toml", BY_POSITION)
    result = leads("load", path, "-m", "list.toml", "--json", env=account.env)
    assert result.fates == {2: "accepted", 3: "invalid/bad_phone"}
    assert account.leads()[phone(2)]["FirstName"] == f"Ann ({phone(1)})"
    again = leads("load", result.json["rejected"][0], "-m", "list.toml", "--json", env=account.env)
    assert again.json["counts"] == {"invalid": 1}
    if kind == "csv":
        header = Path(result.json["rejected"][0]).read_text(encoding="utf-8-sig").splitlines()[0]
        assert header == "Phone,Name,Phone,_row,_status,_problems"


def test_columns_named_alike_that_are_not_mapped_follow_the_policy(leads: Leads, home: Path) -> None:
    """They are shown by their numbers."""
    write(home / "list.csv", f"Phone,Name,Phone,Phone\n{phone(1)},Ann,{phone(2)},\n")
    write(home / "list.toml", BY_POSITION)
    refusal = leads("check", "list.csv", "-m", "list.toml")
    assert (refusal.code, "'Phone[3]'" in refusal.err) == (2, True)
    write(home / "list.toml", 'unmapped = "ignore"\n' + BY_POSITION)
    checked = leads("check", "list.csv", "-m", "list.toml", "--json")
    manifest = json.loads((checked.folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["notes"] == ["columns not sent: Phone[3]"]


def test_a_mapping_that_does_not_pick_is_refused_with_the_positions(leads: Leads, home: Path) -> None:
    """Whichever column were taken, half of the lists would be called at the wrong number."""
    write(home / "list.csv", f"Phone,Name,Phone\n{phone(1)},Ann,{phone(2)}\n")
    write(home / "list.toml", BY_POSITION.replace("Phone[2]", "Phone").replace("{Phone[1]}", "{Phone}"))
    refusal = leads("check", "list.csv", "-m", "list.toml")
    assert refusal.code == 4
    assert "columns 1 and 3 are both named 'Phone'" in refusal.err


# --- Headers ---


@pytest.mark.parametrize(
    "text",
    ["ann@example.com,Ann\nbob@example.com,Bob\n", "Ann,2024-01-31\nBob,2024-02-01\n", "Ann,NY,x\nBob,NY,y\n",
     "2025550101\n2025550102\n", "1,2\n3,4\n"],
)  # fmt: skip
def test_a_header_of_values_is_pointed_out(tmp_path: Path, text: str) -> None:
    """Else the first lead would be lost in silence."""
    assert (
        "row 1, the header, looks like data; if the file has no header, set header_row = 0"
        in inspect(list_of(tmp_path, text)).notes
    )


def test_a_header_that_comes_again_is_pointed_out(tmp_path: Path) -> None:
    """Lists were put together with their headers left in: those rows are read as any other."""
    found, cells, _ = read(list_of(tmp_path, "Name,Phone\nAnn,1\n Name,Phone\nBob,2\nName,Phone\n"))
    assert cells[3] == (" Name", "Phone")
    assert found.notes == ("rows that repeat the header: 2, the first is row 3",)


def test_a_band_above_the_header_is_refused_with_the_row_of_the_names(tmp_path: Path) -> None:
    """Merged cells leave blanks beside them."""
    path = list_of(tmp_path, "Contact,,Address,\nName,Phone,Street,City\nAnn,1,2,3\n")
    told = refused(path)
    assert told.startswith("column 2 has no name in the header (row 1), and holds something in row 2")
    assert told.endswith("if the names are in row 2, set header_row = 2")
    assert read(path, header_row=2)[1] == {3: ("Ann", "1", "2", "3")}


def test_marks_and_quotes_around_a_name_are_no_part_of_it(tmp_path: Path) -> None:
    """A byte order mark may stand before the first name, twice, and before its quote."""
    assert inspect(list_of(tmp_path, '\ufeff"Name",b\n1,2\n')).columns == ("Name", "b")
    assert inspect(list_of(tmp_path, "\ufeff\ufeffName,b\n1,2\n")).columns == ("Name", "b")
    assert inspect(list_of(tmp_path, 'x,"\ufeffName"\n1,2\n')).columns == ("x", "Name")


def test_a_long_name_is_read(tmp_path: Path) -> None:
    """Whatever it is good for."""
    assert inspect(list_of(tmp_path, f"{'x' * 100_000},b\n1,2\n")).columns == ("x" * 100_000, "b")


def test_more_columns_than_a_sheet_has_are_no_list(tmp_path: Path) -> None:
    """Each column has its cost, and nobody meant so many."""
    assert refused(list_of(tmp_path, f"a{',' * 20_000}\n1,2\n")).startswith(
        "it has 20,001 columns, and a list has at most"
    )


# --- Short rows ---

SHORT = "a,b,c\n1,2,3\n4\n5,6\n7,8,9,0\n\n1,2,3\n4,5,6\n"


def test_short_rows_are_ragged_unless_the_mapping_pads_them(tmp_path: Path) -> None:
    """Padded, they stand in their places and are counted; longer rows and blank ones are what they are."""
    path = list_of(tmp_path, SHORT)
    assert read(path, delimiter=",")[2] == {3: ("4",), 4: ("5", "6"), 5: ("7", "8", "9", "0")}
    found, cells, ragged = read(path, delimiter=",", pad_short=True)
    assert cells == {2: ("1", "2", "3"), 3: ("4", "", ""), 4: ("5", "6", ""), 7: ("1", "2", "3"), 8: ("4", "5", "6")}
    assert ragged == {5: ("7", "8", "9", "0")}
    assert (found.rows, found.padded_rows, found.ragged_rows, found.blank_rows) == (6, 2, 1, 1)
    assert found.notes == ("rows that had too few cells and got empty ones at the end (short_rows): 2",)


def test_a_last_row_without_line_end_is_cut_off_and_not_padded(tmp_path: Path) -> None:
    """The file may still be being written."""
    told = refused(list_of(tmp_path, "a,b,c\n1,2,3\n4,5,6\n7"), pad_short=True)
    assert told.startswith("row 4, the last, has too few cells and no line end")
    assert read(list_of(tmp_path, "a,b,c\n1,2,3\n4,5,6\n7\n"), pad_short=True)[1][4] == ("7", "", "")


def test_mostly_short_rows_are_refused_with_the_setting_that_pads_them(tmp_path: Path) -> None:
    """Who exports so can say so."""
    told = refused(list_of(tmp_path, "a,b,c\n1,2\n3,4\n"), delimiter=",")
    assert told.endswith('if only cells at the end are missing, set short_rows = "pad"')
    assert "short_rows" not in refused(list_of(tmp_path, "a,b\n1,2,3\n3,4,5\n"), delimiter=",", header_row=1)


def test_a_padded_row_meets_the_rules_of_its_fields(leads: Leads, home: Path, account: Account) -> None:
    """What is required is missing; what is not, is not given. Its rejected row is not padded again."""
    mapping = 'operation = "InsertLead"\n[source]\nshort_rows = "pad"\n[fields]\nFirstName = "Name"\n'
    write(home / "list.toml", mapping + 'PrimaryPhone = "Phone"\nCity = "City"\nCampaign = { value = "Demo" }\n')
    write(home / "list.csv", f"Name,Phone,City\nAnn,{phone(1)},Boise\nBob,{phone(2)}\nEve\n")
    result = leads("load", "list.csv", "-m", "list.toml", "--json", env=account.env)
    assert result.fates == {2: "accepted", 3: "accepted", 4: "invalid/missing"}
    again = leads("load", settled(Path(result.json["rejected"][0])), "-m", "list.toml", "--json", env=account.env)
    assert again.json["counts"] == {"invalid": 1}


# --- Encodings ---


@pytest.mark.parametrize(
    ("encoding", "name"),
    [("cp1252", "Renée Müller"), ("cp1252", "Jürgen Weiß, PEÑA, Saint-Étienne “Café” 5€"), ("mac_roman", "José Peña"),
     ("cp850", "José Müller"), ("cp1250", "Łódź, Wałęsa"), ("utf-32-le", "Ann"), ("utf-32-be", "Ann")],
)  # fmt: skip
def test_an_encoding_is_found_by_how_the_text_reads(tmp_path: Path, encoding: str, name: str) -> None:
    """No signs within words, no capitals after small letters."""
    found, cells, _ = read(list_of(tmp_path, f'n,x\n"{name}",1\n"{name}",2\n', encoding))
    assert cells[2] == (name, "1")
    assert (found.encoding, found.encoding_how) == (encoding, "detected")


@pytest.mark.parametrize(
    ("encoding", "name"),
    [("cp1251", "Пётр Ильич"), ("gb18030", "王小明"), ("big5", "張偉"), ("cp1253", "Αθήνα"), ("cp1255", "שלום")],
)
def test_an_encoding_that_is_not_certain_is_asked_for(tmp_path: Path, encoding: str, name: str) -> None:
    """A short list in another script could be several things; told, it is read."""
    path = list_of(tmp_path, f"n,x\n{name},1\n{name},2\n", encoding)
    assert "its encoding can't be told; set encoding" in refused(path)
    assert read(path, encoding=encoding)[1][3] == (name, "2")


def test_text_that_is_partly_utf8_is_refused_with_the_line(tmp_path: Path) -> None:
    """Two exports in one file: either reading would spoil names."""
    western = "René,2\n" * 50
    path = list_of(tmp_path, f"n,x\n{western}".encode("cp1252") + "José,3\n".encode())
    assert refused(path).startswith("line 52 is UTF-8 and others are not")


def test_a_mark_of_utf16_before_utf32_is_passed_over(tmp_path: Path) -> None:
    """The text itself says what it is."""
    found, cells, _ = read(list_of(tmp_path, b"\xfe\xff" + "a,b\n1,2\n".encode("utf-32-le")))
    assert (found.encoding, found.encoding_how, cells) == ("utf-32-le", "detected", {2: ("1", "2")})


def test_a_given_encoding_that_the_mark_contradicts_is_refused_where_the_mark_is_right(tmp_path: Path) -> None:
    """A mapping for old exports must not spoil the names of new ones; what only begins with a mark is read as told."""
    assert "it is utf-8, as its first bytes say" in refused(list_of(tmp_path, "\ufeffn,x\nZoë,1\n"), encoding="cp1252")
    half = list_of(tmp_path, b"\xef\xbb\xbfn,x\nZo\xeb,1\n")
    assert read(half, encoding="cp1252")[1] == {2: ("Zoë", "1")}
    assert "line 2 is not utf-8 (bom)" in refused(half)
    assert read(list_of(tmp_path, "\ufeffn,x\nAnn,1\n"), encoding="cp1252")[1] == {2: ("Ann", "1")}


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-be"])
def test_the_order_of_bytes_is_found_where_only_the_width_is_told(tmp_path: Path, encoding: str) -> None:
    """UTF-16 as Windows calls it, with or without a mark."""
    path = list_of(tmp_path, "n,x\nZoë,1\n", encoding)
    found, cells, _ = read(path, encoding=encoding[:6])
    assert (found.encoding, found.encoding_how, cells) == (encoding, "given", {2: ("Zoë", "1")})


@pytest.mark.parametrize(
    ("name", "near"), [("utf-88", "utf"), ("ANSI", "cp1252"), ("utf8bom", "utf8"), ("klingon", "use a name such as")]
)
def test_an_unknown_encoding_names_the_nearest(tmp_path: Path, name: str, near: str) -> None:
    """It is the option that is wrong."""
    with pytest.raises(UserError, match=near) as caught:
        inspect(list_of(tmp_path, "a,b\n1,2\n"), encoding=name)
    assert not isinstance(caught.value, InputError)


# --- Delimiters ---


@pytest.mark.parametrize("mark", "^`~")
def test_an_unusual_delimiter_is_asked_for(tmp_path: Path, mark: str) -> None:
    """It is no delimiter unless somebody says so; neither is it one column."""
    path = list_of(tmp_path, "a,b\n1,2\n3,4\n".replace(",", mark))
    assert f"it looks like one column, yet {mark!r} cuts it into 2" in refused(path)
    assert read(path, delimiter=mark)[1] == {2: ("1", "2"), 3: ("3", "4")}
    assert read(path, delimiter=",")[0].columns == (f"a{mark}b",)


def test_one_column_is_read_and_refused_where_it_has_delimiters_further_down(tmp_path: Path) -> None:
    """Two numbers in one row may be two cells or one."""
    numbers = "".join(f"{phone(number)}\n" for number in range(300))
    assert inspect(list_of(tmp_path, f"Phone\n{numbers}")).rows == 300
    told = refused(list_of(tmp_path, f"Phone\n{numbers}{phone(1)},{phone(2)}\n"))
    assert told == "it looks like one column, yet row 302 has more cells; set delimiter, or quote the cells"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("line", ["sep=;", '"sep=;"', "SEP=;"])
def test_the_first_line_declares_the_delimiter(tmp_path: Path, encoding: str, line: str) -> None:
    """As Excel writes and reads it."""
    assert read(list_of(tmp_path, f"{line}\r\na,b;c\r\n1;2\r\n", encoding))[1] == {3: ("1", "2")}


# --- Sizes ---

MEASURED = """
import resource, sys
from pathlib import Path
from reading import inspect

def peak_bytes():
    status = Path("/proc/self/status")
    if status.exists():  # Linux: there, getrusage tells of the process that has started this one, if that was larger
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

from pipeline.source import read
from pipeline.model import InputError
try:
    found = inspect(Path(sys.argv[1]))
    assert sum(len(chunk.frame) for chunk in read(found)) == found.rows
    print(f"{found.rows} rows")
except InputError as error:
    print(str(error).removeprefix(f"{sys.argv[1]}: "))
print(peak_bytes())
"""


def measured(path: Path) -> tuple[str, int]:
    """What reading the file says, and the most memory that it took, in bytes."""
    command = [sys.executable, "-c", MEASURED, str(path)]
    told = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent)
    said, peak = told.stdout.splitlines()
    return said, int(peak)


@pytest.mark.skipif(sys.platform == "win32", reason="it has no resource module")
@pytest.mark.parametrize(
    ("head", "piece", "times", "said"),
    [
        (b"a,b\n1,2\n", b"x" * 1000, 70_000, "row 3 has 70,000,000 bytes, more than"),
        (b"", b"x" * 1000, 100_000, "the first record has no end within 1,048,576 bytes"),
        (b'a,b\n1,"', b"x,\n" * 1000, 33_000, "row 2: a quoted cell is never closed"),
        (b'a,b\n"1"', b" " * 1000, 100_000, "row 2: endless blanks behind a quoted cell"),
        (b"a,b\n", b"1,two\n" * 1000, 4_000, "4000000 rows"),
        (b",".join(b"c%d" % at for at in range(10_000)) + b"\n", b"x," * 9_999 + b"x\n", 300, "300 rows"),
    ],
)
def test_memory_is_bounded(tmp_path: Path, head: bytes, piece: bytes, times: int, said: str) -> None:
    """A line without end, a quote without end, many rows, many columns: read or refused in half a gigabyte."""
    path = tmp_path / "large.csv"
    with path.open("wb") as file:
        file.write(head)
        file.writelines(piece for _ in range(times))
    settled(path)
    told, peak_bytes = measured(path)
    path.unlink()
    assert told.startswith(said)
    assert peak_bytes < 512 << 20
