"""The report: every row of a part once, in its order, with the journal's word over validation's."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import records, report
from pipeline.marks import PROBLEMS, REPAIRS
from pipeline.model import Status
from pipeline.report import PART, REPORT, Place

SENDS, HELD = (table.schema for table in records.nothing())
PLACE = Place("run-1", "list.csv", None, "InsertLead")
VALID, INVALID = {"status": "valid"}, {"status": "invalid", "code": "bad_phone", "message": "PrimaryPhone: is bad"}
PROBLEM = {"field": "City", "rule": "too_long", "value": "x", "message": "is too long"}


def part(*rows: dict[str, Any]) -> pa.Table:
    """A part; rows are numbered from 2 unless they say otherwise."""
    filled = [{"row": 2 + i, "problems": [], "repairs": [], **row} for i, row in enumerate(rows)]
    return pa.Table.from_pylist(filled, schema=PART)


def sends(*rows: dict[str, Any]) -> pa.Table:
    settled = {"state": "settled", "attempts": 1, "reconciled": False, "first_sent_at": 0}
    return pa.Table.from_pylist([{**settled, **row} for row in rows], schema=SENDS)


def held(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=HELD)


def projected(
    of: pa.Table, sent: pa.Table | None = None, kept: pa.Table | None = None, unsent: Status = Status.NOT_ATTEMPTED
) -> list[dict[str, Any]]:
    table = report.project(of, sends() if sent is None else sent, held() if kept is None else kept, PLACE, unsent)
    assert table.schema.equals(REPORT, check_metadata=True)
    table.validate(full=True)
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def test_the_columns_are_a_contract() -> None:
    """Users script against these names and types, in this order."""
    assert report.SCHEMA_VERSION == "1"
    assert REPORT.metadata == {b"schema_version": b"1"}
    assert [(field.name, str(field.type)) for field in REPORT] == [
        ("run_id", "string"),
        ("source", "string"),
        ("sheet", "string"),
        ("row", "int64"),
        ("operation", "string"),
        ("status", "string"),
        ("code", "string"),
        ("message", "string"),
        ("problems", "list<item: struct<field: string, rule: string, value: string, message: string>>"),
        ("repairs", "list<item: struct<field: string, raw: string, value: string, rule: string, lossless: bool>>"),
        ("row_key", "string"),
        ("phone", "string"),
        ("client_id", "string"),
        ("payload_sha256", "string"),
        ("attempts", "int32"),
        ("http_status", "int32"),
        ("reply", "string"),
        ("result", "string"),
        ("lead_id", "string"),
        ("reconciled", "bool"),
        ("first_sent_at", "timestamp[us, tz=UTC]"),
        ("settled_at", "timestamp[us, tz=UTC]"),
        ("latency_ms", "double"),
    ]


def test_a_row_that_was_sent() -> None:
    """What the journal knows of a row goes beside what validation knows."""
    row = {**VALID, "row_key": "k" * 32, "phone": "2025550101", "client_id": "17", "payload_sha256": "s" * 64}
    repair = {"field": "City", "raw": " x", "value": "x", "rule": "trimmed", "lossless": True}
    sent = {
        "row": 2,
        "status": "accepted",
        "code": "ok",
        "message": "",
        "attempts": 2,
        "http_status": 200,
        "reply": "Result: OK",
        "result": "{}",
        "lead_id": "4711",
        "reconciled": True,
        "first_sent_at": 1_000_000,
        "settled_at": 2_500_000,
        "latency_ms": 12.5,
    }
    (got,) = projected(part({**row, "repairs": [repair]}), sends(sent))
    assert got == {
        **{name: sent[name] for name in sent if name not in ("first_sent_at", "settled_at", "message")},
        **row,
        "status": "accepted",
        "message": None,
        "run_id": "run-1",
        "source": "list.csv",
        "sheet": None,
        "operation": "InsertLead",
        "problems": [],
        "repairs": [repair],
        "first_sent_at": datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC),
        "settled_at": datetime(1970, 1, 1, 0, 0, 2, 500_000, tzinfo=UTC),
    }


def test_rows_that_were_not_sent() -> None:
    """A valid row that the journal doesn't know is what the run says; a refused one stays refused."""
    of = part(VALID, {**INVALID, "problems": [PROBLEM]}, {"status": "skipped", "code": "duplicate_in_file"})
    for unsent in (Status.NOT_ATTEMPTED, Status.VALID):
        got = projected(of, unsent=unsent)
        assert [(r["status"], r["code"]) for r in got] == [
            (unsent.value, None),
            ("invalid", "bad_phone"),
            ("skipped", "duplicate_in_file"),
        ]
        assert [r["problems"] for r in got] == [[], [PROBLEM], []]
        assert [r["message"] for r in got] == [None, "PrimaryPhone: is bad", None]
        assert {(r["attempts"], r["reconciled"], r["first_sent_at"], r["settled_at"]) for r in got} == {
            (0, False, None, None)
        }


