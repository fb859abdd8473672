"""Mappings: the grammar of the file, the binding to a header, and the values that come out."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from given import INSERT, TEXT, UPDATE, mapped, plan, text_frame
from hypothesis import given
from hypothesis import strategies as st

import mappings as shipped
from pipeline import mapping
from pipeline.mapped import apply
from pipeline.mapping import Assignment, FieldSource, Policy, SourceTable
from pipeline.marks import PROBLEMS
from pipeline.model import UserError
from schemas.catalogue import CATALOGUE

SHIPPED = sorted(path for folder in shipped.__path__ for path in Path(folder).glob("*.toml"))


def refusal(toml: str, *headers: str) -> str:
    """What the user is told where the mapping, or its binding to `headers`, is refused."""
    with pytest.raises(UserError) as told:
        plan(toml, *(headers or ("Phone",)))
    text = str(told.value)
    assert told.value.exit_code == 2
    assert text.startswith("mapping list.toml: ")
    assert "\n" not in text
    return text.removeprefix("mapping list.toml: ")


def column(toml: str, field: str, **columns: list[str]) -> list[str]:
    """The values of one vendor field, with a Phone column beside those given."""
    rows = len(next(iter(columns.values())))
    frame = mapped(toml, {"Phone": ["2025550101"] * rows, **columns})
    assert frame[field].dtype == TEXT
    return list(frame[field])


# --- the file


def test_every_form_of_a_field() -> None:
    """A field is a column, a column with a cleaner, a constant, a template, or a map with a default."""
    read = mapping.parse(
        """
        operation = "InsertLead"
        unmapped  = "ignore"
        [source]
        sheet = "Leads"
        header_row = 3
        delimiter = ";"
        encoding = "cp1252"
        null_tokens = ["NULL", "n/a"]
        date_order = "dmy"
        regions = ["US", "CA"]
        [fields]
        PrimaryPhone = "Phone 1"
        ZipCode = { column = "Zip", clean = "text" }
        Campaign = { value = "Spring Renewals" }
        Notes = { template = "{Company} / {Title}" }
        Rep = { column = "Owner", map = { "North team" = "north" }, default = "house" }
        "adv_Policy Number" = "Policy #"
        SecondaryPhone = { column = "Phone 1", take = "second" }
        [extra_fields]
        SecondaryPhone = 50
        [lengths]
        City = 60
        "adv_Policy Number" = 12
        [policy]
        duplicates_in_file = "last"
        overlong = "truncate"
        past_dates = "allow"
        dialing = "timezone-checked"
        client_id = "none"
        suppress = "dnc.csv"
        allow_dialing_dups = true
        dial_non_callables = true
        """,
        "list.toml",
    )
    assert read.unmapped == "ignore"
    assert read.source == SourceTable(
        sheet="Leads",
        header_row=3,
        delimiter=";",
        encoding="cp1252",
        null_tokens=["NULL", "n/a"],
        date_order="dmy",
        regions=["US", "CA"],
    )
    assert read.policy == Policy(
        duplicates_in_file="last",
        overlong="truncate",
        past_dates="allow",
        dialing="timezone-checked",
        client_id="none",
        suppress="dnc.csv",
        allow_dialing_dups=True,
        dial_non_callables=True,
    )
    bound = mapping.bind(read, "list.toml", ["Phone 1", "Phone 2", "Zip", "Company", "Title", "Owner", "Policy #", "X"])
    assert bound.operation is CATALOGUE["InsertLead"]
    assert bound.assignments == (
        Assignment("Campaign", FieldSource(value="Spring Renewals"), "text"),
        Assignment("PrimaryPhone", FieldSource(column="Phone 1"), "us_phone"),
        Assignment("ZipCode", FieldSource(column="Zip", clean="text"), "text"),
        Assignment("Rep", FieldSource(column="Owner", map={"North team": "north"}, default="house"), "text"),
        Assignment("Notes", FieldSource(template="{Company} / {Title}"), "text"),
        Assignment("SecondaryPhone", FieldSource(column="Phone 1", take="second"), "us_phone"),
        Assignment("adv_Policy__Number", FieldSource(column="Policy #"), "text"),
    )
    assert bound.lengths == {"SecondaryPhone": 50, "City": 60, "adv_Policy__Number": 12}
    assert bound.notes == ("columns not sent: Phone 2, X",)


def test_defaults_are_the_careful_ones() -> None:
    """A mapping that says nothing imports without dialing, refuses overlong values and keeps the first of repeats."""
    read = mapping.parse(INSERT, "list.toml")
    assert (read.unmapped, read.source) == ("error", SourceTable())
    assert read.policy == Policy(
        duplicates_in_file="first",
        overlong="reject",
        dialing="import-only",
        client_id="key",
        suppress=None,
        allow_dialing_dups=False,
        dial_non_callables=False,
    )


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_mappings_parse_and_bind(path: Path) -> None:
    """Every shipped mapping is valid and binds to a header that has its columns."""
    read = mapping.parse(path.read_text("utf-8"), path.name)
    origins = read.fields.values()
    headers = {o.column for o in origins if o.column} | {
        h for o in origins for h in re.findall(r"{(.+?)}", o.template or "")
    }
    assert mapping.bind(read, path.name, sorted(headers)).policy.dialing == "import-only"


def test_shipped_mappings_are_found() -> None:
    """There are shipped mappings for a plain list, for Salesforce and for updates."""
    assert {path.stem for path in SHIPPED} >= {"generic", "salesforce_leads", "upsert_leads", "update_by_clientid"}


def test_the_operation_can_be_given_from_outside() -> None:
    """An operation beside the mapping counts more than the one in it, and is checked the same way."""
    assert mapping.parse(UPDATE, "m", "UpdateLead").operation == "UpdateLead"
    with pytest.raises(UserError, match="'City' is not a field of LeadOperations"):
        mapping.parse(UPDATE, "m", "LeadOperations.SearchLead")
    without = UPDATE.replace('operation = "UpdateLead"', "")
    assert mapping.parse(without, "m", "UpdateLead").operation == "UpdateLead"


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    """A mark that an editor put in front of the file does no harm."""
    assert mapping.parse("\ufeff" + INSERT.lstrip(), "m").operation == "InsertLead"


@pytest.mark.parametrize(
    ("toml", "told"),
    [
        ("operation = ", "not valid TOML"),
        (INSERT + 'Campaign = "x"', "not valid TOML"),
        ("", "operation is missing"),
        ('operation = "InsertLead"', "fields is missing"),
        ('operation = "InsertLead"\nfields = 5', "fields: input should be a valid dictionary"),
        ("operation = 5\n[fields]", "operation: input should be a valid string"),
        ('operation = "InsertLed"\n[fields]', "operation = 'InsertLed' is not known; did you mean 'InsertLead'?"),
        ('operation = "zzz"\n[fields]', "operation = 'zzz' is not known; see: leads operations"),
        ('unmaped = "ignore"\n' + INSERT, "unknown key 'unmaped'; did you mean 'unmapped'?"),
        ("zzz = 1\n" + INSERT, "unknown key 'zzz'"),
        ('unmapped = "no"\n' + INSERT, "unmapped: input should be 'error', 'ignore' or 'custom'"),
        (INSERT + "[source]\nheader = 1", "unknown key 'source.header'; did you mean 'header_row'?"),
        (INSERT + "[source]\nheader_row = -1", "source.header_row: input should be greater than or equal to 0"),
        (INSERT + '[source]\nheader_row = "1"', "source.header_row: input should be a valid integer"),
        (INSERT + '[source]\ndelimiter = "||"', "source.delimiter: string should have at most 1 character"),
        (INSERT + '[source]\nregions = ["us"]', "source.regions.0: string should match"),
        (INSERT + '[policy]\ndialling = "x"', "unknown key 'policy.dialling'; did you mean 'dialing'?"),
        (INSERT + '[policy]\ndialing = "now"', "policy.dialing: input should be 'import-only', 'timezone-checked'"),
        (INSERT + "[policy]\nallow_dialing_dups = 1", "policy.allow_dialing_dups: input should be a valid boolean"),
        (INSERT + "City = 5", "fields.City: input should be a valid dictionary"),
        (INSERT + "City = { value = 5 }", "fields.City.value: input should be a valid string"),
        (INSERT + 'City = { colum = "x" }', "unknown key 'fields.City.colum'; did you mean 'column'?"),
        (INSERT + 'City = { column = "x", value = "y" }', "fields.City: give exactly one of column, value, template"),
        (INSERT + 'City = { default = "y" }', "fields.City: give exactly one of column, value, template"),
        (INSERT + 'City = { value = "y", map = { y = "z" } }', "fields.City: map and default go with column"),
        (INSERT + 'City = { value = "y", take = "first" }', "fields.City: take goes with column"),
        (INSERT + 'City = { column = "y", take = "third" }', "fields.City.take: input should be 'first', 'second'"),
        (INSERT + '[source]\nregions = ["UK"]', "source: regions: no phone of the US numbering plan is in 'UK'"),
        (INSERT + 'City = { value = "y", default = "z" }', "fields.City: map and default go with column"),
        (
            INSERT + 'City = { column = "x", clean = "us_phon" }',
            "fields.City: clean = 'us_phon' is not known; did you mean 'us_phone'?",
        ),
        (INSERT + 'City = { column = "x", map = { "1" = 2 } }', "fields.City.map.1: input should be a valid string"),
        (INSERT + "[lengths]\nCity = 0", "lengths.City: input should be greater than or equal to 1"),
        (INSERT + "[lengths]\nCity = true", "lengths.City: input should be a valid integer"),
        (INSERT + f"[lengths]\nCity = {10**30}", "lengths.City: "),
        (INSERT + "[lengths]\nCty = 10", "[lengths] 'Cty' is not a field of InsertLead; did you mean 'City'?"),
        (INSERT + "[lengths]\nClientId = 31", "[lengths] ClientId = 31: the key that is sent"),
        (INSERT + "[extra_fields]\nimportonly = 5", "[extra_fields] importonly is no lead column"),
        (INSERT + "[extra_fields]\ntoken = 5", "[extra_fields] token is no lead column"),
        (INSERT + "[extra_fields]\nAccId = 5", "[extra_fields] AccId is no lead column"),
        (INSERT + '[extra_fields]\n"Second Phone" = 5', "[extra_fields] 'Second Phone': the vendor's server changes"),
        (INSERT + '[extra_fields]\n"A.B" = 5', "'A.B' can't be addressed"),
        (INSERT + '[extra_fields]\n"" = 5', "'' can't be addressed"),
        (UPDATE.replace("UpdateLead", "LeadOperations.SearchLead") + "[extra_fields]\nX = 5", "[extra_fields]: Lead"),
    ],
)
def test_what_is_wrong_is_named(toml: str, told: str) -> None:
    """A mistake in the file is told by its key, with the nearest valid one where a name is unknown."""
    assert told in refusal(toml)


@pytest.mark.parametrize(
    ("field", "told"),
    [
        (
            "FistName",
            "[fields] 'FistName' is not a field of InsertLead; did you mean 'FirstName'?; custom fields start",
        ),
        ("city", "did you mean 'City'?"),
        ("Zzzzz", "'Zzzzz' is not a field of InsertLead; custom fields start with adv_, other real lead columns go"),
        ("Adv_Policy", "'Adv_Policy' is not a field of InsertLead"),
        ("adv_", "'adv_' can't be addressed"),
        ("adv_ Policy", "'adv_ Policy' can't be addressed"),
        ("adv_Policy ", "'adv_Policy ' can't be addressed"),
        ("adv_A.B", "'adv_A.B' can't be addressed: the vendor's server changes . [ ] in names"),
        ("adv_A[0]", "'adv_A[0]' can't be addressed"),
        ("adv_A\\u0000", "can't be addressed"),
        ("token", "'token' is not a field of InsertLead"),
        ("SecurityCode", "'SecurityCode' is not a field of InsertLead"),
    ],
)
def test_unknown_fields_name_the_nearest(field: str, told: str) -> None:
    """A vendor field that doesn't exist, or can't be addressed, is refused with what was probably meant."""
    assert told in refusal(f'{INSERT}"{field}" = "Phone"')


@pytest.mark.parametrize("table", ["fields", "lengths", "extra_fields"])
@pytest.mark.parametrize("field", ["ImportOnly", "timezone", "AllowDialingDups", "DialNonCallables"])
def test_a_cell_never_causes_a_call(field: str, table: str) -> None:
    """What decides about calls comes from the policy alone."""
    lines = {
        "fields": f'{field} = {{ value = "1" }}',
        "lengths": f"[lengths]\n{field} = 1",
        "extra_fields": f'{field} = "Phone"\n[extra_fields]\n{field} = 1',
    }
    assert f"[{table}] {field}" in refusal(INSERT + lines[table])


def test_the_phone_keeps_its_cleaner() -> None:
    """The number that may be called is always held to ten digits, as the suppress list is."""
    other = INSERT.replace('"Phone"', '{ column = "Phone", clean = "text" }')
    assert "[fields] PrimaryPhone: clean can't be set" in refusal(other)
    same = INSERT.replace('"Phone"', '{ column = "Phone", clean = "us_phone" }')
    assert [a.cleaner for a in plan(same, "Phone").assignments] == ["text", "us_phone"]


@pytest.mark.parametrize(
    ("one", "other"), [("adv_Policy Number", "adv_Policy__Number"), ("adv_a b c", "adv_a__b c"), ("adv_x ", "adv_x__")]
)
def test_both_spellings_name_one_field(one: str, other: str) -> None:
    """A custom field may be spelled with spaces or with double underscores, and not twice."""
    told = refusal(f'{INSERT}"{one}" = "A"\n"{other}" = "B"', "Phone", "A", "B")
    assert "name one field" in told or "can't be addressed" in told


@pytest.mark.parametrize("spelling", ["adv_Policy Number", "adv_Policy__Number"])
def test_either_spelling_is_sent_alike(spelling: str) -> None:
    """Either spelling is sent with double underscores, and the length may be given in the other one."""
    bound = plan(f'{INSERT}"{spelling}" = "P"\n[lengths]\n"adv_Policy Number" = 9', "Phone", "P")
    assert bound.columns == ("Campaign", "PrimaryPhone", "adv_Policy__Number")
    assert bound.lengths == {"adv_Policy__Number": 9}


def test_a_key_that_does_not_fit_may_be_given_up() -> None:
    """A short ClientId is fine where no key is sent in its place."""
    assert plan(INSERT + '[lengths]\nClientId = 31\n[policy]\nclient_id = "none"', "Phone").lengths == {"ClientId": 31}
    assert plan(INSERT + "[lengths]\nClientId = 32", "Phone").lengths == {"ClientId": 32}
    assert plan(UPDATE + "[lengths]\nClientId = 9", "By", "Id", "City").lengths == {"ClientId": 9}


# --- the header


def test_columns_that_are_not_there_name_the_nearest() -> None:
    """A column that the file lacks is refused, with the nearest header and all of them."""
    told = refusal(INSERT, "phone", "City")
    assert told == "the file has no column 'Phone'; did you mean 'phone'?; it has: phone, City"


def test_required_fields_must_be_mapped() -> None:
    """A mapping without a field that the vendor requires is refused."""
    assert refusal('operation = "InsertLead"\n[fields]\nPrimaryPhone = "Phone"').startswith("InsertLead needs Campaign")


def test_columns_left_over_are_an_error_by_default() -> None:
    """Columns that the mapping doesn't mention are named, with the field that is nearest to the first."""
    told = refusal(INSERT, "Phone", "First Name", "Zip")
    assert told.startswith("columns of the file that it doesn't mention: 'First Name', 'Zip'; did you mean 'FirstName'")


