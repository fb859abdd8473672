"""The declarations: that they hold together, and that each rule they state is kept by the frames built from them."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pandera.errors
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from given import text_frame

from pipeline.clean import CLEANERS
from schemas.catalogue import CATALOGUE
from schemas.dialedin import INSERT_LEAD, SEARCH_LEAD, UPDATE_LEAD
from schemas.dialogtech import EMAIL, URL
from schemas.frames import frame_schema, max_length
from schemas.spec import (
    AnyBeside,
    Effect,
    Field,
    OnlyWhen,
    Operation,
    Range,
    RequiredWhen,
    Rule,
    Settle,
    Together,
    Verdict,
)

# Holds every kind of rule and limit, whatever the vendors' own operations use.
INVENTED = replace(
    SEARCH_LEAD,
    name="Invented",
    fields=(
        Field(name="Kind", required=True, choices=("0", "1", "2")),
        Field(name="Loops", number=Range(1, 5)),
        Field(name="Code", pattern="[a-c]{2}|zz"),
        Field(name="Item", max_length=3),
        Field(name="Extra"),
        Field(name="Left"),
        Field(name="Right"),
        Field(name="Also"),
    ),
    rules=(
        RequiredWhen("Item", "Kind", ("2",)),
        OnlyWhen("Extra", "Kind", ("1",)),
        Together(("Left", "Right")),
        AnyBeside(("Kind",)),
    ),
    identifier=None,
)
OPERATIONS = [*CATALOGUE.values(), INVENTED]
# A value that passes, by cleaner, or by pattern where the cleaner doesn't say.
EXAMPLES = {
    "us_phone": "2025550101",
    "us_state": "NY",
    "us_zip": "10001",
    "callback_date": "12/31/2026 14:30:00",
    "flag": "1",
    "[a-c]{2}|zz": "ab",
    "office_phone": "8005550101",
    "phone_list": "2025550101|8005550102",
    EMAIL: "desk@example.test",
    URL: "http://127.0.0.1:8080/none",
    "[0-9]{10}": "2025550109",
    "[0-9]+": "30",
}


def example(field: Field) -> str:
    """A value that breaks no rule of the field's own."""
    if field.choices:
        return field.choices[0]
    if field.number:
        return str(field.number.least)
    return EXAMPLES.get(field.pattern or field.cleaner, EXAMPLES.get(field.cleaner, "x"))


def minimal(operation: Operation) -> dict[str, str]:
    """The smallest row that keeps every rule of the operation."""
    row = {f.name: example(f) for f in operation.fields if f.required}
    for rule in operation.rules:
        match rule:
            case RequiredWhen(field, when, values) if row.get(when) in values:
                row[field] = example(operation.by_name[field])
            case AnyBeside():
                free = next(f for f in operation.fields if not (f.required or f.from_policy or in_rules(operation, f)))
                row[free.name] = example(free)
    return row


def in_rules(operation: Operation, field: Field) -> bool:
    return any(field.name in names(rule) for rule in operation.rules)


def names(rule: Rule) -> tuple[str, ...]:
    return rule.fields if isinstance(rule, Together | AnyBeside) else (rule.field, rule.when)


def broken(operation: Operation, row: dict[str, str], **lengths: int) -> set[tuple[str, str]]:
    """(code, field) of every check that the row fails."""
    try:
        frame_schema(operation, list(row), lengths).validate(text_frame({k: [v] for k, v in row.items()}), lazy=True)
    except pandera.errors.SchemaErrors as errors:
        return {(error.check.name, error.check.title) for error in errors.schema_errors}
    return set()


def every_field(*, having: str) -> list[object]:
    return [
        pytest.param(operation, field, id=f"{operation.name}-{field.name}")
        for operation in OPERATIONS
        for field in operation.fields
        if getattr(field, having)
    ]


