"""Cleaners: each spelling that leads come in, and what must hold for any value at all."""

from __future__ import annotations

import unicodedata
from typing import NamedTuple

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.clean import CLEANERS, CLEANERS_VERSION, CleanOptions, clean, engine
from pipeline.clean.phone import ANYWHERE, area_regions
from pipeline.clean.place import STATES
from pipeline.clean.text import Fix, tidy
from pipeline.model import PROBLEMS, REPAIRS, Cleaned


class Said(NamedTuple):
    """What a cleaner says of one cell."""

    value: str
    rule: str = ""  # of the repair or the problem; "": the cell stays as it is
    lossless: bool | None = None  # None: no repair
    message: str = ""


def said(name: str, raw: str, options: CleanOptions | None = None, **context: str) -> Said:
    done = clean(
        name, "F", pa.array([raw]), options or CleanOptions(), {field: pa.array([v]) for field, v in context.items()}
    )
    (value,) = done.values.to_pylist()
    (repair,) = done.repairs.to_pylist() or [None]
    (problem,) = done.problems.to_pylist() or [None]
    assert not (repair and problem)
    if problem:
        assert problem["value"] == value == raw
        return Said(value, problem["rule"], None, problem["message"])
    return Said(value, repair["rule"], repair["lossless"]) if repair else Said(value)


def repaired(value: str, rule: str, lossless: bool = True) -> Said:
    return Said(value, rule, lossless)


MDY, DMY, YMD = (CleanOptions(date_order=order) for order in ("mdy", "dmy", "ymd"))


# --- text, and what every cleaner does first


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Ana",
        "O'Brien",
        "José Ñandú \u2013 5 €",
        "a  b",
        "line\nline\tcell",
        "02139",
        "NA",
        "None",
        "5.55123E+09",
        "#5",
        "-",
    ],
)
def test_text_stays(value: str) -> None:
    """Text without invisible trouble stays byte for byte."""
    assert said("text", value) == Said(value)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (" Ana ", repaired("Ana", "trimmed")),
        ("\tAna\n", repaired("Ana", "trimmed")),
        ("   ", repaired("", "trimmed")),
        ("\xa0Ana\xa0", repaired("Ana", "space")),
        ("Ana\u202fMaria", repaired("Ana Maria", "space")),
        ("A\u200bna\ufeff", repaired("Ana", "invisible")),
        ("A\x00na\x1f", repaired("Ana", "invisible")),
        ("\u200b", repaired("", "invisible")),
        ("one\r\ntwo\rthree\vfour", repaired("one\ntwo\nthree\nfour", "newline")),
        ("Jose\u0301", repaired("José", "nfc")),
        ("O\u2019Brien \u201cBob\u201d", Said('O\'Brien "Bob"', "quotes", lossless=False)),
        (" Jose\u0301\u2019s ", Said("José's", "quotes", lossless=False)),
        (" Jose\u0301\xa0", repaired("José", "nfc")),
    ],
)
def test_text_is_tidied(raw: str, expected: Said) -> None:
    """What can't be seen goes, and the most telling change names the repair."""
    assert said("text", raw) == expected


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ("\U0001f469\u200d\U0001f4bb", "\U0001f469\u200d\U0001f4bb"),
        ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"),
        ("An\u200da", "Ana"),
        ("\U0001f469\u200d Ana", "\U0001f469 Ana"),
        ("\u0627\u0300\u0651\u200d\u0627", "\u0627\u0651\u0300\u0627"),
    ],
)
def test_joiners(raw: str, value: str) -> None:
    """Joiners stay inside emoji and joining scripts, and go elsewhere."""
    assert said("text", raw).value == value


@pytest.mark.parametrize("name", CLEANERS)
@pytest.mark.parametrize("raw", ["#N/A", " #REF! ", "#VALUE!", "#DIV/0!", "#NAME?", "#NULL!", "#NUM!", "########"])
def test_cell_error(name: str, raw: str) -> None:
    """A spreadsheet's error is refused in every field and never sent as text."""
    assert said(name, raw).rule == "cell_error"


