"""What files of people do, and what becomes of it: a file for each line of docs/files.md, in that order.

Each goes through the whole command. How far a rule goes is tested beside its code.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import re
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pytest
from conftest import Account, Leads, RawVendor, Result, http_reply, phone, piped, settled, write, write_csv, write_xlsx
from handmade import WRITERS, archive
from openpyxl.utils.datetime import MAC_EPOCH
from reading import inspect

from pipeline import source

ROOT = Path(__file__).parents[1]
A, B, C, D = (phone(number) for number in range(4))  # of Washington, DC
BOSTON = phone(400)
MAY = datetime(2030, 5, 1, 16, tzinfo=UTC)
TWO_ROWS = f"Phone,Name\n{A},Ann\n{B},Bob\n"

Run = Callable[..., Result]


# --- How the tests run the command, and what they look at ---


@pytest.fixture
def check(leads: Leads, home: Path) -> Run:
    """`leads check FILE…` with columns Phone and Name; the rest of the mapping by its tables."""
    return lambda *args, **mapping: _run(leads, home, "check", *args, **mapping)


@pytest.fixture
def load(leads: Leads, home: Path, account: Account) -> Run:
    """`leads load FILE…` into the sandbox, likewise."""
    return lambda *args, **mapping: _run(leads, home, "load", *args, **{"env": account.env, **mapping})


def _run(
    leads: Leads,
    home: Path,
    command: str,
    *args: object,
    primary: str = '"Phone"',
    fields: str = "",
    source: str = "",
    policy: str = "",
    unmapped: str = "ignore",
    **given: Any,
) -> Result:
    fields = f'Campaign = {{ value = "Spring Renewals" }}\nPrimaryPhone = {primary}\n{fields}'
    tables = f"[source]\n{source}\n[fields]\n{fields}\n[policy]\n{policy}\n"
    write(home / "list.toml", f'operation = "InsertLead"\nunmapped = "{unmapped}"\n{tables}')
    return leads(command, *args, "-m", "list.toml", "--json", **given)


def listed(*columns: Sequence[object]) -> list[list[Any]]:
    """The rows of these columns; each begins with its header."""
    return [list(row) for row in zip(*columns, strict=True)]


def phones(rows: int) -> list[str]:
    return ["Phone", *(phone(number) for number in range(rows))]


def book(path: Path, rows: Sequence[Sequence[object]], change: Callable[[Any], object] = lambda page: None) -> Path:
    """A workbook whose cells have types, as somebody has left it."""
    made = openpyxl.Workbook()
    for row in rows:
        made.active.append(list(row))
    change(made.active)
    made.save(path)
    return settled(path)


def sent(result: Result, field: str) -> list[str | None]:
    """What up to three rows of a check would send."""
    return [payload["fields"].get(field) for payload in result.json["check"]["payloads"]]


def repairs(result: Result) -> list[tuple[int, str, str, str, bool]]:
    """(row, raw, value, rule, lossless)"""
    return [
        (row["row"], *(repair[key] for key in ("raw", "value", "rule", "lossless")))
        for row in result.rows
        for repair in row["repairs"]
    ]


def how(result: Result) -> dict[str, Any]:
    """How the only file was read, as the manifest and `leads check` have it alike."""
    (found,) = json.loads((result.folder / "manifest.json").read_text(encoding="utf-8"))["sources"]
    (shown,) = result.json["check"]["sources"]
    assert {key: value for key, value in shown.items() if key not in ("fields", "not_sent")} == {
        key: value for key, value in found.items() if key != "fields"
    }
    return shown


def handed_back(result: Result) -> list[list[str]]:
    """The rejected CSV file."""
    (path,) = result.json["rejected"]
    with Path(path).open(encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file))


def refusal(result: Result, code: int = 4) -> str:
    """The line that says why a whole file can't be used."""
    assert (result.code, result.err.count("\n")) == (code, 1), result.err
    return result.err


# --- Rows, headers, delimiters ---


def test_a_row_with_more_cells_than_the_header_is_refused_and_keeps_its_cells(check: Run, home: Path) -> None:
    result = check(write(home / "l.csv", TWO_ROWS + f"{C},Jones, Bob,x\n"))
    assert (result.code, result.fates) == (1, {2: "valid", 3: "valid", 4: "invalid/ragged_row"})
    header, ragged = handed_back(result)
    assert (header[:2], ragged[:2], ragged[-2:]) == (["Phone", "Name"], [C, "Jones"], [" Bob", "x"])


