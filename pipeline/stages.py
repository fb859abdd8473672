"""The stages of a run, between the run folder, the state database and the pure core."""

from __future__ import annotations

import asyncio
import hashlib
import signal
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa

from pipeline import doubt, folder, journal, lock, mapping, outgoing, people, push, rejected, report, settings, source
from pipeline import prepare as preparing
from pipeline.clean import CLEANERS_VERSION, CleanOptions
from pipeline.delivery import Endpoint
from pipeline.delivery import World as SendingWorld
from pipeline.folder import RunFolder
from pipeline.job import Job, Summary, World
from pipeline.mapping import MAPPING_VERSION, Plan
from pipeline.model import Held, Status, UserError
from pipeline.outgoing import Outgoing
from pipeline.pace import ErrorLimit, Watch
from pipeline.payloads import KEY_VERSION, Repeats, Target
from pipeline.push import Pushed
from pipeline.signals import InterruptedRunError, Signals
from pipeline.validate import Validator
from pipeline.wire import Wire, check_base_url
from schemas.spec import Effect, Operation


@dataclass(frozen=True, slots=True)
class Source:
    """One file of a run, as inspected, with the mapping bound to its header."""

    inspection: source.Inspection
    options: source.SourceOptions
    plan: Plan


@dataclass(frozen=True, slots=True)
class Ending:
    """What the report is joined with: what a valid row is that was never sent, and the journal if there is one."""

    unsent: Status
    state: sa.Engine | None = None
    pushed: Pushed | None = None
    suppressed: npt.NDArray[np.int64] | None = None  # numbers that a check knows will be held back


@contextmanager
def begin(job: Job, world: World) -> Iterator[RunFolder]:
    """A new run's folder. It goes again where the run ends before anything was sent."""
    if twice := [str(path) for path, times in Counter(path.resolve() for path in job.files).items() if times > 1]:
        raise UserError(f"{twice[0]}: given more than once; name each file once")
    ErrorLimit.parse(job.settings.max_errors)
    check_base_url(job.base_url)
    run = folder.create(job.settings.runs, job.files[0].stem, world.now())
    try:
        yield run
    except (UserError, InterruptedRunError):
        if not run.has_sent:
            run.remove()
        raise


def inspect(job: Job, world: World, run: RunFolder) -> list[Source]:
    """Pass one over every file, with the mapping bound to each header. Writes the manifest."""
    sources = [_inspect(job, path, run) for path in job.files]
    run.write_json("manifest.json", _manifest(job, run, sources, world.now()))
    return sources


def prepare(job: Job, world: World, run: RunFolder, sources: Sequence[Source]) -> None:
    """Pass two: every row read, mapped, cleaned, validated and written into a part."""
    target = _target(job)
    seen, keys, totals = Repeats(), Repeats(), None
    for src in sources:
        totals = preparing.totals(_validator(job, src), source.read(src.inspection, src.options), totals)
    for number, src in enumerate(sources):
        preparer = preparing.Preparer(
            _validator(job, src), target, seen, keys, account_known=bool(target.account), totals=totals
        )
        for part, chunk in enumerate(source.read(src.inspection, src.options)):
            table = preparer.part(chunk)
            if table.num_rows:
                run.write_part(number, part, table)
                world.progress.reading(table.num_rows)
    run.remove_spool()


@contextmanager
def locked(job: Job, run: RunFolder, state: sa.Engine, world: World) -> Iterator[None]:
    """Holds the account while the run lasts, and gives up on what dead runs left. Reads hold nothing."""
    if job.operation.effect is Effect.READ:
        yield
        return
    with lock.held(journal.folder_of(state) / "locks", job.scope, run.run_id):
        journal.bury(state, journal.Scope(run.run_id, job.scope, ""), push.micros(world.now()))
        yield


