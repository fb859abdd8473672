"""The report: validation parts joined with the journal, one row per source row. Pure: tables in, tables out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.marks import PROBLEMS, REPAIRS
from pipeline.model import FORGOTTEN, Status

SCHEMA_VERSION = "1"

_STAMP = pa.timestamp("us", tz="UTC")
PROBLEM_TYPE = pa.struct([f for f in PROBLEMS if f.name != "position"])
REPAIR_TYPE = pa.struct([f for f in REPAIRS if f.name != "position"])

# What `results.parquet` holds, in this order. Users script against these names and types.
REPORT = pa.schema(
    [
        ("run_id", pa.string()),
        ("source", pa.string()),
        ("sheet", pa.string()),
        ("row", pa.int64()),
        ("operation", pa.string()),
        ("status", pa.string()),
        ("code", pa.string()),
        ("message", pa.string()),
        ("problems", pa.list_(PROBLEM_TYPE)),
        ("repairs", pa.list_(REPAIR_TYPE)),
        ("row_key", pa.string()),
        ("phone", pa.string()),
        ("client_id", pa.string()),
        ("payload_sha256", pa.string()),
        ("attempts", pa.int32()),
        ("http_status", pa.int32()),
        ("reply", pa.string()),
        ("result", pa.string()),
        ("lead_id", pa.string()),
        ("reconciled", pa.bool_()),
        ("first_sent_at", _STAMP),
        ("settled_at", _STAMP),
        ("latency_ms", pa.float64()),
    ],
    metadata={"schema_version": SCHEMA_VERSION},
)

# What validation knows of a row. A part holds these, then `ragged` and the source's own cells.
PART = pa.schema(
    [
        ("row", pa.int64()),
        ("status", pa.string()),
        ("code", pa.string()),
        ("message", pa.string()),
        ("problems", pa.list_(PROBLEM_TYPE)),
        ("repairs", pa.list_(REPAIR_TYPE)),
        ("row_key", pa.string()),
        ("phone", pa.string()),
        ("identifier", pa.string()),
        ("client_id", pa.string()),
        ("payload", pa.string()),
        ("payload_sha256", pa.string()),
        ("ragged", pa.list_(pa.string())),
    ]
)
SHOWN = [name for name in PART.names if name in REPORT.names]  # what of it goes into the report
CELL = "cell_{}"  # the source's cells by position, as they were read
SOURCE_COLUMN = "source.{}"  # a source's own column, where a report is read as a list with it beside the report's


def offered(columns: Sequence[str]) -> frozenset[str]:
    """Of a report read as a list, in whatever format, the columns that a mapping may take or leave; else none."""
    if not set(REPORT.names) <= set(columns):
        return frozenset()
    of_source = SOURCE_COLUMN.format("")
    return frozenset(name for name in columns if name in REPORT.names or name.startswith(of_source))


@dataclass(frozen=True, slots=True)
class Place:
    """What all rows of one part share in the report."""

    run_id: str
    source: str
    sheet: str | None
    operation: str


def project(part: pa.Table, sends: pa.Table, held: pa.Table, place: Place, unsent: Status) -> pa.Table:
    """The report's rows for one part, under REPORT, in the part's order.

    `sends` and `held` are the journal's rows of the part, ordered by row. A valid row that neither knows is
    `unsent`: not_attempted after a load, valid after a check.
    """
    rows = part["row"].to_numpy()
    sent, kept = _aligned(sends, rows), _aligned(held, rows)
    given = {
        "run_id": _constant(place.run_id, len(rows)),
        "source": _constant(place.source, len(rows)),
        "sheet": _constant(place.sheet, len(rows)),
        "operation": _constant(place.operation, len(rows)),
        **_end_states(part, sent, kept, unsent),
        "attempts": pc.fill_null(sent["attempts"], 0).cast(pa.int32()),
        "reconciled": pc.fill_null(sent["reconciled"], False),
        "first_sent_at": sent["first_sent_at"].cast(_STAMP),
        "settled_at": pc.coalesce(sent["settled_at"], kept["settled_at"]).cast(_STAMP),
    }
    from_part = {n: part[n] for n in ("row", "problems", "repairs", "row_key", "phone", "client_id", "payload_sha256")}
    from_send = {n: sent[n] for n in ("http_status", "reply", "result", "lead_id", "latency_ms")}
    columns = {**from_part, **from_send, **given}
    return pa.table([columns[name] for name in REPORT.names], schema=REPORT)


def _end_states(part: pa.Table, sent: pa.Table, kept: pa.Table, unsent: Status) -> dict[str, pa.ChunkedArray]:
    """status, code and message: the journal's word over validation's."""
    in_flight = pc.fill_null(pc.equal(sent["state"], "sending"), False)
    sent = _without_superseded(sent, kept)
    status = pc.if_else(in_flight, Status.UNKNOWN.value, pc.coalesce(sent["status"], kept["status"]))
    code = pc.if_else(in_flight, "interrupted", pc.coalesce(sent["code"], kept["code"]))
    here = pc.if_else(pc.equal(part["status"], Status.VALID.value), unsent.value, part["status"])
    return {
        "status": pc.coalesce(status, here),
        "code": pc.coalesce(code, part["code"]),
        "message": _empty_as_null(pc.coalesce(sent["message"], kept["message"], part["message"])),
    }


def _without_superseded(sent: pa.Table, kept: pa.Table) -> pa.Table:
    """`sent`, silent on rows that had no outcome yet and were held back when their run went on."""
    had_none = pc.is_in(sent["status"], value_set=pa.array([Status.UNKNOWN.value, Status.NOT_ATTEMPTED.value]))
    superseded = pc.and_(had_none, pc.is_valid(kept["status"]))
    for name in ("status", "code", "message"):
        at = sent.schema.get_field_index(name)
        sent = sent.set_column(at, name, pc.if_else(superseded, None, sent[name]))
    return sent


def _empty_as_null(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.if_else(pc.equal(column, ""), None, column)


def _aligned(found: pa.Table, rows: npt.NDArray[np.int64]) -> pa.Table:
    """`found` (ordered by row) laid out like `rows`, with nulls where it has none."""
    if not found.num_rows:
        return pa.table([pa.nulls(len(rows), field.type) for field in found.schema], schema=found.schema)
    at = np.searchsorted(rows, found["row"].to_numpy())
    indices = np.full(len(rows), -1)
    indices[at] = np.arange(found.num_rows)
    return found.take(pa.array(indices, mask=indices < 0))


def _constant(value: str | None, count: int) -> pa.Array:
    return pa.repeat(pa.scalar(value, pa.string()), count)


def nested(table: pa.Table, count: int) -> pa.ListArray:
    """PROBLEMS or REPAIRS as one list per position, 0 to `count` - 1."""
    positions = table["position"].to_numpy()
    if np.any(positions[1:] < positions[:-1]):
        table = table.take(pa.array(np.argsort(positions, kind="stable")))  # of runs that are in order
    offsets = np.searchsorted(table["position"].to_numpy(), np.arange(count + 1))
    fields = [table.schema.field(i) for i in range(table.num_columns) if table.schema.names[i] != "position"]
    columns = [table[f.name].combine_chunks() for f in fields]
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.StructArray.from_arrays(columns, fields=fields))


def count(table: pa.Table) -> Counter[tuple[str, str | None]]:
    """How many rows have each (status, code)."""
    grouped = table.group_by(["status", "code"]).aggregate([([], "count_all")])
    return Counter({(r["status"], r["code"]): r["count_all"] for r in grouped.to_pylist()})


def count_repairs(table: pa.Table) -> Counter[tuple[str, bool]]:
    """How many cells were changed under each (rule, lossless)."""
    repairs = pc.list_flatten(table["repairs"])
    found = pa.table([pc.struct_field(repairs, name) for name in ("rule", "lossless")], names=["rule", "lossless"])
    grouped = found.group_by(["rule", "lossless"]).aggregate([([], "count_all")])
    return Counter({(r["rule"], r["lossless"]): r["count_all"] for r in grouped.to_pylist()})


def by_rule(repairs: Counter[tuple[str, bool]]) -> dict[str, int]:
    """Changed cells by rule, the most frequent first."""
    totals: Counter[str] = Counter()
    for (rule, _), cells in repairs.items():
        totals[rule] += cells
    return dict(totals.most_common())


def totals(counts: Counter[tuple[str, str | None]], repairs: Counter[tuple[str, bool]]) -> dict[str, Any]:
    """What the summary tells of rows by (status, code) and of changed cells by (rule, lossless)."""
    return {
        "counts": by_status(counts),
        "codes": {f"{status}/{code}": rows for (status, code), rows in sorted(counts.items(), key=str) if code},
        "repairs": by_rule(repairs),
        "lossy": sum(cells for (_, lossless), cells in repairs.items() if not lossless),
    }


def by_status(counts: Counter[tuple[str, str | None]]) -> dict[str, int]:
    """Rows by status, in the order of the statuses; statuses without rows are left out."""
    totals: Counter[str] = Counter()
    for (status, _), rows in counts.items():
        totals[status] += rows
    return {status.value: totals[status] for status in Status if totals[status]}


NEEDS_MENDING = (Status.INVALID.value, Status.REJECTED.value)


def some_need_mending(report: pa.Table) -> bool:
    """Whether any row must be mended by a person."""
    return bool(pc.any(_needing(report)).as_py())


def _needing(report: pa.Table) -> pa.ChunkedArray:
    """What was forgotten has nothing left to mend."""
    known = pc.not_equal(pc.fill_null(report["code"], ""), FORGOTTEN)
    return pc.and_(pc.is_in(report["status"], value_set=pa.array(NEEDS_MENDING)), known)


def needs_mending(part: pa.Table, report: pa.Table, columns: Mapping[str, str]) -> pa.Table:
    """The rows that a person must mend: row, status, what is wrong in words, and the source's own cells.

    `columns` says from which column of the source a field came: that is the name its user knows. `marks` say the same
    of single cells: list<struct<column, told>>.
    """
    mask = _needing(report)
    problems, messages = (report.filter(mask)[name].to_pylist() for name in ("problems", "message"))
    told = [_in_words(p, m, columns) for p, m in zip(problems, messages, strict=True)]
    cells = [name for name in part.column_names if name == "ragged" or name.startswith("cell_")]
    chosen = part.filter(mask).select(["row", *cells]).append_column("status", report["status"].filter(mask))
    marks = pa.array([_marks(p, columns) for p in problems], MARKS)
    return chosen.append_column("problems", pa.array(told, pa.string())).append_column("marks", marks)


MARKS = pa.list_(pa.struct([("column", pa.string()), ("told", pa.string())]))


def _marks(problems: Sequence[dict[str, str]], columns: Mapping[str, str]) -> list[dict[str, str]]:
    found = [p for p in problems if p["field"] in columns]
    return [{"column": columns[p["field"]], "told": told_of(p["field"], p["message"])} for p in found]


def _in_words(problems: Sequence[dict[str, str]], message: str | None, columns: Mapping[str, str]) -> str:
    told = [told_of(columns.get(p["field"], p["field"]), p["message"]) for p in problems]
    return "; ".join(text.removesuffix(".") for text in told) or message or ""


def told_of(name: str, message: str) -> str:
    """What is wrong with what, in one sentence."""
    return f"{name}: {message}" if name else message
