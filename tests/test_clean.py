"""Cleaners: each spelling that leads come in, and what must hold for any value at all."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable
from csv import DictReader
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline import zones
from pipeline.clean import CLEANERS, CLEANERS_VERSION, CleanOptions, clean, engine, take
from pipeline.clean.phone import ANYWHERE, area_regions
from pipeline.clean.place import PROVINCES, STATES
from pipeline.clean.text import Fix, tidy
from pipeline.marks import PROBLEMS, REPAIRS, Cleaned


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


CORPORA = Path(os.environ.get("LEADS_CORPORA", ""))
needs_corpora = pytest.mark.skipif(not os.environ.get("LEADS_CORPORA"), reason="LEADS_CORPORA is not set")
CANADA = CleanOptions(regions=("US", "CA"))
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
        ("\u3164Ana\u2800", repaired("Ana", "space")),
        ('="00123"', repaired("00123", "text_formula")),
        ('=" 00123 "', repaired("00123", "text_formula")),
        ('=""', repaired("", "text_formula")),
        ("=\u201c00123\u201d", Said("00123", "text_formula", lossless=False)),
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
@pytest.mark.parametrize(
    "raw",
    [
        *("#N/A", " #REF! ", "#VALUE!", "#DIV/0!", "#NAME?", "#NULL!", "#NUM!", "########", "#UNCALCULATED!"),
        *("#WERT!", "#NV", "#BEZUG!", "#DIV/0 !", "#¡REF!", "#¿NOMBRE?", "#N/D", '="#N/A"'),
    ],
)
def test_cell_error(name: str, raw: str) -> None:
    """A spreadsheet's error is refused in every field and never sent as text."""
    assert said(name, raw).rule == "cell_error"


def test_a_formula_without_its_value_has_its_own_message() -> None:
    """Who never opened the file in a spreadsheet is told to."""
    assert "save it" in said("text", "#UNCALCULATED!").message


@pytest.mark.parametrize("value", ["#5", "#VIP!", "#1 Main St", "# REF", "=1+1", '="a"b"'])
def test_what_only_looks_like_a_formula_or_an_error_stays(value: str) -> None:
    """Text with signs in front is text."""
    assert said("text", value) == Said(value)


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
                "'2025550123",
                "'+1 202 555 0123",
                "p:+12025550123",
                "P: 202-555-0123",
                "tel:+1-202-555-0123",
            )
        ),
        ("'2025550123.0", repaired("2025550123", "float_text")),
        ('="2025550123"', repaired("2025550123", "text_formula")),
        ("\u20192025550123", Said("2025550123", "phone_format", lossless=False)),
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
        ("801-555-0112x4563;801-555-0199", "two_phones"),
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
        ("8335550123", "toll_free_phone"),
        ("8895550123", "toll_free_phone"),
        ("tel:+1-202-555-0123;ext=89", "phone_extension"),
        ("p:+525512345678", "foreign_phone"),
        ("<test lead: dummy data for phone_number>", "bad_phone"),
        ("++1 202 555 0123", "bad_phone"),
        ("2,025,550,123", "bad_phone"),
        ("\u0662\u0660\u0662\u0665\u0665\u0665\u0660\u0661\u0662\u0663", "bad_phone"),
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
        ("n/a", "null_tokens"),
        ("N.A.", "null_tokens"),
        ("-", "null_tokens"),
        ("\uff12\uff10\uff125550123", "another script"),
        ("202-555-0123 x89", 'take = "first"'),
        ("202-555-0123 / 202-555-0124", 'take = "first"'),
        ("900-555-0123", "charges"),
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


@pytest.mark.parametrize(
    ("area", "region"), [("787", "PR"), ("671", "GU"), ("340", "VI"), ("684", "AS"), ("670", "MP")]
)
def test_a_territory_is_a_region_of_its_own(area: str, region: str) -> None:
    """Puerto Rico and its like are called only where the mapping says so, as ISO has them."""
    assert said("us_phone", f"{area}5550123").rule == "phone_region"
    assert said("us_phone", f"{area}5550123", CleanOptions(regions=("US", region))) == Said(f"{area}5550123")


