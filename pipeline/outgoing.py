"""Which of a run's valid rows go out: whom it is right to contact now, and not what the ledger knows as delivered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import sqlalchemy as sa

from pipeline import hours, marked, partitions, people, records
from pipeline.feed import Batch
from pipeline.folder import RunFolder
from pipeline.hours import Opening
from pipeline.job import Job
from pipeline.journal import Scope
from pipeline.ledger import Decision, Entry, decide, is_in_doubt
from pipeline.model import OUTSIDE_HOURS, Bar, Held, Payload, Place, Status
from pipeline.partitions import Division, Links
from pipeline.records import Own
from schemas.spec import Effect, LedgerRule, Operation, Settle

BATCH_ROWS = 2000  # rows read from a part at once
NEAR_DUPLICATE = 0.5  # of a file's rows in one earlier run: worth a word before they are sent
_PHONES_LOOKED_AT = 500
_COLUMNS = ["row", "status", "row_key", "phone", "identifier", "client_id", "payload", "payload_sha256"]
_OPEN = (None, Status.UNKNOWN.value, Status.NOT_ATTEMPTED.value)


class Choice(StrEnum):
    """Which rows of a run are looked at."""

    ALL = "all"  # of a run that has sent nothing yet
    OPEN = "open"  # those that have no outcome yet, or are in doubt
    DOUBTS = "doubts"  # those in doubt


@dataclass(slots=True)
class Tally:
    """What is known of the rows before any of them goes."""

    valid: int = 0
    to_send: int = 0
    delivered: Counter[str] = field(default_factory=Counter)  # by run: rows with the very same key
    called: Counter[str] = field(default_factory=Counter)  # by run: rows of a sample with the same phone, another key
    sample: int = 0
    waiting: Counter[Opening] = field(default_factory=Counter)  # rows that would go, were it not for their hour
    by_partition: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, dtype=np.int64))  # of `to_send`

    def notes(self) -> list[str]:
        """What its user should know before the rows go."""
        told = []
        for run, rows in self.delivered.most_common(1):
            if rows >= NEAR_DUPLICATE * self.valid:
                told.append(f"{rows / self.valid:.0%} of these rows were loaded in run {run}: they are not sent again")
        for run, rows in self.called.most_common(1):
            if rows >= NEAR_DUPLICATE * self.sample:
                told.append(
                    f"about {rows / self.sample:.0%} of the phones to be sent were loaded in run {run}, in another "
                    "campaign or with another ClientId: they are sent"
                )
        return told


_WHOLE = Division()


@dataclass(frozen=True, slots=True)
class Portion:
    """One of the partitions into which a run's rows are divided among workers; None: all of them."""

    division: Division = _WHOLE
    partition: int | None = None