def test_rows_that_were_held_back() -> None:
    """A decision made when a row's turn came is its outcome, with its time, and no attempt."""
    kept = held({"row": 3, "status": "skipped", "code": "suppressed", "message": "on the list", "settled_at": 5})
    got = projected(part(VALID, VALID), kept=kept)
    assert [(r["status"], r["code"], r["message"], r["attempts"]) for r in got] == [
        ("not_attempted", None, None, 0),
        ("skipped", "suppressed", "on the list", 0),
    ]
    assert got[1]["settled_at"] == datetime(1970, 1, 1, 0, 0, 0, 5, tzinfo=UTC)


def test_a_row_left_in_flight_is_unknown() -> None:
    """A row whose call has begun and has no outcome may or may not have arrived."""
    (got,) = projected(part(VALID), sends({"row": 2, "state": "sending", "code": "connect_refused"}))
    assert (got["status"], got["code"], got["attempts"], got["settled_at"]) == ("unknown", "interrupted", 1, None)


def test_an_empty_part() -> None:
    """A part without rows is a report without rows."""
    assert projected(part()) == []


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(1, 3), st.sampled_from(["sent", "flying", "held", "valid", "invalid"]))))
def test_every_row_is_in_the_report_once(rows: list[tuple[int, str]]) -> None:
    """Whatever became of each row, the report has the part's rows in the part's order, each with its own outcome."""
    numbers, number = [], 1
    for gap, _ in rows:
        number += gap
        numbers.append(number)
    fates = dict(zip(numbers, (fate for _, fate in rows), strict=True))
    of = part(*({**(INVALID if fate == "invalid" else VALID), "row": row} for row, fate in fates.items()))
    sent = sends(
        *({"row": r, "status": "accepted", "reply": str(r)} for r, fate in fates.items() if fate == "sent"),
        *({"row": r, "state": "sending", "reply": str(r)} for r, fate in fates.items() if fate == "flying"),
    ).sort_by("row")
    kept = held(*({"row": r, "status": "skipped", "code": str(r)} for r, fate in fates.items() if fate == "held"))
    got = projected(of, sent, kept)
    assert [r["row"] for r in got] == numbers
    expected = {"sent": "accepted", "flying": "unknown", "held": "skipped", "valid": "not_attempted"}
    assert [r["status"] for r in got] == [expected.get(fate, "invalid") for fate in fates.values()]
    assert [r["reply"] for r in got] == [
        str(row) if fate in ("sent", "flying") else None for row, fate in fates.items()
    ]
    counted = report.count(pa.Table.from_pylist(got, schema=REPORT))
    assert counted == Counter((r["status"], r["code"]) for r in got)
    assert sum(report.by_status(counted).values()) == len(rows)