@pytest.mark.parametrize("name", CLEANERS)
def test_blank_cells_are_empty(name: str) -> None:
    """An empty cell passes, and a blank one becomes empty."""
    assert said(name, "") == Said("")
    assert said(name, " \u200b ").value == ""


def test_plain_letters_are_composed() -> None:
    """No character that the fast path lets through would be changed by the slow one."""
    wide = [chr(n) for n in (*range(0x20, 0x7F), *range(0xA1, 0x250)) if n != 0xAD]
    assert all(unicodedata.normalize("NFC", c) == c and not unicodedata.combining(c) for c in wide)
    assert all(said("text", f"a{c}a") == Said(f"a{c}a") for c in wide)


# --- phones


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("2025550123", Said("2025550123")),
        ("5552345678", Said("5552345678")),
        *(
            (raw, repaired("2025550123", "phone_format"))
            for raw in (
                "(202) 555-0123",
                "(202)555-0123",
                "202-555-0123",
                "202.555.0123",
                "202 555 0123",
                "202/555-0123",
                "202555-0123",
                "12025550123",
                "1-202-555-0123",
                "1 (202) 555-0123",
                "(1 202) 555-0123",
                "+12025550123",
                "+1 (202) 555-0123",
                "+ 1 202 555 0123",
                "(+1) 202-555-0123",
                "001 202 555 0123",
                "202 \u2013 555 \u2013 0123",
                "202\u2011555\u20110123.",
                " (202) 555-0123 ",
            )
        ),
        ("2025550123.0", repaired("2025550123", "float_text")),
        ("12025550123.00", repaired("2025550123", "float_text")),
        (" 2025550123", repaired("2025550123", "trimmed")),
        ("202\u200b5550123", repaired("2025550123", "invisible")),
    ],
)
def test_phone_is_found(raw: str, expected: Said) -> None:
    """A phone in any usual American spelling becomes its ten digits, losslessly."""
    assert said("us_phone", raw) == expected


@pytest.mark.parametrize(
    ("raw", "rule"),
    [
        ("5.55123E+09", "lossy_number"),
        ("2,02555E+09", "lossy_number"),
        ("202-555-0123 x89", "phone_extension"),
        ("(202) 555-0123 ext. 89", "phone_extension"),
        ("2025550123#89", "phone_extension"),
        ("202-555-0123,,89", "phone_extension"),
        ("202-555-0123/202-555-0124", "two_phones"),
        ("2025550123 2025550124", "two_phones"),
        ("202-555-0123 or 555-0124", "two_phones"),
        ("801-555-7712x4563;801-555-9999", "two_phones"),
        ("202-555-0123\n202-555-0124", "two_phones"),
        ("+44 20 7946 0958", "foreign_phone"),
        ("(+44) 20 7946 0958", "foreign_phone"),
        ("+2025550123", "foreign_phone"),
        ("011 44 20 7946 0958", "foreign_phone"),
        ("0044 20 7946 0958", "foreign_phone"),
        ("1-800-FLOWERS", "bad_phone"),
        ("call Bob", "bad_phone"),
        ("Phone 202-555-0123", "bad_phone"),
        ("555-0123", "bad_phone"),
        ("20255501", "bad_phone"),
        ("22025550123", "bad_phone"),
        ("20255501232025550124", "bad_phone"),
        ("0000000000", "bad_phone"),
        ("102-555-0123", "bad_phone"),
        ("911-555-0123", "bad_phone"),
        ("202-911-0123", "bad_phone"),
        ("202-155-0123", "bad_phone"),
        ("5551234567", "bad_phone"),
        ("-", "bad_phone"),
        ("-2025550123", "bad_phone"),
        ("55 1234 5678", "bad_phone"),
        ("70123 45678", "bad_phone"),
        ("2012-01-02 08", "bad_phone"),
        ("\uff12\uff10\uff125550123", "bad_phone"),
        ("900-555-0123", "premium_phone"),
        ("9005550123", "premium_phone"),
        ("8005550123", "toll_free_phone"),
        ("1 (888) 555-0123", "toll_free_phone"),
        ("4165550123", "phone_region"),
        ("(787) 555-0123", "phone_region"),
    ],
)
def test_phone_is_refused(raw: str, rule: str) -> None:
    """What is not one American phone is refused under its own code."""
    assert said("us_phone", raw).rule == rule


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ("555-0123", "area code is missing"),
        ("22025550123", "ten digits"),
        ("20255501", "this has 8"),
        ("4165550123", "416 is in CA"),
        ("202-911-0123", "can't be 911"),
        ("1-800-FLOWERS", "letters"),
    ],
)
def test_phone_messages(raw: str, words: str) -> None:
    """The message says what is wrong in words for people who don't program."""
    assert words in said("us_phone", raw).message


