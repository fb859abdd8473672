import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reading import inspect, read, refused

from pipeline import firstpass, source
from pipeline.csvscan import Record, Scanner, records
from pipeline.decode import Encoding
from pipeline.header import REJECTED_COLUMNS
from pipeline.model import InputError, UserError
from pipeline.rows import Layout, batches
from pipeline.source import SourceOptions


@pytest.fixture
def file(tmp_path):
    def write(content: bytes | str, name: str = "list.csv", encoding: str = "utf-8") -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
        return path

    return write


# --- What must always hold ---

TORN = st.text(st.sampled_from('a"", \n\r'), min_size=1, max_size=40)


@settings(max_examples=300)
@given(text=TORN, size=st.integers(1, 7))
def test_scan_does_not_depend_on_blocks(text, size):
    """However a text is cut into blocks, the scan finds the same."""
    assert scanned(text.encode(), size) == scanned(text.encode(), 1000)


def scanned(text: bytes, size: int):
    scanner = Scanner(",")
    try:
        for start in range(0, len(text), size):
            scanner.feed(text[start : start + size])
        return scanner.finish()
    except InputError as error:
        return str(error)


@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TORN)
def test_three_readings_agree(tmp_path, text):
    """What the scan lets pass, pyarrow and our own splitter cut into the same records and cells."""
    structure = scanned(text.encode(), 1000)
    if isinstance(structure, str):
        return
    split = list(records(text.encode(), ","))
    assert len(split) == structure.records
    path = tmp_path / "torn.csv"
    path.write_bytes(text.encode())
    layout = Layout(path, Encoding("utf-8", "utf-8"), ",", len(split[0].cells), (), 1, 0, 1 << 20)
    found, blank = {}, 0
    for batch in batches(layout):
        columns = [column.to_pylist() for column in batch.table.columns]
        found |= dict(zip(batch.rows.tolist(), zip(*columns, strict=True), strict=True))
        found |= {row.row: row.cells for row in batch.ragged}
        blank += batch.blank
    assert found == {record.row: record.cells for record in split if record.filled}
    assert blank == len(split) - len(found)


# --- Numbers of rows ---


def test_rows_are_numbered_as_their_user_counts(file):
    """`sep=` line, title, blank and header records count; a newline in quotes does not."""
    path = file('sep=;\nMay leads\n\nName;Phone\nAnn;1\n\n"Bob\nJr";2\n')
    found, cells, _ = read(path)
    assert cells == {5: ("Ann", "1"), 7: ("Bob\nJr", "2")}
    assert (found.delimiter, found.header_row, found.first_row, found.last_row) == (";", 4, 5, 7)
    assert found.blank_rows == 1


def test_numbers_hold_across_blocks_with_ragged_and_blank_rows(file, monkeypatch):
    """Ragged and blank rows take numbers, in every block."""
    monkeypatch.setattr(firstpass, "_BLOCK_BYTES", 64)
    lines = ["a,b", *(("x", "1,2,3", "", " ", ",", f"{n},{n}", f"{n},{n}", f"{n},{n}")[n % 8] for n in range(400))]
    _, cells, ragged = read(file("\n".join(lines) + "\n"))
    assert cells == {n + 2: (str(n), str(n)) for n in range(400) if n % 8 in (5, 6, 7)}
    assert ragged == {n + 2: ("x",) if n % 8 == 0 else ("1", "2", "3") for n in range(400) if n % 8 in (0, 1)}


def test_ragged_rows_keep_their_cells(file):
    """A row with too many or too few cells is no part of the frame, and its cells stay."""
    found, cells, ragged = read(file('a,b\n1,2\n"x\ny",2,"3 ""z"""\n4\n5,6\n7,8\n'))
    assert list(cells) == [2, 5, 6]
    assert ragged == {3: ("x\ny", "2", '3 "z"'), 4: ("4",)}
    assert (found.rows, found.ragged_rows) == (5, 2)


def test_blank_rows_are_dropped_and_counted(file):
    """Rows of whitespace are dropped wherever they are; data after them is read."""
    found, cells, _ = read(file("a,b\n1,2\n\n , \n   \n,\n3,4\n\n\n"))
    assert cells == {2: ("1", "2"), 7: ("3", "4")}
    assert found.blank_rows == 6


