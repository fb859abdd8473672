"""What would mend a problem: what to do, and the lines of the mapping that would do it. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from pipeline.clean.phone import area_regions
from pipeline.mapping import FieldSource, MappingFile, Plan
from pipeline.toml import array, key, quoted
from pipeline.validate import is_free_text

OPEN = "…"  # in a line: for its user to fill in


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a mapping, and the table it stands under: ("policy", 'overlong = "truncate"')."""

    table: str
    text: str

    def __str__(self) -> str:
        return f"[{self.table}] {self.text}"


@dataclass(frozen=True, slots=True)
class Case:
    """A problem as it was met: in which field, under which mapping, and with which values.

    `values` are some of them; `nothing` those that likely mean "not given"; `longest` is a number of characters.
    """

    file: MappingFile
    plan: Plan
    field: str
    values: Sequence[str] = ()
    nothing: Sequence[str] = ()
    longest: int = 0

    @property
    def origin(self) -> FieldSource | None:
        """Where the field's values come from; None where the mapping leaves it out."""
        return next((one.origin for one in self.plan.assignments if one.field == self.field), None)

    @property
    def is_required(self) -> bool:
        """Whether a row can't go without it."""
        known = self.plan.operation.by_name.get(self.field)
        return known is not None and known.required


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do about a rule's problems, in words, and which lines of the mapping would do it."""

    words: str
    lines: Callable[[Case], list[Line]] = lambda _: []


def advice(rule: str, case: Case) -> tuple[str, list[Line]]:
    """(what to do, lines that would mend it) for the problems of a rule."""
    told = ADVICE.get(rule, _MEND_THE_VALUE)
    return told.words, [*_not_given(case, case.nothing), *told.lines(case)]


def _not_given(case: Case, words: Sequence[str]) -> list[Line]:
    """Cells with these words count as empty: of help where the field may be."""
    if not words or case.is_required:
        return []
    return [Line("source", f"null_tokens = {array(dict.fromkeys([*case.file.source.null_tokens, *words]))}")]


def _default(case: Case) -> list[Line]:
    operation, origin = case.plan.operation, case.origin
    known = operation.by_name.get(case.field)
    names_somebody = case.field in (operation.client_id, *(operation.identifier or ()))
    if origin is None:
        return [Line("fields", f"{key(case.field)} = {quoted(OPEN)}")]
    if names_somebody or known is None or known.cleaner != "text" or origin.value is not None:
        return []
    return [Line("fields", f"{key(case.field)} = {_origin(origin, default=OPEN)}")]


def _longer(case: Case) -> list[Line]:
    table = "extra_fields" if case.field in case.file.extra_fields else "lengths"
    lines = [Line(table, f"{key(case.field)} = {case.longest}")]
    return [Line("policy", 'overlong = "truncate"'), *lines] if is_free_text(case.plan, case.field) else lines


def _translated(known: Mapping[str, str], case: Case) -> list[Line]:
    """A map that leaves the `known` words as they are, with the others for its user to fill in."""
    origin = case.origin
    if origin is None or origin.value is not None:
        return []
    new = dict.fromkeys(case.values, OPEN)
    if origin.map is not None:
        return [Line(f"fields.{key(case.field)}.map", f"{quoted(word)} = {quoted(OPEN)}") for word in new]
    return [Line("fields", f"{key(case.field)} = {_origin(origin, map={**known, **new})}")]


def _chosen(case: Case) -> list[Line]:
    field = case.plan.operation.by_name.get(case.field)
    choices = field.choices if field else ()
    return _translated({choice: choice for choice in choices}, case) if len(choices) <= 6 else []


def _abroad(case: Case) -> list[Line]:
    areas = (re.sub(r"\D", "", value).removeprefix("1")[:3] for value in case.values)
    return _regions(case, sorted({area_regions()[area] for area in areas if area in area_regions()}))


def _regions(case: Case, found: Sequence[str]) -> list[Line]:
    known = case.file.source.regions
    new = [region for region in found if region not in known]
    return [Line("source", f"regions = {array([*known, *new])}")] if new else []


