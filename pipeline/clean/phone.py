"""Phones of the North American plan: ten digits, or a reason. Calling a stranger is worse than not calling."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from types import MappingProxyType

import phonenumbers

from pipeline.clean.engine import Cleaner, CleanOptions, Format
from pipeline.clean.text import LOSSY_NUMBER, SCIENTIFIC, Fix, Refusal

REGIONS = frozenset(phonenumbers.COUNTRY_CODE_TO_REGION_CODE[1])  # of the plan; a US territory is one of its own

# In use, and what is kept for when those are full.
_TOLL_FREE = frozenset({"800", "822", "833", "844", "855", "866", "877", *(str(code) for code in range(880, 890))})
_PREMIUM = "900"

_LOOKED_AT = 1000  # characters of a cell that is no phone, for what it is instead

_CODE = r"[2-9](?:[02-9][0-9]|1[02-9])"  # an area code or an exchange: 2 to 9 first, not N11
_CODE_ONLY = re.compile(_CODE)

# Grouping is part of a number. Mexico City's "55 1234 5678" and India's "70123 45678" have ten digits as well;
# read without their groups they would ring strangers in New Jersey and in North Dakota.
_MARK = r"[-.()/ \u00b7\u2010-\u2015\u2022\u2212]"


def _number(gap: str) -> str:
    prefix = rf"\(?(?:(?:\+ ?|00 ?)?1{gap})?"  # +1, 1, 001
    return rf"{prefix}\(?([0-9]{{3}}){gap}([0-9]{{3}}){gap}([0-9]{{4}})"


NUMBER = _number(_MARK + "{0,4}")
_ONE = re.compile(rf"{NUMBER}[-.) ]*")
# A spreadsheet's mark of text, the mark of ad platforms' exports, and a link's.
BEFORE = r"(?:'|p:|tel:) ?"
_BEFORE = re.compile(f"^{BEFORE}", re.IGNORECASE)
_BETWEEN = re.compile(r"[|,;\n]")
_FLOAT = re.compile(r"1?([0-9]{10})\.0+")

# Every place of a tidied text where a phone begins, with any gaps: for those who may not miss one. It takes in
# whatever `us_phone` reads. Places overlap: in "100 1202555-0100" the phone is not hidden by what stands before it.
ANYWHERE = re.compile(rf"(?<![0-9])(?={_number(_MARK + '*')}(?![0-9]))")

_ALONE = rf"(?<![0-9]){NUMBER}(?![0-9])"
EXTENSION_MARK = r"[\s,;.(-]*(?:x|ext|extn|extension|#|,|;)[\s.:=#]*"
_LOCAL = r"[0-9]{3}[-. ]?[0-9]{4}(?![0-9])"
_TWO = rf"{_ALONE}(?:.*{_ALONE}|\s*(?:[/,;&|]|or\b|and\b)\s*{_LOCAL})"
_EXTENSION = rf"^{NUMBER}{EXTENSION_MARK}[0-9]"
_NO_PHONE = r"^(?:n\.?[/.]?a\.?|nan|none|null|nil|unknown|no phone|not (?:available|provided|given)|tbd|[-.?]+)$"
_FOREIGN = r"^\(?(?:\+\W*[02-9]|00\W*[2-9]|011\W*[1-9])"


def _bad(message: str) -> Refusal:
    return Refusal("bad_phone", message)


_TAKE = 'let the mapping say which: take = "first".'
_CHARGED = Refusal("premium_phone", "A 900 number charges whoever calls it. It is never dialed.")
# Why a cell is not one phone; the first pattern found in it says so.
_REASONS: tuple[tuple[re.Pattern[str], Refusal], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE | re.DOTALL), refusal)
    for pattern, refusal in (
        (SCIENTIFIC, LOSSY_NUMBER),
        (_FOREIGN, Refusal("foreign_phone", "This is a phone outside the US numbering plan. It can't be dialed.")),
        (_TWO, Refusal("two_phones", f"There are two phones in this cell. Leave one, or {_TAKE}")),
        (_EXTENSION, Refusal("phone_extension", f"This phone has an extension. Take it away, or {_TAKE}")),
        (_NO_PHONE, _bad("This says that there is no phone. Empty the cell, or name the word under null_tokens.")),
        (r"(?![0-9])\d", _bad("These are digits of another script. Type the phone with 0 to 9.")),
        (r"[^\W\d_]", _bad("A phone can't have letters. Write it as ten digits.")),
    )
)


@cache
def area_regions() -> Mapping[str, str]:
    """The ISO region of each area code; codes that belong to none are not in it."""
    regions = {str(area): _region(area) for area in range(200, 1000)}
    return MappingProxyType({area: region for area, region in regions.items() if region})


def _region(area: int) -> str | None:
    # Any exchange does: no area code is divided between regions.
    number = phonenumbers.PhoneNumber(country_code=1, national_number=area * 10_000_000 + 555_2345)
    return phonenumbers.region_code_for_number(number)


def us_phone(value: str, options: CleanOptions, _beside: Sequence[str] = ()) -> Fix | Refusal | None:
    """Ten digits.

    Repairs: `phone_format`, `float_text`. Problems: `lossy_number`, `foreign_phone`, `two_phones`,
    `phone_extension`, `bad_phone`, `premium_phone`, `toll_free_phone`, `phone_region`. An area code of no
    region passes: it may be newer than our table, and a number in no one's use rings no stranger.
    """
    return _one_phone(value, options, no_company=True)


def office_phone(value: str, options: CleanOptions, _beside: Sequence[str] = ()) -> Fix | Refusal | None:
    """Ten digits, as `us_phone`, of a phone that may be a company's: toll-free numbers pass."""
    return _one_phone(value, options, no_company=False)


