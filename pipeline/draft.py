"""A suggestion as the text of a mapping: what is sure as lines that hold, the rest as comments to choose from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pipeline.likeness import likeness
from pipeline.shapes import Column
from pipeline.suggest import CONFIDENT, POSSIBLE, Candidate, Suggestion
from pipeline.toml import array, comment, key, quoted
from schemas.meanings import MEANINGS
from schemas.spec import Custom, Effect, Field, Operation

_EXAMPLE_CHARACTERS = 24


@dataclass(frozen=True, slots=True)
class Reading:
    """How the list was read, as far as the mapping must say it; `name` is the file's."""

    name: str
    source: Mapping[str, str | int] = field(default_factory=dict)  # keys of [source]
    notes: tuple[str, ...] = ()


def toml(suggestion: Suggestion, reading: Reading) -> str:
    """A whole mapping. What is missing is an empty constant, which no load takes until it is filled in."""
    parts = [
        _head(suggestion, reading),
        _source(suggestion, reading),
        ["[fields]", *_constants(suggestion), *(_line(suggestion, one) for one in suggestion.taken)],
        _open(suggestion),
        _named(suggestion),
        _left(suggestion),
        _extra_fields(suggestion),
        _policy(suggestion.operation),
    ]
    return "\n\n".join("\n".join(lines) for lines in parts if lines) + "\n"


def _head(suggestion: Suggestion, reading: Reading) -> list[str]:
    return [
        f"# A mapping for {comment(reading.name)}, as suggested: read it through before you load.",
        f"# Each number says how sure a line is, from 0 to 1; below {CONFIDENT} it is left to you, behind a #.",
        *(f"# The file: {comment(note)}" for note in reading.notes),
        *(f"# ATTENTION, {comment(warning)}" for warning in warnings(suggestion)),
        f"operation = {quoted(suggestion.operation.name)}",
        'unmapped = "ignore" # columns that no line below names are not sent',
    ]


def warnings(suggestion: Suggestion) -> Iterator[str]:
    """What columns of the list mean for people, one line each."""
    for column in suggestion.columns:
        for meaning in MEANINGS:
            if meaning.warning and likeness(column.header, meaning).same:
                yield f"column {quoted(column.header)}: {meaning.warning}"


# --- [source] ---


def _source(suggestion: Suggestion, reading: Reading) -> list[str]:
    values = [f"{name} = {_value(value)}" for name, value in reading.source.items()]
    lines = [*values, *_nulls(suggestion), *_date_order(suggestion), *_regions(suggestion)]
    return ["[source]", *lines] if lines else []


def _value(value: str | int) -> str:
    return quoted(value) if isinstance(value, str) else str(value)


def _nulls(suggestion: Suggestion) -> Iterator[str]:
    words = dict.fromkeys(word for column in suggestion.columns for word in column.nulls)
    if words:
        yield f'null_tokens = {array(words)} # seen in the list: cells that mean "not given"'


def _date_order(suggestion: Suggestion) -> Iterator[str]:
    orders = [column.date_order for column in suggestion.dates]
    if None in orders:
        yield '# date_order = "mdy" # decide: mdy or dmy? The dates of the list can be read either way'
    elif found := next(filter(None, orders), ""):
        yield f"date_order = {quoted(found)} # no other order fits the dates of the list"


def _regions(suggestion: Suggestion) -> Iterator[str]:
    if foreign := suggestion.foreign_regions:
        about = "decide: most phones of the list are not of the US, and are refused without this"
        yield f"# regions = {array(('US', *foreign))} # {about}"


# --- [fields] ---


def _constants(suggestion: Suggestion) -> Iterator[str]:
    for known in suggestion.missing:
        yield f'{key(known.name)} = {{ value = "" }} # TO BE FILLED IN between the quotes: {_wanted(known)}'
    for name, value in suggestion.constants.items():
        yield f"{key(name)} = {{ value = {quoted(value)} }}"


def _wanted(known: Field) -> str:
    what = f"the {known.name} as the account names it" if known.is_name else "no column looks like it"
    return what + (f"; {known.doc}" if known.doc else "")


def _line(suggestion: Suggestion, candidate: Candidate) -> str:
    examples = _examples(suggestion.by_header[candidate.column])
    about = f"{candidate.confidence:.2f}: {comment(candidate.why)}{examples}"
    return f"{key(candidate.field)} = {quoted(candidate.column)} # {about}"


def _examples(column: Column) -> str:
    shown = [quoted(_cut(value)) for value in column.examples()]
    return f"; such as {', '.join(shown)}" if shown else ""


def _cut(value: str) -> str:
    return value if len(value) <= _EXAMPLE_CHARACTERS else value[: _EXAMPLE_CHARACTERS - 1] + "…"


# --- Comments to choose from ---


def _open(suggestion: Suggestion) -> list[str]:
    lines = [
        f"# {line}" for candidates in suggestion.open.values() for line in (_line(suggestion, c) for c in candidates)
    ]
    title = f"# TO DECIDE: surer than {POSSIBLE}, not as sure as {CONFIDENT}. Take the # from the lines that are right."
    return [title, *lines] if lines else []


def _named(suggestion: Suggestion) -> list[str]:
    lines = [f"# {_line(suggestion, candidate)}" for candidate in suggestion.named]
    title = "# Only where the values are names that the account knows, and instead of a line above for the same field:"
    return [title, *lines] if lines else []


def _left(suggestion: Suggestion) -> list[str]:
    custom = suggestion.operation.custom
    if custom is None or not suggestion.left:
        names = ", ".join(quoted(column.header) for column in suggestion.left)
        return [f"# No field takes these columns: {names}"] if names else []
    return [
        "# No field of the vendor's takes these columns. Where the campaign has a custom field for one, take the #",
        f"# away, and write its name there behind {custom.prefix}: a name that the campaign lacks vanishes unsaid.",
        *(f"# {_custom(custom, column)}" for column in suggestion.left),
    ]


def _custom(custom: Custom, column: Column) -> str:
    name = "".join(" " if c in custom.forbidden or not c.isprintable() else c for c in column.header)
    examples = _examples(column).removeprefix("; ")
    return f"{key(custom.prefix + name.strip())} = {quoted(column.header)}" + (f" # {examples}" if examples else "")


# --- The rest ---


def _extra_fields(suggestion: Suggestion) -> list[str]:
    lines = [f"{key(name)} = {length}" for name, length in suggestion.extra_fields.items()]
    return ["[extra_fields]", *lines] if lines else []


def _policy(operation: Operation) -> list[str]:
    if operation.dialing:
        return ["[policy]", 'dialing = "import-only" # no call goes out because of this load']
    if operation.frees_people or operation.effect is Effect.CONTACT:
        return [
            "[policy]",
            'suppress = "dnc.csv" # a file with the numbers that must not be reached; "none" on purpose',
        ]
    return []
