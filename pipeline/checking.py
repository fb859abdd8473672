"""What a check tells beside the outcome of each row: what it found, and what a load of the same list would do.

It reads what earlier runs have left, takes no lock and writes nothing of its own.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import sqlalchemy as sa

from pipeline import after, checkup, earlier, marked, outgoing, payloads, people, prepare, stages, statedb
from pipeline.checkup import Checkup
from pipeline.folder import RunFolder
from pipeline.hours import Opening
from pipeline.job import Job, World
from pipeline.mapping import Plan, sets_client_id
from pipeline.model import SUPPRESSED, Held, Status, UserError
from pipeline.outgoing import Outgoing
from pipeline.people import Consent
from pipeline.repeats import Repeats, Shared
from schemas.spec import LedgerRule

Findings = dict[str, Any]  # docs/check.md names what it holds

_GROUPS, _ROWS_OF_A_GROUP = 3, 5  # of repeated rows


@dataclass(slots=True)
class Outlook:
    """What would become of the rows of a check if they were to go now, gathered part by part."""

    rows: Outgoing
    why_not_asked: str | None  # why the ledger is not asked; None where it is
    curfew: people.Curfew | None  # None: the rows go at any hour
    suppress_notes: Sequence[str]
    waiting: Counter[Opening] = field(default_factory=Counter)  # rows that have to wait for their hour
    loaded: Counter[str] = field(default_factory=Counter)  # rows that are not sent again, by the run that sent them
    suppressed: int = 0
    in_doubt: int = 0  # an earlier run may have delivered them, and nothing can tell
    looked_up: int = 0  # the same, and they would be looked up before they go

    def held(self, number: int, part: pa.Table) -> Sequence[Held]:
        """The rows of a part that a load would hold back at any hour."""
        batch = self.rows.foreseen(number, part, ask_ledger=self.why_not_asked is None)
        codes = Counter(held.code for held in batch.held)
        self.loaded.update(held.because_of or "" for held in batch.held if held.code == "already_loaded")
        self.suppressed += codes[SUPPRESSED]
        self.in_doubt += codes["in_doubt_elsewhere"]
        self.looked_up += len(batch.payloads)
        if self.curfew is not None:
            known = [one.row for one in batch.held] + [one.row for one in batch.payloads]
            left = ~np.isin(part["row"].to_numpy(), known)
            self.waiting.update(self.curfew.waiting(self.rows.job.operation, part.filter(pa.array(left))))
        return batch.held

    def notes(self) -> list[str]:
        """What its user should know of suppress files and calling hours."""
        return [*self.suppress_notes, *(self.curfew.notes(self.waiting) if self.curfew is not None else ())]


@contextmanager
def outlook(job: Job, world: World, run: RunFolder) -> Iterator[Outlook]:
    """What is known before the rows are. Raises InputError where a suppress list protects nobody."""
    suppressed = stages.suppressed(job, world, run)
    try:
        state, why_not = statedb.reading(job.settings.state), _why_not_asked(job)
    except UserError as error:  # a load would not begin, and the list can be judged all the same
        state, why_not = statedb.empty(), str(error)
    with _do_not_call(state, job.scope) as listed:
        barred = outgoing.barred(state, listed, suppressed.numbers, job.operation)
        curfew = people.curfew(job.operation, job.mapping.policy, world.now)
        yield Outlook(Outgoing(job, run, state, barred, None), why_not, curfew, suppressed.told())


@contextmanager
def _do_not_call(state: sa.Engine, account: str) -> Iterator[marked.DoNotCall | None]:
    """The numbers that calls of this account have put on do-not-call; None where there never were any."""
    if not marked.marks(state)[0]:
        yield None
        return
    with marked.do_not_call(state, account) as listed:
        yield listed


def findings(outlook: Outlook, found: Checkup, plans: Sequence[Plan], repeats: Repeats) -> Findings:
    """What the check of a run found, once its report is written: as docs/check.md says."""
    job, run = outlook.rows.job, outlook.rows.run
    manifest = run.read_json("manifest.json")
    sources = manifest["sources"]
    names = [source["name"] for source in sources]
    to_send = sum(found.valid)
    reached = _reached(outlook.rows, to_send)
    return {
        "sources": [_source(record, plan) for record, plan in zip(sources, plans, strict=True)],
        "problems": checkup.problems(found, job.mapping, plans),
        "repairs": checkup.repairs(found),
        "payloads": _payloads(run, found, names),
        "payloads_lack": _lacking(job),
        "repeats": checkup.repeats(_shared(job, run, repeats), plans[0], lambda at: _place(at, names)),
        "ledger": _ledger(outlook),
        "suppressed": outlook.suppressed,
        "to_send": to_send,
        "people": reached | {"waiting": _waiting(outlook)},
        "duration": _duration(job, to_send),
        "notes": [note for note in manifest["notes"] if note not in _of_sources(sources, plans)] + outlook.notes(),
        "load": _load(job, reached["contacts"]) if to_send else None,
    }


def _source(record: dict[str, Any], plan: Plan) -> dict[str, Any]:
    """How a source was read, and what becomes of its columns."""
    used = set(plan.columns_used)
    kept = {name: value for name, value in record.items() if name != "fields"}
    not_sent = [column for column in record["columns"] if column not in used]
    return {**kept, "fields": checkup.fields(plan), "not_sent": not_sent}


def _of_sources(sources: Sequence[dict[str, Any]], plans: Sequence[Plan]) -> set[str]:
    """The notes that say how the files were read and bound: they are told with each."""
    return {note for record, plan in zip(sources, plans, strict=True) for note in (*record["notes"], *plan.notes)}


def _shared(job: Job, run: RunFolder, repeats: Repeats) -> Shared:
    """Which valid rows share a phone or identifier: where duplicates are kept, only the parts can tell."""
    by = job.operation.duplicates_by
    if job.mapping.policy.duplicates_in_file == "keep" and by is not None:
        for number, path in run.part_paths():
            told = pq.ParquetFile(path).read(["row", "status", by], use_threads=False)
            valid = told.filter(pc.equal(told["status"], Status.VALID.value))
            repeats.note(payloads.identities_told(valid[by]), prepare.places_of(number, valid["row"].to_numpy()))
    return repeats.shared(_GROUPS, _ROWS_OF_A_GROUP)


def _place(place: int, names: Sequence[str]) -> dict[str, Any]:
    source, row = prepare.place_of(place)
    return {"source": names[source], "row": row}


def _payloads(run: RunFolder, found: Checkup, names: Sequence[str]) -> list[dict[str, Any]]:
    """The first, the middle and the last row that would be sent, as it would be: no credentials."""
    parts = earlier.in_order(run, run.read_json("manifest.json"))
    with pq.ParquetFile(run.results) as results:
        told = []
        for group, at in found.places():
            rows = results.read_row_group(group, columns=["row", "status"])
            row = rows.filter(pc.equal(rows["status"], Status.VALID.value))["row"][at]
            number, path = parts[group]
            payload = pq.read_table(path, columns=["payload"], filters=pc.field("row") == row)["payload"][0].as_py()
            sent = dict(parse_qsl(payload, keep_blank_values=True))
            told.append({"source": names[number], "row": row.as_py(), "fields": sent})
    return told


def _lacking(job: Job) -> str | None:
    """The field that each payload lacks, since it carries the row's key, which goes by the account."""
    sets_key = sets_client_id(job.operation, job.mapping.policy)
    return job.operation.client_id if sets_key and not job.account else None


