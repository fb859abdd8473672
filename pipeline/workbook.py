"""Excel and OpenDocument sheets as text in an Arrow stream, parsed in a child process.

A hostile workbook can make the parser abort its process or raise a panic that `except Exception`
misses: the child is bounded in memory and time, and its death is an InputError here. What it does is in
`pipeline.sheets`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.model import DiskError, InputError
from pipeline.sheets.look import letters
from pipeline.sheets.model import RESAVE, Bounds, Sheet
from pipeline.words import plain

__all__ = ["Bounds", "Sheet", "convert", "merge_notes", "stream"]

_MERGES_SHOWN = 5


def convert(
    path: Path, kind: str, sheet: str | None, spool_dir: Path, bounds: Bounds | None = None
) -> tuple[Sheet, Path]:
    """The sheet chosen of a workbook of this kind (xlsx, xls, xlsb, ods), and its text in `spool_dir`.

    The text is an Arrow stream, mode 0600: `row` int64, then columns c0, c1, … of the used range.
    Raises InputError where the workbook can't be parsed or where no sheet can be chosen, DiskError where there is no
    room for the text or for what it is made of.
    """
    bounds = bounds or Bounds()
    handle, name = tempfile.mkstemp(dir=spool_dir, prefix="sheet-", suffix=".arrow")
    os.close(handle)
    spool = Path(name)
    copy = spool.with_suffix(f".unpacked.{kind}")
    try:
        with _extension(path, kind, spool) as workbook:
            task = {"path": str(workbook), "kind": kind, "sheet": sheet, "spool": str(spool), "copy": str(copy)}
            return _sheet(_run_child({**task, "bounds": asdict(bounds)}, bounds.seconds)), spool
    except BaseException:
        spool.unlink(missing_ok=True)
        raise
    finally:
        copy.unlink(missing_ok=True)  # a child that was killed has left it


@contextmanager
def _extension(path: Path, kind: str, spool: Path) -> Iterator[Path]:
    """A path to the workbook that is text, and whose extension tells the truth: the parser goes by it."""
    if plain(str(path)) == str(path) and path.suffix.lower() in {f".{kind}", ".xlsm" if kind == "xlsx" else ""}:
        yield path
        return
    link = spool.with_suffix(f".{kind}")
    link.symlink_to(path.resolve())
    try:
        yield link
    finally:
        link.unlink()


def _run_child(task: dict[str, Any], seconds: int) -> dict[str, Any]:
    # -P: a folder named pipeline beside the list must not be what is imported.
    command = [sys.executable, "-P", "-m", "pipeline.sheets"]
    try:
        child = subprocess.run(  # noqa: S603  # our own module, no shell
            command, input=json.dumps(task), text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            timeout=seconds, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise InputError(f"the workbook took more than {seconds} s to parse; {RESAVE}") from None
    if child.returncode != 0:
        raise InputError(f"the workbook can't be parsed ({_death(child.returncode)}); {RESAVE}")
    answer: dict[str, Any] = json.loads(child.stdout)
    if "refused" in answer:
        raise InputError(answer["refused"])
    if "full" in answer:
        raise DiskError(f"{Path(task['spool']).parent}: can't be written: {answer['full']}; make room there")
    return answer


def _death(code: int) -> str:
    if code == -signal.SIGXCPU:
        return "it took too much processor time"
    if code < 0:
        return f"it is damaged or needs too much memory: the parser ended with {signal.Signals(-code).name}"
    return "it is damaged, or needs too much memory"


def _sheet(answer: dict[str, Any]) -> Sheet:
    lists = {"sheets": tuple(answer["sheets"]), "notes": tuple(answer["notes"])}
    return Sheet(**{**answer, **lists, "merged": tuple(map(tuple, answer["merged"]))})


def stream(spool: Path) -> Iterator[pa.RecordBatch]:
    """The batches that a child wrote to `spool`."""
    with pa.OSFile(str(spool), "rb") as file, pa.ipc.open_stream(file) as reader:
        yield from reader


def merge_notes(sheet: Sheet, header_row: int) -> tuple[str, ...]:
    """What merged cells do to the rows below the header, and to the header."""
    notes: tuple[str, ...] = ()
    below = [area for area in sheet.merged if area[0] > header_row]
    across = [area for area in sheet.merged if area[0] <= header_row < area[2] and header_row]
    if across:
        notes += (
            f"cells of the header (row {header_row}) are merged with the rows below it ({_areas(across)}): if the "
            f"columns' names end in row {max(area[2] for area in across)}, set header_row to that",
        )
    if below:
        more = " or more" if sheet.merges > len(sheet.merged) else ""
        notes += (
            f"merged cells among the rows: {len(below):,}{more} ({_areas(below)}); only the first cell of each holds "
            "the value, and the others are blank: unmerge them and fill each row",
        )
    return notes


def _areas(areas: list[tuple[int, int, int, int]]) -> str:
    shown = [f"{letters(a[1])}{a[0]}:{letters(a[3])}{a[2]}" for a in areas[:_MERGES_SHOWN]]
    return ", ".join(shown) + (f" and {len(areas) - _MERGES_SHOWN:,} more" if len(areas) > _MERGES_SHOWN else "")
