"""What a row costs the journal: `journal.py ROWS`, two durable writes a row, from 64 workers, and nothing else.

Prints the processor time per row in microseconds.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from pipeline import statedb
from pipeline.journal import Journal, Scope, open_journal
from pipeline.model import Judgement, Outcome, Payload, Status
from pipeline.transport import new_loop
from schemas.spec import Verdict

WORKERS = 64
_SAID = Judgement(Verdict.ACCEPTED, "ok", "", 200, "Result: OK")
_OUTCOME = Outcome(Status.ACCEPTED, "ok", _SAID, 1, 1.0, sent=True)


def payload(row: int) -> Payload:
    """A row's, which is ready before it is the journal's turn."""
    key = f"{row:032x}"
    return Payload(0, row, key, f"{row:010d}", "", key, b"", key * 2)


async def write(journal: Journal, rows: Iterator[Payload]) -> None:
    """Begins and settles rows until there are none left; like the push, it goes on while a settlement is written."""
    settled: asyncio.Future[bool] | None = None
    for one in rows:
        await journal.begin(one, one.row)
        settled = journal.settle(one, _OUTCOME, one.row)
    if settled is not None:
        await settled  # and so all before it


async def measured(journal: Journal, count: int) -> float:
    """Microseconds of processor a row."""
    rows = iter([payload(row) for row in range(count)])
    started = time.process_time()
    await asyncio.gather(*(write(journal, rows) for _ in range(WORKERS)))
    return (time.process_time() - started) / count * 1e6


def main(count: int) -> None:
    """Measures in a database of its own."""
    with tempfile.TemporaryDirectory(prefix="leads-bench-") as folder:
        state = statedb.engine(f"sqlite:///{Path(folder) / 'state.db'}")
        scope = Scope("run", "account", "InsertLead")
        with open_journal(state, scope) as journal, asyncio.Runner(loop_factory=new_loop) as runner:
            print(runner.run(measured(journal, count)))
        state.dispose()


if __name__ == "__main__":
    main(int(sys.argv[1]))