def send(
    rows: Outgoing,
    world: World,
    heard: Signals,
    credentials: Mapping[str, str],
    transport: httpx.AsyncBaseTransport,
) -> Pushed:
    """Sends what is to be sent, under the job's limits; every outcome is in the journal when this returns."""
    job, run = rows.job, rows.run
    scope = journal.Scope(run.run_id, job.scope, job.operation.name)

    async def pushing() -> Pushed:
        lookup = _lookup(job)
        with journal.open_journal(rows.state, scope) as written:
            pushing = push.Push(
                _endpoint(job, job.operation, credentials, transport),
                None if lookup is None else _endpoint(job, lookup, credentials, transport),
                written,
                limits=_limits(job),
                watch=Watch(ErrorLimit.parse(job.settings.max_errors)),
                world=SendingWorld(world.now, world.rng, world.progress.settled),
            )
            loop = asyncio.get_running_loop()

            def interrupted(number: int) -> None:
                world.progress.interrupted()
                loop.call_soon_threadsafe(pushing.interrupt, number)

            with heard.telling(interrupted):
                async with transport:
                    return await pushing.run(rows.batches())

    run.log("sending", target=_target(job).url)
    pushed = asyncio.run(pushing())
    run.log("sent", halted=pushed.halt and pushed.halt.code, signal=pushed.signal)
    return pushed


def _lookup(job: Job) -> Operation | None:
    """The search that settles a doubt, where a lead that it finds can only be ours.

    It can't where rows go out again on purpose, or where several rows of a file may share a mapped ClientId.
    """
    kept = job.mapping.policy.duplicates_in_file == "keep" and job.operation.client_id in job.mapping.fields
    return None if job.again or kept else job.operation.lookup


def conclude(run: RunFolder, ending: Ending, seconds: float) -> Summary:
    """Writes the report, the rejected files and the summary. Every row that was read is in the report once."""
    manifest = run.read_json("manifest.json")
    counts, repairs = _write_report(run, manifest, ending)
    by_status = report.by_status(counts)
    summary = Summary(
        run_id=run.run_id,
        command=manifest["command"],
        operation=manifest["operation"],
        target=manifest["to"],
        sources=[source["name"] for source in manifest["sources"]],
        rows_read=sum(counts.values()),
        counts=by_status,
        codes={f"{status}/{code}": n for (status, code), n in sorted(counts.items(), key=str) if code},
        repairs=report.by_rule(repairs),
        lossy=sum(cells for (_, lossless), cells in repairs.items() if not lossless),
        report=str(run.results),
        rejected=[str(path) for path in _write_rejected(run, manifest)],
        exit_code=exit_code(by_status, ending.pushed),
        seconds=round(seconds, 3),
        notes=manifest["notes"],
        halted=_why_ended(ending.pushed),
    )
    run.write_json("summary.json", asdict(summary))
    run.log("ended", exit_code=summary.exit_code, counts=summary.counts)
    return summary


def _why_ended(pushed: Pushed | None) -> str | None:
    if pushed is None or not (pushed.halt or pushed.signal):
        return None
    return pushed.halt.message if pushed.halt else f"interrupted ({signal.Signals(pushed.signal or 0).name})"


def rebuild(run: RunFolder, state_url: str | None) -> None:
    """Makes a run's report, rejected files and summary again, from its parts and the journal.

    The journal is the one that the run wrote to, unless `state_url` says where it has gone. How the run ended stays
    as it was told; one that did not come to its end counts as interrupted.
    """
    manifest = run.read_json("manifest.json")
    if not run.has_sent:
        raise UserError(f"run {run.run_id} ended before anything was sent; load the file again")
    before: dict[str, Any] = {"exit_code": 130, "seconds": 0.0, "halted": None}
    if run.has_summary:
        before = run.read_json("summary.json")
    ending = Ending(Status.VALID)
    if manifest["command"] != "check":
        state = journal.engine(state_url or manifest["settings"]["state"])
        ending = Ending(Status.NOT_ATTEMPTED, state)
        with lock.held(journal.folder_of(state) / "locks", manifest["scope"], run.run_id):
            pass  # else it may be this very run that is still sending
        if not journal.knows(state, run.run_id) and _has_sent(before):
            raise UserError(f"--state {state.url}: it knows nothing of run {run.run_id}; name the one it was sent with")
    told = conclude(run, ending, float(before["seconds"]))
    run.write_json("summary.json", asdict(told) | {"exit_code": before["exit_code"], "halted": before["halted"]})


