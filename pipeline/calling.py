"""One call by hand: the same line with one row, which comes from the command line instead of a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipeline import mapping, people, run, settings
from pipeline.job import Job, Summary, World
from pipeline.mapping import Policy
from pipeline.model import UserError
from pipeline.people import Consent
from pipeline.settings import Settings
from pipeline.words import nearest
from schemas.spec import Operation


def job(name: str, arguments: Sequence[str], given: Settings) -> Job:
    """The job of a call. Raises UserError for an operation, a field or a form of argument that is not known."""
    operation = mapping.operation_named(name, "operation")
    values = _values(operation, arguments)
    _check_names(operation, values)
    policy = {field: value for field, value in values.items() if _is_policy(operation, field)}
    cells = {field: value for field, value in values.items() if field not in policy}
    text = _mapping_text(operation, cells, _policy(operation, policy))
    return Job(
        command="call",
        files=(),
        mapping=mapping.parse(text, "call"),
        mapping_path=Path("call"),
        mapping_text=text,
        settings=given,
        consent=Consent(max_contacts=1, dial_non_callables=True),  # whoever answers the question has said so
        cells=cells,
    )


def make(wanted: Job, world: World, asked: Callable[[str], bool]) -> tuple[Summary, dict[str, Any]]:
    """Makes the call: how it ended, and its row of the report.

    `asked` puts a question to the operator where people are reached or freed to be called. Raises UserError where the
    answer is no: nothing was sent.
    """
    settings.credentials(wanted.settings, wanted.operation.vendor)  # what is missing is said before anything is asked
    if people.contacts(wanted.operation, wanted.mapping.policy) and not asked(_question(wanted)):
        raise UserError("nothing was sent: the answer was no")
    summary = run.load(wanted, world)
    return summary, pq.read_table(summary.report).to_pylist()[0]


def _question(wanted: Job) -> str:
    policy = wanted.mapping.policy
    also = " Do-not-call numbers are dialed, too." if policy.dial_non_callables else ""
    return f"{people.why(wanted.operation, policy)}, {wanted.target}.{also} Go on?"


def _values(operation: Operation, arguments: Sequence[str]) -> dict[str, str]:
    """Field → value. What can't be read is not repeated: it may hold a secret."""
    values: dict[str, str] = {}
    for number, argument in enumerate(arguments, 1):
        name, equals, value = argument.partition("=")
        field = operation.wire_name(name.strip())
        if not equals or not field:
            raise UserError(f"argument {number} is not of the form Field=Value; see: leads operations {operation.name}")
        if field in values:
            raise UserError(f"{field}: given twice")
        values[field] = value
    return values


def _check_names(operation: Operation, values: Mapping[str, str]) -> None:
    prefix = operation.custom.prefix if operation.custom else None
    for name in values:
        if name not in operation.by_name and not (prefix and name.startswith(prefix)):
            near = nearest(name, operation.by_name)
            raise UserError(f"{operation.name} has no field {name!r}{near}; see: leads operations {operation.name}")
    missing = [field.name for field in operation.fields if field.required and field.name not in values]
    if missing:
        raise UserError(f"{operation.name} needs {', '.join(missing)}; see: leads operations {operation.name}")


def _is_policy(operation: Operation, field: str) -> bool:
    return field in operation.by_name and operation.by_name[field].from_policy


def _policy(operation: Operation, given: Mapping[str, str]) -> Policy:
    """The policy that the given parameters ask for: of several that fit, the one that reaches the fewest people."""
    for field, value in given.items():
        if value not in operation.by_name[field].choices:
            raise UserError(f"{field}={value}: give {' or '.join(operation.by_name[field].choices)}")
    set_by_dialing = {name for dialing in operation.dialing.values() for name in dialing.parameters}
    asked = {name: value for name, value in given.items() if name in set_by_dialing}
    fitting = (
        name
        for name, dialing in operation.dialing.items()
        if all(dialing.parameters.get(field, value) == value for field, value in asked.items())
    )
    chosen = {"dialing": next(fitting)} if operation.dialing else {}
    flags = {operation.by_name[f].policy_flag: value == "1" for f, value in given.items() if f not in set_by_dialing}
    return Policy.model_validate({"suppress": mapping.NOBODY, **chosen, **flags})


def _mapping_text(operation: Operation, cells: Mapping[str, str], policy: Policy) -> str:
    """The mapping of the call, as it would be written: its row can be explained and reconciled by it."""
    lines = [f"operation = {_quoted(operation.name)}", "[fields]"]
    lines += [f"{_quoted(name)} = {{ column = {_quoted(name)} }}" for name in cells]
    lines += ["[policy]"]
    lines += [f"{name} = {_quoted(value)}" for name, value in policy.model_dump(exclude_defaults=True).items()]
    return "\n".join(lines) + "\n"


def _quoted(value: object) -> str:
    """A TOML value: JSON writes strings, true and false as TOML does."""
    return json.dumps(value, ensure_ascii=False)