def test_a_cell_that_has_swallowed_a_row_is_never_sent_with_the_other_ones_phone(check: Run, home: Path) -> None:
    """It comes back as it is, and is refused until somebody has taken the quotes away; other line breaks are data."""
    swallowed = f'Ann,"Lee,{A},first\nBob,Oz",{B},second\n'
    text = f'First,Last,Phone,Notes\n{swallowed}Cid,Ray,{C},"called {D},\nand again"\n'
    found = check(write(home / "l.csv", text))
    assert found.fates == {2: "invalid/ragged_row", 3: "valid"}
    assert "stray quotes" in found.rows[0]["message"]
    again = check(found.json["rejected"][0])
    assert [(row["status"], row["code"]) for row in again.rows] == [("invalid", "ragged_row")]


def test_a_list_whose_rows_mostly_have_more_cells_is_refused(check: Run, home: Path) -> None:
    told = refusal(check(write(home / "l.csv", f"Phone,Name\n{A},Smith, Ann\n{B},Jones, Bob\n{C},Kim\n")))
    assert "2 of 3 rows don't have the 2 cells" in told


@pytest.mark.parametrize(
    ("short_rows", "fates"), [("reject", ["invalid/ragged_row"] * 2), ("pad", ["valid", "invalid/missing"])]
)
def test_a_row_with_fewer_cells_is_refused_unless_optional_ones_may_lack(
    check: Run, home: Path, short_rows: str, fates: list[str]
) -> None:
    """The second row that is short lacks its phone, which no mapping can do without."""
    text = f"Name,Phone,City\nAnn,{A},Boston\nBob,{B},Boston\nCy,{C},Boston\nDee,{D}\nEve\n"
    result = check(write(home / "l.csv", text), source=f'short_rows = "{short_rows}"')
    assert result.fates == {2: "valid", 3: "valid", 4: "valid", **dict(zip((5, 6), fates, strict=True))}
    assert how(result)["padded_rows"] == (2 if short_rows == "pad" else 0)


def test_columns_named_alike_are_refused_unless_the_mapping_picks_one(load: Run, account: Account, home: Path) -> None:
    path = write(home / "l.csv", f"Phone,Name,Phone\n{A},Ann,{B}\n")
    assert "columns 1 and 3 are both named 'Phone'" in refusal(load(path))
    assert account.requests == 0
    assert load(path, primary='"Phone[2]"').fates == {2: "accepted"}
    assert list(account.leads()) == [B]


def test_a_column_without_a_name_is_refused_unless_it_is_empty(check: Run, home: Path) -> None:
    told = refusal(check(write(home / "l.csv", f"Phone,,Name\n{A},?,Ann\n")))
    assert "column 2 has no name in the header (row 1)" in told
    assert check(write(home / "l.csv", f"Phone,,Name\n{A},,Ann\n")).fates == {2: "valid"}


def test_lines_above_the_header_are_passed_over_where_that_is_plain(check: Run, home: Path) -> None:
    """A title in text, a merged one in a workbook; where it isn't plain, the mapping says which row it is."""
    text = check(write(home / "l.csv", f"May leads\n\n{TWO_ROWS}"))
    merged = check(
        book(home / "l.xlsx", [["May leads"], ["Phone", "Name"], [A, "Ann"]], lambda p: p.merge_cells("A1:B1"))
    )
    assert (how(text)["header_row"], text.fates) == (3, {4: "valid", 5: "valid"})
    assert (how(merged)["header_row"], merged.fates) == (2, {3: "valid"})
    unclear = write(home / "u.csv", f"Report,May\n{TWO_ROWS}")
    assert "the file has no column 'Phone'" in refusal(check(unclear), code=2)
    assert check(unclear, source="header_row = 2").fates == {3: "valid", 4: "valid"}


@pytest.mark.parametrize(
    ("first_line", "delimiter"), [("", ";"), ("", "\t"), ("", "|"), ("sep=;\n", ";"), ("sep=^\n", "^")]
)
def test_the_delimiter_is_found(check: Run, home: Path, first_line: str, delimiter: str) -> None:
    result = check(write(home / "l.csv", first_line + TWO_ROWS.replace(",", delimiter)), fields='FirstName = "Name"')
    assert (how(result)["delimiter"], sent(result, "FirstName")) == (delimiter, ["Ann", "Bob"])


def test_one_column_that_contains_delimiters_is_refused(check: Run, home: Path) -> None:
    told = refusal(check(write(home / "l.csv", f"Phone\n{A}\n{B}\n{C}; Cy\n{D}\n")))
    assert "it looks like one column, yet row 4" in told


# --- Encodings ---


