"""A mapping applied: a chunk's values under the vendor's names, by column, and what could not be mapped."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field as dataclass_field

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.clean import take
from pipeline.mapping import Assignment, FieldSource, Plan, columns_of, template_parts
from pipeline.marks import PROBLEMS, REPAIRS


@dataclass(frozen=True, slots=True)
class Mapped:
    """A chunk under the vendor's names: text frame with the source's index, and what could not be mapped.

    `cleared` and `taken` follow REPAIRS: the cells, "" in the frame, whose fields are to be sent empty; and those of
    which a field takes a part.
    """

    frame: pd.DataFrame
    problems: pa.Table
    cleared: pa.Table = dataclass_field(default_factory=REPAIRS.empty_table)
    taken: pa.Table = dataclass_field(default_factory=REPAIRS.empty_table)


def apply(plan: Plan, frame: pd.DataFrame) -> Mapped:
    """The chunk's values under the vendor's names, not yet cleaned. Same index, same rows."""
    columns, problems, cleared, taken = {}, [PROBLEMS.empty_table()], [REPAIRS.empty_table()], [REPAIRS.empty_table()]
    frame = _without_tokens(plan, frame)
    for assignment in plan.assignments:
        values, misses = _values(assignment, frame)
        problems += misses
        taken += _taken(assignment, frame)
        if plan.clear_token is not None:
            values, refused, emptied = _clear(plan, assignment, values, frame)
            problems.append(refused)
            cleared.append(emptied)
        columns[assignment.field] = pd.arrays.ArrowExtensionArray(values)
    told = (pa.concat_tables(tables) for tables in (problems, cleared, taken))
    return Mapped(pd.DataFrame(columns, index=frame.index), *told)


def _without_tokens(plan: Plan, frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with "" in the cells that a mapped column has for nothing."""
    if not plan.null_tokens:
        return frame
    tokens, columns = pa.array(plan.null_tokens, pa.string()), {}
    for name in {column for assignment in plan.assignments for column in columns_of(assignment.origin)}:
        raw = cells(frame, name)
        says_nothing = pc.is_in(pc.utf8_trim_whitespace(raw), value_set=tokens)
        columns[name] = pd.arrays.ArrowExtensionArray(pc.if_else(says_nothing, "", raw))
    return frame.assign(**columns)


def _values(assignment: Assignment, frame: pd.DataFrame) -> tuple[pa.Array, list[pa.Table]]:
    origin = assignment.origin
    if origin.value is not None:
        return pa.repeat(pa.scalar(origin.value, pa.string()), len(frame)), []
    return _translate(assignment.field, origin, _raw(origin, frame))


def _raw(origin: FieldSource, frame: pd.DataFrame) -> pa.Array:
    if origin.template is not None:
        return _fill_template(origin.template, frame)
    column = cells(frame, origin.column)
    return column if origin.take is None else take(origin.take, column)


def _taken(assignment: Assignment, frame: pd.DataFrame) -> list[pa.Table]:
    """The cells of which the field takes a part, and leaves another."""
    origin = assignment.origin
    if origin.take is None:
        return []
    column = cells(frame, origin.column)
    part = take(origin.take, column)
    where = pc.and_(pc.not_equal(part, column), pc.not_equal(part, ""))
    return [_changed(assignment.field, "part_taken", column, part, where)]


def cells(frame: pd.DataFrame, name: str | None) -> pa.StringArray:
    """A column of a text frame as one Arrow array: some of Arrow's functions take no column in pieces."""
    column = pa.chunked_array(pa.array(frame[name]))
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()  # which would copy even one piece


