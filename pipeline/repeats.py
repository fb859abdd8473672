"""Which of many rows repeat others, told by 64-bit numbers in sorted runs: how often each came, and where.

A run takes in a chunk; runs of like length are merged, up to `longest`, since to merge takes some times what they take.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

_LONGEST = 1 << 20

_Numbers = npt.NDArray[np.int64]


class Occurrences:
    """How often each number has come so far; 8 bytes for each time."""

    def __init__(self, longest: int = _LONGEST) -> None:
        self._longest = longest
        self._runs: list[_Numbers] = []

    def add(self, numbers: _Numbers) -> _Numbers:
        """The occurrence of each, counted from 1 over all that came before, these included."""
        order = np.argsort(numbers, kind="stable")
        ordered = numbers[order]
        occurrence = np.empty_like(numbers)
        occurrence[order] = _within(ordered) + self._before(ordered)
        self._runs.append(ordered)
        while _are_alike([len(run) for run in self._runs[-2:]], self._longest):
            together = np.concatenate(self._runs[-2:])
            together.sort(kind="stable")  # which finds two sorted runs, and merges them
            self._runs[-2:] = [together]
        return occurrence

    def _before(self, ordered: _Numbers) -> _Numbers:
        """How often each of these sorted numbers came in earlier chunks: mostly never."""
        count = np.zeros(len(ordered), dtype=np.int64)
        for run in filter(len, self._runs):
            at = np.searchsorted(run, ordered)
            known = np.flatnonzero(run[np.minimum(at, len(run) - 1)] == ordered)
            count[known] += np.searchsorted(run, ordered[known], side="right") - at[known]
        return count


def _within(ordered: _Numbers) -> _Numbers:
    """Which of its kind each of these sorted numbers is, from 1."""
    at = np.arange(len(ordered))
    begins = np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)]
    within: _Numbers = at - np.maximum.accumulate(np.where(begins, at, 0)) + 1
    return within


def _are_alike(lengths: Sequence[int], longest: int) -> bool:
    """Whether the last two runs, of these lengths, are merged."""
    return len(lengths) == 2 and lengths[0] <= 2 * lengths[1] and sum(lengths) <= longest


@dataclass(frozen=True, slots=True)
class Group:
    """Rows of one identity: how many they are, and the places of the first of them."""

    rows: int
    places: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Shared:
    """Identities that came more than once: how many, how many rows they have together, and the largest of them."""

    groups: int
    rows: int
    largest: list[Group]


class Repeats:
    """Where each identity was seen: 16 bytes a row.

    A place is a number that grows as the rows come. The identity 0 means none.
    """

    def __init__(self, longest: int = _LONGEST) -> None:
        self._longest = longest
        self._runs: list[_Run] = []

    def note(self, identities: _Numbers, places: _Numbers) -> None:
        """Takes in the next rows."""
        self._runs.append(_sorted(identities, places))
        while _are_alike([len(run.places) for run in self._runs[-2:]], self._longest):
            self._runs[-2:] = [_merged(self._runs[-2:])]

    def first(self, identities: _Numbers) -> _Numbers:
        """The first place of each; -1 where it was not seen."""
        return self._at(identities, self._runs[::-1], "left")

    def last(self, identities: _Numbers) -> _Numbers:
        """The last place of each; -1 where it was not seen."""
        return self._at(identities, self._runs, "right")

    def shared(self, groups: int, rows: int) -> Shared:
        """What came more than once: the `groups` with most rows, the largest first, each with up to `rows` places."""
        found = [_shared(piece, groups, rows) for piece in self._pieces()]
        largest = sorted((group for one in found for group in one.largest), key=lambda group: -group.rows)[:groups]
        return Shared(sum(one.groups for one in found), sum(one.rows for one in found), largest)

    def _pieces(self) -> Iterator[_Run]:
        """All identities in order, some at a time: one and the same is never in two pieces."""
        longest = max((run.identities for run in self._runs), key=len, default=np.zeros(0, dtype=np.int64))
        count = sum(len(run.places) for run in self._runs) // self._longest + 1
        within = np.unique(longest[np.arange(1, count) * len(longest) // count]) if len(longest) else longest
        cuts = [np.searchsorted(run.identities, within).tolist() for run in self._runs]
        bounds = [pairwise([0, *cut, len(run.places)]) for cut, run in zip(cuts, self._runs, strict=True)]
        for ends in zip(*bounds, strict=True):
            parts = zip(self._runs, ends, strict=True)
            yield _merged([_Run(run.identities[a:b], run.places[a:b]) for run, (a, b) in parts])

    def _at(self, identities: _Numbers, runs: Iterable[_Run], side: Literal["left", "right"]) -> _Numbers:
        order = np.argsort(identities)  # looked for in order, neighbours lie in the same lines of the cache
        asked, places = identities[order], np.full(len(identities), -1, dtype=np.int64)
        for run in runs:
            at = np.searchsorted(run.identities, asked, side=side) - (side == "right")
            at = np.clip(at, 0, max(len(run.identities) - 1, 0))
            if len(run.identities):
                known = np.flatnonzero(run.identities[at] == asked)
                places[known] = run.places[at[known]]
        found = np.empty_like(places)
        found[order] = places
        return found


def _shared(run: _Run, groups: int, rows: int) -> Shared:
    """What came more than once in a run, as `Repeats.shared` has it."""
    starts = np.flatnonzero(np.append(len(run.places) > 0, run.identities[1:] != run.identities[:-1]))
    counts = np.diff(starts, append=len(run.places))
    several = (counts > 1) & (run.identities[starts] != 0)
    starts, counts = starts[several], counts[several]
    largest = np.argsort(-counts, kind="stable")[:groups]
    found = [
        Group(int(counts[at]), tuple(run.places[starts[at] :][: min(counts[at], rows)].tolist())) for at in largest
    ]
    return Shared(len(counts), int(counts.sum()), found)


class _Run(NamedTuple):
    """Sorted identities, and the places where they stood: ascending where identities are equal."""

    identities: _Numbers
    places: _Numbers


def _merged(runs: Sequence[_Run]) -> _Run:
    if not runs:
        return _Run(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
    order = np.argsort(np.concatenate([run.identities for run in runs]), kind="stable")
    # Joined anew, so that no more of this is in memory at a time than must be.
    identities = np.concatenate([run.identities for run in runs])[order]
    return _Run(identities, np.concatenate([run.places for run in runs])[order])


def _sorted(identities: _Numbers, places: _Numbers) -> _Run:
    order = np.argsort(identities, kind="stable")
    return _Run(identities[order], places[order])
