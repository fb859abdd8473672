"""What goes on with an earlier run: `resume` sends its rest, `reconcile` settles its doubts, `retry` begins anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from pipeline import fetch, files, kept, mapping, people, records, run, source, stages
from pipeline.delivery import micros
from pipeline.earlier import Selection
from pipeline.folder import RunFolder
from pipeline.job import Job, Summary, World
from pipeline.kept import Given
from pipeline.model import Status, UserError
from pipeline.outgoing import Choice
from pipeline.people import Consent

STALE = timedelta(hours=24)  # older leads are not dialed without a word of the operator


def resume(earlier: RunFolder, given: Given, world: World) -> Summary:
    """Sends what has no outcome yet; what was under way when the run ended is looked up first.

    Raises InputError where a source is not what it was, UserError where the run can't go on.
    """
    job = _job(earlier, given)
    if job.selection is None:
        _check_sources(earlier)
    _check_age(job, earlier, given, world)
    return _go_on(job, earlier, world, Choice.OPEN, may_resend=True)


def _check_sources(earlier: RunFolder) -> None:
    """Raises InputError where a list is not what it was. What came once is needed until its rows are in the parts."""
    for number, of in enumerate(earlier.read_json("manifest.json")["sources"]):
        if not of.get("comes_once"):
            source.check_unchanged(Path(of["path"]), of["sha256"], of["size"])
        elif not earlier.has_sent:
            fetch.check_kept(earlier, number, of)


def reconcile(earlier: RunFolder, given: Given, world: World) -> Summary:
    """Settles what is in doubt, and nothing else: looks it up, and sends it again where it is not there.

    Leads that are stale by now are looked up only. Raises UserError where the run has sent nothing.
    """
    job = _job(earlier, given)
    if not earlier.has_sent:
        raise UserError(f"run {earlier.run_id} ended before anything was sent: leads resume {earlier.run_id}")
    may_resend = given.stale_ok or not _is_stale(job, earlier.read_json("manifest.json"), world.now())
    return _go_on(job, earlier, world, Choice.DOUBTS, may_resend=may_resend)


def _go_on(job: Job, earlier: RunFolder, world: World, choice: Choice, *, may_resend: bool) -> Summary:
    stages.check(job)
    with run.opened(job, world) as opened, opened.locked(earlier) as line:
        # Looked at under the lock: else it may be about to send. A power cut may have taken the log alone.
        if not (earlier.has_sent or records.knows(line.state, earlier.run_id)):
            earlier.remove_parts()
            return line.load(earlier)
        records.check_knows(line.state, earlier.run_id)
        records.bury(line.state, job.scope, micros(world.now()), run_id=earlier.run_id)  # reads hold no lock
        _keep_raw_csv(job, earlier)
        if choice is Choice.OPEN:
            records.reopen(line.state, earlier.run_id)
            records.reopen_steps(line.state, earlier.run_id)
        return line.deliver(earlier, line.suppressed(earlier), choice, may_resend=may_resend)


def _keep_raw_csv(job: Job, earlier: RunFolder) -> None:
    """Whoever makes the rejected files again, later, makes them as they were last asked for."""
    manifest = earlier.read_json("manifest.json")
    options = manifest["options"] | {"raw_csv": job.raw_csv}
    if options != manifest["options"]:
        earlier.write_json("manifest.json", manifest | {"options": options})


@dataclass(frozen=True, slots=True)
class Anew:
    """What a retry does otherwise than the run that it follows."""

    only: tuple[Status, ...]
    mapping: tuple[mapping.MappingFile, Path, str] | None = None
    mended: Path | None = None  # the rejected file, mended: its rows, instead of those that `only` names


def retry(earlier: RunFolder, anew: Anew, given: Given, world: World) -> Summary:
    """A new run over rows of an earlier one. Repeats are counted over all of the earlier rows.

    Raises UserError where the rows are too old to be dialed, or where there are none.
    """
    job = _retry_job(_job(earlier, given), earlier, anew, given)
    _check_age(job, earlier, given, world)
    return run.load(job, world)


_MAY_GO_AGAIN = (
    Status.FAILED,
    Status.UNKNOWN,
    Status.REJECTED,
    Status.INVALID,
    Status.SKIPPED,
    Status.NOT_ATTEMPTED,
)


def statuses(only: str) -> tuple[Status, ...]:
    """The statuses in "failed,unknown". Raises UserError for what is none, or can't go again."""
    named = [name.strip() for name in only.split(",") if name.strip()]
    for name in named:
        if name not in _MAY_GO_AGAIN:
            raise UserError(f"--only {name!r}: give any of {', '.join(_MAY_GO_AGAIN)}, with commas between them")
    if not named:
        raise UserError(f"--only: give any of {', '.join(_MAY_GO_AGAIN)}, with commas between them")
    return tuple(dict.fromkeys(Status(name) for name in named))


def _retry_job(job: Job, earlier: RunFolder, anew: Anew, given: Given) -> Job:
    manifest = earlier.read_json("manifest.json")
    if anew.mapping is not None:
        text = anew.mapping
        job = replace(job, mapping=text[0], mapping_path=text[1], mapping_text=text[2])
    consent = Consent(given.max_contacts, given.dial_non_callables)  # a new run, so a new word
    job = replace(job, command="retry", parent=earlier.run_id, consent=consent, limit=None, again=False, canary=None)
    if anew.mended is not None:
        how: Literal["guarded", "raw"] = "raw" if manifest["options"].get("raw_csv") else "guarded"
        file = files.find([str(anew.mended)])
        return replace(job, files=file, selection=None, sheet=None, encoding=None, where=None, mended=how)
    selection = Selection(earlier, anew.only)
    if not any(len(selection.rows(number)) for number in range(len(manifest["sources"]))):
        raise UserError(f"run {earlier.run_id} has no rows that are {' or '.join(anew.only)}; see: leads show")
    return replace(job, files=(), selection=selection)


def _job(earlier: RunFolder, given: Given) -> Job:
    """The job of an earlier run that may have sent. Raises UserError where that is a check, or another account."""
    if earlier.read_json("manifest.json")["command"] == "check":
        raise UserError(f"run {earlier.run_id} is a check, which sends nothing: leads load does")
    return kept.job(earlier, given)


def _check_age(job: Job, earlier: RunFolder, given: Given, world: World) -> None:
    if not given.stale_ok and _is_stale(job, earlier.read_json("manifest.json"), world.now()):
        raise UserError(
            f"the leads of run {earlier.run_id} are more than 24 hours old and may be dialed: "
            "say so on purpose with --stale-ok, or load a fresh list"
        )


def _is_stale(job: Job, manifest: Mapping[str, Any], now: datetime) -> bool:
    """Whether these leads may be dialed, and were read or written more than a day ago."""
    if not people.contacts(job.operation, job.mapping.policy):
        return False
    read_at = datetime.fromisoformat(manifest["fresh_at"])
    written_at = min(of["mtime_ns"] for of in manifest["sources"]) / 1e9
    return bool(now.timestamp() - min(read_at.timestamp(), written_at) > STALE.total_seconds())