def test_phone_regions() -> None:
    """A region named in the mapping may be called, and one that is not named may not."""
    both, canada = CleanOptions(regions=("US", "CA")), CleanOptions(regions=("CA",))
    assert said("us_phone", "(416) 555-0123", both) == repaired("4165550123", "phone_format")
    assert said("us_phone", "2025550123", both) == Said("2025550123")
    assert said("us_phone", "2025550123", canada).rule == "phone_region"


def test_unassigned_area_code_passes() -> None:
    """A code that our table doesn't know may be new: its phones pass."""
    assert "555" not in area_regions()
    assert area_regions()["202"] == "US"
    assert said("us_phone", "(555) 234-5678") == repaired("5552345678", "phone_format")


# --- states and ZIP codes


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("NY", Said("NY")),
        ("AE", Said("AE")),
        ("ny", repaired("NY", "state_code")),
        ("N.Y.", repaired("NY", "state_code")),
        ("n. y.", repaired("NY", "state_code")),
        (" NY", repaired("NY", "trimmed")),
        ("New York", repaired("NY", "state_name")),
        ("new\xa0york", repaired("NY", "state_name")),
        ("DISTRICT OF COLUMBIA", repaired("DC", "state_name")),
        ("Washington, D.C.", repaired("DC", "state_name")),
        ("U.S. Virgin Islands", repaired("VI", "state_name")),
        ("Armed Forces Pacific", repaired("AP", "state_name")),
    ],
)
def test_state(raw: str, expected: Said) -> None:
    """States in letters or names become the two letters of the post office."""
    assert said("us_state", raw) == expected


@pytest.mark.parametrize("raw", ["ZZ", "Ontario", "N", "New", "12", "N-Y", "\u0130L"])
def test_bad_state(raw: str) -> None:
    """What names no state is refused."""
    assert said("us_state", raw).rule == "bad_state"


@pytest.mark.parametrize("code", STATES)
def test_state_names(code: str) -> None:
    """Every state is known by its name."""
    assert said("us_state", STATES[code]).value == code


@pytest.mark.parametrize(
    ("raw", "state", "expected"),
    [
        ("12345", "", Said("12345")),
        ("12345-6789", "", Said("12345-6789")),
        ("123456789", "", repaired("12345-6789", "zip_plus4")),
        ("12345 6789", "", repaired("12345-6789", "zip_plus4")),
        ("12345\u20136789", "", repaired("12345-6789", "zip_plus4")),
        ("123456789.0", "", repaired("12345-6789", "zip_plus4")),
        ("12345-", "", repaired("12345", "zip_format")),
        ("12345.0", "", repaired("12345", "float_text")),
        (" 12345", "", repaired("12345", "trimmed")),
        ("2139", "MA", Said("02139", "zip_padded", lossless=False)),
        ("2139.0", "MA", Said("02139", "zip_padded", lossless=False)),
        ("601", "PR", Said("00601", "zip_padded", lossless=False)),
        ("9012", "AE", Said("09012", "zip_padded", lossless=False)),
        ("21391234", "MA", Said("02139-1234", "zip_padded", lossless=False)),
        ("2139-1234", "MA", Said("02139-1234", "zip_padded", lossless=False)),
    ],
)
def test_zip(raw: str, state: str, expected: Said) -> None:
    """ZIP codes get their dash, and lost zeros only where the state shows that they were lost."""
    assert said("us_zip", raw, State=state) == expected


