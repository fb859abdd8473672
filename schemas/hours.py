"""When people may be called: federal hours, and the states whose own are tighter. Dated data, and no legal advice.

Times are the customer's own. The states' rules have exceptions (consent, an existing customer, a business) that are not
looked at here, and holidays on which some of them allow no calls are not in the table: ask your counsel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a day, in minutes after midnight; `closes` is not in it any more."""

    opens: int
    closes: int


Week = tuple[Span | None, ...]  # Monday first; None: no calls that day


@dataclass(frozen=True, slots=True)
class StateHours:
    """When a state allows calls, and where that is written."""

    week: Week
    source: str


# As the texts named, and published summaries of them, had it on that day.
AS_OF = date(2026, 1, 1)


def _week(weekday: tuple[int, int], saturday: tuple[int, int] | None, sunday: tuple[int, int] | None) -> Week:
    days = [weekday] * 5 + [saturday, sunday]
    return tuple(day and Span(day[0] * 60, day[1] * 60) for day in days)


def _daily(opens: int, closes: int) -> Week:
    return _week((opens, closes), (opens, closes), (opens, closes))


def _not_on_sunday(opens: int, closes: int) -> Week:
    return _week((opens, closes), (opens, closes), None)


# "No person or entity shall initiate any telephone solicitation to … before the hour of 8 a.m. or after 9 p.m. (local
# time at the called party's location)": 47 CFR 64.1200(c)(1); the same in 16 CFR 310.4(c).
FEDERAL = Span(8 * 60, 21 * 60)

STATES: Mapping[str, StateHours] = MappingProxyType(
    {
        "AL": StateHours(_not_on_sunday(8, 20), "rules of the Alabama Public Service Commission for telephone service"),
        "CT": StateHours(_daily(9, 20), "Conn. Gen. Stat. § 42-288a, as amended by Public Act 23-98"),
        "FL": StateHours(_daily(8, 20), "Fla. Stat. § 501.616(6)"),
        # Of calls that play a recorded message, as a dialer may do.
        "IL": StateHours(_daily(9, 21), "815 Ill. Comp. Stat. 305/15 (Automatic Telephone Dialers Act)"),
        "KY": StateHours(_daily(10, 21), "Ky. Rev. Stat. § 367.46955"),
        "LA": StateHours(
            _not_on_sunday(8, 20), "La. Rev. Stat. § 45:844.11 ff., orders of the Public Service Commission"
        ),
        "MA": StateHours(_daily(8, 20), "Mass. Gen. Laws ch. 159C § 3"),
        "MD": StateHours(_daily(8, 20), "Md. Code, Com. Law § 14-4501 ff. (Stop the Spam Calls Act of 2023)"),
        # Of recorded messages, too; published summaries have it for all calls.
        "MI": StateHours(_daily(9, 21), "Mich. Comp. Laws § 484.125"),
        "MN": StateHours(_daily(9, 21), "Minn. Stat. § 325E.30"),
        "MS": StateHours(_not_on_sunday(8, 20), "Miss. Code § 77-3-701 ff. (Telephone Solicitation Act)"),
        "NM": StateHours(_daily(9, 21), "N.M. Stat. § 57-12-22"),
        "NV": StateHours(_daily(9, 20), "Nev. Rev. Stat. § 598.0918"),
        "OK": StateHours(_daily(8, 20), "Okla. Stat. tit. 15 § 775C.1 ff. (Telephone Solicitation Act of 2022)"),
        "OR": StateHours(_daily(8, 20), "Or. House Bill 3865 (2025), in force from 2026-01-01"),
        "RI": StateHours(_week((9, 18), (10, 17), None), "R.I. Gen. Laws §§ 5-61-2(9), 5-61-3.6"),
        # "Weekdays between 9 a.m. and 9 p.m.", of automated dialing systems: Saturday is left out, to be sure.
        "SD": StateHours(_week((9, 21), None, None), "S.D. Codified Laws § 37-30-28"),
        "TX": StateHours(_week((9, 21), (9, 21), (12, 21)), "Tex. Bus. & Com. Code § 301.051"),
        "UT": StateHours(_not_on_sunday(8, 21), "Utah Code § 13-25a-103"),
        "WA": StateHours(_daily(8, 20), "Wash. Rev. Code § 80.36.390"),
        "WY": StateHours(_daily(8, 20), "Wyo. Stat. § 40-12-302"),
    }
)