def breaches(operation: Operation, rule: Rule) -> Iterator[tuple[dict[str, str], str]]:
    """Rows that break the rule and nothing else that matters here, each with the field that is told."""
    row = minimal(operation)

    def value(name: str) -> str:
        return example(operation.by_name[name])

    match rule:
        case Together(fields):
            for name in fields:
                yield {**row, **dict.fromkeys(fields, ""), name: value(name)}, fields[0]
                yield {**row, name: value(name)}, fields[0]
        case RequiredWhen(field, when, values):
            for given in values:
                yield {**row, when: given, field: ""}, field
                yield {k: v for k, v in {**row, when: given}.items() if k != field}, field
        case OnlyWhen(field, when, values, default):
            row = {**row, field: value(field)}
            for given in set(operation.by_name[when].choices) - set(values):
                yield {**row, when: given}, field
            if default not in values:
                yield {**row, when: ""}, field
                yield {k: v for k, v in row.items() if k != when}, field
        case AnyBeside(fields):
            yield {name: row[name] for name in fields}, fields[-1]
            yield {name: text if name in fields else "" for name, text in row.items()}, fields[-1]


RULES = [
    pytest.param(operation, rule, id=f"{operation.name}-{type(rule).__name__}-{'-'.join(names(rule))}")
    for operation in OPERATIONS
    for rule in operation.rules
]


# --- the declarations


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda o: o.name)
def test_declarations_name_real_things(operation: Operation) -> None:
    """Every field, cleaner and pattern that a declaration refers to exists, once."""
    fields = operation.by_name
    assert len(fields) == len(operation.fields)
    named = {name for rule in operation.rules for name in names(rule)}
    named |= {name for name in (operation.phone, operation.client_id, *(operation.identifier or ())) if name}
    named |= {f.cleaner_when[0] for f in operation.fields if f.cleaner_when}
    named |= {operation.identity.by, *operation.identity.fields.values()} if operation.identity else set()
    named |= operation.not_in_key
    assert named <= set(fields)
    cleaners = {f.cleaner for f in operation.fields}
    cleaners |= {c for f in operation.fields if f.cleaner_when for c in f.cleaner_when[1].values()}
    assert cleaners <= set(CLEANERS)
    for field in operation.fields:
        pc.match_substring_regex(pa.array([""]), pattern=field.pattern or "")
        assert not (field.required and field.from_policy)
    for rule in operation.replies:
        re.compile(rule.pattern)
    assert operation.endpoint_grade
    assert operation.doc
    assert operation.source


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda o: o.name)
def test_what_is_set_for_a_row_is_no_field_of_it(operation: Operation) -> None:
    """Credentials and fixed parameters are no fields, and the policy's parameters are fields that no cell sets."""
    fields = operation.by_name
    credentials = {c.parameter for group in operation.vendor.credentials for c in group}
    assert not (credentials | set(operation.fixed)) & set(fields)
    for dialing in operation.dialing.values():
        assert all(fields[name].from_policy and value in fields[name].choices
                   for name, value in dialing.parameters.items())  # fmt: skip


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda o: o.name)
def test_doubts_are_settled_without_harm(operation: Operation) -> None:
    """What may make a phone ring is never repeated unseen, and what is searched for has a field to search by."""
    assert not (operation.effect is Effect.CONTACT and operation.settle is Settle.REPEAT)
    assert operation.settle is not Settle.SEARCH or operation.client_id
    assert operation.duplicates_by in {None, "phone", "identifier"}
    assert operation.duplicates_by != "phone" or operation.phone
    assert operation.duplicates_by != "identifier" or operation.identifier or operation.identity
    assert not (operation.identifier and operation.identity)


