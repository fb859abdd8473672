"""The clear token: a cell that asks for it sends its field empty, and nothing else ever does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from conftest import Account, Leads, write
from given import INSERT, TARGET, UPDATE, checked, plan, text_frame
from hypothesis import given, settings
from hypothesis import strategies as st
from pandera.errors import SchemaErrors

from pipeline import mapping, payloads
from pipeline.mapping import FieldSource
from pipeline.model import UserError
from pipeline.validate import Checked
from schemas.catalogue import CATALOGUE
from schemas.frames import frame_schema
from schemas.spec import CLEARED, Field, OnlyWhen, Range, RequiredWhen, Settle

TOKEN = '\n[source]\nclear_token = "<clear>"\n'
MANY = """
operation = "UpdateLead"
[fields]
SearchField = { value = "LeadId" }
Identifier = "Id"
PrimaryPhone = "Phone"
Subcampaign = "Sub"
ClientId = "Client"
City = "City"
State = "State"
ZipCode = "Zip"
Notes = "Notes"
CallbackAgent = "Agent"
CallbackDate = "Date"
SecondaryPhone = "Other"
"adv_Policy Number" = "Policy"
[extra_fields]
SecondaryPhone = 50
"""
COLUMNS = ("Phone", "Sub", "Client", "City", "State", "Zip", "Notes", "Agent", "Date", "Other", "Policy")


def row(**cells: str) -> dict[str, list[str]]:
    """One row of the list of MANY; columns that are not given are empty."""
    return {"Id": ["4"], **{name: [cells.get(name, "")] for name in COLUMNS}}


def sent(toml: str, columns: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
    """The form of each valid row, empty values included."""
    bound, done = plan(toml, *columns), checked(toml, columns)
    bodies = payloads.build(bound, done.frame[done.valid], TARGET).body.to_pylist()
    return [dict(parse_qsl(body, keep_blank_values=True, strict_parsing=True)) for body in bodies]


def told(done: Checked) -> list[tuple[Any, ...]]:
    return [(p["position"], p["field"], p["rule"], p["value"]) for p in done.problems.to_pylist()]


def repairs(done: Checked) -> list[tuple[Any, ...]]:
    names = ("position", "field", "rule", "raw", "value", "lossless")
    return [tuple(repair[name] for name in names) for repair in done.repairs.to_pylist()]


# --- what clears


def test_a_cell_with_the_token_is_sent_empty() -> None:
    """The token, blanks around it aside, sends the field with nothing; an empty cell sends nothing at all."""
    columns = {"By": ["LeadId"] * 4, "Id": ["1", "2", "3", "4"], "City": ["Bath", "<clear>", " <clear>\t", ""]}
    made = checked(UPDATE + TOKEN, columns)
    bodies = payloads.build(plan(UPDATE + TOKEN, *columns), made.frame[made.valid], TARGET).body.to_pylist()
    assert bodies == [
        "SearchField=LeadId&Identifier=1&City=Bath",
        "SearchField=LeadId&Identifier=2&City=",
        "SearchField=LeadId&Identifier=3&City=",
    ]
    assert told(made) == [(3, "Identifier", "nothing_to_update", "4")]
    assert repairs(made) == [
        (1, "City", "cleared", "<clear>", "", True),
        (2, "City", "cleared", " <clear>\t", "", True),
    ]


def test_nothing_clears_unless_the_mapping_says_so() -> None:
    """Without a token of the mapping, the same cell is a text like any other."""
    columns = {"By": ["LeadId"], "Id": ["1"], "City": ["<clear>"]}
    assert sent(UPDATE, columns) == [{"SearchField": "LeadId", "Identifier": "1", "City": "<clear>"}]


@pytest.mark.parametrize("column", [name for name in COLUMNS if name not in ("Agent", "Date")])
def test_every_kind_of_field_can_be_cleared(column: str) -> None:
    """Phones, states, ZIPs, text, custom and extra fields: no cleaner and no rule minds."""
    columns = row(**{column: "<clear>"})
    made = checked(MANY + TOKEN, columns)
    name = {v.column: k for k, v in mapping.parse(MANY, "m").fields.items()}[column].replace(" ", "__")
    assert told(made) == []
    assert repairs(made) == [(0, name, "cleared", "<clear>", "", True)]
    assert sent(MANY + TOKEN, columns) == [{"SearchField": "LeadId", "Identifier": "4", name: ""}]


@pytest.mark.parametrize(
    ("agent", "date", "fits"),
    [
        ("<clear>", "<clear>", True),
        ("<clear>", "04/15/2087 10:30:00", False),
        ("jlee", "<clear>", False),
        ("<clear>", "", False),
        ("", "<clear>", False),
    ],
)
def test_what_goes_together_is_cleared_together(agent: str, date: str, fits: bool) -> None:
    """Agent and date of a callback are both cleared, or neither is."""
    columns = row(Agent=agent, Date=date, Notes="x")
    value = "" if agent == "<clear>" else agent
    assert told(checked(MANY + TOKEN, columns)) == ([] if fits else [(0, "CallbackAgent", "incomplete_group", value)])


def test_what_is_cut_at_its_length_leaves_the_token_alone() -> None:
    """A token longer than its field is neither too long nor cut."""
    columns = row(City="<clear>", Notes="abc")
    limits = '[lengths]\nCity = 1\nNotes = 2\n[policy]\noverlong = "{}"'
    assert told(checked(MANY + limits.format("reject") + TOKEN, columns)) == [(0, "Notes", "too_long", "abc")]
    cut = checked(MANY + limits.format("truncate") + TOKEN, columns)
    assert {repair[1:3] for repair in repairs(cut)} == {("Notes", "truncated"), ("City", "cleared")}
    form = sent(MANY + limits.format("truncate") + TOKEN, columns)
    assert form == [{"SearchField": "LeadId", "Identifier": "4", "City": "", "Notes": "ab"}]


@pytest.mark.parametrize(
    ("origin", "cells", "values"),
    [
        ('{ value = "<clear>" }', ("x",), [""]),
        ('{ column = "A", default = "<clear>" }', ("x", ""), ["x", ""]),
        ('{ column = "A", default = "house" }', ("<clear>", ""), ["", "house"]),
        ('{ column = "A", map = { North = "north" } }', ("North", " <clear> ", ""), ["north", "", None]),
        ('{ column = "A", map = { North = "<clear>" } }', ("North", "<clear>"), ["", ""]),
        ('{ column = "A", map = { "<clear>" = "none" } }', ("<clear>",), ["none"]),
        (
            '{ column = "A", map = { North = "north" }, default = "house" }',
            ("<clear>", "", "x"),
            ["", "house", "house"],
        ),
        ('{ template = "{A}", default = "<clear>" }', ("x", ""), ["x", ""]),
        ('{ template = "{A}" }', ("<clear>", "x"), ["", "x"]),
    ],
)
def test_the_value_of_the_mapping_counts(origin: str, cells: tuple[str, ...], values: list[str | None]) -> None:
    """The token is looked for in what map and default make of a cell; a map need not list it, and may."""
    toml = UPDATE.replace('City = "City"', f'City = {{ value = "x" }}\nRep = {origin}') + TOKEN
    columns = {"By": ["LeadId"] * len(cells), "Id": [str(i) for i in range(len(cells))], "A": cells}
    unmapped = 'unmapped = "ignore"\n' + toml
    assert told(checked(unmapped, columns)) == []
    assert [form.get("Rep") for form in sent(unmapped, columns)] == values


# --- what can't be cleared


@pytest.mark.parametrize(("column", "field"), [("By", "SearchField"), ("Id", "Identifier")])
def test_what_a_lead_is_found_by_can_not_be_cleared(column: str, field: str) -> None:
    """The token in such a cell makes the row invalid, and is told as what it is, not as a bad value."""
    columns = {"By": ["LeadId"], "Id": ["1"], "City": ["Bath"]} | {column: [" <clear>"]}
    done = checked(UPDATE + TOKEN, columns)
    assert told(done) == [(0, field, "not_clearable", " <clear>")]
    assert done.problems["message"][0].as_py().startswith("can't be cleared")
    assert not done.valid.any()


@pytest.mark.parametrize("field", ["Notes", "Identifier"])
def test_a_part_of_a_template_can_not_be_cleared(field: str) -> None:
    """The token stands for a whole value: in the midst of one it is neither sent nor ignored."""
    toml = """
