"""Callback dates: one written shape in, whatever the source's, or a reason. Days and months are never guessed."""

from __future__ import annotations

import re
from calendar import month_abbr, month_name, monthrange
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from pipeline.clean import local
from pipeline.clean.engine import Beside, Cleaner, CleanOptions, Format
from pipeline.clean.text import Fix, Refusal

_DATE = r"(?:(?P<y>[0-9]{4})(?P<s>[-/.])(?P<m>[0-9]{1,2})(?P=s)(?P<d>[0-9]{1,2})"
_DATE += r"|(?P<a>[0-9]{1,2})(?P<t>[-/.])(?P<b>[0-9]{1,2})(?P=t)(?P<year>[0-9]{4})"
_DATE += r"|(?P<name>[a-z]{3,9})\.? (?P<name_d>[0-9]{1,2})(?:st|nd|rd|th)?,? (?P<name_y>[0-9]{4})"
_DATE += r"|(?P<d_name>[0-9]{1,2})(?P<u>[- ])(?P<word>[a-z]{3,9})\.?(?P=u)(?P<y_name>[0-9]{4}))"
_TIME = r"(?P<hour>[0-9]{1,2})(?::(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:[.,](?P<fraction>[0-9]+))?)?)?"
_HALF = r"(?: ?(?P<half>[AP])\.?M\.?)?"
_ZONE = rf"(?: ?(?P<zone>{local.ZONE}))?"
_WHEN = re.compile(rf"{_DATE}(?:(?:,? +(?:at )?|T){_TIME}{_HALF}{_ZONE})?", re.IGNORECASE)
_SHORT_YEAR = re.compile(r"[0-9]{1,2}([-/.])[0-9]{1,2}\1[0-9]{2}(?![0-9]).*", re.DOTALL)
_SERIAL = re.compile(r"[0-9]{4,5}(?:[.,][0-9]+)?")
_NAMES = {name.lower(): number for names in (month_name, month_abbr) for number, name in enumerate(names) if name}
_NAMES["sept"] = 9
_YEARS = range(1900, 2200)


def _bad(message: str) -> Refusal:
    return Refusal("bad_date", message)


_UNREADABLE = _bad("This is not a date and time. Write it as 12/31/2026 14:30:00.")
_IMPOSSIBLE = _bad("There is no such date or time. Check day, month and hour, and date_order in the mapping.")
_NO_TIME = _bad("The time of day is missing. Write it as 12/31/2026 14:30:00.")
_TWO_DIGITS = _bad("The year needs four digits, such as 2026.")
_NUMBER = _bad("This is a spreadsheet's number for a date. Format the column as date and time, and save again.")
_NO_YEAR = _bad("Nobody is called back in that year. Check the date.")
_AMBIGUOUS = Refusal(
    "ambiguous_date", "Day and month can't be told apart. Set date_order in the mapping, such as mdy or dmy."
)


class _Day(NamedTuple):
    year: int
    month: int
    day: int


def callback_date(value: str, options: CleanOptions, beside: Sequence[str] = ()) -> Fix | Refusal | None:
    """`MM/dd/yyyy HH:mm:ss`, the hour where the customer is. Beside it: the zones that phone and ZIP are in.

    Repairs: `date_format`; `date_zone`, where a time with a zone became the customer's own. Neither is lossless where
    fractions of a second are dropped, nor the second where the hour is there twice. Problems: `bad_date` (unreadable,
    impossible, no time, a year of two digits, a serial number), `ambiguous_date`, `date_offset` (the time has a zone
    and the customer's is not known), `dst_gap`, `past_date`. A year in front is followed by month and day; for
    other dates the declared order counts, even for a value in the vendor's own shape. Cleaned values read as "mdy".
    """
    found = _WHEN.fullmatch(value)
    if not found:
        return _unreadable(value)
    if not (found["minute"] or found["half"]):
        return _NO_TIME
    day = _day(found, options.date_order)
    moment = day if isinstance(day, Refusal) else _moment(day, found)
    if isinstance(moment, Refusal):
        return moment
    return _where_the_customer_is(value, moment, found, local.zones(beside), options)


def _unreadable(value: str) -> Refusal:
    if _SHORT_YEAR.fullmatch(value):
        return _TWO_DIGITS
    return _NUMBER if _SERIAL.fullmatch(value) else _UNREADABLE