@pytest.mark.parametrize(
    ("cell", "first", "second", "extension"),
    [
        ("202-555-0123", "202-555-0123", "", ""),
        ("202-555-0123 x89", "202-555-0123", "", "89"),
        ("p:+12025550123", "p:+12025550123", "", ""),
        ("1 (202) 555-0123, ext. 4563", "1 (202) 555-0123", "", "4563"),
        ("2025550123#89", "2025550123", "", "89"),
        ("202-555-0123,,89#", "202-555-0123", "", "89"),
        ("tel:+1-202-555-0123;ext=89", "+1-202-555-0123", "", "89"),
        ("801-555-0112x4563;801-555-0199", "801-555-0112", "801-555-0199", "4563"),
        ("202-555-0123 / 202-555-0124", "202-555-0123", "202-555-0124", ""),
        ("2025550123 2025550124 2025550125", "2025550123", "2025550124", ""),
        ("202-555-0123 or\n202-555-0124 EXT 7", "202-555-0123", "202-555-0124", ""),
        # Not one phone after another: whoever reads it says why.
        ("202-555-0123 or 555-0124", "202-555-0123 or 555-0124", "", ""),
        ("home 202-555-0123, 202-555-0124", "home 202-555-0123, 202-555-0124", "", ""),
        ("202-555-0123 x 12-34", "202-555-0123 x 12-34", "", ""),
        ("+44 20 7946 0958 / 202-555-0123", "+44 20 7946 0958 / 202-555-0123", "", ""),
        ("call Bob", "call Bob", "", ""),
        ("", "", "", ""),
    ],
)
def test_a_cell_has_parts(cell: str, first: str, second: str, extension: str) -> None:
    """Two phones and an extension are told apart where nothing else is in the cell."""
    column = pa.array(["202-555-0199", cell])
    parts = [take(which, column).to_pylist()[1] for which in ("first", "second", "extension")]
    assert parts == [first, second, extension]


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
        ("Armed Forces Africa", repaired("AE", "state_name")),
        ("Calif.", repaired("CA", "state_name")),
        ("W. Va.", repaired("WV", "state_name")),
        ("d.c.", repaired("DC", "state_code")),
        ("US-NY", repaired("NY", "state_code")),
    ],
)
def test_state(raw: str, expected: Said) -> None:
    """States in letters or names become the two letters of the post office."""
    assert said("us_state", raw) == expected


@pytest.mark.parametrize("raw", ["ON", "Ontario", "quebec", "Québec", "B.C."])
def test_provinces_need_their_region(raw: str) -> None:
    """A province is refused with its own reason, and taken where regions have Canada."""
    refused, taken = said("us_state", raw), said("us_state", raw, CANADA)
    assert refused.rule == "state_region"
    assert "add CA to regions" in refused.message
    assert taken.value in PROVINCES


@pytest.mark.parametrize("raw", ["ZZ", "Jakarta", "N", "New", "12", "N-Y", "\u0130L"])
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
        ("12345-0000", "", repaired("12345", "zip_format")),
        ("123450000", "", repaired("12345", "zip_format")),
        ("'02139", "", repaired("02139", "zip_format")),
        ("z:02139", "", repaired("02139", "zip_format")),
        ('="02139"', "", repaired("02139", "text_formula")),
        ("00501", "", Said("00501")),
        ("99950", "", Said("99950")),
        ("544", "NY", Said("00544", "zip_padded", lossless=False)),
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
        ("K1A 0B6", "", "zip_region"),
        ("D1A 0B6", "", "bad_zip"),
        ("00000", "", "bad_zip"),
        ("00000-0000", "", "bad_zip"),
        ("99999", "", "bad_zip"),
        ("123456", "", "bad_zip"),
        ("1.23457E+08", "", "lossy_number"),
    ],
)
def test_bad_zip(raw: str, state: str, rule: str) -> None:
    """A ZIP code is never completed by guessing."""
    assert said("us_zip", raw, State=state).rule == rule


def test_postal_codes_of_canada() -> None:
    """Where regions have Canada, its postal codes get their capitals and their space."""
    assert said("us_zip", "K1A 0B6", CANADA) == Said("K1A 0B6")
    assert said("us_zip", "k1a0b6", CANADA) == repaired("K1A 0B6", "zip_format")
    assert said("us_zip", "D1A 0B6", CANADA).rule == "bad_zip"


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
        ("15-Jan-2027 14:30", CleanOptions(), "01/15/2027 14:30:00"),
        ("3 march 2027 9:05", CleanOptions(), "03/03/2027 09:05:00"),
        ("Jan 5, 2027 at 2:30 PM", CleanOptions(), "01/05/2027 14:30:00"),
        ("Sept. 5th 2027 2:30 PM", DMY, "09/05/2027 14:30:00"),
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
        ("15-Foo-2027 14:30", CleanOptions(), "bad_date", "not a date"),
        ("30 Feb 2027 14:30", CleanOptions(), "bad_date", "no such"),
        ("12/31/9999 14:30", CleanOptions(), "bad_date", "in that year"),
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


