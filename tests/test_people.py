"""Suppressed numbers: found in every spelling in which a lead would be called, and looked up by the million."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from conftest import AREAS, by_day, settled, write, write_csv
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import people, suppress
from pipeline.clean import CleanOptions, clean
from pipeline.mapping import Policy
from pipeline.model import InputError


def listed(folder: Path, *cells: str) -> list[int]:
    """The numbers that a suppress file with these cells protects."""
    write_csv(folder / "dnc.csv", [["number", "why"], *([cell, "asked"] for cell in cells)])
    return suppress.read(Policy(suppress="dnc.csv"), folder, folder, by_day()).numbers.tolist()


@pytest.mark.parametrize(
    "cell",
    [
        "2025550100",
        "202\u2011555\u20110100",
        "202\u2013555\u20130100",
        "202\xa0555\xa00100",
        "(202)\xa0555-0100",
        "202/555/0100",
        "202\xb7555\xb70100",
        "202 (555) 0100",
        "0012025550100",
        "+1 (202) 555-0100",
        "202\u200b5550100",
        "202-\u200b555-0100\ufeff",
        "2025550100.0",
        "12025550100.00",
        "\uff12\uff10\uff12-555-0100",
        "202 - - - 555 - - - 0100",
        "202          555-0100",
        "202-555-0100 x5",
        "Phone 202-555-0100, after 17:00",
        "Room 100 1202555-0100",
        "202_555_0100",
        "2,025,550,100",
        "12,025,550,100.00",
    ],
)
def test_a_suppressed_number_is_found_in_any_spelling(tmp_path: Path, cell: str) -> None:
    """Signs, spaces and words around or between the digits protect nobody less."""
    assert 2025550100 in listed(tmp_path, cell)


@pytest.mark.parametrize("cell", ["202-555-0100 / 303-555-0199", "home: 2025550100, office: 3035550199"])
def test_every_number_of_a_cell_is_suppressed(tmp_path: Path, cell: str) -> None:
    """Both people who share a cell are protected."""
    assert listed(tmp_path, cell) == [2025550100, 3035550199]


@pytest.mark.parametrize(
    "text",
    ["202,5550100\n303,5550199\n", "who,area,phone\nAda,(202),555-0100\nBen,303,5550199,moved\n"],
    ids=["as the register has it", "among others, in a longer row"],
)
def test_an_area_code_may_have_a_column_of_its_own(tmp_path: Path, text: str) -> None:
    """The phone begins in one cell and ends in the next."""
    settled(write(tmp_path / "dnc.csv", text))
    found = suppress.read(Policy(suppress="dnc.csv"), tmp_path, tmp_path, by_day())
    assert found.numbers.tolist() == [2025550100, 3035550199]


@pytest.mark.parametrize("cell", ["2.0255501E+09", "2,0255501E+09", " 2E9", "2.0255501E+09\xa0"])
def test_a_number_that_lost_digits_is_refused(tmp_path: Path, cell: str) -> None:
    """Whom it meant can't be known, so that the list can't be trusted."""
    with pytest.raises(InputError, match="digits were lost"):
        listed(tmp_path, "2025550100", cell)


@pytest.mark.parametrize("cell", ["", "555-0100", "20255501", "20255501002025550101", "2012-01-02 08"])
def test_what_is_no_phone_suppresses_nobody(tmp_path: Path, cell: str) -> None:
    """Other digits leave the rest of the list as it is."""
    assert listed(tmp_path, cell, "3035550199") == [3035550199]


_MARKS = "-.()/ \xb7\u2010\u2011\u2012\u2013\u2014\u2015\u2022\u2212\xa0\u2009\u202f\u3000,;_*\t"
_UNSEEN = "\u200b\u200c\xad\u2060\ufeff\x1f"
_GAPS = st.text(st.sampled_from(_MARKS + _UNSEEN), max_size=5)


@st.composite
def spellings(draw: st.DrawFn) -> str:
    """A phone as somebody may have typed it; not all of them are taken for leads."""
    prefix = draw(st.sampled_from(["", "", "1", "+1", "+ 1", "(1", "(+1)", "001", "00 1"]))
    area, line = draw(st.sampled_from(AREAS)), f"01{draw(st.integers(0, 99)):02}"
    parts = [prefix + draw(_GAPS) if prefix else "", draw(st.sampled_from(["", "("])) + area, "555", line]
    end = draw(st.sampled_from(["", "", ".0", ".00", ".", ")", " -", "\xa0", " x5"]))
    return parts[0] + parts[1] + draw(_GAPS) + parts[2] + draw(_GAPS) + parts[3] + end


@settings(max_examples=60)
@given(st.lists(spellings(), min_size=1, max_size=30))
def test_whatever_is_called_can_be_suppressed(cells: list[str]) -> None:
    """Every spelling in which a lead's phone is accepted is found in a suppress file."""
    done = clean("us_phone", "PrimaryPhone", pa.array(cells), CleanOptions(), {})
    refused = set(done.problems["position"].to_pylist())
    accepted = {int(value) for i, value in enumerate(done.values.to_pylist()) if i not in refused}
    with tempfile.TemporaryDirectory() as folder:
        found = set(listed(Path(folder), *cells, "2125550199"))
    assert accepted <= found


PHONES = ["2025550100", None, "", "2025550101", "12025550100", "202-555-0100", "x", "0000000000", "9995550199"]


@pytest.mark.parametrize("chunks", [1, 2])
@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([], []),
        ([2025550100], ["2025550100"]),
        ([0, 2025550100, 2025550102, 9995550199], ["2025550100", "0000000000", "9995550199"]),
        ([3035550100], []),
    ],
)
def test_phones_are_looked_up_among_the_numbers(chunks: int, numbers: list[int], expected: list[str]) -> None:
    """Ten digits that are on the list are suppressed; nothing else is, null neither."""
    column = pa.chunked_array([pa.array(PHONES, pa.string())] * chunks)
    for phones in (column, column.combine_chunks()):
        barred = people.is_suppressed(phones, np.array(numbers, dtype=np.int64))
        assert barred.dtype == np.bool_
        assert [p for p, yes in zip(PHONES * chunks, barred, strict=True) if yes] == expected * chunks


@pytest.mark.parametrize("numbers", [[], [2025550100]])
def test_no_phones_are_looked_up(numbers: list[int]) -> None:
    """A batch in which nothing is valid has nobody to suppress."""
    assert people.is_suppressed(pa.array([], pa.string()), np.array(numbers, dtype=np.int64)).tolist() == []
