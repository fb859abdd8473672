"""Which rows of a run one worker sends: those that share a phone or an identifier are in one partition. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

COLUMNS = ("phone", "identifier", "row_key")  # a row goes by the first that it has

_Numbers = npt.NDArray[np.uint64]  # hashes of phones, identifiers and keys


class Linked(NamedTuple):
    """What goes by another's number, since rows of one identifier have both: ascending, and what each goes by."""

    numbers: _Numbers
    by: _Numbers


_NOTHING = Linked(np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.uint64))


@dataclass(frozen=True, slots=True, eq=False)
class Division:
    """Into how many partitions a run's rows are divided, and what goes by another's number."""

    partitions: int = 1
    linked: Linked = _NOTHING

    def of(self, rows: pa.Table) -> npt.NDArray[np.int64]:
        """The partition of each row, from 0; of the same rows it is the same in every process."""
        if self.partitions == 1 or not rows.num_rows:
            return np.zeros(rows.num_rows, dtype=np.int64)
        found, (numbers, by) = _goes_by(rows), self.linked
        if len(numbers):
            at = np.minimum(np.searchsorted(numbers, found), len(numbers) - 1)
            found = np.where(numbers[at] == found, by[at], found)
        return (found % np.uint64(self.partitions)).astype(np.int64)


class Links:
    """Finds what has to go together: all that rows of one identifier go by. 16 bytes for each row that has one."""

    def __init__(self) -> None:
        self._pairs: list[list[_Numbers]] = [[] for _ in range(1 << _BUCKET_BITS)]

    def note(self, rows: pa.Table) -> None:
        """Takes in some of the rows."""
        named = rows.filter(pc.not_equal(rows["identifier"], ""))
        pairs = np.stack([_hashed(named["identifier"].combine_chunks()), _goes_by(named)])
        buckets = pairs[0] >> np.uint64(64 - _BUCKET_BITS)
        for bucket in np.unique(buckets):
            self._pairs[bucket].append(pairs[:, buckets == bucket])

    def linked(self) -> Linked:
        """What goes by another's number; nothing where each identifier has one phone, or none."""
        found = [_of_several(np.concatenate(pairs, axis=1)) for pairs in self._pairs if pairs]
        return _components(*np.concatenate(found, axis=1)) if found else _NOTHING


_BUCKET_BITS = 4  # identifiers are looked at by their first bits, so that sorting takes little memory


def _of_several(pairs: _Numbers) -> _Numbers:
    """The pairs (identifier, what a row goes by), each once and sorted, of identifiers that have more than one."""
    pairs = pairs[:, np.lexsort(pairs[::-1])]
    pairs = pairs[:, np.append(True, (pairs[:, 1:] != pairs[:, :-1]).any(axis=0))]
    again = np.concatenate([[False], pairs[0, 1:] == pairs[0, :-1], [False]])
    return pairs[:, again[:-1] | again[1:]]


def _components(groups: _Numbers, members: _Numbers) -> Linked:
    """Members of one group go by one number, the least; so do those of groups that share one. Groups are in order."""
    if not len(groups):
        return _NOTHING
    starts = np.flatnonzero(np.append(True, groups[1:] != groups[:-1]))
    sizes = np.diff(starts, append=len(groups))
    numbers, places = np.unique(members, return_inverse=True)
    by = np.arange(len(numbers))
    while True:
        least = np.repeat(np.minimum.reduceat(by[places], starts), sizes)
        if np.array_equal(by[places], least):
            break
        for at in (by[places], places):  # what a member goes by as well, or chains would take long
            np.minimum.at(by, at, least)
        by = by[by]
    is_other = by != np.arange(len(by))
    return Linked(numbers[is_other], numbers[by[is_other]])


def _goes_by(rows: pa.Table) -> _Numbers:
    texts = pa.nulls(rows.num_rows, pa.string())
    for name in COLUMNS:
        texts = pc.coalesce(texts, pc.if_else(pc.equal(column := rows[name].combine_chunks(), ""), None, column))
    return _hashed(texts)


def _hashed(texts: pa.Array) -> _Numbers:
    """The same in every process."""
    numbers: _Numbers = pd.util.hash_array(texts.to_numpy(zero_copy_only=False), categorize=False)
    return numbers
