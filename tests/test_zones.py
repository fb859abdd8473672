"""Time zones by area code and by ZIP."""

from __future__ import annotations

import pytest

from pipeline import zones


@pytest.mark.parametrize(
    ("area", "expected"),
    [
        ("202", {"America/New_York"}),
        ("850", {"America/New_York", "America/Chicago"}),
        ("671", {"Pacific/Guam"}),
        ("364", {"America/New_York", "America/Chicago"}),
        ("448", {"America/New_York", "America/Chicago"}),
        ("458", {"America/Los_Angeles", "America/Denver"}),
        ("689", {"America/New_York"}),
        ("930", {"America/New_York", "America/Chicago"}),
        ("999", set()),
        ("800", set()),
    ],
)
def test_an_area_code_has_the_zones_of_all_its_exchanges(area: str, expected: set[str]) -> None:
    """Some area codes are in two zones, some are of no place."""
    assert set(zones.of_area_code(area)) == expected


@pytest.mark.parametrize(
    ("zip5", "expected"),
    [
        ("02139", ("America/New_York",)),
        ("85001", ("America/Phoenix",)),
        ("96799", ("Pacific/Pago_Pago",)),
        ("02100", ("America/New_York",)),  # there is none: as its neighbours
        ("09012", ()),  # a military post office abroad
        ("00000", ()),
    ],
)
def test_a_zip_has_the_zone_of_its_place(zip5: str, expected: tuple[str, ...]) -> None:
    """A ZIP that is not known has the zones of those with the same first digits; where none is, nobody knows."""
    assert zones.of_zip(zip5) == expected
