"""Where a customer may be: time zones by area code and by ZIP, from data that others keep up to date."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from zoneinfo import available_timezones

_COUNTRY = "1"  # the North American plan's


@cache
def of_area_code(area: str) -> tuple[str, ...]:
    """The IANA zones, sorted, in which phones of this area code (three digits) are; () where nobody knows.

    Someone who moved took the phone along: hence the ZIP as well.
    """
    return _by_area_code().get(area, ())


def of_zip(zip5: str) -> tuple[str, ...]:
    """The IANA zones, sorted, of a ZIP (five digits), or of its first three where that one is not known; else ()."""
    known = _by_zip()
    return known.get(zip5) or known.get(zip5[:_AREA], ())


_AREA = 3  # so many first digits of a ZIP name a part of a state


@cache
def _by_zip() -> Mapping[str, tuple[str, ...]]:
    """Every ZIP, and the first three digits of every one, with their zones."""
    import zipcodes  # the data takes a second to load: only where a ZIP is asked for

    found: defaultdict[str, set[str]] = defaultdict(set)
    for place in zipcodes.list_all():  # type: ignore[no-untyped-call]
        for key in (place["zip_code"], place["zip_code"][:_AREA]):
            found[key].add(place["timezone"])
    return _known(found)


@cache
def _by_area_code() -> Mapping[str, tuple[str, ...]]:
    """Every area code with the zones of all its exchanges: Florida's 850 is in two."""
    from phonenumbers.tzdata import TIMEZONE_DATA

    found: defaultdict[str, set[str]] = defaultdict(set)
    for prefix, zones in TIMEZONE_DATA.items():
        if prefix.startswith(_COUNTRY) and len(prefix) > len(_COUNTRY) + 2:
            found[prefix[1:4]] |= set(zones)
    return _known(found)


def _known(found: Mapping[str, set[str]]) -> Mapping[str, tuple[str, ...]]:
    """Only zones of which this system knows the rules."""
    known = available_timezones()
    return MappingProxyType({key: tuple(sorted(zones & known)) for key, zones in found.items()})