operation = "UpdateLead"
[fields]
SearchField = { value = "ClientId" }
Identifier = "Id"
Notes = "Id"
""".replace(f'{field} = "Id"', f'{field} = {{ template = "{{A}}-{{B}}" }}')
    done = checked(toml + TOKEN, {"Id": ["1", "2"], "A": ["x", "<clear> "], "B": ["y", "z"]})
    assert told(done) == [(1, field, "not_clearable", "<clear> -z")]


def test_an_operation_says_what_it_clears() -> None:
    """Nothing in operations that don't clear; else all but what is required, set by policy, or found by."""
    update = CATALOGUE["UpdateLead"]
    assert update.may_clear("City")
    assert update.may_clear("ClientId")
    assert update.may_clear("adv_Anything")
    assert not update.may_clear("Identifier")
    assert not replace(update, clears=False).may_clear("City")
    # Where a doubt is settled by search, the ClientId is what is searched for.
    assert not replace(update, settle=Settle.SEARCH).may_clear("ClientId")
    more = (Field(name="Kind", required=True), Field(name="Dial", from_policy=True), Field(name="City"))
    invented = replace(update, fields=more)
    assert [f.name for f in more if invented.may_clear(f.name)] == ["City"]
    for operation in CATALOGUE.values():
        assert operation.clears or not any(operation.may_clear(name) for name in operation.by_name)


