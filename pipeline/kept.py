"""A run's job as its manifest keeps it: what a later command goes on with, and what another process is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline import mapping, settings
from pipeline.earlier import Selection
from pipeline.files import GivenFile
from pipeline.folder import RunFolder
from pipeline.job import Job
from pipeline.model import Status, UserError
from pipeline.people import Consent
from pipeline.readback import Sample
from pipeline.settings import Settings


@dataclass(frozen=True, slots=True)
class Given:
    """What the operator says anew; None: as the run had it."""

    settings: Settings
    max_contacts: int | None = None
    dial_non_callables: bool = False
    stale_ok: bool = False
    raw_csv: bool = False  # as well as where the run had it
    workers: int | None = None  # of this command only, as is the scheduler
    scheduler: str | None = None


def job(run: RunFolder, given: Given) -> Job:
    """The job of a run, with what is given anew. Raises UserError where the settings name another account."""
    manifest = run.read_json("manifest.json")
    kept, options = manifest["mapping"], manifest["options"]
    selection = None
    if options["only"]:
        parent = RunFolder(run.path.with_name(manifest["parent"]))
        selection = Selection(parent, tuple(Status(status) for status in options["only"]))
    found = Job(
        command=manifest["command"],
        files=() if selection else tuple(_file(of) for of in manifest["sources"]),
        mapping=mapping.parse(kept["text"], Path(kept["path"]).name, manifest["operation"]),
        mapping_path=Path(kept["path"]),
        mapping_text=kept["text"],
        settings=given.settings,
        consent=_consent(options, given),
        limit=options["limit"],
        again=options["again"],
        encoding=options["encoding"],
        sheet=options["sheet"],
        where=options.get("where"),
        verify=Sample.parse(options["verify"]) if options["verify"] else None,
        canary=options["canary"],
        update_all=options.get("update_all", False),
        raw_csv=given.raw_csv or options.get("raw_csv", False),
        parent=manifest["parent"],
        selection=selection,
        fresh_at=manifest["fresh_at"],
        workers=given.workers,
        scheduler=given.scheduler,
    )
    if found.scope != manifest["scope"]:
        vendor = found.operation.vendor
        raise UserError(
            f"run {run.run_id} went to {manifest['to']}, and now {found.target} is set: "
            f"mend {vendor.account.upper()} and {vendor.base_url_setting.upper()} (see: leads config)"
        )
    return found


def on_worker(run: RunFolder, told: Mapping[str, str] | None = None) -> Job:
    """The job of a run as another process has it, for one that shares its work: as the run goes, whatever is set here.

    `told` is its settings as `settings.kept` gives them; None: those of its manifest. No secret is in the job.
    """
    return job(run, Given(settings.of_run(told or run.read_json("manifest.json")["settings"])))


def own_credentials(on_worker: Job) -> dict[str, str]:
    """What proves who calls, for a worker that sends a job's rows: account and credentials are what is set here.

    Raises UserError where they are missing, or are another account's than the job's.
    """
    vendor = on_worker.operation.vendor
    here, _ = settings.resolve({}, {vendor.base_url_setting: on_worker.base_url})
    found = settings.credentials(here, vendor)
    own = replace(on_worker, settings=here)
    if own.scope != on_worker.scope:
        raise UserError(
            f"it is set up for {own.target}, and the run goes to {on_worker.target}: "
            f"mend {vendor.account.upper()} and {vendor.base_url_setting.upper()} there"
        )
    return found


def _file(of: Mapping[str, Any]) -> GivenFile:
    """A list of an earlier run: where it was, or where it is kept."""
    return GivenFile(of["path"], of.get("member"), of.get("comes_once", False))


def _consent(options: Mapping[str, Any], given: Given) -> Consent:
    most = options["max_contacts"] if given.max_contacts is None else given.max_contacts
    return Consent(most, given.dial_non_callables or options["dial_non_callables"])