def _day(found: re.Match[str], order: str | None) -> _Day | Refusal:
    if found["y"]:
        return _Day(int(found["y"]), int(found["m"]), int(found["d"]))
    if name := found["name"] or found["word"]:
        year, day = found["name_y"] or found["y_name"], found["name_d"] or found["d_name"]
        return _Day(int(year), _NAMES[name.lower()], int(day)) if name.lower() in _NAMES else _UNREADABLE
    year, first, second = int(found["year"]), int(found["a"]), int(found["b"])
    if order == "mdy" or (order != "dmy" and (first == second or second > 12)):
        return _Day(year, first, second)
    if order == "dmy" or first > 12:
        return _Day(year, second, first)
    return _AMBIGUOUS


def _moment(day: _Day, found: re.Match[str]) -> datetime | Refusal:
    hour = _hour(int(found["hour"]), found["half"])
    if hour is None:
        return _IMPOSSIBLE
    if day.year not in _YEARS:
        return _NO_YEAR
    try:
        # No zone: the hour is the one where the customer is.
        return datetime(*day, hour, int(found["minute"] or 0), int(found["second"] or 0))  # noqa: DTZ001
    except ValueError:
        return _IMPOSSIBLE


def _hour(hour: int, half: str | None) -> int | None:
    """The hour on a clock of 24, None where a clock of 12 has no such hour."""
    if half is None:
        return hour
    if not 1 <= hour <= 12:
        return None
    return hour % 12 + (12 if half in "Pp" else 0)


def _where_the_customer_is(
    value: str, moment: datetime, found: re.Match[str], zones: Sequence[ZoneInfo], options: CleanOptions
) -> Fix | Refusal | None:
    lossless = not (found["fraction"] or "").strip("0")
    if found["zone"]:
        there = local.converted(moment, found["zone"], zones)
        if isinstance(there, Refusal):
            return there
        moment, lossless = there, lossless and not local.is_twice(there, zones)
    if refusal := local.unfit(moment, zones, options.now):
        return refusal
    new = f"{moment:%m/%d/%Y %H:%M:%S}"
    return None if new == value else Fix(new, "date_zone" if found["zone"] else "date_format", lossless)


_MINUTES = "[0-5][0-9]:[0-5][0-9]"
_ANY_TIME = f"(?:[01][0-9]|2[0-3]):{_MINUTES}"
# Since 2007 clocks of the numbering plan leave out an hour in March alone, and none from four o'clock on.
_IN_GAPS, _GAPS_SINCE = "03", 2007
_AFTER_GAPS = f"(?:0[4-9]|1[0-9]|2[0-3]):{_MINUTES}"
_ANYWHERE_LATER = timedelta(days=2)  # no zone is that far from another


def _right(options: CleanOptions) -> str:
    first = (options.now.astimezone(UTC) + _ANYWHERE_LATER).strftime("%Y/%m/%d") if options.now else ""
    return _from(max(first, f"{_GAPS_SINCE}/01/01"), options.date_order)


@cache
def _from(first: str, order: str | None) -> str:
    """The times from `first` (YYYY/MM/DD) on that are read as they are written, and are there in every zone."""
    year, _, day = first.partition("/")
    later = "|".join(str(other) for other in _YEARS if other > int(year))
    days = [f"{month:02}/{day:02}" for month in range(1, 13) for day in _days(month, order)]
    parts = []
    for time, some in (
        (_ANY_TIME, [other for other in days if not other.startswith(_IN_GAPS)]),
        (_AFTER_GAPS, [other for other in days if other.startswith(_IN_GAPS)]),
    ):
        parts.append(f"(?:{'|'.join(some)})/(?:{later}) {time}")
        parts += [f"{other}/{year} {time}" for other in some if other >= day]
    return "|".join(parts)


def _days(month: int, order: str | None) -> list[int]:
    """Days that can't be taken for a month, or need not; 29 February is left to the calendar."""
    days = range(1, monthrange(2001, month)[1] + 1)
    if order == "mdy":
        return [*days]
    return [day for day in days if day == month or (order != "dmy" and day > 12)]


_ISO = r"([0-9]{4})-([0-9]{2})-([0-9]{2})[ T]([0-9]{2}:[0-9]{2}"

CALLBACK_DATE = Cleaner(
    right=_right,
    mend=callback_date,
    formats=(
        Format(rf"{_ISO}:[0-9]{{2}})", r"\2/\3/\1 \4", "date_format"),
        Format(rf"{_ISO})", r"\2/\3/\1 \4:00", "date_format"),
    ),
    beside=(Beside("PrimaryPhone", local.of_phones), Beside("ZipCode", local.of_zips)),
)