@pytest.mark.parametrize(
    ("toml", "named"),
    [
        (INSERT + TOKEN, "[source] clear_token: InsertLead clears no fields"),
        (UPDATE + '[source]\nclear_token = ""', "source: clear_token can't be empty"),
        (UPDATE + '[source]\nclear_token = " x"', "source: clear_token can't be empty, or begin or end with a space"),
        (UPDATE + '[source]\nclear_token = "x"\nnull_tokens = ["NA", "x"]', 'clear_token = "x" is one of null_tokens'),
        (UPDATE + "[source]\nclear_token = 0", "source.clear_token: input should be a valid string"),
        (UPDATE + '[source]\nclear_tokn = "x"', "did you mean 'clear_token'?"),
    ],
)
def test_a_token_that_makes_no_sense_is_refused(toml: str, named: str) -> None:
    """It must be a text that no cell has for another reason, in an operation that clears."""
    with pytest.raises(UserError, match=r"^mapping list\.toml: ") as refused:
        mapping.parse(toml, "list.toml")
    assert named in str(refused.value)
    assert refused.value.exit_code == 2


def test_rules_across_fields_know_what_is_cleared() -> None:
    """A cleared field fits every choice, number and form; it has no value for a rule that asks for one."""
    fields = (
        Field(name="Kind", choices=("a", "b")),
        Field(name="Count", number=Range(1, 5)),
        Field(name="Code", pattern="x+"),
        Field(name="Other"),
    )
    rules = (RequiredWhen("Other", "Kind", ("a",)), OnlyWhen("Count", "Kind", ("b",), default="b"))
    invented = replace(CATALOGUE["UpdateLead"], fields=fields, rules=rules)

    def broken(**row: str) -> list[str]:
        schema = frame_schema(invented, list(row), {})
        try:
            schema.validate(text_frame({name: [value] for name, value in row.items()}), lazy=True)
        except SchemaErrors as errors:
            return [error.check.name for error in errors.schema_errors]
        return []

    assert broken(Kind=CLEARED, Count=CLEARED, Code=CLEARED, Other=CLEARED) == []
    assert broken(Kind="a", Other=CLEARED) == ["missing"]
    assert broken(Kind="a", Other="x", Count=CLEARED) == ["not_applicable"]