def _has_sent(summary: Mapping[str, Any]) -> bool:
    counts = summary.get("counts", {})
    return any(counts.get(s) for s in (Status.ACCEPTED, Status.DUPLICATE, Status.REJECTED, Status.UNKNOWN))


_NOT_WELL = (Status.INVALID, Status.REJECTED, Status.FAILED, Status.NOT_ATTEMPTED)


def exit_code(counts: Mapping[str, int], pushed: Pushed | None) -> int:
    """The exit code of a run that came to its end. Where several hold, the first of 77, 75, 130/143, 5, 3, 1."""
    halt = pushed.halt if pushed else None
    if halt and halt.exit_code in (77, 75):
        return halt.exit_code
    if pushed and pushed.signal:
        return 128 + pushed.signal
    if counts.get(Status.UNKNOWN):
        return 5
    if halt:
        return halt.exit_code
    return int(any(counts.get(status) for status in _NOT_WELL))


def _inspect(job: Job, path: Path, run: RunFolder) -> Source:
    table = job.mapping.source
    options = source.SourceOptions(
        sheet=job.sheet or table.sheet,
        header_row=table.header_row,
        delimiter=table.delimiter,
        encoding=job.encoding or table.encoding,
        null_tokens=tuple(table.null_tokens),
    )
    inspection = source.inspect(path, options, run.spool)
    return Source(inspection, options, mapping.bind(job.mapping, job.mapping_path.name, inspection.columns))


def _validator(job: Job, src: Source) -> Validator:
    table = job.mapping.source
    return Validator.of(src.plan, CleanOptions(date_order=table.date_order, regions=tuple(table.regions)))


def _target(job: Job) -> Target:
    return Target(job.base_url + job.operation.path, job.account)


def _endpoint(
    job: Job, operation: Operation, credentials: Mapping[str, str], transport: httpx.AsyncBaseTransport
) -> Endpoint:
    wire = Wire(
        url=job.base_url + operation.path,
        credentials=credentials,
        secrets=settings.secrets_in(credentials, operation.vendor),
        transport=transport,
        timeout_seconds=max(job.settings.timeout, operation.timeout_seconds or 0),
    )
    return Endpoint(operation, wire)


def _limits(job: Job) -> push.Limits:
    given = job.settings
    settle = doubt.default_settle_seconds(given.timeout) if given.settle is None else given.settle
    return push.Limits(
        given.rate,
        given.concurrency,
        given.attempts,
        given.drain,
        settle_seconds=settle,
        resend_unfound=people.may_resend_unfound(job.operation, job.mapping),
    )


def _write_report(
    run: RunFolder, manifest: dict[str, Any], ending: Ending
) -> tuple[Counter[tuple[str, str | None]], Counter[tuple[str, bool]]]:
    """Writes results.parquet; gives rows by (status, code) and changed cells by (rule, lossless)."""
    counts: Counter[tuple[str, str | None]] = Counter()
    repairs: Counter[tuple[str, bool]] = Counter()

    def counted() -> Iterator[pa.Table]:
        for table in _projected(run, manifest, ending):
            counts.update(report.count(table))
            repairs.update(report.count_repairs(table))
            yield table

    run.write_results(counted(), report.REPORT)
    read = sum(source["rows"] for source in manifest["sources"])
    if read != sum(counts.values()):
        raise RuntimeError(f"{read} rows were read and {sum(counts.values())} are in the report")
    return counts, repairs


