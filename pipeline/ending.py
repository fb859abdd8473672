"""How a run ends: its report, the rejected files, the summary, the exit code."""

from __future__ import annotations

import contextlib
import signal
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa

from pipeline import after, earlier, leases, lock, mapping, records, rejected, report, statedb
from pipeline.folder import RunFolder
from pipeline.job import StepEnd, Summary
from pipeline.model import STORED_DIFFERENTLY, DiskError, Held, Status, UserError
from pipeline.rejected import Written
from pipeline.sending import Sent

Look = Callable[[int, pa.Table], None]  # what sees a source's rows as they go into the report


@dataclass(frozen=True, slots=True)
class Ending:
    """What the report is joined with: what a valid row is that was never sent, and the journal if there is one."""

    unsent: Status
    state: sa.Engine | None = None
    sent: Sent | None = None
    held: Callable[[int, pa.Table], Sequence[Held]] | None = None  # what a load would hold back, of a source's part
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Reported:
    """What the report adds up to: rows by (status, code), changed cells by (rule, lossless)."""

    counts: Counter[tuple[str, str | None]]
    repairs: Counter[tuple[str, bool]]


def conclude(
    run: RunFolder, ending: Ending, reported: Reported, seconds: float, steps: Sequence[StepEnd] = ()
) -> Summary:
    """Writes the rejected files and the summary of a run whose report is written."""
    manifest = run.read_json("manifest.json")
    counts = reported.counts
    to_mend = _write_rejected(run, manifest)
    summary = Summary(
        run_id=run.run_id,
        command=manifest["command"],
        operation=manifest["operation"],
        target=manifest["to"],
        sources=[source["name"] for source in manifest["sources"]],
        rows_read=sum(counts.values()),
        **report.totals(counts, reported.repairs),
        report=str(run.results),
        rejected=[str(written.path) for written in to_mend],
        exit_code=exit_code([*counts, *((step.status, step.code) for step in steps)], ending.sent),
        seconds=round(seconds, 3),
        notes=[*manifest["notes"], *ending.notes, *(note for written in to_mend for note in written.notes)],
        halted=_why_ended(ending.sent),
        read_back=dict(ending.sent.read_back) if ending.sent else {},
        after=list(steps),
    )
    run.write_json("summary.json", asdict(summary))
    run.remove_kept()
    run.log("ended", exit_code=summary.exit_code, counts=summary.counts)
    return summary


def _why_ended(sent: Sent | None) -> str | None:
    if sent is None or not (sent.halt or sent.signal):
        return None
    return sent.halt.message if sent.halt else f"interrupted ({signal.Signals(sent.signal or 0).name})"


def rebuild(run: RunFolder, state_url: str) -> None:
    """Makes a run's report, rejected files and summary again, from its parts and the journal.

    Its journal is at `state_url`. How the run ended stays as it was told; one that did not come to its end counts as
    interrupted.
    """
    manifest = run.read_json("manifest.json")
    if not run.has_sent:
        raise UserError(f"run {run.run_id} ended before anything was sent: leads resume {run.run_id}")
    before: dict[str, Any] = {"exit_code": 130, "seconds": 0.0, "halted": None, "read_back": {}}
    if run.has_summary:
        with contextlib.suppress(DiskError):  # a damaged one is made again, too
            before = run.read_json("summary.json")
    with contextlib.ExitStack() as stack:
        ending = Ending(Status.VALID)
        if manifest["command"] != "check":
            state = statedb.engine(state_url)
            # It may be this very run that is still sending, or that begins to go on.
            stack.enter_context(lock.held(state, manifest["scope"], run.run_id))
            records.check_knows(state, run.run_id)
            leases.clear(state, run_id=run.run_id)
            ending = Ending(Status.NOT_ATTEMPTED, state)
        steps = _steps(manifest, run, ending)
        told = conclude(run, ending, write_report(run, ending), float(before["seconds"]), steps)
        if before.get("counts", told.counts) != told.counts:  # it went on after it had told its end, and died
            before = {"exit_code": told.exit_code, "halted": None}
        kept = {name: before[name] for name in ("exit_code", "halted", "read_back", "after") if name in before}
        run.write_json("summary.json", asdict(told) | kept)


def _steps(manifest: Mapping[str, Any], run: RunFolder, ending: Ending) -> list[StepEnd]:
    """The steps after the load, as far as the journal knows of them."""
    kept = manifest["mapping"]
    file = mapping.parse(kept["text"], Path(kept["path"]).name, manifest["operation"])
    return after.planned(file) if ending.state is None else after.known(file, ending.state, run.run_id)


_NOT_WELL = (Status.INVALID, Status.REJECTED, Status.FAILED, Status.NOT_ATTEMPTED)


