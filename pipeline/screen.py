"""What people see: the progress of a run on stderr, results on stdout."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from pipeline.model import FORGOTTEN, Status
from pipeline.settings import Settings, base_url, shown, variables
from schemas.catalogue import CATALOGUE
from schemas.spec import Settle

if TYPE_CHECKING:
    from pipeline.doctor import Check
    from pipeline.forget import Forgotten
    from pipeline.job import Progress as Watcher
    from pipeline.prune import Pruned

_COLOURS = {
    Status.ACCEPTED: "green",
    Status.VALID: "green",
    Status.DUPLICATE: "cyan",
    Status.SKIPPED: "cyan",
    Status.INVALID: "yellow",
    Status.REJECTED: "yellow",
    Status.FAILED: "red",
    Status.UNKNOWN: "red",
    Status.NOT_ATTEMPTED: "magenta",
}
_CHECK_WIDTH = len("credentials")  # the longest name of a check
_LEVEL_STYLES = {"ok": "green", "warn": "yellow", "bad": "bold red"}
PLAIN_EVERY_SECONDS = 5.0

# What to do next, by status/code or by status; the first that fits each status is told.
_NEXT = {
    "rejected/unknown_campaign": "the account has no such campaign: mend Campaign in the mapping, and load again",
    "rejected/not_connected": "nobody answered; to call them once more: leads retry {run_id} --only rejected",
    "failed/credentials": "mend {credentials} (see: leads config), and load again",
    "failed/http_404": "nothing is at that address: mend {base_url} (see: leads config), and load again",
    "failed/redirected": "that address redirects: mend {base_url} (see: leads config), and load again",
    "invalid": "mend the rows in {rejected} and load that file",
    "rejected": "mend the rows in {rejected} and load that file",
    "failed/false_ok": "the vendor said OK and stored nothing; once you know why: leads retry {run_id} --only failed",
    "accepted/stored_differently": "see what is stored otherwise: leads explain {run_id} --row N, and mend the mapping",
    "skipped/outside_hours": "when it is open there: leads resume {run_id}, or load the file again",
    "skipped/several_matches": "see which leads: leads explain {run_id} --row N; or load the file with --update-all",
    "unknown": "leads reconcile {run_id}",
    "failed": "once the cause is gone: leads retry {run_id} --only failed",
    "not_attempted": "leads resume {run_id}",
}
_NOBODY_CAN_TELL = "no search settles what is unknown: look for those calls in the vendor's own reports, or ask there"


@contextlib.contextmanager
def progress(*, quiet: bool) -> Iterator[Watcher]:
    """A bar where stderr is a terminal, plain lines elsewhere, nothing where quiet. It is gone when this ends."""
    if quiet or sys.stderr is None:
        yield _Silent()
    elif sys.stderr.isatty():
        with _bar() as bar:
            yield _Bar(bar)
    else:
        yield _Lines()


def _bar() -> Progress:
    """rich would take stdout over as well: that is the result's alone."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[counts]}"),
        console=_Console(stderr=True, emoji=False),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """rich would end the process with a code of its own."""
        raise  # noqa: PLE0704 it is called while the error is handled


class _Silent:
    def reading(self, rows: int) -> None:
        pass

    def sending(self, rows: int, target: str, notes: Sequence[str]) -> None:
        pass

    def waiting(self, why: str) -> None:
        pass

    def verifying(self, rows: int) -> None:
        pass

    def interrupted(self) -> None:
        pass

    def settled(self, status: Status) -> None:
        pass

    def following(self, operation: str) -> None:
        pass


class _Bar:
    """Rows per second, time left and counts by status."""

    def __init__(self, bar: Progress) -> None:
        self._counts: Counter[Status] = Counter()
        self._started = time.monotonic()
        self._progress = bar
        self._task = bar.add_task("reading", total=None, rate="", counts="")

    def reading(self, rows: int) -> None:
        self._progress.advance(self._task, rows)

    def sending(self, rows: int, target: str, notes: Sequence[str]) -> None:
        self._started = time.monotonic()
        for line in (f"sending {rows:,} rows to {target}", *notes):
            self._progress.console.print(line, highlight=False, markup=False)
        self._progress.reset(self._task, total=rows, description="sending")

    def waiting(self, why: str) -> None:
        self._progress.console.print(f"waiting: {why}", highlight=False, markup=False)

    def verifying(self, rows: int) -> None:
        self._progress.update(self._task, description=f"reading {rows:,} back")

    def interrupted(self) -> None:
        self._progress.update(self._task, description="ending")

    def settled(self, status: Status) -> None:
        self._counts[status] += 1
        done = self._counts.total()
        rate = done / max(time.monotonic() - self._started, 1e-9)
        self._progress.update(self._task, completed=done, rate=f"{rate:,.0f}/s", counts=_inline(self._counts))

    def following(self, operation: str) -> None:
        self._progress.update(self._task, description=f"then {operation}")


