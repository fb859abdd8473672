"""What `leads` costs: `make bench`.

Processor time per row of `leads load` beside the script that people write today (script.py), on the same rows and
against the same server, which answers at once; and peak memory of `leads check` and `leads load` at two sizes.
Exits 1 where a target is missed. `--quick` runs everything on few rows and judges nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from invented import MAPPING, write_csv
from measure import HERE, Cost, answering_server, run

LEADS = Path(sys.executable).with_name("leads")
CONCURRENCY = 32
PROCESSOR_SHARE_AT_MOST = 1 / 3  # of the script's processor time per row
MEMORY_RATIO_AT_MOST = 1.20
PATH = "InjectLead.php"


@dataclass(frozen=True, slots=True)
class Size:
    """How many rows and how often."""

    sent_rows: int
    rounds: int
    few_rows: int  # for memory, against
    many_rows: int


FULL = Size(sent_rows=20_000, rounds=2, few_rows=30_000, many_rows=300_000)
QUICK = Size(sent_rows=2_000, rounds=1, few_rows=2_000, many_rows=6_000)


@dataclass(frozen=True, slots=True)
class Finding:
    """One figure against its target."""

    name: str
    ratio: float
    at_most: float

    @property
    def met(self) -> bool:
        """Whether the target is met."""
        return self.ratio <= self.at_most


class Bench:
    """The programs, run in a temporary folder against one server."""

    def __init__(self, folder: Path, base_url: str) -> None:
        self._folder, self._base_url = folder, base_url
        self._environment = _environment(base_url)
        self._runs = 0
        self._mapping = folder / "mapping.toml"
        self._mapping.write_text(MAPPING, encoding="utf-8")

    def leads(self, command: str, rows: int, *options: str) -> Cost:
        """`leads check` or `leads load` of `rows` rows, with new state. Raises RuntimeError where a row is left out."""
        self._runs += 1
        state = f"sqlite:///{self._folder / f'state-{self._runs}.db'}"
        common = ["--state", state, "--runs", f"runs-{self._runs}", "--quiet", "--json"]
        called = [str(LEADS), command, str(self._csv(rows)), "-m", str(self._mapping), *options, *common]
        cost = self._run(f"leads {command}", rows, called)
        counts = json.loads(cost.output)["counts"]
        if counts != {"accepted" if command == "load" else "valid": rows}:
            raise RuntimeError(f"leads {command} of {rows} rows: {counts}")
        return cost

    def load(self, rows: int) -> Cost:
        """`leads load` as fast as it goes."""
        return self.leads("load", rows, "--rate", "0", "--concurrency", str(CONCURRENCY))

    def script(self, rows: int, *, session: bool = False) -> Cost:
        """The script on `rows` rows; with `session`, over kept connections."""
        called = [sys.executable, str(HERE / "script.py"), str(self._csv(rows)), self._base_url + PATH]
        environment = {"SCRIPT_SESSION": "1"} if session else {}
        cost = self._run("script.py", rows, called, environment)
        if cost.output.strip() != f"ok {rows} other 0":
            raise RuntimeError(f"script.py of {rows} rows: {cost.output}")
        return cost

    def _csv(self, rows: int) -> Path:
        path = self._folder / f"leads-{rows}.csv"
        if not path.exists():
            write_csv(path, rows)
        return path

    def _run(self, name: str, rows: int, command: list[str], environment: Mapping[str, str] | None = None) -> Cost:
        cost = run(command, folder=self._folder, environment=self._environment | dict(environment or {}))
        print(f"  {name}, {rows:,} rows: {cost.wall_seconds:.1f} s", file=sys.stderr, flush=True)
        return cost


def _environment(base_url: str) -> dict[str, str]:
    """This process's own, with invented credentials; no proxies, and nobody's settings."""
    kept = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    kept = {k: v for k, v in kept.items() if not k.startswith(("LEADS_", "DIALEDIN_", "DIALOGTECH_", "SCRIPT_"))}
    return kept | {"DIALEDIN_TOKEN": "invented", "DIALEDIN_ACCID": "bench", "DIALEDIN_BASE_URL": base_url}


def compare_sending(bench: Bench, size: Size) -> Finding:
    """`leads load` beside the script, taken in turns; the least of each, since other work on a machine only adds."""
    rows = size.sent_rows
    loads, scripts = [], []
    for _ in range(size.rounds):
        loads.append(bench.load(rows))
        scripts.append(bench.script(rows))
    kept = bench.script(rows, session=True)
    print(f"\n{rows:,} rows to a server that answers at once {'rows/s':>14}{'processor µs/row':>20}")
    _print_sending(f"leads load, {CONCURRENCY} connections", loads, rows)
    _print_sending("script.py, requests.post, 15 threads", scripts, rows)
    _print_sending("script.py with sessions (for information)", [kept], rows)
    share = _processor(loads) / _processor(scripts)
    return Finding("processor time, leads load / script.py", share, PROCESSOR_SHARE_AT_MOST)


def _processor(costs: list[Cost]) -> float:
    return min(cost.processor_seconds for cost in costs)


def _print_sending(name: str, costs: list[Cost], rows: int) -> None:
    per_second = rows / min(cost.wall_seconds for cost in costs)
    print(f"{name:<46}{per_second:>14,.0f}{_processor(costs) / rows * 1e6:>20,.0f}")


def compare_memory(bench: Bench, size: Size) -> list[Finding]:
    """Peak memory of `leads check` and `leads load` at both sizes."""
    check = (bench.leads("check", size.few_rows), bench.leads("check", size.many_rows))
    load = (bench.load(size.few_rows), bench.load(size.many_rows))
    print(f"\npeak memory, MiB {f'{size.few_rows:,} rows':>43}{f'{size.many_rows:,} rows':>20}")
    found = []
    for name, (few, many) in (("leads check", check), ("leads load", load)):
        print(f"{name:<40}{few.peak_bytes / 2**20:>20,.0f}{many.peak_bytes / 2**20:>20,.0f}")
        found.append(Finding(f"memory, {name}", many.peak_bytes / few.peak_bytes, MEMORY_RATIO_AT_MOST))
    return found


def print_findings(findings: list[Finding], *, judged: bool) -> None:
    """The ratios against their targets."""
    print(f"\n{'ratio':<46}{'':>14}{'target':>12}")
    for finding in findings:
        verdict = ("met" if finding.met else "MISSED") if judged else "not judged"
        print(f"{finding.name:<46}{finding.ratio:>14.2f}{f'≤ {finding.at_most:.2f}':>12}  {verdict}")


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rows, nothing judged")
    quick = parser.parse_args().quick
    size = QUICK if quick else FULL
    with tempfile.TemporaryDirectory(prefix="leads-bench-") as folder, answering_server() as base_url:
        bench = Bench(Path(folder), base_url)
        findings = [compare_sending(bench, size), *compare_memory(bench, size)]
    print_findings(findings, judged=not quick)
    return int(not quick and not all(finding.met for finding in findings))


if __name__ == "__main__":
    sys.exit(main())