@pytest.mark.parametrize(
    ("content", "encoding", "found_by"),
    [
        ("utf-8-sig", "utf-8", "bom"),
        ("utf-16", "utf-16-le", "bom"),
        ("utf-8", "utf-8", "utf-8"),
        ("cp1252", "cp1252", "detected"),
    ],
)  # fmt: skip
def test_the_encoding_is_found_by_mark_then_utf8_then_the_text(
    check: Run, home: Path, content: str, encoding: str, found_by: str
) -> None:
    result = check(
        write(home / "l.csv", f"Phone,Name\n{A},Zoë\n{B},José\n".encode(content)), fields='FirstName = "Name"'
    )
    assert (how(result)["encoding"], how(result)["encoding_how"]) == (encoding, found_by)
    assert sent(result, "FirstName") == ["Zoë", "José"]


def test_a_given_encoding_overrides_what_was_found(check: Run, home: Path) -> None:
    path = write(home / "l.csv", f"Phone,Name\n{A},Zoë\n".encode("cp850"))
    given = check(path, "--encoding", "cp850", fields='FirstName = "Name"')
    assert (sent(given, "FirstName"), how(given)["encoding_how"]) == (["Zoë"], "given")


# --- What breaks readers ---


def test_newlines_in_quotes_are_data(load: Run, account: Account, home: Path) -> None:
    result = load(write(home / "l.csv", f'Phone,Name\n{A},"Ann\nB."\n{B},Bob\n'), fields='Notes = "Name"')
    assert result.fates == {2: "accepted", 3: "accepted"}
    assert account.leads()[A]["Notes"] == "Ann\nB."


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"Phone,Name\n{A},An\0n\n{B},Bob\n", "row 2: a NUL byte"),
        (f"Phone,Name\n{A},An\rn\n{B},Bob\n", "row 2: a carriage return without a line feed"),
        (f'Phone,Name\n{A},Ann\n{B},"Bob\n{C},Cy\n', "row 3: a quoted cell is never closed"),
    ],
    ids=["NUL", "CR", "quote"],
)
def test_what_would_shorten_the_list_is_refused_with_its_row(check: Run, home: Path, text: str, told: str) -> None:
    assert told in refusal(check(write(home / "l.csv", text)))


def test_blank_rows_are_dropped_and_what_follows_them_is_read(check: Run, home: Path) -> None:
    def format_only(page: Any) -> None:
        page["A60"].number_format = "0.00"

    blank = [["", ""]] * 20
    text = check(write_csv(home / "l.csv", [["Phone", "Name"], [A, "Ann"], *blank, [B, "Bob"], *blank]))
    sheet = check(book(home / "l.xlsx", [["Phone", "Name"], [A, "Ann"], *[[]] * 20, [B, "Bob"]], format_only))
    assert text.fates == sheet.fates == {2: "valid", 23: "valid"}
    assert (how(text)["blank_rows"], how(sheet)["blank_rows"]) == (40, 57)


# --- Where lists come from ---


PACKED = {
    "gz": gzip.compress(TWO_ROWS.encode()),
    "bz2": bz2.compress(TWO_ROWS.encode()),
    "zst": pa.compress(TWO_ROWS.encode(), codec="zstd", asbytes=True),
    "zip": archive({"may.csv": TWO_ROWS}),
}


@pytest.mark.parametrize("kind", PACKED)
def test_a_packed_list_is_read(check: Run, home: Path, kind: str) -> None:
    result = check(write(home / f"l.csv.{kind}", PACKED[kind]))
    assert (result.fates, how(result)["format"]) == ({2: "valid", 3: "valid"}, "csv")


def test_a_zip_of_several_lists_is_refused_unless_one_is_named(check: Run, home: Path) -> None:
    path = write(home / "l.zip", archive({"may.csv": TWO_ROWS, "june.csv": TWO_ROWS}))
    told = refusal(check(path))
    assert "it is an archive of 2 files; name one" in told
    assert how(check(f"{path}#june.csv"))["member"] == "june.csv"


def test_a_bomb_is_refused(check: Run, home: Path) -> None:
    """More than 500 times what it was packed."""
    assert "500 times" in refusal(check(write(home / "l.gz", gzip.compress(b"Phone\n" + b"5" * 100_000_000))))


def test_standard_input_is_read(check: Run, home: Path) -> None:
    with piped(TWO_ROWS.encode()):
        assert check("-").fates == {2: "valid", 3: "valid"}


def test_an_address_is_read(check: Run, home: Path, raw_vendor: Callable[..., RawVendor]) -> None:
    """https, s3 and sftp go the same way, which is tested with their own file systems."""
    shop = raw_vendor(lambda form: http_reply(TWO_ROWS))
    assert check(f"{shop.url}may.csv").fates == {2: "valid", 3: "valid"}