class _Lines:
    """One plain line now and then."""

    def __init__(self) -> None:
        self._counts: Counter[Status] = Counter()
        self._total = 0
        self._read = 0
        self._said_at = time.monotonic()

    def reading(self, rows: int) -> None:
        self._read += rows
        self._say(f"read and validated {self._read:,} rows")

    def sending(self, rows: int, target: str, notes: Sequence[str]) -> None:
        self._total = rows
        read = f" of {self._read:,}" if self._read else ""
        for line in (f"sending {rows:,}{read} rows to {target}", *notes):
            self._print(line)

    def waiting(self, why: str) -> None:
        self._print(f"waiting: {why}")

    def verifying(self, rows: int) -> None:
        self._print(f"reading {rows:,} rows back")

    def interrupted(self) -> None:
        self._print("interrupted: calls under way may end; again to quit at once")

    def settled(self, status: Status) -> None:
        self._counts[status] += 1
        self._say(f"sent {self._counts.total():,} of {self._total:,}: {_inline(self._counts)}")

    def following(self, operation: str) -> None:
        self._print(f"then {operation}")

    def _say(self, text: str) -> None:
        if time.monotonic() - self._said_at >= PLAIN_EVERY_SECONDS:
            self._print(text)

    def _print(self, text: str) -> None:
        self._said_at = time.monotonic()
        with contextlib.suppress(OSError):  # nobody can read it: that is no reason to stop
            print(text, file=sys.stderr, flush=True)  # noqa: T201 the progress itself


def _inline(counts: Counter[Status]) -> str:
    return " · ".join(f"{counts[status]:,} {status}" for status in Status if counts[status])


def result(summary: Mapping[str, Any], *, as_json: bool) -> None:
    """A run's summary on stdout: one JSON object, or a table with the next thing to do."""
    if as_json:
        print_json(summary)
        return
    out = console()
    for note in summary["notes"]:
        out.print(f"note: {note}", markup=False, style="dim")
    out.print(_counts_table(summary))
    if summary["repairs"]:
        out.print(_repairs_line(summary), markup=False, soft_wrap=True)
    if summary["read_back"]:
        found = ", ".join(f"{rows:,} {finding}" for finding, rows in summary["read_back"].items())
        out.print(f"read back {found}", markup=False, soft_wrap=True)
    for step in _steps(summary):
        out.print(_step_line(step), markup=False, soft_wrap=True, style=_COLOURS[Status(step["status"])])
    if summary["halted"]:
        out.print(f"halted: {summary['halted']}", markup=False, style="red")
    out.print(f"run       {summary['run_id']}: {', '.join(summary['sources'])}", markup=False, soft_wrap=True)
    out.print(f"to        {summary['target']}", markup=False, soft_wrap=True)
    out.print(f"report    {summary['report']}", markup=False, soft_wrap=True)
    for path in summary["rejected"]:
        out.print(f"rejected  {path}", markup=False, soft_wrap=True)
    for line in _next_steps(summary):
        out.print(f"next      {line}", markup=False, soft_wrap=True)


def _counts_table(summary: Mapping[str, Any]) -> Table:
    """Rows by status, with the codes of each below it; the last line is the sum."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column("what")
    table.add_column("rows", justify="right")
    table.add_row(f"{summary['operation']} {summary['command']}", f"in {summary['seconds']:,.1f} s", style="bold")
    for status, rows in summary["counts"].items():
        table.add_row(status, f"{rows:,}", style=_COLOURS[Status(status)])
        for code, some in _codes(summary, status):
            table.add_row(f"  {code}", f"{some:,}", style="dim")
    table.add_row("rows read", f"{summary['rows_read']:,}", style="bold")
    return table


def _steps(summary: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The steps after the load; runs of earlier versions have none."""
    found: Sequence[Mapping[str, Any]] = summary.get("after", ())
    return found


def _step_line(step: Mapping[str, Any]) -> str:
    if step["status"] == Status.VALID:
        return f"would then {step['operation']}: {step['message']}"
    code = f"/{step['code']}" if step["code"] not in (None, "ok") else ""
    return f"then {step['operation']}: {step['status']}{code}" + (f": {step['message']}" if step["message"] else "")


def _repairs_line(summary: Mapping[str, Any]) -> str:
    told = ", ".join(f"{cells:,} {rule}" for rule, cells in summary["repairs"].items())
    lossy = f" ({summary['lossy']:,} can't be undone)" if summary["lossy"] else ""
    return f"repairs   {told}{lossy}"