NEW_YORK, CHICAGO, PHOENIX = "2125550123", "3125550123", "6025550123"
FLORIDA = "8505550123"  # in two zones
NOON = CleanOptions("mdy", now=datetime(2026, 11, 21, 17, tzinfo=UTC))  # in New York


def where(raw: str, phone: str = "", zip_code: str = "", options: CleanOptions = MDY) -> Said:
    """What is said of a callback's date beside a phone and a ZIP."""
    return said("callback_date", raw, options, PrimaryPhone=phone, ZipCode=zip_code)


@pytest.mark.parametrize(
    ("raw", "phone", "value"),
    [
        ("2026-12-01T14:30:00Z", NEW_YORK, "12/01/2026 09:30:00"),
        ("2026-07-01T14:30:00Z", NEW_YORK, "07/01/2026 10:30:00"),
        ("2026-12-01T14:30:00.000+0000", CHICAGO, "12/01/2026 08:30:00"),
        ("2026-12-01T01:30:00-05:00", CHICAGO, "12/01/2026 00:30:00"),
        ("2026-12-01 14:30 UTC+2", NEW_YORK, "12/01/2026 07:30:00"),
        ("2026-07-01 14:30 GMT", PHOENIX, "07/01/2026 07:30:00"),
        ("12/25/2026 2:30 PM EST", NEW_YORK, "12/25/2026 14:30:00"),
        ("12/25/2026 2:30 PM ET", CHICAGO, "12/25/2026 13:30:00"),
        ("07/25/2026 2:30 PM PDT", CHICAGO, "07/25/2026 16:30:00"),
        ("07/25/2026 2:30 PM MST", PHOENIX, "07/25/2026 14:30:00"),
    ],
)
def test_a_time_with_a_zone_becomes_the_customers(raw: str, phone: str, value: str) -> None:
    """An offset, or the name of a zone, is converted to what clocks show where the customer is."""
    assert where(raw, phone) == repaired(value, "date_zone")


def test_the_zip_tells_the_zone_where_no_phone_does() -> None:
    """The ZIP counts beside the phone, and alone."""
    assert where("2026-12-01T14:30:00Z", "", "85001").value == "12/01/2026 07:30:00"
    assert where("2026-12-01T14:30:00Z", "5552345678", "85001").value == "12/01/2026 07:30:00"
    assert where("2026-12-01T14:30:00Z", NEW_YORK, "10001").value == "12/01/2026 09:30:00"


@pytest.mark.parametrize(
    ("raw", "phone", "zip_code"),
    [
        ("2026-12-01T14:30:00Z", FLORIDA, ""),
        ("2026-12-01T14:30:00Z", NEW_YORK, "85001"),
        ("2026-12-01T14:30:00Z", "5552345678", ""),
        ("2026-12-01T14:30:00Z", "n/a", "00000"),
        ("2026-12-01T14:30:00+15:00", NEW_YORK, ""),
        ("07/25/2026 2:30 PM EST", NEW_YORK, ""),
    ],
)
def test_a_zone_is_not_converted_by_guessing(raw: str, phone: str, zip_code: str) -> None:
    """Where phone and ZIP tell several times, or none, and where a name does not hold in that season: refused."""
    assert where(raw, phone, zip_code).rule == "date_offset"


def test_two_zones_of_one_time_are_one() -> None:
    """Phone and ZIP may be in zones of different names, if clocks show the same there."""
    assert where("2026-12-01T14:30:00Z", PHOENIX, "80202").value == "12/01/2026 07:30:00"
    assert where("2026-07-01T14:30:00Z", PHOENIX, "80202").rule == "date_offset"


def test_an_hour_that_clocks_leave_out_is_refused() -> None:
    """2:30 in the night in which summer begins is no time in New York, and one in Phoenix."""
    gap = "03/14/2027 02:30:00"
    assert where(gap, NEW_YORK).rule == "dst_gap"
    assert where(gap, "", "10001").rule == "dst_gap"
    assert where(gap, PHOENIX, "10001").rule == "dst_gap"
    assert where("03/14/2027 2:30 AM ET", PHOENIX).rule == "dst_gap"
    assert where(gap, PHOENIX) == Said(gap)
    assert where(gap, CHICAGO, options=CleanOptions("mdy", now=NOON.now)).rule == "dst_gap"
    assert where("03/14/2027 03:00:00", NEW_YORK) == Said("03/14/2027 03:00:00")


def test_an_hour_that_clocks_show_twice_is_fine() -> None:
    """Either is a time at which the customer can be called; converted into, which of them it was is lost."""
    twice = "11/07/2027 01:30:00"
    assert where(twice, NEW_YORK) == Said(twice)
    assert where("2027-11-07T05:30:00Z", NEW_YORK) == Said(twice, "date_zone", lossless=False)


