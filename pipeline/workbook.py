"""Excel and OpenDocument sheets as text in an Arrow stream, parsed in a child process.

A hostile workbook can make the parser abort its process or raise a panic that `except Exception`
misses: the child is bounded in memory and time, and its death is an InputError here.

Cells become text. Exact whole numbers have no decimals; other numbers are the shortest digits that
mean the same. Dates are `2024-01-31`, date-times `2024-01-31 17:05:00` to the nearest second, times
`17:05:00`, durations `30:00:00`; truth values TRUE and FALSE. Known limit: python-calamine 0.9.1
returns nothing for cells with an error (`#N/A`) and for formulas without a cached value.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pyarrow as pa

from pipeline.files import plain
from pipeline.model import InputError

BATCH_ROWS = 20_000
_EXACT = 2**53  # from here on a floating-point number may stand for another whole number


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the child may use."""

    memory_bytes: int = 4 << 30
    seconds: int = 600


@dataclass(frozen=True, slots=True)
class Sheet:
    """A sheet as it was converted: rows that hold anything, the last row and the first column of the used range."""

    name: str
    sheets: tuple[str, ...]
    rows: int
    last_row: int
    first_column: int  # from 1
    large_numbers: int  # numeric cells that are whole and too large to be exact
    notes: tuple[str, ...]


class RefusedError(Exception):
    """The child's word that a workbook can't be used: a sentence for the user."""


def convert(
    path: Path, kind: str, sheet: str | None, spool_dir: Path, bounds: Bounds | None = None
) -> tuple[Sheet, Path]:
    """The sheet chosen of a workbook of this kind (xlsx, xls, xlsb, ods), and its text in `spool_dir`.

    The text is an Arrow stream, mode 0600: `row` int64, then columns c0, c1, … of the used range.
    Raises InputError where the workbook can't be parsed or where no sheet can be chosen.
    """
    bounds = bounds or Bounds()
    handle, name = tempfile.mkstemp(dir=spool_dir, prefix="sheet-", suffix=".arrow")
    os.close(handle)
    spool = Path(name)
    try:
        with _extension(path, kind, spool) as workbook:
            return _sheet(_run_child(workbook, sheet, spool, bounds)), spool
    except BaseException:
        spool.unlink(missing_ok=True)
        raise


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


def _run_child(path: Path, sheet: str | None, spool: Path, bounds: Bounds) -> dict[str, Any]:
    task = json.dumps({"path": str(path), "sheet": sheet, "spool": str(spool), "bounds": asdict(bounds)})
    # -P: a folder named pipeline beside the list must not be what is imported.
    command = [sys.executable, "-P", "-m", "pipeline.workbook"]
    try:
        child = subprocess.run(  # noqa: S603  # our own module, no shell
            command, input=task, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            timeout=bounds.seconds, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise InputError(f"the workbook took more than {bounds.seconds} s to parse; {_RESAVE}") from None
    if child.returncode != 0:
        raise InputError(f"the workbook can't be parsed ({_death(child.returncode)}); {_RESAVE}")
    answer: dict[str, Any] = json.loads(child.stdout)
    if "refused" in answer:
        raise InputError(answer["refused"])
    return answer


_RESAVE = "open it in Excel and save it as a new .xlsx, or as CSV"


def _death(code: int) -> str:
    if code == -signal.SIGXCPU:
        return "it took too much processor time"
    if code < 0:
        return f"it is damaged or needs too much memory: the parser ended with {signal.Signals(-code).name}"
    return "it is damaged, or needs too much memory"


def _sheet(answer: dict[str, Any]) -> Sheet:
    return Sheet(**{**answer, "sheets": tuple(answer["sheets"]), "notes": tuple(answer["notes"])})


def stream(spool: Path) -> Iterator[pa.RecordBatch]:
    """The batches that a child wrote to `spool`."""
    with pa.OSFile(str(spool), "rb") as file, pa.ipc.open_stream(file) as reader:
        yield from reader


# What follows runs in the child.


def main() -> None:
    """Converts the sheet that the JSON on standard input asks for; answers in JSON."""
    task = json.load(sys.stdin)
    bound(Bounds(**task["bounds"]))
    try:
        answer = asdict(_convert(Path(task["path"]), task["sheet"], Path(task["spool"])))
    except RefusedError as refused:
        answer = {"refused": str(refused)}
    except Exception as error:  # noqa: BLE001  # whatever a file causes is told in one line, and nothing is lost by it
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        answer = {"refused": f"the workbook can't be parsed ({reason}); {_RESAVE}"}
    json.dump(answer, sys.stdout)


def bound(bounds: Bounds) -> None:
    """Limits this process; where the system has no such limits, only the parent's clock holds."""
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (bounds.seconds, bounds.seconds + 5))
        if sys.platform != "darwin":  # which refuses the limit
            resource.setrlimit(resource.RLIMIT_AS, (bounds.memory_bytes, bounds.memory_bytes))


def _convert(path: Path, wanted: str | None, spool: Path) -> Sheet:
    import python_calamine as calamine

    try:
        workbook = calamine.CalamineWorkbook.from_path(path)
        name, notes = _choose(workbook, wanted)
        return _write(workbook, name, notes, spool)
    except calamine.PasswordError:
        raise RefusedError("the workbook is protected by a password; save it without one") from None
    except calamine.CalamineError as error:
        reason = " ".join(str(error).split())[:200]
        raise RefusedError(f"the workbook can't be parsed ({reason}); {_RESAVE}") from None


