"""What an operation is, as people read it: its fields and rules, and what follows where a call has no verdict."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table

from pipeline.mapping import operation_named
from pipeline.retries import CASES, Duplicates, follows
from pipeline.screen import print_json, wide
from schemas.catalogue import CATALOGUE
from schemas.spec import AnyBeside, Field, Grade, OnlyWhen, Operation, RequiredWhen, Rule, Together, Verdict


def operations(name: str | None, *, as_json: bool) -> None:
    """All operations, or one with its fields. Raises UserError for a name that is not known."""
    if name is None:
        _all_operations(as_json=as_json)
        return
    operation = operation_named(name, "operation")
    if as_json:
        print_json(_described(operation))
        return
    _print_operation(operation)


def _all_operations(*, as_json: bool) -> None:
    if as_json:
        print_json({"operations": [_described(op) for op in CATALOGUE.values()]})
        return
    table = Table("operation", "does", "in doubt", "what it is", box=None, pad_edge=False)
    for op in CATALOGUE.values():
        table.add_row(op.name, op.effect, op.settle, op.doc)
    wide().print(table)


def _described(operation: Operation) -> dict[str, Any]:
    return {
        "name": operation.name,
        "vendor": operation.vendor.name,
        "path": operation.path,
        "made_of": [part.name for part in _parts_of(operation)] if operation.composed else [],
        "does": operation.effect,
        "in_doubt": operation.settle,
        "ledger": operation.ledger,
        "retries": {mode.value: dict(follows(operation, mode)) for mode in Duplicates},
        "doc": operation.doc,
        "source": operation.source,
        "rules": rules_in_words(operation),
        "example_call": example_call(operation),
        "example_mapping": example_mapping(operation),
        "fields": [{"name": f.name, "required": f.required, "rule": _rule(f), "doc": f.doc} for f in operation.fields],
    }


_ENDPOINTS = {
    Grade.B: "The vendor's document does not name this endpoint; other clients use it.",
    Grade.C: "The vendor's document does not name this endpoint: it is taken to be named as the others are.",
}


def _not_documented(operation: Operation) -> Iterator[str]:
    """What is taken for granted of an operation, and is not in the vendor's document."""
    if operation.endpoint_grade in _ENDPOINTS:
        yield _ENDPOINTS[operation.endpoint_grade]
    if any(rule.grade is Grade.UNKNOWN for rule in operation.replies if rule.verdict is Verdict.ACCEPTED):
        yield "No public sample of its replies exists: they are read as those of an insert."


def _print_operation(operation: Operation) -> None:
    out = wide()
    out.print(operation.name, style="bold", end="  ")
    out.print(operation.doc, markup=False)
    for part in _parts_of(operation):
        out.print(f"{part.vendor.name}, {part.path}; source: {part.source}", markup=False, style="dim")
        for line in _not_documented(part):
            out.print(line, style="dim")
    table = Table("field", "", "rule", "", box=None, pad_edge=False)
    for field in operation.fields:
        needed = "required" if field.required else "policy" if field.from_policy else ""
        table.add_row(field.name, needed, _rule(field), field.doc)
    if operation.custom:
        table.add_row(f"{operation.custom.prefix}…", "", "spaces are sent as __", "custom fields of the campaign")
    out.print(table)
    for line in rules_in_words(operation):
        out.print(f"  {line}", markup=False)
    _print_retries(out, operation)
    out.print("\nOne call", style="bold")
    out.print(f"  {example_call(operation)}", markup=False, soft_wrap=True)
    out.print("A list", style="bold")
    for line in example_mapping(operation).splitlines():
        out.print(f"  {line}", markup=False, soft_wrap=True)


def rules_in_words(operation: Operation) -> list[str]:
    """The rules across fields, a line each."""
    return [_in_words(rule) for rule in operation.rules]


def _in_words(rule: Rule) -> str:
    match rule:
        case Together(fields):
            return f"{' and '.join(fields)}: all of them or none"
        case RequiredWhen(field, when, values):
            return f"{field}: required where {when} is {' or '.join(values)}"
        case OnlyWhen(field, when, values):
            return f"{field}: only where {when} is {' or '.join(values)}"
        case AnyBeside(fields):
            return f"at least one field besides {' and '.join(fields)}"


_SAMPLES = {"us_phone": "2025550142", "office_phone": "2025550143", "phone_list": "2025550143", "flag": "1"}


def example_call(operation: Operation) -> str:
    """A call with what is required; words in capitals are to be replaced."""
    fields = " ".join(f"{field.name}={_sample(field)}" for field in operation.fields if field.required)
    return f"leads call {operation.name} {fields}"


def example_mapping(operation: Operation) -> str:
    """A mapping with what is required, from columns of the same names, as TOML."""
    fields = [f'{field.name} = "{field.name}"' for field in operation.fields if field.required]
    lines = [f'operation = "{operation.name}"', "[fields]", *fields]
    if operation.frees_people or operation.contacts("immediate"):
        lines += ["[policy]", 'suppress = "dnc.csv"']
    return "\n".join(lines) + "\n"


def _sample(field: Field) -> str:
    if field.choices:
        return field.choices[0]
    if field.number:
        return str(field.number.least)
    return _SAMPLES.get(field.cleaner, field.name.upper())


def _parts_of(operation: Operation) -> tuple[Operation, ...]:
    """The vendor's operations that are called: itself, or those of which it is composed."""
    made_of = operation.composed
    return (operation,) if made_of is None else (made_of.search, made_of.insert, made_of.update)


def _print_retries(out: Console, operation: Operation) -> None:
    """The operation's part of the retry table; what is the same whatever a duplicate does stands in one column."""
    headings = _headings(operation)
    columns = [follows(operation, mode) for mode in headings]
    table = Table("what came back", *headings.values(), box=None, pad_edge=False)
    for case, words in CASES.items():
        if any(case in column for column in columns):
            table.add_row(words, *(column[case] for column in columns))
    how = f" A look-up is {operation.lookup.name}." if operation.lookup else ""
    which = "a call" if operation.composed is None else "its insert (a search or an update is sent again)"
    out.print(f"\nWhat follows where {which} has no verdict.{how}", markup=False)
    out.print(table)


def _headings(operation: Operation) -> dict[Duplicates, str]:
    """The modes between which the operation tells, as its user sets them."""
    if operation.stores_again is None:
        return {Duplicates.SUPPRESSED: "then"}
    name, value = operation.stores_again
    return {
        Duplicates.SUPPRESSED: f"{name} not {value}",
        Duplicates.STORED: f"{name} {value}",
        Duplicates.DIALED: f"{name} {value}, dialing",
    }


def _rule(field: Field) -> str:
    parts = [f"≤ {field.max_length} characters"] if field.max_length else []
    parts += [" | ".join(field.choices)] if field.choices else []
    parts += [f"{field.number.least} to {field.number.most}"] if field.number else []
    parts += [f"cleaned as {field.cleaner}"] if field.cleaner != "text" else []
    return ", ".join(parts)