@pytest.mark.parametrize(
    ("raw", "phone", "rule"),
    [
        ("11/21/2026 11:59:59", NEW_YORK, "past_date"),
        ("11/21/2026 12:00:00", NEW_YORK, "past_date"),
        ("11/21/2026 12:00:01", NEW_YORK, ""),
        ("11/21/2026 11:00:01", CHICAGO, ""),
        ("11/21/2026 11:30:00", FLORIDA, "past_date"),
        ("2026-11-21T16:59:00Z", CHICAGO, "past_date"),
        ("2026-11-21T17:01:00Z", CHICAGO, "date_zone"),
        ("11/21/2026 05:59:00", "", "past_date"),
        ("11/21/2026 06:01:00", "", ""),
        ("12/25/2020 14:30:00", NEW_YORK, "past_date"),
        ("2020-12-25 14:30", NEW_YORK, "past_date"),
        ("11/23/2026 00:00:00", NEW_YORK, ""),
        ("2026-11-24 09:00", NEW_YORK, "date_format"),
    ],
)
def test_a_past_time_is_refused(raw: str, phone: str, rule: str) -> None:
    """A callback that is past wherever the customer is, or in one of the zones where the phone may be."""
    assert where(raw, phone, options=NOON).rule == rule


def test_without_a_clock_nothing_is_past() -> None:
    """Where the policy allows past dates, no clock is given."""
    assert where("12/25/2020 14:30:00", NEW_YORK) == Said("12/25/2020 14:30:00")


def test_clocks_leave_out_hours_only_where_the_fast_path_looks() -> None:
    """In every zone of the plan, since 2007: in March, and before four o'clock."""
    named = {name for area in range(200, 1000) for name in zones.of_area_code(str(area))}
    named |= {name for prefix in range(1000) for name in zones.of_zip(f"{prefix:03}00")}
    assert len(named) > 30
    days = [datetime(2007, 1, 1, tzinfo=UTC) + timedelta(days=n) for n in range(34 * 365)]
    for zone in map(ZoneInfo, sorted(named)):
        offsets = [day.astimezone(zone).utcoffset() for day in days]
        for before, after, day in zip(offsets, offsets[1:], days, strict=False):
            if after > before:
                hours = (day + timedelta(hours=n) for n in range(25))
                begins = next(hour.astimezone(zone) for hour in hours if hour.astimezone(zone).utcoffset() == after)
                assert begins.month == 3
                assert begins.hour <= 4  # the first that is there again


# --- flags


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("1", ["true", "TRUE", "t", "yes", "Y", "on", "1.0", " Yes "]),
        ("0", ["false", "False", "F", "no", "n", "OFF", "0.0"]),
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


# --- emails


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("ana@example.com", Said("ana@example.com")),
        ("Ana.Diaz+x@example.co.uk", Said("Ana.Diaz+x@example.co.uk")),
        ("jos\u00e9@example.com", Said("jos\u00e9@example.com")),
        (" ana@example.com ", repaired("ana@example.com", "trimmed")),
        ("ana\u200b@example.com", repaired("ana@example.com", "invisible")),
        ("Ana@EXAMPLE.Com", repaired("Ana@example.com", "email_format")),
        ("ana@example.com.", repaired("ana@example.com", "email_format")),
        ("ana@example.com;", repaired("ana@example.com", "email_format")),
        ("mailto:ana@example.com", repaired("ana@example.com", "email_format")),
        ("<ana@example.com>", repaired("ana@example.com", "email_format")),
        ("Ana Diaz <ana@example.com>", Said("ana@example.com", "email_format", lossless=False)),
    ],
)
def test_email(raw: str, expected: Said) -> None:
    """One address without what programs write around it; the name before @ is case-sensitive."""
    assert said("email", raw) == expected


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ("ana", "@"),
        ("ana@", "@"),
        ("ana@example", "period"),
        ("ana@@example.com", "@"),
        ("ana diaz@example.com", "SPACE"),
        ("ana..diaz@example.com", "period"),
        ("ana@example..com", "period"),
        ("n/a", "@"),
        ("ana@example.com, bo@example.com", "more than one"),
        ("ana@example.com bo@example.com", "more than one"),
        ("Ana <ana@example.com>; Bo <bo@example.com>", "more than one"),
    ],
)
def test_bad_email(raw: str, words: str) -> None:
    """What is no address, or two, is refused in words."""
    found = said("email", raw)
    assert found.rule == "bad_email"
    assert words in found.message


# --- ids and numbers