# --- keys and claims


def test_a_cleared_field_has_no_value_in_keys_and_claims() -> None:
    """Row key, phone and ClientId are those of a row without the field; the payload is another one."""
    columns, without = row(Phone="<clear>", Client="<clear>", Sub="<clear>", Notes="x"), row(Notes="x")
    bound = plan(MANY + TOKEN, *columns)
    made, other = (payloads.build(bound, checked(MANY + TOKEN, c).frame, TARGET) for c in (columns, without))
    assert (made.row_key, made.phone, made.client_id) == (other.row_key, other.phone, other.client_id)
    assert made.sha256 != other.sha256
    assert payloads.base_keys(bound, checked(MANY + TOKEN, columns).frame, TARGET) == made.row_key


def test_nothing_is_cleared_in_a_row_that_is_not_sent() -> None:
    """An invalid row's frame holds no mark that could be taken for a value."""
    done = checked(MANY + TOKEN, row(Phone="<clear>", Client="<clear>", State="ZZ"))
    assert told(done) == [(0, "State", "bad_state", "ZZ")]
    assert (done.frame["PrimaryPhone"][2], done.frame["ClientId"][2]) == ("", "")


# --- for any cells

CELLS = st.sampled_from(["", " ", "<clear>", " <clear> ", "\x00", "\x00\x00", "<clear>\x00", "x<clear>"]) | st.text(
    alphabet="ab \x00é&=<", max_size=6
)
ROWS = st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=12)
TEXTS = UPDATE + 'Notes = "Notes"\nadv_Plan = "Plan"\n'


def any_columns(rows: list[tuple[str, str, str]]) -> dict[str, list[str]]:
    named = {name: [cells[i] for cells in rows] for i, name in enumerate(("City", "Notes", "Plan"))}
    return {"By": ["LeadId"] * len(rows), "Id": [str(n) for n in range(len(rows))], **named}


@settings(max_examples=60)
@given(ROWS)
def test_without_a_token_no_empty_value_is_ever_sent(rows: list[tuple[str, str, str]]) -> None:
    """Whatever is in the cells, even what stands for a cleared one inside: only a mapping clears."""
    for form in sent(TEXTS, any_columns(rows)):
        assert "" not in form.values()


@settings(max_examples=60)
@given(ROWS)
def test_with_a_token_exactly_its_cells_are_sent_empty(rows: list[tuple[str, str, str]]) -> None:
    """A field is sent empty where its cell is the token, and nowhere else; every other cell is sent as without it."""
    columns = any_columns(rows)
    plain = {n: ["" if c.strip() == "<clear>" else c for c in cells] for n, cells in columns.items()}
    others = {form["Identifier"]: form for form in sent(TEXTS + "CallStatus = { value = 'x' }", plain)}
    forms = sent(TEXTS + "CallStatus = { value = 'x' }" + TOKEN, columns)
    assert len(forms) == len(rows)
    for cells, form in zip(rows, forms, strict=True):
        named = zip(("City", "Notes", "adv_Plan"), cells, strict=True)
        cleared = {name: "" for name, cell in named if cell.strip() == "<clear>"}
        assert {name: value for name, value in form.items() if value == ""} == cleared
        assert {name: value for name, value in form.items() if value} == others[form["Identifier"]]


# --- from the file to the account

HEADER = "Id,City,Notes,Phone\n"
MAPPING = """
operation = "UpdateLead"
[source]
clear_token = "<clear>"
[fields]
SearchField = { value = "ClientId" }
Identifier = "Id"
City = "City"
Notes = "Notes"
PrimaryPhone = "Phone"
"""


