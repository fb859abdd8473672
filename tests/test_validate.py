"""Cleaning and checking of chunks: each refused value is told once, each changed value is recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from given import INSERT, TEXT, UPDATE, checked, plan, text_frame, validator
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.clean import CleanOptions
from pipeline.mapped import Mapped, apply
from pipeline.marks import PROBLEMS, REPAIRS
from pipeline.validate import Checked

FIELDS = INSERT + 'City = "City"\nState = "State"\nZipCode = "Zip"\nNotes = "Notes"\n'
Columns = Mapping[str, Sequence[str]]


def told(table: pa.Table, *columns: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in columns) for row in table.to_pylist()]


def problems(done: Checked) -> list[tuple[Any, ...]]:
    return sorted(told(done.problems, "position", "field", "rule", "value"))


def repairs(done: Checked) -> list[tuple[Any, ...]]:
    return sorted(told(done.repairs, "position", "field", "rule", "raw", "value", "lossless"))


def test_rows_are_cleaned_and_judged() -> None:
    """Each row keeps its place: right values stay, wrong spellings are repaired, wrong values are told."""
    done = checked(
        FIELDS,
        {
            "Phone": ["2025550101", "(202) 555-0102", "5550103", ""],
            "City": ["Bath", " Bath ", "Bath", "x" * 101],
            "State": ["ME", "maine", "ME", "ZZ"],
            "Zip": ["04530", "4530", "4530", "1"],
            "Notes": ["NA", "None", "", "null"],
        },
    )
    assert list(done.frame.index) == [2, 3, 4, 5]
    assert all(dtype == TEXT for dtype in done.frame.dtypes)
    assert list(done.valid) == [True, True, False, False]
    assert list(done.frame["PrimaryPhone"]) == ["2025550101", "2025550102", "5550103", ""]
    assert list(done.frame["ZipCode"]) == ["04530", "04530", "04530", "1"]
    assert list(done.frame["Notes"]) == ["NA", "None", "", "null"]
    assert problems(done) == [
        (2, "PrimaryPhone", "bad_phone", "5550103"),
        (3, "City", "too_long", "x" * 101),
        (3, "PrimaryPhone", "missing", ""),
        (3, "State", "bad_state", "ZZ"),
        (3, "ZipCode", "bad_zip", "1"),
    ]
    assert repairs(done) == [
        (1, "City", "trimmed", " Bath ", "Bath", True),
        (1, "PrimaryPhone", "phone_format", "(202) 555-0102", "2025550102", True),
        (1, "State", "state_name", "maine", "ME", True),
        (1, "ZipCode", "zip_padded", "4530", "04530", False),
        (2, "ZipCode", "zip_padded", "4530", "04530", False),
    ]
    assert done.problems.schema == PROBLEMS
    assert done.repairs.schema == REPAIRS


def test_no_rows_are_no_trouble() -> None:
    """A chunk whose rows are all ragged leaves an empty frame, and that is checked, for every kind of operation."""
    for toml, headers in ((FIELDS, ("Phone", "City", "State", "Zip", "Notes")), (UPDATE, ("By", "Id", "City"))):
        for policy in ("", '[policy]\noverlong = "truncate"'):
            done = checked(toml + policy, dict.fromkeys(headers, ()))
            assert done.frame.shape[0] == len(done.valid) == done.problems.num_rows == done.repairs.num_rows == 0
            assert list(done.frame.columns) == list(plan(toml, *headers).columns)


def test_the_mappings_problem_comes_first() -> None:
    """A cell has one problem at most: a value that no map knows need not be too long as well."""
    toml = INSERT + 'Rep = { column = "Owner", map = { a = "b" } }'
    done = checked(toml, {"Phone": ["2025550101"] * 2, "Owner": ["x" * 51, "a"]})
    assert problems(done) == [(0, "Rep", "unmapped_value", "x" * 51)]
    assert list(done.valid) == [False, True]


def test_columns_in_pieces_are_one() -> None:
    """A frame whose columns Arrow holds in pieces is cleaned like any other."""
    first = text_frame({"By": ["Phone", "ClientId"], "Id": ["(202) 555-0101", "(17)"], "City": ["a", "b"]})
    pieces = pd.concat([first, first.set_axis([4, 5])])
    judge = validator(UPDATE, "By", "Id", "City")
    done = judge.check(apply(judge.plan, pieces))
    assert list(done.frame["Identifier"]) == ["2025550101", "(17)"] * 2
    assert list(done.valid) == [True] * 4


def test_an_identifier_is_cleaned_as_what_it_is() -> None:
    """Where the search field, row by row, says Phone, the identifier is a phone; elsewhere it is plain text."""
    done = checked(
        UPDATE,
        {
            "By": ["ClientId", "Phone", "LeadId", " Phone ", "phone", ""],
            "Id": [" 202-555-0101 ", "202-555-0101", "17", "555", "202-555-0101", "1"],
            "City": ["x"] * 6,
        },
    )
    assert list(done.frame["Identifier"]) == ["202-555-0101", "2025550101", "17", "555", "202-555-0101", "1"]
    assert problems(done) == [
        (3, "Identifier", "bad_phone", "555"),
        (4, "SearchField", "not_allowed", "phone"),
        (5, "SearchField", "missing", ""),
    ]
    assert [(p, f, raw) for p, f, _, raw, _, _ in repairs(done)] == [
        (0, "Identifier", " 202-555-0101 "),
        (1, "Identifier", "202-555-0101"),
        (3, "SearchField", " Phone "),
    ]


def test_a_constant_search_field_counts_too() -> None:
    """The search field may be a constant of the mapping, and a cleaner that is named counts more."""
    toml = UPDATE.replace('"By"', '{ value = "Phone" }')
    columns = {"Id": ["202-555-0101"], "City": ["x"]}
    assert list(checked(toml, columns).frame["Identifier"]) == ["2025550101"]
    named = toml.replace('"Id"', '{ column = "Id", clean = "text" }')
    assert list(checked(named, columns).frame["Identifier"]) == ["202-555-0101"]


def test_the_state_is_cleaned_before_the_zip() -> None:
    """A ZIP code is padded by its state even where the state itself had to be mended, whatever the order."""
    toml = INSERT + 'ZipCode = "Zip"\nState = "State"\n"adv_Zip" = { column = "Zip", clean = "us_zip" }'
    done = checked(toml, {"Phone": ["2025550101"], "Zip": ["4530"], "State": ["maine"]})
    assert list(done.frame.iloc[0]) == ["Spring", "2025550101", "ME", "04530", "04530"]


def test_a_callback_is_judged_where_the_customer_is() -> None:
    """Phone and ZIP are cleaned before the date that is judged by them, whatever the order and their spelling."""
    toml = INSERT + 'CallbackAgent = "A"\nCallbackDate = "When"\nState = "State"\nZipCode = "Zip"'
    columns = {
        "Phone": ["(602) 555-0101", "(602) 555-0102", "(555) 234-5678", "x"],
        "A": ["ann"] * 4,
        "When": ["2027-07-01T14:30:00Z", "2027-07-01T14:30:00Z", "2027-07-01T14:30:00Z", "2027-03-14 02:30"],
        "State": ["AZ", "maine", "maine", "maine"],
        "Zip": ["85001", "4530", "4530", "4530"],
    }
    done = checked(toml, columns)
    assert list(done.frame["CallbackDate"][:3]) == ["07/01/2027 07:30:00", columns["When"][1], "07/01/2027 10:30:00"]
    assert [(p, rule) for p, field, rule, _ in problems(done) if field == "CallbackDate"] == [
        (1, "date_offset"),
        (3, "dst_gap"),
    ]


def test_a_cell_is_taken_apart() -> None:
    """One column gives a phone, a second one and an extension, each cleaned as its field asks and each recorded."""
    toml = INSERT.replace('"Phone"', '{ column = "Phone", take = "first" }') + (
        'adv_Ext = { column = "Phone", take = "extension", default = "none" }\n'
        'OtherPhone = { column = "Phone", take = "second" }\n[extra_fields]\nOtherPhone = 10'
    )
    done = checked(toml, {"Phone": ["801-555-0102 x45; (801) 555-0103", "8015550104", "8015550105 or Bob", "x9"]})
    assert list(done.frame["PrimaryPhone"]) == ["8015550102", "8015550104", "8015550105 or Bob", "x9"]
    assert list(done.frame["OtherPhone"]) == ["8015550103", "", "", ""]
    assert list(done.frame["adv_Ext"]) == ["45", "none", "none", "none"]
    assert problems(done) == [
        (2, "PrimaryPhone", "bad_phone", "8015550105 or Bob"),
        (3, "PrimaryPhone", "bad_phone", "x9"),
    ]
    cell = "801-555-0102 x45; (801) 555-0103"
    assert repairs(done) == [
        (0, "OtherPhone", "part_taken", cell, "(801) 555-0103", False),
        (0, "OtherPhone", "phone_format", "(801) 555-0103", "8015550103", True),
        (0, "PrimaryPhone", "part_taken", cell, "801-555-0102", False),
        (0, "PrimaryPhone", "phone_format", "801-555-0102", "8015550102", True),
        (0, "adv_Ext", "part_taken", cell, "45", False),
    ]


def test_ids_and_numbers_of_spreadsheets() -> None:
    """A ClientId that lost its digits is refused, a ".0" is no part of an id or of a choice."""
    toml = INSERT + 'ClientId = "Id"\nDuplicatesCheck = "Dup"'
    columns = {"Phone": ["2025550101"] * 3, "Id": ["17.0", "1.23457E+15", "00017"], "Dup": ["1.0", "2", "x"]}
    done = checked(toml, columns)
    assert list(done.frame["ClientId"]) == ["17", "1.23457E+15", "00017"]
    assert list(done.frame["DuplicatesCheck"]) == ["1", "2", "x"]
    assert problems(done) == [
        (1, "ClientId", "lossy_number", "1.23457E+15"),
        (2, "DuplicatesCheck", "not_allowed", "x"),
    ]


def test_an_email_in_a_custom_field() -> None:
    """A custom field is an email where the mapping says so."""
    toml = INSERT + 'adv_Email = { column = "Mail", clean = "email" }'
    done = checked(toml, {"Phone": ["2025550101"] * 2, "Mail": ["Ana <ana@EXAMPLE.com>", "ana"]})
    assert list(done.frame["adv_Email"]) == ["ana@example.com", "ana"]
    assert [(p, f, r) for p, f, r, _ in problems(done)] == [(1, "adv_Email", "bad_email")]


def test_options_reach_the_cleaners() -> None:
    """The declared order of day and month decides about callback dates."""
    toml = INSERT + 'CallbackAgent = "Agent"\nCallbackDate = "When"'
    columns = {"Phone": ["2025550101"], "Agent": ["ann"], "When": ["2/1/2026 9:30"]}
    assert problems(checked(toml, columns)) == [(0, "CallbackDate", "ambiguous_date", "2/1/2026 9:30")]
    done = checked(toml, columns, CleanOptions(date_order="dmy"))
    assert list(done.frame["CallbackDate"]) == ["01/02/2026 09:30:00"]


def test_rules_across_fields_are_told_at_a_field_that_may_not_be_mapped() -> None:
    """A rule that names a field which the mapping lacks has an empty value there."""
    done = checked(INSERT + 'CallbackDate = "When"', {"Phone": ["2025550101"] * 2, "When": ["", "12/31/2026 09:30:00"]})
    assert problems(done) == [(1, "CallbackAgent", "incomplete_group", "")]
    done = checked(UPDATE, {"By": ["LeadId"], "Id": ["4"], "City": [""]})
    assert problems(done) == [(0, "Identifier", "nothing_to_update", "4")]


TRUNCATE = '\n[policy]\noverlong = "truncate"\n'


def test_overlong_values_are_refused_by_default() -> None:
    """A value beyond its limit is a problem, and stays whole."""
    columns = {"Phone": ["2025550101"], "City": ["x" * 101], "State": [""], "Zip": [""], "Notes": ["n" * 9999]}
    done = checked(FIELDS, columns)
    assert problems(done) == [(0, "City", "too_long", "x" * 101)]
    assert not repairs(done)


def test_overlong_text_is_cut_where_the_policy_says_so() -> None:
    """Free text is cut at its limit in characters, the account's own included, each cut a lossy repair."""
    toml = (
        INSERT + 'City = "City"\nadv_X = "X"\nExtra = "Y"\n[extra_fields]\nExtra = 3\n[lengths]\nCity = 4\n' + TRUNCATE
    )
    columns = {"Phone": ["2025550101"] * 2, "City": ["Zürich", "Köln"], "X": ["x" * 999] * 2, "Y": ["abc", "日本語版"]}
    done = checked(toml, columns)
    assert list(done.frame["City"]) == ["Züri", "Köln"]
    assert list(done.frame["adv_X"]) == ["x" * 999] * 2
    assert list(done.frame["Extra"]) == ["abc", "日本語"]
    assert repairs(done) == [
        (0, "City", "truncated", "Zürich", "Züri", False),
        (1, "Extra", "truncated", "日本語版", "日本語", False),
    ]
    assert list(done.valid) == [True, True]


