"""Which rows are one worker's: those that share a phone or an identifier, be it by way of others."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipeline.partitions import Division, Links

IDENTIFIERS = st.sampled_from(["", *(f"ClientId:{n}" for n in range(8))])
PHONES = st.sampled_from(["", *(f"20255501{n:02d}" for n in range(8))])
KEYS = ("identifier", "row_key")
ROWS = st.lists(st.tuples(IDENTIFIERS, PHONES))


def table(rows: Sequence[tuple[str, str]]) -> pa.Table:
    """Rows of (identifier, phone), each with a key of its own."""
    columns = {
        "identifier": pa.array([one[0] for one in rows], pa.string()),
        "phone": pa.array([one[1] or None for one in rows], pa.string()),
        "row_key": pa.array([f"{at:032x}" for at in range(len(rows))], pa.string()),
    }
    return pa.table(columns)


def division(rows: pa.Table, partitions: int, *, at_once: int = 3) -> Division:
    """The rows, which came some at a time, divided."""
    links = Links()
    for at in range(0, rows.num_rows, at_once):
        links.note(rows.slice(at, at_once))
    return Division(partitions, links.linked())


@given(ROWS, st.integers(1, 5))
def test_rows_that_share_a_phone_or_an_identifier_are_in_one_partition(
    rows: list[tuple[str, str]], partitions: int
) -> None:
    of = division(table(rows), partitions).of(table(rows)).tolist()
    assert all(0 <= part < partitions for part in of)
    for place in (0, 1):
        for shared in {row[place] for row in rows} - {""}:
            assert len({part for part, row in zip(of, rows, strict=True) if row[place] == shared}) == 1


@given(ROWS)
def test_a_row_has_the_same_partition_wherever_it_comes_up(rows: list[tuple[str, str]]) -> None:
    """Workers, a client that comes back, and what the journal has are divided alike."""
    whole = table(rows)
    divided = division(whole, 3)
    of = divided.of(whole).tolist()
    assert divided.of(whole.slice(1)).tolist() == of[1:]
    backwards = division(whole.take(pa.array(range(len(rows)), pa.int64())[::-1]), 3, at_once=2)
    assert backwards.of(whole).tolist() == of
    journal = pa.table({"seq": range(len(rows)), "phone": whole["phone"].fill_null(""), **{n: whole[n] for n in KEYS}})
    assert divided.of(journal).tolist() == of


def test_a_chain_of_many_rows_is_one_workers() -> None:
    """Each row shares its phone with the one before, and its identifier with the one after."""
    places = [at * 7919 % 20_000 for at in range(20_000)]  # each once, in no order
    chain = [(f"ClientId:{place // 2}", str(2_000_000_000 + (place + 1) // 2)) for place in places]
    assert len(set(division(table(chain), 4, at_once=700).of(table(chain)).tolist())) == 1


def test_rows_that_share_nothing_are_spread() -> None:
    """No partition has much more than its share."""
    rows = table([(f"ClientId:{at}", str(2_025_550_000 + at)) for at in range(4_000)])
    of = division(rows, 4).of(rows)
    assert all(900 < (of == part).sum() < 1_100 for part in range(4))