# --- Ends of files ---


@pytest.mark.parametrize("text", ["", "\n\n", "Phone,Name\n", "Phone,Name\n,\n\n"])
@pytest.mark.parametrize("kind", ["csv", "xlsx"])
def test_a_list_without_rows_is_refused(check: Run, home: Path, text: str, kind: str) -> None:
    path = home / f"l.{kind}"
    rows = list(csv.reader(io.StringIO(text)))
    assert re.search("empty|no rows", refusal(check(write(path, text) if kind == "csv" else write_xlsx(path, rows))))


def test_a_file_that_grows_is_refused(check: Run, home: Path) -> None:
    """Somebody writes row after row while the command looks."""
    path, done = home / "l.csv", threading.Event()
    path.write_text(TWO_ROWS)

    def go_on() -> None:
        with path.open("a", buffering=1) as file:
            for number in count(2):
                file.write(f"{phone(number % 1000)},Cy\n")
                if done.wait(0.005):
                    return

    writer = threading.Thread(target=go_on)
    writer.start()
    result = check(path)
    done.set()
    writer.join()
    assert "it is still being written" in refusal(result)
    assert check(settled(path)).json["rows_read"] > 2


def test_a_file_cut_off_in_its_last_row_is_refused(check: Run, home: Path) -> None:
    """A last row that is whole needs no line end."""
    assert "row 3" in refusal(check(write(home / "l.csv", TWO_ROWS.removesuffix(",Bob\n"))))
    assert check(write(home / "l.csv", TWO_ROWS.removesuffix("\n"))).code == 0


# --- Numbers that were something else ---


def test_a_zip_stored_as_a_number_gets_its_zeros_back(check: Run, home: Path) -> None:
    """By the cell's format; without one, only where the state agrees, and marked as lossy."""

    def five_digits(page: Any) -> None:
        page["B2"].number_format = "00000"

    rows = listed(phones(4), ["Zip", 2139, 2139, 2139, 2139], ["State", "NY", "MA", "CA", ""])
    result = check(book(home / "l.xlsx", rows, five_digits), fields='ZipCode = "Zip"\nState = "State"')
    assert result.fates == {2: "valid", 3: "valid", 4: "invalid/bad_zip", 5: "invalid/bad_zip"}
    assert sent(result, "ZipCode") == ["02139", "02139"]
    assert repairs(result) == [(3, "2139", "02139", "zip_padded", False)]


def test_a_phone_stored_as_a_number_or_a_float_is_its_digits(load: Run, account: Account, home: Path) -> None:
    text = load(write_csv(home / "l.csv", [["Phone"], [f"{A}.0"]]))
    sheet = load(book(home / "l.xlsx", [["Phone"], [float(B)], [int(C)]]))
    assert repairs(text) == [(2, f"{A}.0", A, "float_text", True)]
    assert (sheet.fates, repairs(sheet)) == ({2: "accepted", 3: "accepted"}, [])
    assert set(account.leads()) == {A, B, C}


def test_a_phone_in_scientific_notation_is_refused(check: Run, home: Path) -> None:
    cells = ["5.55123E+09", "2.02555E+09", "2.0255501E9"]
    result = check(write_csv(home / "l.csv", listed(["Phone", *cells, A])))
    assert result.fates == {**dict.fromkeys((2, 3, 4), "invalid/lossy_number"), 5: "valid"}


def test_an_id_whose_last_digits_are_lost_is_refused(check: Run, home: Path) -> None:
    """2^53 is the first whole number that a spreadsheet can't tell from the next."""
    sheet = listed(phones(3), ["Id", 2**53, 2**53 - 1, "1234567890123457"])
    text = listed(phones(3), ["Id", "123456789012345000", "1.23457E+15", "1234567890123457"])
    refused = {2: "invalid/lossy_number", 3: "invalid/lossy_number", 4: "valid"}
    assert check(write_csv(home / "l.csv", text), fields='ClientId = "Id"').fates == refused
    result = check(book(home / "l.xlsx", sheet), fields='ClientId = "Id"')
    assert (result.fates, sent(result, "ClientId")) == (
        {**refused, 3: "valid"}, ["9007199254740991", "1234567890123457"],
    )  # fmt: skip
    assert "numbers of more digits than a spreadsheet keeps: 1" in how(result)["notes"][0]


# --- Dates ---

CALLBACK = 'CallbackDate = "When"\nCallbackAgent = { value = "a1" }'


