"""Which rows repeat others: counted over any chunks as a dictionary would, in whatever runs they are kept."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.repeats import Occurrences, Repeats

CHUNKS = st.lists(st.lists(st.integers(-3, 3) | st.sampled_from([-(2**63), 2**63 - 1]), max_size=8), max_size=12)


@given(CHUNKS, st.integers(1, 40))
def test_occurrences_count_like_a_counter(chunks: list[list[int]], longest: int) -> None:
    """Over any chunks, each number's occurrence is how many times it came so far."""
    occurrences, seen = Occurrences(longest), Counter[int]()
    for chunk in chunks:
        expected = []
        for n in chunk:
            seen[n] += 1
            expected.append(seen[n])
        assert occurrences.add(np.array(chunk, dtype=np.int64)).tolist() == expected


@given(CHUNKS, st.integers(0, 4), st.integers(1, 4), st.integers(1, 40))
def test_repeats_know_where_each_identity_stood(chunks: list[list[int]], groups: int, rows: int, longest: int) -> None:
    """The first and last place of each, and the identities that most rows share; 0 is nobody's."""
    repeats, stood = Repeats(longest), dict[int, list[int]]()
    for chunk in chunks:
        first = sum(map(len, stood.values()))
        for place, n in enumerate(chunk, first):
            stood.setdefault(n, []).append(place)
        repeats.note(np.array(chunk, dtype=np.int64), np.arange(first, first + len(chunk)))
    asked = np.array([4, *range(-4, 4), -(2**63), 2**63 - 1])
    assert repeats.first(asked).tolist() == [stood.get(n, [-1])[0] for n in asked.tolist()]
    assert repeats.last(asked).tolist() == [stood.get(n, [-1])[-1] for n in asked.tolist()]
    several = {n: places for n, places in stood.items() if n and len(places) > 1}
    shared = repeats.shared(groups, rows)
    assert (shared.groups, shared.rows) == (len(several), sum(map(len, several.values())))
    assert [group.rows for group in shared.largest] == sorted(map(len, several.values()), reverse=True)[:groups]
    for group in shared.largest:
        assert list(group.places) in [places[:rows] for places in several.values() if len(places) == group.rows]
