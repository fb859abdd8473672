"""Numbers and ids, as they come out of spreadsheets."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipeline.cells import DIGITS_KEPT, EXACT_BELOW
from pipeline.clean.engine import Cleaner, CleanOptions
from pipeline.clean.text import FLOAT, LOSSY_NUMBER, Fix, Refusal

# As a spreadsheet writes it. Ids such as 12E45 are ids.
_SHORTENED = re.compile(r"[0-9](?:[.,][0-9]+)?E[+-][0-9]{2,}")
_ZEROS = re.compile(rf"(?=[0-9]*00$)[0-9]{{{DIGITS_KEPT}}}0+")


def identifier(value: str, _options: CleanOptions, _beside: Sequence[str] = ()) -> Fix | Refusal | None:
    """An id, letter for letter. Repair: `float_text` (12345.0). Problem: `lossy_number`: it would name another.

    Lost are the digits of 1.23457E+15, of floats from 2^53 on, and of numbers that have nothing but zeros after their
    15th digit, at least two at their end.
    """
    found = FLOAT.fullmatch(value)
    number = found[1] if found else value
    if _SHORTENED.fullmatch(number) or _ZEROS.fullmatch(number) or (found and int(number) >= EXACT_BELOW):
        return LOSSY_NUMBER
    return Fix(number, "float_text") if found else None


def whole_number(value: str, _options: CleanOptions, _beside: Sequence[str] = ()) -> Fix | Refusal | None:
    """A whole number, or a number that stands for a choice. Repair: `float_text` (20.0)."""
    found = FLOAT.fullmatch(value)
    return Fix(found[1], "float_text") if found else None


# Ids that are right at a glance: short numbers, and words in which the first letter is not an E.
_WORDS = "[0-9]{1,15}|[0-9]*[A-DF-Za-df-z_-][0-9A-Za-z_-]*"

IDENTIFIER = Cleaner(right=lambda _: _WORDS, mend=identifier)
WHOLE_NUMBER = Cleaner(right=lambda _: "[0-9]+", mend=whole_number)