@pytest.mark.parametrize(
    ("raw", "state", "rule"),
    [
        ("2139", "", "bad_zip"),
        ("2139", "NY", "bad_zip"),
        ("2139", "RI", "bad_zip"),
        ("139", "MA", "bad_zip"),
        ("12", "MA", "bad_zip"),
        ("K1A 0B6", "", "bad_zip"),
        ("123456", "", "bad_zip"),
        ("1.23457E+08", "", "lossy_number"),
    ],
)
def test_bad_zip(raw: str, state: str, rule: str) -> None:
    """A ZIP code is never completed by guessing."""
    assert said("us_zip", raw, State=state).rule == rule


def test_zip_without_states() -> None:
    """Without a State column no zero is put back."""
    assert said("us_zip", "2139").rule == "bad_zip"


def test_each_row_has_its_own_state() -> None:
    """The same ZIP code beside different states is judged by each row's own."""
    zips, states = pa.array(["2139", "2139", "12345", "2139"]), pa.chunked_array([["MA", "NY"], ["NY", "MA"]])
    done = clean("us_zip", "ZipCode", zips, CleanOptions(), {"State": states})
    assert done.values.to_pylist() == ["02139", "2139", "12345", "02139"]
    assert done.repairs["position"].to_pylist() == [0, 3]
    assert done.problems["position"].to_pylist() == [1]


# --- callback dates


@pytest.mark.parametrize(
    ("raw", "options", "value"),
    [
        ("12/25/2026 14:30:00", CleanOptions(), "12/25/2026 14:30:00"),
        ("04/04/2026 10:00:00", CleanOptions(), "04/04/2026 10:00:00"),
        ("04/04/2026 10:00:00", DMY, "04/04/2026 10:00:00"),
        ("03/04/2026 10:00:00", MDY, "03/04/2026 10:00:00"),
        ("02/29/2028 10:00:00", MDY, "02/29/2028 10:00:00"),
        ("03/04/2026 10:00:00", DMY, "04/03/2026 10:00:00"),
        ("13/04/2026 10:00:00", DMY, "04/13/2026 10:00:00"),
        ("25/12/2026 10:00", CleanOptions(), "12/25/2026 10:00:00"),
        ("25.12.2026 10:00", YMD, "12/25/2026 10:00:00"),
        ("12-25-2026 10:00", YMD, "12/25/2026 10:00:00"),
        ("3/4/2026 9:05", MDY, "03/04/2026 09:05:00"),
        ("2026-12-01 14:30:00", CleanOptions(), "12/01/2026 14:30:00"),
        ("2026-12-01 14:30", DMY, "12/01/2026 14:30:00"),
        ("2026-12-01T14:30:00", CleanOptions(), "12/01/2026 14:30:00"),
        ("2028-02-29T14:30:00", CleanOptions(), "02/29/2028 14:30:00"),
        ("2026/12/1 14:30", CleanOptions(), "12/01/2026 14:30:00"),
        ("2026-12-01 14:30:00.000", CleanOptions(), "12/01/2026 14:30:00"),
        ("12/25/2026, 2:30:00\u202fPM", CleanOptions(), "12/25/2026 14:30:00"),
        ("12/25/2026 2:30 p.m.", CleanOptions(), "12/25/2026 14:30:00"),
        ("12/25/2026 2pm", CleanOptions(), "12/25/2026 14:00:00"),
        ("12/25/2026 12:30 AM", CleanOptions(), "12/25/2026 00:30:00"),
        ("12/25/2026 12:30 PM", CleanOptions(), "12/25/2026 12:30:00"),
    ],
)
def test_date(raw: str, options: CleanOptions, value: str) -> None:
    """A date and time in a known order becomes the vendor's one shape."""
    assert said("callback_date", raw, options) == (Said(value) if raw == value else repaired(value, "date_format"))


