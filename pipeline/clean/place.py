"""States and ZIP codes as the post office writes them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import MappingProxyType

from pipeline.clean.engine import Beside, Cleaner, CleanOptions, Format
from pipeline.clean.text import FLOAT, LOSSY_NUMBER, SCIENTIFIC, Fix, Refusal

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
_OTHER_NAMES = {
    "washington dc": "DC",
    "us virgin islands": "VI",
    "virgin islands us": "VI",
    "micronesia": "FM",
    **{f"armed forces {part}": "AE" for part in ("africa", "canada", "middle east")},
}
# As newspapers shorten them; those of two letters are codes.
_SHORT_NAMES = {
    "ala": "AL",
    "ariz": "AZ",
    "ark": "AR",
    "calif": "CA",
    "colo": "CO",
    "conn": "CT",
    "del": "DE",
    "fla": "FL",
    "ill": "IL",
    "ind": "IN",
    "kan": "KS",
    "kans": "KS",
    "mass": "MA",
    "mich": "MI",
    "minn": "MN",
    "miss": "MS",
    "mont": "MT",
    "neb": "NE",
    "nebr": "NE",
    "nev": "NV",
    "okla": "OK",
    "ore": "OR",
    "penn": "PA",
    "penna": "PA",
    "tenn": "TN",
    "tex": "TX",
    "wash": "WA",
    "wis": "WI",
    "wisc": "WI",
    "wva": "WV",
    "w va": "WV",
    "wyo": "WY",
}
_BY_NAME = MappingProxyType({name.lower(): code for code, name in STATES.items()} | _OTHER_NAMES | _SHORT_NAMES)

CANADA = "CA"
PROVINCES = MappingProxyType(
    {
        "AB": "Alberta",
        "BC": "British Columbia",
        "MB": "Manitoba",
        "NB": "New Brunswick",
        "NL": "Newfoundland and Labrador",
        "NS": "Nova Scotia",
        "NT": "Northwest Territories",
        "NU": "Nunavut",
        "ON": "Ontario",
        "PE": "Prince Edward Island",
        "QC": "Quebec",
        "SK": "Saskatchewan",
        "YT": "Yukon",
    }
)
_PROVINCES_BY_NAME = MappingProxyType({name.lower(): code for code, name in PROVINCES.items()} | {"québec": "QC"})

# Where ZIP codes begin with 0, by their first three digits: there a spreadsheet may have eaten the zero.
_ZERO_PREFIXES = MappingProxyType(
    {
        "CT": range(60, 70),
        "MA": (*range(10, 28), 55),
        "ME": range(39, 50),
        "NH": range(30, 39),
        "NJ": range(70, 90),
        "NY": (5, 63),
        "RI": range(28, 30),
        "VT": (*range(50, 55), *range(56, 60)),
        "PR": (6, 7, 9),
        "VI": (8,),
        "AE": range(90, 99),
    }
)

_COUNTRY = re.compile(r"(?:usa?|ca)-(?=[a-z]{2}$)")  # of ISO's codes: US-NY
_CODE_LETTERS = re.compile(r"([a-z])[. ]*([a-z])[. ]*")
_BEFORE = re.compile(r"^(?:'|z:) ?", re.IGNORECASE)  # a spreadsheet's mark of text, and that of ad platforms' exports
_ZIP = re.compile(r"([0-9]{5})(?:[- \u2010-\u2015\u2212]{0,3}([0-9]{4}))?-?")
_SHORT_ZIP = re.compile(r"([0-9]{3,4})(?:-?([0-9]{4}))?")
_SCIENTIFIC = re.compile(SCIENTIFIC)
# The first ZIP is 00501, the last 99950.
_FIVE = "(?:[1-8][0-9]{4}|9[0-8][0-9]{3}|99[0-8][0-9]{2}|999[0-4][0-9]|99950|0[1-9][0-9]{3}|00[5-9][0-9]{2})"
_FOUR = "(?:[1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])"
_NO_FOUR = "0000"  # where the four are not known
_FIVE_ONLY = re.compile(_FIVE)
_POSTAL_CODE = "[ABCEGHJKLMNPRSTVXY][0-9][ABCEGHJ-NPRSTV-Z] [0-9][ABCEGHJ-NPRSTV-Z][0-9]"
_POSTAL_LETTERS = re.compile(r"([A-Z][0-9][A-Z])[- ]?([0-9][A-Z][0-9])", re.IGNORECASE)
_POSTAL_ONLY = re.compile(_POSTAL_CODE)

_BAD_STATE = Refusal("bad_state", "This is not a US state. Use its two letters, such as NY.")
_BAD_ZIP = Refusal("bad_zip", "This is not a US ZIP code. Write five digits, or nine as 12345-6789.")
_NO_ZIP = Refusal("bad_zip", "There is no such ZIP code. Check it, or empty the cell.")
_SHORT = Refusal(
    "bad_zip",
    "This ZIP code is too short, and the state does not show that zeros in front were lost. Write five digits.",
)
_TO_CANADA = "is in Canada. To load leads there, add CA to regions in the mapping."
_POSTAL_REGION = Refusal("zip_region", f"This postal code {_TO_CANADA}")


def us_state(value: str, options: CleanOptions, _beside: Sequence[str] = ()) -> Fix | Refusal | None:
    """The two capital letters of a state, territory or military region; of a province where regions have Canada.

    Repairs: `state_code` (other case, dots), `state_name`. Problems: `bad_state`, `state_region`.
    """
    words = _COUNTRY.sub("", value.lower())
    letters = _CODE_LETTERS.fullmatch(words)
    code = "".join(letters.groups()).upper() if letters else ""
    name = " ".join(words.replace(".", "").replace(",", " ").split())
    found = code if code in STATES or code in PROVINCES else _BY_NAME.get(name) or _PROVINCES_BY_NAME.get(name)
    if found is None:
        return _BAD_STATE
    if found in PROVINCES and CANADA not in options.regions:
        return Refusal("state_region", f"{PROVINCES[found]} {_TO_CANADA}")
    if found == value:
        return None
    return Fix(found, "state_code" if found == code else "state_name")


def us_zip(value: str, options: CleanOptions, beside: Sequence[str] = ("",)) -> Fix | Refusal | None:
    """`12345` or `12345-6789`; where regions have Canada, `K1A 0B1` as well. Beside it: the state.

    Repairs: `zip_plus4`, `zip_format` (signs around it, four zeros for a part that is not known), `float_text`, and
    `zip_padded`, which is not lossless: zeros go in front where they make a ZIP code of the state. Problems:
    `bad_zip`, `zip_region`, `lossy_number`.
    """
    if _SCIENTIFIC.match(value):
        return LOSSY_NUMBER
    shown = _BEFORE.sub("", value)
    number = FLOAT.fullmatch(shown)
    text = number[1] if number else shown
    if found := _ZIP.fullmatch(text):
        return _full_zip(value, found, "float_text" if number else "zip_format")
    if found := _SHORT_ZIP.fullmatch(text):
        return _padded_zip(found, beside[0])
    if found := _POSTAL_LETTERS.fullmatch(text):
        return _postal_code(value, found, options)
    return _BAD_ZIP


def _full_zip(value: str, found: re.Match[str], rule: str) -> Fix | Refusal | None:
    five, four = found.groups()
    if not _FIVE_ONLY.fullmatch(five):
        return _NO_ZIP
    has_four = four is not None and four != _NO_FOUR
    new = f"{five}-{four}" if has_four else five
    if new == value:
        return None
    return Fix(new, "zip_plus4" if has_four else rule)


def _padded_zip(found: re.Match[str], state: str) -> Fix | Refusal:
    five, four = found[1].zfill(5), found[2]
    if int(five[:3]) not in _ZERO_PREFIXES.get(state, ()):
        return _SHORT
    has_four = four is not None and four != _NO_FOUR
    return Fix(f"{five}-{four}" if has_four else five, "zip_padded", lossless=False)


def _postal_code(value: str, found: re.Match[str], options: CleanOptions) -> Fix | Refusal | None:
    code = " ".join(found.groups()).upper()
    if not _POSTAL_ONLY.fullmatch(code):
        return _BAD_ZIP
    if CANADA not in options.regions:
        return _POSTAL_REGION
    return None if code == value else Fix(code, "zip_format")


def _states(options: CleanOptions) -> str:
    return "|".join([*STATES, *(PROVINCES if CANADA in options.regions else ())])


def _zips(options: CleanOptions) -> str:
    return f"{_FIVE}(?:-{_FOUR})?" + (f"|{_POSTAL_CODE}" if CANADA in options.regions else "")


US_STATE = Cleaner(right=_states, mend=us_state)

US_ZIP = Cleaner(
    right=_zips,
    mend=us_zip,
    formats=(
        Format(rf"({_FIVE}) ?({_FOUR})", r"\1-\2", "zip_plus4"),
        Format(rf"({_FIVE})\.0", r"\1", "float_text"),
    ),
    beside=(Beside("State"),),
)