@pytest.mark.parametrize("epoch", [None, MAC_EPOCH], ids=["1900", "1904"])
def test_a_date_cell_is_its_date_and_a_serial_is_none(check: Run, home: Path, epoch: datetime | None) -> None:
    def in_epoch(page: Any) -> None:
        page.parent.epoch = epoch or page.parent.epoch

    def later(page: Any) -> None:
        in_epoch(page)
        page.append([A, datetime(2030, 12, 31, 14, 30)])  # noqa: DTZ001  # Excel knows no zones
        page.append([B, 47848.5])

    result = check(book(home / "l.xlsx", [["Phone", "When"]], later), fields=CALLBACK, now=lambda: MAY)
    assert result.fates == {2: "valid", 3: "invalid/bad_date"}
    assert sent(result, "CallbackDate") == ["12/31/2030 14:30:00"]


@pytest.mark.parametrize(
    ("order", "meant"), [("mdy", "05/06/2030 10:00:00"), ("dmy", "06/05/2030 10:00:00"), (None, None)]
)
def test_a_date_that_can_be_read_either_way_needs_an_order(
    check: Run, home: Path, order: str | None, meant: str | None
) -> None:
    rows = listed(phones(2), ["When", "05/06/2030 10:00", "2030-05-31 10:00"])
    given = f'date_order = "{order}"' if order else ""
    result = check(write_csv(home / "l.csv", rows), fields=CALLBACK, source=given, now=lambda: MAY)
    assert result.fates == {2: "valid" if order else "invalid/ambiguous_date", 3: "valid"}
    assert sent(result, "CallbackDate") == [*([meant] if meant else []), "05/31/2030 10:00:00"]


def test_a_callback_is_judged_where_the_customer_is(check: Run, home: Path) -> None:
    """An hour that clocks leave out and the past are refused; an offset is converted."""
    when = ["2031-03-09 02:30", "2030-04-30 10:00", "2030-05-02T18:00:00Z", "2030-05-02 10:00"]
    rows = write_csv(home / "l.csv", listed(phones(4), ["When", *when]))
    result = check(rows, fields=CALLBACK, now=lambda: MAY)
    assert result.fates == {2: "invalid/dst_gap", 3: "invalid/past_date", 4: "valid", 5: "valid"}
    assert sent(result, "CallbackDate") == ["05/02/2030 14:00:00", "05/02/2030 10:00:00"]
    allowed = check(rows, fields=CALLBACK, policy='past_dates = "allow"', now=lambda: MAY)
    assert allowed.fates[3] == "valid"


# --- Workbooks ---


def test_errors_and_formulas_without_a_value_are_refused(check: Run, home: Path) -> None:
    """openpyxl writes formulas and leaves calculating to others."""
    names = listed(phones(4), ["Name", "#N/A", "#REF!", "=A2", "N. Ash"])
    sheet = check(book(home / "l.xlsx", names), fields='FirstName = "Name"')
    assert sheet.fates == {**dict.fromkeys((2, 3, 4), "invalid/cell_error"), 5: "valid"}
    assert "formulas of the sheet without a value: 1" in " ".join(how(sheet)["notes"])
    del names[3]
    text = check(write_csv(home / "l.csv", names), fields='FirstName = "Name"')
    assert text.fates == {2: "invalid/cell_error", 3: "invalid/cell_error", 4: "valid"}


def test_several_visible_sheets_need_a_choice(check: Run, home: Path) -> None:
    def more(page: Any) -> None:
        page.title = "May"
        page.parent.create_sheet("June").append(["Phone"])
        page.parent["June"].append([B])

    path = book(home / "l.xlsx", [["Phone"], [A]], more)
    assert "several sheets are visible; set sheet to one of 'May', 'June'" in refusal(check(path))
    chosen = check(path, "--sheet", "June")
    assert (how(chosen)["sheet"], sent(chosen, "PrimaryPhone")) == ("June", [B])


def test_hidden_data_is_read_and_reported(check: Run, home: Path) -> None:
    """A hidden sheet isn't read; hidden rows are, as nobody can know whether they were meant to stay out."""

    def hide(page: Any) -> None:
        page.title = "May"
        page.row_dimensions[3].hidden = True
        page.auto_filter.ref = "A1:A3"
        page.auto_filter.add_filter_column(0, [A])
        page.parent.create_sheet("Old").append(["x"])
        page.parent["Old"].sheet_state = "hidden"

    result = check(book(home / "l.xlsx", [["Phone"], [A], [B]], hide))
    assert (result.fates, how(result)["sheet"]) == ({2: "valid", 3: "valid"}, "May")
    told = " ".join(how(result)["notes"])
    assert "hidden sheets, not read: 'Old'" in told
    assert "hidden rows, read like the others: 1 (rows 3, by a filter)" in told


OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".ljust(512, b"\0")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (OLE + "EncryptedPackage".encode("utf-16-le").ljust(128, b"\0"), "protected by a password"),
        (b"PK\x03\x04" + b"\0" * 200, "damaged workbook"),
        (b"<html><table><tr><td>Phone</td></tr></table></html>", "a web page (HTML), whatever its name says"),
    ],
    ids=["password", "damaged", "html"],
)
def test_a_workbook_that_is_none_is_told_what_it_is(check: Run, home: Path, content: bytes, told: str) -> None:
    assert told in refusal(check(write(home / "l.xls", content)))


def test_the_content_decides_and_not_the_extension(check: Run, home: Path) -> None:
    assert how(check(write(home / "l.xls", TWO_ROWS)))["format"] == "csv"
    assert how(check(write_xlsx(home / "l.csv", [["Phone"], [A]])))["format"] == "xlsx"


@pytest.mark.parametrize("kind", ["xlsx", "xlsm", *WRITERS])
def test_every_kind_of_workbook_is_read(check: Run, home: Path, kind: str) -> None:
    rows, path = [["Phone", "Name"], [A, "Zoë"], [B, "Bob"]], home / f"l.{kind}"
    if kind in WRITERS:
        write(path, WRITERS[kind](rows))
    else:
        write_xlsx(path, rows)
    result = check(path, fields='FirstName = "Name"')
    assert (how(result)["sheet"], sent(result, "FirstName")) == ("Leads", ["Zoë", "Bob"])


# --- Words, states, ZIPs, phones ---

NOTHING = ["NA", "None", "null", "N/A", "-"]


def test_words_for_nothing_are_text_unless_the_mapping_lists_them(check: Run, home: Path) -> None:
    path = write_csv(home / "l.csv", listed(phones(3), ["Name", "NA", "null", "None"]))
    assert sent(check(path, fields='FirstName = "Name"'), "FirstName") == ["NA", "null", "None"]
    tokens = f"null_tokens = {json.dumps(NOTHING)}"
    assert sent(check(path, fields='FirstName = "Name"', source=tokens), "FirstName") == [None] * 3


STATES = {"Colorado": "CO", "wa": "WA", "N.Y.": "NY", "Puerto Rico": "PR", "AE": "AE", "Mass.": "MA"}


def test_a_state_in_any_spelling_is_its_code(load: Run, account: Account, home: Path) -> None:
    load(write_csv(home / "l.csv", listed(phones(6), ["State", *STATES])), fields='State = "State"')
    assert {lead["PrimaryPhone"]: lead["State"] for lead in account.leads().values()} == dict(
        zip(phones(6)[1:], STATES.values(), strict=True)
    )


def test_a_zip_has_five_digits_or_nine_with_a_dash(check: Run, home: Path) -> None:
    rows = listed(phones(3), ["Zip", "021391234", "02139-1234", "02139"])
    result = check(write_csv(home / "l.csv", rows), fields='ZipCode = "Zip"')
    assert sent(result, "ZipCode") == ["02139-1234", "02139-1234", "02139"]
    assert repairs(result) == [(2, "021391234", "02139-1234", "zip_plus4", True)]


PHONES = {
    f"+1 ({A[:3]}) {A[3:6]}-{A[6:]}": "valid",
    f"1{B}": "valid",
    "+1 (202) 555-0102 x89": "invalid/phone_extension",
    "202-555-0103 / 202-555-0104": "invalid/two_phones",
    "202-555-CALL": "invalid/bad_phone",
    "202-911-0105": "invalid/bad_phone",
    "202-155-0106": "invalid/bad_phone",
    "900-555-0107": "invalid/premium_phone",
    "800-555-0108": "invalid/toll_free_phone",
    "416-555-0109": "invalid/phone_region",
    "+44 20 7946 0958": "invalid/foreign_phone",
}


def test_a_phone_is_ten_digits_that_may_be_called_or_is_refused(load: Run, account: Account, home: Path) -> None:
    fates = load(write_csv(home / "l.csv", listed(["Phone", *PHONES]))).fates
    assert list(fates.values()) == [
        fate.replace("valid", "accepted") if fate == "valid" else fate for fate in PHONES.values()
    ]
    assert set(account.leads()) == {A, B}


def test_regions_of_the_mapping_say_whose_phones_may_be_called(check: Run, home: Path) -> None:
    path = write_csv(home / "l.csv", [["Phone"], ["416-555-0109"]])
    assert check(path, source='regions = ["US", "CA"]').fates == {2: "valid"}


# --- Text ---