def _codes(summary: Mapping[str, Any], status: str) -> list[tuple[str, int]]:
    found = [(name.partition("/")[2], n) for name, n in summary["codes"].items() if name.partition("/")[0] == status]
    return sorted((pair for pair in found if pair[0] != "ok"), key=lambda pair: -pair[1])


def _next_steps(summary: Mapping[str, Any]) -> list[str]:
    rejected = ", ".join(summary["rejected"])
    forgotten = {status: summary["codes"].get(f"{status}/{FORGOTTEN}", 0) for status in summary["counts"]}
    left = [status for status, rows in summary["counts"].items() if rows > forgotten[status]]
    told = {status: _NEXT[status] for status in left if status in _NEXT}
    told |= {name.partition("/")[0]: _NEXT[name] for name in summary["codes"] if name in _NEXT}
    operation = CATALOGUE[summary["operation"]]
    if "unknown" in told and operation.settle is Settle.NEVER:
        told["unknown"] = _NOBODY_CAN_TELL
    told |= {f"step {number}": _next_of_step(step) for number, step in enumerate(_steps(summary), 1)}
    words = {
        "rejected": rejected,
        "run_id": summary["run_id"],
        "credentials": variables(operation.vendor),
        "base_url": operation.vendor.base_url_setting.upper(),
    }
    return list(dict.fromkeys(text.format(**words) for text in told.values() if text))


def _next_of_step(step: Mapping[str, Any]) -> str:
    """What to do about a step; "" where there is nothing to do."""
    if step["status"] == Status.UNKNOWN and CATALOGUE[step["operation"]].settle is Settle.NEVER:
        return _NOBODY_CAN_TELL
    if step["status"] in (Status.REJECTED, Status.FAILED):
        return f"once the cause of what {step['operation']} met is gone: leads resume {{run_id}}"
    return _NEXT["not_attempted"] if step["status"] in (Status.UNKNOWN, Status.NOT_ATTEMPTED) else ""


def runs(found: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    """The runs, one a line."""
    if as_json:
        print_json({"runs": list(found)})
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("run", no_wrap=True, min_width=max((len(run["run_id"]) for run in found), default=0))
    for heading in ("command", "operation", "rows", "outcome", "exit"):
        table.add_column(heading)
    for run in found:
        counts = Counter({Status(status): rows for status, rows in run["counts"].items()})
        ended = "did not end" if run["exit_code"] is None else str(run["exit_code"])
        rows = "" if run["rows_read"] is None else f"{run['rows_read']:,}"
        table.add_row(run["run_id"], run["command"], run["operation"], rows, _inline(counts), ended)
    wide().print(table)


def story(told: Mapping[str, Any], *, as_json: bool) -> None:
    """One row, from its cells to its outcome."""
    if as_json:
        print_json(told)
        return
    out = wide()
    place = told["place"]
    sheet = f", sheet {place['sheet']}" if place["sheet"] else ""
    out.print(f"row {place['row']} of {place['source']}{sheet}, run {place['run_id']}", markup=False, style="bold")
    _print_facts(out, "in the file", told["cells"])
    _print_facts(out, "repaired", {r["field"]: f"{r['raw']!r} → {r['value']!r} ({r['rule']})" for r in told["repairs"]})
    _print_facts(out, "problems", {p["field"]: f"{p['message']} ({p['rule']})" for p in told["problems"]})
    _print_facts(out, "payload", told["payload"] or {})
    _print_facts(out, "requests", dict(enumerate(map(_request_line, told["requests"]), 1)))
    outcome = {name: value for name, value in told["outcome"].items() if value not in (None, "", False)}
    _print_facts(out, "outcome", outcome)


def pruned(told: Pruned, *, as_json: bool) -> None:
    """What went, what stays, and what follows from it."""
    if as_json:
        print_json(asdict(told))
        return
    out = wide()
    would = "would be removed" if told.dry_run else "removed"
    if told.dry_run:
        for run_id in told.runs:
            out.print(f"old       {run_id}")
    out.print(f"{would}: {len(told.runs):,} runs, {told.rows:,} rows of the ledger, {told.bytes:,} bytes", style="bold")
    for kept in told.kept:
        out.print(f"kept      {kept.run_id}: {kept.why}; next: {kept.next}")
    if told.runs:
        goes = "will not know" if told.dry_run else "no longer knows"
        out.print(f"note: the ledger {goes} what these runs delivered: the same lists, loaded again, are sent again")


def forgotten(told: Forgotten, phone: str, *, as_json: bool) -> None:
    """What was removed of a person, and where else they may be. `phone` is as its user wrote it."""
    if as_json:
        print_json(asdict(told))
        return
    out = wide()
    rows, would = sum(told.runs.values()), "would be " if told.dry_run else ""
    for run_id, some in told.runs.items():
        out.print(f"run       {run_id}: {some:,} rows")
    out.print(f"{phone}: {would}forgotten in {rows:,} rows of {len(told.runs):,} runs", style="bold")
    out.print(f"ledger    {told.state_rows:,} rows {would}emptied")
    out.print("mark      no load contacts this phone from now on" if not told.dry_run else "mark      none is set yet")
    for name in told.still_in:
        out.print(f"still in  {name}: see what it says of the phone")
    for run_id in told.elsewhere:
        out.print(f"next      leads forget PHONE --state …, with the journal of run {run_id}: it is another one")
    for path in told.sources:
        out.print(f"not touched: {path}, your own file")
    if told.accepted or told.in_doubt:
        sent = f"the dialer took {told.accepted:,} of these rows, and may have taken {told.in_doubt:,} more"
        out.print(f"not touched: {sent}: remove the lead there, too")


def record(told: Mapping[str, Any], *, as_json: bool) -> None:
    """The report's row of one call."""
    if as_json:
        print_json(told)
        return
    out = wide()
    problems = {p["field"]: f"{p['message']} ({p['rule']})" for p in told["problems"]}
    reply = "result" if told["result"] else "reply"  # what a search found is the reply
    shown = ("operation", "status", "code", "message", reply, "lead_id", "client_id", "run_id")
    _print_facts(out, "problems", problems)
    _print_facts(out, "outcome", {name: told[name] for name in shown if told[name]})


def _print_facts(out: Console, heading: str, facts: Mapping[Any, Any]) -> None:
    if not facts:
        return
    out.print(heading, style="bold")
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 2))
    for name, value in facts.items():
        table.add_row(Text(str(name), style="dim"), Text(str(value)))
    out.print(table)