def test_a_record_longer_than_a_block_is_read(file):
    """Blocks grow with the longest record."""
    note = "long " * 1_200_000
    _, cells, _ = read(file(f'a,b\n1,"{note}"\n'))
    assert cells == {2: ("1", note)}


def test_a_record_beyond_the_bound_is_refused(file, monkeypatch):
    """A record that no list has is refused with its row."""
    monkeypatch.setattr(firstpass, "_MAX_RECORD_BYTES", 100)
    assert refused(file(f"a,b\n1,2\n1,{'x' * 200}\n")).startswith("row 3 has 203 bytes")


# --- Text ---


@pytest.mark.parametrize(
    ("bom", "codec", "how"),
    [(b"\xef\xbb\xbf", "utf-8", "bom"), (b"\xff\xfe", "utf-16-le", "bom"), (b"\xfe\xff", "utf-16-be", "bom"),
     (b"\0\0\xfe\xff", "utf-32-be", "bom"), (b"", "utf-8", "utf-8"), (b"", "utf-16-le", "detected"),
     (b"", "utf-16-be", "detected"), (b"", "cp1252", "detected")],
)  # fmt: skip
def test_encoding_is_found(file, bom, codec, how):
    """By its mark, as UTF-8, or detected; the mark is no part of the first header."""
    path = file(bom + "Näme,Phone\nZoë,1\nRenée,2\n".encode(codec))
    found, cells, _ = read(path)
    assert found.columns == ("Näme", "Phone")
    assert cells == {2: ("Zoë", "1"), 3: ("Renée", "2")}
    assert (found.encoding, found.encoding_how) == (codec, how)


def test_encoding_is_judged_by_the_whole_file(file):
    """ASCII for two megabytes and then cp1252 is cp1252."""
    text = "a,b\n" + "1,2\n" * 500_000 + "Zoë,3\n"
    found, cells, _ = read(file(text, encoding="cp1252"))
    assert found.encoding == "cp1252"
    assert cells[500_002] == ("Zoë", "3")


def test_shift_jis_is_detected(file):
    """Text that cp1252 can't be is taken for what charset-normalizer finds."""
    text = "id,名前\n1,サウロンは、トールキンの中つ国を舞台とした小説\n2,『指輪物語』の登場人物。冥王とも呼ばれる\n"
    found, cells, _ = read(file(text, encoding="cp932"))
    assert cells[2][1].startswith("サウロン")
    assert found.encoding_how == "detected"


def test_an_encoding_that_cannot_be_told_is_refused(file):
    """Greek in one byte a letter could be several scripts."""
    path = file("id,name\n1,Αθήνα Πάτρα\n2,Θεσσαλονίκη\n", encoding="iso8859_7")
    assert "its encoding can't be told; set encoding" in refused(path)
    assert read(path, encoding="iso8859_7")[1][3] == ("2", "Θεσσαλονίκη")


def test_utf8_with_one_damaged_character_is_refused(file):
    """Read as cp1252 every name would be wrong."""
    path = file("name,n\nZoë,1\nRenée,2\n".encode() + b"Jos\xe9,3\n")
    assert "UTF-8 with damaged characters" in refused(path)


def test_a_given_encoding_is_proved(file):
    """What does not decode is named by its line."""
    path = file(b"a,b\n1,2\n3,\x81\n")
    assert refused(path, encoding="cp1252").startswith("line 3 is not cp1252 (given)")


@pytest.mark.parametrize("name", ["klingon", "rot13", "base64"])
def test_an_unknown_encoding_is_a_usage_error(file, name):
    """A name that is no text encoding is the user's option, not the file."""
    with pytest.raises(UserError, match="is not an encoding") as caught:
        inspect(file("a,b\n1,2\n"), encoding=name)
    assert caught.value.exit_code == 2


# --- Delimiter and header ---


