"""The same list by dlt, into a custom destination that posts each row: `dlt_destination.py CSV URL`.

dlt's own HTTP client, which keeps its connections, and jobs of some hundred rows, so that its threads work side by
side. No validation, no rate; what was sent when a job fails is known, save for its last row. Prints how many rows were
answered with OK, and how many were not.
"""

from __future__ import annotations

import csv
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Before dlt reads its settings: no telemetry, and jobs small enough that all of its 20 threads have some.
os.environ |= {
    "RUNTIME__DLTHUB_TELEMETRY": "false",
    "RUNTIME__LOG_LEVEL": "ERROR",
    "NORMALIZE__DATA_WRITER__FILE_MAX_ITEMS": "500",
}

import dlt
from dlt.sources.helpers import requests
from script import TIMEOUT_SECONDS, form

_answers: Counter[bool] = Counter()


@dlt.resource(name="leads")
def leads(path: str) -> Iterator[dict[str, str]]:
    """The rows of the CSV at `path`."""
    with Path(path).open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


@dlt.destination(batch_size=1, naming_convention="direct", loader_file_format="typed-jsonl", name="dialedin")
def insert_lead(items: list[dict[str, Any]], _table: Any, url: str = dlt.config.value) -> None:
    """Posts one row: of a larger batch that fails, the rows before the failure would be sent twice."""
    (row,) = items
    reply = requests.post(url, data=form(row), timeout=TIMEOUT_SECONDS)
    _answers[reply.status_code == 200 and "OK" in reply.text] += 1


def main(path: str, url: str) -> None:
    """Sends every row of the CSV at `path`."""
    with tempfile.TemporaryDirectory(prefix="leads-dlt-") as folder:
        pipeline = dlt.pipeline("leads", pipelines_dir=folder, destination=insert_lead(url=url), dataset_name="leads")
        pipeline.run(leads(path))
    print(f"ok {_answers[True]} other {_answers[False]}")


if __name__ == "__main__":
    main(*sys.argv[1:])