def test_fractions_of_a_second_are_lost() -> None:
    """Dropping a part of a second is said not to be lossless."""
    expected = Said("12/25/2026 14:30:00", "date_format", lossless=False)
    assert said("callback_date", "2026-12-25 14:30:00.5") == expected


@pytest.mark.parametrize(
    ("raw", "options", "rule", "words"),
    [
        ("03/04/2026 10:00:00", CleanOptions(), "ambiguous_date", "date_order"),
        ("3/4/2026 10:00", CleanOptions(), "ambiguous_date", "date_order"),
        ("03/04/2026 10:00:00", YMD, "ambiguous_date", "date_order"),
        ("12/25/2026 10:00:00", DMY, "bad_date", "no such"),
        ("13/04/2026 10:00:00", MDY, "bad_date", "no such"),
        ("02/30/2026 10:00:00", MDY, "bad_date", "no such"),
        ("02/29/2026 10:00:00", CleanOptions(), "bad_date", "no such"),
        ("2026-02-30 10:00:00", CleanOptions(), "bad_date", "no such"),
        ("2026-12-01 25:00", CleanOptions(), "bad_date", "no such"),
        ("12/25/2026 14:30 PM", CleanOptions(), "bad_date", "no such"),
        ("12/25/2026", CleanOptions(), "bad_date", "time of day is missing"),
        ("2026-12-25 14", CleanOptions(), "bad_date", "time of day is missing"),
        ("12/25/26 14:30", CleanOptions(), "bad_date", "four digits"),
        ("46357", CleanOptions(), "bad_date", "spreadsheet"),
        ("46357.604", CleanOptions(), "bad_date", "spreadsheet"),
        ("tomorrow", CleanOptions(), "bad_date", "not a date"),
        ("12/25-2026 10:00", CleanOptions(), "bad_date", "not a date"),
        ("2026-12-01T14:30:00Z", CleanOptions(), "date_offset", "time zone"),
        ("2026-12-01T14:30:00-05:00", CleanOptions(), "date_offset", "time zone"),
        ("2026-12-01 14:30 UTC+2", CleanOptions(), "date_offset", "time zone"),
        ("12/25/2026 2:30 PM EST", CleanOptions(), "date_offset", "time zone"),
    ],
)
def test_date_is_refused(raw: str, options: CleanOptions, rule: str, words: str) -> None:
    """A date that could mean another moment is refused, and the message says why."""
    found = said("callback_date", raw, options)
    assert found.rule == rule
    assert words in found.message


# --- flags


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("1", ["true", "TRUE", "yes", "Y", "on", "1.0", " Yes "]),
        ("0", ["false", "False", "no", "n", "OFF", "0.0"]),
    ],
)
def test_flag(value: str, words: list[str]) -> None:
    """Words for yes and no become 1 and 0."""
    assert said("flag", value) == Said(value)
    assert {said("flag", word) for word in words} == {repaired(value, "flag_word")}


@pytest.mark.parametrize("raw", ["2", "x", "yes please", "10", "01"])
def test_bad_flag(raw: str) -> None:
    """A word that is neither yes nor no is refused."""
    assert said("flag", raw).rule == "bad_flag"


# --- columns


def test_interface() -> None:
    """The cleaners that operations name are there, under a version."""
    phones = {"us_phone", "office_phone", "phone_list"}
    assert set(CLEANERS) == {*phones, "us_state", "us_zip", "callback_date", "flag", "text"}
    assert CLEANERS_VERSION == 1


@pytest.mark.parametrize("name", CLEANERS)
def test_empty_column(name: str) -> None:
    """A column without rows gives tables without rows."""
    done = clean(name, "F", pa.chunked_array([], pa.string()), CleanOptions())
    assert (len(done.values), done.repairs.num_rows, done.problems.num_rows) == (0, 0, 0)
    assert (done.values.type, done.repairs.schema, done.problems.schema) == (pa.string(), REPAIRS, PROBLEMS)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()])