@pytest.mark.parametrize(
    ("text", "delimiter", "columns"),
    [("a;b\n1,5;2\n3,5;4\n", ";", ("a", "b")), ("a\tb, c\n1\t2\n", "\t", ("a", "b, c")),
     ("a|b\nx, y|2\nx, z|3\n", "|", ("a", "b")), ('a,b\n"x;y;z",1\n"x;y;z",2\n', ",", ("a", "b")),
     ("name\nAnn\nBob\n", ",", ("name",)), ('name\n"Smith, Ann"\n', ",", ("name",)),
     ("sep=|\na,b|c\n1|2\n", "|", ("a,b", "c")), ("Report, May\nx;y;z\n1;2;3\n4;5;6\n", ";", ("Report, May",))],
)  # fmt: skip
def test_delimiter_is_found(file, text, delimiter, columns):
    """By records of one width that begin with the header; quoted delimiters don't count."""
    path = file(text)
    if columns == ("Report, May",):
        found = inspect(path)
        assert (found.delimiter, found.header_row, found.columns) == (";", 2, ("x", "y", "z"))
        return
    found = inspect(path)
    assert (found.delimiter, found.columns) == (delimiter, columns)


@pytest.mark.parametrize(
    ("text", "finding"),
    [("name\nSmith, Ann\nBob\nEve\nJoe\n", "row 2 contains ','"), ("a,b;c\n1,2;3\n", "both ',' and ';'")],
)
def test_an_undecided_delimiter_is_refused(file, text, finding):
    """The finding is told, and the option that settles it."""
    told = refused(file(text))
    assert finding in told
    assert "set delimiter" in told


@pytest.mark.parametrize("delimiter", ["", ",,", '"', "\n", "§"])
def test_a_delimiter_that_cannot_be_one_is_a_usage_error(file, delimiter):
    """One ASCII character."""
    with pytest.raises(UserError, match="can't be used"):
        inspect(file("a,b\n1,2\n"), delimiter=delimiter)


def test_a_given_delimiter_beats_the_sep_line(file):
    """The `sep=` line is row 1 all the same."""
    assert read(file("sep=;\na^b\n1^2\n"), delimiter="^")[1] == {3: ("1", "2")}


def test_headers_are_stripped_and_nothing_else(file):
    """Whitespace and NBSP around a name go; a newline within it stays."""
    assert inspect(file('" a ",\u00a0b\u00a0,"c\nd"\n1,2,3\n')).columns == ("a", "b", "c\nd")


def test_without_a_header_columns_have_numbers(file):
    """header_row = 0: every record is data."""
    found, cells, _ = read(file("Ann,5551234567\nBob,5551234568\n"), header_row=0)
    assert found.columns == ("1", "2")
    assert cells == {1: ("Ann", "5551234567"), 2: ("Bob", "5551234568")}


def test_a_header_that_looks_like_data_is_pointed_out(file):
    """A phone number among the names."""
    assert "set header_row = 0" in " ".join(inspect(file("Ann,(555) 123-4567\nBob,2\n")).notes)


def test_a_header_row_is_taken_as_given(file):
    """What stands above it is left out."""
    path = file("x,y\nz,w\na,b\n1,2\n")
    assert read(path, header_row=3)[1] == {4: ("1", "2")}
    assert "there is no such row" in refused(path, header_row=9)


def test_duplicate_headers_are_refused_by_position(file):
    """pandas would rename the second."""
    told = "row 1, the header: columns 1 and 3 are both named 'a'; rename one, or name them by position in the mapping"
    assert refused(file("a,b,a \n1,2,3\n")).startswith(told)


def test_a_column_without_a_name_must_be_empty(file):
    """Empty, it is dropped with a note; with data, it is refused with the row."""
    found, cells, _ = read(file("a,,b,\n1, ,2,\n3,,4,\n"))
    assert found.columns == ("a", "b")
    assert cells == {2: ("1", "2"), 3: ("3", "4")}
    assert "2 columns without a name" in found.notes[0]
    assert refused(file("a,,b\n1,,2\n3,x,4\n")).startswith("column 2 has no name in the header (row 1), and holds")


def test_columns_of_an_earlier_run_are_left_out(file):
    """A rejected file loads again as it is."""
    found, cells, _ = read(file(f"a,{','.join(REJECTED_COLUMNS)}\n1,7,invalid,bad\n"))
    assert found.columns == ("a",)
    assert cells == {2: ("1",)}
    assert "_problems" in found.notes[0]