def _why_not_asked(job: Job) -> str | None:
    """Why nothing can be said of earlier runs."""
    if job.operation.ledger is LedgerRule.NONE:
        return f"{job.operation.name} is never skipped"
    return None if job.account else f"set {job.operation.vendor.account.upper()} to see what was loaded before"


def _ledger(outlook: Outlook) -> dict[str, Any]:
    """What earlier runs have to say about the rows."""
    return {
        "why_not_asked": outlook.why_not_asked,
        "already_loaded": outlook.loaded.total(),
        "runs": dict(outlook.loaded.most_common()),
        "in_doubt": outlook.in_doubt,
        "looked_up_first": outlook.looked_up,
    }


def _reached(rows: Outgoing, to_send: int) -> dict[str, Any]:
    """How many people a load would contact, and what it lacks to be allowed to."""
    jobs = [rows.job, *after.jobs(rows.job)]
    reaching = [job for job in jobs if people.contacts(job.operation, job.mapping.policy)]
    count = sum(to_send if job is rows.job else 1 for job in reaching)
    return {
        "contacts": count if reaching else None,
        "dialing": rows.job.mapping.policy.dialing if rows.job.operation.dialing else None,
        "why": [people.why(job.operation, job.mapping.policy) for job in reaching],
        "refused": _refused(jobs, count),
    }


def _waiting(outlook: Outlook) -> list[dict[str, Any]]:
    """How many of the rows may not go now, and when they may: the soonest first, never last."""
    by_time = sorted(outlook.waiting.items(), key=lambda item: (item[0].at is None, str(item[0].at), item[0].zone))
    return [
        {"rows": rows, "at": opening.at and opening.at.isoformat(), "zone": opening.zone or None}
        for opening, rows in by_time
    ]


def _refused(jobs: Sequence[Job], count: int) -> str | None:
    """Why a load would be refused even where all was allowed on the command line; None where it would not."""
    try:
        for job in jobs:
            people.check_consent(job.operation, job.mapping, Consent(count, dial_non_callables=True))
    except UserError as error:
        return str(error)
    return None


def _duration(job: Job, to_send: int) -> dict[str, Any]:
    """How long the calls take at least, at the rate that is set; a composed operation looks up before it sends."""
    rate = job.settings.rate
    calls = to_send * (2 if job.operation.composed else 1)
    return {"calls": calls, "rate_per_second": rate, "seconds": round(calls / rate, 1) if rate else None}


def _load(job: Job, contacts: int | None) -> str:
    """The command that loads what was checked."""
    consent = [] if contacts is None else ["--max-contacts", str(contacts)]
    if job.mapping.policy.dial_non_callables:
        consent.append("--dial-non-callables")
    return shlex.join(["leads", "load", *job.asked, *consent])