def test_any_kind_of_text_column(kind: pa.DataType) -> None:
    """Chunks and the several kinds of string columns give one array of plain strings; a null is "not given"."""
    column = pa.chunked_array([pa.array(["2025550123", None], kind), pa.array(["+12025550124", "x"], kind)])
    done = clean("us_phone", "PrimaryPhone", column, CleanOptions())
    assert done.values.to_pylist() == ["2025550123", "", "2025550124", "x"]
    assert done.values.type == pa.string()


def test_tables() -> None:
    """Right, repaired by column, repaired one by one, and refused cells each land in their place."""
    column = pa.array(
        ["2025550123", "(202) 555-0124", "n/a", "", "2025550125.0", " 2025550126 ", "n/a", "416 555 0127"]
    )
    done = clean("us_phone", "PrimaryPhone", column, CleanOptions())
    phones = ["2025550123", "2025550124", "n/a", "", "2025550125", "2025550126", "n/a", "416 555 0127"]
    assert done.values.to_pylist() == phones
    assert [tuple(r.values()) for r in done.repairs.to_pylist()] == [
        (1, "PrimaryPhone", "(202) 555-0124", "2025550124", "phone_format", True),
        (4, "PrimaryPhone", "2025550125.0", "2025550125", "float_text", True),
        (5, "PrimaryPhone", " 2025550126 ", "2025550126", "trimmed", True),
    ]
    assert [tuple(p.values())[:4] for p in done.problems.to_pylist()] == [
        (2, "PrimaryPhone", "bad_phone", "n/a"),
        (6, "PrimaryPhone", "bad_phone", "n/a"),
        (7, "PrimaryPhone", "phone_region", "416 555 0127"),
    ]


# --- what holds for any value

_MARKS = [
    "",
    " ",
    "-",
    "/",
    ".",
    "(",
    ")",
    "+",
    "+1",
    "1",
    "x",
    ":",
    "\xa0",
    "\u200b",
    "\u200d",
    "\u2019",
    "\n",
    ".0",
    "E+9",
]
_PHONES = ["202", "555", "0123", "2025550123", "416", "800", "911", "x"]
_DATES = ["12", "25", "03/04", "2026", "10:00", "T", "PM", "Z"]
_WORDS = ["NY", "n.y.", "Maine", "2139", "02139", "6789", "yes", "TRUE", "#N/A", "Jose\u0301", "\U0001f469", "\u0651"]
_BITS = st.sampled_from([*_MARKS, *_PHONES, *_DATES, *_WORDS])
VALUES = st.text(max_size=12) | st.lists(_BITS, max_size=7).map("".join)
SPELLINGS = st.from_regex(r"\A(\+?1[-. ]?)?\(?[2-9]\d\d\)?[-./ ]{0,2}[2-9]\d\d[-./ ]?01\d\d(\.0)?\Z", fullmatch=True)
DATES = st.datetimes().flatmap(
    lambda t: st.sampled_from(
        [
            f"{t.month:02}/{t.day:02}/{t.year:04} {t:%H:%M:%S}",
            f"{t.day}/{t.month}/{t.year:04} {t:%H:%M}",
            f"{t.year:04}-{t.month:02}-{t.day:02} {t:%H:%M:%S}",
            f"{t.year:04}-{t.month:02}-{t.day:02}T{t:%H:%M}",
        ]
    )
)
OPTIONS = st.builds(
    CleanOptions,
    date_order=st.sampled_from([None, "mdy", "dmy", "ymd"]),
    regions=st.sampled_from([("US",), ("US", "CA")]),
)
ANY_VALUE = VALUES | SPELLINGS | DATES | st.from_regex(r"\A\d{3,5}[- ]?(\d{4})?(\.0)?\Z", fullmatch=True)
COLUMNS = st.lists(ANY_VALUE, max_size=12)
UNHURRIED = settings(deadline=None)  # the first phone of a process builds the table of area codes
NAMES = st.sampled_from(sorted(CLEANERS))
STATE = st.sampled_from(["", "MA", "NY"])