def test_columns_left_over_can_be_ignored() -> None:
    """With `ignore` they are left out, and a note says which."""
    bound = plan('unmapped = "ignore"\n' + INSERT, "Phone", "Zip", "Age")
    assert bound.columns == ("Campaign", "PrimaryPhone")
    assert bound.notes == ("columns not sent: Zip, Age",)


def test_columns_left_over_can_become_custom_fields() -> None:
    """With `custom` each goes out as adv_ and its header."""
    bound = plan('unmapped = "custom"\n' + INSERT, "Phone", "Policy Number", "Home Phone")
    assert bound.columns == ("Campaign", "PrimaryPhone", "adv_Home__Phone", "adv_Policy__Number")
    assert [a.cleaner for a in bound.assignments] == ["text", "us_phone", "us_phone", "text"]
    assert not bound.notes


@pytest.mark.parametrize(
    ("toml", "headers", "told"),
    [
        (INSERT, ("Phone", "No."), "'adv_No.' can't be addressed"),
        (INSERT, ("Phone", "A B", "A__B"), "column 'A__B' would be sent as adv_A__B, which is taken"),
        (INSERT + 'adv_Source = "S"', ("Phone", "S", "Source"), "column 'Source' would be sent as adv_Source, which"),
        (
            'operation = "LeadOperations.SearchLead"\n[fields]\nSearchField = "By"\nIdentifier = "Id"',
            ("By", "Id", "X"),
            'unmapped = "custom": LeadOperations.SearchLead has no custom fields',
        ),
    ],
)
def test_custom_fields_never_replace_another(toml: str, headers: tuple[str, ...], told: str) -> None:
    """A header that can't be a custom field, or would be sent under a name in use, is refused."""
    assert told in refusal('unmapped = "custom"\n' + toml, *headers)


