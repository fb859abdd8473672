"""Where a customer may be: time zones by area code and by ZIP, from data that others keep up to date."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import NamedTuple
from zoneinfo import available_timezones

_COUNTRY = "1"  # the North American plan's
_NOBODYS = 555_0100  # a number in each area code
# Codes laid over the places of older ones, of which the data knows a part only: wrong zones, or not all of them.
_LAID_OVER = MappingProxyType({"364": "270", "448": "850", "458": "541", "689": "407", "930": "812"})


@cache
def of_area_code(area: str) -> tuple[str, ...]:
    """The IANA zones, sorted, in which phones of this area code (three digits) are; () where nobody knows.

    Someone who moved took the phone along: hence the ZIP as well.
    """
    return _by_area_code().get(_LAID_OVER.get(area, area), ())


def of_zip(zip5: str) -> tuple[str, ...]:
    """The IANA zones, sorted, of a ZIP (five digits), or of its first three where that one is not known; else ()."""
    places = _by_zip()
    return tuple(sorted(places.zones.get(zip5) or places.zones.get(zip5[:3]) or ()))


def states_of_zip(zip5: str) -> tuple[str, ...]:
    """The states, sorted, of a ZIP (five digits), or of its first three where that one is not known; else ().

    AA, AE and AP are the military post offices abroad.
    """
    places = _by_zip()
    return tuple(sorted(places.states.get(zip5) or places.states.get(zip5[:3]) or ()))


def of_state(state: str) -> tuple[str, ...]:
    """The IANA zones, sorted, of all ZIPs of a state (two letters); () where there is none."""
    return tuple(sorted(_by_zip().zones.get(state) or ()))


@cache
def place_name_of_area_code(area: str) -> str:
    """What an area code is named after, such as "Washington State" or "New York, NY"; "" where nobody knows."""
    from phonenumbers import PhoneNumber, geocoder  # its names take a second to load

    some = PhoneNumber(country_code=1, national_number=int(area) * 10_000_000 + _NOBODYS)
    return str(geocoder.description_for_number(some, "en"))


class _Places(NamedTuple):
    """By ZIP and by the first three digits of it; zones by state as well."""

    zones: Mapping[str, set[str]]
    states: Mapping[str, set[str]]


@cache
def _by_zip() -> _Places:
    import zipcodes  # the data takes half a second to load: only where a ZIP is asked for

    zones: defaultdict[str, set[str]] = defaultdict(set)
    states: defaultdict[str, set[str]] = defaultdict(set)
    known = available_timezones()
    for place in zipcodes.list_all():  # type: ignore[no-untyped-call]
        for prefix in (place["zip_code"], place["zip_code"][:3]):
            states[prefix].add(place["state"])
        for where in (place["zip_code"], place["zip_code"][:3], place["state"]):
            zones[where] |= {place["timezone"]} & known
    return _Places(dict(zones), dict(states))


@cache
def _by_area_code() -> Mapping[str, tuple[str, ...]]:
    """Every area code with the zones of all its exchanges: Florida's 850 is in two."""
    from phonenumbers.tzdata import TIMEZONE_DATA

    found: defaultdict[str, set[str]] = defaultdict(set)
    for prefix, zones in TIMEZONE_DATA.items():
        if prefix.startswith(_COUNTRY) and len(prefix) > len(_COUNTRY) + 2:
            found[prefix[1:4]] |= set(zones)
    known = available_timezones()
    return MappingProxyType({area: tuple(sorted(zones & known)) for area, zones in found.items()})
