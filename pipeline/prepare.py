"""One chunk of a source becomes one part of the report: mapped, cleaned, checked, and made into payloads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import mapping, payloads, report
from pipeline.advice import Advice
from pipeline.mapping import Plan
from pipeline.model import PROBLEMS, Status
from pipeline.payloads import Repeats, Target
from pipeline.source import Chunk, RaggedRow
from pipeline.validate import Checked, Validator
from schemas.spec import Operation


@dataclass(slots=True)
class Preparer:
    """Turns chunks into parts, in file order. `seen` and `keys` count identities and row keys over all sources.

    `totals` holds the identities of all sources where a row's fate hangs on rows that come after it. Without an
    account there are no row keys, and payloads lack the ClientId that would be made of them. `advice` gathers what
    the vendor advises against.
    """

    validator: Validator
    target: Target
    seen: Repeats
    keys: Repeats
    account_known: bool
    totals: Repeats | None = None
    advice: Advice = field(default_factory=Advice)

    def part(self, chunk: Chunk) -> pa.Table:
        """The chunk's rows under PART, then its cells, ordered by row. Every row of the chunk is in it."""
        checked = self.validator.check(mapping.apply(self.validator.plan, chunk.frame))
        self.advice.look(self.validator.plan.operation, checked.frame[checked.valid])
        status, code, problems = self._fates(checked)
        columns = self._payload_columns(chunk, checked, status == Status.VALID.value)
        columns |= {
            "row": pa.array(chunk.frame.index.to_numpy(dtype=np.int64)),
            "status": pa.array(status, pa.string()),
            "code": pa.array(code, pa.string()),
            "message": _messages(status, code, checked, problems),
            "problems": report.nested(problems, len(chunk.frame)),
            "repairs": report.nested(checked.repairs, len(chunk.frame)),
            "ragged": pa.nulls(len(chunk.frame), pa.list_(pa.string())),
        }
        table = pa.table([columns[name] for name in report.PART.names], schema=report.PART)
        for i, name in enumerate(chunk.frame.columns):
            table = table.append_column(report.CELL.format(i), pa.array(chunk.frame[name]))
        return _with_ragged(table, chunk.ragged, len(chunk.frame.columns))

    def _fates(self, checked: Checked) -> tuple[npt.NDArray[np.object_], npt.NDArray[np.object_], pa.Table]:
        """Per row: status and code; and the problems, with those that repeats within the file add."""
        rows = len(checked.frame)
        status = np.full(rows, Status.VALID.value, dtype=object)
        code = np.full(rows, None, dtype=object)
        repeated = self._repeated(checked)
        problems = checked.problems
        if self.validator.plan.policy.duplicates_in_file == "error" and repeated.any():
            problems = pa.concat_tables([problems, self._repeat_problems(checked, repeated)])
        else:
            status[repeated], code[repeated] = Status.SKIPPED.value, "duplicate_in_file"
        first = _first_codes(problems)
        at = first.index.to_numpy()
        status[at], code[at] = Status.INVALID.value, first.to_numpy()
        return status, code, problems

    def _repeated(self, checked: Checked) -> npt.NDArray[np.bool_]:
        """Rows that the policy sets aside because another valid row has their phone or identifier."""
        mode = self.validator.plan.policy.duplicates_in_file
        mask = np.zeros(len(checked.frame), dtype=np.bool_)
        if mode == "keep":
            return mask
        found = identities(self.validator, checked)
        occurrence = self.seen.add(found)
        if self.totals is None:
            again = occurrence > 1
        else:
            total = self.totals.before(found)
            again = (occurrence < total) if mode == "last" else (total > 1)
        mask[checked.valid] = again
        return mask

    def _repeat_problems(self, checked: Checked, repeated: npt.NDArray[np.bool_]) -> pa.Table:
        positions = np.flatnonzero(repeated)
        rows = checked.frame.iloc[positions]
        names = _told_by(self.validator.plan.operation, rows)
        values = [rows[name].iloc[at] for at, name in enumerate(names)]
        text = "stands more than once in this file, and the mapping's policy allows each only once"
        columns = [positions, names, ["duplicate_in_file"] * len(rows), values, [text] * len(rows)]
        return pa.table(columns, schema=PROBLEMS)

    def _occurrences(self, plan: Plan, frame: pd.DataFrame, earlier: pa.Array | None) -> npt.NDArray[np.int64]:
        """Which of the rows of one key each is, invalid ones counted: they may be mended, and are others all the same.

        In a rejected file that was mended it goes by the number that the row had in its list.
        """
        counted = self.keys.add(payloads.key_identities(payloads.base_keys(plan, frame, self.target)))
        if earlier is None:
            return counted
        numbers = pd.to_numeric(pd.Series(earlier.to_pylist()), errors="coerce")
        rows = numbers.fillna(0).to_numpy(dtype=np.int64)
        return np.where(rows > 0, _MENDED + rows, counted)

    def _payload_columns(self, chunk: Chunk, checked: Checked, send: npt.NDArray[np.bool_]) -> dict[str, pa.Array]:
        """Keys, claims and bodies of the rows to send; rows that are not sent keep only their phone and ClientId."""
        plan = self.validator.plan if self.account_known else _without_keys(self.validator.plan)
        frame = checked.frame[send]
        occurrence = None
        if plan.policy.duplicates_in_file == "keep":
            occurrence = self._occurrences(plan, checked.frame, chunk.earlier_rows)[send]
        built = payloads.build(plan, frame, self.target, occurrence)
        made = {
            "row_key": built.row_key if self.account_known else pa.nulls(len(frame), pa.string()),
            "identifier": built.identifier,
            "payload": built.body,
            "payload_sha256": built.sha256,
        }
        columns = {name: _scattered(values, send) for name, values in made.items()}
        columns["phone"] = _shown(checked, plan.operation.phone, built.phone, send)
        columns["client_id"] = _shown(checked, plan.operation.client_id, built.client_id, send)
        return columns