# --- the values


def test_apply_keeps_rows_and_values() -> None:
    """The same rows come out under the vendor's names, with cells as they are: nothing is trimmed, coerced or null."""
    frame = text_frame({"Phone": ["2025550101", "", "x"], "City": [" NA ", "None", "02139"]}, first_row=7)
    done = apply(plan(INSERT + 'City = "City"', "Phone", "City"), frame)
    assert list(done.frame.columns) == ["Campaign", "PrimaryPhone", "City"]
    assert done.frame.index.equals(frame.index)
    assert list(done.frame["Campaign"]) == ["Spring"] * 3
    assert list(done.frame["City"]) == [" NA ", "None", "02139"]
    assert done.problems.schema == PROBLEMS
    assert not done.problems.num_rows


def test_a_frame_in_pieces_is_read_as_one() -> None:
    """Columns that Arrow holds in several pieces come out whole."""
    pieces = pd.concat([text_frame({"Phone": ["1"], "A": ["x"]}), text_frame({"Phone": ["2"], "A": [""]}, 3)])
    toml = INSERT + 'City = { template = "{A}!" }\nRep = { column = "A", map = { x = "y" } }'
    done = apply(plan(toml, "Phone", "A"), pieces)
    assert list(done.frame["City"]) == ["x!", ""]
    assert list(done.frame["Rep"]) == ["y", ""]
    assert apply(plan(toml, "Phone", "A"), pieces.iloc[:0]).frame.shape == (0, 4)