def test_marks_that_nobody_sees_are_removed_and_recorded(check: Run, home: Path) -> None:
    raw = ["\u00a0Ann\u200b", "Zoe\u0308", "O\u2019Neil", "An\x07n", " Bob "]
    result = check(write_csv(home / "l.csv", listed(phones(5), ["Name", *raw])), fields='FirstName = "Name"')
    assert [cell for _, cell, *_ in repairs(result)] == raw
    assert [repair[2:] for repair in repairs(result)] == [
        ("Ann", "invisible", True), ("Zo\u00eb", "nfc", True), ("O'Neil", "quotes", False),
        ("Ann", "invisible", True), ("Bob", "trimmed", True),
    ]  # fmt: skip


def test_a_text_that_is_too_long_is_refused_or_cut_on_request(check: Run, home: Path) -> None:
    """Counted in characters, not in bytes."""
    path = write_csv(home / "l.csv", listed(phones(2), ["Name", "ë" * 101, "ë" * 100]))
    assert check(path, fields='LastName = "Name"').fates == {2: "invalid/too_long", 3: "valid"}
    cut = check(path, fields='LastName = "Name"', policy='overlong = "truncate"')
    assert (cut.fates[2], sent(cut, "LastName")[0]) == ("valid", "ë" * 100)
    assert repairs(cut) == [(2, "ë" * 101, "ë" * 100, "truncated", False)]


def test_columns_that_are_not_mapped_follow_the_policy(check: Run, home: Path) -> None:
    """Refused with the nearest field of the vendor, told as not sent, or sent as custom fields."""
    path = write(home / "l.csv", f"Phone,Zip Code\n{A},02139\n")
    assert "did you mean 'ZipCode'" in refusal(check(path, unmapped="error"), code=2)
    assert check(path, unmapped="ignore").json["check"]["sources"][0]["not_sent"] == ["Zip Code"]
    assert sent(check(path, unmapped="custom"), "adv_Zip__Code") == ["02139"]


RUNS = ['=HYPERLINK("http://x","y")', "+1 202 555", "-1", "@home", "\tx"]


@pytest.mark.parametrize("flags", [(), ("--raw-csv",)])
def test_values_that_a_spreadsheet_would_run_have_a_guard_in_the_rejected_csv(
    check: Run, home: Path, flags: tuple[str, ...]
) -> None:
    """It comes off when the file is loaded again; --raw-csv leaves it out."""
    rows = listed(["Phone", *["1"] * 5], ["Name", *RUNS])
    result = check(write_csv(home / "l.csv", rows), *flags, fields='FirstName = "Name"')
    header, *back = handed_back(result)
    guard = "" if flags else "'"
    assert [line[1] for line in back] == [f"{guard}{cell}" for cell in RUNS]
    mended = write_csv(home / "m.csv", [header, *([phone(at), *line[1:]] for at, line in enumerate(back))])
    again = check(mended, fields='FirstName = "Name"')
    assert sent(again, "FirstName") == [RUNS[0], RUNS[2], RUNS[4].strip()]


def test_values_that_a_spreadsheet_would_run_are_text_in_the_rejected_workbook(check: Run, home: Path) -> None:
    def as_text(page: Any) -> None:
        for (cell,) in page.iter_rows(min_row=2, min_col=2, max_col=2):
            cell.data_type = "s"

    result = check(book(home / "l.xlsx", listed(["Phone", *["1"] * 5], ["Name", *RUNS]), as_text))
    (path,) = result.json["rejected"]
    cells = [row[1] for row in openpyxl.load_workbook(path).active.iter_rows(min_row=2)]
    assert [(cell.value, cell.data_type) for cell in cells] == [(text, "s") for text in RUNS]


# --- Size, and what is built to hurt ---


def test_a_large_list_is_read_in_pieces(home: Path) -> None:
    """What Arrow holds at any time is a fraction of the file."""
    path = write(home / "l.csv", "Phone,Name\n" + f"{A},{'x' * 1000}\n" * 200_000)
    found, before, most, rows = inspect(path), pa.total_allocated_bytes(), 0, 0
    for chunk in source.read(found):
        most = max(most, pa.total_allocated_bytes() - before)
        rows += len(chunk.frame)
    assert (rows, found.rows) == (200_000, 200_000)
    assert most < path.stat().st_size / 2


def test_the_last_row_that_a_sheet_can_have_is_read(check: Run, home: Path) -> None:
    def far(page: Any) -> None:
        page["A1048576"] = B

    assert check(book(home / "l.xlsx", [["Phone"], [A]], far)).fates == {2: "valid", 1_048_576: "valid"}


