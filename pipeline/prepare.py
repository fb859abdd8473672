"""One chunk of a source becomes one part of the report: mapped, cleaned, checked, and made into payloads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import mapped, payloads, report
from pipeline.advice import Advice
from pipeline.clean.phone import ANYWHERE
from pipeline.mapping import Plan
from pipeline.marks import PROBLEMS
from pipeline.model import Status
from pipeline.payloads import Repeats, Target
from pipeline.source import Chunk, RaggedRow
from pipeline.validate import Checked, Validator
from schemas.spec import Operation


@dataclass(slots=True)
class Preparer:
    """Turns chunks into parts, in file order. `seen` and `keys` count identities and row keys over all sources.

    `totals` holds the identities of all sources where a row's fate hangs on rows that come after it. Without an
    account there are no row keys, and payloads lack the ClientId that would be made of them. `advice` gathers what
    the vendor advises against. The rows are those of the run's source `number`, and `names` are all its sources.
    """

    validator: Validator
    target: Target
    seen: Repeats
    keys: Repeats
    account_known: bool
    totals: Repeats | None = None
    advice: Advice = field(default_factory=Advice)
    number: int = 0
    names: Sequence[str] = ("",)

    def part(self, chunk: Chunk) -> pa.Table:
        """The chunk's rows under PART, then its cells, ordered by row. Every row of the chunk is in it."""
        checked = self.validator.check(mapped.apply(self.validator.plan, chunk.frame))
        self.advice.look(self.validator.plan.operation, _rows(checked.frame, checked.valid))
        status, code, message, problems = self._fates(checked)
        send = pc.equal(status, Status.VALID.value).to_numpy(zero_copy_only=False)
        columns = self._payload_columns(chunk, checked, send)
        columns |= {
            "row": pa.array(chunk.frame.index.to_numpy(dtype=np.int64)),
            "status": status,
            "code": code,
            "message": message,
            "problems": report.nested(problems, len(chunk.frame)),
            "repairs": report.nested(checked.repairs, len(chunk.frame)),
            "ragged": pa.nulls(len(chunk.frame), pa.list_(pa.string())),
        }
        names = chunk.frame.columns
        columns |= {report.CELL.format(i): mapped.cells(chunk.frame, name) for i, name in enumerate(names)}
        schema = _part_schema(len(names))
        table = pa.table([columns[name] for name in schema.names], schema=schema)
        return _with_ragged(table, chunk.ragged, len(chunk.frame.columns))

    def _fates(self, checked: Checked) -> tuple[pa.Array, pa.Array, pa.Array, pa.Table]:
        """Per row: status, code and message; and the problems, with those that repeats within the file add."""
        repeated, others = self._repeated(checked)
        problems = checked.problems
        if self.validator.plan.policy.duplicates_in_file == "error" and len(repeated):
            problems = pa.concat_tables([problems, self._repeat_problems(checked, repeated, others)])
            repeated, others = repeated[:0], []
        wrong, rules, texts = _first_told(problems)
        kinds = np.zeros(len(checked.frame), dtype=np.int8)
        kinds[repeated], kinds[wrong] = 1, 2
        status = pa.array([Status.VALID.value, Status.SKIPPED.value, Status.INVALID.value]).take(pa.array(kinds))
        at = np.concatenate([repeated, wrong])
        code = _placed(["duplicate_in_file"] * len(repeated) + rules, at, len(kinds))
        skipped = [f"{other} has the same {self._counted_by}" for other in others]
        return status, code, _placed(skipped + texts, at, len(kinds)), problems

    def _repeated(self, checked: Checked) -> tuple[npt.NDArray[np.int64], list[str]]:
        """Positions of rows that the policy sets aside because another valid row has their phone or identifier.

        With each, where that other row is.
        """
        mode = self.validator.plan.policy.duplicates_in_file
        found, places = identities(self.validator, checked), self._places(checked)
        if mode == "keep":
            self.seen.note(found, places)
            return np.zeros(0, dtype=np.int64), []
        occurrence = self.seen.add(found, places)
        if self.totals is None:
            again = occurrence > 1
        else:
            total = self.totals.before(found)
            again = (occurrence < total) if mode == "last" else (total > 1)
        return np.flatnonzero(checked.valid)[again], self._told_places(self._others(found[again], places[again]))

    def _places(self, checked: Checked) -> npt.NDArray[np.int64]:
        return places_of(self.number, checked.frame.index.to_numpy(dtype=np.int64)[checked.valid])

    def _others(self, found: npt.NDArray[np.int64], places: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The place of the row that each of these rows repeats, or is repeated by."""
        if self.totals is None:
            return self.seen.first(found)
        first, last = self.totals.first(found), self.totals.last(found)
        is_last = self.validator.plan.policy.duplicates_in_file == "last"
        return last if is_last else np.where(first == places, last, first)

    def _told_places(self, places: npt.NDArray[np.int64]) -> list[str]:
        """ "row 3", and of which file where it is another."""
        return [
            f"row {row}" + ("" if source == self.number else f" of {self.names[source]}")
            for source, row in map(place_of, places.tolist())
        ]

    @property
    def _counted_by(self) -> str:
        return self.validator.plan.operation.duplicates_by or ""

    def _repeat_problems(self, checked: Checked, positions: npt.NDArray[np.int64], others: Sequence[str]) -> pa.Table:
        rows = checked.frame.iloc[positions]
        names = _told_by(self.validator.plan.operation, rows)
        values = [rows[name].iloc[at] for at, name in enumerate(names)]
        texts = [f"{other} has the same, and the mapping's policy allows each only once" for other in others]
        columns = [positions, names, ["duplicate_in_file"] * len(rows), values, texts]
        return pa.table(columns, schema=PROBLEMS)

    def _occurrences(self, plan: Plan, frame: pd.DataFrame, earlier: pa.Array | None) -> npt.NDArray[np.int64]:
        """Which of the rows of one key each is, invalid ones counted: they may be mended, and are others all the same.

        In a rejected file that was mended it goes by the number that the row had in its list.
        """
        rows = frame.index.to_numpy(dtype=np.int64)
        found = payloads.key_identities(payloads.base_keys(plan, frame, self.target))
        counted = self.keys.add(found, places_of(self.number, rows))
        if earlier is None:
            return counted
        numbers = pd.to_numeric(pd.Series(earlier.to_pylist()), errors="coerce")
        mended = numbers.fillna(0).to_numpy(dtype=np.int64)
        return np.where(mended > 0, _MENDED + mended, counted)

    def _payload_columns(self, chunk: Chunk, checked: Checked, send: npt.NDArray[np.bool_]) -> dict[str, pa.Array]:
        """Keys, claims and bodies of the rows to send; rows that are not sent keep only their phone and ClientId."""
        plan = self.validator.plan
        occurrence = None
        if plan.policy.duplicates_in_file == "keep" and self.account_known:
            occurrence = self._occurrences(plan, checked.frame, chunk.earlier_rows)[send]
        built = payloads.build(
            plan, _rows(checked.frame, send), self.target if self.account_known else None, occurrence
        )
        made = {
            "row_key": built.row_key,
            "identifier": built.identifier,
            "payload": built.body,
            "payload_sha256": built.sha256,
        }
        columns = {name: _scattered(values, send) for name, values in made.items()}
        columns["phone"] = _shown(checked, plan.operation.phone, built.phone, send)
        columns["client_id"] = _shown(checked, plan.operation.client_id, built.client_id, send)
        return columns


def _first_told(problems: pa.Table) -> tuple[npt.NDArray[np.int64], list[str], list[str]]:
    """The first problem of each position that has one: positions, rules, and what to tell."""
    if not problems.num_rows:
        return np.zeros(0, dtype=np.int64), [], []
    told = problems.select(["position", "field", "rule", "message"]).to_pandas().drop_duplicates("position")
    texts = [report.told_of(field, text) for field, text in zip(told["field"], told["message"], strict=True)]
    return told["position"].to_numpy(), told["rule"].tolist(), texts


def _placed(texts: Sequence[str], at: npt.NDArray[np.int64], count: int) -> pa.StringArray:
    """The texts at these positions of `count`, null elsewhere."""
    if not texts:
        return pa.nulls(count, pa.string())
    indices = np.full(count, -1)
    indices[at] = np.arange(len(texts))
    return pa.array(texts, pa.string()).take(pa.array(indices, mask=indices < 0))


def _part_schema(width: int) -> pa.Schema:
    return pa.schema([*report.PART, *(pa.field(report.CELL.format(i), pa.string()) for i in range(width))])


_MENDED = 1_000_000  # occurrences of rows that were mended: none that a list may have of itself
_PLACES = 1 << 40  # of each source: more rows than any file has


def places_of(source: int, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """One number for each row of a run's source; they grow as the rows come."""
    return source * _PLACES + rows


def place_of(place: int) -> tuple[int, int]:
    """(source, row) of such a number."""
    return divmod(place, _PLACES)


def identities(validator: Validator, checked: Checked) -> npt.NDArray[np.int64]:
    """The identity of each valid row, by which the operation counts repeats in a file."""
    frame = _rows(checked.frame, checked.valid)
    columns = {str(name): pa.array(frame[name]) for name in frame.columns}
    return payloads.identities(validator.plan.operation, columns, len(frame))


def _told_by(operation: Operation, rows: pd.DataFrame) -> list[str]:
    """The field by which each row repeats another."""
    if operation.identity is not None:
        return [operation.identity.fields[by] for by in rows[operation.identity.by]]
    name = operation.phone if operation.duplicates_by == "phone" else (operation.identifier or ("", ""))[1]
    return [name or ""] * len(rows)


def totals(
    validator: Validator, chunks: Iterable[Chunk], before: Repeats | None = None, number: int = 0
) -> Repeats | None:
    """All identities of a source's valid rows, where the policy looks ahead (last, error); else None, unread.

    `before` holds those of the run's sources before this one, the source `number`; its own are added to it.
    """
    if validator.plan.policy.duplicates_in_file not in ("last", "error"):
        return None
    found = Repeats() if before is None else before
    for chunk in chunks:
        checked = validator.check(mapped.apply(validator.plan, chunk.frame))
        rows = chunk.frame.index.to_numpy(dtype=np.int64)[checked.valid]
        found.note(identities(validator, checked), places_of(number, rows))
    return found


def _rows(frame: pd.DataFrame, where: npt.NDArray[np.bool_]) -> pd.DataFrame:
    """The rows where the mask is true: mostly all of them, and nothing is copied."""
    return frame if where.all() else frame[where]


def _scattered(values: pa.Array, where: npt.NDArray[np.bool_]) -> pa.Array:
    """`values` at the places where the mask is true, null elsewhere."""
    if where.all():
        return values
    indices = np.cumsum(where) - 1
    return values.take(pa.array(indices, mask=~where))


def _shown(checked: Checked, name: str | None, built: pa.Array, send: npt.NDArray[np.bool_]) -> pa.Array:
    """A payload's value where there is one, else the frame's own; null where it is empty."""
    sent = _scattered(built, send)
    own = pa.array(checked.frame[name]) if name in checked.frame else pa.nulls(len(send), pa.string())
    value = pc.coalesce(sent, own)
    return pc.if_else(pc.equal(value, ""), None, value)


def _with_ragged(table: pa.Table, ragged: tuple[RaggedRow, ...], width: int) -> pa.Table:
    """The part with its ragged rows, which no mapping has seen, put in their places."""
    if not ragged:
        return table
    added = pa.Table.from_pylist([_ragged(row, width) for row in ragged], schema=table.schema)
    return pa.concat_tables([table, added]).sort_by("row")


def _ragged(row: RaggedRow, width: int) -> dict[str, object]:
    text = f"the row has {len(row.cells)} cells where the header has {width}: check for a missing quote or delimiter"
    if len(row.cells) >= width and any("\n" in cell and ANYWHERE.search(cell) for cell in row.cells):
        text = "a cell holds the end of this row, a line break and the next row: take the stray quotes away"
    problem = {"field": "", "rule": "ragged_row", "value": " | ".join(row.cells[:5]), "message": text}
    return {
        "row": row.row,
        "status": Status.INVALID.value,
        "code": "ragged_row",
        "message": text,
        "problems": [problem],
        "repairs": [],
        "ragged": list(row.cells),
    }