@pytest.mark.parametrize(
    ("origin", "cells", "expected"),
    [
        ('{ column = "A", map = { x = "y" } }', ["x", " x ", "", "  "], ["y", "y", "", ""]),
        ('{ column = "A", map = { x = "y" }, default = "d" }', ["x", "z", ""], ["y", "d", "d"]),
        ('{ column = "A", map = { x = "y" }, default = "" }', ["x", "z", ""], ["y", "", ""]),
        ('{ column = "A", map = { "" = "none", x = "" } }', ["", "x", " "], ["none", "", "none"]),
        ('{ column = "A", map = { "" = "none" }, default = "d" }', ["", "x"], ["none", "d"]),
        ('{ column = "A", default = "d" }', ["x", "", " \\t", " y "], ["x", "d", " \\t", " y "]),
        ('{ template = "{A}-{A}", map = { "x-x" = "y" }, default = "d" }', ["x", "z", ""], ["y", "d", "d"]),
    ],
)
def test_maps_and_defaults(origin: str, cells: list[str], expected: list[str]) -> None:
    """A map takes the trimmed cell; a default stands in for empty cells and for what the map doesn't know."""
    assert column(f"{INSERT}Rep = {origin}", "Rep", A=cells) == expected


@pytest.mark.parametrize("table", ['{ x = "y", "x y" = "z" }', "{}"])
def test_a_value_that_no_map_knows_is_a_problem(table: str) -> None:
    """Without a default such a cell keeps its value and gets `unmapped_value`, which names known ones."""
    bound = plan(f'{INSERT}Rep = {{ column = "A", map = {table} }}', "Phone", "A")
    done = apply(bound, text_frame({"Phone": ["", "", ""], "A": ["", "Z", " q"]}))
    assert list(done.frame["Rep"]) == ["", "Z", " q"]
    told = done.problems.to_pylist()
    assert [(p["position"], p["field"], p["rule"], p["value"]) for p in told] == [
        (1, "Rep", "unmapped_value", "Z"),
        (2, "Rep", "unmapped_value", " q"),
    ]
    assert ("known: x, x y)" in told[0]["message"]) == ("x" in table)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{A} / {B}", ["a / b", "a / ", " / b", ""]),
        ("{A}", ["a", "a", "", ""]),
        ("{A}{A}", ["aa", "aa", "", ""]),
        ("{{{A}}} {{}}", ["{a} {}", "{a} {}", "", ""]),
        ("{Time: local} {0} {x.y[1]!r}", ["t 0 1", "t 0 1", "t 0 1", "t 0 1"]),
    ],
)
def test_templates(template: str, expected: list[str]) -> None:
    """Headers in braces are replaced, whatever is in them; a template whose parts are all empty is empty."""
    others = {"Time: local": ["t"] * 4, "0": ["0"] * 4, "x.y[1]!r": ["1"] * 4}
    toml = f'unmapped = "ignore"\n{INSERT}Notes = {{ template = "{template}" }}'
    assert column(toml, "Notes", A=["a", "a", "", " "], B=["b", "", "b", ""], **others)[:3] == expected[:3]
    assert column(toml, "Notes", A=[" "], B=[""], **{k: v[:1] for k, v in others.items()}) == expected[3:]


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("no column", "a template names columns in braces"),
        ("", "a template names columns in braces"),
        ("{}", "a template names columns in braces"),
        ("{{A}}", "a template names columns in braces"),
        ("{A", "template '{A': a brace stands alone"),
        ("A} {A}", "a brace stands alone"),
        ("{A {B}}", "a brace stands alone"),
        ("{A:>10}", "the file has no column 'A:>10'"),
        ("{Compny}", "the file has no column 'Compny'; did you mean 'Company'?"),
    ],
)
def test_templates_that_are_refused(template: str, told: str) -> None:
    """A template without a column, with a lone brace, or with a column that isn't there is refused."""
    assert told in refusal(f'{INSERT}Notes = {{ template = "{template}" }}', "Phone", "A", "Company")