@pytest.mark.parametrize(
    "value",
    [
        *("17", "007", "S-1001", "00Q5e000001AbCd", "l:1234567890", "12E45", "5E-1", "123e4567-e89b-12d3-a456"),
        *("1234567890123456", "1234567890123450", "12345678901234567", "A1.0", "1.5", "100000000000000", "'17"),
    ],
)
def test_an_id_stays(value: str) -> None:
    """An id is a word: zeros in front, letters and long numbers are its own."""
    assert said("identifier", value) == Said(value)


@pytest.mark.parametrize("raw", ["17.0", "17.00", " 17.0"])
def test_an_id_that_was_a_float(raw: str) -> None:
    """A number's ".0" is no part of an id."""
    assert said("identifier", raw) == repaired("17", "float_text")


@pytest.mark.parametrize(
    "raw", ["1.23457E+15", "1,23457E+15", "1E+17", "1234567890123400", "123456789012345000", "9007199254740992.0"]
)
def test_an_id_whose_digits_are_lost(raw: str) -> None:
    """An id that a spreadsheet shortened would name another lead."""
    assert said("identifier", raw).rule == "lossy_number"


def test_whole_numbers() -> None:
    """A number's ".0" goes; what is no number is for the field's own rule to judge."""
    assert said("whole_number", "20") == Said("20")
    assert said("whole_number", "20.0") == repaired("20", "float_text")
    assert said("whole_number", "20.5") == Said("20.5")
    assert said("whole_number", "soon") == Said("soon")


# --- columns


def test_interface() -> None:
    """The cleaners that operations name are there, under a version."""
    phones = {"us_phone", "office_phone", "phone_list"}
    others = {"us_state", "us_zip", "callback_date", "email", "identifier", "whole_number", "flag", "text"}
    assert set(CLEANERS) == phones | others
    assert CLEANERS_VERSION == 2


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
_PHONES = ["202", "555", "0123", "2025550123", "416", "800", "900", "911", "x", "ext", "p:", "'", "tel:"]
_DATES = ["12", "25", "03/04", "2026", "10:00", "T", "PM", "Z", "Jan", "EST"]
_WORDS = ["NY", "n.y.", "Maine", "Ont", "2139", "02139", "6789", "0000", "yes", "TRUE", "#N/A", "Jose\u0301"]
_SIGNS = ["\U0001f469", "\u0651", "K1A", "0B6", "ana", "@", "example", ".com", "<", ">", '="', '"', "=", "E+15", "000"]
_BITS = st.sampled_from([*_MARKS, *_PHONES, *_DATES, *_WORDS, *_SIGNS])
VALUES = st.text(max_size=12) | st.lists(_BITS, max_size=7).map("".join)
SPELLINGS = st.from_regex(
    r"\A(p:|')?(\+?1[-. ]?)?\(?[2-9][0-9][0-9]\)?[-./ ]{0,2}[2-9][0-9][0-9][-./ ]?01[0-9][0-9](\.0)?\Z", fullmatch=True
)
SEVERAL = st.lists(SPELLINGS | st.sampled_from(["x89", " ext. 7", ";", " / ", ", ", " "]), max_size=5).map("".join)
SHAPES = ("{m:02}/{d:02}/{y:04} {t}", "{d}/{m}/{y:04} {s}", "{y:04}-{m:02}-{d:02} {t}", "{y:04}-{m:02}-{d:02}T{s}")
ZONED = ("{y:04}-{m:02}-{d:02}T{t}Z", "{y:04}-{m:02}-{d:02}T{t}-05:00", "{m}/{d}/{y:04} {s} EST", "{d} Jan {y} {s} ET")
SOON = st.datetimes(datetime(2026, 1, 2), datetime(2030, 1, 1))  # noqa: DTZ001 - as a cell has them, without a zone
MOMENTS = st.datetimes() | SOON
DATES = st.builds(
    lambda t, shape: shape.format(y=t.year, m=t.month, d=t.day, t=f"{t:%H:%M:%S}", s=f"{t:%H:%M}"),
    MOMENTS,
    st.sampled_from([*SHAPES, *ZONED]),
)
IDS = st.from_regex(
    r"\A[0-9]{1,3}([0-9]{12,16}0{0,4})?(\.0)?\Z|\A[0-9](\.[0-9]{1,3})?[eE][-+]?[0-9][0-9]?\Z|\A[0-9A-E]{8}\Z",
    fullmatch=True,
)
EMAILS = st.from_regex(r"\A(mailto:|Ana <)?[aA.+-]{1,3}@([aA-]{1,3}\.){1,2}(com|Com|test|b)>?[.;]?\Z", fullmatch=True)
OPTIONS = st.builds(
    CleanOptions,
    date_order=st.sampled_from([None, "mdy", "dmy", "ymd"]),
    regions=st.sampled_from([("US",), ("US", "CA")]),
    now=st.sampled_from(
        [None, NOON.now, datetime(2027, 3, 13, 23, 59, tzinfo=UTC), datetime(2026, 12, 31, tzinfo=UTC)]
    ),
)
ZIPS = st.from_regex(r"\A(z:|')?[0-9]{3,5}[- ]?([0-9]{4})?(\.0)?\Z", fullmatch=True)
STATED = st.sampled_from([*STATES.values(), *STATES, "wa.", "n. y.", "US-MA", "Colo."])
FLAGS = st.sampled_from(["yes", "No", "TRUE", "f", "1", "0", "on", "2"])
ANY_VALUE = VALUES | SPELLINGS | SEVERAL | DATES | IDS | EMAILS | ZIPS | STATED | FLAGS
OWN: dict[str, st.SearchStrategy[str]] = {  # what is in the columns of a cleaner, most of the time
    **dict.fromkeys(("us_phone", "office_phone", "phone_list"), SPELLINGS | SEVERAL),
    **dict.fromkeys(("identifier", "whole_number"), IDS),
    "callback_date": DATES,
    "email": EMAILS,
    "flag": FLAGS,
    "text": VALUES,
    "us_state": STATED,
    "us_zip": ZIPS,
}
AROUND = st.sampled_from(["", "", "", " ", "\xa0", "\u200b", "\n"])


