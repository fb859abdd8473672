"""When a person may be contacted: where they may be, and when it is open there. Pure: the moment is passed in.

Whoever may be in several places (the phone's area code, the ZIP, the state) may be contacted when it is open in all of
them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from functools import cache, lru_cache
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import zones
from pipeline.clean import CleanOptions
from pipeline.clean.place import STATES as NAMES
from pipeline.clean.place import us_state
from pipeline.clean.text import Fix
from pipeline.model import Place
from schemas.hours import FEDERAL, STATES, Span, Week
from schemas.spec import Operation

BEFORE_THE_END = 30  # minutes: a hot lead is dialed some time after it is sent
MILITARY = frozenset({"AA", "AE", "AP"})  # post offices on any continent
NOWHERE = Place((), ())
# Whose place nobody knows may be in any state.
_ANY_STATE = (
    "America/New_York",
    "America/Chicago",
    "America/Denver",
    "America/Phoenix",
    "America/Los_Angeles",
    "America/Anchorage",
    "Pacific/Honolulu",
)
ANYWHERE = Place(_ANY_STATE, tuple(sorted(STATES)))
_DAYS_AHEAD = 9  # a week, and a day on either side for the zones
_CACHED = 100_000
_SPAN = re.compile(r"([01]?[0-9]|2[0-4]):([0-5][0-9])\s*-\s*([01]?[0-9]|2[0-4]):([0-5][0-9])")


def place(phone: str, zip_code: str, state: str) -> Place:
    """Where the person with a phone of ten digits may be, by its area code and, as far as given, ZIP and state."""
    return _place(phone[:3], zip_code[:5], state)


@lru_cache(_CACHED)
def _place(area: str, zip5: str, state: str) -> Place:
    by_zip = zones.states_of_zip(zip5) if zip5 else ()
    named = {*by_zip, *([state] if state in NAMES else []), *_states_of_area_code(area)}
    if MILITARY & named:
        return NOWHERE
    found = {*zones.of_area_code(area), *(zones.of_zip(zip5) if zip5 else ())}
    if state and state not in by_zip:  # no ZIP says where in it, or the ZIP is another state's
        found |= {*zones.of_state(state)}
    if not found:
        return ANYWHERE
    return Place(tuple(sorted(found)), tuple(sorted(named & STATES.keys())))


@cache
def _states_of_area_code(area: str) -> frozenset[str]:
    """An area code goes by the name of its state, or of a city in it."""
    name = zones.place_name_of_area_code(area).removesuffix(" State") if area else ""
    fix = us_state(name, CleanOptions())
    return frozenset({fix.value if isinstance(fix, Fix) else name[-2:]} & NAMES.keys())


_ZIP = "(?:^|&){}=(?P<found>[0-9]{{5}})"
_STATE = "(?:^|&){}=(?P<found>[A-Z]{{2}})(?:&|$)"


def places(operation: Operation, part: pa.Table) -> list[Place]:
    """Where the person of each row of a part may be, by its columns `phone` and `payload`."""
    phones = pc.fill_null(part["phone"], "")
    keys = [pc.utf8_slice_codeunits(phones, 0, 3)]
    for pattern, name in zip((_ZIP, _STATE), operation.place or (), strict=False):
        found = pc.extract_regex(part["payload"], pattern=pattern.format(name))
        keys.append(pc.fill_null(pc.struct_field(found, "found"), ""))
    keys += [pa.repeat("", part.num_rows)] * (3 - len(keys))
    coded = pc.binary_join_element_wise(*keys, "|").combine_chunks().dictionary_encode()
    known = [_place(*key.split("|")) for key in coded.dictionary.to_pylist()]
    return [known[index] for index in coded.indices.to_pylist()]


@dataclass(frozen=True, slots=True)
class Opening:
    """When somebody may be contacted again: by the clock of `zone`. `at` is None where that is never."""

    at: datetime | None
    zone: str

    def told(self, now: datetime) -> str:
        """The opening, as seen from `now`: "from 8:00 America/Chicago, in 3 h 10 min"."""
        if self.at is None:
            return "at no hour: nobody knows what time it is there, or it is never open in all of their places"
        local = self.at.astimezone(ZoneInfo(self.zone))
        if self.at <= now:
            return f"with the next run: it is open since {local.hour}:{local.minute:02} {self.zone}"
        hours, minutes = divmod(-(-(self.at - now) // timedelta(minutes=1)), 60)
        left = " ".join([f"{hours} h"] * bool(hours) + [f"{minutes} min"] * bool(minutes))
        return f"from {local.hour}:{local.minute:02} {self.zone}, in {left}"


NEVER = Opening(None, "")


@dataclass(frozen=True, slots=True)
class CallingHours:
    """From when to when people are contacted, by their own clocks, unless their state's hours are tighter."""

    span: Span = FEDERAL

    @classmethod
    def parse(cls, text: str) -> CallingHours:
        """The hours in "9:00-20:00". Raises ValueError for what is no such span, or is wider than the federal one."""
        found = _SPAN.fullmatch(text.strip())
        if not found:
            raise ValueError('give hours such as "9:00-20:00", or "vendor"')
        from_hour, from_minute, to_hour, to_minute = map(int, found.groups())
        span = Span(from_hour * 60 + from_minute, to_hour * 60 + to_minute)
        if span.opens < FEDERAL.opens or span.closes > FEDERAL.closes:
            raise ValueError("can be tighter than 8:00-21:00, and no wider")
        if span.closes - span.opens <= BEFORE_THE_END:
            raise ValueError(f"leaves no time: the last {BEFORE_THE_END} minutes are for calls that were sent before")
        return cls(span)

    def opening(self, of: Place, now: datetime) -> Opening | None:
        """None where that place is open now; else when it opens."""
        return _opening(self.span, of, now.astimezone(UTC).replace(second=0, microsecond=0))