@pytest.mark.parametrize("operation", [o for o in OPERATIONS if o.composed], ids=lambda o: o.name)
def test_a_composed_operation_is_made_of_what_its_parts_can(operation: Operation) -> None:
    """Its fields are the insert's; what an update gets, the update takes; the search is asked in its own terms."""
    parts, identity = operation.composed, operation.identity
    assert parts
    assert identity
    assert not any(part.composed for part in (parts.search, parts.insert, parts.update))
    assert set(operation.by_name) - {identity.by} == set(parts.insert.by_name)
    assert set(operation.by_name) - {identity.by} - parts.insert_only <= set(parts.update.by_name)
    assert parts.insert_only <= set(operation.by_name)
    search_by, _ = parts.search.identifier or ("", "")
    update_by, _ = parts.update.identifier or ("", "")
    assert {*identity.fields} <= {*operation.by_name[identity.by].choices} <= {*parts.search.by_name[search_by].choices}
    assert parts.lead_id[0] in parts.update.by_name[update_by].choices
    assert {parts.scope.default, *operation.by_name[parts.scope.by].choices} == {*parts.scope.fields}
    restricting = {name for names in parts.scope.fields.values() for name in names}
    assert restricting | {*parts.asked} <= set(parts.search.by_name)
    assert parts.update.settle is parts.search.settle is Settle.REPEAT
    assert operation.settle is parts.insert.settle
    assert operation.effect is parts.insert.effect


def test_importing_the_declarations_is_cheap() -> None:
    """The catalogue loads neither pandera nor pandas."""
    code = "import sys, schemas.catalogue; print(sorted({'pandera', 'pandas', 'pyarrow'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_verdict_of_every_reply_that_accepts_is_exact() -> None:
    """Only one whole text is believed to mean accepted."""
    accepting = [rule for rule in INSERT_LEAD.replies if rule.verdict is Verdict.ACCEPTED]
    assert [rule.pattern for rule in accepting] == ["Result: OK$"]


@pytest.mark.parametrize(
    ("name", "wire"),
    [
        ("adv_Policy Number", "adv_Policy__Number"),
        ("adv_Policy__Number", "adv_Policy__Number"),
        ("adv_policy_number", "adv_policy_number"),
        ("adv_a  b", "adv_a____b"),
        ("Secondary Phone", "Secondary Phone"),
        ("Adv_a b", "Adv_a b"),
    ],
)
def test_custom_fields_get_double_underscores_for_spaces(name: str, wire: str) -> None:
    """Every space in a custom field's name becomes two underscores; single underscores and other names stay."""
    assert INSERT_LEAD.wire_name(name) == wire
    assert SEARCH_LEAD.wire_name(name) == name


def test_who_contacts_people() -> None:
    """An insert contacts people unless it only imports; an update and a search never do."""
    assert [INSERT_LEAD.contacts(d) for d in INSERT_LEAD.dialing] == [False, True, True]
    assert not UPDATE_LEAD.contacts("immediate")
    assert not SEARCH_LEAD.contacts("immediate")
    assert replace(SEARCH_LEAD, effect=Effect.CONTACT).contacts("import-only")


# --- the frames


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda o: o.name)
def test_the_smallest_row_passes(operation: Operation) -> None:
    """A row with nothing but what is required is valid, with the other fields absent or empty."""
    row = minimal(operation)
    assert not broken(operation, row)
    assert not broken(operation, {**dict.fromkeys(operation.by_name, ""), **row})


@pytest.mark.parametrize(("operation", "field"), every_field(having="required"))
def test_a_required_field_is_missed(operation: Operation, field: Field) -> None:
    """An empty required field is `missing`."""
    assert ("missing", field.name) in broken(operation, {**minimal(operation), field.name: ""})


@pytest.mark.parametrize(("operation", "field"), every_field(having="max_length"))
def test_a_limit_holds_to_the_character(operation: Operation, field: Field) -> None:
    """A value passes at its limit, counted in characters, and is `too_long` with one more."""
    row, limit = minimal(operation), field.max_length
    assert limit
    assert ("too_long", field.name) not in broken(operation, {**row, field.name: "é" * limit})
    assert ("too_long", field.name) in broken(operation, {**row, field.name: "é" * (limit + 1)})


@pytest.mark.parametrize(("operation", "field"), every_field(having="choices"))
def test_a_choice_is_one_of_those_listed(operation: Operation, field: Field) -> None:
    """Every listed value passes, and any other is `not_allowed`."""
    row = minimal(operation)
    for choice in field.choices:
        assert ("not_allowed", field.name) not in broken(operation, {**row, field.name: choice})
    for other in ("?", f"{field.choices[0]} ", field.choices[0] + field.choices[0]):
        assert ("not_allowed", field.name) in broken(operation, {**row, field.name: other})


