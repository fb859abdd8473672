"""What `leads` costs: `make bench`.

Each figure stands against its target, as a ratio in one run where it can be: this machine and the next differ.
Processor time is user and system time of the whole process. `docs/performance.md` says where it goes, and which targets
are not met. Exits 1 where a figure is worse than its bound: the target, or for one that is not met the figure of
docs/performance.md and a third. `--quick` runs everything on few rows and judges nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from invented import MAPPING, write_csv, write_xlsx
from measure import HERE, Cost, answering_server, fast_server, run

LEADS = Path(sys.executable).with_name("leads")
CONCURRENCY = 32
PATH = "InjectLead.php"

# Child programs that do one thing, and print the processor seconds that it took without their imports.
_TIMED = "import sys, time\n{imports}\nstarted = time.process_time()\n{work}\nprint(time.process_time() - started)"
READ_CSV = _TIMED.format(imports="import pyarrow.csv", work="pyarrow.csv.read_csv(sys.argv[1])")
READ_XLSX = _TIMED.format(
    imports="from python_calamine import CalamineWorkbook",
    work="for row in CalamineWorkbook.from_path(sys.argv[1]).get_sheet_by_index(0).iter_rows(): pass",
)


@dataclass(frozen=True, slots=True)
class Size:
    """How many rows of each."""

    sent: int
    by_script: int
    slowly: int  # to a server that takes its time
    limited: int  # under a cap
    checked: int
    few: int  # for memory, a fifth of which
    sheet: int
    journal: int


FULL = Size(100_000, 10_000, 6_400, 750, 1_000_000, 200_000, 300_000, 50_000)
QUICK = Size(2_000, 1_000, 640, 150, 5_000, 5_000, 2_000, 2_000)


@dataclass(frozen=True, slots=True)
class Finding:
    """One figure, its target, and the bound beyond which something has become worse."""

    name: str
    figure: float
    target: float
    bound: float | None = None  # None: the target
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether the target is met."""
        return self._is_within(self.target)

    @property
    def holds(self) -> bool:
        """Whether nothing has become worse."""
        return self._is_within(self.target if self.bound is None else self.bound)

    def _is_within(self, limit: float) -> bool:
        return self.figure >= limit if self.at_least else self.figure <= limit


class Bench:
    """The programs, run in a temporary folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._runs = 0
        self.mapping = folder / "mapping.toml"
        self.mapping.write_text(MAPPING, encoding="utf-8")

    def leads(self, command: str, file: Path, rows: int, *options: str, url: str = "") -> Cost:
        """`leads check` or `leads load` of a file, with new state. Raises RuntimeError where a row is left out."""
        self._runs += 1
        state = f"sqlite:///{self._folder / f'state-{self._runs}.db'}"
        common = ["--state", state, "--runs", str(self.runs), "--quiet", "--json"]
        called = [str(LEADS), command, str(file), "-m", str(self.mapping), *options, *common]
        cost = self.run(f"leads {command}", rows, called, url=url)
        counts = json.loads(cost.output)["counts"]
        if counts != {"accepted" if command == "load" else "valid": rows}:
            raise RuntimeError(f"leads {command} of {rows} rows: {counts}")
        return cost

    def load(self, rows: int, url: str, *options: str) -> Cost:
        """`leads load` as fast as it goes, unless `options` say otherwise."""
        fast = ("--rate", "0", "--concurrency", str(CONCURRENCY))
        return self.leads("load", self.csv(rows), rows, *fast, *options, url=url)

    def script(self, rows: int, url: str) -> Cost:
        """The script on `rows` rows."""
        called = [sys.executable, str(HERE / "script.py"), str(self.csv(rows)), url + PATH]
        cost = self.run("script.py", rows, called)
        if cost.output.strip() != f"ok {rows} other 0":
            raise RuntimeError(f"script.py of {rows} rows: {cost.output}")
        return cost

    def bare(self, rows: int, url: str) -> Cost:
        """aiohttp alone, with the forms that the last load has made."""
        bodies = self._folder / "bodies.txt"
        self.run("bodies", rows, [sys.executable, "-c", _BODIES, str(max(self.runs.glob("*"))), str(bodies)])
        cost = self.run("bare.py", rows, [sys.executable, str(HERE / "bare.py"), str(bodies), url + PATH])
        if cost.output.strip() != str(rows):
            raise RuntimeError(f"bare.py of {rows} rows: {cost.output}")
        return cost

    def seconds(self, program: str, *arguments: object) -> float:
        """What a child program prints."""
        return float(self.run("alone", 0, [sys.executable, "-c", program, *map(str, arguments)]).output)

    @property
    def runs(self) -> Path:
        """The folder of runs."""
        return self._folder / f"runs-{self._runs}"

    def csv(self, rows: int) -> Path:
        """A list with so many leads."""
        return self._made(self._folder / f"leads-{rows}.csv", rows, write_csv)

    def xlsx(self, rows: int) -> Path:
        """The same as a workbook."""
        return self._made(self._folder / f"leads-{rows}.xlsx", rows, write_xlsx)

    def _made(self, path: Path, rows: int, write: Callable[[Path, int], None]) -> Path:
        if not path.exists():
            write(path, rows)
        return path

    def run(self, name: str, rows: int, command: list[str], *, url: str = "") -> Cost:
        """What a program cost; a line about it goes to stderr."""
        cost = run(command, folder=self._folder, environment=_environment(url))
        print(f"  {name} {f'{rows:,} rows' if rows else ''}: {cost.wall_seconds:.1f} s", file=sys.stderr, flush=True)
        return cost


_BODIES = """
import sys, pathlib, pyarrow.parquet as pq
with open(sys.argv[2], "w") as file:
    for part in sorted(pathlib.Path(sys.argv[1]).glob("parts/*.parquet")):
        for body in pq.read_table(part, columns=["payload"])["payload"].to_pylist():
            file.write(body + "&token=invented&accid=bench\\n")