@dataclass(frozen=True, slots=True)
class _Rows:
    """Some valid rows of a part, with what is known of each."""

    number: int  # of the source
    valid: pa.Table
    barred: npt.NDArray[np.bool_]
    places: Sequence[Place] | None  # None: they go at any hour
    openings: Sequence[Opening | None]  # None: now
    own: Mapping[int, Own]
    known: Mapping[str, list[Entry]]

    @property
    def waiting(self) -> npt.NDArray[np.bool_]:
        """Which have to wait for their hour."""
        return np.array([opening is not None for opening in self.openings], dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """The rows of a run, as its parts hold them, judged when their turn comes.

    `as_of` is up to where in the ledger the rows were fresh, where the run goes on with older ones: what was
    delivered since then is not overwritten. Rows in doubt are sent again only if `may_resend`. `given` is a source and
    its rows, where these are in no part.
    """

    job: Job
    run: RunFolder
    state: sa.Engine
    suppressed: people.Barred
    limit: int | None
    choice: Choice = Choice.ALL
    as_of: int | None = None
    may_resend: bool = True
    ends_at_limit: bool = False  # what comes after the limit is left for later, and not looked at
    given: tuple[int, pa.Table] | None = None
    curfew: people.Curfew | None = None  # None: they go at any hour
    portion: Portion = Portion()

    def tally(self) -> Tally:
        """How many rows would be sent now, and who has sent them before."""
        told = Tally(by_partition=np.zeros(self.portion.division.partitions, dtype=np.int64))
        for rows in self._rows():
            told.valid += rows.valid.num_rows
            self._count(rows, told)
            if (
                self.job.operation.ledger is LedgerRule.BY_KEY and not self.job.is_call
            ):  # elsewhere a row that was loaded may be sent again
                told.delivered.update(_delivered_by(rows))
                if not told.sample:
                    self._look_for_phones(rows, told)
        return told

    def _count(self, rows: _Rows, told: Tally) -> None:
        """Builds no payload where nobody knows the rows: most runs count many of those."""
        if rows.known or rows.own:
            batch = self._batch(rows)
            numbers = rows.valid["row"].to_numpy()
            going = np.isin(numbers, [payload.row for payload in batch.payloads])
            wait = np.isin(numbers, [one.row for one in batch.held if one.code == OUTSIDE_HOURS])
        else:
            wait = rows.waiting & ~rows.barred
            going = ~(rows.barred | wait)
        found = np.flatnonzero(going)[: None if self.limit is None else max(self.limit - told.to_send, 0)]
        told.to_send += len(found)
        division = self.portion.division
        told.by_partition += np.bincount(division.of(rows.valid)[found], minlength=division.partitions)
        told.waiting.update(opening for opening, waits in zip(rows.openings, wait, strict=True) if opening and waits)

    def _look_for_phones(self, rows: _Rows, told: Tally) -> None:
        keys, phones = (rows.valid[name].to_pylist() for name in ("row_key", "phone"))
        fresh = {phone for key, phone in zip(keys, phones, strict=True) if phone and key not in rows.known}
        some = sorted(fresh)[:_PHONES_LOOKED_AT]
        told.sample = len(some)
        told.called = records.runs_of_phones(self.state, self.job.scope, some)

    def foreseen(self, number: int, part: pa.Table, *, ask_ledger: bool) -> Batch:
        """The rows of a part that would not just go, if it were their turn now: held back, or looked up first."""
        valid = pc.equal(part["status"], Status.VALID.value)
        barred = self.suppressed.rows(self.job.operation, part)
        known: dict[str, list[Entry]] = {}
        if ask_ledger and records.has_sent(self.state, self.job.scope):
            known = self._entries(part.select(["row_key", "identifier"]).filter(valid))
        keys = part["identifier" if self._by_identifier else "row_key"]
        concerned = valid.to_numpy() & (barred | pc.is_in(keys, value_set=pa.array([*known], pa.string())).to_numpy())
        some = part.select(_COLUMNS).filter(pa.array(concerned))
        rows = _Rows(number, some, barred[concerned], *self._when(some), {}, known)
        batch = self._batch(rows)
        return Batch([payload for payload in batch.payloads if payload.doubted_at is not None], batch.held)

    def batches(self) -> Iterator[Batch]:
        """Rows to send and rows held back, in order; never more to send than the limit."""
        left = self.limit
        for rows in self._rows():
            batch = self._batch(rows)
            if left is not None:
                batch = Batch(batch.payloads[:left], batch.held)
                left -= len(batch.payloads)
            yield batch
            if self.ends_at_limit and left == 0:
                return

    def payloads(self, chosen: Mapping[int, npt.NDArray[np.int64]]) -> Iterator[Batch]:
        """The payloads of some rows, by source, in order."""
        for number, path in self.run.part_paths():
            for rows in _read(path):
                mine = np.isin(rows["row"].to_numpy(), chosen.get(number, ()))
                if mine.any():
                    yield Batch(_payloads(number, rows.filter(pa.array(mine))), [])

    def _rows(self) -> Iterator[_Rows]:
        for number, rows in self._tables():
            yield self._known(number, rows)

    def _tables(self) -> Iterator[tuple[int, pa.Table]]:
        if self.given is not None:
            number, rows = self.given
            yield number, rows.select(_COLUMNS)
            return
        for number, path in self.run.part_paths():
            for rows in _read(path):
                yield number, rows

    def _known(self, number: int, rows: pa.Table) -> _Rows:
        valid = rows.filter(pa.array(rows["status"].to_numpy() == Status.VALID.value))
        if self.portion.partition is not None:
            valid = valid.filter(pa.array(self.portion.division.of(valid) == self.portion.partition))
        own = self._own(number, valid)
        valid = valid.filter(pa.array(self._are_chosen(valid["row"].to_pylist(), own), pa.bool_()))
        barred = self.suppressed.rows(self.job.operation, valid)
        return _Rows(number, valid, barred, *self._when(valid), own, self._entries(valid))

    def _when(self, valid: pa.Table) -> tuple[Sequence[Place] | None, Sequence[Opening | None]]:
        """Where the person of each row may be, and when it is open there."""
        if self.curfew is None:
            return None, [None] * valid.num_rows
        places = hours.places(self.job.operation, valid)
        return places, self.curfew.openings(places)

    def _own(self, number: int, rows: pa.Table) -> dict[int, Own]:
        if self.choice is Choice.ALL or not rows.num_rows:
            return {}
        first, last = rows["row"][0].as_py(), rows["row"][-1].as_py()
        return records.own(self.state, self.run.run_id, number, (first, last))

    def _are_chosen(self, rows: Sequence[int], own: Mapping[int, Own]) -> list[bool]:
        if self.choice is Choice.DOUBTS:
            return [row in own and own[row].status == Status.UNKNOWN for row in rows]
        return [row not in own or own[row].status in _OPEN for row in rows]

    def _entries(self, rows: pa.Table) -> dict[str, list[Entry]]:
        """What the ledger knows of rows; where they go out again on purpose, only what is in doubt."""
        known = self._ledger(rows)
        if not self.job.again:
            return known
        doubted = {key: _in_doubt(entries) for key, entries in known.items()}
        return {key: entries for key, entries in doubted.items() if entries}

    def _ledger(self, rows: pa.Table) -> dict[str, list[Entry]]:
        """What runs did, by row key; by identifier where the latest payload for it counts."""
        run_id = self.run.run_id
        if self.job.operation.ledger is not LedgerRule.LAST_PAYLOAD:
            return records.entries(self.state, run_id, rows["row_key"].to_pylist())
        others = run_id if self.choice is Choice.ALL else None  # it may have been a later row of this very run
        if not self._by_identifier:
            return records.entries(self.state, others, rows["row_key"].to_pylist())
        scope = Scope(run_id, self.job.scope, self.job.operation.name)
        return records.entries_of_identifiers(self.state, others, scope, rows["identifier"].to_pylist())

    @property
    def _by_identifier(self) -> bool:
        """Whether the latest payload for an identifier counts, whatever campaign or ClientId it sets besides.

        Not where a file may hold several rows of one identifier, or an identifier stands for a lead in each campaign:
        there the key tells them apart.
        """
        kept = self.job.mapping.policy.duplicates_in_file == "keep"
        operation = self.job.operation
        return operation.ledger is LedgerRule.LAST_PAYLOAD and operation.identifier is not None and not kept

    def _batch(self, rows: _Rows) -> Batch:
        payloads = _payloads(rows.number, rows.valid, rows.places)
        if not (rows.known or rows.own or rows.barred.any() or any(rows.openings)):
            return Batch(payloads, [])
        going: list[Payload] = []
        held: list[Held] = []
        for payload, barred, opening in zip(payloads, rows.barred, rows.openings, strict=True):
            past = rows.own.get(payload.row)
            past = None if past is None or past.was_held else past
            entries = rows.known.get(payload.identifier if self._by_identifier else payload.row_key, [])
            if past is not None and past.status == Status.UNKNOWN and self.job.operation.settle is not Settle.REPEAT:
                judged = self._doubted(payload, past, entries, barred=bool(barred))
            elif barred:
                judged = suppressed(payload.source, payload.row)
            else:
                judged = self._by_hour(self._by_ledger(payload, past, entries), opening)
            if judged is not None:
                (going if isinstance(judged, Payload) else held).append(judged)  # type: ignore[arg-type]
        return Batch(going, held)

    def _doubted(self, payload: Payload, past: Own, entries: Sequence[Entry], *, barred: bool) -> Payload | Held | None:
        """A row that this run has left in doubt: to be looked up, if it can be."""
        operation = self.job.operation
        if self.job.lookup is None or not (payload.client_id or operation.composed):
            return None
        if operation.ledger is LedgerRule.LAST_PAYLOAD:
            judged = self._by_ledger(payload, past, entries)
            if isinstance(judged, Held):
                return judged  # a later run has delivered the same, or something newer
        elsewhere = operation.ledger is LedgerRule.BY_KEY and any(entry.is_delivered for entry in entries)
        return replace(
            payload,
            prior=past.prior,
            doubted_at=max(past.last_at, *(entry.last_at for entry in entries), 0),
            may_resend=self.may_resend and not barred and not elsewhere,
        )

    def _by_hour(self, judged: Payload | Held, opening: Opening | None) -> Payload | Held:
        """A row that is looked up first may go at any hour: its search rings nowhere."""
        if self.curfew is None or opening is None or isinstance(judged, Held) or judged.doubted_at is not None:
            return judged
        return _held(judged.source, judged.row, self.curfew.bar(opening))

    def bar(self, payload: Payload) -> Bar | None:
        """Why a row that could go when its turn came may not go out at this very moment."""
        barred = self.suppressed.by_now(self.job.operation, payload)
        return barred or (self.curfew.by_now(payload) if self.curfew is not None else None)

    def _by_ledger(self, payload: Payload, past: Own | None, entries: Sequence[Entry]) -> Payload | Held:
        as_of = self.as_of if past is None or past.first_sent_at is None else past.order
        if self.job.is_call and any(entry.is_delivered for entry in entries):
            payload = replace(payload, client_id="")  # what a search would find may be the lead from before
            entries = _in_doubt(entries)
        decision, entry = decide(self.job.operation, entries, payload.sha256, as_of)
        payload = payload if past is None else replace(payload, prior=past.prior)
        if decision is Decision.SEND or entry is None:
            return payload
        if decision is Decision.LOOK_UP and self.job.lookup is not None:
            return replace(payload, doubted_at=max(entry.last_at for entry in entries))
        status, code, text = _HELD.get(decision, _HELD[Decision.LEAVE])
        return Held(payload.source, payload.row, status, code, text.format(run=entry.run_id), entry.run_id)


def _in_doubt(entries: Sequence[Entry]) -> list[Entry]:
    """What is in doubt of a key whose latest sending is; none where something was delivered since."""
    return [entry for entry in entries if not entry.is_delivered] if is_in_doubt(entries) else []


_HELD = {
    Decision.SKIP: (Status.SKIPPED, "already_loaded", "run {run} has delivered it"),
    Decision.SUPERSEDED: (Status.SKIPPED, "superseded", "run {run} has delivered something newer"),
    Decision.LEAVE: (Status.UNKNOWN, "in_doubt_elsewhere", "run {run} may have delivered it, and nothing can tell"),
}


def suppressed(source: int, row: int) -> Held:
    """A row whose number must not be contacted."""
    return _held(source, row, people.MUST_NOT_BE_CONTACTED)


def _held(source: int, row: int, bar: Bar) -> Held:
    return Held(source, row, Status.SKIPPED, bar.code, bar.message)


def barred(
    state: sa.Engine, listed: marked.DoNotCall | None, numbers: npt.NDArray[np.int64], operation: Operation
) -> people.Barred:
    """Who must not be contacted by an operation. Whoever was forgotten may be looked up, and that is all.

    Who was put on do-not-call by this account (`listed`) may be taken off it again.
    """
    if operation.effect is Effect.READ:
        return people.Barred(numbers)
    return people.Barred(numbers, people.Marks(*marked.marks(state)), None if operation.frees_people else listed)


def _delivered_by(rows: _Rows) -> Counter[str]:
    latest = (next((e for e in reversed(entries) if e.is_delivered), None) for entries in rows.known.values())
    return Counter(entry.run_id for entry in latest if entry is not None)


def divided(run: RunFolder, count: int) -> Division:
    """All rows of a run that are valid, divided into so many partitions."""
    links = Links()
    if count > 1:
        for _, path in run.part_paths():
            rows = pq.ParquetFile(path).read(["status", *partitions.COLUMNS])
            links.note(rows.filter(pc.equal(rows["status"], Status.VALID.value)))
    return Division(count, links.linked())


def _read(path: Path) -> Iterator[pa.Table]:
    for rows in pq.ParquetFile(path).iter_batches(BATCH_ROWS, columns=_COLUMNS):
        yield pa.Table.from_batches([rows])


def _payloads(number: int, rows: pa.Table, places: Sequence[Place] | None = None) -> list[Payload]:
    columns = rows.drop_columns("status").to_pydict()
    found: Sequence[Place | None] = places or [None] * rows.num_rows
    return [
        Payload(number, row, key, phone or "", identifier, client or "", body.encode(), digest, place=place)
        for row, key, phone, identifier, client, body, digest, place in zip(*columns.values(), found, strict=True)
    ]