_MENDED = 1_000_000  # occurrences of rows that were mended: none that a list may have of itself


def identities(validator: Validator, checked: Checked) -> npt.NDArray[np.int64]:
    """The identity of each valid row, by which the operation counts repeats in a file."""
    frame = checked.frame[checked.valid]
    columns = {str(name): pa.array(frame[name]) for name in frame.columns}
    return payloads.identities(validator.plan.operation, columns, len(frame))


def _told_by(operation: Operation, rows: pd.DataFrame) -> list[str]:
    """The field by which each row repeats another."""
    if operation.identity is not None:
        return [operation.identity.fields[by] for by in rows[operation.identity.by]]
    name = operation.phone if operation.duplicates_by == "phone" else (operation.identifier or ("", ""))[1]
    return [name or ""] * len(rows)


def _without_keys(plan: Plan) -> Plan:
    return replace(plan, policy=plan.policy.model_copy(update={"client_id": "none"}))


def totals(validator: Validator, chunks: Iterable[Chunk], before: Repeats | None = None) -> Repeats | None:
    """All identities of the file's valid rows, where the policy looks ahead (last, error); else None, unread.

    `before` holds those of the run's files before this one; the file's own are added to it.
    """
    if validator.plan.policy.duplicates_in_file not in ("last", "error"):
        return None
    found = Repeats() if before is None else before
    for chunk in chunks:
        found.add(identities(validator, validator.check(mapping.apply(validator.plan, chunk.frame))))
    return found


def _first_codes(problems: pa.Table) -> pd.Series[str]:
    """The first problem's rule per position."""
    told = problems.select(["position", "rule"]).to_pandas()
    first: pd.Series[str] = told.drop_duplicates("position").set_index("position")["rule"]
    return first


def _messages(
    status: npt.NDArray[np.object_], code: npt.NDArray[np.object_], checked: Checked, problems: pa.Table
) -> pa.Array:
    messages = np.full(len(checked.frame), None, dtype=object)
    messages[(status == Status.SKIPPED.value) & (code == "duplicate_in_file")] = (
        "another row of this file has the same phone or identifier"
    )
    told = problems.select(["position", "field", "message"]).to_pandas().drop_duplicates("position")
    first = [report.told_of(field, text) for field, text in zip(told["field"], told["message"], strict=True)]
    messages[told["position"].to_numpy()] = np.array(first, dtype=object)
    return pa.array(messages, pa.string())


def _scattered(values: pa.Array, where: npt.NDArray[np.bool_]) -> pa.Array:
    """`values` at the places where the mask is true, null elsewhere."""
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