def _choose(workbook: Any, wanted: str | None) -> tuple[str, tuple[str, ...]]:
    """The sheet's name and notes: the one wanted, else the only visible one, else the only one that holds anything."""
    from python_calamine import SheetTypeEnum, SheetVisibleEnum

    tables = [meta for meta in workbook.sheets_metadata if meta.typ == SheetTypeEnum.WorkSheet]
    visible = [meta.name for meta in tables if meta.visible == SheetVisibleEnum.Visible]
    hidden = [meta.name for meta in tables if meta.visible != SheetVisibleEnum.Visible]
    notes = (f"hidden sheets, not read: {_listed(hidden)}",) if hidden and wanted is None else ()
    if wanted is not None:
        if wanted not in {meta.name for meta in tables}:
            raise RefusedError(f"there is no sheet {wanted!r}; its sheets are {_listed(visible + hidden)}")
        return wanted, notes
    if not visible:
        raise RefusedError(f"no sheet is visible; set sheet to one of {_listed(hidden) or 'none'}")
    if len(visible) == 1:
        return visible[0], notes
    filled = [name for name in visible if workbook.get_sheet_by_name(name).height]
    if len(filled) > 1:
        raise RefusedError(f"several sheets are visible; set sheet to one of {_listed(filled)}")
    empty = [name for name in visible if name not in filled[:1]]
    return (filled or visible)[0], (*notes, f"empty sheets, not read: {_listed(empty)}")


def _listed(names: Sequence[str]) -> str:
    """The first twenty names."""
    return ", ".join(repr(name) for name in names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")


class _Batch(NamedTuple):
    rows: list[int]
    columns: list[pa.Array]


def _write(workbook: Any, name: str, notes: tuple[str, ...], spool: Path) -> Sheet:
    sheet = workbook.get_sheet_by_name(name)
    schema = pa.schema([("row", pa.int64())] + [(f"c{i}", pa.string()) for i in range(sheet.width)])
    numbers = _Numbers()
    written = 0
    with pa.OSFile(str(spool), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        for batch in _batches(sheet.iter_rows() if sheet.height else iter(()), numbers):
            written += len(batch.rows)
            writer.write_batch(pa.record_batch([pa.array(batch.rows, pa.int64()), *batch.columns], schema=schema))
    names = tuple(workbook.sheet_names)
    first_column, last_row = (sheet.start[1] + 1, sheet.end[0] + 1) if sheet.height else (1, 0)
    return Sheet(name, names, written, last_row, first_column, numbers.large, notes)


def _batches(rows: Iterator[list[Any]], numbers: _Numbers) -> Iterator[_Batch]:
    """Rows that hold anything, by column and as text, with their numbers: iter_rows starts at row 1."""
    first = 1
    while block := list(islice(rows, BATCH_ROWS)):
        columns = [numbers.texts(column) for column in zip(*block, strict=True)]
        table = [pa.array(column, pa.string()) for column in columns]
        filled = [at for at, cells in enumerate(zip(*columns, strict=True)) if any(map(str.strip, cells))]
        if len(filled) < len(block):
            table = [column.take(pa.array(filled, pa.int64())) for column in table]
        yield _Batch([first + at for at in filled], table)
        first += len(block)


class _Numbers:
    """Makes cells text, and counts numbers that may have lost digits."""

    def __init__(self) -> None:
        self.large = 0

    def texts(self, column: Sequence[Any]) -> Sequence[str]:
        """The cells of a column as text."""
        if set(map(type, column)) == {str}:
            return column
        return [cell if type(cell) is str else self.text(cell) for cell in column]

    def text(self, cell: Any) -> str:
        """One cell as text."""
        if isinstance(cell, float) and cell.is_integer():
            self.large += abs(cell) >= _EXACT
            return str(int(cell))
        if type(cell) is int:
            self.large += abs(cell) >= _EXACT
        return _TEXT[type(cell)](cell)


def _date_time(value: dt.datetime) -> str:
    return (value + dt.timedelta(microseconds=500_000)).isoformat(sep=" ", timespec="seconds")


def _time(value: dt.time) -> str:
    seconds = value.hour * 3600 + value.minute * 60 + value.second + round(value.microsecond / 1e6)
    return _duration(dt.timedelta(seconds=min(seconds, 86_399)))


def _duration(value: dt.timedelta) -> str:
    """Hours, which may be more than 24, minutes and seconds."""
    minutes, seconds = divmod(round(abs(value).total_seconds()), 60)
    sign = "-" if value < dt.timedelta(0) else ""
    return f"{sign}{minutes // 60:02}:{minutes % 60:02}:{seconds:02}"


_TEXT: MappingProxyType[type, Callable[[Any], str]] = MappingProxyType(
    {
        str: str,
        int: str,
        float: repr,
        bool: lambda value: str(value).upper(),
        dt.datetime: _date_time,
        dt.date: dt.date.isoformat,
        dt.time: _time,
        dt.timedelta: _duration,
    }
)


if __name__ == "__main__":
    main()