"""


def _environment(base_url: str) -> dict[str, str]:
    """This process's own, with invented credentials; no proxies, and nobody's settings."""
    kept = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    kept = {k: v for k, v in kept.items() if not k.startswith(("LEADS_", "DIALEDIN_", "DIALOGTECH_"))}
    return kept | {"DIALEDIN_TOKEN": "invented", "DIALEDIN_ACCID": "bench", "DIALEDIN_BASE_URL": base_url}


def sending(bench: Bench, size: Size) -> Iterator[Finding]:
    """A whole load beside the script that people write, and beside aiohttp with forms that are ready."""
    with tempfile.TemporaryDirectory(prefix="leads-nginx-") as folder, fast_server(Path(folder)) as url:
        load = bench.load(size.sent, url)
        bare = bench.bare(size.sent, url)
        script = bench.script(size.by_script, url)
    ours, theirs = load.processor_seconds / size.sent, script.processor_seconds / size.by_script
    alone = bare.processor_seconds / size.sent
    print(f"processor µs a row: load {ours * 1e6:,.0f}, script.py {theirs * 1e6:,.0f}, bare aiohttp {alone * 1e6:,.0f}")
    print(f"rows a second: load {1 / _per(load, size.sent):,.0f}, script.py {1 / _per(script, size.by_script):,.0f}")
    yield Finding("processor time a row, leads load / script.py", ours / theirs, 1 / 8, 0.25)
    yield Finding(
        "wall time a row, script.py / leads load, one process",
        _per(script, size.by_script) / _per(load, size.sent),
        8,
        3.6,
        at_least=True,
    )
    yield Finding("processor time, leads load / bare aiohttp", load.processor_seconds / bare.processor_seconds, 2, 3)


def _per(cost: Cost, rows: int) -> float:
    return cost.wall_seconds / rows


def waiting(bench: Bench, size: Size) -> Iterator[Finding]:
    """A vendor that takes 200 ms: its answers are the limit."""
    with answering_server(0.2) as url:
        bench.load(size.slowly, url, "--concurrency", "64")
        arrived = _arrivals(url)
    possible = (64 / 0.2) * (arrived[-1] - arrived[0])
    yield Finding(
        "200 ms answers, 64 connections: share of 320 rows/s", len(arrived) / (possible + 64), 0.97, at_least=True
    )


def limited(bench: Bench, size: Size) -> Iterator[Finding]:
    """A cap of 50 calls a second, with a burst of 5."""
    with answering_server() as url:
        bench.load(size.limited, url, "--rate", "50")
        arrived = _arrivals(url)
    rate = (len(arrived) - 5) / (arrived[-1] - arrived[0])
    yield Finding("--rate 50: long-run rate / 50", rate / 50, 1.01, at_least=False)
    yield Finding("--rate 50: the same, at least", rate / 50, 0.99, at_least=True)
    yield Finding("--rate 50: most calls within any second", _most_within_a_second(arrived), 55)


def _arrivals(url: str) -> list[float]:
    with urllib.request.urlopen(f"{url}arrivals") as answered:
        found: list[float] = json.load(answered)
    return found


def _most_within_a_second(arrived: list[float]) -> int:
    first, most = 0, 0
    for at, moment in enumerate(arrived):
        while moment - arrived[first] >= 1:
            first += 1
        most = max(most, at - first + 1)
    return most


def checking(bench: Bench, size: Size) -> Iterator[Finding]:
    """A check beside pyarrow, which merely reads; and its memory."""
    few = bench.leads("check", bench.csv(size.few), size.few)
    many = bench.leads("check", bench.csv(size.checked), size.checked)
    reading = min(bench.seconds(READ_CSV, bench.csv(size.checked)) for _ in range(3))
    seconds, peak = many.processor_seconds, many.peak_bytes / 2**20
    print(f"check of {size.checked:,} rows: {seconds:.1f} s, {peak:,.0f} MiB; pyarrow reads: {reading:.1f} s")
    yield Finding("check, processor time / pyarrow.csv.read_csv", seconds / reading, 10, 40)
    yield Finding("check, MiB at most", peak, 400)
    allowed = 16 * (size.checked - size.few)
    yield Finding(
        "check, memory beyond 16 bytes a row, five times the rows", (many.peak_bytes - allowed) / few.peak_bytes, 1.1
    )


def loading(bench: Bench, size: Size) -> Iterator[Finding]:
    """Memory of a load at two sizes."""
    with tempfile.TemporaryDirectory(prefix="leads-nginx-") as folder, fast_server(Path(folder)) as url:
        few, many = bench.load(size.sent // 5, url), bench.load(size.sent, url)
    allowed = 16 * (size.sent - size.sent // 5)
    yield Finding(
        "load, memory beyond 16 bytes a row, five times the rows",
        (many.peak_bytes - allowed) / few.peak_bytes,
        1.1,
        1.2,
    )


def spreadsheets(bench: Bench, size: Size) -> Iterator[Finding]:
    """A workbook beside calamine, which merely reads: `mapping check` inspects it and nothing else."""
    path = bench.xlsx(size.sheet)
    called = [str(LEADS), "mapping", "check", str(bench.mapping), str(path)]
    ours = bench.run("mapping check xlsx", size.sheet, called)
    reading = min(bench.seconds(READ_XLSX, path) for _ in range(2))
    yield Finding("xlsx read, processor time / calamine", ours.processor_seconds / reading, 1.5, 4)


def journal(bench: Bench, size: Size) -> Iterator[Finding]:
    """Two durable writes a row."""
    cost = bench.run("journal", size.journal, [sys.executable, str(HERE / "journal.py"), str(size.journal)])
    yield Finding("journal, processor µs a row", float(cost.output), 20, 45)


def starting(bench: Bench, _size: Size) -> Iterator[Finding]:
    """From the shell's return key to the prompt."""
    called = {
        "leads --help": ["--help"],
        "leads show": ["show", "--runs", str(bench.runs), max(bench.runs.glob("*")).name],
    }
    for (name, arguments), target in zip(called.items(), (0.25, 0.6), strict=True):
        seconds = min(bench.run(name, 0, [str(LEADS), *arguments]).wall_seconds for _ in range(3))
        yield Finding(f"{name}, seconds", seconds, target, 2 * target)


PARTS = (sending, waiting, limited, checking, loading, spreadsheets, journal, starting)


def print_findings(findings: list[Finding], *, judged: bool) -> None:
    """The figures against their targets."""
    print(f"\n{'':<62}{'':>8}{'target':>12}")
    for finding in findings:
        verdict = "" if not judged else "met" if finding.met else "missed" if finding.holds else "WORSE"
        sign = "≥" if finding.at_least else "≤"
        print(f"{finding.name:<62}{finding.figure:>8.2f}{f'{sign} {finding.target:.3g}':>12}  {verdict}")


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rows, nothing judged")
    parser.add_argument("parts", nargs="*", help=f"some of: {', '.join(part.__name__ for part in PARTS)}")
    asked = parser.parse_args()
    size = QUICK if asked.quick else FULL
    with tempfile.TemporaryDirectory(prefix="leads-bench-") as folder:
        bench = Bench(Path(folder))
        parts = [part for part in PARTS if not asked.parts or part.__name__ in asked.parts]
        findings = [finding for part in parts for finding in part(bench, size)]
    print_findings(findings, judged=not asked.quick)
    return int(not asked.quick and not all(finding.holds for finding in findings))


if __name__ == "__main__":
    sys.exit(main())
