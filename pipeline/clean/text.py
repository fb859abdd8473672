"""Text as a person sees it: characters that are invisible, or look like others, cost matches and calls."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import NamedTuple

from pipeline.cells import LOSSY, UNCALCULATED, stands_in


class Fix(NamedTuple):
    """A value after cleaning, by which rule, and whether all that had a meaning is still there."""

    value: str
    rule: str
    lossless: bool = True


class Refusal(NamedTuple):
    """Why a value can't be sent: a code, and a sentence for the person who mends it."""

    rule: str
    message: str


# Latin letters in composed form, and the dashes and signs that word processors put in.
_WIDE = "\xa1-\xac\xae-\u024f\u2010-\u2015\u2022\u2026\u20ac\u2122"
_NOT_PLAIN = re.compile(f"[^\t\n -~{_WIDE}]")
# RE2. No "#" or "=" in front (it may be a spreadsheet's error, or its ="text") and no white space at the ends.
PLAIN_TEXT = f'[!"$-<>-~{_WIDE}](?:[\t\n -~{_WIDE}]*[!-~{_WIDE}])?'

_LINE_ENDS = re.compile("\r\n|[\r\v\f\x85\u2028\u2029]")
# The last three are blanks to the eye, and letters or signs to Unicode.
_SPACES = re.compile("[\xa0\u1680\u2000-\u200a\u202f\u205f\u3000\u2800\u3164\uffa0]")
_CONTROLS = "\x00-\x08\x0e-\x1f\x7f-\x9f"
_ZERO_WIDTH = "\xad\u034f\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb"
# Joiners have a meaning in Arabic and Indic scripts and inside emoji such as a woman at a computer.
_SCRIPTS = "\u0600-\u109f\u1780-\u18af"
_EMOJI = "\u2190-\u21ff\u2600-\u27bf\u2b00-\u2bff\ufe0f\U0001f000-\U0001faff\U000e0020-\U000e007f"
_JOINING = f"[{_SCRIPTS}{_EMOJI}]"
_UNSEEN = re.compile(f"[{_CONTROLS}{_ZERO_WIDTH}]+")
_JOINERS = re.compile(f"(?<!{_JOINING})[\u200c\u200d]|[\u200c\u200d](?!{_JOINING})")
_QUOTES = str.maketrans("\u2018\u2019\u201b\u201c\u201d\u201f", "'''\"\"\"")


def _lines(value: str) -> str:
    return _LINE_ENDS.sub("\n", value)


def _spaces(value: str) -> str:
    return _SPACES.sub(" ", value)


def _visible(value: str) -> str:
    return _JOINERS.sub("", _UNSEEN.sub("", value))


def _composed(value: str) -> str:
    return unicodedata.normalize("NFC", value)


def _straight(value: str) -> str:
    return value.translate(_QUOTES)


# In the order in which they are applied; where several change a value, the last names the repair.
_STEPS: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("newline", _lines),
    ("space", _spaces),
    ("invisible", _visible),
    ("nfc", _composed),
    ("quotes", _straight),
)
_LOSSY = "quotes"


def tidy(raw: str) -> Fix | None:
    r"""`raw` in NFC, trimmed, without control and zero-width characters; None: it already is.

    Line ends become "\n" (rule `newline`), the many kinds of space " " (`space`), what can't be seen goes
    (`invisible`), letters are composed (`nfc`), curly quotes straightened (`quotes`, not lossless), white
    space at the ends goes (`trimmed`). Tabs, line breaks, and joiners in emoji stay.
    """
    value = raw
    changed: set[str] = set()
    # Composing can move a mark away from a joiner, which then joins nothing: until nothing changes.
    while _NOT_PLAIN.search(value):
        after, by = _stepped(value)
        if not by:
            break
        value, changed = after, changed | by
    value = value.strip()
    rule = next((name for name, _ in reversed(_STEPS) if name in changed), "trimmed")
    return None if value == raw else Fix(value, rule, _LOSSY not in changed)


def _stepped(value: str) -> tuple[str, set[str]]:
    """`value` after all steps, and the names of those that changed it."""
    changed = set()
    for name, step in _STEPS:
        after = step(value)
        if after != value:
            value = after
            changed.add(name)
    return value, changed


_TEXT_FORMULA = re.compile(r'="([^"]*)"')


def readable(raw: str) -> Fix | None:
    """`raw` tidied, and taken out of a formula that only says it: `="02139"` (`text_formula`); None: it already is.

    Programs write such formulas so that a spreadsheet keeps the zeros.
    """
    fix = tidy(raw)
    found = _TEXT_FORMULA.fullmatch(fix.value if fix else raw)
    if not found:
        return fix
    return Fix(found[1].strip(), "text_formula", fix is None or fix.lossless)


FLOAT = re.compile(r"([0-9]+)\.0+")  # a whole number as spreadsheets and programs write it: 2025.0

# A number that a spreadsheet shortened, such as 5.55123E+09.
SCIENTIFIC = r"^[-+]?[0-9]+(?:[.,][0-9]*)?[Ee][-+]?[0-9]+$"
LOSSY_NUMBER = Refusal(
    "lossy_number",
    "A spreadsheet shortened this number and digits are lost. Take it from the original list as text.",
)

_CELL_ERROR = Refusal("cell_error", "The cell shows a spreadsheet error. Correct the formula or type the value.")
_UNCALCULATED = Refusal(
    "cell_error", "The formula was never calculated. Open the file in a spreadsheet, save it, and load it again."
)


def cell_error(value: str) -> Refusal | None:
    """A refusal where the whole value is what a spreadsheet has instead of one.

    `cell_error`: an error, the fill of a narrow column, a formula that was never calculated. `lossy_number`: a number
    of more digits than a spreadsheet keeps.
    """
    if not stands_in(value):
        return None
    if value == UNCALCULATED:
        return _UNCALCULATED
    return LOSSY_NUMBER if value.startswith(LOSSY) else _CELL_ERROR