@given(st.lists(st.tuples(st.text(alphabet="xyz {}é\n"), st.text(alphabet="ab ")), min_size=1))
def test_a_template_is_what_str_format_makes(cells: list[tuple[str, str]]) -> None:
    """For headers that are plain names, a template gives what str.format gives, cell text taken literally."""
    toml = INSERT + 'Notes = { template = "<{A}|{{{B}}}>" }'
    a, b = ([row[i] for row in cells] for i in (0, 1))
    expected = [f"<{x}|{{{y}}}>" if x.strip() or y.strip() else "" for x, y in cells]
    assert column(toml, "Notes", A=a, B=b) == expected


def test_null_tokens_say_nothing() -> None:
    """A trimmed cell that is one of them is not given, in a column or in a template; without tokens text stays text."""
    toml = INSERT + 'City = "A"\nNotes = { template = "{A}/{B}" }\nState = { column = "B", default = "NV" }'
    columns = {"Phone": ["1", "2"], "A": [" NA ", "Reno"], "B": ["-", "na"]}
    assert list(mapped(toml, columns)["Notes"]) == [" NA /-", "Reno/na"]
    found = mapped(toml + '\n[source]\nnull_tokens = ["NA", "-"]', columns)
    assert {name: list(found[name]) for name in ("City", "Notes", "State")} == {
        "City": ["", "Reno"],
        "Notes": ["", "Reno/na"],
        "State": ["NV", "na"],
    }


@given(st.lists(st.text()), st.dictionaries(st.text(), st.text(), max_size=4), st.none() | st.text())
def test_a_map_is_a_dictionary(cells: list[str], table: dict[str, str], default: str | None) -> None:
    """By column, a map does what looking up each trimmed cell does, and every miss without a default is told."""
    origin = FieldSource(column="A", map=table, default=default)
    bound = mapping.Plan(CATALOGUE["InsertLead"], (Assignment("Rep", origin, "text"),), {}, Policy())
    done = apply(bound, text_frame({"A": cells}))
    keys = [pa.compute.utf8_trim_whitespace(cell).as_py() for cell in cells]
    other = [(cell if key else "") if default is None else default for cell, key in zip(cells, keys, strict=True)]
    assert list(done.frame["Rep"]) == [table.get(key, o) for key, o in zip(keys, other, strict=True)]
    missed = [i for i, key in enumerate(keys) if key and key not in table and default is None]
    assert done.problems["position"].to_pylist() == missed
