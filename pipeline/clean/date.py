"""Callback dates: one written shape in, whatever the source's, or a reason. Days and months are never guessed."""

from __future__ import annotations

import re
from datetime import datetime
from typing import NamedTuple

from pipeline.clean.engine import Cleaner, CleanOptions, Format
from pipeline.clean.text import Fix, Refusal

_DATE = r"(?:(?P<y>[0-9]{4})(?P<s>[-/.])(?P<m>[0-9]{1,2})(?P=s)(?P<d>[0-9]{1,2})"
_DATE += r"|(?P<a>[0-9]{1,2})(?P<t>[-/.])(?P<b>[0-9]{1,2})(?P=t)(?P<year>[0-9]{4}))"
_TIME = r"(?P<hour>[0-9]{1,2})(?::(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:[.,](?P<fraction>[0-9]+))?)?)?"
_HALF = r"(?: ?(?P<half>[AP])\.?M\.?)?"
_ZONE = r"(?P<zone> ?(?:Z|(?:UTC|GMT)?[-+][0-9]{1,2}(?::?[0-9]{2})?|UTC|GMT|(?:AK|[ECMPAH])[SD]?T))?"
_WHEN = re.compile(rf"{_DATE}(?:(?:,? +|T){_TIME}{_HALF}{_ZONE})?", re.IGNORECASE)
_SHORT_YEAR = re.compile(r"[0-9]{1,2}([-/.])[0-9]{1,2}\1[0-9]{2}(?![0-9]).*", re.DOTALL)
_SERIAL = re.compile(r"[0-9]{4,5}(?:[.,][0-9]+)?")


def _bad(message: str) -> Refusal:
    return Refusal("bad_date", message)


_UNREADABLE = _bad("This is not a date and time. Write it as 12/31/2026 14:30:00.")
_IMPOSSIBLE = _bad("There is no such date or time. Check day, month and hour, and date_order in the mapping.")
_NO_TIME = _bad("The time of day is missing. Write it as 12/31/2026 14:30:00.")
_TWO_DIGITS = _bad("The year needs four digits, such as 2026.")
_NUMBER = _bad("This is a spreadsheet's number for a date. Format the column as date and time, and save again.")
_OFFSET = Refusal("date_offset", "Take the time zone away: the time is the one where the customer is.")
_AMBIGUOUS = Refusal(
    "ambiguous_date", "Day and month can't be told apart. Set date_order in the mapping, such as mdy or dmy."
)


class _Day(NamedTuple):
    year: int
    month: int
    day: int


def callback_date(value: str, options: CleanOptions, _beside: str = "") -> Fix | Refusal | None:
    """`MM/dd/yyyy HH:mm:ss`, the hour where the customer is.

    Repair: `date_format`, not lossless where fractions of a second are dropped. Problems: `bad_date` (unreadable,
    impossible, no time, a year of two digits, a serial number), `ambiguous_date`, `date_offset`. A year in front
    is followed by month and day; for other dates the declared order counts, even for a value in the vendor's
    own shape. Cleaned values read as "mdy".
    """
    found = _WHEN.fullmatch(value)
    if not found:
        return _unreadable(value)
    if not (found["minute"] or found["half"]):
        return _NO_TIME
    if found["zone"]:
        return _OFFSET
    day = _day(found, options.date_order)
    return day if isinstance(day, Refusal) else _moment(value, day, found)


def _unreadable(value: str) -> Refusal:
    if _SHORT_YEAR.fullmatch(value):
        return _TWO_DIGITS
    return _NUMBER if _SERIAL.fullmatch(value) else _UNREADABLE


def _day(found: re.Match[str], order: str | None) -> _Day | Refusal:
    if found["y"]:
        return _Day(int(found["y"]), int(found["m"]), int(found["d"]))
    year, first, second = int(found["year"]), int(found["a"]), int(found["b"])
    if order == "mdy" or (order != "dmy" and (first == second or second > 12)):
        return _Day(year, first, second)
    if order == "dmy" or first > 12:
        return _Day(year, second, first)
    return _AMBIGUOUS


def _moment(value: str, day: _Day, found: re.Match[str]) -> Fix | Refusal | None:
    hour = _hour(int(found["hour"]), found["half"])
    if hour is None:
        return _IMPOSSIBLE
    try:
        # No zone: the hour is the one where the customer is.
        moment = datetime(*day, hour, int(found["minute"] or 0), int(found["second"] or 0))  # noqa: DTZ001
    except ValueError:
        return _IMPOSSIBLE
    new = f"{moment:%m/%d}/{moment.year:04} {moment:%H:%M:%S}"
    return None if new == value else Fix(new, "date_format", not (found["fraction"] or "").strip("0"))


def _hour(hour: int, half: str | None) -> int | None:
    """The hour on a clock of 24, None where a clock of 12 has no such hour."""
    if half is None:
        return hour
    if not 1 <= hour <= 12:
        return None
    return hour % 12 + (12 if half in "Pp" else 0)


_TIME_RIGHT = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
_YEAR = r"[1-9][0-9]{3}"
_EQUAL = "|".join(f"{n:02}/{n:02}" for n in range(1, 13))
_LATE = r"(?:0[13578]|1[02])/(?:1[3-9]|2[0-9]|3[01])|(?:0[469]|11)/(?:1[3-9]|2[0-9]|30)|02/(?:1[3-9]|2[0-8])"
_EARLY = r"(?:0[1-9]|1[0-2])/(?:0[1-9]|1[0-2])"
# Days that stay as they are by declared order; 29 February is left to the calendar.
_DAYS = {"mdy": f"{_LATE}|{_EARLY}", "dmy": _EQUAL}


def _right(options: CleanOptions) -> str:
    days = _DAYS.get(options.date_order or "", f"{_LATE}|{_EQUAL}")
    return f"(?:{days})/{_YEAR} {_TIME_RIGHT}"


_ISO = r"([0-9]{4})-([0-9]{2})-([0-9]{2})[ T]([0-9]{2}:[0-9]{2}"

CALLBACK_DATE = Cleaner(
    right=_right,
    mend=callback_date,
    formats=(
        Format(rf"{_ISO}:[0-9]{{2}})", r"\2/\3/\1 \4", "date_format"),
        Format(rf"{_ISO})", r"\2/\3/\1 \4:00", "date_format"),
    ),
)
