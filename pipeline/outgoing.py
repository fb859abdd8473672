"""Which of a run's valid rows go out: not the suppressed ones, and not what the ledger knows as delivered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa

from pipeline import journal, people
from pipeline.feed import Batch
from pipeline.folder import RunFolder
from pipeline.job import Job
from pipeline.ledger import Decision, Entry, decide
from pipeline.model import Held, Payload, Status

BATCH_ROWS = 2000  # rows read from a part at once
_COLUMNS = ["row", "status", "row_key", "phone", "identifier", "client_id", "payload", "payload_sha256"]
_COUNTED = ["row", "status", "row_key", "phone", "payload_sha256"]


@dataclass(frozen=True, slots=True)
class Outgoing:
    """The rows of a run, as its parts hold them, judged when their turn comes."""

    job: Job
    run: RunFolder
    state: sa.Engine
    suppressed: npt.NDArray[np.int64]

    def count(self) -> int:
        """How many rows would be sent now. Builds no payload: most runs count many rows that nobody knows."""
        rows = sum(self._count(part) for _, path in self.run.part_paths() for part in _rows(path, _COUNTED))
        return rows if self.job.limit is None else min(rows, self.job.limit)

    def _count(self, rows: pa.Table) -> int:
        free = self._free(rows)[0]
        known = self._known(free["row_key"].to_pylist())
        if not known:
            return int(free.num_rows)
        pairs = zip(free["row_key"].to_pylist(), free["payload_sha256"].to_pylist(), strict=True)
        decisions = (decide(self.job.operation, known.get(key, ()), digest)[0] for key, digest in pairs)
        return sum(decision in (Decision.SEND, Decision.LOOK_UP) for decision in decisions)

    def batches(self) -> Iterator[Batch]:
        """Rows to send and rows held back, in order; never more to send than the job's limit."""
        left = self.job.limit
        for number, path in self.run.part_paths():
            for rows in _rows(path, _COLUMNS):
                batch = self._batch(number, rows)
                if left is not None:
                    batch = Batch(batch.payloads[:left], batch.held)
                    left -= len(batch.payloads)
                yield batch

    def _batch(self, number: int, rows: pa.Table) -> Batch:
        free, barred = self._free(rows)
        return self._by_ledger(_payloads(number, free), [suppressed(number, row) for row in barred["row"].to_pylist()])

    def _free(self, rows: pa.Table) -> tuple[pa.Table, pa.Table]:
        """The valid rows that may be contacted, and those that may not."""
        valid = rows.filter(pa.array(rows["status"].to_numpy() == Status.VALID.value))
        barred = people.is_suppressed(valid["phone"], self.suppressed)
        return valid.filter(pa.array(~barred)), valid.filter(pa.array(barred))

    def _known(self, keys: Sequence[str]) -> dict[str, list[Entry]]:
        return {} if self.job.again else journal.entries(self.state, self.run.run_id, keys)

    def _by_ledger(self, payloads: list[Payload], held: list[Held]) -> Batch:
        known = self._known([payload.row_key for payload in payloads])
        if not known:
            return Batch(payloads, held)
        going: list[Payload] = []
        for payload in payloads:
            decision, entry = decide(self.job.operation, known.get(payload.row_key, ()), payload.sha256)
            if decision is Decision.SEND:
                going.append(payload)
            elif entry is not None:
                self._judged(decision, entry, payload, going, held)
        return Batch(going, held)

    def _judged(
        self, decision: Decision, entry: Entry, payload: Payload, going: list[Payload], held: list[Held]
    ) -> None:
        if decision is Decision.LOOK_UP:
            going.append(replace(payload, doubted_at=entry.sent_at))
        elif decision is Decision.SKIP:
            text = f"run {entry.run_id} has delivered it"
            held.append(Held(payload.source, payload.row, Status.SKIPPED, "already_loaded", text))
        else:
            text = f"run {entry.run_id} may have delivered it, and nothing can tell"
            held.append(Held(payload.source, payload.row, Status.UNKNOWN, "in_doubt_elsewhere", text))


def suppressed(source: int, row: int) -> Held:
    """A row whose number must not be contacted."""
    return Held(source, row, Status.SKIPPED, "suppressed", "the number is on the mapping's suppress list")


def _rows(path: Path, columns: Sequence[str]) -> Iterator[pa.Table]:
    for rows in pq.ParquetFile(path).iter_batches(BATCH_ROWS, columns=list(columns)):
        yield pa.Table.from_batches([rows])


def _payloads(number: int, rows: pa.Table) -> list[Payload]:
    columns = rows.drop_columns("status").to_pydict()
    return [
        Payload(number, row, key, phone or "", identifier, client or "", body.encode(), digest)
        for row, key, phone, identifier, client, body, digest in zip(*columns.values(), strict=True)
    ]