def cleaned(name: str, column: list[str], options: CleanOptions, state: str = "") -> Cleaned:
    context = {"State": pa.array([state] * len(column), pa.string())}
    return clean(name, "F", pa.array(column, pa.string()), options, context)


@UNHURRIED
@given(NAMES, COLUMNS, OPTIONS, STATE)
def test_every_change_is_recorded(name: str, column: list[str], options: CleanOptions, state: str) -> None:
    """Each cell is as it was, or has exactly one repair, or keeps its value and has exactly one problem."""
    done = cleaned(name, column, options, state)
    values, repairs, problems = done.values.to_pylist(), done.repairs.to_pylist(), done.problems.to_pylist()
    assert len(values) == len(column)
    assert done.values.null_count == 0
    assert (done.repairs.schema, done.problems.schema) == (REPAIRS, PROBLEMS)
    changed = [i for i, (raw, value) in enumerate(zip(column, values, strict=True)) if raw != value]
    refused = [p["position"] for p in problems]
    assert [r["position"] for r in repairs] == changed
    assert refused == sorted(set(refused) - set(changed))
    assert all((column[r["position"]], values[r["position"]]) == (r["raw"], r["value"]) for r in repairs)
    assert all(column[p["position"]] == p["value"] and p["message"] for p in problems)


@UNHURRIED
@given(NAMES, COLUMNS, OPTIONS, STATE)
def test_cleaning_twice_is_cleaning_once(name: str, column: list[str], options: CleanOptions, state: str) -> None:
    """A cleaned value stays as it is; cleaned dates read in the vendor's own order."""
    once = cleaned(name, column, options, state)
    refused = set(once.problems["position"].to_pylist())
    kept = [value for i, value in enumerate(once.values.to_pylist()) if i not in refused]
    again = cleaned(name, kept, CleanOptions("mdy", options.regions), state)
    assert again.values.to_pylist() == kept
    assert (again.repairs.num_rows, again.problems.num_rows) == (0, 0)


@UNHURRIED
@given(NAMES, ANY_VALUE, OPTIONS, STATE)
def test_by_column_as_by_value(name: str, raw: str, options: CleanOptions, state: str) -> None:
    """The fast path for whole columns says what the judgement of a single value says."""
    mark = engine.judge(CLEANERS[name], raw, options, state if CLEANERS[name].beside else "")
    (value,) = cleaned(name, [raw], options, state).values.to_pylist()
    found = said(name, raw, options, State=state)
    if isinstance(mark, Fix):
        assert (value, found.rule, found.lossless) == mark
    else:
        assert (value, found.rule) == (raw, mark.rule if mark else "")


@UNHURRIED
@given(st.lists(VALUES | SPELLINGS | DATES, min_size=1, max_size=12), OPTIONS)
def test_phones_are_in_their_cells(column: list[str], options: CleanOptions) -> None:
    """No phone comes out whose ten digits are not in its cell in that order, side by side."""
    done = cleaned("us_phone", column, options)
    refused = set(done.problems["position"].to_pylist())
    for i, (raw, value) in enumerate(zip(column, done.values.to_pylist(), strict=True)):
        if value and i not in refused:
            assert len(value) == 10
            assert value in "".join(c for c in raw if c in "0123456789")


@UNHURRIED
@given(SPELLINGS | VALUES, VALUES, VALUES)
def test_a_phone_is_found_anywhere(raw: str, before: str, after: str) -> None:
    """A cell that is a phone is found with anything around it but digits."""
    value = said("us_phone", raw)
    if not value.message and value.value:
        fix = tidy(f"{before} | {raw} | {after}")
        text = fix.value if fix else f"{before} | {raw} | {after}"
        assert value.value in {"".join(parts) for parts in ANYWHERE.findall(text)}
