"""Converts the sheet that the JSON on standard input asks for; answers in JSON: `python -m pipeline.sheets`."""

from __future__ import annotations

import errno
import gc
import json
import os
import sys
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.sheets.choice import choose
from pipeline.sheets.model import RESAVE, Book, Bounds, RefusedError, Sheet
from pipeline.sheets.spool import write

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class _NoPandas:
    """Has this process do without pandas: Arrow loads it, where it can, to know whether what it is given is of it."""

    def find_spec(self, name: str, *_: object) -> None:
        """Says of pandas that there is none, and nothing of any other."""
        if name == "pandas":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def main() -> None:
    """Answers with a Sheet, or with `refused`: a sentence, or with `full`: why nothing more can be written."""
    sys.meta_path.insert(0, _NoPandas())
    task = json.load(sys.stdin)
    bounds = Bounds(**task.pop("bounds"))
    _bind(bounds)
    gc.disable()  # millions of cells come and go, and none of them refers to another
    try:
        answer = asdict(_convert(task, bounds))
    except RefusedError as refused:
        answer = {"refused": str(refused)}
    except Exception as error:  # noqa: BLE001  # whatever a file causes is told in one line, and nothing is lost by it
        answer = _failure(error)
    json.dump(answer, sys.stdout)


def _failure(error: Exception) -> dict[str, str]:
    if isinstance(error, OSError) and error.errno in _FULL:
        return {"full": os.strerror(error.errno)}
    reason = " ".join(f"{type(error).__name__} {error}".split())[:200]
    return {"refused": f"the workbook can't be parsed ({reason}); {RESAVE}"}


def _bind(bounds: Bounds) -> None:
    """Limits this process; where the system has no such limits, only the parent's clock holds."""
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (bounds.seconds, bounds.seconds + 5))
        if sys.platform != "darwin":  # which refuses the limit
            resource.setrlimit(resource.RLIMIT_AS, (bounds.memory_bytes, bounds.memory_bytes))


def _convert(task: dict[str, Any], bounds: Bounds) -> Sheet:
    with opened(Path(task["path"]), task["kind"], bounds, Path(task["copy"])) as book:
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


def opened(path: Path, kind: str, bounds: Bounds, copy: Path) -> AbstractContextManager[Book]:
    """The workbook; only the library that reads its kind is loaded."""
    if kind == "xls":
        from pipeline.sheets import xls

        return xls.opened(path)
    from pipeline.sheets import zipped

    return zipped.opened(path, kind, bounds, copy)


if __name__ == "__main__":
    main()
