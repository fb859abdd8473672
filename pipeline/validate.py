"""Cleaning and checking of mapped chunks: what is sent, what is refused, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd
import pandera.pandas as pandera
import pyarrow as pa
import pyarrow.compute as pc
from pandera.errors import SchemaErrorReason, SchemaErrors

from pipeline.clean import CLEANERS, CleanOptions, clean
from pipeline.mapped import Mapped, apply, cells
from pipeline.mapping import Assignment, Plan
from pipeline.marks import PROBLEMS, REPAIRS
from schemas.frames import frame_schema, max_length
from schemas.spec import CLEARED


@dataclass(frozen=True, slots=True)
class Checked:
    """A chunk after cleaning and validation.

    `frame` is text under the vendor's names, index "row"; it keeps the invalid rows. Where a valid row sends a field
    empty, it holds CLEARED. `problems` and `repairs` follow PROBLEMS and REPAIRS. `valid` is true where a row has no
    problem.
    """

    frame: pd.DataFrame
    problems: pa.Table
    repairs: pa.Table
    valid: npt.NDArray[np.bool_]


def refused_constants(plan: Plan, options: CleanOptions) -> list[tuple[str, str]]:
    """(field, why) of each constant that can be valid in no row, whatever else the row holds."""
    constants = tuple(one for one in plan.assignments if one.origin.value is not None and not _judged_by(one, plan))
    row = pd.DataFrame(index=pd.Index([0], name="row"))
    alone = replace(plan, assignments=constants)
    problems = Validator.of(alone, options).check(apply(alone, row)).problems.to_pylist()
    across = {rule.code for rule in plan.operation.rules}
    return [(problem["field"], problem["message"]) for problem in problems if problem["rule"] not in across]


@dataclass(frozen=True, slots=True)
class Validator:
    """A plan with its pandera schema and cleaning options: validates chunk by chunk."""

    plan: Plan
    options: CleanOptions
    schema: pandera.DataFrameSchema

    @classmethod
    def of(cls, plan: Plan, options: CleanOptions) -> Validator:
        """The validator for a bound mapping."""
        return cls(plan, options, frame_schema(plan.operation, plan.columns, plan.lengths))

    def check(self, mapped: Mapped) -> Checked:
        """The mapped chunk cleaned and checked: same rows, same index."""
        frame, repairs, problems = self._clean(mapped)
        repairs = [mapped.taken, *repairs, mapped.cleared]
        if self.plan.policy.overlong == "truncate":
            frame, cut = _truncate(self.plan, frame)
            repairs += cut
        broken = _broken(self.schema, _marked(frame, mapped.cleared), frame)
        told = _first_per_cell(pa.concat_tables([mapped.problems, *problems, broken]))
        valid = np.ones(len(frame), dtype=np.bool_)
        valid[told["position"].to_numpy()] = False
        sent = mapped.cleared.filter(pa.array(valid).take(mapped.cleared["position"]))
        return Checked(_marked(frame, sent), told, pa.concat_tables(repairs), valid)

    def _clean(self, mapped: Mapped) -> tuple[pd.DataFrame, list[pa.Table], list[pa.Table]]:
        done: dict[str, pa.Array] = {}
        repairs, problems = [], []
        for assignment in _context_first(self.plan):
            done[assignment.field] = cells(mapped.frame, assignment.field)
            for name, where in _cleaners(assignment, self.plan, done, len(mapped.frame)):
                raw = done[assignment.field]
                column = raw if where is None else raw.filter(where)
                cleaned = clean(name, assignment.field, column, self.options, _at(done, where))
                done[assignment.field] = _put(raw, cleaned.values, where)
                repairs.append(_moved(cleaned.repairs, where))
                problems.append(_moved(cleaned.problems, where))
        columns = {name: pd.arrays.ArrowExtensionArray(done[name]) for name in self.plan.columns}
        return pd.DataFrame(columns, index=mapped.frame.index), repairs, problems


def _judged_by(assignment: Assignment, plan: Plan) -> set[str]:
    """The other fields that a field's cleaner looks at."""
    known = plan.operation.by_name.get(assignment.field)
    others = {other.field for other in CLEANERS[assignment.cleaner].beside} - {assignment.field}
    return others | ({known.cleaner_when[0]} if known and known.cleaner_when else set())


def _context_first(plan: Plan) -> list[Assignment]:
    """Fields that others are judged by (the state for a ZIP, the ZIP for a callback's date) come first."""
    by_field = {assignment.field: assignment for assignment in plan.assignments}

    def depth(assignment: Assignment) -> int:
        """How many fields stand before it, one judged by the other."""
        return max((1 + depth(by_field[name]) for name in _judged_by(assignment, plan) if name in by_field), default=0)

    return sorted(plan.assignments, key=depth)