def test_a_workbook_that_would_take_all_memory_is_refused_in_one_line(check: Run, home: Path) -> None:
    """Two cells, as far apart as can be: seventeen billion for whoever makes a table of them."""

    def far(page: Any) -> None:
        page["XFD1048576"] = B

    assert "the workbook can't be parsed" in refusal(check(book(home / "l.xlsx", [["Phone"], [A]], far)))


# --- Lists that are not what they seem ---


def test_a_letter_of_cp1252_behind_a_megabyte_of_ascii_is_read(check: Run, home: Path) -> None:
    """A look at the beginning would take the file for UTF-8."""
    ascii_rows = "".join(f"{phone(number)},Ann,{'x' * 1000}\n" for number in range(1, 1000))
    result = check(
        write(home / "l.csv", f"Phone,Name,Note\n{ascii_rows}{A},Zoë,x\n".encode("cp1252")), fields='FirstName = "Name"'
    )
    assert (how(result)["encoding"], result.json["rows_read"]) == ("cp1252", 1000)
    assert sent(result, "FirstName")[-1] == "Zoë"


def test_a_list_without_a_header_is_pointed_out_and_read_by_position(check: Run, home: Path) -> None:
    path = write(home / "l.csv", f"{A},Ann\n{B},Bob\n")
    told = check(path, primary=f'"{A}"')
    assert "header_row = 0" in " ".join(how(told)["notes"])
    read = check(path, primary='"1"', fields='FirstName = "2"', source="header_row = 0")
    assert (read.fates, sent(read, "FirstName")) == ({1: "valid", 2: "valid"}, ["Ann", "Bob"])


def test_a_list_with_one_phone_throughout_is_counted_in_the_check(check: Run, home: Path) -> None:
    result = check(write_csv(home / "l.csv", [["Phone"], *[[A]] * 4]))
    assert result.json["check"]["repeats"]["rows"] == 4
    assert result.fates == {2: "valid", **dict.fromkeys((3, 4, 5), "skipped/duplicate_in_file")}


def test_a_list_that_is_in_the_file_twice_is_sent_once(load: Run, account: Account, home: Path) -> None:
    """Its header is in there again, too."""
    result = load(write(home / "l.csv", TWO_ROWS * 2))
    assert result.fates == {
        2: "accepted", 3: "accepted", 4: "invalid/bad_phone",
        5: "skipped/duplicate_in_file", 6: "skipped/duplicate_in_file",
    }  # fmt: skip
    assert len(account.leads()) == 2
    assert "rows that repeat the header: 1, the first is row 4" in " ".join(result.json["notes"])


def test_two_phones_and_an_extension_are_refused_unless_the_mapping_says_which(check: Run, home: Path) -> None:
    path = write_csv(home / "l.csv", [["Phone", "Name"], ["202-555-0100x4563;202-555-0101", "Ann"]])
    assert check(path).fates == {2: "invalid/two_phones"}
    for part, phone_taken in (("first", A), ("second", B)):
        taken = check(path, primary=f'{{ column = "Phone", take = "{part}" }}')
        assert (sent(taken, "PrimaryPhone"), repairs(taken)[0][3:]) == ([phone_taken], ("part_taken", False))
    extension = 'Notes = { column = "Phone", take = "extension" }'
    beside = check(path, primary='{ column = "Phone", take = "first" }', fields=extension)
    assert sent(beside, "Notes") == ["4563"]


# --- What was decided ---


def test_every_decision_is_in_the_manifest_and_shown_by_the_check(check: Run, leads: Leads, home: Path) -> None:
    text = f"May leads;\n\nPhone;Name\n{A};Zoë\n\n{B}\n".encode("cp1252")
    found = how(check(write(home / "l.csv", text)))
    decided = ("format", "encoding", "encoding_how", "delimiter", "header_row", "rows", "blank_rows", "ragged_rows")
    assert [found[key] for key in decided] == ["csv", "cp1252", "detected", ";", 3, 2, 1, 1]
    shown = " ".join(leads("check", "l.csv", "-m", "list.toml").out.split())
    assert "l.csv: csv, cp1252 (guessed), semicolon, header in row 3" in shown
    assert "2 rows, 2 columns, 1 blank row left out, 1 row with more or fewer cells" in shown
    sheet = check(write_xlsx(home / "l.xlsx", [["Phone"], [A]], sheet="May"))
    assert (how(sheet)["format"], how(sheet)["sheet"], how(sheet)["sheets"]) == ("xlsx", "May", ["May"])


# --- The table ---


def test_every_test_here_has_its_line_in_the_docs_and_every_name_there_is_a_test() -> None:
    named = re.findall(r"`(test_\w+)`", (ROOT / "docs/files.md").read_text(encoding="utf-8"))
    tests = [name for name in globals() if name.startswith("test_")][:-1]
    assert named == tests
