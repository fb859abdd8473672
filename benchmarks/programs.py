"""The programs that are measured, run in a temporary folder with invented lists."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from invented import MAPPING, write_csv, write_xlsx
from measure import HERE, Cost, run

LEADS = Path(sys.executable).with_name("leads")
PEERS = HERE.parent / ".peers" / "bin" / "python"  # `make peers` makes it
CONCURRENCY = 64  # calls under way, in each process
PATH = "InjectLead.php"

# Child programs that do one thing, and print the processor seconds that it took without their imports.
_TIMED = "import sys, time\n{imports}\nstarted = time.process_time()\n{work}\nprint(time.process_time() - started)"
READ_CSV = _TIMED.format(imports="import pyarrow.csv", work="pyarrow.csv.read_csv(sys.argv[1])")
READ_XLSX = _TIMED.format(
    imports="from python_calamine import CalamineWorkbook",
    work="for row in CalamineWorkbook.from_path(sys.argv[1]).get_sheet_by_index(0).iter_rows(): pass",
)
_BODIES = """
import itertools, sys, pathlib, pyarrow.parquet as pq
parts = sorted(pathlib.Path(sys.argv[1]).glob("parts/*.parquet"))
bodies = (body for part in parts for body in pq.read_table(part, columns=["payload"])["payload"].to_pylist())
with open(sys.argv[2], "w") as file:
    for body in itertools.islice(bodies, int(sys.argv[3])):
        file.write(body + "&token=invented&accid=bench\\n")
"""


class Programs:
    """`leads` and its peers, in a temporary folder with lists of their own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._runs = 0
        self._lists: list[int] = []  # how many rows the lists have that were made
        self.mapping = folder / "mapping.toml"
        self.mapping.write_text(MAPPING, encoding="utf-8")

    def check(self, rows: int, *options: str) -> Cost:
        """`leads check` of a list."""
        return self._leads("check", rows, *options)

    def load(self, rows: int, url: str, *options: str) -> Cost:
        """`leads load` of a list as fast as it goes, unless `options` say otherwise."""
        fast = ("--rate", "0", "--concurrency", str(CONCURRENCY))
        return self._leads("load", rows, *fast, *options, url=url)

    def _leads(self, command: str, rows: int, *options: str, url: str = "") -> Cost:
        """A command with new state, in place of the last one's. Raises RuntimeError where a row is left out."""
        shutil.rmtree(self.runs, ignore_errors=True)
        self._runs += 1
        state = f"sqlite:///{self._folder / f'state-{self._runs}.db'}"
        common = ["--state", state, "--runs", str(self.runs), "--quiet", "--json"]
        called = [str(LEADS), command, str(self.csv(rows)), "-m", str(self.mapping), *options, *common]
        cost = self.run(f"leads {' '.join((command, *options))}", rows, called, url=url)
        counts = json.loads(cost.output)["counts"]
        if counts != {"accepted" if command == "load" else "valid": rows}:
            raise RuntimeError(f"leads {command} of {rows} rows: {counts}")
        return cost

    def peer(self, name: str, rows: int, url: str) -> Cost:
        """A peer's way to send `rows` rows: script.py, or dlt_destination.py."""
        called = [str(PEERS), str(HERE / name), str(self.csv(rows)), url + PATH]
        cost = self.run(name, rows, called)
        if cost.output.strip() != f"ok {rows} other 0":
            raise RuntimeError(f"{name} of {rows} rows: {cost.output}")
        return cost

    def bare(self, rows: int, url: str) -> Cost:
        """aiohttp alone, with the first of the forms that the last load has made."""
        bodies = self._folder / "bodies.txt"
        made = [str(max(self.runs.glob("*"))), str(bodies), str(rows)]
        self.run("bodies", rows, [sys.executable, "-c", _BODIES, *made])
        cost = self.run("bare.py", rows, [str(PEERS), str(HERE / "bare.py"), str(bodies), url + PATH])
        if cost.output.strip() != str(rows):
            raise RuntimeError(f"bare.py of {rows} rows: {cost.output}")
        return cost

    def seconds(self, program: str, *arguments: object) -> float:
        """What a child program prints."""
        return float(self.run("alone", 0, [sys.executable, "-c", program, *map(str, arguments)]).output)

    @property
    def runs(self) -> Path:
        """The folder of the last run."""
        return self._folder / f"runs-{self._runs}"

    def csv(self, rows: int) -> Path:
        """A list with so many leads; a larger one begins as those before it."""
        return self._made(self._folder / f"leads-{rows}.csv", rows, self._write_csv)

    def _write_csv(self, path: Path, rows: int) -> None:
        shorter = max((made for made in self._lists if made < rows), default=None)
        if shorter is not None:
            shutil.copyfile(self.csv(shorter), path)
        write_csv(path, rows, shorter)
        self._lists.append(rows)

    def xlsx(self, rows: int) -> Path:
        """The same as a workbook."""
        return self._made(self._folder / f"leads-{rows}.xlsx", rows, write_xlsx)

    def _made(self, path: Path, rows: int, write: Callable[[Path, int], None]) -> Path:
        if not path.exists():
            write(path, rows)
            os.utime(path, (0, 0))  # a list that is new is looked at twice, with a pause
        return path

    def run(self, name: str, rows: int, command: list[str], *, url: str = "") -> Cost:
        """What a program cost; a line about it goes to stderr."""
        cost = run(command, folder=self._folder, environment=_environment(url))
        told = f"{cost.wall_seconds:.1f} s, {cost.processor_seconds:.1f} s of processor"
        print(f"  {name} {f'{rows:,} rows' if rows else ''}: {told}", file=sys.stderr, flush=True)
        return cost


def _environment(base_url: str) -> dict[str, str]:
    """This process's own, with invented credentials; no proxies, and nobody's settings."""
    kept = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    kept = {k: v for k, v in kept.items() if not k.startswith(("LEADS_", "DIALEDIN_", "DIALOGTECH_"))}
    return kept | {"DIALEDIN_TOKEN": "invented", "DIALEDIN_ACCID": "bench", "DIALEDIN_BASE_URL": base_url}