def test_a_load_clears_what_is_stored(leads: Leads, home: Path, account: Account) -> None:
    """The stored City is empty afterwards, other values are as they were, and the report says what was cleared."""
    write(home / "clear.toml", MAPPING)
    account.insert("2025550101", ClientId="S-1", City="Bath", Notes="old", Rep="ann")
    account.insert("2025550102", ClientId="S-2", City="Salem", Notes="old")
    write(home / "a.csv", HEADER + "S-1,<clear>,,\nS-2,,<clear> ,\n<clear>,Bath,,\nS-4,,,\nS-5,Bath,x,<clear>555\n")
    result = leads("load", "a.csv", "-m", "clear.toml", "--json", env=account.env)
    assert result.fates == {
        2: "accepted",
        3: "accepted",
        4: "invalid/not_clearable",
        5: "invalid/nothing_to_update",
        6: "invalid/bad_phone",
    }
    first, second = (account.leads()[phone] for phone in ("2025550101", "2025550102"))
    assert (first["City"], first["Notes"], first["Rep"]) == ("", "old", "ann")
    assert (second["City"], second["Notes"]) == ("Salem", "")
    cleared = {"field": "City", "raw": "<clear>", "value": "", "rule": "cleared", "lossless": True}
    assert result.by_row[2]["repairs"] == [cleared]
    assert result.json["repairs"]["cleared"] == 2
    assert result.by_row[4]["message"].startswith("Identifier: can't be cleared")


def test_the_ledger_sees_that_a_field_was_cleared(leads: Leads, home: Path, account: Account) -> None:
    """The same clearing twice is sent once; after another value it is sent again."""
    write(home / "clear.toml", MAPPING)
    account.insert("2025550101", ClientId="S-1", City="Bath", Notes="old")

    def load(name: str, cells: str) -> str:
        write(home / name, f"{HEADER}S-1,{cells}\n")
        return leads("load", name, "-m", "clear.toml", "--json", env=account.env).fates[2]

    assert load("a.csv", "<clear>,new,") == "accepted"
    assert load("b.csv", "<clear>,new,") == "skipped/already_loaded"
    assert load("c.csv", ",new,") == "accepted"
    assert load("d.csv", "Salem,new,") == "accepted"
    assert load("e.csv", "<clear>,new,") == "accepted"
    assert account.leads()["2025550101"]["City"] == ""


def test_a_row_whose_phone_is_cleared_has_none_in_the_report(leads: Leads, home: Path) -> None:
    """Neither a row that would be sent nor an invalid one shows a phone, and no mark is left in the report."""
    write(home / "clear.toml", MAPPING)
    write(home / "a.csv", HEADER + f"S-1,x,,<clear>\nS-2,{'x' * 101},,<clear>\n")
    result = leads("check", "a.csv", "-m", "clear.toml", "--json")
    assert result.fates == {2: "valid", 3: "invalid/too_long"}
    assert [result.by_row[number]["phone"] for number in (2, 3)] == [None, None]
    assert "\\x00" not in repr(result.rows)


def test_a_mapping_that_can_not_clear_ends_with_2(leads: Leads, home: Path) -> None:
    """An insert with a clear token is refused before anything is read, by the name of the key."""
    write(home / "clear.toml", INSERT + TOKEN)
    write(home / "a.csv", "Phone\n2025550101\n")
    result = leads("check", "a.csv", "-m", "clear.toml")
    assert result.code == 2
    assert "clear_token" in result.err
    assert "Traceback" not in result.err


def test_a_map_that_lets_the_token_through_stays_as_it_is() -> None:
    """Binding a mapping does not change it."""
    toml = UPDATE.replace('"City"\n', '{ column = "City", map = { a = "b" } }\n') + TOKEN
    parsed = mapping.parse(toml, "m")
    bound = mapping.bind(parsed, "m", ("By", "Id", "City"))
    assert bound.assignments[-1].origin.map == {"<clear>": "<clear>", "a": "b"}
    assert parsed.fields["City"] == FieldSource(column="City", map={"a": "b"})
