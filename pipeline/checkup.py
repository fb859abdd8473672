"""What a check has found in its rows, gathered part by part: problems, repairs, and what would be sent. Pure.

Memory does not grow with the rows: of each kind of problem and repair there are counts and a few samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import mend
from pipeline.mapping import MappingFile, Plan
from pipeline.mend import Case
from pipeline.model import Status
from pipeline.repeats import Shared
from schemas.meanings import NULL_WORDS_OF_REFUSED

SAMPLES = 3  # of each kind
_WORDS = 5  # that mean "not given", of one field
_LONGEST_SAMPLE = 200  # characters of a cell


@dataclass(frozen=True, slots=True)
class Sample:
    """A cell with a problem: the name of its source, its row and what it holds."""

    source: str
    row: int
    value: str


@dataclass(slots=True)
class Problem:
    """Rows that failed one rule on one field. `number` is the source of the first of them."""

    field: str
    rule: str
    message: str
    number: int
    rows: int = 0
    longest: int = 0  # characters of the longest value
    distinct: list[Sample] = dataclass_field(default_factory=list)  # the first rows with different values
    first: list[Sample] = dataclass_field(default_factory=list)
    nothing: dict[str, None] = dataclass_field(default_factory=dict)  # values that likely mean "not given", in order

    @property
    def samples(self) -> list[Sample]:
        """A few of its cells, with different values as far as there are some."""
        return [*dict.fromkeys([*self.distinct, *self.first])][:SAMPLES]


@dataclass(slots=True)
class Repair:
    """Cells that one rule changed, and the first of them."""

    rule: str
    lossless: bool
    example: dict[str, Any]
    cells: int = 0


@dataclass(slots=True)
class Checkup:
    """Gathers over the report's tables, in the order of its row groups.

    `valid` counts each table's rows that would be sent.
    """

    problems: dict[tuple[str, str], Problem] = dataclass_field(default_factory=dict)
    repairs: dict[tuple[str, bool], Repair] = dataclass_field(default_factory=dict)
    valid: list[int] = dataclass_field(default_factory=list)

    def look(self, number: int, table: pa.Table) -> None:
        """Adds some rows of the source `number`, under the report's columns."""
        self.valid.append(pc.sum(pc.equal(table["status"], Status.VALID.value)).as_py() or 0)
        source = table["source"][0].as_py()
        self._look_at_problems(_flat(table, "problems"), number, source)
        self._look_at_repairs(_flat(table, "repairs"), source)

    def _look_at_problems(self, told: pa.Table, number: int, source: str) -> None:
        if not told.num_rows:
            return
        kind = ["field", "rule"]
        cells = _grouped(told, [*kind, "value"], ("row", "first"), ("message", "first"), ([], "count_all"))
        cells = cells.append_column("length", pc.utf8_length(cells["value"]))
        kinds = _grouped(cells, kind, ("count_all", "sum"), ("length", "max"), ("message_first", "first"))
        for found in kinds.to_pylist():
            key = found["field"], found["rule"]
            known = self.problems.setdefault(key, Problem(*key, found["message_first_first"], number))
            known.rows += found["count_all_sum"]
            known.longest = max(known.longest, found["length_max"])
        self._sample(cells.rename_columns({"row_first": "row"}), source, lambda problem: problem.distinct)
        self._sample(told, source, lambda problem: problem.first)
        self._look_for_nothing(cells)

    def _sample(self, cells: pa.Table, source: str, into: Callable[[Problem], list[Sample]]) -> None:
        """The first cells of each kind of problem that has too few samples yet."""
        if all(len(into(problem)) >= SAMPLES for problem in self.problems.values()):
            return
        frame = cells.select(["field", "rule", "row", "value"]).to_pandas()
        for name, rule, row, value in (
            frame.groupby(["field", "rule"], sort=False).head(SAMPLES).itertuples(index=False)
        ):
            samples = into(self.problems[name, rule])
            if len(samples) < SAMPLES:
                samples.append(Sample(source, row, _cut(value)))

    def _look_for_nothing(self, cells: pa.Table) -> None:
        said = pc.is_in(
            pc.utf8_upper(pc.utf8_trim_whitespace(cells["value"])), value_set=pa.array(sorted(NULL_WORDS_OF_REFUSED))
        )
        for cell in cells.filter(said).to_pylist():
            words = self.problems[cell["field"], cell["rule"]].nothing
            if len(words) < _WORDS:
                words[cell["value"].strip()] = None

    def _look_at_repairs(self, made: pa.Table, source: str) -> None:
        if not made.num_rows:
            return
        firsts = [(name, "first") for name in ("row", "field", "raw", "value")]
        for found in _grouped(made, ["rule", "lossless"], *firsts, ([], "count_all")).to_pylist():
            key = found["rule"], found["lossless"]
            example = {name: found[f"{name}_first"] for name, _ in firsts}
            example |= {"source": source, "raw": _cut(example["raw"]), "value": _cut(example["value"])}
            self.repairs.setdefault(key, Repair(*key, example)).cells += found["count_all"]

    def places(self) -> list[tuple[int, int]]:
        """The first, the middle and the last row that would be sent: (table, which of its valid rows)."""
        total = sum(self.valid)
        return [_nth(self.valid, at) for at in sorted({0, total // 2, total - 1})] if total else []


def _flat(table: pa.Table, name: str) -> pa.Table:
    """A column of lists as a table with a row for each of their items, and the row that it belongs to."""
    lists = table[name].combine_chunks()
    items = pc.list_flatten(lists)
    columns = {part.name: pc.struct_field(items, part.name) for part in items.type}
    return pa.table({**columns, "row": table["row"].take(pc.list_parent_indices(lists))})


def _grouped(table: pa.Table, by: Sequence[str], *aggregations: tuple[str | list[str], str]) -> pa.Table:
    """In the order in which the groups come."""
    return table.group_by(by, use_threads=False).aggregate([*aggregations])


def _nth(counts: Iterable[int], at: int) -> tuple[int, int]:
    for number, count in enumerate(counts):
        if at < count:
            return number, at
        at -= count
    raise IndexError(at)


def _cut(value: str) -> str:
    return value if len(value) <= _LONGEST_SAMPLE else value[:_LONGEST_SAMPLE] + "…"


# --- As data ---


def problems(checkup: Checkup, file: MappingFile, plans: Sequence[Plan]) -> list[dict[str, Any]]:
    """The problems, most rows first, each with what would mend it."""
    ranked = sorted(checkup.problems.values(), key=lambda problem: -problem.rows)
    return [_problem(problem, file, plans[problem.number]) for problem in ranked]


def _problem(problem: Problem, file: MappingFile, plan: Plan) -> dict[str, Any]:
    values = [*dict.fromkeys(sample.value for sample in problem.samples)]
    case = Case(file, plan, problem.field, values, [*problem.nothing], problem.longest)
    words, lines = mend.advice(problem.rule, case)
    return {
        "field": problem.field,
        "column": plan.columns_by_field.get(problem.field),
        "rule": problem.rule,
        "rows": problem.rows,
        "message": problem.message,
        "samples": [{"source": one.source, "row": one.row, "value": one.value} for one in problem.samples],
        "advice": words,
        "mapping": [{"table": line.table, "line": line.text} for line in lines],
    }


def repairs(checkup: Checkup) -> list[dict[str, Any]]:
    """The repairs by rule, those that can't be undone last, otherwise most cells first."""
    ranked = sorted(checkup.repairs.values(), key=lambda repair: (not repair.lossless, -repair.cells))
    return [{"rule": r.rule, "lossless": r.lossless, "cells": r.cells, "example": r.example} for r in ranked]


def fields(plan: Plan) -> list[dict[str, Any]]:
    """The fields as they are sent, and where each comes from."""
    custom = plan.operation.custom
    return [
        {
            "field": one.field,
            "column": one.origin.column,
            "value": one.origin.value,
            "template": one.origin.template,
            "cleaner": one.cleaner,
            "custom": custom is not None and one.field.startswith(custom.prefix),
        }
        for one in plan.assignments
    ]


def repeats(shared: Shared, plan: Plan, place: Callable[[int], Mapping[str, Any]]) -> dict[str, Any]:
    """Rows of the file that share a phone or identifier, and what the policy does about it."""
    return {
        "by": plan.operation.duplicates_by,
        "policy": plan.policy.duplicates_in_file,
        "groups": shared.groups,
        "rows": shared.rows,
        "largest": [{"rows": one.rows, "first": [place(at) for at in one.places]} for one in shared.largest],
    }