def phone_list(value: str, options: CleanOptions, _beside: Sequence[str] = ()) -> Fix | Refusal | None:
    """Numbers as `office_phone` has them, joined by "|"; between them may be "|", "," or ";" or a line break.

    Repair: `phone_list`. Problems: those of a phone, told of the first number that has one.
    """
    found = []
    for part in filter(None, (part.strip() for part in _BETWEEN.split(value))):
        match office_phone(part, options):
            case Refusal(rule, message):
                return Refusal(rule, f"{part}: {message}")
            case Fix(digits):
                found.append(digits)
            case None:
                found.append(part)
    if not found:
        return _wrong_count(0)
    joined = "|".join(found)
    return None if joined == value else Fix(joined, "phone_list")


def _one_phone(value: str, options: CleanOptions, *, no_company: bool) -> Fix | Refusal | None:
    shown = _BEFORE.sub("", value)
    found = _FLOAT.fullmatch(shown) or _ONE.fullmatch(shown)
    if not found:
        return _unreadable(shown)
    digits = "".join(found.groups())
    problem = _shape_problem(digits) or _area_problem(digits[:3], options.regions, no_company=no_company)
    if problem or digits == value:
        return problem
    return Fix(digits, "float_text" if found.re is _FLOAT else "phone_format")


def _unreadable(value: str) -> Refusal:
    told_by = value[:_LOOKED_AT]  # a cell may hold megabytes
    for pattern, refusal in _REASONS:
        if pattern.search(told_by):
            return refusal
    return _wrong_count(sum(character.isdecimal() for character in told_by))


def _wrong_count(count: int) -> Refusal:
    if count == 7:
        return _bad("The area code is missing: a US phone has 10 digits, this has 7.")
    if count in {10, 11}:
        return _bad("This is not written as a US phone. Write it as ten digits.")
    return _bad(f"A US phone has 10 digits, this has {count}.")


def _shape_problem(digits: str) -> Refusal | None:
    area, exchange = digits[:3], digits[3:6]
    if not _CODE_ONLY.fullmatch(area):
        return _bad(f"No US area code is {area}. Check the number.")
    if not _CODE_ONLY.fullmatch(exchange):
        return _bad(f"The three digits after the area code can't be {exchange}. Check the number.")
    return None


def _area_problem(area: str, regions: tuple[str, ...], *, no_company: bool) -> Refusal | None:
    if area == _PREMIUM:
        return _CHARGED
    if no_company and area in _TOLL_FREE:
        return Refusal("toll_free_phone", "This is a toll-free number of a company, not a person's phone.")
    region = area_regions().get(area)
    if region and region not in regions:
        return Refusal(
            "phone_region",
            f"Area code {area} is in {region}. To call there, add {region} to regions in the mapping.",
        )
    return None


@cache
def _dialable(regions: tuple[str, ...], *, no_company: bool = True) -> str:
    areas = [str(area) for area in range(200, 1000) if _CODE_ONLY.fullmatch(str(area))]
    right = (area for area in areas if not _area_problem(area, regions, no_company=no_company))
    return f"(?:{'|'.join(right)}){_CODE}[0-9]{{4}}"


@cache
def _several(regions: tuple[str, ...]) -> str:
    one = _dialable(regions, no_company=False)
    return rf"{one}(?:\|{one})*"


_FORMATS = (
    Format(r" *([2-9][0-9]{9}) *", r"\1", "trimmed"),
    Format(
        rf" *(?:p:|tel:|')?(?:\+?1[-. ]?)?\(?([2-9][0-9]{{2}})\)?[-./ ]?({_CODE})[-./ ]?([0-9]{{4}}) *",
        r"\1\2\3",
        "phone_format",
    ),
    Format(r"1?([2-9][0-9]{9})\.0", r"\1", "float_text"),
)
US_PHONE = Cleaner(right=lambda options: _dialable(options.regions), mend=us_phone, formats=_FORMATS)
OFFICE_PHONE = Cleaner(
    right=lambda options: _dialable(options.regions, no_company=False), mend=office_phone, formats=_FORMATS
)
PHONE_LIST = Cleaner(right=lambda options: _several(options.regions), mend=phone_list)
