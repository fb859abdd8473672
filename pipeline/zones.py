"""Where a customer may be: time zones by area code and by ZIP, from data that others keep up to date."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
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


@cache
def of_zip(zip5: str) -> tuple[str, ...]:
    """The IANA zones, sorted, of a ZIP (five digits), or of its first three where that one is not known; else ()."""
    import zipcodes  # the data takes 0.2 s to load: only where a ZIP is asked for

    exact: list[dict[str, str]] = zipcodes.matching(zip5)  # type: ignore[no-untyped-call]
    near: list[dict[str, str]] = zipcodes.similar_to(zip5[:3])  # type: ignore[no-untyped-call]
    return _known(exact) or _known(near)


def _known(places: Iterable[Mapping[str, str]]) -> tuple[str, ...]:
    return tuple(sorted({place["timezone"] for place in places} & available_timezones()))


@cache
def _by_area_code() -> Mapping[str, tuple[str, ...]]:
    """Every area code with the zones of all its exchanges: Florida's 850 is in two."""
    from phonenumbers.tzdata import TIMEZONE_DATA

    found: defaultdict[str, set[str]] = defaultdict(set)
    for prefix, zones in TIMEZONE_DATA.items():
        if prefix.startswith(_COUNTRY) and len(prefix) > len(_COUNTRY) + 2:
            found[prefix[1:4]] |= set(zones)
    return MappingProxyType({area: tuple(sorted(zones & available_timezones())) for area, zones in found.items()})
