"""Converts the sheet that the JSON on standard input asks for; answers in JSON: `python -m pipeline.sheets`."""

from __future__ import annotations

import gc
import json
import sys
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.sheets.choice import choose
from pipeline.sheets.model import RESAVE, Book, Bounds, RefusedError, Sheet
from pipeline.sheets.spool import write


def main() -> None:
    """Answers with a Sheet, or with `refused`: a sentence."""
    task = json.load(sys.stdin)
    bounds = Bounds(**task.pop("bounds"))
    _bind(bounds)
    gc.disable()  # millions of cells come and go, and none of them refers to another
    try:
        answer = asdict(_convert(task, bounds))
    except RefusedError as refused:
        answer = {"refused": str(refused)}
    except Exception as error:  # noqa: BLE001  # whatever a file causes is told in one line, and nothing is lost by it
        reason = " ".join(f"{type(error).__name__} {error}".split())[:200]
        answer = {"refused": f"the workbook can't be parsed ({reason}); {RESAVE}"}
    json.dump(answer, sys.stdout)


def _bind(bounds: Bounds) -> None:
    """Limits this process; where the system has no such limits, only the parent's clock holds."""
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (bounds.seconds, bounds.seconds + 5))
        if sys.platform != "darwin":  # which refuses the limit
            resource.setrlimit(resource.RLIMIT_AS, (bounds.memory_bytes, bounds.memory_bytes))


def _convert(task: dict[str, Any], bounds: Bounds) -> Sheet:
    with opened(Path(task["path"]), task["kind"], bounds) as book:
        chosen = choose(book, task["sheet"])
        grid, look = book.read(chosen.name)
        written = write(grid, look, Path(task["spool"]))
        return Sheet(
            name=chosen.name,
            sheets=tuple(table.name for table in book.tables),
            rows=written.rows,
            last_row=written.last_row,
            first_column=written.first_column,
            merged=tuple(look.merged),
            merges=look.merges,
            notes=chosen.notes + written.notes,
        )


def opened(path: Path, kind: str, bounds: Bounds) -> AbstractContextManager[Book]:
    """The workbook; only the library that reads its kind is loaded."""
    if kind == "xls":
        from pipeline.sheets import xls

        return xls.opened(path)
    from pipeline.sheets import zipped

    return zipped.opened(path, kind, bounds)


if __name__ == "__main__":
    main()