def _request_line(request: Mapping[str, Any]) -> str:
    latency = "" if request["latency_ms"] is None else f" after {request['latency_ms']:,.0f} ms"
    status = "" if request["http_status"] is None else f", HTTP {request['http_status']}"
    reply = f": {request['reply']}" if request["reply"] else ""
    return (
        f"{request['sent_at']:%Y-%m-%d %H:%M:%S.%f} {request['operation']} → {request['code']}{latency}{status}{reply}"
    )


def config(settings: Settings, origins: Mapping[str, str], *, as_json: bool) -> None:
    """Every setting, its value and where it came from; secrets are stars."""
    values = shown(settings)
    for vendor in {op.vendor.name: op.vendor for op in CATALOGUE.values()}.values():
        values[vendor.base_url_setting] = base_url(settings, vendor)
    if as_json:
        print_json({name: {"value": values[name], "from": origins[name]} for name in values})
        return
    table = Table("setting", "value", "from", "", box=None, pad_edge=False)
    for name, value in values.items():
        table.add_row(name, value, origins[name], Settings.model_fields[name].description or "")
    wide().print(table)


def doctor(checks: Iterable[Check], *, as_json: bool) -> int:
    """Each check as it ends, with what to do where it is not well; or all as one JSON object. Gives the exit code."""
    from pipeline.doctor import exit_code

    out, told = wide(), []
    for check in checks:
        told.append(check)
        if not as_json:
            out.print(_check_lines(check))
    code = exit_code(told)
    if as_json:
        shown = ("name", "level", "message", "next")
        print_json({"checks": [{name: getattr(check, name) for name in shown} for check in told], "exit_code": code})
    else:
        well = "nothing stands in the way of a load"
        out.print(f"exit code {code}: mend what is bad before a load" if code else well, style="bold")
    return code


def _check_lines(check: Check) -> Table:
    """The check in a grid of its own, whose columns are as wide as those of every other check."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(min_width=max(map(len, _LEVEL_STYLES)))
    grid.add_column(min_width=_CHECK_WIDTH)
    grid.add_column(overflow="fold")
    grid.add_row(Text(check.level, _LEVEL_STYLES[check.level]), check.name, check.message)
    if check.next:
        grid.add_row("", "", Text(f"next: {check.next}", "bold"))
    return grid


def console() -> Console:
    """A console for text as it is: nothing in it is markup."""
    return _Console(highlight=False, markup=False, emoji=False)


def wide() -> Console:
    """A console that does not fold lines when stdout is a file or a pipe."""
    return _Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 200)


def print_json(content: Mapping[str, Any]) -> None:
    """One JSON object on stdout."""
    print(json.dumps(content, ensure_ascii=False, default=str))  # noqa: T201 the result itself