@lru_cache(_CACHED)
def _opening(span: Span, of: Place, minute: datetime) -> Opening | None:
    if not of.zones:
        return NEVER
    week = _week(span, of.states)
    if _is_open(week, of, minute):
        return None
    later = sorted(_mornings(week, of, minute), key=lambda opening: opening.at or minute)
    return next((opening for opening in later if opening.at and _is_open(week, of, opening.at)), NEVER)


def _is_open(week: Week, of: Place, moment: datetime) -> bool:
    return all(_is_open_at(week, moment.astimezone(ZoneInfo(zone))) for zone in of.zones)


def _is_open_at(week: Week, local: datetime) -> bool:
    span = week[local.weekday()]
    return span is not None and span.opens <= local.hour * 60 + local.minute < span.closes - BEFORE_THE_END


def _mornings(week: Week, of: Place, after: datetime) -> Iterator[Opening]:
    """When each zone opens on the days that follow."""
    for zone in of.zones:
        here = ZoneInfo(zone)
        today = after.astimezone(here).date()
        for day in (today + timedelta(days=ahead) for ahead in range(_DAYS_AHEAD)):
            if (span := week[day.weekday()]) is not None:
                at = datetime.combine(day, time(*divmod(span.opens, 60)), here).astimezone(UTC)
                if at > after:
                    yield Opening(at, zone)


@lru_cache
def _week(span: Span, states: tuple[str, ...]) -> Week:
    """When it is open in all of these states and within the span."""
    weeks = [STATES[state].week for state in states]
    return tuple(_common([span, *(week[day] for week in weeks)]) for day in range(7))


def _common(spans: list[Span | None]) -> Span | None:
    known = [span for span in spans if span is not None]
    if len(known) < len(spans):
        return None
    common = Span(max(span.opens for span in known), min(span.closes for span in known))
    return common if common.closes - common.opens > BEFORE_THE_END else None


def summary(openings: Counter[Opening], now: datetime, *, at_most: int = 3) -> list[str]:
    """How many rows may go when, the soonest first: "800 from 8:00 America/Chicago, in 3 h 10 min"."""
    soonest = sorted((opening for opening in openings if opening.at), key=lambda opening: opening.at or now)
    lines = [f"{openings[opening]:,} {opening.told(now)}" for opening in soonest[:at_most]]
    left = sum(openings[opening] for opening in soonest[at_most:])
    lines += [f"{left:,} later"] if left else []
    return lines + ([f"{openings[NEVER]:,} {NEVER.told(now)}"] if openings[NEVER] else [])