def _in_order(run: RunFolder, manifest: dict[str, Any]) -> list[tuple[int, Path]]:
    """(source, path) of every part, ordered as the report is: by source, sheet, row."""
    names = [(of["name"], of["sheet"] or "") for of in manifest["sources"]]
    return sorted(run.part_paths(), key=lambda part: (names[part[0]], part))


def _projected(run: RunFolder, manifest: dict[str, Any], ending: Ending) -> Iterator[pa.Table]:
    for number, path in _in_order(run, manifest):
        part = pq.read_table(path, columns=report.PART.names)
        of = manifest["sources"][number]
        place = report.Place(run.run_id, of["name"], of["sheet"], manifest["operation"])
        rows = (part["row"][0].as_py(), part["row"][-1].as_py())
        if ending.state is None:
            sends, held = journal.nothing(_would_be_held(part, number, ending))
        else:
            sends, held = journal.settled_between(ending.state, run.run_id, number, rows)
        yield report.project(part, sends, held, place, ending.unsent)


def _would_be_held(part: pa.Table, number: int, ending: Ending) -> list[Held]:
    if ending.suppressed is None:
        return []
    barred = people.is_suppressed(part["phone"], ending.suppressed)
    valid = part["status"].to_numpy() == Status.VALID.value
    return [outgoing.suppressed(number, row) for row in part.filter(pa.array(barred & valid))["row"].to_pylist()]


def _write_rejected(run: RunFolder, manifest: dict[str, Any]) -> list[Path]:
    written = []
    for number, of in enumerate(manifest["sources"]):
        stem = "rejected" if len(manifest["sources"]) == 1 else f"rejected-{number + 1}"
        form = rejected.Form(of["format"], tuple(of["columns"]), of["sheet"], of["encoding"], of["delimiter"])
        path = rejected.write(run.path, stem, form, _to_mend(run, manifest, number))
        written += [path] if path else []
    return written


def _to_mend(run: RunFolder, manifest: dict[str, Any], number: int) -> Iterator[pa.Table]:
    """The rows that need mending, part by part; the report's row groups follow the parts."""
    with pq.ParquetFile(run.results) as results:
        for group, (of, path) in enumerate(_in_order(run, manifest)):
            if of == number:
                told = results.read_row_group(group, columns=["status", "problems", "message"])
                if report.some_need_mending(told):
                    yield report.needs_mending(pq.read_table(path), told, manifest["sources"][number]["fields"])


def _source_records(sources: Sequence[Source]) -> list[dict[str, Any]]:
    """How each file was read, and from which column each field came. Files of one name go by their paths."""
    records = [src.inspection.as_json() | {"fields": src.plan.columns_by_field} for src in sources]
    names = Counter(record["name"] for record in records)
    return [record | {"name": record["path"] if names[record["name"]] > 1 else record["name"]} for record in records]


def _manifest(job: Job, run: RunFolder, sources: Sequence[Source], now: datetime) -> dict[str, object]:
    """What was read, under which mapping and settings, by which versions. No secret is in it."""
    secret = set(settings.SECRETS)
    return {
        "run_id": run.run_id,
        "command": job.command,
        "operation": job.operation.name,
        "target": _target(job).url,
        "to": job.target,
        "scope": job.scope,
        "account": job.account,
        "parent": None,
        "started_at": now.isoformat(timespec="microseconds"),
        "sources": _source_records(sources),
        "notes": [note for src in sources for note in (*src.inspection.notes, *src.plan.notes)],
        "mapping": {
            "path": str(job.mapping_path),
            "sha256": hashlib.sha256(job.mapping_text.encode()).hexdigest(),
            "text": job.mapping_text,
        },
        "settings": {k: v for k, v in settings.shown(job.settings).items() if k not in secret},
        "limit": job.limit,
        "versions": {
            "dialedin-leads": version("dialedin-leads"),
            "row_key": KEY_VERSION,
            "mapping": MAPPING_VERSION,
            "cleaners": CLEANERS_VERSION,
            "report": report.SCHEMA_VERSION,
        },
    }