def exit_code(ends: Collection[tuple[str, str | None]], sent: Sent | None) -> int:
    """The exit code of a run that came to its end, from how its rows and steps have ended: (status, code).

    Where several hold, the first of 77, 75, 130/143, 5, 3, 1.
    """
    halt = sent.halt if sent else None
    if halt and halt.exit_code in (77, 75):
        return halt.exit_code
    if sent and sent.signal:
        return 128 + sent.signal
    if any(status == Status.UNKNOWN for status, _ in ends):
        return 5
    if halt:
        return halt.exit_code
    return int(any(status in _NOT_WELL or code == STORED_DIFFERENTLY for status, code in ends))


class Report:
    """A report that is being written, part by part. `look` sees what goes into it."""

    def __init__(self, run: RunFolder, ending: Ending, look: Look, write: Callable[[pa.Table], None]) -> None:
        self._run, self._ending, self._look, self._write = run, ending, look, write
        self._manifest = run.read_json("manifest.json")
        places = [earlier.place_in_order(of) for of in self._manifest["sources"]]
        self._is_in_order = places == sorted(places)
        self._written = 0  # parts
        self.counts: Counter[tuple[str, str | None]] = Counter()
        self.repairs: Counter[tuple[str, bool]] = Counter()

    def add(self, number: int, part: pa.Table) -> None:
        """Takes what is in the part of a source, once that is on disk: source by source, and in order of their rows.

        Where the report has the sources in another order, the parts are taken when all are there.
        """
        if self._is_in_order:
            self._take(number, part)

    def finish(self) -> None:
        """Takes the parts that were not added."""
        for number, path in earlier.in_order(self._run, self._manifest)[self._written :]:
            self._take(number, self._read(path))
        read = sum(source["rows"] for source in self._manifest["sources"])
        if read != sum(self.counts.values()):
            raise RuntimeError(f"{read} rows were read and {sum(self.counts.values())} are in the report")

    def _read(self, path: Path) -> pa.Table:
        """What of a part goes into the report, or says what a load would hold back."""
        return pq.ParquetFile(path).read(report.SHOWN if self._ending.held is None else report.PART.names)

    def _take(self, number: int, part: pa.Table) -> None:
        table = self._projected(number, part)
        self._look(number, table)
        self.counts.update(report.count(table))
        self.repairs.update(report.count_repairs(table))
        self._write(table)
        self._written += 1

    def _projected(self, number: int, part: pa.Table) -> pa.Table:
        run, ending = self._run, self._ending
        of = self._manifest["sources"][number]
        place = report.Place(run.run_id, of["name"], of["sheet"], self._manifest["operation"])
        rows = (part["row"][0].as_py(), part["row"][-1].as_py())
        if ending.state is None:
            sends, held = records.nothing(ending.held(number, part) if ending.held else ())
        else:
            sends, held = records.settled_between(ending.state, run.run_id, number, rows)
        return report.project(part, sends, held, place, ending.unsent)


@contextlib.contextmanager
def reporting(run: RunFolder, ending: Ending, look: Look) -> Iterator[Report]:
    """A run's report, to which parts may be added as they come; when this ends, all are in it, and it is on disk."""
    with run.writing_results(report.REPORT) as write:
        written = Report(run, ending, look, write)
        yield written
        written.finish()


def write_report(run: RunFolder, ending: Ending) -> Reported:
    """Writes results.parquet, with every row that was read in it once."""
    with reporting(run, ending, lambda _source, _rows: None) as written:
        pass
    return Reported(written.counts, written.repairs)


def _write_rejected(run: RunFolder, manifest: dict[str, Any]) -> list[Written]:
    written = []
    for number, of in enumerate(manifest["sources"]):
        if not of["format"]:  # of a call, which is mended where it was given
            continue
        stem = "rejected" if len(manifest["sources"]) == 1 else f"rejected-{number + 1}"
        form = rejected.Form.of(of, raw=manifest["options"].get("raw_csv", False))
        found = rejected.write(run.path, stem, form, _ToMend(run, manifest, number))
        written += [found] if found else []
    return written


@dataclass(frozen=True, slots=True)
class _ToMend:
    """The rows of a source that need mending, part by part; the report's row groups follow the parts."""

    run: RunFolder
    manifest: dict[str, Any]
    number: int

    def __iter__(self) -> Iterator[pa.Table]:
        with pq.ParquetFile(self.run.results) as results:
            for group, (of, path) in enumerate(earlier.in_order(self.run, self.manifest)):
                if of == self.number:
                    told = results.read_row_group(group, columns=["status", "code", "problems", "message"])
                    if report.some_need_mending(told):
                        fields = self.manifest["sources"][of]["fields"]
                        yield report.needs_mending(pq.read_table(path), told, fields)
