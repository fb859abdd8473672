"""Calling hours: where somebody may be, when it is open there, and when it opens again."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from conftest import AREAS, by_day
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import hours
from pipeline.hours import NEVER, CallingHours, place
from pipeline.model import Place
from schemas.catalogue import CATALOGUE
from schemas.hours import AS_OF, FEDERAL, STATES

DC, ST_LOUIS, DENVER = "2025550100", "3145550100", "3035550100"
ANYTIME = CallingHours()


def at(text: str, zone: str = "UTC") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


def opening(of: Place, now: datetime, span: CallingHours = ANYTIME) -> str | None:
    found = span.opening(of, now)
    return found and found.told(now)


# Where


@pytest.mark.parametrize(
    ("given", "zones", "states"),
    [
        ((DC, "", ""), {"America/New_York"}, set()),
        ((DC, "90210", ""), {"America/New_York", "America/Los_Angeles"}, set()),
        ((ST_LOUIS, "73301-0001", "FL"), {"America/Chicago", "America/New_York"}, {"TX", "FL"}),
        (("8505550100", "", ""), {"America/New_York", "America/Chicago"}, {"FL"}),
        (("5035550100", "98660", ""), {"America/Los_Angeles"}, {"OR", "WA"}),
        (("4165550100", "", ""), {"America/Toronto"}, set()),
        (("4155550100", "", "FL"), {"America/Chicago", "America/Los_Angeles", "America/New_York"}, {"FL"}),
        (("4155550100", "33101", "FL"), {"America/Los_Angeles", "America/New_York"}, {"FL"}),
        ((DC, "", "Florida"), {"America/New_York"}, set()),  # no two letters: the mapping has cleaned it otherwise
        (("7875550100", "", "PR"), {"America/Puerto_Rico"}, set()),
    ],
)
def test_a_person_may_be_where_phone_zip_and_state_say(
    given: tuple[str, str, str], zones: set[str], states: set[str]
) -> None:
    """All of the zones count, and of the states those whose hours are tighter than the federal ones."""
    assert place(*given) == Place(tuple(sorted(zones)), tuple(sorted(states)))


@pytest.mark.parametrize(("phone", "zip_code", "state"), [("8005550100", "", ""), ("2995550100", "00000", "")])
def test_who_may_be_anywhere_is_contacted_when_it_is_open_everywhere(phone: str, zip_code: str, state: str) -> None:
    """In every zone from New York to Honolulu, by the hours of every state."""
    of = place(phone, zip_code, state)
    assert {"America/New_York", "Pacific/Honolulu"} <= set(of.zones)
    assert set(of.states) == set(STATES)
    assert opening(of, at("2030-01-02 16:59", "America/New_York")) is None
    assert opening(of, at("2030-01-02 09:59", "Pacific/Honolulu")) is not None
    assert opening(of, at("2030-01-06 16:30", "America/New_York")) is not None  # a Sunday


@pytest.mark.parametrize(("zip_code", "state"), [("09012", ""), ("", "AP"), ("96201", "AP"), ("34002", "FL")])
def test_at_a_military_post_office_no_hour_is_known_to_be_fit(zip_code: str, state: str) -> None:
    """It may be on any continent."""
    assert ANYTIME.opening(place(DC, zip_code, state), by_day()) is NEVER
    assert NEVER.told(by_day()).startswith("at no hour")


def test_every_area_code_of_the_country_has_a_state() -> None:
    """The names of the area codes are read as they are written; these have hours of their own."""
    told = {"312": "IL", "313": "MI"}
    told |= {"205": "AL", "860": "CT", "727": "FL", "502": "KY", "504": "LA", "617": "MA", "410": "MD", "612": "MN"}
    told |= {"601": "MS", "505": "NM", "702": "NV", "405": "OK", "503": "OR", "401": "RI", "605": "SD", "512": "TX"}
    told |= {"801": "UT", "206": "WA", "307": "WY"}
    assert {area: place(f"{area}5550100", "", "").states for area in told} == {a: (s,) for a, s in told.items()}
    assert set(told.values()) == set(STATES)


def test_places_are_read_from_the_rows_of_a_part() -> None:
    """From the phone, and from ZIP and state as they are sent; a row without a payload has its phone alone."""
    bodies = ["Campaign=A&ZipCode=90210-1234&State=CA", "State=FL&Notes=ZipCode%3D02139", "ZipCode=2139&State=fl", None]
    part = pa.table({"phone": [DC, DC, DC, None], "payload": pa.array(bodies, pa.string())})
    found = hours.places(CATALOGUE["InsertLead"], part)
    assert found == [place(DC, "90210", "CA"), place(DC, "", "FL"), place(DC, "", ""), place("", "", "")]
    assert hours.places(CATALOGUE["TextOperations.SendSms"], part)[0] == place(DC, "", "")


# When


@pytest.mark.parametrize(
    ("local", "is_open"),
    [("07:59:59", False), ("08:00", True), ("20:29:59", True), ("20:30", False), ("23:00", False), ("00:00", False)],
)
def test_it_is_open_from_eight_until_half_an_hour_before_nine(local: str, is_open: bool) -> None:
    """The last half hour is for the calls that follow what was sent."""
    assert (opening(place(DC, "", ""), at(f"2030-01-06 {local}", "America/New_York")) is None) is is_open


def test_of_several_zones_all_must_be_open() -> None:
    """A New York phone with a Californian ZIP: from eight in the west until half past eight in the east."""
    of = place(DC, "90210", "")
    assert opening(of, at("2030-01-02 08:00", "America/New_York")) == "from 8:00 America/Los_Angeles, in 3 h"
    assert opening(of, at("2030-01-02 08:00", "America/Los_Angeles")) is None
    assert opening(of, at("2030-01-02 20:29", "America/New_York")) is None
    late = at("2030-01-02 20:30", "America/New_York")
    assert opening(of, late) == "from 8:00 America/Los_Angeles, in 14 h 30 min"


def test_places_that_are_too_far_apart_are_never_open() -> None:
    """Rhode Island's afternoon is Guam's night."""
    assert opening(place("4015550100", "96910", ""), by_day()) == NEVER.told(by_day())


@pytest.mark.parametrize(
    ("phone", "zone", "local", "told"),
    [
        ("5125550100", "America/Chicago", "2030-01-05 08:00", "from 9:00 America/Chicago, in 1 h"),
        ("5125550100", "America/Chicago", "2030-01-06 09:00", "from 12:00 America/Chicago, in 3 h"),
        ("2055550100", "America/Chicago", "2030-01-06 12:00", "from 8:00 America/Chicago, in 20 h"),
        ("5025550100", "America/New_York", "2030-01-04 09:15", "from 10:00 America/New_York, in 45 min"),
        ("4015550100", "America/New_York", "2030-01-05 16:30", "from 9:00 America/New_York, in 40 h 30 min"),
        ("6055550100", "America/Chicago", "2030-01-04 21:00", "from 9:00 America/Denver, in 61 h"),
        ("6175550100", "America/New_York", "2030-01-04 19:30", "from 8:00 America/New_York, in 12 h 30 min"),
    ],
)
def test_a_states_own_hours_are_tighter(phone: str, zone: str, local: str, told: str) -> None:
    """By weekday, Saturday and Sunday."""
    assert opening(place(phone, "", ""), at(local, zone)) == told


@pytest.mark.parametrize(
    ("zone", "before", "told"),
    [
        ("America/New_York", "2030-03-09 20:30", "from 8:00 America/New_York, in 10 h 30 min"),  # clocks go forward
        ("America/New_York", "2030-11-02 20:30", "from 8:00 America/New_York, in 12 h 30 min"),  # and back
        ("Asia/Kolkata", "2030-01-02 07:15", "from 8:00 Asia/Kolkata, in 45 min"),
    ],
)
def test_clocks_are_those_of_the_place(zone: str, before: str, told: str) -> None:
    """Daylight saving time and half-hour zones count as they are."""
    assert opening(Place((zone,), ()), at(before, zone)) == told


@settings(max_examples=60)
@given(
    st.sampled_from([*AREAS, "850", "907", "808", "671", "709", "401", "605", "205", "800"]),
    st.sampled_from(["", "90210", "02139", "96910", "99501", "73301", "79901"]),
    st.integers(0, 5 * 366 * 24 * 60).map(lambda minutes: at("2026-01-01") + timedelta(minutes=minutes)),
)
def test_an_opening_is_open_and_nothing_before_it_is(area: str, zip_code: str, now: datetime) -> None:
    """Looked at minute by minute, it is the first moment at which it is open in all of the zones."""
    of = place(f"{area}5550100", zip_code, "")
    found = ANYTIME.opening(of, now)
    if found is None:
        for zone in of.zones:
            local = now.astimezone(ZoneInfo(zone))
            assert FEDERAL.opens <= local.hour * 60 + local.minute < FEDERAL.closes - 30
    elif found.at is not None:
        assert ANYTIME.opening(of, found.at) is None
        minutes = int((found.at - now) / timedelta(minutes=1))
        for ahead in {*range(0, minutes, 15), max(minutes - 1, 0)}:
            assert ANYTIME.opening(of, now + timedelta(minutes=ahead)) == found


# As the mapping has it


def test_hours_of_ones_own_are_tighter() -> None:
    """They end half an hour early, too, and the state's still count."""
    given = CallingHours.parse("9:00 - 20:00")
    assert opening(place(DC, "", ""), at("2030-01-02 08:59", "America/New_York"), given) is not None
    assert opening(place(DC, "", ""), at("2030-01-02 19:29", "America/New_York"), given) is None
    assert opening(place(DC, "", ""), at("2030-01-02 19:30", "America/New_York"), given) is not None
    assert opening(place("5025550100", "", ""), at("2030-01-02 09:30", "America/New_York"), given) is not None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("7:00-20:00", "no wider"),
        ("8:00-21:30", "no wider"),
        ("20:00-9:00", "leaves no time"),
        ("9:00-9:30", "leaves no time"),
        ("always", "give hours"),
        ("9-20", "give hours"),
        ("9:00-24:30", "no wider"),
    ],
)
def test_hours_that_can_not_be(text: str, words: str) -> None:
    """Wider than the law's, without time, or no hours at all."""
    with pytest.raises(ValueError, match=words):
        CallingHours.parse(text)


def test_the_soonest_openings_are_told_first() -> None:
    """With how many rows each has; the last of many are one number."""
    now = at("2030-01-02 07:00", "America/New_York")
    phones = {DC: 5, ST_LOUIS: 4, DENVER: 3, "4155550100": 2, "8085550100": 1}
    openings = Counter({ANYTIME.opening(place(phone, "", ""), now): rows for phone, rows in phones.items()})
    openings[NEVER] = 7
    assert hours.summary(openings, now) == [
        "5 from 8:00 America/New_York, in 1 h",
        "4 from 8:00 America/Chicago, in 2 h",
        "3 from 8:00 America/Denver, in 3 h",
        "3 later",
        f"7 {NEVER.told(now)}",
    ]


def test_the_table_of_states_is_dated_and_tighter() -> None:
    """Each entry says where it is written, and has no hour that federal law does not have."""
    assert datetime.now(UTC).date() >= AS_OF
    for state in STATES.values():
        assert state.source
        assert len(state.week) == 7
        assert any(day != FEDERAL for day in state.week)
        assert all(FEDERAL.opens <= day.opens < day.closes <= FEDERAL.closes for day in state.week if day)