def test_what_addresses_something_is_never_cut() -> None:
    """Phones, ids, campaigns and values of a fixed form are refused, not cut: half a name is another name."""
    toml = INSERT.replace('{ value = "Spring" }', '"C"')
    toml += 'Subcampaign = "C"\nClientId = "C"\nState = "C"\nNotes = "C"' + TRUNCATE
    done = checked(toml, {"Phone": ["2025550101"], "C": ["x" * 51]})
    assert {(field, rule) for _, field, rule, _ in problems(done)} == {
        ("Campaign", "too_long"),
        ("Subcampaign", "too_long"),
        ("ClientId", "too_long"),
        ("State", "bad_state"),
    }
    toml = UPDATE.replace("[fields]", '[fields]\nRep = "City"') + "[lengths]\nIdentifier = 3\n" + TRUNCATE
    done = checked(toml, {"By": ["LeadId"], "Id": ["4711"], "City": ["x"]})
    assert problems(done) == [(0, "Identifier", "too_long", "4711")]


def test_a_frame_that_does_not_fit_is_our_fault() -> None:
    """A column that was not planned is no problem of a row: it is a fault of ours, and said so."""
    judge = validator(INSERT, "Phone")
    whole = apply(judge.plan, text_frame({"Phone": ["2025550101", "2025550102"]}))
    twice = Mapped(whole.frame.set_axis([2, 2]), whole.problems)
    with pytest.raises(RuntimeError, match="does not fit its own schema"):
        judge.check(twice)


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["2025550101", "(202) 555-0102", "", "555", "1 202 555 0103"]),
            st.text(max_size=8),
            st.sampled_from(["NY", "new york", "", "Q"]),
            st.sampled_from(["10001", "1001", "x", ""]),
            st.text(max_size=8),
        )
    ),
    st.sampled_from(["", "[lengths]\nCity = 3\n", "[lengths]\nCity = 3\n" + TRUNCATE]),
)
def test_what_always_holds(rows: list[tuple[str, ...]], more: str) -> None:
    """A row is valid exactly if it has no problem; a cell has one problem at most; what changed has a repair."""
    headers = ("Phone", "City", "State", "Zip", "Notes")
    columns = {name: [row[i] for row in rows] for i, name in enumerate(headers)}
    judge = validator(FIELDS + more, *headers)
    raw = apply(judge.plan, text_frame(columns))
    done = judge.check(raw)
    assert done.frame.index.equals(raw.frame.index)
    assert list(done.valid) == [i not in {p for p, *_ in problems(done)} for i in range(len(rows))]
    cells = [(p, f) for p, f, *_ in problems(done)]
    assert len(cells) == len(set(cells))
    repaired = {(p, f) for p, f, *_ in repairs(done)}
    for name in done.frame.columns:
        before, after = list(raw.frame[name]), list(done.frame[name])
        assert None not in after
        for position, (old, new) in enumerate(zip(before, after, strict=True)):
            assert (old == new) == ((position, name) not in repaired)
