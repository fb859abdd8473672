"""One row's story, from what the file held to how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import records, report, statedb
from pipeline.folder import RunFolder
from pipeline.model import Request, Status, UserError


def story(run: RunFolder, row: int, source: str | None, state_url: str) -> dict[str, Any]:
    """What became of a row: `place`, `cells`, `repairs`, `problems`, `payload`, `requests`, `outcome`.

    It is told from the run's parts and the journal at `state_url`, so that it is true of a run that was killed, too.
    Raises UserError where there is no such row, or where several sources have one.
    """
    manifest = run.read_json("manifest.json")
    number, part = _part(run, manifest, row, source)
    of = manifest["sources"][number]
    place = report.Place(run.run_id, of["name"], of["sheet"], manifest["operation"])
    if manifest["command"] == "check":
        sends, held, requests = *records.nothing(), []
        unsent = Status.VALID
    else:
        state = statedb.engine(state_url)
        if run.has_sent:
            records.check_knows(state, run.run_id)
        sends, held = records.settled_between(state, run.run_id, number, (row, row))
        requests = records.requests_of(state, run.run_id, number, row)
        unsent = Status.NOT_ATTEMPTED
    told = report.project(part.select(report.PART.names), sends, held, place, unsent).to_pylist()[0]
    payload = part["payload"][0].as_py()
    return {
        "place": {"run_id": run.run_id, "source": of["name"], "sheet": of["sheet"], "row": row},
        "cells": _cells(part, of["columns"]),
        "repairs": told["repairs"],
        "problems": told["problems"],
        "payload": None if payload is None else dict(parse_qsl(payload, keep_blank_values=True)),
        "requests": [_shown(request) for request in requests or _only_request(told)],
        "outcome": {name: told[name] for name in _OUTCOME},
    }


_OUTCOME = (
    "status",
    "code",
    "message",
    "row_key",
    "attempts",
    "reconciled",
    "lead_id",
    "result",
    "first_sent_at",
    "settled_at",
)


def _part(run: RunFolder, manifest: Mapping[str, Any], row: int, source: str | None) -> tuple[int, pa.Table]:
    found = []
    names = [of["name"] for of in manifest["sources"]]
    if source is not None and source not in names:
        raise UserError(f"--source {source!r}: run {run.run_id} has {', '.join(names)}")
    for number, path in run.part_paths():
        if source is None or names[number] == source:
            part = pq.read_table(path, filters=[("row", "==", row)])
            found += [(number, part)] if part.num_rows else []
    if not found:
        raise UserError(f"--row {row}: run {run.run_id} has no such row; rows are numbered as in its report")
    if len(found) > 1:
        raise UserError(f"--row {row}: several files of this run have one; say which: --source {names[found[0][0]]}")
    return found[0]


def _cells(part: pa.Table, columns: list[str]) -> dict[str, str]:
    """The cells under their headers; a row that does not fit the header has them numbered."""
    ragged = part["ragged"][0].as_py()
    if ragged is not None:
        return {str(at): cell for at, cell in enumerate(ragged, 1)}
    return {name: part[report.CELL.format(at)][0].as_py() or "" for at, name in enumerate(columns)}


def _only_request(told: Mapping[str, Any]) -> list[Request]:
    """The request of a row that ended with its first: its outcome says all of it."""
    if told["first_sent_at"] is None:
        return []
    sent_at = int(told["first_sent_at"].timestamp() * 1_000_000)
    said = (told["code"], told["http_status"], told["reply"], told["latency_ms"])
    return [Request(told["operation"], sent_at, *said)]


def _shown(request: Request) -> dict[str, Any]:
    return asdict(request) | {"sent_at": datetime.fromtimestamp(request.sent_at / 1e6, UTC)}
