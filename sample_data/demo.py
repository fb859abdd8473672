"""`make demo`: starts a DialedIn simulator, loads the sample lists into it, and shows what came of every row."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / ".demo"
LEADS = Path(sys.executable).with_name("leads")
RUNS = (
    "check sample_data/leads_dirty.csv -m generic",
    "load sample_data/leads.csv -m generic",
    "load sample_data/leads_dirty.csv -m generic",
    "load sample_data/leads.xlsx -m sample_data/workbook.toml",
    "load sample_data/updates.csv -m update_by_clientid",
    "runs",
)


def main() -> None:
    """Runs the demo; everything it writes is under .demo/."""
    shutil.rmtree(DEMO, ignore_errors=True)
    DEMO.mkdir()
    with simulator() as account:
        environment = {**os.environ, **account, "LEADS_RUNS": ".demo/runs", "LEADS_STATE": "sqlite:///.demo/state.db"}
        for command in RUNS:
            print(f"\n$ leads {command}", flush=True)
            done = subprocess.run([LEADS, *shlex.split(command)], env=environment, cwd=ROOT, check=False)
            if done.returncode not in (0, 1):  # 1: some rows were refused, as they should be
                sys.exit(done.returncode)
    show_report()


@contextlib.contextmanager
def simulator() -> Iterator[dict[str, str]]:
    """A sandbox on a free port; yields the environment that points to it."""
    command = [LEADS, "sandbox", "--port", "0", "--data", DEMO / "sandbox.db"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        exports = [process.stdout.readline() for _ in range(3)]
        try:
            yield dict(line.removeprefix("export ").strip().split("=", 1) for line in exports)
        finally:
            process.terminate()


def show_report() -> None:
    """The last workbook's report, as any Parquet reader sees it."""
    report = max((DEMO / "runs").glob("*-leads-*/results.parquet"))
    print(f"\n$ {report.relative_to(ROOT)}")
    columns = ["row", "status", "code", "phone", "client_id", "message"]
    print(pq.read_table(report, columns=columns).to_pandas().fillna("").to_string(index=False))


if __name__ == "__main__":
    main()
