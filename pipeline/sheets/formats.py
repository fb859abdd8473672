"""Number formats, as far as they say what a cell means: leading zeros, and dates that have an hour."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

# Of the formats that workbooks have without saying so, the one of a day and an hour.
BUILT_IN: Mapping[int, str] = MappingProxyType({22: "m/d/yy h:mm"})

_TOKEN = re.compile(
    r'"(?P<quoted>[^"]*)"?|\\(?P<escaped>.)|_(?P<space>.)|\*(?P<fill>.)|\[(?P<bracket>[^\]]*)\]|.', re.DOTALL
)
_CONDITION = re.compile(r"(<=|>=|<>|<|>|=)\s*(-?[0-9]+(?:\.[0-9]+)?)")
_COMPARE: Mapping[str, Callable[[float, float], bool]] = MappingProxyType(
    {"<=": operator.le, ">=": operator.ge, "<>": operator.ne, "<": operator.lt, ">": operator.gt, "=": operator.eq}
)
_NO_PLACEHOLDERS = frozenset("$-+():!^&'~{}<>= ")  # characters that a format shows as they are
_ELAPSED = re.compile(r"h+|m+|s+", re.IGNORECASE)


class _Digit(NamedTuple):
    """A place for a digit. One of zero shows 0 where the number has no digit, one of # nothing."""

    zero: bool


class _Section(NamedTuple):
    """One part of a format: when it holds (None: for what is left), and what it shows (None: no whole numbers)."""

    condition: tuple[str, float] | None
    shown: tuple[str | _Digit, ...] | None


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A format that gives whole numbers leading zeros, such as 00000 or 000-00-0000."""

    sections: tuple[_Section, ...]

    def __call__(self, cell: Any) -> Any:
        """A whole number as the format shows it; anything else, and what it shows without zeros, as it is."""
        if isinstance(cell, bool) or not isinstance(cell, int | float) or cell < 0 or cell != cell // 1:
            return cell
        text = _shown(self, int(cell))
        return cell if text is None else text

    @cache  # noqa: B019  # formats live as long as the process
    def is_idle(self, digits: int) -> bool:
        """Whether no whole number of so many digits, or of more, is changed: as 00000 does with five."""
        return len(self.sections) == 1 and not _pads(self.sections[0].shown or (), "1" * digits)

    def section(self, number: int) -> _Section:
        """The section for a number that is not negative."""
        if not any(section.condition for section in self.sections):
            return self.sections[2 if number == 0 and len(self.sections) > 2 else 0]
        for section in self.sections:
            if section.condition and _COMPARE[section.condition[0]](number, section.condition[1]):
                return section
        return self.sections[-1]


@lru_cache(maxsize=1 << 16)  # ZIPs come again and again
def _shown(picture: Picture, number: int) -> str | None:
    """The number in the picture; None where that shows no more than its digits."""
    shown, digits = picture.section(number).shown, str(number)
    return None if shown is None or not _pads(shown, digits) else _drawn(shown, digits)


def _pads(shown: tuple[str | _Digit, ...], digits: str) -> bool:
    """Whether these zeros say something of a number with these digits: they pad it, or they have separators."""
    zeros = sum(isinstance(token, _Digit) and token.zero for token in shown)
    return zeros > 1 and (len(digits) < zeros or any(isinstance(token, str) for token in shown))


def _drawn(shown: tuple[str | _Digit, ...], digits: str) -> str:
    places = sum(isinstance(token, _Digit) for token in shown)
    left = list(digits.rjust(places, "\0"))
    out: list[str] = []
    zeros = False
    for token in shown:
        if isinstance(token, str):
            out.append(token)
            continue
        zeros = zeros or token.zero
        while len(left) >= places:  # what is too long for the picture stands in its first place
            digit = left.pop(0)
            out.append(digit if digit != "\0" else "0" if zeros else "")
        places -= 1
    return "".join(out)


@cache
def picture(code: str) -> Picture | None:
    """The format as a picture of leading zeros; None where it is none."""
    sections = tuple(_section(part) for part in _parts(code))
    if any(_shows_zeros(section) for section in sections):
        return Picture(sections)
    return None


def _shows_zeros(section: _Section) -> bool:
    return section.shown is not None and sum(isinstance(t, _Digit) and t.zero for t in section.shown) > 1


def _parts(code: str) -> list[list[re.Match[str]]]:
    """The sections for numbers as tokens: the fourth, and one with @, is for text."""
    parts: list[list[re.Match[str]]] = [[]]
    for token in _TOKEN.finditer(code):
        if token[0] == ";":
            parts.append([])
        else:
            parts[-1].append(token)
    return [part for part in parts[:3] if all(token[0] != "@" for token in part)]


def _section(tokens: list[re.Match[str]]) -> _Section:
    condition = None
    shown: list[str | _Digit] | None = []
    for token in tokens:
        if token["bracket"] is not None and (found := _CONDITION.fullmatch(token["bracket"].strip())):
            condition = (found[1], float(found[2]))
        elif shown is not None:
            said = _said(token)
            shown = None if said is None else [*shown, *said]
    return _Section(condition, tuple(shown) if shown else None)


def _said(token: re.Match[str]) -> list[str | _Digit] | None:
    """What a token shows; None where it makes the number something else than a row of digits."""
    if token["quoted"] is not None or token["escaped"] is not None:
        return [token["quoted"] or token["escaped"] or ""]
    if token["space"] is not None:
        return [" "]
    if token["fill"] is not None:
        return []
    if token["bracket"] is not None:
        return _bracket(token["bracket"])
    if token[0] in "0#":
        return [_Digit(token[0] == "0")]
    return [token[0]] if token[0] in _NO_PLACEHOLDERS else None


def _bracket(inside: str) -> list[str | _Digit] | None:
    """Nothing for a colour or a language, the sign for a currency; None for hours that are counted."""
    if inside.startswith("$"):
        sign = inside[1:].partition("-")[0]
        return [sign] if sign else []
    return None if _ELAPSED.fullmatch(inside) else []


_PLAIN = re.compile(r'"[^"]*"?|\\.|_.|\*.|\[[^\]]*\]', re.DOTALL)


@cache
def has_day_and_hour(code: str) -> bool:
    """Whether the format is one of dates that shows both."""
    plain = _PLAIN.sub("", code).lower()
    return bool(re.search(r"[yd]|mmm", plain)) and bool(re.search(r"[hs]", plain)) and "general" not in plain