def own(name: str) -> st.SearchStrategy[str]:
    """Values of a cleaner's columns, some of them with what nobody sees around them."""
    return st.builds("".join, st.tuples(AROUND, OWN[name], AROUND)) | ANY_VALUE


NAMES = st.sampled_from(sorted(CLEANERS))
VALUE = NAMES.flatmap(lambda name: st.tuples(st.just(name), own(name)))
COLUMN = NAMES.flatmap(lambda name: st.tuples(st.just(name), st.lists(own(name), max_size=12)))
THOROUGH = settings(max_examples=400)
Row = dict[str, str]
BESIDE = st.fixed_dictionaries(
    {
        "State": st.sampled_from(["", "MA", "NY"]),
        "PrimaryPhone": st.sampled_from(["", NEW_YORK, PHOENIX, FLORIDA, "n/a"]),
        "ZipCode": st.sampled_from(["", "10001", "85001", "K1A 0B6"]),
    }
)


def cleaned(name: str, column: list[str], options: CleanOptions, beside: Row) -> Cleaned:
    context = {field: pa.array([value] * len(column), pa.string()) for field, value in beside.items()}
    return clean(name, "F", pa.array(column, pa.string()), options, context)


@given(COLUMN, OPTIONS, BESIDE)
def test_every_change_is_recorded(case: tuple[str, list[str]], options: CleanOptions, beside: Row) -> None:
    """Each cell is as it was, or has exactly one repair, or keeps its value and has exactly one problem."""
    name, column = case
    done = cleaned(name, column, options, beside)
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


@THOROUGH
@given(COLUMN, OPTIONS, BESIDE)
def test_cleaning_twice_is_cleaning_once(case: tuple[str, list[str]], options: CleanOptions, beside: Row) -> None:
    """A cleaned value stays as it is beside the same values; cleaned dates read in the vendor's own order."""
    name, column = case
    once = cleaned(name, column, options, beside)
    refused = set(once.problems["position"].to_pylist())
    kept = [value for i, value in enumerate(once.values.to_pylist()) if i not in refused]
    again = cleaned(name, kept, replace(options, date_order="mdy"), beside)
    assert again.values.to_pylist() == kept
    assert (again.repairs.num_rows, again.problems.num_rows) == (0, 0)


@given(VALUE, OPTIONS, BESIDE)
def test_by_column_as_by_value(case: tuple[str, str], options: CleanOptions, beside: Row) -> None:
    """The fast path for whole columns says what the judgement of a single value says."""
    name, raw = case
    seen = [other.seen_as(pa.array([beside[other.field]]))[0].as_py() for other in CLEANERS[name].beside]
    mark = engine.judge(CLEANERS[name], raw, options, seen)
    (value,) = cleaned(name, [raw], options, beside).values.to_pylist()
    found = said(name, raw, options, **beside)
    if isinstance(mark, Fix):
        assert (value, found.rule, found.lossless) == mark
    else:
        assert (value, found.rule) == (raw, mark.rule if mark else "")


