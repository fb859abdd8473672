"""One chunk of a source becomes one part of the report: mapped, cleaned, checked, and made into payloads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import mapped, payloads, report
from pipeline.advice import Advice
from pipeline.clean.phone import ANYWHERE
from pipeline.mapping import Policy
from pipeline.marks import PROBLEMS
from pipeline.model import Status
from pipeline.payloads import Repeated, Target, key_identities
from pipeline.repeats import Occurrences, Repeats
from pipeline.source import Chunk, RaggedRow
from pipeline.validate import Checked, Validator
from schemas.spec import Operation


class Told(NamedTuple):
    """What others need to know of a chunk's rows to tell which of them repeat: numbers only.

    `rows` are the numbers of the frame's rows, `valid` is true where one has no problem. `found` are the identities of
    those; where the policy keeps duplicates it is None, and `keys` are the identities of all row keys.
    """

    rows: npt.NDArray[np.int64]
    valid: npt.NDArray[np.bool_]
    found: npt.NDArray[np.int64] | None = None
    keys: npt.NDArray[np.int64] | None = None


class Looked(NamedTuple):
    """A chunk that was cleaned and validated, what is told of its rows, and where they are counted their base keys."""

    checked: Checked
    told: Told
    keys: pa.StringArray | None


class Decided(NamedTuple):
    """What the rows before a chunk, or after it, mean for its own.

    Positions of rows that the policy sets aside since another valid row has their phone or identifier; with each, the
    place of that other row. And which of the rows of one key each row is, where keys were told.
    """

    repeated: npt.NDArray[np.int64]
    others: npt.NDArray[np.int64]
    occurrence: npt.NDArray[np.int64] | None = None


class Made(NamedTuple):
    """A chunk's part, and what the vendor advises against in it."""

    part: pa.Table
    advice: Advice


class Counts:
    """The rows of a run so far, over all sources: what decides, chunk by chunk and in order, which of them repeat.

    Where a row's fate hangs on rows that come after it (last, error), `looks_ahead` is true, and all chunks are to be
    foreseen before the first is decided. `seen` is where the identities of valid rows stood; nothing is in it where
    duplicates are kept, since no row's fate hangs on that: there it is row keys that are counted.
    """

    def __init__(self, policy: Policy) -> None:
        self._mode = policy.duplicates_in_file
        self.looks_ahead = self._mode in ("last", "error")
        self.seen, self._keys = Repeats(), Occurrences()

    def foresee(self, number: int, told: Told) -> None:
        """Takes note of a chunk of the source `number`, in order."""
        if told.found is not None:
            self.seen.note(told.found, places_of(number, told.rows[told.valid]))

    def decide(self, number: int, told: Told) -> Decided:
        """What the others mean for this chunk of the source `number`, the next one in order."""
        occurrence = None if told.keys is None else self._keys.add(told.keys)
        if told.found is None:
            return Decided(_NONE, _NONE, occurrence)
        if not self.looks_ahead:
            self.foresee(number, told)
        places = places_of(number, told.rows[told.valid])
        others = self._others(told.found, places)
        again = (others != places) & (others >= 0) & (told.found != 0)  # below 0: it was not foreseen
        return Decided(np.flatnonzero(told.valid)[again], others[again], occurrence)

    def _others(self, found: npt.NDArray[np.int64], places: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The place of the row that each of these rows repeats, or is repeated by; its own where there is none."""
        if self._mode == "last":
            return self.seen.last(found)
        first = self.seen.first(found)
        return np.where(first == places, self.seen.last(found), first) if self._mode == "error" else first


_NONE = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Preparer:
    """Turns the chunks of a run's source `number` into parts. Pure: chunks may be taken in any order, and again.

    Without an account there are no row keys, and payloads lack the ClientId that would be made of them. `names` are
    those of all sources.
    """

    validator: Validator
    target: Target
    account_known: bool
    number: int = 0
    names: Sequence[str] = ("",)

    def look(self, chunk: Chunk) -> Looked:
        """The chunk mapped, cleaned and validated."""
        plan = self.validator.plan
        checked = self.validator.check(mapped.apply(plan, chunk.frame))
        told = Told(chunk.frame.index.to_numpy(dtype=np.int64), checked.valid)
        if plan.policy.duplicates_in_file != "keep":
            return Looked(checked, told._replace(found=identities(self.validator, checked)), None)
        if not self.account_known:
            return Looked(checked, told, None)
        keys = payloads.base_keys(plan, checked.frame, self.target)
        return Looked(checked, told._replace(keys=key_identities(keys)), keys)

    def finish(self, chunk: Chunk, looked: Looked, decided: Decided) -> Made:
        """The chunk's rows under PART, then its cells, ordered by row. Every row of the chunk is in it."""
        checked = looked.checked
        status, code, message, problems = self._fates(checked, decided)
        send = pc.equal(status, Status.VALID.value).to_numpy(zero_copy_only=False)
        columns = self._payload_columns(chunk, looked, decided.occurrence, send)
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
        advice = Advice()
        advice.look(self.validator.plan.operation, _rows(checked.frame, checked.valid))
        return Made(_with_ragged(table, chunk.ragged, len(chunk.frame.columns)), advice)

    def _fates(self, checked: Checked, decided: Decided) -> tuple[pa.Array, pa.Array, pa.Array, pa.Table]:
        """Per row: status, code and message; and the problems, with those that repeats within the file add."""
        repeated, others = decided.repeated, self._told_places(decided.others)
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

    def _payload_columns(
        self, chunk: Chunk, looked: Looked, counted: npt.NDArray[np.int64] | None, send: npt.NDArray[np.bool_]
    ) -> dict[str, pa.Array]:
        """Keys, claims and bodies of the rows to send; rows that are not sent keep only their phone and ClientId."""
        plan, checked, repeated = self.validator.plan, looked.checked, None
        if counted is not None and looked.keys is not None:
            base = looked.keys if send.all() else looked.keys.filter(pa.array(send))
            repeated = Repeated(base, _occurrences(counted, chunk.earlier_rows)[send])
        target = self.target if self.account_known else None
        built = payloads.build(plan, _rows(checked.frame, send), target, repeated)
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


def made(preparer: Preparer, counts: Counts, chunk: Chunk) -> Made:
    """The next chunk in order, looked at, decided and finished in one go."""
    looked = preparer.look(chunk)
    return preparer.finish(chunk, looked, counts.decide(preparer.number, looked.told))


def _occurrences(counted: npt.NDArray[np.int64], earlier: pa.Array | None) -> npt.NDArray[np.int64]:
    """Which of the rows of one key each is, invalid ones counted: they may be mended, and are others all the same.

    In a rejected file that was mended it goes by the number that the row had in its list.
    """
    if earlier is None:
        return counted
    numbers = pd.to_numeric(pd.Series(earlier.to_pylist()), errors="coerce")
    mended = numbers.fillna(0).to_numpy(dtype=np.int64)
    return np.where(mended > 0, _MENDED + mended, counted)


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