def _first(case: Case) -> list[Line]:
    """The field takes the first phone of its cell."""
    origin = case.origin
    if origin is None or origin.column is None or origin.take is not None:
        return []
    return [Line("fields", f"{key(case.field)} = {_origin(origin, take='first')}")]


_MEND_THE_VALUE = Advice("mend the values in the file")
_FLAGS = MappingProxyType({"1": "1", "0": "0", "yes": "1", "no": "0"})

# By rule: each that a problem can have, as docs/codes.md lists them.
ADVICE: Mapping[str, Advice] = MappingProxyType(
    {
        "missing": Advice("fill the cells, or say what an empty one stands for", _default),
        "too_long": Advice("shorten them; or have them cut; or say what your account really takes", _longer),
        "not_allowed": Advice("use one of the choices, or translate the file's words", _chosen),
        "bad_format": Advice("write them in that form"),
        "out_of_range": Advice("write a whole number within the range"),
        "not_applicable": Advice("change the other field, or leave this one out"),
        "incomplete_group": Advice("give all of these fields, clear all, or give none"),
        "nothing_to_update": Advice("give the row a value besides the one that it is looked up by, or leave it out"),
        "not_clearable": Advice("give a value: this field can't be sent empty"),
        "unmapped_value": Advice(
            "add the words to the field's map, or give it a default", lambda case: _translated({}, case)
        ),
        "ragged_row": Advice("look for a missing quote, or a delimiter within a cell, in these rows"),
        "duplicate_in_file": Advice(
            "keep one of the rows; or send the first of them",
            lambda _: [Line("policy", 'duplicates_in_file = "first"')],
        ),
        "cell_error": Advice(
            "correct the formulas, or have an error mean that nothing is given",
            lambda case: _not_given(case, [] if case.nothing else case.values),
        ),
        "bad_phone": Advice("write them as ten digits"),
        "lossy_number": Advice("take these numbers from the original list: their digits are lost here"),
        "phone_extension": Advice("leave one plain number in the cells, or take the first of each", _first),
        "two_phones": Advice("leave one plain number in the cells, or take the first of each", _first),
        "foreign_phone": Advice("leave these rows out: such numbers can't be dialed"),
        "phone_region": Advice("if you may call there, say so", _abroad),
        "premium_phone": Advice("leave these rows out: such numbers are never dialed"),
        "toll_free_phone": Advice("look for the person's own number: these belong to companies"),
        "state_region": Advice("if people there may be called, say so", lambda case: _regions(case, ["CA"])),
        "zip_region": Advice("if people there may be called, say so", lambda case: _regions(case, ["CA"])),
        "bad_state": Advice("write the two letters of a state, or its name"),
        "bad_zip": Advice("write five digits, or nine as 12345-6789"),
        "bad_date": Advice("write a date with its time, as 12/31/2026 14:30:00"),
        "ambiguous_date": Advice(
            "say which comes first, month (mdy) or day (dmy)", lambda _: [Line("source", 'date_order = "mdy"')]
        ),
        "date_offset": Advice("take the time zone away: the time is the customer's own"),
        "dst_gap": Advice("choose another hour: clocks leave that one out"),
        "past_date": Advice(
            "choose another date, or send it all the same", lambda _: [Line("policy", 'past_dates = "allow"')]
        ),
        "bad_email": Advice("write one address"),
        "bad_flag": Advice("write 1 or 0, or translate the file's words", lambda case: _translated(_FLAGS, case)),
    }
)


def _origin(origin: FieldSource, **more: str | Mapping[str, str]) -> str:
    """The origin as an inline table, with `more` keys."""
    given = {**origin.model_dump(exclude_none=True), **more}
    pairs = (f"{name} = {quoted(v) if isinstance(v, str) else _table(v)}" for name, v in given.items())
    return f"{{ {', '.join(pairs)} }}"


def _table(words: Mapping[str, str]) -> str:
    return f"{{ {', '.join(f'{quoted(word)} = {quoted(value)}' for word, value in words.items())} }}"
