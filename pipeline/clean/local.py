"""A time where the customer is: which zones that may be, and what follows for a time that is written without one."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.clean.text import Refusal
from pipeline.zones import of_area_code, of_zip

# How a time says its zone: Z, UTC, UTC+2, -05:00, ET, EST.
ZONE = r"Z|(?:UTC|GMT)?[-+][0-9]{1,2}(?::?[0-9]{2})?|UTC|GMT|(?:AK|[ECMPAH])[SD]?T"
_OFFSET = re.compile(r"(?:UTC|GMT)?([-+])([0-9]{1,2})(?::?([0-9]{2}))?")
_WHOSE = {
    "E": ZoneInfo("America/New_York"),
    "C": ZoneInfo("America/Chicago"),
    "M": ZoneInfo("America/Denver"),
    "P": ZoneInfo("America/Los_Angeles"),
    "A": ZoneInfo("America/Halifax"),
    "AK": ZoneInfo("America/Anchorage"),
    "H": ZoneInfo("Pacific/Honolulu"),
}
_LAST = (ZoneInfo("Pacific/Pago_Pago"),)  # where the day ends last: past there, past everywhere

_UNKNOWN = Refusal(
    "date_offset",
    "Phone and ZIP don't tell the customer's time zone, to convert this. Write the time where the customer is.",
)
_NO_OFFSET = Refusal(
    "date_offset", "That time zone does not hold then. Write the time where the customer is, without a zone."
)
_GAP = Refusal("dst_gap", "Where the customer is, clocks leave out this hour as summer begins. Choose another time.")
_PAST = Refusal(
    "past_date", 'This time is past where the customer is. Choose a later one; [policy] past_dates = "allow" sends it.'
)


def of_phones(column: pa.StringArray) -> pa.StringArray:
    """The zones of each phone's area code, joined."""
    return _looked_up(pc.utf8_slice_codeunits(column, 0, 3), of_area_code)


def of_zips(column: pa.StringArray) -> pa.StringArray:
    """The zones of each ZIP, joined."""
    return _looked_up(pc.utf8_slice_codeunits(column, 0, 5), of_zip)


def _looked_up(codes: pa.StringArray, zones_of: Callable[[str], tuple[str, ...]]) -> pa.StringArray:
    known = codes.dictionary_encode()
    names = ["|".join(zones_of(code)) if code else "" for code in known.dictionary.to_pylist()]
    return pa.array(names, pa.string()).take(known.indices)


def zones(joined: Sequence[str]) -> tuple[ZoneInfo, ...]:
    """All zones in which the customer may be, of what `of_phones` and `of_zips` say of one row."""
    return _zones(tuple(joined))


@cache
def _zones(joined: tuple[str, ...]) -> tuple[ZoneInfo, ...]:
    names = {name for part in joined for name in part.split("|") if name}
    return tuple(ZoneInfo(name) for name in sorted(names))


def converted(moment: datetime, zone: str, customers: Sequence[ZoneInfo]) -> datetime | Refusal:
    """A time that was written with `zone`, as clocks show it where the customer is, if all of `customers` agree."""
    if not customers:
        return _UNKNOWN
    written = _written(moment, zone.upper(), customers)
    if isinstance(written, Refusal):
        return written
    shown = {written.astimezone(customer).replace(tzinfo=None) for customer in customers}
    return shown.pop() if len(shown) == 1 else _UNKNOWN


def _written(moment: datetime, zone: str, customers: Sequence[ZoneInfo]) -> datetime | Refusal:
    if zone in ("Z", "UTC", "GMT"):
        return moment.replace(tzinfo=UTC)
    if offset := _OFFSET.fullmatch(zone):
        hours, minutes = int(offset[2]), int(offset[3] or 0)
        if hours > 14 or minutes > 59:
            return _NO_OFFSET
        distance = timedelta(hours=hours, minutes=minutes)
        return moment.replace(tzinfo=timezone(-distance if offset[1] == "-" else distance))
    return _by_name(moment, zone, customers)


def _by_name(moment: datetime, zone: str, customers: Sequence[ZoneInfo]) -> datetime | Refusal:
    """EST, PDT and their like where they hold: 2:30 PM EST in July is a slip, and nobody knows which."""
    whose = zone[:-1].removesuffix("S").removesuffix("D")
    for place in (*customers, _WHOSE[whose]):
        aware = moment.replace(tzinfo=place)
        name = aware.tzname()
        if zone == name or (zone == f"{whose}T" and name in (f"{whose}ST", f"{whose}DT")):
            return aware if _exists(moment, place) else _GAP
    return _NO_OFFSET


def is_twice(moment: datetime, customers: Sequence[ZoneInfo]) -> bool:
    """Whether clocks there show this time twice, as summer ends."""
    folds = ({moment.replace(tzinfo=place, fold=fold).utcoffset() for fold in (0, 1)} for place in customers)
    return any(len(offsets) > 1 for offsets in folds)


def unfit(moment: datetime, customers: Sequence[ZoneInfo], now: datetime | None) -> Refusal | None:
    """Why nobody can be called at this time of `customers`: `dst_gap` or `past_date`, in any zone where they may be."""
    if not all(_exists(moment, place) for place in customers):
        return _GAP
    if now is not None and any(moment.replace(tzinfo=place) <= now for place in customers or _LAST):
        return _PAST
    return None


def _exists(moment: datetime, place: ZoneInfo) -> bool:
    return moment.replace(tzinfo=place).astimezone(UTC).astimezone(place).replace(tzinfo=None) == moment