@given(COLUMN, OPTIONS, st.lists(BESIDE, min_size=12, max_size=12))
def test_each_row_is_judged_beside_its_own(case: tuple[str, list[str]], options: CleanOptions, rows: list[Row]) -> None:
    """A column is cleaned as its rows are one by one, whatever stands beside the others."""
    name, column = case
    context = {field: pa.array([row[field] for row in rows[: len(column)]], pa.string()) for field in rows[0]}
    done = clean(name, "F", pa.array(column, pa.string()), options, context)
    alone = [cleaned(name, [raw], options, row) for raw, row in zip(column, rows, strict=False)]
    assert done.values.to_pylist() == [one.values[0].as_py() for one in alone]
    assert done.repairs["rule"].to_pylist() == [r for one in alone for r in one.repairs["rule"].to_pylist()]
    assert done.problems["rule"].to_pylist() == [r for one in alone for r in one.problems["rule"].to_pylist()]


def _seen(text: str) -> str:
    """What a person sees of a text, blanks apart."""
    inner = re.fullmatch(r'\s*="([^"]*)"\s*', tidy(text).value if tidy(text) else text)
    shown = unicodedata.normalize("NFC", inner[1] if inner else text)
    hidden = {"Cc", "Cf", "Zs", "Zl", "Zp"}
    kept = (c for c in shown if unicodedata.category(c) not in hidden and c not in "\u034f\u2800\u3164\uffa0")
    return unicodedata.normalize("NFC", "".join(kept))


def _digits(text: str) -> str:
    return "".join(c for c in re.sub(r"\.0+(?=\D*$)", "", text) if c in "0123456789")


def _numbers(text: str) -> list[int]:
    """The numbers of a date, its month's name and its clock of 12 told as such; noughts say nothing."""
    text = re.sub("jan", "1 ", text, flags=re.IGNORECASE)
    found = [int(n) for n in re.findall(r"[0-9]+", text)]
    return sorted(n % 12 if n < 24 else n for n in found if n % 12 or n > 23)


# What a lossless repair keeps: (raw, value) mean the same.
MEANING: dict[str, Callable[[str, str], bool]] = {
    **dict.fromkeys(
        ("trimmed", "newline", "space", "invisible", "nfc", "text_formula"), lambda raw, new: _seen(raw) == _seen(new)
    ),
    "phone_format": lambda raw, new: re.sub("^(00)?1", "", _digits(raw)) == new,
    "float_text": lambda raw, new: (  # of a ZIP, four zeros are not known
        _digits(raw) in (new, f"1{new}", f"{new}0000" if len(new) == 5 else new)
    ),
    "phone_list": lambda raw, new: set(new.split("|")) <= set(re.findall("[0-9]{10}", "|".join(ten_digits(raw)))),
    "state_code": lambda raw, new: (
        re.sub("^(us|usa|ca)-", "", raw.lower()).replace(".", "").split() == [*new.lower()]
        or "".join(c for c in raw.upper().removeprefix("US-") if c.isalpha()) == new
    ),
    "state_name": lambda raw, new: said("us_state", STATES.get(new) or PROVINCES[new], CANADA).value == new,
    "zip_plus4": lambda raw, new: _digits(raw) == _digits(new),
    "zip_format": lambda raw, new: (
        re.sub("[^0-9A-Y]", "", re.sub("^Z:", "", raw.upper()))
        in (compact := new.replace("-", "").replace(" ", ""), f"{compact}0000")
    ),
    "date_format": lambda raw, new: _numbers(raw) == _numbers(new),
    "flag_word": lambda raw, new: (
        (raw.strip()[0] in "1tTyYoO" and "f" not in raw.lower().removeprefix("f")) == (new == "1")
    ),
    "email_format": lambda raw, new: new.lower() in raw.lower(),
}


def ten_digits(text: str) -> list[str]:
    """Each phone in a list of them."""
    return [_digits(part)[-10:] for part in re.split(r"[|,;\n]", re.sub(r"\.0+(?![0-9])", "", text))]


@THOROUGH
@given(COLUMN, OPTIONS, BESIDE)
def test_a_lossless_repair_keeps_the_meaning(case: tuple[str, list[str]], options: CleanOptions, beside: Row) -> None:
    """What the raw value meant can be told from the cleaned one; a zone's own test is below."""
    name, column = case
    for repair in cleaned(name, column, options, beside).repairs.to_pylist():
        rule = repair["rule"]
        if repair["lossless"] and rule != "date_zone":
            raw = tidy(repair["raw"]).value if rule != "trimmed" and tidy(repair["raw"]) else repair["raw"]
            assert MEANING[rule](raw, repair["value"]), repair


