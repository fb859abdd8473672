"""What a row costs the journal: `journal.py ROWS`, two durable writes a row, from 32 workers, and nothing else.

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

WORKERS = 32
_SAID = Judgement(Verdict.ACCEPTED, "ok", "", 200, "Result: OK")
_OUTCOME = Outcome(Status.ACCEPTED, "ok", _SAID, 1, 1.0, sent=True)


async def write(journal: Journal, rows: Iterator[int]) -> None:
    """Begins and settles rows until there are none left; like the push, it goes on while a settlement is written."""
    settled: asyncio.Future[bool] | None = None
    for row in rows:
        key = f"{row:032x}"
        payload = Payload(0, row, key, f"{row:010d}", "", key, b"", key * 2)
        await journal.begin(payload, row)
        settled = journal.settle(payload, _OUTCOME, row)
    if settled is not None:
        await settled  # and so all before it


async def measured(journal: Journal, count: int) -> float:
    """Microseconds of processor a row."""
    rows = iter(range(count))
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
