"""What is measured: each part runs some programs and gives figures beside their targets."""

from __future__ import annotations

import json
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from measure import HERE, Cost, answering_server, fast_server
from programs import CONCURRENCY, LEADS, READ_CSV, READ_XLSX, Programs


@dataclass(frozen=True, slots=True)
class Size:
    """How many rows of each."""

    sent: int
    by_peers: int
    slowly: int  # to a server that takes its time
    limited: int  # under a cap
    checked: int
    sheet: int
    journal: int


FULL = Size(200_000, 20_000, 6_400, 400, 1_000_000, 300_000, 50_000)
QUICK = Size(2_000, 1_000, 640, 150, 5_000, 2_000, 2_000)


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


def sending(programs: Programs, size: Size) -> Iterator[Finding]:
    """A whole load beside the script that people write, beside dlt, and beside aiohttp with forms that are ready."""
    with tempfile.TemporaryDirectory(prefix="leads-nginx-") as folder, fast_server(Path(folder)) as url:
        load = programs.load(size.sent, url)
        bare = programs.bare(size.sent // 2, url)
        two = programs.load(size.sent, url, "--workers", "2", "--concurrency", str(2 * CONCURRENCY))
        script = programs.peer("script.py", size.by_peers, url)
        dlt = programs.peer("dlt_destination.py", size.by_peers, url)
    costs = {"load": (load, size.sent), "bare aiohttp": (bare, size.sent // 2)}
    costs |= {"script.py": (script, size.by_peers), "dlt": (dlt, size.by_peers)}
    for name, (cost, rows) in costs.items():
        micros = cost.processor_seconds / rows * 1e6
        print(f"{name}: {micros:,.0f} µs of processor a row, {_speed(cost, rows):,.0f} a second")
    print(f"load --workers 2: {_speed(two, size.sent):,.0f} a second")
    ratio = (load.processor_seconds / size.sent) / (script.processor_seconds / size.by_peers)
    fast = _speed(two, size.sent)
    yield Finding("processor time a row, load / script.py", ratio, 1 / 8, 1 / 6)
    yield Finding(
        "rows a second, load --workers 2 / script.py", fast / _speed(script, size.by_peers), 8, 6, at_least=True
    )
    yield Finding("rows a second, load --workers 2 / dlt", fast / _speed(dlt, size.by_peers), 12, 8, at_least=True)
    ratio = load.processor_seconds / size.sent / (bare.processor_seconds / (size.sent // 2))
    yield Finding("processor time a row, load / bare aiohttp", ratio, 2, 2.67)


def _speed(cost: Cost, rows: int) -> float:
    return rows / cost.wall_seconds


def waiting(programs: Programs, size: Size) -> Iterator[Finding]:
    """A vendor that takes 200 ms: its answers are the limit."""
    with answering_server(0.2) as url:
        programs.load(size.slowly, url, "--concurrency", "64")
        arrived = _arrivals(url)
    possible = (64 / 0.2) * (arrived[-1] - arrived[0])
    share = len(arrived) / (possible + 64)
    yield Finding("200 ms answers, 64 connections: share of 320 rows/s", share, 0.97, 0.9, at_least=True)


def limited(programs: Programs, size: Size) -> Iterator[Finding]:
    """A cap of 50 calls a second, with a burst of 5: of one process, and of several together."""
    for workers in (0, 1, 2, 4):
        with answering_server() as url:
            programs.load(size.limited, url, "--rate", "50", *(("--workers", str(workers)) if workers else ()))
            arrived = _arrivals(url)
        rate = (len(arrived) - 5) / (arrived[-1] - arrived[0]) / 50
        within = 0.02 if workers else 0.01
        name = f"--rate 50{f' --workers {workers}' if workers else ''}"
        yield Finding(f"{name}: long-run rate / 50", rate, 1 + within, 1.05)
        yield Finding(f"{name}: the same, at least", rate, 1 - within, 0.95, at_least=True)
        yield Finding(f"{name}: most calls within any second", _most_within_a_second(arrived), 55, 60)


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


def checking(programs: Programs, size: Size) -> Iterator[Finding]:
    """A check beside pyarrow, which merely reads; and its memory."""
    once = programs.check(size.checked)
    reading = min(programs.seconds(READ_CSV, programs.csv(size.checked)) for _ in range(3))
    five_times = programs.check(5 * size.checked)
    seconds, peak = once.processor_seconds, once.peak_bytes / 2**20
    print(f"check of {size.checked:,} rows: {seconds:.1f} s, {peak:,.0f} MiB; pyarrow reads: {reading:.2f} s")
    yield Finding("check, processor time / pyarrow.csv.read_csv", seconds / reading, 10, 48)
    yield Finding("check, MB at most", once.peak_bytes / 1e6, 400, 533)
    yield _memory("check", once, five_times, 4 * size.checked)


def loading(programs: Programs, size: Size) -> Iterator[Finding]:
    """Memory of a load of as many rows as are checked, and of five times as many: half an hour."""
    with tempfile.TemporaryDirectory(prefix="leads-nginx-") as folder, fast_server(Path(folder)) as url:
        few, many = programs.load(size.checked, url), programs.load(5 * size.checked, url)
    print(f"load: {few.peak_bytes / 1e6:,.0f} MB; of {5 * size.checked:,} rows: {many.peak_bytes / 1e6:,.0f} MB")
    yield _memory("load", few, many, 4 * size.checked)


def _memory(name: str, few: Cost, many: Cost, more_rows: int) -> Finding:
    grown = (many.peak_bytes - 16 * more_rows) / few.peak_bytes
    return Finding(f"{name}, memory beyond 16 bytes a row, five times the rows", grown, 1.1, 1.5)


def several(programs: Programs, size: Size) -> Iterator[Finding]:
    """A check by two workers beside one process, their start included."""
    rows = 2 * size.checked
    alone, together = programs.check(rows), programs.check(rows, "--workers", "2")
    ratio = alone.wall_seconds / together.wall_seconds
    yield Finding("check, one process / two workers, wall time", ratio, 1.4, 1, at_least=True)


def spreadsheets(programs: Programs, size: Size) -> Iterator[Finding]:
    """A workbook beside calamine, which merely reads: `mapping check` inspects it and nothing else."""
    path = programs.xlsx(size.sheet)
    called = [str(LEADS), "mapping", "check", str(programs.mapping), str(path)]
    ours = programs.run("mapping check xlsx", size.sheet, called)
    reading = min(programs.seconds(READ_XLSX, path) for _ in range(2))
    yield Finding("xlsx read, processor time / calamine", ours.processor_seconds / reading, 1.5, 2)


def journal(programs: Programs, size: Size) -> Iterator[Finding]:
    """Two durable writes a row."""
    cost = programs.run("journal", size.journal, [sys.executable, str(HERE / "journal.py"), str(size.journal)])
    # No ratio: the same code has taken 21 and 32 on one machine, whose pace changed.
    yield Finding("journal, processor µs a row", float(cost.output), 20, 43)


def starting(programs: Programs, _size: Size) -> Iterator[Finding]:
    """From the shell's return key to the prompt."""
    programs.check(1)
    called = {
        "leads --help": ["--help"],
        "leads show": ["show", "--runs", str(programs.runs), max(programs.runs.glob("*")).name],
    }
    for (name, arguments), target in zip(called.items(), (0.25, 0.6), strict=True):
        seconds = min(programs.run(name, 0, [str(LEADS), *arguments]).wall_seconds for _ in range(3))
        yield Finding(f"{name}, seconds", seconds, target, 4 / 3 * target)


PARTS = (sending, waiting, limited, checking, several, spreadsheets, journal, starting)
LONG = (loading,)