@given(SOON, st.sampled_from([("mdy", "%m/%d/%Y %H:%M"), ("dmy", "%d/%m/%Y %H:%M"), ("ymd", "%Y/%m/%d %H:%M")]))
def test_a_date_is_the_moment_that_was_written_in_its_order(written: datetime, order: tuple[str, str]) -> None:
    """Day and month are never swapped."""
    written, (name, shape) = written.replace(second=0, microsecond=0), order
    assert said("callback_date", written.strftime(shape), CleanOptions(name)).value == f"{written:%m/%d/%Y %H:%M:%S}"


@given(
    SOON,
    st.integers(-14 * 60, 14 * 60),
    st.sampled_from([(NEW_YORK, "America/New_York"), (PHOENIX, "America/Phoenix"), (CHICAGO, "America/Chicago")]),
)
def test_a_converted_time_is_the_same_moment(written: datetime, minutes: int, there: tuple[str, str]) -> None:
    """The vendor's shape, read where the customer is, is the moment that was written with an offset."""
    sign, (hours, rest) = "-" if minutes < 0 else "+", divmod(abs(minutes), 60)
    written = written.replace(microsecond=0)
    raw = f"{written.isoformat()}{sign}{hours:02}:{rest:02}"
    found = where(raw, there[0])
    assume(found.lossless)
    shown = datetime.strptime(found.value, "%m/%d/%Y %H:%M:%S").replace(tzinfo=ZoneInfo(there[1]))
    assert shown == datetime.fromisoformat(raw)


@given(st.lists(SEVERAL | VALUES, min_size=1, max_size=12), st.sampled_from(["first", "second", "extension"]))
def test_a_part_is_in_its_cell(column: list[str], which: str) -> None:
    """What a field takes of a cell stands there, in one piece."""
    parts = take(which, pa.array(column, pa.string())).to_pylist()
    for cell, part in zip(column, parts, strict=True):
        fix = tidy(cell)
        assert part in (cell, "") or part in (fix.value if fix else cell)


@THOROUGH
@given(st.lists(VALUES | SPELLINGS | SEVERAL | DATES, min_size=1, max_size=12), OPTIONS)
def test_phones_are_in_their_cells(column: list[str], options: CleanOptions) -> None:
    """No phone comes out but the ten digits of its cell, in that order; beside them are the country's only."""
    done = clean("us_phone", "F", pa.array(column, pa.string()), options)
    refused = set(done.problems["position"].to_pylist())
    for i, (raw, value) in enumerate(zip(column, done.values.to_pylist(), strict=True)):
        if value and i not in refused:
            assert len(value) == 10
            assert re.sub("^(00)?1", "", _digits(raw)) == value


@given(SPELLINGS | VALUES, VALUES, VALUES)
def test_a_phone_is_found_anywhere(raw: str, before: str, after: str) -> None:
    """A cell that is a phone is found with anything around it but digits."""
    value = said("us_phone", raw)
    if not value.message and value.value:
        fix = tidy(f"{before} | {raw} | {after}")
        text = fix.value if fix else f"{before} | {raw} | {after}"
        assert value.value in {"".join(parts) for parts in ANYWHERE.findall(text)}


# --- public lists


@needs_corpora
def test_phones_of_a_public_library_are_read_as_it_reads_them() -> None:
    """Where we find a phone among libphonenumber's own test strings, it finds the same; vanity words are none to us."""
    with (CORPORA / "4_phones/libphonenumber_test_strings.DERIVED.tsv").open(encoding="utf-8", newline="") as file:
        rows = [*DictReader(file, delimiter="\t", quoting=3)]
    done = clean("us_phone", "PrimaryPhone", pa.array([row["raw"] for row in rows]), CleanOptions())
    refused = set(done.problems["position"].to_pylist())
    read = zip(rows, done.values.to_pylist(), strict=True)
    phones = [(row["e164"], value) for at, (row, value) in enumerate(read) if at not in refused]
    assert len(phones) > 20
    assert not [pair for pair in phones if not pair[0].endswith(pair[1])]


@needs_corpora
def test_every_phone_of_a_public_list_of_leads_is_read_or_refused_for_a_reason() -> None:
    """Of ten thousand invented leads: with the first phone taken, no cell is unreadable."""
    with (CORPORA / "1_leads/datablist/leads-10000.csv").open(encoding="utf-8", newline="") as file:
        column = pa.array([row["Phone 2"] for row in DictReader(file)])
    done = clean("us_phone", "PrimaryPhone", take("first", column), CleanOptions())
    shape = {"phone_region", "toll_free_phone", "premium_phone"}
    unreadable = [p for p in done.problems.to_pylist() if p["rule"] not in shape and "can't be" not in p["message"]]
    assert not [p for p in unreadable if "No US area code" not in p["message"]]