@pytest.mark.parametrize(("operation", "field"), every_field(having="number"))
def test_a_number_is_whole_and_within_its_range(operation: Operation, field: Field) -> None:
    """Both ends pass; beyond them, and anything that is no plain whole number, is `out_of_range`."""
    row, number = minimal(operation), field.number
    assert number
    for inside in (number.least, number.most):
        assert ("out_of_range", field.name) not in broken(operation, {**row, field.name: str(inside)})
    for outside in (number.least - 1, number.most + 1, "x", f"{number.least}.0", f"0{number.least}", "9" * 40):
        assert ("out_of_range", field.name) in broken(operation, {**row, field.name: str(outside)})


@pytest.mark.parametrize(("operation", "field"), every_field(having="pattern"))
def test_a_pattern_is_of_the_whole_value(operation: Operation, field: Field) -> None:
    """A value that only contains the pattern is `bad_format`."""
    row, good = minimal(operation), example(field)
    assert ("bad_format", field.name) not in broken(operation, {**row, field.name: good})
    for bad in ("?", f" {good}", f"{good} ", f"{good}\n"):
        assert ("bad_format", field.name) in broken(operation, {**row, field.name: bad})


@pytest.mark.parametrize(("operation", "rule"), RULES)
def test_a_rule_across_fields_is_kept(operation: Operation, rule: Rule) -> None:
    """A row that breaks the rule has its code at its field, whether the other columns are empty or not there."""
    rows = list(breaches(operation, rule))
    assert rows
    for row, field in rows:
        assert (rule.code, field) in broken(operation, row), row


@pytest.mark.parametrize(
    "row",
    [
        {"Kind": "1", "Extra": "x"},
        {"Kind": "2", "Item": "abc"},
        {"Kind": "0", "Left": "x", "Right": "y"},
        {"Kind": "0", "Left": "", "Right": "", "Also": "x"},
    ],
)
def test_a_row_that_keeps_the_rules_passes(row: dict[str, str]) -> None:
    """Rules across fields leave alone what keeps them."""
    assert not broken(INVENTED, row)


def test_an_empty_field_counts_as_its_default() -> None:
    """A rule that hangs on another field's value takes its default where that field is empty or absent."""
    rule = OnlyWhen("Extra", "Kind", ("0",), default="0")
    operation = replace(INVENTED, fields=(replace(INVENTED.fields[0], required=False), *INVENTED.fields[1:]))
    operation = replace(operation, rules=(rule,))
    assert not broken(operation, {"Extra": "x"})
    assert not broken(operation, {"Kind": "", "Extra": "x"})
    assert broken(operation, {"Kind": "1", "Extra": "x"}) == {("not_applicable", "Extra")}
    assert not broken(operation, {"Kind": "1", "Extra": ""})


def test_the_accounts_own_lengths_count() -> None:
    """A length of the mapping replaces the vendor's, and limits fields that the vendor doesn't list."""
    row = {**minimal(INSERT_LEAD), "City": "x" * 101, "adv_Policy": "x" * 11}
    assert broken(INSERT_LEAD, row) == {("too_long", "City")}
    assert broken(INSERT_LEAD, row, City=101, adv_Policy=10) == {("too_long", "adv_Policy")}
    assert max_length(INSERT_LEAD, "Notes", {}) is None


def test_a_column_that_nobody_planned_fails() -> None:
    """A frame with another column than planned doesn't pass."""
    schema = frame_schema(INVENTED, ["Kind", "Also"], {})
    with pytest.raises(pandera.errors.SchemaErrors, match="Other"):
        schema.validate(text_frame({"Kind": ["1"], "Also": ["x"], "Other": ["x"]}))


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda o: o.name)
def test_no_rows_pass(operation: Operation) -> None:
    """A frame without rows keeps every rule."""
    columns = list(operation.by_name)
    frame_schema(operation, columns, {}).validate(text_frame(dict.fromkeys(columns, ())), lazy=True)
