"""The suppress files: numbers that must not be contacted, in whatever spelling, and how old the files are."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import source, workbook
from pipeline.clean.phone import ANYWHERE
from pipeline.clean.text import tidy
from pipeline.mapping import Policy
from pipeline.model import InputError, UserError

_LOST_DIGITS = re.compile(r"\d([.,]\d+)?[eE]\+?\d+")
_OTHER_DIGIT = re.compile(r"[^\D0-9]")  # full-width, Arabic, …
_AS_AN_AMOUNT = re.compile(r"[0-9]{1,2}(?:,[0-9]{3}){3}(?:\.0+)?")  # 2,025,550,100: a spreadsheet's number format
# A phone in two columns, as the national register gives them out: its area code, and the rest.
_AREA_CODE, _THE_REST = r"^\W*[2-9][0-9]{2}\W*$", r"^\W*[2-9][0-9]{2}\W*[0-9]{4}\W*$"
# What has no ten digits is no phone, and most cells beside phones have not; or they were a number that lost some.
_MAY_HOLD_ONE = r"(?:\p{Nd}\P{Nd}*){10}|\p{Nd}\W*[eE]"
_A_CLOCK_IS_OFF = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class SuppressFile:
    """One file that was read: `mtime` is ISO 8601, `numbers` is how many phones it holds."""

    path: str
    sha256: str
    mtime: str
    numbers: int


@dataclass(frozen=True, slots=True)
class Suppressed:
    """The numbers that must not be contacted, sorted, and the files that hold them."""

    numbers: npt.NDArray[np.int64]
    files: tuple[SuppressFile, ...] = ()

    def told(self) -> list[str]:
        """A line for each file."""
        return [
            f"{file.numbers:,} numbers of {file.path}, which was changed on {file.mtime[:10]}, are not contacted"
            for file in self.files
        ]


def read(policy: Policy, beside: Path, spool: Path, now: datetime) -> Suppressed:
    """Every 10-digit phone in the suppress files.

    A relative path is looked up in `beside`, where the mapping is, then in the working directory. Raises InputError
    where a file can't be read, holds no number, or is older than the policy allows: it would protect nobody.
    """
    numbers: list[npt.NDArray[np.int64]] = [np.empty(0, dtype=np.int64)]
    files = []
    for path in _paths(policy.suppress_files, beside):
        own, file = _read(path, spool)
        if policy.suppress_max_age_days is not None:
            _refuse_old(file, policy.suppress_max_age_days, now)
        numbers.append(own)
        files.append(file)
    return Suppressed(np.unique(np.concatenate(numbers)), tuple(files))


def _paths(named: Sequence[str], beside: Path) -> list[Path]:
    """The files, each once. Raises InputError for a glob that matches none: a missing file is told when it is read."""
    found: dict[Path, None] = {}
    for name in named:
        near = beside / name
        if near.exists() or not glob.has_magic(name):
            found[near if near.exists() else Path(name)] = None
            continue
        matches = sorted(glob.glob(str(near), recursive=True) or glob.glob(name, recursive=True))  # noqa: PTH207 absolute globs, too
        if not matches:
            raise InputError(f"[policy] suppress = {name!r}: no file matches; is it the right folder?")
        found |= dict.fromkeys(map(Path, matches))
    return list(found)


def _read(path: Path, spool: Path) -> tuple[npt.NDArray[np.int64], SuppressFile]:
    options = source.SourceOptions(header_row=0)
    try:
        inspection = source.inspect(path, options, spool)
        found = [_of_chunk(chunk) for chunk in source.read(inspection)]
        for sheet in inspection.sheets:
            if sheet != inspection.sheet:
                found += _of_sheet(path, inspection.format, sheet, spool)
    except UserError as error:
        raise InputError(f"[policy] suppress: {error}") from None
    numbers = np.unique(np.concatenate(found))
    if not len(numbers):
        raise InputError(f"[policy] suppress: {path}: no 10-digit phone number in it; is it the right file?")
    mtime = datetime.fromtimestamp(inspection.mtime_ns / 1e9, UTC).isoformat(timespec="seconds")
    return numbers, SuppressFile(str(path), inspection.sha256, mtime, len(numbers))


def _of_sheet(path: Path, kind: str, sheet: str, spool: Path) -> list[npt.NDArray[np.int64]]:
    """The numbers of one more sheet of a workbook, hidden or not: whoever is on it has asked as well."""
    _, text = workbook.convert(path, kind, sheet, spool)
    try:
        return [_numbers(batch.columns[1:]) for batch in workbook.stream(text)]
    finally:
        text.unlink()


def _refuse_old(file: SuppressFile, days: int, now: datetime) -> None:
    age = now - datetime.fromisoformat(file.mtime)
    if age < -_A_CLOCK_IS_OFF:
        raise InputError(
            f"[policy] suppress: {file.path} was changed on {file.mtime[:10]}, which is yet to come: nobody knows how "
            "old it is, and suppress_max_age_days asks; look at this machine's clock, or save the file again"
        )
    if age > timedelta(days=days):
        raise InputError(
            f"[policy] suppress: {file.path} was changed on {file.mtime[:10]}, more than {age.days} days ago, and "
            f"suppress_max_age_days = {days}: "
            "whoever has asked since not to be called is not in it; put a fresh one there"
        )


def _of_chunk(chunk: source.Chunk) -> npt.NDArray[np.int64]:
    ragged = [_numbers([pa.array([cell], pa.string()) for cell in row.cells]) for row in chunk.ragged]
    return np.concatenate([_numbers([pa.array(chunk.frame[name]) for name in chunk.frame.columns]), *ragged])


def _numbers(columns: Sequence[pa.Array]) -> npt.NDArray[np.int64]:
    """Every phone in every cell, whatever stands beside it: a number too many costs a lead, one too few a stranger."""
    cells = pa.chunked_array([*columns, *_divided(columns)], pa.string())
    plain = pc.match_substring_regex(cells, pattern=r"^[0-9]{10}$")
    others = cells.filter(pc.invert(plain))
    others = others.filter(pc.match_substring_regex(others, pattern=_MAY_HOLD_ONE)).unique()
    found = {int(number) for cell in others.to_pylist() for number in _listed(cell)}
    numbers = cells.filter(plain).cast(pa.int64()).to_numpy()
    return np.concatenate([numbers, np.fromiter(found, dtype=np.int64, count=len(found))])


def _divided(columns: Sequence[pa.Array]) -> list[pa.Array]:
    """The phones whose area code stands in the column before the rest."""
    found = []
    for area, rest in pairwise(columns):
        is_phone = pc.and_(pc.match_substring_regex(area, _AREA_CODE), pc.match_substring_regex(rest, _THE_REST))
        digits = (pc.replace_substring_regex(part.filter(is_phone), r"\W", "") for part in (area, rest))
        found.append(pc.binary_join_element_wise(*digits, ""))
    return found


def _listed(cell: str) -> set[str]:
    text = _plain(cell).replace("_", "-")
    if _AS_AN_AMOUNT.fullmatch(text):
        text = text.replace(",", "")
    if _LOST_DIGITS.fullmatch(text):
        raise InputError(
            f"the suppress file holds {cell!r}: digits were lost in a spreadsheet; export it again as text"
        )
    return numbers_in(text)


def numbers_in(text: str) -> set[str]:
    """Every phone in a text as ten digits, in whatever spelling and whatever stands beside it."""
    return {"".join(parts) for parts in ANYWHERE.findall(_plain(text))}


def _plain(text: str) -> str:
    fix = tidy(text)
    return _OTHER_DIGIT.sub(lambda digit: str(int(digit[0])), fix.value if fix else text)