def _translate(field: str, origin: FieldSource, raw: pa.Array) -> tuple[pa.Array, list[pa.Table]]:
    """Values after `map` and `default`; a value that `map` doesn't know and no default catches is a problem."""
    if origin.map is None and origin.default is None:
        return raw, []
    empty = pc.equal(pc.utf8_trim_whitespace(raw), "")
    if origin.map is None:
        return pc.if_else(empty, origin.default, raw), []
    keys, values = pa.array(list(origin.map), pa.string()), pa.array(list(origin.map.values()), pa.string())
    hit = pc.take(values, pc.index_in(pc.utf8_trim_whitespace(raw), value_set=keys))
    if origin.default is not None:
        return pc.fill_null(hit, origin.default), []
    missed = pc.and_(pc.is_null(hit), pc.invert(empty))
    return pc.if_else(missed, raw, pc.fill_null(hit, "")), _unmapped_values(field, origin, raw, missed)


def _unmapped_values(field: str, origin: FieldSource, raw: pa.Array, missed: pa.Array) -> list[pa.Table]:
    known = ", ".join(sorted(origin.map or {})[:5])
    text = f"is not in the mapping's map for {field} (known: {known}); add it there, or give a default"
    return [_told(field, "unmapped_value", text, raw, missed)] if pc.any(missed).as_py() else []


def _told(field: str, rule: str, text: str, values: pa.Array, where: pa.Array) -> pa.Table:
    """The same problem for each cell in the mask."""
    positions = pc.indices_nonzero(where).cast(pa.int64())
    count = len(positions)
    columns = [positions, [field] * count, [rule] * count, values.take(positions), [text] * count]
    return pa.table(columns, schema=PROBLEMS)


def _clear(
    plan: Plan, assignment: Assignment, values: pa.Array, frame: pd.DataFrame
) -> tuple[pa.Array, pa.Table, pa.Table]:
    """The values with "" for the clear token; where it can't clear, the problems; where it does, the repairs."""
    field, asked = assignment.field, _is(values, plan.clear_token)
    within = _holds(assignment.origin, frame, plan.clear_token)
    if not plan.operation.may_clear(field):
        text = "can't be cleared: it is required, or the lead is found by it"
        return values, _told(field, "not_clearable", text, values, pc.or_(asked, within)), REPAIRS.empty_table()
    text = f"can't be cleared by a part of its template: {plan.clear_token} stands for a whole value"
    refused = _told(field, "not_clearable", text, values, pc.and_not(within, asked))
    return pc.if_else(asked, "", values), refused, _cleared(field, values, asked)


def _is(values: pa.Array, token: str | None) -> pa.Array:
    return pc.equal(pc.utf8_trim_whitespace(values), token)


def _holds(origin: FieldSource, frame: pd.DataFrame, token: str | None) -> pa.Array:
    """Where a column of the template holds the clear token; nowhere for other origins."""
    found = pa.repeat(False, len(frame))
    for column in columns_of(origin) if origin.template is not None else ():
        found = pc.or_(found, _is(cells(frame, column), token))
    return found


def _cleared(field: str, values: pa.Array, where: pa.Array) -> pa.Table:
    return _changed(field, "cleared", values, pa.repeat("", len(values)), where, lossless=True)


def _changed(
    field: str, rule: str, raw: pa.Array, values: pa.Array, where: pa.Array, *, lossless: bool = False
) -> pa.Table:
    """The same repair for each cell in the mask."""
    positions = pc.indices_nonzero(where).cast(pa.int64())
    count = len(positions)
    columns = [positions, [field] * count, raw.take(positions), values.take(positions), [rule] * count]
    return pa.table([*columns, [lossless] * count], schema=REPAIRS)


def _fill_template(template: str, frame: pd.DataFrame) -> pa.Array:
    """The template per row; "" where all of its columns are empty."""
    parts: list[pa.Array | str] = []
    anything = pa.repeat(False, len(frame))
    for literal, column in template_parts(template):
        if column is None:
            parts.append(pa.scalar(literal))
        else:
            values = cells(frame, column)
            anything = pc.or_(anything, pc.not_equal(pc.utf8_trim_whitespace(values), ""))
            parts.append(values)
    return pc.if_else(anything, pc.binary_join_element_wise(*parts, ""), "")
