"""Runs whose rows are sent by several workers: nothing differs from one process but who sends what."""

from __future__ import annotations

import contextlib
import json
import random
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import distributed
import pytest
from conftest import BOTH, TOKEN, Account, Leads, RawVendor, Result, http_reply, phone, write, write_csv

WORKERS = 3
QUICKLY = {"LEADS_SETTLE": "0.05", "LEADS_TIMEOUT": "5", "LEADS_RATE": "0"}
TIMES = ("run_id", "first_sent_at", "settled_at", "latency_ms")


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """A scheduler with three workers, which are threads of this process; its address."""
    given = {"threads_per_worker": 1, "processes": False, "protocol": "tcp", "host": "127.0.0.1"}
    with (
        dask.config.set({"distributed.worker.profile.enabled": False}),
        distributed.LocalCluster(n_workers=WORKERS, dashboard_address=None, silence_logs=60, **given) as cluster,
    ):
        yield cluster.scheduler_address


# --- The same report ---


class Vendor:
    """Answers by what it is asked, whoever asks: one lead in three goes wrong in one of several ways."""

    def __init__(self) -> None:
        self.stored: dict[str, str] = {}  # ClientId → phone
        self.asked: Counter[str] = Counter()
        self._one_at_a_time = threading.Lock()

    def answer(self, form: dict[str, str]) -> bytes:
        with self._one_at_a_time:
            return self._found(form["Identifier"]) if "Identifier" in form else self._insert(form)

    def _found(self, client_id: str) -> bytes:
        leads = [{"ClientId": client_id, "PrimaryPhone": self.stored[client_id]}] if client_id in self.stored else []
        return http_reply(json.dumps({"Leads": leads}))

    def _insert(self, form: dict[str, str]) -> bytes:
        number, client_id = form["PrimaryPhone"], form["ClientId"]
        self.asked[client_id] += 1
        kind = int(number[-1])
        if kind == 1:
            return http_reply("<br><br>Result: CURL error[500]: Campaign does not exist.")
        if kind == 2 and self.asked[client_id] == 1:
            return http_reply("slow down", "429 Too Many Requests", "Retry-After: 0\r\n")
        if kind == 3 and self.asked[client_id] == 1:
            return b""  # not stored, and nobody says so
        self.stored[client_id] = number
        return b"" if kind == 4 and self.asked[client_id] == 1 else http_reply("<br><br>Result: OK")


def told(ended: Result) -> list[dict[str, Any]]:
    """The report, but for when, and for what runs are called."""
    kept = [{name: value for name, value in row.items() if name not in TIMES} for row in ended.rows]
    return [row | {"message": re.sub(r"run \S+", "run", row["message"] or "")} for row in kept]


MAPPING = """
operation = "InsertLead"
unmapped = "ignore"
[fields]
PrimaryPhone = "Phone"
FirstName = "Name"
Campaign = {{ value = "Demo" }}
DuplicatesCheck = {{ value = "1" }}
{client_id}
[policy]
duplicates_in_file = "{repeats}"
"""


@pytest.mark.parametrize("seed", range(4))
def test_the_report_of_several_workers_is_that_of_one_process(
    leads: Leads, home: Path, raw_vendor: Callable[..., RawVendor], scheduler: str, seed: int
) -> None:
    """Row by row, also where it is loaded again, and with --again; the vendor has the same leads."""
    rng = random.Random(seed)
    numbers = [rng.randrange(26) for _ in range(rng.choice([1, 12, 30]))]
    has_ids, repeats, limit = seed % 2 == 0, rng.choice(["first", "last", "keep"]), rng.choice([None, 0, 3, 7])
    rows = [[phone(n), f"N{at}", f"C{n}"] for at, n in enumerate(numbers)]
    write_csv(home / "l.csv", [["Phone", "Name", "Id"], *rows])
    mapped = 'ClientId = "Id"' if has_ids else ""
    write(home / "m.toml", MAPPING.format(client_id=mapped, repeats=repeats))
    server = raw_vendor(lambda form: vendor.answer(form))
    seen = []
    for shared in ([], *(["--scheduler", scheduler, "--concurrency", str(count)] for count in (1, 2, 3))):
        vendor = Vendor()
        env = {**server.env, **QUICKLY, "LEADS_STATE": f"sqlite:///{home}/{len(seen)}.db"}
        limited = [] if limit is None else ["--limit", str(limit)]
        first = leads("load", "l.csv", "-m", "m.toml", "--max-errors", "100%", "--json", *limited, *shared, env=env)
        again = leads("load", "l.csv", "-m", "m.toml", "--max-errors", "100%", "--json", *shared, env=env)
        once_more = leads("load", "l.csv", "-m", "m.toml", "--again", "--limit", "2", "--json", *shared, env=env)
        reports = [(ended.code, told(ended)) for ended in (first, again, once_more)]
        seen.append((reports, vendor.stored, vendor.asked))
    for one in seen[1:]:
        assert one == seen[0]