def _cleaners(
    assignment: Assignment, plan: Plan, done: Mapping[str, pa.Array], rows: int
) -> list[tuple[str, pa.Array | None]]:
    """Which cleaner goes over which rows: (name, mask), with None for all rows."""
    known = plan.operation.by_name.get(assignment.field)
    if known is None or known.cleaner_when is None or assignment.origin.clean:
        return [(assignment.cleaner, None)]
    other, by_value = known.cleaner_when
    named = done.get(other, pa.array([""] * rows))
    special = [(name, pc.equal(named, value)) for value, name in by_value.items()]
    rest = pc.invert(pc.is_in(named, value_set=pa.array(list(by_value))))
    return [(name, where) for name, where in [*special, (assignment.cleaner, rest)] if pc.any(where).as_py()]


def _at(done: Mapping[str, pa.Array], where: pa.Array | None) -> Mapping[str, pa.Array]:
    return done if where is None else {name: column.filter(where) for name, column in done.items()}


def _put(raw: pa.Array, values: pa.Array, where: pa.Array | None) -> pa.Array:
    return values if where is None else pc.replace_with_mask(raw, where, values)


def _moved(table: pa.Table, where: pa.Array | None) -> pa.Table:
    """Positions within the filtered rows turned into positions within the chunk."""
    if where is None or not table.num_rows:
        return table
    positions = pc.indices_nonzero(where).cast(pa.int64()).take(table["position"])
    return table.set_column(0, "position", positions)


def _truncate(plan: Plan, frame: pd.DataFrame) -> tuple[pd.DataFrame, list[pa.Table]]:
    """Free text cut at its limit, each cut a lossy repair. Names that address something are never cut."""
    repairs, columns = [], {}
    for name in plan.columns:
        limit = max_length(plan.operation, name, plan.lengths)
        if limit is not None and is_free_text(plan, name):
            raw = pa.array(frame[name])
            columns[name] = pd.arrays.ArrowExtensionArray(pc.utf8_slice_codeunits(raw, 0, limit))
            repairs.append(_cuts(name, raw, pa.array(columns[name])))
    return frame.assign(**columns), repairs


def is_free_text(plan: Plan, name: str) -> bool:
    """Whether a field may be cut at its limit: it names nothing, and has no form that a cut would break."""
    known = plan.operation.by_name.get(name)
    return known is None or not (known.is_name or known.required or known.cleaner != "text")


def _cuts(name: str, raw: pa.Array, cut: pa.Array) -> pa.Table:
    positions = pc.indices_nonzero(pc.not_equal(raw, cut)).cast(pa.int64())
    count = len(positions)
    columns = [
        positions,
        [name] * count,
        raw.take(positions),
        cut.take(positions),
        ["truncated"] * count,
        [False] * count,
    ]
    return pa.table(columns, schema=REPAIRS)


def _marked(frame: pd.DataFrame, cleared: pa.Table) -> pd.DataFrame:
    """The frame with CLEARED in the cells of `cleared`."""
    columns = {}
    for name in cleared["field"].unique().to_pylist():
        mask = np.zeros(len(frame), dtype=np.bool_)
        mask[cleared.filter(pc.equal(cleared["field"], name))["position"].to_numpy()] = True
        values = pc.if_else(pa.array(mask), CLEARED, pa.array(frame[name]))
        columns[name] = pd.arrays.ArrowExtensionArray(values)
    return frame.assign(**columns) if columns else frame


def _broken(schema: pandera.DataFrameSchema, frame: pd.DataFrame, shown: pd.DataFrame) -> pa.Table:
    """The schema's failures as problems: the split into valid and invalid rows is ours, not pandera's.

    A problem's value is the one in `shown`.
    """
    try:
        schema.validate(frame, lazy=True)
    except SchemaErrors as errors:
        return pa.concat_tables([_failed(error, shown) for error in errors.schema_errors])
    return PROBLEMS.empty_table()


def _failed(error: pandera.errors.SchemaError, frame: pd.DataFrame) -> pa.Table:
    if error.reason_code is not SchemaErrorReason.DATAFRAME_CHECK:
        raise RuntimeError(f"the frame does not fit its own schema: {error.reason_code} {error.column_name}")
    check = error.check
    positions = pa.array(np.flatnonzero(~error.check_output.to_numpy(dtype=bool)))
    count = len(positions)
    values = pa.array(frame[check.title]).take(positions) if check.title in frame else [""] * count
    columns = [positions, [check.title] * count, [check.name] * count, values, [check.description] * count]
    return pa.table(columns, schema=PROBLEMS)


def _first_per_cell(problems: pa.Table) -> pa.Table:
    """One problem per cell, the first found: a value that is no phone need not be too long as well."""
    if not problems.num_rows:
        return problems
    keys = problems.select(["position", "field"]).to_pandas()
    return problems.filter(pa.array(~keys.duplicated().to_numpy()))