# --- What is refused ---


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "it is empty"),
        ("\n\n \n", "it holds no rows"),
        (b"\xef\xbb\xbf", "it holds no rows"),
        ("a,b\n", "it has no rows below the header"),
        ("a,b\n\n,\n", "it has no rows below the header"),
        ('a,b\n1,2\n3,"x\n4,5\n', "row 3: a quoted cell is never closed"),
        ('a,b\n"1\n",2\n"a"zz,4\n', "row 3 (line 4): a quoted cell goes on after its closing quote"),
        ('a,b\n"he said \\"hi\\"",2\n', "row 2: a quote within a quoted cell has a backslash before it"),
        ("a,b\n1,2\n3,\0\n", "row 3: a NUL byte"),
        ("a,b\n1,x\ry\n3,4\n", "row 2: a carriage return without a line feed"),
        ("a,b\n1\n2\n3,4\n", "2 of 3 rows don't have the 2 cells of the header"),
        ("a,b,c\n1,2,3\n4,5,6\n7,8", "row 4, the last, has too few cells and no line end"),
        ("<html><table><tr><td>x", "it is a web page (HTML)"),
        ('<?xml version="1.0"?><Workbook/>', "it is an XML Spreadsheet of 2003"),
        ('[{"a": 1}]', "it is JSON"),
        (b"\x1f\x8b\x08\0", "it is compressed"),
        (b"%PDF-1.4", "it is a PDF document"),
        (b"\x09\x08\x10\x00\x00\x06", "it is in a format of Excel before 1993"),
        (b"PK\x03\x04 and no more", "it is a damaged workbook or archive"),
    ],
)
def test_an_unusable_file_is_refused_with_its_place(file, text, told):
    """One line says what, where, and what to do."""
    assert refused(file(text)).startswith(told)


def test_quotes_within_unquoted_cells_are_data(file):
    """Inches are not quoting; padding after a closing quote is let be."""
    _, cells, _ = read(file('a,b\n5\' 10",27" TV\n"x, y"  ,"z" \n1,2\n'))
    assert cells == {2: ("5' 10\"", '27" TV'), 3: ("x, y  ", "z "), 4: ("1", "2")}


def test_a_missing_final_newline_is_fine(file):
    """So long as the last row has all its cells."""
    assert read(file("a,b\n1,2\n3,"))[1] == {2: ("1", "2"), 3: ("3", "")}


def test_ragged_rows_without_end_are_refused_early(file, monkeypatch):
    """They are not gathered in memory without bound."""
    monkeypatch.setattr("pipeline.rows._PENDING_RAGGED", 50)
    assert "at a stretch don't have the 2 cells" in refused(file("a,b\n" + "1,2\n" * 100 + "x\n" * 60), delimiter=",")


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    """With what to do."""
    assert "no such file" in refused(tmp_path / "none.csv")
    assert "it is a folder" in refused(tmp_path)


def test_a_file_that_is_being_written_is_refused(file):
    """Two looks differ."""
    path = file("a,b\n1,2\n")

    def write_on(seconds: float) -> None:
        with path.open("a") as more:
            more.write("3,4\n")

    with pytest.raises(InputError, match="still being written"):
        source.inspect(path, SourceOptions(), path.parent, pause=write_on)


def test_an_old_file_is_not_waited_for(file):
    """A second look is for files that were just changed."""
    path = file("a,b\n1,2\n")
    os.utime(path, (1, 1))
    assert source.inspect(path, SourceOptions(), path.parent, pause=pytest.fail).rows == 1


def test_a_file_that_changed_after_inspection_is_refused(file):
    """What is read is what was inspected."""
    path = file("a,b\n1,2\n")
    found = inspect(path)
    path.write_text("a,b\n1,2\n3,4\n")
    with pytest.raises(InputError, match="changed after it was inspected"):
        next(source.read(found))


def test_the_inspection_is_json(file):
    """All decisions, in plain types."""
    record = inspect(file("a;b\n1;2\n3\n4;5\n")).as_json()
    assert record["columns"] == ["a", "b"]
    assert (record["rows"], record["ragged_rows"], record["delimiter"], record["format"]) == (3, 1, ";", "csv")
    assert len(record["sha256"]) == 64
    assert "layout" not in record


def test_records_number_from_where_they_start():
    """The splitter can begin below a `sep=` line, and leaves a record without an end out of a part."""
    assert [record.row for record in records(b"sep=,\na,b\n1,2\n3", ",", row=2, start=6, whole=False)] == [2, 3]
    assert next(records(b"a,b\n", ",")) == Record(1, ("a", "b"), 0, 4)