def test_statuses_are_counted_in_their_order() -> None:
    """Codes are added up, statuses without rows left out."""
    counts = Counter({("valid", None): 1, ("rejected", "dnc"): 2, ("rejected", "x"): 3, ("accepted", "ok"): 4})
    assert list(report.by_status(counts).items()) == [("accepted", 4), ("rejected", 5), ("valid", 1)]
    assert report.by_status(Counter()) == {}


@pytest.mark.parametrize("schema", [PROBLEMS, REPAIRS], ids=["problems", "repairs"])
@given(positions=st.lists(st.integers(0, 6), max_size=15))
def test_what_belongs_to_a_row_is_nested_in_it(schema: pa.Schema, positions: list[int]) -> None:
    """Each row gets its own problems or repairs, in the order in which they were found."""
    told = [
        {"position": p, "field": str(i), "rule": "r", "value": "v", "message": "m", "raw": "w", "lossless": True}
        for i, p in enumerate(positions)
    ]
    tables = [pa.Table.from_pylist([row], schema=schema) for row in told]
    nested = report.nested(pa.concat_tables([schema.empty_table(), *tables]), 7).to_pylist()
    expected = [[str(i) for i, p in enumerate(positions) if p == position] for position in range(7)]
    assert [[row["field"] for row in rows] for rows in nested] == expected


def test_repairs_are_counted_by_rule() -> None:
    """Changed cells are counted by rule and by whether anything was lost, the most frequent rule first."""
    repair = {"field": "City", "raw": " x", "value": "x", "rule": "trimmed", "lossless": True}
    cut = {**repair, "rule": "truncated", "lossless": False}
    of = part({**VALID, "repairs": [repair, cut]}, {**VALID, "repairs": [cut]}, VALID)
    counted = report.count_repairs(of)
    assert counted == Counter({("trimmed", True): 1, ("truncated", False): 2})
    assert list(report.by_rule(counted).items()) == [("truncated", 2), ("trimmed", 1)]
    assert report.count_repairs(part()) == Counter()


# --- what a person mends


def test_rows_to_mend_have_their_cells_and_reasons() -> None:
    """Invalid and rejected rows come with their own cells, status, and what is wrong in words."""
    of = part({**INVALID, "problems": [PROBLEM, {**PROBLEM, "field": ""}]}, VALID, VALID, {**INVALID, "ragged": ["a"]})
    of = of.append_column("cell_0", pa.array(["a", "b", "c", None]))
    sent = sends(
        {"row": 3, "status": "rejected", "message": "Result: No"}, {"row": 4, "status": "failed", "message": "no"}
    )
    told = report.project(of, sent, held(), PLACE, Status.NOT_ATTEMPTED)
    assert report.some_need_mending(told)
    assert report.needs_mending(of, told, {"City": "Town"}).to_pylist() == [
        {
            "row": 2,
            "ragged": None,
            "cell_0": "a",
            "status": "invalid",
            "problems": "Town: is too long; is too long",
            "marks": [{"column": "Town", "told": "City: is too long"}],
        },
        {"row": 3, "ragged": None, "cell_0": "b", "status": "rejected", "problems": "Result: No", "marks": []},
        {
            "row": 5,
            "ragged": ["a"],
            "cell_0": None,
            "status": "invalid",
            "problems": "PrimaryPhone: is bad",
            "marks": [],
        },
    ]


def test_nothing_to_mend() -> None:
    """Rows that went well, are in doubt or were never tried need no mending; a reason may be missing."""
    of = part(VALID, VALID)
    told = report.project(of, sends({"row": 2, "status": "unknown"}), held(), PLACE, Status.NOT_ATTEMPTED)
    assert not report.some_need_mending(told)
    assert not report.some_need_mending(told.slice(0, 0))
    assert report.needs_mending(of, told, {}).num_rows == 0
    refused = report.project(of, sends({"row": 2, "status": "rejected"}), held(), PLACE, Status.NOT_ATTEMPTED)
    assert report.needs_mending(of, refused, {})["problems"].to_pylist() == [""]
