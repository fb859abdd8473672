"""States and ZIP codes as the post office writes them."""

from __future__ import annotations

import re
from types import MappingProxyType

from pipeline.clean.engine import Cleaner, CleanOptions, Format
from pipeline.clean.text import LOSSY_NUMBER, SCIENTIFIC, Fix, Refusal

# Publication 28 of the postal service: states, DC, territories, freely associated states, military.
STATES = MappingProxyType(
    {
        "AL": "Alabama",
        "AK": "Alaska",
        "AZ": "Arizona",
        "AR": "Arkansas",
        "CA": "California",
        "CO": "Colorado",
        "CT": "Connecticut",
        "DE": "Delaware",
        "DC": "District of Columbia",
        "FL": "Florida",
        "GA": "Georgia",
        "HI": "Hawaii",
        "ID": "Idaho",
        "IL": "Illinois",
        "IN": "Indiana",
        "IA": "Iowa",
        "KS": "Kansas",
        "KY": "Kentucky",
        "LA": "Louisiana",
        "ME": "Maine",
        "MD": "Maryland",
        "MA": "Massachusetts",
        "MI": "Michigan",
        "MN": "Minnesota",
        "MS": "Mississippi",
        "MO": "Missouri",
        "MT": "Montana",
        "NE": "Nebraska",
        "NV": "Nevada",
        "NH": "New Hampshire",
        "NJ": "New Jersey",
        "NM": "New Mexico",
        "NY": "New York",
        "NC": "North Carolina",
        "ND": "North Dakota",
        "OH": "Ohio",
        "OK": "Oklahoma",
        "OR": "Oregon",
        "PA": "Pennsylvania",
        "RI": "Rhode Island",
        "SC": "South Carolina",
        "SD": "South Dakota",
        "TN": "Tennessee",
        "TX": "Texas",
        "UT": "Utah",
        "VT": "Vermont",
        "VA": "Virginia",
        "WA": "Washington",
        "WV": "West Virginia",
        "WI": "Wisconsin",
        "WY": "Wyoming",
        "AS": "American Samoa",
        "GU": "Guam",
        "MP": "Northern Mariana Islands",
        "PR": "Puerto Rico",
        "VI": "Virgin Islands",
        "FM": "Federated States of Micronesia",
        "MH": "Marshall Islands",
        "PW": "Palau",
        "AA": "Armed Forces Americas",
        "AE": "Armed Forces Europe",
        "AP": "Armed Forces Pacific",
    }
)
_OTHER_NAMES = {"washington dc": "DC", "us virgin islands": "VI", "micronesia": "FM"}
_BY_NAME = MappingProxyType({name.lower(): code for code, name in STATES.items()} | _OTHER_NAMES)

# Where ZIP codes begin with 0, by their first three digits: there a spreadsheet may have eaten the zero.
_ZERO_PREFIXES = MappingProxyType(
    {
        "CT": range(60, 70),
        "MA": (*range(10, 28), 55),
        "ME": range(39, 50),
        "NH": range(30, 39),
        "NJ": range(70, 90),
        "RI": range(28, 30),
        "VT": (*range(50, 55), *range(56, 60)),
        "PR": (6, 7, 9),
        "VI": (8,),
        "AE": range(90, 99),
    }
)

_CODE_LETTERS = re.compile(r"([a-z])[. ]*([a-z])[. ]*")
_ZIP = re.compile(r"([0-9]{5})(?:[- \u2010-\u2015\u2212]{0,3}([0-9]{4}))?-?")
_SHORT_ZIP = re.compile(r"([0-9]{3,4})(?:-?([0-9]{4}))?")
_FLOAT = re.compile(r"([0-9]+)\.0+")
_SCIENTIFIC = re.compile(SCIENTIFIC)

_BAD_STATE = Refusal("bad_state", "This is not a US state. Use its two letters, such as NY.")
_BAD_ZIP = Refusal("bad_zip", "This is not a US ZIP code. Write five digits, or nine as 12345-6789.")
_SHORT = Refusal(
    "bad_zip",
    "This ZIP code is too short, and the state does not show that zeros in front were lost. Write five digits.",
)


def us_state(value: str, _options: CleanOptions, _beside: str = "") -> Fix | Refusal | None:
    """The two capital letters of a state, territory or military region.

    Repairs: `state_code` (other case, dots), `state_name`. Problem: `bad_state`.
    """
    words = value.lower()
    letters = _CODE_LETTERS.fullmatch(words)
    code = "".join(letters.groups()).upper() if letters else ""
    if code in STATES:
        return None if code == value else Fix(code, "state_code")
    name = " ".join(words.replace(".", "").replace(",", " ").split())
    return Fix(_BY_NAME[name], "state_name") if name in _BY_NAME else _BAD_STATE


def us_zip(value: str, _options: CleanOptions, state: str = "") -> Fix | Refusal | None:
    """`12345` or `12345-6789`.

    Repairs: `zip_plus4`, `zip_format` (a dash and nothing behind it), `float_text`, and `zip_padded`, which is
    not lossless: zeros go in front where they make a ZIP code of `state`. Problems: `bad_zip`, `lossy_number`.
    """
    if _SCIENTIFIC.match(value):
        return LOSSY_NUMBER
    number = _FLOAT.fullmatch(value)
    text = number[1] if number else value
    if found := _ZIP.fullmatch(text):
        return _full_zip(value, found, "float_text" if number else "zip_format")
    if found := _SHORT_ZIP.fullmatch(text):
        return _padded_zip(found, state)
    return _BAD_ZIP


def _full_zip(value: str, found: re.Match[str], rule: str) -> Fix | None:
    new = "-".join(filter(None, found.groups()))
    if new == value:
        return None
    return Fix(new, "zip_plus4" if found[2] else rule)


def _padded_zip(found: re.Match[str], state: str) -> Fix | Refusal:
    five = found[1].zfill(5)
    if int(five[:3]) not in _ZERO_PREFIXES.get(state, ()):
        return _SHORT
    return Fix(f"{five}-{found[2]}" if found[2] else five, "zip_padded", lossless=False)


US_STATE = Cleaner(right=lambda _: "|".join(STATES), mend=us_state)

US_ZIP = Cleaner(
    right=lambda _: r"[0-9]{5}(?:-[0-9]{4})?",
    mend=us_zip,
    formats=(
        Format(r"([0-9]{5}) ?([0-9]{4})", r"\1-\2", "zip_plus4"),
        Format(r"([0-9]{5})\.0", r"\1", "float_text"),
    ),
    beside="State",
)
